//! A log in short, read from the log.

use tailwater_oplog::{Error as LogError, OplogView, ReadConcern};

use crate::decision::{History, LogName, TERMS_MAX};
use crate::error::Result;

/// What a log has, by its terms.
pub(crate) fn history_of(log: &OplogView, name: LogName) -> Result<History> {
    loop {
        let last = log.newest(ReadConcern::Local);
        let terms = match log.terms(TERMS_MAX, ReadConcern::Local) {
            // A trim came in between.
            Err(LogError::HistoryLost { .. }) => continue,
            terms => terms?,
        };
        let listed = terms.first().map_or(last.next(), |begin| begin.first);
        let mut history = History::empty(name, log.watermarks().oldest);
        let (before, base) = match (log.before(listed), log.before(history.oldest)) {
            (Err(LogError::HistoryLost { .. }), _) | (_, Err(LogError::HistoryLost { .. })) => continue,
            (before, base) => (before?, base?),
        };
        history.before = before.rank.into();
        history.base = base.term;
        for (at, begin) in terms.iter().enumerate() {
            let end = terms.get(at + 1).map_or(last, |next| next.first.previous());
            history.extend(begin.term, begin.first, begin.timestamp, end.max(begin.first));
        }
        return Ok(history);
    }
}
