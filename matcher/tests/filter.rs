//! The text filter language: what it compiles to, and where it says it went wrong.

use crate::common;

use common::document;
use proptest::prelude::*;
use tailwater_matcher::{Expression, FilterErrorKind, parse_filter};

/// Checks that the text compiles to what the `$match` document does.
#[track_caller]
fn check(text: &str, filter: &str) {
    let parsed = parse_filter(text).unwrap_or_else(|error| panic!("{error}"));
    let expected = Expression::parse(&document(filter)).unwrap();
    assert_eq!(parsed, expected, "{text}");
}

/// Checks the whole message of an error.
#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse_filter(text).expect_err(text);
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn comparisons() {
    check("age = 18", r#"{"age": 18}"#);
    check("age == 18", r#"{"age": 18}"#);
    check("age is 18", r#"{"age": 18}"#);
    check("age != 18", r#"{"age": {"$ne": 18}}"#);
    check("age <> 18", r#"{"age": {"$ne": 18}}"#);
    check("age is not 18", r#"{"age": {"$ne": 18}}"#);
    check("age > 18", r#"{"age": {"$gt": 18}}"#);
    check("age >= 18", r#"{"age": {"$gte": 18}}"#);
    check("age < 18", r#"{"age": {"$lt": 18}}"#);
    check("age<=18", r#"{"age": {"$lte": 18}}"#);
    check(r#"tags has "urgent""#, r#"{"tags": "urgent"}"#);
    check(r#"tags not has "urgent""#, r#"{"tags": {"$ne": "urgent"}}"#);
    check(r#"tags has_any ["x", "y"]"#, r#"{"tags": {"$in": ["x", "y"]}}"#);
    check(r#"tags not has_any ["x"]"#, r#"{"tags": {"$nin": ["x"]}}"#);
    check(r#"tags has_all ["x", "y"]"#, r#"{"tags": {"$all": ["x", "y"]}}"#);
    check("tags has_all []", r#"{"tags": {"$all": []}}"#);
    check(
        "tags has_all ['x', /y/]",
        r#"{"tags": {"$all": ["x", {"$regularExpression": {"pattern": "y", "options": ""}}]}}"#,
    );
    check(
        r#"tags not has_all ("x", "y")"#,
        r#"{"tags": {"$not": {"$all": ["x", "y"]}}}"#,
    );
    check("n in [1, 2]", r#"{"n": {"$in": [1, 2]}}"#);
    check("n in (1)", r#"{"n": {"$in": [1]}}"#);
    check("n not in (1, 'x')", r#"{"n": {"$nin": [1, "x"]}}"#);
    check("n in []", r#"{"n": {"$in": []}}"#);
    check("n exists", r#"{"n": {"$exists": true}}"#);
    check("n not exists", r#"{"n": {"$exists": false}}"#);
}

#[test]
fn values() {
    check(r#"a = "x\n\"\u{e9}""#, r#"{"a": "x\n\"é"}"#);
    check(r"a = 'it\'s'", r#"{"a": "it's"}"#);
    check("a = -5", r#"{"a": {"$numberInt": "-5"}}"#);
    check("a > -5.5", r#"{"a": {"$gt": -5.5}}"#);
    check("a = 2147483648", r#"{"a": {"$numberLong": "2147483648"}}"#);
    check("a = -2147483648", r#"{"a": {"$numberInt": "-2147483648"}}"#);
    check("a = 1e3", r#"{"a": {"$numberDouble": "1000.0"}}"#);
    check("a = 1.5E-3", r#"{"a": 0.0015}"#);
    check(
        "a = 9223372036854775808",
        r#"{"a": {"$numberDouble": "9223372036854775808"}}"#,
    );
    check("a is true or a is FALSE", r#"{"$or": [{"a": true}, {"a": false}]}"#);
    check("a is null", r#"{"a": null}"#);
    check(
        r#"at > date("2024-01-01T00:00:00Z")"#,
        r#"{"at": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}"#,
    );
    check(
        r#"_id = ObjectId("65f0c0ffee65f0c0ffee65f0")"#,
        r#"{"_id": {"$oid": "65f0c0ffee65f0c0ffee65f0"}}"#,
    );
}

#[test]
fn paths() {
    check("a.b.c = 1", r#"{"a.b.c": 1}"#);
    check("tags.0 = 1", r#"{"tags.0": 1}"#);
    check("items.0.name = 1", r#"{"items.0.name": 1}"#);
    check("`first name`.given = 1", r#"{"first name.given": 1}"#);
    check("content-type = 'x'", r#"{"content-type": "x"}"#);
    check("größe > 1", r#"{"größe": {"$gt": 1}}"#);
    check("`not` = 1", r#"{"not": 1}"#);
}

#[test]
fn keywords_are_names_where_names_stand() {
    check(
        r#"date > date("2024-01-01T00:00:00Z")"#,
        r#"{"date": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}"#,
    );
    check("in in [1]", r#"{"in": {"$in": [1]}}"#);
    check("exists exists", r#"{"exists": {"$exists": true}}"#);
    check("matches = 1", r#"{"matches": 1}"#);
}

#[test]
fn regular_expressions() {
    let regex = |pattern: &str, options: &str| {
        format!(r#"{{"$regularExpression": {{"pattern": "{pattern}", "options": "{options}"}}}}"#)
    };
    check("a matches /^x/i", &format!(r#"{{"a": {}}}"#, regex("^x", "i")));
    check("a matches '^x'", &format!(r#"{{"a": {}}}"#, regex("^x", "")));
    check(r"a matches /x\/y\d/", &format!(r#"{{"a": {}}}"#, regex(r"x/y\\d", "")));
    check(
        "a not matches /x/",
        &format!(r#"{{"a": {{"$not": {}}}}}"#, regex("x", "")),
    );
    check(
        "a in [1, /x/s] and b = 1",
        &format!(r#"{{"a": {{"$in": [1, {}]}}, "b": 1}}"#, regex("x", "s")),
    );
    check("matches matches /x/", &format!(r#"{{"matches": {}}}"#, regex("x", "")));
}

#[test]
fn precedence() {
    check("a = 1 or b = 2 and c = 3", r#"{"$or": [{"a": 1}, {"b": 2, "c": 3}]}"#);
    check("(a = 1 or b = 2) and c = 3", r#"{"$or": [{"a": 1}, {"b": 2}], "c": 3}"#);
    check("not a = 1 and b = 2", r#"{"a": {"$ne": 1}, "b": 2}"#);
    check("not (a = 1 and b = 2)", r#"{"$nor": [{"a": 1, "b": 2}]}"#);
    check(
        "!a exists && !(b > 1 || c > 1)",
        r#"{"a": {"$exists": false}, "$nor": [{"b": {"$gt": 1}}, {"c": {"$gt": 1}}]}"#,
    );
    check(
        "NOT NOT a = 1 AND b = 2 Or c = 3",
        r#"{"$or": [{"a": 1, "b": 2}, {"c": 3}]}"#,
    );
    check(
        r#"age > 18 and (city is "NYC" or tags has "urgent")"#,
        r#"{"age": {"$gt": 18}, "$or": [{"city": "NYC"}, {"tags": "urgent"}]}"#,
    );
}

#[test]
fn blank_text_matches_everything() {
    for text in ["", "  \n\t "] {
        assert!(parse_filter(text).unwrap().is_always());
    }
}

#[test]
fn errors_show_the_place() {
    check_error(
        "age > and b = 1",
        "expected a value (text in quotes, a number, true, false, null, date(\"…\"), \
         ObjectId(\"…\")), found `and` at line 1, column 7\n  | age > and b = 1\n  |       ^",
    );
    check_error(
        "age > 18\n  and city \"NYC\"",
        "expected an operator (=, !=, >, >=, <, <=, is, is not, has, not has, has_any, has_all, in, not in, \
         exists, not exists, matches, not matches), found `\"NYC\"` at line 2, column 12\n  |   and city \"NYC\"\n  |            ^",
    );
    check_error(
        "(a = 1",
        "expected `)`, `and` or `or`, found the end of the filter at line 1, column 7\n  | (a = 1\n  |       ^",
    );
    check_error(
        "a = 1 b = 2",
        "expected `and`, `or` or the end of the filter, found `b` at line 1, column 7\n  | a = 1 b = 2\n  |       ^",
    );
    check_error(
        "a = 'x",
        "the closing ' is missing at line 1, column 5\n  | a = 'x\n  |     ^",
    );
    check_error(
        "name matches 5",
        "expected a regular expression like /^a.*z$/i, found `5` at line 1, column 14\n  | name matches 5\n  |              ^",
    );
    check_error(
        "name matches /x",
        "the closing / is missing at line 1, column 14\n  | name matches /x\n  |              ^",
    );
    check_error(
        "name matches /x/g",
        "unknown regular expression option 'g', expected i, m, s, x or u at line 1, column 14\n  \
         | name matches /x/g\n  |              ^",
    );
    check_error(
        "\té = 12ab",
        "12ab is not a number that can be stored at line 1, column 6\n  | \té = 12ab\n  | \t    ^",
    );
    check_error(
        "a = date('yesterday')",
        "expected a date like 2024-01-31T12:00:00Z, found \"yesterday\" at line 1, column 10\n  | a = date('yesterday')\n  |          ^",
    );
    check_error(
        "$where = 1",
        "a field name cannot begin with $ at line 1, column 1\n  | $where = 1\n  | ^",
    );
    check_error(
        "a = 1e999",
        "1e999 is not a number that can be stored at line 1, column 5\n  | a = 1e999\n  |     ^",
    );
    check_error(
        "a in [1 2]",
        "expected `,` or `]`, found `2` at line 1, column 9\n  | a in [1 2]\n  |         ^",
    );
    check_error(
        "a. = 1",
        "expected a field name after the dot, found ` ` at line 1, column 3\n  | a. = 1\n  |   ^",
    );
}

#[test]
fn other_mistakes_are_errors() {
    for text in [
        "and",
        "a",
        "a =",
        "= 1",
        "a = b",
        "a in 1",
        "a in [1",
        "a in [1,]",
        "not",
        "()",
        "a = 1)",
        "a = 1 and",
        "a not 1",
        "a is is 1",
        "a = .5",
        "a = 5.",
        "a = --5",
        "a = \"\\q\"",
        "`a.b` = 1",
        "`a = 1",
        "a = date(5)",
        "a = ObjectId('12')",
        "a = 'x\\u{110000}'",
        "`\\0` = 1",
        "a ; b",
        "#",
        "a = {}",
        "a = [1]",
        "a = /x/",
        "a matches",
        "a matches x",
        "a matches /(/",
        "a..b = 1",
    ] {
        assert!(parse_filter(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_and_size_are_limited() {
    let deep = format!("{}a = 1{}", "(".repeat(200), ")".repeat(200));
    assert_eq!(parse_filter(&deep).unwrap_err().kind(), &FilterErrorKind::TooDeep);
    let deep = "not ".repeat(100_000 / 8) + "a = 1";
    assert_eq!(parse_filter(&deep).unwrap_err().kind(), &FilterErrorKind::TooDeep);
    let mut levels = "a = 1".to_owned();
    for _ in 0..26 {
        levels = format!("(b = 1 or c = 1 and {levels})");
    }
    assert!(parse_filter(&levels).is_ok());
    // Each level takes two of the 100 that its match document may have.
    for _ in 0..26 {
        levels = format!("(b = 1 or c = 1 and {levels})");
    }
    assert_eq!(
        parse_filter(&levels).unwrap_err().kind(),
        &FilterErrorKind::TooManyLevels
    );
    let many = "a=1&&".repeat(10_000) + "a=1";
    assert_eq!(
        parse_filter(&many).unwrap_err().kind(),
        &FilterErrorKind::TooManyConditions
    );
    let long = "a = 1 or ".repeat(100_000) + "a = 1";
    assert!(matches!(
        parse_filter(&long).unwrap_err().kind(),
        FilterErrorKind::TooLong { .. }
    ));
}

/// Pieces of filters, in any order: mostly nonsense, sometimes valid.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b.c",
        "tags.0",
        "`x y`",
        "=",
        "!=",
        ">",
        "<=",
        "is",
        "not",
        "has",
        "has_any",
        "has_all",
        "in",
        "exists",
        "and",
        "or",
        "&&",
        "||",
        "!",
        "(",
        ")",
        "[",
        "]",
        ",",
        "1",
        "-2.5",
        "1e3",
        "\"x\"",
        "'y'",
        "true",
        "null",
        "date(\"2024-01-01T00:00:00Z\")",
        "ObjectId(",
        "é",
        "\\",
        "\u{0}",
        "\n",
        "matches",
        ".",
        "$",
        "-",
        "\"",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        check_untrusted(&text)?;
    }

    #[test]
    fn arbitrary_pieces_never_panic(text in soup()) {
        check_untrusted(&text)?;
    }
}

fn check_untrusted(text: &str) -> Result<(), TestCaseError> {
    match parse_filter(text) {
        Ok(expression) => {
            let rendered = expression.to_document();
            prop_assert_eq!(Expression::parse(&rendered), Ok(expression));
        }
        Err(error) => {
            prop_assert!(error.to_string().ends_with('^'));
            prop_assert!(error.line() >= 1 && error.column() >= 1);
        }
    }
    Ok(())
}
