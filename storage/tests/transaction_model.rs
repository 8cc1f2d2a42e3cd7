//! Transactions against a model that is a sorted map: several open at a time, among writes outside of them, with a unique
//! index, closing and crashing.
//!
//! The model knows which commits conflict: one whose transaction wrote a document that is another by then, or took a unique key
//! that somebody else has. Everything a transaction reads on the way is what the model says, and in the end the digest of the
//! state is the digest of the replay of the log.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocumentBuf, rawdoc};
use common::{copy_open_store, small};
use proptest::prelude::*;
use tailwater_oplog::OpId;
use tailwater_storage::{Error, IndexModel, Store, StoreOptions, Transaction, WriteOutcome};

const COLLECTIONS: [&str; 2] = ["left", "right"];
const SLOTS: usize = 3;

/// A document without its `_id`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Content {
    unique: Option<i32>,
    value: i32,
    /// Whether the unique key stands behind the value, as it does when it was set later.
    unique_last: bool,
}

/// Collection and `_id`.
type Key = (usize, i32);
type Documents = BTreeMap<Key, Content>;

#[derive(Clone, Debug)]
enum Action {
    Insert(Content),
    SetUnique(i32),
    UnsetUnique,
    SetValue(i32),
    Delete,
    /// Reads everything.
    Check,
}

#[derive(Clone, Debug)]
enum Operation {
    Begin(usize),
    /// In a transaction, or outside of any.
    Act(Option<usize>, Key, Action),
    Commit(usize),
    Abort(usize),
    /// Everything so far goes into the engine.
    Flush,
    Reopen,
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    let content = (proptest::option::of(0..6), 0..4).prop_map(|(unique, value)| Content {
        unique,
        value,
        unique_last: false,
    });
    let action = prop_oneof![
        6 => content.prop_map(Action::Insert),
        4 => (0..6).prop_map(Action::SetUnique),
        2 => Just(Action::UnsetUnique),
        6 => (0..4).prop_map(Action::SetValue),
        4 => Just(Action::Delete),
        3 => Just(Action::Check),
    ];
    let key = (0..COLLECTIONS.len(), 0..8);
    let whose = prop_oneof![4 => (0..SLOTS).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        12 => (0..SLOTS).prop_map(Operation::Begin),
        40 => (whose, key, action).prop_map(|(whose, key, action)| Operation::Act(whose, key, action)),
        12 => (0..SLOTS).prop_map(Operation::Commit),
        1 => (0..SLOTS).prop_map(Operation::Abort),
        3 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Crash),
    ]
}

/// What an action comes to.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    /// So many documents were matched, and modified.
    Done(u64, u64),
    Duplicate,
    Conflict,
    Aborted,
}

/// What an action on a document comes to, and what the document is afterwards.
fn expected(documents: &Documents, key: Key, action: &Action) -> (Outcome, Option<Content>) {
    let before = documents.get(&key).copied();
    let after = match (before, action) {
        (Some(_), Action::Insert(_)) => return (Outcome::Duplicate, before),
        (None, Action::Insert(content)) => Some(*content),
        (Some(content), Action::SetUnique(unique)) => Some(Content {
            unique: Some(*unique),
            unique_last: content.unique_last || content.unique.is_none(),
            ..content
        }),
        (Some(content), Action::UnsetUnique) => Some(Content {
            unique: None,
            unique_last: false,
            ..content
        }),
        (Some(content), Action::SetValue(value)) => Some(Content {
            value: *value,
            ..content
        }),
        (None, _) => return (Outcome::Done(0, 0), None),
        (Some(_), Action::Delete) => None,
        (Some(_), Action::Check) => before,
    };
    let taken = after.and_then(|content| content.unique).is_some_and(|unique| {
        let mut others = documents.iter().filter(|(other, _)| other.0 == key.0 && **other != key);
        others.any(|(_, content)| content.unique == Some(unique))
    });
    match taken {
        true => (Outcome::Duplicate, before),
        false => (Outcome::Done(1, u64::from(before != after)), after),
    }
}

/// An open transaction, and what the model knows of it.
struct Open {
    transaction: Transaction,
    snapshot: Documents,
    own: Documents,
    written: BTreeSet<Key>,
    aborted: bool,
}

impl Open {
    fn has_changed(&self, key: &Key, now: &Documents) -> bool {
        self.snapshot.get(key) != now.get(key)
    }

