//! What could go wrong when many watches share one reader: one test for each.

use crate::common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bson::{Document, doc, rawdoc};
use common::{ORDERS, PATIENCE, Writer, collection, drain, eventually, ids, insert_orders, orders, short, temporary};
use futures::StreamExt;
use tailwater_changestream::{Dispatcher, Error, Receiver, RecvError, Scope, Watch, WatchHandle};
use tailwater_oplog::entry::EntryKind;
use tailwater_oplog::{self as oplog, Durability, OpId, ReadConcern, Record};

type Subscription = (WatchHandle, Receiver);

fn dispatcher(writer: &Writer) -> Dispatcher {
    Dispatcher::new(writer.log.view())
}

fn subscribe(dispatcher: &Dispatcher, stage: Document) -> Subscription {
    let watch = dispatcher
        .watch(collection(ORDERS))
        .pipeline([doc! { "$match": stage }]);
    watch.subscribe().unwrap()
}

fn received(receiver: &Receiver, count: usize) -> Vec<i32> {
    let events: Vec<_> = (0..count).map(|_| receiver.recv_timeout(PATIENCE).unwrap()).collect();
    ids(&events)
}

#[test]
fn a_thousand_equal_watches_are_evaluated_once() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let equal: Vec<_> = (0..1000)
        .map(|_| subscribe(&dispatcher, doc! { "fullDocument.n": { "$gte": 5 } }))
        .collect();
    insert_orders(&writer, 1..=10);
    for (_, receiver) in &equal {
        assert_eq!(received(receiver, 6), [5, 6, 7, 8, 9, 10]);
    }
    let concern = ReadConcern::Durable;
    eventually("the tail is behind", || {
        dispatcher.stats(concern).position == writer.newest()
    });
    let stats = dispatcher.stats(concern);
    assert_eq!((stats.live, stats.distinct), (1000, 1));
    // Of ten events four are seen not to match without evaluating anything.
    assert_eq!((stats.tail.entries, stats.tail.evaluations), (10, 6));
    assert_eq!((stats.tail.matches, stats.tail.delivered), (6, 6000));
}

#[test]
fn of_many_distinct_watches_only_the_interested_ones_are_evaluated() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let distinct: Vec<_> = (0..1000)
        .map(|n| subscribe(&dispatcher, doc! { "fullDocument.n": n }))
        .collect();
    let elsewhere: Vec<_> = (0..100)
        .map(|n| {
            dispatcher
                .watch(collection(&format!("shop.other{n}")))
                .subscribe()
                .unwrap()
        })
        .collect();
    insert_orders(&writer, 1..=100);
    for (n, (_, receiver)) in distinct.iter().enumerate().skip(1).take(100) {
        assert_eq!(received(receiver, 1), [n as i32]);
    }
    let concern = ReadConcern::Durable;
    eventually("the tail is behind", || {
        dispatcher.stats(concern).position == writer.newest()
    });
    assert_eq!(dispatcher.stats(concern).tail.evaluations, 100);
    assert!(elsewhere.iter().all(|(_, receiver)| receiver.is_empty()));
}

#[test]
fn a_watch_joins_between_any_two_entries_while_others_flow() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let writing = std::thread::spawn({
        let writer = writer.clone();
        move || {
            let memory = Writer {
                durability: Durability::Memory,
                ..writer
            };
            insert_orders(&memory, 1..=20_000);
            memory.log.sync(memory.log.watermarks().appended).unwrap();
        }
    });
    let mut joined = Vec::new();
    while !writing.is_finished() {
        let watch = dispatcher.watch(collection(ORDERS)).read_concern(ReadConcern::Local);
        let subscription = watch.channel_capacity(7, usize::MAX).subscribe().unwrap();
        let begun = subscription.1.resume_token().op_id();
        joined.push((begun, subscription));
        if joined.len() > 50 {
            drop(joined.remove(0));
        }
    }
    writing.join().unwrap();
    assert!(!joined.is_empty());
    for (begun, (_, receiver)) in &joined {
        // Order n is entry n.
        let first = begun.get() as i32 + 1;
        assert_eq!(
            received(receiver, (20_001 - first) as usize),
            (first..=20_000).collect::<Vec<_>>()
        );
        assert!(receiver.is_empty());
    }
}

