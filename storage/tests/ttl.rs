//! Documents that expire.

use crate::common;

use std::time::Duration;

use bson::{Bson, DateTime, Document, RawDocumentBuf, bson, doc, rawdoc};
use common::{eventually, small};
use tailwater_oplog::ReadConcern;
use tailwater_oplog::entry::EntryKind;
use tailwater_storage::{Collection, Error, IndexModel, Store, StoreOptions};

/// So many seconds before now.
fn ago(seconds: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(
        DateTime::now().timestamp_millis() - 1000 * seconds,
    ))
}

fn open(options: &StoreOptions) -> (tempfile::TempDir, Store, Collection) {
    let directory = tempfile::tempdir().unwrap();
    let store = options.open(directory.path()).unwrap();
    let sessions = store.collection("web", "sessions").unwrap();
    (directory, store, sessions)
}

fn insert(collection: &Collection, id: i32, seen: Bson) {
    let document: Document = doc! { "_id": id, "seen": seen };
    collection
        .insert_one(&RawDocumentBuf::try_from(&document).unwrap())
        .unwrap();
}

fn ids(collection: &Collection) -> Vec<i32> {
    collection
        .find(&rawdoc! {})
        .unwrap()
        .map(|d| d.unwrap().get_i32("_id").unwrap())
        .collect()
}

#[test]
fn documents_expire_by_the_earliest_of_their_dates() {
    for direction in [1, -1] {
        let (_directory, store, sessions) = open(&small());
        let model = IndexModel::new("seen", direction).expire_after(Duration::from_secs(60));
        sessions.create_index(&model).unwrap();
        let cases = [
            (ago(3600), false),
            (ago(0), true),
            (ago(-3600), true),
            (bson!([ago(-50), ago(61)]), false),
            (bson!([ago(5), "text", 7]), true),
            (bson!("2001-01-01"), true),
            (bson!(5), true),
            (Bson::Null, true),
            (bson!([]), true),
            (bson!({ "at": ago(3600) }), true),
        ];
        let mut kept = Vec::new();
        for (id, (seen, stays)) in (0..).zip(cases) {
            insert(&sessions, id, seen);
            kept.extend(stays.then_some(id));
        }
        assert_eq!(store.expire_now().unwrap(), 2);
        assert_eq!(ids(&sessions), kept);
        assert_eq!(store.expire_now().unwrap(), 0);
        assert!(sessions.validate().unwrap().is_valid());
    }
}

#[test]
fn expired_documents_leave_as_ordinary_deletions() {
    let (_directory, store, sessions) = open(&small());
    let partial = IndexModel::new("seen", 1)
        .expire_after(Duration::ZERO)
        .partial(&rawdoc! { "_id": { "$lt": 500 } });
    sessions.create_index(&partial).unwrap();
    for id in 0..600 {
        insert(&sessions, id, ago(1));
    }
    assert_eq!(store.expire_now().unwrap(), 500);
    assert_eq!(ids(&sessions), (500..600).collect::<Vec<_>>());
    let log = store.log();
    let mut cursor = log.cursor(log.watermarks().oldest, ReadConcern::Local).unwrap();
    let mut deletions = 0;
    while let Some(entry) = cursor.try_next().unwrap() {
        deletions += usize::from(EntryKind::from_number(entry.kind()) == Some(EntryKind::Delete));
    }
    assert_eq!(deletions, 500);
}

#[test]
fn a_thread_deletes_them_in_time() {
    let options = StoreOptions {
        expire_interval: Duration::from_millis(10),
        ..small()
    };
    let (directory, store, sessions) = open(&options);
    insert(&sessions, 1, ago(100));
    sessions
        .create_index(&IndexModel::new("seen", 1).expire_after(Duration::from_secs(50)))
        .unwrap();
    eventually("the thread begins with the index", || ids(&sessions).is_empty());
    store.close().unwrap();
    let store = options.open(directory.path()).unwrap();
    let sessions = store.collection("web", "sessions").unwrap();
    insert(&sessions, 2, ago(100));
    eventually("the thread begins with the store", || ids(&sessions).is_empty());
}

#[test]
fn the_age_and_the_visibility_of_an_index_can_be_changed() {
    let (directory, store, sessions) = open(&small());
    sessions.create_index(&IndexModel::new("seen", 1)).unwrap();
    insert(&sessions, 1, ago(100));
    insert(&sessions, 2, ago(10));
    assert_eq!(store.expire_now().unwrap(), 0);
    let modify = |change: RawDocumentBuf| store.modify_collection("web", "sessions", &rawdoc! { "index": change });
    modify(rawdoc! { "name": "seen_1", "expireAfterSeconds": 3600 }).unwrap();
    assert_eq!(store.expire_now().unwrap(), 0);
    modify(rawdoc! { "keyPattern": { "seen": 1 }, "expireAfterSeconds": 50, "hidden": true }).unwrap();
    assert_eq!(store.expire_now().unwrap(), 1);
    assert_eq!(ids(&sessions), [2]);

    let explain = |collection: &Collection| {
        let filter = rawdoc! { "seen": { "$gt": DateTime::from_millis(0) } };
        Document::try_from(collection.explain(&filter, &Default::default()).unwrap().as_ref())
            .unwrap()
            .to_string()
    };
    assert!(explain(&sessions).contains("COLLSCAN"), "a hidden index is not used");
    modify(rawdoc! { "name": "seen_1", "hidden": false }).unwrap();
    assert!(explain(&sessions).contains("IXSCAN"));
    assert!(matches!(
        modify(rawdoc! { "name": "none", "hidden": true }),
        Err(Error::NoSuchIndex { .. })
    ));
    assert!(matches!(
        modify(rawdoc! { "name": "seen_1", "unique": true }),
        Err(Error::InvalidOptions { .. })
    ));
    let listed = sessions.list_indexes().unwrap();
    store.close().unwrap();
    let store = small().open(directory.path()).unwrap();
    assert_eq!(
        store.collection("web", "sessions").unwrap().list_indexes().unwrap(),
        listed
    );
    assert_eq!(listed[1].get_i32("expireAfterSeconds").unwrap(), 50);
}
