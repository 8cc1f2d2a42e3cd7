//! Indexes as their users see them: what they refuse, and that they keep pace with the documents, also over crashes.

use crate::common;

use std::path::Path;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use common::{copy_open_store, small};
use tailwater_storage::{Collection, Error, ErrorCode, ExplainOptions, FindOptions, Hint, IndexModel, Pipeline, Store};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn insert(collection: &Collection, document: &Document) -> Result<(), Error> {
    collection.insert_one(&raw(document)).map(drop)
}

fn update(collection: &Collection, filter: &Document, update: &Document) -> Result<u64, Error> {
    Ok(collection.update_one(&raw(filter), raw(update))?.modified)
}

#[track_caller]
fn assert_duplicate<T: std::fmt::Debug>(outcome: Result<T, Error>, key_value: &Document) {
    match outcome {
        Err(Error::DuplicateKey { key_value: found, .. }) => assert_eq!(found, raw(key_value)),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_keys(collection: &Collection, index: &str, expected: u64) {
    let validation = collection.validate().unwrap();
    assert_eq!(validation.findings, Vec::<String>::new());
    let keys = validation.keys.iter().find(|(name, _)| name == index);
    assert_eq!(keys.map(|(_, keys)| *keys), Some(expected), "{validation:?}");
}

fn open() -> (tempfile::TempDir, Store, Collection) {
    let directory = tempfile::tempdir().unwrap();
    let store = small().open(directory.path()).unwrap();
    let collection = store.collection("shop", "items").unwrap();
    (directory, store, collection)
}

#[test]
fn a_unique_index_refuses_a_key_that_another_document_has() {
    let (_directory, _store, items) = open();
    items.create_index(&IndexModel::new("sku", 1).unique()).unwrap();
    insert(&items, &doc! { "_id": 1, "sku": "a" }).unwrap();
    insert(&items, &doc! { "_id": 2, "sku": ["b", "c"] }).unwrap();

    assert_duplicate(insert(&items, &doc! { "_id": 3, "sku": "a" }), &doc! { "sku": "a" });
    assert_duplicate(
        insert(&items, &doc! { "_id": 3, "sku": ["x", "c"] }),
        &doc! { "sku": "c" },
    );
    assert_duplicate(
        update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "sku": "b" } }),
        &doc! { "sku": "b" },
    );
    let replaced = items.replace_one(&rawdoc! { "_id": 1 }, &rawdoc! { "sku": "c" });
    assert_duplicate(replaced, &doc! { "sku": "c" });
    assert_keys(&items, "sku_1", 3);

    // Its own key, and one that another has given up.
    assert_eq!(
        update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "n": 1 } }).unwrap(),
        1
    );
    assert_eq!(
        update(&items, &doc! { "_id": 2 }, &doc! { "$set": { "sku": "z" } }).unwrap(),
        1
    );
    assert_eq!(
        update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "sku": "b" } }).unwrap(),
        1
    );
    items.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    insert(&items, &doc! { "_id": 4, "sku": "b" }).unwrap();
    assert_keys(&items, "sku_1", 2);
}

#[test]
fn a_duplicate_is_reported_by_the_key_that_is_taken() {
    for (key, there, new, key_value) in [
        (
            doc! { "items.sku": 1 },
            doc! { "items": [{ "sku": "a" }, { "sku": "b" }] },
            doc! { "items": [{ "sku": "x" }, { "sku": "b" }] },
            doc! { "items.sku": "b" },
        ),
        (
            doc! { "tags": -1, "n": 1 },
            doc! { "tags": ["a", "b"], "n": 1 },
            doc! { "tags": ["c", "a"], "n": 1 },
            doc! { "tags": "a", "n": 1 },
        ),
        (doc! { "a": 1 }, doc! { "b": 1 }, doc! { "a": null }, doc! { "a": null }),
        (
            doc! { "a.0": 1 },
            doc! { "a": [5, 6] },
            doc! { "a": [5, 7] },
            doc! { "a.0": 5 },
        ),
    ] {
        let (_directory, _store, items) = open();
        items
            .create_indexes(&[&raw(&doc! { "key": key.clone(), "unique": true })])
            .unwrap();
        insert(&items, &there).unwrap();
        assert_duplicate(insert(&items, &new), &key_value);
        // The same where the index comes last.
        let (_directory, _store, items) = open();
        insert(&items, &there).unwrap();
        insert(&items, &new).unwrap();
        assert_duplicate(
            items.create_indexes(&[&raw(&doc! { "key": key, "unique": true })]),
            &key_value,
        );
    }
}

