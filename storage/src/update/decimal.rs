//! Sums and products of Decimal128, rounded as IEEE 754 has it: 34 digits, half to even.
//!
//! `bson` carries a Decimal128 without calculating with it. Here its bits (binary integer decimal) become a sign, decimal
//! digits and a power of ten; a result is formed exactly and rounded once. The result has the exponent that the standard
//! prefers (the smaller one of a sum, both together of a product), so that `1.10 + 1` is `2.10`.
//!
//! A digit takes a byte: at most some 120 of them, on a path that few updates take. Clarity is worth more here than speed.

use std::cmp::Ordering;

use bson::Decimal128;

const DIGITS_MAX: usize = 34;
const EXPONENT_MIN: i32 = -6176;
const EXPONENT_MAX: i32 = 6111;
const EXPONENT_BIAS: i32 = 6176;

/// Beyond this distance, the smaller addend can only tell a tie from what is no tie.
const ALIGNMENT_MAX: i32 = 80;

/// A Decimal128, taken apart.
#[derive(Clone, Debug, PartialEq)]
enum Decimal {
    NaN,
    Infinity { negative: bool },
    Finite(Finite),
}

/// `digits * 10^exponent`; the most significant digit first, none for zero.
#[derive(Clone, Debug, PartialEq)]
struct Finite {
    negative: bool,
    digits: Vec<u8>,
    exponent: i32,
}

/// `a + b`.
pub(super) fn add(a: Decimal128, b: Decimal128) -> Decimal128 {
    use Decimal::{Finite as Number, Infinity, NaN};
    let sum = match (decode(a), decode(b)) {
        (NaN, _) | (_, NaN) => NaN,
        (Infinity { negative: a }, Infinity { negative: b }) if a != b => NaN,
        (Infinity { negative }, _) | (_, Infinity { negative }) => Infinity { negative },
        (Number(a), Number(b)) => Number(a.add(b)),
    };
    encode(sum)
}

/// `a * b`.
pub(super) fn multiply(a: Decimal128, b: Decimal128) -> Decimal128 {
    use Decimal::{Finite as Number, Infinity, NaN};
    let product = match (decode(a), decode(b)) {
        (NaN, _) | (_, NaN) => NaN,
        (Infinity { negative }, Number(finite)) | (Number(finite), Infinity { negative }) => {
            if finite.digits.is_empty() {
                NaN
            } else {
                Infinity {
                    negative: negative != finite.negative,
                }
            }
        }
        (Infinity { negative: a }, Infinity { negative: b }) => Infinity { negative: a != b },
        (Number(a), Number(b)) => Number(a.multiply(&b)),
    };
    encode(product)
}

pub(super) fn from_i64(value: i64) -> Decimal128 {
    encode(Decimal::Finite(Finite {
        negative: value < 0,
        digits: digits(u128::from(value.unsigned_abs())),
        exponent: 0,
    }))
}

