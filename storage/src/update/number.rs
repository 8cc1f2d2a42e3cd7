//! Arithmetic of `$inc`: the narrowest type that holds the result, never narrower than either side.

use bson::spec::ElementType;

use super::element::{Element, Value};

/// A number that `$inc` can work with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int32(i32),
    Int64(i64),
    Double(f64),
}

/// Two integers whose sum has no 64 bits.
#[derive(Debug, PartialEq)]
pub(super) struct Overflow {
    pub(super) current: i64,
    pub(super) increment: i64,
}

impl Number {
    /// The number in `element`; `None` for other types, Decimal128 among them.
    pub(super) fn read(element: &Element<'_>) -> Option<Number> {
        Some(match element.kind {
            ElementType::Int32 => Number::Int32(i32::from_le_bytes(element.value.try_into().ok()?)),
            ElementType::Int64 => Number::Int64(i64::from_le_bytes(element.value.try_into().ok()?)),
            ElementType::Double => Number::Double(f64::from_le_bytes(element.value.try_into().ok()?)),
            _ => return None,
        })
    }

    pub(super) fn to_value(self) -> Value {
        let (kind, bytes): (_, Box<[u8]>) = match self {
            Number::Int32(number) => (ElementType::Int32, number.to_le_bytes().into()),
            Number::Int64(number) => (ElementType::Int64, number.to_le_bytes().into()),
            Number::Double(number) => (ElementType::Double, number.to_le_bytes().into()),
        };
        Value { kind, bytes }
    }

    /// `self + increment`: int32 grows to int64, int64 never to double, a double makes all double.
    pub(super) fn add(self, increment: Number) -> Result<Number, Overflow> {
        use Number::{Double, Int32, Int64};
        match (self, increment) {
            (Int32(a), Int32(b)) => Ok(match a.checked_add(b) {
                Some(sum) => Int32(sum),
                None => Int64(i64::from(a) + i64::from(b)),
            }),
            (Double(_), _) | (_, Double(_)) => Ok(Double(self.to_f64() + increment.to_f64())),
            (Int64(_), _) | (_, Int64(_)) => {
                let (current, increment) = (self.to_i64(), increment.to_i64());
                let sum = current.checked_add(increment);
                sum.map(Int64).ok_or(Overflow { current, increment })
            }
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Number::Int32(number) => f64::from(number),
            Number::Int64(number) => number as f64,
            Number::Double(number) => number,
        }
    }

    fn to_i64(self) -> i64 {
        match self {
            Number::Int32(number) => i64::from(number),
            Number::Int64(number) => number,
            Number::Double(number) => number as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Number::{self, Double, Int32, Int64};
    use super::*;

    #[test]
    fn sum_has_the_narrowest_type_that_holds_it() {
        let check = |a: Number, b: Number, expected| {
            assert_eq!(a.add(b), Ok(expected), "{a:?} + {b:?}");
            assert_eq!(b.add(a), Ok(expected), "{b:?} + {a:?}");
        };
        check(Int32(1), Int32(2), Int32(3));
        check(Int32(i32::MAX), Int32(1), Int64(1 << 31));
        check(Int32(i32::MIN), Int32(-1), Int64(i64::from(i32::MIN) - 1));
        check(Int32(1), Int64(2), Int64(3));
        check(Int64(i64::MAX), Int32(-1), Int64(i64::MAX - 1));
        check(Int32(1), Double(0.5), Double(1.5));
        check(Int64(i64::MAX), Double(1.0), Double(9_223_372_036_854_775_808.0));
    }

    #[test]
    fn overflow_of_int64_is_an_error() {
        let overflow = Overflow {
            current: i64::MAX,
            increment: 1,
        };
        assert_eq!(Int64(i64::MAX).add(Int32(1)), Err(overflow));
        let overflow = Overflow {
            current: -1,
            increment: i64::MIN,
        };
        assert_eq!(Int32(-1).add(Int64(i64::MIN)), Err(overflow));
    }
}
