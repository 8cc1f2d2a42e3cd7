//! What nobody should send, in sequences at random; in a process of its own.

mod common;

use bson::{Document, doc};
use common::{Client, Running, peak};
use tailwater_wire::Msg;

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
            assert_eq!(common::batch(&found), [doc! { "_id": 0 }]);
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
