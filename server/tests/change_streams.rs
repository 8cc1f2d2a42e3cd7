//! Change streams over the protocol: what a driver sees of the cursor.

use crate::common;

use bson::{Document, doc};
use common::{Client, Running, batch, cursor_id, under_way};

fn open(client: &mut Client, collection: impl Into<bson::Bson>, options: Document) -> Document {
    client.ok(doc! { "aggregate": collection, "pipeline": [{ "$changeStream": options }], "cursor": {} })
}

fn more(client: &mut Client, id: i64, collection: &str) -> Document {
    client.ok(doc! { "getMore": id, "collection": collection, "maxTimeMS": 5000 })
}

fn types(events: &[Document]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.get_str("operationType").unwrap())
        .collect()
}

fn token(answer: &Document) -> Document {
    let cursor = answer.get_document("cursor").unwrap();
    cursor.get_document("postBatchResumeToken").unwrap().clone()
}

#[test]
fn every_batch_has_a_token_from_which_another_stream_goes_on() {
    let running = Running::new();
    let mut client = running.client();
    let opened = open(&mut client, "c", doc! {});
    assert!(batch(&opened).is_empty());
    let id = cursor_id(&opened);
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    let first = more(&mut client, id, "c");
    assert_eq!(types(&batch(&first)), ["insert"]);
    client.ok(doc! { "insert": "other", "documents": [{ "_id": 1 }] });
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 2 }] });

    for start in ["resumeAfter", "startAfter"] {
        let resumed = open(&mut client, "c", doc! { start: token(&first) });
        let events = batch(&resumed);
        assert_eq!(events[0].get_document("documentKey").unwrap(), &doc! { "_id": 2 });
        assert_eq!(events.len(), 1);
    }
    // The token moves on without an event for the stream.
    let before = token(&more(&mut client, id, "c"));
    client.ok(doc! { "insert": "other", "documents": [{ "_id": 2 }] });
    let answer = client.ok(doc! { "getMore": id, "collection": "c", "maxTimeMS": 100 });
    assert!(batch(&answer).is_empty());
    assert_ne!(token(&answer), before);
}

/// As the driver for Rust sends it.
#[test]
fn a_comment_may_stand_beside_the_pipeline_and_within_it() {
    let running = Running::new();
    let mut client = running.client();
    for comment in [bson::Bson::from("who asks"), bson::Bson::from(doc! { "who": "asks" })] {
        let stage = doc! { "$changeStream": { "comment": comment.clone() } };
        client.ok(doc! { "aggregate": "c", "pipeline": [stage], "cursor": {}, "comment": comment });
    }
    let stage = doc! { "$changeStream": { "commment": 1 } };
    assert_eq!(
        client
            .refused(doc! { "aggregate": "c", "pipeline": [stage], "cursor": {} })
            .0,
        40415
    );
}

#[test]
fn a_wait_ends_with_its_time_and_with_an_event() {
    let running = Running::new();
    let mut client = running.client();
    let id = cursor_id(&open(&mut client, "c", doc! {}));
    let answer = client.ok(doc! { "getMore": id, "collection": "c", "maxTimeMS": 200 });
    assert!(batch(&answer).is_empty());

    let mut writer = running.client();
    let writing = std::thread::spawn(move || {
        under_way(&mut writer, "getmore");
        writer.ok(doc! { "insert": "c", "documents": [{}] });
    });
    let answer = client.ok(doc! { "getMore": id, "collection": "c", "maxTimeMS": 60_000 });
    assert_eq!(batch(&answer).len(), 1);
    writing.join().unwrap();
}

#[test]
fn a_database_and_everything_can_be_watched() {
    let running = Running::new();
    let mut client = running.client();
    let database = open(&mut client, 1, doc! {});
    let everything = client.run_on(
        "admin",
        doc! { "aggregate": 1, "pipeline": [{ "$changeStream": { "allChangesForCluster": true } }], "cursor": {} },
    );
    client.ok(doc! { "insert": "a", "documents": [{}] });
    // What belongs to the deployment itself is not shown, and cannot be watched alone.
    for database in ["admin", "config", "local"] {
        client.run_on(database, doc! { "insert": "a", "documents": [{}] });
        for subject in [bson::Bson::Int32(1), "a".into()] {
            let watch = doc! { "aggregate": subject, "pipeline": [{ "$changeStream": {} }], "cursor": {} };
            assert_eq!(
                client.run_on(database, watch).get_i32("code").ok(),
                Some(73),
                "{database}"
            );
        }
    }
    client.run_on("elsewhere", doc! { "insert": "b", "documents": [{}] });
    let of_database = more(&mut client, cursor_id(&database), "$cmd.aggregate");
    assert_eq!(batch(&of_database).len(), 1);
    let ask = doc! { "getMore": cursor_id(&everything), "collection": "$cmd.aggregate", "maxTimeMS": 5000 };
    let of_everything = client.run_on("admin", ask);
    assert_eq!(batch(&of_everything).len(), 2);

    let on_admin = client.run_on(
        "admin",
        doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }], "cursor": {} },
    );
    assert_eq!(on_admin.get_i32("code").ok(), Some(73));
    let elsewhere =
        doc! { "aggregate": 1, "pipeline": [{ "$changeStream": { "allChangesForCluster": true } }], "cursor": {} };
    assert_eq!(client.refused(elsewhere).0, 72);
}

