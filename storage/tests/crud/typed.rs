use bson::rawdoc;
use serde::{Deserialize, Serialize};
use tailwater_storage::{Error, FindOneAndUpdateOptions, FindOptions, ReplaceOptions, ReturnDocument, TypedCollection};

use crate::Town;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Person {
    #[serde(rename = "_id")]
    id: i32,
    name: String,
    age: i32,
}

fn person(id: i32, name: &str, age: i32) -> Person {
    let name = name.into();
    Person { id, name, age }
}

fn people(town: &Town) -> TypedCollection<Person> {
    town.people.typed()
}

#[test]
fn values_go_in_and_come_out() {
    let town = Town::new();
    let people = people(&town);
    let (ada, bo, cy) = (person(1, "Ada", 36), person(2, "Bo", 7), person(3, "Cy", 19));
    people.insert_one(&ada).unwrap();
    people.insert_many([&bo, &cy]).unwrap();
    assert_eq!(town.all()[0], rawdoc! { "_id": 1, "name": "Ada", "age": 36 });

    let adults = people.find(&rawdoc! { "age": { "$gte": 18 } }).unwrap();
    assert_eq!(adults.collect::<Result<Vec<_>, _>>().unwrap(), [ada.clone(), cy]);
    let youngest = FindOptions {
        sort: Some(rawdoc! { "age": 1 }),
        ..FindOptions::default()
    };
    assert_eq!(people.find_one_with(&rawdoc! {}, &youngest).unwrap(), Some(bo));
    assert_eq!(people.find_one(&rawdoc! { "age": 99 }).unwrap(), None);

    let older = person(1, "Ada", 37);
    let before = people.find_one_and_replace(&rawdoc! { "_id": 1 }, &older).unwrap();
    assert_eq!(before, Some(ada));
    let options = FindOneAndUpdateOptions {
        return_document: ReturnDocument::After,
        ..FindOneAndUpdateOptions::default()
    };
    let update = rawdoc! { "$inc": { "age": 1 } };
    let after = people
        .find_one_and_update_with(&rawdoc! { "_id": 1 }, &update, &options)
        .unwrap();
    assert_eq!(after, Some(person(1, "Ada", 38)));
    people.replace_one(&rawdoc! { "_id": 1 }, &older).unwrap();
    assert_eq!(people.find_one_and_delete(&rawdoc! { "_id": 1 }).unwrap(), Some(older));

    let upsert = ReplaceOptions {
        upsert: true,
        ..ReplaceOptions::default()
    };
    people
        .replace_one_with(&rawdoc! { "_id": 4 }, &person(4, "Di", 1), &upsert)
        .unwrap();
    assert_eq!(people.count(&rawdoc! {}).unwrap(), 3, "the rest is the collection's");
}

#[test]
fn a_document_that_is_no_value_is_named_and_the_others_come() {
    let town = Town::new();
    let people = people(&town);
    people.insert_one(&person(1, "Ada", 36)).unwrap();
    town.people.insert_one(&rawdoc! { "_id": 2, "name": "Bo" }).unwrap();
    people.insert_one(&person(3, "Cy", 19)).unwrap();
    let mut found = people.find(&rawdoc! {}).unwrap();
    assert_eq!(found.next().unwrap().unwrap().id, 1);
    let error = found.next().unwrap().unwrap_err();
    let Error::Deserialize { type_name, id, source } = &error else {
        panic!("{error:?}");
    };
    assert!(type_name.ends_with("Person"), "{type_name}");
    assert_eq!(**id, bson::Bson::Int32(2));
    assert!(source.to_string().contains("age"), "{source}");
    assert_eq!(found.next().unwrap().unwrap().id, 3);
}

#[test]
fn a_value_that_is_no_document_is_named() {
    let town = Town::new();
    let numbers = town.people.typed::<i32>();
    let error = numbers.insert_one(&7).unwrap_err();
    assert!(matches!(error, Error::Serialize { type_name: "i32", .. }), "{error:?}");
    assert!(town.all().is_empty());
}
