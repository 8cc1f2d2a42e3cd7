//! Building indexes of many documents: writes go on, crashes and refusals included.

use crate::common;

use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Document, RawDocumentBuf, rawdoc};
use common::{copy_open_store, eventually, small};
use tailwater_oplog::ReadConcern;
use tailwater_oplog::entry::EntryKind;
use tailwater_storage::{Collection, Error, ExplainOptions, IndexModel, Store, StoreOptions};

const DOCUMENTS: i32 = 4000;

/// An overlay so small that generations move into the engine while indexes are built.
fn options() -> StoreOptions {
    StoreOptions {
        overlay_bytes_max: 64 << 10,
        ..small()
    }
}

fn filled() -> (tempfile::TempDir, Store, Collection) {
    let directory = tempfile::tempdir().unwrap();
    let store = options().open(directory.path()).unwrap();
    let items = store.collection("shop", "items").unwrap();
    let documents: Vec<RawDocumentBuf> = (0..DOCUMENTS)
        .map(|i| rawdoc! { "_id": i, "a": i, "b": i % 10 })
        .collect();
    items.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    (directory, store, items)
}

/// How often the log has entries of these kinds.
fn entries(store: &Store, kinds: &[EntryKind]) -> Vec<usize> {
    let log = store.log();
    let mut cursor = log.cursor(log.watermarks().oldest, ReadConcern::Local).unwrap();
    let mut counts = vec![0; kinds.len()];
    while let Some(entry) = cursor.try_next().unwrap() {
        let kind = EntryKind::from_number(entry.kind());
        if let Some(i) = kinds.iter().position(|k| Some(*k) == kind) {
            counts[i] += 1;
        }
    }
    counts
}

#[track_caller]
fn assert_complete(items: &Collection, index: &str) {
    let validation = items.validate().unwrap();
    assert_eq!(validation.findings, Vec::<String>::new());
    let keys = validation.keys.iter().find(|(name, _)| name == index);
    assert!(
        keys.is_some_and(|(_, keys)| *keys >= validation.documents),
        "{validation:?}"
    );
    let explained = items.explain(&rawdoc! { "b": 3 }, &ExplainOptions::default()).unwrap();
    assert!(
        Document::try_from(explained.as_ref())
            .unwrap()
            .to_string()
            .contains("IXSCAN")
    );
}

#[test]
fn writes_go_on_while_an_index_is_built() {
    let (directory, store, items) = filled();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (items, done) = (&items, &done);
            scope.spawn(move || {
                let mut i = writer;
                while !done.load(Ordering::SeqCst) {
                    let id = (i * 7919) % DOCUMENTS;
                    items
                        .update_one(&rawdoc! { "_id": id }, &rawdoc! { "$set": { "b": [i, i + 1] } })
                        .unwrap();
                    items.delete_one(&rawdoc! { "_id": (id + 1) % DOCUMENTS }).unwrap();
                    items.insert_one(&rawdoc! { "_id": DOCUMENTS + i, "b": i }).unwrap();
                    i += 2;
                }
            });
        }
        items.create_index(&IndexModel::new("b", 1)).unwrap();
        done.store(true, Ordering::SeqCst);
    });
    assert_complete(&items, "b_1");
    assert_eq!(
        entries(&store, &[EntryKind::StartIndexBuild, EntryKind::CreateIndexes]),
        [1, 1]
    );
    let expected = items.validate().unwrap();
    store.close().unwrap();
    for with_state in [true, false] {
        if !with_state {
            std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        }
        let store = options().open(directory.path()).unwrap();
        let items = store.collection("shop", "items").unwrap();
        assert_eq!(items.validate().unwrap(), expected);
        assert_complete(&items, "b_1");
        store.close().unwrap();
    }
}

#[test]
fn a_violation_that_is_found_late_gives_the_build_up() {
    let (_directory, store, items) = filled();
    items.insert_one(&rawdoc! { "_id": DOCUMENTS, "a": 5 }).unwrap();
    let refused = items.create_index(&IndexModel::new("a", 1).unique());
    assert!(matches!(refused, Err(Error::DuplicateKey { .. })), "{refused:?}");
    assert_eq!(items.list_indexes().unwrap().len(), 1);
    assert_eq!(
        entries(&store, &[EntryKind::StartIndexBuild, EntryKind::AbortIndexBuild]),
        [1, 1]
    );

    items.delete_one(&rawdoc! { "_id": 5 }).unwrap();
    items.create_index(&IndexModel::new("a", 1).unique()).unwrap();
    let refused = items.insert_one(&rawdoc! { "a": 7 });
    assert!(matches!(refused, Err(Error::DuplicateKey { .. })), "{refused:?}");
    assert!(items.validate().unwrap().is_valid());
}

#[test]
fn a_build_that_a_crash_interrupts_goes_on_after_it() {
    let (directory, store, items) = filled();
    let copies: Vec<tempfile::TempDir> = std::thread::scope(|scope| {
        let build = scope.spawn(|| items.create_index(&IndexModel::new("b", 1)).unwrap());
        let mut copies = Vec::new();
        while !build.is_finished() {
            let copy = tempfile::tempdir().unwrap();
            copy_open_store(&store, directory.path(), copy.path());
            copies.push(copy);
        }
        build.join().unwrap();
        copies
    });
    assert_complete(&items, "b_1");
    drop(store);
    for copy in copies.iter().take(5) {
        let store = options().open(copy.path()).unwrap();
        let items = store.collection("shop", "items").unwrap();
        if items.list_indexes().unwrap().len() == 2 {
            let is_used = || {
                let explained = items.explain(&rawdoc! { "b": 3 }, &ExplainOptions::default()).unwrap();
                Document::try_from(explained.as_ref())
                    .unwrap()
                    .to_string()
                    .contains("IXSCAN")
            };
            eventually("the build goes on", is_used);
            assert_complete(&items, "b_1");
        }
        store.close().unwrap();
    }
}

#[test]
fn a_store_can_be_closed_and_an_index_dropped_while_it_is_built() {
    let (directory, store, items) = filled();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| items.create_index(&IndexModel::new("b", 1)));
        // It is there from the beginning of the build on.
        eventually("the build begins", || items.list_indexes().unwrap().len() == 2);
        items.drop_index("b_1").unwrap();
        let outcome = build.join().unwrap();
        assert!(
            matches!(outcome, Ok(_) | Err(Error::IndexBuildAborted { .. })),
            "{outcome:?}"
        );
        assert_eq!(items.list_indexes().unwrap().len(), 1);

        let build = scope.spawn(|| items.create_index(&IndexModel::new("b", 1)));
        eventually("the build begins", || items.list_indexes().unwrap().len() == 2);
        store.close().unwrap();
        let outcome = build.join().unwrap();
        assert!(matches!(outcome, Ok(_) | Err(Error::Log(_))), "{outcome:?}");
    });
    let store = options().open(directory.path()).unwrap();
    let items = store.collection("shop", "items").unwrap();
    items.create_index(&IndexModel::new("b", 1)).unwrap();
    assert_complete(&items, "b_1");
}
