//! The evaluator against an interpreter that shares nothing with it.
//!
//! The interpreter below reads decoded documents, collects every value a path reaches into a list,
//! and evaluates the `$match` document as it stands, without a normal form. It is slow and plain on
//! purpose: what it says is meant to be checked by reading it beside MongoDB's manual.

mod common;

use std::cmp::Ordering;

use bson::{Bson, Document};
use common::{match_document, raw_document, small_document};
use proptest::prelude::*;
use tailwater_matcher::Expression;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_evaluator_agrees_with_the_interpreter(
        filter in match_document(),
        document in small_document(),
    ) {
        let expression = Expression::parse(&raw_document(&filter)).unwrap();
        let expected = interpret(&filter, &document);
        prop_assert_eq!(expression.matches(&raw_document(&document)).unwrap(), expected);
    }
}

fn interpret(filter: &Document, document: &Document) -> bool {
    filter.iter().all(|(name, condition)| {
        let parts = || {
            let Bson::Array(parts) = condition else {
                panic!("{name} takes an array")
            };
            parts
                .iter()
                .map(|part| interpret(part.as_document().unwrap(), document))
        };
        match name.as_str() {
            "$and" => parts().all(|holds| holds),
            "$or" => parts().any(|holds| holds),
            "$nor" => !parts().any(|holds| holds),
            path => interpret_field(path, condition, document),
        }
    })
}

fn interpret_field(path: &str, condition: &Bson, document: &Document) -> bool {
    match condition {
        Bson::Document(operators) if operators.keys().next().is_some_and(|n| n.starts_with('$')) => operators
            .iter()
            .all(|(name, value)| interpret_operator(path, name, value, document)),
        value => interpret_operator(path, "$eq", value, document),
    }
}

fn interpret_operator(path: &str, operator: &str, constant: &Bson, document: &Document) -> bool {
    let components: Vec<&str> = path.split('.').collect();
    let mut reached = Vec::new();
    collect_field(document, &components, &mut reached);
    let any = |test: &dyn Fn(&Bson) -> bool| reached.iter().any(|value| test(value.as_ref().unwrap_or(&Bson::Null)));
    let any_order =
        |accepted: &[Ordering]| any(&|value| relation(value, constant).is_some_and(|order| accepted.contains(&order)));
    let listed = || {
        let constants = constant.as_array().unwrap();
        any(&|value| constants.iter().any(|c| relation(value, c) == Some(Ordering::Equal)))
    };
    match operator {
        "$eq" => any_order(&[Ordering::Equal]),
        "$ne" => !any_order(&[Ordering::Equal]),
        "$gt" => any_order(&[Ordering::Greater]),
        "$gte" => any_order(&[Ordering::Greater, Ordering::Equal]),
        "$lt" => any_order(&[Ordering::Less]),
        "$lte" => any_order(&[Ordering::Less, Ordering::Equal]),
        "$in" => listed(),
        "$nin" => !listed(),
        "$exists" => reached.iter().any(Option::is_some) == constant.as_bool().unwrap(),
        "$not" => !interpret_field(path, constant, document),
        other => panic!("{other} is not generated"),
    }
}

/// Collects what `path` reaches in a document; `None` is missing.
fn collect_field(document: &Document, path: &[&str], reached: &mut Vec<Option<Bson>>) {
    match document.get(path[0]) {
        None => reached.push(None),
        Some(value) => collect_value(value, &path[1..], reached),
    }
}

fn collect_value(value: &Bson, rest: &[&str], reached: &mut Vec<Option<Bson>>) {
    match (value, rest) {
        (Bson::Array(elements), []) => {
            reached.extend(elements.iter().cloned().map(Some));
            reached.push(Some(value.clone()));
        }
        (value, []) => reached.push(Some(value.clone())),
        (Bson::Document(inner), rest) => collect_field(inner, rest, reached),
        (Bson::Array(elements), rest) => collect_elements(elements, rest, reached),
        _ => reached.push(None),
    }
}

fn collect_elements(elements: &[Bson], rest: &[&str], reached: &mut Vec<Option<Bson>>) {
    for element in elements {
        if let Bson::Document(inner) = element {
            collect_field(inner, rest, reached);
        }
    }
    let Some(element) = rest[0].parse().ok().and_then(|at: usize| elements.get(at)) else {
        return;
    };
    match (element, &rest[1..]) {
        (element, []) => reached.push(Some(element.clone())),
        (Bson::Document(inner), rest) => collect_field(inner, rest, reached),
        (Bson::Array(inner), rest) => collect_elements(inner, rest, reached),
        _ => {}
    }
}

/// How two values relate in a predicate: not at all across types, nor to NaN.
fn relation(a: &Bson, b: &Bson) -> Option<Ordering> {
    if rank(a) != rank(b) {
        return None;
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) if a.is_nan() || b.is_nan() => (a.is_nan() && b.is_nan()).then_some(Ordering::Equal),
        _ => Some(order(a, b)),
    }
}

fn order(a: &Bson, b: &Bson) -> Ordering {
    match (a, b) {
        (Bson::String(a), Bson::String(b)) => a.cmp(b),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::Array(a), Bson::Array(b)) => {
            let parts = a.iter().zip(b).map(|(a, b)| order(a, b));
            parts.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        (Bson::Document(a), Bson::Document(b)) => {
            let parts = a
                .iter()
                .zip(b)
                .map(|((a_name, a), (b_name, b))| rank(a).cmp(&rank(b)).then(a_name.cmp(b_name)).then(order(a, b)));
            parts.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())),
            _ => rank(a).cmp(&rank(b)),
        },
    }
}

fn rank(value: &Bson) -> u8 {
    match value {
        Bson::Null => 0,
        Bson::Int32(_) | Bson::Double(_) => 1,
        Bson::String(_) => 2,
        Bson::Document(_) => 3,
        Bson::Array(_) => 4,
        Bson::Boolean(_) => 5,
        other => panic!("{other:?} is not generated"),
    }
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(int) => Some(f64::from(*int)),
        Bson::Double(double) => Some(*double),
        _ => None,
    }
}
