//! Random documents, indexes, filters and crashes: what an index finds is what a look at every document finds, and after all of
//! it each index has exactly the keys that its documents have.

use crate::common;

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use common::{copy_open_store, small};
use proptest::prelude::*;
use tailwater_matcher::Expression;
use tailwater_oplog::OpId;
use tailwater_storage::{Collection, Error, FindOptions, Store, StoreOptions};

const IDS: std::ops::Range<i32> = 0..25;

#[derive(Clone, Debug)]
enum Operation {
    Insert(Document),
    Update(Document, Document),
    Replace(i32, Document),
    Delete(Document),
    Find(Document),
    Sorted(Document, Sorting),
    CreateIndex(usize),
    DropIndex(usize),
    Flush,
    Reopen,
    Crash,
}

/// An order, and what of it is asked for.
#[derive(Clone, Debug)]
struct Sorting {
    path: &'static str,
    descending: bool,
    skip: u64,
    limit: u64,
}

impl Sorting {
    /// The documents in this order, those with the same value by their `_id`s: what the manual says (*cursor.sort()*, *Multikey
    /// Indexes*), worked out without keys.
    fn of(&self, mut documents: Vec<RawDocumentBuf>) -> Vec<RawDocumentBuf> {
        let path: Vec<&str> = self.path.split('.').collect();
        let key = |document: &RawDocumentBuf| {
            let document = Bson::Document(Document::try_from(&**document).unwrap());
            let mut values = Vec::new();
            values_at(&document, &path, &mut values);
            let order = |a: &Bson, b: &Bson| in_order(a, b);
            match self.descending {
                true => values.into_iter().max_by(order),
                false => values.into_iter().min_by(order),
            }
        };
        documents.sort_by(|a, b| {
            let order = in_order(&key(a).unwrap(), &key(b).unwrap());
            let order = if self.descending { order.reverse() } else { order };
            order.then_with(|| a.get_i32("_id").unwrap().cmp(&b.get_i32("_id").unwrap()))
        });
        let left = documents.into_iter().skip(usize::try_from(self.skip).unwrap());
        left.take(usize::try_from(self.limit).unwrap()).collect()
    }
}

fn in_order(a: &Bson, b: &Bson) -> std::cmp::Ordering {
    let [a, b] = [a, b].map(|value| bson::RawBson::try_from(value.clone()).unwrap());
    tailwater_matcher::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref())
}

/// The values by which a document is found in an order: of an array each element, of an empty one `undefined`, of what is
/// missing null.
fn values_at(value: &Bson, path: &[&str], values: &mut Vec<Bson>) {
    match (value, path.split_first()) {
        (Bson::Array(elements), None) if elements.is_empty() => values.push(Bson::Undefined),
        (Bson::Array(elements), None) => values.extend(elements.iter().cloned()),
        (value, None) => values.push(value.clone()),
        (Bson::Document(document), Some((name, rest))) => match document.get(name) {
            Some(inner) => values_at(inner, rest, values),
            None => values.push(Bson::Null),
        },
        (Bson::Array(elements), Some((name, rest))) => {
            let position = name.parse().ok().and_then(|at: usize| elements.get(at));
            if let Some(element) = position {
                values_at(element, rest, values);
            }
            for element in elements {
                match element {
                    Bson::Document(document) if position.is_none() || document.contains_key(name) => {
                        values_at(element, path, values);
                    }
                    _ if position.is_none() => values.push(Bson::Null),
                    _ => {}
                }
            }
            if elements.is_empty() {
                values.push(Bson::Null);
            }
        }
        _ => values.push(Bson::Null),
    }
}

fn sorting() -> impl Strategy<Value = Sorting> {
    (path(), any::<bool>(), 0..4u64, 1..30u64).prop_map(|(path, descending, skip, limit)| Sorting {
        path,
        descending,
        skip,
        limit,
    })
}

fn definitions() -> Vec<Document> {
    vec![
        doc! { "key": { "a": 1 } },
        doc! { "key": { "a": -1, "b": 1 } },
        doc! { "key": { "b": 1, "a": 1 }, "sparse": true },
        doc! { "key": { "a.x": 1, "a.y": -1 } },
        doc! { "key": { "a.0": 1 } },
        doc! { "key": { "b": 1 }, "name": "few", "partialFilterExpression": { "c": { "$gte": 1 } } },
        doc! { "key": { "c": 1 }, "unique": true, "partialFilterExpression": { "c": { "$exists": true } } },
        doc! { "key": { "c": -1, "_id": 1 } },
        doc! { "key": { "a": 1, "a.x": 1 } },
    ]
}

