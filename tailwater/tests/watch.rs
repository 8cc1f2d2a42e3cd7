//! Store and change streams together: what is written to the one is what the other shows.

use crate::common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::copy_dir;
use tailwater::bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{
    ChangeEvent, ChangeStream, Collection, Durability, FullDocument, LogError, LogView, OpId, OperationType,
    ReadConcern, RecvError, ResumeToken, Scope, Store, StoreOptions, TransactionOptions, TransactionSession, Watch,
    WatchError, log_directory,
};

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with small segments, because each is prepared by writing it, and its collection `shop.orders`.
fn orders(dir: &Path) -> (Store, Collection) {
    let mut options = StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    let store = Store::open_with(dir, &options).unwrap();
    let orders = store.collection("shop", "orders").unwrap();
    (store, orders)
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn insert(collection: &Collection, ids: std::ops::RangeInclusive<i32>) {
    for id in ids {
        collection.insert_one(&rawdoc! { "_id": id, "n": id }).unwrap();
    }
}

fn drain(stream: &mut ChangeStream) -> Vec<ChangeEvent> {
    std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
}

fn id(event: &ChangeEvent) -> i32 {
    event.document_key().unwrap().get_i32("_id").unwrap()
}

fn ids(events: &[ChangeEvent]) -> Vec<i32> {
    events.iter().map(id).collect()
}

fn names(events: &[ChangeEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.operation_type().name()).collect()
}

/// The next so many events of a stream that is fed meanwhile.
fn wait_for(stream: &mut ChangeStream, count: usize) -> Vec<ChangeEvent> {
    let next = || stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn every_watcher_sees_its_own_part_of_the_same_writes() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    let items = store.collection("shop", "items").unwrap();
    let people = store.collection("town", "people").unwrap();
    let mut all = store.watch().start().unwrap();
    let mut shop = store.watch_database("shop").start().unwrap();
    let mut large = orders.watch().filter("n > 8").start().unwrap();
    let (_handle, received) = people.watch().subscribe().unwrap();

    for collection in [&orders, &items, &people] {
        insert(collection, 1..=10);
    }
    orders.delete_one(&rawdoc! { "_id": 9 }).unwrap();

    assert_eq!(drain(&mut all).len(), 31);
    assert_eq!(drain(&mut shop).len(), 21);
    assert_eq!(ids(&drain(&mut large)), [9, 10]);
    let received: Vec<_> = received.iter().take(10).map(Result::unwrap).collect();
    assert_eq!(ids(&received), (1..=10).collect::<Vec<_>>());
    assert!(
        received
            .iter()
            .all(|event| event.database() == "town" && event.collection() == "people")
    );
}

#[test]
fn an_update_shows_the_document_as_that_update_left_it() {
    let dir = temporary();
    let (_store, orders) = orders(dir.path());
    orders.insert_one(&rawdoc! { "_id": 1, "n": 0, "tags": ["a"] }).unwrap();
    let mut stream = orders
        .watch()
        .full_document(FullDocument::UpdateLookup)
        .start()
        .unwrap();
    for _ in 0..3 {
        orders
            .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$inc": { "n": 1 } })
            .unwrap();
    }
    orders
        .update_one(
            &rawdoc! {},
            &rawdoc! { "$set": { "tags.1": "b" }, "$unset": { "n": "" } },
        )
        .unwrap();
    orders.replace_one(&rawdoc! {}, &rawdoc! { "new": true }).unwrap();
    orders.delete_one(&rawdoc! {}).unwrap();

    // The document is gone by now; each event shows it as it was.
    let events = drain(&mut stream);
    assert_eq!(
        names(&events),
        ["update", "update", "update", "update", "replace", "delete"]
    );
    let shown: Vec<_> = events
        .iter()
        .map(|event| event.full_document().map(RawDocument::to_owned))
        .collect();
    let expected = [
        Some(rawdoc! { "_id": 1, "n": 1, "tags": ["a"] }),
        Some(rawdoc! { "_id": 1, "n": 2, "tags": ["a"] }),
        Some(rawdoc! { "_id": 1, "n": 3, "tags": ["a"] }),
        Some(rawdoc! { "_id": 1, "tags": ["a", "b"] }),
        Some(rawdoc! { "_id": 1, "new": true }),
        None,
    ];
    assert_eq!(shown, expected);
    let description = events[3].update_description().unwrap();
    assert_eq!(
        description.get_document("updatedFields").unwrap(),
        &*rawdoc! { "tags.1": "b" }
    );
    assert_eq!(
        description.get_array("removedFields").unwrap(),
        tailwater::bson::rawbson!(["n"]).as_array().unwrap()
    );
}

#[test]
fn a_write_that_changes_nothing_or_is_refused_makes_no_event() {
    let dir = temporary();
    let (_store, orders) = orders(dir.path());
    insert(&orders, 1..=1);
    let mut stream = orders.watch().start().unwrap();
    orders
        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "n": 1 } })
        .unwrap();
    orders.insert_one(&rawdoc! { "_id": 1 }).unwrap_err();
    orders
        .update_one(&rawdoc! {}, &rawdoc! { "$set": { "_id": 2 } })
        .unwrap_err();
    orders.delete_many(&rawdoc! { "n": 9 }).unwrap();
    assert_eq!(names(&drain(&mut stream)), [""; 0]);
}

