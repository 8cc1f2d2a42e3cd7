//! Transactions, and writes that are sent again.

use crate::common;

use bson::{Document, doc};
use common::{Client, Running, session, under_way};
use tailwater_wire::MsgFlags;

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
    assert_eq!(client.refused(numbered).0, 50768);
    let never_begun = in_transaction(insert(1), &lsid, 9, false);
    assert_eq!(client.refused(never_begun).0, 251);
}

#[test]
fn a_commit_that_is_sent_again_to_a_new_server_is_answered_by_what_was_committed() {
    let mut running = Running::new();
    let mut client = running.client();
    let (committed, lost) = (session(), session());
    client.ok(in_transaction(insert(1), &committed, 1, true));
    client.ok(in_transaction(insert(2), &lost, 1, true));
    end(&mut client, "commitTransaction", &committed, 1);
    running.restart();
    let mut client = running.client();
    let answer = end(&mut client, "commitTransaction", &committed, 1);
    assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    // What was not committed may be run again.
    let answer = end(&mut client, "commitTransaction", &lost, 1);
    assert_eq!(answer.get_i32("code").ok(), Some(251));
    assert_eq!(labels(&answer), ["TransientTransactionError"]);
    assert_eq!(count(&mut client), 1);
}

#[test]
fn a_write_that_is_sent_again_to_a_new_server_is_answered_and_not_repeated() {
    let mut running = Running::new();
    let mut client = running.client();
    let writes = [
        doc! { "insert": "c", "documents": [{ "_id": 1, "n": 0 }, { "_id": 2, "n": 0 }] },
        doc! { "update": "c", "updates": [
            { "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } } },
            { "q": { "_id": 9 }, "u": { "$inc": { "n": 1 } }, "upsert": true },
        ] },
        doc! { "findAndModify": "c", "query": { "_id": 1 }, "update": { "$inc": { "n": 1 } }, "new": true },
        doc! { "findAndModify": "c", "query": { "_id": 9 }, "remove": true },
        doc! { "delete": "c", "deletes": [{ "q": { "n": 0 }, "limit": 1 }] },
    ];
    // Each in a session of its own: a session keeps its last write.
    let writes = writes.map(|write| with(write, &session(), 5));
    let answers = writes.clone().map(|write| client.ok(write));
    let digest = running.store.digest().unwrap().sha256;
    running.restart();
    let mut client = running.client();
    for (write, mut answer) in writes.into_iter().zip(answers) {
        let mut again = client.ok(write);
        let retried = ["retriedStmtIds", "retriedStmtId"].map(|name| again.remove(name).is_some());
        assert!(retried[0] || retried[1], "{again}");
        for time in ["$clusterTime", "operationTime"] {
            again.remove(time);
            answer.remove(time);
        }
        assert_eq!(again, answer);
    }
    assert_eq!(running.store.digest().unwrap().sha256, digest);
}

#[test]
fn what_is_left_of_a_write_that_is_sent_again_is_carried_out() {
    let running = Running::new();
    let mut client = running.client();
    let lsid = session();
    // What a server that died in the middle has left, as if the first two statements had been all.
    let ids = |ids: &[i32]| ids.iter().map(|id| doc! { "_id": id }).collect::<Vec<_>>();
    client.ok(with(doc! { "insert": "c", "documents": ids(&[0, 1]) }, &lsid, 1));
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 3 }] });
    let whole = doc! { "insert": "c", "documents": ids(&[0, 1, 2, 3, 4]), "ordered": false };
    let answer = client.ok(with(whole, &lsid, 1));
    assert_eq!(answer.get_i32("n").ok(), Some(4));
    assert_eq!(answer.get_array("retriedStmtIds").unwrap(), &[0.into(), 1.into()]);
    let errors = answer.get_array("writeErrors").unwrap();
    assert_eq!(errors[0].as_document().unwrap().get_i32("index").ok(), Some(3));

    let increment = |id: i32| doc! { "q": { "_id": id }, "u": { "$inc": { "n": 1 } } };
    let mut part = with(doc! { "update": "c", "updates": [increment(1)] }, &lsid, 2);
    part.insert("stmtId", 1);
    client.ok(part);
    // Of an ordered write nothing would be left before a statement that was carried out.
    let whole = doc! { "update": "c", "updates": [increment(0), increment(1), increment(2)], "ordered": false };
    let answer = client.ok(with(whole, &lsid, 2));
    assert_eq!(
        (answer.get_i32("n").ok(), answer.get_i32("nModified").ok()),
        (Some(3), Some(3))
    );
    let found = client.ok(doc! { "find": "c", "filter": { "n": 1 } });
    assert_eq!(common::batch(&found).len(), 3);

    let many = doc! { "update": "c", "updates": [{ "q": {}, "u": { "$inc": { "n": 1 } }, "multi": true }] };
    assert_eq!(client.refused(with(many, &lsid, 3)).0, 72);
}

