//! Streamed `hello`: who watches the server's place is told of changes, and asked for nothing in between.

use crate::common;

use bson::{Document, doc};
use common::Running;
use tailwater_wire::MsgFlags;

fn version(answer: &Document) -> Document {
    answer.get_document("topologyVersion").unwrap().clone()
}

#[test]
fn who_knows_the_version_waits_for_another_or_for_the_time() {
    let running = Running::new();
    let mut client = running.client();
    let known = version(&client.ok(doc! { "hello": 1 }));
    let wait =
        |known: &Document, time: i64| doc! { "hello": 1, "topologyVersion": known.clone(), "maxAwaitTimeMS": time };
    assert_eq!(version(&client.ok(wait(&known, 1))), known);
    // Of another server's versions nothing is known, so there is nothing to wait for.
    let mut foreign = known.clone();
    foreign.insert("processId", bson::oid::ObjectId::new());
    assert_eq!(version(&client.ok(wait(&foreign, 600_000))), known);

    client.refused(doc! { "hello": 1, "topologyVersion": known.clone() });
    client.refused(doc! { "hello": 1, "maxAwaitTimeMS": 1 });
    client.refused(wait(&doc! { "counter": 1_i64 }, 1));
    let mut ahead = known;
    ahead.insert("counter", 99_i64);
    client.refused(wait(&ahead, 1));
}

#[test]
fn who_takes_a_stream_is_told_again_and_again_until_the_server_stops() {
    let mut running = Running::new();
    let mut client = running.client();
    let known = version(&client.ok(doc! { "hello": 1 }));
    let mut stream = doc! { "hello": 1, "topologyVersion": known.clone(), "maxAwaitTimeMS": 100_i64, "$db": "admin" };
    client.send(&stream, MsgFlags::EXHAUST_ALLOWED, Vec::new());
    for _ in 0..3 {
        let (answer, flags, _) = client.receive();
        assert_eq!((version(&answer), flags), (known.clone(), MsgFlags::MORE_TO_COME));
    }
    // One that would wait for longer than this test may take.
    let mut waiting = running.client();
    stream.insert("maxAwaitTimeMS", 3_600_000_i64);
    waiting.send(&stream, MsgFlags::EXHAUST_ALLOWED, Vec::new());
    // It has been read when the next on another connection is answered, or is read late and told the same.
    client = running.client();
    client.ok(doc! { "ping": 1 });
    running.stop();
    if let Some((header, rest)) = waiting.receive_bytes() {
        let answer = tailwater_wire::Msg::parse(&header, &rest).unwrap();
        let answer = Document::try_from(answer.body).unwrap();
        assert_eq!(answer.get_i32("code").ok(), Some(91), "{answer}");
        assert_eq!(version(&answer).get_i64("counter").ok(), Some(1));
    }
    assert!(waiting.is_closed());
}
