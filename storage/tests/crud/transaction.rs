//! A transaction offers the same operations, on its own state.

use bson::{Bson, bson, rawdoc};
use tailwater_storage::{
    CountOptions, Error, FindOneAndUpdateOptions, FindOptions, ReturnDocument, UpdateOptions, WriteModel,
};

use crate::Town;

#[test]
fn every_operation_is_there_and_nothing_shows_before_the_commit() {
    let town = Town::numbered(0..4);
    let transaction = town.store.transaction().unwrap();
    let people = transaction.collection("town", "people").unwrap();
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    let set = rawdoc! { "$set": { "n": 9 } };
    let outcome = people.update_one_with(&rawdoc! { "_id": 9 }, &set, &upsert).unwrap();
    assert_eq!(outcome.upserted_id, Some(Bson::Int32(9)));
    let after = FindOneAndUpdateOptions {
        return_document: ReturnDocument::After,
        sort: Some(rawdoc! { "n": -1 }),
        ..FindOneAndUpdateOptions::default()
    };
    let inc = rawdoc! { "$inc": { "n": 1 } };
    let updated = people.find_one_and_update_with(&rawdoc! {}, &inc, &after).unwrap();
    assert_eq!(updated, Some(rawdoc! { "_id": 9, "n": 10 }));
    let replaced = people
        .find_one_and_replace(&rawdoc! { "_id": 1 }, &rawdoc! { "n": 11 })
        .unwrap();
    assert_eq!(replaced, Some(rawdoc! { "_id": 1, "n": 1 }));
    let deleted = people.find_one_and_delete(&rawdoc! { "_id": 0 }).unwrap();
    assert_eq!(deleted, Some(rawdoc! { "_id": 0, "n": 0 }));
    let outcome = people.bulk_write([
        WriteModel::insert_one(rawdoc! { "_id": 5, "n": 5 }),
        WriteModel::delete_many(rawdoc! { "n": { "$in": [2, 5] } }),
    ]);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.inserted, outcome.deleted), (1, 2));

    let sorted = FindOptions {
        sort: Some(rawdoc! { "n": -1 }),
        limit: Some(2),
        ..FindOptions::default()
    };
    let found: Vec<_> = people
        .find_with(&rawdoc! {}, &sorted)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found, [rawdoc! { "_id": 1, "n": 11 }, rawdoc! { "_id": 9, "n": 10 }]);
    assert_eq!(
        Bson::Array(people.distinct("n", &rawdoc! {}).unwrap()),
        bson!([11, 3, 10])
    );
    let skip = CountOptions {
        skip: 1,
        ..CountOptions::default()
    };
    assert_eq!(people.count_with(&rawdoc! {}, &skip).unwrap(), 2);

    assert_eq!(town.people.count(&rawdoc! { "n": { "$lt": 4 } }).unwrap(), 4);
    transaction.commit().unwrap();
    let expected = [
        rawdoc! { "_id": 1, "n": 11 },
        rawdoc! { "_id": 3, "n": 3 },
        rawdoc! { "_id": 9, "n": 10 },
    ];
    assert_eq!(town.all(), expected);
}

#[test]
fn an_upsert_meets_what_another_has_inserted_as_a_conflict() {
    let town = Town::numbered(0..1);
    let transaction = town.store.transaction().unwrap();
    town.people.insert_one(&rawdoc! { "_id": 7 }).unwrap();
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    let people = transaction.collection("town", "people").unwrap();
    let conflict = people.update_one_with(&rawdoc! { "_id": 7 }, &rawdoc! { "$set": { "a": 1 } }, &upsert);
    assert!(matches!(conflict, Err(Error::WriteConflict { .. })), "{conflict:?}");
}
