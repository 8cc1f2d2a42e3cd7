//! `local.oplog.rs`, as those see it who tail it.

use crate::common;

use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Document, Timestamp, doc};
use common::{Client, Running, batch, cursor_id, session, until};
use tailwater_wire::MsgFlags;

fn oplog(client: &mut Client, filter: Document, options: Document) -> Document {
    let mut find = doc! { "find": "oplog.rs", "filter": filter };
    find.extend(options);
    let answer = client.run_on("local", find);
    assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    answer
}

fn times(entries: &[Document]) -> Vec<Timestamp> {
    entries.iter().map(|entry| entry.get_timestamp("ts").unwrap()).collect()
}

#[test]
fn entries_are_those_of_an_oplog() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1, "n": 1 }] });
    client.ok(doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$set": { "n": 2 } } }] });
    client.ok(doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "n": 3 } }] });
    client.ok(doc! { "delete": "c", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] });
    client.ok(doc! { "drop": "c" });
    let entries = batch(&oplog(&mut client, doc! {}, doc! {}));
    let told: Vec<(&str, &str, &Document)> = entries
        .iter()
        .map(|entry| {
            assert_eq!(entry.get_i64("v").ok(), Some(2));
            assert!(
                entry.get_datetime("wall").is_ok() && entry.get_i64("t").is_ok(),
                "{entry}"
            );
            let field = |name| entry.get_str(name).unwrap();
            (field("op"), field("ns"), entry.get_document("o").unwrap())
        })
        .collect();
    let ops: Vec<_> = told.iter().map(|(op, ns, _)| (*op, *ns)).collect();
    let documents = ("test.c", "test.$cmd");
    assert_eq!(
        ops,
        [
            ("c", documents.1),
            ("i", documents.0),
            ("u", documents.0),
            ("u", documents.0),
            ("d", documents.0),
            ("c", documents.1)
        ]
    );
    assert_eq!(told[0].2.get_str("create").ok(), Some("c"));
    assert_eq!(*told[1].2, doc! { "_id": 1, "n": 1 });
    assert_eq!(*told[2].2, doc! { "$v": 2, "diff": { "u": { "n": 2 } } });
    assert_eq!(*told[3].2, doc! { "_id": 1, "n": 3 });
    assert_eq!(*told[4].2, doc! { "_id": 1 });
    assert_eq!(*told[5].2, doc! { "drop": "c" });
    for entry in &entries[2..4] {
        assert_eq!(*entry.get_document("o2").unwrap(), doc! { "_id": 1 });
    }
    let times = times(&entries);
    assert!(times.is_sorted_by(|a, b| a < b));
    // The time of an answer is that of its entry.
    let answer = client.ok(doc! { "insert": "d", "documents": [{ "_id": 1 }] });
    let newest = oplog(&mut client, doc! {}, doc! { "sort": { "$natural": -1 }, "limit": 1 });
    let newest = &batch(&newest)[0];
    assert_eq!(
        newest.get_timestamp("ts").ok(),
        answer.get_timestamp("operationTime").ok()
    );
    // A collection comes into being with its first document.
    let members = newest.get_document("o").unwrap().get_array("applyOps").unwrap();
    assert_eq!(members.len(), 2);
}

#[test]
fn it_is_read_from_a_time_on_and_backward() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    for id in 0..10 {
        client.ok(doc! { "insert": "c", "documents": [{ "_id": id }] });
        client.ok(doc! { "insert": "c", "documents": [{ "_id": id + 100 }, { "_id": id + 200 }] });
    }
    let forward = batch(&oplog(&mut client, doc! {}, doc! {}));
    assert_eq!(forward.len(), 21);
    let mut backward = batch(&oplog(&mut client, doc! {}, doc! { "sort": { "$natural": -1 } }));
    backward.reverse();
    assert_eq!(backward, forward);
    let times = times(&forward);
    for (place, time) in times.iter().enumerate() {
        let from = batch(&oplog(&mut client, doc! { "ts": { "$gte": time } }, doc! {}));
        assert_eq!(from, forward[place..]);
        let behind = batch(&oplog(
            &mut client,
            doc! { "ts": { "$gt": time } },
            doc! { "oplogReplay": true },
        ));
        assert_eq!(behind, forward[place + 1..]);
    }
    let inserts = oplog(
        &mut client,
        doc! { "op": "i" },
        doc! { "skip": 1, "limit": 2, "projection": { "_id": 0, "o": 1 } },
    );
    assert_eq!(
        batch(&inserts),
        [doc! { "o": { "_id": 1 } }, doc! { "o": { "_id": 2 } }]
    );
    assert_eq!(cursor_id(&inserts), 0);
    let by = doc! { "find": "oplog.rs", "sort": { "ts": 1 } };
    assert_eq!(client.run_on("local", by).get_i32("code").ok(), Some(238));
}

