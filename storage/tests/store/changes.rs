//! Updates, replacements and deletions, and what a write that fails leaves behind.

use bson::{RawDocument, rawdoc};
use tailwater_oplog::{Durability, OpId, ReadConcern};
use tailwater_storage::update::UpdateError;
use tailwater_storage::{Error, ErrorCode, StoreOptions};

use crate::common::small;
use crate::{all, fill, matching, newest, people, temporary};

#[test]
fn an_update_changes_the_first_match_and_update_many_all() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    fill(&people, 0..10);
    let outcome = people
        .update_one(&rawdoc! { "n": { "$gt": 3 } }, &rawdoc! { "$inc": { "n": 100 } })
        .unwrap();
    assert_eq!((outcome.matched, outcome.modified), (1, 1));
    assert_eq!(
        matching(&people, &rawdoc! { "n": 104 }),
        [rawdoc! { "_id": 4, "n": 104 }]
    );
    let outcome = people
        .update_many(&rawdoc! { "n": { "$lt": 3 } }, &rawdoc! { "$unset": { "n": "" } })
        .unwrap();
    assert_eq!((outcome.matched, outcome.modified), (3, 3));
    assert_eq!(people.count(&rawdoc! { "n": { "$exists": false } }).unwrap(), 3);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..3);
    let before = newest(&store);
    let same = people
        .update_many(&rawdoc! {}, &rawdoc! { "$unset": { "absent": "" } })
        .unwrap();
    assert_eq!((same.matched, same.modified, same.op_id), (3, 0, None));
    let same = people.replace_one(&rawdoc! { "_id": 1 }, &rawdoc! { "n": 1 }).unwrap();
    assert_eq!((same.matched, same.modified, same.op_id), (1, 0, None));
    let none = people.delete_many(&rawdoc! { "n": 99 }).unwrap();
    assert_eq!((none.matched, none.modified, none.op_id), (0, 0, None));
    assert_eq!(newest(&store), before);
}

#[test]
fn writes_to_a_collection_that_is_not_there_match_nothing_and_do_not_create_it() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    assert_eq!(
        people
            .update_one(&rawdoc! {}, &rawdoc! { "$set": { "a": 1 } })
            .unwrap()
            .matched,
        0
    );
    assert_eq!(people.replace_one(&rawdoc! {}, &rawdoc! {}).unwrap().matched, 0);
    assert_eq!(people.delete_many(&rawdoc! {}).unwrap().matched, 0);
    assert_eq!(all(&people), []);
    assert_eq!(store.collection_names("town"), [""; 0]);
}

#[test]
fn a_replacement_keeps_the_id() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    people
        .insert_one(&rawdoc! { "_id": 1, "name": "Ada", "age": 36 })
        .unwrap();
    people
        .replace_one(&rawdoc! { "name": "Ada" }, &rawdoc! { "name": "Bo" })
        .unwrap();
    assert_eq!(all(&people), [rawdoc! { "_id": 1, "name": "Bo" }]);
    people
        .replace_one(&rawdoc! {}, &rawdoc! { "name": "Cy", "_id": 1 })
        .unwrap();
    assert_eq!(all(&people), [rawdoc! { "_id": 1, "name": "Cy" }]);
}

#[test]
fn a_replacement_may_have_the_same_number_of_another_type_as_its_id() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    people.insert_one(&rawdoc! { "_id": 1, "n": 1 }).unwrap();
    for twin in [rawdoc! { "_id": 1.0, "n": 2 }, rawdoc! { "_id": 1i64, "n": 2 }] {
        let outcome = people.replace_one(&rawdoc! { "_id": 1 }, &twin).unwrap();
        assert_eq!((outcome.matched, outcome.modified), (1, 1));
        assert_eq!(all(&people), std::slice::from_ref(&twin));
        store.trim_log(OpId::ZERO).unwrap();
        assert_eq!(all(&people), [twin]);
    }
    for other in [rawdoc! { "_id": 1.5 }, rawdoc! { "_id": "1" }, rawdoc! { "_id": true }] {
        let refused = people.replace_one(&rawdoc! {}, &other).unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::ImmutableField), "{refused:?}");
    }
}

