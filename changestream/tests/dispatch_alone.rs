//! A watch that is alone at the tail is served in its receiver's thread. Nothing of what it gets, and of what others get who
//! come and go meanwhile, depends on that.

mod common;

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use common::{ORDERS, PATIENCE, Writer, collection, eventually, ids, insert_orders, orders};
use tailwater_changestream::{Dispatcher, Error, Receiver, RecvError, WatchHandle};
use tailwater_oplog::{self as oplog, Durability, ReadConcern};

/// Long enough for a thread to have blocked.
const MOMENT: Duration = Duration::from_millis(20);

fn watch(dispatcher: &Dispatcher) -> (WatchHandle, Receiver) {
    let watch = dispatcher.watch(collection(ORDERS)).read_concern(ReadConcern::Local);
    watch.subscribe().unwrap()
}

fn begin() -> (tempfile::TempDir, Writer, Dispatcher) {
    let (dir, writer) = orders(0);
    let writer = Writer {
        durability: Durability::Memory,
        ..writer
    };
    let dispatcher = Dispatcher::new(writer.log.view());
    (dir, writer, dispatcher)
}

fn is_behind(dispatcher: &Dispatcher, writer: &Writer) {
    let newest = writer.log.view().newest(ReadConcern::Local);
    eventually("the tail is behind", || {
        dispatcher.stats(ReadConcern::Local).position == newest
    });
}

fn next(receiver: &Receiver) -> i32 {
    ids(&[receiver.recv_timeout(PATIENCE).unwrap()])[0]
}

#[test]
fn a_blocked_receiver_gets_each_event_as_it_comes() {
    let (_dir, writer, dispatcher) = begin();
    let (_handle, receiver) = watch(&dispatcher);
    let got = AtomicI32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=200 {
                assert_eq!(next(&receiver), n);
                got.store(n, Ordering::SeqCst);
                // Now and then it is away for longer than the helm may be left alone.
                if n % 50 == 0 {
                    thread::sleep(2 * MOMENT);
                }
            }
        });
        for n in 1..=200 {
            insert_orders(&writer, n..=n);
            if n % 3 == 0 {
                eventually("the event is not received", || got.load(Ordering::SeqCst) == n);
            }
        }
    });
    is_behind(&dispatcher, &writer);
}

#[test]
fn the_channel_fills_while_the_receiver_stays_away() {
    let (_dir, writer, dispatcher) = begin();
    let (_handle, receiver) = watch(&dispatcher);
    thread::scope(|scope| {
        let first = scope.spawn(|| next(&receiver));
        thread::sleep(MOMENT);
        insert_orders(&writer, 1..=1);
        assert_eq!(first.join().unwrap(), 1);
    });
    insert_orders(&writer, 2..=100);
    eventually("nobody dispatches", || receiver.len() == 99);
    insert_orders(&writer, 101..=101);
    eventually("nobody dispatches", || receiver.len() == 100);
    for n in 2..=101 {
        assert_eq!(next(&receiver), n);
    }
}

#[test]
fn who_asks_without_waiting_finds_what_there_is() {
    let (_dir, writer, dispatcher) = begin();
    let (_handle, receiver) = watch(&dispatcher);
    assert!(matches!(receiver.recv_timeout(MOMENT), Err(RecvError::Timeout)));
    assert!(receiver.try_recv().unwrap().is_none());
    insert_orders(&writer, 1..=300);
    let mut found = Vec::new();
    eventually("an event is missing", || {
        found.extend(receiver.try_recv().unwrap());
        found.len() == 300
    });
    assert_eq!(ids(&found), (1..=300).collect::<Vec<_>>());
}

#[test]
fn others_join_and_leave_while_the_receiver_leads() {
    let (_dir, writer, dispatcher) = begin();
    let (_handle, receiver) = watch(&dispatcher);
    for round in 0..20 {
        let (one, two) = (2 * round + 1, 2 * round + 2);
        thread::scope(|scope| {
            let leading = scope.spawn(|| (next(&receiver), next(&receiver)));
            if round % 2 == 0 {
                thread::sleep(MOMENT / 4);
            }
            let (handle, other) = watch(&dispatcher);
            insert_orders(&writer, one..=one);
            assert_eq!(next(&other), one);
            drop(handle);
            insert_orders(&writer, two..=two);
            assert!(matches!(other.recv_timeout(PATIENCE), Err(RecvError::Ended)));
            assert_eq!(leading.join().unwrap(), (one, two));
        });
    }
}

#[test]
fn a_receiver_that_leads_learns_of_the_end() {
    let (_dir, writer, dispatcher) = begin();
    let (handle, receiver) = watch(&dispatcher);
    thread::scope(|scope| {
        let leading = scope.spawn(|| receiver.recv());
        thread::sleep(MOMENT);
        drop(dispatcher);
        drop(handle);
        assert!(matches!(leading.join().unwrap(), Err(RecvError::Ended)));
    });
    let dispatcher = Dispatcher::new(writer.log.view());
    let (_handle, receiver) = watch(&dispatcher);
    thread::scope(|scope| {
        let leading = scope.spawn(|| receiver.recv());
        thread::sleep(MOMENT);
        writer.log.close().unwrap();
        let end = leading.join().unwrap();
        assert!(
            matches!(end, Err(RecvError::Failed(Error::Log(oplog::Error::Closed)))),
            "{end:?}"
        );
    });
}

#[test]
fn threads_that_share_a_receiver_get_each_event_once() {
    let (_dir, writer, dispatcher) = begin();
    let (handle, receiver) = watch(&dispatcher);
    let mut got: Vec<i32> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    receiver
                        .iter()
                        .map(|event| ids(&[event.unwrap()])[0])
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for n in 1..=300 {
            insert_orders(&writer, n..=n);
            if n % 20 == 0 {
                thread::sleep(MOMENT / 10);
            }
        }
        is_behind(&dispatcher, &writer);
        eventually("nobody takes it", || receiver.is_empty());
        drop(handle);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    got.sort_unstable();
    assert_eq!(got, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_full_channel_is_parked_also_when_its_receiver_led() {
    let (_dir, writer, dispatcher) = begin();
    let watch = dispatcher.watch(collection(ORDERS)).read_concern(ReadConcern::Local);
    let (_handle, receiver) = watch.channel_capacity(3, usize::MAX).subscribe().unwrap();
    thread::scope(|scope| {
        let leading = scope.spawn(|| (1..=500).all(|n| next(&receiver) == n));
        thread::sleep(MOMENT);
        for from in (1..=500).step_by(50) {
            insert_orders(&writer, from..=from + 49);
        }
        assert!(leading.join().unwrap());
    });
    assert!(receiver.is_empty());
}
