//! The digest of a store's state: the same for the same contents, however they came about, and another for others.

use crate::common;

use std::collections::HashSet;

use bson::rawdoc;
use common::small;
use tailwater_oplog::OpId;
use tailwater_storage::{IndexModel, Store};

type Step = fn(&Store);

/// Each changes what a reader can tell.
const STEPS: [Step; 11] = [
    |store| {
        store.create_collection("shop", "items").unwrap();
    },
    |store| {
        let items = store.collection("shop", "items").unwrap();
        let documents: Vec<_> = (0..50)
            .map(|n| rawdoc! { "_id": n, "tags": [n % 7, n % 5], "u": n })
            .collect();
        items.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    },
    |store| {
        let items = store.collection("shop", "items").unwrap();
        items.create_index(&IndexModel::new("tags", 1).and("u", -1)).unwrap();
    },
    |store| {
        store
            .collection("shop", "items")
            .unwrap()
            .create_index(&IndexModel::new("u", 1).unique())
            .unwrap();
    },
    |store| {
        let items = store.collection("shop", "items").unwrap();
        items
            .update_many(&rawdoc! { "tags": 3 }, &rawdoc! { "$set": { "tags": "none" } })
            .unwrap();
    },
    |store| {
        store
            .with_transaction(|transaction| {
                let items = transaction.collection("shop", "items")?;
                items.delete_many(&rawdoc! { "tags": 1 })?;
                items.insert_one(&rawdoc! { "_id": "new", "u": "new" })?;
                transaction
                    .collection("town", "people")?
                    .insert_one(&rawdoc! { "_id": 1 })?;
                Ok::<_, tailwater_storage::Error>(())
            })
            .unwrap();
    },
    |store| {
        let changes = rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } };
        store.modify_collection("shop", "items", &changes).unwrap();
    },
    |store| store.collection("shop", "items").unwrap().drop_index("u_1").unwrap(),
    |store| {
        store
            .rename_collection(("town", "people"), ("town", "folk"), false)
            .unwrap();
    },
    |store| {
        store
            .collection("shop", "items")
            .unwrap()
            .delete_one(&rawdoc! { "_id": "new" })
            .unwrap();
    },
    |store| {
        store.drop_collection("town", "folk").unwrap();
    },
];

#[test]
fn the_state_is_the_replay_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = small().open(dir.path()).unwrap();
    let mut seen = HashSet::new();
    for (n, step) in STEPS.into_iter().enumerate() {
        step(&store);
        let digest = store.digest().unwrap();
        assert_eq!(digest.op_id, store.log().watermarks().appended);
        assert!(seen.insert(digest.sha256), "step {n} changes the digest");
        store.trim_log(OpId::ZERO).unwrap();
        assert_eq!(
            store.digest().unwrap(),
            digest,
            "step {n}: the same in the engine as in the overlay"
        );

        store.close().unwrap();
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        store = small().open(dir.path()).unwrap();
        assert_eq!(
            store.digest().unwrap(),
            digest,
            "step {n}: the same when the log is replayed from its beginning"
        );
    }
}

#[test]
fn it_is_shown_as_other_tools_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let digest = small().open(dir.path()).unwrap().digest().unwrap();
    assert_eq!(digest.op_id, OpId::ZERO);
    assert_eq!(
        digest.to_string(),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}
