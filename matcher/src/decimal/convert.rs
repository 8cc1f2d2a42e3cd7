//! Other numbers and text as decimals, and back.

use num_bigint::BigUint;

use super::arithmetic::{Decimal, Finite};
use super::rounding::Unrounded;

/// Digits of a text that are read; that others follow is remembered.
const TEXT_DIGITS_MAX: usize = 36;

impl Decimal {
    /// The double as MongoDB converts one that meets a decimal: with 15 significant digits, zeros included.
    ///
    /// `0.1` becomes `0.100000000000000`.
    #[must_use]
    pub fn from_f64(double: f64) -> Decimal {
        if double == 0.0 {
            return Decimal::exactly(double);
        }
        Decimal::parse(&format!("{double:.14e}")).unwrap_or(Decimal::NaN)
    }

    /// The double itself, with all of its digits, up to 34.
    pub(crate) fn exactly(double: f64) -> Decimal {
        let negative = double.is_sign_negative();
        if double.is_nan() {
            return Decimal::NaN;
        }
        if double.is_infinite() {
            return Decimal::Infinity(negative);
        }
        let bits = double.to_bits();
        let (mantissa, power) = match (bits >> 52) & 0x7ff {
            0 => (bits & ((1 << 52) - 1), -1074),
            biased => ((bits & ((1 << 52) - 1)) | (1 << 52), biased as i32 - 1075),
        };
        // Without the twos that it has, so that no digit is a zero at the end.
        let twos = if mantissa == 0 { 0 } else { mantissa.trailing_zeros() };
        let (mantissa, power) = (BigUint::from(mantissa >> twos), power + twos as i32);
        let (coefficient, exponent) = if mantissa == BigUint::ZERO {
            (mantissa, 0)
        } else if power >= 0 {
            (mantissa << power.unsigned_abs(), 0)
        } else {
            (
                mantissa * BigUint::from(5_u32).pow(power.unsigned_abs()),
                i64::from(power),
            )
        };
        Unrounded {
            negative,
            coefficient,
            exponent,
            is_exact: true,
        }
        .rounded()
    }

    /// Reads a decimal as MongoDB writes it; excess digits are rounded. Nothing if it is none, or out of range.
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
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let exponent: i64 = exponent.parse::<i32>().ok()?.into();
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (mut coefficient, mut read, mut behind, mut is_exact) = (0_u128, 0, 0, true);
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = u128::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
            if read < TEXT_DIGITS_MAX {
                coefficient = coefficient * 10 + digit;
                read += usize::from(coefficient > 0);
            } else {
                behind += 1;
                is_exact &= digit == 0;
            }
        }
        let number = Unrounded {
            negative,
            coefficient: coefficient.into(),
            exponent: exponent - i64::try_from(fraction.len()).ok()? + behind,
            is_exact,
        }
        .rounded();
        let is_lost = matches!(number, Decimal::Infinity(_)) || (number.is_zero() && coefficient > 0);
        (!is_lost).then_some(number)
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        match self {
            Decimal::NaN => f64::NAN,
            Decimal::Infinity(true) => f64::NEG_INFINITY,
            Decimal::Infinity(false) => f64::INFINITY,
            Decimal::Finite(finite) => {
                let Finite {
                    negative,
                    coefficient,
                    exponent,
                } = finite;
                let sign = if *negative { "-" } else { "" };
                // The standard library's parser rounds correctly.
                format!("{sign}{coefficient}e{exponent}").parse().unwrap_or(f64::NAN)
            }
        }
    }

    /// The integer of equal value.
    pub(crate) fn whole(&self) -> Option<i64> {
        let Decimal::Finite(finite) = self else { return None };
        let unit = 10_u128.checked_pow(finite.exponent.min(0).unsigned_abs());
        let is_whole = finite.coefficient == 0 || unit.is_some_and(|unit| finite.coefficient.is_multiple_of(unit));
        self.truncated().filter(|_| is_whole)
    }

    /// The integer part, if that is a 64-bit integer.
    pub(crate) fn truncated(&self) -> Option<i64> {
        let Decimal::Finite(finite) = self else { return None };
        let Finite {
            negative,
            coefficient,
            exponent,
        } = *finite;
        let power = 10_u128.checked_pow(exponent.unsigned_abs());
        let magnitude = match power {
            _ if coefficient == 0 => 0,
            Some(power) if exponent >= 0 => coefficient.checked_mul(power)?,
            None if exponent >= 0 => return None,
            Some(power) => coefficient / power,
            None => 0,
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    }
}

impl From<i128> for Decimal {
    fn from(value: i128) -> Decimal {
        Unrounded {
            negative: value < 0,
            coefficient: value.unsigned_abs().into(),
            exponent: 0,
            is_exact: true,
        }
        .rounded()
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal::from(i128::from(value))
    }
}

#[cfg(test)]
mod tests {
    use bson::Decimal128;

    use super::*;

    fn told(decimal: Decimal) -> String {
        Decimal128::from(decimal).to_string()
    }

    #[test]
    fn doubles_have_15_digits_or_all_of_them() {
        let check = |double: f64, fifteen: &str, all: &str| {
            assert_eq!(told(Decimal::from_f64(double)), fifteen, "{double}");
            assert_eq!(told(Decimal::exactly(double)), all, "{double}");
        };
        check(0.1, "0.100000000000000", "0.1000000000000000055511151231257827");
        check(-2.5, "-2.50000000000000", "-2.5");
        check(0.1 + 0.2, "0.300000000000000", "0.3000000000000000444089209850062616");
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(1024.0, "1024.00000000000", "1024");
        check(f64::NEG_INFINITY, "-Infinity", "-Infinity");
        check(f64::NAN, "NaN", "NaN");
        check(
            5e-324,
            "4.94065645841247E-324",
            "4.940656458412465441765687928682214E-324",
        );
        assert_eq!(told(Decimal::from(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn text_is_read_to_34_digits() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Decimal::parse(text).map(told).as_deref(), expected, "{text}");
        };
        check("-1.50", Some("-1.50"));
        check("+.5", Some("0.5"));
        check("7.", Some("7"));
        check("000123e2", Some("1.23E+4"));
        check("-0e-2", Some("-0.00"));
        check("-Infinity", Some("-Infinity"));
        check("nan", Some("NaN"));
        let third = format!("0.{}", "3".repeat(1000));
        check(&third, Some("0.3333333333333333333333333333333333"));
        // A tie but for the last of many digits.
        let above = format!("1.{}5{}1", "0".repeat(33), "0".repeat(500));
        check(&above, Some("1.000000000000000000000000000000001"));
        for none in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1_0",
            "0x1",
            "1.2.3",
            "--1",
            "1e7000",
            "1e-7000",
            "1e99999999999",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn whole_numbers_fit_64_bits_or_are_none() {
        let check = |text: &str, truncated: Option<i64>, whole: Option<i64>| {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!((decimal.truncated(), decimal.whole()), (truncated, whole), "{text}");
        };
        check("1.50", Some(1), None);
        check("-2.00", Some(-2), Some(-2));
        check("1E+3", Some(1000), Some(1000));
        check("9223372036854775807.9", Some(i64::MAX), None);
        check("9223372036854775808", None, None);
        check("-9223372036854775808", Some(i64::MIN), Some(i64::MIN));
        check("1E-6000", Some(0), None);
        check("0E+6000", Some(0), Some(0));
        check("1E+6000", None, None);
        check("NaN", None, None);
    }
}