#[test]
fn a_tail_waits_for_what_is_written_and_ends_with_the_server() {
    let mut running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    let options = doc! { "tailable": true, "awaitData": true };
    let opened = oplog(&mut client, doc! { "op": "i" }, options.clone());
    assert!(batch(&opened).is_empty());
    let id = cursor_id(&opened);
    let more = |time: i32| doc! { "getMore": id, "collection": "oplog.rs", "maxTimeMS": time };
    let nothing = client.run_on("local", more(1));
    assert_eq!((batch(&nothing).len(), cursor_id(&nothing)), (0, id));
    let writer = {
        let mut client = running.client();
        std::thread::spawn(move || client.ok(doc! { "insert": "c", "documents": [{ "_id": 7 }] }))
    };
    // It may come before it is asked for, or while that waits.
    let found = until("the entry of the write", || {
        let found = batch(&client.run_on("local", more(10_000)));
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(*found[0].get_document("o").unwrap(), doc! { "_id": 7 });
    writer.join().unwrap();

    let killed = doc! { "killCursors": "oplog.rs", "cursors": [id] };
    client.run_on("local", killed);
    assert_eq!(client.run_on("local", more(1)).get_i32("code").ok(), Some(43));
    let id = cursor_id(&oplog(&mut client, doc! { "op": "x" }, options));
    let waiting = std::thread::spawn(move || {
        let more = doc! { "getMore": id, "collection": "oplog.rs", "maxTimeMS": 10_000, "$db": "local" };
        client.send(&more, MsgFlags::default(), Vec::new());
        client.receive_bytes()
    });
    running.stop();
    waiting.join().unwrap();
}

#[test]
fn what_the_store_keeps_for_itself_is_not_shown() {
    let running = Running::new();
    let mut client = running.client();
    let internal = running
        .store
        .collection(tailwater::INTERNAL_DATABASE, "secrets")
        .unwrap();
    internal.insert_one(&bson::rawdoc! { "_id": "secret" }).unwrap();
    let entries = batch(&oplog(&mut client, doc! {}, doc! {}));
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].get_str("op").ok(), Some("n"));
    assert!(!entries[0].to_string().contains("secret"), "{}", entries[0]);
}

#[test]
fn transactions_and_retryable_writes_name_their_session() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    let lsid = session();
    let numbered = |mut command: Document, number: i64| {
        command.extend(doc! { "lsid": lsid.clone(), "txnNumber": number });
        command
    };
    let insert = |id: i32| doc! { "insert": "c", "documents": [{ "_id": id }] };
    client.ok(numbered(insert(1), 4));
    let mut first = numbered(insert(2), 5);
    first.extend(doc! { "autocommit": false, "startTransaction": true });
    client.ok(first);
    let mut commit = numbered(doc! { "commitTransaction": 1 }, 5);
    commit.insert("autocommit", false);
    client.run_on("admin", commit);
    let entries = batch(&oplog(&mut client, doc! { "lsid": { "$exists": true } }, doc! {}));
    let [write, transaction] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (write.get_str("op").ok(), write.get_i32("stmtId").ok()),
        (Some("i"), Some(0))
    );
    assert_eq!(write.get_document("lsid").unwrap().get("id"), lsid.get("id"));
    assert_eq!(
        (write.get_i64("txnNumber").ok(), transaction.get_i64("txnNumber").ok()),
        (Some(4), Some(5))
    );
    assert_eq!(transaction.get_str("ns").ok(), Some("admin.$cmd"));
    assert!(transaction.get_document("prevOpTime").is_ok());
    let members = transaction.get_document("o").unwrap().get_array("applyOps").unwrap();
    assert_eq!(members.len(), 1);
}

