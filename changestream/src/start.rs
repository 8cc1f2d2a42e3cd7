//! Where a watch begins: now, behind a token, at a time, or with the oldest entry.
//!
//! # Tokens that are ahead
//!
//! A token may come from another member of a replicated log and be of an entry that has not come here yet. A member that
//! follows will have that entry, so the watch waits for it ([`Resumption`]); a log that is written to will not, and refuses.
//!
//! Whether the two histories are the same is seen when the entry is here; and before, when an entry of a newer term than the
//! token's is here: terms never go back, so the token's cannot come behind it. While the token's term is newer than all that
//! this member has heard of, nothing here speaks against it: what stands in its entry's place may have to give way.

use std::sync::Arc;

use tailwater_oplog::{Cursor, Error as LogError, ErrorKind, OpId, OplogView, ReadConcern, SharedEntry, Term};

use crate::error::{Error, Result};
use crate::event::{ChangeEvent, Fragments};
use crate::fields::log_time;
use crate::plan::{Plan, Verdict};
use crate::scope::Scope;
use crate::shape::Oversize;
use crate::token::{ResumeToken, TokenKind};

/// Where a stream is asked to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Resume(ResumeToken),
    /// As `Resume`, also behind an `invalidate`.
    AfterAny(ResumeToken),
    AtOperationTime(bson::Timestamp),
    /// With the oldest entry the log has.
    Oldest,
}

/// What a stream begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) cursor: Cursor,
    pub(crate) token: ResumeToken,
    /// What is still to come of the event that the token stands in.
    pub(crate) fragments: Option<Fragments>,
    /// The entry that ended what is watched, when the token stands between its event and the `invalidate`.
    pub(crate) ending: Option<SharedEntry>,
}

/// Whether a stream can begin.
#[derive(Debug)]
pub(crate) enum Begins {
    Here(Beginning),
    /// Not before the token's entry has come.
    Later(Resumption),
}

impl Begins {
    pub(crate) fn token(&self) -> ResumeToken {
        match self {
            Begins::Here(beginning) => beginning.token,
            Begins::Later(resumption) => resumption.token,
        }
    }
}

impl Start {
    pub(crate) fn find(self, view: &OplogView, concern: ReadConcern, plan: &Arc<Plan>) -> Result<Begins> {
        let token = match self {
            Start::Resume(token) if token.kind() == TokenKind::Invalidate => return Err(Error::Invalidated),
            Start::Resume(token) | Start::AfterAny(token) => token,
            Start::AtOperationTime(time) => return at_time(view, concern, time),
            Start::Oldest => {
                let cursor = view.cursor_from_oldest(concern);
                let token = token_at(view, cursor.position().previous())?;
                return Ok(Begins::Here(Beginning::plain(cursor, token)));
            }
        };
        let (expected, got) = (view.log_id(), token.log_id());
        if expected != got {
            return Err(LogError::OtherLog { expected, got }.into());
        }
        if token.split_event().is_some() && plan.oversize != Oversize::Split {
            return Err(Error::SplitMissing);
        }
        let resumption = Resumption {
            view: view.clone(),
            concern,
            plan: Arc::clone(plan),
            token,
        };
        let following = || Ok(view.is_following()?);
        Ok(match resumption.look(view.newest(ReadConcern::Local), following)? {
            Some(beginning) => Begins::Here(beginning),
            None => Begins::Later(resumption),
        })
    }
}

impl Beginning {
    /// With nothing left of what the token stands at.
    pub(crate) fn plain(cursor: Cursor, token: ResumeToken) -> Beginning {
        let (fragments, ending) = (None, None);
        Beginning {
            cursor,
            token,
            fragments,
            ending,
        }
    }
}

fn at_time(view: &OplogView, concern: ReadConcern, time: bson::Timestamp) -> Result<Begins> {
    let requested = log_time(time);
    let cursor = view.cursor_from_time(requested, concern)?;
    let oldest = view.watermarks().oldest;
    if cursor.position() == oldest && oldest > OpId::FIRST {
        // No two batches share a time, and a trim splits none: of the oldest entry's own time nothing is missing.
        let reached = view
            .get(oldest, concern)
            .is_ok_and(|entry| entry.timestamp() == requested);
        if !reached {
            return Err(Error::TimeTrimmed { requested, oldest });
        }
    }
    // The first entry there is may not be of that time yet, so the token keeps it.
    let token = token_at(view, cursor.position().previous())?.starting_at(requested);
    Ok(Begins::Here(Beginning::plain(cursor, token)))
}

/// The token that stands behind all that `op_id` brought about, whether or not that entry is still there.
pub(crate) fn token_at(view: &OplogView, op_id: OpId) -> Result<ResumeToken> {
    let log_id = view.log_id();
    if op_id == OpId::ZERO {
        return Ok(ResumeToken::without_entry(log_id, op_id));
    }
    match view.get(op_id, ReadConcern::Local) {
        Ok(entry) => Ok(ResumeToken::at(log_id, &entry.entry(), TokenKind::Position)),
        Err(LogError::HistoryLost { .. }) => Ok(ResumeToken::without_entry(log_id, op_id)),
        Err(e) => Err(e.into()),
    }
}

