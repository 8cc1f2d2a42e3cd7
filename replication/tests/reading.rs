//! Reading on one member what was written on another.

use crate::stores;

use std::time::Duration;

use bson::rawdoc;
use stores::{LONG, follower, open, primary, write};
use tailwater_oplog::{OpId, Term};
use tailwater_replication::{CausalToken, Error, WriteConcern};
use tempfile::TempDir;

/// Long enough to be sure of nothing, which is what is expected.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn whoever_has_a_token_reads_what_was_written_on_every_member() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let things = store.collection("shop", "things").unwrap();
    let mut newest = CausalToken::of(&store, write(&store, 1000, 10)).unwrap();
    for id in 0..50 {
        let written = things.insert_one(&rawdoc! { "_id": id }).unwrap();
        newest = CausalToken::of(&store, written.op_id).unwrap();
        let copy = following.wait_for_token(newest, LONG).unwrap();
        let found = copy.collection("shop", "things").unwrap();
        assert!(found.find_one(&rawdoc! { "_id": id }).unwrap().is_some());
    }
    newest.wait_in(&store, SHORT).unwrap();

    let later = CausalToken {
        op_id: OpId::new(newest.op_id.get() + 1000),
        ..newest
    };
    let elsewhere = CausalToken {
        term: Term::new(newest.term.get() + 2),
        ..newest
    };
    let copy = following.store().unwrap();
    for refused in [
        following.wait_for_token(later, SHORT).map(drop),
        later.wait_in(&store, SHORT),
    ] {
        assert!(matches!(refused, Err(Error::NotYet { .. })), "{refused:?}");
    }
    for refused in [
        following.wait_for_token(elsewhere, SHORT).map(drop),
        elsewhere.wait_in(&store, SHORT),
        elsewhere.wait_in(&copy, SHORT),
    ] {
        let named = matches!(refused, Err(Error::OtherHistory { found, .. }) if found == newest.term);
        assert!(named, "{refused:?}");
    }
}

#[test]
fn an_entry_that_was_trimmed_is_still_one_that_was_there() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let first = CausalToken::of(&store, write(&store, 0, 10)).unwrap();
    let last = write(&store, 1000, 6000);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    following.wait_for_token(first, LONG).unwrap();
    following.stop();
    drop(following);
    // Otherwise the log is kept for the follower.
    store.slot_drop("follower.b").unwrap();
    store.trim_log(last).unwrap();
    assert!(store.log().watermarks().oldest > first.op_id);
    first.wait_in(&store, SHORT).unwrap();

    // What was written there by another, and rolled back, was not; and of older terms nothing is known any more.
    let elsewhere = |term| CausalToken { term, ..first };
    let rolled_back = elsewhere(Term::new(first.term.get() + 1)).wait_in(&store, SHORT);
    let found = |found: Term| found == first.term;
    assert!(
        matches!(rolled_back, Err(Error::OtherHistory { found: term, .. }) if found(term)),
        "{rolled_back:?}"
    );
    let older = elsewhere(Term::new(first.term.get() - 1)).wait_in(&store, SHORT);
    assert!(matches!(older, Err(Error::Forgotten { .. })), "{older:?}");
}
