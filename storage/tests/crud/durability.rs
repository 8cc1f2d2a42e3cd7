//! What a write that was told of nothing to do promises about what it has seen.

use std::time::Duration;

use bson::rawdoc;
use tailwater_oplog::Durability;
use tailwater_storage::{
    Collection, Error, FindAndModify, FindOneAndDeleteOptions, InsertManyOptions, Store, WriteModel,
};

use crate::common;

/// Whether everything that was written survives power loss.
fn is_durable(store: &Store) -> bool {
    let watermarks = store.log().watermarks();
    watermarks.durable == watermarks.appended
}

#[test]
fn a_write_that_finds_nothing_to_do_makes_durable_what_it_has_seen() {
    type Write = (&'static str, fn(&Collection));
    let writes: [Write; 6] = [
        ("an update that changes nothing", |people| {
            people
                .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "n": 1 } })
                .unwrap();
        }),
        ("a deletion of what is not there", |people| {
            people.delete_many(&rawdoc! { "_id": 2 }).unwrap();
        }),
        ("an insert of what is there", |people| {
            let refused = people.insert_one(&rawdoc! { "_id": 1 }).unwrap_err();
            assert!(matches!(refused, Error::DuplicateKey { .. }), "{refused}");
        }),
        ("an insert of several", |people| {
            people.insert_many([&*rawdoc! { "_id": 1 }]).unwrap_err();
        }),
        ("a bulk write", |people| {
            people
                .bulk_write([WriteModel::delete_one(rawdoc! { "_id": 2 })])
                .unwrap();
        }),
        ("a search for something to delete", |people| {
            let operation = FindAndModify::Delete {
                options: FindOneAndDeleteOptions::default(),
            };
            people.find_and_modify(&rawdoc! { "_id": 2 }, &operation).unwrap();
        }),
    ];
    for (what, write) in writes {
        let dir = tempfile::tempdir().unwrap();
        let mut options = common::small();
        // It does not sync by itself.
        options.oplog.sync_interval = Duration::from_secs(3600);
        let store = options.open(dir.path()).unwrap();
        let people = store.collection("town", "people").unwrap();
        people.insert_one(&rawdoc! { "_id": 1, "n": 1 }).unwrap();
        assert!(!is_durable(&store));
        write(&people.with_durability(Durability::Disk));
        assert!(is_durable(&store), "{what}");
    }
}

#[test]
fn an_insert_makes_durable_what_its_refused_documents_have_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = common::small();
    options.oplog.sync_interval = Duration::from_secs(3600);
    let store = options.open(dir.path()).unwrap();
    let people = store.collection("town", "people").unwrap();
    // The first batch is durable, and then somebody else writes what the second one finds.
    let documents: Vec<_> = (0..1001).map(|id| rawdoc! { "_id": id }).collect();
    let documents = documents.iter().enumerate().map(|(index, document)| {
        if index == 1000 {
            store.sync().unwrap();
            people.insert_one(document).unwrap();
        }
        &**document
    });
    let options = InsertManyOptions {
        ordered: false,
        ..InsertManyOptions::default()
    };
    let inserting = people.clone().with_durability(Durability::Disk);
    let refused = inserting.insert_many_with(documents, &options).unwrap_err();
    assert!(
        matches!(&refused, Error::BulkWrite { outcome, .. } if outcome.inserted == 1000),
        "{refused}"
    );
    assert!(is_durable(&store));
}
