//! Constants in filter text.

use bson::oid::ObjectId;
use bson::{DateTime, RawBson};

use super::error::FilterErrorKind as Kind;

/// Reads a number: a 32-bit integer if it fits, else 64-bit, else a double.
///
/// `None` for text that is no number in plain decimal notation, and for numbers beyond all doubles,
/// which would silently become infinite.
pub(super) fn number(text: &str) -> Option<RawBson> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(unsigned) {
        if let Ok(int) = text.parse::<i32>() {
            return Some(RawBson::Int32(int));
        }
        if let Ok(int) = text.parse::<i64>() {
            return Some(RawBson::Int64(int));
        }
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let plain = digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|part| digits(part.strip_prefix(['-', '+']).unwrap_or(part)));
    let double = if plain {
        text.parse::<f64>().ok()?
    } else {
        return None;
    };
    double.is_finite().then_some(RawBson::Double(double))
}

/// Reads the text in `date("…")`.
pub(super) fn date(text: &str) -> Result<RawBson, Kind> {
    match DateTime::parse_rfc3339_str(text) {
        Ok(date) => Ok(RawBson::DateTime(date)),
        Err(_) => Err(Kind::Date { found: text.to_owned() }),
    }
}

/// Reads the text in `ObjectId("…")`.
pub(super) fn object_id(text: &str) -> Result<RawBson, Kind> {
    match ObjectId::parse_str(text) {
        Ok(id) => Ok(RawBson::ObjectId(id)),
        Err(_) => Err(Kind::ObjectId { found: text.to_owned() }),
    }
}
