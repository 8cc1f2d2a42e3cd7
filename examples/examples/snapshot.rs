//! Promise: a copy begins with what is there and follows every change, without a gap and without a duplicate, also when it is
//! interrupted in the middle.

use std::collections::BTreeMap;

use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{ChangeEvent, OperationType, SnapshotEvent, SnapshotToken, Store};

/// Applies an event to a copy of the collection, strictly.
fn apply(copy: &mut BTreeMap<i32, RawDocumentBuf>, event: &SnapshotEvent) {
    let key = event.document_key().expect("a document's event");
    let id = key.get_i32("_id").expect("these have numbers");
    let before = match event.change().map(ChangeEvent::operation_type) {
        Some(OperationType::Delete) => copy.remove(&id).is_some(),
        _ => copy
            .insert(id, event.full_document().expect("filters carry it").to_owned())
            .is_some(),
    };
    let was_known = !matches!(event.operation_name(), "snapshot" | "insert");
    assert_eq!(before, was_known, "document {id} came twice, or too late");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    for id in 1..=6 {
        orders.insert_one(&rawdoc! { "_id": id, "total": 10 * id })?;
    }

    // The first life ends in the middle of the snapshot.
    let mut copy = BTreeMap::new();
    let mut stream = orders.watch().filter("total > 0").with_snapshot().start()?;
    for _ in 0..3 {
        apply(&mut copy, &stream.wait_next(None)?.expect("six orders are there"));
    }
    let kept = stream.resume_token().to_string();
    drop(stream);
    // Both an order that was delivered and one that was not change meanwhile.
    orders.update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$inc": { "total": 1 } })?;
    orders.update_one(&rawdoc! { "_id": 5 }, &rawdoc! { "$inc": { "total": 1 } })?;
    drop(orders);
    store.close()?;

    // The second life goes on where the first was.
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    let token: SnapshotToken = kept.parse()?;
    let mut stream = orders
        .watch()
        .filter("total > 0")
        .with_snapshot()
        .resume_after(token)
        .start()?;
    orders.insert_one(&rawdoc! { "_id": 7, "total": 70 })?;
    while let Some(event) = stream.next_if_any()? {
        apply(&mut copy, &event);
    }
    assert!(stream.is_snapshot_delivered());
    let there: Vec<_> = orders.find(&rawdoc! {})?.collect::<Result<_, _>>()?;
    assert_eq!(copy.into_values().collect::<Vec<_>>(), there);
    Ok(())
}
