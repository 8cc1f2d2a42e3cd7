//! Watching at majority: what is seen is never taken back, whoever is promoted, and nothing is left out.

use crate::common;

use std::path::Path;
use std::time::Duration;

use common::{PATIENCE, id, small};
use tailwater::bson::rawdoc;
use tailwater::oplog::Error as LogError;
use tailwater::replication::{Follower, Primary, WriteConcern};
use tailwater::{
    ErrorCode, LogView, OpId, ReadConcern, Receiver, Store, Watch, WatchError, WatchHandle, log_directory,
};
use tempfile::TempDir;

const MEMBERS: [&str; 3] = ["a", "b", "c"];
const HEARTBEAT: Duration = Duration::from_millis(100);

fn open(dir: &Path) -> Store {
    Store::open_with(dir, &small()).unwrap()
}

fn primary(store: &Store, name: &str, members: &[&str]) -> Primary {
    let builder = store.primary(name).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).start().unwrap()
}

fn follow(dir: &Path, name: &str, primary: &Primary, members: &[&str]) -> Follower {
    let builder = Store::follower(dir, name, primary.address().to_string()).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).store_options(small()).start().unwrap()
}

/// Inserts the documents, durably, and returns the last entry.
fn insert(store: &Store, ids: std::ops::Range<i32>) -> OpId {
    let things = store.collection("shop", "things").unwrap();
    for id in ids {
        things.insert_one(&rawdoc! { "_id": id }).unwrap();
    }
    store.sync().unwrap();
    store.log().watermarks().durable
}

fn watch(store: &Store, concern: ReadConcern) -> Watch {
    store
        .collection("shop", "things")
        .unwrap()
        .watch()
        .read_concern(concern)
}

fn subscribe(store: &Store, concern: ReadConcern) -> (WatchHandle, Receiver) {
    watch(store, concern).subscribe().unwrap()
}

/// The `_id`s of the next events.
fn receive(receiver: &Receiver, count: usize) -> Vec<i32> {
    let next = |_| receiver.recv_timeout(PATIENCE).unwrap();
    let events = (0..count).map(next);
    events.map(|event| id(event.full_document().unwrap())).collect()
}

#[test]
fn what_a_member_writes_that_is_on_no_list_is_no_majoritys_however_it_is_read() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let following = follow(b.path(), "stranger", &serving, &MEMBERS);
    following.wait_for(insert(&store, 0..5), PATIENCE).unwrap();
    drop((serving, store));
    let promoted = Store::from(following.promote().unwrap());
    // Somebody else may be elected, without this one's entries.
    let written = insert(&promoted, 10..15);
    promoted.close().unwrap();
    let unknown = |store: &Store| {
        assert!(store.log().watermarks().durable >= written);
        let watching = watch(store, ReadConcern::Majority).start();
        assert!(
            matches!(&watching, Err(WatchError::Log(LogError::MajorityUnknown { .. }))),
            "{watching:?}"
        );
        let mut cursor = store.log().cursor(OpId::FIRST, ReadConcern::Majority).unwrap();
        assert!(cursor.try_next().unwrap().is_none());
    };
    let alone = open(b.path());
    unknown(&alone);
    let elsewhere = LogView::open(log_directory(b.path())).unwrap();
    let mut cursor = elsewhere.cursor(OpId::FIRST, ReadConcern::Majority).unwrap();
    assert!(cursor.try_next().unwrap().is_none());
}

