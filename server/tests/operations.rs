//! `currentOp` and `killOp`.

use crate::common;

use bson::{Document, doc};
use common::{Client, Running, batch, cursor_id, under_way};
use tailwater_wire::MsgFlags;

#[test]
fn a_wait_is_shown_and_can_be_ended() {
    let server = Running::new();
    let mut client = server.client();
    let mut watcher = server.client();
    watcher.ok(doc! { "hello": 1, "client": { "application": { "name": "watcher" } } });
    let opened = watcher.ok(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} });
    let more = doc! { "getMore": cursor_id(&opened), "collection": "c", "maxTimeMS": 10_000, "$db": "test" };
    watcher.send(&more, MsgFlags::default(), Vec::new());
    let shown = under_way(&mut client, "getmore");
    assert_eq!(
        (shown.get_str("ns").ok(), shown.get_str("appName").ok()),
        (Some("test.c"), Some("watcher"))
    );
    client.run_on("admin", doc! { "killOp": 1, "op": shown.get_i32("opid").unwrap() });
    let (answer, ..) = watcher.receive();
    assert_eq!(answer.get_i32("code").ok(), Some(237), "{answer}");
}

#[test]
fn who_asks_is_shown_too_also_by_a_pipeline() {
    let server = Running::new();
    let mut client = server.client();
    let own = client.run_on("admin", doc! { "currentOp": 1, "$ownOps": true });
    let own = own.get_array("inprog").unwrap();
    assert_eq!(own.len(), 1);
    let stages = [doc! { "$currentOp": {} }, doc! { "$match": { "op": "command" } }];
    let found = client.run_on(
        "admin",
        doc! { "aggregate": 1, "pipeline": stages.to_vec(), "cursor": {} },
    );
    assert_eq!(batch(&found)[0].get_str("ns").ok(), Some("admin.$cmd"));
    client.refused(doc! { "currentOp": 1 });
    client.refused(doc! { "killOp": 1, "op": 1 });
    assert_eq!(
        client.run_on("admin", doc! { "killOp": 1 }).get_f64("ok").ok(),
        Some(0.0)
    );
}

fn explain(command: Document, verbosity: &str) -> Document {
    doc! { "explain": command, "verbosity": verbosity }
}

#[test]
fn a_query_is_planned_without_being_run() {
    let server = Running::new();
    let mut client = server.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1, "zero": 0 }] });
    // It fails as soon as it looks at a document.
    let filter = doc! { "$expr": { "$divide": [1, "$zero"] } };
    let find = doc! { "find": "c", "filter": filter.clone() };
    client.refused(explain(find.clone(), "executionStats"));
    let planned = client.ok(explain(find, "queryPlanner"));
    let stage = planned
        .get_document("queryPlanner")
        .unwrap()
        .get_document("winningPlan");
    assert_eq!(stage.unwrap().get_str("stage").ok(), Some("COLLSCAN"));
    assert!(!planned.contains_key("executionStats"));
    let pipeline = doc! { "aggregate": "c", "pipeline": [{ "$match": filter }], "explain": true };
    client.ok(pipeline);
}

/// Many documents, of which none matches.
fn long_query(client: &mut Client) -> Document {
    for first in (0..20).map(|batch| batch * 1000) {
        let documents: Vec<Document> = (first..first + 1000)
            .map(|id| doc! { "_id": id, "a": "b".repeat(50) })
            .collect();
        client.ok(doc! { "insert": "c", "documents": documents });
    }
    doc! { "a": { "$regex": "c$" } }
}

#[test]
fn a_query_that_finds_nothing_for_long_ends_when_its_time_is_over() {
    let server = Running::new();
    let mut client = server.client();
    let filter = long_query(&mut client);
    let group = doc! { "$group": { "_id": "$a", "all": { "$push": "$$ROOT" } } };
    for command in [
        doc! { "find": "c", "filter": filter.clone() },
        doc! { "find": "c", "sort": { "a": 1 } },
        doc! { "count": "c", "query": filter.clone() },
        doc! { "distinct": "c", "key": "a", "query": filter.clone() },
        doc! { "aggregate": "c", "pipeline": [{ "$match": filter.clone() }], "cursor": {} },
        doc! { "aggregate": "c", "pipeline": [group], "cursor": {} },
        explain(doc! { "find": "c", "filter": filter.clone() }, "executionStats"),
        explain(doc! { "count": "c", "query": filter }, "allPlansExecution"),
    ] {
        let mut command = command;
        command.insert("maxTimeMS", 1);
        assert_eq!(client.refused(command.clone()).0, 50, "{command}");
    }
}

#[test]
fn a_query_that_finds_nothing_for_long_can_be_killed() {
    let server = Running::new();
    let (mut client, mut other) = (server.client(), server.client());
    let filter = long_query(&mut client);
    for mut command in [
        doc! { "find": "c", "filter": filter.clone() },
        explain(doc! { "find": "c", "filter": filter }, "executionStats"),
    ] {
        let is_explained = command.contains_key("explain");
        command.insert("$db", "test");
        // It may be done before it is killed; not each time.
        let killed = (0..1000).any(|_| {
            client.send(&command, MsgFlags::default(), Vec::new());
            let kind = if is_explained { "command" } else { "query" };
            let running = other.run_on(
                "admin",
                doc! { "currentOp": true, "op": kind, "ns": { "$regex": "^test" } },
            );
            for operation in running.get_array("inprog").unwrap() {
                let id = operation.as_document().unwrap().get_i32("opid").unwrap();
                other.run_on("admin", doc! { "killOp": 1, "op": id });
            }
            client.receive().0.get_i32("code").ok() == Some(11601)
        });
        assert!(killed, "{command}");
    }
}
