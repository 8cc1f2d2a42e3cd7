//! Copies of the state that are given to real stores: what a member keeps when one replaces what it had, which one it is given, and
//! what happens while the primary goes on writing.

use crate::stores;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::rawdoc;
use stores::{HEARTBEAT, LONG, Proxy, assert_same, eventually, follower, open, primary, write};
use tailwater_oplog::{OpId, SlotState};
use tailwater_replication::{Error, Follower, FollowerBuilder, FollowerEvent, Primary, Refusal};
use tailwater_storage::Store;
use tempfile::TempDir;

/// A primary for which a follower is too far behind as soon as that lacks a segment, with what it keeps for a copy.
fn impatient(store: &Store, copy_lag_bytes_max: u64) -> Primary {
    impatient_at(HEARTBEAT, store, copy_lag_bytes_max)
}

fn impatient_at(heartbeat: Duration, store: &Store, copy_lag_bytes_max: u64) -> Primary {
    let builder = Primary::builder(store.clone(), "a").heartbeat(heartbeat);
    let builder = builder.lag_bytes_max(1).copy_lag_bytes_max(copy_lag_bytes_max);
    builder.start().unwrap()
}

/// A follower that stands still when the first bytes of a copy have come, and every time it begins another one.
struct Halted {
    following: Follower,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

impl Halted {
    fn start(builder: FollowerBuilder) -> Halted {
        let (reach, reached) = channel();
        let (go_on, gone_on) = channel();
        let gone_on = Mutex::new((gone_on, false));
        let builder = builder.on_event(move |event| {
            let (wait, halted) = &mut *gone_on.lock().unwrap();
            if matches!(event, FollowerEvent::Copying { .. }) && !*halted {
                *halted = true;
                reach.send(()).unwrap();
                wait.recv().unwrap();
            }
        });
        let following = builder.start().unwrap();
        reached.recv_timeout(LONG).unwrap();
        Halted {
            following,
            reached,
            go_on,
        }
    }

    fn go_on(self) -> Follower {
        self.go_on.send(()).unwrap();
        drop(self.reached);
        self.following
    }
}

/// Writes some segments, and has the log let go of what it can; returns the last entry.
fn write_much(store: &Store, from: i32) -> OpId {
    let last = write(store, from, 6000);
    store.trim_log(last).unwrap();
    last
}

fn is_outrun(ended: &Result<(), Error>) -> bool {
    matches!(
        ended,
        Err(Error::Refused {
            refusal: Refusal::CopyOutrun(_)
        })
    )
}

fn copies_in(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("copies")).map_or(0, Iterator::count)
}

#[test]
fn a_term_that_was_lost_with_what_was_written_in_it_is_not_used_again() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 2000);
    // The follower's log begins later, so that it cannot be cut back.
    store.trim_log(store.log().watermarks().durable).unwrap();
    let serving = primary(&store, "a", &["a", "b"]);
    let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    assert_same(&following, &store, write(&store, 3000, 10));
    assert!(serving.term().is_elected());

    let promoted = following.promote().unwrap();
    let lost = promoted.term();
    assert!(!lost.is_elected() && promoted.log().watermarks().oldest > OpId::FIRST);
    write(&promoted, 4000, 10);
    promoted.close().unwrap();

    let builder = follower(b.path(), "b", serving.address(), &["a", "b"]);
    let following = builder.resync().start().unwrap();
    let last = write(&store, 5000, 20);
    assert_same(&following, &store, last);
    following.wait_for(last, LONG).unwrap();
    let promoted = following.promote().unwrap();
    assert!(promoted.term() > lost, "{} after {lost}", promoted.term());
}

/// What a follower says of its copy.
#[derive(Default)]
struct Told {
    /// Bytes that are here, each time some have come.
    here: Vec<u64>,
    total: u64,
}

impl Told {
    fn hear(&mut self, event: &FollowerEvent) {
        if let FollowerEvent::Copying { bytes, total } = event {
            self.here.push(*bytes);
            self.total = *total;
        }
    }
}

