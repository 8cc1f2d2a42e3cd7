//! Arithmetic of `$inc`, `$mul` and `$bit`: the narrowest type that holds the result, never narrower than either side.
//!
//! int32 grows to int64 where it must; int64 never grows, its overflow is an error; a double makes everything double, a
//! decimal everything decimal.

use bson::Decimal128;
use bson::spec::ElementType;
use tailwater_matcher::Decimal as Exact;

use super::element::{Element, Value};

/// A number to calculate with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int32(i32),
    Int64(i64),
    Double(f64),
    Decimal(Decimal128),
}

/// The operations of `$inc` and `$mul`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Multiply,
}

/// The operations of `$bit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bitwise {
    And,
    Or,
    Xor,
}

/// Two integers whose sum or product has no 64 bits.
#[derive(Debug, PartialEq)]
pub(super) struct Overflow {
    pub(super) current: i64,
    pub(super) operand: i64,
}

impl Number {
    /// The number in `element`; `None` for other types.
    pub(super) fn read(element: &Element<'_>) -> Option<Number> {
        Some(match element.kind {
            ElementType::Int32 => Number::Int32(i32::from_le_bytes(element.value.try_into().ok()?)),
            ElementType::Int64 => Number::Int64(i64::from_le_bytes(element.value.try_into().ok()?)),
            ElementType::Double => Number::Double(f64::from_le_bytes(element.value.try_into().ok()?)),
            ElementType::Decimal128 => Number::Decimal(Decimal128::from_bytes(element.value.try_into().ok()?)),
            _ => return None,
        })
    }

    /// The whole number in `element`, of whatever type; `None` if it has a fraction, or no 64 bits.
    pub(super) fn read_whole(element: &Element<'_>) -> Option<i64> {
        match Number::read(element)? {
            Number::Int32(number) => Some(number.into()),
            Number::Int64(number) => Some(number),
            Number::Double(number) => whole(number),
            // Exact where it matters: no array has as many elements as doubles can count.
            Number::Decimal(number) => whole(Number::Decimal(number).to_f64()),
        }
    }

    pub(super) fn to_value(self) -> Value {
        let (kind, bytes): (_, Box<[u8]>) = match self {
            Number::Int32(number) => (ElementType::Int32, number.to_le_bytes().into()),
            Number::Int64(number) => (ElementType::Int64, number.to_le_bytes().into()),
            Number::Double(number) => (ElementType::Double, number.to_le_bytes().into()),
            Number::Decimal(number) => (ElementType::Decimal128, number.bytes().into()),
        };
        Value::new(kind, bytes)
    }

    /// `self + operand` or `self * operand`.
    pub(super) fn calculate(self, operation: Arithmetic, operand: Number) -> Result<Number, Overflow> {
        use Number::{Decimal, Double, Int32, Int64};
        let is_sum = operation == Arithmetic::Add;
        match (self, operand) {
            (Decimal(_), _) | (_, Decimal(_)) => {
                let (a, b) = (self.to_decimal(), operand.to_decimal());
                Ok(Decimal(if is_sum { a.add(&b) } else { a.multiply(&b) }.into()))
            }
            (Double(_), _) | (_, Double(_)) => {
                let (a, b) = (self.to_f64(), operand.to_f64());
                Ok(Double(if is_sum { a + b } else { a * b }))
            }
            (Int64(_) | Int32(_), Int64(_) | Int32(_)) => {
                let (a, b) = (self.to_i64(), operand.to_i64());
                let result = if is_sum { a.checked_add(b) } else { a.checked_mul(b) };
                let result = result.ok_or(Overflow { current: a, operand: b })?;
                Ok(narrowed(result, self, operand))
            }
        }
    }

    /// `self` and `operand` bit by bit; `None` if one of them is no integer.
    pub(super) fn combine(self, operation: Bitwise, operand: Number) -> Option<Number> {
        if !self.is_integer() || !operand.is_integer() {
            return None;
        }
        let (a, b) = (self.to_i64(), operand.to_i64());
        let result = match operation {
            Bitwise::And => a & b,
            Bitwise::Or => a | b,
            Bitwise::Xor => a ^ b,
        };
        Some(narrowed(result, self, operand))
    }

