//! Look-ups by index and by `_id` remember what they have found; nobody may see by them what was before or after the state he
//! reads: not the store while it goes on, nor a snapshot or a transaction of before, nor a follower, nor who replays the log.
//! Each look-up is made twice, so that the second finds what the first has left.

use crate::common;

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, rawdoc};
use common::{catch_up, follower_of, small};
use proptest::prelude::*;
use tailwater_oplog::OpId;
use tailwater_storage::{
    Collection, Error, FindOptions, IndexModel, ReplaceOptions, Snapshot, Store, StoreOptions, Transaction,
    state_directory,
};

const DATABASE: &str = "town";
const NAMES: [&str; 2] = ["people", "others"];
const IDS: i32 = 12;
const KEYS: i32 = 4;
/// An `_id` that only transactions write.
const OWN: i32 = 100;

#[derive(Clone, Debug)]
enum Step {
    Put(i32, i32),
    Delete(i32),
    CreateIndex,
    DropIndex,
    Rename,
    Drop,
    /// Everything so far goes into the engine.
    Flush,
    /// Keeps a snapshot and a transaction of now.
    Hold,
    Release,
    Reopen,
    /// The state is made anew from the log.
    Replay,
    Look(i32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..IDS, 0..KEYS).prop_map(|(id, key)| Step::Put(id, key)),
        4 => (0..IDS).prop_map(Step::Delete),
        3 => Just(Step::CreateIndex),
        1 => Just(Step::DropIndex),
        1 => Just(Step::Rename),
        1 => Just(Step::Drop),
        6 => Just(Step::Flush),
        2 => Just(Step::Hold),
        1 => Just(Step::Release),
        1 => Just(Step::Reopen),
        1 => Just(Step::Replay),
        16 => (0..KEYS).prop_map(Step::Look),
    ]
}

/// Documents by `_id` with their keys, and which name the collection has.
#[derive(Clone, Debug, Default)]
struct Model {
    name: usize,
    documents: BTreeMap<i32, i32>,
}

impl Model {
    fn with_key(&self, key: i32) -> Vec<RawDocumentBuf> {
        let documents = self.documents.iter().filter(|(_, found)| **found == key);
        documents.map(|(id, key)| document(*id, *key)).collect()
    }
}

fn document(id: i32, key: i32) -> RawDocumentBuf {
    rawdoc! { "_id": id, "k": key }
}

/// By index where there is one, in the order of the `_id`s in any case: entries of one key are in that order.
fn check(
    model: &Model,
    key: i32,
    find: impl Fn(&str, &RawDocumentBuf) -> Result<Vec<RawDocumentBuf>, Error>,
) -> Result<(), TestCaseError> {
    for (name, other) in [(NAMES[model.name], false), (NAMES[1 - model.name], true)] {
        for _ in 0..2 {
            let expected = if other { Vec::new() } else { model.with_key(key) };
            prop_assert_eq!(find(name, &rawdoc! { "k": key }).unwrap(), expected, "{}", name);
            let id = key * 3;
            let found = model
                .documents
                .get(&id)
                .filter(|_| !other)
                .map(|key| document(id, *key));
            let expected: Vec<_> = found.into_iter().collect();
            prop_assert_eq!(find(name, &rawdoc! { "_id": id }).unwrap(), expected, "{}", name);
        }
    }
    Ok(())
}

fn look(store: &Store, model: &Model, key: i32) -> Result<(), TestCaseError> {
    check(model, key, |name, filter| {
        let collection = store.collection(DATABASE, name)?;
        match filter.get("_id").ok().flatten() {
            Some(_) => Ok(collection.find_one(filter)?.into_iter().collect()),
            None => collection.find(filter)?.collect(),
        }
    })
}

struct Held {
    snapshot: Snapshot,
    transaction: Transaction,
    model: Model,
    /// The same with what the transaction has written.
    within: Model,
}