#[test]
fn what_a_session_has_written_is_forgotten_when_nobody_sends_it_again() {
    let running = Running::with(|options| options.session_timeout = std::time::Duration::from_millis(100));
    let mut client = running.client();
    let lsid = session();
    client.ok(with(insert(1), &lsid, 1));
    let Some(bson::Bson::Binary(id)) = lsid.get("id") else {
        panic!("{lsid}")
    };
    let id = id.bytes.as_slice().try_into().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while running.store.session_writes(id, 1).unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_refused_write_ends_its_transaction() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(insert(1));
    let lsid = session();
    let answer = client.ok(in_transaction(insert(1), &lsid, 1, true));
    assert_eq!(answer.get_array("writeErrors").unwrap().len(), 1);
    let answer = client.run(in_transaction(insert(2), &lsid, 1, false));
    assert_eq!(answer.get_i32("code").ok(), Some(251));
    assert_eq!(labels(&answer), ["TransientTransactionError"]);
    assert_eq!(
        end(&mut client, "abortTransaction", &lsid, 1).get_i32("code").ok(),
        Some(251)
    );
}

#[test]
fn cursors_of_a_transaction_end_with_it() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{}, {}, {}] });
    let lsid = session();
    let find = doc! { "find": "c", "batchSize": 1 };
    let more = |id: i64| doc! { "getMore": id, "collection": "c", "batchSize": 1 };
    let id = common::cursor_id(&client.ok(in_transaction(find, &lsid, 1, true)));
    let mut outside = more(id);
    outside.insert("lsid", lsid.clone());
    assert_eq!(client.refused(outside.clone()).0, 50741);
    client.ok(in_transaction(more(id), &lsid, 1, false));
    end(&mut client, "abortTransaction", &lsid, 1);
    assert_eq!(client.refused(outside).0, 43);
}

#[test]
fn pipelines_run_in_transactions() {
    let running = Running::new();
    let mut client = running.client();
    let lsid = session();
    client.ok(in_transaction(insert(1), &lsid, 1, true));
    let count = doc! { "aggregate": "c", "pipeline": [{ "$group": { "_id": 1, "n": { "$sum": 1 } } }], "cursor": {} };
    let found = client.ok(in_transaction(count, &lsid, 1, false));
    assert_eq!(common::batch(&found), [doc! { "_id": 1, "n": 1 }]);
    let watch = doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    assert_eq!(client.refused(in_transaction(watch, &lsid, 1, false)).0, 263);
}

#[test]
fn a_session_that_is_not_used_ends_with_what_it_holds() {
    let running = Running::with(|options| options.session_timeout = std::time::Duration::from_millis(200));
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{}, {}, {}] });
    let lsid = session();
    let mut find = doc! { "find": "c", "batchSize": 1, "noCursorTimeout": true };
    find.insert("lsid", lsid.clone());
    let id = common::cursor_id(&client.ok(find));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let ask = doc! { "serverStatus": 1 };
    loop {
        let status = client.ok(ask.clone());
        let sessions = status
            .get_document("logicalSessionRecordCache")
            .unwrap()
            .get_i64("activeSessionsCount");
        if sessions.unwrap() == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(
        client
            .refused(doc! { "getMore": id, "collection": "c", "lsid": lsid })
            .0,
        43
    );
}

