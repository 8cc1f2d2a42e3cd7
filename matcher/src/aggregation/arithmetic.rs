//! `$add`, `$subtract`, `$multiply`, `$divide`, `$mod`, and bitwise operators.
//!
//! The result has the widest type among the operands. An int that does not fit becomes a long, a
//! long that does not fit a double; division always yields a double, or a decimal. Null and missing
//! operands make the result null. Dates are milliseconds to which numbers can be added.

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::numeric::Number;
use super::operator::{Operator, any, exactly};
use super::sum::{Sum, integer};
use super::value::Value;
use crate::decimal::arithmetic::Decimal;

pub(crate) const OPERATORS: &[Operator] = &[
    any("$add", add),
    exactly("$subtract", 2, subtract),
    any("$multiply", multiply),
    exactly("$divide", 2, divide),
    exactly("$mod", 2, modulo),
    any("$bitAnd", |values| bitwise(values, -1, |a, b| a & b)),
    any("$bitOr", |values| bitwise(values, 0, |a, b| a | b)),
    any("$bitXor", |values| bitwise(values, 0, |a, b| a ^ b)),
    exactly("$bitNot", 1, bit_not),
];

fn add<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    // In decimals from the first one on, and each number by itself: a double then counts with 15 digits.
    let (mut sum, mut decimal, mut date) = (Sum::default(), None::<Decimal>, None);
    for value in values {
        if let Value::Raw(RawBsonRef::DateTime(found)) = value {
            if date.replace(found.timestamp_millis()).is_some() {
                return Err(Kind::WrongValue {
                    problem: "only one operand can be a date",
                    code: 16612,
                });
            }
        } else if let Some(number) = Number::of(value) {
            decimal = match (decimal, &number) {
                (Some(total), number) => Some(total.add(&number.to_decimal())),
                (None, Number::Decimal(first)) => Some(sum.total_decimal().add(first)),
                (None, number) => {
                    sum.add(number);
                    None
                }
            };
        } else if value.is_nullish() {
            return Ok(Value::NULL);
        } else {
            return Err(Kind::wrong(16554, "numbers or a date", value));
        }
    }
    let total = decimal.map_or_else(|| sum.total(), Number::Decimal);
    match date {
        Some(date) => shift_date(date, &total, false),
        None => Ok(total.into_value()),
    }
}

fn subtract<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let (left, right) = (&values[0], &values[1]);
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    if let Value::Raw(RawBsonRef::DateTime(from)) = left {
        let from = from.timestamp_millis();
        if let Value::Raw(RawBsonRef::DateTime(until)) = right {
            let between = from.checked_sub(until.timestamp_millis()).ok_or(DATE_OVERFLOW)?;
            return Ok(Value::Raw(RawBsonRef::Int64(between)));
        }
        let number = Number::of(right).ok_or_else(|| Kind::wrong(16556, "a number or a date", right))?;
        return shift_date(from, &number, true);
    }
    let expected = "numbers, or dates";
    let a = Number::of(left).ok_or_else(|| Kind::wrong(16556, expected, left))?;
    let b = Number::of(right).ok_or_else(|| Kind::wrong(16556, expected, right))?;
    let difference = match (&a, &b) {
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => Number::Decimal(a.to_decimal().subtract(&b.to_decimal())),
        (Number::Double(_), _) | (_, Number::Double(_)) => Number::Double(a.to_f64() - b.to_f64()),
        _ => whole_result(&a, &b, |a, b| a - b),
    };
    Ok(difference.into_value())
}

fn multiply<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let mut product = Number::Int(1);
    for value in values {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        let factor = Number::of(value).ok_or_else(|| Kind::wrong(16555, "numbers", value))?;
        product = match (&product, &factor) {
            (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
                Number::Decimal(product.to_decimal().multiply(&factor.to_decimal()))
            }
            (Number::Double(_), _) | (_, Number::Double(_)) => Number::Double(product.to_f64() * factor.to_f64()),
            _ => whole_result(&product, &factor, |a, b| a * b),
        };
    }
    Ok(product.into_value())
}

