//! A follower whose disk is really full: it says so, the primary goes on, and with space again the two are the same.

#[path = "../../oplog/tests/common/mount.rs"]
mod mount;
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod stores;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use mount::on_tmpfs;
use stores::{LONG, Proxy, assert_same, follower, open, primary, write};
use tailwater_replication::{Error, FollowerEvent, Refusal, WriteConcern};
use tempfile::TempDir;

/// Takes whatever space there is but for so many bytes, until the file is removed.
fn fill(path: &Path, left: u64) {
    let mut filler = File::create(path).unwrap();
    let zeros = [0; 4096];
    while filler.write_all(&zeros).is_ok() {}
    let length = filler.metadata().unwrap().len();
    filler.set_len(length - left).unwrap();
}

/// Waits until that is said.
fn until_said(said: &Receiver<Error>, is_it: impl Fn(&Error) -> bool) {
    let until = Instant::now() + LONG;
    let mut others = Vec::new();
    loop {
        match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(error) if is_it(&error) => return,
            Ok(error) => others.push(error),
            Err(error) => panic!("{error}; what was said: {others:?}"),
        }
    }
}

#[test]
fn a_follower_whose_disk_is_full_waits_for_space_and_catches_up() {
    on_tmpfs(
        "a_follower_whose_disk_is_full_waits_for_space_and_catches_up",
        "224m",
        |mount| {
            let a = TempDir::new().unwrap();
            let store = open(a.path());
            let serving = primary(&store, "a", &["a", "b"]);
            let (say, said) = channel();
            let builder = follower(&mount.join("b"), "b", serving.address(), &["a", "b"]);
            let builder = builder.on_event(move |event| {
                if let FollowerEvent::Retrying { error: Some(error), .. } = event {
                    let _ = say.send(error.clone());
                }
            });
            let following = builder.start().unwrap();
            let mut last = write(&store, 0, 100);
            assert_same(&following, &store, last);
            for round in 1..3 {
                let filler = mount.join("filler");
                fill(&filler, 0);
                // Beyond the segments that are prepared; nobody here waits for the follower.
                said.try_iter().for_each(drop);
                last = write(&store, 20_000 * round, 15_000);
                // A busy machine may also have a connection given up meanwhile.
                until_said(&said, Error::is_storage_full);
                std::fs::remove_file(filler).unwrap();
                serving.wait(last, WriteConcern::Majority, LONG).unwrap();
                assert_same(&following, &store, last);
            }
            following.stop();
            let ended = following.wait_for(last.next(), LONG);
            assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
        },
    );
}

#[test]
fn a_rollback_for_which_there_is_no_space_waits_though_others_hold_the_store() {
    on_tmpfs(
        "a_rollback_for_which_there_is_no_space_waits_though_others_hold_the_store",
        "224m",
        |mount| {
            let a = TempDir::new().unwrap();
            let store = open(a.path());
            let serving = primary(&store, "a", &["a", "b"]);
            let b = mount.join("b");
            let following = follower(&b, "b", serving.address(), &["a", "b"]).start().unwrap();
            let shared = write(&store, 0, 100);
            assert_same(&following, &store, shared);
            // It writes alone, and loses it.
            let promoted = following.promote().unwrap();
            write(&promoted, 20_000, 4000);
            promoted.close().unwrap();

            let proxy = Proxy::to(serving.address());
            proxy.weather.silent.store(true, Ordering::SeqCst);
            let (say, said) = channel();
            let builder = follower(&b, "b", proxy.address, &["a", "b"]).on_event(move |event| {
                if let FollowerEvent::Retrying { error: Some(error), .. } = event {
                    // Nobody may be listening any more.
                    let _ = say.send(error.clone());
                }
            });
            let following = builder.start().unwrap();
            let held = following.wait_for(shared, LONG).unwrap();
            let filler = mount.join("filler");
            // For small files there is space, not for what is to be kept.
            fill(&filler, 256 << 10);
            proxy.weather.silent.store(false, Ordering::SeqCst);
            for _ in 0..2 {
                // Another file may want space, too, as a segment that is prepared.
                until_said(&said, |error| {
                    let names_what = |path: &Path| path.starts_with(b.join("rollback"));
                    error.is_storage_full() && matches!(error, Error::File { path, .. } if names_what(path))
                });
            }
            assert!(!held.log().is_closed());
            std::fs::remove_file(filler).unwrap();
            let last = write(&store, 10_000, 100);
            // It has entries of that number until they are rolled back.
            serving.wait(last, WriteConcern::Majority, LONG).unwrap();
            assert_same(&following, &store, last);
            assert!(held.log().is_closed());
            let kept: Vec<_> = std::fs::read_dir(b.join("rollback")).unwrap().collect();
            assert_eq!(kept.len(), 1);
        },
    );
}

#[test]
fn a_copy_for_which_the_primary_has_no_space_is_not_begun_and_it_goes_on() {
    on_tmpfs(
        "a_copy_for_which_the_primary_has_no_space_is_not_begun_and_it_goes_on",
        "224m",
        |mount| {
            let b = TempDir::new().unwrap();
            let store = open(&mount.join("a"));
            write(&store, 0, 100);
            let serving = primary(&store, "a", &[]);
            // It would fit, but for what the log is to have.
            let filler = mount.join("filler");
            fill(&filler, 3 << 20);
            let (say, said) = channel();
            let builder = follower(b.path(), "b", serving.address(), &[]).on_event(move |event| {
                if let FollowerEvent::Retrying { error: Some(error), .. } = event {
                    // Nobody may be listening any more.
                    let _ = say.send(error.clone());
                }
            });
            let following = builder.start().unwrap();
            until_said(&said, |error| {
                let refused = |refusal: &Refusal| matches!(refusal, Refusal::NoSpaceForCopy(..));
                matches!(error, Error::Refused { refusal } if refused(refusal))
            });
            let slots = store.slots();
            let is_held = slots.iter().any(|slot| slot.name == "follower.b");
            assert!(!is_held, "nothing is kept for who is given no copy");
            let last = write(&store, 1000, 10);
            std::fs::remove_file(filler).unwrap();
            assert_same(&following, &store, last);
        },
    );
}
