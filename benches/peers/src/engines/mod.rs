//! The crates, one module each: which of their options are used, and what an append is worth with them.

pub(crate) mod commitlog;
pub(crate) mod fjall;
pub(crate) mod okaywal;
pub(crate) mod raft_engine;
pub(crate) mod redb;
pub(crate) mod rusqlite;
pub(crate) mod walrus;

use crate::peer::Peer;

/// All of them: first those that are logs, then those that are stores.
pub(crate) const ALL: [&dyn Peer; 7] = [
    &raft_engine::RaftEngine,
    &commitlog::CommitLog,
    &walrus::Walrus,
    &okaywal::OkayWal,
    &fjall::Fjall,
    &redb::Redb,
    &rusqlite::Sqlite,
];
