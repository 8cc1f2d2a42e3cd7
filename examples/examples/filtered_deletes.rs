//! Promise: a filtered watcher hears of deletions of what it watches, and of no others.

use tailwater::bson::rawdoc;
use tailwater::{CollectionOptions, OperationType, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let mut options = CollectionOptions::default();
    options.pre_and_post_images = true;
    store.create_collection_with("town", "people", &options)?;
    let people = store.collection("town", "people")?;
    people.insert_one(&rawdoc! { "_id": 1, "name": "Ada", "age": 36 })?;
    people.insert_one(&rawdoc! { "_id": 2, "name": "Bo", "age": 7 })?;

    let mut adults = people
        .watch()
        .filter("age > 18")
        .match_deletes_by_pre_image(true)
        .start()?;
    people.delete_one(&rawdoc! { "_id": 2 })?;
    people.delete_one(&rawdoc! { "_id": 1 })?;

    let event = adults.wait_next(None)?.expect("an adult was deleted");
    assert_eq!(event.operation_type(), OperationType::Delete);
    assert_eq!(event.document_key(), Some(rawdoc! { "_id": 1 }));
    assert!(adults.next_if_any()?.is_none(), "the child is nobody's business");
    Ok(())
}