/// Does to a copy of a collection what an event says.
fn follow(copy: &mut BTreeMap<i32, RawDocumentBuf>, event: &ChangeEvent) {
    match event.full_document() {
        Some(document) => copy.insert(id(event), document.to_owned()),
        None => copy.remove(&id(event)),
    };
}

#[test]
fn reading_a_collection_and_following_it_from_before_gives_the_collection() {
    let dir = temporary();
    let (_store, orders) = orders(dir.path());
    let orders = orders.with_durability(Durability::Memory);
    insert(&orders, 1..=200);
    let watch = orders
        .watch()
        .full_document(FullDocument::UpdateLookup)
        .read_concern(ReadConcern::Local);
    let (mut copy, mut stream) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..1000 {
                match n % 4 {
                    0 => drop(orders.delete_one(&rawdoc! { "_id": n / 4 }).unwrap()),
                    1 => insert(&orders, 1000 + n..=1000 + n),
                    _ => drop(
                        orders
                            .update_one(&rawdoc! { "_id": n / 3 }, &rawdoc! { "$inc": { "n": n } })
                            .unwrap(),
                    ),
                };
            }
        });
        let stream = watch.start().unwrap();
        let read = orders.find(&rawdoc! {}).unwrap().map(Result::unwrap);
        let copy: BTreeMap<_, _> = read
            .map(|document| (document.get_i32("_id").unwrap(), document))
            .collect();
        (copy, stream)
    });
    for event in drain(&mut stream) {
        follow(&mut copy, &event);
    }
    let expected: Vec<_> = orders.find(&rawdoc! {}).unwrap().map(Result::unwrap).collect();
    assert_eq!(copy.into_values().collect::<Vec<_>>(), expected);
}

#[test]
fn a_view_from_outside_follows_the_store_through_its_restart() {
    let dir = temporary();
    let (store, before) = orders(dir.path());
    insert(&before, 1..=5);
    let view = LogView::open(log_directory(dir.path())).unwrap();
    let scope = Scope::Collection {
        database: "shop".into(),
        collection: "orders".into(),
    };
    let mut outside = Watch::new(view, scope).start_at_oldest().start().unwrap();
    assert_eq!(ids(&wait_for(&mut outside, 5)), [1, 2, 3, 4, 5]);
    std::thread::scope(|scope| {
        scope.spawn(|| insert(&before, 6..=100));
        assert_eq!(ids(&wait_for(&mut outside, 95)), (6..=100).collect::<Vec<_>>());
    });
    store.close().unwrap();
    let (_store, after) = orders(dir.path());
    insert(&after, 101..=102);
    assert_eq!(ids(&wait_for(&mut outside, 2)), [101, 102]);
    // Its tokens are the store's.
    let mut inside = after.watch().resume_after(outside.resume_token()).start().unwrap();
    insert(&after, 103..=103);
    assert_eq!(ids(&drain(&mut inside)), [103]);
}

#[test]
fn a_watcher_goes_on_after_the_store_was_closed_and_opened_again() {
    let dir = temporary();
    let (store, before) = orders(dir.path());
    let (_handle, receiver) = before.watch().subscribe().unwrap();
    insert(&before, 1..=3);
    let token = receiver.recv_timeout(PATIENCE).unwrap().resume_token().to_string();
    store.close().unwrap();
    // What was released before the close still arrives, then the end by its name.
    assert_eq!(id(&receiver.recv().unwrap()), 2);
    assert_eq!(id(&receiver.recv().unwrap()), 3);
    let end = receiver.recv().unwrap_err();
    assert!(
        matches!(end, RecvError::Failed(WatchError::Log(LogError::Closed))),
        "{end:?}"
    );

    let (_store, after) = orders(dir.path());
    insert(&after, 4..=4);
    let token: ResumeToken = token.parse().unwrap();
    let mut stream = after.watch().resume_after(token).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [2, 3, 4]);
}

#[test]
fn a_watcher_goes_on_in_what_a_crash_left() {
    let (dir, crashed) = (temporary(), temporary());
    let (_store, before) = orders(dir.path());
    let mut stream = before.watch().start().unwrap();
    insert(&before, 1..=3);
    let token = stream.next_if_any().unwrap().unwrap().resume_token();
    // The state is not copied at all, and rebuilt from the log.
    copy_dir(&log_directory(dir.path()), &log_directory(crashed.path()));
    let (_crashed_store, after) = orders(crashed.path());
    assert_eq!(after.count(&rawdoc! {}).unwrap(), 3);
    insert(&after, 4..=4);
    let mut stream = after.watch().resume_after(token).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [2, 3, 4]);
}

