//! Transactions: what they see, whom they conflict with, and what is left of those that fail.

use crate::common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use common::{content, copy_open_store, small};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{OpId, ReadConcern};
use tailwater_storage::{
    CollectionOptions, Error, ErrorCode, ErrorLabel, IndexModel, Pipeline, Store, StoreOptions, Transaction,
    TransactionCollection, TransactionOptions, TransactionSession,
};

const TRANSIENT: &[ErrorLabel] = &[ErrorLabel::TransientTransactionError];

/// A store whose `shop.items` has two documents, and a unique index on `u`.
fn shop(dir: &std::path::Path) -> Store {
    shop_with(dir, &small())
}

fn shop_with(dir: &std::path::Path, options: &StoreOptions) -> Store {
    let store = options.open(dir).unwrap();
    let items = store.collection("shop", "items").unwrap();
    items.create_index(&IndexModel::new("u", 1).unique().sparse()).unwrap();
    items.insert_one(&rawdoc! { "_id": 1, "v": 10, "u": "one" }).unwrap();
    items.insert_one(&rawdoc! { "_id": 2, "v": 20 }).unwrap();
    store
}

fn items(transaction: &Transaction) -> TransactionCollection<'_> {
    transaction.collection("shop", "items").unwrap()
}

fn inc(by: i32) -> RawDocumentBuf {
    rawdoc! { "$inc": { "v": by } }
}

fn add(transaction: &Transaction, id: i32, by: i32) {
    items(transaction).update_one(&rawdoc! { "_id": id }, inc(by)).unwrap();
}

fn delete(transaction: &Transaction, id: i32) {
    items(transaction).delete_one(&rawdoc! { "_id": id }).unwrap();
}

fn insert(collection: &TransactionCollection<'_>, document: &RawDocumentBuf) {
    collection.insert_one(document).unwrap();
}

fn value(store: &Store, id: i32) -> Option<i32> {
    let items = store.collection("shop", "items").unwrap();
    let found = items.find_one(&rawdoc! { "_id": id }).unwrap();
    found.map(|document| document.get_i32("v").unwrap())
}

#[test]
fn reads_see_the_beginning_and_the_transactions_own_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let outside = store.collection("shop", "items").unwrap();
    let transaction = store.transaction().unwrap();
    let inside = items(&transaction);

    // No phantom, no changed or vanished document, from whatever was committed since; also none from the engine.
    outside.insert_one(&rawdoc! { "_id": 3, "v": 30 }).unwrap();
    outside.update_one(&rawdoc! { "_id": 2 }, inc(1)).unwrap();
    store.trim_log(OpId::ZERO).unwrap();
    outside.delete_one(&rawdoc! { "_id": 2 }).unwrap();
    assert_eq!(inside.count(&rawdoc! {}).unwrap(), 2);
    assert_eq!(inside.count(&rawdoc! { "v": 20 }).unwrap(), 1);

    // Its own writes, in every way of reading.
    inside.insert_one(&rawdoc! { "_id": 4, "v": 40, "u": "four" }).unwrap();
    inside.update_one(&rawdoc! { "_id": 1 }, inc(5)).unwrap();
    inside.update_one(&rawdoc! { "_id": 1 }, inc(5)).unwrap();
    let first = inside.find_one(&rawdoc! { "_id": 1 }).unwrap().unwrap();
    assert_eq!(first.get_i32("v").unwrap(), 20);
    assert_eq!(inside.count(&rawdoc! { "v": 20 }).unwrap(), 2);
    assert_eq!(inside.count(&rawdoc! { "u": "four" }).unwrap(), 1);
    let before = inside.find(&rawdoc! {}).unwrap();
    inside.delete_one(&rawdoc! { "u": "four" }).unwrap();
    assert_eq!(inside.count(&rawdoc! {}).unwrap(), 2);
    assert_eq!(before.count(), 3, "a cursor is not disturbed by later writes");

    // Nobody else sees them before the commit, and everybody after it.
    assert_eq!(value(&store, 1), Some(10));
    let op_id = transaction.commit().unwrap().unwrap();
    assert_eq!(op_id, store.log().watermarks().appended);
    assert_eq!(
        (value(&store, 1), value(&store, 2), value(&store, 4)),
        (Some(20), None, None)
    );
}

