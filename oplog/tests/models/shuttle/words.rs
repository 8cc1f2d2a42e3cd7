//! The tail page alone: watermarks and bells.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use shuttle::future::block_on;

use crate::check;
use crate::ids::OpId;
use crate::primitives::thread;
use crate::runner::Model;
use crate::sim::SimDisk;
use crate::tail::Tail;

pub(crate) const MODELS: &[Model] = &[
    ("a_ring_wakes_every_thread", || check(40_000, a_ring_wakes_every_thread)),
    ("a_ring_wakes_every_task", || check(40_000, a_ring_wakes_every_task)),
    ("an_accepted_entry_is_seen_or_its_waiter_is", || {
        check(40_000, an_accepted_entry_is_seen_or_its_waiter_is);
    }),
    ("watermarks_never_appear_out_of_order", || {
        check(20_000, watermarks_never_appear_out_of_order);
    }),
];

const LAST: u64 = 3;

fn tail() -> Arc<Tail> {
    Arc::new(Tail::open(&SimDisk::new(), true).unwrap())
}

fn a_ring_wakes_every_thread() {
    let tail = tail();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let tail = Arc::clone(&tail);
            thread::spawn(move || {
                for wanted in 1..=LAST {
                    assert!(tail.appended_bell.wait_until(None, || tail.appended().get() >= wanted));
                }
            })
        })
        .collect();
    for next in 1..=LAST {
        tail.set_appended(OpId::new(next));
    }
    for waiter in waiters {
        waiter.join().unwrap();
    }
}

fn a_ring_wakes_every_task() {
    let tail = tail();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let tail = Arc::clone(&tail);
            thread::spawn(move || {
                for wanted in 1..=LAST {
                    let mut registration = None;
                    block_on(poll_fn(|context| {
                        tail.appended_bell.register(context.waker(), &mut registration);
                        match tail.appended().get() >= wanted {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        }
                    }));
                }
            })
        })
        .collect();
    for next in 1..=LAST {
        tail.set_appended(OpId::new(next));
    }
    for waiter in waiters {
        waiter.join().unwrap();
    }
}

/// The bell is rung only by who has seen that somebody waits.
fn an_accepted_entry_is_seen_or_its_waiter_is() {
    let tail = tail();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let tail = Arc::clone(&tail);
            thread::spawn(move || {
                for wanted in 1..=LAST {
                    assert!(tail.appended_bell.wait_until(None, || tail.accepted().get() >= wanted));
                }
            })
        })
        .collect();
    for next in 1..=LAST {
        let next = OpId::new(next);
        let awaited = tail.accept(next);
        if awaited.here || awaited.elsewhere {
            tail.set_appended(next);
        }
    }
    for waiter in waiters {
        waiter.join().unwrap();
    }
}

fn watermarks_never_appear_out_of_order() {
    let tail = tail();
    let reader = {
        let tail = Arc::clone(&tail);
        thread::spawn(move || {
            for _ in 0..LAST {
                let marks = tail.watermarks();
                assert!(marks.oldest.get() <= marks.released.get() + 1, "{marks:?}");
                assert!(
                    marks.released <= marks.durable && marks.durable <= marks.appended,
                    "{marks:?}"
                );
            }
        })
    };
    for next in 1..=LAST {
        let next = OpId::new(next);
        tail.accept(next);
        tail.set_appended(next);
        tail.set_durable(next);
        tail.set_oldest(next);
    }
    reader.join().unwrap();
}
