//! Streams that need the store, with a handle and a receiver: each receives, says when nothing is there, and ends with its handle.

use crate::common;

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use common::{Home, PATIENCE};
use futures::StreamExt;
use tailwater::bson::rawdoc;
use tailwater::{FindOptions, ReadConcern, RecvError, StreamHandle, StreamReceiver, Subscribed};

/// What a task gets that awaits the next event.
fn await_next<S: Subscribed>(receiver: &mut StreamReceiver<S>) -> Option<Result<S::Event, tailwater::WatchError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(receiver.next())
}

const SHORT: Duration = Duration::from_millis(5);

/// What every one of them does, behind its first event, which was there before it began; `write` makes another one.
fn check<S>((handle, mut receiver): (StreamHandle, StreamReceiver<S>), write: impl Fn(i32))
where
    S: Subscribed + Send + 'static,
    S::Event: Debug + Send,
{
    receiver.recv().unwrap();
    assert!(receiver.try_recv().unwrap().is_none());
    assert!(matches!(receiver.recv_timeout(SHORT), Err(RecvError::Timeout)));
    write(2);
    receiver.recv_timeout(PATIENCE).unwrap();
    write(3);
    assert_eq!(receiver.iter().take(1).filter(Result::is_ok).count(), 1);
    write(4);
    assert!(await_next(&mut receiver).unwrap().is_ok());
    // One that waits is woken by the end, and what comes later is not received.
    let waiting = thread::spawn(move || {
        let received = receiver.recv();
        (matches!(received, Err(RecvError::Ended)), receiver)
    });
    thread::sleep(SHORT);
    drop(handle);
    let (ended, mut receiver) = waiting.join().unwrap();
    assert!(ended);
    write(5);
    assert!(matches!(receiver.try_recv(), Err(RecvError::Ended)));
    assert!(await_next(&mut receiver).is_none());
    assert_eq!(receiver.iter().count(), 0);
}

#[test]
fn every_stream_has_a_handle_and_a_receiver() {
    let home = Home::new();
    let orders = |name: &str| {
        let orders = home.store.collection("shop", name).unwrap();
        orders.insert_one(&rawdoc! { "_id": 1 }).unwrap();
        let writer = orders.clone();
        (orders, move |id: i32| {
            writer.insert_one(&rawdoc! { "_id": id }).unwrap();
        })
    };
    let (snapshots, write) = orders("snapshots");
    let watch = snapshots.watch().read_concern(ReadConcern::Local);
    check(watch.with_snapshot().subscribe().unwrap(), write);

    let (live, write) = orders("live");
    let found = live.find_with(&rawdoc! {}, &FindOptions::default()).unwrap();
    check(found.subscribe().unwrap(), write);

    let (consumed, write) = orders("consumed");
    let watch = consumed.watch().start_at_oldest();
    check(watch.consumer("billing").subscribe().unwrap(), write);
}

#[test]
fn what_a_member_has_when_its_handle_is_dropped_can_be_acknowledged() {
    let home = Home::new();
    let orders = home.store.collection("shop", "orders").unwrap();
    let (handle, mut receiver) = orders.watch().consumer("billing").subscribe().unwrap();
    orders.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    let delivery = receiver.recv_timeout(PATIENCE).unwrap();
    drop(handle);
    delivery.ack().unwrap();
    drop(receiver);
    assert_eq!(home.store.consumers().unwrap()[0].acknowledged, 1);
}
