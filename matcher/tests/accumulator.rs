//! What accumulators gather over the documents of a group, and how much they hold meanwhile.

use crate::common;

use bson::{Bson, RawBson};
use common::{document, value};
use tailwater_matcher::{Accumulator, ParseError, Variables};

fn gather(accumulator: &str, documents: &[&str]) -> RawBson {
    let accumulator = Accumulator::parse(&document(accumulator)).unwrap();
    let mut state = accumulator.start();
    for json in documents {
        let root = document(json);
        accumulator.add(&mut state, &Variables::new(&root)).unwrap();
    }
    accumulator.finish(state)
}

fn text(value: RawBson) -> String {
    Bson::try_from(value).unwrap().into_canonical_extjson().to_string()
}

#[test]
fn accumulators_gather_a_group() {
    let sales = [
        r#"{"item": "a", "q": 2, "d": {"x": 1}, "when": 3}"#,
        r#"{"item": "b", "q": 10, "d": null, "when": 1}"#,
        r#"{"item": "a", "q": 3.5, "d": {"y": 2}, "when": 2}"#,
        r#"{"item": "c", "q": "n/a", "none": null, "when": 4}"#,
    ];
    let cases = [
        (r#"{"$sum": "$q"}"#, "15.5"),
        (r#"{"$sum": 1}"#, "4"),
        (r#"{"$count": {}}"#, "4"),
        (r#"{"$avg": "$when"}"#, "2.5"),
        (r#"{"$avg": "$item"}"#, "null"),
        (r#"{"$min": "$q"}"#, "2"),
        (r#"{"$max": "$q"}"#, r#""n/a""#),
        (r#"{"$max": "$nothing"}"#, "null"),
        (r#"{"$first": "$item"}"#, r#""a""#),
        (r#"{"$first": "$none"}"#, "null"),
        (r#"{"$last": "$item"}"#, r#""c""#),
        (r#"{"$push": "$item"}"#, r#"["a", "b", "a", "c"]"#),
        (r#"{"$push": "$none"}"#, "[null]"),
        (r#"{"$addToSet": "$item"}"#, r#"["a", "b", "c"]"#),
        (r#"{"$mergeObjects": "$d"}"#, r#"{"x": 1, "y": 2}"#),
        (
            r#"{"$stdDevPop": {"$cond": [{"$lt": ["$when", 3]}, "$when", null]}}"#,
            "0.5",
        ),
        (r#"{"$stdDevSamp": "$item"}"#, "null"),
        (r#"{"$firstN": {"n": 2, "input": "$when"}}"#, "[3, 1]"),
        (r#"{"$lastN": {"n": 2, "input": "$when"}}"#, "[2, 4]"),
        (r#"{"$minN": {"n": 2, "input": "$when"}}"#, "[1, 2]"),
        (r#"{"$maxN": {"n": {"$add": [1, 1]}, "input": "$when"}}"#, "[4, 3]"),
        (r#"{"$top": {"sortBy": {"when": 1}, "output": "$item"}}"#, r#""b""#),
        (
            r#"{"$bottom": {"sortBy": {"when": 1}, "output": ["$item", "$when"]}}"#,
            r#"["c", 4]"#,
        ),
        (
            r#"{"$topN": {"n": 2, "sortBy": {"item": 1, "when": -1}, "output": "$when"}}"#,
            "[3, 2]",
        ),
        (
            r#"{"$bottomN": {"n": 2, "sortBy": {"when": 1}, "output": "$when"}}"#,
            "[3, 4]",
        ),
    ];
    for (accumulator, expected) in cases {
        assert_eq!(
            text(gather(accumulator, &sales)),
            text(value(expected)),
            "{accumulator}"
        );
    }
}

#[test]
fn percentiles_are_those_of_the_manual() {
    let scores = [
        r#"{"test01": 62, "test02": 81, "test03": 80}"#,
        r#"{"test01": 60, "test02": 83, "test03": 79}"#,
        r#"{"test01": 67, "test02": 82, "test03": 78}"#,
        r#"{"test01": 64, "test02": 72, "test03": 77}"#,
        r#"{"test01": 60, "test02": 53, "test03": 72}"#,
    ];
    for (operator, input, p, expected) in [
        ("$median", "$test01", "", "62.0"),
        ("$percentile", "$test01", "[0.95]", "[67.0]"),
        (
            "$percentile",
            "$test01",
            "[0.5, 0.75, 0.9, 0.95]",
            "[62.0, 64.0, 67.0, 67.0]",
        ),
        (
            "$percentile",
            "$test02",
            "[0.5, 0.75, 0.9, 0.95]",
            "[81.0, 82.0, 83.0, 83.0]",
        ),
        (
            "$percentile",
            "$test03",
            "[0.5, 0.75, 0.9, 0.95]",
            "[78.0, 79.0, 80.0, 80.0]",
        ),
        (
            "$percentile",
            "$test03",
            "[0.9, 0.5, 0.75, 0.95]",
            "[80.0, 78.0, 79.0, 80.0]",
        ),
        ("$percentile", "$test01", "[0, 1]", "[60.0, 67.0]"),
        (
            "$percentile",
            "$test02",
            r#"{"$concatArrays": [[0.2], [0.21]]}"#,
            "[53.0, 72.0]",
        ),
        ("$percentile", "$none", "[0.5, 1]", "[null, null]"),
        ("$median", "$none", "", "null"),
    ] {
        let p = if p.is_empty() {
            String::new()
        } else {
            format!(r#""p": {p}, "#)
        };
        let accumulator = format!(r#"{{"{operator}": {{"input": "{input}", {p}"method": "approximate"}}}}"#);
        assert_eq!(
            text(gather(&accumulator, &scores)),
            text(value(expected)),
            "{accumulator}"
        );
    }
}

/// Numbers of all types count; arrays, texts and not-a-number do not.
#[test]
fn a_percentile_is_of_the_numbers_alone() {
    let mixed = [
        r#"{"n": {"$numberLong": "3"}}"#,
        r#"{"n": [1, 2]}"#,
        r#"{"n": "1"}"#,
        r#"{"n": {"$numberDouble": "NaN"}}"#,
        r#"{"n": {"$numberDecimal": "1.5"}}"#,
        r#"{"n": {"$numberDouble": "Infinity"}}"#,
        r#"{"n": null}"#,
    ];
    let median = r#"{"$median": {"input": "$n", "method": "approximate"}}"#;
    assert_eq!(text(gather(median, &mixed)), text(value("3.0")));
    let all = r#"{"$percentile": {"input": "$n", "p": [0.1, 1], "method": "approximate"}}"#;
    let expected = text(value(r#"[1.5, {"$numberDouble": "Infinity"}]"#));
    assert_eq!(text(gather(all, &mixed)), expected);
}

#[test]
fn an_empty_group_has_a_result_as_well() {
    for (accumulator, expected) in [
        (r#"{"$sum": "$q"}"#, "0"),
        (r#"{"$avg": "$q"}"#, "null"),
        (r#"{"$push": "$q"}"#, "[]"),
        (r#"{"$median": {"input": "$q", "method": "approximate"}}"#, "null"),
        (r#"{"$mergeObjects": "$q"}"#, "{}"),
        (r#"{"$top": {"sortBy": {"a": 1}, "output": 1}}"#, "null"),
    ] {
        assert_eq!(text(gather(accumulator, &[])), text(value(expected)), "{accumulator}");
    }
}

#[test]
fn what_is_not_an_accumulator_is_refused() {
    for (accumulator, code) in [
        (r#"{"$nope": 1}"#, 168),
        (r#"{"$sum": 1, "$avg": 1}"#, 40238),
        (r#"{"$sum": [1, 2]}"#, 16020),
        (r#"{"$count": 1}"#, 6_507_501),
        (r#"{"$firstN": {"input": 1}}"#, 5_788_003),
        (r#"{"$firstN": {"n": 0, "input": 1}}"#, 5_787_902),
        (r#"{"$top": {"output": 1}}"#, 5_788_005),
        (r#"{"$median": "$q"}"#, 7_436_100),
        (r#"{"$median": {"input": 1, "method": "discrete"}}"#, 2),
        (
            r#"{"$median": {"input": 1, "p": [0.5], "method": "approximate"}}"#,
            40415,
        ),
        (r#"{"$percentile": ["$q"]}"#, 7_429_703),
        (r#"{"$percentile": {"input": 1, "p": [0.5]}}"#, 40414),
        (r#"{"$percentile": {"input": 1, "method": "approximate"}}"#, 40414),
        (
            r#"{"$percentile": {"input": 1, "p": "$q", "method": "approximate"}}"#,
            7_750_300,
        ),
        (
            r#"{"$percentile": {"input": 1, "p": [2], "method": "approximate"}}"#,
            7_750_303,
        ),
        (r#"{"$top": {"output": 1, "n": 2, "sortBy": {"a": 1}}}"#, 5_788_002),
    ] {
        match Accumulator::parse(&document(accumulator)) {
            Err(ParseError::Aggregation { kind, .. }) => assert_eq!(kind.code(), code, "{accumulator}"),
            other => panic!("{accumulator}: {other:?}"),
        }
    }
}

#[test]
fn a_state_says_what_it_holds() {
    let held = |accumulator: &str, documents: usize| {
        let accumulator = Accumulator::parse(&document(accumulator)).unwrap();
        let mut state = accumulator.start();
        for at in 0..documents {
            let root = document(&format!(r#"{{"n": {at}, "text": "{}"}}"#, "x".repeat(100)));
            accumulator.add(&mut state, &Variables::new(&root)).unwrap();
        }
        state.bytes()
    };
    assert!(held(r#"{"$push": "$text"}"#, 100) >= 100 * 100);
    assert!(held(r#"{"$addToSet": "$text"}"#, 100) < 1000);
    assert!(held(r#"{"$median": {"input": "$n", "method": "approximate"}}"#, 100) >= 100 * 8);
    assert_eq!(held(r#"{"$sum": "$n"}"#, 1), held(r#"{"$sum": "$n"}"#, 100));
    let bounded = r#"{"$topN": {"n": 3, "sortBy": {"n": -1}, "output": "$text"}}"#;
    assert_eq!(held(bounded, 3), held(bounded, 100));
}