impl Held {
    fn new(store: &Store, model: &Model) -> Held {
        let transaction = store.transaction().unwrap();
        let mut within = model.clone();
        let own = transaction.collection(DATABASE, NAMES[model.name]).unwrap();
        own.insert_one(&document(OWN, 1)).unwrap();
        within.documents.insert(OWN, 1);
        Held {
            snapshot: store.snapshot().unwrap(),
            transaction,
            model: model.clone(),
            within,
        }
    }

    fn look(&self, key: i32) -> Result<(), TestCaseError> {
        check(&self.model, key, |name, filter| {
            let found = self
                .snapshot
                .find_with(DATABASE, name, filter, &FindOptions::default())?;
            found.collect()
        })?;
        check(&self.within, key, |name, filter| {
            let collection = self.transaction.collection(DATABASE, name)?;
            match filter.get("_id").ok().flatten() {
                Some(_) => Ok(collection.find_one(filter)?.into_iter().collect()),
                None => collection.find(filter)?.collect(),
            }
        })
    }
}

/// Recent writes go into the engine after a few of them, by themselves.
fn options() -> StoreOptions {
    StoreOptions {
        overlay_bytes_max: 8 << 10,
        ..small()
    }
}

fn apply(store: &Store, model: &mut Model, step: &Step) {
    let collection: Collection = store.collection(DATABASE, NAMES[model.name]).unwrap();
    let is_there = store.collection_names(DATABASE).contains(&NAMES[model.name].to_owned());
    match step {
        Step::Put(id, key) => {
            let upsert = ReplaceOptions {
                upsert: true,
                ..ReplaceOptions::default()
            };
            collection
                .replace_one_with(&rawdoc! { "_id": *id }, &rawdoc! { "k": *key }, &upsert)
                .unwrap();
            model.documents.insert(*id, *key);
        }
        Step::Delete(id) => {
            collection.delete_one(&rawdoc! { "_id": *id }).unwrap();
            model.documents.remove(id);
        }
        Step::CreateIndex => drop(collection.create_index(&IndexModel::new("k", 1)).unwrap()),
        Step::DropIndex => match collection.drop_index("k_1") {
            Ok(()) | Err(Error::NoSuchIndex { .. } | Error::NoSuchCollection { .. }) => {}
            Err(other) => panic!("{other:?}"),
        },
        Step::Rename if is_there => {
            let (from, to) = ((DATABASE, NAMES[model.name]), (DATABASE, NAMES[1 - model.name]));
            store.rename_collection(from, to, true).unwrap();
            model.name = 1 - model.name;
        }
        Step::Drop if is_there => {
            store.drop_collection(DATABASE, NAMES[model.name]).unwrap();
            model.documents.clear();
        }
        Step::Flush => drop(store.trim_log(OpId::ZERO).unwrap()),
        _ => {}
    }
}

/// Few cases, because each opens several stores; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_look_up_shows_the_state_that_is_read_and_no_other(steps in prop::collection::vec(step(), 1..150)) {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = options().open(dir.path()).unwrap();
        let follower = follower_of(&store, other.path(), &options());
        let (mut model, mut held) = (Model::default(), Vec::<Held>::new());
        for step in &steps {
            match step {
                Step::Hold if held.len() < 4 => held.push(Held::new(&store, &model)),
                Step::Release => drop(held.pop()),
                Step::Reopen | Step::Replay => {
                    held.clear();
                    store.close().unwrap();
                    if matches!(step, Step::Replay) {
                        std::fs::remove_dir_all(state_directory(dir.path())).unwrap();
                    }
                    store = options().open(dir.path()).unwrap();
                }
                Step::Look(key) => {
                    look(&store, &model, *key)?;
                    held.iter().try_for_each(|held| held.look(*key))?;
                    catch_up(&store, &follower, 4 << 10);
                    look(&follower, &model, *key)?;
                }
                step => apply(&store, &mut model, step),
            }
        }
    }
}