#[test]
fn a_path_with_a_position_has_the_key_of_that_element() {
    let (_directory, _store, items) = open();
    for (id, scores) in [(1, vec![3, 9]), (2, vec![1, 10]), (3, vec![2]), (4, vec![])] {
        insert(&items, &doc! { "_id": id, "scores": scores }).unwrap();
    }
    let sorted = |direction: i32| {
        let options = FindOptions {
            sort: Some(rawdoc! { "scores.0": direction }),
            ..FindOptions::default()
        };
        let found = items.find_with(&rawdoc! {}, &options).unwrap();
        found
            .map(|found| found.unwrap().get_i32("_id").unwrap())
            .collect::<Vec<_>>()
    };
    for with_index in [false, true] {
        if with_index {
            items.create_index(&IndexModel::new("scores.0", 1).unique()).unwrap();
        }
        assert_eq!(sorted(1), [4, 2, 3, 1], "{with_index}");
        assert_eq!(sorted(-1), [1, 3, 2, 4], "{with_index}");
    }
    insert(&items, &doc! { "_id": 5, "scores": [4, 1] }).unwrap();
    assert_duplicate(
        insert(&items, &doc! { "_id": 6, "scores": [4, 2] }),
        &doc! { "scores.0": 4 },
    );
    assert_keys(&items, "scores.0_1", 5);

    // What an element without a field of that name satisfies is not looked for in the index.
    let (_directory, _store, items) = open();
    items.create_index(&IndexModel::new("a.0", 1)).unwrap();
    for document in [
        doc! { "_id": 1, "a": [{ "x": 1 }] },
        doc! { "_id": 2, "a": [{ "0": 7 }] },
        doc! { "_id": 3 },
    ] {
        insert(&items, &document).unwrap();
    }
    for (filter, expected) in [
        (rawdoc! { "a.0": null }, vec![1, 3]),
        (rawdoc! { "a.0": 7 }, vec![2]),
        (rawdoc! { "a.0": { "x": 1 } }, vec![1]),
    ] {
        let by = |hint| {
            let options = FindOptions {
                hint: Some(hint),
                sort: Some(rawdoc! { "_id": 1 }),
                ..FindOptions::default()
            };
            let found = items.find_with(&filter, &options).unwrap();
            found
                .map(|found| found.unwrap().get_i32("_id").unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(by(Hint::Name("a.0_1".into())), by(Hint::Natural(1)), "{filter:?}");
        assert_eq!(by(Hint::Natural(1)), expected, "{filter:?}");
    }
}

#[test]
fn fields_of_a_reference_are_paths_as_others() {
    let (_directory, _store, books) = open();
    for (id, author) in [(1, 8), (2, 7)] {
        let author = doc! { "$ref": "people", "$id": author };
        insert(&books, &doc! { "_id": id, "author": author }).unwrap();
    }
    books.create_index(&IndexModel::new("author.$id", 1).unique()).unwrap();
    let options = FindOptions {
        sort: Some(rawdoc! { "author.$id": 1 }),
        projection: Some(rawdoc! { "author.$id": 1 }),
        ..FindOptions::default()
    };
    let found = books.find_with(&rawdoc! {}, &options).unwrap();
    assert_eq!(
        found.map(Result::unwrap).collect::<Vec<_>>(),
        [
            rawdoc! { "_id": 2, "author": { "$id": 7 } },
            rawdoc! { "_id": 1, "author": { "$id": 8 } },
        ]
    );
    let explained = books
        .explain(&rawdoc! { "author.$id": 7 }, &ExplainOptions::default())
        .unwrap();
    assert!(format!("{:?}", Document::try_from(&explained).unwrap()).contains("author.$id_1"));
    let pipeline = Pipeline::parse(&[
        rawdoc! { "$match": { "_id": 1 } },
        rawdoc! { "$set": { "by": "$author.$id" } },
        rawdoc! { "$lookup": { "from": "items", "localField": "author.$id", "foreignField": "author.$id", "as": "same" } },
        rawdoc! { "$project": { "by": 1, "same._id": 1 } },
    ]);
    let found: Vec<_> = books
        .aggregate(&pipeline.unwrap())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found, [rawdoc! { "_id": 1, "by": 8, "same": [{ "_id": 1 }] }]);
    // Not at the top, and no other names.
    for path in ["$id", "author.$name", "a.$id.", "a..$id"] {
        let refused = books.create_index(&IndexModel::new(path, 1));
        assert!(
            matches!(refused, Err(Error::InvalidIndex { .. })),
            "{path}: {refused:?}"
        );
    }
}

#[test]
fn the_same_index_may_be_asked_for_in_other_words() {
    let (_directory, _store, items) = open();
    let create = |definition: Document| items.create_indexes(&[&raw(&definition)]);
    create(doc! { "key": { "t": 1 }, "name": "t_1", "unique": true, "expireAfterSeconds": 60 }).unwrap();
    for same in [
        doc! { "key": { "t": 1_i64 }, "name": "t_1", "unique": true, "expireAfterSeconds": 60_i64 },
        doc! { "key": { "t": 1.0 }, "name": "t_1", "expireAfterSeconds": 60.0, "unique": 1 },
    ] {
        create(same.clone()).unwrap_or_else(|error| panic!("{same}: {error}"));
    }
    for (other, code) in [
        // Another option of an equivalent one, and another name for it.
        (
            doc! { "key": { "t": 1 }, "name": "t_1", "unique": true, "expireAfterSeconds": 61 },
            ErrorCode::IndexOptionsConflict,
        ),
        (
            doc! { "key": { "t": 1 }, "name": "u", "unique": true, "expireAfterSeconds": 60 },
            ErrorCode::IndexOptionsConflict,
        ),
        // Another index of that name.
        (
            doc! { "key": { "t": -1 }, "name": "t_1", "unique": true },
            ErrorCode::IndexKeySpecsConflict,
        ),
        (
            doc! { "key": { "t": 1 }, "name": "t_1" },
            ErrorCode::IndexKeySpecsConflict,
        ),
        (
            doc! { "key": { "t": 1 }, "name": "t_1", "unique": true, "partialFilterExpression": { "a": 1 } },
            ErrorCode::IndexKeySpecsConflict,
        ),
    ] {
        let refused = create(other.clone()).unwrap_err();
        assert_eq!(refused.code(), Some(code), "{other}: {refused}");
    }
    let options = FindOptions {
        hint: Some(Hint::Key(rawdoc! { "t": 1.0 })),
        ..FindOptions::default()
    };
    assert!(items.find_with(&rawdoc! {}, &options).is_ok());
    // One that is not unique and one that is sparse are others. The key is no name any more.
    create(doc! { "key": { "t": 1 }, "name": "plain" }).unwrap();
    create(doc! { "key": { "t": 1 }, "name": "sparse", "sparse": true }).unwrap();
    assert_eq!(items.list_indexes().unwrap().len(), 4);
    let refused = items.find_with(&rawdoc! {}, &options).map(drop).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadValue), "{refused}");
}

