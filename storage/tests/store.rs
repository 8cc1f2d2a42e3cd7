//! What users of a store rely on, through its public face and real files.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bson::{Bson, RawDocument, RawDocumentBuf, oid::ObjectId, rawdoc};
use common::{content, copy_dir, copy_open_store, copy_store, eventually, small};
use tailwater_oplog::{self as oplog, Durability, OpId, Oplog, ReadConcern};
use tailwater_storage::update::UpdateError;
use tailwater_storage::{Collection, Error, ErrorCode, Store, StoreOptions, limits, log_directory};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A store in a new directory, and its collection `town.people`.
fn people(dir: &Path) -> (Store, Collection) {
    let store = small().open(dir).unwrap();
    let people = store.collection("town", "people").unwrap();
    (store, people)
}

fn all(collection: &Collection) -> Vec<RawDocumentBuf> {
    matching(collection, &rawdoc! {})
}

fn matching(collection: &Collection, filter: &RawDocument) -> Vec<RawDocumentBuf> {
    collection.find(filter).unwrap().map(Result::unwrap).collect()
}

fn fill(collection: &Collection, ids: std::ops::Range<i32>) {
    let documents: Vec<_> = ids.map(|n| rawdoc! { "_id": n, "n": n }).collect();
    collection.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
}

fn newest(store: &Store) -> OpId {
    store.log().newest(ReadConcern::Local)
}

// Inserting.

#[test]
fn a_document_without_id_gets_an_object_id_in_front() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    let outcome = people.insert_one(&rawdoc! { "name": "Ada" }).unwrap();
    let [Bson::ObjectId(id)] = outcome.inserted_ids[..] else {
        panic!("{:?}", outcome.inserted_ids);
    };
    assert_eq!(all(&people), [rawdoc! { "_id": id, "name": "Ada" }]);
}

#[test]
fn an_id_comes_first_wherever_it_was() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    let outcome = people
        .insert_one(&rawdoc! { "name": "Ada", "_id": 7, "age": 36 })
        .unwrap();
    assert_eq!(outcome.inserted_ids, [Bson::Int32(7)]);
    assert_eq!(all(&people), [rawdoc! { "_id": 7, "name": "Ada", "age": 36 }]);
}

#[test]
fn an_id_is_taken_by_every_number_that_equals_it() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    people.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    let before = newest(&store);
    for twin in [rawdoc! { "_id": 1 }, rawdoc! { "_id": 1.0 }, rawdoc! { "_id": 1i64 }] {
        match people.insert_one(&twin) {
            Err(Error::DuplicateKey {
                namespace,
                index,
                key_pattern,
                key_value,
            }) => {
                assert_eq!((namespace.as_str(), index.as_str()), ("town.people", "_id_"));
                assert_eq!(key_pattern, rawdoc! { "_id": 1 });
                assert_eq!(key_value, twin);
            }
            other => panic!("{other:?}"),
        }
    }
    people.insert_one(&rawdoc! { "_id": "1" }).unwrap();
    people.insert_one(&rawdoc! { "_id": 1.5 }).unwrap();
    assert_eq!(
        newest(&store).get(),
        before.get() + 2,
        "what is refused is not in the log"
    );
    assert_eq!(all(&people).len(), 3);
}

#[test]
fn an_id_is_free_again_after_its_document_is_deleted() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    people.insert_one(&rawdoc! { "_id": 1, "name": "Ada" }).unwrap();
    assert_eq!(people.delete_one(&rawdoc! { "_id": 1 }).unwrap().modified, 1);
    people.insert_one(&rawdoc! { "_id": 1, "name": "Bo" }).unwrap();
    assert_eq!(all(&people), [rawdoc! { "_id": 1, "name": "Bo" }]);
}

#[test]
fn insert_many_keeps_what_came_before_the_refused_document() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    people.insert_one(&rawdoc! { "_id": 3 }).unwrap();
    let documents = [1, 2, 3, 4].map(|id| rawdoc! { "_id": id, "new": true });
    let error = people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap_err();
    let Error::InsertMany { index: 2, source } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**source, Error::DuplicateKey { .. }));
    assert_eq!(people.count(&rawdoc! { "new": true }).unwrap(), 2);
    assert_eq!(people.count(&rawdoc! {}).unwrap(), 3);
}

