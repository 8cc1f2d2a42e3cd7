//! Indexes with a collation, and collections with a default one.
//!
//! Source: MongoDB manual, *Collation*, *Unique Indexes*, *create*.

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use proptest::prelude::*;
use tailwater_storage::{
    AggregateOptions, Collection, CollectionOptions, CountOptions, DistinctOptions, Error, ErrorCode, ExplainOptions,
    FindOneAndUpdateOptions, FindOptions, Hint, IndexModel, Pipeline, Store, UpdateOptions,
};

use crate::common;

fn letters() -> RawDocumentBuf {
    rawdoc! { "locale": "en", "strength": 1 }
}

fn simple() -> RawDocumentBuf {
    rawdoc! { "locale": "simple" }
}

/// A store with a collection whose default is to compare base letters.
fn collated(dir: &std::path::Path) -> (Store, Collection) {
    let store = common::small().open(dir).unwrap();
    let options = CollectionOptions::parse(&rawdoc! { "collation": letters() }).unwrap();
    store.create_collection_with("town", "people", &options).unwrap();
    let people = store.collection("town", "people").unwrap();
    (store, people)
}

fn stage(people: &Collection, filter: &RawDocument, options: &ExplainOptions) -> (String, String) {
    let explained = people.explain(filter, options).unwrap();
    let explained: Document = bson::deserialize_from_slice(explained.as_bytes()).unwrap();
    let mut stage = explained
        .get_document("queryPlanner")
        .and_then(|planner| planner.get_document("winningPlan"))
        .unwrap();
    while let Ok(input) = stage.get_document("inputStage") {
        stage = input;
    }
    let text = |name| stage.get_str(name).unwrap_or_default().to_owned();
    (text("stage"), text("indexName"))
}

fn with(collation: Option<RawDocumentBuf>) -> ExplainOptions {
    ExplainOptions {
        collation,
        ..ExplainOptions::default()
    }
}

fn ids(people: &Collection, filter: &RawDocument, collation: Option<RawDocumentBuf>) -> Vec<Bson> {
    let options = FindOptions {
        collation,
        ..FindOptions::default()
    };
    let found = people.find_with(filter, &options).unwrap();
    found
        .map(|document| document.unwrap().get("_id").unwrap().unwrap().try_into().unwrap())
        .collect()
}

/// The manual's rules for which index serves which operation.
#[test]
fn an_index_serves_strings_of_its_own_collation() {
    let dir = tempfile::tempdir().unwrap();
    let store = common::small().open(dir.path()).unwrap();
    let people = store.collection("town", "people").unwrap();
    let french = rawdoc! { "locale": "fr" };
    people
        .create_index(&IndexModel::new("name", 1).and("age", 1).collation(&french))
        .unwrap();
    people
        .insert_one(&rawdoc! { "_id": 1, "name": "Zoé", "age": 7 })
        .unwrap();
    let scan = ("IXSCAN".to_owned(), "name_1_age_1".to_owned());
    for (filter, collation, expected) in [
        (rawdoc! { "name": "Zoé" }, Some(french.clone()), true),
        // What the locale decides anyway may be said.
        (
            rawdoc! { "name": "Zoé" },
            Some(rawdoc! { "locale": "fr", "strength": 3, "version": "57.1" }),
            true,
        ),
        (rawdoc! { "name": "Zoé" }, None, false),
        (rawdoc! { "name": "Zoé" }, Some(letters()), false),
        (rawdoc! { "name": { "$gt": "A" } }, Some(french.clone()), true),
        (rawdoc! { "name": { "$in": ["A", 1] } }, Some(french.clone()), true),
        (rawdoc! { "name": { "$in": ["A", 1] } }, None, false),
        (rawdoc! { "name": ["A"] }, None, false),
        (rawdoc! { "name": { "first": "A" } }, None, false),
        // Of what is no string every index knows.
        (rawdoc! { "name": 5 }, None, true),
        (rawdoc! { "name": 5, "age": "x" }, Some(letters()), true),
        (rawdoc! { "name": { "$in": [1, null] } }, Some(letters()), true),
        // Regular expressions know no collation.
        (rawdoc! { "name": { "$regex": "^Z" } }, Some(french.clone()), false),
        (rawdoc! { "name": { "$regex": "^Z" } }, None, false),
    ] {
        let found = stage(&people, &filter, &with(collation.clone()));
        assert_eq!(found == scan, expected, "{filter:?} {collation:?} {found:?}");
    }
    let sorted = |collation| ExplainOptions {
        sort: Some(rawdoc! { "name": 1 }),
        ..with(collation)
    };
    assert_eq!(stage(&people, &rawdoc! {}, &sorted(Some(french))), scan);
    assert_eq!(stage(&people, &rawdoc! {}, &sorted(None)).0, "COLLSCAN");
    store.close().unwrap();
}

