//! Which entry each term began with, and the last entry of an elected one.

use crate::error::Result;
use crate::ids::{OpId, Term, Timestamp};
use crate::role_file::read_role;
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

/// Place of an entry of an [elected](Term::is_elected) term: how much a member knows. Zeros when it knows of none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Rank {
    /// Term of the entry.
    pub term: Term,
    /// Its OpID.
    pub op_id: OpId,
}

/// What a member knows of the entries before some entry, whether its log still has them or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Before {
    /// The last one of an elected term.
    pub rank: Rank,
    /// Term of the very last one; zero when there was none. Nothing when that is not known: the log was trimmed before it was
    /// a member's.
    pub term: Option<Term>,
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
            let begin = self.term_up_to(last, oldest, concern)?;
            last = begin.first.previous();
            terms.push(begin);
        }
        terms.reverse();
        Ok(terms)
    }

    /// What is known of the entries before `op_id`, also of those that have been trimmed from the log of a member.
    ///
    /// # Errors
    ///
    /// As [`OplogView::terms`]; [`Error::DamagedMetadata`](crate::Error::DamagedMetadata) of `REPLICA`.
    pub fn before(&self, op_id: OpId) -> Result<Before> {
        let last = op_id.previous();
        let elected = self.elected_up_to(last)?;
        let oldest = self.watermarks().oldest;
        let term = match last {
            OpId::ZERO => Some(Term::default()),
            last if last >= oldest => Some(self.get(last, ReadConcern::Local)?.term()),
            _ => None,
        };
        if let (Some(rank), Some(term)) = (elected, term) {
            let term = Some(term);
            return Ok(Before { rank, term });
        }
        // After the look at the entries: what a trim takes from now on, it has written there before.
        let role = read_role(&*self.shared.disk, self.log_id())?;
        Ok(Before {
            rank: elected.unwrap_or(role.trimmed),
            term: term.or(role.base.filter(|base| base.op_id == last).map(|base| base.term)),
        })
    }

    /// The last entry of an elected term up to `last`, of those that the log has.
    pub(crate) fn elected_up_to(&self, mut last: OpId) -> Result<Option<Rank>> {
        let oldest = self.watermarks().oldest;
        while last >= oldest && last > OpId::ZERO {
            let begin = self.term_up_to(last, oldest, ReadConcern::Local)?;
            if begin.term.is_elected() {
                let (term, op_id) = (begin.term, last);
                return Ok(Some(Rank { term, op_id }));
            }
            last = begin.first.previous();
        }
        Ok(None)
    }

    /// The term of entry `last`, with its first entry from `oldest` on.
    fn term_up_to(&self, last: OpId, oldest: OpId, concern: ReadConcern) -> Result<TermBegin> {
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
        Ok(TermBegin {
            term,
            first: low,
            timestamp: self.get(low, concern)?.timestamp(),
        })
    }
}