/// A log that takes long to read with a filter that finds nothing.
fn long_log(client: &mut Client) -> Document {
    let text = "ab".repeat(100 << 10);
    for _ in 0..40 {
        let documents: Vec<Document> = (0..10).map(|_| doc! { "text": text.as_str() }).collect();
        client.ok(doc! { "insert": "c", "documents": documents });
    }
    doc! { "o.applyOps.o.text": { "$regex": "b[^b]b", "$options": "i" } }
}

#[test]
fn a_read_of_the_log_ends_when_its_time_is_over_and_when_it_is_killed() {
    let running = Running::new();
    let (mut client, mut other) = (running.client(), running.client());
    let filter = long_log(&mut client);
    let find = doc! { "find": "oplog.rs", "filter": filter, "$db": "local" };
    let mut late = find.clone();
    late.insert("maxTimeMS", 1);
    assert_eq!(client.run_on("local", late).get_i32("code").ok(), Some(50));

    // It may be done before it is killed; not each time.
    let killed = (0..100).any(|_| {
        client.send(&find, MsgFlags::default(), Vec::new());
        let answer = other.run_on("admin", doc! { "currentOp": true, "op": "query" });
        for operation in answer.get_array("inprog").unwrap() {
            let id = operation.as_document().unwrap().get_i32("opid").unwrap();
            other.run_on("admin", doc! { "killOp": 1, "op": id });
        }
        client.receive().0.get_i32("code").ok() == Some(11601)
    });
    assert!(killed);
}

#[test]
fn what_tools_ask_of_listed_collections_is_answered_for_the_log() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    for id in 0..5 {
        client.ok(doc! { "insert": "c", "documents": [{ "_id": id, "n": id % 2 }] });
    }
    client.ok(doc! { "delete": "c", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] });
    let mut local = |command: Document| {
        let answer = client.run_on("local", command.clone());
        assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{command}: {answer}");
        answer
    };
    let times = times(&batch(&local(doc! { "find": "oplog.rs" })));
    for (expected, query, options) in [
        (7, doc! {}, doc! {}),
        (5, doc! { "op": "i" }, doc! {}),
        (2, doc! { "op": "i" }, doc! { "limit": 2 }),
        (4, doc! { "op": "i" }, doc! { "skip": 1 }),
        (3, doc! { "ts": { "$gt": times[3] } }, doc! {}),
    ] {
        let mut count = doc! { "count": "oplog.rs", "query": query };
        count.extend(options);
        assert_eq!(local(count.clone()).get_i32("n").unwrap(), expected, "{count}");
    }
    let kinds = local(doc! { "distinct": "oplog.rs", "key": "op", "query": { "ts": { "$gte": times[1] } } });
    assert_eq!(kinds.get_array("values").unwrap(), &vec!["i".into(), "d".into()]);
    let aggregate = |stages: Vec<Document>| doc! { "aggregate": "oplog.rs", "pipeline": stages, "cursor": {} };
    let group = doc! { "$group": { "_id": "$op", "n": { "$sum": 1 } } };
    let found = batch(&local(aggregate(vec![
        doc! { "$match": { "ts": { "$gte": times[1] } } },
        group,
        doc! { "$sort": { "n": 1 } },
    ])));
    assert_eq!(found, [doc! { "_id": "d", "n": 1 }, doc! { "_id": "i", "n": 5 }]);
    assert!(batch(&local(doc! { "listIndexes": "oplog.rs" })).is_empty());
    let sizes = [
        local(doc! { "collStats": "oplog.rs" }),
        batch(&local(aggregate(vec![doc! { "$collStats": { "storageStats": {} } }])))[0]
            .get_document("storageStats")
            .unwrap()
            .clone(),
    ];
    for size in sizes {
        assert!(size.get_bool("capped").unwrap(), "{size}");
        assert!(size.get_i64("count").unwrap() >= 7, "{size}");
        let (size, max) = (size.get_i64("size").unwrap(), size.get_i64("maxSize").unwrap());
        assert!(size > 0 && max >= size, "{size} {max}");
    }
}