#[test]
fn within_one_batch_the_second_of_two_equal_keys_is_refused() {
    let (_directory, _store, items) = open();
    items.create_index(&IndexModel::new("sku", 1).unique()).unwrap();
    let documents = [1, 2, 1].map(|sku| rawdoc! { "sku": sku });
    let refused = items.insert_many(documents.iter().map(AsRef::as_ref));
    assert!(
        matches!(refused, Err(Error::InsertMany { index: 2, .. })),
        "{refused:?}"
    );
    assert_keys(&items, "sku_1", 2);
}

#[test]
fn missing_is_one_key_of_a_unique_index_unless_it_leaves_such_documents_out() {
    let (_directory, store, _) = open();
    let models = [
        (IndexModel::new("a", 1).unique(), false),
        (IndexModel::new("a", 1).unique().sparse(), true),
        (
            IndexModel::new("a", 1)
                .unique()
                .partial(&rawdoc! { "a": { "$exists": true } }),
            true,
        ),
    ];
    for (i, (model, several)) in models.into_iter().enumerate() {
        let items = store.collection("shop", &format!("c{i}")).unwrap();
        items.create_index(&model).unwrap();
        insert(&items, &doc! { "_id": 1 }).unwrap();
        assert_eq!(insert(&items, &doc! { "_id": 2 }).is_ok(), several);
        insert(&items, &doc! { "_id": 3, "a": 1 }).unwrap();
        assert_duplicate(insert(&items, &doc! { "_id": 4, "a": 1 }), &doc! { "a": 1 });
    }
}

#[test]
fn a_document_enters_and_leaves_a_partial_index_as_it_changes() {
    let (_directory, _store, items) = open();
    let model = IndexModel::new("sku", 1).unique().partial(&rawdoc! { "live": true });
    let name = items.create_index(&model).unwrap();
    insert(&items, &doc! { "_id": 1, "sku": 7 }).unwrap();
    insert(&items, &doc! { "_id": 2, "sku": 7, "live": true }).unwrap();
    assert_duplicate(
        update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "live": true } }),
        &doc! { "sku": 7 },
    );
    update(&items, &doc! { "_id": 2 }, &doc! { "$set": { "live": false } }).unwrap();
    update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "live": true } }).unwrap();
    assert_keys(&items, &name, 1);
}