/// The double to 15 significant digits, which is how MongoDB converts one that meets a decimal.
pub(super) fn from_f64(value: f64) -> Decimal128 {
    let negative = value.is_sign_negative();
    if value.is_nan() {
        return encode(Decimal::NaN);
    }
    if value.is_infinite() {
        return encode(Decimal::Infinity { negative });
    }
    // `d.dddddddddddddde-x`, correctly rounded by the standard library.
    let text = format!("{:.14e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| digit - b'0')
        .collect();
    let mut exponent = exponent.parse::<i32>().unwrap_or(0) - 14;
    if value == 0.0 {
        (digits, exponent) = (Vec::new(), 0);
    }
    encode(Decimal::Finite(Finite {
        negative,
        digits,
        exponent,
    }))
}

impl Finite {
    fn add(self, other: Finite) -> Finite {
        let (mut high, mut low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        if high.exponent - low.exponent > ALIGNMENT_MAX && !high.digits.is_empty() {
            // What matters of the low one is that it is there, and on which side of nothing.
            low.exponent = high.exponent - ALIGNMENT_MAX;
            if !low.digits.is_empty() {
                low.digits = vec![1];
            }
        }
        let exponent = low.exponent;
        if !high.digits.is_empty() {
            let zeros = (high.exponent - exponent) as usize;
            high.digits.resize(high.digits.len() + zeros, 0);
        }
        if high.negative == low.negative {
            return Finite {
                negative: high.negative,
                digits: sum(&high.digits, &low.digits),
                exponent,
            };
        }
        let (negative, digits) = match compare(&high.digits, &low.digits) {
            Ordering::Equal => (false, Vec::new()),
            Ordering::Greater => (high.negative, difference(&high.digits, &low.digits)),
            Ordering::Less => (low.negative, difference(&low.digits, &high.digits)),
        };
        Finite {
            negative,
            digits,
            exponent,
        }
    }

    fn multiply(&self, other: &Finite) -> Finite {
        // Least significant first while carrying; a column sums 34 products of at most 81.
        let mut columns = vec![0_u32; self.digits.len() + other.digits.len()];
        for (i, a) in self.digits.iter().rev().enumerate() {
            for (j, b) in other.digits.iter().rev().enumerate() {
                columns[i + j] += u32::from(*a) * u32::from(*b);
            }
        }
        let mut carry = 0;
        let mut digits: Vec<u8> = Vec::with_capacity(columns.len());
        for column in columns {
            let value = column + carry;
            digits.push((value % 10) as u8);
            carry = value / 10;
        }
        digits.reverse();
        Finite {
            negative: self.negative != other.negative,
            digits: trimmed(digits),
            exponent: self.exponent + other.exponent,
        }
    }

    /// At most 34 digits and an exponent that has an encoding, or infinity.
    fn rounded(mut self) -> Decimal {
        let surplus = self.digits.len().saturating_sub(DIGITS_MAX);
        let too_small = (EXPONENT_MIN - self.exponent).max(0) as usize;
        let dropped = surplus.max(too_small);
        if dropped > 0 {
            self.drop_digits(dropped);
        }
        if self.exponent > EXPONENT_MAX {
            let zeros = (self.exponent - EXPONENT_MAX) as usize;
            if !self.digits.is_empty() {
                if self.digits.len() + zeros > DIGITS_MAX {
                    return Decimal::Infinity {
                        negative: self.negative,
                    };
                }
                self.digits.resize(self.digits.len() + zeros, 0);
            }
            self.exponent = EXPONENT_MAX;
        }
        Decimal::Finite(self)
    }

    fn drop_digits(&mut self, count: usize) {
        let kept = self.digits.len().saturating_sub(count);
        // More digits than there are: what is dropped begins with zeros.
        let (next, rest) = match self.digits.len() >= count {
            true => (self.digits[kept], &self.digits[kept + 1..]),
            false => (0, &self.digits[..]),
        };
        let has_rest = rest.iter().any(|digit| *digit != 0);
        let is_odd = self.digits[..kept].last().is_some_and(|digit| digit % 2 == 1);
        let up = next > 5 || next == 5 && (has_rest || is_odd);
        self.digits.truncate(kept);
        self.exponent = self.exponent.saturating_add(count as i32);
        if up {
            self.digits = sum(&self.digits, &[1]);
            if self.digits.len() > DIGITS_MAX {
                // 9…9 became 10…0.
                self.digits.pop();
                self.exponent += 1;
            }
        }
    }
}

fn decode(value: Decimal128) -> Decimal {
    let bits = u128::from_le_bytes(value.bytes());
    let negative = bits >> 127 == 1;
    let (exponent, coefficient) = match (bits >> 122) & 0x1f {
        0x1f => return Decimal::NaN,
        0x1e => return Decimal::Infinity { negative },
        // Spells only coefficients of more than 34 digits, which stand for zero.
        0x18..=0x1d => ((bits >> 111) & 0x3fff, 0),
        _ => ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1)),
    };
    let is_canonical = coefficient < 10_u128.pow(DIGITS_MAX as u32);
    Decimal::Finite(Finite {
        negative,
        digits: digits(if is_canonical { coefficient } else { 0 }),
        exponent: exponent as i32 - EXPONENT_BIAS,
    })
}

