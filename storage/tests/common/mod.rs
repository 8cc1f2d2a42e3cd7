//! What the store's tests share: small stores, copies of directories, the whole content of a store.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, rawdoc};
use tailwater_oplog::{Before, Durability, OpId, Options, ReadConcern, create_follower, create_partial_follower};
use tailwater_storage::{Selection, Sharing, Store, StoreOptions, log_directory};

/// Options with small segments, because each segment is prepared by writing it, and with writes that need no sync.
pub(crate) fn small() -> StoreOptions {
    StoreOptions {
        oplog: Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        },
        durability: Durability::Memory,
        cache_bytes: 8 << 20,
        ..StoreOptions::default()
    }
}

/// Documents of every collection, in the order of a scan, by `database.collection`.
pub(crate) type Content = BTreeMap<String, Vec<RawDocumentBuf>>;

/// Everything in a store.
pub(crate) fn content(store: &Store) -> Content {
    let mut content = Content::new();
    for database in store.database_names() {
        for name in store.collection_names(&database) {
            let found = store.collection(&database, &name).unwrap().find(&rawdoc! {}).unwrap();
            content.insert(format!("{database}.{name}"), found.map(Result::unwrap).collect());
        }
    }
    content
}

/// Copies the directory of an open store as a crash would leave it when everything has been moved from the log's buffer into
/// its segments: a copy of the buffer is not taken for the log's own.
pub(crate) fn copy_open_store(store: &Store, from: &Path, to: &Path) {
    store.sync().unwrap();
    copy_store(from, to);
}

/// Copies a store's directory. The state goes first: in the copy it cannot cover more than the
/// log has, as on a disk that the engine is written to after the log.
pub(crate) fn copy_store(from: &Path, to: &Path) {
    copy_dir(&from.join("state"), &to.join("state"));
    copy_dir(&from.join("oplog"), &to.join("oplog"));
}

/// Copies a directory with everything in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else if let Err(error) = std::fs::copy(&path, &copy) {
            // A spare segment may have been renamed, a temporary file removed, since the directory was read.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// An empty follower in `dir`, of a store whose log is complete.
pub(crate) fn follower_of(store: &Store, dir: &Path, options: &StoreOptions) -> Store {
    let start = store.log().segment_of(OpId::FIRST).unwrap();
    let (promised, known) = (store.promised(), store.known());
    create_follower(log_directory(dir), &start, promised, known, Before::default()).unwrap();
    options.open(dir).unwrap()
}

/// As [`follower_of`], one that is to have only what is selected.
pub(crate) fn partial_follower_of(store: &Store, dir: &Path, options: &StoreOptions, selection: &Selection) -> Store {
    let start = store.log().segment_of(OpId::FIRST).unwrap();
    let (promised, known, part) = (store.promised(), store.known(), selection.to_bytes());
    let dir_of_log = log_directory(dir);
    create_partial_follower(dir_of_log, &start, promised, known, Before::default(), &part).unwrap();
    options.open(dir).unwrap()
}

/// Brings a follower to the store's last entry, as a driver does, in runs of so many bytes, with what it is to have of them.
pub(crate) fn catch_up(store: &Store, follower: &Store, run_bytes: usize) {
    take(store, follower, run_bytes);
    follower.finish_applying();
}

/// The same, as far as the log goes.
pub(crate) fn take(store: &Store, follower: &Store, run_bytes: usize) {
    store.sync().unwrap();
    let sharing = follower.selection().unwrap().map(Sharing::new);
    loop {
        let next = follower.log().watermarks().appended.next();
        let Some(run) = store.log().frames(next, run_bytes, ReadConcern::Durable).unwrap() else {
            return;
        };
        follower.promise(run.term).unwrap();
        if run.begins_segment() && follower.log().segment_of(next).unwrap().first != next {
            follower.begin_segment(&run.segment_start().unwrap()).unwrap();
        }
        let part = sharing.as_ref().map(|sharing| {
            let part = run.part(|entry| sharing.of(entry.kind, entry.payload));
            part.unwrap().pieces().collect::<Vec<_>>().concat()
        });
        follower.append_frames(part.as_deref().unwrap_or(run.bytes())).unwrap();
    }
}
