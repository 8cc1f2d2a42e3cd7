//! Who sleeps until the overlay has changed: the applier, until there is something for the engine, and writers, until there is
//! room. They sleep apart: writers that wait do not wake each other while the applier is busy.
//!
//! The lock guards nothing but the sleep. Whoever looks whether to sleep does so under it, and whoever changes what is looked
//! at takes it before waking, so that no wake-up is lost and none needs a time-out.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    lock: Mutex<()>,
    work: Condvar,
    room: Condvar,
}

impl Signal {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until there may be work for the applier, or the time is over if there is one.
    pub(crate) fn wait_for_work<'a>(&self, guard: MutexGuard<'a, ()>, longest: Option<Duration>) -> MutexGuard<'a, ()> {
        match longest {
            None => self.work.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(longest) => {
                let (guard, _) = self
                    .work
                    .wait_timeout(guard, longest)
                    .unwrap_or_else(PoisonError::into_inner);
                guard
            }
        }
    }

    /// Sleeps until there may be room for a writer.
    pub(crate) fn wait_for_room<'a>(&self, guard: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        self.room.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake_applier(&self) {
        drop(self.lock());
        self.work.notify_all();
    }

    pub(crate) fn wake_writers(&self) {
        drop(self.lock());
        self.room.notify_all();
    }

    pub(crate) fn wake_all(&self) {
        drop(self.lock());
        self.work.notify_all();
        self.room.notify_all();
    }
}