#[test]
fn insert_many_notices_duplicates_within_itself() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    let documents = [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }, rawdoc! { "_id": 1.0 }];
    let refused = people.insert_many(documents.iter().map(AsRef::as_ref));
    assert!(
        matches!(refused, Err(Error::InsertMany { index: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(all(&people).len(), 2);
}

#[test]
fn insert_many_takes_more_than_one_batch_holds() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    let documents: Vec<_> = (0..2500)
        .map(|n| rawdoc! { "_id": n, "pad": "x".repeat(500) })
        .collect();
    let outcome = people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    assert_eq!(outcome.inserted_ids.len(), 2500);
    assert_eq!(all(&people), documents);
}

#[test]
fn a_refused_first_document_does_not_create_the_collection() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    let refused = [
        rawdoc! { "_id": [1] },
        nested(101),
        rawdoc! { "_id": 1, "pad": "x".repeat(2 << 20) },
    ];
    for document in &refused {
        people.insert_one(document).unwrap_err();
        assert!(store.database_names().is_empty());
        assert_eq!(newest(&store), OpId::ZERO);
    }
}

#[test]
fn some_types_cannot_be_an_id() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    let (pattern, options) = (bson::raw::cstr!("a").to_owned(), bson::raw::cstr!("").to_owned());
    let regex = bson::Regex { pattern, options };
    let refused = [
        rawdoc! { "_id": [1, 2] },
        rawdoc! { "_id": regex },
        rawdoc! { "_id": bson::RawBson::Undefined },
        rawdoc! { "_id": "x".repeat(1 << 17) },
    ];
    for document in &refused {
        let error = people.insert_one(document).unwrap_err();
        assert!(matches!(error, Error::InvalidId { .. }), "{error:?}");
    }
    let allowed = [
        rawdoc! { "_id": { "a": [1] } },
        rawdoc! { "_id": null },
        rawdoc! { "_id": true },
    ];
    for document in &allowed {
        people.insert_one(document).unwrap();
    }
    assert_eq!(all(&people).len(), allowed.len());
}

fn nested(levels: usize) -> RawDocumentBuf {
    let leaf = rawdoc! { "leaf": true };
    (1..levels).fold(leaf, |inner, _| rawdoc! { "a": inner })
}

#[test]
fn a_document_has_at_most_a_hundred_levels_and_sixteen_mebibytes() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    // The _id is put in front, on the first level.
    people.insert_one(&nested(100)).unwrap();
    let too_deep = people.insert_one(&nested(101)).unwrap_err();
    assert!(matches!(too_deep, Error::InvalidDocument(_)), "{too_deep:?}");
    let too_large = rawdoc! { "_id": 1, "pad": "x".repeat(limits::DOCUMENT_BYTES_MAX) };
    let too_large = people.insert_one(&too_large).unwrap_err();
    assert!(matches!(too_large, Error::InvalidDocument(_)), "{too_large:?}");
    assert_eq!(all(&people).len(), 1);
}

#[test]
fn the_largest_document_can_be_written_and_updated_with_default_segments() {
    let dir = temporary();
    let options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    let store = options.open(dir.path()).unwrap();
    let files = store.collection("town", "files").unwrap();
    let room = limits::DOCUMENT_BYTES_MAX - rawdoc! { "_id": 1, "pad": "" }.as_bytes().len();
    let mut document = rawdoc! { "_id": 1, "pad": "x".repeat(room) };
    assert_eq!(document.as_bytes().len(), limits::DOCUMENT_BYTES_MAX);
    files.insert_one(&document).unwrap();
    let error = files
        .insert_one(&rawdoc! { "_id": 2, "pad": "x".repeat(room + 1) })
        .unwrap_err();
    assert!(matches!(error, Error::InvalidDocument(_)), "{error:?}");
    let error = files
        .update_one(&rawdoc! {}, &rawdoc! { "$set": { "more": true } })
        .unwrap_err();
    assert!(matches!(error, Error::Update(_)), "{error:?}");
    files
        .update_one(&rawdoc! {}, &rawdoc! { "$set": { "pad": "y".repeat(room) } })
        .unwrap();
    document = rawdoc! { "_id": 1, "pad": "y".repeat(room) };
    assert_eq!(all(&files), [document]);
}

// Finding.

