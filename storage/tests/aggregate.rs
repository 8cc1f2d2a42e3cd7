//! Aggregation pipelines, stage by stage, on real files; the data are those of MongoDB's manual where it has some.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bson::{Bson, Document, RawDocumentBuf, Uuid, bson, doc, rawdoc};
use tailwater_oplog::entry::EntryKind;
use tailwater_oplog::{OpId, ReadConcern};
use tailwater_storage::update::{ApplyContext, Update, UpdateError};
use tailwater_storage::{
    AggregateError, AggregateOptions, Collection, CollectionOptions, Error, IndexModel, MemoryBudget, Pipeline,
    QueryControl, Store,
};

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn filled(store: &Store, name: &str, documents: &[Document]) -> Collection {
    let collection = store.collection("town", name).unwrap();
    let documents: Vec<_> = documents.iter().map(raw).collect();
    collection.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    collection
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn parse(stages: &[Document]) -> Result<Pipeline, Error> {
    Pipeline::parse(&stages.iter().map(raw).collect::<Vec<_>>())
}

fn run(collection: &Collection, stages: &[Document]) -> Result<Vec<Document>, Error> {
    let found = collection.aggregate(&parse(stages)?)?;
    found
        .map(|document| Ok(Document::try_from(&*document?).unwrap()))
        .collect()
}

fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> AggregateError {
    match result {
        Err(Error::Aggregate(error)) => (*error).clone(),
        other => panic!("{other:?}"),
    }
}

fn sales() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "item": "abc", "price": 10, "quantity": 2 },
        doc! { "_id": 2, "item": "jkl", "price": 20, "quantity": 1 },
        doc! { "_id": 3, "item": "xyz", "price": 5, "quantity": 10 },
        doc! { "_id": 4, "item": "xyz", "price": 5, "quantity": 20 },
        doc! { "_id": 5, "item": "abc", "price": 10, "quantity": 10 },
    ]
}

#[test]
fn stages_give_what_the_manual_says() {
    let (_dir, store) = open();
    let sales = filled(&store, "sales", &sales());
    let cases: Vec<(Vec<Document>, Vec<Document>)> = vec![
        (vec![], sales_of(&[1, 2, 3, 4, 5])),
        (
            vec![
                doc! { "$match": { "item": "abc" } },
                doc! { "$match": { "price": { "$gt": 1 } } },
            ],
            sales_of(&[1, 5]),
        ),
        (
            vec![
                doc! { "$sort": { "quantity": -1 } },
                doc! { "$skip": 1 },
                doc! { "$limit": 2 },
            ],
            sales_of(&[3, 5]),
        ),
        (
            vec![
                doc! { "$group": { "_id": "$item", "total": { "$sum": { "$multiply": ["$price", "$quantity"] } } } },
                doc! { "$match": { "total": { "$gte": 100 } } },
                doc! { "$sort": { "_id": 1 } },
            ],
            vec![doc! { "_id": "abc", "total": 120 }, doc! { "_id": "xyz", "total": 150 }],
        ),
        (
            vec![doc! { "$group": { "_id": Bson::Null, "count": { "$count": {} } } }],
            vec![doc! { "_id": Bson::Null, "count": 5 }],
        ),
        (
            vec![doc! { "$match": { "price": 5 } }, doc! { "$count": "n" }],
            vec![doc! { "n": 2 }],
        ),
        (vec![doc! { "$match": { "price": 6 } }, doc! { "$count": "n" }], vec![]),
        (
            vec![
                doc! { "$match": { "_id": { "$ne": 2 } } },
                doc! { "$sortByCount": "$item" },
                doc! { "$limit": 1 },
            ],
            vec![doc! { "_id": "abc", "count": 2 }],
        ),
        (
            vec![doc! { "$bucket": {
                "groupBy": "$price", "boundaries": [0, 10, 20], "default": "other",
                "output": { "n": { "$sum": 1 } },
            } }],
            vec![
                doc! { "_id": 0, "n": 2 },
                doc! { "_id": 10, "n": 2 },
                doc! { "_id": "other", "n": 1 },
            ],
        ),
        (
            vec![doc! { "$bucketAuto": { "groupBy": "$price", "buckets": 2 } }],
            vec![
                doc! { "_id": { "min": 5, "max": 20 }, "count": 4 },
                doc! { "_id": { "min": 20, "max": 20 }, "count": 1 },
            ],
        ),
        (
            vec![
                doc! { "$set": { "total": { "$multiply": ["$price", "$quantity"] } } },
                doc! { "$project": { "_id": 0, "total": 1 } },
                doc! { "$match": { "total": { "$lt": 50 } } },
            ],
            vec![doc! { "total": 20 }, doc! { "total": 20 }],
        ),
        (
            vec![doc! { "$facet": {
                "cheap": [{ "$match": { "price": 5 } }, { "$count": "n" }],
                "first": [{ "$limit": 1 }, { "$project": { "item": 1 } }],
            } }],
            vec![doc! { "cheap": [{ "n": 2 }], "first": [{ "_id": 1, "item": "abc" }] }],
        ),
        (
            vec![
                doc! { "$limit": 1 },
                doc! { "$unionWith": { "coll": "sales", "pipeline": [{ "$match": { "_id": 2 } }] } },
            ],
            sales_of(&[1, 2]),
        ),
    ];
    for (stages, expected) in cases {
        assert_eq!(run(&sales, &stages).unwrap(), expected, "{stages:?}");
    }
    assert_eq!(run(&sales, &[doc! { "$sample": { "size": 3 } }]).unwrap().len(), 3);
    assert_eq!(run(&sales, &[doc! { "$sample": { "size": 9 } }]).unwrap().len(), 5);
}

