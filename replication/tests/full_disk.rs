//! A follower whose disk is really full: it says so, the primary goes on, and with space again the two are the same.

#[path = "../../oplog/tests/common/mount.rs"]
mod mount;
#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::channel;

use mount::on_tmpfs;
use stores::{LONG, assert_same, follower, open, primary, write};
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
