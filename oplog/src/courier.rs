//! Carries rings from another process's writer to async tasks of this one.
//!
//! The writer wakes threads of other processes by futex, but knows nothing of their tasks. So in a process that only reads
//! the log, the first task that waits starts one thread for its view and read concern, which waits like any other thread
//! and passes each movement on. It ends when for a while nobody waits any more, or when the view is gone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::primitives::{AtomicBool, Instant, thread};
use crate::view::{Interrupt, ReadConcern, Shared};
use crate::wakers::{Registration, Wakers};

/// How often the thread checks whether its view is still there, and whether anybody waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Where no thread can be started, tasks are woken after such a pause to look for themselves; it holds up the thread that
/// polls, which would otherwise turn in circles.
const WITHOUT_THREAD: Duration = Duration::from_millis(10);

/// The tasks of a view that wait for what a reader with one concern sees.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    tasks: Wakers,
    /// Whether the thread runs. Changed under the lock of `tasks`.
    runs: AtomicBool,
    /// Whether it has been said that there is no thread for them.
    said: AtomicBool,
}

impl Courier {
    /// Wakes them all.
    pub(crate) fn wake(&self) {
        self.tasks.wake(|| ());
    }
}

/// Has `waker` woken when the watermark of `concern` moves, unless `registration` is dropped before.
pub(crate) fn register(
    shared: &Arc<Shared>,
    concern: ReadConcern,
    waker: &Waker,
    registration: &mut Option<Registration>,
) {
    if shared.writer
        && let Some(tail) = shared.any_tail()
    {
        loop {
            let bell = concern.bell(tail);
            bell.register(waker, registration);
            // Which one it is may have changed, and the tasks of the other been told, in between.
            if std::ptr::eq(bell, concern.bell(tail)) {
                return;
            }
        }
    }
    let courier = shared.courier(concern);
    let mut start = false;
    courier.tasks.register(waker, registration, || {
        start = !courier.runs.swap(true, Ordering::SeqCst);
    });
    if start {
        let weak = Arc::downgrade(shared);
        let thread = thread::Builder::new().name("tailwater-carry".to_owned());
        match thread.spawn(move || run(&weak, concern)) {
            Ok(_) => courier.said.store(false, Ordering::Relaxed),
            Err(error) => {
                if !courier.said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no thread for tasks that wait for the log: they look for themselves");
                }
                thread::sleep(WITHOUT_THREAD);
                courier.tasks.wake(|| courier.runs.store(false, Ordering::SeqCst));
            }
        }
    }
}

fn run(weak: &Weak<Shared>, concern: ReadConcern) {
    let mut seen = None;
    let mut empty_since: Option<Instant> = None;
    while let Some(shared) = weak.upgrade() {
        let courier = shared.courier(concern);
        // Those who are woken come again, most of them, and are to find this thread: it ends when nobody has come for a while. A
        // task that registers afterwards starts another.
        let over = empty_since.is_some_and(|since| since.elapsed() >= LOOK_INTERVAL);
        let empty = courier.tasks.is_empty_and(|| {
            if over {
                courier.runs.store(false, Ordering::SeqCst);
            }
        });
        if empty && over {
            return;
        }
        empty_since = if empty {
            empty_since.or(Some(Instant::now()))
        } else {
            None
        };
        let limit = shared.limit(concern);
        if seen != Some(limit) {
            seen = Some(limit);
            courier.wake();
        }
        let until = Some(Instant::now() + LOOK_INTERVAL);
        let _ = shared.wait(limit.next(), concern, until, &Interrupt::new());
    }
}
