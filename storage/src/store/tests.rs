//! What the commit path promises where only this crate can look.

use std::cell::RefCell;

use bson::rawdoc;
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, OpId};

use super::commit::Draft;
use super::{Store, StoreOptions};
use crate::applier;
use crate::error::Error;

fn open(dir: &std::path::Path) -> Store {
    let mut options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    options.oplog.segment_bytes = 1 << 20;
    options.open(dir).unwrap()
}

thread_local! {
    static BETWEEN: RefCell<Option<Box<dyn FnOnce()>>> = RefCell::default();
}

/// Called where a reader that takes its view may lose its processor.
pub(super) fn between_layers_and_op_id() {
    if let Some(others) = BETWEEN.take() {
        others();
    }
}

#[test]
fn a_view_has_every_write_up_to_its_op_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people.insert_one(&rawdoc! { "_id": 0 }).unwrap();
    let others = store.clone();
    BETWEEN.set(Some(Box::new(move || {
        others.core().freeze();
        others
            .collection("town", "people")
            .unwrap()
            .insert_one(&rawdoc! { "_id": 1 })
            .unwrap();
    })));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.as_of(), store.applied());
    let uuid = snapshot.collections()[0].uuid;
    assert_eq!(snapshot.scan(&uuid, None).map(Result::unwrap).count(), 2);
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
