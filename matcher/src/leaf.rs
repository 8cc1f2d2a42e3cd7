//! What a single comparison means for a single value reached by a path.
//!
//! `None` is *missing*. Comparisons are bracketed by type: a value of another class than the
//! constant's never matches, so `{ age: { $gt: 5 } }` does not match `"six"` although strings sort
//! after numbers. The exceptions are MongoDB's: missing counts as null, MinKey and MaxKey compare
//! with everything, and NaN is neither above nor below any number.

use std::cmp::Ordering;

use bson::RawBsonRef;

use crate::collation::Collation;
use crate::compare::{Class, compare, compare_with};
use crate::node::{Comparison, Constant};
use crate::number::Number;

/// Says whether `found` stands in that relation to `constant`.
#[inline]
pub(crate) fn compares(
    operator: Comparison,
    constant: RawBsonRef<'_>,
    found: Option<RawBsonRef<'_>>,
    collation: Option<&Collation>,
) -> bool {
    let found = found.unwrap_or(RawBsonRef::Null);
    let class = Class::of(constant);
    if Class::of(found) != class {
        return matches!(
            (class, operator),
            (Class::MinKey, Comparison::Gt | Comparison::Gte) | (Class::MaxKey, Comparison::Lt | Comparison::Lte)
        );
    }
    if class == Class::Number && (is_nan(constant) || is_nan(found)) {
        return operator.includes_equal() && is_nan(constant) && is_nan(found);
    }
    operator.accepts(order(found, constant, collation))
}

/// The order of two values under a collation, if there is one.
#[inline]
pub(crate) fn order(a: RawBsonRef<'_>, b: RawBsonRef<'_>, collation: Option<&Collation>) -> Ordering {
    match collation {
        None => compare(a, b),
        Some(_) => compare_with(a, b, collation),
    }
}

/// Says whether `found` equals one of `values`, which are sorted in the order of the collation.
pub(crate) fn listed(values: &[Constant], found: Option<RawBsonRef<'_>>, collation: Option<&Collation>) -> bool {
    let found = found.unwrap_or(RawBsonRef::Null);
    values
        .binary_search_by(|value| order(value.get(), found, collation))
        .is_ok()
}

fn is_nan(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => false,
        value => Number::from_bson(value).is_some_and(Number::is_nan),
    }
}

impl Comparison {
    fn includes_equal(self) -> bool {
        matches!(self, Comparison::Eq | Comparison::Gte | Comparison::Lte)
    }

    fn accepts(self, order: Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Gt => order.is_gt(),
            Comparison::Gte => order.is_ge(),
            Comparison::Lt => order.is_lt(),
            Comparison::Lte => order.is_le(),
        }
    }
}
