//! Copies of the state that are given to real stores: what a member keeps when one replaces what it had, which one it is given, and
//! what happens while the primary goes on writing.

#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use stores::{LONG, assert_same, follower, open, primary, write};
use tailwater_oplog::OpId;
use tempfile::TempDir;

#[test]
fn a_term_that_was_lost_with_what_was_written_in_it_is_not_used_again() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 2000);
    // The follower's log begins later, so that it cannot be cut back.
    store.trim_log(store.log().watermarks().durable).unwrap();
    let serving = primary(&store, "a", &["a", "b"]);
    let following = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    assert_same(&following, &store, write(&store, 3000, 10));
    assert!(serving.term().is_elected());

    let promoted = following.promote().unwrap();
    let lost = promoted.term();
    assert!(!lost.is_elected() && promoted.log().watermarks().oldest > OpId::FIRST);
    write(&promoted, 4000, 10);
    promoted.close().unwrap();

    let builder = follower(b.path(), "b", serving.address(), &["a", "b"]);
    let following = builder.resync().start().unwrap();
    let last = write(&store, 5000, 20);
    assert_same(&following, &store, last);
    following.wait_for(last, LONG).unwrap();
    let promoted = following.promote().unwrap();
    assert!(promoted.term() > lost, "{} after {lost}", promoted.term());
}
