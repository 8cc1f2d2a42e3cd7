//! Paths, comparison, conditions, types, and what holds for every expression.

use bson::{Bson, RawBson, bson, doc, rawdoc};
use tailwater_matcher::{EvaluateErrorKind, ParseOptions, ValueExpression, Variables};

use crate::common::document;
use crate::{check, value};

#[test]
fn paths_reach_through_arrays_and_tell_missing_from_null() {
    check(&[
        (r#""$a""#, r#"{"a": 1}"#, "1"),
        (r#""$a.b""#, r#"{"a": {"b": 2}}"#, "2"),
        (r#""$a.b""#, r#"{"a": [{"b": 1}, {"c": 2}, 3, {"b": 4}]}"#, "[1, 4]"),
        (r#""$a.b""#, r#"{"a": 5}"#, "missing"),
        (r#""$a""#, r#"{"a": null}"#, "null"),
        (r#""$$ROOT.a""#, r#"{"a": 1}"#, "1"),
        (r#""$$ROOT""#, r#"{"a": 1}"#, r#"{"a": 1}"#),
        (r#""$$REMOVE""#, "{}", "missing"),
        (r#"["$a", "$b"]"#, r#"{"a": 1}"#, "[1, null]"),
        (r#"{"x": "$a", "y": "$b"}"#, r#"{"a": 1}"#, r#"{"x": 1}"#),
        (r#"{"$literal": "$a"}"#, "{}", r#""$a""#),
        (r#""$""#, "{}", "error 16872"),
        (r#""$a..b""#, "{}", "error 15998"),
        (r#""$a.""#, "{}", "error 40353"),
        (r#""$a.$b""#, "{}", "error 16410"),
        (r#""$a.$id""#, r#"{"a": {"$ref": "c", "$id": 7}}"#, "7"),
        (r#""$$ROOT.$id""#, "{}", "error 16410"),
        (r#""$$nope""#, "{}", "error 17276"),
        (r#"{"$nope": 1}"#, "{}", "error 168"),
        (r#"{"$add": [1], "$sum": 2}"#, "{}", "error 15983"),
        (r#"{"a.b": 1}"#, "{}", "error 16405"),
    ]);
}

#[test]
fn comparison_crosses_types_and_keeps_missing_apart() {
    check(&[
        (r#"{"$cmp": [1, 2]}"#, "{}", "-1"),
        (r#"{"$eq": ["$qty", 250]}"#, r#"{"qty": 250.0}"#, "true"),
        (r#"{"$ne": ["$qty", 250]}"#, r#"{"qty": 250}"#, "false"),
        (r#"{"$gt": ["a", 5]}"#, "{}", "true"),
        (r#"{"$gte": [5, 5]}"#, "{}", "true"),
        (r#"{"$lt": ["$a", null]}"#, "{}", "true"),
        (r#"{"$eq": ["$a", null]}"#, "{}", "false"),
        (r#"{"$lte": [[1, 2], [1, 3]]}"#, "{}", "true"),
        (r#"{"$eq": ["$a", 1]}"#, r#"{"a": [1]}"#, "false"),
        (
            r#"{"$eq": [{"a": "$x"}, {"$literal": {"a": 1}}]}"#,
            r#"{"x": 1}"#,
            "true",
        ),
        (r#"{"$lt": [["$x", 2], ["$x", 3]]}"#, r#"{"x": 1}"#, "true"),
    ]);
}

#[test]
fn conditions_evaluate_only_what_decides() {
    check(&[
        (r#"{"$and": [1, "green"]}"#, "{}", "true"),
        (r#"{"$and": []}"#, "{}", "true"),
        (r#"{"$and": [null, true]}"#, "{}", "false"),
        (r#"{"$and": [false, {"$divide": [1, 0]}]}"#, "{}", "false"),
        (r#"{"$or": [0, false]}"#, "{}", "false"),
        (r#"{"$or": []}"#, "{}", "false"),
        (r#"{"$or": [true, {"$divide": [1, 0]}]}"#, "{}", "true"),
        (r#"{"$not": [[false]]}"#, "{}", "false"),
        (r#"{"$not": ["$x"]}"#, "{}", "true"),
        (
            r#"{"$cond": {"if": {"$gte": ["$qty", 250]}, "then": 30, "else": 20}}"#,
            r#"{"qty": 300}"#,
            "30",
        ),
        (
            r#"{"$cond": [{"$gte": ["$qty", 250]}, 30, 20]}"#,
            r#"{"qty": 200}"#,
            "20",
        ),
        (r#"{"$cond": [true, 1, {"$divide": [1, 0]}]}"#, "{}", "1"),
        (r#"{"$cond": {"if": 1, "then": 1}}"#, "{}", "error 17082"),
        (r#"{"$cond": {"if": 1, "then": 1, "or": 1}}"#, "{}", "error 17083"),
        (r#"{"$cond": [1, 2]}"#, "{}", "error 16020"),
        (
            r#"{"$ifNull": ["$description", "Unspecified"]}"#,
            r#"{"description": null}"#,
            r#""Unspecified""#,
        ),
        (r#"{"$ifNull": ["$a", "$b", "$c"]}"#, r#"{"b": 2}"#, "2"),
        (r#"{"$ifNull": [1]}"#, "{}", "error 1257300"),
        (
            r#"{"$switch": {"branches": [{"case": {"$gte": ["$s", 90]}, "then": "A"}, {"case": true, "then": "B"}]}}"#,
            r#"{"s": 80}"#,
            r#""B""#,
        ),
        (
            r#"{"$switch": {"branches": [{"case": false, "then": 1}], "default": 2}}"#,
            "{}",
            "2",
        ),
        (
            r#"{"$switch": {"branches": [{"case": false, "then": 1}]}}"#,
            "{}",
            "error 40066",
        ),
        (r#"{"$switch": {"branches": []}}"#, "{}", "error 40068"),
        (r#"{"$switch": {"branches": [{"case": 1}]}}"#, "{}", "error 40065"),
        (
            r#"{"$let": {"vars": {"total": {"$add": ["$price", "$tax"]}, "d": 0.5}, "in": {"$multiply": ["$$total", "$$d"]}}}"#,
            r#"{"price": 10, "tax": 2}"#,
            "6.0",
        ),
        (
            r#"{"$let": {"vars": {"x": 1}, "in": {"$let": {"vars": {"x": 2}, "in": "$$x"}}}}"#,
            "{}",
            "2",
        ),
        (
            r#"{"$let": {"vars": {"CURRENT": "$a"}, "in": "$b"}}"#,
            r#"{"a": {"b": 7}}"#,
            "7",
        ),
        (r#"{"$let": {"vars": {"X": 1}, "in": 1}}"#, "{}", "error 16867"),
        (r#"{"$let": {"vars": {"x": 1}}}"#, "{}", "error 16877"),
    ]);
}

#[test]
fn types_and_conversions() {
    check(&[
        (r#"{"$type": "$a"}"#, "{}", r#""missing""#),
        (r#"{"$type": [[1]]}"#, "{}", r#""array""#),
        (r#"{"$isNumber": 1.5}"#, "{}", "true"),
        (r#"{"$toBool": 0}"#, "{}", "false"),
        (r#"{"$toBool": "false"}"#, "{}", "true"),
        (r#"{"$toInt": 1.99999}"#, "{}", "1"),
        (r#"{"$toInt": "-5"}"#, "{}", "-5"),
        (r#"{"$toInt": "2.5"}"#, "{}", "error 241"),
        (r#"{"$toInt": {"$numberDecimal": "-6789.7"}}"#, "{}", "-6789"),
        (r#"{"$toInt": 3000000000.0}"#, "{}", "error 241"),
        (r#"{"$toInt": null}"#, "{}", "null"),
        (r#"{"$toLong": true}"#, "{}", r#"{"$numberLong": "1"}"#),
        (
            r#"{"$toLong": {"$date": "2018-03-27T04:08:53Z"}}"#,
            "{}",
            r#"{"$numberLong": "1522123733000"}"#,
        ),
        (r#"{"$toDouble": "-5.5"}"#, "{}", "-5.5"),
        (r#"{"$toDouble": "abc"}"#, "{}", "error 241"),
        (
            r#"{"$toDecimal": 2.5}"#,
            "{}",
            r#"{"$numberDecimal": "2.50000000000000"}"#,
        ),
        (r#"{"$toDecimal": "-5.5"}"#, "{}", r#"{"$numberDecimal": "-5.5"}"#),
        (r#"{"$toString": 2.5}"#, "{}", r#""2.5""#),
        (
            r#"{"$toString": {"$date": "2018-03-27T16:58:51.538Z"}}"#,
            "{}",
            r#""2018-03-27T16:58:51.538Z""#,
        ),
        (
            r#"{"$toString": {"$oid": "5ab9c3da31c2ab715d421285"}}"#,
            "{}",
            r#""5ab9c3da31c2ab715d421285""#,
        ),
        (r#"{"$toString": [[1]]}"#, "{}", "error 241"),
        (
            r#"{"$toDate": "2018-03-20"}"#,
            "{}",
            r#"{"$date": "2018-03-20T00:00:00Z"}"#,
        ),
        (
            r#"{"$toDate": 120000000000.5}"#,
            "{}",
            r#"{"$date": "1973-10-20T21:20:00Z"}"#,
        ),
        (
            r#"{"$toDate": {"$oid": "5ab9c3da31c2ab715d421285"}}"#,
            "{}",
            r#"{"$date": "2018-03-27T04:08:58Z"}"#,
        ),
        (r#"{"$toDate": 1}"#, "{}", "error 241"),
        (
            r#"{"$toObjectId": "5ab9cbfa31c2ab715d42129e"}"#,
            "{}",
            r#"{"$oid": "5ab9cbfa31c2ab715d42129e"}"#,
        ),
        (r#"{"$toObjectId": "xyz"}"#, "{}", "error 241"),
        (r#"{"$convert": {"input": "1", "to": "int"}}"#, "{}", "1"),
        (
            r#"{"$convert": {"input": "x", "to": 16, "onError": "bad"}}"#,
            "{}",
            r#""bad""#,
        ),
        (r#"{"$convert": {"input": null, "to": "int", "onNull": 7}}"#, "{}", "7"),
        (r#"{"$convert": {"input": 1, "to": "nope"}}"#, "{}", "error 2"),
        (r#"{"$convert": {"input": 1}}"#, "{}", "error 9"),
        (r#"{"$binarySize": "abc"}"#, "{}", "3"),
        (r#"{"$bsonSize": {"$literal": {"a": 1}}}"#, "{}", "12"),
        (r#"{"$bsonSize": {"a": "$x"}}"#, r#"{"x": 1}"#, "12"),
    ]);
}

#[test]
fn values_stay_within_a_document() {
    let doubling = r#"{"$reduce": {"input": {"$range": [0, 100]}, "initialValue": "ab", "in": {"$concat": ["$$value", "$$value"]}}}"#;
    let nesting = r#"{"$reduce": {"input": {"$range": [0, 1000]}, "initialValue": 1, "in": ["$$value"]}}"#;
    let arrays = r#"{"$reduce": {"input": {"$range": [0, 100]}, "initialValue": [1], "in": {"$concatArrays": ["$$value", "$$value"]}}}"#;
    check(&[
        (doubling, "{}", "error 10334"),
        (nesting, "{}", "error 15"),
        (arrays, "{}", "error 10334"),
    ]);
}

/// Each value is within a document's size; that there are so many is what is refused, before all of them are there.
#[test]
fn values_that_are_held_together_stay_within_a_bound() {
    let root = rawdoc! { "text": "x".repeat(1 << 20), "items": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] };
    let large = doc! { "$concat": vec!["$text"; 8] };
    let nested = (0..10).fold(Bson::Int32(1), |inner, _| {
        bson!({ "$let": { "vars": { "x": large.clone() }, "in": { "$add": [{ "$strLenBytes": "$$x" }, inner] } } })
    });
    let cases = [
        bson!({ "$size": { "$concatArrays": vec![bson!([large.clone()]); 10] } }),
        bson!({ "$cmp": [vec![large.clone(); 10], 1] }),
        bson!({ "$cmp": [{ "a": large.clone(), "b": vec![large.clone(); 10] }, 1] }),
        nested,
    ];
    let evaluate = |expression: &Bson| {
        let raw = RawBson::try_from(expression.clone()).unwrap();
        let parsed = ValueExpression::parse(raw.as_raw_bson_ref()).unwrap();
        match parsed.evaluate(&Variables::new(&root)).map(|_| ()) {
            Ok(()) => 0,
            Err(error) => match error.kind() {
                EvaluateErrorKind::Aggregation(error) => error.code(),
                other => panic!("{other}"),
            },
        }
    };
    for case in &cases {
        assert_eq!(evaluate(case), 146, "{case}");
    }
    // One after the other they are fine.
    let in_turn = bson!({ "$sum": { "$map": { "input": "$items", "in": { "$strLenBytes": large } } } });
    assert_eq!(evaluate(&in_turn), 0);
}

#[test]
fn an_error_names_operator_and_place() {
    let expression = value(r#"{"a": {"$divide": ["$x", {"$add": ["$y", "z"]}]}}"#);
    let parsed = ValueExpression::parse(expression.as_raw_bson_ref()).unwrap();
    let root = document(r#"{"x": 1, "y": 2}"#);
    let error = parsed.evaluate(&Variables::new(&root)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "$add: needs numbers or a date, found string at `a.$divide[1]`"
    );
}

#[test]
fn variables_bound_from_outside() {
    let source = value(r#"{"$add": ["$n", "$$new.n"]}"#);
    let expression = ValueExpression::parse_with(
        source.as_raw_bson_ref(),
        &ParseOptions::default().with_variables(&["new"]),
    )
    .unwrap();
    let (root, new) = (document(r#"{"n": 1}"#), document(r#"{"n": 2}"#));
    let variables = Variables::new(&root).bind("new", bson::RawBsonRef::Document(&new));
    let sum = expression.evaluate(&variables).unwrap().into_bson().unwrap();
    assert_eq!(sum, Some(RawBson::Int32(3)));
}