#[test]
fn a_copy_that_was_interrupted_goes_on_with_the_next_byte() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    // Many pieces of what is sent at a time, which cannot be made smaller.
    let things = store.collection("shop", "things").unwrap();
    for number in 0..40 {
        let text: String = (0..100_000).map(|_| fastrand::alphanumeric()).collect();
        things.insert_one(&rawdoc! { "_id": number, "text": text }).unwrap();
    }
    let serving = primary(&store, "a", &[]);
    let proxy = Proxy::to(serving.address());
    let begin = |come_to_a_stop: bool| {
        let told = Arc::<Mutex<Told>>::default();
        let (hear, weather) = (Arc::clone(&told), Arc::clone(&proxy.weather));
        // Slow enough for the next piece not to be here when the link all but stops.
        weather
            .pace
            .store(if come_to_a_stop { 64 << 10 } else { 0 }, Ordering::SeqCst);
        let builder = follower(b.path(), "b", proxy.address, &[]).on_event(move |event| {
            let mut told = hear.lock().unwrap();
            told.hear(event);
            if come_to_a_stop && !told.here.is_empty() {
                weather.pace.store(1, Ordering::SeqCst);
            }
        });
        (builder.start().unwrap(), told)
    };
    let mut had = 0;
    // By who follows, and by the link.
    for round in 0..3 {
        let (following, told) = begin(true);
        eventually("nothing comes", || !told.lock().unwrap().here.is_empty());
        if round == 1 {
            proxy.cut();
        }
        following.stop();
        let told = told.lock().unwrap();
        // Another copy would begin with its first piece again.
        let first = told.here[0];
        assert!(first > had && first - had <= 256 << 10, "{first} after {had}");
        had = *told.here.last().unwrap();
        assert!(had < told.total);
    }
    let (following, told) = begin(false);
    let last = write(&store, 20_000, 100);
    assert_same(&following, &store, last);
    let told = told.lock().unwrap();
    let first = told.here[0];
    assert!(first > had && first - had <= 256 << 10, "{first} after {had}");
    assert_eq!(told.here.last(), Some(&told.total));
}

#[test]
fn a_slow_copy_is_completed_however_little_a_follower_may_fall_behind() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 1000);
    let serving = impatient(&store, 1 << 30);
    let halted = Halted::start(follower(b.path(), "b", serving.address(), &[]));
    write_much(&store, 10_000);
    let following = halted.go_on();
    let last = write(&store, 20_000, 10);
    assert_same(&following, &store, last);
    // It has caught up: from now on less is kept for it.
    let mut from = 30_000;
    eventually("the slot keeps the cap of a copy", || {
        from += 1;
        write(&store, from, 1);
        let slots = store.slots();
        slots
            .iter()
            .any(|slot| slot.name == "follower.b" && slot.max_lag_bytes == 1)
    });
}

#[test]
fn a_follower_says_how_far_its_copy_has_come() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 1000);
    let serving = primary(&store, "a", &[]);
    let halted = Halted::start(follower(b.path(), "b", serving.address(), &[]));
    let progress = halted.following.progress();
    assert!(
        progress.copied_bytes > 0 && progress.copied_bytes <= progress.copy_bytes,
        "{progress:?}"
    );
    let following = halted.go_on();
    following.wait_for(write(&store, 10_000, 10), LONG).unwrap();
    let progress = following.progress();
    assert_eq!((progress.copied_bytes, progress.copy_bytes), (0, 0));
}

#[test]
fn a_copy_that_is_outrun_ends_with_an_error_that_says_what_to_raise() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 1000);
    let serving = impatient(&store, 1);
    let halted = Halted::start(follower(b.path(), "b", serving.address(), &[]));
    write_much(&store, 10_000);
    let ended = halted.go_on().join();
    assert!(is_outrun(&ended), "{ended:?}");
    assert!(ended.unwrap_err().to_string().contains("copy_lag_bytes_max"));
    eventually("the copy is kept", || copies_in(a.path()) == 0);
    // While less is written, there is enough.
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert_same(&following, &store, write(&store, 20_000, 10));
}

