//! Exact arithmetic on Decimal128, as far as ordering needs it.
//!
//! The `bson` crate stores a Decimal128 and prints it; it does not compare. Here its bits are taken
//! apart (binary integer decimal encoding, as BSON prescribes) into a sign, a coefficient and a
//! power of ten, and compared with integers and doubles without rounding. Rounding would make
//! `compare` contradict itself: two values could both equal a third and differ from each other.
//!
//! Nothing here allocates: the widest intermediate number fits a fixed array. [`arithmetic`] does.

pub(crate) mod arithmetic;
mod convert;
pub(crate) mod rounding;

use std::cmp::Ordering;

use bson::Decimal128;

/// How many digits a coefficient has at most.
const DIGITS_MAX: i64 = 34;
/// The largest coefficient: 34 nines. Encodings beyond it stand for zero.
const COEFFICIENT_MAX: u128 = 10u128.pow(34) - 1;
const EXPONENT_BIAS: i32 = 6176;
const EXPONENT_MIN: i32 = -EXPONENT_BIAS;
const EXPONENT_MAX: i32 = 6111;

/// What a Decimal128 means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decoded {
    NaN,
    /// Not finite; `true` for minus infinity.
    Infinity(bool),
    /// A finite number; zero always comes as `Finite::ZERO`.
    Finite(Finite),
}

/// `coefficient * 10^exponent`, with the sign apart. The coefficient has exactly 34 digits, so that
/// equal numbers have equal fields, except for zero, whose fields are all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finite {
    pub(crate) negative: bool,
    pub(crate) coefficient: u128,
    pub(crate) exponent: i32,
}

pub(crate) fn decode(value: Decimal128) -> Decoded {
    match split(value) {
        Parts::NaN => Decoded::NaN,
        Parts::Infinity(negative) => Decoded::Infinity(negative),
        Parts::Finite {
            negative,
            coefficient,
            exponent,
        } => Decoded::Finite(Finite::new(negative, coefficient, exponent)),
    }
}

/// A Decimal128 as it is spelled: `1.0` and `1.00` have other parts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parts {
    NaN,
    /// Not finite; `true` for minus infinity.
    Infinity(bool),
    /// `coefficient * 10^exponent`; the coefficient has at most 34 digits.
    Finite {
        negative: bool,
        coefficient: u128,
        exponent: i32,
    },
}

fn split(value: Decimal128) -> Parts {
    let bits = u128::from_le_bytes(value.bytes());
    let negative = bits >> 127 == 1;
    // The five bits after the sign tell special values and the two exponent layouts apart.
    match (bits >> 122) & 0x1f {
        0x1f => Parts::NaN,
        0x1e => Parts::Infinity(negative),
        layout => {
            let exponent = ((bits >> 113) & 0x3fff) as i32 - EXPONENT_BIAS;
            let coefficient = bits & ((1 << 113) - 1);
            // The other layout only spells coefficients above the largest: all of them are zero.
            let zero = layout >= 0x18 || coefficient > COEFFICIENT_MAX;
            Parts::Finite {
                negative,
                coefficient: if zero { 0 } else { coefficient },
                exponent: if zero { 0 } else { exponent },
            }
        }
    }
}

/// The Decimal128 of these parts; `None` when they are out of its range.
fn join(negative: bool, coefficient: u128, exponent: i32) -> Option<Decimal128> {
    let biased = u128::try_from(exponent.checked_add(EXPONENT_BIAS)?).ok()?;
    if coefficient > COEFFICIENT_MAX || exponent > EXPONENT_MAX {
        return None;
    }
    let bits = (u128::from(negative) << 127) | (biased << 113) | coefficient;
    Some(Decimal128::from_bytes(bits.to_le_bytes()))
}

impl Finite {
    pub(crate) const ZERO: Finite = Finite {
        negative: false,
        coefficient: 0,
        exponent: 0,
    };