type Step = fn(&Transaction);

/// Two transactions that begin together, and write in turns; the first commits first. Whether the second then conflicts, and
/// the values of documents 1, 2 and 3 afterwards.
type Anomaly = (&'static str, Step, Step, bool, [Option<i32>; 3]);

const ANOMALIES: [Anomaly; 12] = [
    (
        "lost update",
        |a| add(a, 1, 1),
        |b| add(b, 1, 2),
        true,
        [Some(11), Some(20), None],
    ),
    (
        "write skew, which snapshot isolation allows",
        |a| {
            assert_eq!(items(a).count(&rawdoc! { "_id": 2, "v": 20 }).unwrap(), 1);
            add(a, 1, 1);
        },
        |b| {
            assert_eq!(items(b).count(&rawdoc! { "_id": 1, "v": 10 }).unwrap(), 1);
            add(b, 2, 1);
        },
        false,
        [Some(11), Some(21), None],
    ),
    (
        "delete under an update",
        |a| delete(a, 1),
        |b| add(b, 1, 2),
        true,
        [None, Some(20), None],
    ),
    (
        "update under a delete",
        |a| add(a, 1, 2),
        |b| delete(b, 1),
        true,
        [Some(12), Some(20), None],
    ),
    (
        "both delete",
        |a| delete(a, 1),
        |b| delete(b, 1),
        true,
        [None, Some(20), None],
    ),
    (
        "both insert one _id",
        |a| insert(&items(a), &rawdoc! { "_id": 3, "v": 30 }),
        |b| insert(&items(b), &rawdoc! { "_id": 3, "v": 31 }),
        true,
        [Some(10), Some(20), Some(30)],
    ),
    (
        "insert over what the other has inserted and deleted again",
        |a| {
            insert(&items(a), &rawdoc! { "_id": 3, "v": 30 });
            delete(a, 3);
        },
        |b| insert(&items(b), &rawdoc! { "_id": 3, "v": 31 }),
        false,
        [Some(10), Some(20), Some(31)],
    ),
    (
        "a unique key taken by both",
        |a| insert(&items(a), &rawdoc! { "_id": 3, "v": 30, "u": "new" }),
        |b| {
            let update = rawdoc! { "$set": { "u": "new", "v": 21 } };
            items(b).update_one(&rawdoc! { "_id": 2 }, &update).unwrap();
        },
        true,
        [Some(10), Some(20), Some(30)],
    ),
    (
        "a unique key handed from one document to another",
        |a| insert(&items(a), &rawdoc! { "_id": 3, "v": 30 }),
        |b| {
            items(b)
                .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "u": "other" } })
                .unwrap();
            items(b)
                .update_one(&rawdoc! { "_id": 2 }, &rawdoc! { "$set": { "u": "one", "v": 21 } })
                .unwrap();
        },
        false,
        [Some(10), Some(21), Some(30)],
    ),
    (
        "a collection created by both",
        |a| a.create_collection("shop", "new").unwrap(),
        |b| {
            b.create_collection("shop", "new").unwrap();
            add(b, 1, 1);
        },
        true,
        [Some(10), Some(20), None],
    ),
    (
        "a collection that comes into being with a document of each",
        |a| insert(&a.collection("shop", "new").unwrap(), &rawdoc! { "_id": 1 }),
        |b| insert(&b.collection("shop", "new").unwrap(), &rawdoc! { "_id": 2 }),
        true,
        [Some(10), Some(20), None],
    ),
    (
        "a document that is the same again",
        |a| {
            add(a, 1, 1);
            add(a, 1, -1);
        },
        |b| add(b, 1, 2),
        false,
        [Some(12), Some(20), None],
    ),
];