#[test]
fn documents_are_found_by_filter_and_by_id() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    fill(&people, 0..100);
    assert_eq!(
        people.find_one(&rawdoc! { "_id": 42 }).unwrap(),
        Some(rawdoc! { "_id": 42, "n": 42 })
    );
    assert_eq!(
        people.find_one(&rawdoc! { "_id": 42.0 }).unwrap(),
        Some(rawdoc! { "_id": 42, "n": 42 })
    );
    assert_eq!(people.find_one(&rawdoc! { "_id": "42" }).unwrap(), None);
    assert_eq!(people.find_one(&rawdoc! { "_id": 42, "n": 7 }).unwrap(), None);
    assert_eq!(people.count(&rawdoc! { "_id": { "$gte": 90 } }).unwrap(), 10);
    assert_eq!(people.count(&rawdoc! { "_id": { "$in": [1, 2, 200] } }).unwrap(), 2);
    assert_eq!(people.count(&rawdoc! { "$or": [{ "_id": 3 }, { "n": 4 }] }).unwrap(), 2);
    let found = people
        .find(&rawdoc! { "n": { "$lt": 3 } })
        .unwrap()
        .into_documents()
        .unwrap();
    assert_eq!(
        found.iter().map(|d| d.get_i32("n").unwrap()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn documents_come_in_the_order_of_their_ids() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    let id = ObjectId::new();
    let ordered = [
        rawdoc! { "_id": null },
        rawdoc! { "_id": -5 },
        rawdoc! { "_id": 2.5 },
        rawdoc! { "_id": 3i64 },
        rawdoc! { "_id": "a" },
        rawdoc! { "_id": "b" },
        rawdoc! { "_id": { "a": 1 } },
        rawdoc! { "_id": id },
        rawdoc! { "_id": true },
    ];
    for (i, document) in ordered.iter().enumerate().rev() {
        people.insert_one(document).unwrap();
        if i == 5 {
            // Half of them lie in the engine, half in the overlay.
            store.trim_log(OpId::ZERO).unwrap();
        }
    }
    assert_eq!(all(&people), ordered);
}

#[test]
fn a_find_is_not_disturbed_by_what_happens_after_it_began() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..200);
    store.trim_log(OpId::ZERO).unwrap();
    fill(&people, 200..400);
    let expected = all(&people);

    let mut found = people.find(&rawdoc! {}).unwrap();
    let mut seen = vec![found.next().unwrap().unwrap()];
    people
        .update_many(&rawdoc! {}, &rawdoc! { "$set": { "changed": true } })
        .unwrap();
    people.delete_many(&rawdoc! { "n": { "$lt": 100 } }).unwrap();
    fill(&people, 400..500);
    store.trim_log(OpId::ZERO).unwrap();
    seen.extend(found.by_ref().take(150).map(Result::unwrap));
    store.drop_collection("town", "people").unwrap();
    store.trim_log(OpId::ZERO).unwrap();
    seen.extend(found.map(Result::unwrap));
    assert_eq!(seen, expected);
    assert_eq!(all(&people), []);
}

#[test]
fn readers_beside_a_writer_see_a_prefix_of_its_writes() {
    const DOCUMENTS: i32 = 3000;
    let dir = temporary();
    let options = StoreOptions {
        overlay_bytes_max: 256 << 10,
        ..small()
    };
    let store = options.open(dir.path()).unwrap();
    let numbers = store.collection("town", "numbers").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..DOCUMENTS).for_each(|n| fill(&numbers, n..n + 1)));
        let mut last = 0;
        while !writer.is_finished() {
            let found = all(&numbers);
            let expected: Vec<_> = (0..found.len() as i32).map(|n| rawdoc! { "_id": n, "n": n }).collect();
            assert_eq!(found, expected);
            assert!(found.len() >= last, "a later read sees no less");
            last = found.len();
        }
    });
    assert_eq!(all(&numbers).len(), DOCUMENTS as usize);
}

// Changing.

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

// Collections and databases.

#[test]
fn collections_come_and_go_by_name() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    assert!(store.database_names().is_empty());
    people.insert_one(&rawdoc! {}).unwrap();
    store.create_collection("town", "houses").unwrap();
    store.create_collection("shop", "orders").unwrap();
    assert_eq!(store.database_names(), ["shop", "town"]);
    assert_eq!(store.collection_names("town"), ["houses", "people"]);
    let again = store.create_collection("town", "houses").unwrap_err();
    assert!(
        matches!(&again, Error::CollectionExists { namespace } if namespace == "town.houses"),
        "{again:?}"
    );

    store.drop_collection("town", "houses").unwrap();
    let again = store.drop_collection("town", "houses").unwrap_err();
    assert!(
        matches!(&again, Error::NoSuchCollection { namespace } if namespace == "town.houses"),
        "{again:?}"
    );
    assert!(store.drop_database("town").unwrap().is_some());
    assert!(store.drop_database("town").unwrap().is_none());
    assert_eq!(store.database_names(), ["shop"]);
    assert_eq!(all(&people), []);
}

