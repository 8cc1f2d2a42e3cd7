//! `$jsonSchema`, keyword by keyword.

use crate::common;

use common::document;
use tailwater_matcher::Expression;

/// Checks a schema for the field `v` against values.
#[track_caller]
fn check(schema: &str, accepted: &[&str], refused: &[&str]) {
    let filter = document(&format!(r#"{{"$jsonSchema": {{"properties": {{"v": {schema}}}}}}}"#));
    let expression = Expression::parse(&filter).unwrap_or_else(|error| panic!("{schema}: {error}"));
    for (values, expected) in [(accepted, true), (refused, false)] {
        for value in values {
            let document = document(&format!(r#"{{"v": {value}}}"#));
            assert_eq!(expression.matches(&document), Ok(expected), "{schema} on {value}");
        }
    }
    assert_eq!(expression.matches(&document("{}")), Ok(true), "{schema} on nothing");
}

#[test]
fn keywords_judge_values_of_their_type() {
    check(r#"{"type": "number"}"#, &["1", "1.5"], &[r#""1""#, "null"]);
    check(r#"{"type": ["string", "null"]}"#, &[r#""x""#, "null"], &["1"]);
    check(r#"{"bsonType": ["int", "bool"]}"#, &["1", "true"], &["1.5"]);
    check(
        r#"{"enum": [1, {"a": 1, "b": 2}]}"#,
        &["1.0", r#"{"b": 2, "a": 1}"#],
        &["2", r#"{"a": 1}"#],
    );
    check(
        r#"{"minimum": 3}"#,
        &["3", "4", r#""x""#],
        &["2.9", r#"{"$numberDouble": "NaN"}"#],
    );
    check(r#"{"minimum": 3, "exclusiveMinimum": true}"#, &["4"], &["3"]);
    check(r#"{"maximum": 3, "exclusiveMaximum": true}"#, &["2"], &["3"]);
    check(r#"{"maximum": 3, "exclusiveMaximum": false}"#, &["3"], &["4"]);
    check(
        r#"{"multipleOf": 0.1}"#,
        &["0.3", "7", r#"{"$numberDecimal": "0.7"}"#, "[]"],
        &["0.25"],
    );
    check(
        r#"{"multipleOf": 7}"#,
        &["14", "0", r#"{"$numberDecimal": "7E+6000"}"#],
        &[
            "15",
            r#"{"$numberDecimal": "7E-1"}"#,
            r#"{"$numberDouble": "Infinity"}"#,
        ],
    );
    check(
        r#"{"minLength": 2, "maxLength": 3}"#,
        &[r#""äö""#, r#""abc""#, "1"],
        &[r#""a""#, r#""abcd""#],
    );
    check(r#"{"pattern": "^a.c$"}"#, &[r#""abc""#, "1"], &[r#""abd""#]);
}

#[test]
fn keywords_of_arrays() {
    check(r#"{"minItems": 1, "maxItems": 2}"#, &["[1]", "1"], &["[]", "[1, 2, 3]"]);
    check(
        r#"{"uniqueItems": true}"#,
        &["[1, 2]", r#"[{"a": 1}, {"a": 2}]"#],
        &["[1, 1.0]", r#"[{"a": 1, "b": 2}, {"b": 2, "a": 1}]"#],
    );
    check(
        r#"{"items": {"type": "number"}}"#,
        &["[]", "[1, 2.5]", "1"],
        &[r#"[1, "x"]"#],
    );
    check(
        r#"{"items": [{"type": "number"}, {"type": "string"}], "additionalItems": false}"#,
        &["[1]", r#"[1, "x"]"#],
        &[r#"[1, "x", 1]"#, "[1, 1]"],
    );
    check(
        r#"{"items": [{"type": "number"}], "additionalItems": {"type": "string"}}"#,
        &[r#"[1, "x", "y"]"#],
        &["[1, 2]"],
    );
}

#[test]
fn keywords_of_documents() {
    check(
        r#"{"minProperties": 1, "maxProperties": 2}"#,
        &[r#"{"a": 1}"#, "1"],
        &["{}", r#"{"a": 1, "b": 1, "c": 1}"#],
    );
    check(
        r#"{"required": ["a", "b"]}"#,
        &[r#"{"a": 1, "b": null}"#, "1"],
        &[r#"{"a": 1}"#],
    );
    check(
        r#"{"properties": {"a": {"type": "number"}}, "patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": false}"#,
        &["{}", r#"{"a": 1, "x_1": "y"}"#],
        &[r#"{"b": 1}"#, r#"{"x_1": 1}"#, r#"{"a": "1"}"#],
    );
    check(
        r#"{"additionalProperties": {"minimum": 5}}"#,
        &[r#"{"a": 5}"#],
        &[r#"{"a": 4}"#],
    );
    check(
        r#"{"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}"#,
        &["{}", r#"{"b": 1}"#, r#"{"a": 1, "b": 1}"#, r#"{"c": 1, "d": 1}"#],
        &[r#"{"a": 1}"#, r#"{"c": 1}"#],
    );
}

#[test]
fn keywords_of_schemas() {
    let (small, odd) = (r#"{"maximum": 5}"#, r#"{"not": {"multipleOf": 2}}"#);
    check(&format!(r#"{{"allOf": [{small}, {odd}]}}"#), &["3"], &["2", "7"]);
    check(&format!(r#"{{"anyOf": [{small}, {odd}]}}"#), &["2", "3", "7"], &["8"]);
    check(&format!(r#"{{"oneOf": [{small}, {odd}]}}"#), &["2", "7"], &["3", "8"]);
    check(r#"{"title": "t", "description": "d"}"#, &["1"], &[]);
}

#[test]
fn malformed_schemas_are_refused_where_they_are_wrong() {
    for (schema, at) in [
        (
            r#"{"properties": {"a": {"minimum": "x"}}}"#,
            "minimum needs a number at `$jsonSchema.properties.a`",
        ),
        (r#"{"foo": 1}"#, "\"foo\" is no keyword of $jsonSchema at `$jsonSchema`"),
        (r#"{"format": "date"}"#, "format is not supported at `$jsonSchema`"),
        (r#"{"type": "integer"}"#, "type knows no type \"integer\""),
        (r#"{"bsonType": "text"}"#, "bsonType knows no type \"text\""),
        (
            r#"{"type": "string", "bsonType": "int"}"#,
            "type needs no bsonType beside it",
        ),
        (r#"{"required": []}"#, "required needs"),
        (r#"{"required": ["a", "a"]}"#, "required needs"),
        (r#"{"enum": [1, 1.0]}"#, "enum needs"),
        (r#"{"anyOf": []}"#, "anyOf needs"),
        (r#"{"minLength": -1}"#, "minLength needs"),
        (r#"{"multipleOf": 0}"#, "multipleOf needs"),
        (
            r#"{"exclusiveMinimum": true}"#,
            "exclusiveMinimum needs a minimum beside it",
        ),
        (r#"{"pattern": "("}"#, "the regular expression does not compile"),
        (r#"{"items": [1]}"#, "items[0] needs a schema"),
    ] {
        let error = Expression::parse(&document(&format!(r#"{{"$jsonSchema": {schema}}}"#))).expect_err(schema);
        assert!(error.to_string().starts_with(at), "{schema}: {error}");
    }
}

#[test]
fn a_schema_moves_with_its_root() {
    let schema = Expression::parse(&document(r#"{"$jsonSchema": {"required": ["a"]}}"#)).unwrap();
    let moved = schema.prefixed("x.y");
    assert_eq!(moved.matches(&document(r#"{"x": {"y": {"a": 1}}}"#)), Ok(true));
    assert_eq!(moved.matches(&document(r#"{"x": {"y": {}}}"#)), Ok(false));
    assert_eq!(moved.matches(&document(r#"{"x": 1}"#)), Ok(false));
    assert_eq!(Expression::parse(&moved.to_document()), Ok(moved));
}
