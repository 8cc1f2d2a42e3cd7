//! What users of change streams rely on, with entries written directly into a log.

mod common;

use bson::spec::BinarySubtype;
use bson::{Bson, Document, doc, rawdoc};
use common::{
    COLLECTION_ID, PATIENCE, Writer, collection, copy_log, database, decoded, diff, drain, eventually, of, short,
    shorts,
};
use futures::StreamExt;
use futures::stream::FusedStream;
use tailwater_changestream::{
    ChangeEvent, ChangeStream, Error, FullDocument, FullDocumentBeforeChange, OperationType, RecvError, ResumeToken,
    Scope, TokenKind, Watch,
};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{self as oplog, Durability, OpId, OplogView, ReadConcern};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

const ORDERS: &str = "shop.orders";

/// A log with orders 1 to `count`.
fn orders(count: i32) -> (tempfile::TempDir, Writer) {
    let dir = temporary();
    let writer = Writer::open(dir.path());
    insert_orders(&writer, 1..=count);
    (dir, writer)
}

fn insert_orders(writer: &Writer, ids: std::ops::RangeInclusive<i32>) {
    for id in ids {
        writer.insert(ORDERS, &rawdoc! { "_id": id, "n": id });
    }
}

fn ids(events: &[ChangeEvent]) -> Vec<i32> {
    events
        .iter()
        .map(|e| e.document_key().unwrap().get_i32("_id").unwrap())
        .collect()
}

/// Events from the oldest entry on, of everything.
fn from_oldest(writer: &Writer) -> Vec<ChangeEvent> {
    drain(&mut writer.watch(Scope::Everything).start_at_oldest().start().unwrap())
}

// What events look like.

/// The fields that every event has, as MongoDB has them.
fn common_fields(event: &ChangeEvent, operation: &str) -> Document {
    let nanos = event.timestamp().as_nanos();
    let time = bson::Timestamp {
        time: (nanos / 1_000_000_000) as u32,
        increment: (nanos % 1_000_000_000) as u32 + 1,
    };
    doc! {
        "_id": { "_data": event.resume_token().to_string() },
        "operationType": operation,
        "clusterTime": time,
        "wallTime": bson::DateTime::from_millis((nanos / 1_000_000) as i64),
    }
}

/// Writes with `write`, and compares the event that comes of it with the common fields and `expected`.
fn check_event(
    watch: impl FnOnce(Watch) -> Watch,
    write: impl FnOnce(&Writer),
    (operation, expected): (&str, Document),
) {
    let (_dir, writer) = orders(0);
    let mut stream = watch(writer.watch(Scope::Everything)).start().unwrap();
    write(&writer);
    let event = stream.next_if_any().unwrap().expect("an event");
    assert_eq!(event.operation_type().name(), operation);
    let mut document = common_fields(&event, operation);
    document.extend(expected);
    assert_eq!(decoded(&event), document);
    assert_eq!(decoded(&event).keys().next().unwrap(), "_id");
    assert_eq!(
        ResumeToken::from_document(event.to_document().get_document("_id").unwrap()).unwrap(),
        event.resume_token()
    );
    assert!(stream.next_if_any().unwrap().is_none());
}

#[test]
fn insert_and_replace_events_carry_the_document() {
    let document = rawdoc! { "_id": 1, "name": "Ada", "tags": ["a", "b"] };
    let expected = doc! {
        "fullDocument": { "_id": 1, "name": "Ada", "tags": ["a", "b"] },
        "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "_id": 1 },
    };
    check_event(
        |w| w,
        |w| {
            let _ = w.insert(ORDERS, &document);
        },
        ("insert", expected.clone()),
    );
    check_event(
        |w| w,
        |w| {
            let _ = w.replace(ORDERS, &document);
        },
        ("replace", expected),
    );
}

#[test]
fn update_events_carry_the_description_and_the_document_when_asked() {
    let mut expected = doc! {
        "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "_id": 1 },
        "updateDescription": { "updatedFields": { "n": 5 }, "removedFields": [], "truncatedArrays": [] },
    };
    let write = |w: &Writer| {
        let _ = w.update(ORDERS, 1, 5);
    };
    check_event(|w| w, write, ("update", expected.clone()));
    expected.insert("fullDocument", doc! { "_id": 1, "n": 5 });
    for mode in [
        FullDocument::UpdateLookup,
        FullDocument::WhenAvailable,
        FullDocument::Required,
    ] {
        check_event(|w| w.full_document(mode), write, ("update", expected.clone()));
    }
}

#[test]
fn delete_events_carry_the_key() {
    let expected = doc! { "ns": { "db": "shop", "coll": "orders" }, "documentKey": { "_id": 1 } };
    check_event(
        |w| w,
        |w| {
            let _ = w.delete(ORDERS, 1);
        },
        ("delete", expected),
    );
}

#[test]
fn pre_images_are_shown_when_asked_for_and_null_where_there_is_none() {
    let write = |image: bool| {
        move |writer: &Writer| {
            let (key, before) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1, "n": 4 });
            let entry = StoreEntry {
                key: Some(&key),
                pre_image: image.then_some(&*before),
                ..of(ORDERS)
            };
            writer.write(EntryKind::Delete, &entry);
        }
    };
    let mut expected = doc! { "ns": { "db": "shop", "coll": "orders" }, "documentKey": { "_id": 1 } };
    check_event(|w| w, write(true), ("delete", expected.clone()));
    expected.insert("fullDocumentBeforeChange", doc! { "_id": 1, "n": 4 });
    for mode in [
        FullDocumentBeforeChange::WhenAvailable,
        FullDocumentBeforeChange::Required,
    ] {
        check_event(
            |w| w.full_document_before_change(mode),
            write(true),
            ("delete", expected.clone()),
        );
    }
    expected.insert("fullDocumentBeforeChange", Bson::Null);
    let mode = FullDocumentBeforeChange::WhenAvailable;
    check_event(
        |w| w.full_document_before_change(mode),
        write(false),
        ("delete", expected),
    );
    // Inserts have nothing before them, which is not even null.
    let document = rawdoc! { "_id": 1 };
    let expected = doc! {
        "fullDocument": { "_id": 1 }, "ns": { "db": "shop", "coll": "orders" }, "documentKey": { "_id": 1 },
    };
    let mode = FullDocumentBeforeChange::Required;
    check_event(
        |w| w.full_document_before_change(mode),
        |w| {
            let _ = w.insert(ORDERS, &document);
        },
        ("insert", expected),
    );
}