/// Behind the fields of an index documents follow each other by the bytes of `_id`, which is not the order of a collation.
#[test]
fn an_index_provides_an_order_only_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.create_index(&IndexModel::new("name", 1)).unwrap();
    for id in ["B", "a", "C"] {
        people.insert_one(&rawdoc! { "_id": id, "name": "x" }).unwrap();
    }
    let sorted = |collation| {
        let options = FindOptions {
            sort: Some(rawdoc! { "name": 1, "_id": 1 }),
            collation,
            ..FindOptions::default()
        };
        let found = people.find_with(&rawdoc! {}, &options).unwrap();
        found
            .map(|document| document.unwrap().get_str("_id").unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(sorted(None), ["a", "B", "C"]);
    assert_eq!(sorted(Some(simple())), ["B", "C", "a"]);
    store.close().unwrap();
}

#[test]
fn operations_follow_the_collections_collation() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    for (id, name) in [(1, "Zoé"), (2, "zoe"), (3, "Ada")] {
        people
            .insert_one(&rawdoc! { "_id": id, "name": name, "n": id })
            .unwrap();
    }
    let zoe = rawdoc! { "name": "ZOE" };
    let one_and_two = vec![Bson::Int32(1), Bson::Int32(2)];
    assert_eq!(ids(&people, &zoe, None), one_and_two);
    assert_eq!(ids(&people, &zoe, Some(simple())), Vec::<Bson>::new());
    assert_eq!(ids(&people, &zoe, Some(rawdoc! {})), one_and_two);
    assert_eq!(people.count(&zoe).unwrap(), 2);
    let by_bytes = CountOptions {
        collation: Some(simple()),
        ..CountOptions::default()
    };
    assert_eq!(people.count_with(&zoe, &by_bytes).unwrap(), 0);
    assert_eq!(people.distinct("name", &rawdoc! {}).unwrap().len(), 2);
    let by_bytes = DistinctOptions {
        collation: Some(simple()),
        ..DistinctOptions::default()
    };
    assert_eq!(people.distinct_with("name", &rawdoc! {}, &by_bytes).unwrap().len(), 3);

    let set = |n: i32| rawdoc! { "$set": { "n": n } };
    assert_eq!(people.update_many(&zoe, set(10)).unwrap().matched, 2);
    let by_bytes = UpdateOptions {
        collation: Some(simple()),
        ..UpdateOptions::default()
    };
    assert_eq!(people.update_many_with(&zoe, set(11), &by_bytes).unwrap().matched, 0);
    let found = people.find_one_and_update(&zoe, set(12)).unwrap().unwrap();
    assert_eq!(found.get_i32("_id").unwrap(), 1);
    let options = FindOneAndUpdateOptions {
        collation: Some(simple()),
        ..FindOneAndUpdateOptions::default()
    };
    assert_eq!(people.find_one_and_update_with(&zoe, set(13), &options).unwrap(), None);

    let by_name = [rawdoc! { "$group": { "_id": "$name" } }];
    let groups = |collation: Option<&RawDocument>| {
        let pipeline = Pipeline::parse_with(&by_name, collation).unwrap();
        people.aggregate(&pipeline).unwrap().count()
    };
    assert_eq!((groups(None), groups(Some(&simple()))), (2, 3));
    let matching = Pipeline::parse(&[rawdoc! { "$match": zoe.clone() }]).unwrap();
    let (explained, _) = people
        .explain_aggregate(&matching, AggregateOptions::default(), None)
        .unwrap();
    let explained = explained.planned();
    let planner = explained.get_document("queryPlanner").unwrap();
    let shown = planner.get_document("collation").unwrap();
    assert_eq!(shown.get_i32("strength").unwrap(), 1);

    let transaction = store.transaction().unwrap();
    let own = transaction.collection("town", "people").unwrap();
    assert_eq!(own.count(&zoe).unwrap(), 2);
    assert_eq!(own.delete_many(&zoe).unwrap().modified, 2);
    transaction.commit().unwrap();
    assert_eq!(people.delete_one(&rawdoc! { "name": "ADA" }).unwrap().modified, 1);
    store.close().unwrap();
}

