//! What a user should not send who has logged in, in sequences at random: compressed messages that are broken, answers without end
//! that nobody takes, floods that want no answer, sessions, transactions and cursors in every order; in a process of its own.

mod common;

use bson::{Bson, Document, doc};
use common::{Client, Running, batch, cursor_id, peak, session};
use tailwater_wire::{Compressor, HEADER_BYTES, Msg, MsgFlags};

/// What all of it may take of memory.
const MEMORY_MAX: usize = 96 << 20;

const ROUNDS: i32 = 120;

/// What the attackers share: they reuse what others of them have begun.
struct Shared {
    random: fastrand::Rng,
    sessions: Vec<Document>,
    cursors: Vec<i64>,
}

#[test]
fn hostile_users_leave_the_server_up_its_memory_bounded_and_other_clients_alone() {
    let running = Running::guarded_with(|options| options.message_memory_max = 64 << 20);
    let mut root = running.root();
    let role = doc! { "role": "readWrite", "db": "attack" };
    root.admin(doc! { "createUser": "eve", "pwd": "p", "roles": [role] });
    let bulk: Vec<Document> = (0..200).map(|id| doc! { "_id": id, "s": "x".repeat(1000) }).collect();
    root.run_on("attack", doc! { "insert": "bulk", "documents": bulk });

    // Somebody else, who writes, reads and watches all the while.
    let watch = doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    let watch = cursor_id(&root.ok(watch));
    let mut shared = Shared {
        random: fastrand::Rng::with_seed(11),
        sessions: (0..4).map(|_| session()).collect(),
        cursors: Vec::new(),
    };
    let before = peak();
    let mut written = 0;
    for round in 0..ROUNDS {
        let mut eve = running.client();
        eve.login("eve", "p");
        for _ in 0..shared.random.usize(1..12) {
            let command = command(&mut shared);
            let Some(answer) = ask(&mut eve, &command, MsgFlags::default()) else {
                break;
            };
            assert!(answer.get_f64("ok").is_ok(), "{command}: {answer}");
            let cursor = answer.get_document("cursor").and_then(|cursor| cursor.get_i64("id"));
            shared.cursors.extend(cursor.into_iter().filter(|id| *id != 0));
        }
        finish(eve, &mut shared);
        if round % 10 == 0 {
            root.ok(doc! { "insert": "c", "documents": [{ "_id": written }] });
            written += 1;
            let found = root.ok(doc! { "find": "c", "sort": { "_id": 1 } });
            assert_eq!(batch(&found).len(), usize::try_from(written).unwrap());
        }
    }
    let mut seen = Vec::new();
    while seen.len() < usize::try_from(written).unwrap() {
        let more = root.ok(doc! { "getMore": watch, "collection": "c" });
        let key = |event: Document| event.get_document("documentKey").unwrap().get_i32("_id").unwrap();
        seen.extend(batch(&more).into_iter().map(key));
    }
    assert_eq!(seen, (0..written).collect::<Vec<_>>(), "every event once, in order");
    let taken = peak() - before;
    assert!(taken < MEMORY_MAX, "{taken} bytes");
    // Nothing goes on for those who have gone.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let status = root.admin(doc! { "serverStatus": 1 });
        let connections = status.get_document("connections").unwrap();
        if connections.get_i64("current").unwrap() == 1 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{connections}");
        std::thread::yield_now();
    }
}

/// The answer; nothing when the server has closed.
fn ask(client: &mut Client, command: &Document, flags: MsgFlags) -> Option<Document> {
    client.send(command, flags, Vec::new());
    let (header, rest) = client.receive_bytes()?;
    let msg = Msg::parse(&header, &rest).unwrap();
    Document::try_from(msg.body).ok()
}

