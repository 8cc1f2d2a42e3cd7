//! What a follower has on its disk, and how it takes what arrives.
//!
//! A new follower has a copy of the state that covers entries its log does not have yet. Until the log has come that far, only
//! the log is open; then the store is, which applies what arrives.

use std::path::{Path, PathBuf};

use tailwater_oplog::{FramesOutcome, OpId, Oplog, OplogView, SegmentStart, Term};
use tailwater_storage::{CutBack, Error as StoreError, Selection, Store, StoreOptions, log_directory};

use super::attempt::closed_for;
use super::rollback;
use crate::decision::{LogName, Position};
use crate::error::Result;
use crate::summary::history_of;

/// Where entries that were rolled back are written.
const ROLLBACK: &str = "rollback";

/// How a segment that the primary announces lies to what is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// What comes belongs into the newest segment.
    Here,
    /// The newest segment is another primary's, and empty: it has to be set aside.
    Aside,
    /// So is the only one.
    Nowhere,
}

/// What a member must not forget with what it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) promised: Term,
    /// The newest term it knows of: it must not write in that again, whether an entry of it is left or not.
    pub(crate) known: Term,
    pub(crate) rank: Position,
}

/// An open store, or a log on the way to one.
#[derive(Clone, Debug)]
pub(crate) enum Replica {
    Store(Store),
    /// With the last entry that the state covers.
    Log(Oplog, OpId),
}

impl Replica {
    /// Opens what is in `dir`, and makes it follow if it did not.
    pub(crate) fn open(dir: &Path, options: &StoreOptions) -> Result<Replica> {
        let mut options = options.clone();
        // One that took writes until now must not begin a term of its own, which nobody here would then take the primary's for.
        options.oplog.follow = true;
        match options.open(dir) {
            Ok(store) => Ok(Replica::Store(store)),
            Err(StoreError::StateAhead { applied, .. }) => {
                let log = options.oplog.open(log_directory(dir))?;
                Ok(Replica::Log(log, applied))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn view(&self) -> OplogView {
        match self {
            Replica::Store(store) => store.log(),
            Replica::Log(log, _) => log.view(),
        }
    }

    /// Which part of the primary's store it is; nothing for all.
    pub(crate) fn selection(&self) -> Result<Option<Selection>> {
        Ok(match self {
            Replica::Store(store) => store.selection()?,
            Replica::Log(log, _) => {
                let selection = log.part().map(Selection::from_bytes).transpose();
                selection.map_err(StoreError::from)?
            }
        })
    }

    pub(crate) fn promised(&self) -> Term {
        match self {
            Replica::Store(store) => store.promised(),
            Replica::Log(log, _) => log.promised(),
        }
    }

    pub(crate) fn promise(&self, term: Term) -> Result<()> {
        match self {
            Replica::Store(store) => Ok(store.promise(term)?),
            Replica::Log(log, _) => Ok(log.promise(term)?),
        }
    }

    /// Says what watchers may see at majority. A log that follows is opened with nothing known.
    pub(crate) fn set_majority(&self, held: Option<OpId>) {
        match self {
            Replica::Store(store) => store.set_majority(held),
            Replica::Log(log, _) => log.set_majority(held),
        }
    }

    /// Says what the primary has on its disk: what watchers may see at all.
    pub(crate) fn set_confirmed(&self, up_to: OpId) {
        match self {
            Replica::Store(store) => store.set_confirmed(up_to),
            Replica::Log(log, _) => log.set_confirmed(up_to),
        }
    }

    /// Up to where that is known; nothing when all that is here was on a primary's disk, or written here.
    pub(crate) fn confirmed(&self) -> Option<OpId> {
        match self {
            Replica::Store(store) => store.confirmed(),
            Replica::Log(log, _) => log.confirmed(),
        }
    }

    pub(crate) fn begin_segment(&self, start: &SegmentStart) -> Result<Fit> {
        let view = self.view();
        let marks = view.watermarks();
        let newest = view.segment_of(marks.appended.next())?;
        // It is the one that a new follower began with, or one that an interrupted session has begun.
        if newest == *start {
            return Ok(Fit::Here);
        }
        if newest.first > marks.appended {
            return Ok(if marks.oldest > marks.appended {
                Fit::Nowhere
            } else {
                Fit::Aside
            });
        }
        match self {
            Replica::Store(store) => store.begin_segment(start)?,
            Replica::Log(log, _) => log.begin_segment(start)?,
        }
        Ok(Fit::Here)
    }

    /// Closes what is here and takes the newest segment, which is empty, out of the log: the primary's next entry belongs into
    /// another one.
    pub(crate) fn set_newest_segment_aside(self, dir: &Path, options: &StoreOptions) -> Result<()> {
        if let Err(error) = self.sync() {
            return Err(closed_for(self, error));
        }
        let last = self.view().watermarks().appended;
        self.close()?;
        Ok(options.oplog.open(log_directory(dir))?.cut_back(last)?)
    }

    pub(crate) fn kept(&self) -> Result<Kept> {
        let log = self.view();
        Ok(Kept {
            promised: self.promised(),
            known: match self {
                Replica::Store(store) => store.known(),
                Replica::Log(log, _) => log.known(),
            },
            rank: history_of(&log, LogName::from(log.log_id()))?.rank(),
        })
    }

    /// Only the log in `dir`, whose state is not one that it leads to.
    pub(crate) fn open_log(dir: &Path, options: &StoreOptions) -> Result<Replica> {
        let mut options = options.oplog.clone();
        options.follow = true;
        let log = options.open(log_directory(dir))?;
        Ok(Replica::Log(log, OpId::new(u64::MAX)))
    }

    pub(crate) fn append(&self, frames: &[u8]) -> Result<FramesOutcome> {
        match self {
            Replica::Store(store) => Ok(store.append_frames(frames)?),
            Replica::Log(log, _) => Ok(log.append_frames(frames)?),
        }
    }

    pub(crate) fn sync(&self) -> Result<()> {
        match self {
            Replica::Store(store) => Ok(store.sync()?),
            Replica::Log(log, _) => Ok(log.sync(log.watermarks().appended)?),
        }
    }

    /// Whether the log has come as far as the state, so that the store can be opened.
    pub(crate) fn is_store_due(&self) -> bool {
        match self {
            Replica::Store(_) => false,
            Replica::Log(log, applied) => log.watermarks().durable >= *applied,
        }
    }

    pub(crate) fn store(&self) -> Option<&Store> {
        match self {
            Replica::Store(store) => Some(store),
            Replica::Log(..) => None,
        }
    }

    pub(crate) fn close(self) -> Result<()> {
        match self {
            Replica::Store(store) => Ok(store.close()?),
            Replica::Log(log, _) => Ok(log.close()?),
        }
    }

    /// Writes what lies behind `last` into a file that people can read; returns that.
    pub(crate) fn keep_behind(&self, dir: &Path, last: OpId, bytes_max: u64) -> Result<PathBuf> {
        rollback::write(&self.view(), &dir.join(ROLLBACK), last, bytes_max)
    }

    /// Closes what is here, and cuts off what lies behind `last`. Whether that was possible; if not, what is here needs to be
    /// replaced by a copy.
    pub(crate) fn cut_back(self, last: OpId) -> Result<bool> {
        match self {
            Replica::Store(store) => Ok(store.cut_back(last)? == CutBack::Done),
            // The state covers entries that go, most likely.
            Replica::Log(log, _) => {
                log.close()?;
                Ok(false)
            }
        }
    }
}