#[test]
fn a_watcher_sees_nothing_while_the_followers_are_away_and_everything_once_when_one_is_back() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let following = follow(b.path(), "b", &serving, &MEMBERS);
    let last = insert(&store, 0..10);
    serving.wait(last, WriteConcern::Majority, PATIENCE).unwrap();
    drop(following);

    let (_durably, durable) = subscribe(&store, ReadConcern::Durable);
    let (_surely, majority) = subscribe(&store, ReadConcern::Majority);
    let mut stream = watch(&store, ReadConcern::Majority).start().unwrap();
    let mut cursor = store.log().cursor_from_now(ReadConcern::Majority);
    let written = insert(&store, 10..30);
    assert_eq!(receive(&durable, 20), Vec::from_iter(10..30));
    assert!(majority.try_recv().unwrap().is_none());
    assert!(stream.next_if_any().unwrap().is_none());
    assert!(store.log().newest(ReadConcern::Majority) < written);
    assert!(cursor.try_next().unwrap().is_none());

    let following = follow(b.path(), "b", &serving, &MEMBERS);
    assert_eq!(receive(&majority, 20), Vec::from_iter(10..30));
    let streamed = (0..20).map(|_| stream.wait_next(Some(PATIENCE)).unwrap().unwrap());
    let streamed: Vec<i32> = streamed.map(|event| id(event.full_document().unwrap())).collect();
    assert_eq!(streamed, Vec::from_iter(10..30));
    assert!(majority.try_recv().unwrap().is_none());
    assert!(cursor.try_next().unwrap().is_some());

    // And over there.
    following.wait_for(written, PATIENCE).unwrap();
    let copy = Store::of_follower(&following).unwrap();
    let (_surely, there) = watch(&copy, ReadConcern::Majority)
        .resume_after(stream.resume_token())
        .subscribe()
        .unwrap();
    insert(&store, 30..40);
    assert_eq!(receive(&there, 10), Vec::from_iter(30..40));
    assert_eq!(receive(&majority, 10), Vec::from_iter(30..40));
}

#[test]
fn what_is_rolled_back_was_seen_by_nobody_at_majority() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let of_b = follow(b.path(), "b", &serving, &MEMBERS);
    let of_c = follow(c.path(), "c", &serving, &MEMBERS);
    let last = insert(&store, 0..5);
    serving.wait(last, WriteConcern::members(3).unwrap(), PATIENCE).unwrap();
    serving.wait(last, WriteConcern::Majority, PATIENCE).unwrap();

    // The primary goes on, but nobody hears it.
    of_b.stop();
    drop(of_c);
    let (_surely, majority) = subscribe(&store, ReadConcern::Majority);
    let (_durably, durable) = subscribe(&store, ReadConcern::Durable);
    insert(&store, 100..110);
    assert_eq!(receive(&durable, 10), Vec::from_iter(100..110));
    let (sure, unsure) = (majority.resume_token(), durable.resume_token());
    drop(serving);

    let promoted = Store::from(of_b.promote().unwrap());
    let serving = primary(&promoted, "b", &MEMBERS);
    let of_c = follow(c.path(), "c", &serving, &MEMBERS);
    let last = insert(&promoted, 200..220);
    serving.wait(last, WriteConcern::Majority, PATIENCE).unwrap();
    assert!(majority.try_recv().unwrap().is_none());
    drop((_surely, _durably, majority, durable));
    store.close().unwrap();

    // Back as a follower, with what it had cut off.
    let of_a = follow(a.path(), "a", &serving, &MEMBERS);
    of_a.wait_for(last, PATIENCE).unwrap();
    let copy = Store::of_follower(&of_a).unwrap();
    let resumed = watch(&copy, ReadConcern::Majority).resume_after(sure).subscribe();
    assert_eq!(receive(&resumed.unwrap().1, 20), Vec::from_iter(200..220));
    let refused = watch(&copy, ReadConcern::Durable).resume_after(unsure).start();
    assert!(matches!(refused, Err(WatchError::Log(LogError::Diverged { .. }))));
    drop(of_c);
}

#[test]
fn without_members_majority_is_what_is_durable() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let (_alone, majority) = subscribe(&store, ReadConcern::Majority);
    insert(&store, 0..3);
    assert_eq!(receive(&majority, 3), [0, 1, 2]);

    let serving = primary(&store, "a", &[]);
    let last = insert(&store, 3..6);
    assert_eq!(receive(&majority, 3), [3, 4, 5]);
    let following = follow(b.path(), "b", &serving, &[]);
    following.wait_for(last, PATIENCE).unwrap();
    let copy = Store::of_follower(&following).unwrap();
    let (_there, there) = subscribe(&copy, ReadConcern::Majority);
    insert(&store, 6..9);
    assert_eq!(receive(&there, 3), [6, 7, 8]);
    assert_eq!(receive(&majority, 3), [6, 7, 8]);
}

