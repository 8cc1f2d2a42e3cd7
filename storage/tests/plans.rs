//! Which index a query uses, as `explain` tells it.

use crate::common;

use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use common::small;
use tailwater_storage::{Collection, Error, ExplainOptions, Hint, IndexModel, Store};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn filled() -> (tempfile::TempDir, Store, Collection) {
    let directory = tempfile::tempdir().unwrap();
    let store = small().open(directory.path()).unwrap();
    let items = store.collection("shop", "items").unwrap();
    let documents: Vec<_> = (0..20)
        .map(|i| rawdoc! { "_id": i, "a": i % 5, "b": i % 3, "c": i, "s": format!("s{i}"), "tags": [i, i + 1], "o": [{ "x": i, "y": i }] })
        .collect();
    items.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    let sparse = IndexModel::new("rare", 1).sparse();
    let partial = IndexModel::new("s", 1).partial(&rawdoc! { "c": { "$gte": 10 } });
    let models = [
        IndexModel::new("a", 1),
        IndexModel::new("a", 1).and("b", -1),
        IndexModel::new("c", -1).unique(),
        IndexModel::new("tags", 1),
        IndexModel::new("o.x", 1).and("o.y", 1),
        sparse,
        partial,
    ];
    for model in &models {
        items.create_index(model).unwrap();
    }
    (directory, store, items)
}

fn explain(items: &Collection, filter: &Document, options: &ExplainOptions) -> Document {
    let explained = items.explain(&raw(filter), options).unwrap();
    Document::try_from(explained.as_ref()).unwrap()
}

/// The stages, outermost first, and the innermost one.
fn stages(explained: &Document) -> (Vec<String>, Document) {
    let mut stage = explained
        .get_document("queryPlanner")
        .unwrap()
        .get_document("winningPlan")
        .unwrap();
    let mut names = vec![stage.get_str("stage").unwrap().to_owned()];
    while let Ok(input) = stage.get_document("inputStage") {
        stage = input;
        names.push(stage.get_str("stage").unwrap().to_owned());
    }
    (names, stage.clone())
}

fn sorted(sort: &Document) -> ExplainOptions {
    ExplainOptions {
        sort: Some(raw(sort)),
        ..ExplainOptions::default()
    }
}

#[test]
fn a_filter_finds_the_index_with_the_most_to_say() {
    let (_directory, _store, items) = filled();
    let everything = || bson::bson!(["[MinKey, MaxKey]"]);
    // Filter, index, bounds.
    let cases = [
        (doc! { "a": 1 }, "a_1", doc! { "a": ["[1, 1]"] }),
        (
            doc! { "a": 1, "b": { "$gt": 0 } },
            "a_1_b_-1",
            doc! { "a": ["[1, 1]"], "b": ["[inf.0, 0)"] },
        ),
        (
            doc! { "a": { "$in": [3, 1] }, "b": 2 },
            "a_1_b_-1",
            doc! { "a": ["[1, 1]", "[3, 3]"], "b": ["[2, 2]"] },
        ),
        (doc! { "a": { "$gte": 1, "$lt": 3 } }, "a_1", doc! { "a": ["[1, 3)"] }),
        (doc! { "c": { "$lte": 3 }, "a": 1 }, "a_1", doc! { "a": ["[1, 1]"] }),
        (doc! { "c": 3, "a": 1 }, "c_-1", doc! { "c": ["[3, 3]"] }),
        (doc! { "c": { "$gt": 17 } }, "c_-1", doc! { "c": ["[inf.0, 17)"] }),
        // One condition of two on an array, and none on the second field behind the same array.
        (
            doc! { "tags": { "$gt": 3, "$lt": 2 } },
            "tags_1",
            doc! { "tags": ["(3, inf.0]"] },
        ),
        (
            doc! { "tags": [3, 4] },
            "tags_1",
            doc! { "tags": ["[3, 3]", "[[3, 4], [3, 4]]"] },
        ),
        (
            doc! { "tags": [] },
            "tags_1",
            doc! { "tags": ["[undefined, undefined]", "[[], []]"] },
        ),
        (
            doc! { "o.x": 1, "o.y": 1 },
            "o.x_1_o.y_1",
            doc! { "o.x": ["[1, 1]"], "o.y": everything() },
        ),
        (
            doc! { "rare": { "$exists": true } },
            "rare_1",
            doc! { "rare": everything() },
        ),
        (doc! { "rare": 1 }, "rare_1", doc! { "rare": ["[1, 1]"] }),
        (
            doc! { "s": "s12", "c": { "$gt": 11 } },
            "s_1",
            doc! { "s": ["[\"s12\", \"s12\"]"] },
        ),
        (
            doc! { "_id": { "$gte": 3, "$lt": 5 } },
            "_id_",
            doc! { "_id": ["[3, 5)"] },
        ),
        (
            doc! { "_id": { "$regex": "^ab" } },
            "_id_",
            doc! { "_id": ["[\"ab\", \"ac\")", "[/^ab/, /^ab/]"] },
        ),
        (
            doc! { "_id": { "$in": [3, 5] }, "a": 3 },
            "_id_",
            doc! { "_id": ["[3, 3]", "[5, 5]"] },
        ),
    ];
    for (filter, index, bounds) in cases {
        let (names, scan) = stages(&explain(&items, &filter, &ExplainOptions::default()));
        assert_eq!(names, ["FETCH", "IXSCAN"], "{filter}");
        assert_eq!(scan.get_str("indexName").unwrap(), index, "{filter}");
        assert_eq!(scan.get_document("indexBounds").unwrap(), &bounds, "{filter}");
    }
}

