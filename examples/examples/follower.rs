//! A second store that has every entry of the first, and takes its place when it dies.

use std::time::Duration;

use tailwater::bson::rawdoc;
use tailwater::replication::WriteConcern;
use tailwater::{OperationType, Store};

const LONG: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let members = ["ada", "bo"];

    let store = Store::open(here.path())?;
    let primary = store.primary("ada").members(members).start()?;
    let follower = Store::follower(there.path(), "bo", primary.address().to_string())
        .members(members)
        .start()?;

    // Acknowledged when a majority, of two both, has it on its disk.
    let orders = store.collection("shop", "orders")?;
    let written = orders.insert_one(&rawdoc! { "_id": 1, "total": 30 })?;
    primary.wait(written.op_id, WriteConcern::Majority, LONG)?;

    // The follower answers reads and watchers, and takes no writes.
    follower.wait_for(written.op_id, LONG)?;
    let copy = Store::of_follower(&follower).ok_or("it has been copied")?;
    let copied = copy.collection("shop", "orders")?;
    assert_eq!(
        copied.find_one(&rawdoc! { "_id": 1 })?,
        Some(rawdoc! { "_id": 1, "total": 30 })
    );
    assert!(copied.insert_one(&rawdoc! { "_id": 2 }).is_err());
    let (_watch, events) = copied.watch().subscribe()?;
    orders.insert_one(&rawdoc! { "_id": 2, "total": 7 })?;
    assert_eq!(events.recv()?.operation_type(), OperationType::Insert);

    // The primary dies; somebody decides that the follower is primary now.
    drop(primary);
    drop((orders, store));
    let promoted = Store::from(follower.promote()?);
    let orders = promoted.collection("shop", "orders")?;
    orders.insert_one(&rawdoc! { "_id": 3, "total": 12 })?;
    assert_eq!(orders.count(&rawdoc! {})?, 3);
    Ok(())
}
