//! What a follower has in its log, and not in its state yet.
//!
//! ```text
//!   log:     ├───────── applied ─────────┤──── backlog ────┤
//!   state:   ├───────────────────────────┤                 └ durable as fast as the disk takes it
//! ```
//!
//! A few entries are applied by who appends them: somebody waits for just those, and a thread would have to be woken. When more
//! come at once, as when a follower comes back, they are only appended, and a thread applies them from the log: what is durable,
//! and is acknowledged to the primary, does not wait for the state, which takes more time than the log does.
//!
//! - Only entries that change documents are left to the thread. Who appends anything else waits until there is no backlog.
//! - Nothing in the backlog is [released](tailwater_oplog::Oplog::set_applied): who is told of an entry can read what it did.
//! - It is bounded by [`BACKLOG_BYTES_MAX`], or half of what the log may take if that is less: who appends waits then. It takes no
//!   memory, and the next opening replays it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tailwater_oplog::{OpId, OplogView, ReadConcern};

use super::Store;
use super::shared::{Core, closed};
use crate::error::{Error, Result};

/// More than this is left to the thread.
pub(super) const AT_ONCE_BYTES_MAX: usize = 16 << 10;
/// Of so many bytes of the log the state may lack the entries.
pub(super) const BACKLOG_BYTES_MAX: u64 = 1 << 30;
/// What the thread applies before it looks up.
const CHUNK_BYTES: usize = 1 << 20;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    /// Something was left to the thread, it has applied something, or the store ends.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last entry that was left to the thread.
    last: OpId,
    /// Of what it has not applied yet.
    bytes: u64,
    /// Whether there is a thread.
    running: bool,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everybody look again who waits.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl Core {
    /// Whether something waits to be applied.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.lock().last > self.applied()
    }

    /// Refuses what cannot come into the state any more.
    pub(super) fn check_going_on(&self) -> Result<()> {
        self.check_failure()?;
        match self.stopping.load(Ordering::SeqCst) {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    /// Waits until `bytes` more may wait.
    pub(super) fn await_room_in_backlog(&self, bytes: usize) -> Result<()> {
        let mut state = self.backlog.lock();
        loop {
            self.check_going_on()?;
            if state.bytes == 0 || state.bytes + bytes as u64 <= self.checkpoints.at_most(BACKLOG_BYTES_MAX) {
                return Ok(());
            }
            state = self.backlog.wait(state, None);
        }
    }

    /// Waits until everything up to `op_id`, which is in the log, is in the state, until `deadline` at most; whether it is.
    ///
    /// # Errors
    ///
    /// What has ended applying.
    pub(super) fn await_applied(&self, op_id: OpId, deadline: Option<Instant>) -> Result<bool> {
        let mut state = self.backlog.lock();
        loop {
            if self.applied() >= op_id {
                return Ok(true);
            }
            self.check_going_on()?;
            // What was not left to the thread is being applied by who has appended it.
            if state.last < op_id || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            state = self.backlog.wait(state, deadline);
        }
    }

    /// Waits until there is no backlog. Nobody may append meanwhile.
    pub(super) fn finish_backlog(&self) -> Result<()> {
        let last = self.backlog.lock().last;
        self.await_applied(last, None).map(drop)
    }
}

impl Store {
    /// Leaves entries to the thread that are in the log, up to `last` and of so many bytes.
    pub(super) fn leave_to_backlog(&self, last: OpId, bytes: usize) -> Result<()> {
        let core = self.core();
        let mut state = core.backlog.lock();
        (state.last, state.bytes) = (last, state.bytes + bytes as u64);
        let starts = !std::mem::replace(&mut state.running, true);
        drop(state);
        if starts {
            let its = Arc::clone(core);
            let started = self.handle.spawn("tailwater-behind", move || run(&its));
            // Otherwise others would wait for what nobody applies. The next opening does.
            started.inspect_err(|error| {
                core.fail(error.clone());
                core.backlog.wake();
            })?;
        }
        core.backlog.changed.notify_all();
        Ok(())
    }
}

/// The thread. It stays: who has been behind once will be again.
fn run(core: &Core) {
    let _panic = Panic(core);
    let log = core.log.view();
    while wait_for_entries(core) {
        if let Err(error) = apply_next(core, &log)
            && !core.stopping.load(Ordering::SeqCst)
        {
            core.fail(error);
        }
    }
    core.backlog.wake();
}

/// Whether to go on.
fn wait_for_entries(core: &Core) -> bool {
    let mut state = core.backlog.lock();
    loop {
        if core.check_going_on().is_err() {
            return false;
        }
        if state.last > core.applied() {
            return true;
        }
        state = core.backlog.wait(state, None);
    }
}

fn apply_next(core: &Core, log: &OplogView) -> Result<()> {
    let from = core.applied().next();
    let Some(run) = log.frames(from, CHUNK_BYTES, ReadConcern::Local)? else {
        // It is in the log buffer, from where asking for the watermarks moves it, if nothing is in its way.
        if log.watermarks().appended < from {
            core.log.sync(from)?;
        }
        return Ok(());
    };
    core.apply_frames(run.bytes())?;
    let mut state = core.backlog.lock();
    state.bytes = match core.applied() >= state.last {
        true => 0,
        false => state.bytes.saturating_sub(run.bytes().len() as u64),
    };
    drop(state);
    core.backlog.changed.notify_all();
    Ok(())
}

/// Nobody waits for what a panic has left nobody to apply.
struct Panic<'a>(&'a Core);

impl Drop for Panic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Interrupted {
                what: "applying entries of the primary",
            });
            self.0.backlog.wake();
        }
    }
}