fn sales_of(ids: &[i32]) -> Vec<Document> {
    let all = sales();
    let by_id = |id: &i32| {
        all.iter()
            .find(|sale| sale.get_i32("_id").ok() == Some(*id))
            .unwrap()
            .clone()
    };
    ids.iter().map(by_id).collect()
}

#[test]
fn unwind_makes_a_document_of_each_element() {
    let (_dir, store) = open();
    let inventory = filled(
        &store,
        "inventory",
        &[
            doc! { "_id": 1, "sizes": ["S", "M"] },
            doc! { "_id": 2, "sizes": [] },
            doc! { "_id": 3, "sizes": "M" },
            doc! { "_id": 4 },
            doc! { "_id": 5, "sizes": Bson::Null },
        ],
    );
    let plain = vec![
        doc! { "_id": 1, "sizes": "S" },
        doc! { "_id": 1, "sizes": "M" },
        doc! { "_id": 3, "sizes": "M" },
    ];
    assert_eq!(run(&inventory, &[doc! { "$unwind": "$sizes" }]).unwrap(), plain);
    let preserving = doc! { "$unwind": {
        "path": "$sizes", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": true,
    } };
    let expected = vec![
        doc! { "_id": 1, "sizes": "S", "at": 0i64 },
        doc! { "_id": 1, "sizes": "M", "at": 1i64 },
        doc! { "_id": 2, "at": Bson::Null },
        doc! { "_id": 3, "sizes": "M", "at": Bson::Null },
        doc! { "_id": 4, "at": Bson::Null },
        doc! { "_id": 5, "sizes": Bson::Null, "at": Bson::Null },
    ];
    assert_eq!(run(&inventory, &[preserving]).unwrap(), expected);
}