#[test]
fn malformed_names_are_refused() {
    let dir = temporary();
    let (store, _people) = people(dir.path());
    for (database, collection) in [("", "c"), ("a.b", "c"), ("a", ""), ("a", "b$"), ("a", "system.x")] {
        let error = store.collection(database, collection).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
        let error = store.create_collection(database, collection).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
    }
}

#[test]
fn a_collection_made_again_begins_empty() {
    let dir = temporary();
    let (mut store, mut collection) = people(dir.path());
    for round in 0..4 {
        fill(&collection, 0..50);
        if round % 2 == 0 {
            store.trim_log(OpId::ZERO).unwrap();
        }
        if round == 3 {
            store.drop_database("town").unwrap();
        } else {
            store.drop_collection("town", "people").unwrap();
        }
        assert_eq!(all(&collection), []);
        collection.insert_one(&rawdoc! { "_id": 7, "round": round }).unwrap();
        assert_eq!(all(&collection), [rawdoc! { "_id": 7, "round": round }]);
        drop(collection);
        store.close().unwrap();
        (store, collection) = people(dir.path());
        assert_eq!(all(&collection), [rawdoc! { "_id": 7, "round": round }]);
        collection.delete_one(&rawdoc! { "_id": 7 }).unwrap();
    }
}

/// Documents in the engine's files, whatever the catalogue says of them.
fn documents_in_engine(dir: &Path) -> usize {
    let copy = temporary();
    copy_dir(&dir.join("state"), copy.path());
    let database = fjall::Database::builder(copy.path()).open().unwrap();
    let documents = database
        .keyspace("documents", fjall::KeyspaceCreateOptions::default)
        .unwrap();
    documents.iter().count()
}

#[test]
fn what_a_dropped_collection_leaves_behind_is_removed() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..6000);
    store.trim_log(OpId::ZERO).unwrap();
    assert_eq!(documents_in_engine(dir.path()), 6000);
    store.drop_collection("town", "people").unwrap();
    eventually("the documents are still there", || documents_in_engine(dir.path()) == 0);

    // Also what a store that was closed right after the drop had no time for.
    fill(&people, 0..6000);
    store.trim_log(OpId::ZERO).unwrap();
    store.drop_collection("town", "people").unwrap();
    drop(people);
    store.close().unwrap();
    let store = small().open(dir.path()).unwrap();
    store.create_collection("town", "other").unwrap();
    eventually("the documents are still there", || documents_in_engine(dir.path()) == 0);
}

// Closing, crashing, opening.

#[test]
fn everything_is_there_after_close_and_reopen() {
    let dir = temporary();
    let (store, people_before) = people(dir.path());
    fill(&people_before, 0..1000);
    people_before
        .update_many(&rawdoc! { "n": { "$lt": 10 } }, &rawdoc! { "$set": { "n": -1 } })
        .unwrap();
    people_before.delete_many(&rawdoc! { "n": { "$gte": 990 } }).unwrap();
    store.create_collection("shop", "empty").unwrap();
    let expected = content(&store);
    drop(people_before);
    store.close().unwrap();
    let (store, _people) = people(dir.path());
    assert_eq!(content(&store), expected);
}

#[test]
fn everything_is_there_after_a_crash() {
    let (dir, crashed) = (temporary(), temporary());
    let (store, people_before) = people(dir.path());
    fill(&people_before, 0..500);
    store.trim_log(OpId::ZERO).unwrap();
    fill(&people_before, 500..1000);
    people_before.delete_many(&rawdoc! { "n": { "$lt": 250 } }).unwrap();
    store.drop_database("nothing").unwrap();
    let expected = content(&store);
    copy_open_store(&store, dir.path(), crashed.path());
    let (store, people_after) = people(crashed.path());
    assert_eq!(content(&store), expected);
    fill(&people_after, 0..250);
    assert_eq!(people_after.count(&rawdoc! {}).unwrap(), 1000);
}

#[test]
fn a_closed_store_takes_no_more_writes() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..3);
    store.clone().close().unwrap();
    let refused = people.insert_one(&rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
    store.close().unwrap();
}

#[test]
fn a_store_can_be_reopened_while_handles_of_the_closed_one_are_around() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    store.clone().close().unwrap();
    let (_store, after) = people(dir.path());
    fill(&after, 3..6);
    assert_eq!(all(&after).len(), 6);
    let refused = before.find(&rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
    let refused = store.trim_log(OpId::ZERO).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
}

