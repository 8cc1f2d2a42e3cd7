//! Creating, renaming, changing and dropping collections, and what their options do; each also after a restart and after the
//! state was rebuilt from the log.

use std::path::Path;

use bson::{RawDocumentBuf, rawdoc};
use tailwater_storage::{
    AggregateOptions, BulkWriteOptions, Collection, CollectionOptions, Error, ErrorCode, IndexModel, InsertManyOptions,
    Pipeline, Store, UpdateOptions, WriteModel,
};

fn open(dir: &Path) -> Store {
    Store::open(dir).unwrap()
}

fn all(collection: &Collection) -> Vec<RawDocumentBuf> {
    collection.find(&rawdoc! {}).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Runs a check on a store as it is, once more after it was closed and opened, and once more after its state was removed.
fn also_after_reopening(dir: &Path, store: Store, check: impl Fn(&Store)) {
    check(&store);
    store.close().unwrap();
    let store = open(dir);
    check(&store);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.join("state")).unwrap();
    let store = open(dir);
    check(&store);
}

#[test]
fn options_of_a_collection_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let given = rawdoc! {
        "changeStreamPreAndPostImages": { "enabled": true },
        "validator": { "age": { "$gte": 0 } },
        "validationLevel": "moderate",
        "validationAction": "warn",
    };
    let options = CollectionOptions::parse(&given).unwrap();
    store.create_collection_with("town", "people", &options).unwrap();
    let twice = store.create_collection("town", "people").unwrap_err();
    assert!(matches!(twice, Error::CollectionExists { namespace } if namespace == "town.people"));
    also_after_reopening(dir.path(), store, |store| {
        let listed = store.list_collections("town");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name, "people");
        assert_eq!(listed[0].options, options);
    });
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    for (options, what) in [
        (rawdoc! { "capped": true }, "size"),
        (rawdoc! { "size": 100 }, "capped"),
        (rawdoc! { "capped": 1, "size": 100 }, "capped"),
        (rawdoc! { "capped": true, "size": -1 }, "size"),
        (rawdoc! { "validationLevel": "lax" }, "validationLevel"),
        (rawdoc! { "validationAction": 1 }, "validationAction"),
        (
            rawdoc! { "changeStreamPreAndPostImages": true },
            "changeStreamPreAndPostImages",
        ),
        (rawdoc! { "timeseries": {} }, "timeseries"),
    ] {
        match CollectionOptions::parse(&options) {
            Err(Error::InvalidOptions { what: said }) => assert!(said.contains(what), "{said}"),
            other => panic!("{options:?}: {other:?}"),
        }
    }
}