#[test]
fn lookup_finds_what_belongs_to_each_document() {
    let (_dir, store) = open();
    let orders = filled(
        &store,
        "orders",
        &[
            doc! { "_id": 1, "item": "almonds", "ordered": 2 },
            doc! { "_id": 2, "item": ["pecans", "almonds"], "ordered": 90 },
            doc! { "_id": 3 },
        ],
    );
    let stock = filled(
        &store,
        "stock",
        &[
            doc! { "_id": 1, "sku": "almonds", "instock": 120 },
            doc! { "_id": 2, "sku": "pecans", "instock": 70 },
            doc! { "_id": 3, "sku": Bson::Null },
            doc! { "_id": 4 },
        ],
    );
    let equality = [
        doc! { "$lookup": { "from": "stock", "localField": "item", "foreignField": "sku", "as": "found" } },
        doc! { "$project": { "found": "$found._id" } },
    ];
    let expected = vec![
        doc! { "_id": 1, "found": [1] },
        doc! { "_id": 2, "found": [1, 2] },
        doc! { "_id": 3, "found": [3, 4] },
    ];
    assert_eq!(run(&orders, &equality).unwrap(), expected);
    stock.create_index(&IndexModel::new("sku", 1)).unwrap();
    assert_eq!(run(&orders, &equality).unwrap(), expected, "with an index");

    let correlated = [
        doc! { "$match": { "_id": { "$lt": 3 } } },
        doc! { "$lookup": {
            "from": "stock",
            "let": { "wanted": "$ordered" },
            "pipeline": [
                { "$match": { "$expr": { "$gte": ["$instock", "$$wanted"] } } },
                { "$group": { "_id": "$sku", "left": { "$sum": { "$subtract": ["$instock", "$$wanted"] } } } },
            ],
            "as": "found",
        } },
        doc! { "$project": { "found": 1 } },
    ];
    let expected = vec![
        doc! { "_id": 1, "found": [{ "_id": "almonds", "left": 118 }, { "_id": "pecans", "left": 68 }] },
        doc! { "_id": 2, "found": [{ "_id": "almonds", "left": 30 }] },
    ];
    assert_eq!(run(&orders, &correlated).unwrap(), expected);
    let from_nowhere = [
        doc! { "$lookup": { "from": "nowhere", "pipeline": [], "as": "found" } },
        doc! { "$limit": 1 },
    ];
    assert_eq!(
        run(&orders, &from_nowhere).unwrap()[0]
            .get_array("found")
            .unwrap()
            .len(),
        0
    );
}

/// Which documents belong to each other where one of them has an array (MongoDB manual: *$lookup*, *Use $lookup with an Array*):
/// the elements of a local array are what is sought, so an empty one seeks what is missing.
#[test]
fn lookup_goes_through_arrays_on_both_sides() {
    let (_dir, store) = open();
    let regex = bson::Regex {
        pattern: bson::raw::cstr!("^x").to_owned(),
        options: bson::raw::cstr!("").to_owned(),
    };
    let values: Vec<(i32, Option<Bson>)> = vec![
        (0, Some(bson!([[]]))),
        (1, Some(bson!([[], 1]))),
        (2, Some(bson!([[], null]))),
        (3, Some(bson!([]))),
        (10, None),
        (11, Some(Bson::Null)),
        (12, Some(bson!([null]))),
        (13, Some(bson!([null, 1]))),
        (20, Some(bson!(1))),
        (21, Some(bson!([[[], 1], 2]))),
        (22, Some(bson!([1, 2]))),
        (23, Some(bson!([[1, 2], 3]))),
        (30, Some(bson!("x"))),
        (31, Some(Bson::RegularExpression(regex.clone()))),
        (32, Some(bson!({ "$x": 1 }))),
    ];
    let documents = values.iter().map(|(id, value)| {
        let mut document = doc! { "_id": id };
        document.extend(value.clone().map(|value| ("a".to_owned(), value)));
        document
    });
    let all = filled(&store, "all", &documents.collect::<Vec<_>>());
    let cases: Vec<(Bson, Vec<i32>)> = vec![
        (bson!([]), vec![2, 10, 11, 12, 13]),
        (Bson::Null, vec![2, 10, 11, 12, 13]),
        (bson!([[], 42]), vec![0, 1, 2, 3]),
        (bson!(1), vec![1, 13, 20, 22]),
        (bson!([2, 3]), vec![21, 22, 23]),
        // An array within an array is a value.
        (bson!([[1, 2]]), vec![22, 23]),
        (bson!({ "b": 1 }), vec![]),
        // These are values, too, and no conditions.
        (Bson::RegularExpression(regex), vec![31]),
        (bson!({ "$x": 1 }), vec![32]),
        (bson!([{ "$x": 1 }, "x", 1]), vec![1, 13, 20, 22, 30, 32]),
    ];
    let lookup = doc! { "from": "all", "localField": "b", "foreignField": "a", "as": "found" };
    for indexed in [false, true] {
        if indexed {
            all.create_index(&IndexModel::new("a", 1)).unwrap();
        }
        for (local, expected) in &cases {
            let of = |pipeline: &[Document]| {
                let one = [raw(&doc! { "$documents": [{ "b": { "$literal": local.clone() } }] })];
                let rest = pipeline.iter().map(raw);
                let stages = one.into_iter().chain(rest).collect::<Vec<_>>();
                let found = store.aggregate("town", &Pipeline::parse(&stages).unwrap()).unwrap();
                let found = Document::try_from(found.map(Result::unwrap).next().unwrap()).unwrap();
                let mut found: Vec<_> = found
                    .get_array("found")
                    .unwrap()
                    .iter()
                    .map(|id| id.as_i32().unwrap())
                    .collect();
                found.sort_unstable();
                found
            };
            let ids = doc! { "$project": { "found": "$found._id" } };
            let plain = [doc! { "$lookup": lookup.clone() }, ids.clone()];
            assert_eq!(&of(&plain), expected, "{local} indexed={indexed}");
            // With a pipeline beside the fields, it goes on from what they have found.
            let mut both = lookup.clone();
            both.insert("let", doc! { "least": 13 });
            both.insert(
                "pipeline",
                vec![doc! { "$match": { "$expr": { "$gte": ["$_id", "$$least"] } } }],
            );
            let expected: Vec<_> = expected.iter().copied().filter(|id| *id >= 13).collect();
            assert_eq!(
                of(&[doc! { "$lookup": both }, ids]),
                expected,
                "{local} indexed={indexed}"
            );
        }
    }
}