#[test]
fn an_id_never_changes() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 1..2);
    let before = newest(&store);
    let replaced = people.replace_one(&rawdoc! {}, &rawdoc! { "_id": 2 }).unwrap_err();
    assert_eq!(replaced.code(), Some(ErrorCode::ImmutableField), "{replaced:?}");
    let operators = people
        .replace_one(&rawdoc! {}, &rawdoc! { "$set": { "a": 1 } })
        .unwrap_err();
    assert!(matches!(operators, Error::InvalidReplacement { .. }), "{operators:?}");
    for update in [
        rawdoc! { "$set": { "_id": 2 } },
        rawdoc! { "$unset": { "_id": "" } },
        rawdoc! { "$inc": { "_id": 1 } },
    ] {
        let error = people.update_one(&rawdoc! {}, &update).unwrap_err();
        let Error::Update(source) = &error else {
            panic!("{error:?}");
        };
        assert!(matches!(**source, UpdateError::ImmutableField { .. }), "{error}");
    }
    assert_eq!(newest(&store), before);
    assert_eq!(all(&people), [rawdoc! { "_id": 1, "n": 1 }]);
}

#[test]
fn malformed_filters_and_updates_name_what_is_wrong() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    fill(&people, 0..1);
    let check = |error: Error, words: &[&str]| {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    check(
        people.find(&rawdoc! { "a": { "$near": 1 } }).unwrap_err(),
        &["filter", "$near", "`a`"],
    );
    check(people.count(&rawdoc! { "$or": [] }).unwrap_err(), &["filter", "$or"]);
    let update = |update: &RawDocument| people.update_one(&rawdoc! {}, update).unwrap_err();
    check(update(&rawdoc! { "$explode": { "a": "b" } }), &["update", "$explode"]);
    check(update(&rawdoc! { "name": "Bo" }), &["update", "name"]);
    check(update(&rawdoc! {}), &["update", "empty"]);
}

#[test]
fn two_writers_lose_no_increment() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    people.insert_one(&rawdoc! { "_id": 1, "n": 0 }).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    people
                        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$inc": { "n": 1 } })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(all(&people), [rawdoc! { "_id": 1, "n": 1000 }]);
}

/// Options under which nothing becomes durable that nobody waits for, at least not soon.
fn unhurried() -> StoreOptions {
    let mut options = small();
    options.oplog.sync_interval = std::time::Duration::from_secs(3600);
    options
}

#[test]
fn what_a_failing_update_many_has_changed_is_durable_and_counted() {
    let dir = temporary();
    let store = unhurried().open(dir.path()).unwrap();
    let people = store.collection("town", "people").unwrap();
    fill(&people, 0..3);
    people.insert_one(&rawdoc! { "_id": 3, "n": "three" }).unwrap();
    fill(&people, 4..6);
    let before = newest(&store);
    let durable = people.clone().with_durability(Durability::Disk);
    let error = durable
        .update_many(&rawdoc! {}, &rawdoc! { "$inc": { "n": 100 } })
        .unwrap_err();
    assert_eq!(newest(&store).get(), before.get() + 3);
    assert!(store.log().newest(ReadConcern::Durable) >= newest(&store));
    let Error::ChangeMany { modified: 3, source } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**source, Error::Update(_)), "{source:?}");
    assert!(error.to_string().contains("3 documents"), "{error}");
    assert_eq!(people.count(&rawdoc! { "n": { "$gte": 100 } }).unwrap(), 3);

    // The first of all is refused: nothing was changed, and the error is the refusal itself.
    let error = durable
        .update_many(&rawdoc! { "_id": 3 }, &rawdoc! { "$inc": { "n": 100 } })
        .unwrap_err();
    assert!(matches!(error, Error::Update(_)), "{error:?}");
}

#[test]
fn what_a_failing_insert_many_has_inserted_is_durable() {
    let dir = temporary();
    let store = unhurried().open(dir.path()).unwrap();
    let people = store.collection("town", "people").unwrap();
    let durable = people.with_durability(Durability::Disk);
    let documents = [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }, rawdoc! { "_id": 1 }];
    let error = durable.insert_many(documents.iter().map(AsRef::as_ref)).unwrap_err();
    assert!(matches!(error, Error::InsertMany { index: 2, .. }), "{error:?}");
    assert_eq!(store.log().newest(ReadConcern::Durable), newest(&store));
    assert_eq!(newest(&store), OpId::new(3));
}

#[test]
fn an_insert_of_nothing_is_refused() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    for _ in 0..2 {
        let before = newest(&store);
        let error = people.insert_many([]).unwrap_err();
        assert!(matches!(error, Error::NoDocuments), "{error:?}");
        assert_eq!(newest(&store), before);
        people.insert_one(&rawdoc! {}).unwrap();
    }
}
