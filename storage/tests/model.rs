//! The store against a model that is a sorted map: random operations, closing and crashing among them.
//!
//! After each reopening everything in the store equals the model, and at the end a store whose state was thrown away and
//! rebuilt from the log is the same, byte for byte.

use crate::common;

use std::collections::BTreeMap;

use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use common::{Content, content, copy_open_store, small};
use proptest::prelude::*;
use tailwater_oplog::OpId;
use tailwater_storage::{Collection, Error, FindOptions, Pipeline, Store, StoreOptions, WriteOutcome};

const DATABASES: [&str; 2] = ["shop", "town"];
const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// One collection of few, so that they meet often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    database: usize,
    collection: u8,
}

impl Name {
    fn in_store(self, store: &Store) -> Collection {
        let name = format!("c{}", self.collection);
        store.collection(DATABASES[self.database], &name).unwrap()
    }
}

/// Which documents a write is for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Id(i32),
    /// Field at least so much.
    AtLeast(usize, i32),
    All,
}

#[derive(Clone, Debug)]
enum Change {
    Set(Vec<(usize, i32)>),
    SetText(usize),
    Unset(usize),
    Inc(usize, i32),
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Name, Vec<(i32, i32)>),
    UpdateOne(Name, Target, Change),
    UpdateMany(Name, Target, Change),
    Replace(Name, Target, i32),
    DeleteOne(Name, Target),
    DeleteMany(Name, Target),
    Count(Name, Target),
    Find(Name, Target, Question),
    /// How many there are of each value of a field, and which.
    Group(Name, Target, usize),
    Drop(Name),
    DropDatabase(usize),
    Create(Name),
    /// Everything so far goes into the engine.
    Flush,
    Reopen,
    Crash,
}

/// In which order, which of them, and what of them.
#[derive(Clone, Debug)]
struct Question {
    /// Fields, and whether they descend; then by `_id`.
    order: Vec<(usize, bool)>,
    skip: usize,
    limit: usize,
    /// The fields to return, with or without `_id`; all of them if there are none.
    fields: Vec<usize>,
    with_id: bool,
}

impl Question {
    fn options(&self) -> FindOptions {
        let mut sort = Document::new();
        for (field, descending) in &self.order {
            sort.entry(FIELDS[*field].to_owned())
                .or_insert(if *descending { -1 } else { 1 }.into());
        }
        sort.insert("_id", 1);
        let mut projection: Document = self
            .fields
            .iter()
            .map(|field| (FIELDS[*field].to_owned(), true.into()))
            .collect();
        if !self.with_id && !projection.is_empty() {
            projection.insert("_id", false);
        }
        FindOptions {
            sort: Some(RawDocumentBuf::try_from(&sort).unwrap()),
            projection: (!projection.is_empty()).then(|| RawDocumentBuf::try_from(&projection).unwrap()),
            skip: self.skip as u64,
            limit: Some(self.limit as u64),
            ..FindOptions::default()
        }
    }