#[test]
fn a_write_says_that_it_was_not_acknowledged_and_is_done_all_the_same() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let things = store.collection("shop", "things").unwrap();
    let wait = |concern, timeout| things.clone().with_write_concern(&serving, concern, timeout);
    let hasty = wait(WriteConcern::Majority, Duration::from_millis(5));
    let refused = hasty.insert_one(&rawdoc! { "_id": 1 }).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::WriteConcernFailed));
    assert_eq!(refused.code().map(ErrorCode::number), Some(64));
    assert!(refused.to_string().contains("is written"), "{refused}");
    assert_eq!(things.count(&rawdoc! {}).unwrap(), 1);
    // One member is this one.
    let alone = wait(WriteConcern::members(1).unwrap(), PATIENCE);
    alone
        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "n": 1 } })
        .unwrap();

    let following = follow(b.path(), "b", &serving, &MEMBERS);
    let surely = wait(WriteConcern::Majority, PATIENCE);
    let outcome = surely.insert_one(&rawdoc! { "_id": 2 }).unwrap();
    assert!(serving.majority() >= outcome.op_id);
    let many = surely
        .insert_many([&*rawdoc! { "_id": 3 }, &*rawdoc! { "_id": 4 }])
        .unwrap();
    let last = store.log().watermarks().durable;
    assert!(serving.majority() >= last, "{many:?}");
    assert_eq!(surely.delete_many(&rawdoc! {}).unwrap().modified, 4);
    // Also what has found nothing to do: what it has seen is held.
    assert_eq!(surely.delete_many(&rawdoc! {}).unwrap().modified, 0);
    assert!(serving.majority() >= store.applied());
    drop(following);
    serving.stop();
    let late = surely.insert_one(&rawdoc! { "_id": 5 }).unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::WriteConcernFailed));
}

#[test]
fn nothing_is_known_of_a_majority_before_the_members_are_heard() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let following = follow(b.path(), "b", &serving, &MEMBERS);
    let last = insert(&store, 0..5);
    serving.wait(last, WriteConcern::Majority, PATIENCE).unwrap();
    let (_surely, majority) = subscribe(&store, ReadConcern::Majority);
    insert(&store, 5..6);
    let first = majority.recv_timeout(PATIENCE).unwrap().resume_token();
    drop((majority, following, serving));
    store.close().unwrap();

    let store = open(a.path());
    // For a process that only reads, too.
    let beside = LogView::open(log_directory(a.path())).unwrap();
    assert_eq!(beside.newest(ReadConcern::Majority), OpId::ZERO);
    let unknown = watch(&store, ReadConcern::Majority).start().unwrap_err();
    assert_eq!(unknown.code(), Some(134), "{unknown}");
    let unknown = watch(&store, ReadConcern::Majority).subscribe().unwrap_err();
    assert!(matches!(unknown, WatchError::Log(LogError::MajorityUnknown { .. })));
    // Who has a token waits.
    let resumed = watch(&store, ReadConcern::Majority).resume_after(first).subscribe();
    let (_surely, majority) = resumed.unwrap();
    let written = insert(&store, 6..9);
    assert!(majority.try_recv().unwrap().is_none());

    let serving = primary(&store, "a", &MEMBERS);
    let following = follow(b.path(), "b", &serving, &MEMBERS);
    assert_eq!(receive(&majority, 3), [6, 7, 8]);
    assert!(beside.newest(ReadConcern::Majority) >= written);

    // A snapshot is one of what a majority holds, and what comes behind it, too.
    let mut snapshot = watch(&store, ReadConcern::Majority).with_snapshot().start().unwrap();
    let mut seen = Vec::new();
    insert(&store, 9..10);
    while seen.len() < 10 {
        let event = snapshot.wait_next(Some(PATIENCE)).unwrap().unwrap();
        seen.extend(event.full_document().map(id));
    }
    assert_eq!(seen, Vec::from_iter(0..10));
    drop(following);
}
