use std::sync::Barrier;

use bson::{Bson, RawDocumentBuf, rawdoc};
use tailwater_storage::update::UpdateError;
use tailwater_storage::{
    CollectionOptions, DeleteOptions, Error, ErrorCode, FindOptions, Hint, IndexModel, ReplaceOptions, UpdateOptions,
    WriteModel,
};

use crate::Town;

fn upsert() -> UpdateOptions {
    UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    }
}

#[test]
fn an_upsert_inserts_what_the_filter_says_with_the_update_applied() {
    let town = Town::new();
    let filter = rawdoc! { "_id": 1, "city": "Ulm", "age": { "$gt": 5 } };
    let update = rawdoc! { "$inc": { "visits": 1 }, "$setOnInsert": { "first": true } };
    let outcome = town.people.update_one_with(&filter, &update, &upsert()).unwrap();
    assert_eq!((outcome.matched, outcome.modified), (0, 0));
    assert_eq!(outcome.upserted_id, Some(Bson::Int32(1)));
    assert!(outcome.op_id.is_some());
    assert_eq!(
        town.all(),
        [rawdoc! { "_id": 1, "city": "Ulm", "first": true, "visits": 1 }]
    );

    let outcome = town
        .people
        .update_many_with(&rawdoc! { "_id": 1 }, &update, &upsert())
        .unwrap();
    assert_eq!((outcome.matched, outcome.modified, outcome.upserted_id), (1, 1, None));
    assert_eq!(
        town.all(),
        [rawdoc! { "_id": 1, "city": "Ulm", "first": true, "visits": 2 }]
    );
}

#[test]
fn an_upsert_of_many_inserts_one() {
    let town = Town::numbered(0..3);
    let outcome = town
        .people
        .update_many_with(&rawdoc! { "n": 7 }, &rawdoc! { "$set": { "a": 1 } }, &upsert())
        .unwrap();
    let Some(Bson::ObjectId(id)) = outcome.upserted_id else {
        panic!("{outcome:?}");
    };
    assert_eq!(town.all().last(), Some(&rawdoc! { "_id": id, "n": 7, "a": 1 }));
}

#[test]
fn a_replacement_can_be_an_upsert() {
    let town = Town::new();
    let options = ReplaceOptions {
        upsert: true,
        ..ReplaceOptions::default()
    };
    let outcome = town
        .people
        .replace_one_with(&rawdoc! { "_id": 7, "n": 1 }, &rawdoc! { "name": "Ada" }, &options)
        .unwrap();
    assert_eq!(outcome.upserted_id, Some(Bson::Int32(7)));
    assert_eq!(town.all(), [rawdoc! { "_id": 7, "name": "Ada" }]);
    let outcome = town
        .people
        .replace_one_with(&rawdoc! { "_id": 7 }, &rawdoc! { "name": "Bo" }, &options)
        .unwrap();
    assert_eq!((outcome.matched, outcome.modified, outcome.upserted_id), (1, 1, None));
}

#[test]
fn what_an_upsert_cannot_insert_is_refused_and_creates_nothing() {
    let town = Town::new();
    let twice = rawdoc! { "$and": [{ "a": 1 }, { "a": 2 }] };
    let set = rawdoc! { "$set": { "b": 1 } };
    let refused = town.people.update_one_with(&twice, &set, &upsert()).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotSingleValueField), "{refused:?}");
    let other = town
        .people
        .update_one_with(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "_id": 2 } }, &upsert())
        .unwrap_err();
    assert_eq!(other.code(), Some(ErrorCode::ImmutableField), "{other:?}");
    assert_eq!(town.store.collection_names("town"), [""; 0]);
}

