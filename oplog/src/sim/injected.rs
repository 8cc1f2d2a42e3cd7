//! Faults that a test has put in, and the gate at which it holds the log's own threads up.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::DirectorySyncs;
use crate::primitives::{Condvar, Mutex};

/// Faults that are due.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Power fails at the operation of the owning thread after so many more; with the seed of the loss.
    pub(super) power: Option<(u64, u64)>,
    /// The sync after so many more fails; and all that follow, when `true`.
    pub(super) sync: Option<(u64, bool)>,
    /// The preparation after so many more finds no space; and all that follow, when `true`.
    pub(super) prepare: Option<(u64, bool)>,
    pub(super) rename: bool,
    /// Bytes of a file that cannot be read.
    pub(super) unreadable: Option<(String, Range<usize>)>,
    /// The write after so many more does half of its work and fails; and all that follow, when `true`.
    pub(super) write: Option<(u64, bool)>,
    /// Done in the middle of the owning thread's next sync: what other threads get in meanwhile.
    pub(super) meanwhile: Meanwhile,
    /// Done behind the owning thread's next write: what other threads get in while it moves the log buffer.
    pub(super) behind_write: Meanwhile,
    /// The sync of a directory after so many more fails, once, and its names stay as they were on the disk: the kernel tells
    /// of it once.
    pub(super) directory: Option<(u64, bool)>,
    pub(super) directory_syncs: Arc<DirectorySyncs>,
    /// The opening after so many more fails, as for want of maps.
    pub(super) open: Option<(u64, bool)>,
    /// The removal after so many more fails; and all that follow, when `true`.
    pub(super) remove: Option<(u64, bool)>,
}

/// Holds the log's own threads up at the next file they remove, until it is opened, and notes what they prepare and remove.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) state: Mutex<GateState>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct GateState {
    pub(super) closed: bool,
    /// Names with what is done to them, in order, since the gate was closed.
    pub(super) passed: Vec<String>,
    pub(super) waiting: bool,
}

impl Gate {
    pub(super) fn set_closed(&self, closed: bool) {
        let mut state = self.state.lock().unwrap();
        state.closed = closed;
        if closed {
            state.passed.clear();
        }
        self.changed.notify_all();
    }

    pub(super) fn pass(&self, what: String, stops: bool) {
        let mut state = self.state.lock().unwrap();
        while stops && state.closed {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.waiting = false;
        state.passed.push(what);
    }

    pub(super) fn await_arrival(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.waiting {
            state = self.changed.wait(state).unwrap();
        }
    }
}

#[derive(Default)]
pub(super) struct Meanwhile(pub(super) Option<Box<dyn FnOnce() + Send>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0.is_some()).finish()
    }
}

/// Whether a fault that is due after so many more is due now.
pub(super) fn due(fault: &mut Option<(u64, bool)>) -> bool {
    match fault {
        Some((0, for_ever)) => {
            if !*for_ever {
                *fault = None;
            }
            true
        }
        Some((left, _)) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
