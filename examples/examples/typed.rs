//! Promise: a program's own types, written and read under the names of MongoDB's drivers.

use serde::{Deserialize, Serialize};
use tailwater::bson::rawdoc;
use tailwater::{FindOneAndUpdateOptions, FindOptions, ReturnDocument, Store, UpdateOptions};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Person {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
    visits: i32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let people = store.collection("town", "people")?.typed::<Person>();

    let person = |id, name: &str, visits| Person {
        id,
        name: name.to_owned(),
        visits,
    };
    people.insert_many(&[person(1, "Ada", 3), person(2, "Bo", 9), person(3, "Cy", 5)])?;

    let most_frequent = FindOptions {
        sort: Some(rawdoc! { "visits": -1 }),
        limit: Some(2),
        ..FindOptions::default()
    };
    let names = people.find_with(&rawdoc! {}, &most_frequent)?;
    let names = names
        .map(|person| Ok(person?.name))
        .collect::<tailwater::Result<Vec<_>>>()?;
    assert_eq!(names, ["Bo", "Cy"]);

    // Found and changed at once: nobody else comes in between.
    let after = FindOneAndUpdateOptions {
        return_document: ReturnDocument::After,
        ..FindOneAndUpdateOptions::default()
    };
    let visit = rawdoc! { "$inc": { "visits": 1 } };
    let ada = people.find_one_and_update_with(&rawdoc! { "name": "Ada" }, &visit, &after)?;
    assert_eq!(ada, Some(person(1, "Ada", 4)));

    // An upsert inserts what the filter says, with the update applied.
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    people.update_one_with(&rawdoc! { "_id": 4, "name": "Di" }, &visit, &upsert)?;
    assert_eq!(people.find_one(&rawdoc! { "_id": 4 })?, Some(person(4, "Di", 1)));
    assert_eq!(people.count(&rawdoc! {})?, 4);
    Ok(())
}