    /// Whether what it has written may be committed.
    fn conflicts(&self, now: &Documents) -> bool {
        let is_taken = |key: &Key| {
            let unique = self.own.get(key).and_then(|content| content.unique);
            let moved =
                |other: &Key| self.written.contains(other) && self.own.get(other).and_then(|c| c.unique) != unique;
            unique.is_some()
                && now.iter().any(|(other, content)| {
                    other.0 == key.0 && other != key && content.unique == unique && !moved(other)
                })
        };
        self.written
            .iter()
            .any(|key| self.has_changed(key, now) || is_taken(key))
    }

    fn act(&mut self, key: Key, action: &Action, now: &Documents) {
        let collection = self.transaction.collection("shop", COLLECTIONS[key.0]).unwrap();
        let id = rawdoc! { "_id": key.1 };
        let found = match action {
            Action::Insert(content) => collection.insert_one(&document(key, *content)).map(|_| (1, 1)),
            Action::Delete => collection.delete_one(&id).map(|outcome| counts(&outcome)),
            Action::Check => match collection.find(&rawdoc! {}) {
                Err(error) => Err(error),
                Ok(found) => {
                    let found: Vec<_> = found.map(Result::unwrap).collect();
                    assert_eq!(found, of_collection(&self.own, key.0));
                    for unique in 0..6 {
                        let found = collection.find_one(&rawdoc! { "u": unique }).unwrap();
                        assert_eq!(found, with_unique(&self.own, key.0, unique));
                    }
                    return;
                }
            },
            action => collection
                .update_one(&id, update(action))
                .map(|outcome| counts(&outcome)),
        };
        let (outcome, after) = match expected(&self.own, key, action) {
            _ if self.aborted => (Outcome::Aborted, None),
            (outcome, after) => {
                let touches = outcome != Outcome::Done(0, 0);
                // An insert looks for the key in what it sees first, a change at whether the document is still the same.
                let first = !matches!(action, Action::Insert(_)) || outcome != Outcome::Duplicate;
                match touches && first && self.has_changed(&key, now) {
                    true => (Outcome::Conflict, None),
                    false => (outcome, after),
                }
            }
        };
        assert_eq!(outcome_of(found), outcome, "{action:?} {key:?}");
        match outcome {
            Outcome::Done(_, modified) => {
                if modified > 0 {
                    self.written.insert(key);
                }
                set(&mut self.own, key, after);
            }
            _ => self.aborted = true,
        }
    }

    fn commit(self, now: &mut Documents) {
        let conflicts = self.conflicts(now);
        let outcome = self.transaction.commit();
        match outcome {
            Ok(op_id) => {
                assert!(!self.aborted && !conflicts);
                assert_eq!(op_id.is_some(), !self.written.is_empty());
                for key in self.written {
                    set(now, key, self.own.get(&key).copied());
                }
            }
            Err(Error::WriteConflict { .. }) => assert!(!self.aborted && conflicts),
            Err(Error::TransactionAborted { .. }) => assert!(self.aborted),
            Err(error) => panic!("{error}"),
        }
    }
}

fn set(documents: &mut Documents, key: Key, content: Option<Content>) {
    match content {
        Some(content) => documents.insert(key, content),
        None => documents.remove(&key),
    };
}

fn document(key: Key, content: Content) -> RawDocumentBuf {
    let (id, value) = (key.1, content.value);
    match content.unique {
        None => rawdoc! { "_id": id, "v": value },
        Some(unique) if content.unique_last => rawdoc! { "_id": id, "v": value, "u": unique },
        Some(unique) => rawdoc! { "_id": id, "u": unique, "v": value },
    }
}

fn update(action: &Action) -> RawDocumentBuf {
    match action {
        Action::SetUnique(unique) => rawdoc! { "$set": { "u": *unique } },
        Action::UnsetUnique => rawdoc! { "$unset": { "u": "" } },
        Action::SetValue(value) => rawdoc! { "$set": { "v": *value } },
        other => panic!("{other:?} is no update"),
    }
}

fn counts(outcome: &WriteOutcome) -> (u64, u64) {
    (outcome.matched, outcome.modified)
}

fn outcome_of(found: Result<(u64, u64), Error>) -> Outcome {
    match found {
        Ok((matched, modified)) => Outcome::Done(matched, modified),
        Err(Error::DuplicateKey { .. }) => Outcome::Duplicate,
        Err(Error::WriteConflict { .. }) => Outcome::Conflict,
        Err(Error::TransactionAborted { .. }) => Outcome::Aborted,
        Err(error) => panic!("{error}"),
    }
}

