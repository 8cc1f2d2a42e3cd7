//! What a collation reaches beside filters and sorts: the stages of pipelines, and what updates compare.

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_storage::{AggregateErrorKind, Collection, Error, Pipeline, UpdateModifications, UpdateOptions};

use crate::Town;

/// Base letters only: neither case nor accents count.
fn letters() -> RawDocumentBuf {
    rawdoc! { "locale": "en", "strength": 1 }
}

fn town() -> Town {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "name": "Zoé", "city": "ULM" },
        rawdoc! { "_id": 2, "name": "zoe", "city": "Bonn" },
        rawdoc! { "_id": 3, "name": "Ada", "city": "Ulm" },
        rawdoc! { "_id": 4, "name": "bea", "city": "bonn" },
    ]);
    let cities = town.store.collection("town", "cities").unwrap();
    for (id, name) in ["bonn", "ulm", "Köln"].iter().enumerate() {
        cities.insert_one(&rawdoc! { "_id": id as i32, "name": *name }).unwrap();
    }
    town
}

fn aggregated(
    people: &Collection,
    stages: &[RawDocumentBuf],
    collation: Option<&RawDocument>,
) -> Result<Vec<RawDocumentBuf>, Error> {
    let pipeline = Pipeline::parse_with(stages, collation)?;
    people.aggregate(&pipeline)?.collect()
}

#[test]
fn every_stage_of_a_pipeline_compares_by_the_collation() {
    let town = town();
    let ids = |ids: &[i32]| ids.iter().map(|id| rawdoc! { "_id": *id }).collect::<Vec<_>>();
    let only_id = || rawdoc! { "$project": { "_id": 1 } };
    for (stages, by_bytes, by_letters) in [
        (
            vec![rawdoc! { "$match": { "name": "ZOE" } }, only_id()],
            ids(&[]),
            ids(&[1, 2]),
        ),
        // Behind a stage that shapes, too, and in an expression.
        (
            vec![
                rawdoc! { "$set": { "n": "$name" } },
                rawdoc! { "$match": { "n": "ZOE" } },
                only_id(),
            ],
            ids(&[]),
            ids(&[1, 2]),
        ),
        (
            vec![
                rawdoc! { "$match": { "$expr": { "$eq": ["$name", "ZOE"] } } },
                only_id(),
            ],
            ids(&[]),
            ids(&[1, 2]),
        ),
        (
            vec![rawdoc! { "$sort": { "name": 1, "_id": -1 } }, only_id()],
            ids(&[3, 1, 4, 2]),
            ids(&[3, 4, 2, 1]),
        ),
        (
            vec![
                rawdoc! { "$group": { "_id": "$city", "n": { "$sum": 1 }, "last": { "$max": "$name" } } },
                rawdoc! { "$sort": { "_id": 1 } },
            ],
            vec![
                rawdoc! { "_id": "Bonn", "n": 1, "last": "zoe" },
                rawdoc! { "_id": "ULM", "n": 1, "last": "Zoé" },
                rawdoc! { "_id": "Ulm", "n": 1, "last": "Ada" },
                rawdoc! { "_id": "bonn", "n": 1, "last": "bea" },
            ],
            vec![
                rawdoc! { "_id": "Bonn", "n": 2, "last": "zoe" },
                rawdoc! { "_id": "ULM", "n": 2, "last": "Zoé" },
            ],
        ),
        (
            vec![rawdoc! { "$sortByCount": "$city" }, rawdoc! { "$count": "n" }],
            vec![rawdoc! { "n": 4 }],
            vec![rawdoc! { "n": 2 }],
        ),
        (
            vec![rawdoc! { "$bucketAuto": { "groupBy": "$city", "buckets": 2 } }],
            vec![
                rawdoc! { "_id": { "min": "Bonn", "max": "Ulm" }, "count": 2 },
                rawdoc! { "_id": { "min": "Ulm", "max": "bonn" }, "count": 2 },
            ],
            vec![
                rawdoc! { "_id": { "min": "Bonn", "max": "ULM" }, "count": 2 },
                rawdoc! { "_id": { "min": "ULM", "max": "Ulm" }, "count": 2 },
            ],
        ),
        (
            vec![
                rawdoc! { "$lookup": { "from": "cities", "localField": "city", "foreignField": "name", "as": "found" } },
                rawdoc! { "$match": { "found": { "$ne": [] } } },
                only_id(),
            ],
            ids(&[4]),
            ids(&[1, 2, 3, 4]),
        ),
        (
            vec![
                rawdoc! { "$limit": 1 },
                rawdoc! { "$unionWith": { "coll": "cities", "pipeline": [{ "$match": { "name": "KOLN" } }] } },
                only_id(),
            ],
            ids(&[1]),
            ids(&[1, 2]),
        ),
        (
            vec![
                rawdoc! { "$facet": { "f": [{ "$match": { "name": "ada" } }, { "$project": { "_id": 1 } }] } },
                rawdoc! { "$unwind": "$f" },
                rawdoc! { "$replaceWith": "$f" },
            ],
            ids(&[]),
            ids(&[3]),
        ),
    ] {
        let found =
            |collation: Option<RawDocumentBuf>| aggregated(&town.people, &stages, collation.as_deref()).unwrap();
        assert_eq!(found(None), by_bytes, "{stages:?}");
        assert_eq!(found(Some(letters())), by_letters, "{stages:?}");
        assert_eq!(found(Some(rawdoc! { "locale": "simple" })), by_bytes, "{stages:?}");
    }
}

