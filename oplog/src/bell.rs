//! One wake-up for all who wait on a watermark: blocked threads of any process, and async tasks of this one.
//!
//! A bell is a futex word and a *waiting* flag, and a list of tasks of the process that rings. The protocol is the classic one of two
//! flags: a waiter raises *waiting* and then looks at the watermark once more; the ringer moves the watermark and then looks
//! at *waiting*. Between the two steps both sides have a sequentially consistent fence, so at least one sees the other, and
//! no wake-up is lost. A ringer that nobody waits for pays one fence and a few loads.
//!
//! Word and flag stand in the shared tail page. The process that writes the log, and rings, has a second pair in memory of
//! its own for its threads: the kernel finds a sleeper on private memory sooner than one on a page of a file, and the writer
//! can tell who waits here from who waits elsewhere.
//!
//! Whoever wakes turns the flag to *waking* first and takes it down last, unless somebody has raised it again in between. So a
//! ringer that is killed before it has woken anybody leaves a flag that is not down, and the next one wakes them all. *Waking* is
//! another value each time, so that of several ringers none takes down what another has put up, who may have been killed since.
//! A waiter killed while *waiting* is raised costs the next ring two system calls at most.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as RawU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::primitives::{AtomicBool, FutexFlags, Instant, SharedU32, fence, futex_wait, futex_wake};
use crate::region::Region;
use crate::wakers::{Registration, Wakers};

/// How often a reader looks that may not write to the tail page, and so cannot raise its flag.
const UNANNOUNCED_WAIT: Duration = Duration::from_millis(10);

/// The flag: nobody waits.
const DOWN: u32 = 0;
/// Somebody waits, or is about to.
const WAITING: u32 = 1;
/// Those who waited are being woken. The other bits say by which ring.
const WAKING: u32 = 2;

/// Where threads sleep: a futex word, and behind it the flag that says that one does.
#[derive(Debug)]
struct Place {
    region: Arc<Region>,
    offset: usize,
    futex: FutexFlags,
    /// What the next ring from here turns the flag to, whatever others turn it to. It orders nothing.
    waking: RawU32,
}

impl Place {
    fn new(region: Arc<Region>, offset: usize, futex: FutexFlags) -> Place {
        // Somewhere among a thousand million, so that processes that ring the same bell do not meet.
        let start = RandomState::new().hash_one(offset) as u32;
        Place {
            region,
            offset,
            futex,
            waking: RawU32::new(start),
        }
    }

    /// In memory of this process.
    fn private() -> Place {
        // With a cache line to itself, wherever it begins.
        Place::new(Arc::new(Region::heap(128)), 64, FutexFlags::PRIVATE)
    }

    fn word(&self) -> SharedU32<'_> {
        self.region.cell_u32(self.offset)
    }

    fn waiting(&self) -> SharedU32<'_> {
        self.region.cell_u32(self.offset + 4)
    }

    #[cold]
    fn wake(&self) {
        let waking = self.begin_waking();
        self.word().fetch_add(1, Ordering::SeqCst);
        futex_wake(self.word(), self.futex, u32::MAX);
        // Who has raised it since may not have been asleep yet, and who has begun to wake since may be killed before.
        let _ = self
            .waiting()
            .compare_exchange(waking, DOWN, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Says that those who wait are about to be woken. Returns by what value.
    fn begin_waking(&self) -> u32 {
        let waking = (self.waking.fetch_add(4, Ordering::Relaxed) & !3) | WAKING;
        // An exchange: in order with those of everybody else.
        self.waiting().swap(waking, Ordering::SeqCst);
        waking
    }
}

/// Who waits for a bell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Awaited {
    /// Threads or tasks of the process that writes the log.
    pub(crate) here: bool,
    /// Threads of other processes, or of this one that only read.
    pub(crate) elsewhere: bool,
}

/// A bell in the tail page. See the module documentation.
#[derive(Debug)]
pub(crate) struct Bell {
    shared: Place,
    /// Where this process's threads sleep, if it is the one that rings.
    own: Option<Place>,
    tasks: Wakers,
    /// Whether `tasks` may hold any; a copy that the ringer reads without the lock.
    tasks_waiting: AtomicBool,
}

impl Bell {
    /// The bell whose two words stand at `offset` of the tail page. It is this process, and no other, that `rings` it.
    pub(crate) fn new(region: Arc<Region>, offset: usize, rings: bool) -> Bell {
        let shared = Place::new(region, offset, FutexFlags::empty());
        Bell {
            shared,
            own: rings.then(Place::private),
            tasks: Wakers::default(),
            tasks_waiting: AtomicBool::new(false),
        }
    }