    /// `coefficient` must have at most 34 digits.
    fn new(negative: bool, coefficient: u128, exponent: i32) -> Finite {
        if coefficient == 0 {
            return Finite::ZERO;
        }
        let shift = 33 - coefficient.ilog10();
        Finite {
            negative,
            coefficient: coefficient * 10u128.pow(shift),
            exponent: exponent - shift as i32,
        }
    }

    pub(crate) fn from_i64(value: i64) -> Finite {
        Finite::new(value < 0, u128::from(value.unsigned_abs()), 0)
    }

    /// The number without its fraction, if that is a 64-bit integer.
    pub(crate) fn truncated(self) -> Option<i64> {
        let power = 10u128.checked_pow(self.exponent.unsigned_abs());
        let magnitude = if self.exponent >= 0 {
            // A coefficient has 34 digits unless it is zero: with more it is beyond 64 bits anyway.
            power.and_then(|power| self.coefficient.checked_mul(power))?
        } else {
            power.map_or(0, |power| self.coefficient / power)
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    /// The decimal of 15 significant digits nearest to a finite double, which is how MongoDB turns
    /// doubles into decimals for arithmetic: `0.1` becomes one tenth.
    pub(crate) fn from_f64(value: f64) -> Option<Finite> {
        let text = format!("{value:.14e}");
        let (digits, exponent) = text.split_once('e')?;
        let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
        let exponent: i32 = exponent.parse().ok()?;
        Some(Finite::new(value < 0.0, digits.parse().ok()?, exponent - 14))
    }

    /// Says whether this number is a whole multiple of `divisor`, which is not zero.
    pub(crate) fn is_multiple_of(self, divisor: Finite) -> bool {
        let (dividend, dividend_exponent) = self.reduced();
        let (divisor, divisor_exponent) = divisor.reduced();
        if divisor == 0 {
            return false;
        }
        let shift = dividend_exponent - divisor_exponent;
        let power = shift.unsigned_abs();
        if shift >= 0 {
            multiply_modulo(dividend % divisor, power_modulo(10, power, divisor), divisor) == 0
        } else {
            // Without trailing zeros, a dividend is no multiple of a number with more of them.
            dividend == 0
        }
    }

    /// Coefficient and exponent without trailing zeros in the coefficient.
    fn reduced(self) -> (u128, i32) {
        let (mut coefficient, mut exponent) = (self.coefficient, self.exponent);
        while coefficient != 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        (coefficient, exponent)
    }

    fn signum(self) -> i32 {
        match (self.coefficient, self.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    pub(crate) fn compare(self, other: Finite) -> Ordering {
        let signs = self.signum().cmp(&other.signum());
        if signs != Ordering::Equal {
            return signs;
        }
        let size = self
            .exponent
            .cmp(&other.exponent)
            .then(self.coefficient.cmp(&other.coefficient));
        if self.negative { size.reverse() } else { size }
    }

    /// Exact comparison with a double that is not NaN.
    pub(crate) fn compare_f64(self, other: f64) -> Ordering {
        let nearest = self.nearest_f64();
        // Rounding to nearest is monotone: when it already tells the two apart, it is right.
        if nearest != other {
            return nearest.total_cmp(&other);
        }
        if other == 0.0 {
            return self.signum().cmp(&0);
        }
        if other.is_infinite() {
            // Rounding overflowed; a finite number is nearer to zero than any infinity.
            return if self.negative {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        }
        let size = self.compare_magnitude(other.abs());
        if self.negative { size.reverse() } else { size }
    }

    /// The largest double that is not above this number; minus infinity below all doubles.
    pub(crate) fn floor_f64(self) -> f64 {
        let nearest = self.nearest_f64();
        if self.compare_f64(nearest) == Ordering::Less {
            nearest.next_down()
        } else {
            nearest
        }
    }

    /// The nearest double; infinite when out of range.
    fn nearest_f64(self) -> f64 {
        if self.coefficient == 0 {
            return 0.0;
        }
        // The standard library's parser rounds correctly; this writes `-<digits>e<exponent>` for it.
        let mut buffer = [0u8; 48];
        let mut start = buffer.len();
        let mut push = |byte: u8| {
            start -= 1;
            buffer[start] = byte;
        };
        push_digits(&mut push, u128::from(self.exponent.unsigned_abs()));
        if self.exponent < 0 {
            push(b'-');
        }
        push(b'e');
        push_digits(&mut push, self.coefficient);
        if self.negative {
            push(b'-');
        }
        std::str::from_utf8(&buffer[start..])
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    }

    /// Compares the absolute value with `other`, finite, positive and within a factor of two of it.
    fn compare_magnitude(self, other: f64) -> Ordering {
        let bits = other.to_bits();
        let (mantissa, power) = match (bits >> 52) as i32 {
            0 => (bits, -1074),
            biased => ((bits & ((1 << 52) - 1)) | (1 << 52), biased - 1075),
        };
        // coefficient * 5^e * 2^e against mantissa * 2^power, everything moved to where it is whole.
        let mut left = Wide::new(self.coefficient);
        let mut right = Wide::new(u128::from(mantissa));
        let fives = if self.exponent >= 0 { &mut left } else { &mut right };
        fives.multiply_by_5(self.exponent.unsigned_abs());
        let shift = self.exponent - power;
        let twos = if shift >= 0 { &mut left } else { &mut right };
        twos.shift_left(shift.unsigned_abs());
        left.compare(&right)
    }
}

/// `a * b` modulo `modulus`; all of them have at most 34 digits, so doubling never overflows.
fn multiply_modulo(mut a: u128, mut b: u128, modulus: u128) -> u128 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product = (product + a) % modulus;
        }
        a = (a * 2) % modulus;
        b >>= 1;
    }
    product
}

fn power_modulo(base: u128, mut exponent: u32, modulus: u128) -> u128 {
    let (mut base, mut power) = (base % modulus, 1 % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = multiply_modulo(power, base, modulus);
        }
        base = multiply_modulo(base, base, modulus);
        exponent >>= 1;
    }
    power
}

fn push_digits(push: &mut impl FnMut(u8), mut value: u128) {
    loop {
        push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            return;
        }
    }
}

