//! Arithmetic on Decimal128 as IEEE 754-2008 has it.
//!
//! Results are found exactly, with as many digits as that takes, and rounded once, half to even, to 34 digits. Exponents follow the
//! operands (`1.0 + 2.00` is `3.00`), zeros have a sign, what is too large becomes infinite. What has no exact or cheaply rounded
//! result (logarithms, trigonometry, powers that are not whole) is not offered.

use bson::Decimal128;
use num_bigint::BigUint;

use super::rounding::{Rounding, Unrounded, digits};
use super::{DIGITS_MAX, Parts, join, split};

/// Beyond this distance the smaller of two summands only tells whether the sum is exact.
const ALIGNMENT_MAX: i32 = 80;

/// Digits of a quotient or a root before it is rounded: more than there will be, so that the rest only has to be zero or not.
const QUOTIENT_DIGITS: i64 = DIGITS_MAX + 2;

/// A Decimal128, taken apart to calculate with.
///
/// ```
/// use bson::Decimal128;
/// use tailwater_matcher::Decimal;
///
/// let price: Decimal128 = "1.10".parse()?;
/// let sum = Decimal::from(price).add(&Decimal::from(2_i64));
/// assert_eq!(Decimal128::from(sum).to_string(), "3.10");
/// # Ok::<(), bson::error::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Decimal {
    /// Not a number.
    NaN,
    /// Not finite; `true` for minus infinity.
    Infinity(bool),
    /// A number.
    Finite(Finite),
}

/// `coefficient * 10^exponent`, within what a Decimal128 can be; zeros have a sign and an exponent, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finite {
    pub(super) negative: bool,
    pub(super) coefficient: u128,
    pub(super) exponent: i32,
}

impl Decimal {
    const ONE: Decimal = Decimal::Finite(Finite {
        negative: false,
        coefficient: 1,
        exponent: 0,
    });

    /// Whether it is zero, of either sign.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(self, Decimal::Finite(finite) if finite.coefficient == 0)
    }

    /// Whether it is below zero.
    pub(crate) fn is_negative(&self) -> bool {
        self.has_minus() && !self.is_zero()
    }

    /// Whether it has a minus sign, which zero may have.
    fn has_minus(&self) -> bool {
        match self {
            Decimal::NaN => false,
            Decimal::Infinity(negative) => *negative,
            Decimal::Finite(finite) => finite.negative,
        }
    }

    fn with_minus(self, negative: bool) -> Decimal {
        match self {
            Decimal::NaN => Decimal::NaN,
            Decimal::Infinity(_) => Decimal::Infinity(negative),
            Decimal::Finite(finite) => Decimal::Finite(Finite { negative, ..finite }),
        }
    }

    pub(crate) fn abs(self) -> Decimal {
        self.with_minus(false)
    }

    /// `self + other`.
    #[must_use]
    pub fn add(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) => a.add(*b),
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (Decimal::Infinity(a), Decimal::Infinity(b)) if a != b => Decimal::NaN,
            (Decimal::Infinity(negative), _) | (_, Decimal::Infinity(negative)) => Decimal::Infinity(*negative),
        }
    }

    pub(crate) fn subtract(&self, other: &Decimal) -> Decimal {
        self.add(&other.with_minus(!other.has_minus()))
    }

    /// `self * other`.
    #[must_use]
    pub fn multiply(&self, other: &Decimal) -> Decimal {
        let negative = self.has_minus() != other.has_minus();
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) => Unrounded {
                negative,
                coefficient: BigUint::from(a.coefficient) * b.coefficient,
                exponent: i64::from(a.exponent) + i64::from(b.exponent),
                is_exact: true,
            }
            .rounded(),
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (a, b) if a.is_zero() || b.is_zero() => Decimal::NaN,
            _ => Decimal::Infinity(negative),
        }
    }

    /// The quotient; `other` is not zero.
    pub(crate) fn divide(&self, other: &Decimal) -> Decimal {
        let negative = self.has_minus() != other.has_minus();
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) if b.coefficient != 0 => a.divide(*b),
            (Decimal::Infinity(_), Decimal::Finite(_)) => Decimal::Infinity(negative),
            // Zero, with the smallest exponent, as it has come from a number without bounds.
            (Decimal::Finite(_), Decimal::Infinity(_)) => Unrounded {
                negative,
                coefficient: BigUint::ZERO,
                exponent: i64::MIN / 2,
                is_exact: true,
            }
            .rounded(),
            _ => Decimal::NaN,
        }
    }

    /// The remainder with the sign of `self`; `other` is not zero.
    pub(crate) fn remainder(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) if b.coefficient != 0 => a.remainder(*b),
            (Decimal::Finite(_), Decimal::Infinity(_)) => *self,
            _ => Decimal::NaN,
        }
    }

    /// The square root; not a number below zero.
    pub(crate) fn sqrt(&self) -> Decimal {
        match self {
            Decimal::Finite(finite) if !self.is_negative() => finite.sqrt(),
            Decimal::Infinity(false) => Decimal::Infinity(false),
            _ => Decimal::NaN,
        }
    }

    /// The power with a whole exponent, by multiplications, each of them rounded.
    pub(crate) fn power(&self, exponent: i64) -> Decimal {
        let mut result = Decimal::ONE;
        let (mut base, mut left) = (*self, exponent.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(&base);
            }
            base = base.multiply(&base);
            left >>= 1;
        }
        if exponent < 0 {
            Decimal::ONE.divide(&result)
        } else {
            result
        }
    }

    /// Rounds at `place` digits after the point; before it when negative.
    pub(crate) fn round_at(&self, place: i32, rounding: Rounding) -> Decimal {
        let Decimal::Finite(finite) = self else {
            return *self;
        };
        let count = -i64::from(place) - i64::from(finite.exponent);
        let number = Unrounded::from(*finite);
        // With zeros behind it where there were fewer digits, as many as fit.
        number
            .without_digits(count, rounding)
            .extended(-i64::from(place))
            .rounded()
    }
}