#[test]
fn the_first_committer_wins() {
    for (name, first, second, conflicts, expected) in ANOMALIES {
        // In the overlay, and in the engine.
        for flushed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = shop(dir.path());
            let (a, b) = (store.transaction().unwrap(), store.transaction().unwrap());
            first(&a);
            second(&b);
            a.commit().unwrap();
            if flushed {
                store.trim_log(OpId::ZERO).unwrap();
            }
            let before = content(&store);
            match b.commit() {
                Ok(_) => assert!(!conflicts, "{name}"),
                Err(error) => {
                    assert!(
                        conflicts && matches!(error, Error::WriteConflict { .. }),
                        "{name}: {error}"
                    );
                    assert_eq!(
                        (error.code(), error.labels()),
                        (Some(ErrorCode::WriteConflict), TRANSIENT)
                    );
                    assert_eq!(content(&store), before, "{name}");
                }
            }
            assert_eq!([1, 2, 3].map(|id| value(&store, id)), expected, "{name}");
        }
    }
}

#[test]
fn a_transaction_that_cannot_succeed_stops_at_the_write() {
    type Write = fn(&TransactionCollection<'_>) -> Result<(), Error>;
    let writes: [Write; 4] = [
        |items| items.update_one(&rawdoc! { "_id": 1 }, inc(1)).map(drop),
        |items| items.delete_many(&rawdoc! {}).map(drop),
        |items| items.replace_one(&rawdoc! { "_id": 1 }, &rawdoc! {}).map(drop),
        |items| items.insert_one(&rawdoc! { "_id": 3 }).map(drop),
    ];
    for write in writes {
        let dir = tempfile::tempdir().unwrap();
        let store = shop(dir.path());
        let transaction = store.transaction().unwrap();
        let outside = store.collection("shop", "items").unwrap();
        outside.update_one(&rawdoc! { "_id": 1 }, inc(1)).unwrap();
        outside.insert_one(&rawdoc! { "_id": 3, "v": 30 }).unwrap();
        let error = write(&items(&transaction)).unwrap_err();
        assert!(matches!(error, Error::WriteConflict { .. }), "{error}");

        // What follows meets the same, under another name.
        let later = items(&transaction).count(&rawdoc! {}).unwrap_err();
        assert!(
            matches!(&later, Error::TransactionAborted { cause } if matches!(**cause, Error::WriteConflict { .. }))
        );
        assert_eq!(
            (later.code(), later.labels()),
            (Some(ErrorCode::NoSuchTransaction), TRANSIENT)
        );
        assert!(matches!(transaction.commit(), Err(Error::TransactionAborted { .. })));
        assert_eq!(value(&store, 1), Some(11));
    }
}

#[test]
fn definitions_by_others_are_conflicts_for_those_who_write() {
    type Definition = fn(&Store);
    let definitions: [(&str, Definition); 5] = [
        ("drop", |store| {
            store.drop_collection("shop", "items").unwrap();
        }),
        ("rename", |store| {
            store
                .rename_collection(("shop", "items"), ("shop", "others"), false)
                .unwrap();
        }),
        ("options", |store| {
            let changes = rawdoc! { "validator": { "v": { "$lt": 0 } } };
            store.modify_collection("shop", "items", &changes).unwrap();
        }),
        ("new index", |store| {
            let items = store.collection("shop", "items").unwrap();
            items.create_index(&IndexModel::new("v", 1)).unwrap();
        }),
        ("dropped and made anew", |store| {
            store.drop_collection("shop", "items").unwrap();
            store.create_collection("shop", "items").unwrap();
        }),
    ];
    for (name, define) in definitions {
        let dir = tempfile::tempdir().unwrap();
        let store = shop(dir.path());
        let (writer, reader) = (store.transaction().unwrap(), store.transaction().unwrap());
        items(&writer).insert_one(&rawdoc! { "_id": 3, "v": 30 }).unwrap();
        define(&store);
        let error = writer.commit().unwrap_err();
        assert!(matches!(error, Error::WriteConflict { .. }), "{name}: {error}");
        // Who only reads goes on reading what was there.
        assert_eq!(items(&reader).count(&rawdoc! {}).unwrap(), 2, "{name}");
        assert_eq!(reader.commit().unwrap(), None);
    }
}

#[test]
fn an_operation_that_fails_aborts_the_transaction() {
    type Operation = fn(&Transaction) -> Result<(), Error>;
    let operations: [(ErrorCode, Operation); 6] = [
        (ErrorCode::DuplicateKey, |t| {
            items(t).insert_one(&rawdoc! { "_id": 1 }).map(drop)
        }),
        (ErrorCode::DuplicateKey, |t| {
            items(t).insert_one(&rawdoc! { "u": "one" }).map(drop)
        }),
        (ErrorCode::BadValue, |t| {
            items(t).count(&rawdoc! { "$nonsense": 1 }).map(drop)
        }),
        (ErrorCode::NamespaceExists, |t| t.create_collection("shop", "items")),
        (ErrorCode::InvalidLength, |t| items(t).insert_many([]).map(drop)),
        (ErrorCode::OperationNotSupportedInTransaction, |t| {
            t.collection("shop", "ring")?.insert_one(&rawdoc! {}).map(drop)
        }),
    ];
    for (code, operation) in operations {
        let dir = tempfile::tempdir().unwrap();
        let store = shop(dir.path());
        let options = CollectionOptions::parse(&rawdoc! { "capped": true, "size": 1 << 20 }).unwrap();
        store.create_collection_with("shop", "ring", &options).unwrap();
        let before = store.digest().unwrap();
        let transaction = store.transaction().unwrap();
        items(&transaction).update_one(&rawdoc! { "_id": 1 }, inc(1)).unwrap();
        let error = operation(&transaction).unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        let later = items(&transaction).find_one(&rawdoc! {}).unwrap_err();
        assert_eq!(
            (later.code(), later.labels()),
            (Some(ErrorCode::NoSuchTransaction), &[][..])
        );
        assert!(matches!(transaction.commit(), Err(Error::TransactionAborted { .. })));
        assert_eq!(store.digest().unwrap(), before);
    }
}

#[test]
fn what_is_dropped_or_aborted_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let before = store.digest().unwrap();
    for abort in [Transaction::abort, drop] {
        let transaction = store.transaction().unwrap();
        transaction.create_collection("shop", "new").unwrap();
        items(&transaction).delete_many(&rawdoc! {}).unwrap();
        abort(transaction);
        assert_eq!(store.digest().unwrap(), before);
    }
}