#[test]
fn who_cannot_catch_up_with_a_copy_is_told_so_instead_of_being_given_another() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 1000);
    // That it has come whole is said once: that must not be lost because the machine is busy for some heartbeats.
    let heartbeat = LONG / 4;
    let serving = impatient_at(heartbeat, &store, 1);
    // It stops when it has all of the copy, and before that is in its place.
    let obstacle = b.path().join("state.gone");
    let made = obstacle.clone();
    let builder = follower(b.path(), "b", serving.address(), &[]).heartbeat(heartbeat);
    let builder = builder.on_event(move |event| {
        if matches!(event, FollowerEvent::Copying { bytes, total } if bytes == total) {
            std::fs::write(&made, b"").unwrap();
        }
    });
    let stopped = builder.start().unwrap().join();
    assert!(matches!(stopped, Err(Error::File { .. })), "{stopped:?}");
    std::fs::remove_file(obstacle).unwrap();
    eventually("the primary has not heard that all has come", || {
        copies_in(a.path()) == 0
    });
    write_much(&store, 10_000);
    let resyncing = || {
        follower(b.path(), "b", serving.address(), &[])
            .heartbeat(heartbeat)
            .resync()
            .start()
            .unwrap()
    };
    let ended = resyncing().join();
    assert!(is_outrun(&ended), "{ended:?}");
    // Whoever comes again all the same may try.
    assert_same(&resyncing(), &store, write(&store, 20_000, 10));
}

#[test]
fn who_is_given_no_copy_for_now_answers_from_what_it_has() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let had = write(&store, 0, 100);
    let serving = impatient(&store, 1 << 30);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    following.wait_for(had, LONG).unwrap();
    drop(following);
    write_much(&store, 10_000);
    // The primary has no place to make one.
    let copies = a.path().join("copies");
    let _ = std::fs::remove_dir_all(&copies);
    std::fs::write(&copies, b"").unwrap();

    let (tell, told) = channel();
    let following = follower(b.path(), "b", serving.address(), &[]).resync();
    let following = following.on_event(move |event| {
        // Nobody listens at the end.
        let _ = tell.send(event.clone());
    });
    let following = following.start().unwrap();
    let mut refused = 0;
    let mut seen = Vec::new();
    while refused < 3 {
        match told.recv_timeout(LONG).unwrap() {
            FollowerEvent::Retrying {
                error: Some(Error::Refused { refusal }),
                ..
            } => {
                assert!(matches!(refusal, Refusal::CopyFailed(_)), "{refusal:?}");
                refused += 1;
            }
            FollowerEvent::Opened => seen.push("opened"),
            FollowerEvent::Closed => seen.push("closed"),
            FollowerEvent::Resyncing { .. } => seen.push("resyncing"),
            _ => {}
        }
    }
    assert_eq!(seen, ["opened", "resyncing"]);
    let count = |store: &Store| {
        let things = store.collection("shop", "things").unwrap();
        things.count(&bson::rawdoc! {}).unwrap()
    };
    assert!(count(&following.store().unwrap()) > 0);
    std::fs::remove_file(&copies).unwrap();
    assert_same(&following, &store, write(&store, 30_000, 10));
    seen.extend(told.try_iter().filter_map(|event| match event {
        FollowerEvent::Opened => Some("opened"),
        FollowerEvent::Closed => Some("closed"),
        _ => None,
    }));
    assert_eq!(seen, ["opened", "resyncing", "closed", "opened"]);
}

#[test]
fn a_copy_is_not_handed_out_again_once_its_log_is_gone() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 1000);
    let serving = impatient(&store, 1);
    let proxy = Proxy::to(serving.address());
    let halted = Halted::start(follower(b.path(), "b", proxy.address, &[]));
    proxy.cut();
    write_much(&store, 10_000);
    let lost = |store: &Store| {
        store
            .slots()
            .iter()
            .all(|slot| slot.name != "follower.b" || slot.state == SlotState::Lost)
    };
    assert!(lost(&store));
    let following = halted.go_on();
    assert_same(&following, &store, write(&store, 20_000, 10));
}

#[test]
fn the_log_is_held_from_where_a_follower_will_be_cut_back_to() {
    const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    // Nobody but one agrees to it, which is not enough to have anything cut.
    let serving = primary(&store, "a", &FIVE);
    let following = follower(b.path(), "b", serving.address(), &FIVE).start().unwrap();
    let shared = write(&store, 0, 20);
    following.wait_for(shared, LONG).unwrap();
    let promoted = following.promote().unwrap();
    let alone = write(&promoted, 1000, 100);
    promoted.close().unwrap();
    store.slot_drop("follower.b").unwrap();

    let following = follower(b.path(), "b", serving.address(), &FIVE).start().unwrap();
    let position = || {
        Some(
            store
                .slots()
                .into_iter()
                .find(|slot| slot.name == "follower.b")?
                .position,
        )
    };
    eventually("nothing holds the log", || position().is_some());
    assert!(position().unwrap() <= shared.next() && shared < alone);
    following.stop();
}