/// As many values as a list of a filter may not have.
#[test]
fn lookup_finds_by_any_number_of_values() {
    let (_dir, store) = open();
    filled(
        &store,
        "numbers",
        &[
            doc! { "_id": 1, "n": 7 },
            doc! { "_id": 2, "n": 100_500 },
            doc! { "_id": 3, "n": -1 },
        ],
    );
    let many = filled(
        &store,
        "many",
        &[doc! { "_id": 1, "n": (0..100_600).collect::<Vec<i32>>() }],
    );
    let found = run(
        &many,
        &[
            doc! { "$lookup": { "from": "numbers", "localField": "n", "foreignField": "n", "as": "found" } },
            doc! { "$project": { "found": "$found._id" } },
        ],
    );
    assert_eq!(found.unwrap(), [doc! { "_id": 1, "found": [1, 2] }]);
}

#[test]
fn documents_need_no_collection() {
    let (_dir, store) = open();
    let pipeline = parse(&[
        doc! { "$documents": [{ "a": 1 }, { "a": 2 }] },
        doc! { "$match": { "a": 2 } },
    ])
    .unwrap();
    let found: Vec<_> = store
        .aggregate("town", &pipeline)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found, [rawdoc! { "a": 2 }]);
    let collection = filled(&store, "people", &[doc! { "_id": 1 }]);
    assert_eq!(failure(collection.aggregate(&pipeline)).code(), 73);
    assert_eq!(
        failure(store.aggregate("town", &parse(&[doc! { "$limit": 1 }]).unwrap())).code(),
        73
    );
}

#[test]
fn errors_name_the_stage_and_have_mongodbs_numbers() {
    let cases = [
        (doc! { "$nothing": 1 }, 40324),
        (doc! { "$limit": 1, "$skip": 1 }, 40323),
        (doc! {}, 40323),
        (doc! { "$limit": 0 }, 15958),
        (doc! { "$group": { "n": { "$sum": 1 } } }, 15955),
        (doc! { "$group": { "_id": 1, "n": 1 } }, 40234),
        (doc! { "$unwind": "sizes" }, 28818),
        (doc! { "$count": "" }, 40157),
        (doc! { "$match": 1 }, 15959),
        (doc! { "$sort": {} }, 15976),
        (doc! { "$sort": { "a": 2 } }, 15975),
        (doc! { "$sample": { "size": -1 } }, 28747),
        (doc! { "$bucket": { "groupBy": "$a", "boundaries": [1] } }, 40192),
        (doc! { "$facet": { "a": [{ "$out": "b" }] } }, 40600),
        (doc! { "$documents": [] }, 40602),
        (doc! { "$lookup": { "from": "a", "as": "b" } }, 9),
        (doc! { "$indexStats": {} }, 238),
        (doc! { "$collStats": {} }, 238),
        (doc! { "$project": { "a": { "$nothing": 1 } } }, 168),
    ];
    for (stage, code) in cases {
        let error = failure(parse(&[doc! { "$skip": 0 }, stage.clone()]));
        assert_eq!((error.index, error.code()), (1, code), "{stage}: {error}");
    }
    let error = failure(parse(&[doc! { "$out": "a" }, doc! { "$limit": 1 }]));
    assert_eq!((error.index, error.stage.as_str(), error.code()), (0, "$out", 40601));
    let many = vec![doc! { "$skip": 0 }; 1001];
    assert!(parse(&many[1..]).is_ok());
    assert_eq!(failure(parse(&many)).code(), 7_749_501);
}

