//! What nobody should send, in sequences at random; in a process of its own.

mod common;

use bson::{Bson, Document, bson, doc};
use common::{Client, Running, batch, cursor_id, peak, session, under_way, until};
use tailwater_wire::{Msg, MsgFlags};

/// What all of it may take of memory. Each of these clients may claim gigabytes; what they send is a few hundred bytes.
const MEMORY_MAX: usize = 64 << 20;

#[test]
fn hostile_sequences_leave_the_server_up_its_memory_bounded_and_other_clients_alone() {
    let running = Running::guarded();
    let mut other = running.root();
    other.ok(doc! { "insert": "c", "documents": [{ "_id": 0 }] });
    let mut random = fastrand::Rng::with_seed(7);
    let before = peak();
    for round in 0..300 {
        let mut hostile = running.client();
        if random.bool() {
            hostile.admin(doc! { "hello": 1 });
        }
        for _ in 0..random.usize(1..6) {
            attack(&mut hostile, &mut random);
        }
        if round % 20 == 0 {
            let found = other.ok(doc! { "find": "c" });
            assert_eq!(batch(&found), [doc! { "_id": 0 }]);
        }
    }
    let status = other.admin(doc! { "serverStatus": 1 });
    assert!(status.get_document("connections").unwrap().get_i64("current").unwrap() <= 1000);
    let taken = peak() - before;
    assert!(taken < MEMORY_MAX, "{taken} bytes");
}

/// One thing that nobody should send; the server may answer it or close.
fn attack(client: &mut Client, random: &mut fastrand::Rng) {
    let documents: [Document; 8] = [
        doc! { "saslContinue": 1, "conversationId": random.i32(..), "payload": 1 },
        doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": common::scram::binary("n,,n=root,r=x") },
        doc! { "getMore": random.i64(..), "collection": "c" },
        doc! { "killCursors": "c", "cursors": [random.i64(..)] },
        doc! { "createUser": "eve", "pwd": "p", "roles": ["root"] },
        doc! { "aggregate": 1, "pipeline": [{ "$changeStream": 1 }], "cursor": {} },
        doc! { "insert": "c", "documents": "none", "lsid": { "id": 1 }, "txnNumber": "x" },
        doc! { "commitTransaction": 1, "txnNumber": 1_i64, "autocommit": false },
    ];
    let mut command = documents[random.usize(..documents.len())].clone();
    command.insert("$db", ["admin", "tailwater", "", "a.b"][random.usize(..4)]);
    let raw = bson::RawDocumentBuf::try_from(&command).unwrap();
    let mut bytes = Msg::new(&raw).to_bytes(1, 0).unwrap();
    match random.usize(..4) {
        // As it is.
        0 => {}
        // Some bytes are others.
        1 => (0..random.usize(1..8)).for_each(|_| {
            let at = random.usize(16..bytes.len());
            bytes[at] = random.u8(..);
        }),
        // Too short, and the rest of it never comes.
        2 => bytes.truncate(random.usize(1..bytes.len())),
        // A length that lies.
        _ => bytes[..4].copy_from_slice(&random.i32(..).to_le_bytes()),
    }
    client.send_bytes(&bytes);
}

/// An expression that no machine computes to its end: 10²⁴ rounds, on any document.
fn endless() -> Bson {
    (0..4).fold(
        bson!({ "$add": ["$$value", 1] }),
        |body, _| bson!({ "$reduce": { "input": { "$range": [0, 1_000_000] }, "initialValue": 0, "in": body } }),
    )
}

/// A client that sends a command and does not read its answer yet.
fn sends(running: &Running, mut command: Document) -> Client {
    let mut client = running.client();
    command.insert("$db", "test");
    client.send(&command, MsgFlags::default(), Vec::new());
    client
}

/// Ends what is carried out of a kind as soon as there is any.
fn kill(other: &mut Client, op: &str) {
    let id = under_way(other, op).get_i32("opid").unwrap();
    other.admin(doc! { "killOp": 1, "op": id });
}

/// One who writes and watches, and does both to the end of the test.
struct Unhindered {
    client: Client,
    watcher: Client,
    cursor: i64,
    written: i32,
}

impl Unhindered {
    fn new(running: &Running) -> Unhindered {
        let mut watcher = running.client();
        let pipeline = [
            doc! { "$changeStream": {} },
            doc! { "$match": { "fullDocument.by": "the other" } },
        ];
        let opened = watcher.ok(doc! { "aggregate": "c", "pipeline": pipeline.to_vec(), "cursor": {} });
        Unhindered {
            client: running.client(),
            watcher,
            cursor: cursor_id(&opened),
            written: 0,
        }
    }