#[test]
fn an_invalidated_stream_ends_its_cursor() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    let id = cursor_id(&open(&mut client, "c", doc! {}));
    client.ok(doc! { "drop": "c" });
    let answer = more(&mut client, id, "c");
    let events = batch(&answer);
    assert_eq!(types(&events), ["drop", "invalidate"]);
    assert_eq!(cursor_id(&answer), 0);
    let last = events[1].get_document("_id").unwrap().clone();
    let resume =
        doc! { "aggregate": "c", "pipeline": [{ "$changeStream": { "resumeAfter": last.clone() } }], "cursor": {} };
    assert_eq!(client.refused(resume), (260, "InvalidResumeToken".to_owned()));
    open(&mut client, "c", doc! { "startAfter": last });
}

#[test]
fn transactions_are_adjacent_and_carry_their_session() {
    let running = Running::new();
    let mut client = running.client();
    let opened = open(&mut client, "c", doc! {});
    let lsid = common::session();
    for (id, first) in [(1, true), (2, false)] {
        let mut insert = doc! {
            "insert": "c", "documents": [{ "_id": id }], "lsid": lsid.clone(), "txnNumber": 1_i64, "autocommit": false,
        };
        if first {
            insert.insert("startTransaction", true);
        }
        client.ok(insert);
    }
    let commit = doc! { "commitTransaction": 1, "lsid": lsid.clone(), "txnNumber": 1_i64, "autocommit": false };
    client.run_on("admin", commit);
    let events = batch(&more(&mut client, cursor_id(&opened), "c"));
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event.get_i64("txnNumber").ok(), Some(1));
        assert_eq!(event.get_document("lsid").unwrap().get("id"), lsid.get("id"));
    }
}

#[test]
fn options_and_stages_that_cannot_be_are_refused() {
    let running = Running::new();
    let mut client = running.client();
    for (stages, code) in [
        (vec![doc! { "$changeStream": { "fullDocument": "nope" } }], 2),
        (vec![doc! { "$changeStream": { "nope": 1 } }], 40415),
        (
            vec![doc! { "$changeStream": { "resumeAfter": { "_data": "zz" } } }],
            260,
        ),
        (vec![doc! { "$changeStream": {} }, doc! { "$group": { "_id": 1 } }], 20),
        (
            vec![doc! { "$changeStream": {} }, doc! { "$project": { "_id": 0 } }],
            280,
        ),
        (vec![doc! { "$changeStream": {} }, doc! { "$match": { "$nope": 1 } }], 2),
    ] {
        let command = doc! { "aggregate": "c", "pipeline": stages, "cursor": {} };
        assert_eq!(client.refused(command.clone()).0, code, "{command}");
    }
}

#[test]
fn a_stop_ends_waits_with_an_error_after_which_drivers_resume() {
    let mut running = Running::new();
    let mut client = running.client();
    let id = cursor_id(&open(&mut client, "c", doc! {}));
    let (handle, mut other) = (running.handle.clone(), running.client());
    let stopping = std::thread::spawn(move || {
        under_way(&mut other, "getmore");
        handle.stop();
    });
    let answer = client.run(doc! { "getMore": id, "collection": "c", "maxTimeMS": 60_000 });
    assert_eq!(answer.get_i32("code").ok(), Some(11600), "{answer}");
    assert_eq!(
        answer.get_array("errorLabels").unwrap(),
        &["ResumableChangeStreamError".into()]
    );
    assert!(client.is_closed());
    stopping.join().unwrap();
    running.stop();
}

#[test]
fn a_killed_cursor_ends_the_wait_for_it() {
    let running = Running::new();
    let (mut client, mut other) = (running.client(), running.client());
    let id = cursor_id(&open(&mut client, "c", doc! {}));
    let killing = std::thread::spawn(move || {
        under_way(&mut other, "getmore");
        other.ok(doc! { "killCursors": "c", "cursors": [id] });
    });
    let answer = client.run(doc! { "getMore": id, "collection": "c", "maxTimeMS": 60_000 });
    killing.join().unwrap();
    assert_eq!(answer.get_i32("code").ok(), Some(237), "{answer}");
    assert_eq!(client.refused(doc! { "getMore": id, "collection": "c" }).0, 43);
}

