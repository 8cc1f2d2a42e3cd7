//! Expressions that ask for more than there is time for: each ends by name, whatever its operators do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use tailwater_matcher::{
    AggregationErrorKind, EvaluateError, EvaluateErrorKind, Expression, Interrupt, Interruption, StepScope, Transform,
};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// For each number below `n`.
fn each(n: i32, body: impl Into<Bson>) -> Bson {
    bson!({ "$reduce": { "input": { "$range": [0, n] }, "initialValue": 0, "in": body.into() } })
}

fn filter(expression: &Bson) -> Expression {
    Expression::parse(&raw(&doc! { "$expr": expression.clone() })).unwrap()
}

#[track_caller]
fn kind(result: Result<bool, EvaluateError>) -> AggregationErrorKind {
    let error = result.expect_err("should have come to its limit");
    assert!(error.ran_out());
    match error.kind() {
        EvaluateErrorKind::Aggregation(error) => error.kind().clone(),
        other => panic!("{other}"),
    }
}

/// Many fields, a long array and a long text.
fn large() -> RawDocumentBuf {
    let mut document: Document = (0..20_000).map(|n| (format!("f{n}"), Bson::Int32(n))).collect();
    document.insert("last", 1);
    document.insert("array", (0..20_000).collect::<Vec<i32>>());
    document.insert("text", "ab".repeat(500_000));
    document.insert("documents", vec![doc! { "a": 1 }; 20_000]);
    raw(&document)
}

#[test]
fn whatever_an_operator_does_again_and_again_ends_at_the_limit() {
    let large = large();
    let deep = (0..4).fold(bson!({ "$add": ["$$value", 1] }), |body, _| each(1_000_000, body));
    let bodies = [
        ("nothing", bson!(1)),
        ("a field of many", bson!("$last")),
        ("a field that is not there", bson!("$none")),
        ("fields in an array", bson!("$documents.a")),
        ("an item of an array", bson!({ "$arrayElemAt": ["$array", 1] })),
        ("the size of an array", bson!({ "$size": "$array" })),
        ("$in", bson!({ "$in": [-1, "$array"] })),
        ("$indexOfArray", bson!({ "$indexOfArray": ["$array", -1] })),
        ("$range", bson!({ "$size": { "$range": [0, 1_000_000] } })),
        (
            "$sortArray",
            bson!({ "$first": { "$sortArray": { "input": "$array", "sortBy": -1 } } }),
        ),
        (
            "$sortArray by a field",
            bson!({ "$first": { "$sortArray": { "input": "$documents", "sortBy": { "a": 1 } } } }),
        ),
        ("$reverseArray", bson!({ "$first": { "$reverseArray": "$array" } })),
        ("$slice", bson!({ "$first": { "$slice": ["$array", -5] } })),
        (
            "$concatArrays",
            bson!({ "$first": { "$concatArrays": ["$array", "$array"] } }),
        ),
        ("$setUnion", bson!({ "$first": { "$setUnion": ["$array", "$array"] } })),
        (
            "$setIntersection",
            bson!({ "$first": { "$setIntersection": ["$array", "$array"] } }),
        ),
        ("$setEquals", bson!({ "$setEquals": ["$array", "$array"] })),
        ("$setIsSubset", bson!({ "$setIsSubset": ["$array", "$array"] })),
        (
            "$setDifference",
            bson!({ "$first": { "$setDifference": ["$array", "$array"] } }),
        ),
        ("$allElementsTrue", bson!({ "$allElementsTrue": "$documents" })),
        (
            "$zip",
            bson!({ "$first": { "$zip": { "inputs": ["$array", "$array"] } } }),
        ),
        ("$map", bson!({ "$first": { "$map": { "input": "$array", "in": 1 } } })),
        (
            "$filter",
            bson!({ "$first": { "$filter": { "input": "$array", "cond": false } } }),
        ),
        ("$sum", bson!({ "$sum": "$array" })),
        ("$max", bson!({ "$max": "$array" })),
        ("$maxN", bson!({ "$first": { "$maxN": { "n": 1, "input": "$array" } } })),
        (
            "$median",
            bson!({ "$median": { "input": "$array", "method": "approximate" } }),
        ),
        ("$eq of texts", bson!({ "$eq": ["$text", "$text"] })),
        ("$eq of arrays", bson!({ "$eq": ["$array", "$array"] })),
        ("$eq of documents", bson!({ "$eq": ["$$ROOT", "$$ROOT"] })),
        ("$concat", bson!({ "$strLenBytes": { "$concat": ["$text", "$text"] } })),
        ("$strLenCP", bson!({ "$strLenCP": "$text" })),
        ("$toUpper", bson!({ "$strLenBytes": { "$toUpper": "$text" } })),
        ("$indexOfCP", bson!({ "$indexOfCP": ["$text", "bb"] })),
        ("$split", bson!({ "$first": { "$split": ["$text", "b"] } })),
        (
            "$replaceAll",
            bson!({ "$strLenBytes": { "$replaceAll": { "input": "$text", "find": "b", "replacement": "c" } } }),
        ),
        ("$trim", bson!({ "$strLenBytes": { "$trim": { "input": "$text" } } })),
        (
            "$regexMatch",
            bson!({ "$regexMatch": { "input": "$text", "regex": "bb" } }),
        ),
        (
            "$regexMatch that goes back",
            bson!({ "$regexMatch": { "input": "$text", "regex": "(?=ab)(a|b)*c" } }),
        ),
        (
            "$regexFindAll",
            bson!({ "$size": { "$regexFindAll": { "input": "$text", "regex": "b" } } }),
        ),
        (
            "a pattern that is computed",
            bson!({ "$regexMatch": { "input": "a", "regex": { "$concat": ["a", { "$toString": "$last" }] } } }),
        ),
        ("$objectToArray", bson!({ "$size": { "$objectToArray": "$$ROOT" } })),
        (
            "$mergeObjects",
            bson!({ "$type": { "$mergeObjects": ["$$ROOT", { "a": 1 }] } }),
        ),
        (
            "$setField",
            bson!({ "$type": { "$setField": { "field": "a", "input": "$$ROOT", "value": 1 } } }),
        ),
        ("$toString", bson!({ "$strLenBytes": { "$toString": "$text" } })),
    ];
    let deep = filter(&deep);
    let scope = StepScope::limited(1_000_000);
    assert_eq!(
        kind(deep.matches(&large)),
        AggregationErrorKind::Steps { limit: 1_000_000 }
    );
    drop(scope);
    for (name, body) in bodies {
        let filter = filter(&each(500_000, each(500_000, body)));
        let _scope = StepScope::limited(1_000_000);
        let found = filter.matches(&large).expect_err(name);
        // A pattern that goes back gives up by itself.
        assert!(found.ran_out() || found.code() == Some(51156), "{name}: {found}");
    }
}

