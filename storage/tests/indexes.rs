//! Indexes as their users see them: what they refuse, and that they keep pace with the documents, also over crashes.

mod common;

use std::path::Path;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use common::{copy_open_store, small};
use tailwater_storage::{Collection, Error, IndexModel, Store};

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
        &doc! { "sku": ["x", "c"] },
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
    items.create_index(&IndexModel::new("a", 1)).unwrap();
    assert_keys(&items, "a_1", 2);
    store.close().unwrap();
    let store = small().open(directory.path()).unwrap();
    assert_keys(&store.collection("shop", "items").unwrap(), "a_1", 2);
}
