//! What log and state have of each other.

use bson::rawdoc;
use tailwater_oplog::{Durability, OpId, Oplog, ReadConcern};
use tailwater_storage::{Error, StoreOptions, log_directory};

use crate::common::{content, copy_open_store, small};
use crate::{all, fill, newest, people, temporary};

#[test]
fn a_lost_state_is_rebuilt_from_the_log() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..1000);
    before
        .update_many(&rawdoc! {}, &rawdoc! { "$inc": { "n": 1 } })
        .unwrap();
    store.drop_collection("town", "people").unwrap();
    fill(&before, 0..10);
    before.delete_one(&rawdoc! {}).unwrap();
    let expected = content(&store);
    drop(before);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    assert_eq!(content(&small().open(dir.path()).unwrap()), expected);
}

#[test]
fn a_trimmed_log_still_opens_and_the_state_has_what_it_lost() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    let pad = "x".repeat(1000);
    for n in 0..5000 {
        before.insert_one(&rawdoc! { "_id": n, "pad": pad.as_str() }).unwrap();
    }
    let expected = content(&store);
    let oldest = store.trim_log(newest(&store)).unwrap();
    assert!(oldest > OpId::FIRST);
    assert_eq!(store.log().watermarks().oldest, oldest);
    assert_eq!(content(&store), expected);
    before.delete_one(&rawdoc! { "_id": 0 }).unwrap();
    drop(before);
    store.close().unwrap();

    let (store, after) = people(dir.path());
    assert_eq!(after.count(&rawdoc! {}).unwrap(), 4999);
    drop(after);
    store.close().unwrap();

    // Without the state, what was trimmed is gone, and that is said.
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let refused = small().open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::StateBehind { oldest: found, .. } if found == oldest),
        "{refused:?}"
    );
}

#[test]
fn a_trim_never_takes_what_the_state_lacks() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    for n in 0..3000 {
        before
            .insert_one(&rawdoc! { "_id": n, "pad": "x".repeat(1000) })
            .unwrap();
    }
    let oldest = store.trim_log(OpId::new(u64::MAX)).unwrap();
    assert!(oldest <= newest(&store));
    let crashed = temporary();
    copy_open_store(&store, dir.path(), crashed.path());
    let (_store, after) = people(crashed.path());
    assert_eq!(after.count(&rawdoc! {}).unwrap(), 3000);
}

#[test]
fn writers_wait_for_a_full_overlay_and_nothing_is_lost() {
    const WRITERS: i32 = 4;
    const EACH: i32 = 500;
    for overlay_bytes_max in [64 << 10, 1] {
        let dir = temporary();
        let options = StoreOptions {
            overlay_bytes_max,
            ..small()
        };
        let store = options.open(dir.path()).unwrap();
        let numbers = store.collection("town", "numbers").unwrap();
        let each = if overlay_bytes_max == 1 { EACH / 20 } else { EACH };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let numbers = &numbers;
                scope.spawn(move || {
                    for n in 0..each {
                        let document = rawdoc! { "_id": writer * EACH + n, "pad": "x".repeat(1000) };
                        numbers.insert_one(&document).unwrap();
                    }
                });
            }
        });
        assert_eq!(numbers.count(&rawdoc! {}).unwrap(), (WRITERS * each) as u64);
        drop(numbers);
        store.close().unwrap();
        let store = options.open(dir.path()).unwrap();
        let numbers = store.collection("town", "numbers").unwrap();
        assert_eq!(numbers.count(&rawdoc! {}).unwrap(), (WRITERS * each) as u64);
    }
}

#[test]
fn a_durable_write_is_durable_when_it_returns() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    let durable = people.clone().with_durability(Durability::Disk);
    let op_id = durable.insert_one(&rawdoc! { "_id": 1 }).unwrap().op_id;
    assert!(store.log().newest(ReadConcern::Durable) >= op_id);
    people.insert_one(&rawdoc! { "_id": 2 }).unwrap();
    store.sync().unwrap();
    assert_eq!(store.log().newest(ReadConcern::Durable), newest(&store));
}

#[test]
fn entries_of_other_programs_in_the_log_are_passed_over() {
    let dir = temporary();
    let (store, before) = people(dir.path());
    fill(&before, 0..3);
    drop(before);
    store.close().unwrap();
    let log = Oplog::open(log_directory(dir.path())).unwrap();
    log.append(200, b"a note", Durability::Disk).unwrap();
    log.close().unwrap();
    let (store, after) = people(dir.path());
    fill(&after, 3..6);
    assert_eq!(newest(&store), OpId::new(8));
    assert_eq!(all(&after).len(), 6);
}
