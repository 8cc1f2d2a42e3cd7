//! `bulkWrite`, as drivers send it to MongoDB 8.

use crate::common;

use bson::{Document, RawDocumentBuf, doc};
use common::{Client, Running, batch, cursor_id, session, until};
use tailwater_wire::{MsgFlags, Sequence};

fn bulk_write(client: &mut Client, ops: Vec<Document>, options: Document) -> Document {
    let mut command = doc! { "bulkWrite": 1, "ops": ops, "nsInfo": [{ "ns": "test.a" }, { "ns": "other.b" }] };
    command.extend(options);
    client.run_on("admin", command)
}

fn sums(answer: &Document) -> [i32; 6] {
    ["nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"].map(|name| answer.get_i32(name).unwrap())
}

fn mixed() -> Vec<Document> {
    vec![
        doc! { "insert": 0, "document": { "_id": 1, "n": 0 } },
        doc! { "insert": 0, "document": { "_id": 2, "n": 0 } },
        doc! { "insert": 1, "document": { "_id": 1 } },
        doc! { "update": 0, "filter": {}, "updateMods": { "$inc": { "n": 1 } }, "multi": true },
        doc! { "update": 1, "filter": { "_id": 7 }, "updateMods": [{ "$set": { "n": 1 } }], "upsert": true },
        doc! { "update": 0, "filter": { "_id": 1 }, "updateMods": { "replaced": true }, "multi": false },
        doc! { "delete": 0, "filter": { "_id": 2 } },
    ]
}

#[test]
fn operations_on_several_collections_are_carried_out_and_told_of() {
    let running = Running::new();
    let mut client = running.client();
    let answer = bulk_write(&mut client, mixed(), doc! {});
    assert_eq!(sums(&answer), [0, 3, 3, 3, 1, 1], "{answer}");
    assert_eq!(
        answer.get_document("cursor").unwrap().get_str("ns").ok(),
        Some("admin.$cmd.bulkWrite")
    );
    let results = batch(&answer);
    assert_eq!(results[3], doc! { "ok": 1.0, "idx": 3, "n": 2, "nModified": 2 });
    assert_eq!(
        results[4],
        doc! { "ok": 1.0, "idx": 4, "n": 1, "nModified": 0, "upserted": { "_id": 7 } }
    );
    assert_eq!(results[6], doc! { "ok": 1.0, "idx": 6, "n": 1 });
    let found = client.ok(doc! { "find": "a" });
    assert_eq!(batch(&found), [doc! { "_id": 1, "replaced": true }]);
    let count = client.run_on("other", doc! { "count": "b" });
    assert_eq!(count.get_i32("n").ok(), Some(2));
}

#[test]
fn what_fails_is_told_with_its_place() {
    let running = Running::new();
    let mut client = running.client();
    let ops = || {
        [1, 1, 2]
            .map(|id| doc! { "insert": 0, "document": { "_id": id } })
            .to_vec()
    };
    let answer = bulk_write(&mut client, ops(), doc! { "errorsOnly": true });
    assert_eq!(sums(&answer), [1, 1, 0, 0, 0, 0]);
    let [failed] = &batch(&answer)[..] else {
        panic!("{answer}")
    };
    assert_eq!(
        (failed.get_i32("idx").ok(), failed.get_i32("code").ok()),
        (Some(1), Some(11000))
    );
    assert!(failed.get_document("keyPattern").is_ok(), "{failed}");
    // The others too, when they are not ordered.
    let answer = bulk_write(&mut client, ops(), doc! { "ordered": false });
    assert_eq!(sums(&answer), [2, 1, 0, 0, 0, 0]);
    assert_eq!(batch(&answer).len(), 3);
}

#[test]
fn results_come_in_batches_and_operations_as_sequences() {
    let running = Running::new();
    let mut client = running.client();
    let ops = (0..5).map(|id| RawDocumentBuf::try_from(&doc! { "insert": 0, "document": { "_id": id } }).unwrap());
    let ops: Vec<RawDocumentBuf> = ops.collect();
    let info = RawDocumentBuf::try_from(&doc! { "ns": "test.a" }).unwrap();
    let sequence = |identifier, documents| Sequence { identifier, documents };
    let sequences = vec![
        sequence("ops", ops.iter().map(|op| &**op).collect()),
        sequence("nsInfo", vec![&*info]),
    ];
    let command = doc! { "bulkWrite": 1, "cursor": { "batchSize": 2 }, "$db": "admin" };
    client.send(&command, MsgFlags::default(), sequences);
    let (answer, ..) = client.receive();
    assert_eq!(batch(&answer).len(), 2);
    let more = client.run_on(
        "admin",
        doc! { "getMore": cursor_id(&answer), "collection": "$cmd.bulkWrite" },
    );
    assert_eq!(batch(&more).len(), 3);
}