    /// Writes in every way, and sees what was written.
    fn writes_and_watches(&mut self) {
        self.written += 1;
        let id = format!("other {}", self.written);
        self.client
            .ok(doc! { "insert": "c", "documents": [{ "_id": &id, "by": "the other" }] });
        let add = doc! { "q": { "_id": &id }, "u": [{ "$set": { "n": { "$add": [1, 1] } } }] };
        self.client.ok(doc! { "update": "c", "updates": [add] });
        self.client
            .ok(doc! { "delete": "c", "deletes": [{ "q": { "_id": &id }, "limit": 1 }] });
        let more = doc! { "getMore": self.cursor, "collection": "c" };
        let seen = until("the event of a write", || {
            let seen = batch(&self.watcher.ok(more.clone()));
            (!seen.is_empty()).then_some(seen)
        });
        assert_eq!(
            seen[0].get_document("documentKey").unwrap().get_str("_id").ok(),
            Some(&*id)
        );
    }
}

#[test]
fn an_update_that_computes_without_end_holds_up_nobody_and_ends() {
    let running = Running::new();
    let mut other = Unhindered::new(&running);
    other
        .client
        .ok(doc! { "insert": "c", "documents": [{ "_id": 1, "n": 0 }] });
    let set = vec![doc! { "$set": { "n": endless() } }];
    let by_expression = doc! { "_id": 1, "$expr": endless() };
    let statements = [
        doc! { "q": { "_id": 1 }, "u": &set },
        doc! { "q": {}, "u": &set, "multi": true },
        doc! { "q": { "_id": "new" }, "u": &set, "upsert": true },
        doc! { "q": &by_expression, "u": { "$set": { "n": 1 } } },
    ];
    for statement in statements {
        let mut command = doc! { "update": "c", "updates": [statement] };
        let mut hostile = sends(&running, command.clone());
        under_way(&mut other.client, "update");
        other.writes_and_watches();
        kill(&mut other.client, "update");
        let refused = |answer: &Document| {
            let errors = answer.get_array("writeErrors");
            errors.map_or(answer.get_i32("code").ok(), |errors| {
                errors[0].as_document().unwrap().get_i32("code").ok()
            })
        };
        let (answer, ..) = hostile.receive();
        assert_eq!(refused(&answer), Some(11601), "{command}: {answer}");
        command.insert("maxTimeMS", 50);
        let answer = hostile.run(command.clone());
        assert_eq!(refused(&answer), Some(50), "{command}: {answer}");
        other.writes_and_watches();
    }
    let modify =
        doc! { "findAndModify": "c", "query": { "_id": 1 }, "sort": { "n": 1 }, "update": set, "maxTimeMS": 50 };
    assert_eq!(other.client.refused(modify).0, 50);
    let stored = batch(&other.client.ok(doc! { "find": "c" }));
    assert_eq!(stored, [doc! { "_id": 1, "n": 0 }]);
}

#[test]
fn a_pipeline_that_merges_without_end_has_few_steps_while_others_wait() {
    let running = Running::new();
    let mut other = Unhindered::new(&running);
    other.client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    let merge = doc! { "into": "c", "whenMatched": [{ "$set": { "n": endless() } }] };
    let command = doc! { "aggregate": "c", "pipeline": [{ "$merge": merge }], "cursor": {} };
    let mut hostile = sends(&running, command);
    let (answer, ..) = hostile.receive();
    assert_eq!(answer.get_i32("code").ok(), Some(50), "{answer}");
    assert!(answer.get_str("errmsg").unwrap().contains("steps"), "{answer}");
    other.writes_and_watches();
}

#[test]
fn an_update_that_computes_without_end_in_a_transaction_has_few_steps() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    let set = vec![doc! { "$set": { "n": endless() } }];
    let update = doc! {
        "update": "c", "updates": [{ "q": { "_id": 1 }, "u": set }],
        "lsid": session(), "txnNumber": 1_i64, "autocommit": false, "startTransaction": true,
    };
    let answer = client.run(update);
    let error = answer
        .get_array("writeErrors")
        .map_or(&answer, |errors| errors[0].as_document().unwrap());
    assert_eq!(error.get_i32("code").ok(), Some(50), "{answer}");
    assert!(error.get_str("errmsg").unwrap().contains("steps"), "{answer}");
}

#[test]
fn a_validator_without_end_refuses_the_write_by_name() {
    let running = Running::new();
    let mut other = Unhindered::new(&running);
    other
        .client
        .ok(doc! { "create": "guarded", "validator": { "$expr": endless() } });
    let insert = doc! { "insert": "guarded", "documents": [{ "_id": 1 }] };
    let mut hostile = sends(&running, insert);
    under_way(&mut other.client, "insert");
    other.writes_and_watches();
    kill(&mut other.client, "insert");
    let (answer, ..) = hostile.receive();
    let error = answer.get_array("writeErrors").unwrap()[0].as_document().unwrap();
    assert_eq!(error.get_i32("code").ok(), Some(11601), "{answer}");
}