#[test]
fn a_store_is_open_once() {
    let dir = temporary();
    let (store, _people) = people(dir.path());
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::Locked { .. })),
        "{refused:?}"
    );
    drop((store, _people));
    small().open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_no_store_is_left_alone() {
    let dir = temporary();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::NotALog { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let refused = small().open(dir.path().join("notes.txt")).unwrap_err();
    assert!(matches!(refused, Error::Directory { .. }), "{refused:?}");

    let mut options = small();
    options.oplog.create = false;
    let refused = options.open(dir.path().join("absent")).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::NotFound { .. })),
        "{refused:?}"
    );
    assert!(!dir.path().join("absent").exists());
}

#[test]
fn the_state_of_another_log_is_refused() {
    let (one, other) = (temporary(), temporary());
    for dir in [&one, &other] {
        let (store, people) = people(dir.path());
        fill(&people, 0..3);
        store.close().unwrap();
    }
    std::fs::remove_dir_all(one.path().join("state")).unwrap();
    copy_dir(&other.path().join("state"), &one.path().join("state"));
    let refused = small().open(one.path()).unwrap_err();
    let Error::ForeignState { expected, found, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_ne!(expected, found);

    // As the error says: without the state it is rebuilt.
    std::fs::remove_dir_all(one.path().join("state")).unwrap();
    let (_store, people) = people(one.path());
    assert_eq!(all(&people).len(), 3);
}

/// Every file below a directory with its bytes, and every directory.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

#[test]
fn a_state_without_its_log_is_refused_before_anything_is_made() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let log = log_directory(dir.path());
    let kept = temporary();
    copy_dir(&log, kept.path());
    std::fs::remove_dir_all(&log).unwrap();
    // Both without the log's directory and with an empty one.
    for _ in 0..2 {
        let unchanged = snapshot(dir.path());
        let refused = small().open(dir.path()).unwrap_err();
        let Error::LogMissing { path } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(path, &log);
        assert!(refused.to_string().contains("restore"), "{refused}");
        assert!(snapshot(dir.path()) == unchanged, "something was made or changed");
        std::fs::create_dir_all(&log).unwrap();
    }
    // As the error says: with the log it opens, without the state it begins anew.
    copy_dir(kept.path(), &log);
    let (store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
    drop(after);
    store.close().unwrap();
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_store, anew) = people(dir.path());
    assert_eq!(all(&anew), []);
}

#[test]
fn a_state_that_is_open_elsewhere_is_said_to_be_in_use() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let state = dir.path().join("state");
    let elsewhere = fjall::Database::builder(&state).open().unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    let Error::StateLocked { path } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(path, &state);
    let text = refused.to_string();
    assert!(text.contains("in use") && !text.contains("reopen"), "{text}");
    drop(elsewhere);
    let (_store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
}

#[test]
fn a_log_put_back_to_an_older_copy_is_refused() {
    let (dir, copy) = (temporary(), temporary());
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    copy_dir(&log_directory(dir.path()), copy.path());
    let (store, before) = people(dir.path());
    fill(&before, 3..6);
    let last = newest(&store);
    drop(before);
    store.close().unwrap();

    std::fs::remove_dir_all(log_directory(dir.path())).unwrap();
    copy_dir(copy.path(), &log_directory(dir.path()));
    let refused = small().open(dir.path()).unwrap_err();
    let Error::StateAhead { applied, newest } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(applied, last);
    assert!(newest < applied);

    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
}