#[test]
fn a_token_from_in_front_of_an_idle_tail_takes_nothing_from_who_begins_now() {
    // A watch that sees entries at once has a token that one which waits for them to be durable can resume with.
    let dir = temporary();
    let options = oplog::Options {
        segment_bytes: 1 << 20,
        // Nothing is made durable that nobody asks for.
        sync_interval: Duration::from_secs(24 * 3600),
        ..oplog::Options::default()
    };
    let writer = Writer {
        log: options.open(dir.path()).unwrap(),
        durability: Durability::Disk,
    };
    let dispatcher = dispatcher(&writer);
    insert_orders(&writer, 1..=5);
    let unsynced = Writer {
        durability: Durability::Memory,
        ..writer.clone()
    };
    insert_orders(&unsynced, 6..=10);
    let mut local = writer
        .watch(collection(ORDERS))
        .read_concern(ReadConcern::Local)
        .start_at_oldest()
        .start()
        .unwrap();
    assert_eq!(drain(&mut local).len(), 10);
    assert_eq!(writer.newest(), OpId::new(5));
    let watch = || dispatcher.watch(collection(ORDERS));
    let (_ahead, ahead) = watch().resume_after(local.resume_token()).subscribe().unwrap();
    eventually("the tail has taken the watch", || {
        dispatcher.stats(ReadConcern::Durable).live == 1
    });
    let (_now, now) = watch().subscribe().unwrap();
    assert_eq!(now.resume_token().op_id(), OpId::new(5));
    insert_orders(&writer, 11..=11);
    assert_eq!(received(&now, 6), (6..=11).collect::<Vec<_>>());
    assert_eq!(received(&ahead, 1), [11]);
    assert!(ahead.is_empty());
}

#[test]
fn a_watch_is_parked_within_a_batch_and_goes_on_within_it() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    for capacity in 1..=5 {
        let watch = dispatcher
            .watch(collection(ORDERS))
            .channel_capacity(capacity, usize::MAX);
        let (_handle, receiver) = watch.subscribe().unwrap();
        let documents: Vec<_> = (1..=10).map(|id| rawdoc! { "_id": id }).collect();
        let payloads = documents.iter().map(|document| {
            let mut payload = Vec::new();
            let mut entry = common::of(ORDERS);
            entry.document = Some(document);
            entry.encode(&mut payload);
            payload
        });
        let payloads: Vec<_> = payloads.collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|payload| [payload.as_slice()]).collect();
        let kind = EntryKind::Insert.number();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind, payload }).collect();
        writer.log.append_batch(&records, Durability::Disk).unwrap();
        eventually("the channel is not full", || receiver.len() == capacity);
        assert_eq!(received(&receiver, 10), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn stalled_watches_cost_one_attempt_each_and_hold_up_nobody() {
    const STALLED: usize = 500;
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let stalled: Vec<_> = (0..STALLED)
        .map(|n| {
            let stage = doc! { "$match": { "fullDocument.n": { "$gt": -(n as i32) } } };
            let watch = dispatcher.watch(collection(ORDERS)).pipeline([stage]);
            watch.channel_capacity(3, usize::MAX).subscribe().unwrap()
        })
        .collect();
    let (_handle, quick) = dispatcher.watch(collection(ORDERS)).subscribe().unwrap();
    insert_orders(&writer, 1..=200);
    assert_eq!(received(&quick, 200), (1..=200).collect::<Vec<_>>());
    eventually("the tail is behind", || {
        dispatcher.stats(ReadConcern::Durable).position == writer.newest()
    });
    let stats = dispatcher.stats(ReadConcern::Durable);
    // Each took three, did not take the fourth, and was not asked again.
    assert_eq!((stats.tail.parks, stats.live), (STALLED as u64, 1));
    assert_eq!(stats.tail.delivered, 3 * STALLED as u64 + 200);
    assert_eq!(stats.behind.entries, 0);
    for (_, receiver) in &stalled {
        assert_eq!(received(receiver, 200), (1..=200).collect::<Vec<_>>());
    }
    // With the next entry all are on the shared tail again.
    insert_orders(&writer, 201..=201);
    for (_, receiver) in &stalled {
        assert_eq!(received(receiver, 1), [201]);
    }
    eventually("some watch has not come back", || {
        dispatcher.stats(ReadConcern::Durable).live > STALLED
    });
}

#[test]
fn watches_that_return_together_share_what_they_read() {
    const WATCHES: usize = 200;
    let (_dir, writer) = orders(2000);
    let dispatcher = dispatcher(&writer);
    let behind: Vec<_> = (0..WATCHES)
        .map(|n| {
            let stage = doc! { "$match": { "fullDocument.n": n as i32 + 1 } };
            let watch = dispatcher.watch(collection(ORDERS)).pipeline([stage]).start_at_oldest();
            watch.subscribe().unwrap()
        })
        .collect();
    for (n, (_, receiver)) in behind.iter().enumerate() {
        assert_eq!(received(receiver, 1), [n as i32 + 1]);
    }
    let entries = dispatcher.stats(ReadConcern::Durable).behind.entries;
    assert!(entries < 2000 * WATCHES as u64 / 4, "{entries} entries were read");
}

#[test]
fn the_token_of_a_quiet_watch_moves() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let (_handle, quiet) = subscribe(&dispatcher, doc! { "fullDocument.n": -1 });
    insert_orders(&writer, 1..=50);
    eventually("the token stands still", || {
        quiet.resume_token().op_id() == OpId::new(50)
    });
    // It is good to resume with, also where the log forgets what was before it.
    writer.fill("shop.other", 2000);
    eventually("the token stands still", || {
        quiet.resume_token().op_id() == writer.newest()
    });
    writer.trim();
    insert_orders(&writer, -1..=-1);
    let resumed = writer.watch(collection(ORDERS)).resume_after(quiet.resume_token());
    assert!(ids(&drain(&mut resumed.start().unwrap())).len() <= 1);
    assert_eq!(received(&quiet, 1), [-1]);
}