#[test]
fn events_of_collections_and_databases_have_no_document() {
    let collection = doc! { "ns": { "db": "shop", "coll": "orders" } };
    check_event(
        |w| w,
        |w| {
            let _ = w.drop_collection(ORDERS);
        },
        ("drop", collection.clone()),
    );
    check_event(
        |w| w,
        |w| {
            let _ = w.drop_database("shop");
        },
        ("dropDatabase", doc! { "ns": { "db": "shop" } }),
    );
    let mut renamed = collection;
    renamed.insert("to", doc! { "db": "shop", "coll": "old" });
    check_event(
        |w| w,
        |w| {
            let _ = w.rename(ORDERS, "shop.old");
        },
        ("rename", renamed),
    );
}

#[test]
fn expanded_events_show_creation_and_the_collections_id() {
    let uuid = bson::Binary {
        subtype: BinarySubtype::Uuid,
        bytes: COLLECTION_ID.to_vec(),
    };
    let expected = doc! {
        "ns": { "db": "shop", "coll": "orders" },
        "collectionUUID": uuid.clone(),
        "operationDescription": { "capped": false },
    };
    check_event(
        |w| w.show_expanded_events(true),
        |w| {
            let _ = w.create(ORDERS);
        },
        ("create", expected),
    );
    let expected = doc! {
        "ns": { "db": "shop", "coll": "orders" }, "collectionUUID": uuid, "documentKey": { "_id": 1 },
    };
    check_event(
        |w| w.show_expanded_events(true),
        |w| {
            let _ = w.delete(ORDERS, 1);
        },
        ("delete", expected),
    );

    let (_dir, writer) = orders(0);
    writer.create(ORDERS);
    assert_eq!(shorts(&from_oldest(&writer)), [""; 0]);
}

#[test]
fn events_of_a_session_name_it() {
    let write = |writer: &Writer| {
        let (key, session) = (rawdoc! { "_id": 1 }, rawdoc! { "lsid": { "id": 9 }, "txnNumber": 3i64 });
        let entry = StoreEntry {
            key: Some(&key),
            session: Some(&session),
            ..of(ORDERS)
        };
        writer.write(EntryKind::Delete, &entry);
    };
    let expected = doc! {
        "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "_id": 1 },
        "lsid": { "id": 9 },
        "txnNumber": 3i64,
    };
    check_event(|w| w, write, ("delete", expected));
}

#[test]
fn an_invalidate_event_has_only_the_common_fields() {
    let (_dir, writer) = orders(0);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    writer.drop_collection(ORDERS);
    let events = drain(&mut stream);
    assert_eq!(decoded(&events[1]), common_fields(&events[1], "invalidate"));
    assert_ne!(events[0].resume_token(), events[1].resume_token());
    assert_eq!(events[1].resume_token().kind(), TokenKind::Invalidate);
    assert!(events[0].resume_token() < events[1].resume_token());
}

#[test]
fn the_accessors_agree_with_the_document() {
    let (_dir, writer) = orders(1);
    writer.update(ORDERS, 1, 5);
    writer.delete(ORDERS, 1);
    let watch = writer
        .watch(Scope::Everything)
        .full_document(FullDocument::UpdateLookup)
        .start_at_oldest();
    for event in drain(&mut watch.start().unwrap()) {
        let document = event.to_document();
        assert_eq!(event.full_document(), document.get_document("fullDocument").ok());
        assert_eq!(
            event.update_description(),
            document.get_document("updateDescription").ok()
        );
        assert_eq!(
            event.document_key().as_deref(),
            document.get_document("documentKey").ok()
        );
        let namespace = document.get_document("ns").unwrap();
        assert_eq!(event.database(), namespace.get_str("db").unwrap());
        assert_eq!(event.collection(), namespace.get_str("coll").unwrap());
    }
    assert_eq!(from_oldest(&writer)[1].full_document(), None);
}

// What is watched.

#[test]
fn a_scope_takes_in_its_own_events_and_no_others() {
    let (_dir, writer) = orders(1);
    writer.insert("shop.items", &rawdoc! { "_id": 2 });
    writer.insert("town.orders", &rawdoc! { "_id": 3 });
    writer.log.append(200, b"somebody else's", Durability::Disk).unwrap();
    writer.write(EntryKind::Noop, &StoreEntry::default());
    let check = |scope: Scope, expected: &[i32]| {
        let mut stream = writer.watch(scope).start_at_oldest().start().unwrap();
        assert_eq!(ids(&drain(&mut stream)), expected);
    };
    check(Scope::Everything, &[1, 2, 3]);
    check(database("shop"), &[1, 2]);
    check(database("shop.orders"), &[]);
    check(collection(ORDERS), &[1]);
    check(collection("town.orders"), &[3]);
    check(collection("town.other"), &[]);
}