fn divide<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let (left, right) = (&values[0], &values[1]);
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    let a = Number::of(left).ok_or_else(|| Kind::wrong(16609, "numbers", left))?;
    let b = Number::of(right).ok_or_else(|| Kind::wrong(16609, "numbers", right))?;
    if is_zero(&b) {
        let problem = "cannot divide by zero";
        return Err(Kind::WrongValue { problem, code: 16608 });
    }
    Ok(if a.is_decimal() || b.is_decimal() {
        Number::Decimal(a.to_decimal().divide(&b.to_decimal())).into_value()
    } else {
        Value::double(a.to_f64() / b.to_f64())
    })
}

fn modulo<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let (left, right) = (&values[0], &values[1]);
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    let a = Number::of(left).ok_or_else(|| Kind::wrong(16611, "numbers", left))?;
    let b = Number::of(right).ok_or_else(|| Kind::wrong(16611, "numbers", right))?;
    if is_zero(&b) {
        let problem = "cannot take the remainder of a division by zero";
        return Err(Kind::WrongValue { problem, code: 16610 });
    }
    Ok(match (&a, &b) {
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => Number::Decimal(a.to_decimal().remainder(&b.to_decimal())),
        (Number::Double(_), _) | (_, Number::Double(_)) => Number::Double(a.to_f64() % b.to_f64()),
        _ => whole_result(&a, &b, |a, b| a % b),
    }
    .into_value())
}

/// Computes on integers; the result is a long when either operand is, and wider when it must be.
fn whole_result(a: &Number, b: &Number, compute: fn(i128, i128) -> i128) -> Number {
    let whole = |number: &Number| i128::from(number.integer().unwrap_or(0));
    let result = compute(whole(a), whole(b));
    match (a, b) {
        (Number::Int(_), Number::Int(_)) => integer(result),
        _ => i64::try_from(result).map_or(Number::Double(result as f64), Number::Long),
    }
}

const DATE_OVERFLOW: Kind = Kind::WrongValue {
    problem: "the date is out of range",
    code: 15,
};

/// The date `number` milliseconds later, or earlier.
fn shift_date<'a>(date: i64, number: &Number, back: bool) -> Result<Value<'a>, Kind> {
    let millis = match number {
        Number::Double(double) => whole_millis(double.round_ties_even()),
        Number::Decimal(decimal) => whole_millis(decimal.to_f64().round_ties_even()),
        number => number.integer(),
    };
    let shifted = millis.and_then(|millis| {
        if back {
            date.checked_sub(millis)
        } else {
            date.checked_add(millis)
        }
    });
    shifted.map(Value::date).ok_or(DATE_OVERFLOW)
}

fn whole_millis(double: f64) -> Option<i64> {
    Number::Double(double).whole()
}

fn is_zero(number: &Number) -> bool {
    match number {
        Number::Decimal(decimal) => Decimal::is_zero(decimal),
        number => number.to_f64() == 0.0,
    }
}

fn bitwise<'a>(values: &[Value<'a>], start: i64, combine: fn(i64, i64) -> i64) -> Result<Value<'a>, Kind> {
    let (mut bits, mut long) = (start, false);
    for value in values {
        match value {
            Value::Raw(RawBsonRef::Int32(int)) => bits = combine(bits, i64::from(*int)),
            Value::Raw(RawBsonRef::Int64(int)) => {
                bits = combine(bits, *int);
                long = true;
            }
            value if value.is_nullish() => return Ok(Value::NULL),
            value => return Err(Kind::wrong(14, "ints or longs", value)),
        }
    }
    Ok(if long {
        Value::Raw(RawBsonRef::Int64(bits))
    } else {
        // Sign extension commutes with bitwise operators, so ints yield what fits an int.
        Value::int(bits as i32)
    })
}

fn bit_not<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    match &values[0] {
        Value::Raw(RawBsonRef::Int32(int)) => Ok(Value::int(!int)),
        Value::Raw(RawBsonRef::Int64(int)) => Ok(Value::Raw(RawBsonRef::Int64(!int))),
        value if value.is_nullish() => Ok(Value::NULL),
        value => Err(Kind::wrong(14, "an int or a long", value)),
    }
}
