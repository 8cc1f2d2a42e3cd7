//! Promise: a store with change streams, embedded, without a server.

use tailwater::{Store, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let people = store.collection("town", "people")?;
    let (handle, adults) = people.watch().filter("age > 18").subscribe()?;

    people.insert_one(&rawdoc! { "_id": 1, "name": "Ada", "age": 36 })?;
    people.insert_one(&rawdoc! { "_id": 2, "name": "Bo", "age": 17 })?;
    // The filter is asked about the document after the update.
    people.update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$inc": { "age": 2 } })?;

    let names = [adults.recv()?, adults.recv()?];
    let names: Vec<_> = names
        .iter()
        .filter_map(|event| event.full_document()?.get_str("name").ok())
        .collect();
    assert_eq!(names, ["Ada", "Bo"]);
    drop(handle);
    assert!(adults.recv().is_err(), "dropping the handle has ended the watch");
    Ok(())
}