#[test]
fn equal_upserts_at_the_same_time_insert_one_document() {
    const THREADS: i32 = 4;
    const KEYS: i32 = 25;
    for unique in [true, false] {
        let town = Town::new();
        if unique {
            town.people.create_index(&IndexModel::new("key", 1).unique()).unwrap();
        }
        let barrier = Barrier::new(THREADS as usize);
        let inserted = std::thread::scope(|scope| {
            let upserts = || {
                let mut inserted = 0;
                for key in 0..KEYS {
                    barrier.wait();
                    let update = rawdoc! { "$inc": { "count": 1 } };
                    let outcome = town.people.update_one_with(&rawdoc! { "key": key }, &update, &upsert());
                    inserted += i32::from(outcome.unwrap().upserted_id.is_some());
                }
                inserted
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(upserts)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>()
        });
        assert_eq!(inserted, KEYS, "unique: {unique}");
        assert_eq!(town.people.count(&rawdoc! { "count": THREADS }).unwrap(), KEYS as u64);
    }
}

#[test]
fn a_sort_says_which_match_is_the_first() {
    let town = Town::numbered(0..5);
    let options = UpdateOptions {
        sort: Some(rawdoc! { "n": -1 }),
        ..UpdateOptions::default()
    };
    let update = rawdoc! { "$set": { "last": true } };
    town.people.update_one_with(&rawdoc! {}, &update, &options).unwrap();
    assert_eq!(town.all().pop(), Some(rawdoc! { "_id": 4, "n": 4, "last": true }));
    let options = ReplaceOptions {
        sort: options.sort,
        ..ReplaceOptions::default()
    };
    town.people
        .replace_one_with(&rawdoc! {}, &rawdoc! {}, &options)
        .unwrap();
    assert_eq!(town.all().pop(), Some(rawdoc! { "_id": 4 }));
}

#[test]
fn array_filters_choose_elements() {
    // The manual's example of $[<identifier>].
    let town = Town::with(&[
        rawdoc! { "_id": 1, "grades": [95, 92, 90] },
        rawdoc! { "_id": 2, "grades": [98, 100, 102] },
        rawdoc! { "_id": 3, "grades": [95, 110, 100] },
    ]);
    let options = UpdateOptions {
        array_filters: vec![rawdoc! { "element": { "$gte": 100 } }],
        ..UpdateOptions::default()
    };
    let update = rawdoc! { "$set": { "grades.$[element]": 100 } };
    let outcome = town.people.update_many_with(&rawdoc! {}, &update, &options).unwrap();
    assert_eq!((outcome.matched, outcome.modified), (3, 2));
    let expected = [
        rawdoc! { "_id": 1, "grades": [95, 92, 90] },
        rawdoc! { "_id": 2, "grades": [98, 100, 100] },
        rawdoc! { "_id": 3, "grades": [95, 100, 100] },
    ];
    assert_eq!(town.all(), expected);
    let unused = town
        .people
        .update_one_with(&rawdoc! {}, &rawdoc! { "$set": { "a": 1 } }, &options);
    let Err(Error::Update(source)) = unused else {
        panic!("{unused:?}")
    };
    assert!(matches!(*source, UpdateError::ArrayFilterUnused { .. }), "{source}");
}

#[test]
fn a_validator_is_kept_unless_it_is_bypassed() {
    let town = Town::new();
    let options = CollectionOptions::parse(&rawdoc! { "validator": { "age": { "$gte": 0 } } }).unwrap();
    town.store.create_collection_with("town", "people", &options).unwrap();
    town.people.insert_one(&rawdoc! { "_id": 1, "age": 7 }).unwrap();
    let (filter, update) = (rawdoc! { "_id": 1 }, rawdoc! { "$set": { "age": -1 } });
    let refused = town.people.update_one(&filter, &update).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DocumentValidationFailure));
    let bypass = UpdateOptions {
        bypass_document_validation: true,
        ..UpdateOptions::default()
    };
    town.people.update_one_with(&filter, &update, &bypass).unwrap();
    assert_eq!(town.all(), [rawdoc! { "_id": 1, "age": -1 }]);
}

