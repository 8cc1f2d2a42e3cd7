//! What keeps a log from taking any more writes: the first write or sync that failed.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::primitives::AtomicBool;
use crate::tail::Tail;

/// Set once, for good.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    failure: OnceLock<Arc<io::Error>>,
    poisoned: AtomicBool,
    /// Whether a write failed, after which none is tried again: the next one would leave a hole.
    write_failed: AtomicBool,
}

impl Poison {
    /// Fails when the log is poisoned.
    #[inline]
    pub(crate) fn check(&self, tail: &Tail) -> Result<()> {
        if !self.poisoned.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.error(tail))
    }

    /// Fails when nothing may be written into the segments any more. After a failed sync it may: readers of this process
    /// find what was accepted.
    pub(crate) fn check_write(&self, tail: &Tail) -> Result<()> {
        match self.is_write_failed() {
            false => Ok(()),
            true => Err(self.error(tail)),
        }
    }

    /// Whether what was accepted may never get into the segments.
    #[inline]
    pub(crate) fn is_write_failed(&self) -> bool {
        self.write_failed.load(Ordering::SeqCst)
    }

    /// Poisons the log because a write failed.
    pub(crate) fn set_write_failed(&self, tail: &Tail, error: io::Error) -> Error {
        self.write_failed.store(true, Ordering::SeqCst);
        self.set(tail, error)
    }

    #[cold]
    fn error(&self, tail: &Tail) -> Error {
        match self.failure.get() {
            Some(source) => Error::Poisoned {
                durable: tail.durable(),
                source: Arc::clone(source),
            },
            None => Error::Closed,
        }
    }

    /// Poisons the log and wakes all who wait for something that will not come.
    pub(crate) fn set(&self, tail: &Tail, error: io::Error) -> Error {
        tracing::error!(%error, durable = %tail.durable(), "a write or sync failed: the log takes no more writes");
        let _ = self.failure.set(Arc::new(error));
        self.poisoned.store(true, Ordering::SeqCst);
        tail.set_poisoned();
        tail.ring_all();
        self.error(tail)
    }
}