#[test]
fn dropping_a_database_ends_what_watches_it() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    insert(&orders, 1..=1);
    let mut all = store.watch().start().unwrap();
    let mut shop = store.watch_database("shop").start().unwrap();
    let mut stream = orders.watch().start().unwrap();
    store.drop_database("shop").unwrap();
    insert(&orders, 2..=2);
    assert_eq!(names(&drain(&mut stream)), ["drop", "invalidate"]);
    assert_eq!(names(&drain(&mut shop)), ["drop", "dropDatabase", "invalidate"]);
    assert_eq!(names(&drain(&mut all)), ["drop", "dropDatabase", "insert"]);
    assert!(stream.is_ended() && shop.is_ended() && !all.is_ended());
    // Whoever watches the name goes on with the collection that has it now.
    let mut stream = orders.watch().start_after(stream.resume_token()).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [2]);
}

#[test]
fn a_collection_is_created_right_before_its_first_document() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    let mut stream = store.watch().show_expanded_events(true).start().unwrap();
    insert(&orders, 1..=2);
    let events = drain(&mut stream);
    assert_eq!(names(&events), ["create", "insert", "insert"]);
    let uuid = |event: &ChangeEvent| event.to_document().get_binary("collectionUUID").unwrap().bytes.to_vec();
    assert!(events.iter().all(|event| uuid(event) == uuid(&events[0])));
    store.drop_collection("shop", "orders").unwrap();
    insert(&orders, 3..=3);
    let events = drain(&mut stream);
    assert_eq!(names(&events), ["drop", "create", "insert"]);
    assert_ne!(
        uuid(&events[0]),
        uuid(&events[2]),
        "another collection of the same name"
    );
}

#[test]
fn a_watcher_sees_a_write_when_it_is_durable_and_with_local_at_once() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    let mut durable = orders.watch().start().unwrap();
    let mut local = orders.watch().read_concern(ReadConcern::Local).start().unwrap();
    insert(&orders.clone().with_durability(Durability::Memory), 1..=1);
    assert_eq!(ids(&drain(&mut local)), [1]);
    // It becomes durable by itself.
    let event = wait_for(&mut durable, 1).remove(0);
    assert_eq!(id(&event), 1);
    assert!(store.log().newest(ReadConcern::Durable) >= event.op_id());
}

#[test]
fn a_watcher_that_comes_back_too_late_is_told_so() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    let orders = orders.with_durability(Durability::Memory);
    let mut stream = orders.watch().read_concern(ReadConcern::Local).start().unwrap();
    insert(&orders, 1..=1);
    let token = drain(&mut stream)[0].resume_token();
    for n in 2..3000 {
        orders
            .insert_one(&rawdoc! { "_id": n, "pad": "x".repeat(1000) })
            .unwrap();
    }
    let oldest = store.trim_log(OpId::new(u64::MAX)).unwrap();
    let refused = orders.watch().resume_after(token).start().unwrap_err();
    let WatchError::Log(LogError::HistoryLost {
        requested,
        oldest: found,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((requested, found), (token.op_id().next(), oldest));
    let oldest_left = orders
        .watch()
        .start_at_oldest()
        .start()
        .unwrap()
        .next_if_any()
        .unwrap()
        .unwrap();
    assert_eq!(
        (oldest_left.op_id(), oldest_left.operation_type()),
        (oldest, OperationType::Insert)
    );
}

#[test]
fn slow_watchers_hold_up_neither_the_store_nor_each_other() {
    const COUNT: i32 = 2000;
    let dir = temporary();
    let (_store, orders) = orders(dir.path());
    let orders = orders.with_durability(Durability::Memory);
    let slow: Vec<_> = (0..20)
        .map(|_| orders.watch().channel_capacity(1, 1 << 20).subscribe().unwrap())
        .collect();
    let (_handle, quick) = orders.watch().subscribe().unwrap();
    insert(&orders, 1..=COUNT);
    let all: Vec<_> = (1..=COUNT).collect();
    let received = |receiver: &tailwater::Receiver| -> Vec<_> {
        receiver
            .iter()
            .take(COUNT as usize)
            .map(|event| id(&event.unwrap()))
            .collect()
    };
    assert_eq!(received(&quick), all);
    for (_handle, receiver) in &slow {
        assert_eq!(received(receiver), all);
    }
}

#[test]
fn the_last_event_of_a_transaction_says_so_also_when_it_is_remembered() {
    let dir = temporary();
    let (store, orders) = orders(dir.path());
    let mut stream = orders.watch().start().unwrap();
    for remembered_by in [None, Some([7; 16])] {
        let options = TransactionOptions {
            session: Some(TransactionSession {
                lsid: rawdoc! { "id": "mine" },
                txn_number: 1,
            }),
            remembered_by,
            ..TransactionOptions::default()
        };
        let transaction = store.transaction_with(&options).unwrap();
        let orders = transaction.collection("shop", "orders").unwrap();
        for n in 0..3 {
            orders.insert_one(&rawdoc! { "n": n }).unwrap();
        }
        transaction.commit().unwrap();
        let ends: Vec<_> = drain(&mut stream).iter().map(ChangeEvent::ends_transaction).collect();
        assert_eq!(ends, [false, false, true], "{remembered_by:?}");
    }
}
