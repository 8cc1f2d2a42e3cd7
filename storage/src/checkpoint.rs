//! Checkpoints: when the state is made durable by itself, and what the log keeps for it until then.
//!
//! The engine does not sync its commits, so power loss may take the state back to the last checkpoint, and replay begins there.
//! The store therefore holds, in its log, every entry behind its last checkpoint ([`Oplog::hold_from`]): retention and trims
//! stop there, whatever their limits. That hold has no cap and cannot be lost; instead, checkpoints follow each other closely
//! enough. One is made whenever [`StoreOptions::checkpoint_bytes`] have been applied, or half of what the log may take if that
//! is less.
//!
//! ```text
//!   log:  ─────────┬───────────────┬──────────────┬─────────►
//!    goes by policy│ held          │ applied      │ in the overlay
//!           checkpoint             engine         newest
//! ```
//!
//! A backup that is under way keeps the hold where its state begins ([`Pin`]). That is in memory only: when the process dies, the
//! next opening lets go of it.
//!
//! So beyond its limits the log keeps at most the bytes between two checkpoints, those that wait in the overlay, and, of a follower
//! to which much comes at once, those that are not applied yet, at most half of its limits as well; and an opening replays no more
//! than those. A checkpoint is one sync of the engine, made by the applier's thread; writers go on.
//!
//! [`Oplog::hold_from`]: tailwater_oplog::Oplog::hold_from
//! [`StoreOptions::checkpoint_bytes`]: crate::StoreOptions::checkpoint_bytes

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_oplog::{Error as LogError, OpId, Options, Retention};

use crate::engine::EngineSnapshot;
use crate::error::Result;
use crate::store::{Core, StoreOptions};

/// When the next checkpoint is due.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    interval: u64,
    /// Half of what the log may take.
    half: u64,
    /// Bytes that have been applied since the last.
    applied: AtomicU64,
    /// Where the backups that are under way need the log from, each under a number of its own. Its lock also orders moves of the
    /// hold.
    pins: Mutex<BTreeMap<u64, OpId>>,
}

/// A state that stays as it is, and the log from there on. See [`Core::pin`].
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    core: &'a Core,
    number: u64,
    pub(crate) snapshot: Arc<EngineSnapshot>,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.core.checkpoints.lock_pins().remove(&self.number);
        if let Ok(engine) = self.core.engine()
            && let Err(error) = self.core.hold_log(OpId::new(engine.persisted()))
        {
            // The next checkpoint does it.
            tracing::warn!(%error, "letting go of the log after a backup");
        }
    }
}

impl Checkpoints {
    pub(crate) fn new(options: &StoreOptions) -> Checkpoints {
        let retention = &options.oplog.retention;
        let limits = [retention.max_bytes, retention.hard_max_bytes].into_iter().flatten();
        let half = limits.map(|bytes| bytes / 2).fold(u64::MAX, u64::min);
        Checkpoints {
            interval: options.checkpoint_bytes.min(half).max(1),
            half,
            applied: AtomicU64::new(0),
            pins: Mutex::default(),
        }
    }

    /// So many bytes, or half of what the log may take if that is less.
    pub(crate) fn at_most(&self, bytes: u64) -> u64 {
        self.half.min(bytes)
    }

    fn lock_pins(&self) -> MutexGuard<'_, BTreeMap<u64, OpId>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one is due now that `bytes` more have been applied.
    fn is_due_after(&self, bytes: u64) -> bool {
        // Relaxed: whoever applies holds the lock for it.
        self.applied.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.interval
    }
}

/// Options with which the log is opened: it removes nothing until [`Core::begin_retention`].
pub(crate) fn log_options(options: &StoreOptions) -> Options {
    Options {
        retention: Retention::default(),
        ..options.oplog.clone()
    }
}

impl Core {
    /// Holds what the state that was found needs, and only then lets the log remove what its policy does not keep.
    pub(crate) fn begin_retention(&self) -> Result<()> {
        let persisted = OpId::new(self.engine()?.persisted());
        self.log.hold_from(persisted.next())?;
        self.log.set_retention(self.options.oplog.retention);
        Ok(())
    }

    /// Makes a checkpoint if it is due now that a generation of `bytes` has been applied.
    pub(crate) fn checkpoint_after(&self, bytes: usize) -> Result<()> {
        if self.checkpoints.is_due_after(bytes as u64) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Makes the state durable as it is, and lets the log have what that frees. Returns the last entry that the state covers.
    pub(crate) fn checkpoint(&self) -> Result<OpId> {
        let persisted = OpId::new(self.engine()?.persist()?);
        self.checkpoints.applied.store(0, Ordering::Relaxed);
        self.hold_log(persisted)?;
        tracing::debug!(%persisted, "checkpoint");
        Ok(persisted)
    }

    /// Holds what a state that covers `persisted` needs, and what backups need.
    fn hold_log(&self, persisted: OpId) -> Result<()> {
        let pins = self.checkpoints.lock_pins();
        let from = pins.values().copied().fold(persisted.next(), OpId::min);
        Ok(self.log.hold_from(from)?)
    }

    /// Holds all of the log that there is, at least from `behind` on; returns its oldest entry.
    fn hold_all(&self, behind: OpId) -> Result<OpId> {
        let mut oldest = self.log.watermarks().oldest.min(behind);
        loop {
            match self.log.hold_from(oldest) {
                // Trimmed since.
                Err(LogError::HistoryLost { oldest: now, .. }) if now > oldest => oldest = now,
                held => return Ok(held.map(|()| oldest)?),
            }
        }
    }

    /// Takes the state that the engine has now, and holds the log behind it, or all of the log, until the pin is dropped.
    pub(crate) fn pin(&self, whole_log: bool) -> Result<Pin<'_>> {
        let mut pins = self.checkpoints.lock_pins();
        // Under the lock: the hold does not pass a state that is being taken.
        let snapshot = self.engine()?.snapshot();
        let behind = OpId::new(snapshot.applied()).next();
        let from = if whole_log { self.hold_all(behind)? } else { behind };
        let number = pins.last_key_value().map_or(0, |(number, _)| number + 1);
        pins.insert(number, from);
        Ok(Pin {
            core: self,
            number,
            snapshot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_come_at_least_twice_within_what_the_log_may_take() {
        for (checkpoint_bytes, max_bytes, hard_max_bytes, interval) in [
            (100, None, None, 100),
            (100, Some(300), None, 100),
            (100, Some(300), Some(150), 75),
            (100, Some(0), None, 1),
            (0, None, None, 1),
        ] {
            let mut options = StoreOptions {
                checkpoint_bytes,
                ..StoreOptions::default()
            };
            options.oplog.retention.max_bytes = max_bytes;
            options.oplog.retention.hard_max_bytes = hard_max_bytes;
            let checkpoints = Checkpoints::new(&options);
            assert_eq!(checkpoints.interval, interval);
            assert!(!checkpoints.is_due_after(interval - 1));
            assert!(checkpoints.is_due_after(1));
        }
    }
}