#[test]
fn without_a_fitting_index_every_document_is_looked_at() {
    let (_directory, _store, items) = filled();
    let filters = [
        doc! {},
        doc! { "x": 1 },
        doc! { "b": 1 },
        // Documents without the field are not in a sparse index, those below 10 not in the partial one.
        doc! { "rare": null },
        doc! { "rare": { "$exists": false } },
        doc! { "s": "s3" },
        doc! { "s": "s3", "c": { "$ne": 5 } },
        doc! { "$or": [{ "a": 1 }, { "b": 1 }] },
    ];
    for filter in filters {
        let explained = explain(&items, &filter, &ExplainOptions::default());
        assert_eq!(stages(&explained).0, ["COLLSCAN"], "{filter}");
        let execution = explained.get_document("executionStats").unwrap();
        assert_eq!(execution.get_i64("totalDocsExamined").unwrap(), 20);
        assert_eq!(execution.get_i64("totalKeysExamined").unwrap(), 0);
    }
}

#[test]
fn explain_counts_what_was_examined() {
    let (_directory, _store, items) = filled();
    // Filter; returned, keys, documents.
    let cases = [
        (doc! { "_id": 3 }, (1, 1, 1)),
        (doc! { "_id": 300 }, (0, 1, 0)),
        (doc! { "a": 1 }, (4, 4, 4)),
        (doc! { "a": 1, "c": { "$lt": 8 } }, (2, 4, 4)),
        (doc! { "tags": { "$gte": 18 } }, (3, 5, 3)),
        (doc! { "c": { "$gt": 5, "$lt": 3 } }, (0, 0, 0)),
    ];
    for (filter, expected) in cases {
        let explained = explain(&items, &filter, &ExplainOptions::default());
        let execution = explained.get_document("executionStats").unwrap();
        let count = |name: &str| execution.get_i64(name).unwrap();
        let found = (
            count("nReturned"),
            count("totalKeysExamined"),
            count("totalDocsExamined"),
        );
        assert_eq!(found, expected, "{filter}: {explained}");
    }
    assert_eq!(
        stages(&explain(&items, &doc! { "_id": 3 }, &ExplainOptions::default())).0,
        ["IDHACK"]
    );
    let nothing = explain(
        &items,
        &doc! { "c": { "$gt": 5, "$lt": 3 } },
        &ExplainOptions::default(),
    );
    assert_eq!(stages(&nothing).0, ["EOF"]);
}

#[test]
fn an_order_that_an_index_has_is_not_sorted_again() {
    let (_directory, _store, items) = filled();
    // Filter, sort, stages, index, direction.
    let cases = [
        (
            doc! {},
            doc! { "c": -1 },
            vec!["FETCH", "IXSCAN"],
            Some("c_-1"),
            "forward",
        ),
        (
            doc! {},
            doc! { "c": 1 },
            vec!["FETCH", "IXSCAN"],
            Some("c_-1"),
            "backward",
        ),
        (
            doc! { "a": 1 },
            doc! { "b": 1 },
            vec!["FETCH", "IXSCAN"],
            Some("a_1_b_-1"),
            "backward",
        ),
        (
            doc! {},
            doc! { "a": 1, "b": -1, "_id": 1 },
            vec!["FETCH", "IXSCAN"],
            Some("a_1_b_-1"),
            "forward",
        ),
        (
            doc! { "a": 1 },
            doc! { "a": 1, "b": -1 },
            vec!["FETCH", "IXSCAN"],
            Some("a_1_b_-1"),
            "forward",
        ),
        (doc! {}, doc! { "_id": -1 }, vec!["COLLSCAN"], None, "backward"),
        (
            doc! {},
            doc! { "a": 1, "b": 1 },
            vec!["SORT", "COLLSCAN"],
            None,
            "forward",
        ),
        (doc! {}, doc! { "tags": 1 }, vec!["SORT", "COLLSCAN"], None, "forward"),
        (doc! {}, doc! { "rare": 1 }, vec!["SORT", "COLLSCAN"], None, "forward"),
        (
            doc! { "a": { "$in": [1, 2] } },
            doc! { "b": -1 },
            vec!["SORT", "FETCH", "IXSCAN"],
            Some("a_1"),
            "forward",
        ),
    ];
    for (filter, sort, expected, index, direction) in cases {
        let (names, scan) = stages(&explain(&items, &filter, &sorted(&sort)));
        assert_eq!(names, expected, "{filter} {sort}");
        assert_eq!(scan.get_str("indexName").ok(), index, "{filter} {sort}");
        assert_eq!(scan.get_str("direction").unwrap(), direction, "{filter} {sort}");
    }
}