#[test]
fn a_pipeline_chooses_by_any_field_of_the_event() {
    let (_dir, writer) = orders(3);
    writer.update(ORDERS, 2, 20);
    writer.insert("shop.items", &rawdoc! { "_id": 4, "deep": { "list": [1, 7] } });
    writer.delete(ORDERS, 1);
    let update = from_oldest(&writer)
        .into_iter()
        .find(|e| e.operation_type() == OperationType::Update)
        .unwrap();
    let check = |stages: Vec<Document>, expected: &[&str]| {
        let watch = writer
            .watch(Scope::Everything)
            .start_at_oldest()
            .pipeline(stages.clone());
        let events = drain(&mut watch.full_document(FullDocument::UpdateLookup).start().unwrap());
        assert_eq!(shorts(&events), expected, "{stages:?}");
    };
    let matching = |condition: Document| vec![doc! { "$match": condition }];
    check(
        vec![],
        &[
            "insert shop.orders 1",
            "insert shop.orders 2",
            "insert shop.orders 3",
            "update shop.orders 2",
            "insert shop.items 4",
            "delete shop.orders 1",
        ],
    );
    check(matching(doc! { "operationType": "delete" }), &["delete shop.orders 1"]);
    check(
        matching(doc! { "operationType": { "$in": ["update", "delete"] } }),
        &["update shop.orders 2", "delete shop.orders 1"],
    );
    check(matching(doc! { "ns.coll": "items" }), &["insert shop.items 4"]);
    check(
        matching(doc! { "ns": { "db": "shop", "coll": "items" } }),
        &["insert shop.items 4"],
    );
    check(
        matching(doc! { "fullDocument.n": { "$gte": 3 } }),
        &["insert shop.orders 3", "update shop.orders 2"],
    );
    check(matching(doc! { "fullDocument.deep.list": 7 }), &["insert shop.items 4"]);
    check(
        matching(doc! { "updateDescription.updatedFields.n": { "$exists": true } }),
        &["update shop.orders 2"],
    );
    check(
        matching(doc! { "documentKey._id": 1 }),
        &["insert shop.orders 1", "delete shop.orders 1"],
    );
    check(
        matching(doc! { "_id._data": update.resume_token().to_string() }),
        &["update shop.orders 2"],
    );
    let since = common_fields(&update, "").remove("clusterTime").unwrap();
    check(
        matching(doc! { "clusterTime": { "$gt": since } }),
        &["insert shop.items 4", "delete shop.orders 1"],
    );
    check(
        vec![
            doc! { "$match": { "operationType": "insert" } },
            doc! { "$match": { "fullDocument.n": { "$lt": 3 } } },
        ],
        &["insert shop.orders 1", "insert shop.orders 2"],
    );
}

#[test]
fn a_text_filter_speaks_of_the_document_after_the_operation() {
    let (_dir, writer) = orders(3);
    writer.update(ORDERS, 1, 50);
    writer.update(ORDERS, 3, 0);
    writer.replace(ORDERS, &rawdoc! { "_id": 2, "n": 60, "tags": ["urgent"] });
    writer.delete(ORDERS, 3);
    let check = |filter: &str, expected: &[&str]| {
        let mut stream = writer
            .watch(collection(ORDERS))
            .filter(filter)
            .start_at_oldest()
            .start()
            .unwrap();
        assert_eq!(shorts(&drain(&mut stream)), expected, "{filter}");
    };
    check(
        "n > 2",
        &["insert shop.orders 3", "update shop.orders 1", "replace shop.orders 2"],
    );
    check("n > 2 and tags has \"urgent\"", &["replace shop.orders 2"]);
    check("n < 2", &["insert shop.orders 1", "update shop.orders 3"]);
}

#[test]
fn an_event_without_a_document_satisfies_no_text_filter() {
    let (_dir, writer) = orders(1);
    writer.delete(ORDERS, 1);
    writer.rename("shop.other", "shop.another");
    writer.drop_collection(ORDERS);
    for filter in ["n != 5", "not n = 5", "not (n = 5 and n = 6)", "n != 5 or n = 7"] {
        let mut stream = writer
            .watch(database("shop"))
            .filter(filter)
            .start_at_oldest()
            .start()
            .unwrap();
        assert_eq!(shorts(&drain(&mut stream)), ["insert shop.orders 1"], "{filter}");
    }
}

#[test]
fn filter_and_pipeline_both_hold() {
    let (_dir, writer) = orders(5);
    writer.update(ORDERS, 1, 4);
    let watch = writer.watch(collection(ORDERS)).start_at_oldest();
    let watch = watch
        .filter("n > 3")
        .pipeline([doc! { "$match": { "operationType": "insert" } }]);
    assert_eq!(ids(&drain(&mut watch.start().unwrap())), [4, 5]);
}

// What an update shows.

/// An update without a post-image.
fn bare_update(writer: &Writer) {
    let entry = StoreEntry {
        key: Some(&rawdoc! { "_id": 1 }),
        diff: Some(&diff(5)),
        ..of(ORDERS)
    };
    writer.write(EntryKind::Update, &entry);
}

#[test]
fn a_missing_post_image_is_null_or_an_error_as_asked() {
    let (_dir, writer) = orders(0);
    let watch = |mode| writer.watch(Scope::Everything).full_document(mode).start().unwrap();
    let [mut plain, mut lookup, mut available, mut required] = [
        FullDocument::Default,
        FullDocument::UpdateLookup,
        FullDocument::WhenAvailable,
        FullDocument::Required,
    ]
    .map(watch);
    let before = required.resume_token();
    bare_update(&writer);
    let shown = |stream: &mut ChangeStream| {
        decoded(&stream.next_if_any().unwrap().unwrap())
            .get("fullDocument")
            .cloned()
    };
    assert_eq!(shown(&mut plain), None);
    assert_eq!(shown(&mut lookup), Some(Bson::Null));
    assert_eq!(shown(&mut available), Some(Bson::Null));
    for _ in 0..2 {
        let error = required.next_if_any().unwrap_err();
        assert!(matches!(error, Error::NoPostImage { op_id: OpId::FIRST }), "{error:?}");
        assert_eq!(required.resume_token(), before);
    }
}

#[test]
fn a_required_pre_image_that_is_missing_is_an_error_that_names_the_entry() {
    let (_dir, writer) = orders(1);
    let watch = writer.watch(Scope::Everything).start_at_oldest();
    let mut stream = watch
        .full_document_before_change(FullDocumentBeforeChange::Required)
        .start()
        .unwrap();
    assert_eq!(short(&stream.next_if_any().unwrap().unwrap()), "insert shop.orders 1");
    let deletion = writer.delete(ORDERS, 1).last;
    let error = stream.next_if_any().unwrap_err();
    assert!(
        matches!(error, Error::NoPreImage { op_id } if op_id == deletion),
        "{error:?}"
    );
    // With the token of the last event somebody less demanding goes on.
    let watch = writer.watch(Scope::Everything).resume_after(stream.resume_token());
    assert_eq!(shorts(&drain(&mut watch.start().unwrap())), ["delete shop.orders 1"]);
}

