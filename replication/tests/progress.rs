//! What primary and follower say of how far they have come.

use crate::stores;

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use stores::{HEARTBEAT, LONG, eventually, follower, open, own_address, primary, write};
use tailwater_oplog::OpId;
use tailwater_replication::{Follower, FollowerEvent, Primary, Standing, WriteConcern, standing};
use tempfile::TempDir;

const MEMBERS: [&str; 2] = ["a", "b"];

#[test]
fn both_sides_say_how_far_a_follower_has_come() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    assert!(serving.status().members.is_empty());
    let (told, events) = channel();
    let following = follower(b.path(), "b", serving.address(), &MEMBERS).on_event(move |event| {
        if let FollowerEvent::Progress(progress) = event {
            // Nobody may be listening any more.
            let _ = told.send(*progress);
        }
    });
    let following = following.start().unwrap();
    let last = write(&store, 0, 300);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();

    // It comes anew once its log has everything that its copy of the state covers.
    following.wait_for(last, LONG).unwrap();
    let is_connected = || serving.status().members.iter().all(|member| member.connected);
    eventually("b is connected", is_connected);
    let status = serving.status();
    assert_eq!(
        (status.term, status.durable),
        (serving.term(), store.log().watermarks().durable)
    );
    let [member] = status.members.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!(
        (member.name.as_deref(), member.number, member.connected),
        (Some("b"), 1, true)
    );
    assert!(member.held >= last);
    assert_eq!(member.entries_behind, status.durable.get() - member.held.get());

    // The store knows, too.
    let Some(Standing::Primary(standing_now)) = standing(&store) else {
        panic!("nobody serves the store");
    };
    assert_eq!((standing_now.term, standing_now.members.len()), (status.term, 1));

    // Told as it goes on, until nothing is missing.
    let complete = events
        .iter()
        .find(|progress| progress.durable >= last && progress.majority >= last);
    let complete = complete.unwrap();
    assert!(complete.bytes > 0);
    following.wait_for(last, LONG).unwrap();
    let copy = following.store().unwrap();
    let Some(Standing::Follower { progress, followers }) = standing(&copy) else {
        panic!("nobody keeps the store");
    };
    assert!(progress.durable >= last && followers.is_empty());
    let progress = following.progress();
    assert!(progress.durable >= last && progress.newest >= last && progress.bytes >= complete.bytes);
    if progress.entries_behind() == 0 {
        assert!(progress.behind.is_zero());
    }

    // Away, it is known all the same, and how much it lacks.
    drop(following);
    assert_eq!(standing(&copy), None);
    drop(copy);
    let behind = |serving: &Primary| serving.status().members[0].clone();
    eventually("the follower is still connected", || !behind(&serving).connected);
    let held = behind(&serving).held;
    let missing = write(&store, 1000, 20);
    serving.wait(missing, WriteConcern::members(1).unwrap(), LONG).unwrap();
    assert_eq!(behind(&serving).held, held);
    assert_eq!(behind(&serving).entries_behind, missing.get() - held.get());
    assert!(held > OpId::ZERO);
}

#[test]
fn what_a_primary_spoke_of_that_is_no_more_is_not_missing() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let port = own_address();
    let builder = Primary::builder(store.clone(), "a").listen(port).heartbeat(HEARTBEAT);
    let serving = builder.start().unwrap();
    let of_b = follower(b.path(), "b", port, &[]).start().unwrap();
    let following = follower(c.path(), "c", port, &[]).start().unwrap();
    of_b.wait_for(write(&store, 0, 100), LONG).unwrap();
    of_b.stop();
    let tail = write(&store, 1000, 100);
    following.wait_for(tail, LONG).unwrap();
    drop(serving);
    store.close().unwrap();

    let promoted = of_b.promote().unwrap();
    let last = write(&promoted, 2000, 10);
    assert!(last < tail);
    let builder = Primary::builder(promoted, "b").listen(port).heartbeat(HEARTBEAT);
    let serving = builder.start().unwrap();
    serving.wait(last, WriteConcern::members(2).unwrap(), LONG).unwrap();
    assert_eq!(following.progress().newest, last);
}

#[test]
fn a_follower_is_stopped_by_whom_it_tells() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    write(&store, 0, 10);
    // They come from different threads of the follower, which wait for each other when it ends.
    let kinds: [fn(&FollowerEvent) -> bool; 3] = [
        |event| matches!(event, FollowerEvent::Opened),
        |event| matches!(event, FollowerEvent::Progress(_)),
        |event| matches!(event, FollowerEvent::Following { .. }),
    ];
    for is_awaited in kinds {
        let following = Arc::new(OnceLock::<Follower>::new());
        let own = Arc::downgrade(&following);
        let builder = follower(b.path(), "b", serving.address(), &[]).on_event(move |event| {
            while is_awaited(event) {
                let Some(own) = own.upgrade() else {
                    return;
                };
                if let Some(own) = own.get() {
                    return own.stop();
                }
                std::thread::yield_now();
            }
        });
        let following = following.get_or_init(|| builder.start().unwrap());
        following.join().unwrap();
        following.stop();
    }
}