fn of_collection(documents: &Documents, collection: usize) -> Vec<RawDocumentBuf> {
    let wanted = documents.iter().filter(|(key, _)| key.0 == collection);
    wanted.map(|(key, content)| document(*key, *content)).collect()
}

fn with_unique(documents: &Documents, collection: usize, unique: i32) -> Option<RawDocumentBuf> {
    let all = of_collection(documents, collection);
    all.into_iter()
        .find(|document| document.get_i32("u").is_ok_and(|u| u == unique))
}

fn options() -> StoreOptions {
    StoreOptions {
        // Small enough that the applier is at work all the time.
        overlay_bytes_max: 8 << 10,
        ..small()
    }
}

fn check(store: &Store, documents: &Documents) {
    for (n, name) in COLLECTIONS.into_iter().enumerate() {
        let collection = store.collection("shop", name).unwrap();
        let found = collection.find(&rawdoc! {}).unwrap();
        let found: Vec<_> = found.map(Result::unwrap).collect();
        assert_eq!(found, of_collection(documents, n));
        assert_eq!(collection.estimated_count().unwrap() as usize, found.len());
    }
}

fn act_outside(store: &Store, documents: &mut Documents, key: Key, action: &Action) {
    let collection = store.collection("shop", COLLECTIONS[key.0]).unwrap();
    let id = rawdoc! { "_id": key.1 };
    let found = match action {
        Action::Insert(content) => collection.insert_one(&document(key, *content)).map(|_| (1, 1)),
        Action::Delete => collection.delete_one(&id).map(|outcome| counts(&outcome)),
        Action::Check => return check(store, documents),
        action => collection
            .update_one(&id, update(action))
            .map(|outcome| counts(&outcome)),
    };
    let (outcome, after) = expected(documents, key, action);
    assert_eq!(outcome_of(found), outcome);
    set(documents, key, after);
}

/// Few cases, because each opens stores several times; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(32),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn transactions_do_what_the_model_says(operations in prop::collection::vec(operation(), 1..250)) {
        let mut directory = tempfile::tempdir().unwrap();
        let mut store = options().open(directory.path()).unwrap();
        for name in COLLECTIONS {
            let collection = store.collection("shop", name).unwrap();
            collection.create_index(&IndexModel::new("u", 1).unique().sparse()).unwrap();
        }
        let mut documents = Documents::new();
        let mut slots: [Option<Open>; SLOTS] = [const { None }; SLOTS];
        for operation in &operations {
            match operation {
                Operation::Begin(slot) => {
                    slots[*slot] = Some(Open {
                        transaction: store.transaction().unwrap(),
                        snapshot: documents.clone(),
                        own: documents.clone(),
                        written: BTreeSet::new(),
                        aborted: false,
                    });
                }
                Operation::Act(None, key, action) => act_outside(&store, &mut documents, *key, action),
                Operation::Act(Some(slot), key, action) => {
                    if let Some(open) = &mut slots[*slot] {
                        open.act(*key, action, &documents);
                    }
                }
                Operation::Commit(slot) => {
                    if let Some(open) = slots[*slot].take() {
                        open.commit(&mut documents);
                    }
                }
                Operation::Abort(slot) => drop(slots[*slot].take()),
                Operation::Flush => drop(store.trim_log(OpId::ZERO)),
                Operation::Reopen => {
                    store.close().unwrap();
                    for open in slots.iter_mut().filter_map(Option::take) {
                        assert!(matches!(open.transaction.commit(), Err(Error::TransactionAborted { .. })));
                    }
                    store = options().open(directory.path()).unwrap();
                    check(&store, &documents);
                }
                Operation::Crash => {
                    let copy = tempfile::tempdir().unwrap();
                    copy_open_store(&store, directory.path(), copy.path());
                    slots = [const { None }; SLOTS];
                    drop(store);
                    directory = copy;
                    store = options().open(directory.path()).unwrap();
                    check(&store, &documents);
                }
            }
        }
        drop(slots);
        check(&store, &documents);
        let digest = store.digest().unwrap();
        store.close().unwrap();
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        store = options().open(directory.path()).unwrap();
        check(&store, &documents);
        assert_eq!(store.digest().unwrap(), digest);
    }
}
