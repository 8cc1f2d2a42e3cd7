//! Real stores over loopback, in one process: copies, failovers, rollbacks, refusals.

use crate::stores;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::rawdoc;
use stores::{
    HEARTBEAT, LONG, MEMBERS, assert_same, assert_same_segments, eventually, follower, open, options, primary, write,
};
use tailwater_oplog::{Member, OpId};
use tailwater_replication::decision::number_of;
use tailwater_replication::{Error, FollowerEvent, Primary, Refusal, WriteConcern};
use tailwater_storage::{ErrorCode, IndexModel};
use tempfile::TempDir;

#[test]
fn a_follower_copies_the_state_while_writes_go_on_and_then_follows() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let things = store.collection("shop", "things").unwrap();
    things.create_index(&IndexModel::new("group", 1)).unwrap();
    write(&store, 0, 2000);
    // What the copy covers need not be in the log any more.
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(store.log().watermarks().oldest > OpId::FIRST);

    let serving = primary(&store, "a", &[]);
    let writing = Arc::new(AtomicBool::new(true));
    let writer = {
        let (store, writing) = (store.clone(), Arc::clone(&writing));
        std::thread::spawn(move || {
            let mut from = 10_000;
            while writing.load(Ordering::SeqCst) {
                write(&store, from, 20);
                from += 20;
            }
        })
    };
    let copied = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&copied);
    let following = follower(b.path(), "b", serving.address(), &[])
        .on_event(move |event| {
            if let FollowerEvent::Copying { bytes, .. } = event {
                *seen.lock().unwrap() = *bytes;
            }
        })
        .start()
        .unwrap();
    following.wait_for(store.log().watermarks().durable, LONG).unwrap();
    writing.store(false, Ordering::SeqCst);
    writer.join().unwrap();
    assert!(*copied.lock().unwrap() > 0);

    let last = write(&store, 5000, 300);
    assert_same(&following, &store, last);
    let copy = following.store().unwrap();
    let refused = copy
        .collection("shop", "things")
        .unwrap()
        .insert_one(&rawdoc! { "_id": -1 })
        .unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotWritablePrimary));
    assert_eq!(refused.code().unwrap().number(), 10107);

    // Across a restart of both.
    drop(copy);
    following.stop();
    drop(following);
    drop(serving);
    let last = write(&store, 6000, 100);
    let serving = primary(&store, "a", &[]);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert_same(&following, &store, last);
    following.stop();
    drop((following, serving, things));
    store.close().unwrap();
    assert_same_segments(&a, &b);
}