/// Every write that can make a document can be told to pass the validator by, each in a transaction and outside of one.
#[test]
fn writes_that_bypass_the_validator_are_not_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let options = CollectionOptions::parse(&rawdoc! { "validator": { "age": { "$gte": 0 } } }).unwrap();
    store.create_collection_with("town", "people", &options).unwrap();
    store.create_collection_with("town", "copies", &options).unwrap();
    let people = store.collection("town", "people").unwrap();
    let bad = |id: i32| rawdoc! { "_id": id, "age": -1 };
    let refused = |error: Error| matches!(error, Error::DocumentFailedValidation { .. });
    let insert = |bypass| InsertManyOptions {
        bypass_document_validation: bypass,
        ..InsertManyOptions::default()
    };
    let bulk = |bypass| BulkWriteOptions {
        bypass_document_validation: bypass,
        ..BulkWriteOptions::default()
    };
    let models = |id: i32| {
        let set = rawdoc! { "$set": { "age": -2 } };
        [
            WriteModel::insert_one(bad(id)),
            WriteModel::update_one(rawdoc! { "_id": id }, &set),
            WriteModel::replace_one(rawdoc! { "_id": id }, rawdoc! { "age": -3 }),
        ]
    };
    // Without an index, and with one: inserts go two ways.
    for (round, first) in [0, 100].into_iter().enumerate() {
        if round == 1 {
            people.create_index(&IndexModel::new("age", 1)).unwrap();
        }
        people.insert_many_with([&*bad(first)], &insert(false)).unwrap_err();
        people.insert_many_with([&*bad(first)], &insert(true)).unwrap();
        people.bulk_write_with(models(first + 1), &bulk(false)).unwrap_err();
        people.bulk_write_with(models(first + 1), &bulk(true)).unwrap();
        let transaction = store.transaction().unwrap();
        let own = transaction.collection("town", "people").unwrap();
        own.insert_many_with([&*bad(first + 2)], &insert(true)).unwrap();
        own.bulk_write_with(models(first + 3), &bulk(true)).unwrap();
        // Of one operation only.
        assert!(refused(own.insert_one(&bad(first + 4)).unwrap_err()));
        drop(transaction);
        let transaction = store.transaction().unwrap();
        let own = transaction.collection("town", "people").unwrap();
        own.bulk_write_with(models(first + 3), &bulk(true)).unwrap();
        transaction.commit().unwrap();
    }
    assert_eq!(people.count(&rawdoc! { "age": -3 }).unwrap(), 4);

    let bypass = AggregateOptions {
        bypass_document_validation: true,
        ..AggregateOptions::default()
    };
    for stage in [rawdoc! { "$merge": "copies" }, rawdoc! { "$out": "copies" }] {
        let pipeline = Pipeline::parse(&[stage]).unwrap();
        let error = people.aggregate(&pipeline).unwrap_err();
        assert!(refused(error));
        people.aggregate_with(&pipeline, bypass.clone()).unwrap();
        assert_eq!(all(&store.collection("town", "copies").unwrap()), all(&people));
        store.drop_collection("town", "copies").unwrap();
        store.create_collection_with("town", "copies", &options).unwrap();
    }
}

#[test]
fn a_validator_sees_the_writes_that_its_level_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people.insert_one(&rawdoc! { "_id": 1, "age": -1 }).unwrap();
    let set = |options: RawDocumentBuf| store.modify_collection("town", "people", &options).map(drop);
    set(rawdoc! { "validator": { "age": { "$gte": 0 } } }).unwrap();
    let refused = |result: Result<_, Error>| {
        let error = result.map(drop).unwrap_err();
        assert!(
            matches!(&error, Error::DocumentFailedValidation { namespace, id, .. } if namespace == "town.people" && id.get("_id").unwrap().is_some()),
            "{error}"
        );
    };
    refused(people.insert_one(&rawdoc! { "_id": 2, "age": -2 }).map(|_| ()));
    refused(
        people
            .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "a": 1 } })
            .map(|_| ()),
    );

    set(rawdoc! { "validationLevel": "moderate" }).unwrap();
    refused(people.insert_one(&rawdoc! { "_id": 2, "age": -2 }).map(|_| ()));
    people
        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "a": 1 } })
        .unwrap();

    set(rawdoc! { "validationLevel": "strict", "validationAction": "warn" }).unwrap();
    people.insert_one(&rawdoc! { "_id": 2, "age": -2 }).unwrap();

    set(rawdoc! { "validationAction": "error", "validator": {} }).unwrap();
    people.insert_one(&rawdoc! { "_id": 3, "age": -3 }).unwrap();
    assert_eq!(all(&people).len(), 3);
    assert!(matches!(
        set(rawdoc! { "capped": true }),
        Err(Error::InvalidOptions { .. })
    ));
    let absent = store.modify_collection("town", "nobody", &rawdoc! {}).unwrap_err();
    assert!(matches!(absent, Error::NoSuchCollection { .. }));
}