#[test]
fn filters_and_stages_without_expressions_are_counted_as_well() {
    let large = large();
    let many = |condition: Document| doc! { "$or": vec![condition; 9_000] };
    let fields: Document = (0..5_000).map(|n| (format!("g{n}"), Bson::Int32(1))).collect();
    let matches = [
        many(doc! { "array": -1 }),
        many(doc! { "documents.a": 2 }),
        doc! { "documents": { "$elemMatch": many(doc! { "a": 2 }) } },
        doc! { "$jsonSchema": { "allOf": vec![doc! { "properties": { "array": { "items": { "minimum": 0 } } } }; 500] } },
        doc! { "$jsonSchema": { "allOf": vec![doc! { "properties": { "array": { "uniqueItems": true } } }; 500] } },
        doc! { "$or": (0..900).map(|n| doc! { "text": { "$regex": format!("c{n}") } }).collect::<Vec<_>>() },
    ];
    for document in matches {
        let filter = Expression::parse(&raw(&document)).unwrap();
        let _scope = StepScope::limited(1_000_000);
        assert_eq!(
            kind(filter.matches(&large)),
            AggregationErrorKind::Steps { limit: 1_000_000 }
        );
    }
    for stages in [
        vec![doc! { "$addFields": { "a": 1 } }; 900],
        vec![doc! { "$project": fields }],
        vec![doc! { "$redact": each(1_000_000, each(1_000_000, 1)) }],
    ] {
        let stages: Vec<RawDocumentBuf> = stages.iter().map(raw).collect();
        let transform = Transform::parse(stages.iter().map(|stage| &**stage)).unwrap();
        let _scope = StepScope::limited(1_000_000);
        let found = transform.apply(&large).map(|_| true);
        assert_eq!(kind(found), AggregationErrorKind::Steps { limit: 1_000_000 });
    }
}

#[test]
fn the_steps_of_a_scope_are_for_all_that_is_evaluated_in_it() {
    let some = filter(&each(1_000, bson!({ "$add": ["$$value", 1] })));
    let document = raw(&doc! {});
    let outer = StepScope::limited(50_000);
    assert!((1..100).any(|_| some.matches(&document).is_err()));
    assert!(filter(&bson!(true)).matches(&document).unwrap_err().ran_out());
    drop(outer);
    assert!(some.matches(&document).unwrap());
    let _outer = StepScope::limited(20_000);
    {
        // What an inner one has not used is left to the outer.
        let _inner = StepScope::limited(1_000);
        assert_eq!(
            kind(some.matches(&document)),
            AggregationErrorKind::Steps { limit: 1_000 }
        );
    }
    assert!(some.matches(&document).unwrap());
    {
        let _inner = StepScope::limited(1_000_000);
        assert!((1..100).any(|_| some.matches(&document).is_err()));
    }
    assert!(some.matches(&document).is_err());
    let _apart = StepScope::apart();
    assert!(some.matches(&document).unwrap());
}

/// Ends an evaluation when it has been asked often enough.
struct Ends(AtomicU64);

impl Interrupt for Ends {
    fn check(&self) -> Result<(), Interruption> {
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Interruption::Killed),
        }
    }
}

#[test]
fn an_evaluation_is_interrupted_within_one_document() {
    let endless = filter(&(0..4).fold(bson!(1), |body, _| each(1_000_000, body)));
    let document = raw(&doc! {});
    let ends = Arc::new(Ends(AtomicU64::new(10)));
    let _scope = StepScope::interrupted_by(ends.clone());
    let error = endless.matches(&document).unwrap_err();
    assert_eq!(
        (error.code(), error.code_name().as_deref()),
        (Some(11601), Some("Interrupted"))
    );
    assert_eq!(ends.0.load(Ordering::Relaxed), 0);
    // Whatever comes next is interrupted at once.
    assert!(filter(&bson!(true)).matches(&document).unwrap_err().ran_out());
}

#[test]
fn constants_are_not_computed_for_long_when_they_are_read() {
    let ranges = vec![bson!({ "$range": [0, 2_000_000] }); 2_000];
    let found = filter(&bson!({ "$size": { "$concatArrays": ranges } }));
    let _scope = StepScope::limited(100_000);
    assert!(found.matches(&raw(&doc! {})).unwrap_err().ran_out());
}