impl Finite {
    fn add(self, other: Finite) -> Decimal {
        let (high, mut low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let mut is_cut = false;
        if high.exponent - low.exponent > ALIGNMENT_MAX && high.coefficient != 0 {
            // The same as to rounding: nothing of the lower one reaches the digits that will be there.
            is_cut = low.coefficient != 0;
            low.coefficient = u128::from(is_cut);
            low.exponent = high.exponent - ALIGNMENT_MAX;
        }
        let distance = if high.coefficient == 0 {
            0
        } else {
            high.exponent.abs_diff(low.exponent)
        };
        let shifted = BigUint::from(high.coefficient) * BigUint::from(10_u32).pow(distance);
        let lower = BigUint::from(low.coefficient);
        let (negative, coefficient) = if high.negative == low.negative {
            (high.negative, shifted + lower)
        } else {
            match shifted.cmp(&lower) {
                std::cmp::Ordering::Greater => (high.negative, shifted - lower),
                std::cmp::Ordering::Less => (low.negative, lower - shifted),
                std::cmp::Ordering::Equal => (false, BigUint::ZERO),
            }
        };
        Unrounded {
            negative,
            coefficient,
            exponent: low.exponent.into(),
            is_exact: !is_cut,
        }
        .rounded()
    }

    fn divide(self, by: Finite) -> Decimal {
        let preferred = i64::from(self.exponent) - i64::from(by.exponent);
        let (dividend, divisor) = (BigUint::from(self.coefficient), BigUint::from(by.coefficient));
        let negative = self.negative != by.negative;
        if self.coefficient == 0 {
            let (coefficient, exponent, is_exact) = (dividend, preferred, true);
            return Unrounded {
                negative,
                coefficient,
                exponent,
                is_exact,
            }
            .rounded();
        }
        let zeros = (QUOTIENT_DIGITS + digits(&divisor) - digits(&dividend)).max(0);
        let dividend = dividend * power_of_ten(zeros);
        Unrounded {
            negative,
            coefficient: &dividend / &divisor,
            exponent: preferred - zeros,
            is_exact: &dividend % &divisor == BigUint::ZERO,
        }
        .shortened(preferred)
        .rounded()
    }

    fn remainder(self, by: Finite) -> Decimal {
        let divisor = BigUint::from(by.coefficient);
        let distance = self.exponent.abs_diff(by.exponent);
        let (coefficient, exponent) = if self.exponent >= by.exponent {
            let power = BigUint::from(10_u32).modpow(&distance.into(), &divisor);
            (power * self.coefficient % divisor, by.exponent)
        } else if i64::from(distance) > DIGITS_MAX {
            // The divisor is greater than any number with this exponent.
            (self.coefficient.into(), self.exponent)
        } else {
            let divisor = divisor * power_of_ten(distance.into());
            (BigUint::from(self.coefficient) % divisor, self.exponent)
        };
        Unrounded {
            negative: self.negative,
            coefficient,
            exponent: exponent.into(),
            is_exact: true,
        }
        .rounded()
    }

    fn sqrt(self) -> Decimal {
        let preferred = i64::from(self.exponent.div_euclid(2));
        if self.coefficient == 0 {
            let zero = Unrounded::from(self);
            return Unrounded {
                exponent: preferred,
                ..zero
            }
            .rounded();
        }
        let coefficient = BigUint::from(self.coefficient);
        let missing = (2 * QUOTIENT_DIGITS - digits(&coefficient)).max(0);
        // The exponent that is left must be even.
        let zeros = missing + (i64::from(self.exponent) - missing).rem_euclid(2);
        let coefficient = coefficient * power_of_ten(zeros);
        let root = coefficient.sqrt();
        Unrounded {
            negative: false,
            exponent: (i64::from(self.exponent) - zeros) / 2,
            is_exact: &root * &root == coefficient,
            coefficient: root,
        }
        .shortened(preferred)
        .rounded()
    }
}

impl Unrounded {
    /// The same number without zeros at its end, as far as the exponent that it should have.
    fn shortened(mut self, preferred: i64) -> Unrounded {
        while self.is_exact && self.exponent < preferred {
            let (rest, last) = (&self.coefficient / 10_u32, &self.coefficient % 10_u32);
            if last != BigUint::ZERO {
                break;
            }
            self.coefficient = rest;
            self.exponent += 1;
        }
        self
    }

