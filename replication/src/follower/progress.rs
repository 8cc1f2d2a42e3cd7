//! How far a follower has come, in numbers that a program can show or export.

use std::time::{Duration, Instant};

use tailwater_oplog::{OpId, OplogView, ReadConcern, Timestamp};

use super::currency::Currency;
use super::shared::{FollowerStatus, Settings};

/// How far a follower has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct FollowerProgress {
    /// Bytes of frames that have come since it was started.
    pub bytes: u64,
    /// Of the copy of the state that it fetches, the bytes that are here; 0 while it fetches none.
    pub copied_bytes: u64,
    /// All bytes of that copy.
    pub copy_bytes: u64,
    /// The last entry that is durable here.
    pub durable: OpId,
    /// The newest entry that the primary has spoken of.
    pub newest: OpId,
    /// The last entry here that a majority holds.
    pub majority: OpId,
    /// For how long the primary has spoken of entries that are not durable here, or, while that is not known, how far the newest
    /// entry here is behind the clock; zero when nothing is missing.
    pub behind: Duration,
}

impl FollowerProgress {
    /// Entries that the primary has spoken of and that are not durable here.
    #[must_use]
    pub fn entries_behind(&self) -> u64 {
        self.newest.get().saturating_sub(self.durable.get())
    }

    fn of(status: &FollowerStatus, currency: Currency, log: Option<&OplogView>) -> FollowerProgress {
        let is_behind = status.newest > status.durable;
        let age = log.filter(|_| is_behind).and_then(age_of_newest);
        FollowerProgress {
            bytes: status.bytes,
            copied_bytes: status.copied_bytes,
            copy_bytes: status.copy_bytes,
            durable: status.durable,
            newest: status.newest,
            majority: status.majority,
            behind: age.map_or(Duration::ZERO, |age| currency.behind(age, Instant::now())),
        }
    }
}

/// How long ago the newest entry was written.
pub(super) fn age_of_newest(log: &OplogView) -> Option<Duration> {
    let newest = log.newest(ReadConcern::Local);
    let written = log.get(newest, ReadConcern::Local).ok()?.timestamp();
    let nanos = Timestamp::now().as_nanos().saturating_sub(written.as_nanos());
    Some(Duration::from_nanos(nanos))
}

impl Settings {
    /// How far it has come with this log, or with that of the store that is open.
    pub(crate) fn progress(&self, log: Option<&OplogView>) -> FollowerProgress {
        let (status, currency, store) = {
            let state = self.lock();
            (state.status.clone(), state.currency, state.store.clone())
        };
        let opened = store.map(|store| store.log());
        FollowerProgress::of(&status, currency, log.or(opened.as_ref()))
    }

    /// So many bytes of frames have come, and have been applied where there is a store.
    pub(super) fn received(&self, bytes: usize) {
        self.lock().status.bytes += bytes as u64;
        self.changed.notify_all();
    }
}
