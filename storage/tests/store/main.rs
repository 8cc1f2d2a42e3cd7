//! What users of a store rely on, through its public face and real files.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod collections;
mod finds;
mod inserts;
mod log;
mod opening;
mod races;

use std::path::Path;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use common::small;
use tailwater_oplog::{OpId, ReadConcern};
use tailwater_storage::{Collection, Store};

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
