//! Which entry each term began with.

use crate::error::Result;
use crate::ids::{OpId, Term, Timestamp};
use crate::view::{OplogView, ReadConcern};

/// The first entry that a log has of a term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TermBegin {
    /// The term.
    pub term: Term,
    /// Its first entry; of the oldest term, the first one that is left.
    pub first: OpId,
    /// When that was written.
    pub timestamp: Timestamp,
}

impl OplogView {
    /// The newest `count` terms of the entries that the log has, oldest first. Some look-ups for each, whatever the log's size.
    ///
    /// # Errors
    ///
    /// As [`OplogView::get`]; [`Error::HistoryLost`](crate::Error::HistoryLost) when a trim comes in between, after which the
    /// call can be made again.
    pub fn terms(&self, count: usize, concern: ReadConcern) -> Result<Vec<TermBegin>> {
        let oldest = self.watermarks().oldest;
        let mut last = self.newest(concern);
        let mut terms = Vec::new();
        while last >= oldest && last > OpId::ZERO && terms.len() < count {
            let term = self.get(last, concern)?.term();
            // Terms never go back: the first entry of this one is where they reach it.
            let (mut low, mut high) = (oldest, last);
            while low < high {
                let middle = OpId::new(low.get() + (high.get() - low.get()) / 2);
                match self.get(middle, concern)?.term() < term {
                    true => low = middle.next(),
                    false => high = middle,
                }
            }
            terms.push(TermBegin {
                term,
                first: low,
                timestamp: self.get(low, concern)?.timestamp(),
            });
            last = low.previous();
        }
        terms.reverse();
        Ok(terms)
    }
}
