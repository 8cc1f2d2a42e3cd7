//! Options of a store.

use std::path::Path;
use std::time::Duration;

use tailwater_oplog::Durability;

use crate::error::Result;
use crate::store::Store;

/// Options of a store. All have defaults.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Options of its log. Whatever its retention, the log keeps the entries behind the last checkpoint.
    pub oplog: tailwater_oplog::Options,
    /// Durability of writes that do not name one. Default [`Durability::Disk`].
    pub durability: Durability,
    /// Bytes of the cache for documents that lie in the engine. Default 256 MiB.
    pub cache_bytes: u64,
    /// Bytes of recent writes that may wait for the engine before writers wait for it. Default 64 MiB.
    pub overlay_bytes_max: usize,
    /// The state is made durable whenever so many bytes of writes have been applied to it: what is behind that is replayed
    /// after power loss, and stays in the log until then. With a log that is limited to less than twice as much, more often:
    /// twice within its limit. Default 64 MiB.
    pub checkpoint_bytes: u64,
    /// How often expired documents are looked for, if there is an index with `expireAfterSeconds`. Default 60 s.
    pub expire_interval: Duration,
    /// How long a transaction may be open before it is aborted. Default one minute, as MongoDB's
    /// `transactionLifetimeLimitSeconds`.
    pub transaction_lifetime: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            oplog: tailwater_oplog::Options::default(),
            durability: Durability::Disk,
            cache_bytes: 256 << 20,
            overlay_bytes_max: 64 << 20,
            checkpoint_bytes: 64 << 20,
            expire_interval: Duration::from_secs(60),
            transaction_lifetime: Duration::from_secs(60),
        }
    }
}

impl StoreOptions {
    /// Opens the store in `dir`, making it if need be, and brings its state up to date with its log.
    ///
    /// # Errors
    ///
    /// Those of the log; [`Error::ForeignState`](crate::Error::ForeignState), [`Error::StateDiverged`](crate::Error::StateDiverged), [`Error::StateAhead`](crate::Error::StateAhead), [`Error::StateBehind`](crate::Error::StateBehind) when
    /// log and state do not belong together, [`Error::LogMissing`](crate::Error::LogMissing) when there is only the state; [`Error::StateLocked`](crate::Error::StateLocked),
    /// [`Error::Engine`](crate::Error::Engine), [`Error::Directory`](crate::Error::Directory).
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(dir.as_ref(), self)
    }
}
