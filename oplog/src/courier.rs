//! Carries rings from another process's writer to async tasks of this one.
//!
//! The writer wakes threads of other processes by futex, but knows nothing of their tasks. So in a process that only reads
//! the log, the first task that waits starts one thread for its view and read concern, which waits like any other thread
//! and passes each movement on. It ends when nobody waits any more, or when the view is gone.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::primitives::{Instant, thread};
use crate::view::{Interrupt, ReadConcern, Shared, bell};

/// How often the thread checks whether its view is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Has `waker` woken when the watermark of `concern` moves.
pub(crate) fn register(shared: &Arc<Shared>, concern: ReadConcern, waker: &Waker) {
    let Some(tail) = shared.find_tail() else {
        // No tail file at all: nobody will ring, so a thread looks after it for this one wait.
        let (shared, waker) = (Arc::clone(shared), waker.clone());
        thread::spawn(move || {
            let next = shared.limit(concern).next();
            let _ = shared.wait(next, concern, Some(Instant::now() + LOOK_INTERVAL), &Interrupt::new());
            waker.wake();
        });
        return;
    };
    let bell = bell(tail, concern);
    bell.register(waker);
    if !shared.writer && bell.start_courier() {
        let weak = Arc::downgrade(shared);
        thread::spawn(move || run(&weak, concern));
    }
}

fn run(weak: &Weak<Shared>, concern: ReadConcern) {
    let mut seen = None;
    while let Some(shared) = weak.upgrade() {
        let Some(tail) = shared.any_tail() else { return };
        let bell = bell(tail, concern);
        let limit = shared.limit(concern);
        if seen != Some(limit) {
            seen = Some(limit);
            bell.ring_tasks();
        }
        if bell.end_courier_if_idle() {
            return;
        }
        let _ = shared.wait(
            limit.next(),
            concern,
            Some(Instant::now() + LOOK_INTERVAL),
            &Interrupt::new(),
        );
    }
}