/// A stream of orders that fails at its second entry, a deletion, and would have a third.
fn failing(writer: &Writer) -> ChangeStream {
    writer.delete(ORDERS, 1);
    insert_orders(writer, 2..=2);
    let watch = writer.watch(collection(ORDERS)).start_at_oldest();
    let mode = FullDocumentBeforeChange::Required;
    watch.full_document_before_change(mode).start().unwrap()
}

#[tokio::test]
async fn an_awaited_stream_yields_an_error_once_and_ends() {
    let (_dir, writer) = orders(1);
    let mut stream = failing(&writer);
    let first = stream.next().await.unwrap().unwrap();
    assert!(!stream.is_terminated());
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoPreImage { .. }), "{error:?}");
    assert!(stream.is_terminated() && stream.is_ended());
    assert!(stream.next().await.is_none());
    assert!(stream.next().await.is_none());
    // The token of the last event is still good for somebody less demanding.
    assert_eq!(stream.resume_token(), first.resume_token());
}

#[test]
fn a_blocking_iterator_yields_an_error_once_and_ends() {
    let (_dir, writer) = orders(1);
    let mut stream = failing(&writer);
    let results: Vec<_> = stream.blocking_iter().take(4).collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(matches!(results[1], Err(Error::NoPreImage { .. })), "{results:?}");
    assert!(stream.blocking_iter().next().is_none());
    assert_eq!(
        stream.resume_token(),
        results[0].as_ref().unwrap().resume_token(),
        "the stream keeps its place"
    );
}

// How streams end.

#[test]
fn a_collections_stream_ends_with_its_drop() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    writer.drop_collection("shop.items");
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=3);
    assert_eq!(
        shorts(&drain(&mut stream)),
        ["insert shop.orders 1", "drop shop.orders", "invalidate shop.orders"]
    );
    assert!(stream.is_ended() && stream.is_terminated());
    assert!(stream.wait_next(None).unwrap().is_none());
}

#[test]
fn a_collections_stream_ends_when_it_is_renamed() {
    let (_dir, writer) = orders(0);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    writer.rename(ORDERS, "shop.old");
    assert_eq!(
        shorts(&drain(&mut stream)),
        ["rename shop.orders", "invalidate shop.orders"]
    );
    assert!(stream.is_ended());
}

#[test]
fn a_databases_stream_ends_with_the_database_only() {
    let (_dir, writer) = orders(0);
    let mut shop = writer.watch(database("shop")).start().unwrap();
    let mut all = writer.watch(Scope::Everything).start().unwrap();
    writer.drop_collection(ORDERS);
    writer.drop_database("town");
    assert_eq!(shorts(&drain(&mut shop)), ["drop shop.orders"]);
    writer.drop_database("shop");
    assert_eq!(shorts(&drain(&mut shop)), ["dropDatabase shop", "invalidate shop"]);
    assert!(shop.is_ended());
    assert_eq!(
        shorts(&drain(&mut all)),
        ["drop shop.orders", "dropDatabase town", "dropDatabase shop"]
    );
    assert!(!all.is_ended());
}

#[test]
fn a_stream_ends_also_when_its_filter_hides_the_drop() {
    let (_dir, writer) = orders(1);
    let start = |watch: Watch| watch.start_at_oldest().start().unwrap();
    let inserts = [doc! { "$match": { "operationType": "insert" } }];
    let mut filtered = start(writer.watch(collection(ORDERS)).filter("n > 0"));
    let mut matched = start(writer.watch(collection(ORDERS)).pipeline(inserts));
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=2);
    // The invalidation is no document and passes the filter; a pipeline is taken at its word.
    assert_eq!(
        shorts(&drain(&mut filtered)),
        ["insert shop.orders 1", "invalidate shop.orders"]
    );
    assert_eq!(shorts(&drain(&mut matched)), ["insert shop.orders 1"]);
    assert!(filtered.is_ended() && matched.is_ended());
}

#[test]
fn a_log_that_closes_ends_the_stream_after_what_was_released() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    writer.log.close().unwrap();
    let results: Vec<_> = stream.blocking_iter().map(|event| event.map(|e| short(&e))).collect();
    assert_eq!(results.len(), 4, "{results:?}");
    assert_eq!(results[2].as_ref().unwrap(), "insert shop.orders 3");
    assert!(
        matches!(results[3], Err(Error::Log(oplog::Error::Closed))),
        "{results:?}"
    );
    assert!(stream.is_ended());
}

// Where streams begin.

#[test]
fn a_stream_begins_with_what_is_written_after_it() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    assert!(stream.next_if_any().unwrap().is_none());
    insert_orders(&writer, 4..=5);
    assert_eq!(ids(&drain(&mut stream)), [4, 5]);
}

#[test]
fn a_stream_goes_on_behind_any_events_token() {
    let (_dir, writer) = orders(5);
    let events = from_oldest(&writer);
    for (i, event) in events.iter().enumerate() {
        let text = event.resume_token().to_string();
        let token: ResumeToken = text.parse().unwrap();
        for watch in [
            writer.watch(Scope::Everything).resume_after(token),
            writer.watch(Scope::Everything).start_after(token),
        ] {
            let mut stream = watch.start().unwrap();
            assert_eq!(stream.resume_token(), token);
            assert_eq!(ids(&drain(&mut stream)), ids(&events[i + 1..]));
        }
    }
}

#[test]
fn a_token_is_good_for_other_scopes_and_filters() {
    let (_dir, writer) = orders(3);
    writer.insert("town.people", &rawdoc! { "_id": 9 });
    let token = from_oldest(&writer)[1].resume_token();
    let mut stream = writer.watch(database("town")).resume_after(token).start().unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["insert town.people 9"]);
}

#[test]
fn a_token_taken_before_the_first_entry_is_good() {
    let (_dir, writer) = orders(0);
    let token = writer.watch(Scope::Everything).start().unwrap().resume_token();
    insert_orders(&writer, 1..=2);
    let mut stream = writer.watch(Scope::Everything).resume_after(token).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [1, 2]);
}

