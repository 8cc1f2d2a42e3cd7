//! What becomes of documents that are inserted.

use bson::{Bson, RawDocumentBuf, rawdoc};
use tailwater_oplog::{Durability, OpId};
use tailwater_storage::{Error, ErrorCode, StoreOptions, limits};

use crate::{all, newest, people, temporary};

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
        assert_eq!(error.code(), Some(ErrorCode::InvalidIdField));
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
    assert_eq!(too_deep.code(), Some(ErrorCode::Overflow));
    let too_large = rawdoc! { "_id": 1, "pad": "x".repeat(limits::DOCUMENT_BYTES_MAX) };
    let too_large = people.insert_one(&too_large).unwrap_err();
    assert!(matches!(too_large, Error::InvalidDocument(_)), "{too_large:?}");
    assert_eq!(too_large.code(), Some(ErrorCode::BadValue));
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