#[test]
fn expired_transactions_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        transaction_lifetime: Duration::ZERO,
        ..small()
    };
    let store = shop_with(dir.path(), &options);
    let transaction = store.transaction().unwrap();
    for _ in 0..2 {
        let error = items(&transaction).count(&rawdoc! {}).unwrap_err();
        assert!(matches!(error, Error::TransactionExpired { .. }), "{error}");
        assert_eq!(error.code(), Some(ErrorCode::TransactionExceededLifetimeLimitSeconds));
        assert_eq!(error.labels(), TRANSIENT);
    }
    assert!(matches!(transaction.commit(), Err(Error::TransactionExpired { .. })));
}

#[test]
fn closing_the_store_ends_its_transactions_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let transaction = store.transaction().unwrap();
    items(&transaction).delete_many(&rawdoc! {}).unwrap();
    store.close().unwrap();
    let store = small().open(dir.path()).unwrap();
    assert!(matches!(transaction.commit(), Err(Error::TransactionAborted { .. })));
    assert_eq!(value(&store, 1), Some(10));
}

#[test]
fn a_transaction_fits_into_a_segment_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let before = store.digest().unwrap();

    // Its bytes alone are too many: the write says so.
    let transaction = store.transaction().unwrap();
    let large = rawdoc! { "text": "x".repeat(300 << 10) };
    let error = (0..4)
        .find_map(|_| items(&transaction).insert_one(&large).err())
        .unwrap();
    assert!(
        matches!(
            error,
            Error::TransactionTooLarge {
                bytes_max: 0x10_0000,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        (error.code(), error.labels()),
        (Some(ErrorCode::TransactionTooLarge), &[][..])
    );

    // With what the log adds to each entry: the commit does.
    let transaction = store.transaction().unwrap();
    let small = rawdoc! { "text": "x".repeat(20) };
    items(&transaction).insert_many(vec![&*small; 7000]).unwrap();
    let error = transaction.commit().unwrap_err();
    assert!(
        matches!(error, Error::TransactionTooLarge { bytes, bytes_max } if bytes > bytes_max),
        "{error}"
    );
    assert_eq!(store.digest().unwrap(), before);
}

#[test]
fn the_entries_are_one_batch_in_the_order_of_the_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let from = store.log().watermarks().appended.next();
    let options = TransactionOptions {
        session: Some(TransactionSession {
            lsid: rawdoc! { "id": "mine" },
            txn_number: 7,
        }),
        ..TransactionOptions::default()
    };
    let transaction = store.transaction_with(&options).unwrap();
    let (items, others) = (items(&transaction), transaction.collection("town", "others").unwrap());
    others.insert_one(&rawdoc! { "_id": "z" }).unwrap();
    items.delete_one(&rawdoc! { "_id": 2 }).unwrap();
    others.insert_one(&rawdoc! { "_id": "a" }).unwrap();
    items.update_one(&rawdoc! { "_id": 1 }, inc(1)).unwrap();
    items.replace_one(&rawdoc! { "_id": 1 }, &rawdoc! { "v": 1 }).unwrap();
    // What changes nothing writes nothing.
    items.update_one(&rawdoc! { "_id": 1 }, inc(0)).unwrap();
    let last = transaction.commit().unwrap();

    let mut cursor = store.log().cursor(from, ReadConcern::Local).unwrap();
    let mut kinds = Vec::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        let decoded = StoreEntry::decode(entry.payload()).unwrap();
        assert_eq!(
            decoded.session,
            Some(&*rawdoc! { "lsid": { "id": "mine" }, "txnNumber": 7_i64 })
        );
        assert!(entry.in_batch());
        assert_eq!(entry.ends_batch(), Some(entry.op_id()) == last);
        kinds.push(EntryKind::from_number(entry.kind()).unwrap());
    }
    use EntryKind::{Create, Delete, Insert, Replace, Update};
    assert_eq!(kinds, [Create, Insert, Delete, Insert, Update, Replace]);
}

