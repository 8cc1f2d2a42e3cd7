//! Numbers of the four BSON types, and how they turn into each other.

use bson::RawBsonRef;

use super::value::Value;
use crate::decimal::arithmetic::Decimal;

/// A number with its type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i32),
    Long(i64),
    Double(f64),
    Decimal(Decimal),
}

impl Number {
    pub(crate) fn of(value: &Value<'_>) -> Option<Number> {
        match value {
            Value::Raw(raw) => Some(match *raw {
                RawBsonRef::Int32(int) => Number::Int(int),
                RawBsonRef::Int64(long) => Number::Long(long),
                RawBsonRef::Double(double) => Number::Double(double),
                RawBsonRef::Decimal128(decimal) => Number::Decimal(Decimal::from(decimal)),
                _ => return None,
            }),
            _ => None,
        }
    }

    pub(crate) fn into_value<'a>(self) -> Value<'a> {
        match self {
            Number::Int(int) => Value::int(int),
            Number::Long(long) => Value::Raw(RawBsonRef::Int64(long)),
            Number::Double(double) => Value::double(double),
            Number::Decimal(decimal) => Value::Raw(RawBsonRef::Decimal128(decimal.into())),
        }
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Number::Int(int) => f64::from(int),
            Number::Long(long) => long as f64,
            Number::Double(double) => double,
            Number::Decimal(decimal) => decimal.to_f64(),
        }
    }

    /// The number as a decimal; a double counts with 15 digits, as in MongoDB.
    pub(crate) fn to_decimal(self) -> Decimal {
        match self {
            Number::Int(int) => Decimal::from(i128::from(int)),
            Number::Long(long) => Decimal::from(i128::from(long)),
            Number::Double(double) => Decimal::from_f64(double),
            Number::Decimal(decimal) => decimal,
        }
    }

    /// The integer, if the number is of an integer type.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(i64::from(*int)),
            Number::Long(long) => Some(*long),
            _ => None,
        }
    }

    pub(crate) fn is_decimal(&self) -> bool {
        matches!(self, Number::Decimal(_))
    }

    /// The integer of equal value, whatever the type.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(i64::from(*int)),
            Number::Long(long) => Some(*long),
            Number::Double(double) => whole_f64(*double),
            Number::Decimal(decimal) => decimal.whole(),
        }
    }
}

/// The integer that equals the double, if there is one.
fn whole_f64(double: f64) -> Option<i64> {
    // 2^63 itself is out of range, and the nearest double below it is not.
    let range = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    (range.contains(&double) && double.fract() == 0.0).then_some(double as i64)
}

/// The 64-bit integer a value equals.
pub(crate) fn whole_i64(value: &Value<'_>) -> Option<i64> {
    Number::of(value)?.whole()
}

/// The 32-bit integer a value equals.
pub(crate) fn whole_i32(value: &Value<'_>) -> Option<i32> {
    i32::try_from(whole_i64(value)?).ok()
}

pub(crate) fn is_number(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Raw(RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_))
    )
}
