//! `$cmp`, `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`: MongoDB's order over all types.
//!
//! Unlike the operators of `$match` they compare across types and do not look into arrays.

use std::cmp::Ordering;

use super::error::AggregationErrorKind as Kind;
use super::operator::{Operator, exactly};
use super::order::order;
use super::value::Value;

pub(crate) const OPERATORS: &[Operator] = &[
    exactly("$cmp", 2, cmp),
    exactly("$eq", 2, |values| test(values, Ordering::is_eq)),
    exactly("$ne", 2, |values| test(values, Ordering::is_ne)),
    exactly("$gt", 2, |values| test(values, Ordering::is_gt)),
    exactly("$gte", 2, |values| test(values, Ordering::is_ge)),
    exactly("$lt", 2, |values| test(values, Ordering::is_lt)),
    exactly("$lte", 2, |values| test(values, Ordering::is_le)),
];

fn cmp<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    Ok(Value::int(order(&values[0], &values[1]) as i32))
}

fn test<'a>(values: &[Value<'a>], accepts: fn(Ordering) -> bool) -> Result<Value<'a>, Kind> {
    Ok(Value::bool(accepts(order(&values[0], &values[1]))))
}