#[test]
fn a_stream_begins_at_an_operation_time() {
    let (_dir, writer) = orders(5);
    let events = from_oldest(&writer);
    let at = |time| {
        let mut stream = writer
            .watch(Scope::Everything)
            .start_at_operation_time(time)
            .start()
            .unwrap();
        ids(&drain(&mut stream))
    };
    for (i, event) in events.iter().enumerate() {
        let time = decoded(event).get_timestamp("clusterTime").unwrap();
        assert_eq!(at(time), ids(&events[i..]), "the event of that time is the first");
        let later = bson::Timestamp {
            increment: time.increment + 1,
            ..time
        };
        assert_eq!(at(later), ids(&events[i + 1..]));
    }
    assert_eq!(at(bson::Timestamp { time: 0, increment: 0 }), ids(&events));
}

#[test]
fn nothing_from_before_an_operation_time_is_delivered() {
    let (_dir, writer) = orders(1);
    let time = decoded(&from_oldest(&writer)[0]).get_timestamp("clusterTime").unwrap();
    let tomorrow = bson::Timestamp {
        time: time.time + 86_400,
        ..time
    };
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_at_operation_time(tomorrow)
        .start()
        .unwrap();
    insert_orders(&writer, 2..=3);
    assert_eq!(shorts(&drain(&mut stream)), [""; 0]);
    // The same for what is written, but not released yet, when the stream begins.
    let unreleased = Writer {
        durability: Durability::Memory,
        ..writer.clone()
    };
    unreleased.insert(ORDERS, &rawdoc! { "_id": 4 });
    let local = writer
        .watch(Scope::Everything)
        .read_concern(ReadConcern::Local)
        .start_at_oldest();
    let time = drain(&mut local.start().unwrap())[3].timestamp().as_nanos();
    let after = bson::Timestamp {
        time: (time / 1_000_000_000) as u32,
        increment: (time % 1_000_000_000) as u32 + 2,
    };
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_at_operation_time(after)
        .start()
        .unwrap();
    insert_orders(&writer, 5..=5);
    assert_eq!(ids(&drain(&mut stream)), [5]);
}