    /// The answer, if these are the documents that match.
    fn answer(&self, mut documents: Vec<Document>) -> Vec<Document> {
        documents.sort_by(|a, b| {
            let fields = self.order.iter().map(|(field, descending)| {
                let [a, b] = [a, b].map(|document| place(document.get(FIELDS[*field])));
                if *descending { b.cmp(&a) } else { a.cmp(&b) }
            });
            fields.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        let asked = documents.into_iter().skip(self.skip).take(self.limit);
        asked.map(|document| self.projected(document)).collect()
    }

    /// Fields keep the order that they have in the document.
    fn projected(&self, document: Document) -> Document {
        if self.fields.is_empty() {
            return document;
        }
        let is_asked = |name: &str| match name {
            "_id" => self.with_id,
            name => self.fields.iter().any(|field| FIELDS[*field] == name),
        };
        document.into_iter().filter(|(name, _)| is_asked(name)).collect()
    }
}

/// Where a value stands among those of the model: nothing, numbers, texts.
fn place(value: Option<&Bson>) -> (u8, i32) {
    match value {
        None => (0, 0),
        Some(Bson::Int32(value)) => (1, *value),
        Some(_) => (2, 0),
    }
}

fn question() -> impl Strategy<Value = Question> {
    let field = || 0..FIELDS.len();
    let order = prop::collection::vec((field(), any::<bool>()), 0..3);
    let fields = prop::collection::vec(field(), 0..3);
    (order, 0..4usize, 1..20usize, fields, any::<bool>()).prop_map(|(order, skip, limit, fields, with_id)| Question {
        order,
        skip,
        limit,
        fields,
        with_id,
    })
}

fn name() -> impl Strategy<Value = Name> {
    (0..DATABASES.len(), 0..2u8).prop_map(|(database, collection)| Name { database, collection })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        6 => (0..30).prop_map(Target::Id),
        3 => (0..FIELDS.len(), -5..10).prop_map(|(field, least)| Target::AtLeast(field, least)),
        1 => Just(Target::All),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let field = || 0..FIELDS.len();
    prop_oneof![
        4 => prop::collection::vec((field(), -5..10), 1..4).prop_map(|mut fields| {
            fields.sort_by_key(|(field, _)| *field);
            fields.dedup_by_key(|(field, _)| *field);
            Change::Set(fields)
        }),
        1 => field().prop_map(Change::SetText),
        2 => field().prop_map(Change::Unset),
        3 => (field(), -3..4).prop_map(|(field, by)| Change::Inc(field, by)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        20 => (name(), prop::collection::vec((0..30, -5..10), 1..6)).prop_map(|(n, d)| Operation::Insert(n, d)),
        12 => (name(), target(), change()).prop_map(|(n, t, c)| Operation::UpdateOne(n, t, c)),
        4 => (name(), target(), change()).prop_map(|(n, t, c)| Operation::UpdateMany(n, t, c)),
        6 => (name(), target(), -5..10).prop_map(|(n, t, v)| Operation::Replace(n, t, v)),
        6 => (name(), target()).prop_map(|(n, t)| Operation::DeleteOne(n, t)),
        1 => (name(), target()).prop_map(|(n, t)| Operation::DeleteMany(n, t)),
        6 => (name(), target()).prop_map(|(n, t)| Operation::Count(n, t)),
        6 => (name(), target(), question()).prop_map(|(n, t, q)| Operation::Find(n, t, q)),
        3 => (name(), target(), 0..FIELDS.len()).prop_map(|(n, t, f)| Operation::Group(n, t, f)),
        2 => name().prop_map(Operation::Drop),
        1 => (0..DATABASES.len()).prop_map(Operation::DropDatabase),
        1 => name().prop_map(Operation::Create),
        4 => Just(Operation::Flush),
        2 => Just(Operation::Reopen),
        2 => Just(Operation::Crash),
    ]
}

/// Collections that exist, with their documents by `_id`.
#[derive(Debug, Default)]
struct Model(BTreeMap<Name, BTreeMap<i32, Document>>);

impl Model {
    fn matching(&self, name: Name, target: Target) -> Vec<i32> {
        let documents = self.0.get(&name).into_iter().flatten();
        documents
            .filter(|(id, document)| matches(target, **id, document))
            .map(|(id, _)| *id)
            .collect()
    }

    fn documents(&self, name: Name, target: Target) -> Vec<Document> {
        let ids = self.matching(name, target).into_iter();
        ids.map(|id| self.0[&name][&id].clone()).collect()
    }

    fn content(&self) -> Content {
        let collections = self.0.iter().map(|(name, documents)| {
            let name = format!("{}.c{}", DATABASES[name.database], name.collection);
            (
                name,
                documents
                    .values()
                    .map(|d| RawDocumentBuf::try_from(d).unwrap())
                    .collect(),
            )
        });
        collections.collect()
    }
}

fn matches(target: Target, id: i32, document: &Document) -> bool {
    match target {
        Target::Id(wanted) => id == wanted,
        Target::AtLeast(field, least) => document.get_i32(FIELDS[field]).is_ok_and(|value| value >= least),
        Target::All => true,
    }
}

fn filter(target: Target) -> RawDocumentBuf {
    let filter = match target {
        Target::Id(id) => doc! { "_id": id },
        Target::AtLeast(field, least) => doc! { FIELDS[field]: { "$gte": least } },
        Target::All => doc! {},
    };
    RawDocumentBuf::try_from(&filter).unwrap()
}

fn update(change: &Change) -> RawDocumentBuf {
    let update = match change {
        Change::Set(fields) => {
            let fields: Document = fields
                .iter()
                .map(|(f, v)| (FIELDS[*f].to_owned(), Bson::Int32(*v)))
                .collect();
            doc! { "$set": fields }
        }
        Change::SetText(field) => doc! { "$set": { FIELDS[*field]: "text" } },
        Change::Unset(field) => doc! { "$unset": { FIELDS[*field]: "" } },
        Change::Inc(field, by) => doc! { "$inc": { FIELDS[*field]: by } },
    };
    RawDocumentBuf::try_from(&update).unwrap()
}

/// Changes the model's document; whether it is another then, or nothing when the change does not fit it.
fn apply(change: &Change, document: &mut Document) -> Option<bool> {
    let before = document.clone();
    match change {
        Change::Set(fields) => {
            for (field, value) in fields {
                document.insert(FIELDS[*field], *value);
            }
        }
        Change::SetText(field) => {
            document.insert(FIELDS[*field], "text");
        }
        Change::Unset(field) => {
            document.remove(FIELDS[*field]);
        }
        Change::Inc(field, by) => {
            let sum = match document.get(FIELDS[*field]) {
                None => *by,
                Some(Bson::Int32(value)) => value + by,
                Some(_) => return None,
            };
            document.insert(FIELDS[*field], sum);
        }
    }
    Some(*document != before)
}

/// A store under test. Small enough an overlay that the applier is at work all the time.
struct Subject {
    directory: tempfile::TempDir,
    store: Store,
}

fn options() -> StoreOptions {
    StoreOptions {
        overlay_bytes_max: 16 << 10,
        ..small()
    }
}

impl Subject {
    fn new() -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let store = options().open(directory.path()).unwrap();
        Subject { directory, store }
    }

    fn reopen(self) -> Subject {
        self.store.close().unwrap();
        let store = options().open(self.directory.path()).unwrap();
        Subject { store, ..self }
    }

    fn crash(self) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        copy_open_store(&self.store, self.directory.path(), directory.path());
        let store = options().open(directory.path()).unwrap();
        Subject { directory, store }
    }

    fn rebuild(self) -> Subject {
        self.store.close().unwrap();
        std::fs::remove_dir_all(self.directory.path().join("state")).unwrap();
        let store = options().open(self.directory.path()).unwrap();
        Subject { store, ..self }
    }
}

/// What is expected: how many match and are modified, or how many are modified before one that the change does not fit.
fn check_counts(found: Result<WriteOutcome, Error>, expected: Result<(usize, usize), usize>) {
    match (found, expected) {
        (Ok(found), Ok((matched, modified))) => {
            assert_eq!((found.matched as usize, found.modified as usize), (matched, modified));
            assert_eq!(found.op_id.is_some(), modified > 0);
        }
        (Err(Error::Update(_)), Err(0)) => {}
        (Err(Error::ChangeMany { modified, source }), Err(before)) if matches!(*source, Error::Update(_)) => {
            assert!(before > 0);
            assert_eq!(modified as usize, before);
        }
        other => panic!("{other:?}"),
    }
}

/// Updates the first so many matches of the model; the counts, or how many were modified when a document was reached that the
/// change does not fit.
fn update_model(model: &mut Model, name: Name, ids: &[i32], change: &Change) -> Result<(usize, usize), usize> {
    let mut modified = 0;
    for id in ids {
        let document = model.0.get_mut(&name).and_then(|documents| documents.get_mut(id));
        let changed = document.and_then(|document| apply(change, document));
        modified += usize::from(changed.ok_or(modified)?);
    }
    Ok((ids.len(), modified))
}

fn step(mut subject: Subject, model: &mut Model, operation: &Operation) -> Subject {
    let store = &subject.store;
    match operation {
        Operation::Insert(name, documents) => {
            let documents: Vec<_> = documents.iter().map(|(id, a)| doc! { "_id": *id, "a": *a }).collect();
            let raw: Vec<_> = documents.iter().map(|d| RawDocumentBuf::try_from(d).unwrap()).collect();
            let mut refused = None;
            for (index, document) in documents.into_iter().enumerate() {
                let id = document.get_i32("_id").unwrap();
                if model.0.get(name).is_some_and(|c| c.contains_key(&id)) {
                    refused = Some(index);
                    break;
                }
                model.0.entry(*name).or_default().insert(id, document);
            }
            let outcome = name.in_store(store).insert_many(raw.iter().map(AsRef::as_ref));
            match (outcome, refused) {
                (Ok(outcome), None) => assert_eq!(outcome.inserted_ids.len(), raw.len()),
                (Err(Error::InsertMany { index, source }), Some(expected)) => {
                    assert_eq!(index, expected);
                    assert!(matches!(*source, Error::DuplicateKey { .. }));
                }
                other => panic!("{other:?}"),
            }
        }
        Operation::UpdateOne(name, target, change) => {
            let ids = model.matching(*name, *target);
            let expected = update_model(model, *name, &ids[..ids.len().min(1)], change);
            check_counts(
                name.in_store(store).update_one(&filter(*target), update(change)),
                expected,
            );
        }
        Operation::UpdateMany(name, target, change) => {
            let ids = model.matching(*name, *target);
            let expected = update_model(model, *name, &ids, change);
            check_counts(
                name.in_store(store).update_many(&filter(*target), update(change)),
                expected,
            );
        }
        Operation::Replace(name, target, value) => {
            let id = model.matching(*name, *target).first().copied();
            let expected = id.map_or((0, 0), |id| {
                let replacement = doc! { "_id": id, "d": *value };
                let before = model.0.get_mut(name).unwrap().insert(id, replacement.clone());
                (1, usize::from(before != Some(replacement)))
            });
            let replaced = name
                .in_store(store)
                .replace_one(&filter(*target), &rawdoc! { "d": *value });
            check_counts(replaced, Ok(expected));
        }
        Operation::DeleteOne(name, target) | Operation::DeleteMany(name, target) => {
            let one = matches!(operation, Operation::DeleteOne(..));
            let mut ids = model.matching(*name, *target);
            ids.truncate(if one { 1 } else { usize::MAX });
            for id in &ids {
                model.0.get_mut(name).unwrap().remove(id);
            }
            let collection = name.in_store(store);
            let deleted = match one {
                true => collection.delete_one(&filter(*target)),
                false => collection.delete_many(&filter(*target)),
            };
            check_counts(deleted, Ok((ids.len(), ids.len())));
        }
        Operation::Count(name, target) => {
            let expected = model.matching(*name, *target);
            let found = name.in_store(store).find(&filter(*target)).unwrap();
            let found: Vec<_> = found.map(|d| d.unwrap().get_i32("_id").unwrap()).collect();
            assert_eq!(found, expected);
            assert_eq!(
                name.in_store(store).count(&filter(*target)).unwrap() as usize,
                expected.len()
            );
        }
        Operation::Find(name, target, question) => {
            let expected = question.answer(model.documents(*name, *target));
            let found = name
                .in_store(store)
                .find_with(&filter(*target), &question.options())
                .unwrap();
            assert_eq!(found.into_documents().unwrap(), expected, "{question:?}");
        }
        Operation::Group(name, target, field) => {
            let field = FIELDS[*field];
            let mut groups: BTreeMap<_, (Bson, Vec<Bson>)> = BTreeMap::new();
            for document in model.documents(*name, *target) {
                let value = document.get(field);
                let group = groups.entry(place(value));
                let (_, ids) = group.or_insert_with(|| (value.cloned().unwrap_or(Bson::Null), Vec::new()));
                ids.push(document["_id"].clone());
            }
            let group = |(value, ids): (Bson, Vec<Bson>)| {
                doc! { "_id": value, "count": i32::try_from(ids.len()).unwrap(), "ids": ids }
            };
            let expected: Vec<_> = groups.into_values().map(group).collect();
            let group = rawdoc! { "_id": format!("${field}"), "count": { "$sum": 1 }, "ids": { "$push": "$_id" } };
            let stages = [
                rawdoc! { "$match": filter(*target) },
                rawdoc! { "$sort": { "_id": 1 } },
                rawdoc! { "$group": group },
                rawdoc! { "$sort": { "_id": 1 } },
            ];
            let found = name
                .in_store(store)
                .aggregate(&Pipeline::parse(&stages).unwrap())
                .unwrap();
            let found: Vec<_> = found.map(|found| Document::try_from(found.unwrap()).unwrap()).collect();
            assert_eq!(found, expected);
        }
        Operation::Drop(name) => {
            let collection = name.in_store(store);
            let dropped = store.drop_collection(collection.database_name(), collection.name());
            match model.0.remove(name) {
                Some(_) => drop(dropped.unwrap()),
                None => assert!(matches!(dropped, Err(Error::NoSuchCollection { .. }))),
            }
        }
        Operation::DropDatabase(database) => {
            let before = model.0.len();
            model.0.retain(|name, _| name.database != *database);
            let dropped = store.drop_database(DATABASES[*database]).unwrap();
            assert_eq!(dropped.is_some(), model.0.len() < before);
        }
        Operation::Create(name) => {
            let collection = name.in_store(store);
            let created = store.create_collection(collection.database_name(), collection.name());
            assert_eq!(created.is_ok(), !model.0.contains_key(name));
            model.0.entry(*name).or_default();
        }
        Operation::Flush => drop(store.trim_log(OpId::ZERO).unwrap()),
        Operation::Reopen | Operation::Crash => {
            subject = match operation {
                Operation::Reopen => subject.reopen(),
                _ => subject.crash(),
            };
            assert_eq!(content(&subject.store), model.content());
        }
    }
    subject
}

/// Few cases, because each opens stores several times; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(32),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_is_what_its_operations_add_up_to(operations in prop::collection::vec(operation(), 1..120)) {
        let mut model = Model::default();
        let mut subject = Subject::new();
        for operation in &operations {
            subject = step(subject, &mut model, operation);
        }
        assert_eq!(content(&subject.store), model.content());
        let digest = subject.store.digest().unwrap();
        let rebuilt = subject.rebuild();
        assert_eq!(content(&rebuilt.store), model.content());
        assert_eq!(rebuilt.store.digest().unwrap(), digest);
    }
}
