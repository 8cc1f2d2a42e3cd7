//! What clients can take of the server at most, and who may reach it at all.

use crate::common;

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bson::{Document, doc};
use common::{Running, cursor_id, until};
use tailwater::Store;
use tailwater_auth::{Authentication, Authority, Identity, UserChange, UserName};
use tailwater_server::{Server, ServerError, ServerOptions};
use tailwater_wire::{Msg, MsgFlags};

#[test]
fn a_connection_that_says_nothing_or_never_finishes_its_first_message_is_closed() {
    let running = Running::with(|options| options.handshake_timeout = Duration::from_millis(300));
    assert!(running.client().is_closed(), "silent");

    let mut drip = running.client();
    let hello = Msg::new(&bson::rawdoc! { "hello": 1, "$db": "admin" })
        .to_bytes(1, 0)
        .unwrap();
    let mut stream = drip.stream.try_clone().unwrap();
    let feeder = thread::spawn(move || {
        // Each byte in good time, and all of them not: until the server has closed.
        for byte in hello.iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(drip.is_closed(), "drop by drop");
    feeder.join().unwrap();

    // Whoever has said hello may be silent for longer.
    let mut patient = running.client();
    patient.ok(doc! { "hello": 1 });
    thread::sleep(Duration::from_millis(600));
    patient.ok(doc! { "ping": 1 });
}

/// Connections whose clients have gone without a word, and those that were never used: as many as there may be.
#[test]
fn half_open_connections_make_room_for_others() {
    let running = Running::with(|options| {
        options.connections_max = 400;
        options.handshake_timeout = Duration::from_millis(300);
    });
    let silent: Vec<_> = (0..400).map(|_| running.client()).collect();
    // None of them ever says anything; each is closed, and its place is another's.
    let mut client = until("the place of a silent connection", || {
        let mut client = running.client();
        client.run_if_open(doc! { "ping": 1 }).map(|_| client)
    });
    for mut silent in silent {
        assert!(silent.is_closed());
    }
    client.ok(doc! { "ping": 1 });
}

/// Whether a command with that much in it is answered.
fn is_answered(client: &mut common::Client, bytes: usize) -> bool {
    let ping = doc! { "ping": 1, "comment": "x".repeat(bytes), "$db": "admin" };
    client.send(&ping, MsgFlags::default(), Vec::new());
    client.receive_bytes().is_some()
}

#[test]
fn only_who_has_logged_in_sends_large_messages() {
    let running = Running::guarded();
    let (mut stranger, mut root) = (running.client(), running.root());
    assert!(is_answered(&mut stranger, 10 << 10));
    assert!(!is_answered(&mut stranger, 100 << 10));
    assert!(is_answered(&mut root, 100 << 10));
}

#[test]
fn messages_have_no_more_memory_than_they_are_given_and_small_ones_always_some() {
    let running = Running::with(|options| options.message_memory_max = 1 << 20);
    let mut client = running.client();
    assert!(is_answered(&mut client, 900 << 10));
    // By the next answer to the same client all of the message before is given back, which an answer may overtake.
    assert!(is_answered(&mut client, 10));
    assert!(!is_answered(&mut running.client(), 1100 << 10));
    // What was taken is given back.
    assert!(is_answered(&mut running.client(), 900 << 10));
    let running = Running::with(|options| options.message_memory_max = 0);
    assert!(is_answered(&mut running.client(), 10 << 10));
}

#[test]
fn who_only_promises_a_large_message_takes_nothing_from_others() {
    let running = Running::with(|options| options.message_memory_max = 1 << 20);
    let promises: Vec<_> = (0..20)
        .map(|_| {
            let mut client = running.client();
            client.ok(doc! { "ping": 1 });
            // Length, number, answer to, opcode.
            let header = [40 << 20, 9, 0, 2013_i32].map(i32::to_le_bytes);
            client.send_bytes(header.as_flattened());
            client
        })
        .collect();
    assert!(is_answered(&mut running.client(), 900 << 10));
    drop(promises);
}

#[test]
fn answers_have_no_more_memory_than_they_are_given_and_small_ones_always_some() {
    let running = Running::with(|options| options.message_memory_max = 4 << 20);
    let mut client = running.client();
    for id in 0..3 {
        client.ok(doc! { "insert": "c", "documents": [{ "_id": id, "text": "x".repeat(900 << 10) }] });
    }
    // Twice as much while it is made.
    let find = |limit: i32| doc! { "find": "c", "limit": limit };
    assert!(client.run_if_open(find(1)).is_some());
    assert!(client.run_if_open(find(3)).is_none());
    let mut client = running.client();
    assert!(client.run_if_open(doc! { "count": "c" }).is_some());
    assert!(client.run_if_open(find(1)).is_some());
}

#[test]
fn what_sorts_and_groups_of_standing_cursors_hold_together_is_bounded() {
    let running = Running::with(|options| options.query_memory_max = 8 << 20);
    let mut client = running.client();
    for first in [0, 1000] {
        let documents: Vec<Document> = (first..first + 1000)
            .map(|id| doc! { "_id": id, "text": "x".repeat(1000) })
            .collect();
        client.ok(doc! { "insert": "c", "documents": documents });
    }
    let cursor = doc! { "batchSize": 1 };
    let group = doc! { "$group": { "_id": "$_id", "all": { "$push": "$text" } } };
    for query in [
        doc! { "find": "c", "sort": { "text": 1 }, "batchSize": 1 },
        doc! { "aggregate": "c", "pipeline": [{ "$sort": { "text": 1 } }], "cursor": cursor.clone() },
        doc! { "aggregate": "c", "pipeline": [group], "cursor": cursor.clone() },
        doc! { "aggregate": "c", "pipeline": [{ "$sample": { "size": 2000 } }], "cursor": cursor.clone() },
    ] {
        // Each holds between one and eight.
        let mut standing = Vec::new();
        let refused = loop {
            let answer = client.run(query.clone());
            match answer.get_f64("ok").unwrap() {
                0.0 => break answer,
                _ => standing.push(cursor_id(&answer)),
            }
        };
        assert_eq!(refused.get_str("codeName").unwrap(), "ExceededMemoryLimit", "{query}");
        assert!((1..8).contains(&standing.len()), "{query}: {}", standing.len());
        // What needs none of it goes on.
        client.ok(doc! { "find": "c" });
        client.ok(doc! { "killCursors": "c", "cursors": standing });
        let again = cursor_id(&client.ok(query));
        client.ok(doc! { "killCursors": "c", "cursors": [again] });
    }
}

#[test]
fn what_standing_cursors_were_asked_for_is_bounded_as_well() {
    let running = Running::with(|options| options.query_memory_max = 4 << 20);
    let mut client = running.client();
    let names: Vec<String> = (0..1000).map(|n| format!("{n:01100}")).collect();
    let stages = [
        doc! { "$changeStream": {} },
        doc! { "$match": { "fullDocument.name": { "$in": names } } },
    ];
    let watch = doc! { "aggregate": "c", "pipeline": stages.to_vec(), "cursor": {} };
    let mut standing = Vec::new();
    while standing.len() < 10 {
        let answer = client.run(watch.clone());
        if answer.get_f64("ok").unwrap() == 0.0 {
            assert_eq!(answer.get_i32("code").unwrap(), 146, "{answer}");
            break;
        }
        standing.push(cursor_id(&answer));
    }
    assert_eq!(standing.len(), 3);
    client.ok(doc! { "killCursors": "c", "cursors": standing });
    client.ok(watch);
}

#[test]
fn cursors_are_limited_for_each_user_and_for_all() {
    let running = Running::guarded_with(|options| {
        options.cursors_per_user_max = 2;
        options.cursors_max = 3;
    });
    let mut root = running.root();
    root.ok(doc! { "insert": "c", "documents": [{}, {}] });
    for user in ["ada", "bob"] {
        root.admin(doc! { "createUser": user, "pwd": "p", "roles": ["readAnyDatabase"] });
    }
    let find = doc! { "find": "c", "batchSize": 1 };
    let (mut ada, mut bob) = (running.client(), running.client());
    ada.login("ada", "p");
    bob.login("bob", "p");
    let first = cursor_id(&ada.ok(find.clone()));
    ada.ok(find.clone());
    assert_eq!(ada.refused(find.clone()).0, 146, "of one user");
    bob.ok(find.clone());
    assert_eq!(bob.refused(find.clone()).0, 146, "of all");
    ada.ok(doc! { "killCursors": "c", "cursors": [first] });
    bob.ok(find);
}

#[test]
fn one_address_does_not_take_the_connections_of_others() {
    let running = Running::with(|options| options.connections_per_address_max = Some(2));
    let (mut first, mut second) = (running.client(), running.client());
    first.ok(doc! { "ping": 1 });
    second.ok(doc! { "ping": 1 });
    assert!(running.client().is_closed());
    drop(first);
    // The place is free as soon as the server has seen the end of the first.
    until("the place of the first", || {
        running.client().run_if_open(doc! { "ping": 1 })
    });
    second.ok(doc! { "ping": 1 });
}

#[test]
fn cursors_since_which_too_much_was_written_are_closed_and_streams_are_not() {
    let running = Running::with(|options| options.cursor_memory_max = 1 << 20);
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }, { "_id": 3 }] });
    let find = doc! { "find": "c", "batchSize": 1, "noCursorTimeout": true };
    let old = cursor_id(&client.ok(find.clone()));
    let stream = client.ok(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} });
    let text = "x".repeat(300 << 10);
    for _ in 0..5 {
        client.ok(doc! { "insert": "d", "documents": [{ "text": text.as_str() }] });
    }
    let more = |id: i64| doc! { "getMore": id, "collection": "c", "batchSize": 1 };
    let status = doc! { "serverStatus": 1 };
    while open_cursors(&mut client, &status) > 1 {
        thread::yield_now();
    }
    assert_eq!(client.refused(more(old)).0, 43);
    client.ok(doc! { "getMore": cursor_id(&stream), "collection": "c", "maxTimeMS": 1 });
    let young = cursor_id(&client.ok(find));
    client.ok(more(young));
}