#[test]
fn the_state_of_a_twin_in_the_same_term_is_refused() {
    let (one, other) = (temporary(), temporary());
    let (store, before) = people(one.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    copy_store(one.path(), other.path());
    // Each is opened once more, so both write in the same term of the same log, and equally much.
    for (dir, first) in [(&one, 3), (&other, 13)] {
        let (store, twin) = people(dir.path());
        fill(&twin, first..first + 3);
        drop(twin);
        store.close().unwrap();
    }
    let own = temporary();
    copy_dir(&one.path().join("state"), own.path());
    for (dir, swapped) in [(&one, other.path().join("state")), (&other, own.path().to_path_buf())] {
        let kept = temporary();
        copy_dir(&dir.path().join("state"), kept.path());
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        copy_dir(&swapped, &dir.path().join("state"));
        let refused = small().open(dir.path()).unwrap_err();
        assert!(matches!(refused, Error::StateDiverged { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("remove the state"), "{text}");
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        copy_dir(kept.path(), &dir.path().join("state"));
    }
    // As the error says: without the state it is rebuilt.
    std::fs::remove_dir_all(other.path().join("state")).unwrap();
    let (_store, after) = people(other.path());
    assert_eq!(after.count(&rawdoc! { "_id": { "$gte": 13 } }).unwrap(), 3);
    assert_eq!(all(&after).len(), 6);
}

#[test]
fn a_lost_state_is_rebuilt_from_the_log() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..1000);
    before
        .update_many(&rawdoc! {}, &rawdoc! { "$inc": { "n": 1 } })
        .unwrap();
    store.drop_collection("town", "people").unwrap();
    fill(&before, 0..10);
    before.delete_one(&rawdoc! {}).unwrap();
    let expected = content(&store);
    drop(before);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    assert_eq!(content(&small().open(dir.path()).unwrap()), expected);
}

#[test]
fn a_trimmed_log_still_opens_and_the_state_has_what_it_lost() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    let pad = "x".repeat(1000);
    for n in 0..5000 {
        before.insert_one(&rawdoc! { "_id": n, "pad": pad.as_str() }).unwrap();
    }
    let expected = content(&store);
    let oldest = store.trim_log(newest(&store)).unwrap();
    assert!(oldest > OpId::FIRST);
    assert_eq!(store.log().watermarks().oldest, oldest);
    assert_eq!(content(&store), expected);
    before.delete_one(&rawdoc! { "_id": 0 }).unwrap();
    drop(before);
    store.close().unwrap();

    let (store, after) = people(dir.path());
    assert_eq!(after.count(&rawdoc! {}).unwrap(), 4999);
    drop(after);
    store.close().unwrap();

    // Without the state, what was trimmed is gone, and that is said.
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::StateBehind { oldest: found, .. } if found == oldest),
        "{refused:?}"
    );
}

#[test]
fn a_trim_never_takes_what_the_state_lacks() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    for n in 0..3000 {
        before
            .insert_one(&rawdoc! { "_id": n, "pad": "x".repeat(1000) })
            .unwrap();
    }
    let oldest = store.trim_log(OpId::new(u64::MAX)).unwrap();
    assert!(oldest <= newest(&store));
    let crashed = temporary();
    copy_open_store(&store, dir.path(), crashed.path());
    let (_store, after) = people(crashed.path());
    assert_eq!(after.count(&rawdoc! {}).unwrap(), 3000);
}

#[test]
fn writers_wait_for_a_full_overlay_and_nothing_is_lost() {
    const WRITERS: i32 = 4;
    const EACH: i32 = 500;
    for overlay_bytes_max in [64 << 10, 1] {
        let dir = temporary();
        let options = StoreOptions {
            overlay_bytes_max,
            ..small()
        };
        let store = options.open(dir.path()).unwrap();
        let numbers = store.collection("town", "numbers").unwrap();
        let each = if overlay_bytes_max == 1 { EACH / 20 } else { EACH };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let numbers = &numbers;
                scope.spawn(move || {
                    for n in 0..each {
                        let document = rawdoc! { "_id": writer * EACH + n, "pad": "x".repeat(1000) };
                        numbers.insert_one(&document).unwrap();
                    }
                });
            }
        });
        assert_eq!(numbers.count(&rawdoc! {}).unwrap(), (WRITERS * each) as u64);
        drop(numbers);
        store.close().unwrap();
        let store = options.open(dir.path()).unwrap();
        let numbers = store.collection("town", "numbers").unwrap();
        assert_eq!(numbers.count(&rawdoc! {}).unwrap(), (WRITERS * each) as u64);
    }
}

#[test]
fn a_durable_write_is_durable_when_it_returns() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    let durable = people.clone().with_durability(Durability::Disk);
    let op_id = durable.insert_one(&rawdoc! { "_id": 1 }).unwrap().op_id;
    assert!(store.log().newest(ReadConcern::Durable) >= op_id);
    people.insert_one(&rawdoc! { "_id": 2 }).unwrap();
    store.sync().unwrap();
    assert_eq!(store.log().newest(ReadConcern::Durable), newest(&store));
}

#[test]
fn entries_of_other_programs_in_the_log_are_passed_over() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let log = Oplog::open(log_directory(dir.path())).unwrap();
    log.append(200, b"a note", Durability::Disk).unwrap();
    log.close().unwrap();
    let (store, after) = people(dir.path());
    fill(&after, 3..6);
    assert_eq!(newest(&store), OpId::new(8));
    assert_eq!(all(&after).len(), 6);
}
