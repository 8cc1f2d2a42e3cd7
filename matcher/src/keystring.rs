//! Index keys: values as bytes that sort the way the values do.
//!
//! Promises, each of them property-tested against [`compare`](crate::compare):
//!
//! - `encode_key(a) < encode_key(b)` as bytes exactly when `compare(a, b)` is less;
//! - equal values have equal keys, whatever their type: `1`, `1.0`, `NumberLong(1)` and
//!   `NumberDecimal("1.00")` are one key. So a key cannot be turned back into its value;
//! - no key is a prefix of another, so keys can be written one after the other as a compound key,
//!   and inverting every byte of a key ([`encode_key_descending`]) reverses the order.
//!
//! # Format
//!
//! A class byte, then by class:
//!
//! | class | bytes |
//! |---|---|
//! | number | 8: the largest double not above the number, order-preserving, big-endian; all zero for NaN. Then `00` when that double is the number, else `01` and 18 bytes of decimal |
//! | string, symbol, code | UTF-8 with `00` written `00 ff`, ended by `00 00` |
//! | document | per element: class, name, `00`, the value without its class; then `00` |
//! | array | per element: class, the value without its class; then `00` |
//! | binary | length (8), subtype (1), content |
//! | ObjectId, bool | as they are |
//! | date | 8, biased so that negative comes first |
//! | timestamp | seconds (4), increment (4) |
//! | regex | pattern, `00`, options, `00` |
//! | DBPointer | length (8), content |
//! | code with scope | as code, then as document |
//! | MinKey, undefined, null, MaxKey | nothing |
//!
//! The 18 bytes of decimal say the whole number over again: a biased power of ten (2) and 34 digits
//! (16), inverted when negative. Only integers beyond 2^53 and decimals that no double can hold
//! need them. Repeating the number rather than storing the distance to the double keeps the key
//! canonical without arithmetic on fractions.
//!
//! The bytes are a stored format; tests pin examples.

use bson::{RawArray, RawBsonRef, RawDocument};

use crate::collation::Collation;
use crate::compare::{self, Class};
use crate::decimal::Finite;
use crate::elements::{self, Elements};
use crate::number::Number;
use crate::validate::DEPTH_MAX;

/// Integers up to this are doubles.
pub(crate) const EXACT_MAX: u64 = 1 << 53;

/// A value's key, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyString(Vec<u8>);

impl KeyString {
    /// The key of one value.
    pub fn new(value: RawBsonRef<'_>) -> KeyString {
        KeyString::compound([value])
    }

    /// The keys of several values, one after the other.
    pub fn compound<'a>(values: impl IntoIterator<Item = RawBsonRef<'a>>) -> KeyString {
        let mut bytes = Vec::with_capacity(16);
        for value in values {
            encode_key(value, &mut bytes);
        }
        KeyString(bytes)
    }

    /// The bytes to store and to compare.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for KeyString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Appends the key of `value` to `out`.
pub fn encode_key(value: RawBsonRef<'_>, out: &mut Vec<u8>) {
    encode_with(value, out, None);
}

/// The class of `value`: the first byte of its key, the same for all values that a comparison can find
/// equal.
pub fn key_class(value: RawBsonRef<'_>) -> u8 {
    Class::of(value) as u8
}

/// The first eight bytes behind the class in the key of `value`, as a number, filled up with zeros: it sorts values of one
/// class as their keys do, as far as eight bytes tell them apart. Cheaper than the key.
///
/// `scratch` is overwritten where there is no other way than to write the key.
#[inline]
pub fn key_place(value: RawBsonRef<'_>, scratch: &mut Vec<u8>) -> u64 {
    match value {
        RawBsonRef::Int32(number) => ordered_bits(f64::from(number)),
        RawBsonRef::Int64(number) if number.unsigned_abs() <= EXACT_MAX => ordered_bits(number as f64),
        RawBsonRef::DateTime(date) => date.timestamp_millis() as u64 ^ (1 << 63),
        _ => {
            scratch.clear();
            encode_key(value, scratch);
            let mut place = [0; 8];
            let key = scratch.get(1..).unwrap_or(&[]);
            let length = key.len().min(8);
            place[..length].copy_from_slice(&key[..length]);
            u64::from_be_bytes(place)
        }
    }
}

/// As [`encode_key`], strings by the collation.
pub(crate) fn encode_with(value: RawBsonRef<'_>, out: &mut Vec<u8>, collation: Option<&Collation>) {
    let class = Class::of(value);
    out.push(class as u8);
    encode_content(value, out, 0, collation);
}