/// The first update finds nothing, and what the second inserts would be found by it.
#[test]
fn a_statement_that_found_nothing_is_not_carried_out_behind_later_ones() {
    let running = Running::new();
    let mut client = running.client();
    let first = doc! { "q": { "a": 1 }, "u": { "$set": { "b": 1 } } };
    let second = doc! { "q": { "_id": 1 }, "u": { "$set": { "a": 1 } }, "upsert": true };
    let update = with(doc! { "update": "c", "updates": [first, second] }, &session(), 1);
    let operations = vec![
        doc! { "update": 0, "filter": { "a": 1 }, "updateMods": { "$set": { "b": 2 } }, "multi": false },
        doc! { "delete": 0, "filter": { "a": 7 }, "multi": false },
        doc! { "update": 0, "filter": { "_id": 2 }, "updateMods": { "$set": { "a": 7 } }, "upsert": true },
    ];
    let bulk = with(
        doc! { "bulkWrite": 1, "ops": operations, "nsInfo": [{ "ns": "test.d" }] },
        &session(),
        1,
    );
    for _ in 0..2 {
        let answer = client.ok(update.clone());
        assert_eq!(
            (answer.get_i32("n").ok(), answer.get_i32("nModified").ok()),
            (Some(1), Some(0))
        );
        let answer = client.admin(bulk.clone());
        let count = |name| answer.get_i32(name).ok();
        assert_eq!(
            (count("nMatched"), count("nUpserted"), count("nDeleted")),
            (Some(0), Some(1), Some(0))
        );
        let found: Vec<_> = ["c", "d"]
            .map(|name| common::batch(&client.ok(doc! { "find": name })))
            .concat();
        assert_eq!(found, [doc! { "_id": 1, "a": 1 }, doc! { "_id": 2, "a": 7 }]);
    }
}

/// Each has an update that matches and changes nothing before one that changes something: the answer is the same when it comes again.
#[test]
fn a_statement_that_matched_and_changed_nothing_is_counted_again() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1, "a": 1 }, { "_id": 2, "a": 1 }] });
    let set = |id: i32, a: i32| doc! { "q": { "_id": id }, "u": { "$set": { "a": a } } };
    let update = doc! { "update": "c", "updates": [set(1, 1), set(2, 2), set(1, 1)] };
    let set = |id: i32, a: i32| doc! { "update": 0, "filter": { "_id": id }, "updateMods": { "$set": { "a": a } } };
    let bulk = doc! { "bulkWrite": 1, "ops": [set(1, 1), set(2, 3), set(1, 1)], "nsInfo": [{ "ns": "test.c" }] };
    for (command, names) in [(update, ["n", "nModified"]), (bulk, ["nMatched", "nModified"])] {
        let command = with(command, &session(), 1);
        for time in ["the first time", "again"] {
            let answer = match command.contains_key("bulkWrite") {
                true => client.admin(command.clone()),
                false => client.ok(command.clone()),
            };
            let counts = names.map(|name| answer.get_i32(name).ok());
            assert_eq!(counts, [Some(3), Some(1)], "{time}: {answer}");
        }
    }
}

#[test]
fn that_the_server_ends_is_said_of_the_command_and_not_of_a_write() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(insert(1));
    running.store.clone().close().unwrap();
    let update = doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$set": { "n": 1 } } }] };
    let delete = doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 1 }] };
    for command in [update, delete, insert(2)] {
        assert_eq!(client.refused(command.clone()).0, 11600, "{command}");
        let answer = client.run(with(command, &session(), 1));
        assert_eq!(labels(&answer), ["RetryableWriteError"], "{answer}");
    }
}

#[test]
fn numbers_of_statements_end_where_they_can_be_written() {
    let running = Running::new();
    let mut client = running.client();
    let insert = |first: i32, number: i64, lsid: Document| {
        doc! {
            "insert": "c", "documents": [{ "_id": first }, { "_id": -first }],
            "stmtId": first, "txnNumber": number, "lsid": lsid,
        }
    };
    let lsid = session();
    assert_eq!(client.refused(insert(i32::MAX, 1, lsid.clone())).0, 2);
    client.ok(insert(i32::MAX - 1, 2, lsid));
}