    /// Who waits. Sequentially consistent: the caller has moved a watermark before by an operation that is, too.
    #[inline]
    pub(crate) fn awaited(&self) -> Awaited {
        // Partner: the fence in `wait_until` and in `register`.
        let threads = |place: &Place| place.waiting().load(Ordering::SeqCst) != DOWN;
        Awaited {
            here: self.own.as_ref().is_some_and(threads) || self.tasks_waiting.load(Ordering::SeqCst),
            elsewhere: threads(&self.shared),
        }
    }

    /// Wakes everyone who waits. Call it after the watermark has moved.
    #[inline]
    pub(crate) fn ring(&self) {
        // Partner: the fence in `wait_until` and in `register`.
        fence(Ordering::SeqCst);
        self.wake_here();
        if self.shared.waiting().load(Ordering::Relaxed) != DOWN {
            self.shared.wake();
        }
    }

    /// As far as a ringer of the shared word comes that is killed before it has woken anybody.
    #[cfg(test)]
    pub(crate) fn ring_and_die(&self) {
        fence(Ordering::SeqCst);
        if self.shared.waiting().load(Ordering::Relaxed) != DOWN {
            self.shared.begin_waking();
        }
    }

    /// As [`Bell::ring`], for those who wait in this process only, and for a caller that has just asked who waits.
    #[inline]
    pub(crate) fn wake_here(&self) {
        if let Some(own) = &self.own
            && own.waiting().load(Ordering::Relaxed) != DOWN
        {
            own.wake();
        }
        if self.tasks_waiting.load(Ordering::Relaxed) {
            self.wake_tasks();
        }
    }

    #[cold]
    fn wake_tasks(&self) {
        self.tasks.wake(|| self.tasks_waiting.store(false, Ordering::SeqCst));
    }

    /// Blocks until `ready` says so or the deadline passes; returns what `ready` said last.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
        let place = self.own.as_ref().unwrap_or(&self.shared);
        loop {
            if ready() {
                return true;
            }
            let seen = place.word().load(Ordering::SeqCst);
            if place.region.is_writable() {
                // An exchange, not a store: behind whoever has taken the flag down, for all who look at it.
                place.waiting().swap(WAITING, Ordering::SeqCst);
            }
            // Partner: the fence in `ring`.
            fence(Ordering::SeqCst);
            if ready() {
                return true;
            }
            let mut left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            if !place.region.is_writable() {
                left = Some(left.unwrap_or(UNANNOUNCED_WAIT).min(UNANNOUNCED_WAIT));
            }
            futex_wait(place.word(), place.futex, seen, left);
        }
    }

    /// Has `waker` woken at the next ring, unless `registration` is dropped before. The caller looks at the watermark once more
    /// afterwards.
    pub(crate) fn register(&self, waker: &Waker, registration: &mut Option<Registration>) {
        self.tasks.register(waker, registration, || {
            self.tasks_waiting.store(true, Ordering::SeqCst);
        });
        // Partner: the fence in `ring`.
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Under Miri each takes milliseconds.
    const ROUNDS: u64 = if cfg!(miri) { 100 } else { 20_000 };

    fn bell(rings: bool) -> Arc<Bell> {
        Arc::new(Bell::new(Arc::new(Region::heap(4096)), 768, rings))
    }

    #[test]
    fn no_ring_is_lost_between_a_look_and_a_wait() {
        for rings in [false, true] {
            rings_for_three(&bell(rings));
        }
    }

    fn rings_for_three(bell: &Arc<Bell>) {
        let value = Arc::new(AtomicU64::new(0));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (bell, value) = (Arc::clone(bell), Arc::clone(&value));
                std::thread::spawn(move || {
                    for wanted in 1..=ROUNDS {
                        assert!(bell.wait_until(None, || value.load(Ordering::Acquire) >= wanted));
                    }
                })
            })
            .collect();
        for next in 1..=ROUNDS {
            value.store(next, Ordering::Release);
            bell.ring();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    }

    /// Between taking notice of the flag and waking.
    #[test]
    fn a_ringer_that_dies_while_it_wakes_leaves_that_to_the_next_one() {
        let bell = bell(false);
        let value = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (bell, value) = (Arc::clone(&bell), Arc::clone(&value));
            std::thread::spawn(move || bell.wait_until(None, || value.load(Ordering::Acquire) > 0))
        };
        while bell.shared.waiting().load(Ordering::SeqCst) != WAITING {
            std::thread::yield_now();
        }
        bell.ring_and_die();
        value.store(1, Ordering::Release);
        bell.ring();
        assert!(waiter.join().unwrap());
        assert!(!bell.awaited().elsewhere, "and nobody is taken for waiting for ever");
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        assert!(!bell(true).wait_until(Some(Instant::now() + Duration::from_millis(5)), || false));
    }
}
