//! Subscriptions: a stream behind a bounded channel.

use crate::common;

use bson::{doc, rawdoc};
use common::{ORDERS, PATIENCE, collection, drain, eventually, ids, insert_orders, orders, short};
use tailwater_changestream::{Dispatcher, Error, FullDocumentBeforeChange, RecvError};
use tailwater_oplog::{self as oplog, ReadConcern};

#[test]
fn a_subscription_delivers_in_every_way_of_receiving() {
    let (_dir, writer) = orders(0);
    let (handle, receiver) = writer.watch(collection(ORDERS)).subscribe().unwrap();
    assert!(receiver.try_recv().unwrap().is_none());
    let nothing = receiver.recv_timeout(std::time::Duration::from_millis(5)).unwrap_err();
    assert!(matches!(nothing, RecvError::Timeout), "{nothing:?}");
    insert_orders(&writer, 1..=3);
    assert_eq!(ids(&[receiver.recv().unwrap()]), [1]);
    assert_eq!(ids(&[receiver.recv_timeout(PATIENCE).unwrap()]), [2]);
    eventually("no event in the channel", || !receiver.is_empty());
    assert_eq!(receiver.len(), 1);
    assert_eq!(ids(&[receiver.try_recv().unwrap().unwrap()]), [3]);
    assert!(!handle.is_ended());
    insert_orders(&writer, 4..=5);
    writer.drop_collection(ORDERS);
    let rest: Vec<_> = receiver.iter().map(|event| short(&event.unwrap())).collect();
    assert_eq!(
        rest,
        [
            "insert shop.orders 4",
            "insert shop.orders 5",
            "drop shop.orders",
            "invalidate shop.orders"
        ]
    );
    assert!(handle.is_ended());
    assert!(matches!(receiver.recv(), Err(RecvError::Ended)));
    assert!(matches!(receiver.try_recv(), Err(RecvError::Ended)));
}

#[test]
fn a_receivers_token_is_that_of_the_last_event_received() {
    let (_dir, writer) = orders(2);
    let begun = writer.watch(collection(ORDERS)).start().unwrap().resume_token();
    let (_handle, receiver) = writer.watch(collection(ORDERS)).subscribe().unwrap();
    assert_eq!(receiver.resume_token(), begun);
    insert_orders(&writer, 3..=6);
    eventually("the events are not in the channel", || receiver.len() == 4);
    assert_eq!(receiver.resume_token(), begun, "nothing was received yet");
    let resumed = |token| {
        let watch = writer.watch(collection(ORDERS)).resume_after(token);
        ids(&drain(&mut watch.start().unwrap()))
    };
    assert_eq!(resumed(receiver.resume_token()), [3, 4, 5, 6]);
    let third = receiver.recv().unwrap();
    assert_eq!(receiver.resume_token(), third.resume_token());
    assert_eq!(resumed(receiver.resume_token()), [4, 5, 6]);
    let fourth = receiver.try_recv().unwrap().unwrap();
    assert_eq!(receiver.resume_token(), fourth.resume_token());
    let fifth = receiver.iter().next().unwrap().unwrap();
    assert_eq!(receiver.resume_token(), fifth.resume_token());
    // What ends or fails leaves it where it is.
    receiver.recv_timeout(PATIENCE).unwrap();
    let last = receiver.resume_token();
    receiver.recv_timeout(std::time::Duration::from_millis(5)).unwrap_err();
    assert_eq!(receiver.resume_token(), last);
    writer.log.close().unwrap();
    receiver.recv().unwrap_err();
    assert_eq!(receiver.resume_token(), last);
}

#[test]
fn a_subscription_begins_before_the_call_returns() {
    let (_dir, writer) = orders(3);
    for id in 4..100 {
        let (_handle, receiver) = writer.watch(collection(ORDERS)).subscribe().unwrap();
        insert_orders(&writer, id..=id);
        assert_eq!(ids(&[receiver.recv_timeout(PATIENCE).unwrap()]), [id]);
    }
}

#[test]
fn dropping_the_handle_ends_the_watch_and_leaves_what_the_channel_holds() {
    let (_dir, writer) = orders(0);
    let (handle, receiver) = writer.watch(collection(ORDERS)).subscribe().unwrap();
    drop(handle);
    insert_orders(&writer, 1..=1);
    assert!(matches!(receiver.recv(), Err(RecvError::Ended)));

    let (handle, receiver) = writer
        .watch(collection(ORDERS))
        .channel_capacity(2, usize::MAX)
        .subscribe()
        .unwrap();
    insert_orders(&writer, 2..=100);
    eventually("the channel is not full", || receiver.len() == 2);
    handle.stop();
    assert_eq!(ids(&receiver.iter().map(Result::unwrap).collect::<Vec<_>>()), [2, 3]);
}

#[test]
fn dropping_the_receiver_ends_the_watch() {
    let (_dir, writer) = orders(0);
    for capacity in [1, 1000] {
        let watch = writer.watch(collection(ORDERS)).channel_capacity(capacity, usize::MAX);
        let (handle, receiver) = watch.subscribe().unwrap();
        insert_orders(&writer, 1..=10);
        eventually("the channel stays empty", || !receiver.is_empty());
        drop(receiver);
        eventually("the watch goes on", || handle.is_ended());
    }
}

