//! What sessions have written, kept for writes that are sent again.

use crate::common;

use bson::{DateTime, RawDocumentBuf, rawdoc};
use common::{copy_open_store, small};
use tailwater_oplog::ReadConcern;
use tailwater_oplog::entry::EntryKind;
use tailwater_storage::{
    BulkWriteOptions, FindAndModify, FindOneAndUpdateOptions, InsertManyOptions, RetryableWrite, SessionWrites, Store,
    StoreOptions, TransactionOptions, TransactionSession, WriteModel,
};

const SESSION: [u8; 16] = [7; 16];

fn open(dir: &tempfile::TempDir) -> Store {
    small().open(dir.path()).unwrap()
}

fn write(number: i64, statements: impl IntoIterator<Item = i32>) -> RetryableWrite {
    RetryableWrite {
        session: SESSION,
        number,
        statements: statements.into_iter().collect(),
    }
}

fn writes(store: &Store, number: i64) -> SessionWrites {
    store.session_writes(SESSION, number).unwrap().unwrap()
}

fn executed(store: &Store, number: i64, asked: std::ops::Range<i32>) -> Vec<i32> {
    let writes = writes(store, number);
    asked.filter(|statement| writes.outcome(*statement).is_some()).collect()
}

fn documents(count: i32) -> Vec<RawDocumentBuf> {
    (0..count).map(|id| rawdoc! { "_id": id }).collect()
}

#[test]
fn a_statement_leaves_what_it_has_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let c = store.collection("db", "c").unwrap();
    assert_eq!(store.session_writes(SESSION, 1).unwrap(), None);

    let inserts = documents(3);
    c.clone()
        .retryable(write(1, 0..3))
        .insert_many(inserts.iter().map(|d| &**d))
        .unwrap();
    assert_eq!(executed(&store, 1, -1..5), [0, 1, 2]);

    // Of an update that changes nothing there is nothing to be kept, and of many documents it would not be the whole.
    let models = [
        WriteModel::update_one(rawdoc! { "_id": 0 }, rawdoc! { "$inc": { "n": 1 } }),
        WriteModel::update_one(rawdoc! { "_id": 9 }, rawdoc! { "$inc": { "n": 1 } }),
        WriteModel::update_many(rawdoc! {}, rawdoc! { "$set": { "m": 1 } }),
        WriteModel::delete_one(rawdoc! { "_id": 2 }),
    ];
    c.clone()
        .retryable(write(2, [4, 3, 2, 1]))
        .bulk_write_with(models, &BulkWriteOptions::default())
        .unwrap();
    assert_eq!(executed(&store, 2, 0..5), [1, 4]);
    assert!(writes(&store, 2).outcome(4).unwrap().matched);
    // Those of the number before are gone with it.
    assert_eq!((writes(&store, 1).number, writes(&store, 1).is_empty()), (2, true));

    let increment = FindAndModify::Update {
        update: rawdoc! { "$inc": { "n": 1 } }.into(),
        options: FindOneAndUpdateOptions {
            upsert: true,
            ..FindOneAndUpdateOptions::default()
        },
    };
    let find_and_modify = |number, id: i32| {
        let c = c.clone().retryable(write(number, [0]));
        c.find_and_modify(&rawdoc! { "_id": id }, &increment).unwrap()
    };
    let given = find_and_modify(3, 0);
    assert_eq!(writes(&store, 3).outcome(0).unwrap().document, given.document);
    assert!(given.document.is_some());
    let given = find_and_modify(4, 50);
    assert_eq!(writes(&store, 4).outcome(0).unwrap().upserted_id, given.upserted_id);
    assert!(given.upserted_id.is_some());
}

