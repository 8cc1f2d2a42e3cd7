//! A snapshot, then every change behind it.

use crate::common;

use std::time::Duration;

use common::{Home, PATIENCE, id};
use futures::{FutureExt, StreamExt};
use tailwater::bson::{RawDocumentBuf, doc, rawdoc};
use tailwater::oplog::SlotState;
use tailwater::{LogError, LogView, Scope, SnapshotEvent, SnapshotStream, SnapshotToken, Store, Watch, WatchError};

fn insert(store: &Store, collection: &str, ids: std::ops::RangeInclusive<i32>) {
    let collection = store.collection("shop", collection).unwrap();
    for id in ids {
        collection.insert_one(&rawdoc! { "_id": id, "n": id }).unwrap();
    }
}

fn set(store: &Store, id: i32, n: i32) {
    let orders = store.collection("shop", "orders").unwrap();
    orders
        .update_one(&rawdoc! { "_id": id }, &rawdoc! { "$set": { "n": n } })
        .unwrap();
}

fn drain(stream: &mut SnapshotStream) -> Vec<SnapshotEvent> {
    std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
}

/// Operation and `_id` of each.
fn told(events: &[SnapshotEvent]) -> Vec<(&'static str, i32)> {
    events
        .iter()
        .map(|event| (event.operation_name(), id(&event.document_key().unwrap())))
        .collect()
}

fn orders(store: &Store) -> Watch {
    store.collection("shop", "orders").unwrap().watch()
}

#[test]
fn documents_come_first_and_every_later_change_behind_them() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=4);
    insert(&home.store, "items", 1..=3);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    // Behind the snapshot, though the stream has not begun to read it.
    set(&home.store, 2, 20);
    insert(&home.store, "orders", 5..=5);
    home.store.sync().unwrap();

    let first = stream.wait_next(Some(PATIENCE)).unwrap().unwrap();
    assert!(!stream.is_snapshot_delivered());
    let mut events = vec![first];
    events.extend(drain(&mut stream));
    let expected = [
        ("snapshot", 1),
        ("snapshot", 2),
        ("snapshot", 3),
        ("snapshot", 4),
        ("update", 2),
        ("insert", 5),
    ];
    assert_eq!(told(&events), expected);
    assert_eq!(events[1].full_document().unwrap().get_i32("n").unwrap(), 2);
    assert!(stream.is_snapshot_delivered());
}

#[test]
fn the_event_of_a_document_has_the_fields_of_an_insert() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=1);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    let event = stream.next_if_any().unwrap().unwrap();
    let document = event.to_document();
    let names: Vec<_> = document
        .iter()
        .map(|field| field.unwrap().0.as_str().to_owned())
        .collect();
    let expected = [
        "_id",
        "operationType",
        "clusterTime",
        "wallTime",
        "fullDocument",
        "ns",
        "documentKey",
    ];
    assert_eq!(names, expected);
    assert_eq!(document.get_str("operationType").unwrap(), "snapshot");
    assert_eq!(
        document.get_document("ns").unwrap(),
        &*rawdoc! { "db": "shop", "coll": "orders" }
    );
    assert_eq!(
        document.get_document("fullDocument").unwrap(),
        &*rawdoc! { "_id": 1, "n": 1 }
    );
    let token = SnapshotToken::from_document(document.get_document("_id").unwrap()).unwrap();
    assert_eq!(&token, event.resume_token());
}

