//! The ways in which users of other databases write change streams, with ours: what each of their examples does, asserted.
//!
//! Every example of a change stream in their documentation, and the test that does the same. Without a file's name it is
//! here; `practices` is beside this file, `examples` are programs that a test runs, `clients` is what the clients of
//! `tests/clients` do over the network.
//!
//! They are in LauraDB's and Mongoose's `docs/change-streams.md`; in the documentation of jasonisnthappy's crate, whose readme and
//! examples have none; in the manual of MongoDB's Node.js driver, *Monitor Data Changes*; in the notes of NexaDB's Python client
//! 2.3.0 and its `change_streams_example.py`. Not found: a guide of HeliosDB's to change streams, and the guide that NexaDB's notes
//! name, `CHANGE_STREAMS_NETWORK.md`. Of those two there is what their users are known to write.
//!
//! | whose | example | test |
//! |---|---|---|
//! | jasonisnthappy | `watch().filter(…).subscribe()`, channel | [`a_handle_and_a_receiver`] |
//! | | a filter of two conditions, `unsubscribe` | `practices`: `a_filter_of_several_conditions_and_a_handle_that_ends_it` |
//! | LauraDB | basic stream, audit log, closing | [`next_in_a_loop_until_the_stream_is_closed`] |
//! | | one collection, `TryNext` | [`a_look_without_waiting`] |
//! | | `range` over the event channel | [`a_channel_of_events_that_ends_with_what_it_watches`] |
//! | | what an insert, an update and a delete look like | `changestream/tests/events` |
//! | | resume, current token | [`a_token_kept_as_text_goes_on_where_it_stood`] |
//! | | the six filters and pipelines | [`filters_by_operation_and_by_document`] |
//! | | cache invalidation | [`a_cache_that_is_told_what_is_stale`] |
//! | | synchronising another database | [`a_mirror_kept_by_events_alone`] |
//! | | the six best practices | `practices`; filtering early: [`filters_by_operation_and_by_document`] |
//! | MongoDB, Node.js | `on("change")` | `practices`: `functions_that_are_called_for_each_kind_of_event`; `clients`: `node/driver.mjs` |
//! | | `for await`, `next`, `tryNext` | [`a_stream_that_is_awaited_and_resumed_from_a_token`], [`a_look_without_waiting`]; `clients` |
//! | | a pipeline with `$match` and `$addFields` | [`a_pipeline_that_adds_a_field`] |
//! | | `updateLookup`, pre- and post-images | [`a_mirror_kept_by_events_alone`]; `examples`: `filtered_deletes`, `large_events` |
//! | | `resumeAfter`, `startAfter` | [`a_token_kept_as_text_goes_on_where_it_stood`], [`a_stream_that_is_awaited_and_resumed_from_a_token`] |
//! | | `$changeStreamSplitLargeEvent` | `examples`: `large_events` |
//! | Mongoose | `Model.watch().on("change")` | `clients`: `node/mongoose.mjs` |
//! | | a function that is called again, `next` with a timeout | `practices`: `a_function_that_goes_on_where_its_last_call_stood` |
//! | HeliosDB | `watch`, `stream.next().await`, from a token | [`a_stream_that_is_awaited_and_resumed_from_a_token`]; `examples`: `await_from_token` |
//! | NexaDB | `for change in client.watch("orders")` | `practices`: `a_loop_that_tells_apart_what_happened` |
//! | | `watch()` of every collection | [`a_stream_that_is_awaited_and_resumed_from_a_token`] |
//! | | `watch` with operations | [`filters_by_operation_and_by_document`]; `examples`: `operations` |
//! | | listeners by operation | `practices`: `functions_that_are_called_for_each_kind_of_event` |

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use tailwater::bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use tailwater::{
    ChangeEvent, ChangeStream, Collection, FullDocument, OperationType, RecvError, ResumeToken, Store, Watch,
};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn users() -> (TempDir, Store, Collection) {
    let (dir, store) = store();
    let users = store.collection("mydb", "users").unwrap();
    (dir, store, users)
}

fn insert(collection: &Collection, document: &RawDocument) {
    collection.insert_one(document).unwrap();
}

/// The user whom an event is about.
fn id(event: &ChangeEvent) -> i32 {
    event.document_key().unwrap().get_i32("_id").unwrap()
}

fn ids(events: impl IntoIterator<Item = ChangeEvent>) -> Vec<i32> {
    events.into_iter().map(|event| id(&event)).collect()
}

/// What there is by now.
fn drain(stream: &mut ChangeStream) -> Vec<ChangeEvent> {
    std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
}

// A filter as text, a handle, and a receiver.