#[test]
fn a_trim_that_overtakes_a_parked_watch_is_told_behind_its_events() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let watch = dispatcher.watch(Scope::Everything).channel_capacity(2, usize::MAX);
    let (handle, receiver) = watch.subscribe().unwrap();
    insert_orders(&writer, 1..=3);
    eventually("it is not parked", || {
        dispatcher.stats(ReadConcern::Durable).tail.parks == 1
    });
    writer.fill("shop.other", 3000);
    writer.trim();
    assert_eq!(received(&receiver, 2), [1, 2]);
    let error = receiver.recv_timeout(PATIENCE).unwrap_err();
    let lost = matches!(&error, RecvError::Failed(Error::Log(oplog::Error::HistoryLost { requested, .. })) if *requested == OpId::new(3));
    assert!(lost, "{error:?}");
    assert!(handle.is_ended());
}

#[test]
fn a_close_is_told_behind_the_events_also_to_those_who_lag() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let watches: Vec<_> = [1, 3, 1000]
        .map(|capacity| {
            dispatcher
                .watch(collection(ORDERS))
                .channel_capacity(capacity, usize::MAX)
                .subscribe()
                .unwrap()
        })
        .into();
    insert_orders(&writer, 1..=10);
    writer.log.close().unwrap();
    for (_, receiver) in &watches {
        assert_eq!(received(receiver, 10), (1..=10).collect::<Vec<_>>());
        let error = receiver.recv_timeout(PATIENCE).unwrap_err();
        assert!(
            matches!(error, RecvError::Failed(Error::Log(oplog::Error::Closed))),
            "{error:?}"
        );
    }
    // A watch of a closed log says so as well.
    let (_handle, late) = dispatcher.watch(collection(ORDERS)).subscribe().unwrap();
    let error = late.recv_timeout(PATIENCE).unwrap_err();
    assert!(
        matches!(error, RecvError::Failed(Error::Log(oplog::Error::Closed))),
        "{error:?}"
    );
}

#[test]
fn an_invalidate_comes_also_to_a_full_channel_and_ends_only_what_it_concerns() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let watches: Vec<_> = [1, 2, 3, 1000]
        .map(|capacity| {
            dispatcher
                .watch(collection(ORDERS))
                .channel_capacity(capacity, usize::MAX)
                .subscribe()
                .unwrap()
        })
        .into();
    let (_other_handle, other) = dispatcher.watch(collection("shop.other")).subscribe().unwrap();
    insert_orders(&writer, 1..=2);
    writer.drop_collection(ORDERS);
    writer.insert("shop.other", &rawdoc! { "_id": 7 });
    for (_, receiver) in &watches {
        let events: Vec<_> = receiver.iter().map(|event| short(&event.unwrap())).collect();
        assert_eq!(events[2..], ["drop shop.orders", "invalidate shop.orders"]);
    }
    assert_eq!(received(&other, 1), [7]);
}

