//! A primary that was restored from a backup, and a follower that knows more than it.

#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use std::path::Path;

use stores::{LONG, assert_same, follower, open, primary, write};
use tailwater_replication::decision::Apart;
use tailwater_replication::{Error, FollowerEvent};
use tempfile::TempDir;

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_directory(&path, &copy),
            false => drop(std::fs::copy(&path, &copy).unwrap()),
        }
    }
}

#[test]
fn a_follower_ahead_of_a_restored_primary_is_replaced_only_when_that_is_allowed() {
    let [a, b, backup] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let shared = write(&store, 0, 100);
    following.wait_for(shared, LONG).unwrap();
    drop(serving);
    store.close().unwrap();
    copy_directory(a.path(), backup.path());

    // What comes behind the backup is on the follower only, once this machine is gone.
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    drop(following);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let lost = write(&store, 1000, 50);
    following.wait_for(lost, LONG).unwrap();
    drop((following, serving));
    store.close().unwrap();

    let restored = open(backup.path());
    let serving = primary(&restored, "a", &[]);
    let last = write(&restored, 2000, 20);
    let refused = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    // The same member has written twice in one term, without knowing: those entries must not be mixed.
    let ended = refused.join();
    let Err(Error::ResyncNeeded { apart }) = ended else {
        panic!("{ended:?}");
    };
    assert!(matches!(apart, Apart::TermTwice(_)), "{apart:?}");
    assert!(refused.status().durable >= lost, "nothing was taken from it");
    drop(refused);

    let (told, replaced) = std::sync::mpsc::channel();
    let builder = follower(b.path(), "b", serving.address(), &[]).resync();
    let allowed = builder.on_event(move |event| {
        if let FollowerEvent::Resyncing { .. } = event {
            told.send(()).unwrap();
        }
    });
    let allowed = allowed.start().unwrap();
    // From then on nobody who waits for an entry is given the store that goes.
    replaced.recv_timeout(LONG).unwrap();
    assert_same(&allowed, &restored, last);
    assert_eq!(replaced.try_iter().count(), 0);
}