#[test]
fn a_pipeline_over_the_log_ends_when_its_time_is_over_and_writes_nothing() {
    let running = Running::new();
    let mut client = running.client();
    let filter = long_log(&mut client);
    let aggregate = |stage: Document| doc! { "aggregate": "oplog.rs", "pipeline": [stage], "cursor": {} };
    let mut late = aggregate(doc! { "$match": filter.clone() });
    late.insert("maxTimeMS", 1);
    let mut count = doc! { "count": "oplog.rs", "query": filter };
    count.insert("maxTimeMS", 1);
    for late in [late, count] {
        assert_eq!(client.run_on("local", late).get_i32("code").ok(), Some(50));
    }
    let out = client.run_on("local", aggregate(doc! { "$out": { "db": "test", "coll": "d" } }));
    assert_eq!(out.get_i32("code").ok(), Some(115), "{out}");
}

#[test]
fn the_log_is_listed_and_is_no_collection_for_commands_that_write_or_plan() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    for command in [
        doc! { "explain": { "find": "oplog.rs" } },
        doc! { "insert": "oplog.rs", "documents": [{}] },
        doc! { "update": "oplog.rs", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] },
        doc! { "delete": "oplog.rs", "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "drop": "oplog.rs" },
        doc! { "create": "oplog.rs" },
        doc! { "createIndexes": "oplog.rs", "indexes": [{ "key": { "a": 1 }, "name": "a" }] },
    ] {
        let answer = client.run_on("local", command);
        assert_eq!(answer.get_i32("code").ok(), Some(115), "{answer}");
    }
    let to = |stage: Document| doc! { "aggregate": "c", "pipeline": [stage], "cursor": {} };
    for command in [
        to(doc! { "$out": { "db": "local", "coll": "oplog.rs" } }),
        to(doc! { "$merge": { "into": { "db": "local", "coll": "oplog.rs" } } }),
        to(doc! { "$unionWith": { "coll": "c" } }),
    ] {
        let answer = client.run(command.clone());
        let expected = (!command.to_string().contains("unionWith")).then_some(115);
        assert_eq!(answer.get_i32("code").ok(), expected, "{answer}");
    }
    let rename = doc! { "renameCollection": "test.c", "to": "local.oplog.rs" };
    assert_eq!(client.run_on("admin", rename).get_i32("code").ok(), Some(115));
    let listed = client.run_on("local", doc! { "listCollections": 1, "filter": { "name": "oplog.rs" } });
    assert_eq!(batch(&listed)[0].get_str("name").unwrap(), "oplog.rs");
}

/// Has whoever looks at it end, when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn what_is_written_while_the_log_is_counted_is_not_counted() {
    // Each entry that is looked at takes long enough for others to be written.
    let body =
        doc! { "$reduce": { "input": { "$range": [0, 20_000] }, "initialValue": 0, "in": { "$add": ["$$value", 1] } } };
    let filter = doc! { "$expr": { "$gt": [body, 0] } };
    let commands = [
        doc! { "count": "oplog.rs", "query": filter.clone() },
        doc! { "distinct": "oplog.rs", "key": "op", "query": filter.clone() },
        doc! { "aggregate": "oplog.rs", "pipeline": [{ "$match": filter }, { "$count": "n" }], "cursor": {} },
    ];
    for command in commands {
        let running = Running::new();
        let (mut client, mut other) = (running.client(), running.client());
        for n in 0..50 {
            client.ok(doc! { "insert": "c", "documents": [{ "_id": n }] });
        }
        let writing = AtomicBool::new(true);
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut next = 50..;
                while let Some(n) = next.next().filter(|_| writing.load(Ordering::Relaxed)) {
                    other.ok(doc! { "insert": "c", "documents": [{ "_id": n }], "writeConcern": { "w": 1 } });
                }
            });
            // Also when there is no answer in time: who writes would go on, and the test not end.
            let _end = Ends(&writing);
            client.run_on("local", command)
        });
        assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    }
}