#[test]
fn a_majority_holds_what_is_acknowledged_and_a_failover_keeps_it() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let of_b = follower(b.path(), "b", serving.address(), &MEMBERS).start().unwrap();
    let of_c = follower(c.path(), "c", serving.address(), &MEMBERS).start().unwrap();
    let last = write(&store, 0, 50);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    let timeout = serving.wait(last, WriteConcern::members(4).unwrap(), Duration::from_millis(10));
    assert!(matches!(timeout, Err(Error::WriteConcernTimeout { .. })));
    assert!(serving.term().is_elected());

    // The primary goes on, but nobody hears it.
    of_b.stop();
    of_c.stop();
    drop(of_c);
    write(&store, 1000, 20);
    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &MEMBERS);
    let of_c = follower(c.path(), "c", now_serving.address(), &MEMBERS)
        .start()
        .unwrap();
    let last = write(&promoted, 2000, 30);
    now_serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&of_c, &promoted, last);

    // Nothing is acknowledged at majority over there any more; and the first who knows better tells it.
    let alone = write(&store, 1100, 1);
    let unheard = serving.wait(alone, WriteConcern::Majority, Duration::from_millis(50));
    assert!(matches!(unheard, Err(Error::WriteConcernTimeout { .. })));
    of_c.stop();
    drop(of_c);
    let visitor = follower(c.path(), "c", serving.address(), &MEMBERS).start().unwrap();
    let deposed = serving.wait(alone, WriteConcern::Majority, LONG);
    assert!(
        matches!(deposed, Err(Error::NotPrimary { promised: Some(_) })),
        "{deposed:?}"
    );
    assert!(!serving.is_primary());
    let things = store.collection("shop", "things").unwrap();
    assert!(things.insert_one(&rawdoc! { "_id": -1 }).is_err());
    drop(things);
    visitor.stop();
    drop(visitor);

    // The old primary comes back: what only it had goes into a file.
    drop(serving);
    store.close().unwrap();
    let rolled_back = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&rolled_back);
    let of_a = follower(a.path(), "a", now_serving.address(), &MEMBERS)
        .on_event(move |event| {
            if let FollowerEvent::RolledBack { file, .. } = event {
                *seen.lock().unwrap() = Some(file.clone());
            }
        })
        .start()
        .unwrap();
    let of_c = follower(c.path(), "c", now_serving.address(), &MEMBERS)
        .start()
        .unwrap();
    let last = write(&promoted, 3000, 10);
    now_serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    assert_same(&of_a, &promoted, last);
    assert_same(&of_c, &promoted, last);
    let file = rolled_back.lock().unwrap().take().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.lines().count() >= 20);
    assert!(text.contains(r#""_id":{"$numberInt":"1003"}"#), "{text}");
    assert_eq!(
        promoted
            .collection("shop", "things")
            .unwrap()
            .find_one(&rawdoc! { "_id": 1003 })
            .unwrap(),
        None
    );
}

/// What only it had was never given to its engine, so nothing has to be made anew: neither from a log that does not go back to the
/// beginning, nor from a copy.
#[test]
fn a_primary_whose_log_was_trimmed_cuts_what_only_it_had_and_keeps_its_state() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let of_b = follower(b.path(), "b", serving.address(), &MEMBERS).start().unwrap();
    let of_c = follower(c.path(), "c", serving.address(), &MEMBERS).start().unwrap();
    write(&store, 0, 6000);
    let mut id = 7000;
    eventually("the log is trimmed, as the followers have it", || {
        id += 1;
        let last = write(&store, id, 1);
        serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        store.trim_log(last).unwrap() > OpId::FIRST
    });

    of_b.stop();
    of_c.stop();
    drop(of_c);
    write(&store, 10_000, 20);
    drop(serving);
    store.close().unwrap();
    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &MEMBERS);
    let _of_c = follower(c.path(), "c", now_serving.address(), &MEMBERS)
        .start()
        .unwrap();
    let last = write(&promoted, 20_000, 10);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let of_a = follower(a.path(), "a", now_serving.address(), &MEMBERS)
        .on_event(move |event| {
            let event = match event {
                FollowerEvent::RolledBack { .. } => "rolled back",
                FollowerEvent::Resyncing { .. } | FollowerEvent::Copying { .. } => "copied",
                _ => return,
            };
            seen.lock().unwrap().push(event);
        })
        .start()
        .unwrap();
    now_serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    assert_same(&of_a, &promoted, last);
    assert_eq!(*events.lock().unwrap(), ["rolled back"]);
}

#[test]
fn a_term_that_is_begun_beneath_a_primary_is_acknowledged_by_nobody() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let of_b = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let last = write(&store, 0, 20);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();

    // There is one primary over a store.
    let again = Primary::builder(store.clone(), "a").members(["a", "b"]).start();
    assert!(matches!(again, Err(Error::AlreadyPrimary)), "{again:?}");
    let last = write(&store, 100, 20);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();

    // Whoever has the store can begin a term all the same: one that nobody has agreed to.
    store.promote(Member::new(0).unwrap()).unwrap();
    assert!(!store.term().is_elected());
    let unelected = write(&store, 200, 20);
    let counted = serving.wait(unelected, WriteConcern::Majority, LONG);
    assert!(
        matches!(counted, Err(Error::Superseded { term }) if term == store.term()),
        "{counted:?}"
    );
    assert!(!serving.is_primary() && serving.majority() < unelected);
    assert!(matches!(serving.join(), Err(Error::Superseded { .. })));
    // The store is still one that takes writes, and the next primary over it is elected for all that is there.
    let port = serving.address();
    drop(serving);
    let serving = Primary::builder(store.clone(), "a").members(["a", "b"]);
    let serving = serving.heartbeat(HEARTBEAT).listen(port).start().unwrap();
    serving.wait(unelected, WriteConcern::Majority, LONG).unwrap();
    assert_same(&of_b, &store, unelected);
}