fn scalar() -> impl Strategy<Value = Bson> {
    prop_oneof![
        8 => (-2..5i32).prop_map(Bson::Int32),
        1 => Just(bson!(2.5)),
        1 => Just(Bson::Double(f64::NAN)),
        1 => Just(Bson::Double(f64::NEG_INFINITY)),
        2 => Just(Bson::Null),
        1 => Just(bson!("s")),
        1 => Just(bson!("start")),
        1 => Just(bson!("")),
        1 => Just(bson!(true)),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::MaxKey),
    ]
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            2 => (prop::option::of(inner.clone()), prop::option::of(inner)).prop_map(|(x, y)| {
                let x = x.map(|x| ("x".to_owned(), x));
                let y = y.map(|y| ("y".to_owned(), y));
                Bson::Document(x.into_iter().chain(y).collect())
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    let field = || prop::option::weighted(0.8, value());
    (field(), field(), prop::option::weighted(0.7, scalar())).prop_map(|(a, b, c)| {
        let fields = [("a", a), ("b", b), ("c", c)];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    })
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "a", "b", "c", "a.x", "a.y", "a.0", "_id"])
}

fn condition() -> impl Strategy<Value = Document> {
    let operator = prop::sample::select(vec!["$eq", "$eq", "$gt", "$gte", "$lt", "$lte", "$ne"]);
    let condition = prop_oneof![
        8 => (operator, value()).prop_map(|(operator, value)| doc! { operator: value }),
        3 => prop::collection::vec(value(), 0..4).prop_map(|values| doc! { "$in": values }),
        1 => any::<bool>().prop_map(|exists| doc! { "$exists": exists }),
        1 => prop::sample::select(vec!["^s", "^st", "s"]).prop_map(|pattern| doc! { "$regex": pattern }),
        1 => prop::sample::select(vec!["null", "string", "array", "number"]).prop_map(|name| doc! { "$type": name }),
        1 => (scalar(), scalar()).prop_map(|(low, high)| doc! { "$elemMatch": { "$gte": low, "$lt": high } }),
        1 => (value(), value()).prop_map(|(x, y)| doc! { "$elemMatch": { "x": x, "y": y } }),
    ];
    (path(), condition).prop_map(|(path, condition)| doc! { path: condition })
}