#[test]
fn a_watch_that_computes_without_end_is_ended_and_no_other() {
    let running = Running::new();
    let mut other = Unhindered::new(&running);
    let pipelines = [
        vec![doc! { "$match": { "$expr": endless() } }],
        vec![doc! { "$addFields": { "n": endless() } }],
        vec![doc! { "$project": { "n": endless() } }],
        vec![
            doc! { "$match": { "operationType": "insert" } },
            doc! { "$redact": { "$cond": [endless(), "$$KEEP", "$$PRUNE"] } },
        ],
    ];
    let mut hostile = Vec::new();
    for stages in pipelines {
        let mut client = running.client();
        let pipeline: Vec<Document> = [doc! { "$changeStream": {} }].into_iter().chain(stages).collect();
        let opened = client.ok(doc! { "aggregate": "c", "pipeline": pipeline, "cursor": {} });
        hostile.push((client, cursor_id(&opened)));
    }
    other.writes_and_watches();
    for (client, cursor) in &mut hostile {
        let answer = client.run(doc! { "getMore": *cursor, "collection": "c" });
        assert_eq!(answer.get_i32("code").ok(), Some(50), "{answer}");
        assert!(answer.get_str("errmsg").unwrap().contains("steps"), "{answer}");
        let answer = client.run(doc! { "getMore": *cursor, "collection": "c" });
        assert_eq!(answer.get_i32("code").ok(), Some(43), "{answer}");
    }
    other.writes_and_watches();
}

#[test]
fn a_query_that_computes_without_end_on_one_document_ends() {
    let running = Running::new();
    let mut other = Unhindered::new(&running);
    other.client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    let filter = doc! { "$expr": endless() };
    let group = doc! { "$group": { "_id": endless() } };
    let commands = [
        (doc! { "find": "c", "filter": &filter }, "query"),
        (doc! { "find": "c", "projection": { "n": endless() } }, "query"),
        (doc! { "count": "c", "query": &filter }, "command"),
        (doc! { "distinct": "c", "key": "_id", "query": &filter }, "command"),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$match": &filter }], "cursor": {} },
            "command",
        ),
        (doc! { "aggregate": "c", "pipeline": [group], "cursor": {} }, "command"),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$redact": { "$cond": [endless(), "$$KEEP", "$$PRUNE"] } }], "cursor": {} },
            "command",
        ),
        (
            doc! { "delete": "c", "deletes": [{ "q": &filter, "limit": 1 }] },
            "remove",
        ),
    ];
    for (mut command, op) in commands {
        let code = |answer: &Document| match answer.get_array("writeErrors") {
            Ok(errors) => errors[0].as_document().unwrap().get_i32("code").ok(),
            Err(_) => answer.get_i32("code").ok(),
        };
        // In the middle of a document, when it is killed …
        let mut hostile = sends(&running, command.clone());
        let carried_out = |client: &mut Client| {
            let shown = client.run_on("admin", doc! { "currentOp": true, "op": op, "ns": "test.c" });
            let first = shown.get_array("inprog").unwrap().first().cloned();
            first.map(|found| found.as_document().unwrap().get_i32("opid").unwrap())
        };
        let await_start = |client: &mut Client| until("the command to begin", || carried_out(client));
        let id = await_start(&mut other.client);
        other.writes_and_watches();
        other.client.admin(doc! { "killOp": 1, "op": id });
        let (answer, ..) = hostile.receive();
        assert_eq!(code(&answer), Some(11601), "{command}: {answer}");
        // … when its time is over …
        command.insert("maxTimeMS", 50);
        let answer = hostile.run(command.clone());
        assert_eq!(code(&answer), Some(50), "{command}: {answer}");
        // … and when nobody waits for it any more.
        command.remove("maxTimeMS");
        let gone = sends(&running, command);
        await_start(&mut other.client);
        drop(gone);
        until("the end of what nobody waits for", || {
            carried_out(&mut other.client).is_none().then_some(())
        });
    }
}

#[test]
fn what_is_computed_before_its_turn_is_of_the_document_as_it_is_then() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 50;
    let running = Running::new();
    running
        .client()
        .ok(doc! { "insert": "c", "documents": [{ "_id": 1, "n": 0 }] });
    // So much that others come between.
    let slow = bson!({ "$reduce": { "input": { "$range": [0, 5_000] }, "initialValue": "$n", "in": "$$value" } });
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (mut client, slow) = (running.client(), slow.clone());
            scope.spawn(move || {
                let add = vec![doc! { "$set": { "n": { "$add": [slow, 1] } } }];
                let statement = doc! { "q": { "_id": 1 }, "u": add, "multi": writer % 2 == 0 };
                for _ in 0..ROUNDS {
                    let answer = client.ok(doc! { "update": "c", "updates": [&statement], "writeConcern": { "w": 1 } });
                    assert_eq!(answer.get_i32("nModified").ok(), Some(1), "{answer}");
                }
            });
        }
    });
    let found = batch(&running.client().ok(doc! { "find": "c" }));
    assert_eq!(
        found,
        [doc! { "_id": 1, "n": i32::try_from(WRITERS * ROUNDS).unwrap() }]
    );
}