#[test]
fn hints_concern_writes_too() {
    let town = Town::numbered(0..5);
    let unknown = Some(Hint::Name("other".into()));
    let update = UpdateOptions {
        hint: unknown.clone(),
        ..UpdateOptions::default()
    };
    let set = rawdoc! { "$set": { "a": 1 } };
    let delete = DeleteOptions {
        hint: unknown,
        ..DeleteOptions::default()
    };
    for refused in [
        town.people.update_one_with(&rawdoc! {}, &set, &update),
        town.people.update_many_with(&rawdoc! {}, &set, &update),
        town.people.delete_one_with(&rawdoc! {}, &delete),
        town.people.delete_many_with(&rawdoc! {}, &delete),
    ] {
        assert!(matches!(refused, Err(Error::BadHint { .. })), "{refused:?}");
    }
    town.people.create_index(&IndexModel::new("n", -1)).unwrap();
    let hint = Some(Hint::Key(rawdoc! { "n": -1 }));
    town.people
        .delete_one_with(
            &rawdoc! {},
            &DeleteOptions {
                hint,
                ..DeleteOptions::default()
            },
        )
        .unwrap();
    assert_eq!(town.all().pop(), Some(rawdoc! { "_id": 3, "n": 3 }));
}

#[test]
fn a_replacement_is_not_inserted_for_a_part_of_an_id() {
    let town = Town::new();
    let options = ReplaceOptions {
        upsert: true,
        ..ReplaceOptions::default()
    };
    let replace = |filter: RawDocumentBuf| town.people.replace_one_with(&filter, &rawdoc! { "n": 1 }, &options);
    for filter in [
        rawdoc! { "_id.hash": "x" },
        rawdoc! { "$and": [{ "a": 1 }, { "_id.hash": { "$eq": "x" } }] },
    ] {
        let refused = replace(filter.clone()).unwrap_err();
        assert_eq!(
            refused.code(),
            Some(ErrorCode::NotExactValueField),
            "{filter:?}: {refused}"
        );
    }
    assert!(town.all().is_empty());
    replace(rawdoc! { "_id": { "hash": "x" }, "_idle.x": 1 }).unwrap();
    assert_eq!(town.all(), [rawdoc! { "_id": { "hash": "x" }, "n": 1 }]);
}

#[test]
fn now_is_one_moment_for_all_that_an_operation_concerns() {
    let town = Town::numbered(0..300);
    town.people
        .update_many(&rawdoc! {}, vec![rawdoc! { "$set": { "at": "$$NOW" } }])
        .unwrap();
    town.people
        .update_many(&rawdoc! {}, &rawdoc! { "$currentDate": { "date": true } })
        .unwrap();
    let each = (0..300).map(|n| {
        let stamp = vec![rawdoc! { "$set": { "bulk": "$$NOW" } }];
        WriteModel::update_one(rawdoc! { "_id": n }, stamp)
    });
    town.people.bulk_write(each).unwrap();
    assert_eq!(town.people.distinct("at", &rawdoc! {}).unwrap().len(), 1);
    assert_eq!(town.people.distinct("bulk", &rawdoc! {}).unwrap().len(), 1);
    let options = FindOptions {
        projection: Some(rawdoc! { "_id": 0, "read": "$$NOW" }),
        ..FindOptions::default()
    };
    let read = town.people.find_with(&rawdoc! {}, &options).unwrap();
    let read: std::collections::HashSet<_> = read.map(|found| found.unwrap().into_bytes()).collect();
    assert_eq!(read.len(), 1);
    assert_eq!(town.people.distinct("date", &rawdoc! {}).unwrap().len(), 1);
    // The time is known to a filter.
    let passed = rawdoc! { "$expr": { "$lte": ["$at", "$$NOW"] } };
    assert_eq!(town.people.count(&passed).unwrap(), 300);
    assert_eq!(
        town.people
            .update_many(&passed, &rawdoc! { "$unset": { "at": 1 } })
            .unwrap()
            .matched,
        300
    );
}
