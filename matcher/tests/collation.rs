//! Collations: what is equal under them, what comes first, and that keys agree.

use crate::common;

use std::cmp::Ordering;

use bson::RawBsonRef;
use common::document;
use proptest::prelude::*;
use tailwater_matcher::{
    Accumulator, Collation, Conjunct, Expression, FindProjection, ParseOptions, Transform, ValueExpression, Variables,
    compare,
};

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

/// Base letters only: neither case nor accents count.
fn letters() -> ParseOptions {
    ParseOptions::default().with_collation(Some(collation(r#"{"locale": "en", "strength": 1}"#)))
}

#[test]
fn expressions_use_it_wherever_values_are_compared() {
    let root = document(
        r#"{"a": "Zoé", "b": "zoe", "list": ["Z", "é", "a"], "nested": {"x": ["É"]}, "as": [{"n": "É"}, {"n": "d"}]}"#,
    );
    for (source, by_bytes, by_letters) in [
        (r#"{"$eq": ["$a", "$b"]}"#, "false", "true"),
        (r#"{"$ne": ["$a", "$b"]}"#, "true", "false"),
        (r#"{"$cmp": ["$a", "$b"]}"#, "-1", "0"),
        (r#"{"$lt": ["$a", "b"]}"#, "true", "false"),
        (r#"{"$gte": ["$a", "ZOE"]}"#, "true", "true"),
        (r#"{"$eq": ["$nested", {"x": ["e"]}]}"#, "false", "true"),
        // What is computed while parsing, too.
        (r#"{"$eq": ["X", "x"]}"#, "false", "true"),
        (r#"{"$in": ["E", "$list"]}"#, "false", "true"),
        (r#"{"$indexOfArray": ["$list", "E"]}"#, "-1", "1"),
        (r#"{"$max": "$list"}"#, r#""é""#, r#""Z""#),
        (r#"{"$min": "$list"}"#, r#""Z""#, r#""a""#),
        (
            r#"{"$maxN": {"n": 2, "input": "$list"}}"#,
            r#"["é", "a"]"#,
            r#"["Z", "é"]"#,
        ),
        (r#"{"$minN": {"n": 1, "input": "$list"}}"#, r#"["Z"]"#, r#"["a"]"#),
        (
            r#"{"$sortArray": {"input": "$list", "sortBy": 1}}"#,
            r#"["Z", "a", "é"]"#,
            r#"["a", "é", "Z"]"#,
        ),
        (
            r#"{"$first": {"$sortArray": {"input": "$as", "sortBy": {"n": 1}}}}"#,
            r#"{"n": "d"}"#,
            r#"{"n": "d"}"#,
        ),
        (
            r#"{"$first": {"$sortArray": {"input": [{"n": "b"}, {"n": "A"}], "sortBy": {"n": -1}}}}"#,
            r#"{"n": "b"}"#,
            r#"{"n": "b"}"#,
        ),
        (
            r#"{"$setUnion": ["$list", ["A", "z"]]}"#,
            r#"["A", "Z", "a", "z", "é"]"#,
            r#"["a", "é", "Z"]"#,
        ),
        (r#"{"$setIntersection": ["$list", ["A", "E"]]}"#, "[]", r#"["a", "é"]"#),
        (
            r#"{"$setDifference": ["$list", ["A", "E"]]}"#,
            r#"["Z", "é", "a"]"#,
            r#"["Z"]"#,
        ),
        (r#"{"$setEquals": ["$list", ["A", "E", "z"]]}"#, "false", "true"),
        (r#"{"$setIsSubset": [["A"], "$list"]}"#, "false", "true"),
        (
            r#"{"$filter": {"input": "$list", "cond": {"$eq": ["$$this", "E"]}}}"#,
            "[]",
            r#"["é"]"#,
        ),
        // Strings as such are not compared: these know no collation.
        (r#"{"$strcasecmp": ["é", "E"]}"#, "1", "1"),
        (r#"{"$indexOfCP": ["$a", "z"]}"#, "-1", "-1"),
        (r#"{"$regexMatch": {"input": "$a", "regex": "z"}}"#, "false", "false"),
        (
            r#"{"$replaceAll": {"input": "$a", "find": "z", "replacement": "y"}}"#,
            r#""Zoé""#,
            r#""Zoé""#,
        ),
    ] {
        let source = document(&format!(r#"{{"v": {source}}}"#));
        let value = source.get("v").unwrap().unwrap();
        for (options, expected) in [(ParseOptions::default(), by_bytes), (letters(), by_letters)] {
            let expression = ValueExpression::parse_with(value, &options).unwrap();
            let computed = expression
                .evaluate(&Variables::new(&root))
                .unwrap()
                .into_bson()
                .unwrap();
            let expected = document(&format!(r#"{{"v": {expected}}}"#));
            let order = compare(
                computed.as_ref().unwrap().as_raw_bson_ref(),
                expected.get("v").unwrap().unwrap(),
            );
            assert!(order.is_eq(), "{value:?} {options:?}: {computed:?}");
        }
    }
}

#[test]
fn accumulators_use_it() {
    let roots = ["b", "É", "B", "a"].map(|text| document(&format!(r#"{{"t": "{text}"}}"#)));
    for (source, by_bytes, by_letters) in [
        (r#"{"$max": "$t"}"#, r#""É""#, r#""É""#),
        (r#"{"$min": "$t"}"#, r#""B""#, r#""a""#),
        (
            r#"{"$addToSet": "$t"}"#,
            r#"["b", "É", "B", "a"]"#,
            r#"["b", "É", "a"]"#,
        ),
        (
            r#"{"$minN": {"n": 2, "input": "$t"}}"#,
            r#"["B", "a"]"#,
            r#"["a", "b"]"#,
        ),
        (
            r#"{"$maxN": {"n": 2, "input": "$t"}}"#,
            r#"["É", "b"]"#,
            r#"["É", "b"]"#,
        ),
        (r#"{"$top": {"sortBy": {"t": 1}, "output": "$t"}}"#, r#""B""#, r#""a""#),
        (
            r#"{"$bottomN": {"n": 2, "sortBy": {"t": 1}, "output": "$t"}}"#,
            r#"["b", "É"]"#,
            r#"["B", "É"]"#,
        ),
    ] {
        for (options, expected) in [(ParseOptions::default(), by_bytes), (letters(), by_letters)] {
            let accumulator = Accumulator::parse_with(&document(source), &options).unwrap();
            let mut state = accumulator.start();
            for root in &roots {
                accumulator.add(&mut state, &Variables::new(root)).unwrap();
            }
            let mut found = bson::RawDocumentBuf::new();
            found.append(bson::raw::cstr!("v"), accumulator.finish(state));
            assert_eq!(
                found,
                document(&format!(r#"{{"v": {expected}}}"#)),
                "{source} {options:?}"
            );
        }
    }
}

#[test]
fn stages_and_projections_use_it() {
    let root = document(r#"{"_id": 1, "t": "É", "list": [{"n": "É"}]}"#);
    for (stage, kept) in [
        (r#"{"$match": {"t": "e"}}"#, true),
        (r#"{"$match": {"$expr": {"$eq": ["$t", "e"]}}}"#, true),
        (
            r#"{"$redact": {"$cond": [{"$eq": ["$t", "e"]}, "$$KEEP", "$$PRUNE"]}}"#,
            true,
        ),
        (r#"{"$match": {"t": {"$regex": "e"}}}"#, false),
    ] {
        let transform = Transform::parse_with([&*document(stage)], &letters()).unwrap();
        assert_eq!(transform.apply(&root).unwrap().is_some(), kept, "{stage}");
    }
    let projection = document(r#"{"list": {"$elemMatch": {"n": "e"}}, "same": {"$eq": ["$t", "e"]}}"#);
    let projected = |options: &ParseOptions| {
        let projection = FindProjection::parse_with(&projection, options).unwrap();
        projection.apply(&root, None).unwrap()
    };
    assert_eq!(
        projected(&letters()),
        document(r#"{"_id": 1, "list": [{"n": "É"}], "same": true}"#)
    );
    assert_eq!(
        projected(&ParseOptions::default()),
        document(r#"{"_id": 1, "same": false}"#)
    );
}

#[test]
fn expressions_with_other_collations_are_others() {
    let source = document(r#"{"v": {"$eq": ["$a", "b"]}}"#);
    let parsed = |options| ValueExpression::parse_with(source.get("v").unwrap().unwrap(), &options).unwrap();
    assert_eq!(parsed(letters()), parsed(letters()));
    assert_ne!(parsed(letters()), parsed(ParseOptions::default()));
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

#[test]
fn a_collation_says_what_its_locale_decides() {
    for (given, field, expected) in [
        (r#"{"locale": "en"}"#, "strength", r#"{"x": 3}"#),
        (r#"{"locale": "en"}"#, "caseFirst", r#"{"x": "off"}"#),
        (r#"{"locale": "da"}"#, "caseFirst", r#"{"x": "upper"}"#),
        (r#"{"locale": "th"}"#, "alternate", r#"{"x": "shifted"}"#),
        (
            r#"{"locale": "en", "numericOrdering": true}"#,
            "numericOrdering",
            r#"{"x": true}"#,
        ),
        (
            r#"{"locale": "en", "strength": 2, "caseLevel": true}"#,
            "caseLevel",
            r#"{"x": true}"#,
        ),
        (
            r#"{"locale": "en", "alternate": "shifted", "maxVariable": "space"}"#,
            "maxVariable",
            r#"{"x": "space"}"#,
        ),
    ] {
        let whole = collation(given).to_document();
        assert_eq!(
            whole.get(field).unwrap(),
            document(expected).get("x").unwrap(),
            "{given}"
        );
        assert_eq!(Collation::parse(&whole), Ok(Some(collation(given))), "{given}");
    }
}

#[test]
fn collations_are_equal_that_say_the_same() {
    let english = collation(r#"{"locale": "en"}"#);
    for (other, equal) in [
        (r#"{"locale": "en", "strength": 3}"#, true),
        (
            r#"{"locale": "en", "alternate": "non-ignorable", "version": "57.1"}"#,
            true,
        ),
        (r#"{"locale": "en", "strength": 2}"#, false),
        (r#"{"locale": "en_US"}"#, false),
        (r#"{"locale": "en", "numericOrdering": true}"#, false),
    ] {
        assert_eq!(english == collation(other), equal, "{other}");
    }
}

/// What may be sought in an index whose strings are in the order of a collation, and what in one by bytes.
#[test]
fn conjuncts_are_those_of_one_order() {
    let options = letters();
    let by_letters = options.collation.as_ref();
    let exists = |path: &str| format!("exists {path}");
    let told = |conjunct: &Conjunct<'_>| match conjunct {
        Conjunct::Exists { path } => exists(path.as_str()),
        Conjunct::Equal { .. } => "equal".to_owned(),
        Conjunct::In { .. } => "in".to_owned(),
        Conjunct::Range { .. } => "range".to_owned(),
        Conjunct::Prefix { .. } => "prefix".to_owned(),
        other => format!("{other:?}"),
    };
    let all = |conjuncts: Vec<Conjunct<'_>>| conjuncts.iter().map(told).collect::<Vec<_>>();
    let cases: [(&str, &[&str], &[&str]); 8] = [
        (r#"{"a": "x"}"#, &["equal"], &["exists a"]),
        (r#"{"a": {"$gt": "x"}}"#, &["range"], &["exists a"]),
        (r#"{"a": 5}"#, &["equal"], &["equal"]),
        (r#"{"a": {"b": 5}}"#, &["equal"], &["exists a"]),
        (r#"{"a": {"$in": ["x", 5]}}"#, &["in"], &["exists a"]),
        (r#"{"a": {"$in": ["x", null]}}"#, &["in"], &[]),
        (r#"{"a": {"$in": [1, null]}}"#, &["in"], &["in"]),
        // In the order of letters the texts that begin so are not together.
        (r#"{"a": {"$regex": "^x"}}"#, &["exists a"], &["prefix"]),
    ];
    for (filter, here, in_bytes) in cases {
        let filter = document(filter);
        let expression = Expression::parse_with(&filter, &options).unwrap();
        let conjuncts = expression.indexable_by(by_letters);
        assert_eq!(all(conjuncts.clone()), here, "{filter:?}");
        assert_eq!(all(expression.indexable_by(None)), in_bytes, "{filter:?}");
        // For an index in another order the same is left, of patterns less.
        let left: Vec<_> = conjuncts.iter().filter_map(Conjunct::without_strings).collect();
        let expected = if in_bytes == ["prefix"] { here } else { in_bytes };
        assert_eq!(all(left), expected, "{filter:?}");
        let plain = Expression::parse(&filter).unwrap();
        let apart: Vec<_> = plain.indexable().iter().filter_map(Conjunct::without_strings).collect();
        assert_eq!(all(apart), expected, "{filter:?}");
    }
}

/// Indexes keep such keys. Where these change, [`Collation::KEYS`] must as well, or stores are read by the wrong keys.
#[test]
fn keys_are_those_of_the_version_that_is_named() {
    assert_eq!(Collation::KEYS, "icu4x 2.4.0");
    for (options, text, expected) in [
        (r#"{"locale": "en", "strength": 1}"#, "Zoé", "285d47330000"),
        (
            r#"{"locale": "de"}"#,
            "Straße 10",
            "284f514d2b4f4f330414120142700901dcc3e0d3080000",
        ),
        (
            r#"{"locale": "sv", "numericOrdering": true}"#,
            "ö 10",
            "285e7f0404100c010701070000",
        ),
    ] {
        let mut key = Vec::new();
        collation(options).encode_key(RawBsonRef::String(text), &mut key);
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(key, expected, "{options}");
    }
}