/// An unsigned number of up to 2048 bits, little end first.
///
/// Both sides of a comparison are near each other in size. The smallest double is about 10^-324;
/// against it a 34-digit coefficient has an exponent of -357, and 5^357 takes 829 bits more
/// than a mantissa's 53. The largest double has 1024 bits. So nothing comes near the limit.
struct Wide([u64; 32]);

impl Wide {
    fn new(value: u128) -> Wide {
        let mut words = [0; 32];
        words[0] = value as u64;
        words[1] = (value >> 64) as u64;
        Wide(words)
    }

    fn multiply_by_5(&mut self, times: u32) {
        let mut left = times;
        while left > 0 {
            // 5^27 is the largest power that fits a word.
            let step = left.min(27);
            self.multiply(5u64.pow(step));
            left -= step;
        }
    }

    fn multiply(&mut self, by: u64) {
        let mut carry = 0u128;
        for word in &mut self.0 {
            let product = u128::from(*word) * u128::from(by) + carry;
            *word = product as u64;
            carry = product >> 64;
        }
        debug_assert_eq!(carry, 0, "the operands were not of similar size");
    }

    fn shift_left(&mut self, bits: u32) {
        let (words, bits) = ((bits / 64) as usize, bits % 64);
        for at in (0..self.0.len()).rev() {
            let low = at.checked_sub(words).map_or(0, |from| self.0[from]);
            let below = at.checked_sub(words + 1).map_or(0, |from| self.0[from]);
            // Shifting by 64 is not defined, so the borrowed bits come in two steps.
            self.0[at] = (low << bits) | ((below >> 1) >> (63 - bits));
        }
    }

    fn compare(&self, other: &Wide) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}
