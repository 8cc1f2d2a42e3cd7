//! Sorting, skipping and limiting; what plans find is compared with a scan in `tests/index_model.rs`.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, bson, doc, rawdoc};
use proptest::prelude::*;
use tailwater_matcher::Expression;
use tailwater_oplog::Durability;

use super::*;
use crate::Error;
use crate::collection::Collection;
use crate::sort::Sorter;
use crate::store::StoreOptions;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn with_documents(documents: &[Document]) -> (tempfile::TempDir, Collection) {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    let collection = options.open(directory.path()).unwrap().collection("d", "c").unwrap();
    for document in documents {
        collection.insert_one(&raw(document)).unwrap();
    }
    (directory, collection)
}

fn query(sort: &Document) -> Query {
    Query {
        sort: SortPattern::parse(&raw(sort)).unwrap(),
        ..Query::new(Arc::new(Expression::always()))
    }
}

fn ids(collection: &Collection, query: Query) -> Result<Vec<i32>> {
    let reading = Reading::new(collection.store().core().view()?);
    let found = query.candidates(&reading, &Namespace::new("d", "c"))?;
    found
        .map(|found| Ok(found?.document()?.get_i32("_id").unwrap()))
        .collect()
}

#[test]
fn values_of_all_types_and_arrays_sort_as_in_mongodb() {
    let values: [(i32, Option<Bson>); 8] = [
        (0, Some(bson!("text"))),
        (1, Some(bson!(7))),
        (2, None),
        (3, Some(bson!([]))),
        (4, Some(bson!([3, 9]))),
        (5, Some(Bson::MaxKey)),
        (6, Some(bson!({ "b": 1 }))),
        (7, Some(bson!([5, "z"]))),
    ];
    let documents = values.map(|(id, value)| {
        let mut document = doc! { "_id": id };
        document.extend(value.map(|value| ("a".to_owned(), value)));
        document
    });
    let (_directory, collection) = with_documents(&documents);
    // The least element counts one way, the greatest the other.
    assert_eq!(
        ids(&collection, query(&doc! { "a": 1 })).unwrap(),
        [3, 2, 4, 7, 1, 0, 6, 5]
    );
    assert_eq!(
        ids(&collection, query(&doc! { "a": -1 })).unwrap(),
        [5, 6, 7, 0, 4, 1, 2, 3]
    );
}

#[test]
fn skip_and_limit_cut_the_order() {
    let documents: Vec<_> = (0..10)
        .map(|i| doc! { "_id": i, "a": (7 * i) % 10, "b": i % 2 })
        .collect();
    let (_directory, collection) = with_documents(&documents);
    let all = ids(&collection, query(&doc! { "b": -1, "a": 1 })).unwrap();
    assert_eq!(all, [3, 9, 5, 1, 7, 0, 6, 2, 8, 4]);
    for (skip, limit) in [
        (0, None),
        (0, Some(3)),
        (2, Some(3)),
        (9, Some(5)),
        (20, None),
        (0, Some(0)),
    ] {
        let cut = Query {
            skip,
            limit,
            ..query(&doc! { "b": -1, "a": 1 })
        };
        let expected: Vec<_> = all
            .iter()
            .copied()
            .skip(skip as usize)
            .take(limit.map_or(99, |n| n as usize))
            .collect();
        assert_eq!(ids(&collection, cut).unwrap(), expected, "{skip} {limit:?}");
    }
}

#[test]
fn sorting_keeps_to_its_memory() {
    let documents: Vec<_> = (0..40)
        .map(|i| doc! { "_id": i, "a": -i, "text": "x".repeat(500) })
        .collect();
    let (_directory, collection) = with_documents(&documents);
    let sort_with = |wanted| {
        let pattern = SortPattern::parse(&rawdoc! { "a": 1 }).unwrap().unwrap();
        let mut sorter = Sorter::new(pattern, wanted).with_bytes_max(10_000);
        let reading = Reading::new(collection.store().core().view()?);
        let all = Query::new(Arc::new(Expression::always()));
        for found in all.candidates(&reading, &Namespace::new("d", "c"))? {
            sorter.push(found?)?;
        }
        sorter
            .finish()
            .map(|found| Ok(found.document()?.get_i32("_id").unwrap()))
            .collect::<Result<Vec<_>>>()
    };
    let exceeded = sort_with(None);
    assert!(
        matches!(exceeded, Err(Error::SortMemoryExceeded { bytes_max: 10_000, .. })),
        "{exceeded:?}"
    );
    assert_eq!(sort_with(Some(3)).unwrap(), [39, 38, 37]);
}

