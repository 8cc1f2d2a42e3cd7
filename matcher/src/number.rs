//! One number line for the four numeric BSON types.
//!
//! MongoDB compares numbers by value whatever their type. `NaN` is one value, equal to itself and
//! below all others; `-0` equals `0`. Every comparison is exact: 2^53 + 1 as an integer is above
//! 2^53 as a double, and the decimal 0.1 is below the double 0.1 (which is a little more).

use std::cmp::Ordering;

use bson::RawBsonRef;

use crate::decimal::{self, Decoded, Finite};

/// A numeric BSON value, with decimals that are not finite turned into doubles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i64),
    Double(f64),
    Decimal(Finite),
}

/// Two to the 63rd: the first double above every `i64`.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

impl Number {
    #[inline]
    pub(crate) fn from_bson(value: RawBsonRef<'_>) -> Option<Number> {
        Some(match value {
            RawBsonRef::Int32(int) => Number::Int(i64::from(int)),
            RawBsonRef::Int64(int) => Number::Int(int),
            RawBsonRef::Double(double) => Number::Double(double),
            RawBsonRef::Decimal128(decimal) => match decimal::decode(decimal) {
                Decoded::NaN => Number::Double(f64::NAN),
                Decoded::Infinity(true) => Number::Double(f64::NEG_INFINITY),
                Decoded::Infinity(false) => Number::Double(f64::INFINITY),
                Decoded::Finite(finite) => Number::Decimal(finite),
            },
            _ => return None,
        })
    }

    pub(crate) fn is_nan(self) -> bool {
        matches!(self, Number::Double(double) if double.is_nan())
    }

    /// The number without its fraction, if that is a 64-bit integer.
    pub(crate) fn truncated(self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(int),
            Number::Double(double) => {
                let whole = double.trunc();
                (-I64_END..I64_END).contains(&whole).then_some(whole as i64)
            }
            Number::Decimal(decimal) => decimal.truncated(),
        }
    }

    /// The number as a 64-bit integer, if it is one.
    pub(crate) fn exact(self) -> Option<i64> {
        let int = self.truncated()?;
        self.compare(Number::Int(int)).is_eq().then_some(int)
    }

    /// The number as a decimal, as MongoDB's arithmetic takes it; nothing for what is not finite.
    pub(crate) fn to_decimal(self) -> Option<Finite> {
        match self {
            Number::Int(int) => Some(Finite::from_i64(int)),
            Number::Double(double) if double.is_finite() => Finite::from_f64(double),
            Number::Double(_) => None,
            Number::Decimal(decimal) => Some(decimal),
        }
    }

    pub(crate) fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Double(a), Number::Double(b)) => compare_doubles(a, b),
            (Number::Decimal(a), Number::Decimal(b)) => a.compare(b),
            (Number::Int(a), Number::Double(b)) => compare_int_double(a, b),
            (Number::Double(a), Number::Int(b)) => compare_int_double(b, a).reverse(),
            (Number::Int(a), Number::Decimal(b)) => Finite::from_i64(a).compare(b),
            (Number::Decimal(a), Number::Int(b)) => a.compare(Finite::from_i64(b)),
            (Number::Decimal(a), Number::Double(b)) => compare_decimal_double(a, b),
            (Number::Double(a), Number::Decimal(b)) => compare_decimal_double(b, a).reverse(),
        }
    }

    /// The largest double that is not above this number, and what is left of the number when that
    /// double is not the number itself.
    pub(crate) fn floor(self) -> (f64, Option<Finite>) {
        match self {
            Number::Double(double) => (double, None),
            Number::Int(int) => {
                let nearest = int as f64;
                match compare_int_double(int, nearest) {
                    Ordering::Equal => (nearest, None),
                    Ordering::Greater => (nearest, Some(Finite::from_i64(int))),
                    Ordering::Less => (nearest.next_down(), Some(Finite::from_i64(int))),
                }
            }
            Number::Decimal(decimal) => {
                let floor = decimal.floor_f64();
                let exact = decimal.compare_f64(floor) == Ordering::Equal;
                (floor, (!exact).then_some(decimal))
            }
        }
    }
}

fn compare_doubles(a: f64, b: f64) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) => order,
        // At least one is NaN: NaN first, and all NaNs are the same.
        None => b.is_nan().cmp(&a.is_nan()),
    }
}

fn compare_int_double(int: i64, double: f64) -> Ordering {
    if double.is_nan() || double < -I64_END {
        return Ordering::Greater;
    }
    if double >= I64_END {
        return Ordering::Less;
    }
    // Truncation is exact within these bounds, and so is the fraction it drops.
    let whole = double.trunc();
    int.cmp(&(whole as i64)).then_with(|| compare_doubles(whole, double))
}

fn compare_decimal_double(decimal: Finite, double: f64) -> Ordering {
    if double.is_nan() {
        Ordering::Greater
    } else {
        decimal.compare_f64(double)
    }
}