#[test]
fn an_index_cannot_be_made_of_documents_that_it_would_refuse() {
    let (_directory, _store, items) = open();
    insert(&items, &doc! { "_id": 1, "a": [1, 2], "b": [1] }).unwrap();
    insert(&items, &doc! { "_id": 2, "a": 2 }).unwrap();
    assert_duplicate(items.create_index(&IndexModel::new("a", 1).unique()), &doc! { "a": 2 });
    let parallel = items.create_index(&IndexModel::new("a", 1).and("b", 1));
    assert!(matches!(parallel, Err(Error::ParallelArrays { .. })), "{parallel:?}");
    assert_eq!(items.list_indexes().unwrap().len(), 1);

    items.create_index(&IndexModel::new("a", 1)).unwrap();
    items.create_index(&IndexModel::new("c", 1).and("b", 1)).unwrap();
    let parallel = update(&items, &doc! { "_id": 1 }, &doc! { "$set": { "c": [1] } });
    assert!(matches!(parallel, Err(Error::ParallelArrays { .. })), "{parallel:?}");
    assert_keys(&items, "a_1", 3);
}

#[test]
fn a_key_that_is_too_long_is_refused() {
    let (_directory, _store, items) = open();
    items.create_index(&IndexModel::new("a", 1)).unwrap();
    let refused = insert(&items, &doc! { "_id": 1, "a": "x".repeat(70_000) });
    assert!(matches!(refused, Err(Error::IndexKeyTooLong { .. })), "{refused:?}");
    insert(&items, &doc! { "_id": 1, "a": "x".repeat(30_000) }).unwrap();
    assert_keys(&items, "a_1", 1);
}

/// A store in this directory, or one as a crash would leave it, with its state or without.
fn after_crash(store: &Store, from: &Path, with_state: bool) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    copy_open_store(store, from, directory.path());
    if !with_state {
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    }
    let store = small().open(directory.path()).unwrap();
    (directory, store)
}

#[test]
fn indexes_survive_crashes_renames_and_replay() {
    let (directory, store, items) = open();
    for id in 0..50 {
        insert(&items, &doc! { "_id": id, "a": id % 7, "tags": [id, id + 1] }).unwrap();
    }
    items.create_index(&IndexModel::new("a", 1).and("_id", -1)).unwrap();
    items.create_index(&IndexModel::new("tags", -1)).unwrap();
    store.trim_log(tailwater_oplog::OpId::ZERO).unwrap();
    items
        .update_many(&rawdoc! { "a": 3 }, &rawdoc! { "$set": { "a": 100, "tags": 5 } })
        .unwrap();
    items.delete_many(&rawdoc! { "a": { "$lt": 2 } }).unwrap();
    store
        .rename_collection(("shop", "items"), ("shop", "things"), false)
        .unwrap();
    let expected = store.collection("shop", "things").unwrap().validate().unwrap();
    assert!(expected.is_valid() && expected.documents < 50, "{expected:?}");
    for with_state in [true, false] {
        let (_copy, store) = after_crash(&store, directory.path(), with_state);
        let things = store.collection("shop", "things").unwrap();
        assert_eq!(things.validate().unwrap(), expected);
        assert_eq!(things.list_indexes().unwrap().len(), 3);
        store.drop_collection("shop", "things").unwrap();
        insert(&things, &doc! { "a": 1 }).unwrap();
        assert_eq!(things.validate().unwrap().keys, []);
    }
}

#[test]
fn a_dropped_index_is_gone_and_can_be_made_anew() {
    let (directory, store, items) = open();
    items.create_index(&IndexModel::new("a", 1).unique()).unwrap();
    insert(&items, &doc! { "_id": 1, "a": 1 }).unwrap();
    items.drop_index("a_1").unwrap();
    insert(&items, &doc! { "_id": 2, "a": 1 }).unwrap();
    assert!(matches!(items.drop_index("a_1"), Err(Error::NoSuchIndex { .. })));
    assert!(matches!(items.drop_index("_id_"), Err(Error::InvalidIndex { .. })));
    // As long as drivers make them of many fields.
    let long = "a".repeat(300);
    let named_long = rawdoc! { "key": { "other": 1 }, "name": long.as_str() };
    assert_eq!(items.create_indexes(&[&named_long]).unwrap().names, [long.as_str()]);
    items.drop_index(&long).unwrap();
    let named_so = rawdoc! { "key": { "other": 1 }, "name": "_id_" };
    assert!(matches!(
        items.create_indexes(&[&named_so]),
        Err(Error::InvalidIndex { .. })
    ));
    items.create_index(&IndexModel::new("a", 1)).unwrap();
    assert_keys(&items, "a_1", 2);
    store.close().unwrap();
    let store = small().open(directory.path()).unwrap();
    assert_keys(&store.collection("shop", "items").unwrap(), "a_1", 2);
}
