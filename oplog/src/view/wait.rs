//! Waiting for an entry: until it can be read, for a time, or until somebody interrupts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{ReadConcern, Shared};
use crate::bell::Bell;
use crate::ids::OpId;
use crate::primitives::{AtomicBool, Instant, thread};
use crate::tail::Tail;

/// How often a reader looks for a writer while there has been none since the machine started.
const NO_WRITER_WAIT: Duration = Duration::from_millis(100);

/// How often a reader in another process looks whether an entry has come out of the log buffer before it asks for it: for a
/// few microseconds.
const SPINS: u32 = 500;

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOutcome {
    /// The entry can be read.
    Ready,
    /// The deadline passed first.
    TimedOut,
    /// The [`Interrupt`] was raised.
    Interrupted,
    /// The log was closed by its writer in this process.
    Closed,
}

/// Ends waits from another thread.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(pub(super) Arc<AtomicBool>);

impl Interrupt {
    /// An interrupt that has not been raised.
    #[must_use]
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Whether it has been raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl ReadConcern {
    /// What rings when there is more to read.
    pub(crate) fn bell(self, tail: &Tail) -> &Bell {
        match self {
            ReadConcern::Local => &tail.appended_bell,
            ReadConcern::Durable => &tail.released_bell,
            ReadConcern::Majority => tail.majority_bell(),
        }
    }
}

impl Shared {
    /// For a reader in another process than the writer: has entry `next`, if it is in the writer's log buffer, moved into its
    /// segment. Whether it is there now; if not, it will be, and the bell rings.
    fn fetch(&self, next: OpId) -> bool {
        let Some(tail) = self.tail().filter(|tail| tail.accepted() >= next) else {
            return false;
        };
        // The writer is about to move it, most likely: that takes a microsecond or two.
        for _ in 0..SPINS {
            if tail.appended() >= next {
                return true;
            }
            std::hint::spin_loop();
        }
        tail.want(next);
        false
    }

    /// What may be sent to followers.
    pub(crate) fn syncing(&self) -> OpId {
        let released = self.limit(ReadConcern::Durable);
        match self.tail() {
            // What is not all released is another's to release.
            Some(tail) if self.writer && tail.releases_all() => tail.syncing().max(released),
            _ => released,
        }
    }

    /// Waits until more than that may be sent, or has been released.
    pub(crate) fn wait_for_sync(
        &self,
        (syncing, released): (OpId, OpId),
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> WaitOutcome {
        let mut outcome = WaitOutcome::TimedOut;
        let mut look = || {
            outcome = if self.syncing() > syncing || self.limit(ReadConcern::Durable) > released {
                WaitOutcome::Ready
            } else if interrupt.is_raised() {
                WaitOutcome::Interrupted
            } else if self.closed.load(Ordering::SeqCst) {
                WaitOutcome::Closed
            } else {
                WaitOutcome::TimedOut
            };
            outcome != WaitOutcome::TimedOut
        };
        match self.any_tail() {
            Some(tail) => drop(tail.sync_bell.wait_until(Some(deadline), look)),
            None => drop(look()),
        }
        outcome
    }

    /// Waits until entry `next` can be read.
    pub(crate) fn wait(
        &self,
        next: OpId,
        concern: ReadConcern,
        deadline: Option<Instant>,
        interrupt: &Interrupt,
    ) -> WaitOutcome {
        let reason = || {
            if self.limit(concern) >= next {
                return Some(WaitOutcome::Ready);
            }
            if concern == ReadConcern::Local && !self.writer && self.fetch(next) {
                return Some(WaitOutcome::Ready);
            }
            if interrupt.is_raised() {
                Some(WaitOutcome::Interrupted)
            } else if self.closed.load(Ordering::SeqCst) {
                Some(WaitOutcome::Closed)
            } else {
                None
            }
        };
        loop {
            let mut outcome = None;
            let tail = self.find_tail();
            // Without a live tail nobody rings in time to be relied on.
            let look_again = (self.tail().is_none() && !self.is_frozen()).then(|| Instant::now() + NO_WRITER_WAIT);
            let until = [deadline, look_again].into_iter().flatten().min();
            match tail {
                Some(tail) => {
                    let place = concern.bell(tail);
                    place.wait_until(until, || {
                        outcome = reason();
                        outcome.is_some() || !std::ptr::eq(place, concern.bell(tail))
                    });
                }
                None => {
                    outcome = reason();
                    if outcome.is_none() {
                        thread::sleep(until.map_or(NO_WRITER_WAIT, |u| u - Instant::now().min(u)));
                    }
                }
            }
            if let Some(outcome) = outcome {
                return outcome;
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return WaitOutcome::TimedOut;
            }
        }
    }
}
