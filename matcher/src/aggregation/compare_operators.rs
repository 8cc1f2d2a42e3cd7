//! `$cmp`, `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`: MongoDB's order over all types.
//!
//! Unlike the operators of `$match` they compare across types and do not look into arrays.

use std::cmp::Ordering;

use super::error::AggregationErrorKind as Kind;
use super::operator::{Operator, comparing};
use super::order::Comparer;
use super::value::Value;

const TWO: (usize, usize) = (2, 2);

pub(crate) const OPERATORS: &[Operator] = &[
    comparing("$cmp", TWO, |values, comparer| {
        Ok(Value::int(comparer.order(&values[0], &values[1]) as i32))
    }),
    comparing("$eq", TWO, |values, comparer| test(values, comparer, Ordering::is_eq)),
    comparing("$ne", TWO, |values, comparer| test(values, comparer, Ordering::is_ne)),
    comparing("$gt", TWO, |values, comparer| test(values, comparer, Ordering::is_gt)),
    comparing("$gte", TWO, |values, comparer| test(values, comparer, Ordering::is_ge)),
    comparing("$lt", TWO, |values, comparer| test(values, comparer, Ordering::is_lt)),
    comparing("$lte", TWO, |values, comparer| test(values, comparer, Ordering::is_le)),
];

fn test<'a>(values: &[Value<'a>], comparer: Comparer<'_>, accepts: fn(Ordering) -> bool) -> Result<Value<'a>, Kind> {
    Ok(Value::bool(accepts(comparer.order(&values[0], &values[1]))))
}
