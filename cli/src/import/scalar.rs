//! The strings inside typed values, understood.
//!
//! Every function is pure and answers `None` to a string it does not accept;
//! what was expected instead stands in the table of
//! [`TypeKey`](super::typed::TypeKey). They are stricter than the parsers below
//! them where those accept spellings that are not Extended JSON.

use std::str::FromStr;

use bson::{DateTime, Decimal128, Uuid, oid::ObjectId};

/// A decimal integer without a plus sign.
pub(super) fn integer<T: FromStr>(text: &str) -> Option<T> {
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Some writers keep the sign of a NaN.
        "-NaN" => Some(-f64::NAN),
        // Refuses the words that the standard library knows besides.
        _ if text.bytes().any(|byte| !is_of_number(byte)) => None,
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

pub(super) fn decimal(text: &str) -> Option<Decimal128> {
    /// More digits than any exponent in range has; beyond them the parser
    /// computes with numbers that it does not guard against overflow.
    const EXPONENT_BYTES_MAX: usize = 9;
    let number = text.bytes().all(is_of_number);
    if number {
        let (coefficient, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let digits = coefficient.strip_prefix(['+', '-']).unwrap_or(coefficient);
        if exponent.len() > EXPONENT_BYTES_MAX || digits.contains(['+', '-']) {
            return None;
        }
        if !digits.contains(|character: char| character.is_ascii_digit()) {
            return None;
        }
    }
    text.parse().ok()
}

pub(super) fn object_id(text: &str) -> Option<[u8; 12]> {
    ObjectId::parse_str(text).ok().map(|id| id.bytes())
}

pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    /// Of the spellings that the parser knows only the hyphenated one has this
    /// length.
    const HYPHENATED_BYTES: usize = 36;
    if text.len() != HYPHENATED_BYTES {
        return None;
    }
    Uuid::parse_str(text).ok().map(Uuid::bytes)
}

/// Milliseconds since 1970; smaller units are cut off.
pub(super) fn date(text: &str) -> Option<i64> {
    let date = DateTime::parse_rfc3339_str(text).ok()?;
    Some(date.timestamp_millis())
}

pub(super) fn subtype(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || text.len() > 2 {
        return None;
    }
    u8::from_str_radix(text, 16).ok()
}

pub(super) fn without_nul(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
}