#[test]
fn a_primary_that_died_comes_back_as_a_follower_and_deposes_nobody() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let of_b = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let last = write(&store, 0, 20);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    of_b.stop();
    write(&store, 500, 5);
    // It dies without having heard of anything.
    drop(serving);
    store.close().unwrap();

    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &["a", "b"]);
    let of_a = follower(a.path(), "a", now_serving.address(), &["a", "b"])
        .start()
        .unwrap();
    let last = write(&promoted, 1000, 20);
    now_serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&of_a, &promoted, last);
    assert!(now_serving.is_primary() && of_a.directory().join("rollback").exists());
}

#[test]
fn more_to_roll_back_than_is_allowed_is_an_error_and_nothing_is_cut() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let of_b = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let shared = write(&store, 0, 20);
    of_b.wait_for(shared, LONG).unwrap();
    of_b.stop();
    drop(serving);
    let alone = write(&store, 1000, 30);
    let digest = store.digest().unwrap();
    store.close().unwrap();

    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &[]);
    // Nor is it replaced: that would take away the same.
    for may_be_replaced in [false, true] {
        let builder = follower(a.path(), "a", now_serving.address(), &[]).rollback_bytes_max(100);
        let builder = if may_be_replaced { builder.resync() } else { builder };
        let ended = builder.start().unwrap().join();
        let Err(Error::RollbackTooLarge { last, bytes, max }) = &ended else {
            panic!("{ended:?}");
        };
        assert_eq!((*last, *max), (shared, 100));
        assert!(*bytes > 100);
        let said = ended.unwrap_err().to_string();
        assert!(
            said.contains("rollback_bytes_max") && said.contains("--rollback-max"),
            "{said}"
        );
        assert!(!a.path().join("rollback").exists());
        let store = open(a.path());
        assert_eq!(store.log().watermarks().durable, alone);
        assert_eq!(store.digest().unwrap(), digest);
        store.close().unwrap();
    }
    // Whoever has looked at them allows more.
    let builder = follower(a.path(), "a", now_serving.address(), &[]).rollback_bytes_max(1 << 20);
    let of_a = builder.start().unwrap();
    let last = write(&promoted, 2000, 60);
    assert!(last > alone);
    assert_same(&of_a, &promoted, last);
    let kept: Vec<_> = std::fs::read_dir(a.path().join("rollback")).unwrap().collect();
    assert_eq!(kept.len(), 1);
}

#[test]
fn a_follower_that_was_away_too_long_says_so_and_copies_again_if_it_may() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let first = write(&store, 0, 20);
    let serving = Primary::builder(store.clone(), "a")
        .heartbeat(HEARTBEAT)
        .lag_bytes_max(1)
        .start()
        .unwrap();
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    following.wait_for(first, LONG).unwrap();
    following.stop();
    drop(following);

    write(&store, 1000, 6000);
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(
        store.log().watermarks().oldest > first.next(),
        "the slot is beyond its cap"
    );
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert!(matches!(following.join(), Err(Error::ResyncNeeded { .. })));
    drop(following);
    let following = follower(b.path(), "b", serving.address(), &[])
        .resync()
        .start()
        .unwrap();
    let last = write(&store, 20_000, 10);
    assert_same(&following, &store, last);
}

