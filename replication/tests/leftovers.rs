//! What crashes and other primaries leave in a follower's directory, and that it goes on from there by itself.

#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use std::fs;

use stores::{assert_same, follower, open, primary, write};
use tailwater_oplog::SegmentStart;
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
fn what_an_interrupted_removal_has_left_goes() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let last = write(&store, 0, 30);
    let serving = primary(&store, "a", &[]);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert_same(&following, &store, last);
    following.stop();
    drop(following);
    let left = ["state.gone", "oplog.gone", "incoming.gone"].map(|name| b.path().join(name));
    for directory in &left {
        fs::create_dir_all(directory.join("below")).unwrap();
    }
    // And a copy that was complete, of which the state had been put in its place when that was interrupted.
    let incoming = b.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    fs::rename(b.path().join("oplog"), incoming.join("oplog")).unwrap();
    fs::create_dir_all(b.path().join("oplog")).unwrap();
    fs::write(b.path().join("oplog/MANIFEST"), b"of the log that is replaced").unwrap();
    fs::write(incoming.join("READY"), b"").unwrap();

    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let last = write(&store, 1000, 30);
    assert_same(&following, &store, last);
    assert!(!left.iter().chain([&incoming]).any(|directory| directory.exists()));
}