/// An error of the program's own, as closures return them.
#[derive(Debug)]
enum Refused {
    Store(Error),
    NotCovered,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Store(error)
    }
}

#[test]
fn with_transaction_tries_again_after_a_conflict_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let outside = store.collection("shop", "items").unwrap();

    let mut runs = 0;
    store
        .with_transaction(|transaction| {
            runs += 1;
            items(transaction).update_one(&rawdoc! { "_id": 1 }, inc(1))?;
            if runs == 1 {
                outside.update_one(&rawdoc! { "_id": 1 }, inc(100)).unwrap();
            }
            // The second run meets the conflict at the write.
            if runs == 2 {
                outside.update_one(&rawdoc! { "_id": 2 }, inc(100)).unwrap();
            }
            items(transaction).update_one(&rawdoc! { "_id": 2 }, inc(1))?;
            Ok::<_, Refused>(())
        })
        .unwrap();
    assert_eq!((runs, value(&store, 1), value(&store, 2)), (3, Some(111), Some(121)));

    let mut runs = 0;
    let refused = store.with_transaction(|transaction| {
        runs += 1;
        items(transaction).delete_many(&rawdoc! {})?;
        Err::<(), _>(Refused::NotCovered)
    });
    assert!(matches!(refused, Err(Refused::NotCovered)));
    let duplicate = store.with_transaction(|transaction| {
        runs += 1;
        // An error that the closure passes over has ended the transaction all the same.
        let _ = items(transaction).insert_one(&rawdoc! { "_id": 1 });
        Ok::<_, Refused>(())
    });
    assert!(matches!(
        duplicate,
        Err(Refused::Store(Error::TransactionAborted { .. }))
    ));
    assert_eq!((runs, value(&store, 1)), (2, Some(111)));
}

