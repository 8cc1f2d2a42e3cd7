//! What accumulators gather over the documents of a group, and how much they hold meanwhile.

mod common;

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
fn an_empty_group_has_a_result_as_well() {
    for (accumulator, expected) in [
        (r#"{"$sum": "$q"}"#, "0"),
        (r#"{"$avg": "$q"}"#, "null"),
        (r#"{"$push": "$q"}"#, "[]"),
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
    assert_eq!(held(r#"{"$sum": "$n"}"#, 1), held(r#"{"$sum": "$n"}"#, 100));
    let bounded = r#"{"$topN": {"n": 3, "sortBy": {"n": -1}, "output": "$text"}}"#;
    assert_eq!(held(bounded, 3), held(bounded, 100));
}