/// A watch that goes on behind a token.
#[derive(Debug)]
pub(crate) struct Resumption {
    view: OplogView,
    concern: ReadConcern,
    plan: Arc<Plan>,
    token: ResumeToken,
}

impl Resumption {
    /// What the stream begins with, if the token's entry is here by `newest`, the last one of all. If it may come, nothing: look
    /// again when the log has moved. `following` says whether the log follows another; it is asked only where that matters.
    ///
    /// # Errors
    ///
    /// The token is of another history, what it needs has been trimmed, or its entry cannot come.
    pub(crate) fn look(&self, newest: OpId, following: impl FnOnce() -> Result<bool>) -> Result<Option<Beginning>> {
        // Whatever has been appended counts, so that a token from a reader with the other concern is good as well.
        let begun = match self.token.op_id() <= newest {
            true => self.begin(),
            false => Err(self.ahead(newest)),
        };
        match begun {
            Ok(beginning) => Ok(Some(beginning)),
            Err(error @ (Error::TokenAheadOfLog { .. } | Error::Log(LogError::Diverged { .. }))) => {
                match following()? {
                    true => self.awaits(newest, error).map(|()| None),
                    false => Err(error),
                }
            }
            Err(error) => Err(self.unless_closed(error)),
        }
    }

    /// Whether the entry may come to a log that follows, though the log does not have it.
    fn awaits(&self, newest: OpId, refusal: Error) -> Result<()> {
        let term = self.token.term();
        // A token without an entry names no term; a log without one has none.
        if term == Term::default() || newest < self.view.watermarks().oldest {
            return Ok(());
        }
        let last = self.view.get(newest, ReadConcern::Local);
        let last = last.map_err(|error| self.unless_closed(error.into()))?;
        match (last.term() < term, &refusal) {
            (true, _) => Ok(()),
            (false, Error::TokenAheadOfLog { .. }) if last.term() == term => Ok(()),
            (false, Error::TokenAheadOfLog { .. }) => Err(Error::Log(LogError::Diverged {
                op_id: newest,
                requested: (term, self.token.timestamp()),
                found: (last.term(), last.timestamp()),
            })),
            (false, _) => Err(refusal),
        }
    }

    /// An error of reading. What is unreadable in a log that was closed is so because whoever closed it takes entries out of it.
    fn unless_closed(&self, error: Error) -> Error {
        match &error {
            Error::Log(unreadable) if unreadable.kind() == ErrorKind::Corrupt && self.view.is_closed() => {
                LogError::Closed.into()
            }
            _ => error,
        }
    }

    /// That the token's entry is not here.
    pub(crate) fn ahead(&self, newest: OpId) -> Error {
        Error::TokenAheadOfLog {
            requested: self.token.op_id(),
            newest,
        }
    }

    fn begin(&self) -> Result<Beginning> {
        let token = self.token;
        let cursor = self.view.cursor(token.op_id().next(), self.concern)?;
        // The entry right before the oldest is gone, and with it what could be compared, but nothing is missing after it. It may
        // be gone where the token is from, and there here.
        let has_entry = token.term() != Term::default();
        if has_entry && token.op_id() >= self.view.watermarks().oldest {
            self.view
                .check_position(token.op_id(), token.term(), token.timestamp())?;
        }
        Ok(Beginning {
            cursor,
            token,
            fragments: self.fragments()?,
            ending: self.ending()?,
        })
    }

    /// The entry that ended what is watched, when the watch goes on between its event and the `invalidate`.
    fn ending(&self) -> Result<Option<SharedEntry>> {
        // Older releases did not say whether an event was the end.
        let (kind, op_id) = (self.token.kind(), self.token.op_id());
        if !matches!(kind, TokenKind::Ending | TokenKind::Event | TokenKind::Fragment) {
            return Ok(None);
        }
        let oldest = self.view.watermarks().oldest;
        if op_id < oldest {
            // The entry is gone that an `invalidate` would be made from. Who watches everything gets none.
            let requested = op_id;
            return match kind == TokenKind::Ending && *self.plan.scope != Scope::Everything {
                true => Err(LogError::HistoryLost { requested, oldest }.into()),
                false => Ok(None),
            };
        }
        let entry = self.view.get(op_id, ReadConcern::Local)?;
        Ok(self.plan.ended_by(&entry)?.then_some(entry))
    }

    /// What is still to come of an event, when the watch goes on between its fragments. The event is made again, and must fall
    /// into the same ones.
    fn fragments(&self) -> Result<Option<Fragments>> {
        let (op_id, plan) = (self.token.op_id(), &self.plan);
        let Some(split) = self.token.split_event() else {
            return Ok(None);
        };
        if split.fragment == split.of && op_id < self.view.watermarks().oldest {
            // Nothing is missing.
            return Ok(None);
        }
        let entry = self.view.get(op_id, ReadConcern::Local)?;
        let fragments = match plan.judge(&entry.entry())? {
            (Verdict::Event(operation, shape), _) => {
                let event = ChangeEvent::new(entry, operation, plan.log_id, plan.images).shaped(shape);
                event.fragments_behind(split.fragment)
            }
            (Verdict::Passed, _) => None,
        };
        match fragments {
            Some(fragments) if fragments.of() == split.of => Ok(Some(fragments)),
            _ => Err(Error::SplitChanged { op_id, split }),
        }
    }
}