#[test]
fn records_and_writes_survive_together() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        // Some of it is in the engine, and some is replayed.
        overlay_bytes_max: 64 << 10,
        ..small()
    };
    let store = options.open(dir.path()).unwrap();
    let c = store.collection("db", "c").unwrap();
    let inserts = documents(2500);
    c.clone()
        .retryable(write(8, 0..2500))
        .insert_many(inserts.iter().map(|d| &**d))
        .unwrap();
    // In the middle one is refused, so the statements have a gap; the collection has an index, so they go the long way.
    let indexed = store.collection("db", "indexed").unwrap();
    indexed
        .create_index(&tailwater_storage::IndexModel::new("n", 1))
        .unwrap();
    indexed.insert_one(&rawdoc! { "_id": 1000 }).unwrap();
    let unordered = indexed.clone().retryable(write(9, 0..2500)).insert_many_with(
        inserts.iter().map(|d| &**d),
        &InsertManyOptions {
            ordered: false,
            ..InsertManyOptions::default()
        },
    );
    unordered.unwrap_err();
    let expected: Vec<i32> = (0..2500).filter(|id| *id != 1000).collect();
    assert_eq!(executed(&store, 9, 0..2600), expected);

    // As after a crash; and from the log alone.
    let copy = tempfile::tempdir().unwrap();
    copy_open_store(&store, dir.path(), copy.path());
    let digest = store.digest().unwrap();
    let restored = options.open(copy.path()).unwrap();
    assert_eq!(restored.digest().unwrap(), digest);
    assert_eq!(executed(&restored, 9, 0..2600), expected);
    drop(restored);
    std::fs::remove_dir_all(copy.path().join("state")).unwrap();
    let replayed = options.open(copy.path()).unwrap();
    assert_eq!(replayed.digest().unwrap(), digest);

    // And after the log has let go of them.
    store.trim_log(digest.op_id).unwrap();
    store.close().unwrap();
    assert_eq!(executed(&open(&dir), 9, 0..2600), expected);
}

#[test]
fn a_committed_transaction_of_a_session_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let options = |txn_number| TransactionOptions {
        session: Some(TransactionSession {
            lsid: rawdoc! { "id": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: SESSION.to_vec() } },
            txn_number,
        }),
        remembered_by: Some(SESSION),
        ..TransactionOptions::default()
    };
    let transaction = store.transaction_with(&options(1)).unwrap();
    let c = transaction.collection("db", "c").unwrap();
    c.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    assert_eq!(store.session_writes(SESSION, 1).unwrap(), None);
    transaction.commit().unwrap();
    store.transaction_with(&options(2)).unwrap().abort();
    store.close().unwrap();
    let store = open(&dir);
    let writes = writes(&store, 2);
    assert_eq!((writes.number, writes.is_committed), (1, true));
}

#[test]
fn the_last_entry_of_a_transaction_that_is_remembered_is_its_last_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.create_collection("db", "c").unwrap();
    let from = store.log().watermarks().appended.next();
    let options = TransactionOptions {
        session: Some(TransactionSession {
            lsid: rawdoc! { "id": "s" },
            txn_number: 1,
        }),
        remembered_by: Some(SESSION),
        ..TransactionOptions::default()
    };
    let transaction = store.transaction_with(&options).unwrap();
    let c = transaction.collection("db", "c").unwrap();
    c.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    c.insert_one(&rawdoc! { "_id": 2 }).unwrap();
    let last = transaction.commit().unwrap();

    let mut cursor = store.log().cursor(from, ReadConcern::Local).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.ends_batch(), Some(entry.op_id()) == last);
        entries.push(EntryKind::from_number(entry.kind()).unwrap());
    }
    assert_eq!(entries, [EntryKind::SessionWrite, EntryKind::Insert, EntryKind::Insert]);
    assert!(writes(&store, 1).is_committed);
}

#[test]
fn old_sessions_are_forgotten_with_all_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let c = store.collection("db", "c").unwrap();
    let empty = store.digest().unwrap().sha256;
    let models = (0..20).map(|id| WriteModel::replace_one(rawdoc! { "_id": id }, rawdoc! { "n": id }));
    c.clone().retryable(write(1, 0..20)).bulk_write(models).unwrap();
    let inserts = documents(20);
    c.clone()
        .retryable(write(2, 0..20))
        .insert_many(inserts.iter().map(|d| &**d))
        .unwrap();
    let models = (0..20).map(|id| WriteModel::delete_one(rawdoc! { "_id": id }));
    c.clone().retryable(write(3, 0..20)).bulk_write(models).unwrap();
    assert_eq!(executed(&store, 3, 0..30).len(), 20);
    assert_eq!(store.forget_sessions(DateTime::from_millis(0)).unwrap(), 0);
    let later = DateTime::from_millis(DateTime::now().timestamp_millis() + 1000);
    assert_eq!(store.forget_sessions(later).unwrap(), 1);
    assert_eq!(store.session_writes(SESSION, 3).unwrap(), None);
    store.drop_database("db").unwrap();
    assert_eq!(store.digest().unwrap().sha256, empty);
}

#[test]
fn nobody_meets_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let c = store.collection("db", "c").unwrap();
    c.retryable(write(1, [0])).insert_one(&rawdoc! { "_id": 1 }).unwrap();
    assert_eq!(store.database_names(), ["db"]);
    assert_eq!(store.collection_names("db"), ["c"]);
}
