//! A log in short, read from the log.

use tailwater_oplog::{Error as LogError, OpId, OplogView, ReadConcern, TermBegin};

use crate::decision::{Hello, History, LogName, Mark, TERMS_MAX};
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

/// Entries at most that are compared when two members meet: enough for any log, as they lie ever further apart.
const MARKS_MAX: usize = 64;

/// The last entry of a log, and others before it, each twice as far from the one behind it as that from its own.
pub(crate) fn marks_of(log: &OplogView, history: &History) -> Vec<Mark> {
    let (mut marks, mut op_id, mut step) = (Vec::new(), history.last, 1u64);
    while op_id >= history.oldest && op_id > OpId::ZERO && marks.len() < MARKS_MAX {
        // One that cannot be read, or has been trimmed since, is no concern of who only introduces himself.
        let Ok(entry) = log.get(op_id, ReadConcern::Local) else {
            break;
        };
        let checksum = entry.checksum();
        marks.push(Mark { op_id, checksum });
        op_id = OpId::new(op_id.get().saturating_sub(step));
        step = step.saturating_mul(2);
    }
    marks
}

/// The oldest of a follower's marks whose entry is another one here, though of the same term, and the one before it; nothing when
/// there is none such.
pub(crate) fn difference(log: &OplogView, hello: &Hello) -> Option<(OpId, OpId)> {
    let mut marks = hello.marks.iter().take(MARKS_MAX).collect::<Vec<_>>();
    marks.sort_by_key(|mark| mark.op_id);
    let mut same = OpId::ZERO;
    for mark in marks {
        let term = hello.history.term_at(mark.op_id);
        let own = log.get(mark.op_id, ReadConcern::Local).ok();
        let Some(own) = own.filter(|own| Some(own.term()) == term) else {
            continue;
        };
        if own.checksum() != mark.checksum {
            return Some((mark.op_id, same));
        }
        same = mark.op_id;
    }
    None
}
