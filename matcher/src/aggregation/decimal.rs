//! Arithmetic on Decimal128.
//!
//! Results are computed with more digits than the type has and rounded once, half to even, to its
//! 34, as IEEE 754 prescribes. Exponents follow the operands (`1.0 + 2.00` is `3.00`). What has
//! no exact or cheaply rounded result (logarithms, `$exp`, trigonometry, powers that are not
//! whole) is not offered; see [`UNSUPPORTED`].

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive, Zero};
use bson::Decimal128;

use super::error::AggregationErrorKind as Kind;
use crate::decimal::{self, EXPONENT_MAX, EXPONENT_MIN, Parts};

/// The error of operations that are not offered for decimals.
pub(crate) const UNSUPPORTED: Kind = Kind::Unsupported {
    feature: "this operation on a decimal; convert it with $toDouble",
};

/// How many digits a coefficient has at most.
const DIGITS_MAX: u64 = 34;

/// A decimal number, or one of the values that are none.
#[derive(Clone, Debug)]
pub(crate) enum Decimal {
    NaN,
    /// `true` for minus infinity.
    Infinity(bool),
    Finite(BigDecimal),
}

impl Decimal {
    /// The double as MongoDB converts it: with 15 significant digits.
    pub(crate) fn from_f64(double: f64) -> Decimal {
        if double.is_nan() {
            Decimal::NaN
        } else if double.is_infinite() {
            Decimal::Infinity(double < 0.0)
        } else if double == 0.0 {
            Decimal::from(0)
        } else {
            // Always fifteen digits, zeros included: 2.5 becomes 2.50000000000000.
            format!("{double:.14e}").parse().map_or(Decimal::NaN, Decimal::Finite)
        }
    }

    /// The double exactly.
    pub(crate) fn exactly(double: f64) -> Decimal {
        match BigDecimal::try_from(double) {
            Ok(finite) => Decimal::Finite(finite),
            Err(_) => Decimal::from_f64(double),
        }
    }

    /// Reads a decimal as MongoDB writes it; excess digits are rounded.
    pub(crate) fn parse(text: &str) -> Option<Decimal> {
        let (negative, magnitude) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        match magnitude.to_ascii_lowercase().as_str() {
            "nan" => return Some(Decimal::NaN),
            "inf" | "infinity" => return Some(Decimal::Infinity(negative)),
            _ => {}
        }
        if !magnitude.starts_with(|c: char| c.is_ascii_digit() || c == '.') || magnitude.contains('_') {
            return None;
        }
        let (_, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        // Far outside of the type's range the number would only be long to write.
        if exponent.parse::<i32>().ok()?.abs() > 20_000 {
            return None;
        }
        text.parse().ok().map(Decimal::Finite)
    }

    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Decimal::NaN => f64::NAN,
            Decimal::Infinity(true) => f64::NEG_INFINITY,
            Decimal::Infinity(false) => f64::INFINITY,
            // The standard library's parser rounds correctly.
            Decimal::Finite(finite) => {
                let (digits, scale) = finite.as_bigint_and_exponent();
                let exponent = scale.saturating_neg();
                format!("{digits}e{exponent}").parse().unwrap_or(f64::NAN)
            }
        }
    }

    /// The integer of equal value.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Decimal::Finite(finite) if within_i64(finite) && finite.is_integer() => finite.to_i64(),
            _ => None,
        }
    }

    /// The integer part.
    pub(crate) fn truncated(&self) -> Option<i64> {
        match self {
            Decimal::Finite(finite) if within_i64(finite) => finite.with_scale_round(0, RoundingMode::Down).to_i64(),
            _ => None,
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Decimal::Finite(finite) if finite.is_zero())
    }

    pub(crate) fn is_negative(&self) -> bool {
        match self {
            Decimal::NaN => false,
            Decimal::Infinity(negative) => *negative,
            Decimal::Finite(finite) => finite.sign() == Sign::Minus,
        }
    }

    pub(crate) fn negate(&self) -> Decimal {
        match self {
            Decimal::NaN => Decimal::NaN,
            Decimal::Infinity(negative) => Decimal::Infinity(!negative),
            Decimal::Finite(finite) => Decimal::Finite(-finite),
        }
    }

    pub(crate) fn abs(&self) -> Decimal {
        if self.is_negative() {
            self.negate()
        } else {
            self.clone()
        }
    }

    pub(crate) fn add(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) => Decimal::Finite(a + b).rounded(),
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (Decimal::Infinity(a), Decimal::Infinity(b)) if a != b => Decimal::NaN,
            (Decimal::Infinity(negative), _) | (_, Decimal::Infinity(negative)) => Decimal::Infinity(*negative),
        }
    }

    pub(crate) fn subtract(&self, other: &Decimal) -> Decimal {
        self.add(&other.negate())
    }

    pub(crate) fn multiply(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) => Decimal::Finite(a * b).rounded(),
            (Decimal::NaN, _) | (_, Decimal::NaN) => Decimal::NaN,
            (a, b) if a.is_zero() || b.is_zero() => Decimal::NaN,
            (a, b) => Decimal::Infinity(a.is_negative() != b.is_negative()),
        }
    }

    /// The quotient; `other` is not zero.
    pub(crate) fn divide(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) if !b.is_zero() => {
                // A hundred digits: enough that rounding them again cannot go wrong.
                Decimal::Finite(a / b).rounded()
            }
            (Decimal::Infinity(_), Decimal::Finite(_)) => Decimal::Infinity(self.is_negative() != other.is_negative()),
            (Decimal::Finite(_), Decimal::Infinity(_)) => Decimal::from(0),
            _ => Decimal::NaN,
        }
    }

    /// The remainder with the sign of `self`; `other` is not zero.
    pub(crate) fn remainder(&self, other: &Decimal) -> Decimal {
        match (self, other) {
            (Decimal::Finite(a), Decimal::Finite(b)) if !b.is_zero() => Decimal::Finite(a % b).rounded(),
            (Decimal::Finite(_), Decimal::Infinity(_)) => self.clone(),
            _ => Decimal::NaN,
        }
    }

    /// The square root; not a number below zero.
    pub(crate) fn sqrt(&self) -> Decimal {
        match self {
            Decimal::Finite(finite) => finite
                .sqrt()
                .map_or(Decimal::NaN, |root| Decimal::Finite(root.normalized()).rounded()),
            Decimal::Infinity(false) => Decimal::Infinity(false),
            _ => Decimal::NaN,
        }
    }

    /// The power with a whole exponent, if that is small enough to multiply out.
    pub(crate) fn power(&self, exponent: i64) -> Result<Decimal, Kind> {
        if exponent.unsigned_abs() > 10_000 {
            return Err(UNSUPPORTED);
        }
        let mut result = Decimal::from(1);
        let (mut base, mut left) = (self.clone(), exponent.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(&base);
            }
            base = base.multiply(&base);
            left >>= 1;
        }
        Ok(if exponent < 0 {
            Decimal::from(1).divide(&result)
        } else {
            result
        })
    }

    /// Rounds at `place` digits after the point; before it when negative.
    pub(crate) fn round_at(&self, place: i64, mode: RoundingMode) -> Decimal {
        match self {
            Decimal::Finite(finite) => Decimal::Finite(finite.with_scale_round(place, mode)).rounded(),
            other => other.clone(),
        }
    }

    /// The value with at most 34 digits.
    fn rounded(self) -> Decimal {
        match self {
            Decimal::Finite(finite) if finite.digits() > DIGITS_MAX => {
                Decimal::Finite(finite.with_precision_round(PRECISION, RoundingMode::HalfEven))
            }
            other => other,
        }
    }
}