    pub(super) fn is_integer(self) -> bool {
        matches!(self, Number::Int32(_) | Number::Int64(_))
    }

    fn to_f64(self) -> f64 {
        match self {
            Number::Int32(number) => f64::from(number),
            Number::Int64(number) => number as f64,
            Number::Double(number) => number,
            // Beside a decimal nothing becomes a double.
            Number::Decimal(number) => Exact::from(number).to_f64(),
        }
    }

    fn to_i64(self) -> i64 {
        match self {
            Number::Int32(number) => i64::from(number),
            Number::Int64(number) => number,
            // Beside one of these nothing becomes an integer.
            Number::Double(_) | Number::Decimal(_) => 0,
        }
    }

    fn to_decimal(self) -> Exact {
        match self {
            Number::Int32(number) => Exact::from(i64::from(number)),
            Number::Int64(number) => Exact::from(number),
            Number::Double(number) => Exact::from_f64(number),
            Number::Decimal(number) => Exact::from(number),
        }
    }
}

/// An int32 if both operands were, and it fits.
fn narrowed(result: i64, a: Number, b: Number) -> Number {
    match (a, b, i32::try_from(result)) {
        (Number::Int32(_), Number::Int32(_), Ok(narrow)) => Number::Int32(narrow),
        _ => Number::Int64(result),
    }
}

fn whole(number: f64) -> Option<i64> {
    // The first double above every i64; the lowest one is one itself.
    const END: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-END..END).contains(&number)).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::Number::{self, Decimal, Double, Int32, Int64};
    use super::*;

    #[test]
    fn result_has_the_narrowest_type_that_holds_it() {
        let check = |a: Number, operation, b: Number, expected| {
            assert_eq!(a.calculate(operation, b), Ok(expected), "{a:?} {operation:?} {b:?}");
            assert_eq!(b.calculate(operation, a), Ok(expected), "{b:?} {operation:?} {a:?}");
        };
        let decimal = |text: &str| Decimal(text.parse().unwrap());
        use Arithmetic::{Add, Multiply};
        check(Int32(1), Add, Int32(2), Int32(3));
        check(Int32(i32::MAX), Add, Int32(1), Int64(1 << 31));
        check(Int32(i32::MIN), Add, Int32(-1), Int64(i64::from(i32::MIN) - 1));
        check(Int32(1), Add, Int64(2), Int64(3));
        check(Int64(i64::MAX), Add, Int32(-1), Int64(i64::MAX - 1));
        check(Int32(1), Add, Double(0.5), Double(1.5));
        check(Int64(i64::MAX), Add, Double(1.0), Double(9_223_372_036_854_775_808.0));
        check(Int32(1), Add, decimal("0.1"), decimal("1.1"));
        check(Double(0.1), Add, decimal("1"), decimal("1.100000000000000"));
        check(Int32(3), Multiply, Int32(4), Int32(12));
        check(Int32(1 << 20), Multiply, Int32(1 << 20), Int64(1 << 40));
        check(Int64(3), Multiply, Double(0.5), Double(1.5));
        check(Int64(3), Multiply, decimal("0.5"), decimal("1.5"));
    }

    #[test]
    fn overflow_of_int64_is_an_error() {
        let check = |current: i64, operation, operand: i64| {
            let result = Int64(current).calculate(operation, Int64(operand));
            assert_eq!(result, Err(Overflow { current, operand }));
        };
        check(i64::MAX, Arithmetic::Add, 1);
        check(-1, Arithmetic::Add, i64::MIN);
        check(i64::MIN, Arithmetic::Multiply, -1);
        check(1 << 32, Arithmetic::Multiply, 1 << 31);
    }

    #[test]
    fn bits_are_those_of_integers_only() {
        assert_eq!(Int32(13).combine(Bitwise::And, Int32(10)), Some(Int32(8)));
        assert_eq!(Int32(3).combine(Bitwise::Or, Int64(5)), Some(Int64(7)));
        assert_eq!(Int32(-1).combine(Bitwise::Xor, Int32(5)), Some(Int32(-6)));
        assert_eq!(Int32(1).combine(Bitwise::And, Double(1.0)), None);
    }
}