#[test]
fn filter_and_pipeline_hold_for_documents_as_for_changes() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=6);
    let mut filtered = orders(&home.store).filter("n > 4").with_snapshot().start().unwrap();
    let stages = [
        doc! { "$match": { "fullDocument.n": { "$lt": 3 } } },
        doc! { "$project": { "operationType": 1, "n": "$fullDocument.n" } },
    ];
    let mut shaped = orders(&home.store).pipeline(stages).with_snapshot().start().unwrap();
    let only_inserts = [doc! { "$match": { "operationType": "insert" } }];
    let mut changes = orders(&home.store)
        .pipeline(only_inserts)
        .with_snapshot()
        .start()
        .unwrap();
    insert(&home.store, "orders", 7..=7);
    set(&home.store, 1, 9);
    home.store.sync().unwrap();

    let expected = [("snapshot", 5), ("snapshot", 6), ("insert", 7), ("update", 1)];
    assert_eq!(told(&drain(&mut filtered)), expected);
    let documents: Vec<RawDocumentBuf> = drain(&mut shaped).iter().map(SnapshotEvent::to_document).collect();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].get_i32("n").unwrap(), 2);
    assert!(documents[1].get("fullDocument").unwrap().is_none());
    assert_eq!(told(&drain(&mut changes)), [("insert", 7)]);
}

#[test]
fn a_pipeline_that_changes_a_documents_token_is_refused() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=1);
    let stages = [doc! { "$set": { "_id._data": "mine" } }];
    let mut stream = orders(&home.store).pipeline(stages).with_snapshot().start().unwrap();
    for _ in 0..2 {
        let error = stream.next_if_any().unwrap_err();
        assert!(matches!(error, WatchError::TokenModified { .. }), "{error}");
    }
}

#[test]
fn resuming_inside_the_snapshot_leaves_no_gap_and_repeats_nothing() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=6);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    let mut events: Vec<_> = (0..3).map(|_| stream.next_if_any().unwrap().unwrap()).collect();
    let kept = stream.resume_token().to_string();
    assert_eq!(kept, events[2].resume_token().to_string());
    drop(stream);

    // Of what has been delivered, what has not, and what comes into being on either side.
    set(&home.store, 2, 20);
    set(&home.store, 5, 50);
    home.store
        .collection("shop", "orders")
        .unwrap()
        .delete_one(&rawdoc! { "_id": 6 })
        .unwrap();
    insert(&home.store, "orders", 0..=0);
    insert(&home.store, "orders", 7..=7);
    let home = home.crash();

    let token: SnapshotToken = kept.parse().unwrap();
    let mut stream = orders(&home.store).with_snapshot().resume_after(token).start().unwrap();
    set(&home.store, 4, 40);
    home.store.sync().unwrap();
    events = drain(&mut stream);
    let expected = [
        ("update", 2),
        ("insert", 0),
        ("snapshot", 4),
        ("snapshot", 5),
        ("snapshot", 7),
        ("update", 4),
    ];
    assert_eq!(told(&events), expected);
    assert_eq!(events[3].full_document().unwrap().get_i32("n").unwrap(), 50);
    // A change that comes before the snapshot's end leads back into it.
    let update = events[0].to_document();
    let token = SnapshotToken::from_document(update.get_document("_id").unwrap()).unwrap();
    assert!(token.is_inside_snapshot());
    let mut again = orders(&home.store).with_snapshot().resume_after(token).start().unwrap();
    let expected = [("insert", 0), ("update", 4)];
    assert_eq!(told(&drain(&mut again))[..1], expected[..1]);
}

#[test]
fn behind_the_snapshot_the_token_is_an_ordinary_one() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    drain(&mut stream);
    let token = stream.resume_token().clone();
    assert!(!token.is_inside_snapshot());
    insert(&home.store, "orders", 3..=3);
    home.store.sync().unwrap();

    let mut plain = orders(&home.store).resume_after(token.position()).start().unwrap();
    assert!(plain.next_if_any().unwrap().is_some());
    let resumed = orders(&home.store).with_snapshot().resume_after(token).start();
    assert_eq!(told(&drain(&mut resumed.unwrap())), [("insert", 3)]);
}

#[test]
fn an_empty_scope_has_an_empty_snapshot() {
    let home = Home::new();
    let mut stream = home.store.watch().with_snapshot().start().unwrap();
    assert!(stream.next_if_any().unwrap().is_none());
    assert!(stream.is_snapshot_delivered());
    insert(&home.store, "orders", 1..=1);
    home.store.sync().unwrap();
    assert_eq!(told(&drain(&mut stream)), [("insert", 1)]);
}

