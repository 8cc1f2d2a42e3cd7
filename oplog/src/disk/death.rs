//! Has this process kill itself (SIGKILL) at one of the system calls with which it changes files, or beside one of the stores into
//! what it has mapped. `kills.rs` uses it.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Where in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    Before,
    /// Half of what is to be written has been; calls that do not write do not count.
    HalfWay,
    After,
    /// Before a store into mapped memory that others look at, or after the last of several; such stores are counted instead of calls.
    Store,
    /// While a frame is copied into the log buffer, of which a half is there.
    HalfFrame,
}

/// At which call; never, if nothing has been said.
static DEATH: OnceLock<(Moment, u64)> = OnceLock::new();

/// Has this process die at that moment of its call number `call`, counted from 1.
pub(crate) fn die_at(moment: Moment, call: u64) {
    DEATH.set((moment, call)).expect("a process dies once");
}

/// Counts one more in `calls`; whether the process is to die at this one.
fn is_due(moment: Moment, calls: &AtomicU64) -> bool {
    DEATH
        .get()
        .is_some_and(|(at, call)| *at == moment && calls.fetch_add(1, Ordering::SeqCst) + 1 == *call)
}

fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

pub(super) fn before() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if is_due(Moment::Before, &CALLS) {
        die();
    }
}

/// Does `half` of what is to be written, if the process dies there.
pub(super) fn half_way(half: impl FnOnce() -> io::Result<()>) {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    if is_due(Moment::HalfWay, &WRITES) {
        let _ = half();
        die();
    }
}

pub(super) fn after() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if is_due(Moment::After, &CALLS) {
        die();
    }
}

pub(super) fn at_store() {
    static STORES: AtomicU64 = AtomicU64::new(0);
    if is_due(Moment::Store, &STORES) {
        die();
    }
}

/// Called with the place that a frame is about to be copied to.
pub(super) fn in_frame(place: &mut [u8]) {
    static FRAMES: AtomicU64 = AtomicU64::new(0);
    if is_due(Moment::HalfFrame, &FRAMES) {
        let half = place.len() / 2;
        place[..half].fill(0xa5);
        die();
    }
}