#[test]
fn concurrent_transfers_keep_the_sum() {
    const ACCOUNTS: i32 = 6;
    const THREADS: i32 = 6;
    const TRANSFERS: i32 = 60;
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        // The applier is at work all the time.
        overlay_bytes_max: 16 << 10,
        ..small()
    };
    let store = options.open(dir.path()).unwrap();
    let accounts = store.collection("bank", "accounts").unwrap();
    for id in 0..ACCOUNTS {
        accounts.insert_one(&rawdoc! { "_id": id, "balance": 100 }).unwrap();
    }
    let sum = |store: &Store| {
        let accounts = store.collection("bank", "accounts").unwrap().find(&rawdoc! {}).unwrap();
        accounts
            .map(|account| account.unwrap().get_i32("balance").unwrap())
            .sum::<i32>()
    };
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for n in 0..TRANSFERS {
                    let from = (thread * 7 + n) % ACCOUNTS;
                    let to = (from + 1 + n % (ACCOUNTS - 1)) % ACCOUNTS;
                    let transfer = |transaction: &Transaction| {
                        let accounts = transaction.collection("bank", "accounts")?;
                        accounts.update_one(&rawdoc! { "_id": from }, &rawdoc! { "$inc": { "balance": -1 } })?;
                        accounts.update_one(&rawdoc! { "_id": to }, &rawdoc! { "$inc": { "balance": 1 } })?;
                        let log = transaction.collection("bank", "transfers")?;
                        log.insert_one(&rawdoc! { "_id": thread * TRANSFERS + n, "from": from, "to": to })?;
                        Ok::<_, Error>(())
                    };
                    store.with_transaction(transfer).unwrap();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        while done.load(Ordering::SeqCst) < THREADS as u32 {
            assert_eq!(sum(&store), 100 * ACCOUNTS, "no reader sees half a transfer");
        }
    });
    assert_eq!(sum(&store), 100 * ACCOUNTS);
    let transfers = store.collection("bank", "transfers").unwrap();
    assert_eq!(transfers.count(&rawdoc! {}).unwrap(), (THREADS * TRANSFERS) as u64);

    let copy = tempfile::tempdir().unwrap();
    copy_open_store(&store, dir.path(), copy.path());
    assert_eq!(
        options.open(copy.path()).unwrap().digest().unwrap(),
        store.digest().unwrap()
    );
}

#[test]
fn pipelines_see_what_the_transaction_sees_in_every_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let transaction = store.transaction().unwrap();
    let own = transaction.collection("shop", "orders").unwrap();
    own.insert_one(&rawdoc! { "_id": 1, "item": 7 }).unwrap();
    insert(&items(&transaction), &rawdoc! { "_id": 7, "n": 70 });
    // Later than the transaction's beginning.
    let orders = store.collection("shop", "orders").unwrap();
    orders.insert_one(&rawdoc! { "_id": 2, "item": 7 }).unwrap();
    let pipeline = Pipeline::parse(&[
        rawdoc! { "$lookup": { "from": "items", "localField": "item", "foreignField": "_id", "as": "items" } },
        rawdoc! { "$project": { "n": { "$sum": "$items.n" } } },
    ])
    .unwrap();
    let found: Vec<_> = own.aggregate(&pipeline).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(found, [rawdoc! { "_id": 1, "n": 70 }]);
    let out = Pipeline::parse(&[rawdoc! { "$out": "elsewhere" }]).unwrap();
    let refused = own.aggregate(&out).unwrap_err();
    assert!(
        matches!(&refused, Error::OperationNotSupportedInTransaction { operation } if operation == "$out"),
        "{refused}"
    );
}

#[test]
fn an_update_of_many_changes_each_document_once_wherever_it_moves() {
    let dir = tempfile::tempdir().unwrap();
    let store = shop(dir.path());
    let collection = store.collection("shop", "items").unwrap();
    collection.delete_many(&rawdoc! {}).unwrap();
    collection.create_index(&IndexModel::new("v", 1)).unwrap();
    // More than are looked at together, and each moves past others within the index.
    let documents: Vec<_> = (0..450).map(|n| rawdoc! { "_id": n, "v": n }).collect();
    collection.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    let transaction = store.transaction().unwrap();
    let positive = rawdoc! { "v": { "$gte": 0 } };
    for round in 1..=2 {
        let outcome = items(&transaction).update_many(&positive, inc(1_000)).unwrap();
        assert_eq!((outcome.matched, outcome.modified), (450, 450), "{round}");
    }
    insert(&items(&transaction), &rawdoc! { "_id": 450, "v": 2_450 });
    transaction.commit().unwrap();
    assert_eq!((value(&store, 0), value(&store, 449)), (Some(2_000), Some(2_449)));
    let transaction = store.transaction().unwrap();
    assert_eq!(items(&transaction).delete_many(&positive).unwrap().matched, 451);
    transaction.commit().unwrap();
    assert_eq!(collection.count(&rawdoc! {}).unwrap(), 0);
    assert!(collection.validate().unwrap().is_valid());
}
