//! A log in short, read from the log.

use tailwater_oplog::{Error as LogError, OpId, OplogView, ReadConcern, TermBegin};

use crate::decision::{History, LogName, TERMS_MAX};
use crate::error::Result;

/// Newest terms that are looked at first when entries of new ones turn up: mostly there is one.
const TERMS_LOOKED_AT: usize = 16;

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

/// The newest terms of a log, oldest first, with all that have entries from `first` on: a follower that has been away may take
/// any number of them at once.
pub(crate) fn terms_from(log: &OplogView, first: OpId) -> Result<Vec<TermBegin>> {
    let mut count = TERMS_LOOKED_AT;
    loop {
        let terms = match log.terms(count, ReadConcern::Local) {
            // A trim came in between.
            Err(LogError::HistoryLost { .. }) => continue,
            terms => terms?,
        };
        let is_all = terms.len() < count;
        if is_all || terms.first().is_none_or(|oldest| oldest.first <= first) {
            return Ok(terms);
        }
        count = count.saturating_mul(2);
    }
}