#[test]
fn a_refused_document_is_told_by_its_id_and_by_what_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let age = rawdoc! { "bsonType": "int", "minimum": 18, "description": "a grown-up's" };
    let validator = rawdoc! { "validator": { "$jsonSchema": { "properties": { "age": age } } } };
    let options = CollectionOptions::parse(&validator).unwrap();
    store.create_collection_with("town", "people", &options).unwrap();
    let people = store.collection("town", "people").unwrap();
    let documents = [rawdoc! { "_id": "ada", "age": 36 }, rawdoc! { "_id": "bo", "age": 7 }];
    let error = match people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap_err() {
        Error::InsertMany { index: 1, source } => *source,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.code(), Some(ErrorCode::DocumentValidationFailure));
    let Error::DocumentFailedValidation { info, .. } = error else {
        panic!("{error:?}")
    };
    let rule = rawdoc! {
        "operatorName": "minimum", "specifiedAs": { "minimum": 18 }, "reason": "comparison failed", "consideredValue": 7,
    };
    let property = rawdoc! { "propertyName": "age", "description": "a grown-up's", "details": [rule] };
    let rules = rawdoc! { "operatorName": "properties", "propertiesNotSatisfied": [property] };
    let details = rawdoc! { "operatorName": "$jsonSchema", "schemaRulesNotSatisfied": [rules] };
    assert_eq!(info, rawdoc! { "failingDocumentId": "bo", "details": details });
}

/// A validator that cannot be evaluated for a document counts as not matching it, as in MongoDB.
#[test]
fn a_document_for_which_the_validator_fails_is_not_valid() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people.insert_one(&rawdoc! { "_id": 1, "n": 0 }).unwrap();
    let set = |options: RawDocumentBuf| store.modify_collection("town", "people", &options).map(drop);
    set(rawdoc! { "validator": { "$expr": { "$gt": [{ "$divide": [1, "$n"] }, 0] } } }).unwrap();
    let error = people.insert_one(&rawdoc! { "_id": 2, "n": 0 }).unwrap_err();
    let Error::DocumentFailedValidation { info, .. } = error else {
        panic!("{error:?}")
    };
    let details = info.get_document("details").unwrap();
    assert_eq!(details.get_str("operatorName").unwrap(), "$expr");
    assert_eq!(
        details.get_str("reason").unwrap(),
        "failed to evaluate aggregation expression"
    );
    // One that was not valid before may stay so.
    let change = |value: i32| people.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "m": value } });
    assert!(matches!(change(1), Err(Error::DocumentFailedValidation { .. })));
    set(rawdoc! { "validationLevel": "moderate" }).unwrap();
    assert_eq!(change(2).unwrap().modified, 1);
}

#[test]
fn a_rename_takes_documents_indexes_and_identity_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people.create_index(&IndexModel::new("name", 1).unique()).unwrap();
    people.insert_one(&rawdoc! { "_id": 1, "name": "Ada" }).unwrap();
    let uuid = store.list_collections("town")[0].uuid;
    store
        .rename_collection(("town", "people"), ("city", "citizens"), false)
        .unwrap();
    let absent = store
        .rename_collection(("town", "people"), ("town", "x"), false)
        .unwrap_err();
    assert!(matches!(absent, Error::NoSuchCollection { .. }));
    also_after_reopening(dir.path(), store, |store| {
        assert_eq!(store.database_names(), ["city"]);
        assert_eq!(store.list_collections("city")[0].uuid, uuid);
        let citizens = store.collection("city", "citizens").unwrap();
        assert_eq!(all(&citizens), [rawdoc! { "_id": 1, "name": "Ada" }]);
        let twin = citizens.insert_one(&rawdoc! { "_id": 2, "name": "Ada" }).unwrap_err();
        assert!(matches!(twin, Error::DuplicateKey { index, .. } if index == "name_1"));
    });
}

#[test]
fn a_rename_replaces_another_collection_only_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (name, id) in [("a", 1), ("b", 2)] {
        let collection = store.collection("town", name).unwrap();
        collection.insert_one(&rawdoc! { "_id": id }).unwrap();
    }
    for to in ["a", "b"] {
        let taken = store.rename_collection(("town", "a"), ("town", to), false).unwrap_err();
        assert!(matches!(taken, Error::CollectionExists { .. }));
    }
    store.rename_collection(("town", "a"), ("town", "b"), true).unwrap();
    also_after_reopening(dir.path(), store, |store| {
        assert_eq!(store.collection_names("town"), ["b"]);
        assert_eq!(all(&store.collection("town", "b").unwrap()), [rawdoc! { "_id": 1 }]);
    });
}

