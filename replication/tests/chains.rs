//! Followers of followers: the same log, what they hold counts, and the middle may die or be promoted.

use crate::stores;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stores::{LONG, MEMBERS, Proxy, assert_same, assert_same_segments, follower, open, own_address, primary, write};
use tailwater_oplog::ReadConcern;
use tailwater_replication::{Error, Follower, FollowerEvent, Primary, WriteConcern};
use tailwater_storage::Store;
use tempfile::TempDir;

/// A follower that can be followed, where it can be followed again when it comes back.
fn relay(dir: &Path, name: &str, from: SocketAddr, members: &[&str]) -> Follower {
    follower(dir, name, from, members)
        .listen(own_address())
        .start()
        .unwrap()
}

fn follow(dir: &Path, name: &str, from: SocketAddr, members: &[&str]) -> Follower {
    follower(dir, name, from, members).start().unwrap()
}

fn address(relay: &Follower) -> SocketAddr {
    relay.address().unwrap()
}

#[test]
fn the_end_of_a_chain_has_the_same_log_and_counts_also_when_the_middle_was_killed() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let middle = relay(b.path(), "b", serving.address(), &MEMBERS);
    let end = follow(c.path(), "c", address(&middle), &MEMBERS);
    let last = write(&store, 0, 2000);
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&end, &store, last);
    // What it may show at majority comes through, too.
    let copy = end.store().unwrap();
    let shown = copy.log().wait(
        last,
        ReadConcern::Majority,
        Some(std::time::Instant::now() + LONG),
        &tailwater_oplog::Interrupt::new(),
    );
    assert_eq!(shown, tailwater_oplog::WaitOutcome::Ready);
    drop(copy);

    // Nobody hears the end any more, until the middle is back.
    let port = address(&middle);
    drop(middle);
    let last = write(&store, 3000, 500);
    let unheard = serving.wait(last, WriteConcern::members(3).unwrap(), std::time::Duration::ZERO);
    assert!(matches!(unheard, Err(Error::WriteConcernTimeout { .. })));
    let middle = follower(b.path(), "b", serving.address(), &MEMBERS)
        .listen(port)
        .start();
    let middle = middle.unwrap();
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    assert_same(&middle, &store, last);
    assert_same(&end, &store, last);
    drop((end, middle, serving));
    store.close().unwrap();
    assert_same_segments(&a, &b);
    assert_same_segments(&a, &c);
}

#[test]
fn the_middle_is_promoted_and_the_end_follows_it_where_it_was() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let middle = relay(b.path(), "b", serving.address(), &MEMBERS);
    let end = follow(c.path(), "c", address(&middle), &MEMBERS);
    let last = write(&store, 0, 300);
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();

    let port = address(&middle);
    let promoted = middle.promote().unwrap();
    // The old primary goes on alone.
    write(&store, 1000, 50);
    let builder = Primary::builder(promoted.clone(), "b").members(MEMBERS).listen(port);
    let now_serving = builder.heartbeat(stores::HEARTBEAT).start().unwrap();
    let last = write(&promoted, 2000, 80);
    now_serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&end, &promoted, last);

    // And comes back behind the end of the chain, without what nobody had.
    drop((end, serving));
    store.close().unwrap();
    let end = relay(c.path(), "c", port, &MEMBERS);
    let back = follow(a.path(), "a", address(&end), &MEMBERS);
    now_serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    assert_same(&back, &promoted, last);
    assert_eq!(std::fs::read_dir(a.path().join("rollback")).unwrap().count(), 1);
}

/// A follower's store, and which of its entries were rolled back.
fn rolled_back(dir: &Path, name: &str, from: SocketAddr) -> (Follower, Arc<Mutex<Vec<u64>>>) {
    let seen = Arc::<Mutex<Vec<u64>>>::default();
    let noted = Arc::clone(&seen);
    let started = follower(dir, name, from, &[]).on_event(move |event| {
        if let FollowerEvent::RolledBack { last, .. } = event {
            noted.lock().unwrap().push(last.get());
        }
    });
    (started.start().unwrap(), seen)
}

#[test]
fn a_relay_has_entries_cut_that_its_primary_does_not_have_and_none_that_it_does_not_have_yet() {
    let [a, b, c, d] = [(); 4].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let of_b = follow(b.path(), "b", serving.address(), &[]);
    let (of_c, _) = rolled_back(c.path(), "c", serving.address());
    let shared = write(&store, 0, 100);
    for follower in [&of_b, &of_c] {
        follower.wait_for(shared, LONG).unwrap();
    }
    of_b.stop();
    let tail = write(&store, 1000, 40);
    of_c.wait_for(tail, LONG).unwrap();
    drop((of_c, serving));

    let promoted: Store = of_b.promote().unwrap();
    let serving = primary(&promoted, "b", &[]);
    let behind = write(&promoted, 2000, 90);
    let middle = relay(d.path(), "d", serving.address(), &[]);
    middle.wait_for(behind, LONG).unwrap();
    let (of_c, cut) = rolled_back(c.path(), "c", address(&middle));
    assert_same(&of_c, &promoted, behind);
    assert_eq!(*cut.lock().unwrap(), [shared.get()]);

    // One that is ahead of the relay waits for it.
    drop(of_c);
    let way = Proxy::to(serving.address());
    drop(middle);
    let middle = relay(d.path(), "d", way.address, &[]);
    middle.wait_for(behind, LONG).unwrap();
    way.weather.silent.store(true, std::sync::atomic::Ordering::SeqCst);
    let (of_c, cut) = rolled_back(c.path(), "c", serving.address());
    let ahead = write(&promoted, 3000, 70);
    of_c.wait_for(ahead, LONG).unwrap();
    drop((of_c, cut));
    let (of_c, cut) = rolled_back(c.path(), "c", address(&middle));
    way.weather.silent.store(false, std::sync::atomic::Ordering::SeqCst);
    way.cut();
    let last = write(&promoted, 4000, 10);
    assert_same(&of_c, &promoted, last);
    assert!(cut.lock().unwrap().is_empty());
}
