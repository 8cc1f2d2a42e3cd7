//! What the commit path promises where only this crate can look.

use std::sync::atomic::{AtomicBool, Ordering};

use bson::{RawBsonRef, rawdoc};
use tailwater_matcher::encode_key;
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, OpId};

use super::commit::Draft;
use super::{Store, StoreOptions};
use crate::applier;
use crate::catalog::Namespace;
use crate::error::Error;

fn open(dir: &std::path::Path) -> Store {
    let mut options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    options.oplog.segment_bytes = 1 << 20;
    options.open(dir).unwrap()
}

/// Generations begin in between the steps in which a reader takes its view.
#[test]
fn a_view_has_every_write_up_to_its_op_id() {
    const WRITES: i32 = 20_000;
    const GENERATIONS_MAX: usize = 16;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    let first = people.insert_one(&rawdoc! { "_id": 0 }).unwrap().op_id;
    let core = store.core();
    let number = core
        .view()
        .unwrap()
        .catalog
        .get(&Namespace::new("town", "people"))
        .unwrap()
        .number;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            while !is_over.load(Ordering::Relaxed) {
                let view = core.view().unwrap();
                let id = i32::try_from(view.at.get() - first.get()).unwrap();
                let mut key = Vec::new();
                encode_key(RawBsonRef::Int32(id), &mut key);
                let found = view.layers.get(number, &key, view.at).unwrap();
                assert!(found.is_some(), "the write with the view's own OpID, of document {id}");
            }
        };
        scope.spawn(reader);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if core.layers().unwrap().generations.len() < GENERATIONS_MAX {
                    core.freeze();
                } else {
                    applier::flush(core).unwrap();
                }
            }
        });
        for id in 1..WRITES {
            people.insert_one(&rawdoc! { "_id": id }).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_was_appended_and_not_applied_is_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    let before = people.insert_one(&rawdoc! { "_id": 1 }).unwrap().op_id;
    let core = store.core();
    applier::flush(core).unwrap();
    assert_eq!(OpId::new(core.engine().unwrap().applied()), before);

    // An entry that cannot be applied stands for an engine that cannot be read.
    let document = rawdoc! { "_id": 2 };
    let entry = StoreEntry {
        database: "town",
        collection: "people",
        collection_id: [7; 16],
        document: Some(&document),
        ..StoreEntry::default()
    };
    let mut commit = core.lock_commit().unwrap();
    let refused = core.commit(&mut commit, &[Draft::new(EntryKind::Insert, &entry)]);
    assert!(matches!(refused, Err(Error::Inconsistent { .. })), "{refused:?}");
    drop(commit);

    let next = people.insert_one(&rawdoc! { "_id": 3 });
    assert!(matches!(next, Err(Error::Inconsistent { .. })), "{next:?}");
    assert_eq!(store.applied(), before);
    applier::flush(core).unwrap_err();
    assert_eq!(OpId::new(core.engine().unwrap().applied()), before);
    assert!(store.close().is_err());
}
