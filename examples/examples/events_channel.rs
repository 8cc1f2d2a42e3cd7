//! Promise: events come through a channel that is ranged over; it ends with what it watches, or with its handle.

use std::thread;

use tailwater::{RecvError, Store, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let users = store.collection("mydb", "users")?;

    let (handle, events) = users.watch().subscribe()?;
    let names = thread::spawn(move || -> Result<Vec<_>, RecvError> {
        events
            .iter()
            .map(|event| event.map(|event| event.operation_type().name()))
            .collect()
    });
    users.insert_one(&rawdoc! { "_id": 1 })?;
    users.delete_one(&rawdoc! { "_id": 1 })?;
    store.drop_collection("mydb", "users")?;
    let names = names.join().expect("the consumer does not panic")?;
    assert_eq!(names, ["insert", "delete", "drop", "invalidate"]);
    assert!(handle.is_ended());

    // Who drops the handle ends the loop; what was delivered by then still comes.
    let users = store.collection("mydb", "users")?;
    let (handle, events) = users.watch().subscribe()?;
    users.insert_one(&rawdoc! { "_id": 2 })?;
    assert_eq!(events.recv()?.document_key(), Some(rawdoc! { "_id": 2 }));
    drop(handle);
    assert_eq!(events.iter().count(), 0);
    Ok(())
}