#[test]
fn a_limit_of_0_is_none() {
    let (_directory, _store, items) = filled();
    let (none, zero) = (
        ExplainOptions::default(),
        ExplainOptions {
            limit: Some(0),
            ..ExplainOptions::default()
        },
    );
    assert_eq!(explain(&items, &doc! {}, &zero), explain(&items, &doc! {}, &none));
}

#[test]
fn a_hint_overrules_the_choice() {
    let (_directory, _store, items) = filled();
    let hinted = |hint: Hint| ExplainOptions {
        hint: Some(hint),
        ..ExplainOptions::default()
    };
    let cases = [
        (Hint::Name("a_1_b_-1".into()), Some("a_1_b_-1")),
        (Hint::Key(rawdoc! { "c": -1 }), Some("c_-1")),
        (Hint::Name("rare_1".into()), Some("rare_1")),
        (Hint::from_document(&rawdoc! { "$natural": 1 }).unwrap(), None),
    ];
    for (hint, index) in cases {
        let (_, scan) = stages(&explain(&items, &doc! { "a": 1 }, &hinted(hint.clone())));
        assert_eq!(scan.get_str("indexName").ok(), index, "{hint}");
    }
    let natural = hinted(Hint::from_document(&rawdoc! { "$natural": -1 }).unwrap());
    let (_, scan) = stages(&explain(&items, &doc! { "a": 1 }, &natural));
    assert_eq!(scan.get("direction"), Some(&Bson::from("backward")));
    for hint in [
        Hint::Name("none".into()),
        Hint::Key(rawdoc! { "c": 1 }),
        Hint::Name("s_1".into()),
    ] {
        let refused = items.explain(&rawdoc! { "s": "s3" }, &hinted(hint.clone()));
        assert!(matches!(refused, Err(Error::BadHint { .. })), "{hint}");
    }
}

#[test]
fn a_key_that_several_indexes_have_names_none_of_them() {
    let (_directory, store, items) = filled();
    items
        .create_index(&IndexModel::new("a", 1).sparse().name("few"))
        .unwrap();
    let hinted = |hint: Hint| ExplainOptions {
        hint: Some(hint),
        ..ExplainOptions::default()
    };
    let refused = items.explain(&rawdoc! {}, &hinted(Hint::Key(rawdoc! { "a": 1 })));
    assert!(matches!(refused, Err(Error::BadHint { .. })), "{refused:?}");
    let (_, scan) = stages(&explain(&items, &doc! {}, &hinted(Hint::Name("few".into()))));
    assert_eq!(scan.get_str("indexName").ok(), Some("few"));

    let hide = |index: RawDocumentBuf| store.modify_collection("shop", "items", &rawdoc! { "index": index });
    let refused = hide(rawdoc! { "keyPattern": { "a": 1 }, "hidden": true }).map(drop);
    assert!(matches!(refused, Err(Error::AmbiguousIndexKey { .. })), "{refused:?}");
    // One that queries do not see is not meant.
    hide(rawdoc! { "name": "few", "hidden": true }).unwrap();
    let (_, scan) = stages(&explain(&items, &doc! {}, &hinted(Hint::Key(rawdoc! { "a": 1 }))));
    assert_eq!(scan.get_str("indexName").ok(), Some("a_1"));
}

#[test]
fn a_collection_that_is_not_there_has_nothing_to_examine() {
    let (_directory, store, _) = filled();
    let nowhere = store.collection("shop", "nowhere").unwrap();
    assert_eq!(
        stages(&explain(&nowhere, &doc! { "a": 1 }, &ExplainOptions::default())).0,
        ["EOF"]
    );
}

/// Names and bounds of the indexes that alternatives are looked for in.
fn alternatives(explained: &Document) -> Vec<(String, Document)> {
    let (names, or) = stages(explained);
    assert_eq!(&names[names.len() - 2..], ["FETCH", "OR"], "{explained}");
    let scans = or.get_array("inputStages").unwrap().iter();
    let scan = |scan: &Bson| {
        let scan = scan.as_document().unwrap();
        assert_eq!(scan.get_str("stage").unwrap(), "IXSCAN");
        (
            scan.get_str("indexName").unwrap().to_owned(),
            scan.get_document("indexBounds").unwrap().clone(),
        )
    };
    scans.map(scan).collect()
}