#[test]
fn pipelines_nest_so_deep_and_no_deeper() {
    let nested = |levels: usize| {
        let mut stages = vec![doc! { "$limit": 1 }];
        for _ in 0..levels {
            stages = vec![doc! { "$unionWith": { "coll": "a", "pipeline": stages } }];
        }
        parse(&stages)
    };
    assert!(nested(20).is_ok());
    assert_eq!(failure(nested(21)).code(), 232);
}

#[test]
fn stages_that_hold_documents_keep_to_their_memory() {
    let (_dir, store) = open();
    let documents: Vec<_> = (0..200).map(|n| doc! { "_id": n, "text": "x".repeat(100) }).collect();
    let people = filled(&store, "people", &documents);
    let stages = [
        doc! { "$sort": { "text": 1 } },
        doc! { "$group": { "_id": "$_id" } },
        doc! { "$group": { "_id": 1, "all": { "$push": "$text" } } },
        doc! { "$bucketAuto": { "groupBy": "$_id", "buckets": 2 } },
        doc! { "$sample": { "size": 150 } },
        doc! { "$facet": { "all": [] } },
    ];
    for stage in stages {
        let pipeline = parse(&[doc! { "$skip": 0 }, stage.clone()]).unwrap();
        let limited = |memory_bytes_max| {
            let found = people
                .aggregate_with(
                    &pipeline,
                    AggregateOptions {
                        memory_bytes_max,
                        ..AggregateOptions::default()
                    },
                )
                .unwrap();
            found.collect::<Result<Vec<_>, _>>()
        };
        let error = failure(limited(10_000));
        assert_eq!(error.code_name(), "QueryExceededMemoryLimitNoDiskUseAllowed", "{stage}");
        assert_eq!(
            format!("${}", stage.keys().next().unwrap().trim_start_matches('$')),
            error.stage
        );
        assert!(limited(1_000_000).is_ok(), "{stage}");
    }
    // With a limit behind it a sort holds only what can be wanted.
    let top = parse(&[
        doc! { "$skip": 0 },
        doc! { "$sort": { "_id": -1 } },
        doc! { "$limit": 2 },
    ])
    .unwrap();
    let options = AggregateOptions {
        memory_bytes_max: 10_000,
        ..AggregateOptions::default()
    };
    assert_eq!(
        people
            .aggregate_with(&top, options)
            .unwrap()
            .map(Result::unwrap)
            .count(),
        2
    );
}

/// What asks is behind each stage: the source has one document, and gives no occasion.
#[test]
fn a_pipeline_that_makes_much_of_little_can_be_ended() {
    let (_dir, store) = open();
    let items: Vec<i32> = (0..1000).collect();
    let people = filled(&store, "people", &[doc! { "_id": 1, "a": items }]);
    let unwound = ["a", "b", "c", "d"].map(|name| doc! { "$unwind": format!("${name}") });
    let copied = doc! { "$set": { "b": "$a", "c": "$a", "d": "$a" } };
    let never = doc! { "$match": { "a": -1 } };
    let stages = [&[copied], &unwound[..], &[never]].concat();
    for stages in [stages.clone(), vec![doc! { "$facet": { "all": stages } }]] {
        let control = QueryControl::new(MemoryBudget::new(usize::MAX));
        control.set_ends(Arc::new(AtomicBool::new(true)), None);
        let options = AggregateOptions {
            control,
            ..AggregateOptions::default()
        };
        let mut found = people.aggregate_with(&parse(&stages).unwrap(), options).unwrap();
        assert!(matches!(found.next(), Some(Err(Error::QueryInterrupted))));
    }
}