#[test]
fn a_token_stands_behind_what_was_given_and_not_behind_what_waits() {
    let running = Running::new();
    let mut client = running.client();
    let mut answer = open(&mut client, "c", doc! {});
    let text = "x".repeat(6 << 20);
    for id in 0..6 {
        client.ok(doc! { "insert": "c", "documents": [{ "_id": id, "text": text.as_str() }] });
    }
    let mut seen = Vec::new();
    let mut id = cursor_id(&answer);
    // After each batch the stream is lost, and another goes on from the batch's token.
    while seen.len() < 6 {
        answer = more(&mut client, id, "c");
        let events = batch(&answer);
        assert!(events.len() < 4, "more than fits into a batch");
        seen.extend(
            events
                .iter()
                .map(|event| event.get_document("documentKey").unwrap().get_i32("_id").unwrap()),
        );
        client.ok(doc! { "killCursors": "c", "cursors": [id] });
        let stages = [doc! { "$changeStream": { "resumeAfter": token(&answer) } }];
        let empty = doc! { "batchSize": 0 };
        id = cursor_id(&client.ok(doc! { "aggregate": "c", "pipeline": stages.to_vec(), "cursor": empty }));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn who_looks_at_the_server_sees_its_streams() {
    let running = Running::new();
    let mut client = running.client();
    let stages = vec![
        doc! { "$changeStream": {} },
        doc! { "$match": { "operationType": "insert" } },
    ];
    let opened = client.ok(doc! { "aggregate": "c", "pipeline": stages, "cursor": {} });
    for _ in 0..2 {
        client.ok(doc! { "insert": "c", "documents": [{}] });
    }
    let last = token(&more(&mut client, cursor_id(&opened), "c"));
    let listed = running.store.listed_watches().statuses();
    assert_eq!(listed.len(), 1);
    let status = &listed[0];
    assert_eq!(status.description.scope.to_string(), "collection test.c");
    assert_eq!(status.description.transport, "mongodb");
    let pipeline = status.description.pipeline.as_deref().unwrap();
    assert!(pipeline.contains("operationType"), "{pipeline}");
    assert_eq!(status.delivered, 2);
    assert_eq!(status.token.to_string(), last.get_str("_data").unwrap());
    client.ok(doc! { "killCursors": "c", "cursors": [cursor_id(&opened)] });
    assert!(running.store.listed_watches().is_empty());
}

/// What Debezium's connector for MongoDB sends (its `ChangeStreamPipelineFactory`): the event is wrapped, asked about by regular
/// expressions that look ahead, and unwrapped.
#[test]
fn a_pipeline_that_wraps_events_and_looks_ahead_gives_them_as_they_are() {
    let running = Running::new();
    let mut client = running.client();
    let namespace = doc! { "$concat": ["$ns.db", ".", "$ns.coll"] };
    let pipeline = [
        doc! { "$changeStream": { "allChangesForCluster": true, "fullDocument": "updateLookup" } },
        doc! { "$replaceRoot": { "newRoot": { "namespace": namespace, "event": "$$ROOT" } } },
        doc! { "$match": { "$and": [
            { "event.ns.db": { "$regex": "^(?!(admin|config|local)$)", "$options": "i" } },
            { "namespace": { "$regex": "^(?!test\\.secret$).*$", "$options": "i" } },
            { "event.operationType": { "$in": ["insert", "update", "replace", "delete"] } },
        ] } },
        doc! { "$replaceRoot": { "newRoot": "$event" } },
        doc! { "$changeStreamSplitLargeEvent": {} },
    ];
    let command = doc! { "aggregate": 1, "pipeline": pipeline.to_vec(), "cursor": {} };
    let opened = client.admin(command);
    client.ok(doc! { "insert": "secret", "documents": [{ "_id": 1 }] });
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 2 }] });
    client.ok(doc! { "update": "c", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] });
    client.ok(doc! { "drop": "secret" });
    client.ok(doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 1 }] });
    let (mut events, more) = (
        Vec::new(),
        doc! { "getMore": cursor_id(&opened), "collection": "$cmd.aggregate", "maxTimeMS": 5000 },
    );
    while events.len() < 3 {
        events.extend(batch(&client.admin(more.clone())));
    }
    assert_eq!(types(&events), ["insert", "update", "delete"]);
    for event in events {
        assert_eq!(event.get_document("ns").unwrap(), &doc! { "db": "test", "coll": "c" });
        assert!(event.get_document("_id").unwrap().contains_key("_data"));
    }
}
