//! What crashes and other primaries leave in a follower's directory, and that it goes on from there by itself.

use crate::stores;

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stores::{HEARTBEAT, LONG, assert_same, follower, open, primary, write};
use tailwater_oplog::{Member, SegmentStart};
use tailwater_replication::{Error, FollowerEvent, Primary, promote};
use tailwater_storage::Store;
use tempfile::TempDir;

#[test]
fn an_empty_segment_of_another_primary_is_set_aside() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let mut last = write(&store, 0, 30);
    assert_same(&following, &store, last);
    following.stop();
    drop(following);
    for round in 0..2 {
        // As a primary that rolled at another place has left it: begun, and nothing in it.
        let left = open(b.path());
        let log = left.log();
        let next = log.watermarks().appended.next();
        let start = log.segment_of(next).unwrap();
        left.begin_segment(&SegmentStart {
            sequence: start.sequence + 1,
            first: next,
            seed: start.seed ^ 77,
            ..start
        })
        .unwrap();
        drop(log);
        left.close().unwrap();
        let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
        last = write(&store, 10_000 * (round + 1), 3000);
        assert_same(&following, &store, last);
    }
}

#[test]
fn a_part_of_a_copy_that_is_not_needed_any_more_is_removed() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let start = || follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let following = start();
    following.wait_for(write(&store, 0, 30), LONG).unwrap();
    drop(following);
    // It was to be replaced; by now the primary, or another one, has what comes next.
    let part = b.path().join("incoming");
    fs::create_dir_all(part.join("state")).unwrap();
    fs::write(part.join("state/tables"), vec![7; 1 << 20]).unwrap();
    let following = start();
    assert_same(&following, &store, write(&store, 30, 30));
    assert!(!part.exists());
}

/// A primary whose log has been trimmed beyond the end of a follower that was away, with that follower's directory.
struct Behind {
    /// Kept until the end.
    _a: TempDir,
    b: TempDir,
    store: Store,
    serving: Primary,
}

impl Behind {
    fn new() -> Behind {
        let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let store = open(a.path());
        let first = write(&store, 0, 20);
        let builder = Primary::builder(store.clone(), "a").heartbeat(HEARTBEAT);
        let serving = builder.lag_bytes_max(1).start().unwrap();
        let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
        assert_same(&following, &store, first);
        following.stop();
        drop(following);
        write(&store, 1000, 6000);
        store.trim_log(store.log().watermarks().durable).unwrap();
        assert!(store.log().watermarks().oldest > first.next());
        Behind {
            _a: a,
            b,
            store,
            serving,
        }
    }

    /// Has the follower fetch a copy, and end when that is whole and not in its place yet.
    fn leave_whole_copy(&self) {
        // Where the log would go that is replaced.
        let obstacle = self.b.path().join("oplog.gone");
        let made = obstacle.clone();
        let builder = follower(self.b.path(), "b", self.serving.address(), &[]);
        let builder = builder.resync().on_event(move |event| {
            if matches!(event, FollowerEvent::Copying { bytes, total } if bytes == total) {
                fs::write(&made, b"").unwrap();
            }
        });
        let ended = builder.start().unwrap().join();
        assert!(matches!(ended, Err(Error::File { .. })), "{ended:?}");
        fs::remove_file(obstacle).unwrap();
        assert!(self.b.path().join("incoming/READY").exists());
    }
}

#[test]
fn what_an_interrupted_replacement_has_left_is_completed_or_goes() {
    let behind = Behind::new();
    behind.leave_whole_copy();
    let b = behind.b.path();
    // Its state had been put in place of the old one when that was interrupted.
    fs::remove_dir_all(b.join("state")).unwrap();
    fs::rename(b.join("incoming/state"), b.join("state")).unwrap();
    let left = ["state.gone", "oplog.gone", "incoming.gone"].map(|name| b.join(name));
    for directory in &left {
        fs::create_dir_all(directory.join("below")).unwrap();
    }
    // What is not in its place yet is not fetched again.
    let copied = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&copied);
    let builder = follower(b, "b", behind.serving.address(), &[]).on_event(move |event| {
        if matches!(event, FollowerEvent::Copying { .. } | FollowerEvent::Resyncing { .. }) {
            seen.store(true, Ordering::SeqCst);
        }
    });
    let following = builder.start().unwrap();
    let last = write(&behind.store, 10_000, 30);
    assert_same(&following, &behind.store, last);
    assert!(
        !left
            .iter()
            .chain([&b.join("incoming")])
            .any(|directory| directory.exists())
    );
    assert!(!copied.load(Ordering::SeqCst));
}

#[test]
fn a_copy_does_not_replace_what_was_promoted_since() {
    // Through this crate, and without it.
    let promotions: [fn(&Store); 2] = [
        |store| {
            promote(store, "b", &[]).unwrap();
        },
        |store| {
            store.promote(Member::new(40).unwrap()).unwrap();
        },
    ];
    for promotion in promotions {
        let behind = Behind::new();
        behind.leave_whole_copy();
        let b = behind.b.path();
        let promoted = open(b);
        promotion(&promoted);
        let last = write(&promoted, 50_000, 30);
        let (digest, promised) = (promoted.digest().unwrap(), promoted.promised());
        promoted.close().unwrap();

        // Of somebody who says nothing, so that nothing but what is here can be shown.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let following = follower(b, "b", silent.local_addr().unwrap(), &[]).start().unwrap();
        let store = following.wait_for(last, LONG).unwrap();
        assert_eq!((store.digest().unwrap(), store.promised()), (digest, promised));
        assert!(!b.join("incoming").exists());
    }
}
