//! What the commit path promises where only this crate can look.

use std::cell::RefCell;

use bson::{RawBsonRef, RawDocument, rawdoc};
use tailwater_matcher::encode_key;
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Before, Durability, OpId, ReadConcern, create_follower};

use super::commit::Draft;
use super::{Store, StoreOptions, log_directory, state_directory};
use crate::applier;
use crate::catalog::{Catalog, Namespace};
use crate::engine::{Engine, EngineBatch, Slice, StateKey};
use crate::error::Error;
use crate::index::{IndexModel, keys};

fn open(dir: &std::path::Path) -> Store {
    let mut options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    options.oplog.segment_bytes = 1 << 20;
    options.open(dir).unwrap()
}

thread_local! {
    static BETWEEN: RefCell<Option<Box<dyn FnOnce()>>> = RefCell::default();
}

/// Called where a reader that takes its view may lose its processor.
pub(super) fn between_layers_and_op_id() {
    if let Some(others) = BETWEEN.take() {
        others();
    }
}

#[test]
fn a_view_has_every_write_up_to_its_op_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people.insert_one(&rawdoc! { "_id": 0 }).unwrap();
    let others = store.clone();
    BETWEEN.set(Some(Box::new(move || {
        others.core().freeze();
        others
            .collection("town", "people")
            .unwrap()
            .insert_one(&rawdoc! { "_id": 1 })
            .unwrap();
    })));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.as_of(), store.applied());
    let uuid = snapshot.collections()[0].uuid;
    assert_eq!(snapshot.scan(&uuid, None).map(Result::unwrap).count(), 2);
}

#[test]
fn what_was_appended_and_not_applied_is_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    let before = people.insert_one(&rawdoc! { "_id": 1 }).unwrap().op_id;
    let core = store.core();
    applier::flush(core).unwrap();
    assert_eq!(OpId::new(core.engine().unwrap().applied()), before);

    // An entry that cannot be applied stands for an engine that cannot be read.
    let document = rawdoc! { "_id": 2 };
    let entry = StoreEntry {
        database: "town",
        collection: "people",
        collection_id: [7; 16],
        document: Some(&document),
        ..StoreEntry::default()
    };
    let mut commit = core.lock_commit().unwrap();
    let refused = core.commit(&mut commit, &[Draft::new(EntryKind::Insert, &entry)]);
    assert!(matches!(refused, Err(Error::Inconsistent { .. })), "{refused:?}");
    drop(commit);

    let next = people.insert_one(&rawdoc! { "_id": 3 });
    assert!(matches!(next, Err(Error::Inconsistent { .. })), "{next:?}");
    assert_eq!(store.applied(), before);
    applier::flush(core).unwrap_err();
    assert_eq!(OpId::new(core.engine().unwrap().applied()), before);
    assert!(store.close().is_err());
}

/// Makes an index what a store has whose keys were made by the rules before today's: with a key for each element of an array
/// where the path has a position, and nothing in the catalogue about rules.
fn outdate(store: &Store, name: &str, stale: &[(Vec<u8>, &RawDocument)]) {
    let core = store.core();
    applier::flush(core).unwrap();
    let mut batch = EngineBatch::new();
    let catalog = core.catalog();
    let info = catalog.get(&Namespace::new("town", "people")).unwrap();
    let index = info.index(name).unwrap();
    for (values, document) in stale {
        let length = u32::try_from(values.len()).unwrap();
        let mut key = Vec::new();
        encode_key(document.get("_id").unwrap().unwrap(), &mut key);
        let entry = keys::entry_key(values, &key);
        batch.put(StateKey::new(index.number.0, &entry), Slice::new(&length.to_le_bytes()));
    }
    let mut catalog = Catalog::clone(&catalog);
    let changed = catalog.modify(&info.id.clone(), |info| {
        info.indexes.iter_mut().for_each(|index| index.outdated = true);
    });
    changed.unwrap().record(&mut batch);
    let engine = core.engine().unwrap();
    engine.commit(batch, engine.applied()).unwrap();
}

