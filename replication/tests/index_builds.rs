//! An index of a large collection, built while its followers go on acknowledging, reading, and ending in the middle of it.

use crate::stores;

use std::sync::atomic::{AtomicBool, Ordering};

use bson::rawdoc;
use stores::{LONG, assert_same, follower, open, primary, write};
use tailwater_oplog::OpId;
use tailwater_replication::WriteConcern;
use tailwater_storage::{Collection, IndexModel, Store};
use tempfile::TempDir;

const DOCUMENTS: i32 = 12_000;

fn things(store: &Store) -> Collection {
    store.collection("shop", "things").unwrap()
}

#[test]
fn followers_acknowledge_and_answer_while_an_index_is_built() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, DOCUMENTS);
    let serving = primary(&store, "a", &[]);
    let mut following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    following.wait_for(store.log().watermarks().durable, LONG).unwrap();

    let building = AtomicBool::new(true);
    let last = std::thread::scope(|scope| {
        scope.spawn(|| {
            things(&store).create_index(&IndexModel::new("group", 1)).unwrap();
            things(&store)
                .create_index(
                    &IndexModel::new("text", 1)
                        .unique()
                        .partial(&rawdoc! { "text": { "$gt": "y" } }),
                )
                .unwrap();
            building.store(false, Ordering::SeqCst);
        });
        let mut last = OpId::ZERO;
        let mut id = DOCUMENTS * 2;
        // And some behind the entry that completes the last one, with which the follower may still be at it.
        while building.load(Ordering::SeqCst) || id % 10 > 0 {
            last = write(&store, id, 1);
            serving.wait(last, WriteConcern::members(2).unwrap(), LONG).unwrap();
            let there = following.wait_for(last, LONG).unwrap();
            let found = things(&there)
                .find(&rawdoc! { "_id": id, "group": { "$gte": 0 } })
                .unwrap();
            // Every eleventh was deleted.
            assert_eq!(found.count(), usize::from(id % 11 > 0), "{id}");
            id += 1;
            if id % 25 == 0 {
                drop(there);
                following.stop();
                following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
            }
        }
        last
    });
    assert_same(&following, &store, last);
    let copy = following.store().unwrap();
    assert_eq!(things(&copy).validate().unwrap(), things(&store).validate().unwrap());
}
