//! What bad links do to real stores over loopback: they break, fall silent, are slow, flip bits.

use crate::stores;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stores::{End, LONG, Proxy, assert_same, eventually, follower, open, primary, write};
use tailwater_oplog::OpId;
use tailwater_replication::{Error, FollowerEvent, Primary, WriteConcern};
use tempfile::TempDir;

#[test]
fn connections_that_break_or_fall_silent_are_made_anew() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 3000);
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    // Also while the copy is fetched.
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(20 * round));
        proxy.cut();
    }
    let mut from = 10_000;
    for round in 0..4 {
        let last = write(&store, from, 100);
        from += 100;
        match round % 2 {
            0 => proxy.cut(),
            _ => {
                // Both sides give it up by themselves.
                proxy.weather.silent.store(true, Ordering::SeqCst);
                eventually("the follower is still connected", || serving.followers() == 0);
                proxy.weather.silent.store(false, Ordering::SeqCst);
            }
        }
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
    }
}

#[test]
fn a_link_that_is_silent_in_one_direction_is_made_anew() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    let mut from = 0;
    for silent in [&proxy.weather.follower_is_silent, &proxy.weather.primary_is_silent] {
        let last = write(&store, from, 100);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        // It comes anew once its log has everything that its copy of the state covers.
        following.wait_for(last, LONG).unwrap();
        let made = proxy.made();
        silent.store(true, Ordering::SeqCst);
        // What one side hears does not keep a connection on which the other hears nothing.
        eventually("the follower is still connected", || serving.followers() == 0);
        eventually("the follower does not try again", || proxy.made() > made);
        let last = write(&store, from + 100, 100);
        silent.store(false, Ordering::SeqCst);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
        from += 200;
    }
}

#[test]
fn connections_that_are_reset_are_made_anew() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 3000);
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let resets = Arc::new(Mutex::new(0));
    let count = Arc::clone(&resets);
    let builder = follower(b.path(), "b", proxy.address, &["a", "b"]).on_event(move |event| {
        if let FollowerEvent::Retrying {
            error: Some(Error::Network { source, .. }),
            ..
        } = event
        {
            let kinds = [
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::UnexpectedEof,
            ];
            *count.lock().unwrap() += u32::from(kinds.contains(&source.kind()));
        }
    });
    let following = builder.start().unwrap();
    // Also while the copy is fetched.
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(20 * round));
        proxy.reset();
    }
    for round in 0..3 {
        let last = write(&store, 10_000 + 100 * round, 100);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
        let before = *resets.lock().unwrap();
        eventually("no reset was seen", || {
            // It may have no connection at the moment.
            proxy.reset();
            *resets.lock().unwrap() > before
        });
    }
}

/// One side has ended the connection, and the other does not hear of it, as when a machine loses its power.
#[test]
fn a_connection_of_which_one_side_is_gone_does_not_survive() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    let mut from = 0;
    for gone in [End::Primary, End::Follower] {
        let last = write(&store, from, 100);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        // It comes anew once its log has everything that its copy of the state covers.
        following.wait_for(last, LONG).unwrap();
        let made = proxy.made();
        proxy.lose(gone);
        // The follower connects again: because it hears nothing, or because its own side has ended.
        eventually("the follower keeps a dead connection", || proxy.made() > made);
        let last = write(&store, from + 100, 100);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
        eventually("more than one connection", || serving.followers() == 1);
        from += 200;
    }
    // And this one does not come back.
    following.stop();
    proxy.lose(End::Follower);
    eventually("the primary keeps a dead connection", || serving.followers() == 0);
}

#[test]
fn a_follower_that_comes_again_takes_the_place_of_its_dead_connection() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    // Nobody notices by silence.
    let builder = Primary::builder(store.clone(), "a").members(["a", "b"]);
    let serving = builder.heartbeat(LONG).start().unwrap();
    let proxy = Proxy::to(serving.address());
    let builder = follower(b.path(), "b", proxy.address, &["a", "b"]).heartbeat(LONG);
    let following = builder.start().unwrap();
    serving
        .wait(write(&store, 0, 10), WriteConcern::Majority, LONG)
        .unwrap();
    proxy.lose(End::Follower);
    let last = write(&store, 100, 10);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    eventually("more than one connection", || serving.followers() == 1);
    assert_same(&following, &store, last);
}

#[test]
fn a_slow_link_is_slow_and_nothing_else() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    // More than the system takes from a writer before anybody has read it.
    let last = write(&store, 0, 20_000);
    // Short beside what a run takes on that link, long beside the holes that a busy machine makes.
    let heartbeat = Duration::from_millis(200);
    let builder = Primary::builder(store.clone(), "a").members(["a", "b"]);
    let serving = builder.heartbeat(heartbeat).start().unwrap();
    let proxy = Proxy::to(serving.address());
    let builder = follower(b.path(), "b", proxy.address, &["a", "b"]).heartbeat(heartbeat);
    let following = builder.window_bytes(64 << 20).start().unwrap();
    // The copy comes quickly, what is written now does not: what is on its way takes many heartbeats.
    following.wait_for(last, LONG).unwrap();
    proxy.weather.pace.store(20 << 10, Ordering::SeqCst);
    let last = write(&store, 30_000, 20_000);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    proxy.weather.pace.store(0, Ordering::SeqCst);
    assert_same(&following, &store, last);
}

