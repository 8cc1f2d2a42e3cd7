//! Arrays as sets: `$setUnion`, `$setIntersection`, `$setDifference`, `$setEquals`, `$setIsSubset`,
//! `$allElementsTrue`, `$anyElementTrue`.
//!
//! Duplicates do not count, nor does the order, which MongoDB leaves open: unions and intersections
//! come sorted here, differences in the order of the first array.

use super::error::AggregationErrorKind as Kind;
use super::operator::{Operator, comparing, exactly};
use super::order::Comparer;
use super::tree::{items, looked_at};
use super::value::Value;
use crate::steps;
use crate::validate::DOCUMENT_BYTES_MAX;

pub(crate) const OPERATORS: &[Operator] = &[
    comparing("$setUnion", (0, usize::MAX), union),
    comparing("$setIntersection", (0, usize::MAX), intersection),
    comparing("$setDifference", (2, 2), difference),
    comparing("$setEquals", (2, usize::MAX), |values, comparer| {
        let first = set(&values[0], 17044, comparer)?;
        for value in &values[1..] {
            let other = set(value, 17044, comparer)?;
            if first.len() != other.len() || !first.iter().zip(&other).all(|(a, b)| comparer.equal(a, b)) {
                return Ok(Value::bool(false));
            }
        }
        Ok(Value::bool(true))
    }),
    comparing("$setIsSubset", (2, 2), |values, comparer| {
        let (part, whole) = (set(&values[0], 17046, comparer)?, set(&values[1], 17042, comparer)?);
        Ok(Value::bool(part.iter().all(|item| contains(&whole, item, comparer))))
    }),
    exactly("$allElementsTrue", 1, |values| {
        Ok(Value::bool(looked_at(&values[0], 17040)?.iter().all(Value::is_true)))
    }),
    exactly("$anyElementTrue", 1, |values| {
        Ok(Value::bool(looked_at(&values[0], 17041)?.iter().any(Value::is_true)))
    }),
];

/// The distinct values of an array, sorted.
fn set<'a>(value: &Value<'a>, code: i32, comparer: Comparer<'_>) -> Result<Vec<Value<'a>>, Kind> {
    let mut items = items(value, code)?.into_owned();
    comparer.sort_distinct(&mut items)?;
    Ok(items)
}

fn contains(sorted: &[Value<'_>], item: &Value<'_>, comparer: Comparer<'_>) -> bool {
    sorted.binary_search_by(|other| comparer.order(other, item)).is_ok()
}

fn union<'a>(values: &[Value<'a>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for value in values {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        bytes += value.bytes();
        if bytes > DOCUMENT_BYTES_MAX {
            comparer.sort_distinct(&mut all)?;
            bytes = all.iter().map(Value::bytes).sum::<usize>() + value.bytes();
            if bytes > 2 * DOCUMENT_BYTES_MAX {
                return Err(Kind::TooLarge { found: bytes });
            }
        }
        all.extend_from_slice(&items(value, 17043)?);
    }
    comparer.sort_distinct(&mut all)?;
    Value::array(all)
}

fn intersection<'a>(values: &[Value<'a>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let Some((first, rest)) = values.split_first() else {
        return Value::array(Vec::new());
    };
    let mut common = set(first, 17047, comparer)?;
    for value in rest {
        let other = set(value, 17047, comparer)?;
        steps::take(steps::for_sort(common.len(), 0))?;
        common.retain(|item| contains(&other, item, comparer));
    }
    Value::array(common)
}

fn difference<'a>(values: &[Value<'a>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let mut seen = set(&values[1], 17049, comparer)?;
    let mut left = Vec::new();
    for item in items(&values[0], 17048)?.iter() {
        steps::take(1)?;
        if let Err(at) = seen.binary_search_by(|other| comparer.order(other, item)) {
            // The others are moved.
            steps::take(steps::for_items(seen.len() - at) / 16)?;
            seen.insert(at, item.clone());
            left.push(item.clone());
        }
    }
    Value::array(left)
}