/// A command as it is meant, in an order in which it is not; now and then with values that it does not have.
fn command(shared: &mut Shared) -> Document {
    let random = &mut shared.random;
    let lsid = random.choice(&shared.sessions).unwrap().clone();
    let cursor = random.choice(&shared.cursors).copied().unwrap_or(-1);
    let number: Bson = match random.usize(..12) {
        0 => "x".into(),
        1 => i64::MIN.into(),
        2 => i64::MAX.into(),
        n => i64::try_from(n).unwrap().into(),
    };
    let id = random.i32(..50);
    let mut command = match random.usize(..10) {
        0 => doc! { "insert": "c", "documents": [{ "_id": id }], "txnNumber": number },
        1 => doc! { "insert": "c", "documents": [{ "_id": id }], "txnNumber": number, "autocommit": false },
        2 => doc! { "find": "bulk", "batchSize": 1, "txnNumber": number, "autocommit": false },
        3 => doc! { "commitTransaction": 1, "txnNumber": number, "autocommit": false },
        4 => doc! { "abortTransaction": 1, "txnNumber": number, "autocommit": false },
        5 => doc! { "getMore": cursor, "collection": "bulk", "batchSize": 1, "maxTimeMS": 1 },
        6 => doc! { "killCursors": "bulk", "cursors": [cursor, cursor] },
        7 => doc! { "endSessions": [lsid.clone()] },
        8 => doc! { "find": "bulk", "batchSize": 1 },
        _ => doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} },
    };
    if command.contains_key("autocommit") && random.bool() {
        command.insert("startTransaction", true);
    }
    match random.usize(..10) {
        0 => {}
        1 => drop(command.insert("lsid", doc! { "id": 1 })),
        _ => drop(command.insert("lsid", lsid)),
    }
    if matches!(
        command.keys().next().map(String::as_str),
        Some("commitTransaction" | "abortTransaction")
    ) {
        command.insert("$db", "admin");
    } else {
        command.insert("$db", "attack");
    }
    command
}

/// The last that a connection does.
fn finish(mut eve: Client, shared: &mut Shared) {
    match shared.random.usize(..4) {
        // An answer without end is asked for, and nobody takes it.
        0 => {
            let find = doc! { "find": "bulk", "batchSize": 1, "$db": "attack" };
            let Some(answer) = ask(&mut eve, &find, MsgFlags::default()) else {
                return;
            };
            let more = doc! { "getMore": cursor_id(&answer), "collection": "bulk", "batchSize": 1, "$db": "attack" };
            ask(&mut eve, &more, MsgFlags::EXHAUST_ALLOWED);
        }
        // A flood that wants no answer.
        1 => (0..200).for_each(|_| {
            let command = command(shared);
            eve.send(&command, MsgFlags::MORE_TO_COME, Vec::new());
        }),
        // A flood whose answers nobody reads.
        2 => (0..100).for_each(|_| {
            let find = doc! { "find": "bulk", "batchSize": 100, "singleBatch": true, "$db": "attack" };
            eve.send(&find, MsgFlags::default(), Vec::new());
        }),
        _ => {
            let bytes = compressed(shared);
            eve.send_bytes(&bytes);
        }
    }
}

/// A compressed message in which something is wrong.
fn compressed(shared: &mut Shared) -> Vec<u8> {
    let command = command(shared);
    let random = &mut shared.random;
    let raw = bson::RawDocumentBuf::try_from(&command).unwrap();
    let message = Msg::new(&raw).to_bytes(1, 0).unwrap();
    let compressor = random.choice(Compressor::ALL).unwrap();
    let mut bytes = compressor.compress_message(&message).unwrap();
    match random.usize(..4) {
        // It says that it is another kind of message, or compressed in itself, …
        0 => bytes[HEADER_BYTES..HEADER_BYTES + 4]
            .copy_from_slice(&[2012_i32, 2004, 1, 7][random.usize(..4)].to_le_bytes()),
        // … that it will be larger than it is, or than it may be, …
        1 => {
            let claim = [-1, 0, 100, 47_000_000, i32::MAX][random.usize(..5)];
            bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&i32::to_le_bytes(claim));
        }
        // … or that somebody else has compressed it.
        2 => bytes[HEADER_BYTES + 8] = random.u8(..),
        // Some bytes of it are others.
        _ => (0..random.usize(1..8)).for_each(|_| {
            let at = random.usize(HEADER_BYTES..bytes.len());
            bytes[at] = random.u8(..);
        }),
    }
    bytes
}