#[test]
fn boundaries_ascend_by_the_collation() {
    let town = town();
    let buckets = |boundaries: [&str; 3]| {
        let [a, b, c] = boundaries;
        [rawdoc! { "$bucket": { "groupBy": "$city", "boundaries": [a, b, c] } }]
    };
    let found = |boundaries, collation: Option<RawDocumentBuf>| {
        aggregated(&town.people, &buckets(boundaries), collation.as_deref())
    };
    let two = |first: &str, second: &str, counts: [i32; 2]| {
        vec![
            rawdoc! { "_id": first, "count": counts[0] },
            rawdoc! { "_id": second, "count": counts[1] },
        ]
    };
    assert_eq!(found(["a", "S", "z"], Some(letters())).unwrap(), two("a", "S", [2, 2]));
    assert_eq!(found(["A", "C", "z"], None).unwrap(), two("A", "C", [1, 3]));
    for (boundaries, collation) in [(["a", "S", "z"], None), (["a", "A", "z"], Some(letters()))] {
        let refused = found(boundaries, collation).unwrap_err();
        assert!(refused.to_string().contains("boundaries must ascend"), "{refused}");
    }
}

#[test]
fn a_merge_under_a_collation_has_no_index_to_go_by() {
    let town = town();
    let merge = |into: &str| aggregated(&town.people, &[rawdoc! { "$merge": into }], Some(&letters()));
    assert_eq!(merge("new").unwrap(), Vec::<RawDocumentBuf>::new());
    let Error::Aggregate(refused) = merge("cities").unwrap_err() else {
        panic!("it is the stage's");
    };
    assert_eq!(refused.code(), 51183);
    assert!(
        matches!(refused.kind, AggregateErrorKind::Specification { .. }),
        "{refused}"
    );
    assert_eq!(
        town.store
            .collection("town", "new")
            .unwrap()
            .count(&rawdoc! {})
            .unwrap(),
        4
    );
}

#[test]
fn updates_compare_by_the_collation() {
    for (document, update, filters, by_bytes, by_letters) in [
        (
            rawdoc! { "a": ["É", "b", "e"] },
            UpdateModifications::from(rawdoc! { "$pull": { "a": "E" } }),
            vec![],
            rawdoc! { "a": ["É", "b", "e"] },
            rawdoc! { "a": ["b"] },
        ),
        (
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "$pull": { "a": { "$in": ["E", "B"] } } }.into(),
            vec![],
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "a": [] },
        ),
        (
            rawdoc! { "a": [{ "n": "É" }, { "n": "b" }] },
            rawdoc! { "$pull": { "a": { "n": "e" } } }.into(),
            vec![],
            rawdoc! { "a": [{ "n": "É" }, { "n": "b" }] },
            rawdoc! { "a": [{ "n": "b" }] },
        ),
        (
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "$pullAll": { "a": ["e", "B"] } }.into(),
            vec![],
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "a": [] },
        ),
        (
            rawdoc! { "a": ["É"] },
            rawdoc! { "$addToSet": { "a": { "$each": ["e", "b", "B"] } } }.into(),
            vec![],
            rawdoc! { "a": ["É", "e", "b", "B"] },
            rawdoc! { "a": ["É", "b"] },
        ),
        (
            rawdoc! { "a": ["b"] },
            rawdoc! { "$push": { "a": { "$each": ["A", "C"], "$sort": 1 } } }.into(),
            vec![],
            rawdoc! { "a": ["A", "C", "b"] },
            rawdoc! { "a": ["A", "b", "C"] },
        ),
        (
            rawdoc! { "a": "b", "z": "b" },
            rawdoc! { "$min": { "a": "C" }, "$max": { "z": "C" } }.into(),
            vec![],
            rawdoc! { "a": "C", "z": "b" },
            rawdoc! { "a": "b", "z": "C" },
        ),
        (
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "$set": { "a.$[x]": 1 } }.into(),
            vec![rawdoc! { "x": "e" }],
            rawdoc! { "a": ["É", "b"] },
            rawdoc! { "a": [1, "b"] },
        ),
        (
            rawdoc! { "a": "É" },
            vec![rawdoc! { "$set": { "a": { "$eq": ["$a", "e"] } } }].into(),
            vec![],
            rawdoc! { "a": false },
            rawdoc! { "a": true },
        ),
    ] {
        for (collation, expected) in [(None, by_bytes), (Some(letters()), by_letters)] {
            let town = Town::new();
            town.people.insert_one(&with_id(&document)).unwrap();
            let options = UpdateOptions {
                collation: collation.clone(),
                array_filters: filters.clone(),
                ..UpdateOptions::default()
            };
            town.people
                .update_one_with(&rawdoc! {}, update.clone(), &options)
                .unwrap();
            let found = town.people.find_one(&rawdoc! {}).unwrap().unwrap();
            assert_eq!(found, with_id(&expected), "{update:?} {collation:?}");
        }
    }
}

fn with_id(document: &RawDocumentBuf) -> RawDocumentBuf {
    let mut with = rawdoc! { "_id": 1 };
    for field in document.iter_elements() {
        let field = field.unwrap();
        with.append(field.key(), field.value().unwrap());
    }
    with
}
