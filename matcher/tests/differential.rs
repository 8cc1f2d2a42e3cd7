//! The evaluator against an interpreter that shares nothing with it.
//!
//! The interpreter below reads decoded documents, collects every value a path reaches into a list,
//! and evaluates the `$match` document as it stands, without a normal form. It is slow and plain on
//! purpose: what it says is meant to be checked by reading it beside MongoDB's manual.

use crate::common;

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
    let components: Vec<&str> = path.split('.').collect();
    let reach = |expand| {
        let mut reached = Vec::new();
        collect_field(document, &components, expand, &mut reached);
        reached
    };
    interpret_condition(condition, &reach(true), &reach(false))
}

/// `whole` is what the path reaches without looking into an array at its end.
fn interpret_condition(condition: &Bson, reached: &[Option<Bson>], whole: &[Option<Bson>]) -> bool {
    match condition {
        Bson::Document(operators) if operators.keys().next().is_some_and(|n| n.starts_with('$')) => operators
            .iter()
            .all(|(name, value)| interpret_operator(name, value, reached, whole)),
        value => interpret_operator("$eq", value, reached, whole),
    }
}

fn interpret_operator(operator: &str, constant: &Bson, reached: &[Option<Bson>], whole: &[Option<Bson>]) -> bool {
    let any = |test: &dyn Fn(&Bson) -> bool| reached.iter().any(|value| test(value.as_ref().unwrap_or(&Bson::Null)));
    let any_there = |test: &dyn Fn(&Bson) -> bool| reached.iter().flatten().any(test);
    let any_equal = |constant: &Bson| any(&|value| relation(value, constant) == Some(Ordering::Equal));
    let any_order =
        |accepted: &[Ordering]| any(&|value| relation(value, constant).is_some_and(|order| accepted.contains(&order)));
    let listed = || constant.as_array().unwrap().iter().any(any_equal);
    let any_integer = |test: &dyn Fn(i32) -> bool| {
        any_there(&|value| number(value).is_some_and(|number| !number.is_nan() && test(number as i32)))
    };
    let arrays = || whole.iter().flatten().filter_map(Bson::as_array);
    match operator {
        "$eq" => any_equal(constant),
        "$ne" => !any_equal(constant),
        "$gt" => any_order(&[Ordering::Greater]),
        "$gte" => any_order(&[Ordering::Greater, Ordering::Equal]),
        "$lt" => any_order(&[Ordering::Less]),
        "$lte" => any_order(&[Ordering::Less, Ordering::Equal]),
        "$in" => listed(),
        "$nin" => !listed(),
        "$exists" => reached.iter().any(Option::is_some) == constant.as_bool().unwrap(),
        "$not" => !interpret_condition(constant, reached, whole),
        "$all" => {
            let constants = constant.as_array().unwrap();
            !constants.is_empty() && constants.iter().all(any_equal)
        }
        "$size" => arrays().any(|array| Some(array.len() as i32) == constant.as_i32()),
        "$elemMatch" => {
            let condition = constant.as_document().unwrap();
            arrays().flatten().any(|element| interpret_element(condition, element))
        }
        "$type" => any_there(&|value| is_of_type(value, constant.as_str().unwrap())),
        "$regex" => any_there(&|value| {
            value
                .as_str()
                .is_some_and(|text| is_found(constant.as_str().unwrap(), text))
        }),
        "$mod" => {
            let parts: Vec<i32> = constant.as_array().unwrap().iter().filter_map(Bson::as_i32).collect();
            any_integer(&|value| value % parts[0] == parts[1])
        }
        "$bitsAllSet" => any_integer(&|value| value & constant.as_i32().unwrap() == constant.as_i32().unwrap()),
        "$bitsAnyClear" => any_integer(&|value| !value & constant.as_i32().unwrap() != 0),
        other => panic!("{other} is not generated"),
    }
}

/// Operators are about the element, anything else about its fields; an array has its positions.
fn interpret_element(condition: &Document, element: &Bson) -> bool {
    let first = condition.keys().next().map_or("", String::as_str);
    if first.starts_with('$') && !["$and", "$or", "$nor"].contains(&first) {
        let reached = [Some(element.clone())];
        return interpret_condition(&Bson::Document(condition.clone()), &reached, &reached);
    }
    match element {
        Bson::Document(document) => interpret(condition, document),
        Bson::Array(elements) => {
            let positions = elements.iter().enumerate();
            interpret(
                condition,
                &positions.map(|(at, value)| (at.to_string(), value.clone())).collect(),
            )
        }
        _ => false,
    }
}

fn is_of_type(value: &Bson, alias: &str) -> bool {
    match alias {
        "number" => number(value).is_some(),
        "int" => matches!(value, Bson::Int32(_)),
        "string" => matches!(value, Bson::String(_)),
        "array" => matches!(value, Bson::Array(_)),
        "object" => matches!(value, Bson::Document(_)),
        "null" => matches!(value, Bson::Null),
        "bool" => matches!(value, Bson::Boolean(_)),
        other => panic!("{other} is not generated"),
    }
}

fn is_found(pattern: &str, text: &str) -> bool {
    match pattern {
        "^a" | "^ab?" => text.starts_with('a'),
        "a$" => text.ends_with('a'),
        "(?=b)b" => text.contains('b'),
        "b|^a" => text.contains('b') || text.starts_with('a'),
        "x" => text.contains('x'),
        other => panic!("{other} is not generated"),
    }
}

/// Collects what `path` reaches in a document; `None` is missing.
fn collect_field(document: &Document, path: &[&str], expand: bool, reached: &mut Vec<Option<Bson>>) {
    match document.get(path[0]) {
        None => reached.push(None),
        Some(value) => collect_value(value, &path[1..], expand, reached),
    }
}

fn collect_value(value: &Bson, rest: &[&str], expand: bool, reached: &mut Vec<Option<Bson>>) {
    match (value, rest) {
        (Bson::Array(elements), []) if expand => {
            reached.extend(elements.iter().cloned().map(Some));
            reached.push(Some(value.clone()));
        }
        (value, []) => reached.push(Some(value.clone())),
        (Bson::Document(inner), rest) => collect_field(inner, rest, expand, reached),
        (Bson::Array(elements), rest) => collect_elements(elements, rest, expand, reached),
        _ => reached.push(None),
    }
}

fn collect_elements(elements: &[Bson], rest: &[&str], expand: bool, reached: &mut Vec<Option<Bson>>) {
    for element in elements {
        if let Bson::Document(inner) = element {
            collect_field(inner, rest, expand, reached);
        }
    }
    let Some(element) = rest[0].parse().ok().and_then(|at: usize| elements.get(at)) else {
        return;
    };
    match (element, &rest[1..]) {
        (element, []) => reached.push(Some(element.clone())),
        (Bson::Document(inner), rest) => collect_field(inner, rest, expand, reached),
        (Bson::Array(inner), rest) => collect_elements(inner, rest, expand, reached),
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