#[test]
fn a_capped_collection_keeps_the_newest_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let options = CollectionOptions::parse(&rawdoc! { "capped": true, "size": 100_000, "max": 3 }).unwrap();
    store.create_collection_with("town", "news", &options).unwrap();
    let news = store.collection("town", "news").unwrap();
    // Against the order of the ids.
    let documents: Vec<_> = (0..10).rev().map(|n| rawdoc! { "_id": n }).collect();
    news.insert_many(documents.iter().map(|d| &**d)).unwrap();
    assert!(news.insert_one(&rawdoc! { "_id": 0 }).is_err(), "an _id that is there");
    news.update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$set": { "read": true } })
        .unwrap();
    news.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    news.insert_one(&rawdoc! { "_id": 11 }).unwrap();
    let expected = [
        rawdoc! { "_id": 2, "read": true },
        rawdoc! { "_id": 0 },
        rawdoc! { "_id": 11 },
    ];
    also_after_reopening(dir.path(), store, |store| {
        let news = store.collection("town", "news").unwrap();
        assert_eq!(all(&news), expected);
        assert_eq!(news.estimated_count().unwrap(), 3);
    });
}

#[test]
fn a_capped_collection_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let options = CollectionOptions::parse(&rawdoc! { "capped": true, "size": 4096 }).unwrap();
    store.create_collection_with("town", "news", &options).unwrap();
    let news = store.collection("town", "news").unwrap();
    for n in 0..100 {
        news.insert_one(&rawdoc! { "_id": n, "text": "x".repeat(200) }).unwrap();
    }
    let left = all(&news);
    let bytes: usize = left.iter().map(|document| document.as_bytes().len()).sum();
    assert!(bytes <= 4096 && bytes > 3600, "{bytes}");
    assert_eq!(left.last(), Some(&rawdoc! { "_id": 99, "text": "x".repeat(200) }));
}

#[test]
fn a_document_larger_than_a_capped_collection_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let options = CollectionOptions::parse(&rawdoc! { "capped": true, "size": 4096 }).unwrap();
    store.create_collection_with("town", "news", &options).unwrap();
    let news = store.collection("town", "news").unwrap();
    news.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    // A document without an _id, of so many bytes. The element of an ObjectId takes 17 more.
    let sized = |bytes: usize| rawdoc! { "text": "x".repeat(bytes - rawdoc! { "text": "" }.as_bytes().len()) };
    let refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                Error::CappedTooSmall {
                    bytes: 4097,
                    bytes_max: 4096,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.code(), Some(ErrorCode::BadValue));
        assert_eq!(all(&news), [rawdoc! { "_id": 1 }], "nothing made room for it");
    };
    refused(news.insert_one(&sized(4096 - 16)).map(drop));
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    let by_upsert = news.update_one_with(&rawdoc! { "text": "" }, &rawdoc! { "$set": sized(4096 - 16) }, &upsert);
    refused(by_upsert.map(drop));

    news.insert_one(&sized(4096 - 17)).unwrap();
    let left = all(&news);
    assert_eq!(
        left.iter()
            .map(|document| document.as_bytes().len())
            .collect::<Vec<_>>(),
        [4096]
    );
}

#[test]
fn counts_follow_the_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    let documents: Vec<_> = (0..10).map(|n| rawdoc! { "_id": n }).collect();
    people.insert_many(documents.iter().map(|d| &**d)).unwrap();
    people.delete_many(&rawdoc! { "_id": { "$lt": 4 } }).unwrap();
    people
        .update_many(&rawdoc! {}, &rawdoc! { "$set": { "a": 1 } })
        .unwrap();
    also_after_reopening(dir.path(), store, |store| {
        let people = store.collection("town", "people").unwrap();
        assert_eq!(people.estimated_count().unwrap(), 6);
        assert_eq!(people.count(&rawdoc! {}).unwrap(), 6);
    });
}
