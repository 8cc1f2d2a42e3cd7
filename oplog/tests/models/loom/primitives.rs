//! What threads meet through, over loom.
//!
//! Loom takes a sequentially consistent access for one that only acquires and releases, but knows fences. So each such access
//! has a fence before it here: one of the two usual ways to compile it. It is the one that orders two such accesses of a
//! thread, and not such a store and a weaker load behind it; for that the sources need a fence of their own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
pub(crate) use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicU32 as RawU32, AtomicU64 as RawU64};
pub(crate) use std::time::Instant;

use loom::cell::UnsafeCell;
pub(crate) use loom::lazy_static;
pub(crate) use loom::sync::atomic::fence;
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread;
pub(crate) use rustix::thread::futex::Flags as FutexFlags;

use crate::futex::Word;
pub(crate) use crate::futex::{futex_wait, futex_wake};

/// See the crate's own.
pub(crate) fn with_waking<T>(act: impl FnOnce(&Cell<u32>) -> T) -> T {
    loom::thread_local! {
        static WAKING: Cell<u32> = Cell::new(0);
    }
    WAKING.with(act)
}

macro_rules! atomic {
    ($atomic:ident, $value:ty, $($name:ident($($argument:ident),*) -> $result:ty),*) => {
        #[derive(Debug, Default)]
        pub(crate) struct $atomic(loom::sync::atomic::$atomic);

        impl $atomic {
            pub(crate) fn new(value: $value) -> $atomic {
                $atomic(loom::sync::atomic::$atomic::new(value))
            }

            $(pub(crate) fn $name(&self, $($argument: $value,)* order: Ordering) -> $result {
                if order == Ordering::SeqCst {
                    fence(order);
                }
                self.0.$name($($argument,)* order)
            })*
        }
    };
}

atomic!(AtomicBool, bool, load() -> bool, store(value) -> (), swap(value) -> bool);
atomic!(AtomicU32, u32, load() -> u32, store(value) -> (), swap(value) -> u32, fetch_add(value) -> u32, fetch_sub(value) -> u32);
atomic!(AtomicU64, u64, load() -> u64, store(value) -> (), swap(value) -> u64, fetch_add(value) -> u64,
    fetch_max(value) -> u64);
atomic!(AtomicUsize, usize, load() -> usize, store(value) -> (), fetch_max(value) -> usize);

macro_rules! compare_exchange {
    ($atomic:ident, $value:ty) => {
        impl $atomic {
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                fence(Ordering::SeqCst);
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

compare_exchange!(AtomicBool, bool);
compare_exchange!(AtomicU32, u32);

pub(crate) type SharedU32<'a> = &'a AtomicU32;
pub(crate) type SharedU64<'a> = &'a AtomicU64;

/// Loom's words and cells for what lies in memory, by address. They live on, because loom forgets each execution anyway.
#[derive(Default)]
struct Twins {
    u32s: HashMap<usize, &'static AtomicU32>,
    u64s: HashMap<usize, &'static AtomicU64>,
    bytes: HashMap<usize, &'static UnsafeCell<()>>,
}

thread_local! {
    // Loom runs all threads of a model on one.
    static TWINS: RefCell<Twins> = RefCell::default();
}

/// To be called when an execution begins. What its threads share must have been touched before they start.
pub(crate) fn begin() {
    TWINS.take();
}

pub(crate) fn shared_u32(word: &RawU32) -> SharedU32<'static> {
    let address = std::ptr::from_ref(word).addr();
    let new = || &*Box::leak(Box::new(AtomicU32::new(word.load(Ordering::Relaxed))));
    TWINS.with_borrow_mut(|twins| *twins.u32s.entry(address).or_insert_with(new))
}

pub(crate) fn shared_u64(word: &RawU64) -> SharedU64<'static> {
    let address = std::ptr::from_ref(word).addr();
    let new = || &*Box::leak(Box::new(AtomicU64::new(word.load(Ordering::Relaxed))));
    TWINS.with_borrow_mut(|twins| *twins.u64s.entry(address).or_insert_with(new))
}

fn cells(addresses: Range<usize>) -> Vec<&'static UnsafeCell<()>> {
    let new = || &*Box::leak(Box::new(UnsafeCell::new(())));
    TWINS.with_borrow_mut(|twins| {
        let words = addresses.start / 8..addresses.end.div_ceil(8);
        words.map(|word| *twins.bytes.entry(word).or_insert_with(new)).collect()
    })
}

/// Loom finds what a write races with.
pub(crate) fn note_read(addresses: Range<usize>) {
    for cell in cells(addresses) {
        cell.with(|_| ());
    }
}

/// As [`note_read`].
pub(crate) fn note_write(addresses: Range<usize>) {
    for cell in cells(addresses) {
        cell.with_mut(|_| ());
    }
}

impl Word for &AtomicU32 {
    fn address(&self) -> usize {
        std::ptr::from_ref(*self).addr()
    }

    fn value(&self) -> u32 {
        // The kernel does not see old values: it looks under a lock, and behind a barrier.
        self.fetch_add(0, Ordering::SeqCst)
    }
}