#[test]
fn it_is_carried_out_once_and_takes_part_in_transactions() {
    let mut running = Running::new();
    let mut client = running.client();
    let ops = || {
        let mut ops = mixed();
        ops.remove(3);
        ops
    };
    let retryable = doc! { "lsid": session(), "txnNumber": 1_i64 };
    let answer = bulk_write(&mut client, ops(), retryable.clone());
    running.restart();
    let mut client = running.client();
    let again = bulk_write(&mut client, ops(), retryable.clone());
    assert_eq!(sums(&again), sums(&answer));
    assert_eq!(batch(&again), batch(&answer));
    assert_eq!(again.get_array("retriedStmtIds").unwrap().len(), 6);
    assert_eq!(
        bulk_write(&mut client, mixed(), doc! { "lsid": session(), "txnNumber": 1_i64 })
            .get_i32("code")
            .ok(),
        Some(72)
    );

    let transaction = doc! { "lsid": session(), "txnNumber": 1_i64, "autocommit": false, "startTransaction": true };
    let answer = bulk_write(
        &mut client,
        vec![doc! { "insert": 0, "document": { "_id": 50 } }],
        transaction.clone(),
    );
    assert_eq!(sums(&answer), [0, 1, 0, 0, 0, 0]);
    let count = doc! { "count": "a" };
    assert_eq!(client.ok(count.clone()).get_i32("n").ok(), Some(1));
    let mut commit = transaction;
    commit.remove("startTransaction");
    commit = doc! { "commitTransaction": 1 }.into_iter().chain(commit).collect();
    assert_eq!(client.run_on("admin", commit).get_f64("ok").ok(), Some(1.0));
    assert_eq!(client.ok(count).get_i32("n").ok(), Some(2));
}

#[test]
fn what_it_does_not_know_is_refused() {
    let running = Running::new();
    let mut client = running.client();
    for (op, code) in [
        (doc! { "insert": 2, "document": {} }, 2),
        (doc! { "upsert": 0, "document": {} }, 40415),
        (doc! { "insert": 0 }, 40414),
        (
            doc! { "update": 0, "filter": {}, "updateMods": { "a": 1 }, "multi": true },
            9,
        ),
        (doc! {}, 9),
    ] {
        let answer = bulk_write(&mut client, vec![op.clone()], doc! {});
        assert_eq!(answer.get_i32("code").ok(), Some(code), "{op}: {answer}");
    }
    let elsewhere = doc! { "bulkWrite": 1, "ops": [{ "insert": 0, "document": {} }], "nsInfo": [{ "ns": "a.b" }] };
    assert_eq!(client.refused(elsewhere).0, 13);
}

#[test]
fn what_was_written_is_told_although_there_is_no_place_for_a_cursor() {
    let running = Running::with(|options| options.cursors_max = 0);
    let mut client = running.client();
    let ops = (0..5).map(|id| doc! { "insert": 0, "document": { "_id": id } });
    let answer = bulk_write(&mut client, ops.collect(), doc! { "cursor": { "batchSize": 2 } });
    assert_eq!((batch(&answer).len(), cursor_id(&answer)), (5, 0), "{answer}");
    assert_eq!(sums(&answer), [0, 5, 0, 0, 0, 0]);
}

#[test]
fn what_was_written_is_told_in_part_where_one_batch_does_not_hold_it() {
    let running = Running::with(|options| options.cursors_max = 0);
    let mut client = running.client();
    // Their results are longer than a batch can be, and there is no place for a cursor.
    let long = "x".repeat(30_000);
    let upsert = |n| {
        let id = format!("{n}{long}");
        let op = doc! { "update": 0, "filter": { "_id": id }, "updateMods": { "$set": { "a": 1 } }, "upsert": true };
        RawDocumentBuf::try_from(&op).unwrap()
    };
    let ops: Vec<_> = (0..650).map(upsert).collect();
    let info = RawDocumentBuf::try_from(&doc! { "ns": "test.a" }).unwrap();
    let sequence = |identifier, documents| Sequence { identifier, documents };
    let sequences = vec![
        sequence("ops", ops.iter().map(|op| &**op).collect()),
        sequence("nsInfo", vec![&*info]),
    ];
    let command = doc! { "bulkWrite": 1, "$db": "admin" };
    client.send(&command, MsgFlags::default(), sequences);
    let (answer, ..) = client.receive();
    assert_eq!((sums(&answer), cursor_id(&answer)), ([0, 0, 0, 0, 650, 0], 0));
    assert!((1..650).contains(&batch(&answer).len()));
}

/// It may come to its end before it is found; then there is nothing to be killed.
#[test]
fn what_was_written_is_told_although_its_end_was_asked_for() {
    let running = Running::new();
    let (mut client, mut operator) = (running.client(), running.client());
    let ops: Vec<_> = (0..5_000)
        .map(|id| doc! { "update": 0, "filter": { "_id": id }, "updateMods": { "$set": { "a": 1 } }, "upsert": true })
        .collect();
    let command = doc! { "bulkWrite": 1, "ops": ops, "nsInfo": [{ "ns": "test.a" }], "$db": "admin" };
    client.send(&command, MsgFlags::default(), Vec::new());
    client.stream.set_nonblocking(true).unwrap();
    until("the answer", || {
        let running = operator.admin(doc! { "currentOp": 1, "command.bulkWrite": { "$exists": true } });
        for operation in running.get_array("inprog").unwrap() {
            let id = operation.as_document().unwrap().get_i32("opid").unwrap();
            operator.admin(doc! { "killOp": 1, "op": id });
        }
        client.stream.peek(&mut [0; 1]).ok()
    });
    client.stream.set_nonblocking(false).unwrap();
    let (answer, ..) = client.receive();
    assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    assert_eq!(sums(&answer), [0, 0, 0, 0, 5_000, 0]);
}