fn open_cursors(client: &mut common::Client, status: &Document) -> i64 {
    let answer = client.admin(status.clone());
    let cursors = answer.get_document("metrics").unwrap().get_document("cursor").unwrap();
    cursors.get_document("open").unwrap().get_i64("total").unwrap()
}

#[test]
fn a_cursor_without_time_out_and_session_ends_when_a_session_would() {
    let running = Running::with(|options| {
        options.cursor_timeout = Duration::from_millis(1);
        options.session_timeout = Duration::from_millis(200);
    });
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] });
    client.ok(doc! { "find": "c", "batchSize": 1, "noCursorTimeout": true });
    let status = doc! { "serverStatus": 1 };
    while open_cursors(&mut client, &status) > 0 {
        thread::yield_now();
    }
}

/// Whether a server can be bound to that address; with the error if not.
fn bind(
    authentication: Authentication,
    with_user: bool,
    change: impl FnOnce(&mut ServerOptions),
) -> Option<ServerError> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let authority = Authority::open(store.clone(), authentication).unwrap();
    if with_user {
        let user = UserChange {
            password: Some("p".into()),
            ..UserChange::default()
        };
        let here = Identity::nobody([127, 0, 0, 1].into());
        authority
            .create_user(&here, &UserName::new("admin", "ada"), &user)
            .unwrap();
    }
    let mut options = ServerOptions {
        bind: "0.0.0.0:0".parse().unwrap(),
        ..ServerOptions::default()
    };
    change(&mut options);
    Server::bind(store, Arc::new(authority), options).err()
}

#[test]
fn an_address_that_others_reach_needs_users_and_encryption() {
    use Authentication::{Off, OnceThereAreUsers, Required};
    for (authentication, with_user) in [(OnceThereAreUsers, false), (Off, false), (Off, true)] {
        let error = bind(authentication, with_user, |options| options.allow_plaintext = true);
        assert!(
            matches!(error, Some(ServerError::WithoutUsers { .. })),
            "{authentication:?}"
        );
    }
    for (authentication, with_user) in [(OnceThereAreUsers, true), (Required, false)] {
        let error = bind(authentication, with_user, |_| {});
        assert!(
            matches!(error, Some(ServerError::WithoutTls { .. })),
            "{authentication:?}"
        );
        let error = bind(authentication, with_user, |options| options.allow_plaintext = true);
        assert!(error.is_none(), "{authentication:?}");
    }
    let error = bind(Off, false, |options| options.bind = "127.0.0.1:0".parse().unwrap());
    assert!(error.is_none());
}