#[test]
fn a_handle_and_a_receiver() {
    let (_dir, _store, users) = users();
    let (handle, receiver) = users.watch().filter("age > 18").subscribe().unwrap();
    assert!(receiver.try_recv().unwrap().is_none());
    for (id, age) in [(1, 36), (2, 7), (3, 19), (4, 40)] {
        insert(&users, &rawdoc! { "_id": id, "age": age });
    }
    assert_eq!(id(&receiver.recv().unwrap()), 1);
    assert_eq!(id(&receiver.recv_timeout(Duration::from_secs(60)).unwrap()), 3);
    let rest: Vec<_> = receiver.iter().take(1).map(Result::unwrap).collect();
    assert_eq!(ids(rest), [4]);
    let short = Duration::from_millis(1);
    assert!(matches!(receiver.recv_timeout(short), Err(RecvError::Timeout)));
    drop(handle);
    assert!(matches!(receiver.recv(), Err(RecvError::Ended)));
}

// `Next` in a loop, `TryNext`, and a channel that is ranged over.

#[test]
fn next_in_a_loop_until_the_stream_is_closed() {
    let (_dir, store, users) = users();
    let mut stream = store.watch_database("mydb").start().unwrap();
    let stopper = stream.stopper();
    let audit = thread::spawn(move || {
        let mut lines = Vec::new();
        while let Some(event) = stream.wait_next(None).unwrap() {
            let (operation, namespace) = (event.operation_type().name(), (event.database(), event.collection()));
            lines.push(format!("{operation} on {}.{}", namespace.0, namespace.1));
            if lines.len() == 3 {
                stopper.stop();
            }
        }
        lines
    });
    insert(&users, &rawdoc! { "_id": 1 });
    insert(&store.collection("mydb", "orders").unwrap(), &rawdoc! { "_id": 1 });
    users.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    let expected = ["insert on mydb.users", "insert on mydb.orders", "delete on mydb.users"];
    assert_eq!(audit.join().unwrap(), expected);
}

#[test]
fn a_look_without_waiting() {
    let (_dir, store, users) = users();
    let mut stream = users.watch().start().unwrap();
    insert(&store.collection("mydb", "orders").unwrap(), &rawdoc! { "_id": 1 });
    assert!(stream.next_if_any().unwrap().is_none());
    insert(&users, &rawdoc! { "_id": 1 });
    assert_eq!(
        stream.next_if_any().unwrap().unwrap().operation_type(),
        OperationType::Insert
    );
}

#[test]
fn a_channel_of_events_that_ends_with_what_it_watches() {
    let (_dir, store, users) = users();
    let (handle, events) = users.watch().subscribe().unwrap();
    let consumer = thread::spawn(move || {
        let names = events.iter().map(|event| event.unwrap().operation_type().name());
        names.collect::<Vec<_>>()
    });
    insert(&users, &rawdoc! { "_id": 1 });
    users.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    store.drop_collection("mydb", "users").unwrap();
    assert_eq!(consumer.join().unwrap(), ["insert", "delete", "drop", "invalidate"]);
    assert!(handle.is_ended());
}

// Resuming.

#[test]
fn a_token_kept_as_text_goes_on_where_it_stood() {
    let (_dir, _store, users) = users();
    let mut first = users.watch().start().unwrap();
    for id in 1..=3 {
        insert(&users, &rawdoc! { "_id": id });
    }
    let event = first.next_if_any().unwrap().unwrap();
    assert_eq!(first.resume_token(), event.resume_token(), "the current position");
    let saved = event.resume_token().to_string();
    drop(first);
    let token: ResumeToken = saved.parse().unwrap();
    let mut second = users.watch().resume_after(token).start().unwrap();
    assert_eq!(ids(drain(&mut second)), [2, 3]);
}

// Filters: by operation, by document, by several conditions.

