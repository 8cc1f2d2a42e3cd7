//! Reading what was written elsewhere: the place of an entry, which a writer takes along, and any member can wait for.
//!
//! An OpID alone is not enough: after a failover another entry may stand there. With the term it names one entry, for a term is
//! one writer's (MongoDB manual: *Causal Consistency*; `afterClusterTime` there is a time, which says less).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tailwater_oplog::{Error as LogError, Interrupt, OpId, OplogView, ReadConcern, Term, WaitOutcome};
use tailwater_storage::Store;

use crate::deadline::after;
use crate::error::{Error, Result};

/// Names one entry of a replicated log. As text, `term:opid`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CausalToken {
    /// Term of the entry.
    pub term: Term,
    /// Its OpID.
    pub op_id: OpId,
}

impl fmt::Display for CausalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.term, self.op_id)
    }
}

impl FromStr for CausalToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<CausalToken> {
        let parsed = || {
            let (term, op_id) = text.split_once(':')?;
            Some(CausalToken {
                term: Term::new(term.parse().ok()?),
                op_id: OpId::new(op_id.parse().ok()?),
            })
        };
        parsed().ok_or(Error::InvalidOption {
            option: "a causal token",
            what: "not two numbers with a colon between them, a term and an OpID",
        })
    }
}

impl CausalToken {
    /// The token of an entry that `store` has.
    ///
    /// # Errors
    ///
    /// The log's, as when the entry has been trimmed or was never written.
    pub fn of(store: &Store, op_id: OpId) -> Result<CausalToken> {
        let term = store.log().get(op_id, ReadConcern::Local)?.term();
        Ok(CausalToken { term, op_id })
    }

    /// Waits until the entry is durable and applied in `store`, whichever member's it is.
    ///
    /// # Errors
    ///
    /// [`Error::NotYet`] after `timeout`, which may be exceeded by the time that one write takes; [`Error::OtherHistory`] when
    /// another entry stands there; [`Error::Forgotten`] when that cannot be told any more; [`Error::Stopped`] when the store is
    /// closed.
    pub fn wait_in(self, store: &Store, timeout: Duration) -> Result<()> {
        let deadline = after(timeout);
        let (log, interrupt) = (store.log(), Interrupt::new());
        match log.wait(self.op_id, ReadConcern::Durable, Some(deadline), &interrupt) {
            WaitOutcome::Ready => {}
            WaitOutcome::Closed => return Err(Error::Stopped),
            WaitOutcome::TimedOut | WaitOutcome::Interrupted => return Err(self.not_yet(timeout)),
        }
        if store.applied() < self.op_id {
            // It is applied right behind its append.
            store.finish_applying();
        }
        match self.stand(store)? {
            Stand::Here => Ok(()),
            Stand::Other(found) => Err(self.other(found)),
            Stand::NotYet => Err(self.not_yet(timeout)),
            Stand::Forgotten(oldest) => Err(self.forgotten(oldest)),
        }
    }

    /// How the entry stands in `store`.
    pub(crate) fn stand(self, store: &Store) -> Result<Stand> {
        let log = store.log();
        if self.op_id > log.watermarks().durable.min(store.applied()) {
            return Ok(Stand::NotYet);
        }
        match log.get(self.op_id, ReadConcern::Local) {
            Ok(entry) if entry.term() == self.term => Ok(Stand::Here),
            Ok(entry) => Ok(Stand::Other(entry.term())),
            // What no other member has written was never rolled back.
            Err(LogError::HistoryLost { .. }) if store.member().is_none() && !store.is_following() => Ok(Stand::Here),
            Err(LogError::HistoryLost { .. }) => self.stand_of_trimmed(&log),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for an entry that has been trimmed: by the last of those, if its term is still known, or else by the first that
    /// is left. Terms never go back, so what stood there was of that term or an older one; and if it is the token's, then
    /// whoever wrote in it had written the token's entry before, and it is here.
    fn stand_of_trimmed(self, log: &OplogView) -> Result<Stand> {
        loop {
            let oldest = log.watermarks().oldest;
            let known = match log.before(oldest)?.term {
                Some(term) => term,
                None => match log.get(oldest, ReadConcern::Local) {
                    Ok(entry) => entry.term(),
                    // A log that is empty yet, or one that is being trimmed.
                    Err(LogError::Ahead { .. } | LogError::HistoryLost { .. }) => Term::default(),
                    Err(error) => return Err(error.into()),
                },
            };
            if log.watermarks().oldest != oldest {
                continue;
            }
            return Ok(match known.cmp(&self.term) {
                Ordering::Equal => Stand::Here,
                Ordering::Less if known > Term::default() => Stand::Other(known),
                _ => Stand::Forgotten(oldest),
            });
        }
    }

    pub(crate) fn forgotten(self, oldest: OpId) -> Error {
        Error::Forgotten { token: self, oldest }
    }

    pub(crate) fn not_yet(self, waited: Duration) -> Error {
        let op_id = self.op_id;
        Error::NotYet { op_id, waited }
    }

    pub(crate) fn other(self, found: Term) -> Error {
        Error::OtherHistory { token: self, found }
    }
}

/// How an entry stands on a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    /// Durable and applied.
    Here,
    /// It has not come so far.
    NotYet,
    /// There is one of this term in its place, or, where that has been trimmed, one that is not newer.
    Other(Term),
    /// It has been trimmed, as everything before this entry, and nothing is known that would tell.
    Forgotten(OpId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_text_and_back() {
        let token = CausalToken {
            term: Term::new(129),
            op_id: OpId::new(1 << 40),
        };
        assert_eq!(token.to_string().parse::<CausalToken>().unwrap(), token);
        for text in [
            "",
            "1",
            "1:",
            ":1",
            "1:2:3",
            "-1:2",
            "4294967296:1",
            "1:18446744073709551616",
        ] {
            assert!(text.parse::<CausalToken>().is_err(), "{text}");
        }
    }
}