#[test]
fn the_end_of_the_collection_ends_the_stream_behind_the_snapshot() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    let kept = stream.next_if_any().unwrap().unwrap().resume_token().clone();
    home.store.drop_collection("shop", "orders").unwrap();
    home.store.sync().unwrap();
    let names = |events: &[SnapshotEvent]| events.iter().map(SnapshotEvent::operation_name).collect::<Vec<_>>();
    assert_eq!(names(&drain(&mut stream)), ["snapshot", "drop", "invalidate"]);
    assert!(stream.is_ended());

    let mut resumed = orders(&home.store).with_snapshot().resume_after(kept).start().unwrap();
    assert_eq!(names(&drain(&mut resumed)), ["drop", "invalidate"]);
    assert!(resumed.is_ended());
}

#[test]
fn the_log_is_held_while_the_snapshot_is_read_and_not_longer() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let held = || {
        let slots = home.store.slots().into_iter();
        slots
            .filter(|slot| slot.name.starts_with("snapshot.") && slot.state == SlotState::Active)
            .count()
    };
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    stream.next_if_any().unwrap().unwrap();
    assert_eq!(held(), 1);
    // A crash leaves it on disk; the next opening drops it.
    let crashed = home.crash();
    assert!(
        crashed
            .store
            .slots()
            .iter()
            .all(|slot| !slot.name.starts_with("snapshot."))
    );
    drain(&mut stream);
    assert_eq!(held(), 0);
    let stream = orders(&home.store).with_snapshot().start().unwrap();
    assert_eq!(held(), 1);
    drop(stream);
    assert_eq!(held(), 0);
    // A stopped one holds nothing for a receiver that is still there.
    let (handle, mut receiver) = orders(&home.store).with_snapshot().subscribe().unwrap();
    receiver.recv().unwrap();
    assert_eq!(held(), 1);
    handle.stop();
    assert!(receiver.recv().is_err());
    assert_eq!(held(), 0);
}

#[test]
fn the_log_is_held_until_the_stream_has_caught_up_behind_the_snapshot() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let mut stream = orders(&home.store)
        .with_snapshot()
        .max_lag_bytes(64 << 20)
        .start()
        .unwrap();
    let mut taken = vec![next_id(&mut stream)];
    // More than a segment, half of it for the stream.
    let filler = home.store.collection("shop", "filler").unwrap();
    for id in 3..2_500 {
        insert(&home.store, "orders", id..=id);
        filler.insert_one(&rawdoc! { "text": "x".repeat(1_000) }).unwrap();
    }
    home.store.sync().unwrap();
    taken.push(next_id(&mut stream));
    let trim = || {
        let newest = home.store.log().newest(tailwater::ReadConcern::Durable);
        home.store.trim_log(newest)
    };
    let begun = home.store.log().watermarks().oldest;
    while taken.len() < 2_499 {
        let _ = trim();
        taken.push(next_id(&mut stream));
    }
    assert!(taken.iter().copied().eq(1..2_500));
    assert!(home.store.log().watermarks().oldest > begun, "what was read is let go");
    assert!(stream.next_if_any().unwrap().is_none());
    let mut slots = home.store.slots().into_iter();
    assert!(slots.all(|slot| !slot.name.starts_with("snapshot.")));
}

fn next_id(stream: &mut SnapshotStream) -> i32 {
    let event = stream.next_if_any().unwrap().unwrap();
    id(&event.document_key().unwrap())
}