#[test]
fn a_listed_member_that_is_replaced_by_a_copy_keeps_its_promise_and_what_it_is_known_to_have_had() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut few = options();
    // What nobody else holds stays out of the engine, and in the log, only as far as there is room for it.
    few.overlay_bytes_max = 256 << 10;
    let store = few.open(a.path()).unwrap();
    let builder = Primary::builder(store.clone(), "a")
        .members(MEMBERS)
        .heartbeat(HEARTBEAT);
    let serving = builder.lag_bytes_max(1).start().unwrap();
    let following = follower(b.path(), "b", serving.address(), &MEMBERS).start().unwrap();
    let first = write(&store, 0, 20);
    serving.wait(first, WriteConcern::Majority, LONG).unwrap();
    let elected = serving.term();
    following.stop();
    drop(following);

    write(&store, 1000, 6000);
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(store.log().watermarks().oldest > first.next());
    let following = follower(b.path(), "b", serving.address(), &MEMBERS).start().unwrap();
    assert!(matches!(following.join(), Err(Error::ResyncNeeded { .. })));
    drop(following);
    // What it had is still there, and opens.
    assert!(open(b.path()).log().watermarks().durable >= first);

    let following = follower(b.path(), "b", serving.address(), &MEMBERS)
        .resync()
        .start()
        .unwrap();
    let last = write(&store, 20_000, 10);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&following, &store, last);
    let copy = following.store().unwrap();
    assert_eq!(copy.promised(), elected);
    let known = copy.log().before(copy.log().watermarks().oldest).unwrap().rank;
    assert!(known.term == elected && known.op_id >= first, "{known:?}");
}

#[test]
fn a_heartbeat_with_which_no_connection_lasts_is_refused_by_name() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    for heartbeat in [Duration::from_millis(9), Duration::from_millis(60_001)] {
        let leading = Primary::builder(store.clone(), "a").heartbeat(heartbeat).start().err();
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let following = follower(b.path(), "b", nowhere, &[]).heartbeat(heartbeat).start().err();
        for refused in [leading, following] {
            let named = matches!(
                refused,
                Some(Error::InvalidOption {
                    option: "heartbeat",
                    ..
                })
            );
            assert!(named, "{heartbeat:?}: {refused:?}");
        }
    }
    Primary::builder(store, "a")
        .heartbeat(Duration::from_secs(60))
        .start()
        .unwrap();
}

#[test]
fn strangers_are_refused_by_name() {
    let (a, b, c) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let store = open(a.path());
    let last = write(&store, 0, 5);
    let serving = primary(&store, "a", &["a", "b"]);

    let other_members = follower(b.path(), "b", serving.address(), &["a", "b", "c"])
        .start()
        .unwrap();
    assert!(matches!(other_members.join(), Err(Error::Refused { .. })));
    drop(other_members);
    let right = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    right.wait_for(last, LONG).unwrap();

    drop(open(c.path()));
    let other_log = follower(c.path(), "c", serving.address(), &["a", "b"]).start().unwrap();
    assert!(matches!(other_log.join(), Err(Error::Refused { .. })));

    let mut garbage = TcpStream::connect(serving.address()).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).unwrap();
    assert!(answer.len() <= 16, "a preface and nothing else");

    let elsewhere = Primary::builder(store.clone(), "a")
        .listen("0.0.0.0:0".parse().unwrap())
        .start();
    assert!(matches!(elsewhere, Err(Error::Plaintext { .. })));
    let unlisted = Primary::builder(open(&c.path().join("new")), "z").start().unwrap();
    assert!(matches!(
        unlisted.wait(OpId::FIRST, WriteConcern::Majority, LONG),
        Err(Error::NoMembers)
    ));
}

#[test]
fn two_names_with_one_number_are_told_apart() {
    let (a, b, c) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let store = open(a.path());
    let last = write(&store, 0, 5);
    let serving = primary(&store, "a", &[]);
    let number = |name: &str| number_of(name, &[]);
    let other = (0..)
        .map(|i| format!("b{i}"))
        .find(|name| number(name) == number("b"))
        .unwrap();
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert_same(&following, &store, last);
    let refused = follower(c.path(), &other, serving.address(), &[])
        .start()
        .unwrap()
        .join();
    let named = |refusal: &Refusal| matches!(refusal, Refusal::NumberTaken(name) if name == "b");
    assert!(
        matches!(&refused, Err(Error::Refused { refusal }) if named(refusal)),
        "{refused:?}"
    );
    let last = write(&store, 100, 5);
    assert_same(&following, &store, last);
}
