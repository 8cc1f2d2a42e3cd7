//! What threads meet through, over shuttle. Each is a point at which another thread may go on, except where said otherwise.

use std::cell::Cell;
use std::ops::{Add, Range, Sub};
pub(crate) use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicU32 as RawU32, AtomicU64 as RawU64};
use std::time::Duration;

pub(crate) use rustix::thread::futex::Flags as FutexFlags;
pub(crate) use shuttle::lazy_static;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
pub(crate) use shuttle::thread;

use crate::futex::Word;
pub(crate) use crate::futex::{futex_wait, futex_wake};

/// Lets another thread go on. Not a yield, which schedulers take for a sign that this one has nothing to do.
fn step() {
    shuttle::thread_local! {
        static STEP: AtomicBool = AtomicBool::new(false);
    }
    STEP.with(|step| step.load(Ordering::SeqCst));
}

/// See the crate's own.
pub(crate) fn with_waking<T>(act: impl FnOnce(&Cell<u32>) -> T) -> T {
    shuttle::thread_local! {
        static WAKING: Cell<u32> = Cell::new(0);
    }
    WAKING.with(act)
}

pub(crate) fn fence(_: Ordering) {
    step();
}

/// A word in a region. Relaxed access is no step: it is to bytes of files, or next to a fence.
#[derive(Debug)]
pub(crate) struct Shared<'a, T>(&'a T);

pub(crate) type SharedU32<'a> = Shared<'a, RawU32>;
pub(crate) type SharedU64<'a> = Shared<'a, RawU64>;

pub(crate) fn shared_u32(word: &RawU32) -> SharedU32<'_> {
    Shared(word)
}

pub(crate) fn shared_u64(word: &RawU64) -> SharedU64<'_> {
    Shared(word)
}

macro_rules! shared {
    ($raw:ty, $value:ty, $($name:ident($($argument:ident),*) -> $result:ty),*) => {
        impl Shared<'_, $raw> {
            $(pub(crate) fn $name(&self, $($argument: $value,)* order: Ordering) -> $result {
                if order != Ordering::Relaxed {
                    step();
                }
                self.0.$name($($argument,)* order)
            })*
        }
    };
}

shared!(RawU32, u32, load() -> u32, store(value) -> (), swap(value) -> u32, fetch_add(value) -> u32);
shared!(RawU64, u64, load() -> u64, store(value) -> (), swap(value) -> u64, fetch_max(value) -> u64);

impl Shared<'_, RawU32> {
    pub(crate) fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        step();
        self.0.compare_exchange(current, new, success, failure)
    }
}

impl Word for &AtomicU32 {
    fn address(&self) -> usize {
        std::ptr::from_ref(*self).addr()
    }

    fn value(&self) -> u32 {
        self.load(Ordering::SeqCst)
    }
}

impl Word for SharedU32<'_> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }

    fn value(&self) -> u32 {
        self.load(Ordering::SeqCst)
    }
}

/// A clock that goes on when it is looked at, so that a schedule decides everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        thread_local! {
            static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        }
        NOW.set(NOW.get() + Duration::from_micros(1));
        Instant(NOW.get())
    }

    pub(crate) fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    pub(crate) fn checked_add(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(duration).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

pub(crate) fn yield_to_others(_: i32) {}

pub(crate) fn note_read(_: Range<usize>) {}

pub(crate) fn note_write(_: Range<usize>) {}
