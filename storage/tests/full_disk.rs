//! A disk that is really full, while the store writes, builds an index, makes checkpoints and is copied: the error says so,
//! nothing that was acknowledged is lost, and with space again it goes on.

#[path = "../../oplog/tests/common/mount.rs"]
mod mount;

mod common;

use std::fs;
use std::path::Path;

use bson::{RawDocumentBuf, rawdoc};
use common::{content, small};
use mount::on_tmpfs;
use tailwater_oplog::{Durability, Error as LogError};
use tailwater_storage::{
    BackupError, BackupOptions, Collection, Error, IndexModel, Store, StoreOptions, backup_log, state_directory,
};

/// With checkpoints and moves into the engine at every turn.
fn busy() -> StoreOptions {
    StoreOptions {
        checkpoint_bytes: 1,
        overlay_bytes_max: 256 << 10,
        ..small()
    }
}

fn things(store: &Store) -> Collection {
    store.collection("shop", "things").unwrap()
}

/// Bytes that do not compress.
fn text(id: i32, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(id as u64);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}

fn document(id: i32) -> RawDocumentBuf {
    rawdoc! { "_id": id, "n": -id, "text": text(id, 4_000) }
}

/// Takes all but so many bytes of the file system, whatever is written meanwhile.
fn take_all_but(bytes: u64, mount: &Path) {
    let filler = fs::File::create(mount.join("filler")).unwrap();
    let mut taken = 0;
    loop {
        let space = rustix::fs::statvfs(mount).unwrap();
        let free = space.f_bavail * space.f_frsize;
        let Some(more) = free.checked_sub(bytes).filter(|more| *more >= space.f_frsize) else {
            return;
        };
        if rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), taken, more).is_ok() {
            taken += more;
        }
    }
}

fn give_back(mount: &Path) {
    fs::remove_file(mount.join("filler")).unwrap();
}

/// Whether the error says that a disk is full: the log's own, after which writing goes on by itself, or the state's, after
/// which the store is to be opened again.
fn is_named(error: &Error) -> bool {
    matches!(
        error,
        Error::Log(LogError::StorageFull { .. }) | Error::StateStorageFull { .. }
    )
}

/// Everything there with its content, in the collection and in its indexes, by a store and by what its log adds up to.
fn check(dir: &Path, documents: i32) {
    let store = small().open(dir).unwrap();
    let things = things(&store);
    assert_eq!(things.count(&rawdoc! {}).unwrap(), documents as u64);
    for id in 0..documents {
        assert_eq!(things.find_one(&rawdoc! { "_id": id }).unwrap(), Some(document(id)));
    }
    assert_eq!(things.validate().unwrap().findings, [""; 0]);
    let digest = store.digest().unwrap();
    store.close().unwrap();
    fs::remove_dir_all(state_directory(dir)).unwrap();
    let replayed = small().open(dir).unwrap();
    assert_eq!(replayed.digest().unwrap(), digest);
    replayed.close().unwrap();
}

#[test]
fn writes_and_checkpoints_on_a_full_disk_lose_nothing_that_was_acknowledged() {
    on_tmpfs(
        "writes_and_checkpoints_on_a_full_disk_lose_nothing_that_was_acknowledged",
        "160m",
        |mount| {
            let dir = mount.join("store");
            let mut next = 0;
            // More and less room, so that log, journal and tables are the first to find none.
            for room in [0, 1 << 20, 5 << 20] {
                let store = busy().open(&dir).unwrap();
                let durable = things(&store).with_durability(Durability::Disk);
                for _ in 0..200 {
                    durable.insert_one(&document(next)).unwrap();
                    next += 1;
                }
                take_all_but(room, mount);
                let error = loop {
                    match durable.insert_one(&document(next)) {
                        Ok(_) => next += 1,
                        Err(error) => break error,
                    }
                };
                assert!(is_named(&error), "{room}: {error:?}");
                // What is there can be read.
                assert_eq!(durable.count(&rawdoc! {}).unwrap(), next as u64);
                give_back(mount);
                // The log goes on, unless the state has met the full disk at the same time.
                match durable.insert_one(&document(next)) {
                    Ok(_) => {
                        assert!(matches!(error, Error::Log(_)), "{room}: {error:?}");
                        next += 1;
                    }
                    Err(error) => assert!(matches!(error, Error::StateStorageFull { .. }), "{room}: {error:?}"),
                }
                let closed = store.close();
                assert!(
                    matches!(closed, Ok(()) | Err(Error::StateStorageFull { .. })),
                    "{room}: {closed:?}"
                );
            }
            check(&dir, next);
        },
    );
}

#[test]
fn an_index_build_on_a_full_disk_fails_by_name_and_goes_on_when_there_is_space() {
    on_tmpfs(
        "an_index_build_on_a_full_disk_fails_by_name_and_goes_on_when_there_is_space",
        "160m",
        |mount| {
            const DOCUMENTS: i32 = 3_000;
            let dir = mount.join("store");
            let store = busy().open(&dir).unwrap();
            let collection = things(&store);
            for first in (0..DOCUMENTS).step_by(100) {
                let batch: Vec<_> = (first..first + 100).map(document).collect();
                collection.insert_many(batch.iter().map(AsRef::as_ref)).unwrap();
            }
            store.sync().unwrap();
            take_all_but(300 << 10, mount);
            let error = collection.create_index(&IndexModel::new("text", 1)).unwrap_err();
            assert!(is_named(&error), "{error:?}");
            assert_eq!(collection.count(&rawdoc! { "n": -5 }).unwrap(), 1);
            give_back(mount);
            let _ = store.close();

            // The build that has begun goes on by itself; one that has not is begun again.
            let store = small().open(&dir).unwrap();
            let collection = things(&store);
            collection.create_index(&IndexModel::new("text", 1)).unwrap();
            assert_eq!(
                collection.validate().unwrap().keys,
                [("text_1".to_owned(), DOCUMENTS as u64)]
            );
            store.close().unwrap();
            check(&dir, DOCUMENTS);
        },
    );
}

#[test]
fn a_backup_to_a_full_disk_is_named_leaves_nothing_and_can_be_made_when_there_is_space() {
    on_tmpfs(
        "a_backup_to_a_full_disk_is_named_leaves_nothing_and_can_be_made_when_there_is_space",
        "160m",
        |mount| {
            let dir = tempfile::tempdir().unwrap();
            let store = small().open(dir.path()).unwrap();
            let collection = things(&store);
            for first in (0..3_000).step_by(100) {
                let batch: Vec<_> = (first..first + 100).map(document).collect();
                collection.insert_many(batch.iter().map(AsRef::as_ref)).unwrap();
            }
            store.sync().unwrap();
            let target = mount.join("backup");
            let options = BackupOptions::default();
            take_all_but(6 << 20, mount);
            // The state's copy, and the log's.
            for made in [
                store.backup(&target, &options),
                backup_log(dir.path(), &target, &options),
            ] {
                let error = made.unwrap_err();
                assert!(matches!(error, BackupError::NoSpace { .. }), "{error:?}");
                let left: Vec<_> = fs::read_dir(mount)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name())
                    .collect();
                assert_eq!(left, ["filler"], "{error:?}");
                collection.insert_one(&rawdoc! { "note": "the store goes on" }).unwrap();
            }
            give_back(mount);
            let _ = store.backup(&target, &options).unwrap();
            let expected = content(&store);
            let copy = small().open(&target).unwrap();
            assert!(content(&copy) == expected, "the copy is another");
            copy.close().unwrap();
        },
    );
}
