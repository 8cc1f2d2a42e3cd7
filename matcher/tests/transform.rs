//! What each document stage, and the projection of `find`, makes of a document. `none` stands for a
//! document that is filtered out, `error N` for MongoDB's error of that number.

use crate::common;

use bson::RawDocumentBuf;
use common::document;
use tailwater_matcher::{EvaluateError, EvaluateErrorKind, FindProjection, IdEffect, ParseError, Transform};

fn shown(result: Result<Option<RawDocumentBuf>, EvaluateError>) -> String {
    match result {
        Ok(Some(document)) => text(&document),
        Ok(None) => "none".to_owned(),
        Err(error) => match error.kind() {
            EvaluateErrorKind::Aggregation(error) => format!("error {}", error.code()),
            other => format!("unexpected {other}"),
        },
    }
}

fn refused(error: &ParseError) -> String {
    match error {
        ParseError::Aggregation { kind, .. } => format!("error {}", kind.code()),
        error => format!("unexpected {error}"),
    }
}

fn text(document: &RawDocumentBuf) -> String {
    let document = bson::Document::try_from(document.as_ref()).unwrap();
    bson::Bson::Document(document).into_canonical_extjson().to_string()
}

fn expectation(expected: &str) -> String {
    if expected.starts_with('{') {
        text(&document(expected))
    } else {
        expected.to_owned()
    }
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (stage, json, expected) in cases {
        let found = match Transform::parse([&*document(stage)]) {
            Ok(transform) => shown(transform.apply(&document(json))),
            Err(error) => refused(&error),
        };
        assert_eq!(found, expectation(expected), "{stage} on {json}");
    }
}

#[track_caller]
fn check_find(cases: &[(&str, &str, Option<usize>, &str)]) {
    for (projection, json, matched, expected) in cases {
        let found = match FindProjection::parse(&document(projection)) {
            Ok(projection) => shown(projection.apply(&document(json), *matched).map(Some)),
            Err(error) => refused(&error),
        };
        assert_eq!(found, expectation(expected), "{projection} on {json}");
    }
}