#[test]
fn a_slow_receiver_loses_nothing_and_holds_up_nobody() {
    const COUNT: i32 = 1000;
    let (_dir, writer) = orders(0);
    let (_slow_handle, slow) = writer
        .watch(collection(ORDERS))
        .channel_capacity(2, usize::MAX)
        .subscribe()
        .unwrap();
    let (_quick_handle, quick) = writer.watch(collection(ORDERS)).subscribe().unwrap();
    // Nobody receives from the slow one until everything is written and the quick one has everything.
    insert_orders(&writer, 1..=COUNT);
    let all: Vec<_> = (1..=COUNT).collect();
    let received: Vec<_> = quick.iter().take(COUNT as usize).map(Result::unwrap).collect();
    assert_eq!(ids(&received), all);
    eventually("the channel is not full", || slow.len() == 2);
    let received: Vec<_> = slow
        .iter()
        .take(COUNT as usize)
        .inspect(|_| assert!(slow.len() <= 2))
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids(&received), all);
}

#[test]
fn a_channel_is_bounded_in_bytes_but_always_takes_one() {
    let (_dir, writer) = orders(0);
    let watch = writer.watch(collection(ORDERS)).channel_capacity(1000, 2500);
    let (_handle, receiver) = watch.subscribe().unwrap();
    let document = |id: i32, bytes| rawdoc! { "_id": id, "pad": "x".repeat(bytes) };
    for id in 1..=5 {
        writer.insert(ORDERS, &document(id, 1000));
    }
    writer.insert(ORDERS, &document(6, 10_000));
    eventually("the channel is not full", || receiver.len() == 2);
    let received: Vec<_> = receiver
        .iter()
        .take(6)
        .inspect(|_| assert!(receiver.len() <= 2))
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids(&received), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_subscription_fails_by_name() {
    let (_dir, writer) = orders(2);
    let (_handle, closed) = writer.watch(collection(ORDERS)).start_at_oldest().subscribe().unwrap();
    let watch = writer
        .watch(collection(ORDERS))
        .full_document_before_change(FullDocumentBeforeChange::Required);
    let (handle, refused) = watch.subscribe().unwrap();
    writer.delete(ORDERS, 1);
    let error = refused.recv().unwrap_err();
    assert!(
        matches!(error, RecvError::Failed(Error::NoPreImage { .. })),
        "{error:?}"
    );
    assert!(
        matches!(refused.recv_timeout(PATIENCE), Err(RecvError::Failed(_))),
        "it stays that way"
    );
    assert!(handle.is_ended());
    writer.log.close().unwrap();
    let results: Vec<_> = closed.iter().collect();
    assert_eq!(
        results.iter().flatten().map(short).collect::<Vec<_>>(),
        ["insert shop.orders 1", "insert shop.orders 2", "delete shop.orders 1"]
    );
    let last = results.last().unwrap();
    assert!(
        matches!(last, Err(RecvError::Failed(Error::Log(oplog::Error::Closed)))),
        "{last:?}"
    );
}

#[test]
fn a_channel_that_nobody_empties_keeps_few_segments_mapped_and_loses_nothing() {
    const EVENTS: i32 = 40;
    let (_dir, writer) = orders(0);
    let dispatcher = Dispatcher::new(writer.log.view());
    let subscribe = || dispatcher.watch(collection(ORDERS)).subscribe().unwrap();
    let (_handle, stalled) = subscribe();
    let (_other_handle, read) = subscribe();
    // Longer than half a segment, so that each event lies in one of its own.
    let large = rawdoc! { "_id": 0, "pad": "x".repeat(600 << 10) };
    for id in 1..=EVENTS {
        writer.insert("shop.other", &large);
        insert_orders(&writer, id..=id);
        assert_eq!(ids(&[read.recv_timeout(PATIENCE).unwrap()]), [id]);
    }
    let parks = || dispatcher.stats(ReadConcern::Durable).tail.parks;
    eventually("the watch is not parked", || parks() == 1);
    assert_eq!(stalled.len(), 16);
    let all: Vec<_> = (1..=EVENTS).map(|_| stalled.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(ids(&all), (1..=EVENTS).collect::<Vec<_>>());
    // It is at the tail again, and as good as new.
    insert_orders(&writer, EVENTS + 1..=EVENTS + 1);
    assert_eq!(ids(&[stalled.recv_timeout(PATIENCE).unwrap()]), [EVENTS + 1]);
}

#[test]
fn what_follows_an_entry_that_nobody_wanted_is_looked_at_for_what_it_is() {
    let (_dir, writer) = orders(0);
    let dispatcher = Dispatcher::new(writer.log.view());
    let subscribe = |condition: bson::Document| {
        let watch = dispatcher.watch(collection(ORDERS));
        watch.pipeline([doc! { "$match": condition }]).subscribe().unwrap()
    };
    // An update shows no document, though its entry has one.
    let (_handle, without) = subscribe(doc! { "fullDocument.n": null });
    insert_orders(&writer, 1..=3);
    writer.update(ORDERS, 1, 7);
    assert_eq!(short(&without.recv_timeout(PATIENCE).unwrap()), "update shop.orders 1");
    // Nobody wants this one.
    insert_orders(&writer, 4..=4);
    let concern = ReadConcern::Durable;
    eventually("the tail is behind", || {
        dispatcher.stats(concern).position == writer.newest()
    });
    // Who joins asks for something else than the document.
    let (_handle, by_type) = subscribe(doc! { "operationType": "insert" });
    insert_orders(&writer, 5..=5);
    assert_eq!(ids(&[by_type.recv_timeout(PATIENCE).unwrap()]), [5]);
}