fn filter() -> impl Strategy<Value = Document> {
    let all = |count| prop::collection::vec(condition(), count).prop_map(|parts| doc! { "$and": parts });
    let any = || prop::collection::vec(all(1..3), 1..4).prop_map(|parts| doc! { "$or": parts });
    prop_oneof![
        3 => all(1..4),
        1 => any(),
        1 => (condition(), any()).prop_map(|(part, any)| doc! { "$and": [part, any] }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = || 0..definitions().len();
    prop_oneof![
        16 => (IDS, document()).prop_map(|(id, document)| {
            let mut with_id = doc! { "_id": id };
            with_id.extend(document);
            Operation::Insert(with_id)
        }),
        8 => (filter(), document()).prop_map(|(filter, changes)| Operation::Update(filter, changes)),
        4 => (IDS, document()).prop_map(|(id, document)| Operation::Replace(id, document)),
        3 => filter().prop_map(Operation::Delete),
        16 => filter().prop_map(Operation::Find),
        8 => (filter(), sorting()).prop_map(|(filter, sorting)| Operation::Sorted(filter, sorting)),
        6 => index().prop_map(Operation::CreateIndex),
        2 => index().prop_map(Operation::DropIndex),
        2 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Crash),
    ]
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn options() -> StoreOptions {
    StoreOptions {
        overlay_bytes_max: 16 << 10,
        ..small()
    }
}

fn items(store: &Store) -> Collection {
    store.collection("shop", "items").unwrap()
}

/// What a write may answer: done, or refused because of an index.
fn tolerate<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    match outcome {
        Ok(_) | Err(Error::DuplicateKey { .. } | Error::ParallelArrays { .. } | Error::NoSuchIndex { .. }) => {}
        Err(Error::NoSuchCollection { .. }) => {}
        Err(Error::ChangeMany { source, .. }) => tolerate::<()>(Err(*source)),
        Err(other) => panic!("{other:?}"),
    }
}

fn step((directory, store): (tempfile::TempDir, Store), operation: &Operation) -> (tempfile::TempDir, Store) {
    let collection = items(&store);
    match operation {
        Operation::Insert(document) => tolerate(collection.insert_one(&raw(document))),
        Operation::Update(filter, changes) if !changes.is_empty() => {
            tolerate(collection.update_many(&raw(filter), raw(&doc! { "$set": changes.clone() })));
        }
        Operation::Update(filter, _) => {
            tolerate(collection.update_many(&raw(filter), raw(&doc! { "$unset": { "a": 1, "c": 1 } })));
        }
        Operation::Replace(id, document) => {
            tolerate(collection.replace_one(&raw(&doc! { "_id": *id }), &raw(document)));
        }
        Operation::Delete(filter) => tolerate(collection.delete_many(&raw(filter))),
        Operation::Find(filter) => {
            let expression = Expression::parse(&raw(filter)).unwrap();
            let all = collection.find(&raw(&doc! {})).unwrap().map(Result::unwrap);
            let expected: Vec<_> = all.filter(|document| expression.matches(document).unwrap()).collect();
            let mut found: Vec<_> = collection.find(&raw(filter)).unwrap().map(Result::unwrap).collect();
            found.sort_by_key(|document| document.get_i32("_id").unwrap());
            assert_eq!(found, expected, "{filter}");
            assert_eq!(collection.count(&raw(filter)).unwrap() as usize, expected.len());
        }
        Operation::Sorted(filter, sorting) => {
            let expression = Expression::parse(&raw(filter)).unwrap();
            let all = collection.find(&raw(&doc! {})).unwrap().map(Result::unwrap);
            let matching = all.filter(|document| expression.matches(document).unwrap());
            let expected = sorting.of(matching.collect());
            let direction = if sorting.descending { -1 } else { 1 };
            let mut sort = doc! { sorting.path: direction };
            sort.entry("_id".to_owned()).or_insert(Bson::Int32(1));
            let options = FindOptions {
                sort: Some(raw(&sort)),
                skip: sorting.skip,
                limit: Some(sorting.limit),
                ..FindOptions::default()
            };
            let found = collection.find_with(&raw(filter), &options).unwrap();
            let found: Vec<_> = found.map(Result::unwrap).collect();
            assert_eq!(found, expected, "{filter} {sorting:?}");
        }
        Operation::CreateIndex(index) => {
            tolerate(collection.create_indexes(&[raw(&definitions()[*index]).as_ref()]));
        }
        Operation::DropIndex(index) => {
            let listed = collection.list_indexes().unwrap();
            let name = listed
                .get(index + 1)
                .map_or("none", |index| index.get_str("name").unwrap());
            tolerate(collection.drop_index(name));
        }
        Operation::Flush => drop(store.trim_log(OpId::ZERO).unwrap()),
        Operation::Reopen => {
            store.close().unwrap();
            let store = options().open(directory.path()).unwrap();
            return (directory, store);
        }
        Operation::Crash => {
            let copy = tempfile::tempdir().unwrap();
            copy_open_store(&store, directory.path(), copy.path());
            let store = options().open(copy.path()).unwrap();
            check(&store);
            return (copy, store);
        }
    }
    (directory, store)
}

fn check(store: &Store) {
    match items(store).validate() {
        Ok(validation) => assert_eq!(validation.findings, Vec::<String>::new()),
        Err(Error::NoSuchCollection { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}

/// Few cases, because each opens stores several times; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_index_finds_what_a_look_at_every_document_finds(
        operations in prop::collection::vec(operation(), 1..120)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let store = options().open(directory.path()).unwrap();
        let mut subject = (directory, store);
        for operation in &operations {
            subject = step(subject, operation);
        }
        check(&subject.1);
        let (directory, store) = subject;
        store.close().unwrap();
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        check(&options().open(directory.path()).unwrap());
    }
}