    /// The same number with zeros at its end, down to the exponent that it should have, or to as many digits as there can be.
    fn extended(mut self, preferred: i64) -> Unrounded {
        let is_zero = self.coefficient == BigUint::ZERO;
        let room = if is_zero {
            i64::MAX
        } else {
            DIGITS_MAX - digits(&self.coefficient)
        };
        let zeros = (self.exponent - preferred).clamp(0, room.max(0));
        if !is_zero {
            self.coefficient *= power_of_ten(zeros);
        }
        self.exponent -= zeros;
        self
    }
}

fn power_of_ten(power: i64) -> BigUint {
    BigUint::from(10_u32).pow(u32::try_from(power).unwrap_or(0))
}

impl From<Finite> for Unrounded {
    fn from(finite: Finite) -> Unrounded {
        Unrounded {
            negative: finite.negative,
            coefficient: finite.coefficient.into(),
            exponent: finite.exponent.into(),
            is_exact: true,
        }
    }
}

impl From<Decimal128> for Decimal {
    fn from(value: Decimal128) -> Decimal {
        match split(value) {
            Parts::NaN => Decimal::NaN,
            Parts::Infinity(negative) => Decimal::Infinity(negative),
            Parts::Finite {
                negative,
                coefficient,
                exponent,
            } => Decimal::Finite(Finite {
                negative,
                coefficient,
                exponent,
            }),
        }
    }
}

impl From<Decimal> for Decimal128 {
    fn from(value: Decimal) -> Decimal128 {
        let special = |bits: u128| Decimal128::from_bytes((bits << 122).to_le_bytes());
        match value {
            Decimal::NaN => special(0x1f),
            Decimal::Infinity(negative) => special(if negative { 0x3e } else { 0x1e }),
            Decimal::Finite(Finite {
                negative,
                coefficient,
                exponent,
            }) => join(negative, coefficient, exponent).unwrap_or_else(|| special(0x1f)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from(text.parse::<Decimal128>().unwrap())
    }

    fn told(decimal: Decimal) -> String {
        Decimal128::from(decimal).to_string()
    }

    #[test]
    fn sums_are_exact_or_rounded_half_to_even() {
        let check = |a: &str, b: &str, expected: &str| {
            assert_eq!(told(decimal(a).add(&decimal(b))), expected, "{a} + {b}");
            assert_eq!(told(decimal(b).add(&decimal(a))), expected, "{b} + {a}");
        };
        check("1", "2", "3");
        check("1.10", "1", "2.10");
        check("0.1", "0.2", "0.3");
        check("9.9", "0.1", "10.0");
        check("1", "-1", "0");
        check("1.5", "-2", "-0.5");
        check("-0", "-0", "-0");
        check("0", "-0", "0");
        check("1", "0E-3", "1.000");
        check("1E+90", "0", "1.000000000000000000000000000000000E+90");
        // The 35th digit: a tie goes to the even neighbour, more than a tie goes up.
        let even = "1000000000000000000000000000000000";
        check(even, "0.5", even);
        check(
            "1000000000000000000000000000000001",
            "0.5",
            "1000000000000000000000000000000002",
        );
        check(even, "0.51", "1000000000000000000000000000000001");
        check(
            "9999999999999999999999999999999999",
            "1",
            "1.000000000000000000000000000000000E+34",
        );
        check("1E+6000", "1E-6000", "1.000000000000000000000000000000000E+6000");
        check("1E+6000", "-1E-6000", "1.000000000000000000000000000000000E+6000");
        check("9.999999999999999999999999999999999E+6144", "9E+6144", "Infinity");
        check("Infinity", "-5", "Infinity");
        check("Infinity", "-Infinity", "NaN");
        check("NaN", "1", "NaN");
    }

    #[test]
    fn products_keep_their_scale() {
        let check = |a: &str, b: &str, expected: &str| {
            assert_eq!(told(decimal(a).multiply(&decimal(b))), expected, "{a} * {b}");
            assert_eq!(told(decimal(b).multiply(&decimal(a))), expected, "{b} * {a}");
        };
        check("1.20", "2", "2.40");
        check("2.2500", "-1.50", "-3.375000");
        check("-3", "0.5", "-1.5");
        check("1.5", "0", "0.0");
        check("-1.5", "0", "-0.0");
        let nines = "9999999999999999999999999999999999";
        check(nines, nines, "9.999999999999999999999999999999998E+67");
        check("1E-6176", "0.5", "0E-6176");
        check("3E-6176", "0.5", "2E-6176");
        check("1E-6000", "1E-6000", "0E-6176");
        check("1E+6000", "1E+6000", "Infinity");
        check("1E+6111", "1E+33", "1.000000000000000000000000000000000E+6144");
        check("Infinity", "-2", "-Infinity");
        check("Infinity", "0", "NaN");
    }

    #[test]
    fn quotients_and_roots_have_the_exponent_of_their_operands_where_they_are_exact() {
        let check = |a: &str, b: &str, expected: &str| {
            assert_eq!(told(decimal(a).divide(&decimal(b))), expected, "{a} / {b}");
        };
        check("1.00", "2", "0.50");
        check("1", "3", "0.3333333333333333333333333333333333");
        check("2", "3", "0.6666666666666666666666666666666667");
        check("100", "1E+1", "10.0");
        check("2400", "2.0", "1.20E+3");
        check("-0.00", "5", "-0.00");
        check("1", "-Infinity", "-0E-6176");
        check("1E-6176", "3", "0E-6176");
        let check = |a: &str, expected: &str| assert_eq!(told(decimal(a).sqrt()), expected, "{a}");
        check("4.00", "2.0");
        check("2", "1.414213562373095048801688724209698");
        check("-0", "-0");
        check("-1", "NaN");
        check("1E+3", "31.62277660168379331998893544432719");
    }

    #[test]
    fn remainders_are_exact_however_long_the_quotient() {
        let check = |a: &str, b: &str, expected: &str| {
            assert_eq!(told(decimal(a).remainder(&decimal(b))), expected, "{a} % {b}");
        };
        check("7.5", "2", "1.5");
        check("-7.5", "2", "-1.5");
        check("1E+3000", "7", "1");
        check("5", "1E+40", "5");
        check("5", "-Infinity", "5");
        check("-6", "3.0", "-0.0");
    }

    #[test]
    fn rounding_keeps_what_has_no_room_for_zeros() {
        let check = |a: &str, place: i32, rounding: Rounding, expected: &str| {
            assert_eq!(told(decimal(a).round_at(place, rounding)), expected, "{a} at {place}");
        };
        check("2.5", 0, Rounding::HalfEven, "2");
        check("3.5", 0, Rounding::HalfEven, "4");
        check("-2.51", 0, Rounding::Ceiling, "-2");
        check("-2.01", 0, Rounding::Floor, "-3");
        check("0.001", 0, Rounding::Ceiling, "1");
        check("1.29", 1, Rounding::Down, "1.2");
        check("1250", -2, Rounding::HalfEven, "1.2E+3");
        check("1.5", 3, Rounding::HalfEven, "1.500");
        check(
            "1E+40",
            0,
            Rounding::HalfEven,
            "1.000000000000000000000000000000000E+40",
        );
        check("-0.00500", 0, Rounding::Ceiling, "-0");
    }
}