#[test]
fn a_token_from_before_the_first_event_keeps_the_start_time() {
    let (_dir, writer) = orders(3);
    let begun = |time| {
        let watch = writer.watch(collection(ORDERS)).start_at_operation_time(time);
        watch.start().unwrap()
    };
    let time = decoded(&from_oldest(&writer)[1]).get_timestamp("clusterTime").unwrap();
    let tomorrow = bson::Timestamp {
        time: time.time + 86_400,
        ..time
    };
    let (mut early, mut late) = (begun(time), begun(tomorrow));
    let early_token = early.resume_token();
    let late_tokens = [late.resume_token(), {
        // It passes over what was written too early, and still begins at its time.
        insert_orders(&writer, 4..=5);
        writer.insert("town.people", &rawdoc! { "_id": 9 });
        assert_eq!(shorts(&drain(&mut late)), [""; 0]);
        late.resume_token()
    }];
    assert!(late_tokens[0] < late_tokens[1]);
    let resume = |token: ResumeToken| {
        let token = token.to_string().parse().unwrap();
        writer.watch(collection(ORDERS)).resume_after(token).start().unwrap()
    };
    let mut resumed = late_tokens.map(resume);
    insert_orders(&writer, 6..=7);
    for stream in &mut resumed {
        assert_eq!(shorts(&drain(stream)), [""; 0]);
        // And so does a stream that goes on from where this one has got to.
        assert_eq!(shorts(&drain(&mut resume(stream.resume_token()))), [""; 0]);
        assert_eq!(stream.resume_token().op_id(), writer.newest());
    }
    assert_eq!(ids(&drain(&mut early)), [2, 3, 4, 5, 6, 7]);
    assert_eq!(ids(&drain(&mut resume(early_token))), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_start_time_that_was_reached_is_forgotten() {
    let (_dir, writer) = orders(0);
    insert_orders(&writer, 1..=1);
    let time = decoded(&from_oldest(&writer)[0]).get_timestamp("clusterTime").unwrap();
    let soon = bson::Timestamp {
        time: time.time + 1,
        ..time
    };
    let watch = writer.watch(collection(ORDERS)).start_at_operation_time(soon);
    let mut stream = watch.start().unwrap();
    insert_orders(&writer, 2..=2);
    assert_eq!(shorts(&drain(&mut stream)), [""; 0]);
    assert_eq!(stream.resume_token().kind(), TokenKind::StartTime);
    let mut id = 3;
    let first = loop {
        insert_orders(&writer, id..=id);
        if let Some(event) = stream.next_if_any().unwrap() {
            break event;
        }
        id += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(decoded(&first).get_timestamp("clusterTime").unwrap() >= soon);
    assert_eq!(first.resume_token().kind(), TokenKind::Event);
    // An entry of others moves the token on as in any stream.
    writer.insert("town.people", &rawdoc! { "_id": 9 });
    assert!(stream.next_if_any().unwrap().is_none());
    assert_eq!(stream.resume_token().kind(), TokenKind::Position);
}

#[test]
fn a_stream_that_has_seen_nothing_goes_on_where_it_began() {
    let (_dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let oldest = writer.trim();
    let begun = [
        writer.watch(collection(ORDERS)),
        writer.watch(collection(ORDERS)).start_at_oldest(),
    ];
    let begun = begun.map(|watch| watch.start().unwrap());
    insert_orders(&writer, 4000..=4001);
    for (mut stream, count) in begun.into_iter().zip([2, 3003 - oldest.get() as usize]) {
        let token = stream.resume_token();
        let resumed = writer.watch(collection(ORDERS)).resume_after(token).start();
        let (expected, found) = (drain(&mut stream), drain(&mut resumed.unwrap()));
        assert_eq!(ids(&found), ids(&expected));
        assert_eq!(found.len(), count);
    }
}

#[test]
fn two_starting_points_are_refused() {
    let (_dir, writer) = orders(1);
    let token = from_oldest(&writer)[0].resume_token();
    let watch = writer.watch(Scope::Everything).resume_after(token);
    let refused = watch
        .start_at_operation_time(bson::Timestamp { time: 1, increment: 1 })
        .start()
        .unwrap_err();
    assert!(matches!(refused, Error::ConflictingStart), "{refused:?}");
}

// Tokens that are not good.

#[test]
fn a_token_that_is_none_is_refused() {
    for text in ["", "zz", "82", "01a5", "0", &"0".repeat(1000)] {
        let refused = text.parse::<ResumeToken>().unwrap_err();
        assert!(matches!(refused, Error::MalformedToken { .. }), "{text}: {refused:?}");
    }
    let (_dir, writer) = orders(1);
    let text = from_oldest(&writer)[0].resume_token().to_string();
    let mut forged = text.clone().into_bytes();
    for place in 0..forged.len() {
        let digit = forged[place];
        forged[place] = if digit == b'0' { b'1' } else { b'0' };
        assert!(
            std::str::from_utf8(&forged).unwrap().parse::<ResumeToken>().is_err(),
            "digit {place}"
        );
        forged[place] = digit;
    }
    for document in [rawdoc! {}, rawdoc! { "_data": 1 }, rawdoc! { "_data": "82" }] {
        let refused = ResumeToken::from_document(&document).unwrap_err();
        assert!(matches!(refused, Error::MalformedToken { .. }), "{refused:?}");
    }
}

#[test]
fn an_invalidate_events_token_starts_after_but_does_not_resume() {
    let (_dir, writer) = orders(1);
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=2);
    let events = drain(&mut writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap());
    let (dropped, invalidated) = (events[1].resume_token(), events[2].resume_token());
    let refused = writer
        .watch(collection(ORDERS))
        .resume_after(invalidated)
        .start()
        .unwrap_err();
    assert!(matches!(refused, Error::Invalidated), "{refused:?}");
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_after(invalidated)
        .start()
        .unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["insert shop.orders 2"]);
    // Behind the drop itself comes its invalidation, once more for who has not seen it.
    let mut stream = writer.watch(collection(ORDERS)).resume_after(dropped).start().unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["invalidate shop.orders"]);
    assert!(stream.is_ended());
}

#[test]
fn a_stream_begun_right_behind_a_drop_has_nothing_to_do_with_it() {
    let (_dir, writer) = orders(1);
    let dropped = writer.drop_collection(ORDERS);
    let begun = writer.watch(collection(ORDERS)).start().unwrap();
    assert_eq!(begun.resume_token().op_id(), dropped.last);
    insert_orders(&writer, 2..=2);
    let event = &drain(&mut begun_again(&writer, &begun))[0];
    assert_eq!(short(event), "insert shop.orders 2");
    // The same for one that began at a time right behind it.
    let watch = writer.watch(collection(ORDERS));
    let time = decoded(event).get_timestamp("clusterTime").unwrap();
    let begun = watch.start_at_operation_time(time).start().unwrap();
    assert_eq!(
        shorts(&drain(&mut begun_again(&writer, &begun))),
        ["insert shop.orders 2"]
    );
}

/// A stream that goes on from where another one began.
fn begun_again(writer: &Writer, stream: &ChangeStream) -> ChangeStream {
    let watch = writer.watch(collection(ORDERS));
    watch.resume_after(stream.resume_token()).start().unwrap()
}

#[test]
fn a_token_of_another_log_is_refused() {
    let ((_one, writer), (_other, stranger)) = (orders(3), orders(3));
    let token = from_oldest(&stranger)[0].resume_token();
    let refused = writer.watch(Scope::Everything).resume_after(token).start().unwrap_err();
    let Error::Log(oplog::Error::OtherLog { expected, got }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((expected, got), (writer.log.log_id(), stranger.log.log_id()));
}

#[test]
fn a_token_of_a_history_that_was_not_taken_is_refused() {
    let (dir, writer) = orders(3);
    let shared = from_oldest(&writer)[1].resume_token();
    writer.log.close().unwrap();
    let restored = temporary();
    copy_log(dir.path(), restored.path());

    let writer = Writer::open(dir.path());
    insert_orders(&writer, 4..=6);
    let token = from_oldest(&writer)[4].resume_token();
    // Opened once more than the first: in another term.
    drop(Writer::open(restored.path()));
    let parted = Writer::open(restored.path());
    insert_orders(&parted, 14..=16);

    let refused = parted.watch(Scope::Everything).resume_after(token).start().unwrap_err();
    let Error::Log(oplog::Error::Diverged {
        op_id,
        requested,
        found,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (op_id, requested.0, found.0),
        (OpId::new(5), writer.log.term(), parted.log.term())
    );
    // What both have in common is a good place to go on from in either.
    let mut stream = parted.watch(Scope::Everything).resume_after(shared).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [3, 14, 15, 16]);
}

#[test]
fn a_token_of_a_twin_in_the_same_term_is_refused() {
    let (dir, writer) = orders(3);
    let shared = from_oldest(&writer)[2].resume_token();
    writer.log.close().unwrap();
    let copied = temporary();
    copy_log(dir.path(), copied.path());
    // Each is opened once more, so both write in the same term of the same log.
    let twins = [Writer::open(dir.path()), Writer::open(copied.path())];
    assert_eq!(twins[0].log.term(), twins[1].log.term());
    for (twin, first) in twins.iter().zip([4, 14]) {
        insert_orders(twin, first..=first + 2);
    }
    for (one, other) in [(&twins[0], &twins[1]), (&twins[1], &twins[0])] {
        for place in 3..6 {
            let token = from_oldest(one)[place].resume_token();
            let refused = other.watch(Scope::Everything).resume_after(token).start().unwrap_err();
            let Error::Log(oplog::Error::Diverged { op_id, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(op_id, token.op_id());
            assert!(refused.to_string().contains("same term"), "{refused}");
            let own = one.watch(Scope::Everything).resume_after(token).start();
            assert_eq!(drain(&mut own.unwrap()).len(), 5 - place);
        }
        // What they have in common is good in both, and so is a token that a stream begins with.
        let watch = other.watch(Scope::Everything).resume_after(shared);
        assert_eq!(drain(&mut watch.start().unwrap()).len(), 3);
        let begun = one.watch(Scope::Everything).start().unwrap().resume_token();
        let refused = other.watch(Scope::Everything).resume_after(begun).start().unwrap_err();
        assert!(
            matches!(refused, Error::Log(oplog::Error::Diverged { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_token_from_beyond_the_end_is_refused() {
    let (dir, writer) = orders(3);
    let older = temporary();
    copy_log(dir.path(), older.path());
    insert_orders(&writer, 4..=6);
    let token = from_oldest(&writer)[5].resume_token();
    let restored = Writer::open(older.path());
    let refused = restored
        .watch(Scope::Everything)
        .resume_after(token)
        .start()
        .unwrap_err();
    let Error::TokenAheadOfLog { requested, newest } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((requested, newest), (OpId::new(6), OpId::new(3)));
    // And when the log has grown past that place, it is seen to be another history.
    insert_orders(&restored, 4..=9);
    let refused = restored
        .watch(Scope::Everything)
        .resume_after(token)
        .start()
        .unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::Diverged { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_token_older_than_the_log_is_refused_and_says_what_is_left() {
    let (_dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let events = from_oldest(&writer);
    let oldest = writer.trim();
    let lost = events[10].resume_token();
    let refused = writer.watch(Scope::Everything).resume_after(lost).start().unwrap_err();
    let Error::Log(oplog::Error::HistoryLost {
        requested,
        oldest: found,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((requested, found), (lost.op_id().next(), oldest));
    let time = decoded(&events[10]).get_timestamp("clusterTime").unwrap();
    let refused = writer
        .watch(Scope::Everything)
        .start_at_operation_time(time)
        .start()
        .unwrap_err();
    assert!(
        matches!(refused, Error::TimeTrimmed { oldest: found, .. } if found == oldest),
        "{refused:?}"
    );
    // Whoever has seen the last entry that is gone has missed nothing.
    let last_gone = events[oldest.get() as usize - 2].resume_token();
    assert_eq!(last_gone.op_id(), oldest.previous());
    let mut stream = writer.watch(Scope::Everything).resume_after(last_gone).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), ids(&events[oldest.get() as usize - 1..]));
}

#[test]
fn a_stream_that_a_trim_overtakes_fails_and_never_skips() {
    let (_dir, writer) = orders(0);
    let mut stream = writer.watch(Scope::Everything).start().unwrap();
    writer.fill(ORDERS, 1);
    assert_eq!(ids(&drain(&mut stream)), [0]);
    writer.fill(ORDERS, 5000);
    writer.trim();
    let mut expected = 0;
    let error = loop {
        match stream.next_if_any() {
            Ok(event) => {
                // It may finish the segment it is in.
                assert_eq!(ids(&[event.expect("the end is beyond what is lost")]), [expected]);
                expected += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Log(oplog::Error::HistoryLost { .. })),
        "{error:?}"
    );
    assert!(!stream.is_ended());
}

// Tokens that move.

#[test]
fn the_token_moves_on_while_nothing_matches() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(database("town")).start().unwrap();
    let mut before = stream.resume_token();
    for id in 2..5 {
        insert_orders(&writer, id..=id);
        writer.log.append(200, b"somebody else's", Durability::Disk).unwrap();
        assert!(stream.next_if_any().unwrap().is_none());
        assert!(stream.resume_token() > before);
        before = stream.resume_token();
        assert_eq!(before.op_id(), writer.newest());
    }
    // So a watcher of something rare outlives a trim.
    writer.fill(ORDERS, 3000);
    assert!(stream.next_if_any().unwrap().is_none());
    writer.trim();
    let mut stream = writer
        .watch(database("town"))
        .resume_after(stream.resume_token())
        .start()
        .unwrap();
    writer.insert("town.people", &rawdoc! { "_id": 7 });
    assert_eq!(ids(&drain(&mut stream)), [7]);
}

#[test]
fn a_streams_token_is_that_of_its_last_event() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(Scope::Everything).start_at_oldest().start().unwrap();
    while let Some(event) = stream.next_if_any().unwrap() {
        assert_eq!(stream.resume_token(), event.resume_token());
    }
}

// What is seen when.

#[test]
fn an_event_is_seen_when_it_is_durable_and_with_local_at_once() {
    let dir = temporary();
    let options = oplog::Options {
        segment_bytes: 1 << 20,
        sync_interval: std::time::Duration::from_secs(3600),
        ..oplog::Options::default()
    };
    let log = options.open(dir.path()).unwrap();
    let writer = Writer {
        log,
        durability: Durability::Memory,
    };
    let mut durable = writer.watch(Scope::Everything).start().unwrap();
    let mut local = writer
        .watch(Scope::Everything)
        .read_concern(ReadConcern::Local)
        .start()
        .unwrap();
    let last = writer.insert(ORDERS, &rawdoc! { "_id": 1 }).last;
    assert_eq!(ids(&drain(&mut local)), [1]);
    assert_eq!(ids(&drain(&mut durable)), [0; 0]);
    let ahead = local.resume_token();
    // A token from one who sees more is good for one who sees less, who then waits.
    let mut waiting = writer.watch(Scope::Everything).resume_after(ahead).start().unwrap();
    writer.log.sync(last).unwrap();
    assert_eq!(ids(&drain(&mut durable)), [1]);
    assert_eq!(ids(&drain(&mut waiting)), [0; 0]);
}

#[test]
fn a_view_of_another_process_sees_the_same_events() {
    let (dir, writer) = orders(3);
    let view = OplogView::open(dir.path()).unwrap();
    let mut stream = Watch::new(view, collection(ORDERS)).start_at_oldest().start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [1, 2, 3]);
    let later = std::thread::spawn(move || {
        insert_orders(&writer, 4..=2000);
        writer
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&2000) {
        let event = stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
        seen.extend(ids(&[event]));
    }
    assert_eq!(seen, (4..=2000).collect::<Vec<_>>());
    // It outlives the writer, and meets the next one.
    later.join().unwrap().log.close().unwrap();
    let writer = Writer::open(dir.path());
    insert_orders(&writer, 2001..=2001);
    let event = stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
    assert_eq!(ids(&[event]), [2001]);
}

// Ways of reading.

#[tokio::test]
async fn a_stream_is_awaited() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    for id in 1..=3 {
        assert_eq!(ids(&[stream.next().await.unwrap().unwrap()]), [id]);
    }
    let writing = std::thread::spawn(move || {
        insert_orders(&writer, 4..=500);
        writer.drop_collection(ORDERS);
        writer
    });
    let rest: Vec<_> = stream.by_ref().map(Result::unwrap).collect().await;
    assert_eq!(ids(&rest[..497]), (4..=500).collect::<Vec<_>>());
    assert_eq!(shorts(&rest[497..]), ["drop shop.orders", "invalidate shop.orders"]);
    assert!(stream.next().await.is_none());
    drop(writing.join().unwrap());
}

#[tokio::test]
async fn a_stream_of_another_processs_log_is_awaited() {
    let (dir, writer) = orders(0);
    let view = OplogView::open(dir.path()).unwrap();
    let mut stream = Watch::new(view, collection(ORDERS)).start().unwrap();
    let writing = std::thread::spawn(move || {
        insert_orders(&writer, 1..=200);
        writer
    });
    for id in 1..=200 {
        let event = tokio::time::timeout(PATIENCE, stream.next())
            .await
            .expect("an event in time");
        assert_eq!(ids(&[event.unwrap().unwrap()]), [id]);
    }
    drop(writing.join().unwrap());
}

#[tokio::test]
async fn an_awaited_stream_ends_by_name_when_the_log_closes() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let closing = std::thread::spawn(move || writer.log.close().unwrap());
    let last = stream.next().await.unwrap();
    assert!(matches!(last, Err(Error::Log(oplog::Error::Closed))), "{last:?}");
    assert!(stream.next().await.is_none());
    closing.join().unwrap();
}

#[tokio::test]
async fn a_stopper_ends_an_awaited_stream() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    let stopper = stream.stopper();
    assert!(stream.next().await.unwrap().is_ok());
    let stopping = std::thread::spawn(move || stopper.stop());
    assert!(stream.next().await.is_none());
    stopping.join().unwrap();
}

#[test]
fn a_blocking_iterator_ends_with_its_stream_or_its_stopper() {
    let (_dir, writer) = orders(2);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    let stopper = stream.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            insert_orders(&writer, 3..=4);
            writer.drop_collection(ORDERS);
        });
        assert_eq!(stream.blocking_iter().map(Result::unwrap).count(), 6);
    });
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    stopper.stop();
    assert!(stopper.is_stopped());
    let stopper = stream.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| stopper.stop());
        assert!(stream.blocking_iter().next().is_none());
    });
}

#[test]
fn a_stopped_stream_does_not_first_look_through_the_whole_log() {
    let (_dir, mut writer) = orders(0);
    writer.durability = Durability::Memory;
    insert_orders(&writer, 1..=20_000);
    writer.insert("town.people", &rawdoc! { "_id": 7 });
    writer.log.sync(writer.log.watermarks().appended).unwrap();
    let mut stream = writer.watch(database("town")).start_at_oldest().start().unwrap();
    stream.stopper().stop();
    assert!(stream.wait_next(None).unwrap().is_none());
    assert!(stream.resume_token().op_id() < writer.newest());
    // What is there can still be read.
    assert_eq!(ids(&drain(&mut stream)), [7]);
}

#[test]
fn waiting_ends_when_the_time_is_up() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    assert!(
        stream
            .wait_next(Some(std::time::Duration::from_millis(5)))
            .unwrap()
            .is_none()
    );
    assert!(!stream.is_ended());
    insert_orders(&writer, 2..=2);
    assert!(stream.wait_next(Some(PATIENCE)).unwrap().is_some());
}

// Subscriptions.

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

// What is asked for wrongly.

fn refusal(watch: Watch) -> (Error, String) {
    let error = watch.start().unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_malformed_filter_shows_the_place() {
    let (_dir, writer) = orders(0);
    let (error, text) = refusal(writer.watch(Scope::Everything).filter("age >"));
    assert!(matches!(error, Error::Filter(_)), "{error:?}");
    assert!(text.contains("age >") && text.contains('^'), "{text}");
    let refused = writer
        .watch(Scope::Everything)
        .filter("age ~ 3")
        .subscribe()
        .unwrap_err();
    assert!(matches!(refused, Error::Filter(_)), "{refused:?}");
}

#[test]
fn a_malformed_pipeline_names_stage_and_operator() {
    let (_dir, writer) = orders(0);
    let watch = |stages: Vec<Document>| refusal(writer.watch(Scope::Everything).pipeline(stages));
    let fine = doc! { "$match": {} };

    let (error, text) = watch(vec![
        fine.clone(),
        doc! { "$match": { "fullDocument.age": { "$near": 1 } } },
    ]);
    assert!(matches!(error, Error::Match { stage: 1, .. }), "{error:?}");
    assert!(
        text.contains("stage 1") && text.contains("$near") && text.contains("fullDocument.age"),
        "{text}"
    );

    let (error, text) = watch(vec![fine.clone(), fine.clone(), doc! { "$group": { "_id": null } }]);
    assert!(
        matches!(&error, Error::UnsupportedStage { stage: 2, name } if name == "$group"),
        "{error:?}"
    );
    assert!(
        text.contains("stage 2") && text.contains("$group") && text.contains("$match"),
        "{text}"
    );

    for malformed in [doc! {}, doc! { "$match": {}, "$project": {} }, doc! { "$match": 1 }] {
        let (error, text) = watch(vec![malformed]);
        assert!(matches!(error, Error::MalformedStage { stage: 0, .. }), "{error:?}");
        assert!(text.contains("stage 0"), "{text}");
    }
}

#[test]
fn what_is_wrong_with_the_question_comes_before_where_to_start() {
    let ((_one, writer), (_other, stranger)) = (orders(1), orders(1));
    let token = from_oldest(&stranger)[0].resume_token();
    let watch = writer.watch(Scope::Everything).resume_after(token).filter("age >");
    assert!(matches!(watch.start(), Err(Error::Filter(_))));
}
