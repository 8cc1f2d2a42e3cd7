//! Promise: a watch that names operations gets those and no others, whatever its scope.

use tailwater::{OperationType, Store, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let (orders, users) = (store.collection("shop", "orders")?, store.collection("shop", "users")?);
    let changes = [OperationType::Update, OperationType::Delete];
    let mut of_orders = orders.watch().operations(changes).filter("total > 10").start()?;
    let mut of_all = store.watch().operations([OperationType::Insert]).start()?;

    orders.insert_one(&rawdoc! { "_id": 1, "total": 20 })?;
    users.insert_one(&rawdoc! { "_id": 1 })?;
    orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$inc": { "total": 5 } })?;
    orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "total": 5 } })?;

    let update = of_orders.next_if_any()?.expect("the first update passes the filter");
    assert_eq!(update.operation_type(), OperationType::Update);
    // What an `$inc` made of the field, not by how much it was raised.
    let description = update.update_description().expect("an update's event");
    assert_eq!(description.get_document("updatedFields")?, &*rawdoc! { "total": 25 });
    assert!(of_orders.next_if_any()?.is_none(), "the second does not");

    let mut inserts = Vec::new();
    while let Some(event) = of_all.next_if_any()? {
        inserts.push(event.collection().to_owned());
    }
    assert_eq!(inserts, ["orders", "users"]);
    Ok(())
}
