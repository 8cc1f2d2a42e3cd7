//! From an exact result to the Decimal128 nearest to it.

use num_bigint::BigUint;

use super::arithmetic::{Decimal, Finite};
use super::{COEFFICIENT_MAX, DIGITS_MAX, EXPONENT_MAX, EXPONENT_MIN};

/// Where a number goes that lies between two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rounding {
    /// To the nearer one, from the middle to the even one.
    HalfEven,
    /// Towards zero.
    Down,
    Ceiling,
    Floor,
}

/// A number of any length: `coefficient * 10^exponent`, and less than one unit of it more if it is not exact.
pub(super) struct Unrounded {
    pub(super) negative: bool,
    pub(super) coefficient: BigUint,
    pub(super) exponent: i64,
    pub(super) is_exact: bool,
}

impl Unrounded {
    /// The nearest number of 34 digits and an exponent that there is; infinite beyond the largest.
    pub(super) fn rounded(self) -> Decimal {
        let excess = digits(&self.coefficient) - DIGITS_MAX;
        let below = i64::from(EXPONENT_MIN) - self.exponent;
        let mut number = self.without_digits(excess.max(below), Rounding::HalfEven);
        // Rounded up to one digit more, of which the last is zero.
        if number.coefficient > BigUint::from(COEFFICIENT_MAX) {
            number = number.without_digits(1, Rounding::HalfEven);
        }
        number.fitted()
    }

    /// The number with `count` digits fewer, if it has them, and a greater exponent.
    pub(super) fn without_digits(self, count: i64, rounding: Rounding) -> Unrounded {
        if count <= 0 {
            return self;
        }
        let exponent = self.exponent + count;
        let is_zero = self.is_exact && self.coefficient == BigUint::ZERO;
        // More than all digits: nothing is left but that it is not zero, and below the middle.
        let (kept, half) = match u32::try_from(count) {
            Ok(count) if i64::from(count) <= digits(&self.coefficient) + 1 => {
                let unit = BigUint::from(10_u32).pow(count);
                let (kept, dropped) = (&self.coefficient / &unit, &self.coefficient % &unit);
                let half = (dropped.clone() * 2_u32).cmp(&unit);
                let is_exact = self.is_exact && dropped == BigUint::ZERO;
                (
                    kept,
                    (!is_exact).then_some(if self.is_exact {
                        half
                    } else {
                        half.then(std::cmp::Ordering::Greater)
                    }),
                )
            }
            _ => (BigUint::ZERO, (!is_zero).then_some(std::cmp::Ordering::Less)),
        };
        let is_up = half.is_some_and(|half| match rounding {
            Rounding::HalfEven => half.is_gt() || (half.is_eq() && kept.bit(0)),
            Rounding::Down => false,
            Rounding::Ceiling => !self.negative,
            Rounding::Floor => self.negative,
        });
        Unrounded {
            negative: self.negative,
            coefficient: kept + u32::from(is_up),
            exponent,
            is_exact: true,
        }
    }

    /// The number with zeros in place of an exponent that is too great. It has at most 34 digits.
    fn fitted(mut self) -> Decimal {
        let excess = self.exponent - i64::from(EXPONENT_MAX);
        if self.coefficient == BigUint::ZERO {
            self.exponent = self.exponent.min(EXPONENT_MAX.into());
        } else if excess > DIGITS_MAX - digits(&self.coefficient) {
            return Decimal::Infinity(self.negative);
        } else if let Ok(zeros) = u32::try_from(excess) {
            self.coefficient *= BigUint::from(10_u32).pow(zeros);
            self.exponent = EXPONENT_MAX.into();
        }
        // Neither conversion fails: both are within their limits now.
        let coefficient = u128::try_from(&self.coefficient).unwrap_or(0);
        Decimal::Finite(Finite {
            negative: self.negative,
            coefficient,
            exponent: i32::try_from(self.exponent).unwrap_or(0),
        })
    }
}

/// How many digits a number has; zero has one.
pub(super) fn digits(number: &BigUint) -> i64 {
    if let Ok(small) = u128::try_from(number) {
        return i64::from(small.checked_ilog10().unwrap_or(0)) + 1;
    }
    // One off at most, from the number of bits.
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^32 digits")]
    let estimate = (number.bits() as f64 * std::f64::consts::LOG10_2) as u32;
    let reaches = |power: u32| *number >= BigUint::from(10_u32).pow(power);
    i64::from(estimate) + i64::from(reaches(estimate))
}
