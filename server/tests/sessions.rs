//! Transactions, and writes that are sent again.

mod common;

use bson::{Document, doc};
use common::{Client, Running, session};

fn with(mut command: Document, lsid: &Document, number: i64) -> Document {
    command.insert("lsid", lsid.clone());
    command.insert("txnNumber", number);
    command
}

fn in_transaction(command: Document, lsid: &Document, number: i64, first: bool) -> Document {
    let mut command = with(command, lsid, number);
    command.insert("autocommit", false);
    if first {
        command.insert("startTransaction", true);
    }
    command
}

fn insert(id: i32) -> Document {
    doc! { "insert": "c", "documents": [{ "_id": id }] }
}

fn count(client: &mut Client) -> i32 {
    client.ok(doc! { "count": "c" }).get_i32("n").unwrap()
}

fn labels(answer: &Document) -> Vec<&str> {
    let labels = answer.get_array("errorLabels").map(Vec::as_slice).unwrap_or_default();
    labels.iter().filter_map(|label| label.as_str()).collect()
}

/// Ends a transaction; commands that do are sent to admin.
fn end(client: &mut Client, command: &str, lsid: &Document, number: i64) -> Document {
    client.run_on("admin", in_transaction(doc! { command: 1 }, lsid, number, false))
}

#[test]
fn a_write_that_is_sent_again_is_answered_and_not_repeated() {
    let running = Running::new();
    let mut client = running.client();
    let lsid = session();
    let increment =
        doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } }, "upsert": true }] };
    let first = client.ok(with(increment.clone(), &lsid, 1));
    // As from another connection, when the first has broken.
    let again = running.client().ok(with(increment.clone(), &lsid, 1));
    assert_eq!(first.get_array("upserted").ok(), again.get_array("upserted").ok());
    client.ok(with(increment.clone(), &lsid, 2));
    assert_eq!(client.refused(with(increment.clone(), &lsid, 1)).0, 225);
    client.ok(with(increment, &session(), 1));
    let found = client.ok(doc! { "find": "c" });
    assert_eq!(common::batch(&found), [doc! { "_id": 1, "n": 3 }]);
}

#[test]
fn a_transaction_is_seen_as_a_whole_after_its_commit() {
    let running = Running::new();
    let (mut client, mut other) = (running.client(), running.client());
    let lsid = session();
    client.ok(in_transaction(insert(1), &lsid, 1, true));
    client.ok(in_transaction(insert(2), &lsid, 1, false));
    assert_eq!(count(&mut other), 0);
    let own = client.ok(in_transaction(doc! { "find": "c" }, &lsid, 1, false));
    assert_eq!(common::batch(&own).len(), 2);
    for _ in 0..2 {
        // A commit may be sent again.
        let answer = end(&mut client, "commitTransaction", &lsid, 1);
        assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    }
    assert_eq!(count(&mut other), 2);
    assert_eq!(
        end(&mut client, "abortTransaction", &lsid, 1).get_i32("code").ok(),
        Some(256)
    );
    assert_eq!(client.refused(in_transaction(insert(3), &lsid, 1, false)).0, 256);
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let running = Running::new();
    let mut client = running.client();
    let lsid = session();
    client.ok(in_transaction(insert(1), &lsid, 1, true));
    assert_eq!(
        end(&mut client, "abortTransaction", &lsid, 1).get_f64("ok").ok(),
        Some(1.0)
    );
    let answer = end(&mut client, "commitTransaction", &lsid, 1);
    assert_eq!(answer.get_i32("code").ok(), Some(251));
    assert_eq!(labels(&answer), ["TransientTransactionError"]);
    assert_eq!(count(&mut client), 0);

    // So does one whose session ends, and one that another is begun after.
    client.ok(in_transaction(insert(1), &lsid, 2, true));
    client.ok(doc! { "endSessions": [lsid.clone()] });
    client.ok(in_transaction(insert(2), &lsid, 3, true));
    client.ok(in_transaction(insert(3), &lsid, 4, true));
    assert_eq!(client.refused(in_transaction(insert(4), &lsid, 3, false)).0, 225);
    assert_eq!(
        end(&mut client, "commitTransaction", &lsid, 4).get_f64("ok").ok(),
        Some(1.0)
    );
    let found = client.ok(doc! { "find": "c" });
    assert_eq!(common::batch(&found), [doc! { "_id": 3 }]);
}

#[test]
fn the_second_of_two_that_write_the_same_document_is_told_to_try_again() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(insert(1));
    let (first, second) = (session(), session());
    let change = |n: i32| doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$set": { "n": n } } }] };
    client.ok(in_transaction(change(1), &first, 1, true));
    let written = client.run(in_transaction(change(2), &second, 1, true));
    let committed = end(&mut client, "commitTransaction", &first, 1);
    assert_eq!(committed.get_f64("ok").ok(), Some(1.0), "{committed}");
    let refused = match written.get_f64("ok").ok() {
        Some(1.0) => end(&mut client, "commitTransaction", &second, 1),
        _ => written,
    };
    assert_eq!(refused.get_i32("code").ok(), Some(112), "{refused}");
    assert_eq!(labels(&refused), ["TransientTransactionError"]);
    let found = client.ok(doc! { "find": "c" });
    assert_eq!(common::batch(&found), [doc! { "_id": 1, "n": 1 }]);
}

#[test]
fn what_has_no_place_in_a_transaction_is_refused() {
    let running = Running::new();
    let mut client = running.client();
    let lsid = session();
    let listing = in_transaction(doc! { "listCollections": 1 }, &lsid, 1, true);
    assert_eq!(client.refused(listing).0, 263);
    let without = doc! { "insert": "c", "documents": [{}], "txnNumber": 1_i64 };
    assert_eq!(client.refused(without).0, 72);
    let numbered = with(doc! { "find": "c" }, &lsid, 1);
    assert_eq!(client.refused(numbered).0, 72);
    let never_begun = in_transaction(insert(1), &lsid, 9, false);
    assert_eq!(client.refused(never_begun).0, 251);
}
