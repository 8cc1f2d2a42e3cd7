//! What is refused, and how the error names it.

mod common;

use std::error::Error;

use bson::{Bson, Document, doc};
use common::{document, raw_document};
use tailwater_matcher::{EXPRESSION_NODES_MAX, Expression, IN_VALUES_MAX, PATH_COMPONENTS_MAX, ParseError};

#[track_caller]
fn check(filter: &str, expected: &str) {
    let error = Expression::parse(&document(filter)).expect_err(filter);
    assert_eq!(error.to_string(), expected, "{filter}");
}

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists or $not";
const LOGICAL: &str = "a field name, $and, $or, $nor, $expr or $comment";

#[test]
fn unknown_operators_are_named_with_their_path() {
    let at_age = |operator: &str| format!("operator {operator} is not known at `age`, expected {OPERATORS}");
    check(r#"{"age": {"$foo": 1}}"#, &at_age("$foo"));
    check(r#"{"age": {"$gt": 1, "b": 1}}"#, &at_age("b"));
    check(r#"{"age": {"$regex": "x"}}"#, &at_age("$regex"));
    check(
        r#"{"age": {"$regularExpression": {"pattern": "x", "options": ""}}}"#,
        &at_age("$regex"),
    );
    check(
        r#"{"$or": [{"a": 1}, {"age": {"$elemMatch": {}}}]}"#,
        &format!("operator $elemMatch is not known at `$or[1].age`, expected {OPERATORS}"),
    );
    check(
        r#"{"$or": [{"$expr": {"$gt": ["$a", {"$nope": 1}]}}]}"#,
        "$nope is not a known operator at `$or[0].$expr.$gt[1]`",
    );
    check(
        r#"{"$and": [{"$nor": [{"$where": "x"}]}]}"#,
        &format!("operator $where is not known at `$and[0].$nor[0]`, expected {LOGICAL}"),
    );
}

#[test]
fn wrong_values_are_named() {
    let documents = "an array of at least one document";
    check(
        r#"{"$or": 1}"#,
        &format!("$or needs {documents} at the top level, found int"),
    );
    check(
        r#"{"$or": []}"#,
        &format!("$or needs {documents} at `$or`, found an empty array"),
    );
    check(r#"{"$and": [1]}"#, "$and needs a document at `$and[0]`, found int");
    check(r#"{"a": {"$in": 1}}"#, "$in needs an array at `a`, found int");
    check(
        r#"{"a": {"$not": 1}}"#,
        "$not needs a document of operators at `a`, found int",
    );
    check(
        r#"{"a": {"$not": {}}}"#,
        "$not needs a document of operators at `a`, found object",
    );
    let constant = "a value other than undefined or a regular expression";
    check(
        r#"{"a": {"$undefined": true}}"#,
        &format!("equality needs {constant} at `a`, found undefined"),
    );
    check(
        r#"{"a": {"$in": [{"$regularExpression": {"pattern": "x", "options": ""}}]}}"#,
        &format!("$in needs {constant} at `a`, found regex"),
    );
}

#[test]
fn malformed_bytes_are_refused() {
    let mut bytes = document(r#"{"a": "x"}"#).into_bytes();
    bytes[11] = 0xff;
    let malformed = bson::RawDocument::from_bytes(&bytes).unwrap();
    let error = Expression::parse(malformed).unwrap_err();
    assert!(matches!(error, ParseError::Malformed(_)), "{error:?}");
    assert!(error.source().is_some());
}

#[test]
fn nesting_is_limited() {
    let mut filter = doc! { "a": 1 };
    for _ in 0..46 {
        filter = doc! { "$or": [filter, { "b": 1 }] };
    }
    let error = Expression::parse(&raw_document(&filter)).unwrap_err();
    assert!(matches!(error, ParseError::TooDeep { .. }), "{error:?}");
    for _ in 0..60 {
        filter = doc! { "$or": [filter] };
    }
    let error = Expression::parse(&raw_document(&filter)).unwrap_err();
    assert!(matches!(error, ParseError::Malformed(_)), "{error:?}");
}

/// A rendered expression must parse again, so `$expr` counts with what it holds.
#[test]
fn nesting_counts_expressions() {
    let mut value = doc! { "$literal": 1 };
    for _ in 0..92 {
        value = doc! { "a": value };
    }
    let error = Expression::parse(&raw_document(&doc! { "$expr": value })).unwrap_err();
    assert!(matches!(error, ParseError::TooDeep { .. }), "{error:?}");
}

/// Found by thought: two `$or` in one document, one of them by way of `$and`, render as an `$and`
/// that the input did not have, level after level, until the document nests too deep to parse.
#[test]
fn unspelled_conjunctions_count_as_levels() {
    let mut filter = doc! { "a": 1 };
    for _ in 0..30 {
        let other = doc! { "$or": [{ "b": 1 }, { "c": 1 }] };
        filter = doc! { "$or": [filter, { "d": 1 }], "$and": [other] };
    }
    let error = Expression::parse(&raw_document(&filter)).unwrap_err();
    assert!(matches!(error, ParseError::TooDeep { .. }), "{error:?}");
}

#[test]
fn size_is_limited() {
    let parts: Vec<Document> = (0..=EXPRESSION_NODES_MAX).map(|n| doc! { "a": n as i64 }).collect();
    let error = Expression::parse(&raw_document(&doc! { "$or": parts })).unwrap_err();
    assert_eq!(error, ParseError::TooManyNodes);

    let values: Vec<Bson> = (0..=IN_VALUES_MAX).map(|n| Bson::Int64(n as i64)).collect();
    let error = Expression::parse(&raw_document(&doc! { "a": { "$in": values } })).unwrap_err();
    let found = IN_VALUES_MAX + 1;
    let expected = ParseError::TooManyValues {
        path: "a".into(),
        operator: "$in".into(),
        found,
    };
    assert_eq!(error, expected);
}

#[test]
fn paths_are_limited() {
    let long = vec!["a"; PATH_COMPONENTS_MAX + 1].join(".");
    let error = Expression::parse(&raw_document(&doc! { long: 1 })).unwrap_err();
    assert!(matches!(error, ParseError::Path { .. }), "{error:?}");
    check(
        "{\"a.0.0.0.0.0.0.0.0.0.0.0\": 1}",
        "the field name is not a usable path at `a.0.0.0.0.0.0.0.0.0.0.0`",
    );
}