#[test]
fn a_kilobyte_a_second_is_enough() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    following.wait_for(write(&store, 0, 10), LONG).unwrap();
    proxy.weather.pace.store(10, Ordering::SeqCst);
    // Many heartbeats for each of them.
    let last = write(&store, 1300, 8);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    proxy.weather.pace.store(0, Ordering::SeqCst);
    assert_same(&following, &store, last);
}

#[test]
fn bytes_that_come_one_by_one_keep_a_connection() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    // Signs of life must be less than the link takes.
    let heartbeat = Duration::from_secs(1);
    let builder = Primary::builder(store.clone(), "a").members(["a", "b"]);
    let serving = builder.heartbeat(heartbeat).start().unwrap();
    let proxy = Proxy::to(serving.address());
    let builder = follower(b.path(), "b", proxy.address, &["a", "b"]).heartbeat(heartbeat);
    let following = builder.start().unwrap();
    // It comes anew once its log has everything that its copy of the state covers.
    following.wait_for(write(&store, 0, 10), LONG).unwrap();
    serving
        .wait(write(&store, 100, 1), WriteConcern::Majority, LONG)
        .unwrap();
    let made = proxy.made();
    proxy.weather.pace.store(1, Ordering::SeqCst);
    // More heartbeats than may be missed, and as many for the answer as that takes.
    let last = write(&store, 1397, 1);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    proxy.weather.pace.store(0, Ordering::SeqCst);
    let last = write(&store, 2000, 10);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&following, &store, last);
    assert_eq!(proxy.made(), made);
}

#[test]
fn bits_that_flip_on_the_way_cost_a_connection_and_nothing_else() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 2000);
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    // While the state is copied, and while the log is followed.
    proxy.weather.damage.store(2, Ordering::SeqCst);
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    for from in [10_000, 20_000] {
        let last = write(&store, from, 300);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
        proxy.weather.damage.store(1, Ordering::SeqCst);
    }
}

#[test]
fn frames_that_are_damaged_each_time_end_the_follower_by_name() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let last = write(&store, 0, 10);
    let serving = primary(&store, "a", &[]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &[]).start().unwrap();
    following.wait_for(last, LONG).unwrap();
    proxy.weather.damage.store(usize::MAX, Ordering::SeqCst);
    write(&store, 1000, 300);
    let ended = following.join();
    assert!(matches!(ended, Err(Error::BadFrames { .. })), "{ended:?}");
}

#[test]
fn strangers_that_say_nothing_keep_no_member_away() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let last = write(&store, 0, 10);
    // So long that nobody is given up meanwhile.
    let builder = Primary::builder(store.clone(), "a").heartbeat(LONG);
    let serving = builder.start().unwrap();
    let strangers = (0..100).map(|_| {
        let mut stranger = TcpStream::connect(serving.address()).unwrap();
        // It may be turned away before it has said even this.
        let _ = stranger.write_all(b"TAILWRPL\x01\x00\x01\x00\x60\xea\x00\x00");
        stranger
    });
    let strangers: Vec<TcpStream> = strangers.collect();
    let builder = follower(b.path(), "b", serving.address(), &[]);
    let following = builder.heartbeat(LONG).start().unwrap();
    following.wait_for(last, LONG).unwrap();
    drop(strangers);
}

/// Who says something every few milliseconds does not expect as much of one that does so every two seconds.
#[test]
fn members_with_other_heartbeats_have_patience_with_each_other() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let last = write(&store, 0, 10);
    let builder = Primary::builder(store.clone(), "a").heartbeat(Duration::from_millis(10));
    let serving = builder.start().unwrap();
    let (tell, told) = channel();
    let builder = follower(b.path(), "b", serving.address(), &[]).heartbeat(Duration::from_secs(2));
    let builder = builder.on_event(move |event| drop(tell.send(event.clone())));
    let following = builder.start().unwrap();
    following.wait_for(last, LONG).unwrap();
    // They come once in each of its heartbeats: the connection is kept for that long.
    let mut progressed = 0;
    while progressed < 3 {
        match told.recv_timeout(LONG).unwrap() {
            FollowerEvent::Following { .. } => progressed = 0,
            FollowerEvent::Progress(_) => progressed += 1,
            FollowerEvent::Retrying { error, .. } => panic!("{error:?}"),
            _ => {}
        }
    }
}

#[test]
fn a_follower_is_stopped_while_nothing_comes() {
    let dir = TempDir::new().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let builder = follower(dir.path(), "b", address, &[]).heartbeat(LONG);
    let following = builder.start().unwrap();
    let connection = silent.accept().unwrap();
    following.stop();
    assert!(matches!(following.wait_for(OpId::FIRST, LONG), Err(Error::Stopped)));
    drop(connection);
}

#[test]
fn whoever_waits_for_a_follower_that_panics_is_told() {
    // While it copies the state, and while it follows.
    let panics: [fn(&FollowerEvent) -> bool; 2] = [
        |event| matches!(event, FollowerEvent::Copying { .. }),
        |event| matches!(event, FollowerEvent::Following { .. }),
    ];
    for is_fatal in panics {
        let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let store = open(a.path());
        let last = write(&store, 0, 10);
        let serving = primary(&store, "a", &[]);
        let builder = follower(b.path(), "b", serving.address(), &[]);
        let builder = builder.on_event(move |event| assert!(!is_fatal(event), "as the test wants it"));
        let following = builder.start().unwrap();
        let joined = following.join();
        assert!(matches!(joined, Err(Error::Panicked)), "{joined:?}");
        let waited = following.wait_for(last.next(), LONG);
        assert!(matches!(waited, Err(Error::Panicked)), "{waited:?}");
    }
}
