//! What events look like, and what they show of an update.

use crate::common;

use bson::spec::BinarySubtype;
use bson::{Bson, Document, doc, rawdoc};
use common::{
    COLLECTION_ID, ORDERS, Writer, collection, common_fields, decoded, diff, drain, from_oldest, insert_orders, of,
    orders, short, shorts,
};
use futures::StreamExt;
use futures::stream::FusedStream;
use tailwater_changestream::{
    ChangeEvent, ChangeStream, Error, FullDocument, FullDocumentBeforeChange, ResumeToken, Scope, TokenKind, Watch,
};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

// What events look like.

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
fn expanded_updates_tell_names_from_indexes() {
    let (document, updated) = (
        rawdoc! { "_id": 1, "names": { "0": 5 }, "list": [5] },
        rawdoc! { "names.0": 5, "list.0": 5 },
    );
    let none = bson::RawArrayBuf::new;
    let diff = rawdoc! { "updatedFields": updated, "removedFields": none(), "truncatedArrays": none() };
    let mut expected = doc! {
        "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "_id": 1 },
        "updateDescription": { "updatedFields": { "names.0": 5, "list.0": 5 }, "removedFields": [], "truncatedArrays": [] },
    };
    let write = |w: &Writer| {
        let key = rawdoc! { "_id": 1 };
        let entry = StoreEntry {
            key: Some(&key),
            document: Some(&document),
            diff: Some(&diff),
            ..of(ORDERS)
        };
        w.write(EntryKind::Update, &entry);
    };
    check_event(|w| w, write, ("update", expected.clone()));
    let description = expected.get_document_mut("updateDescription").unwrap();
    description.insert("disambiguatedPaths", doc! { "names.0": ["names", "0"] });
    let uuid = bson::Binary {
        subtype: BinarySubtype::Uuid,
        bytes: COLLECTION_ID.to_vec(),
    };
    expected.insert("collectionUUID", uuid);
    check_event(|w| w.show_expanded_events(true), write, ("update", expected));
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
        "operationDescription": { "capped": false, "idIndex": { "v": 2, "key": { "_id": 1 }, "name": "_id_" } },
        "nsType": "collection",
    };
    check_event(
        |w| w.show_expanded_events(true),
        |w| {
            let _ = w.create(ORDERS);
        },
        ("create", expected),
    );
    // What a collection and an index were before they were modified.
    let modified = [
        (
            rawdoc! { "options": { "capped": false, "max": 5 }, "before": { "capped": false } },
            doc! { "capped": false, "max": 5 },
            doc! { "collectionOptions": { "uuid": uuid.clone(), "capped": false } },
        ),
        (
            rawdoc! { "index": { "name": "n_1", "hidden": true }, "before": { "hidden": false } },
            doc! { "index": { "name": "n_1", "hidden": true } },
            doc! { "collectionOptions": { "uuid": uuid.clone() }, "indexOptions": { "hidden": false } },
        ),
    ];
    for (detail, description, before) in modified {
        let expected = doc! {
            "ns": { "db": "shop", "coll": "orders" },
            "collectionUUID": uuid.clone(),
            "operationDescription": description,
            "stateBeforeChange": before,
        };
        let write = |writer: &Writer| {
            let entry = StoreEntry {
                detail: Some(&detail),
                ..of(ORDERS)
            };
            writer.write(EntryKind::Modify, &entry);
        };
        check_event(|w| w.show_expanded_events(true), write, ("modify", expected));
    }
    // With what it was renamed to, and what it replaced.
    let detail = rawdoc! { "to": { "db": "shop", "coll": "old" }, "dropTarget": uuid.clone() };
    let expected = doc! {
        "ns": { "db": "shop", "coll": "orders" },
        "collectionUUID": uuid.clone(),
        "to": { "db": "shop", "coll": "old" },
        "operationDescription": { "to": { "db": "shop", "coll": "old" }, "dropTarget": uuid.clone() },
    };
    let write = |writer: &Writer| {
        let entry = StoreEntry {
            detail: Some(&detail),
            ..of(ORDERS)
        };
        writer.write(EntryKind::Rename, &entry);
    };
    check_event(|w| w.show_expanded_events(true), write, ("rename", expected));
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
fn fields_come_in_mongodbs_order() {
    let (_dir, writer) = orders(0);
    let (key, document) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1, "n": 5 });
    let session = rawdoc! { "lsid": { "id": 9 }, "txnNumber": 3i64 };
    let diff = diff(5);
    let entry = StoreEntry {
        key: Some(&key),
        document: Some(&document),
        diff: Some(&diff),
        pre_image: Some(&key),
        session: Some(&session),
        ..of(ORDERS)
    };
    let watch = writer.watch(Scope::Everything).show_expanded_events(true);
    let watch = watch.full_document(FullDocument::UpdateLookup);
    let mut stream = watch
        .full_document_before_change(FullDocumentBeforeChange::WhenAvailable)
        .start()
        .unwrap();
    writer.write(EntryKind::Update, &entry);
    writer.create(ORDERS);
    let names = |event: Document| event.keys().cloned().collect::<Vec<_>>().join(" ");
    let events: Vec<_> = drain(&mut stream).iter().map(|event| names(decoded(event))).collect();
    let begin = "_id operationType clusterTime collectionUUID wallTime";
    let update =
        "txnNumber lsid commitTimestamp fullDocument ns documentKey updateDescription fullDocumentBeforeChange";
    assert_eq!(
        events,
        [
            format!("{begin} {update}"),
            format!("{begin} ns operationDescription nsType")
        ]
    );
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
fn expanded_events_of_a_transaction_tell_when_it_was_committed() {
    let (_dir, writer) = orders(0);
    let watch = || writer.watch(Scope::Everything).start_at_oldest();
    let (key, session) = (rawdoc! { "_id": 1 }, rawdoc! { "lsid": { "id": 9 }, "txnNumber": 3i64 });
    for session in [Some(&*session), None] {
        let entry = StoreEntry {
            key: Some(&key),
            session,
            ..of(ORDERS)
        };
        writer.write(EntryKind::Delete, &entry);
    }
    let told = |expanded| -> Vec<bool> {
        let events = drain(&mut watch().show_expanded_events(expanded).start().unwrap());
        let told = |event: &ChangeEvent| {
            let event = decoded(event);
            event
                .get("commitTimestamp")
                .inspect(|time| assert_eq!(Some(*time), event.get("clusterTime")))
                .is_some()
        };
        events.iter().map(told).collect()
    };
    assert_eq!((told(true), told(false)), (vec![true, false], vec![false, false]));
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