#[test]
fn ids_are_unique_by_the_collections_collation() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.insert_one(&rawdoc! { "_id": "Zoé", "n": 1 }).unwrap();
    let code = |error: Error| error.code();
    let refused = people.insert_one(&rawdoc! { "_id": "zoe" }).unwrap_err();
    assert!(refused.to_string().contains("_id_"), "{refused}");
    assert_eq!(code(refused), Some(ErrorCode::DuplicateKey));
    let transaction = store.transaction().unwrap();
    let own = transaction.collection("town", "people").unwrap();
    assert!(own.find_one(&rawdoc! { "_id": "ZOE" }).unwrap().is_some());
    assert_eq!(
        code(own.insert_one(&rawdoc! { "_id": "ZOE" }).unwrap_err()),
        Some(ErrorCode::DuplicateKey)
    );
    drop(transaction);
    // Found by whatever is equal to it, by its index.
    let zoe = rawdoc! { "_id": "ZOE" };
    assert_eq!(people.find_one(&zoe).unwrap().unwrap().get_str("_id").unwrap(), "Zoé");
    assert_eq!(stage(&people, &zoe, &with(None)), ("IXSCAN".into(), "_id_".into()));
    assert_eq!(ids(&people, &zoe, Some(simple())), Vec::<Bson>::new());
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    let set = rawdoc! { "$set": { "n": 2 } };
    assert_eq!(people.update_one_with(&zoe, set, &upsert).unwrap().upserted_id, None);
    // The only index on `_id` is this one, and it stays.
    let indexes = people.list_indexes().unwrap();
    assert_eq!(indexes.len(), 1);
    assert_eq!(indexes[0].get_str("name").unwrap(), "_id_");
    assert_eq!(
        indexes[0]
            .get_document("collation")
            .unwrap()
            .get_i32("strength")
            .unwrap(),
        1
    );
    people.create_index(&IndexModel::new("_id", 1)).unwrap();
    let otherwise = IndexModel::new("_id", 1).collation(&simple());
    assert!(matches!(
        people.create_index(&otherwise),
        Err(Error::InvalidIndex { .. })
    ));
    people.drop_index("*").unwrap();
    assert!(people.drop_index("_id_").is_err());
    assert_eq!(people.list_indexes().unwrap(), indexes);
    assert_eq!(people.validate().unwrap().findings, Vec::<String>::new());
    store.close().unwrap();
}

/// A collection that comes into being within a transaction.
#[test]
fn ids_are_unique_within_the_transaction_that_creates_the_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = common::small().open(dir.path()).unwrap();
    let options = CollectionOptions::parse(&rawdoc! { "collation": letters() }).unwrap();
    let transaction = store.transaction().unwrap();
    for name in ["a", "b"] {
        transaction.create_collection_with("town", name, &options).unwrap();
        let own = transaction.collection("town", name).unwrap();
        own.insert_one(&rawdoc! { "_id": "x" }).unwrap();
        assert_eq!(own.count(&rawdoc! { "_id": "X" }).unwrap(), 1);
    }
    transaction.commit().unwrap();
    let made = store.collection("town", "a").unwrap();
    assert_eq!(
        made.insert_one(&rawdoc! { "_id": "X" }).unwrap_err().code(),
        Some(ErrorCode::DuplicateKey)
    );
    assert_eq!(made.validate().unwrap().findings, Vec::<String>::new());
    let transaction = store.transaction().unwrap();
    transaction.create_collection_with("town", "c", &options).unwrap();
    let own = transaction.collection("town", "c").unwrap();
    own.insert_one(&rawdoc! { "_id": "x" }).unwrap();
    assert_eq!(
        own.insert_one(&rawdoc! { "_id": "X" }).unwrap_err().code(),
        Some(ErrorCode::DuplicateKey)
    );
    drop(transaction);
    store.close().unwrap();
}

