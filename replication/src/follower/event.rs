//! What a follower tells of itself as it happens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tailwater_oplog::{OpId, Term};

use super::progress::FollowerProgress;
use crate::decision::Apart;
use crate::error::Error;

/// What a follower does, as it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// The primary makes a copy of its state: so many bytes of about so many.
    Preparing {
        /// Bytes so far.
        bytes: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The copy is being fetched.
    Copying {
        /// Bytes that are here.
        bytes: u64,
        /// Bytes of the whole copy.
        total: u64,
    },
    /// The primary has let it on, and its entries follow.
    Following {
        /// The primary's term.
        term: Term,
        /// The first entry that is to come.
        from: OpId,
    },
    /// How far it has come, about once in each heartbeat.
    Progress(FollowerProgress),
    /// Entries that the primary does not have were written to a file and cut off.
    RolledBack {
        /// The last entry that stayed.
        last: OpId,
        /// The file.
        file: PathBuf,
    },
    /// What was here is replaced by a copy.
    Resyncing {
        /// Why.
        apart: Apart,
    },
    /// A store has been opened: [`Follower::store`](super::Follower::store) has it. The one before, if there was any, is closed.
    Opened,
    /// The store is closed, to be cut back or replaced; another one is opened afterwards.
    Closed,
    /// The follower has come to its end: [`Follower::join`](super::Follower::join) says why.
    Ended,
    /// Something failed that may pass; it is tried again.
    Retrying {
        /// What failed; nothing when the primary is only not one to follow at the moment.
        error: Option<Error>,
        /// After this pause.
        after: Duration,
    },
}

/// Who is told what a follower does.
pub(super) type Listener = Arc<dyn Fn(&FollowerEvent) + Send + Sync>;