#[test]
fn a_run_reads_the_state_of_its_beginning() {
    let (_dir, store) = open();
    let people = filled(&store, "people", &[doc! { "_id": 1 }, doc! { "_id": 2 }]);
    let both = parse(&[doc! { "$unionWith": "people" }]).unwrap();
    let mut found = people.aggregate(&both).unwrap();
    found.next().unwrap().unwrap();
    people.insert_one(&rawdoc! { "_id": 3 }).unwrap();
    assert_eq!(found.map(Result::unwrap).count(), 3);
}

/// Kinds of the entries after an OpID.
fn kinds_since(store: &Store, before: OpId) -> Vec<EntryKind> {
    let mut cursor = store.log().cursor(before.next(), ReadConcern::Local).unwrap();
    let mut kinds = Vec::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        kinds.extend(EntryKind::from_number(entry.kind()));
    }
    kinds
}

#[test]
fn out_replaces_a_collection_at_once() {
    let (_dir, store) = open();
    let sales = filled(&store, "sales", &sales());
    let target = filled(&store, "totals", &[doc! { "_id": "old", "total": 1 }]);
    target.create_index(&IndexModel::new("total", 1).unique()).unwrap();
    let group = doc! { "$group": { "_id": "$item", "total": { "$sum": "$quantity" } } };
    let before = store.log().newest(ReadConcern::Local);
    assert!(
        run(&sales, &[group.clone(), doc! { "$out": "totals" }])
            .unwrap()
            .is_empty()
    );
    let kinds = kinds_since(&store, before);
    assert_eq!(
        (kinds.first(), kinds.last()),
        (Some(&EntryKind::Create), Some(&EntryKind::Rename))
    );
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Insert).count(), 3);
    assert_eq!(target.count(&rawdoc! {}).unwrap(), 3);

    // The unique index is kept, so this fails, and leaves everything as it was.
    let twice = doc! { "$set": { "total": 1 } };
    let error = run(&sales, &[group, twice, doc! { "$out": "totals" }]).unwrap_err();
    assert!(matches!(error, Error::DuplicateKey { .. }), "{error}");
    assert_eq!(target.count(&rawdoc! { "total": { "$gt": 1 } }).unwrap(), 2);
    assert_eq!(store.collection_names("town"), ["sales", "totals"]);
}

/// MongoDB has no rule against it: what comes in is inserted like anything else.
#[test]
fn a_merge_into_a_capped_collection_keeps_its_bound() {
    let (_dir, store) = open();
    let documents: Vec<_> = (0..100).map(|n| doc! { "_id": n, "text": "x".repeat(200) }).collect();
    let source = filled(&store, "source", &documents);
    let options = CollectionOptions::parse(&rawdoc! { "capped": true, "size": 4096 }).unwrap();
    store.create_collection_with("town", "news", &options).unwrap();
    run(&source, &[doc! { "$merge": "news" }]).unwrap();
    let news = store.collection("town", "news").unwrap();
    let bytes = || -> usize {
        let found = news.find(&rawdoc! {}).unwrap();
        found.map(|document| document.unwrap().as_bytes().len()).sum()
    };
    assert!(bytes() <= 4096 && bytes() > 3600, "{}", bytes());

    // What grows makes no room by itself; the next that comes in does.
    let grown = doc! { "$set": { "text": "x".repeat(1000) } };
    let newest = doc! { "$match": { "_id": { "$gt": 96 } } };
    run(&source, &[newest, grown, doc! { "$merge": "news" }]).unwrap();
    assert!(bytes() > 4096, "{}", bytes());
    news.insert_one(&rawdoc! { "_id": 100 }).unwrap();
    assert!(bytes() <= 4096, "{}", bytes());

    let larger = doc! { "$set": { "_id": 101, "text": "x".repeat(5000) } };
    let error = run(&source, &[doc! { "$limit": 1 }, larger, doc! { "$merge": "news" }]).unwrap_err();
    assert!(matches!(error, Error::CappedTooSmall { .. }), "{error}");
    assert_eq!(failure(run(&source, &[doc! { "$out": "news" }])).code(), 17152);
}

