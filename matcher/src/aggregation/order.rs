//! MongoDB's comparison order over values, computed ones included.
//!
//! Borrowed values compare as [`compare`](crate::compare) has it; this adds computed containers,
//! element by element, and *missing*, which sorts where undefined does: after MinKey, before null.

use std::cmp::Ordering;

use super::value::Value;
use crate::compare::{Class, compare};

/// The order of two values; never recurses deeper than computed values nest.
pub(crate) fn order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_raw(), b.as_raw()) {
        return compare(a, b);
    }
    let classes = class(a).cmp(&class(b));
    if classes != Ordering::Equal {
        return classes;
    }
    if let (Some(a), Some(b)) = (a.items(), b.items()) {
        return sequences(&a, &b, order);
    }
    match (a.fields(), b.fields()) {
        (Some(a), Some(b)) => sequences(&a, &b, |(left_name, left), (right_name, right)| {
            class(left)
                .cmp(&class(right))
                .then_with(|| left_name.as_bytes().cmp(right_name.as_bytes()))
                .then_with(|| order(left, right))
        }),
        _ => Ordering::Equal,
    }
}

pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    order(a, b).is_eq()
}

/// Sorts the values and drops those equal to an earlier one.
pub(crate) fn sort_distinct(values: &mut Vec<Value<'_>>) {
    values.sort_by(order);
    values.dedup_by(|later, earlier| equal(later, earlier));
}

fn class(value: &Value<'_>) -> Class {
    match value {
        Value::Missing => Class::Undefined,
        Value::Raw(raw) => Class::of(*raw),
        Value::Text(_) => Class::String,
        Value::Array(_) => Class::Array,
        Value::Document(_) => Class::Document,
    }
}

fn sequences<T>(a: &[T], b: &[T], mut order: impl FnMut(&T, &T) -> Ordering) -> Ordering {
    let differing = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}