const PRECISION: std::num::NonZeroU64 = std::num::NonZeroU64::new(DIGITS_MAX).unwrap();

/// Says whether the magnitude is below 10^20; above it no 64-bit integer is, and writing the number
/// out could take thousands of digits.
fn within_i64(finite: &BigDecimal) -> bool {
    let (_, scale) = finite.as_bigint_and_exponent();
    finite.is_zero() || finite.digits() as i64 - scale <= 20
}

impl From<i128> for Decimal {
    fn from(value: i128) -> Self {
        Decimal::Finite(BigDecimal::from(value))
    }
}

impl From<Decimal128> for Decimal {
    fn from(value: Decimal128) -> Self {
        match decimal::split(value) {
            Parts::NaN => Decimal::NaN,
            Parts::Infinity(negative) => Decimal::Infinity(negative),
            Parts::Finite {
                negative,
                coefficient,
                exponent,
            } => {
                let sign = if negative { Sign::Minus } else { Sign::Plus };
                let digits = BigInt::from_biguint(sign, coefficient.into());
                Decimal::Finite(BigDecimal::new(digits, -i64::from(exponent)))
            }
        }
    }
}

impl From<Decimal> for Decimal128 {
    /// Rounds to 34 digits; becomes infinite, or zero, out of range.
    fn from(value: Decimal) -> Self {
        let special = |bits: u128| Decimal128::from_bytes((bits << 122).to_le_bytes());
        let mut finite = match value.rounded() {
            Decimal::NaN => return special(0x1f),
            Decimal::Infinity(negative) => return special(if negative { 0x3e } else { 0x1e }),
            Decimal::Finite(finite) => finite,
        };
        let negative = finite.sign() == Sign::Minus;
        let (_, scale) = finite.as_bigint_and_exponent();
        if -scale < i64::from(EXPONENT_MIN) {
            finite = finite.with_scale_round(-i64::from(EXPONENT_MIN), RoundingMode::HalfEven);
        } else if -scale > i64::from(EXPONENT_MAX) {
            if finite.is_zero() {
                return decimal::join(false, 0, EXPONENT_MAX).unwrap_or_else(|| special(0x1f));
            }
            if finite.digits() as i64 - scale > DIGITS_MAX as i64 + i64::from(EXPONENT_MAX) {
                return special(if negative { 0x3e } else { 0x1e });
            }
            finite = finite.with_scale(-i64::from(EXPONENT_MAX));
        }
        let (digits, scale) = finite.as_bigint_and_exponent();
        let joined = digits
            .magnitude()
            .to_u128()
            .zip(i32::try_from(-scale).ok())
            .and_then(|(coefficient, exponent)| decimal::join(negative, coefficient, exponent));
        joined.unwrap_or_else(|| special(0x1f))
    }
}
