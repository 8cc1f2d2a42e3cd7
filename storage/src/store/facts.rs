//! What there is to know of the store's log, for whoever watches over a running program.

use tailwater_oplog::{Retention, Stats};

use super::Store;

impl Store {
    /// What the log has done since the store was opened, in numbers. See [`Oplog::stats`](tailwater_oplog::Oplog::stats).
    #[must_use]
    pub fn log_stats(&self) -> Stats {
        self.core().log.stats()
    }

    /// How much history the log keeps, as the store was told to when it was opened.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.core().options.oplog.retention
    }
}