#[test]
fn each_alternative_is_looked_for_by_an_index_of_its_own() {
    let (_directory, _store, items) = filled();
    // Filter; index and bounds of each alternative; documents found, documents examined.
    let cases = [
        (
            doc! { "$or": [{ "a": 1 }, { "c": 3 }] },
            vec![("a_1", doc! { "a": ["[1, 1]"] }), ("c_-1", doc! { "c": ["[3, 3]"] })],
            (5, 5),
        ),
        // What both have is met once.
        (
            doc! { "$or": [{ "c": { "$gt": 15 } }, { "a": 1, "b": 1 }, { "_id": 16 }] },
            vec![
                ("c_-1", doc! { "c": ["[inf.0, 15)"] }),
                ("a_1_b_-1", doc! { "a": ["[1, 1]"], "b": ["[1, 1]"] }),
                ("_id_", doc! { "_id": ["[16, 16]"] }),
            ],
            (5, 5),
        ),
        // The part beside the alternatives belongs to each.
        (
            doc! { "b": { "$gte": 2 }, "$or": [{ "a": 1 }, { "tags": 4 }] },
            vec![
                ("a_1_b_-1", doc! { "a": ["[1, 1]"], "b": ["[inf.0, 2]"] }),
                ("tags_1", doc! { "tags": ["[4, 4]"] }),
            ],
            (1, 3),
        ),
        // The partial index has all that this alternative can match.
        (
            doc! { "$or": [{ "s": "s12", "c": { "$gte": 11 } }, { "rare": 1 }] },
            vec![
                ("s_1", doc! { "s": ["[\"s12\", \"s12\"]"] }),
                ("rare_1", doc! { "rare": ["[1, 1]"] }),
            ],
            (1, 1),
        ),
    ];
    for (filter, expected, (found, examined)) in cases {
        let explained = explain(&items, &filter, &ExplainOptions::default());
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(name, bounds)| (name.to_owned(), bounds))
            .collect();
        assert_eq!(alternatives(&explained), expected, "{filter}");
        let execution = explained.get_document("executionStats").unwrap();
        assert_eq!(execution.get_i64("nReturned").unwrap(), found, "{filter}");
        assert_eq!(execution.get_i64("totalDocsExamined").unwrap(), examined, "{filter}");
    }
}

#[test]
fn alternatives_are_of_use_only_when_all_of_them_are_bounded() {
    let (_directory, _store, items) = filled();
    let first = |filter: &Document, options: &ExplainOptions| stages(&explain(&items, filter, options)).0;
    let none = ExplainOptions::default();
    for (filter, options, expected) in [
        (doc! { "$or": [{ "a": 1 }, { "b": 1 }] }, &none, vec!["COLLSCAN"]),
        (
            doc! { "$or": [{ "a": 1 }, { "rare": { "$exists": true } }] },
            &none,
            vec!["COLLSCAN"],
        ),
        (doc! { "$or": [{ "a": 1 }, { "s": "s3" }] }, &none, vec!["COLLSCAN"]),
        (doc! { "$nor": [{ "a": 1 }, { "c": 1 }] }, &none, vec!["COLLSCAN"]),
        // One index with points serves all of it.
        (
            doc! { "c": 4, "$or": [{ "a": 1 }, { "tags": 4 }] },
            &none,
            vec!["FETCH", "IXSCAN"],
        ),
        // The documents of several indexes are in no order.
        (
            doc! { "$or": [{ "a": 1 }, { "c": 3 }] },
            &sorted(&doc! { "c": -1 }),
            vec!["SORT", "FETCH", "OR"],
        ),
        // A range of all alternatives is no worse than ranges of their own.
        (
            doc! { "c": { "$gt": 3 }, "$or": [{ "a": { "$gt": 1 } }, { "tags": { "$gt": 4 } }] },
            &none,
            vec!["FETCH", "IXSCAN"],
        ),
    ] {
        assert_eq!(first(&filter, options), expected, "{filter}");
    }
    let many: Vec<_> = (0..70).map(|i| doc! { "a": i }).collect();
    assert_eq!(first(&doc! { "$or": many }, &none), ["COLLSCAN"]);
    let hinted = ExplainOptions {
        hint: Some(Hint::Name("a_1".into())),
        ..ExplainOptions::default()
    };
    assert_eq!(
        first(&doc! { "$or": [{ "a": 1 }, { "c": 3 }] }, &hinted),
        ["FETCH", "IXSCAN"]
    );
}