#[test]
fn indexes_inherit_the_collections_collation() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.create_index(&IndexModel::new("a", 1).unique()).unwrap();
    people
        .create_index(&IndexModel::new("b", 1).unique().collation(&simple()))
        .unwrap();
    people.insert_one(&rawdoc! { "_id": 1, "a": "x", "b": "x" }).unwrap();
    let same = people
        .insert_one(&rawdoc! { "_id": 2, "a": "X", "b": "y" })
        .unwrap_err();
    assert_eq!(same.code(), Some(ErrorCode::DuplicateKey));
    people.insert_one(&rawdoc! { "_id": 2, "a": "y", "b": "X" }).unwrap();
    let shown: Vec<bool> = people
        .list_indexes()
        .unwrap()
        .iter()
        .map(|index| index.get("collation").unwrap().is_some())
        .collect();
    assert_eq!(shown, [true, true, false]);
    // The same again is no other index; one with another collation is.
    people.create_index(&IndexModel::new("a", 1).unique()).unwrap();
    let other = IndexModel::new("a", 1).unique().collation(&simple());
    let conflict = people.create_index(&other).unwrap_err();
    assert_eq!(conflict.code(), Some(ErrorCode::IndexKeySpecsConflict));
    people.create_index(&other.name("a_simple")).unwrap();
    let ambiguous = FindOptions {
        hint: Some(Hint::Key(rawdoc! { "a": 1 })),
        ..FindOptions::default()
    };
    assert!(matches!(
        people.find_with(&rawdoc! {}, &ambiguous),
        Err(Error::BadHint { .. })
    ));
    store.close().unwrap();
}

#[test]
fn validators_and_partial_indexes_compare_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = common::small().open(dir.path()).unwrap();
    let options = rawdoc! { "validator": { "kind": { "$in": ["cat", "dog"] } }, "collation": letters() };
    let options = CollectionOptions::parse(&options).unwrap();
    store.create_collection_with("town", "pets", &options).unwrap();
    let pets = store.collection("town", "pets").unwrap();
    let cats = IndexModel::new("name", 1).unique().partial(&rawdoc! { "kind": "cat" });
    pets.create_index(&cats).unwrap();
    pets.insert_one(&rawdoc! { "_id": 1, "kind": "Cat", "name": "Tom" })
        .unwrap();
    pets.insert_one(&rawdoc! { "_id": 2, "kind": "DOG", "name": "tom" })
        .unwrap();
    let refused = pets.insert_one(&rawdoc! { "_id": 3, "kind": "cow" }).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DocumentValidationFailure));
    let taken = pets
        .insert_one(&rawdoc! { "_id": 3, "kind": "CAT", "name": "TOM" })
        .unwrap_err();
    assert_eq!(taken.code(), Some(ErrorCode::DuplicateKey));
    // By bytes "cat" is fewer cats than the index has; by letters "CAT" is as many.
    for (kind, collation, found) in [("Cat", Some(simple()), 1), ("CAT", None, 1), ("cat", Some(simple()), 0)] {
        let filter = rawdoc! { "kind": kind, "name": { "$exists": true } };
        assert_eq!(ids(&pets, &filter, collation).len(), found, "{kind}");
    }
    store.close().unwrap();
}

