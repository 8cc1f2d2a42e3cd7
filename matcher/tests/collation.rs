//! Collations: what is equal under them, what comes first, and that keys agree.

mod common;

use std::cmp::Ordering;

use bson::RawBsonRef;
use common::document;
use proptest::prelude::*;
use tailwater_matcher::{Collation, Expression, ParseOptions};

fn collation(json: &str) -> Collation {
    Collation::parse(&document(json)).unwrap().unwrap()
}

#[test]
fn strength_decides_what_is_equal() {
    for (options, pairs) in [
        (
            r#"{"locale": "en", "strength": 1}"#,
            [("a", "A", true), ("a", "á", true), ("a", "b", false)],
        ),
        (
            r#"{"locale": "en", "strength": 2}"#,
            [("a", "A", true), ("a", "á", false), ("a", "b", false)],
        ),
        (
            r#"{"locale": "en"}"#,
            [("a", "A", false), ("a", "á", false), ("a", "a", true)],
        ),
        (
            r#"{"locale": "en", "strength": 1, "caseLevel": true}"#,
            [("a", "A", false), ("a", "á", true), ("a", "b", false)],
        ),
    ] {
        let collation = collation(options);
        for (a, b, equal) in pairs {
            assert_eq!(collation.compare(a, b).is_eq(), equal, "{options} {a} {b}");
        }
    }
}

#[test]
fn locales_and_numbers_decide_the_order() {
    assert_eq!(collation(r#"{"locale": "de"}"#).compare("ö", "z"), Ordering::Less);
    assert_eq!(collation(r#"{"locale": "sv"}"#).compare("ö", "z"), Ordering::Greater);
    assert_eq!(collation(r#"{"locale": "en_US"}"#).compare("10", "2"), Ordering::Less);
    let numeric = collation(r#"{"locale": "en_US", "numericOrdering": true}"#);
    assert_eq!(numeric.compare("10", "2"), Ordering::Greater);
}

#[test]
fn predicates_use_it_wherever_text_is_compared() {
    let options = ParseOptions::default().with_collation(Some(collation(r#"{"locale": "en", "strength": 2}"#)));
    for (filter, json, expected) in [
        (r#"{"a": "CAFÉ"}"#, r#"{"a": "café"}"#, true),
        (r#"{"a": {"$ne": "X"}}"#, r#"{"a": ["x"]}"#, false),
        (r#"{"a": {"$in": ["A", "B", null]}}"#, r#"{"a": "b"}"#, true),
        (r#"{"a": {"$in": ["A", "B", null]}}"#, "{}", true),
        (r#"{"a": {"b": ["X"]}}"#, r#"{"a": {"b": ["x"]}}"#, true),
        (r#"{"a": {"B": 1}}"#, r#"{"a": {"b": 1}}"#, false),
        (r#"{"a": {"$gte": "B", "$lt": "d"}}"#, r#"{"a": "b"}"#, true),
        (
            r#"{"a": {"$elemMatch": {"$gt": "A", "$lt": "C"}}}"#,
            r#"{"a": ["b"]}"#,
            true,
        ),
        (r#"{"a": {"$all": ["X", "Y"]}}"#, r#"{"a": ["y", "x"]}"#, true),
        // Patterns know nothing of collations.
        (r#"{"a": {"$regex": "^A"}}"#, r#"{"a": "a"}"#, false),
    ] {
        let expression = Expression::parse_with(&document(filter), &options).unwrap();
        assert_eq!(expression.matches(&document(json)), Ok(expected), "{filter} on {json}");
        // What holds under a collation must not be looked up in an index without.
        let conjuncts = expression.indexable();
        let sound = |all: bool| !expected || all;
        assert!(sound(
            conjuncts
                .iter()
                .all(|part| part.to_expression().matches(&document(json)) == Ok(true))
        ));
    }
}

#[test]
fn malformed_collations_are_refused() {
    assert_eq!(Collation::parse(&document(r#"{"locale": "simple"}"#)), Ok(None));
    for (json, expected) in [
        ("{}", "a collation needs a locale"),
        (r#"{"locale": "!"}"#, "\"!\" is not a locale"),
        (r#"{"locale": "en", "strength": 6}"#, "the collation's strength must be"),
        (
            r#"{"locale": "en", "caseFirst": "both"}"#,
            "the collation's caseFirst must be",
        ),
        (
            r#"{"locale": "en", "backwards": true}"#,
            "the collation's backwards must be",
        ),
        (r#"{"locale": "en", "stregth": 1}"#, "a collation has no field"),
    ] {
        let error = Collation::parse(&document(json)).expect_err(json);
        assert!(error.to_string().starts_with(expected), "{json}: {error}");
    }
}

proptest! {
    #[test]
    fn keys_sort_as_values_do(a in "[aAbBäÄ10 -]{0,4}", b in "[aAbBäÄ10 -]{0,4}") {
        for options in [r#"{"locale": "en", "strength": 1}"#, r#"{"locale": "de"}"#, r#"{"locale": "en", "numericOrdering": true}"#] {
            let collation = collation(options);
            let key = |text: &str| {
                let mut key = Vec::new();
                collation.encode_key(RawBsonRef::String(text), &mut key);
                key
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), collation.compare(&a, &b), "{}", options);
        }
    }
}
