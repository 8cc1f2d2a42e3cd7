//! Promise: MongoDB's `$match` pipelines select events before they are delivered.

use tailwater::{FullDocument, OperationType, Store, bson::doc, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;

    // Paid orders, and every deletion, of the whole database.
    let pipeline = [doc! { "$match": { "$or": [
        { "operationType": "update", "updateDescription.updatedFields.status": "paid" },
        { "operationType": "delete" },
    ] } }];
    let mut stream = store
        .watch_database("shop")
        .pipeline(pipeline)
        .full_document(FullDocument::UpdateLookup)
        .start()?;

    orders.insert_one(&rawdoc! { "_id": 1, "status": "open", "total": 20 })?;
    orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "total": 25 } })?;
    orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "status": "paid" } })?;
    orders.delete_one(&rawdoc! { "_id": 1 })?;

    let paid = stream.next_if_any()?.expect("the order was paid");
    assert_eq!(paid.operation_type(), OperationType::Update);
    assert_eq!(
        paid.full_document(),
        Some(&*rawdoc! { "_id": 1, "status": "paid", "total": 25 })
    );
    let description = paid.update_description().expect("an update's event");
    assert_eq!(
        description.get_document("updatedFields")?,
        &*rawdoc! { "status": "paid" }
    );
    let deleted = stream.next_if_any()?.expect("and then deleted");
    assert_eq!(deleted.operation_type(), OperationType::Delete);
    assert!(stream.next_if_any()?.is_none(), "nothing else passes");

    // What a change stream cannot do is refused when it is asked for, with the place named.
    let refused = store.watch().pipeline([doc! { "$lookup": {} }]).start().unwrap_err();
    assert!(
        refused.to_string().starts_with("pipeline stage 0: $lookup"),
        "{refused}"
    );
    Ok(())
}