#[test]
fn merge_needs_the_collation_of_what_is_unique() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.insert_one(&rawdoc! { "_id": "Zoé", "n": 1 }).unwrap();
    let source = store.collection("town", "source").unwrap();
    source.insert_one(&rawdoc! { "_id": "zoe", "m": 2 }).unwrap();
    let into = [
        rawdoc! { "$unset": "_id" },
        rawdoc! { "$set": { "_id": "ZOE" } },
        rawdoc! { "$merge": "people" },
    ];
    let by_bytes = Pipeline::parse(&into).unwrap();
    let refused = source.aggregate(&by_bytes).map(drop).unwrap_err();
    assert!(refused.to_string().contains("collation"), "{refused}");
    let by_letters = Pipeline::parse_with(
        &[
            rawdoc! { "$project": { "m": 1, "_id": 0 } },
            rawdoc! { "$set": { "_id": "Zoé" } },
            rawdoc! { "$merge": "people" },
        ],
        Some(&letters()),
    )
    .unwrap();
    source.aggregate(&by_letters).map(drop).unwrap();
    let merged = people.find_one(&rawdoc! { "_id": "zoe" }).unwrap().unwrap();
    assert_eq!(merged, rawdoc! { "_id": "Zoé", "n": 1, "m": 2 });
    store.close().unwrap();
}

#[test]
fn the_catalogue_keeps_collations_and_the_log_tells_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.create_index(&IndexModel::new("name", -1)).unwrap();
    for name in ["b", "A", "á", "B"] {
        people.insert_one(&rawdoc! { "name": name }).unwrap();
    }
    let digest = store.digest().unwrap();
    let indexes = people.list_indexes().unwrap();
    store.close().unwrap();
    for replay in [false, true] {
        if replay {
            // The log alone says it all.
            std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        }
        let store = common::small().open(dir.path()).unwrap();
        let people = store.collection("town", "people").unwrap();
        assert_eq!(people.list_indexes().unwrap(), indexes);
        assert_eq!(people.count(&rawdoc! { "name": "a" }).unwrap(), 2);
        assert_eq!(store.digest().unwrap(), digest);
        assert_eq!(people.validate().unwrap().findings, Vec::<String>::new());
        store.close().unwrap();
    }
}

fn value() -> impl Strategy<Value = Bson> {
    let text = prop::sample::select(vec!["a", "A", "á", "b", "B", "ß", "SS"]);
    let plain = prop_oneof![
        4 => text.prop_map(|text| Bson::String(text.into())),
        1 => (0..3_i32).prop_map(Bson::Int32),
        1 => Just(Bson::Null),
    ];
    plain.prop_recursive(1, 4, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            inner.prop_map(|inner| Bson::Document(doc! { "c": inner })),
        ]
    })
}