/// Appends the key of `value` for an index that descends in this field: larger values have smaller
/// keys.
pub fn encode_key_descending(value: RawBsonRef<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    encode_key(value, out);
    for byte in &mut out[start..] {
        *byte = !*byte;
    }
}

fn encode_content(value: RawBsonRef<'_>, out: &mut Vec<u8>, depth: usize, collation: Option<&Collation>) {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => match collation {
            None => encode_escaped(text.as_bytes(), out),
            Some(collation) => {
                let mut key = Vec::with_capacity(text.len() * 2);
                collation.sort_key(text, &mut key);
                encode_escaped(&key, out);
            }
        },
        RawBsonRef::JavaScriptCode(text) => encode_escaped(text.as_bytes(), out),
        RawBsonRef::Document(document) => encode_document(document, out, depth, collation),
        RawBsonRef::Array(array) => encode_array(array, out, depth, collation),
        RawBsonRef::Binary(binary) => {
            let (length, subtype, content) = compare::binary_parts(&binary);
            out.extend_from_slice(&length.to_be_bytes());
            out.push(subtype);
            out.extend_from_slice(content);
        }
        RawBsonRef::ObjectId(id) => out.extend_from_slice(&id.bytes()),
        RawBsonRef::Boolean(value) => out.push(u8::from(value)),
        RawBsonRef::DateTime(date) => {
            let biased = date.timestamp_millis() as u64 ^ (1 << 63);
            out.extend_from_slice(&biased.to_be_bytes());
        }
        RawBsonRef::Timestamp(timestamp) => {
            out.extend_from_slice(&timestamp.time.to_be_bytes());
            out.extend_from_slice(&timestamp.increment.to_be_bytes());
        }
        RawBsonRef::RegularExpression(regex) => {
            for part in [regex.pattern.as_str(), regex.options.as_str()] {
                out.extend_from_slice(part.as_bytes());
                out.push(0);
            }
        }
        RawBsonRef::DbPointer(_) => {
            let (length, content) = compare::db_pointer_parts(value);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&content);
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            encode_escaped(code.code.as_bytes(), out);
            encode_document(code.scope, out, depth, collation);
        }
        RawBsonRef::MinKey | RawBsonRef::Undefined | RawBsonRef::Null | RawBsonRef::MaxKey => {}
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
            if let Some(number) = Number::from_bson(value) {
                encode_number(number, out);
            }
        }
    }
}

fn encode_document(document: &RawDocument, out: &mut Vec<u8>, depth: usize, collation: Option<&Collation>) {
    if depth >= DEPTH_MAX {
        return encode_escaped(document.as_bytes(), out);
    }
    let mut elements = Elements::new(document);
    while let Some((element, value)) = elements.next_value() {
        out.push(Class::of(value) as u8);
        out.extend_from_slice(element.name);
        out.push(0);
        encode_content(value, out, depth + 1, collation);
    }
    out.push(0);
}

fn encode_array(array: &RawArray, out: &mut Vec<u8>, depth: usize, collation: Option<&Collation>) {
    if depth >= DEPTH_MAX {
        return encode_escaped(array.as_bytes(), out);
    }
    if let Some(mut elements) = elements::of_array(array) {
        while let Some((_, value)) = elements.next_value() {
            out.push(Class::of(value) as u8);
            encode_content(value, out, depth + 1, collation);
        }
    }
    out.push(0);
}

fn encode_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn encode_number(number: Number, out: &mut Vec<u8>) {
    if number.is_nan() {
        // Below minus infinity, whose form begins with a zero byte as well but does not end so.
        return out.extend_from_slice(&[0; 9]);
    }
    let (floor, rest) = number.floor();
    out.extend_from_slice(&ordered_bits(floor).to_be_bytes());
    match rest {
        None => out.push(0),
        Some(rest) => {
            out.push(1);
            encode_decimal(rest, out);
        }
    }
}

/// The bits of a number that is not NaN, in an order that is that of the numbers.
#[inline]
pub(crate) fn ordered_bits(number: f64) -> u64 {
    // Adding zero turns -0 into 0.
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn encode_decimal(value: Finite, out: &mut Vec<u8>) {
    // Exponents of 34-digit coefficients range from -6209 to 6111.
    let exponent = (value.exponent + 0x4000) as u16;
    let start = out.len();
    out.extend_from_slice(&exponent.to_be_bytes());
    out.extend_from_slice(&value.coefficient.to_be_bytes());
    if value.negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}