#[test]
fn a_snapshot_whose_history_is_gone_is_refused_by_name() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    let kept = stream.next_if_any().unwrap().unwrap().resume_token().clone();
    drop(stream);
    let filler = home.store.collection("shop", "filler").unwrap();
    for id in 0..5_000 {
        filler
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(1_000) })
            .unwrap();
    }
    home.store.sync().unwrap();
    let newest = home.store.log().newest(tailwater::ReadConcern::Durable);
    assert!(home.store.trim_log(newest).unwrap() > kept.position().op_id().next());

    let resumed = || orders(&home.store).with_snapshot().resume_after(kept.clone());
    let refused = resumed().start().unwrap_err();
    assert!(
        matches!(refused, WatchError::Log(LogError::HistoryLost { .. })),
        "{refused}"
    );

    // Or it begins anew in the same call, and says so.
    insert(&home.store, "orders", 3..=3);
    let mut anew = resumed().anew_if_lost(true).start().unwrap();
    assert!(anew.begins_anew());
    insert(&home.store, "orders", 4..=4);
    home.store.sync().unwrap();
    assert_eq!([(); 4].map(|()| next_id(&mut anew)), [1, 2, 3, 4]);
    let behind = anew.resume_token().clone();
    insert(&home.store, "orders", 5..=5);
    home.store.sync().unwrap();
    // What is still there is resumed as ever, and a first start is none.
    let watch = || orders(&home.store).with_snapshot().anew_if_lost(true);
    let mut there = watch().resume_after(behind).start().unwrap();
    assert!(!there.begins_anew());
    assert_eq!(next_id(&mut there), 5);
    assert!(!watch().start().unwrap().begins_anew());
}

#[test]
fn what_cannot_begin_with_a_snapshot_is_refused() {
    let home = Home::new();
    let conflicting = orders(&home.store).start_at_oldest().with_snapshot().start();
    assert!(matches!(conflicting, Err(WatchError::ConflictingStart)));
    let view: LogView = home.store.log();
    let alone = Watch::new(view, Scope::Everything).with_snapshot().start();
    assert!(matches!(alone, Err(WatchError::NoStore)));
}

#[tokio::test]
async fn it_is_a_futures_stream() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=600);
    let mut stream = orders(&home.store).filter("n > 598").with_snapshot().start().unwrap();
    let mut events = vec![
        stream.next().await.unwrap().unwrap(),
        stream.next().await.unwrap().unwrap(),
    ];
    insert(&home.store, "orders", 601..=601);
    home.store.sync().unwrap();
    events.push(stream.next().await.unwrap().unwrap());
    assert_eq!(told(&events), [("snapshot", 599), ("snapshot", 600), ("insert", 601)]);
}

#[test]
fn a_task_that_resumes_a_snapshot_lets_others_run() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=3);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    stream.next_if_any().unwrap().unwrap();
    let token = stream.resume_token().clone();
    drop(stream);
    // All of it is to be looked at, and nothing of it is for this stream.
    let noise = home.store.collection("shop", "noise").unwrap();
    let documents: Vec<RawDocumentBuf> = (0..40_000).map(|id| rawdoc! { "_id": id }).collect();
    for some in documents.chunks(10_000) {
        noise.insert_many(some.iter().map(|document| &**document)).unwrap();
    }
    let mut stream = orders(&home.store).with_snapshot().resume_after(token).start().unwrap();
    assert!(
        stream.next().now_or_never().is_none(),
        "it has looked at everything in one go"
    );
    assert_eq!(told(&drain(&mut stream)), [("snapshot", 2), ("snapshot", 3)]);
}

#[test]
fn who_has_had_the_whole_snapshot_waits_for_the_first_change() {
    let home = Home::new();
    insert(&home.store, "orders", 1..=2);
    let mut stream = orders(&home.store).with_snapshot().start().unwrap();
    for _ in 0..2 {
        stream.wait_next(Some(PATIENCE)).unwrap().unwrap();
    }
    let waiting = std::thread::spawn(move || stream.wait_next(Some(PATIENCE)).unwrap());
    // Long enough for it to be asked before there is anything.
    std::thread::sleep(Duration::from_millis(20));
    insert(&home.store, "orders", 3..=3);
    assert!(waiting.join().unwrap().is_some(), "it did not wait");
}
