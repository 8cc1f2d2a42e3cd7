//! A store whose log removes its own history: what the state still needs stays, whatever the limits.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bson::rawdoc;
use common::{copy_dir, eventually, small};
use tailwater_oplog::{Durability, Error as LogError, OpId, Retention, SlotOptions};
use tailwater_storage::{Error, Store, StoreOptions, log_directory};

/// A log of little more than the newest of its segments.
fn limited(checkpoint_bytes: u64) -> StoreOptions {
    let mut options = StoreOptions {
        checkpoint_bytes,
        overlay_bytes_max: 1 << 20,
        ..small()
    };
    options.oplog.retention = Retention {
        hard_max_bytes: Some(3 << 20),
        ..Retention::default()
    };
    options
}

/// Documents of 10 kB.
fn insert(store: &Store, ids: std::ops::Range<i32>) {
    let things = store.collection("shop", "things").unwrap();
    for id in ids {
        things
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(10_000) })
            .unwrap();
    }
}

fn count(store: &Store) -> i32 {
    let things = store.collection("shop", "things").unwrap();
    let found = things.find(&rawdoc! {}).unwrap().map(Result::unwrap);
    let mut next = 0;
    for document in found {
        assert_eq!(document.get_i32("_id").unwrap(), next, "a gap");
        next += 1;
    }
    next
}

fn oldest(store: &Store) -> OpId {
    store.log().watermarks().oldest
}

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(log_directory(dir))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .count()
}

#[test]
fn a_store_gives_back_what_its_checkpoints_have_covered() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(1 << 20).open(dir.path()).unwrap();
    insert(&store, 0..2_000);
    assert_eq!(count(&store), 2_000);
    // Half a limit between checkpoints, an overlay, and the limit itself.
    eventually("the log is not trimmed", || segments(dir.path()) <= 6);
    assert!(oldest(&store) > OpId::new(1_000));
    store.close().unwrap();
    let store = limited(1 << 20).open(dir.path()).unwrap();
    assert_eq!(count(&store), 2_000);
}

/// Power loss takes the state back to its last checkpoint, here the one at the opening, and the log no further than it was.
#[test]
fn the_log_keeps_what_the_last_checkpoint_needs_whatever_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = limited(u64::MAX);
    let store = options.open(dir.path()).unwrap();
    insert(&store, 0..50);
    store.close().unwrap();

    // Nothing limits the interval of checkpoints but the log's limits: so without them first, and then with all of them.
    options.oplog.retention = Retention::default();
    let checkpoint = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("state"), &checkpoint.path().join("state"));
    let store = options.open(dir.path()).unwrap();
    insert(&store, 50..1_500);
    store.sync().unwrap();
    let held = store.log().slots().unwrap();
    let [owner] = &held[..] else { panic!("{held:?}") };
    assert!(
        owner.name.starts_with("tailwater.") && owner.lag_bytes > 10 << 20,
        "{owner:?}"
    );
    copy_dir(&log_directory(dir.path()), &log_directory(checkpoint.path()));
    drop(store);
    for name in ["TAIL", "BUFFER"] {
        let _ = std::fs::remove_file(log_directory(checkpoint.path()).join(name));
    }

    // A log alone, told to remove all it can, leaves them to the state.
    let mut log_options = options.oplog.clone();
    log_options.retention = Retention {
        max_bytes: Some(0),
        max_age: Some(std::time::Duration::ZERO),
        hard_max_bytes: Some(0),
    };
    let log = log_options.open(log_directory(checkpoint.path())).unwrap();
    assert!(log.trim(log.watermarks().durable).unwrap() <= owner.position);
    assert!(matches!(
        log.slot_drop(&owner.name),
        Err(LogError::InvalidSlotName { .. })
    ));
    log.close().unwrap();
    options.oplog.retention = log_options.retention;
    let store = options.open(checkpoint.path()).unwrap();
    assert_eq!(count(&store), 1_500);

    // An older state than the last checkpoint is another matter.
    store.trim_log(OpId::new(u64::MAX)).unwrap();
    store.close().unwrap();
    let older = tempfile::tempdir().unwrap();
    copy_dir(&log_directory(checkpoint.path()), &log_directory(older.path()));
    let refused = options.open(older.path()).unwrap_err();
    assert!(matches!(refused, Error::StateBehind { .. }), "{refused:?}");
}

#[test]
fn a_dead_consumer_loses_and_the_store_does_not() {
    let dir = tempfile::tempdir().unwrap();
    small().open(dir.path()).unwrap().close().unwrap();
    let log = small().oplog.open(log_directory(dir.path())).unwrap();
    let endless = SlotOptions {
        max_lag_bytes: u64::MAX,
    };
    log.slot_create("dead", log.watermarks().oldest, endless).unwrap();
    log.close().unwrap();
    let store = limited(1 << 20).open(dir.path()).unwrap();
    insert(&store, 0..1_500);
    eventually("the log is not trimmed", || segments(dir.path()) <= 6);
    assert!(oldest(&store) > OpId::FIRST);
    store.close().unwrap();
    assert_eq!(count(&limited(1 << 20).open(dir.path()).unwrap()), 1_500);
}

const DIRECTORY: &str = "TAILWATER_STORE_RETENTION_DIRECTORY";

#[test]
fn a_store_that_trims_itself_opens_after_every_kill() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_store_that_trims_itself_opens_after_every_kill",
                "--nocapture",
            ])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut written = before;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some((_, number)) = line.unwrap().split_once("written ") {
                written = number.parse().unwrap();
                if written >= before + 300 + 37 * round {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = limited(1 << 20).open(dir.path()).unwrap();
        let found = count(&store);
        assert!(found >= written, "{found} of {written}");
        before = found;
        drop(store);
    }
    let store = limited(1 << 20).open(dir.path()).unwrap();
    assert!(oldest(&store) > OpId::FIRST);
}

/// The store that is killed.
#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn write_until_killed(dir: &Path) {
    let mut options = limited(1 << 20);
    options.durability = Durability::Disk;
    let store = options.open(dir).unwrap();
    let mut next = count(&store);
    loop {
        insert(&store, next..next + 10);
        next += 10;
        println!("\nwritten {next}");
        let _ = std::io::stdout().flush();
    }
}
