//! What threads meet through: atomics, locks, futexes, threads and the clock.
//!
//! Here each is the standard library's or the kernel's own. The models in `tests/models` compile the same files as this crate
//! with another module of this name, over shuttle's or loom's types, and so try out schedules that a machine rarely shows.
//! What only hints at something, or never changes while it is shared, need not come from here.

use std::cell::Cell;
use std::ops::Range;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
pub(crate) use std::thread;
use std::time::Duration;
pub(crate) use std::time::Instant;

pub(crate) use rustix::thread::futex::Flags as FutexFlags;
use rustix::thread::futex::{self, Timespec};

/// A word in a region, which other processes may have mapped too.
pub(crate) type SharedU32<'a> = &'a AtomicU32;
/// As [`SharedU32`], twice as long.
pub(crate) type SharedU64<'a> = &'a AtomicU64;

#[inline(always)]
pub(crate) fn shared_u32(word: &AtomicU32) -> SharedU32<'_> {
    word
}

#[inline(always)]
pub(crate) fn shared_u64(word: &AtomicU64) -> SharedU64<'_> {
    word
}

/// Sleeps if `word` is `seen`, until it is woken. A changed word, a signal and a time-out all mean the same to the caller:
/// look again.
pub(crate) fn futex_wait(word: &AtomicU32, flags: FutexFlags, seen: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|d| Timespec {
        tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: d.subsec_nanos().into(),
    });
    let _ = futex::wait(word, flags, seen, timeout.as_ref());
}

/// Wakes so many of those that sleep on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, flags: FutexFlags, threads: u32) {
    // Fails only for an address that is not mapped; ours are.
    let _ = futex::wake(word, flags, threads.min(i32::MAX as u32));
}

/// Has this thread yield to all others. Without the right to, it competes as an equal.
pub(crate) fn yield_to_others(nice: i32) {
    // On Linux it is of this thread only. Miri knows no priorities.
    if !cfg!(miri) {
        let _ = rustix::process::nice(nice);
    }
}

/// Lends how many tasks this thread is just waking, one inside the other; see `wakers.rs`.
pub(crate) fn with_waking<T>(act: impl FnOnce(&Cell<u32>) -> T) -> T {
    std::thread_local! {
        static WAKING: Cell<u32> = const { Cell::new(0) };
    }
    WAKING.with(act)
}

/// Says that bytes of a region at these addresses are read from here on, by plain loads. For models only.
#[inline(always)]
pub(crate) fn note_read(_: Range<usize>) {}

/// Says that bytes of a region at these addresses are written from here on, by plain stores. For models only.
#[inline(always)]
pub(crate) fn note_write(_: Range<usize>) {}
