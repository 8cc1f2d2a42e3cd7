//! Whether an index that leaves documents out has all that a filter can match.
//!
//! The implication is decided part by part, and only where it is certain: each part of the index's filter must follow from one
//! part of the query's. What cannot be decided counts as no: under a collation, a filter of the index that compares strings,
//! unless it is the query's.

use tailwater_matcher::{Conjunct, Expression, compare};

use super::interval::{self, Interval};
use crate::index::IndexDefinition;

/// Whether every document that `filter`, with these conjuncts, matches is in the index.
pub(crate) fn has_all(definition: &IndexDefinition, filter: &Expression, conjuncts: &[Conjunct<'_>]) -> bool {
    // A document without any of the fields is left out, so one of them must be asked for.
    let asked_for = |conjunct: &Conjunct<'_>| {
        definition.fields.iter().any(|field| field.path == *conjunct.path()) && excludes_missing(conjunct)
    };
    if definition.sparse && !conjuncts.iter().any(asked_for) {
        return false;
    }
    let partial = definition.partial.as_ref();
    partial.is_none_or(|partial| partial == filter || implies(conjuncts, partial))
}

/// Whether `partial` holds wherever all of these conjuncts do.
pub(crate) fn implies(conjuncts: &[Conjunct<'_>], partial: &Expression) -> bool {
    let parts = partial.indexable();
    // Otherwise it has parts that are no conjuncts.
    let together = parts
        .iter()
        .map(Conjunct::to_expression)
        .reduce(Expression::and)
        .unwrap_or_default();
    together == *partial
        && parts
            .iter()
            .all(|part| conjuncts.iter().any(|given| follows(part, given)))
}

/// Whether `part` holds wherever `given` does.
fn follows(part: &Conjunct<'_>, given: &Conjunct<'_>) -> bool {
    if part.path() != given.path() {
        return false;
    }
    match (part, given) {
        (Conjunct::Exists { .. }, given) => excludes_missing(given),
        (Conjunct::Type { types: part, .. }, Conjunct::Type { types: given, .. }) => part == given,
        (Conjunct::Equal { value: part, .. }, Conjunct::Equal { value: given, .. })
            if compare(*part, *given).is_eq() =>
        {
            true
        }
        _ if has_array(part) || has_array(given) => false,
        // Without arrays the intervals are exactly the values that satisfy the conjunct.
        _ => match (interval::of_conjunct(part, None), interval::of_conjunct(given, None)) {
            (Some(part), Some(given)) => given.iter().all(|g| part.iter().any(|p| Interval::is_within(g, p))),
            _ => false,
        },
    }
}

/// Whether the conjunct holds of no document in which there is nothing at its path.
pub(super) fn excludes_missing(conjunct: &Conjunct<'_>) -> bool {
    let is_null = |value: bson::RawBsonRef<'_>| matches!(value, bson::RawBsonRef::Null);
    match conjunct {
        Conjunct::Equal { value, .. } => !is_null(*value),
        Conjunct::In { values, .. } => !values.iter().any(is_null),
        Conjunct::Range { bound, .. } => !is_null(*bound),
        Conjunct::Prefix { .. } | Conjunct::Type { .. } | Conjunct::Exists { .. } => true,
        _ => false,
    }
}

fn has_array(conjunct: &Conjunct<'_>) -> bool {
    let is_array = |value: bson::RawBsonRef<'_>| matches!(value, bson::RawBsonRef::Array(_));
    match conjunct {
        Conjunct::Equal { value, .. } | Conjunct::Range { bound: value, .. } => is_array(*value),
        Conjunct::In { values, .. } => values.iter().any(is_array),
        _ => false,
    }
}