#[test]
fn open_transactions_hold_so_much_memory_together_and_no_more() {
    let running = Running::with(|options| options.transaction_memory_max = 1 << 20);
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    let part = |lsid: &Document, first: bool, bytes: usize| {
        let mut insert = doc! { "insert": "c", "documents": [{ "text": "x".repeat(bytes) }], "lsid": lsid.clone() };
        insert.extend(doc! { "txnNumber": 1_i64, "autocommit": false });
        if first {
            insert.insert("startTransaction", true);
        }
        insert
    };
    let (one, other) = (session(), session());
    client.ok(part(&one, true, 600 << 10));
    assert_eq!(client.refused(part(&other, true, 600 << 10)).0, 388);
    // It is over, and what it has held is given back.
    assert_eq!(client.refused(part(&other, false, 10)).0, 251);
    client.ok(part(&one, false, 300 << 10));
    let commit = doc! { "commitTransaction": 1, "lsid": one, "txnNumber": 1_i64, "autocommit": false };
    client.admin(commit);
    client.ok(part(&session(), true, 900 << 10));
}

#[test]
fn one_user_with_large_transactions_leaves_room_for_those_of_others() {
    let running = Running::guarded_with(|options| options.transaction_memory_max = 1 << 20);
    let mut root = running.root();
    root.admin(doc! { "createUser": "ada", "pwd": "ada's", "roles": ["readWriteAnyDatabase"] });
    let mut ada = running.client();
    ada.login("ada", "ada's");
    root.ok(doc! { "create": "c" });
    let begin = |bytes: usize| {
        doc! {
            "insert": "c", "documents": [{ "text": "x".repeat(bytes) }], "lsid": session(),
            "txnNumber": 1_i64, "autocommit": false, "startTransaction": true,
        }
    };
    root.ok(begin(700 << 10));
    // There would be room for it, but not all of it is this user's.
    assert_eq!(root.refused(begin(100 << 10)).0, 388);
    ada.ok(begin(100 << 10));
}

/// An expression that no machine computes to its end.
fn endless() -> Document {
    let first = doc! { "$add": ["$$value", 1] };
    (0..4).fold(
        first,
        |body, _| doc! { "$reduce": { "input": { "$range": [0, 1_000_000] }, "initialValue": 0, "in": body } },
    )
}

#[test]
fn a_session_that_is_killed_ends_what_is_running_in_it() {
    let running = Running::new();
    let (mut client, mut operator) = (running.client(), running.client());
    client.ok(insert(1));
    let query = doc! { "find": "c", "filter": { "$expr": { "$gt": [endless(), 0] } }, "$db": "test" };
    let of = |lsid: &Document| {
        let mut query = query.clone();
        query.insert("lsid", lsid.clone());
        query
    };
    for names_it in [true, false] {
        let (own, other) = (session(), session());
        let mut killed = running.client();
        killed.send(&of(&own), MsgFlags::default(), Vec::new());
        under_way(&mut operator, "query");
        operator.ok(doc! { "killSessions": [other], "lsid": session() });
        under_way(&mut operator, "query");
        let sessions = if names_it { vec![own.clone()] } else { Vec::new() };
        // Who asks is in a session as well.
        operator.ok(doc! { "killSessions": sessions, "lsid": own });
        assert_eq!(killed.receive().0.get_i32("code").ok(), Some(11601));
    }

    // So does a transaction, with what it is at.
    let lsid = session();
    client.ok(in_transaction(insert(2), &lsid, 1, true));
    let mut at_work = running.client();
    let mut query = in_transaction(query.clone(), &lsid, 1, false);
    query.insert("$db", "test");
    at_work.send(&query, MsgFlags::default(), Vec::new());
    under_way(&mut operator, "query");
    operator.ok(doc! { "killSessions": [lsid.clone()] });
    assert_eq!(at_work.receive().0.get_i32("code").ok(), Some(11601));
    let answer = end(&mut client, "commitTransaction", &lsid, 1);
    assert_eq!(answer.get_i32("code").ok(), Some(251), "{answer}");
}