fn encode(value: Decimal) -> Decimal128 {
    let finite = match value {
        Decimal::Finite(finite) => finite.rounded(),
        other => other,
    };
    let (negative, bits) = match finite {
        Decimal::NaN => (false, 0x1f << 122),
        Decimal::Infinity { negative } => (negative, 0x1e << 122),
        Decimal::Finite(finite) => {
            let coefficient = finite
                .digits
                .iter()
                .fold(0_u128, |value, digit| value * 10 + u128::from(*digit));
            let exponent = (finite.exponent + EXPONENT_BIAS) as u128;
            (finite.negative, exponent << 113 | coefficient)
        }
    };
    Decimal128::from_bytes((u128::from(negative) << 127 | bits).to_le_bytes())
}

fn digits(mut value: u128) -> Vec<u8> {
    let mut digits = Vec::new();
    while value > 0 {
        digits.push((value % 10) as u8);
        value /= 10;
    }
    digits.reverse();
    digits
}

fn trimmed(mut digits: Vec<u8>) -> Vec<u8> {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    digits
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let length = a.len().max(b.len());
    let digit = |digits: &[u8], place: usize| digits.iter().rev().nth(place).copied().unwrap_or(0);
    let mut carry = 0;
    let mut sum: Vec<u8> = (0..length)
        .map(|place| {
            let value = digit(a, place) + digit(b, place) + carry;
            carry = value / 10;
            value % 10
        })
        .collect();
    sum.push(carry);
    sum.reverse();
    trimmed(sum)
}

/// `a - b`, where `a` is the larger one.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = a
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let taken = b.iter().rev().nth(place).copied().unwrap_or(0) + borrow;
            borrow = u8::from(*digit < taken);
            digit + 10 * borrow - taken
        })
        .collect();
    difference.reverse();
    trimmed(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal128 {
        text.parse().unwrap()
    }

    #[test]
    fn sums_are_exact_or_rounded_half_to_even() {
        let check = |a: &str, b: &str, expected: &str| {
            assert_eq!(add(decimal(a), decimal(b)).to_string(), expected, "{a} + {b}");
            assert_eq!(add(decimal(b), decimal(a)).to_string(), expected, "{b} + {a}");
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
        // The 35th digit: a tie goes to the even neighbour, more than a tie goes up.
        check(
            "1000000000000000000000000000000000",
            "0.5",
            "1000000000000000000000000000000000",
        );
        check(
            "1000000000000000000000000000000001",
            "0.5",
            "1000000000000000000000000000000002",
        );
        check(
            "1000000000000000000000000000000000",
            "0.51",
            "1000000000000000000000000000000001",
        );
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
            assert_eq!(multiply(decimal(a), decimal(b)).to_string(), expected, "{a} * {b}");
            assert_eq!(multiply(decimal(b), decimal(a)).to_string(), expected, "{b} * {a}");
        };
        check("1.20", "2", "2.40");
        check("-3", "0.5", "-1.5");
        check("1.5", "0", "0.0");
        check(
            "9999999999999999999999999999999999",
            "9999999999999999999999999999999999",
            "9.999999999999999999999999999999998E+67",
        );
        check("1E-6176", "0.5", "0E-6176");
        check("3E-6176", "0.5", "2E-6176");
        check("1E-6000", "1E-6000", "0E-6176");
        check("1E+6000", "1E+6000", "Infinity");
        check("Infinity", "-2", "-Infinity");
        check("Infinity", "0", "NaN");
    }

    #[test]
    fn doubles_are_taken_to_15_digits() {
        assert_eq!(from_f64(0.1).to_string(), "0.100000000000000");
        assert_eq!(from_f64(-2.5).to_string(), "-2.50000000000000");
        assert_eq!(from_f64(0.1 + 0.2).to_string(), "0.300000000000000");
        assert_eq!(from_f64(0.0).to_string(), "0");
        assert_eq!(from_f64(f64::NEG_INFINITY).to_string(), "-Infinity");
        assert_eq!(from_f64(f64::NAN).to_string(), "NaN");
        assert_eq!(from_i64(i64::MIN).to_string(), "-9223372036854775808");
    }
}