fn filter() -> impl Strategy<Value = Document> {
    let condition = prop_oneof![
        value().prop_map(|value| doc! { "$eq": value }),
        value().prop_map(|value| doc! { "$gt": value }),
        value().prop_map(|value| doc! { "$lte": value }),
        prop::collection::vec(value(), 0..3).prop_map(|values| doc! { "$in": values }),
        Just(doc! { "$exists": true }),
        Just(doc! { "$regex": "^a" }),
    ];
    let one = (prop::sample::select(vec!["a", "b", "a.c", "_id"]), condition)
        .prop_map(|(path, condition)| doc! { path: condition });
    prop_oneof![
        one.clone(),
        (one.clone(), one.clone()).prop_map(|(a, b)| doc! { "$and": [a, b] }),
        (one.clone(), one).prop_map(|(a, b)| doc! { "$or": [a, b] }),
    ]
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the planner chooses, the same documents are found, and in the same order, as by looking at all of them.
    #[test]
    fn what_is_found_does_not_depend_on_the_index(
        documents in prop::collection::vec((value(), value()), 6..20),
        filters in prop::collection::vec(filter(), 4..10),
        is_collated in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = common::small().open(dir.path()).unwrap();
        let default = if is_collated { letters() } else { simple() };
        let options = CollectionOptions::parse(&rawdoc! { "collation": default }).unwrap();
        store.create_collection_with("t", "c", &options).unwrap();
        let all = store.collection("t", "c").unwrap();
        for index in [
            IndexModel::new("a", 1).collation(&letters()),
            IndexModel::new("b", -1).and("a", 1).collation(&rawdoc! { "locale": "en" }),
            IndexModel::new("a.c", 1),
            IndexModel::new("b", 1).sparse().collation(&simple()),
        ] {
            all.create_index(&index).unwrap();
        }
        for (n, (a, b)) in documents.into_iter().enumerate() {
            // Two arrays in one index are refused, and so are strings that are one `_id`.
            let id = if n % 2 == 0 { Bson::Int64(n as i64) } else { Bson::String(format!("{}{n}", ["B", "a"][n % 4 / 2])) };
            let _ = all.insert_one(&raw(&doc! { "_id": id, "a": a, "b": b }));
        }
        let sorts = [None, Some(rawdoc! { "a": 1, "_id": 1 }), Some(rawdoc! { "b": -1, "a": 1, "_id": -1 })];
        for (filter, sort) in filters.iter().flat_map(|filter| sorts.iter().map(move |sort| (filter, sort))) {
            for collation in [None, Some(simple()), Some(letters()), Some(rawdoc! { "locale": "en" })] {
                let find = |hint| {
                    let options = FindOptions { sort: sort.clone(), collation: collation.clone(), hint, ..FindOptions::default() };
                    let found = all.find_with(&raw(filter), &options).unwrap();
                    found.map(Result::unwrap).collect::<Vec<_>>()
                };
                let (mut planned, mut looked_for) = (find(None), find(Some(Hint::Natural(1))));
                if sort.is_none() {
                    planned.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
                    looked_for.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
                }
                prop_assert_eq!(planned, looked_for, "{} {:?} {:?}", filter, sort, collation);
            }
        }
        prop_assert_eq!(all.validate().unwrap().findings, Vec::<String>::new());
        store.close().unwrap();
    }
}

/// Also one by bytes, of which the listed definition says nothing.
#[test]
fn out_keeps_the_indexes_of_what_it_replaces_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    let by_bytes = rawdoc! { "key": { "code": 1 }, "name": "by_bytes", "unique": true, "collation": simple() };
    let by_letters = rawdoc! { "key": { "code": 1 }, "name": "by_letters" };
    people.create_indexes(&[&by_bytes, &by_letters]).unwrap();
    for (id, code) in ["a", "A"].into_iter().enumerate() {
        people.insert_one(&rawdoc! { "_id": id as i32, "code": code }).unwrap();
    }
    let listed = people.list_indexes().unwrap();
    let out = Pipeline::parse(&[rawdoc! { "$out": "people" }]).unwrap();
    assert_eq!(people.aggregate(&out).unwrap().count(), 0);
    assert_eq!(people.list_indexes().unwrap(), listed);
    assert_eq!(
        stage(&people, &rawdoc! { "code": "a" }, &with(Some(simple()))),
        ("IXSCAN".to_owned(), "by_bytes".to_owned())
    );
    store.close().unwrap();
}

/// Boundaries ascend by the collection's collation, also where they hold strings deeper in.
#[test]
fn boundaries_of_buckets_ascend_by_the_collection() {
    let dir = tempfile::tempdir().unwrap();
    let (store, people) = collated(dir.path());
    people.insert_one(&rawdoc! { "_id": 1, "name": "ada" }).unwrap();
    let counted = |boundaries: [RawDocumentBuf; 2]| {
        let [a, b] = boundaries;
        let bucket = rawdoc! { "groupBy": { "n": "$name" }, "boundaries": [a, b], "default": "other" };
        let pipeline = Pipeline::parse(&[rawdoc! { "$bucket": bucket }])?;
        people.aggregate(&pipeline)?.collect::<Result<Vec<_>, _>>()
    };
    let [a, b] = ["a", "B"].map(|name| rawdoc! { "n": name });
    let counts = counted([a.clone(), b.clone()]).unwrap();
    assert_eq!(counts, [rawdoc! { "_id": a.clone(), "count": 1 }]);
    let refused = counted([b, a]).unwrap_err();
    assert!(
        matches!(&refused, Error::Aggregate(error) if error.code() == 40194),
        "{refused}"
    );
    store.close().unwrap();
}
