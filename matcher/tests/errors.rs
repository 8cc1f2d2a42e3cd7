//! What is refused, and how the error names it.

use crate::common;

use std::error::Error;

use bson::{Bson, Document, doc};
use common::{document, raw_document};
use tailwater_matcher::{EXPRESSION_NODES_MAX, Expression, IN_VALUES_MAX, PATH_COMPONENTS_MAX, ParseError};

#[track_caller]
fn check(filter: &str, expected: &str) {
    let error = Expression::parse(&document(filter)).expect_err(filter);
    assert_eq!(error.to_string(), expected, "{filter}");
}

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $type, $regex, $mod, $all, $elemMatch, \
                         $size, $bitsAllSet, $bitsAllClear, $bitsAnySet, $bitsAnyClear or $not";

#[test]
fn unknown_operators_are_named_with_their_path() {
    let at_age = |operator: &str| format!("operator {operator} is not known at `age`, expected {OPERATORS}");
    check(r#"{"age": {"$foo": 1}}"#, &at_age("$foo"));
    check(r#"{"age": {"$gt": 1, "b": 1}}"#, &at_age("b"));
    check(
        r#"{"$or": [{"a": 1}, {"age": {"$elemMatch": {"$above": 1}}}]}"#,
        &format!("operator $above is not known at `$or[1].age.$elemMatch`, expected {OPERATORS}"),
    );
    check(
        r#"{"$or": [{"$expr": {"$gt": ["$a", {"$nope": 1}]}}]}"#,
        "$nope is not a known operator at `$or[0].$expr.$gt[1]`",
    );
    check(
        r#"{"$and": [{"$nor": [{"$where": "x"}]}]}"#,
        "$where is not supported at `$and[0].$nor[0]`: it runs JavaScript, which this engine does not",
    );
    check(
        r#"{"at": {"$nearSphere": [0, 0]}}"#,
        "$nearSphere is not supported at `at`: there are no geospatial operators",
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
        "$not needs a document of operators or a regular expression at `a`, found int",
    );
    check(
        r#"{"a": {"$not": {}}}"#,
        "$not needs a document of operators or a regular expression at `a`, found object",
    );
    let constant = "a value other than undefined or a regular expression";
    check(
        r#"{"a": {"$undefined": true}}"#,
        &format!("equality needs {constant} at `a`, found undefined"),
    );
    check(
        r#"{"a": {"$gt": {"$regularExpression": {"pattern": "x", "options": ""}}}}"#,
        &format!("$gt needs {constant} at `a`, found regex"),
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
    for _ in 0..49 {
        filter = doc! { "$or": [filter, { "b": 1 }] };
    }
    let deepest = Expression::parse(&raw_document(&filter)).unwrap();
    assert_eq!(Expression::parse(&deepest.to_document()), Ok(deepest));
    filter = doc! { "$or": [filter, { "b": 1 }] };
    let error = Expression::parse(&raw_document(&filter)).unwrap_err();
    assert!(matches!(error, ParseError::Malformed(_)), "{error:?}");
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
    assert!(matches!(error, ParseError::TooDeep), "{error:?}");
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

#[test]
fn errors_have_the_code_names_of_mongodb() {
    for (filter, code) in [
        (r#"{"a": {"$foo": 1}}"#, "BadValue"),
        (r#"{"$where": "x"}"#, "BadValue"),
        (r#"{"a": {"$in": 1}}"#, "BadValue"),
        (r#"{"a": {"$in": [{"$gt": 1}]}}"#, "BadValue"),
        (r#"{"a": {"$type": "text"}}"#, "BadValue"),
        (r#"{"a": {"$type": []}}"#, "FailedToParse"),
        (r#"{"a": {"$type": true}}"#, "TypeMismatch"),
        (r#"{"a": {"$type": [null]}}"#, "TypeMismatch"),
        (r#"{"a": {"$type": 0}}"#, "BadValue"),
        (r#"{"a": {"$bitsAllSet": -1}}"#, "FailedToParse"),
        (r#"{"a": {"$bitsAllSet": 1.5}}"#, "FailedToParse"),
        (r#"{"a": {"$bitsAllSet": "x"}}"#, "BadValue"),
        (r#"{"a": {"$bitsAnyClear": [-1]}}"#, "BadValue"),
        (r#"{"a": {"$size": -1}}"#, "BadValue"),
        (r#"{"a": {"$mod": [0, 1]}}"#, "BadValue"),
        (r#"{"a": {"$regex": "("}}"#, "Location51091"),
        (r#"{"a": {"$regex": "a", "$options": "g"}}"#, "Location51108"),
        (r#"{"a": {"$options": "i"}}"#, "BadValue"),
        (r#"{"$jsonSchema": 1}"#, "TypeMismatch"),
        (r#"{"$jsonSchema": {"foo": 1}}"#, "FailedToParse"),
        (r#"{"$jsonSchema": {"$ref": "x"}}"#, "FailedToParse"),
        (r#"{"$jsonSchema": {"minimum": "x"}}"#, "TypeMismatch"),
        (r#"{"$jsonSchema": {"minLength": "x"}}"#, "FailedToParse"),
        (r#"{"$jsonSchema": {"multipleOf": 0}}"#, "FailedToParse"),
        (r#"{"$jsonSchema": {"bsonType": []}}"#, "FailedToParse"),
        (r#"{"$jsonSchema": {"bsonType": 1}}"#, "TypeMismatch"),
        (
            r#"{"a": {"$elemMatch": {"$jsonSchema": {"required": 1}}}}"#,
            "TypeMismatch",
        ),
    ] {
        let error = Expression::parse(&document(filter)).expect_err(filter);
        assert_eq!(error.code_name(), code, "{filter}: {error}");
    }
}
