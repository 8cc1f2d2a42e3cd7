//! Closing, crashing and opening; what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bson::rawdoc;
use tailwater_oplog as oplog;
use tailwater_oplog::OpId;
use tailwater_storage::{Error, log_directory};

use crate::common::{content, copy_dir, copy_open_store, copy_store, small};
use crate::{all, fill, newest, people, temporary};

#[test]
fn everything_is_there_after_close_and_reopen() {
    let dir = temporary();
    let (store, people_before) = people(dir.path());
    fill(&people_before, 0..1000);
    people_before
        .update_many(&rawdoc! { "n": { "$lt": 10 } }, &rawdoc! { "$set": { "n": -1 } })
        .unwrap();
    people_before.delete_many(&rawdoc! { "n": { "$gte": 990 } }).unwrap();
    store.create_collection("shop", "empty").unwrap();
    let expected = content(&store);
    drop(people_before);
    store.close().unwrap();
    let (store, _people) = people(dir.path());
    assert_eq!(content(&store), expected);
}

#[test]
fn everything_is_there_after_a_crash() {
    let (dir, crashed) = (temporary(), temporary());
    let (store, people_before) = people(dir.path());
    fill(&people_before, 0..500);
    store.trim_log(OpId::ZERO).unwrap();
    fill(&people_before, 500..1000);
    people_before.delete_many(&rawdoc! { "n": { "$lt": 250 } }).unwrap();
    store.drop_database("nothing").unwrap();
    let expected = content(&store);
    copy_open_store(&store, dir.path(), crashed.path());
    let (store, people_after) = people(crashed.path());
    assert_eq!(content(&store), expected);
    fill(&people_after, 0..250);
    assert_eq!(people_after.count(&rawdoc! {}).unwrap(), 1000);
}

#[test]
fn a_closed_store_takes_no_more_writes() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..3);
    store.clone().close().unwrap();
    let refused = people.insert_one(&rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
    store.close().unwrap();
}

#[test]
fn a_store_can_be_reopened_while_handles_of_the_closed_one_are_around() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    store.clone().close().unwrap();
    let (_store, after) = people(dir.path());
    fill(&after, 3..6);
    assert_eq!(all(&after).len(), 6);
    let refused = before.find(&rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
    let refused = store.trim_log(OpId::ZERO).unwrap_err();
    assert!(matches!(refused, Error::Log(oplog::Error::Closed)), "{refused:?}");
}

#[test]
fn a_store_is_open_once() {
    let dir = temporary();
    let (store, _people) = people(dir.path());
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::Locked { .. })),
        "{refused:?}"
    );
    drop((store, _people));
    small().open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_no_store_is_left_alone() {
    let dir = temporary();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::NotALog { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let refused = small().open(dir.path().join("notes.txt")).unwrap_err();
    assert!(matches!(refused, Error::Directory { .. }), "{refused:?}");

    let mut options = small();
    options.oplog.create = false;
    let refused = options.open(dir.path().join("absent")).unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::NotFound { .. })),
        "{refused:?}"
    );
    assert!(!dir.path().join("absent").exists());
}

#[test]
fn the_state_of_another_log_is_refused() {
    let (one, other) = (temporary(), temporary());
    for dir in [&one, &other] {
        let (store, people) = people(dir.path());
        fill(&people, 0..3);
        store.close().unwrap();
    }
    std::fs::remove_dir_all(one.path().join("state")).unwrap();
    copy_dir(&other.path().join("state"), &one.path().join("state"));
    let refused = small().open(one.path()).unwrap_err();
    let Error::ForeignState { expected, found, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_ne!(expected, found);

    // As the error says: without the state it is rebuilt.
    std::fs::remove_dir_all(one.path().join("state")).unwrap();
    let (_store, people) = people(one.path());
    assert_eq!(all(&people).len(), 3);
}

/// Every file below a directory with its bytes, and every directory.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

#[test]
fn a_state_without_its_log_is_refused_before_anything_is_made() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let log = log_directory(dir.path());
    let kept = temporary();
    copy_dir(&log, kept.path());
    std::fs::remove_dir_all(&log).unwrap();
    // Both without the log's directory and with an empty one.
    for _ in 0..2 {
        let unchanged = snapshot(dir.path());
        let refused = small().open(dir.path()).unwrap_err();
        let Error::LogMissing { path } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(path, &log);
        assert!(refused.to_string().contains("restore"), "{refused}");
        assert!(snapshot(dir.path()) == unchanged, "something was made or changed");
        std::fs::create_dir_all(&log).unwrap();
    }
    // As the error says: with the log it opens, without the state it begins anew.
    copy_dir(kept.path(), &log);
    let (store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
    drop(after);
    store.close().unwrap();
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_store, anew) = people(dir.path());
    assert_eq!(all(&anew), []);
}

#[test]
fn a_state_that_is_open_elsewhere_is_said_to_be_in_use() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let state = dir.path().join("state");
    let elsewhere = fjall::Database::builder(&state).open().unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    let Error::StateLocked { path } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(path, &state);
    let text = refused.to_string();
    assert!(text.contains("in use") && !text.contains("reopen"), "{text}");
    drop(elsewhere);
    let (_store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
}

#[test]
fn a_log_put_back_to_an_older_copy_is_refused() {
    let (dir, copy) = (temporary(), temporary());
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    copy_dir(&log_directory(dir.path()), copy.path());
    let (store, before) = people(dir.path());
    fill(&before, 3..6);
    let last = newest(&store);
    drop(before);
    store.close().unwrap();

    std::fs::remove_dir_all(log_directory(dir.path())).unwrap();
    copy_dir(copy.path(), &log_directory(dir.path()));
    let refused = small().open(dir.path()).unwrap_err();
    let Error::StateAhead { applied, newest } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(applied, last);
    assert!(newest < applied);

    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_store, after) = people(dir.path());
    assert_eq!(all(&after).len(), 3);
}

#[test]
fn the_state_of_a_twin_in_the_same_term_is_refused() {
    let (one, other) = (temporary(), temporary());
    let (store, before) = people(one.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    copy_store(one.path(), other.path());
    // Each is opened once more, so both write in the same term of the same log, and equally much.
    for (dir, first) in [(&one, 3), (&other, 13)] {
        let (store, twin) = people(dir.path());
        fill(&twin, first..first + 3);
        drop(twin);
        store.close().unwrap();
    }
    let own = temporary();
    copy_dir(&one.path().join("state"), own.path());
    for (dir, swapped) in [(&one, other.path().join("state")), (&other, own.path().to_path_buf())] {
        let kept = temporary();
        copy_dir(&dir.path().join("state"), kept.path());
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        copy_dir(&swapped, &dir.path().join("state"));
        let refused = small().open(dir.path()).unwrap_err();
        assert!(matches!(refused, Error::StateDiverged { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("remove the state"), "{text}");
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        copy_dir(kept.path(), &dir.path().join("state"));
    }
    // As the error says: without the state it is rebuilt.
    std::fs::remove_dir_all(other.path().join("state")).unwrap();
    let (_store, after) = people(other.path());
    assert_eq!(after.count(&rawdoc! { "_id": { "$gte": 13 } }).unwrap(), 3);
    assert_eq!(all(&after).len(), 6);
}
