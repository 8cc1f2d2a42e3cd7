//! What members hold for the followers of a primary that may be gone tomorrow.

use crate::stores;

use stores::{HEARTBEAT, LONG, MEMBERS, assert_same, eventually, follower, options, primary, write};
use tailwater_oplog::OpId;
use tailwater_replication::{Primary, WriteConcern};
use tailwater_storage::{Store, StoreOptions};
use tempfile::TempDir;

/// A log that keeps no more by itself than what is being written.
fn forgetful() -> StoreOptions {
    let mut options = options();
    options.oplog.retention.max_bytes = Some(1 << 20);
    options
}

/// Those that are held for members.
fn slots(store: &Store) -> Vec<String> {
    let names = store.slots().into_iter().map(|slot| slot.name);
    names.filter(|name| !name.starts_with("tailwater.")).collect()
}

#[test]
fn a_member_that_was_away_finds_what_it_lacks_at_whoever_is_promoted() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = forgetful().open(a.path()).unwrap();
    let serving = primary(&store, "a", &MEMBERS);
    let following = |dir: &TempDir, name, from| {
        let builder = follower(dir.path(), name, from, &MEMBERS);
        builder.store_options(forgetful()).start().unwrap()
    };
    let of_b = following(&b, "b", serving.address());
    let of_c = following(&c, "c", serving.address());
    let last = write(&store, 0, 50);
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    of_c.stop();
    drop(of_c);
    let of_b_store = of_b.wait_for(last, LONG).unwrap();
    eventually("b holds its log for c", || slots(&of_b_store) == ["standby.c"]);
    drop(of_b_store);
    let last = write(&store, 1000, 9000);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    drop(serving);
    store.close().unwrap();

    let promoted = of_b.promote().unwrap();
    let serving = primary(&promoted, "b", &MEMBERS);
    // For a, too, whose entries it has.
    assert_eq!(slots(&promoted), ["follower.a", "follower.c"]);
    let of_c = following(&c, "c", serving.address());
    let last = write(&promoted, 20_000, 3000);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    let of_a = following(&a, "a", serving.address());
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    for other in [&of_a, &of_c] {
        assert_same(other, &promoted, last);
    }
    // What a held as the primary it holds as a follower: for the others of b, and for b no longer.
    let of_a_store = of_a.store().unwrap();
    eventually("a holds its log for c alone", || slots(&of_a_store) == ["standby.c"]);
    drop(of_a_store);
    // What nobody lacks goes, as they report what they have.
    let mut id = 30_000;
    eventually("the log is trimmed", || {
        id += 1;
        write(&promoted, id, 1);
        promoted.trim_log(last).unwrap() > OpId::FIRST
    });
}

#[test]
fn what_is_not_held_for_a_follower_there_is_not_held_here() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = options().open(a.path()).unwrap();
    let serving = primary(&store, "a", &[]);
    let of_b = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let of_c = follower(c.path(), "c", serving.address(), &[]).start().unwrap();
    let last = write(&store, 0, 50);
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    of_c.stop();
    let of_b = of_b.wait_for(last, LONG).unwrap();
    eventually("b holds its log for c", || slots(&of_b) == ["standby.c"]);
    store.slot_drop("follower.c").unwrap();
    eventually("and does not when a does not", || slots(&of_b).is_empty());
}

#[test]
fn a_primary_of_the_past_that_is_followed_holds_its_log_only_for_those_of_the_new_one() {
    // Deposed while it runs, or started again as a follower.
    for fenced in [true, false] {
        let [a, b, c, d] = [(); 4].map(|()| TempDir::new().unwrap());
        let store = forgetful().open(a.path()).unwrap();
        let serving = primary(&store, "a", &[]);
        let following = |dir: &TempDir, name, from| {
            let builder = follower(dir.path(), name, from, &[]);
            builder.store_options(forgetful())
        };
        let of_b = following(&b, "b", serving.address()).start().unwrap();
        let of_c = following(&c, "c", serving.address()).start().unwrap();
        let last = write(&store, 0, 50);
        serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
        // It will not come back.
        of_c.stop();
        let of_b_store = of_b.wait_for(last, LONG).unwrap();
        eventually("b holds its log for c", || slots(&of_b_store) == ["standby.c"]);
        drop(of_b_store);
        let fence = fenced.then(|| serving.address().to_string());
        if !fenced {
            drop(serving);
        }
        let promoted = of_b.promote().unwrap();
        let builder = Primary::builder(promoted.clone(), "b").heartbeat(HEARTBEAT);
        let new = builder.fence(fence).start().unwrap();
        if fenced {
            eventually("a steps down", || slots(&store) == ["standby.b", "standby.c"]);
        }
        store.close().unwrap();

        let of_a = following(&a, "a", new.address());
        let of_a = of_a.listen("127.0.0.1:0".parse().unwrap()).start().unwrap();
        let last = write(&promoted, 1000, 6000);
        let followed = of_a.wait_for(last, LONG).unwrap();
        eventually("a holds its log for c alone", || slots(&followed) == ["standby.c"]);
        // Who follows it has a slot, which stays.
        let of_d = following(&d, "d", of_a.address().unwrap()).start().unwrap();
        of_d.wait_for(last, LONG).unwrap();
        promoted.slot_drop("follower.c").unwrap();
        eventually("a holds it for d alone", || slots(&followed) == ["follower.d"]);
        let mut id = 30_000;
        eventually("the log is trimmed", || {
            id += 1;
            write(&promoted, id, 1);
            followed.trim_log(last).unwrap() > OpId::FIRST
        });
    }
}