#[test]
fn dropping_full_channels_and_the_dispatcher_in_any_order_ends() {
    let (_dir, writer) = orders(0);
    for order in 0..6 {
        let dispatcher = dispatcher(&writer);
        let watch = dispatcher.watch(collection(ORDERS)).channel_capacity(1, usize::MAX);
        let (handle, receiver) = watch.subscribe().unwrap();
        let begun = receiver.resume_token();
        insert_orders(&writer, 1..=5);
        eventually("the channel is not full", || receiver.len() == 1);
        let (mut dispatcher, mut handle, mut receiver) = (Some(dispatcher), Some(handle), Some(receiver));
        for step in 0..3 {
            match (order + step * (1 + order / 3)) % 3 {
                0 => drop(dispatcher.take()),
                1 => drop(handle.take()),
                _ => drop(receiver.take()),
            }
        }
        let resumed = writer.watch(collection(ORDERS)).resume_after(begun);
        assert_eq!(ids(&drain(&mut resumed.start().unwrap())), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_receiver_is_a_stream() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_handle, mut receiver) = dispatcher.watch(collection(ORDERS)).subscribe().unwrap();
    let writing = std::thread::spawn(move || {
        insert_orders(&writer, 1..=100);
        writer.log.close().unwrap();
    });
    let events: Vec<_> = runtime.block_on(async { receiver.by_ref().collect().await });
    writing.join().unwrap();
    let (last, events) = events.split_last().unwrap();
    let events: Vec<_> = events.iter().map(|event| event.clone().unwrap()).collect();
    assert_eq!(ids(&events), (1..=100).collect::<Vec<_>>());
    assert!(matches!(last, Err(Error::Log(oplog::Error::Closed))), "{last:?}");
    assert!(runtime.block_on(receiver.next()).is_none());
}

#[test]
fn watches_on_both_concerns_and_of_another_process_see_the_same() {
    let (dir, writer) = orders(0);
    let here = dispatcher(&writer);
    let there = Dispatcher::new(oplog::OplogView::open(dir.path()).unwrap());
    let watches: Vec<(WatchHandle, Receiver)> = [ReadConcern::Local, ReadConcern::Durable]
        .into_iter()
        .flat_map(|concern| {
            [&here, &there].map(|dispatcher| dispatcher.watch(collection(ORDERS)).read_concern(concern))
        })
        .map(|watch: Watch| watch.subscribe().unwrap())
        .collect();
    insert_orders(&writer, 1..=20);
    for (_, receiver) in &watches {
        assert_eq!(received(receiver, 20), (1..=20).collect::<Vec<_>>());
    }
}

/// It is lost to everybody who has come to it. Who begins behind it, and who comes later, goes on.
#[test]
fn an_entry_that_cannot_be_read_is_told_to_those_who_need_it() {
    let dir = temporary();
    let options = oplog::Options {
        segment_bytes: 1 << 20,
        // Nothing is released but by the test.
        sync_interval: Duration::from_secs(3600),
        ..oplog::Options::default()
    };
    let writer = Writer {
        log: options.open(dir.path()).unwrap(),
        durability: Durability::Memory,
    };
    let release = || writer.log.sync(writer.log.watermarks().appended).unwrap();
    let there = Dispatcher::new(oplog::OplogView::open(dir.path()).unwrap());
    let watch = || there.watch(collection(ORDERS));
    let concerned = [(); 2].map(|()| watch().subscribe().unwrap());
    for n in 1..=3 {
        writer.insert(ORDERS, &rawdoc! { "_id": n, "mark": format!("mark-{n}") });
    }
    let mut here = Watch::new(writer.log.view(), collection(ORDERS))
        .read_concern(ReadConcern::Local)
        .start_at_oldest()
        .start()
        .unwrap();
    let last = drain(&mut here).pop().unwrap().resume_token();
    let behind = watch().resume_after(last).subscribe().unwrap();

    damage(dir.path(), b"mark-2");
    release();
    for (handle, receiver) in &concerned {
        assert_eq!(received(receiver, 1), [1]);
        let error = receiver.recv_timeout(PATIENCE).unwrap_err();
        let corrupt = matches!(&error, RecvError::Failed(Error::Log(oplog::Error::Corrupt { .. })));
        assert!(corrupt, "{error:?}");
        assert!(handle.is_ended());
    }
    let later = watch().subscribe().unwrap();
    writer.insert(ORDERS, &rawdoc! { "_id": 4 });
    release();
    for (_, receiver) in [&behind, &later] {
        assert_eq!(received(receiver, 1), [4]);
    }
}

/// Changes the first byte of `bytes` in the log's files.
fn damage(log: &Path, bytes: &[u8]) {
    for file in fs::read_dir(log).unwrap() {
        let path = file.unwrap().path();
        let Ok(content) = fs::read(&path) else { continue };
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[bytes[0] ^ 1], at as u64).unwrap();
            return;
        }
    }
    panic!("the log does not hold that");
}
