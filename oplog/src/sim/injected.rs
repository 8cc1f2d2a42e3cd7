//! Faults that a test has put in, and the gate at which it holds the log's own threads up.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::DirectorySyncs;
use crate::primitives::{Condvar, Mutex};

use super::Rng;

/// Faults that are due.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Power fails at the operation of the owning thread after so many more; with the seed of the loss.
    pub(super) power: Option<(u64, u64)>,
    /// The sync after so many more fails; and all that follow, when `true`.
    pub(super) sync: Option<(u64, bool)>,
    /// Of a hundred syncs so many do nothing and say that they have, as this says.
    pub(super) lies: Option<(u64, Rng)>,
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
    /// The operation after so many more fails once, whichever it is.
    pub(super) operation: Option<Planned>,
    /// Whether it has.
    pub(super) operation_failed: bool,
}

/// A failure of one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) left: u64,
    /// Counts the owning thread's operations, or those of all others.
    pub(super) owner: bool,
    pub(super) error: Errno,
}

impl Faults {
    /// Counts an operation; its failure, if it is due.
    pub(super) fn operation_due(&mut self, owner: bool) -> Option<io::Error> {
        let planned = self.operation.as_mut().filter(|planned| planned.owner == owner)?;
        if planned.left > 0 {
            planned.left -= 1;
            return None;
        }
        let error = planned.error;
        self.operation = None;
        self.operation_failed = true;
        Some(io::Error::from_raw_os_error(error.raw_os_error()))
    }
}

/// Holds all threads but the owner up at the next operation of a kind, until it is opened.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) state: Mutex<GateState>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct GateState {
    /// What an operation that has to wait begins with.
    pub(super) closed: Option<&'static str>,
    /// How many threads are held up.
    waiting: usize,
}

impl Gate {
    pub(super) fn set_closed(&self, closed: Option<&'static str>) {
        let mut state = self.state.lock().unwrap();
        state.closed = closed;
        self.changed.notify_all();
    }

    pub(super) fn pass(&self, what: &str) {
        let mut state = self.state.lock().unwrap();
        let stops = |state: &GateState| state.closed.is_some_and(|kind| what.starts_with(kind));
        if stops(&state) {
            state.waiting += 1;
            self.changed.notify_all();
            while stops(&state) {
                state = self.changed.wait(state).unwrap();
            }
            state.waiting -= 1;
        }
    }

    pub(super) fn await_arrival(&self) {
        let mut state = self.state.lock().unwrap();
        while state.waiting == 0 {
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

#[test]
fn who_passes_the_gate_does_not_hide_who_is_held_up_there() {
    let gate = Gate::default();
    gate.set_closed(Some("remove"));
    std::thread::scope(|scope| {
        scope.spawn(|| gate.pass("remove one"));
        gate.await_arrival();
        // As the housekeeping thread may, between the arrival and the look of the one who waits for it.
        gate.pass("prepare another");
        let waiting = gate.state.lock().unwrap().waiting;
        gate.set_closed(None);
        assert_eq!(waiting, 1);
    });
}