#[test]
fn an_order_on_two_arrays_of_one_document_is_refused() {
    let (_directory, collection) = with_documents(&[doc! { "_id": 1, "a": [1], "b": [1] }]);
    let refused = ids(&collection, query(&doc! { "a": 1, "b": 1 }));
    assert!(matches!(refused, Err(Error::SortParallelArrays { .. })), "{refused:?}");
}

#[test]
fn orders_that_cannot_be_are_refused() {
    for sort in [
        rawdoc! { "a": 2 },
        rawdoc! { "a": "up" },
        rawdoc! { "": 1 },
        rawdoc! { "a.$b": 1 },
    ] {
        assert!(
            matches!(SortPattern::parse(&sort), Err(Error::InvalidSort { .. })),
            "{sort:?}"
        );
    }
    assert_eq!(SortPattern::parse(&rawdoc! {}).unwrap(), None);
}

/// Values of which a document has several, so that it is found several times.
fn many() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::vec(0..12, 0..6)
}

fn alternative() -> impl Strategy<Value = Document> {
    prop_oneof![
        3 => (0..12).prop_map(|from| doc! { "a": { "$gte": from } }),
        2 => (0..12).prop_map(|to| doc! { "a": { "$lt": to } }),
        2 => prop::collection::vec(0..12, 1..6).prop_map(|values| doc! { "a": { "$in": values } }),
        2 => (0..12, 0..12).prop_map(|(from, to)| doc! { "b": { "$gte": from, "$lt": to } }),
        1 => prop::collection::vec(0..40, 1..20).prop_map(|ids| doc! { "_id": { "$in": ids } }),
        1 => (0..40).prop_map(|from| doc! { "_id": { "$gte": from } }),
        2 => (0..12, 0..3).prop_map(|(b, c)| doc! { "b": b, "c": { "$gte": c } }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// A search remembers fewer documents here than it finds ([`repeats`]); it finds each once all the same.
    #[test]
    fn each_document_is_found_once_however_many_keys_lead_to_it(
        arrays in prop::collection::vec((many(), many()), 20..40),
        filters in prop::collection::vec(prop::collection::vec(alternative(), 1..4), 60),
    ) {
        let (_directory, collection) = with_documents(&[]);
        for index in [
            rawdoc! { "key": { "a": 1 } },
            rawdoc! { "key": { "b": -1, "c": 1 }, "name": "b" },
        ] {
            collection.create_indexes(&[&index]).unwrap();
        }
        let stored = |ids: std::ops::Range<usize>| {
            let arrays = ids.clone().zip(&arrays[ids]);
            let stored = arrays.map(|(id, (a, b))| raw(&doc! {
                "_id": i32::try_from(id).unwrap(), "a": a.clone(), "b": b.clone(), "c": i32::try_from(id % 3).unwrap(),
            }));
            stored.collect::<Vec<_>>()
        };
        // A part of them, and of their keys, is written in a transaction that is still open.
        let (before, within) = (stored(0..15), stored(15..arrays.len()));
        collection.insert_many(before.iter().map(AsRef::as_ref)).unwrap();
        let transaction = collection.store().transaction().unwrap();
        let own = transaction.collection("d", "c").unwrap();
        own.insert_many(within.iter().map(AsRef::as_ref)).unwrap();
        for alternatives in &filters {
            let filter = raw(&doc! { "$or": alternatives.clone() });
            let expression = Expression::parse(&filter).unwrap();
            let expected = before.iter().chain(&within).filter(|document| expression.matches(document).unwrap());
            let mut expected: Vec<_> = expected.map(|document| document.get_i32("_id").unwrap()).collect();
            expected.sort_unstable();
            let found = own.find(&filter).unwrap();
            let mut found: Vec<_> = found.map(|document| document.unwrap().get_i32("_id").unwrap()).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected, "{:?}", filter);
        }
    }
}
