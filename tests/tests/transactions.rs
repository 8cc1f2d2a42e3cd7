//! Transactions as change streams show them: adjacent, in the order of the writes, resumable in the middle.

use std::path::Path;

use tailwater::bson::{RawDocument, rawdoc};
use tailwater::oplog::ReadConcern;
use tailwater::{
    ChangeEvent, ChangeStream, Error, Store, StoreOptions, Transaction, TransactionOptions, TransactionSession,
};

/// A store with small segments, because each is prepared by writing it.
fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    Store::open_with(dir, &options).unwrap()
}

fn options() -> TransactionOptions {
    TransactionOptions {
        session: Some(TransactionSession {
            lsid: rawdoc! { "id": "session" },
            txn_number: 41,
        }),
        ..TransactionOptions::default()
    }
}

/// Operation, collection and `_id` of the writes of [`write`], which touch documents in no order that a map would have.
const WRITES: [(&str, &str, i32); 7] = [
    ("insert", "orders", 9),
    ("insert", "items", 2),
    ("insert", "orders", 1),
    ("update", "items", 1),
    ("delete", "orders", 5),
    ("insert", "items", 8),
    ("update", "orders", 9),
];

fn write(transaction: &Transaction) -> Result<(), Error> {
    for (operation, collection, id) in WRITES {
        let collection = transaction.collection("shop", collection)?;
        let key = rawdoc! { "_id": id };
        match operation {
            "insert" => drop(collection.insert_one(&key)?),
            "update" => assert_eq!(
                collection.update_one(&key, &rawdoc! { "$set": { "n": 1 } })?.modified,
                1
            ),
            _ => assert_eq!(collection.delete_one(&key)?.modified, 1),
        }
    }
    Ok(())
}

/// The store with what the updates and the deletion need.
fn shop(dir: &Path) -> Store {
    let store = open(dir);
    store
        .collection("shop", "items")
        .unwrap()
        .insert_one(&rawdoc! { "_id": 1 })
        .unwrap();
    store
        .collection("shop", "orders")
        .unwrap()
        .insert_one(&rawdoc! { "_id": 5 })
        .unwrap();
    store
}

fn drain(stream: &mut ChangeStream) -> Vec<ChangeEvent> {
    std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
}

fn written(events: &[ChangeEvent]) -> Vec<(&'static str, String, i32)> {
    let written = events.iter().map(|event| {
        let id = event.document_key().unwrap().get_i32("_id").unwrap();
        (event.operation_type().name(), event.collection().to_owned(), id)
    });
    written.collect()
}

fn expected(writes: &[(&'static str, &str, i32)]) -> Vec<(&'static str, String, i32)> {
    writes
        .iter()
        .map(|(operation, name, id)| (*operation, (*name).to_owned(), *id))
        .collect()
}

#[test]
fn events_of_a_transaction_are_adjacent_in_the_order_of_the_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let mut stream = store.watch().start().unwrap();
    let outside = store.collection("shop", "orders").unwrap();

    let transaction = store.transaction_with(&options()).unwrap();
    write(&transaction).unwrap();
    // Written after the transaction's writes, and committed before them.
    outside.insert_one(&rawdoc! { "_id": 100 }).unwrap();
    assert_eq!(written(&drain(&mut stream)), expected(&[("insert", "orders", 100)]));
    let last = transaction.commit().unwrap().unwrap();
    outside.insert_one(&rawdoc! { "_id": 101 }).unwrap();

    let events = drain(&mut stream);
    let (last_event, of_transaction) = events.split_last().unwrap();
    assert_eq!(written(of_transaction), expected(&WRITES));
    assert_eq!(of_transaction.last().unwrap().op_id(), last);
    for event in of_transaction {
        let document = event.to_document();
        assert_eq!(document.get_document("lsid").unwrap(), &*rawdoc! { "id": "session" });
        assert_eq!(document.get_i64("txnNumber").unwrap(), 41);
        // One moment for all of them.
        assert_eq!(event.timestamp(), of_transaction[0].timestamp());
    }
    let ends: Vec<_> = events.iter().map(ChangeEvent::ends_transaction).collect();
    let ends_at: Vec<_> = (0..ends.len()).filter(|at| ends[*at]).collect();
    assert_eq!(
        ends_at,
        [WRITES.len() - 1],
        "the transaction's last write says so, and nothing else"
    );
    let document = last_event.to_document();
    let has = |document: &RawDocument, name: &str| document.get(name).unwrap().is_some();
    assert!(
        !has(&document, "lsid") && !has(&document, "txnNumber"),
        "a write of its own has no session"
    );
}

#[test]
fn a_stream_resumes_in_the_middle_of_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let mut stream = store.watch().start().unwrap();
    store.with_transaction_options(&options(), write).unwrap();
    let tokens: Vec<_> = drain(&mut stream).iter().map(ChangeEvent::resume_token).collect();
    assert_eq!(tokens.len(), WRITES.len());
    store.close().unwrap();

    let store = open(dir.path());
    for (delivered, token) in tokens.into_iter().enumerate() {
        let mut resumed = store.watch().resume_after(token).start().unwrap();
        assert_eq!(written(&drain(&mut resumed)), expected(&WRITES[delivered + 1..]));
    }
}

#[test]
fn a_reader_of_the_log_sees_where_a_transaction_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let from = store.log().watermarks().appended.next();
    for _ in 0..2 {
        store
            .with_transaction(|transaction| {
                let items = transaction.collection("shop", "items")?;
                items.delete_many(&rawdoc! { "_id": { "$gt": 100 } })?;
                items.insert_many([&*rawdoc! { "_id": 102 }, &*rawdoc! { "_id": 101 }])
            })
            .unwrap();
    }
    let mut cursor = store.log().cursor(from, ReadConcern::Durable).unwrap();
    let ends: Vec<_> = std::iter::from_fn(|| cursor.try_next().unwrap().map(|entry| entry.ends_batch())).collect();
    assert_eq!(ends, [false, true, false, false, false, true]);
}
