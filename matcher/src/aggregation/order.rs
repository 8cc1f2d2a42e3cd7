//! MongoDB's comparison order over values, computed ones included.
//!
//! Borrowed values compare as [`compare`](crate::compare) has it; this adds computed containers,
//! element by element, and *missing*, which sorts where undefined does: after MinKey, before null.

use std::cmp::Ordering;

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::value::Value;
use crate::collation::Collation;
use crate::compare::Class;
use crate::keystring::encode_with;
use crate::leaf;
use crate::steps;

/// How values are compared: strings by a collation, or by their bytes if there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Comparer<'c>(Option<&'c Collation>);

impl<'c> Comparer<'c> {
    pub(crate) fn new(collation: Option<&'c Collation>) -> Comparer<'c> {
        Comparer(collation)
    }

    /// The order of two values; never recurses deeper than computed values nest.
    pub(crate) fn order(self, a: &Value<'_>, b: &Value<'_>) -> Ordering {
        if let (Some(a), Some(b)) = (a.as_raw(), b.as_raw()) {
            return leaf::order(a, b, self.0);
        }
        let classes = class(a).cmp(&class(b));
        if classes != Ordering::Equal {
            return classes;
        }
        if let (Some(a), Some(b)) = (a.items(), b.items()) {
            return sequences(&a, &b, |left, right| self.order(left, right));
        }
        match (a.fields(), b.fields()) {
            (Some(a), Some(b)) => sequences(&a, &b, |(left_name, left), (right_name, right)| {
                class(left)
                    .cmp(&class(right))
                    .then_with(|| left_name.as_bytes().cmp(right_name.as_bytes()))
                    .then_with(|| self.order(left, right))
            }),
            _ => Ordering::Equal,
        }
    }

    pub(crate) fn equal(self, a: &Value<'_>, b: &Value<'_>) -> bool {
        self.order(a, b).is_eq()
    }

    /// Sorts the values and drops those equal to an earlier one.
    pub(crate) fn sort_distinct(self, values: &mut Vec<Value<'_>>) -> Result<(), Kind> {
        take_for_sort(values)?;
        values.sort_by(|a, b| self.order(a, b));
        values.dedup_by(|later, earlier| self.equal(later, earlier));
        Ok(())
    }

    /// Appends bytes that are the same for equal values and for no others.
    pub(crate) fn encode_key(self, value: RawBsonRef<'_>, out: &mut Vec<u8>) {
        encode_with(value, out, self.0);
    }
}

/// Takes the steps for sorting the values, before they are.
pub(crate) fn take_for_sort(values: &[Value<'_>]) -> Result<(), Kind> {
    let bytes = values.iter().map(Value::bytes).sum();
    steps::take(steps::for_sort(values.len(), bytes))
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
    let mut compared = 0;
    let pairs = a.iter().zip(b).inspect(|_| compared += 1);
    let differing = pairs.map(|(a, b)| order(a, b)).find(|order| order.is_ne());
    steps::note(compared);
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}