#[test]
fn project_includes_excludes_and_computes() {
    let book = r#"{"_id": 1, "title": "abc123", "author": {"last": "z", "first": "a"}, "copies": 5}"#;
    check(&[
        (
            r#"{"$project": {"title": 1}}"#,
            book,
            r#"{"_id": 1, "title": "abc123"}"#,
        ),
        (
            r#"{"$project": {"_id": 0, "title": 1}}"#,
            book,
            r#"{"title": "abc123"}"#,
        ),
        (
            r#"{"$project": {"author.last": 1}}"#,
            book,
            r#"{"_id": 1, "author": {"last": "z"}}"#,
        ),
        (
            r#"{"$project": {"author": {"last": true}}}"#,
            book,
            r#"{"_id": 1, "author": {"last": "z"}}"#,
        ),
        (
            r#"{"$project": {"author.last": 0, "copies": 0}}"#,
            book,
            r#"{"_id": 1, "title": "abc123", "author": {"first": "a"}}"#,
        ),
        (r#"{"$project": {"_id": 0}}"#, r#"{"_id": 1, "a": 2}"#, r#"{"a": 2}"#),
        (r#"{"$project": {"_id": 1}}"#, book, r#"{"_id": 1}"#),
        (
            r#"{"$project": {"n": "$copies", "lit": "x"}}"#,
            book,
            r#"{"_id": 1, "n": 5, "lit": "x"}"#,
        ),
        (
            r#"{"$project": {"n": "$none", "m": ["$copies", "$none"]}}"#,
            book,
            r#"{"_id": 1, "m": [5, null]}"#,
        ),
        (
            r#"{"$project": {"a.b": 1}}"#,
            r#"{"a": [{"b": 1, "c": 2}, 3, {"c": 4}]}"#,
            r#"{"a": [{"b": 1}, {}]}"#,
        ),
        (
            r#"{"$project": {"a.b": 0}}"#,
            r#"{"a": [{"b": 1, "c": 2}, 3]}"#,
            r#"{"a": [{"c": 2}, 3]}"#,
        ),
        (r#"{"$project": {"a.b": 1}}"#, r#"{"a": 3}"#, "{}"),
        (
            r#"{"$project": {"a": {"n": {"$add": ["$x", 1]}}}}"#,
            r#"{"x": 1}"#,
            r#"{"a": {"n": 2}}"#,
        ),
        (
            r#"{"$project": {"a": {"$cond": [{"$eq": ["", "$a"]}, "$$REMOVE", "$a"]}}}"#,
            r#"{"_id": 1, "a": ""}"#,
            r#"{"_id": 1}"#,
        ),
    ]);
}

#[test]
fn project_refuses_what_cannot_be() {
    check(&[
        (r#"{"$project": {}}"#, "{}", "error 51272"),
        (r#"{"$project": 1}"#, "{}", "error 15969"),
        (r#"{"$project": {"a": {}}}"#, "{}", "error 51270"),
        (r#"{"$project": {"a": 1, "b": 0}}"#, "{}", "error 31254"),
        (r#"{"$project": {"a": 0, "b": 1}}"#, "{}", "error 31253"),
        (r#"{"$project": {"a": 0, "b": "$x"}}"#, "{}", "error 31252"),
        (r#"{"$project": {"a": 1, "a.b": 1}}"#, "{}", "error 31249"),
        (r#"{"$project": {"a.b": 1, "a": 1}}"#, "{}", "error 31249"),
        (r#"{"$project": {"a..b": 1}}"#, "{}", "error 15998"),
        (r#"{"$project": {"a": {"$nope": 1}}}"#, "{}", "error 168"),
        (r#"{"$group": {"_id": 1}}"#, "{}", "error 40324"),
        (r#"{"$match": {}, "$project": {"a": 1}}"#, "{}", "error 40323"),
    ]);
}

#[test]
fn add_fields_sets_in_place_and_below() {
    check(&[
        (
            r#"{"$addFields": {"total": {"$sum": "$homework"}}}"#,
            r#"{"_id": 1, "homework": [10, 5]}"#,
            r#"{"_id": 1, "homework": [10, 5], "total": 15}"#,
        ),
        (r#"{"$set": {"a": 2}}"#, r#"{"a": 1, "b": 3}"#, r#"{"a": 2, "b": 3}"#),
        (
            r#"{"$set": {"specs.fuel": "unleaded"}}"#,
            r#"{"specs": {"doors": 4}}"#,
            r#"{"specs": {"doors": 4, "fuel": "unleaded"}}"#,
        ),
        (
            r#"{"$set": {"a": {"b": "$x"}}}"#,
            r#"{"x": 1, "a": [{"c": 1}, 2]}"#,
            r#"{"x": 1, "a": [{"c": 1, "b": 1}, {"b": 1}]}"#,
        ),
        (r#"{"$set": {"a.b": 1}}"#, r#"{"a": 5}"#, r#"{"a": {"b": 1}}"#),
        (r#"{"$set": {"a": "$$REMOVE"}}"#, r#"{"a": 5, "b": 1}"#, r#"{"b": 1}"#),
        (
            r#"{"$set": {"a": "$b", "b": "$a"}}"#,
            r#"{"a": 1, "b": 2}"#,
            r#"{"a": 2, "b": 1}"#,
        ),
        (r#"{"$set": {"a": 1, "a.b": 1}}"#, "{}", "error 40176"),
        (r#"{"$set": {}}"#, "{}", "error 40177"),
        (r#"{"$unset": "a"}"#, r#"{"a": 1, "b": 2}"#, r#"{"b": 2}"#),
        (
            r#"{"$unset": ["a.b", "c"]}"#,
            r#"{"a": {"b": 1, "d": 2}, "c": 3}"#,
            r#"{"a": {"d": 2}}"#,
        ),
        (r#"{"$unset": []}"#, "{}", "error 31119"),
        (r#"{"$unset": 1}"#, "{}", "error 31002"),
        (r#"{"$unset": [1]}"#, "{}", "error 31120"),
    ]);
}

#[test]
fn replace_root_takes_documents_only() {
    check(&[
        (
            r#"{"$replaceRoot": {"newRoot": "$name"}}"#,
            r#"{"name": {"a": 1}}"#,
            r#"{"a": 1}"#,
        ),
        (r#"{"$replaceRoot": {"newRoot": "$name"}}"#, "{}", "error 40228"),
        (
            r#"{"$replaceWith": {"$mergeObjects": [{"_id": "$_id"}, "$d"]}}"#,
            r#"{"_id": 1, "d": {"x": 2}}"#,
            r#"{"_id": 1, "x": 2}"#,
        ),
        (r#"{"$replaceRoot": {}}"#, "{}", "error 40231"),
        (r#"{"$replaceRoot": {"root": 1}}"#, "{}", "error 40230"),
        (r#"{"$replaceRoot": 1}"#, "{}", "error 40229"),
    ]);
}

#[test]
fn redact_decides_level_by_level() {
    let report = r#"{"tags": ["G", "STLW"], "a": {"tags": ["SI"], "x": 1}, "b": [{"tags": ["G"], "y": 2}, {"tags": ["TK"]}, 3]}"#;
    let stage = r#"{"$redact": {"$cond": [{"$gt": [{"$size": {"$setIntersection": ["$tags", ["STLW", "G"]]}}, 0]}, "$$DESCEND", "$$PRUNE"]}}"#;
    check(&[
        (
            stage,
            report,
            r#"{"tags": ["G", "STLW"], "b": [{"tags": ["G"], "y": 2}, 3]}"#,
        ),
        (stage, r#"{"tags": ["TK"]}"#, "none"),
        (r#"{"$redact": "$$KEEP"}"#, r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 1}}"#),
        (r#"{"$redact": "other"}"#, "{}", "error 17053"),
    ]);
}

#[test]
fn stages_follow_each_other() {
    let stages = [
        document(r#"{"$match": {"n": {"$gt": 1}}}"#),
        document(r#"{"$set": {"m": {"$add": ["$n", 1]}}}"#),
        document(r#"{"$match": {"$expr": {"$gt": ["$m", "$n"]}}}"#),
        document(r#"{"$project": {"_id": 0, "m": 1}}"#),
    ];
    let transform = Transform::parse(stages.iter().map(|stage| &**stage)).unwrap();
    assert_eq!(shown(transform.apply(&document(r#"{"n": 1}"#))), "none");
    let found = shown(transform.apply(&document(r#"{"_id": 7, "n": 2}"#)));
    assert_eq!(found, expectation(r#"{"m": 3}"#));
}

#[test]
fn what_happens_to_the_id_is_known_beforehand() {
    let cases = [
        (r#"{"$match": {"_id": 1}}"#, IdEffect::Kept),
        (r#"{"$project": {"a": 1}}"#, IdEffect::Kept),
        (r#"{"$project": {"a": 0}}"#, IdEffect::Kept),
        (r#"{"$project": {"_id": 0}}"#, IdEffect::Dropped),
        (r#"{"$project": {"_id": 0, "a": 1}}"#, IdEffect::Dropped),
        (r#"{"$project": {"_id.x": 1}}"#, IdEffect::Dropped),
        (r#"{"$unset": "_id.x"}"#, IdEffect::Dropped),
        (r#"{"$set": {"_id": 1}}"#, IdEffect::Uncertain),
        (r#"{"$set": {"a": 1}}"#, IdEffect::Kept),
        (r#"{"$replaceWith": "$$ROOT"}"#, IdEffect::Uncertain),
        (r#"{"$redact": "$$KEEP"}"#, IdEffect::Uncertain),
    ];
    for (stage, expected) in cases {
        let transform = Transform::parse([&*document(stage)]).unwrap();
        assert_eq!(transform.id_effect(), expected, "{stage}");
    }
}

#[test]
fn a_find_projection_slices_arrays() {
    let post = r#"{"_id": 1, "comments": [1, 2, 3, 4], "x": {"y": [1, 2]}}"#;
    check_find(&[
        ("{}", post, None, post),
        (
            r#"{"comments": {"$slice": 2}}"#,
            post,
            None,
            r#"{"_id": 1, "comments": [1, 2], "x": {"y": [1, 2]}}"#,
        ),
        (
            r#"{"_id": 1, "comments": {"$slice": -1}}"#,
            post,
            None,
            r#"{"_id": 1, "comments": [4]}"#,
        ),
        (
            r#"{"comments": {"$slice": [1, 2]}, "_id": 0, "x": 0}"#,
            post,
            None,
            r#"{"comments": [2, 3]}"#,
        ),
        (
            r#"{"x.y": {"$slice": 1}, "comments": 0}"#,
            post,
            None,
            r#"{"_id": 1, "x": {"y": [1]}}"#,
        ),
        (r#"{"comments": {"$slice": [1, -1]}}"#, post, None, "error 28729"),
        (r#"{"n": {"$size": "$comments"}}"#, post, None, r#"{"_id": 1, "n": 4}"#),
    ]);
}

#[test]
fn the_positional_operator_needs_the_matched_item() {
    let scores = r#"{"_id": 1, "grades": [80, 92, 85], "a": {"b": [1, 2]}}"#;
    check_find(&[
        (r#"{"grades.$": 1}"#, scores, Some(1), r#"{"_id": 1, "grades": [92]}"#),
        (r#"{"a.b.$": 1}"#, scores, Some(0), r#"{"_id": 1, "a": {"b": [1]}}"#),
        (r#"{"grades.$": 1}"#, scores, None, "error 51246"),
        (r#"{"grades.$": 0}"#, scores, None, "error 31395"),
        (r#"{"grades.$": {"$slice": 1}}"#, scores, Some(1), "error 31271"),
        (r#"{"grades.$": "x"}"#, scores, Some(1), "error 31308"),
        (r#"{"grades.$": [1]}"#, scores, Some(1), "error 31308"),
        (r#"{"grades.$": 1, "a.b.$": 1}"#, scores, None, "error 31276"),
    ]);
}

#[test]
fn elem_match_keeps_the_first_item_that_matches() {
    let class = r#"{"_id": 1, "zip": 5, "students": [{"s": 102, "age": 10}, {"s": 102, "age": 11}], "n": [1, 7, 9]}"#;
    check_find(&[
        (
            r#"{"students": {"$elemMatch": {"s": 102, "age": {"$gt": 10}}}}"#,
            class,
            None,
            r#"{"_id": 1, "students": [{"s": 102, "age": 11}]}"#,
        ),
        (
            r#"{"n": {"$elemMatch": {"$gt": 5}}}"#,
            class,
            None,
            r#"{"_id": 1, "n": [7]}"#,
        ),
        // It comes behind the fields that are there as they are, and several in the order of the projection.
        (
            r#"{"n": {"$elemMatch": {"$gt": 5}}, "students": {"$elemMatch": {"age": 11}}, "zip": 1}"#,
            r#"{"_id": 1, "students": [{"age": 11}], "n": [7], "zip": 5}"#,
            None,
            r#"{"_id": 1, "zip": 5, "n": [7], "students": [{"age": 11}]}"#,
        ),
        (r#"{"n": {"$elemMatch": {"$gt": 50}}}"#, class, None, r#"{"_id": 1}"#),
        (r#"{"a.b": {"$elemMatch": {"$gt": 50}}}"#, class, None, "error 31275"),
        (r#"{"n": {"$elemMatch": 1}}"#, class, None, "error 31274"),
    ]);
}

#[test]
fn what_stages_make_on_the_way_is_bounded() {
    let numbers = |count: i32| bson::bson!({ "$range": [0, count] });
    let fields = |count: usize, value: &bson::Bson| -> bson::Document {
        (0..count).map(|at| (format!("a{at}"), value.clone())).collect()
    };
    let items = |value: &bson::Bson| bson::doc! { "items": { "a": value.clone() } };
    let outcome = |stages: &[bson::Document]| {
        let stages: Vec<_> = stages
            .iter()
            .map(|stage| RawDocumentBuf::try_from(stage).unwrap())
            .collect();
        let transform = Transform::parse(stages.iter().map(AsRef::as_ref)).unwrap();
        let input = document(r#"{"items": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}"#);
        shown(
            transform
                .with_bytes_max(1 << 20)
                .apply(&input)
                .map(|made| made.map(|_| RawDocumentBuf::new())),
        )
    };
    // Half a mebibyte each; nothing of it is left at the end.
    let half = numbers(48_000);
    let gone: bson::Bson = fields(200, &half).keys().cloned().collect::<Vec<_>>().into();
    let last = bson::doc! { "$unset": gone };
    let several = [
        vec![bson::doc! { "$addFields": fields(200, &half) }, last.clone()],
        vec![
            bson::doc! { "$addFields": items(&half) },
            bson::doc! { "$unset": "items" },
        ],
        (0..200)
            .map(|at| bson::doc! { "$addFields": { format!("a{at}"): half.clone() } })
            .chain([last.clone()])
            .collect(),
    ];
    for stages in &several {
        assert_eq!(outcome(stages), "error 146", "{}", stages[0]);
    }
    // Somewhat more than may be left is no matter.
    assert_eq!(outcome(&[bson::doc! { "$addFields": fields(5, &half) }, last]), "{}");
}
