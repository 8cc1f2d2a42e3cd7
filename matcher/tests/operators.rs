//! What each operator matches, one table per operator.

use crate::common;

use common::document;
use tailwater_matcher::Expression;

#[track_caller]
fn check(filter: &str, json: &str, expected: bool) {
    let expression = match Expression::parse(&document(filter)) {
        Ok(expression) => expression,
        Err(error) => panic!("{filter}: {error}"),
    };
    assert_eq!(
        expression.matches(&document(json)).unwrap(),
        expected,
        "{filter} on {json}"
    );
}

#[track_caller]
fn check_all(cases: &[(&str, &str, bool)]) {
    for (filter, json, expected) in cases {
        check(filter, json, *expected);
    }
}

#[test]
fn empty_document_matches_everything() {
    check_all(&[("{}", "{}", true), ("{}", r#"{"a": 1}"#, true)]);
    check(r#"{"$comment": "nothing else"}"#, "{}", true);
    check(r#"{"$comment": "why", "a": 1}"#, r#"{"a": 2}"#, false);
}

#[test]
fn equality() {
    check_all(&[
        (r#"{"a": 1}"#, r#"{"a": 1}"#, true),
        (r#"{"a": 1}"#, r#"{"a": 1.0}"#, true),
        (r#"{"a": 1}"#, r#"{"a": {"$numberLong": "1"}}"#, true),
        (r#"{"a": 1}"#, r#"{"a": {"$numberDecimal": "1.0"}}"#, true),
        (r#"{"a": {"$eq": 1}}"#, r#"{"a": 1}"#, true),
        (r#"{"a": 1}"#, r#"{"a": 2}"#, false),
        (r#"{"a": 1}"#, r#"{"a": "1"}"#, false),
        (r#"{"a": 1}"#, r#"{"a": true}"#, false),
        (r#"{"a": 1}"#, "{}", false),
        (r#"{"a": "x"}"#, r#"{"a": "x"}"#, true),
        (r#"{"a": "x"}"#, r#"{"a": "X"}"#, false),
        (r#"{"a": 1, "b": 2}"#, r#"{"a": 1, "b": 2}"#, true),
        (r#"{"a": 1, "b": 2}"#, r#"{"a": 1, "b": 3}"#, false),
        (
            r#"{"a": {"$numberDouble": "NaN"}}"#,
            r#"{"a": {"$numberDouble": "NaN"}}"#,
            true,
        ),
        (r#"{"a": {"$numberDouble": "NaN"}}"#, r#"{"a": 1}"#, false),
        (r#"{"": 1}"#, r#"{"": 1}"#, true),
    ]);
}

#[test]
fn equality_with_documents_is_exact_and_ordered() {
    check_all(&[
        (r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 1}}"#, true),
        (r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 1.0}}"#, true),
        (r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 1, "c": 2}}"#, false),
        (r#"{"a": {"b": 1, "c": 2}}"#, r#"{"a": {"c": 2, "b": 1}}"#, false),
        (r#"{"a": {}}"#, r#"{"a": {}}"#, true),
        (r#"{"a": {}}"#, r#"{"a": {"b": 1}}"#, false),
        (r#"{"a": {"$eq": {"b": 1}}}"#, r#"{"a": [{"b": 1}]}"#, true),
        // Only the first name decides whether a document holds operators.
        (r#"{"a": {"b": 1, "$gt": 2}}"#, r#"{"a": {"b": 1, "$gt": 2}}"#, true),
        // A DBRef is a value.
        (
            r#"{"a": {"$ref": "c", "$id": 1}}"#,
            r#"{"a": {"$ref": "c", "$id": 1}}"#,
            true,
        ),
    ]);
}

#[test]
fn equality_with_arrays_is_of_an_element_or_of_the_whole() {
    check_all(&[
        (r#"{"a": 1}"#, r#"{"a": [1, 2]}"#, true),
        (r#"{"a": 3}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a": [1, 2]}"#, r#"{"a": [1, 2]}"#, true),
        (r#"{"a": [1, 2]}"#, r#"{"a": [2, 1]}"#, false),
        (r#"{"a": [1, 2]}"#, r#"{"a": [[1, 2], 3]}"#, true),
        (r#"{"a": [1, 2]}"#, r#"{"a": [1, 2, 3]}"#, false),
        (r#"{"a": 1}"#, r#"{"a": [[1]]}"#, false),
        (r#"{"a": []}"#, r#"{"a": []}"#, true),
        (r#"{"a": []}"#, r#"{"a": [[]]}"#, true),
        (r#"{"a": []}"#, r#"{"a": [1]}"#, false),
    ]);
}

#[test]
fn null_matches_missing() {
    check_all(&[
        (r#"{"a": null}"#, r#"{"a": null}"#, true),
        (r#"{"a": null}"#, "{}", true),
        (r#"{"a": null}"#, r#"{"a": 1}"#, false),
        (r#"{"a": null}"#, r#"{"a": [null, 1]}"#, true),
        (r#"{"a": null}"#, r#"{"a": []}"#, false),
        (r#"{"a": null}"#, r#"{"a": {"$undefined": true}}"#, false),
        (r#"{"a.b": null}"#, "{}", true),
        (r#"{"a.b": null}"#, r#"{"a": {}}"#, true),
        (r#"{"a.b": null}"#, r#"{"a": 5}"#, true),
        (r#"{"a.b": null}"#, r#"{"a": {"b": 1}}"#, false),
        (r#"{"a.b": null}"#, r#"{"a": [{"b": 1}, {}]}"#, true),
        (r#"{"a.b": null}"#, r#"{"a": [{"b": 1}]}"#, false),
        // Elements that are no documents reach nothing, not even missing.
        (r#"{"a.b": null}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a.b": null}"#, r#"{"a": []}"#, false),
        (r#"{"a": {"$gte": null}}"#, "{}", true),
        (r#"{"a": {"$lte": null}}"#, r#"{"a": null}"#, true),
        (r#"{"a": {"$gt": null}}"#, "{}", false),
        (r#"{"a": {"$lt": null}}"#, r#"{"a": null}"#, false),
        (r#"{"a": {"$gte": null}}"#, r#"{"a": 1}"#, false),
    ]);
}

#[test]
fn not_equal_negates_the_whole() {
    check_all(&[
        (r#"{"a": {"$ne": 1}}"#, r#"{"a": 2}"#, true),
        (r#"{"a": {"$ne": 1}}"#, r#"{"a": 1}"#, false),
        (r#"{"a": {"$ne": 1}}"#, "{}", true),
        (r#"{"a": {"$ne": 1}}"#, r#"{"a": "1"}"#, true),
        (r#"{"a": {"$ne": 1}}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a": {"$ne": 1}}"#, r#"{"a": [2, 3]}"#, true),
        (r#"{"a": {"$ne": null}}"#, "{}", false),
        (r#"{"a": {"$ne": null}}"#, r#"{"a": 0}"#, true),
        (r#"{"a.b": {"$ne": 1}}"#, r#"{"a": [{"b": 1}, {"b": 2}]}"#, false),
    ]);
}

#[test]
fn ranges_are_bracketed_by_type() {
    check_all(&[
        (r#"{"a": {"$gt": 5}}"#, r#"{"a": 6}"#, true),
        (r#"{"a": {"$gt": 5}}"#, r#"{"a": 5}"#, false),
        (r#"{"a": {"$gte": 5}}"#, r#"{"a": 5.0}"#, true),
        (r#"{"a": {"$lt": 5}}"#, r#"{"a": 4.5}"#, true),
        (r#"{"a": {"$lte": 5}}"#, r#"{"a": 5}"#, true),
        (r#"{"a": {"$lt": 5}}"#, r#"{"a": 5}"#, false),
        (r#"{"a": {"$gt": 5}}"#, r#"{"a": "6"}"#, false),
        (r#"{"a": {"$lt": 5}}"#, r#"{"a": null}"#, false),
        (r#"{"a": {"$lt": 5}}"#, "{}", false),
        (r#"{"a": {"$gt": "b"}}"#, r#"{"a": "c"}"#, true),
        (r#"{"a": {"$gt": "b"}}"#, r#"{"a": 100}"#, false),
        (r#"{"a": {"$gt": false}}"#, r#"{"a": true}"#, true),
        (r#"{"a": {"$gt": {"b": 1}}}"#, r#"{"a": {"b": 2}}"#, true),
        (r#"{"a": {"$gt": {"b": 1}}}"#, r#"{"a": 9}"#, false),
        (
            r#"{"a": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}"#,
            r#"{"a": {"$date": "2024-01-02T00:00:00Z"}}"#,
            true,
        ),
        (
            r#"{"a": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}"#,
            r#"{"a": {"$timestamp": {"t": 4000000000, "i": 1}}}"#,
            false,
        ),
        (r#"{"a": {"$gt": 1, "$lt": 5}}"#, r#"{"a": 3}"#, true),
        (r#"{"a": {"$gt": 1, "$lt": 5}}"#, r#"{"a": 7}"#, false),
    ]);
}

#[test]
fn ranges_look_into_arrays() {
    check_all(&[
        (r#"{"a": {"$gt": 5}}"#, r#"{"a": [1, 9]}"#, true),
        (r#"{"a": {"$gt": 5}}"#, r#"{"a": [1, 2]}"#, false),
        // Each bound may be met by another element.
        (r#"{"a": {"$gt": 1, "$lt": 5}}"#, r#"{"a": [0, 9]}"#, true),
        (r#"{"a": {"$gt": [1]}}"#, r#"{"a": [2]}"#, true),
        (r#"{"a": {"$gt": [1]}}"#, r#"{"a": [1]}"#, false),
    ]);
}

#[test]
fn nan_is_in_no_range() {
    let nan = r#"{"$numberDouble": "NaN"}"#;
    check_all(&[
        (r#"{"a": {"$lt": 5}}"#, &format!(r#"{{"a": {nan}}}"#), false),
        (r#"{"a": {"$gt": -5}}"#, &format!(r#"{{"a": {nan}}}"#), false),
        (
            &format!(r#"{{"a": {{"$gte": {nan}}}}}"#),
            &format!(r#"{{"a": {nan}}}"#),
            true,
        ),
        (&format!(r#"{{"a": {{"$gt": {nan}}}}}"#), r#"{"a": 1}"#, false),
        (&format!(r#"{{"a": {{"$gte": {nan}}}}}"#), r#"{"a": 1}"#, false),
        (
            &format!(r#"{{"a": {{"$lte": {nan}}}}}"#),
            r#"{"a": {"$numberDecimal": "NaN"}}"#,
            true,
        ),
    ]);
}

#[test]
fn min_and_max_key_compare_with_every_type() {
    check_all(&[
        (r#"{"a": {"$gt": {"$minKey": 1}}}"#, r#"{"a": "x"}"#, true),
        (r#"{"a": {"$lt": {"$maxKey": 1}}}"#, r#"{"a": 5}"#, true),
        (r#"{"a": {"$lt": {"$minKey": 1}}}"#, r#"{"a": 5}"#, false),
        (r#"{"a": {"$gt": {"$minKey": 1}}}"#, r#"{"a": {"$minKey": 1}}"#, false),
        (r#"{"a": {"$gte": {"$minKey": 1}}}"#, r#"{"a": {"$minKey": 1}}"#, true),
        (r#"{"a": {"$maxKey": 1}}"#, r#"{"a": 5}"#, false),
    ]);
}

#[test]
fn in_and_nin() {
    check_all(&[
        (r#"{"a": {"$in": [3, 1, 2]}}"#, r#"{"a": 2}"#, true),
        (r#"{"a": {"$in": [1, 2]}}"#, r#"{"a": 2.0}"#, true),
        (r#"{"a": {"$in": [1, 2]}}"#, r#"{"a": 3}"#, false),
        (r#"{"a": {"$in": [1, 2]}}"#, "{}", false),
        (r#"{"a": {"$in": [1, null]}}"#, "{}", true),
        (r#"{"a": {"$in": [1, "x", {"b": 1}]}}"#, r#"{"a": {"b": 1}}"#, true),
        (r#"{"a": {"$in": [1, 2]}}"#, r#"{"a": [5, 2]}"#, true),
        (r#"{"a": {"$in": [[5, 2]]}}"#, r#"{"a": [5, 2]}"#, true),
        (r#"{"a": {"$in": []}}"#, r#"{"a": 1}"#, false),
        (r#"{"a": {"$nin": []}}"#, r#"{"a": 1}"#, true),
        (r#"{"a": {"$nin": [1, 2]}}"#, r#"{"a": 3}"#, true),
        (r#"{"a": {"$nin": [1, 2]}}"#, "{}", true),
        (r#"{"a": {"$nin": [1, null]}}"#, "{}", false),
        (r#"{"a": {"$nin": [1, 2]}}"#, r#"{"a": [3, 2]}"#, false),
    ]);
}

#[test]
fn exists() {
    check_all(&[
        (r#"{"a": {"$exists": true}}"#, r#"{"a": null}"#, true),
        (r#"{"a": {"$exists": true}}"#, "{}", false),
        (r#"{"a": {"$exists": false}}"#, "{}", true),
        (r#"{"a": {"$exists": false}}"#, r#"{"a": 1}"#, false),
        (r#"{"a": {"$exists": 1}}"#, r#"{"a": 1}"#, true),
        (r#"{"a": {"$exists": 0}}"#, r#"{"a": 1}"#, false),
        (r#"{"a": {"$exists": null}}"#, "{}", true),
        (r#"{"a": {"$exists": "x"}}"#, r#"{"a": 1}"#, true),
        (r#"{"a": {"$exists": true}}"#, r#"{"a": []}"#, true),
        (r#"{"a.b": {"$exists": true}}"#, r#"{"a": [{"b": 1}, {}]}"#, true),
        (r#"{"a.b": {"$exists": false}}"#, r#"{"a": [1]}"#, true),
        (r#"{"a.1": {"$exists": true}}"#, r#"{"a": [1]}"#, false),
        (r#"{"a.1": {"$exists": true}}"#, r#"{"a": [1, 2]}"#, true),
    ]);
}

#[test]
fn logical_operators() {
    check_all(&[
        (r#"{"$and": [{"a": 1}, {"b": 2}]}"#, r#"{"a": 1, "b": 2}"#, true),
        (r#"{"$and": [{"a": 1}, {"b": 2}]}"#, r#"{"a": 1}"#, false),
        (r#"{"$and": [{"a": 1}, {"a": 2}]}"#, r#"{"a": [1, 2]}"#, true),
        (r#"{"$or": [{"a": 1}, {"b": 2}]}"#, r#"{"b": 2}"#, true),
        (r#"{"$or": [{"a": 1}, {"b": 2}]}"#, r#"{"a": 2, "b": 1}"#, false),
        (r#"{"$or": [{}, {"b": 2}]}"#, "{}", true),
        (r#"{"$nor": [{"a": 1}, {"b": 2}]}"#, r#"{"a": 2}"#, true),
        (r#"{"$nor": [{"a": 1}, {"b": 2}]}"#, r#"{"b": 2}"#, false),
        (r#"{"$nor": [{}]}"#, "{}", false),
        (r#"{"c": 3, "$or": [{"a": 1}, {"b": 2}]}"#, r#"{"b": 2, "c": 3}"#, true),
        (r#"{"c": 3, "$or": [{"a": 1}, {"b": 2}]}"#, r#"{"b": 2, "c": 4}"#, false),
        (r#"{"a": {"$not": {"$gt": 5}}}"#, r#"{"a": 5}"#, true),
        (r#"{"a": {"$not": {"$gt": 5}}}"#, r#"{"a": 6}"#, false),
        (r#"{"a": {"$not": {"$gt": 5}}}"#, "{}", true),
        (r#"{"a": {"$not": {"$gt": 5}}}"#, r#"{"a": "six"}"#, true),
        (r#"{"a": {"$not": {"$gt": 1, "$lt": 5}}}"#, r#"{"a": 7}"#, true),
        (r#"{"a": {"$not": {"$gt": 1, "$lt": 5}}}"#, r#"{"a": 3}"#, false),
        (r#"{"a": {"$not": {"$not": {"$gt": 5}}}}"#, r#"{"a": 6}"#, true),
        (r#"{"a": {"$not": {"$gt": 5}, "$exists": true}}"#, "{}", false),
    ]);
}

#[test]
fn paths_reach_through_documents_and_arrays() {
    check_all(&[
        (r#"{"a.b": 1}"#, r#"{"a": {"b": 1}}"#, true),
        (r#"{"a.b.c": 1}"#, r#"{"a": {"b": {"c": 1}}}"#, true),
        (r#"{"a.b": 1}"#, r#"{"a": [{"b": 2}, {"b": 1}]}"#, true),
        (r#"{"a.b": 1}"#, r#"{"a": [{"b": [5, 1]}]}"#, true),
        (r#"{"a.b": 1}"#, r#"{"a.b": 1}"#, false),
        (r#"{"a.b": 1}"#, r#"{"a": [[{"b": 1}]]}"#, false),
        (r#"{"a.b.c": 1}"#, r#"{"a": [{"b": [{"c": 1}]}]}"#, true),
        (r#"{"a..b": 1}"#, r#"{"a": {"": {"b": 1}}}"#, true),
    ]);
}

#[test]
fn numeric_components_are_positions_and_names() {
    check_all(&[
        (r#"{"a.0": 1}"#, r#"{"a": [1, 2]}"#, true),
        (r#"{"a.1": 1}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a.5": 1}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a.0.b": 1}"#, r#"{"a": [{"b": 1}, {"b": 2}]}"#, true),
        (r#"{"a.1.b": 1}"#, r#"{"a": [{"b": 1}, {"b": 2}]}"#, false),
        (r#"{"a.0": 1}"#, r#"{"a": {"0": 1}}"#, true),
        (r#"{"a.0": 1}"#, r#"{"a": [{"0": 1}]}"#, true),
        (r#"{"a.0.1": 2}"#, r#"{"a": [[1, 2]]}"#, true),
        (r#"{"a.0.b": 1}"#, r#"{"a": [[{"b": 1}]]}"#, true),
        // An array reached by its position is not looked into.
        (r#"{"a.0": 1}"#, r#"{"a": [[1, 2]]}"#, false),
        (r#"{"a.0": [1, 2]}"#, r#"{"a": [[1, 2]]}"#, true),
        (r#"{"a.00": 1}"#, r#"{"a": [1]}"#, false),
        (r#"{"a.+0": 1}"#, r#"{"a": [1]}"#, false),
        // The component is tried as a name first, and that reaches missing.
        (r#"{"a.0.b": null}"#, r#"{"a": [{"b": 1}]}"#, true),
    ]);
}

#[test]
fn expr_is_a_predicate_on_computed_values() {
    check_all(&[
        (
            r#"{"$expr": {"$gt": ["$spent", "$budget"]}}"#,
            r#"{"budget": 1, "spent": 2}"#,
            true,
        ),
        (
            r#"{"$expr": {"$gt": ["$spent", "$budget"]}}"#,
            r#"{"budget": 2, "spent": 2}"#,
            false,
        ),
        (r#"{"$expr": "$a"}"#, r#"{"a": 0}"#, false),
        (r#"{"$expr": {"$eq": ["$$ROOT.a", 1]}}"#, r#"{"a": 1}"#, true),
        (r#"{"$expr": {"$eq": ["$$ROOT", {"a": 1}]}}"#, r#"{"a": 1}"#, true),
        (
            r#"{"$or": [{"a": 1}, {"$expr": {"$eq": ["$a", 2]}}]}"#,
            r#"{"a": 2}"#,
            true,
        ),
        (r#"{"$nor": [{"$expr": {"$eq": ["$a", 2]}}]}"#, r#"{"a": 2}"#, false),
        // Unlike a predicate, an expression does not look into arrays.
        (r#"{"$expr": {"$eq": ["$a", 2]}}"#, r#"{"a": [2]}"#, false),
    ]);
}

#[test]
fn a_prefixed_expr_begins_further_down() {
    for (filter, inner) in [
        (r#"{"$expr": {"$eq": ["$a", "$$ROOT.b"]}}"#, r#"{"a": 1, "b": 1}"#),
        (
            r#"{"$expr": {"$eq": ["$$ROOT", {"$literal": {"a": "$x"}}]}}"#,
            r#"{"a": "$x"}"#,
        ),
        (
            r#"{"$expr": {"$let": {"vars": {"CURRENT": "$a"}, "in": "$b"}}}"#,
            r#"{"a": {"b": 1}}"#,
        ),
    ] {
        let outer = document(&format!(r#"{{"x": {{"y": {inner}}}}}"#));
        let moved = Expression::parse(&document(filter)).unwrap().prefixed("x.y");
        assert!(moved.matches(&outer).unwrap(), "{filter}");
        let again = Expression::parse(&moved.to_document()).unwrap();
        assert_eq!(again, moved, "{filter}");
        assert!(again.matches(&outer).unwrap(), "{filter} rendered");
        assert!(moved.indexable().is_empty());
    }
}
