//! Collections and databases come, go and come again.

use std::path::Path;

use bson::rawdoc;
use tailwater_oplog::OpId;
use tailwater_storage::Error;

use crate::common::{copy_dir, eventually, small};
use crate::{all, fill, people, temporary};

#[test]
fn collections_come_and_go_by_name() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    assert!(store.database_names().is_empty());
    people.insert_one(&rawdoc! {}).unwrap();
    store.create_collection("town", "houses").unwrap();
    store.create_collection("shop", "orders").unwrap();
    assert_eq!(store.database_names(), ["shop", "town"]);
    assert_eq!(store.collection_names("town"), ["houses", "people"]);
    let again = store.create_collection("town", "houses").unwrap_err();
    assert!(
        matches!(&again, Error::CollectionExists { namespace } if namespace == "town.houses"),
        "{again:?}"
    );

    store.drop_collection("town", "houses").unwrap();
    let again = store.drop_collection("town", "houses").unwrap_err();
    assert!(
        matches!(&again, Error::NoSuchCollection { namespace } if namespace == "town.houses"),
        "{again:?}"
    );
    assert!(store.drop_database("town").unwrap().is_some());
    assert!(store.drop_database("town").unwrap().is_none());
    assert_eq!(store.database_names(), ["shop"]);
    assert_eq!(all(&people), []);
}

#[test]
fn malformed_names_are_refused() {
    let dir = temporary();
    let (store, _people) = people(dir.path());
    for (database, collection) in [("", "c"), ("a.b", "c"), ("a", ""), ("a", "b$"), ("a", "system.x")] {
        let error = store.collection(database, collection).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
        let error = store.create_collection(database, collection).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
    }
}

#[test]
fn a_collection_made_again_begins_empty() {
    let dir = temporary();
    let (mut store, mut collection) = people(dir.path());
    for round in 0..4 {
        fill(&collection, 0..50);
        if round % 2 == 0 {
            store.trim_log(OpId::ZERO).unwrap();
        }
        if round == 3 {
            store.drop_database("town").unwrap();
        } else {
            store.drop_collection("town", "people").unwrap();
        }
        assert_eq!(all(&collection), []);
        collection.insert_one(&rawdoc! { "_id": 7, "round": round }).unwrap();
        assert_eq!(all(&collection), [rawdoc! { "_id": 7, "round": round }]);
        drop(collection);
        store.close().unwrap();
        (store, collection) = people(dir.path());
        assert_eq!(all(&collection), [rawdoc! { "_id": 7, "round": round }]);
        collection.delete_one(&rawdoc! { "_id": 7 }).unwrap();
    }
}

/// Documents in the engine's files, whatever the catalogue says of them.
fn documents_in_engine(dir: &Path) -> usize {
    let copy = temporary();
    copy_dir(&dir.join("state"), copy.path());
    let database = fjall::Database::builder(copy.path()).open().unwrap();
    let documents = database
        .keyspace("documents", fjall::KeyspaceCreateOptions::default)
        .unwrap();
    documents.iter().count()
}

#[test]
fn what_a_dropped_collection_leaves_behind_is_removed() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..6000);
    store.trim_log(OpId::ZERO).unwrap();
    assert_eq!(documents_in_engine(dir.path()), 6000);
    store.drop_collection("town", "people").unwrap();
    eventually("the documents are still there", || documents_in_engine(dir.path()) == 0);

    // Also what a store that was closed right after the drop had no time for.
    fill(&people, 0..6000);
    store.trim_log(OpId::ZERO).unwrap();
    store.drop_collection("town", "people").unwrap();
    drop(people);
    store.close().unwrap();
    let store = small().open(dir.path()).unwrap();
    store.create_collection("town", "other").unwrap();
    eventually("the documents are still there", || documents_in_engine(dir.path()) == 0);
}