#[test]
fn what_a_crash_leaves_of_out_is_dropped_when_the_store_is_opened() {
    let (dir, store) = open();
    let sales = filled(&store, "sales", &[doc! { "_id": 1 }]);
    run(&sales, &[doc! { "$out": "totals" }]).unwrap();
    // What the log has of an $out up to its rename, and names that only look like it.
    let left = format!("tmp.agg_out.{}", Uuid::new());
    let kept = ["tmp.agg_out.mine".to_owned(), format!("{left}.mine")];
    for name in [&left, &kept[0], &kept[1]] {
        filled(&store, name, &[doc! { "_id": 1 }]);
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut expected = vec!["sales".to_owned(), "totals".to_owned()];
    expected.extend(kept);
    let mut names = store.collection_names("town");
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn merge_does_what_it_is_told_with_what_is_there() {
    let merged = |options: Document| {
        let (_dir, store) = open();
        let source = filled(
            &store,
            "source",
            &[doc! { "_id": 1, "a": 10 }, doc! { "_id": 2, "a": 20 }],
        );
        let target = filled(&store, "target", &[doc! { "_id": 1, "a": 1, "b": 1 }]);
        let mut merge = doc! { "into": "target" };
        merge.extend(options);
        run(&source, &[doc! { "$merge": merge }])?;
        run(&target, &[])
    };
    let new = doc! { "_id": 2, "a": 20 };
    let cases = [
        (doc! {}, vec![doc! { "_id": 1, "a": 10, "b": 1 }, new.clone()]),
        (
            doc! { "whenMatched": "replace" },
            vec![doc! { "_id": 1, "a": 10 }, new.clone()],
        ),
        (
            doc! { "whenMatched": "keepExisting" },
            vec![doc! { "_id": 1, "a": 1, "b": 1 }, new.clone()],
        ),
        (
            doc! { "whenNotMatched": "discard" },
            vec![doc! { "_id": 1, "a": 10, "b": 1 }],
        ),
        (
            doc! { "let": { "more": "$a" }, "whenMatched": [{ "$set": { "a": { "$add": ["$a", "$$new.a", "$$more"] } } }] },
            vec![doc! { "_id": 1, "a": 21, "b": 1 }, new],
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(merged(options.clone()).unwrap(), expected, "{options}");
    }
    assert_eq!(failure(merged(doc! { "whenMatched": "fail" })).code(), 11000);
    assert_eq!(failure(merged(doc! { "whenNotMatched": "fail" })).code(), 13113);
    assert_eq!(failure(merged(doc! { "on": "a" })).code(), 51183);
}

#[test]
fn merge_finds_documents_by_a_unique_index() {
    let (_dir, store) = open();
    let source = filled(
        &store,
        "source",
        &[doc! { "_id": 7, "sku": "a", "n": 2 }, doc! { "_id": 8, "sku": "b" }],
    );
    let target = filled(&store, "target", &[doc! { "_id": 1, "sku": "a", "n": 1 }]);
    target.create_index(&IndexModel::new("sku", 1).unique()).unwrap();
    let merge = doc! { "$merge": { "into": "target", "on": "sku" } };
    let error = run(&source, std::slice::from_ref(&merge)).unwrap_err();
    assert!(error.to_string().contains("_id"), "{error}");
    let before = store.log().newest(ReadConcern::Local);
    run(&source, &[doc! { "$unset": "_id" }, merge]).unwrap();
    assert_eq!(kinds_since(&store, before), [EntryKind::Update, EntryKind::Insert]);
    assert_eq!(
        run(&target, &[doc! { "$limit": 1 }]).unwrap(),
        [doc! { "_id": 1, "sku": "a", "n": 2 }]
    );
}

#[test]
fn merge_finds_documents_by_several_fields() {
    let (_dir, store) = open();
    let target = filled(
        &store,
        "target",
        &[
            doc! { "_id": 1, "year": 2026, "region": { "name": "north" }, "n": 1 },
            doc! { "_id": 2, "year": 2026, "region": { "name": "south" }, "n": 2 },
        ],
    );
    let on = doc! { "$merge": { "into": "target", "on": ["region.name", "year"], "whenMatched": [
        { "$set": { "n": { "$add": ["$n", "$$new.n"] } } },
    ] } };
    let merge = |document: Document| {
        let name = format!("source{}", store.collection_names("town").len());
        let source = filled(&store, &name, &[document]);
        run(&source, &[doc! { "$unset": "_id" }, on.clone()])
    };
    let south = doc! { "year": 2026, "region": { "name": "south" }, "n": 10 };
    // The index must be on these fields, in whatever order, and unique.
    target
        .create_index(&IndexModel::new("year", 1).and("region.name", 1).name("plain"))
        .unwrap();
    assert_eq!(failure(merge(south.clone())).code(), 51183);
    target
        .create_index(&IndexModel::new("year", 1).and("region.name", 1).unique().name("both"))
        .unwrap();
    merge(south).unwrap();
    merge(doc! { "year": 2027, "region": { "name": "south" }, "n": 5 }).unwrap();
    let stored = run(
        &target,
        &[
            doc! { "$project": { "_id": 0, "year": 1, "n": 1 } },
            doc! { "$sort": { "year": 1, "n": 1 } },
        ],
    );
    let expected = [
        doc! { "year": 2026, "n": 1 },
        doc! { "year": 2026, "n": 12 },
        doc! { "year": 2027, "n": 5 },
    ];
    assert_eq!(stored.unwrap(), expected);
    // What cannot be told apart by the fields.
    for (document, code) in [
        (doc! { "region": { "name": "south" } }, 51132),
        (doc! { "year": Bson::Null, "region": { "name": "south" } }, 51132),
        (doc! { "year": [2026], "region": { "name": "south" } }, 51185),
        (doc! { "year": 2026, "region": [{ "name": "south" }] }, 51132),
    ] {
        assert_eq!(failure(merge(document.clone())).code(), code, "{document}");
    }
    let twice = doc! { "$merge": { "into": "target", "on": ["year", "year"] } };
    assert_eq!(failure(run(&target, &[twice])).code(), 31465);
    let new =
        doc! { "$merge": { "into": "target", "let": { "new": 1 }, "whenMatched": [{ "$set": { "a": "$$new" } }] } };
    assert_eq!(failure(run(&target, &[new])).code(), 51273);
}

#[test]
fn updates_by_pipeline() {
    let student = rawdoc! { "_id": 1, "test1": 95, "test2": 92, "old": true };
    let update = |stages: &[RawDocumentBuf]| Update::parse_pipeline(stages);
    let average = [
        rawdoc! { "$set": { "average": { "$trunc": [{ "$avg": ["$test1", "$test2"] }, 0] } } },
        rawdoc! { "$unset": "old" },
    ];
    let applied = update(&average)
        .unwrap()
        .apply(&student, &ApplyContext::default())
        .unwrap()
        .unwrap();
    assert_eq!(
        applied.document,
        rawdoc! { "_id": 1, "test1": 95, "test2": 92, "average": 93.0 }
    );
    let diff = applied.diff.unwrap();
    assert_eq!(
        (diff.updated_fields, diff.removed_fields),
        (rawdoc! { "average": 93.0 }, vec!["old".to_owned()])
    );

    // A result without _id keeps the stored one; another one is refused.
    let replaced = update(&[rawdoc! { "$replaceWith": { "a": "$test1" } }]).unwrap();
    let applied = replaced.apply(&student, &ApplyContext::default()).unwrap().unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 1, "a": 95 });
    let other = update(&[rawdoc! { "$set": { "_id": 2 } }]).unwrap();
    let refused = other.apply(&student, &ApplyContext::default());
    assert!(
        matches!(refused, Err(UpdateError::ImmutableField { .. })),
        "{refused:?}"
    );
    let same = update(&[rawdoc! { "$set": { "test1": 95 } }]).unwrap();
    assert_eq!(same.apply(&student, &ApplyContext::default()).unwrap(), None);
    let grouped = update(&[rawdoc! { "$set": { "a": 1 } }, rawdoc! { "$match": {} }]).unwrap_err();
    assert!(matches!(&grouped, UpdateError::PipelineStage { index: 1, stage } if stage == "$match"));
    assert_eq!(grouped.code_name(), "InvalidOptions");
}
