//! A follower whose disk is really full: it says so, the primary goes on, and with space again the two are the same.

#[path = "../../oplog/tests/common/mount.rs"]
mod mount;
#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use mount::on_tmpfs;
use stores::{LONG, Proxy, assert_same, follower, open, primary, write};
use tailwater_replication::{Error, FollowerEvent, WriteConcern};
use tempfile::TempDir;

/// Takes whatever space is left, until the file is removed.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    let zeros = [0; 4096];
    while filler.write_all(&zeros).is_ok() {}
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
                fill(&filler);
                // Beyond the segments that are prepared; nobody here waits for the follower.
                last = write(&store, 20_000 * round, 15_000);
                let error = said.recv_timeout(LONG).unwrap();
                assert!(error.is_storage_full(), "{error:?}");
                std::fs::remove_file(filler).unwrap();
                serving.wait(last, WriteConcern::Majority, LONG).unwrap();
                assert_same(&following, &store, last);
                while said.try_recv().is_ok() {}
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
            let builder = follower(&b, "b", proxy.address, &["a", "b"]).on_event(move |event| match event {
                FollowerEvent::Retrying { error: Some(error), .. } if error.is_storage_full() => {
                    let _ = say.send(error.clone());
                }
                _ => {}
            });
            let following = builder.start().unwrap();
            let held = following.wait_for(shared, LONG).unwrap();
            let filler = mount.join("filler");
            fill(&filler);
            // For small files there is space, not for what is to be kept.
            let full = File::options().write(true).open(&filler).unwrap();
            let length = full.metadata().unwrap().len();
            full.set_len(length - (256 << 10)).unwrap();
            drop(full);
            proxy.weather.silent.store(false, Ordering::SeqCst);
            for _ in 0..2 {
                let error = said.recv_timeout(LONG).unwrap();
                let names_what = matches!(&error, Error::File { path, .. } if path.starts_with(b.join("rollback")));
                assert!(names_what, "{error:?}");
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