#[test]
fn filters_by_operation_and_by_document() {
    let (_dir, _store, users) = users();
    insert(&users, &rawdoc! { "_id": 1, "status": "new" });
    insert(&users, &rawdoc! { "_id": 2, "status": "new" });
    let set = |id: i32, status: &str| {
        let update = rawdoc! { "$set": { "status": status } };
        users.update_one(&rawdoc! { "_id": id }, &update).unwrap();
    };
    set(1, "active");
    users
        .update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$set": { "age": 31 } })
        .unwrap();
    users.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    let check = |watch: fn(Watch) -> Watch, expected: &[(&str, i32)]| {
        let mut stream = watch(users.watch().start_at_oldest()).start().unwrap();
        let events = drain(&mut stream);
        let seen: Vec<_> = events.iter().map(|e| (e.operation_type().name(), id(e))).collect();
        assert_eq!(seen, expected);
    };
    use OperationType::{Delete, Update};
    check(
        |w| w.operations([Update, Delete]),
        &[("update", 1), ("update", 2), ("delete", 1)],
    );
    check(
        |w| w.pipeline([doc! { "$match": { "operationType": "insert" } }]),
        &[("insert", 1), ("insert", 2)],
    );
    check(
        |w| {
            w.pipeline([
                doc! { "$match": { "operationType": { "$in": ["insert", "delete"] } } },
                doc! { "$match": { "ns.db": "mydb" } },
            ])
        },
        &[("insert", 1), ("insert", 2), ("delete", 1)],
    );
    check(
        |w| w.pipeline([doc! { "$match": { "documentKey._id": 1 } }]),
        &[("insert", 1), ("update", 1), ("delete", 1)],
    );
    check(
        |w| w.pipeline([doc! { "$match": { "$and": [{ "operationType": "update" }, { "ns.coll": "users" }] } }]),
        &[("update", 1), ("update", 2)],
    );
    check(
        |w| w.pipeline([doc! { "$match": { "updateDescription.updatedFields.status": { "$exists": true } } }]),
        &[("update", 1)],
    );
}

#[test]
fn a_pipeline_that_adds_a_field() {
    let (_dir, store) = store();
    let inventory = store.collection("shop", "inventory").unwrap();
    let pipeline = [
        doc! { "$match": { "fullDocument.username": "alice" } },
        doc! { "$addFields": { "newDocField": "this is an added field!" } },
    ];
    let mut stream = inventory.watch().pipeline(pipeline).start().unwrap();
    insert(&inventory, &rawdoc! { "_id": 1, "username": "bob" });
    insert(&inventory, &rawdoc! { "_id": 2, "username": "alice" });
    let events = drain(&mut stream);
    assert_eq!(events.len(), 1);
    let event = events[0].to_document();
    assert_eq!(event.get_str("newDocField").unwrap(), "this is an added field!");
    assert_eq!(event.get_str("operationType").unwrap(), "insert");
}

// What streams are used for.

#[test]
fn a_cache_that_is_told_what_is_stale() {
    let (_dir, _store, users) = users();
    let mut cache = BTreeMap::new();
    for id in 1..=3 {
        insert(&users, &rawdoc! { "_id": id, "n": 0 });
        cache.insert(id, 0);
    }
    let mut stream = users
        .watch()
        .operations([OperationType::Update, OperationType::Delete])
        .start()
        .unwrap();
    users
        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$inc": { "n": 1 } })
        .unwrap();
    users.delete_one(&rawdoc! { "_id": 3 }).unwrap();
    for event in drain(&mut stream) {
        cache.remove(&id(&event));
    }
    assert_eq!(cache.into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_mirror_kept_by_events_alone() {
    let (_dir, store, users) = users();
    let mirror = store.collection("elsewhere", "users").unwrap();
    let mut stream = users.watch().full_document(FullDocument::UpdateLookup).start().unwrap();
    for id in 1..=3 {
        insert(&users, &rawdoc! { "_id": id, "n": 0 });
    }
    users
        .update_many(&rawdoc! { "_id": { "$lt": 3 } }, &rawdoc! { "$inc": { "n": 5 } })
        .unwrap();
    users
        .replace_one(&rawdoc! { "_id": 3 }, &rawdoc! { "whole": true })
        .unwrap();
    users.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    for event in drain(&mut stream) {
        let key = event.document_key().unwrap();
        match (event.operation_type(), event.full_document()) {
            (OperationType::Delete, _) => drop(mirror.delete_one(&key).unwrap()),
            (OperationType::Insert, Some(document)) => insert(&mirror, document),
            (_, Some(document)) => drop(mirror.replace_one(&key, document).unwrap()),
            (operation, None) => panic!("{operation:?} without a document"),
        }
    }
    let all = |collection: &Collection| {
        let found = collection.find(&rawdoc! {}).unwrap();
        found
            .map(|document| Document::try_from(document.unwrap().as_ref() as &RawDocument).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(all(&mirror), all(&users));
    assert_eq!(all(&mirror).len(), 2);
}

// Awaited.

#[tokio::test]
async fn a_stream_that_is_awaited_and_resumed_from_a_token() {
    let (_dir, store, users) = users();
    let mut stream = store.watch().start().unwrap();
    insert(&users, &rawdoc! { "_id": 1 });
    insert(&users, &rawdoc! { "_id": 2 });
    let event = stream.next().await.unwrap().unwrap();
    assert_eq!(id(&event), 1);
    drop(stream);
    let token: RawDocumentBuf = event.resume_token().to_document();
    let token = ResumeToken::from_document(&token).unwrap();
    let mut stream = store.watch().start_after(token).start().unwrap();
    assert_eq!(id(&stream.next().await.unwrap().unwrap()), 2);
}
