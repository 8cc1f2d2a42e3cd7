//! What each aggregation operator computes, one table per family; the cases follow the examples of
//! MongoDB's manual. `missing` stands for no value, `error N` for MongoDB's error of that number.

mod common;

use bson::RawBson;
use common::document;
use tailwater_matcher::{EvaluateErrorKind, ParseError, ValueExpression, Variables};

/// A value from Extended JSON, in which a negative number without a fraction is an int like others.
fn value(json: &str) -> RawBson {
    let json: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    RawBson::try_from(bson::Bson::try_from(json).unwrap()).unwrap()
}

/// What the expression yields on the document, as text that tells types apart.
fn outcome(expression: &str, json: &str) -> String {
    let source = value(expression);
    let root = document(json);
    let parsed = match ValueExpression::parse(source.as_raw_bson_ref()) {
        Ok(parsed) => parsed,
        Err(ParseError::Aggregation { kind, .. }) => return format!("error {}", kind.code()),
        Err(error) => return format!("unexpected {error}"),
    };
    match parsed.evaluate(&Variables::new(&root)) {
        Ok(value) => show(value.into_bson().unwrap()),
        Err(error) => match error.kind() {
            EvaluateErrorKind::Aggregation(error) => format!("error {}", error.code()),
            other => format!("unexpected {other}"),
        },
    }
}