#[test]
fn indexes_whose_keys_were_made_by_earlier_rules_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    people
        .create_index(&IndexModel::new("x", 1).and("a.0", 1).name("old"))
        .unwrap();
    let document = rawdoc! { "_id": 1, "x": 5, "a": [7, 8] };
    people
        .insert_many([&*document, &rawdoc! { "_id": 2, "x": 6, "a": [9] }])
        .unwrap();
    let digest = store.digest().unwrap().sha256;
    let mut stale = Vec::new();
    encode_key(RawBsonRef::Int32(5), &mut stale);
    encode_key(RawBsonRef::Null, &mut stale);
    outdate(&store, "old", &[(stale, &document)]);
    // Goes into the engine when the store is closed, over what is there.
    people.insert_one(&rawdoc! { "_id": 3, "x": 5, "a": [1] }).unwrap();
    drop(people);
    store.close().unwrap();

    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    assert_eq!(people.validate().unwrap().findings, Vec::<String>::new());
    people.delete_one(&rawdoc! { "_id": 3 }).unwrap();
    assert_eq!(store.digest().unwrap().sha256, digest);
    people.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    assert_eq!(people.find(&rawdoc! { "x": 5 }).unwrap().count(), 0);
    assert!(
        !store
            .core()
            .catalog()
            .collections()
            .any(|info| info.indexes[0].outdated)
    );
}

/// The sort keys of another version of ICU are in another order, and a catalogue that does not name today's has such.
#[test]
fn indexes_whose_strings_another_icu_has_sorted_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let people = store.collection("town", "people").unwrap();
    let letters = rawdoc! { "locale": "en", "strength": 1 };
    people
        .create_index(&IndexModel::new("name", 1).name("old").collation(&letters))
        .unwrap();
    let document = rawdoc! { "_id": 1, "name": "Zoé" };
    people.insert_one(&document).unwrap();
    let digest = store.digest().unwrap().sha256;
    let mut stale = Vec::new();
    encode_key(RawBsonRef::String("zoe"), &mut stale);
    outdate(&store, "old", &[(stale, &document)]);
    drop(people);
    store.close().unwrap();

    for _ in 0..2 {
        let store = open(dir.path());
        let people = store.collection("town", "people").unwrap();
        assert_eq!(people.validate().unwrap().findings, Vec::<String>::new());
        assert_eq!(store.digest().unwrap().sha256, digest);
        store.close().unwrap();
        // Then the catalogue names today's, and nothing is made anew.
        let engine = Engine::open(&state_directory(dir.path()), 8 << 20).unwrap();
        let catalog = Catalog::load(&engine.snapshot()).unwrap();
        assert!(!catalog.collections().any(|info| info.indexes[0].outdated));
    }
}

/// More at once than who appends it applies: it is durable without the state, and shown with it.
#[test]
fn what_waits_to_be_applied_is_durable_and_not_released() {
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = open(here.path());
    let start = store.log().segment_of(OpId::FIRST).unwrap();
    let log = log_directory(there.path());
    create_follower(log, &start, store.promised(), store.known(), Before::default()).unwrap();
    let follower = open(there.path());
    let take = || {
        store.sync().unwrap();
        let next = follower.log().watermarks().appended.next();
        let run = store
            .log()
            .frames(next, 1 << 20, ReadConcern::Durable)
            .unwrap()
            .unwrap();
        follower.append_frames(run.bytes()).unwrap();
        follower.sync().unwrap();
        run.last
    };
    let things = store.collection("db", "things").unwrap();
    things.insert_one(&rawdoc! { "_id": -1 }).unwrap();
    let first = take();
    assert_eq!(follower.applied(), first, "a few are applied at once");

    let documents: Vec<_> = (0..1000).map(|id| rawdoc! { "_id": id }).collect();
    things.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    // Nobody applies anything.
    let held = follower.core().lock();
    let last = take();
    let marks = follower.log().watermarks();
    assert_eq!(
        (marks.durable, marks.released, follower.applied()),
        (last, first, first)
    );
    drop(held);
    assert!(follower.await_applied(last, None).unwrap());
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
}
