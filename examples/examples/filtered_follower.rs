//! A second store that has only a part of the first: one customer's orders, and no more.

use std::time::Duration;

use tailwater::bson::rawdoc;
use tailwater::replication::Selection;
use tailwater::{OperationType, Store};

const LONG: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let store = Store::open(here.path())?;
    let orders = store.collection("shop", "orders")?;
    for (id, customer) in [(1, "ada"), (2, "bo"), (3, "ada")] {
        orders.insert_one(&rawdoc! { "_id": id, "customer": customer })?;
    }
    let primary = store.primary("main").start()?;
    let ada = Selection::new(["shop.orders"], &rawdoc! { "customer": "ada" })?;
    let follower = Store::follower(there.path(), "part", primary.address().to_string())
        .filter(ada)
        .start()?;

    // The copy begins with what there is, ...
    let latest = store.log().watermarks().durable;
    follower.wait_for(latest, LONG)?;
    let copy = Store::of_follower(&follower).ok_or("it has been copied")?;
    let part = copy.collection("shop", "orders")?;
    assert_eq!(part.count(&rawdoc! {})?, 2);

    // ... and goes on: documents come into the part, and leave it. Of others there is nothing to see.
    let (_watch, events) = part.watch().subscribe()?;
    orders.insert_one(&rawdoc! { "_id": 4, "customer": "bo" })?;
    let sold = orders.update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$set": { "customer": "ada" } })?;
    let event = events.recv()?;
    assert_eq!(event.operation_type(), OperationType::Update);
    let left = orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "customer": "bo" } })?;
    assert!(left.op_id > sold.op_id);
    store.sync()?;
    follower.wait_for(store.log().watermarks().durable, LONG)?;
    assert_eq!(part.count(&rawdoc! {})?, 2);
    assert!(part.find_one(&rawdoc! { "_id": 1 })?.is_none());

    // Its tokens are those of the primary, and the other way round.
    let token = event.resume_token();
    let mut stream = orders.watch().resume_after(token).start()?;
    let next = stream.next_if_any()?.ok_or("it is durable")?;
    assert_eq!(next.operation_type(), OperationType::Update);
    Ok(())
}