fn show(value: Option<RawBson>) -> String {
    value.map_or("missing".to_owned(), |value| {
        bson::Bson::try_from(value)
            .unwrap()
            .into_canonical_extjson()
            .to_string()
    })
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (expression, json, expected) in cases {
        let expected = if *expected == "missing" || expected.starts_with("error") {
            (*expected).to_owned()
        } else {
            show(Some(value(expected)))
        };
        let found = outcome(expression, json);
        if found != expected {
            wrong.push(format!("{expression} on {json}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

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
        (r#""$$nope""#, "{}", "error 17276"),
        (r#"{"$nope": 1}"#, "{}", "error 168"),
        (r#"{"$add": [1], "$sum": 2}"#, "{}", "error 15983"),
        (r#"{"a.b": 1}"#, "{}", "error 16405"),
    ]);
}

#[test]
fn arithmetic_keeps_and_widens_types() {
    check(&[
        (r#"{"$add": ["$price", "$fee"]}"#, r#"{"price": 10, "fee": 2}"#, "12"),
        (r#"{"$add": [1, 2.5]}"#, "{}", "3.5"),
        (r#"{"$add": [1, null]}"#, "{}", "null"),
        (r#"{"$add": []}"#, "{}", "0"),
        (r#"{"$add": [2147483647, 1]}"#, "{}", r#"{"$numberLong": "2147483648"}"#),
        (
            r#"{"$add": [{"$numberLong": "9223372036854775807"}, 1]}"#,
            "{}",
            "9223372036854775808.0",
        ),
        (
            r#"{"$add": [{"$numberDecimal": "1.0"}, {"$numberDecimal": "2.00"}]}"#,
            "{}",
            r#"{"$numberDecimal": "3.00"}"#,
        ),
        (
            r#"{"$add": ["$d", 10800000]}"#,
            r#"{"d": {"$date": "2014-03-01T08:00:00Z"}}"#,
            r#"{"$date": "2014-03-01T11:00:00Z"}"#,
        ),
        (
            r#"{"$add": ["$d", "$d"]}"#,
            r#"{"d": {"$date": "2014-03-01T08:00:00Z"}}"#,
            "error 16612",
        ),
        (r#"{"$add": ["x", 1]}"#, "{}", "error 16554"),
        (r#"{"$subtract": [10, 2]}"#, "{}", "8"),
        (
            r#"{"$subtract": [-2147483648, 1]}"#,
            "{}",
            r#"{"$numberLong": "-2147483649"}"#,
        ),
        (
            r#"{"$subtract": [{"$date": "2014-03-01T09:00:00Z"}, {"$date": "2014-03-01T08:00:00Z"}]}"#,
            "{}",
            r#"{"$numberLong": "3600000"}"#,
        ),
        (r#"{"$subtract": ["x", 1]}"#, "{}", "error 16556"),
        (r#"{"$multiply": [3, 4]}"#, "{}", "12"),
        (
            r#"{"$multiply": [65536, 65536]}"#,
            "{}",
            r#"{"$numberLong": "4294967296"}"#,
        ),
        (r#"{"$multiply": ["x", 4]}"#, "{}", "error 16555"),
        (r#"{"$divide": [80, 8]}"#, "{}", "10.0"),
        (r#"{"$divide": [1, 0]}"#, "{}", "error 16608"),
        (
            r#"{"$divide": [{"$numberDecimal": "1"}, 3]}"#,
            "{}",
            r#"{"$numberDecimal": "0.3333333333333333333333333333333333"}"#,
        ),
        (r#"{"$mod": [80, 7]}"#, "{}", "3"),
        (r#"{"$mod": [-80, 7.0]}"#, "{}", "-3.0"),
        (r#"{"$mod": [1, 0]}"#, "{}", "error 16610"),
        (r#"{"$mod": ["a", 1]}"#, "{}", "error 16611"),
        (r#"{"$subtract": [1]}"#, "{}", "error 16020"),
        (r#"{"$bitAnd": [12, 10]}"#, "{}", "8"),
        (r#"{"$bitOr": [12, 10]}"#, "{}", "14"),
        (
            r#"{"$bitXor": [12, {"$numberLong": "10"}]}"#,
            "{}",
            r#"{"$numberLong": "6"}"#,
        ),
        (r#"{"$bitNot": 5}"#, "{}", "-6"),
        (r#"{"$bitAnd": [1.5, 1]}"#, "{}", "error 14"),
    ]);
}

#[test]
fn functions_of_numbers() {
    check(&[
        (r#"{"$abs": -1}"#, "{}", "1"),
        (r#"{"$abs": -2147483648}"#, "{}", r#"{"$numberLong": "2147483648"}"#),
        (
            r#"{"$abs": {"$numberLong": "-9223372036854775808"}}"#,
            "{}",
            "error 28680",
        ),
        (r#"{"$abs": "x"}"#, "{}", "error 28765"),
        (r#"{"$abs": null}"#, "{}", "null"),
        (r#"{"$ceil": 7.8}"#, "{}", "8.0"),
        (r#"{"$ceil": -2.8}"#, "{}", "-2.0"),
        (r#"{"$floor": 7.8}"#, "{}", "7.0"),
        (
            r#"{"$floor": {"$numberDecimal": "-2.5"}}"#,
            "{}",
            r#"{"$numberDecimal": "-3"}"#,
        ),
        (r#"{"$round": 10.5}"#, "{}", "10.0"),
        (r#"{"$round": 11.5}"#, "{}", "12.0"),
        (r#"{"$round": [19.25, 1]}"#, "{}", "19.2"),
        (r#"{"$round": [10, -1]}"#, "{}", "10"),
        (r#"{"$round": [15, -1]}"#, "{}", "20"),
        (r#"{"$round": [-45.39, -1]}"#, "{}", "-50.0"),
        (r#"{"$trunc": [-45.39, -1]}"#, "{}", "-40.0"),
        (r#"{"$trunc": [19.25, 1]}"#, "{}", "19.2"),
        (r#"{"$trunc": [1, 101]}"#, "{}", "error 51083"),
        (r#"{"$trunc": [1, 1.5]}"#, "{}", "error 51082"),
        (r#"{"$sqrt": 100}"#, "{}", "10.0"),
        (
            r#"{"$sqrt": {"$numberDecimal": "4"}}"#,
            "{}",
            r#"{"$numberDecimal": "2"}"#,
        ),
        (r#"{"$sqrt": -1}"#, "{}", "error 28714"),
        (r#"{"$exp": 0}"#, "{}", "1.0"),
        (r#"{"$ln": 1}"#, "{}", "0.0"),
        (r#"{"$ln": 0}"#, "{}", "error 28766"),
        (r#"{"$log10": 1000}"#, "{}", "3.0"),
        (r#"{"$log": [100, 10]}"#, "{}", "2.0"),
        (r#"{"$log": [100, 1]}"#, "{}", "error 28759"),
        (r#"{"$pow": [5, 2]}"#, "{}", "25"),
        (r#"{"$pow": [2, 40]}"#, "{}", r#"{"$numberLong": "1099511627776"}"#),
        (r#"{"$pow": [2, -1]}"#, "{}", "0.5"),
        (r#"{"$pow": [0, -1]}"#, "{}", "error 28764"),
        (r#"{"$pow": [10, 30]}"#, "{}", "1e30"),
        (
            r#"{"$pow": [{"$numberDecimal": "1.1"}, 2]}"#,
            "{}",
            r#"{"$numberDecimal": "1.21"}"#,
        ),
        (r#"{"$exp": {"$numberDecimal": "1"}}"#, "{}", "error 238"),
        (r#"{"$sin": 0}"#, "{}", "0.0"),
        (r#"{"$acos": 2}"#, "{}", "error 50989"),
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
fn strings() {
    check(&[
        (
            r#"{"$concat": ["$item", " - ", "$d"]}"#,
            r#"{"item": "ABC1", "d": "product 1"}"#,
            r#""ABC1 - product 1""#,
        ),
        (r#"{"$concat": ["a", "$none"]}"#, "{}", "null"),
        (r#"{"$concat": ["a", 1]}"#, "{}", "error 16702"),
        (r#"{"$substrBytes": ["abcde", 1, 2]}"#, "{}", r#""bc""#),
        (r#"{"$substrBytes": ["éclair", 0, 3]}"#, "{}", r#""éc""#),
        (r#"{"$substrBytes": ["éclair", 1, 3]}"#, "{}", "error 28656"),
        (r#"{"$substrBytes": ["abc", 1, -1]}"#, "{}", r#""bc""#),
        (r#"{"$substr": [2024, 0, 2]}"#, "{}", r#""20""#),
        (r#"{"$substrCP": ["cafétéria", 3, 4]}"#, "{}", r#""étér""#),
        (r#"{"$substrCP": ["abc", -1, 4]}"#, "{}", "error 34455"),
        (r#"{"$strLenBytes": "cafétéria"}"#, "{}", "11"),
        (r#"{"$strLenCP": "寿司sushi"}"#, "{}", "7"),
        (r#"{"$strLenCP": "$none"}"#, "{}", "error 34471"),
        (r#"{"$indexOfBytes": ["cafeteria", "e"]}"#, "{}", "3"),
        (r#"{"$indexOfBytes": ["cafétéria", "é"]}"#, "{}", "3"),
        (r#"{"$indexOfBytes": ["foo.bar.fi", ".", 5]}"#, "{}", "7"),
        (r#"{"$indexOfBytes": ["vanilla", "ll", 0, 2]}"#, "{}", "-1"),
        (r#"{"$indexOfBytes": ["$none", "x"]}"#, "{}", "null"),
        (r#"{"$indexOfCP": ["cafétéria", "t"]}"#, "{}", "4"),
        (r#"{"$indexOfCP": ["cafétéria", "é", 4]}"#, "{}", "5"),
        (r#"{"$indexOfCP": ["abc", "c", -1]}"#, "{}", "error 40097"),
        (
            r#"{"$split": ["June-15-2013", "-"]}"#,
            "{}",
            r#"["June", "15", "2013"]"#,
        ),
        (
            r#"{"$split": ["banana split", "a"]}"#,
            "{}",
            r#"["b", "n", "n", " split"]"#,
        ),
        (r#"{"$split": ["a", ""]}"#, "{}", "error 40087"),
        (r#"{"$toLower": "ABC É"}"#, "{}", r#""abc É""#),
        (r#"{"$toUpper": 12}"#, "{}", r#""12""#),
        (r#"{"$toUpper": null}"#, "{}", r#""""#),
        (r#"{"$toUpper": [[1]]}"#, "{}", "error 16007"),
        (r#"{"$strcasecmp": ["ab", "AC"]}"#, "{}", "-1"),
        (r#"{"$trim": {"input": "  \n good  bye \t  "}}"#, "{}", r#""good  bye""#),
        (
            r#"{"$trim": {"input": " ggggoodbyeeeee", "chars": "ge "}}"#,
            "{}",
            r#""oodby""#,
        ),
        (r#"{"$ltrim": {"input": "  a "}}"#, "{}", r#""a ""#),
        (r#"{"$rtrim": {"input": "  a "}}"#, "{}", r#""  a""#),
        (r#"{"$trim": {}}"#, "{}", "error 50695"),
        (
            r#"{"$replaceOne": {"input": "blue paint", "find": "blue", "replacement": "red"}}"#,
            "{}",
            r#""red paint""#,
        ),
        (
            r#"{"$replaceAll": {"input": "a-a", "find": "a", "replacement": "b"}}"#,
            "{}",
            r#""b-b""#,
        ),
        (
            r#"{"$replaceAll": {"input": null, "find": "a", "replacement": "b"}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$replaceAll": {"input": 1, "find": "a", "replacement": "b"}}"#,
            "{}",
            "error 51746",
        ),
    ]);
}

#[test]
fn regular_expressions() {
    check(&[
        (
            r#"{"$regexMatch": {"input": "$d", "regex": "line"}}"#,
            r#"{"d": "Single LINE"}"#,
            "false",
        ),
        (
            r#"{"$regexMatch": {"input": "$d", "regex": "line", "options": "i"}}"#,
            r#"{"d": "Single LINE"}"#,
            "true",
        ),
        (
            r#"{"$regexMatch": {"input": "a\nb", "regex": {"$regularExpression": {"pattern": "^b", "options": "m"}}}}"#,
            "{}",
            "true",
        ),
        (r#"{"$regexMatch": {"input": "$none", "regex": "a"}}"#, "{}", "false"),
        (
            r#"{"$regexFind": {"input": "Café au lait", "regex": "(a)(u)?"}}"#,
            "{}",
            r#"{"match": "a", "idx": 1, "captures": ["a", null]}"#,
        ),
        (
            r#"{"$regexFind": {"input": "é-x", "regex": "x"}}"#,
            "{}",
            r#"{"match": "x", "idx": 2, "captures": []}"#,
        ),
        (r#"{"$regexFind": {"input": "abc", "regex": "x"}}"#, "{}", "null"),
        (
            r#"{"$regexFindAll": {"input": "ab1 b2", "regex": "b(?=[0-9])"}}"#,
            "{}",
            r#"[{"match": "b", "idx": 1, "captures": []}, {"match": "b", "idx": 4, "captures": []}]"#,
        ),
        (r#"{"$regexFindAll": {"input": null, "regex": "x"}}"#, "{}", "[]"),
        (r#"{"$regexMatch": {"input": 1, "regex": "x"}}"#, "{}", "error 51104"),
        (r#"{"$regexMatch": {"input": "a", "regex": "("}}"#, "{}", "error 51111"),
        (
            r#"{"$regexMatch": {"input": "a", "regex": "a", "options": "q"}}"#,
            "{}",
            "error 51108",
        ),
        (
            r#"{"$regexMatch": {"input": "a", "regex": "$p"}}"#,
            r#"{"p": "^a$"}"#,
            "true",
        ),
        (
            r#"{"$regexMatch": {"input": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "regex": "^(a|aa)+(?!b)$"}}"#,
            "{}",
            "error 51156",
        ),
    ]);
}

#[test]
fn arrays_by_position() {
    check(&[
        (r#"{"$arrayElemAt": [[1, 2, 3], 0]}"#, "{}", "1"),
        (r#"{"$arrayElemAt": [[1, 2, 3], -2]}"#, "{}", "2"),
        (r#"{"$arrayElemAt": [[1, 2, 3], 15]}"#, "{}", "missing"),
        (r#"{"$arrayElemAt": [[1, 2, 3], 1.5]}"#, "{}", "error 28691"),
        (r#"{"$first": "$a"}"#, r#"{"a": [4, 5]}"#, "4"),
        (r#"{"$last": "$a"}"#, r#"{"a": [4, 5]}"#, "5"),
        (r#"{"$first": "$a"}"#, r#"{"a": []}"#, "missing"),
        (r#"{"$first": "$a"}"#, r#"{"a": 1}"#, "error 28689"),
        (r#"{"$slice": [[1, 2, 3], 1, 1]}"#, "{}", "[2]"),
        (r#"{"$slice": [[1, 2, 3], -2]}"#, "{}", "[2, 3]"),
        (r#"{"$slice": [[1, 2, 3], 15, 2]}"#, "{}", "[]"),
        (r#"{"$slice": [[1, 2, 3], -15, 2]}"#, "{}", "[1, 2]"),
        (r#"{"$slice": [[1, 2, 3], 1, 0]}"#, "{}", "error 28729"),
        (r#"{"$firstN": {"n": 2, "input": [1, 2, 3]}}"#, "{}", "[1, 2]"),
        (r#"{"$lastN": {"n": 2, "input": [1, 2, 3]}}"#, "{}", "[2, 3]"),
        (r#"{"$minN": {"n": 2, "input": [3, 1, null, 2]}}"#, "{}", "[1, 2]"),
        (r#"{"$maxN": {"n": 2, "input": [3, 1, null, 2]}}"#, "{}", "[3, 2]"),
        (r#"{"$firstN": {"n": 0, "input": []}}"#, "{}", "error 5787908"),
        (r#"{"$indexOfArray": [["a", "abc"], "a"]}"#, "{}", "0"),
        (r#"{"$indexOfArray": [["a", "abc", "b"], ["b"]]}"#, "{}", "-1"),
        (r#"{"$indexOfArray": [[1, 2, 1], 1, 1]}"#, "{}", "2"),
        (r#"{"$in": [2, [1, 2, 3]]}"#, "{}", "true"),
        (r#"{"$in": ["xy", ["abc"]]}"#, "{}", "false"),
        (r#"{"$in": [1, 2]}"#, "{}", "error 40081"),
        (r#"{"$isArray": "$a"}"#, r#"{"a": []}"#, "true"),
        (r#"{"$isArray": ["hello"]}"#, "{}", "false"),
        (r#"{"$size": "$a"}"#, r#"{"a": [1, 2]}"#, "2"),
        (r#"{"$size": "$a"}"#, "{}", "error 17124"),
        (r#"{"$reverseArray": [[1, 2, 3]]}"#, "{}", "[3, 2, 1]"),
        (r#"{"$reverseArray": "$none"}"#, "{}", "null"),
        (
            r#"{"$concatArrays": [["hello", " "], [["world"], "again"]]}"#,
            "{}",
            r#"["hello", " ", ["world"], "again"]"#,
        ),
        (r#"{"$concatArrays": [[1], "$none"]}"#, "{}", "null"),
        (r#"{"$range": [0, 10, 2]}"#, "{}", "[0, 2, 4, 6, 8]"),
        (r#"{"$range": [10, 0, -4]}"#, "{}", "[10, 6, 2]"),
        (r#"{"$range": [0, 10, -2]}"#, "{}", "[]"),
        (r#"{"$range": [0, 10, 0]}"#, "{}", "error 34449"),
        (r#"{"$range": [0, 2147483647]}"#, "{}", "error 146"),
    ]);
}

#[test]
fn arrays_as_a_whole() {
    check(&[
        (
            r#"{"$map": {"input": "$q", "as": "g", "in": {"$add": ["$$g", 2]}}}"#,
            r#"{"q": [5, 6]}"#,
            "[7, 8]",
        ),
        (r#"{"$map": {"input": [1], "in": "$$this"}}"#, "{}", "[1]"),
        (r#"{"$map": {"input": "$none", "in": 1}}"#, "{}", "null"),
        (r#"{"$map": {"input": 1, "in": 1}}"#, "{}", "error 16883"),
        (r#"{"$map": {"input": [], "in": "$$other"}}"#, "{}", "error 17276"),
        (
            r#"{"$filter": {"input": "$items", "as": "i", "cond": {"$gte": ["$$i.price", 100]}}}"#,
            r#"{"items": [{"price": 50}, {"price": 110}, {"price": 200}]}"#,
            r#"[{"price": 110}, {"price": 200}]"#,
        ),
        (
            r#"{"$filter": {"input": [1, 2, 3], "cond": {"$gt": ["$$this", 1]}, "limit": 1}}"#,
            "{}",
            "[2]",
        ),
        (
            r#"{"$filter": {"input": [1], "cond": true, "limit": 0}}"#,
            "{}",
            "error 327392",
        ),
        (
            r#"{"$reduce": {"input": ["a", "b", "c"], "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}"#,
            "{}",
            r#""abc""#,
        ),
        (
            r#"{"$reduce": {"input": [1, 2, 3, 4], "initialValue": {"sum": 5, "product": 2}, "in": {"sum": {"$add": ["$$value.sum", "$$this"]}, "product": {"$multiply": ["$$value.product", "$$this"]}}}}"#,
            "{}",
            r#"{"sum": 15, "product": 48}"#,
        ),
        (
            r#"{"$reduce": {"input": "$none", "initialValue": 0, "in": 1}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$sortArray": {"input": [3, 1, "a", 2], "sortBy": 1}}"#,
            "{}",
            r#"[1, 2, 3, "a"]"#,
        ),
        (
            r#"{"$sortArray": {"input": "$t", "sortBy": {"age": -1, "name": 1}}}"#,
            r#"{"t": [{"name": "p", "age": 30}, {"name": "d", "age": 42}, {"name": "c", "age": 30}]}"#,
            r#"[{"name": "d", "age": 42}, {"name": "c", "age": 30}, {"name": "p", "age": 30}]"#,
        ),
        (r#"{"$sortArray": {"input": [1], "sortBy": 2}}"#, "{}", "error 15975"),
        (
            r#"{"$zip": {"inputs": [["a"], ["b"], ["c"]]}}"#,
            "{}",
            r#"[["a", "b", "c"]]"#,
        ),
        (
            r#"{"$zip": {"inputs": [[1], [2, 3]], "useLongestLength": true}}"#,
            "{}",
            "[[1, 2], [null, 3]]",
        ),
        (
            r#"{"$zip": {"inputs": [[1], [2, 3]], "useLongestLength": true, "defaults": ["a", "b"]}}"#,
            "{}",
            r#"[[1, 2], ["a", 3]]"#,
        ),
        (r#"{"$zip": {"inputs": [[1]], "defaults": [1]}}"#, "{}", "error 34466"),
    ]);
}

#[test]
fn sets() {
    check(&[
        (r#"{"$setUnion": [["b", "a"], ["c", "a"]]}"#, "{}", r#"["a", "b", "c"]"#),
        (r#"{"$setUnion": [[1], null]}"#, "{}", "null"),
        (
            r#"{"$setIntersection": [["a", "b", "a"], ["b", "a"]]}"#,
            "{}",
            r#"["a", "b"]"#,
        ),
        (r#"{"$setIntersection": [["a"], [["a"]]]}"#, "{}", "[]"),
        (r#"{"$setDifference": [["b", "a", "b"], ["a"]]}"#, "{}", r#"["b"]"#),
        (r#"{"$setEquals": [["a", "b", "a"], ["b", "a"]]}"#, "{}", "true"),
        (r#"{"$setEquals": [["a"], "$none"]}"#, "{}", "error 17044"),
        (r#"{"$setIsSubset": [["b"], ["a", "b"]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[true, 1, "x"]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[null]]}"#, "{}", "false"),
        (r#"{"$anyElementTrue": [[false, 0, 1]]}"#, "{}", "true"),
        (r#"{"$anyElementTrue": [[]]}"#, "{}", "false"),
    ]);
}

#[test]
fn documents() {
    check(&[
        (r#"{"$mergeObjects": [{"a": 1}, null]}"#, "{}", r#"{"a": 1}"#),
        (
            r#"{"$mergeObjects": [{"a": 1, "b": 2}, {"a": 3, "c": 4}]}"#,
            "{}",
            r#"{"a": 3, "b": 2, "c": 4}"#,
        ),
        (r#"{"$mergeObjects": [1]}"#, "{}", "error 40400"),
        (r#"{"$getField": "a.b"}"#, r#"{"a.b": 1}"#, "1"),
        (
            r#"{"$getField": {"field": {"$literal": "$p"}, "input": "$x"}}"#,
            r#"{"x": {"$p": 2}}"#,
            "2",
        ),
        (r#"{"$getField": {"field": "a", "input": null}}"#, "{}", "null"),
        (r#"{"$getField": 5}"#, "{}", "error 5654602"),
        (
            r#"{"$setField": {"field": "a.b", "input": "$$ROOT", "value": 2}}"#,
            r#"{"a.b": 1, "c": 3}"#,
            r#"{"a.b": 2, "c": 3}"#,
        ),
        (
            r#"{"$unsetField": {"field": "a.b", "input": "$$ROOT"}}"#,
            r#"{"a.b": 1, "c": 3}"#,
            r#"{"c": 3}"#,
        ),
        (
            r#"{"$objectToArray": "$d"}"#,
            r#"{"d": {"l": 25, "w": 10}}"#,
            r#"[{"k": "l", "v": 25}, {"k": "w", "v": 10}]"#,
        ),
        (r#"{"$objectToArray": 1}"#, "{}", "error 40390"),
        (
            r#"{"$arrayToObject": [[["item", "abc"], ["qty", 25]]]}"#,
            "{}",
            r#"{"item": "abc", "qty": 25}"#,
        ),
        (
            r#"{"$arrayToObject": [[{"k": "a", "v": 1}, {"k": "a", "v": 2}]]}"#,
            "{}",
            r#"{"a": 2}"#,
        ),
        (r#"{"$arrayToObject": [[["a"]]]}"#, "{}", "error 40397"),
        (r#"{"$arrayToObject": [[{"k": "a"}]]}"#, "{}", "error 40392"),
        (r#"{"$arrayToObject": [[[1, 2]]]}"#, "{}", "error 40395"),
    ]);
}

#[test]
fn dates_have_parts_in_a_zone() {
    let on = r#"{"d": {"$date": "2014-01-01T08:15:39.736Z"}, "s": {"$date": "2017-06-19T15:13:25.713Z"}}"#;
    check(&[
        (r#"{"$year": "$d"}"#, on, "2014"),
        (r#"{"$month": "$d"}"#, on, "1"),
        (r#"{"$dayOfMonth": ["$d"]}"#, on, "1"),
        (r#"{"$hour": "$d"}"#, on, "8"),
        (r#"{"$minute": "$d"}"#, on, "15"),
        (r#"{"$second": "$d"}"#, on, "39"),
        (r#"{"$millisecond": "$d"}"#, on, "736"),
        (r#"{"$dayOfYear": "$d"}"#, on, "1"),
        (r#"{"$dayOfWeek": "$d"}"#, on, "4"),
        (r#"{"$week": "$d"}"#, on, "0"),
        (r#"{"$isoWeek": "$d"}"#, on, "1"),
        (
            r#"{"$isoWeekYear": {"date": {"$date": "2016-01-01T00:00:00Z"}}}"#,
            on,
            "2015",
        ),
        (r#"{"$isoDayOfWeek": "$d"}"#, on, "3"),
        (r#"{"$hour": {"date": "$d", "timezone": "America/New_York"}}"#, on, "3"),
        (r#"{"$hour": {"date": "$d", "timezone": "+0530"}}"#, on, "13"),
        (r#"{"$year": {"date": "$d", "timezone": "-09"}}"#, on, "2013"),
        (r#"{"$hour": {"date": "$d", "timezone": "Nowhere"}}"#, on, "error 40485"),
        (r#"{"$hour": {"date": "$d", "timezone": null}}"#, on, "null"),
        (r#"{"$hour": "$none"}"#, on, "null"),
        (r#"{"$hour": "x"}"#, on, "error 16006"),
        (r#"{"$year": {"$timestamp": {"t": 1388563200, "i": 1}}}"#, on, "2014"),
        (
            r#"{"$dateToParts": {"date": "$s", "timezone": "America/New_York"}}"#,
            on,
            r#"{"year": 2017, "month": 6, "day": 19, "hour": 11, "minute": 13, "second": 25, "millisecond": 713}"#,
        ),
        (
            r#"{"$dateToParts": {"date": "$s", "iso8601": true}}"#,
            on,
            r#"{"isoWeekYear": 2017, "isoWeek": 25, "isoDayOfWeek": 1, "hour": 15, "minute": 13, "second": 25, "millisecond": 713}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 2, "day": 8, "hour": 12}}"#,
            on,
            r#"{"$date": "2017-02-08T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 14}}"#,
            on,
            r#"{"$date": "2018-02-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 0}}"#,
            on,
            r#"{"$date": "2016-12-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"isoWeekYear": 2017, "isoWeek": 6, "isoDayOfWeek": 3, "hour": 12}}"#,
            on,
            r#"{"$date": "2017-02-08T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2016, "month": 12, "day": 31, "hour": 23, "timezone": "America/New_York"}}"#,
            on,
            r#"{"$date": "2017-01-01T04:00:00Z"}"#,
        ),
        (r#"{"$dateFromParts": {"month": 1}}"#, on, "error 40516"),
        (r#"{"$dateFromParts": {"year": 2017, "isoWeek": 1}}"#, on, "error 40489"),
    ]);
}

#[test]
fn dates_as_text() {
    let on = r#"{"d": {"$date": "2014-01-01T08:15:39.736Z"}}"#;
    check(&[
        (
            r#"{"$dateToString": {"date": "$d"}}"#,
            on,
            r#""2014-01-01T08:15:39.736Z""#,
        ),
        (
            r#"{"$dateToString": {"format": "%Y-%m-%d", "date": "$d"}}"#,
            on,
            r#""2014-01-01""#,
        ),
        (
            r#"{"$dateToString": {"format": "%H:%M:%S:%L%z", "date": "$d", "timezone": "America/New_York"}}"#,
            on,
            r#""03:15:39:736-0500""#,
        ),
        (
            r#"{"$dateToString": {"format": "%H:%M:%S:%L%z", "date": "$d", "timezone": "+04:30"}}"#,
            on,
            r#""12:45:39:736+0430""#,
        ),
        (
            r#"{"$dateToString": {"format": "%Z", "date": "$d", "timezone": "+0430"}}"#,
            on,
            r#""270""#,
        ),
        (
            r#"{"$dateToString": {"format": "%j %U %V %G %u %w %%", "date": "$d"}}"#,
            on,
            r#""001 00 01 2014 3 4 %""#,
        ),
        (
            r#"{"$dateToString": {"date": "$none", "onNull": "never"}}"#,
            on,
            r#""never""#,
        ),
        (
            r#"{"$dateToString": {"date": "$d", "format": "%q"}}"#,
            on,
            "error 18536",
        ),
        (r#"{"$dateToString": {"date": "$d", "format": "%"}}"#, on, "error 18535"),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40.787"}}"#,
            on,
            r#"{"$date": "2017-02-08T12:10:40.787Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40.787", "timezone": "America/New_York"}}"#,
            on,
            r#"{"$date": "2017-02-08T17:10:40.787Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08"}}"#,
            on,
            r#"{"$date": "2017-02-08T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "06-15-2018", "format": "%m-%d-%Y"}}"#,
            on,
            r#"{"$date": "2018-06-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "15-6-2018", "format": "%d-%m-%Y"}}"#,
            on,
            r#"{"$date": "2018-06-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40Z", "timezone": "UTC"}}"#,
            on,
            "error 241",
        ),
        (r#"{"$dateFromString": {"dateString": "not a date"}}"#, on, "error 241"),
        (
            r#"{"$dateFromString": {"dateString": "not a date", "onError": "$d"}}"#,
            on,
            r#"{"$date": "2014-01-01T08:15:39.736Z"}"#,
        ),
        (r#"{"$dateFromString": {"dateString": null, "onNull": 1}}"#, on, "1"),
    ]);
}

#[test]
fn date_arithmetic_follows_the_calendar() {
    check(&[
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2020-10-31T12:00:00Z"}, "unit": "month", "amount": 1}}"#,
            "{}",
            r#"{"$date": "2020-11-30T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-10-30T12:00:00Z"}, "unit": "day", "amount": 1, "timezone": "Europe/Paris"}}"#,
            "{}",
            r#"{"$date": "2021-10-31T13:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-10-30T12:00:00Z"}, "unit": "hour", "amount": 24, "timezone": "Europe/Paris"}}"#,
            "{}",
            r#"{"$date": "2021-10-31T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateSubtract": {"startDate": {"$date": "2021-03-31T00:00:00Z"}, "unit": "quarter", "amount": 1}}"#,
            "{}",
            r#"{"$date": "2020-12-31T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": null, "unit": "day", "amount": 1}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-03-31T00:00:00Z"}, "unit": "moon", "amount": 1}}"#,
            "{}",
            "error 9",
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2020-11-01T23:00:00Z"}, "endDate": {"$date": "2020-11-05T01:00:00Z"}, "unit": "day"}}"#,
            "{}",
            r#"{"$numberLong": "4"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2010-12-31T23:59:59Z"}, "endDate": {"$date": "2011-01-01T00:00:00Z"}, "unit": "year"}}"#,
            "{}",
            r#"{"$numberLong": "1"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2021-01-24T18:30:00Z"}, "endDate": {"$date": "2021-01-25T18:30:00Z"}, "unit": "week", "startOfWeek": "Monday"}}"#,
            "{}",
            r#"{"$numberLong": "1"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2021-01-24T18:30:00Z"}, "endDate": {"$date": "2021-01-25T18:30:00Z"}, "unit": "week", "startOfWeek": "fri"}}"#,
            "{}",
            r#"{"$numberLong": "0"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "hour", "binSize": 2}}"#,
            "{}",
            r#"{"$date": "2021-03-20T10:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "month"}}"#,
            "{}",
            r#"{"$date": "2021-03-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "week", "startOfWeek": "Monday"}}"#,
            "{}",
            r#"{"$date": "2021-03-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "1999-12-31T11:30:05Z"}, "unit": "quarter", "timezone": "America/Los_Angeles"}}"#,
            "{}",
            r#"{"$date": "1999-10-01T07:00:00Z"}"#,
        ),
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
fn accumulators_as_expressions() {
    check(&[
        (r#"{"$sum": "$q"}"#, r#"{"q": [10, 6, "x", 7]}"#, "23"),
        (r#"{"$sum": ["$f", "$m"]}"#, r#"{"f": 80, "m": 75}"#, "155"),
        (r#"{"$sum": ["$q", 1]}"#, r#"{"q": [10]}"#, "1"),
        (r#"{"$avg": "$q"}"#, r#"{"q": [1, 2]}"#, "1.5"),
        (r#"{"$avg": "$q"}"#, r#"{"q": ["x"]}"#, "null"),
        (r#"{"$min": "$q"}"#, r#"{"q": [3, null, 1]}"#, "1"),
        (r#"{"$max": ["$a", "$b"]}"#, r#"{"a": 1, "b": "x"}"#, r#""x""#),
        (r#"{"$stdDevPop": [1, 3]}"#, "{}", "1.0"),
        (r#"{"$stdDevSamp": [1]}"#, "{}", "null"),
        (r#"{"$sum": [0.1, 0.2, 0.3]}"#, "{}", "0.6"),
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
    let expression = ValueExpression::parse_with(source.as_raw_bson_ref(), &["new"]).unwrap();
    let (root, new) = (document(r#"{"n": 1}"#), document(r#"{"n": 2}"#));
    let variables = Variables::new(&root).bind("new", bson::RawBsonRef::Document(&new));
    let sum = expression.evaluate(&variables).unwrap().into_bson().unwrap();
    assert_eq!(sum, Some(RawBson::Int32(3)));
}
