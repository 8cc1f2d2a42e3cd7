//! A watch that is alone at the tail is served in its receiver's thread. Nothing of what it gets, and of what others get who
//! come and go meanwhile, depends on that.

mod common;

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use common::{ORDERS, PATIENCE, Writer, collection, eventually, ids, insert_orders, orders};
use tailwater_changestream::{Dispatcher, DispatcherStats, Error, Leader, Receiver, RecvError, Watch, WatchHandle};
use tailwater_oplog::{self as oplog, Durability, ReadConcern};

/// A log and its dispatcher.
struct Setup {
    _dir: tempfile::TempDir,
    writer: Writer,
    dispatcher: Dispatcher,
}

impl Setup {
    fn new() -> Setup {
        let (_dir, writer) = orders(0);
        let durability = Durability::Memory;
        let writer = Writer { durability, ..writer };
        let dispatcher = Dispatcher::new(writer.log.view());
        Setup {
            _dir,
            writer,
            dispatcher,
        }
    }

    fn watch(&self) -> Watch {
        self.dispatcher
            .watch(collection(ORDERS))
            .read_concern(ReadConcern::Local)
    }

    fn stats(&self) -> DispatcherStats {
        self.dispatcher.stats(ReadConcern::Local)
    }

    /// A watch that has come to be the only one at the tail, so that its receiver may lead.
    fn alone(&self, watch: Watch) -> (WatchHandle, Receiver) {
        let subscribed = watch.subscribe().unwrap();
        self.is_alone();
        subscribed
    }

    fn is_alone(&self) {
        eventually("the others are still there", || self.stats().live == 1);
    }

    /// Waits until the receiver, which is blocked, reads the log.
    fn receiver_leads(&self) {
        eventually("the receiver does not lead", || self.stats().leader == Leader::Receiver);
    }

    fn is_behind(&self) {
        let newest = self.writer.log.view().newest(ReadConcern::Local);
        eventually("the tail is behind", || self.stats().position == newest);
    }

    fn insert(&self, ids: std::ops::RangeInclusive<i32>) {
        insert_orders(&self.writer, ids);
    }
}

fn next(receiver: &Receiver) -> i32 {
    ids(&[receiver.recv_timeout(PATIENCE).unwrap()])[0]
}

#[test]
fn a_blocked_receiver_gets_each_event_as_it_comes() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch());
    let got = AtomicI32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=200 {
                assert_eq!(next(&receiver), n);
                got.store(n, Ordering::SeqCst);
                // Now and then it is away for longer than the helm may be left alone.
                if n % 50 == 0 {
                    eventually("the thread does not take over", || {
                        setup.stats().leader == Leader::Thread
                    });
                }
            }
        });
        for n in 1..=200 {
            setup.insert(n..=n);
            if n % 3 == 0 {
                eventually("the event is not received", || got.load(Ordering::SeqCst) == n);
            }
        }
    });
    setup.is_behind();
}

#[test]
fn the_channel_fills_while_the_receiver_stays_away() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch());
    thread::scope(|scope| {
        let first = scope.spawn(|| next(&receiver));
        setup.receiver_leads();
        setup.insert(1..=1);
        assert_eq!(first.join().unwrap(), 1);
    });
    setup.insert(2..=100);
    eventually("nobody dispatches", || receiver.len() == 99);
    setup.insert(101..=101);
    eventually("nobody dispatches", || receiver.len() == 100);
    for n in 2..=101 {
        assert_eq!(next(&receiver), n);
    }
}

#[test]
fn who_asks_without_waiting_finds_what_there_is() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch());
    let nothing = receiver.recv_timeout(Duration::from_millis(1));
    assert!(matches!(nothing, Err(RecvError::Timeout)));
    assert!(receiver.try_recv().unwrap().is_none());
    setup.insert(1..=300);
    let mut found = Vec::new();
    eventually("an event is missing", || {
        found.extend(receiver.try_recv().unwrap());
        found.len() == 300
    });
    assert_eq!(ids(&found), (1..=300).collect::<Vec<_>>());
}

#[test]
fn others_join_and_leave_while_the_receiver_leads() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch());
    for round in 0..20 {
        let (one, two) = (2 * round + 1, 2 * round + 2);
        setup.is_alone();
        thread::scope(|scope| {
            let leading = scope.spawn(|| (next(&receiver), next(&receiver)));
            // Before it leads, or meanwhile.
            if round % 2 == 0 {
                setup.receiver_leads();
            }
            let (handle, other) = setup.watch().subscribe().unwrap();
            setup.insert(one..=one);
            assert_eq!(next(&other), one);
            drop(handle);
            setup.insert(two..=two);
            assert!(matches!(other.recv_timeout(PATIENCE), Err(RecvError::Ended)));
            assert_eq!(leading.join().unwrap(), (one, two));
        });
    }
}

#[test]
fn a_receiver_that_leads_learns_that_its_handle_was_dropped() {
    let setup = Setup::new();
    let (handle, receiver) = setup.alone(setup.watch());
    thread::scope(|scope| {
        let leading = scope.spawn(|| receiver.recv());
        setup.receiver_leads();
        // Also the last of all clones.
        drop(setup.dispatcher);
        drop(handle);
        assert!(matches!(leading.join().unwrap(), Err(RecvError::Ended)));
    });
}

#[test]
fn a_receiver_that_leads_learns_that_the_log_was_closed() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch());
    thread::scope(|scope| {
        let leading = scope.spawn(|| receiver.recv());
        setup.receiver_leads();
        setup.writer.log.close().unwrap();
        let end = leading.join().unwrap();
        assert!(
            matches!(end, Err(RecvError::Failed(Error::Log(oplog::Error::Closed)))),
            "{end:?}"
        );
    });
}

#[test]
fn threads_that_share_a_receiver_get_each_event_once() {
    let setup = Setup::new();
    let (handle, receiver) = setup.alone(setup.watch());
    let mut got: Vec<i32> = thread::scope(|scope| {
        let receive = || receiver.iter().map(|event| ids(&[event.unwrap()])[0]).collect();
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(receive)).collect();
        for n in 1..=300 {
            setup.insert(n..=n);
            // Now and then they have all they can get, and wait.
            if n % 20 == 0 {
                setup.is_behind();
                eventually("nobody takes it", || receiver.is_empty());
            }
        }
        drop(handle);
        threads
            .into_iter()
            .flat_map(|thread: thread::ScopedJoinHandle<'_, Vec<i32>>| thread.join().unwrap())
            .collect()
    });
    got.sort_unstable();
    assert_eq!(got, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_full_channel_is_parked_also_when_its_receiver_led() {
    let setup = Setup::new();
    let (_handle, receiver) = setup.alone(setup.watch().channel_capacity(3, usize::MAX));
    thread::scope(|scope| {
        let leading = scope.spawn(|| (1..=500).all(|n| next(&receiver) == n));
        setup.receiver_leads();
        for from in (1..=500).step_by(50) {
            setup.insert(from..=from + 49);
        }
        assert!(leading.join().unwrap());
    });
    assert!(receiver.is_empty());
}
