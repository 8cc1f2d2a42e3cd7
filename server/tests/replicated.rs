//! A server over a store that is replicated: what drivers are told has been acknowledged has been, by the members.

mod common;

use std::time::Duration;

use bson::{Document, doc};
use common::{Client, Running};
use tailwater::{LogView, ReadConcern, Store, log_directory};

const MEMBERS: [&str; 2] = ["a", "b"];
const HEARTBEAT: Duration = Duration::from_millis(100);

fn insert(client: &mut Client, id: i32, concern: Option<Document>) -> Document {
    let mut command = doc! { "insert": "c", "documents": [{ "_id": id }] };
    if let Some(concern) = concern {
        command.insert("writeConcern", concern);
    }
    client.run(command)
}

fn failed(answer: &Document) -> Option<i32> {
    answer.get_document("writeConcernError").ok()?.get_i32("code").ok()
}

#[test]
fn a_write_is_acknowledged_by_as_many_members_as_it_asks_for() {
    let running = Running::new();
    let mut client = running.client();
    // Nobody else could have it.
    let alone = insert(&mut client, 0, Some(doc! { "w": 2 }));
    assert_eq!(alone.get_i32("code").ok(), Some(100), "{alone}");
    assert_eq!(failed(&insert(&mut client, 1, Some(doc! { "w": "majority" }))), None);

    let primary = running
        .store
        .primary("a")
        .members(MEMBERS)
        .heartbeat(HEARTBEAT)
        .start()
        .unwrap();
    for (id, concern) in [
        (2, doc! { "w": "majority", "wtimeout": 50 }),
        (3, doc! { "w": 2, "wtimeout": 50 }),
    ] {
        let answer = insert(&mut client, id, Some(concern.clone()));
        assert_eq!(
            (answer.get_i32("n").ok(), failed(&answer)),
            (Some(1), Some(64)),
            "{concern} {answer}"
        );
    }
    assert_eq!(failed(&insert(&mut client, 4, Some(doc! { "w": 1 }))), None);

    let there = tempfile::tempdir().unwrap();
    let _follower = Store::follower(there.path(), "b", primary.address().to_string())
        .members(MEMBERS)
        .heartbeat(HEARTBEAT)
        .start()
        .unwrap();
    // Without a write concern a majority, as in MongoDB.
    for (id, concern) in [
        (5, Some(doc! { "w": "majority" })),
        (6, Some(doc! { "w": 2 })),
        (7, None),
    ] {
        let answer = insert(&mut client, id, concern);
        assert_eq!((answer.get_i32("n").ok(), failed(&answer)), (Some(1), None), "{answer}");
        // Its log may have come as far before its store is open.
        let log = LogView::open(log_directory(there.path())).unwrap();
        let held = log.newest(ReadConcern::Durable);
        assert!(held >= running.store.applied(), "{id}: {held}");
    }
    let hello = client.run(doc! { "hello": 1 });
    assert_eq!(hello.get_bool("isWritablePrimary").ok(), Some(true));
}
