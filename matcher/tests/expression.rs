//! Expressions as wholes: rendering, conjuncts, prefixes, roots that are not documents.

use crate::common;

use std::borrow::Cow;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};
use common::{any_value, document, match_document, raw_document, small_document};
use proptest::prelude::*;
use tailwater_matcher::{Conjunct, Expression, Fields, RangeOperator};

#[track_caller]
fn check_rendered(filter: &str, expected: &str) {
    let expression = Expression::parse(&document(filter)).unwrap();
    assert_eq!(expression.to_document(), document(expected), "{filter}");
}

#[test]
fn rendering_reads_as_a_person_would_write_it() {
    for form in [
        "{}",
        r#"{"a": 1}"#,
        r#"{"a": {"b": 1}}"#,
        r#"{"a": {"$gt": 1, "$lt": 5}, "b": {"$ne": 2}}"#,
        r#"{"a": {"$in": [1, 2]}, "b": {"$nin": [3]}, "c": {"$exists": false}}"#,
        r#"{"$or": [{"a": 1, "b": 1}, {"c": 1}], "d": 1}"#,
        r#"{"a": {"$not": {"$gt": 1}}}"#,
        r#"{"$nor": [{"a": 1}, {"b": 1}]}"#,
        r#"{"a": {"$not": {"$gt": 1, "$lt": 5}}}"#,
        r#"{"a": {"$regularExpression": {"pattern": "^x", "options": "i"}}}"#,
        r#"{"a": {"$not": {"$regularExpression": {"pattern": "x", "options": ""}}, "$exists": true}}"#,
        r#"{"a": {"$in": [1, {"$regularExpression": {"pattern": "x", "options": ""}}]}}"#,
        r#"{"a": {"$elemMatch": {"$gt": 1, "$lt": 5, "$ne": 3}}}"#,
        r#"{"a": {"$elemMatch": {"b": 1, "$or": [{"c": 1}, {"d": 1}]}}}"#,
        r#"{"a": {"$elemMatch": {"$elemMatch": {"$not": {"$mod": [{"$numberLong": "4"}, {"$numberLong": "1"}]}}}}}"#,
        r#"{"a": {"$type": ["double", "string"]}, "b": {"$type": "number"}, "c": {"$type": "minKey"}}"#,
        r#"{"a": {"$bitsAllSet": 5}, "b": {"$bitsAnyClear": [1, 100]}}"#,
        r#"{"$jsonSchema": {"required": ["a"], "title": "t"}, "a": 1}"#,
        r#"{"$and": [{"$or": [{"a": 1}, {"b": 1}]}, {"$or": [{"c": 1}, {"d": 1}]}]}"#,
    ] {
        check_rendered(form, form);
    }
    check_rendered(r#"{"a": {"$eq": 1}}"#, r#"{"a": 1}"#);
    check_rendered(r#"{"$and": [{"a": 1}, {"b": 1}]}"#, r#"{"a": 1, "b": 1}"#);
    check_rendered(r#"{"$or": [{"a": 1}]}"#, r#"{"a": 1}"#);
    check_rendered(r#"{"a": {"$in": [2, 1, 2.0]}}"#, r#"{"a": {"$in": [1, 2]}}"#);
    check_rendered(r#"{"a": {"$all": []}}"#, r#"{"a": {"$in": []}}"#);
    check_rendered(
        r#"{"a": {"$all": [{"$elemMatch": {"b": 1}}]}}"#,
        r#"{"a": {"$elemMatch": {"b": 1}}}"#,
    );
    check_rendered(
        r#"{"a": {"$regex": "x", "$options": "i"}}"#,
        r#"{"a": {"$regularExpression": {"pattern": "x", "options": "i"}}}"#,
    );
    check_rendered(r#"{"a": {"$eq": {"$gt": 1}}}"#, r#"{"a": {"$eq": {"$gt": 1}}}"#);
}

#[test]
fn conjuncts_are_the_positive_parts_of_the_top_level() {
    let expression = Expression::parse(&document(
        r#"{"a": 1, "b": {"$in": [1, 2]}, "c.d": {"$gt": 5, "$lte": 9}, "e": {"$exists": true},
            "f": {"$ne": 1}, "$or": [{"g": 1}, {"h": 1}], "i": {"$gte": null},
            "j": {"$gt": {"$minKey": 1}}}"#,
    ))
    .unwrap();
    let shown: Vec<String> = expression.indexable().iter().map(show).collect();
    let expected = ["a = 1", "b in 2", "c.d Gt 5", "c.d Lte 9", "e exists", "i = null"];
    assert_eq!(shown, expected);
}

#[test]
fn conjuncts_and_alternatives_of_every_operator() {
    for (filter, expected) in [
        (r#"{"a": {"$type": "number"}}"#, "a is double|int|long|decimal"),
        (r#"{"a": {"$regex": "^ab+c"}}"#, "a begins ab"),
        (r#"{"a": {"$regex": "^ab*c"}}"#, "a begins a"),
        (r#"{"a": {"$regex": "^a|b"}}"#, "a exists"),
        (r#"{"a": {"$regex": "^a", "$options": "i"}}"#, "a exists"),
        (r#"{"a": {"$regex": "^a\\.b"}}"#, "a begins a.b"),
        (r#"{"a": {"$size": 2}}"#, "a exists"),
        (r#"{"a": {"$mod": [2, 1]}}"#, "a exists"),
        (r#"{"a": {"$elemMatch": {"b": 1, "c": null}}}"#, "a.b = 1 & a exists"),
        (r#"{"a": {"$elemMatch": {"0": 1}}}"#, "a exists"),
        (r#"{"a": {"$elemMatch": {"$gt": 1, "$lt": 5}}}"#, "a Gt 1 & a Lt 5"),
        (r#"{"a.0": {"$elemMatch": {"$gt": 1}}}"#, "a.0 exists"),
        (r#"{"a": {"$all": [1, 2]}}"#, "a = 1 & a = 2"),
        (r#"{"$or": [{"a": 1}, {"b": 2, "c": 3}]}"#, "a = 1 | b = 2 & c = 3"),
        (r#"{"$or": [{"a": 1}, {"b": {"$ne": 2}}]}"#, ""),
        (
            r#"{"$or": [{"a": 1}, {"b": 1}], "$and": [{"$or": [{"c": 1}, {"d": 1}]}]}"#,
            "a = 1 & c = 1 | a = 1 & d = 1 | b = 1 & c = 1 | b = 1 & d = 1",
        ),
        (
            r#"{"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}}"#,
            "a.b = 1 & a exists | a.c = 1 & a exists",
        ),
        (r#"{"$jsonSchema": {"required": ["a"]}}"#, ""),
    ] {
        let expression = Expression::parse(&document(filter)).unwrap();
        let all = |parts: &Vec<Conjunct<'_>>| parts.iter().map(show).collect::<Vec<_>>().join(" & ");
        let shown: Vec<String> = expression.alternatives(4).iter().map(all).collect();
        assert_eq!(shown.join(" | "), expected, "{filter}");
    }
}

fn show(conjunct: &Conjunct<'_>) -> String {
    let number = |value: &RawBsonRef<'_>| {
        value
            .as_i32()
            .map_or_else(|| "null".to_owned(), |number| number.to_string())
    };
    let path = conjunct.path();
    match conjunct {
        Conjunct::Equal { value, .. } => format!("{path} = {}", number(value)),
        Conjunct::In { values, .. } => format!("{path} in {}", values.len()),
        Conjunct::Range { operator, bound, .. } => {
            let operator: &RangeOperator = operator;
            format!("{path} {operator:?} {}", number(bound))
        }
        Conjunct::Prefix { prefix, .. } => format!("{path} begins {prefix}"),
        Conjunct::Type { types, .. } => format!("{path} is {}", types.aliases().collect::<Vec<_>>().join("|")),
        _ => format!("{path} exists"),
    }
}

/// A root whose fields exist nowhere as BSON.
struct Event<'a> {
    operation: &'a str,
    full_document: &'a RawDocumentBuf,
}

impl Fields for Event<'_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        match name {
            "operationType" => Some(RawBsonRef::String(self.operation)),
            "fullDocument" => Some(RawBsonRef::Document(self.full_document)),
            _ => None,
        }
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        Cow::Owned(rawdoc! { "operationType": self.operation, "fullDocument": self.full_document.clone() })
    }
}

#[test]
fn a_prefixed_filter_looks_into_the_event() {
    let inner = Expression::parse(&rawdoc! { "age": { "$gt": 18 }, "tags": "x" }).unwrap();
    let outer = Expression::parse(&rawdoc! { "operationType": "insert" }).unwrap();
    let both = Expression::and(outer, inner.prefixed("fullDocument"));
    let adult = rawdoc! { "age": 20, "tags": ["x"] };
    let event = |operation| Event {
        operation,
        full_document: &adult,
    };
    assert!(both.matches(&event("insert")).unwrap());
    assert!(!both.matches(&event("update")).unwrap());
    assert!(both.matches(&&event("insert")).unwrap());
    let child = rawdoc! { "age": 2, "tags": ["x"] };
    assert!(
        !both
            .matches(&Event {
                operation: "insert",
                full_document: &child
            })
            .unwrap()
    );
    assert!(!both.matches(&adult).unwrap());
    assert_eq!(
        both.to_document(),
        rawdoc! {
            "operationType": "insert",
            "fullDocument.age": { "$gt": 18 },
            "fullDocument.tags": "x",
        },
    );
}

#[test]
fn expressions_are_values() {
    fn is_value<T: Clone + std::fmt::Debug + Send + Sync + PartialEq + 'static>(value: &T) -> bool {
        &value.clone() == value
    }
    let nan = Expression::parse(&rawdoc! { "a": f64::NAN }).unwrap();
    assert!(is_value(&nan));
    assert!(Expression::default().is_always());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rendering_and_parsing_undo_each_other(filter in match_document()) {
        let expression = Expression::parse(&raw_document(&filter)).unwrap();
        let rendered = expression.to_document();
        let again = Expression::parse(&rendered).unwrap();
        prop_assert_eq!(&again, &expression, "{:?}", rendered);
        prop_assert_eq!(again.to_document(), rendered);
    }

    #[test]
    fn any_constant_survives_rendering(value in any_value()) {
        let filter = raw_document(&doc! { "a": { "$ne": value.clone() }, "b": { "$eq": value } });
        if let Ok(expression) = Expression::parse(&filter) {
            prop_assert_eq!(Expression::parse(&expression.to_document()), Ok(expression));
        }
    }

    #[test]
    fn the_rendered_filter_matches_the_same(filter in match_document(), doc in small_document()) {
        let (filter, doc) = (raw_document(&filter), raw_document(&doc));
        let expression = Expression::parse(&filter).unwrap();
        let again = Expression::parse(&expression.to_document()).unwrap();
        prop_assert_eq!(again.matches(&doc).unwrap(), expression.matches(&doc).unwrap());
    }

    #[test]
    fn every_conjunct_holds_where_the_filter_does(
        filter in match_document(),
        doc in small_document(),
    ) {
        let doc = raw_document(&doc);
        let expression = Expression::parse(&raw_document(&filter)).unwrap();
        if expression.matches(&doc).unwrap() {
            for conjunct in expression.indexable() {
                prop_assert!(conjunct.to_expression().matches(&doc).unwrap(), "{:?}", conjunct);
            }
            let holds = |conjunct: &Conjunct<'_>| conjunct.to_expression().matches(&doc).unwrap();
            for limit in [1, 3, 16] {
                let alternatives = expression.alternatives(limit);
                prop_assert!(alternatives.len() <= limit);
                prop_assert!(alternatives.iter().any(|all| all.iter().all(holds)), "{:?}", alternatives);
            }
        }
    }

    #[test]
    fn a_prefix_only_moves_the_root(filter in match_document(), inner in small_document()) {
        let expression = Expression::parse(&raw_document(&filter)).unwrap();
        let outer = raw_document(&doc! { "x": inner.clone() });
        let expected = expression.matches(&raw_document(&inner)).unwrap();
        prop_assert_eq!(expression.prefixed("x").matches(&outer).unwrap(), expected);
    }

    #[test]
    fn negation_is_the_opposite(filter in match_document(), doc in small_document()) {
        let doc = raw_document(&doc);
        let negated = raw_document(&doc! { "$nor": [filter.clone()] });
        let filter = Expression::parse(&raw_document(&filter)).unwrap();
        let negated = Expression::parse(&negated).unwrap();
        prop_assert_ne!(filter.matches(&doc).unwrap(), negated.matches(&doc).unwrap());
    }
}
