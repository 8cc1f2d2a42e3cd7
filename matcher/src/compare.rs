//! MongoDB's comparison order over all BSON values.
//!
//! Values are first ordered by their class (numbers are one class, strings and symbols another) and
//! inside a class by value. The order is total: sorting, range predicates, secondary indexes and
//! `$in` all lean on it, and [`encode_key`](crate::encode_key) yields bytes in the same order.
//!
//! - Documents compare field by field: class of the value, then field name, then value; so field
//!   order matters. A document that is a prefix of another comes first.
//! - Arrays compare element by element, without names.
//! - Binary data compares by length, then subtype, then content.
//!
//! Nothing is allocated, save for the long deprecated DBPointer, whose parts `bson` shows to nobody.
//! Bytes nested deeper than a valid document can be ([`DEPTH_MAX`](crate::DEPTH_MAX)) are compared
//! as bytes, so that hostile nesting cannot exhaust the stack; malformed documents compare by the
//! part that can be read.

use std::cmp::Ordering;

use bson::raw::RawBinaryRef;
use bson::spec::BinarySubtype;
use bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::collation::Collation;
use crate::elements::{self, Elements};
use crate::number::Number;
use crate::validate::DEPTH_MAX;

/// The classes of the order, in order. The numbers are the leading bytes of index keys: they are
/// part of a stored format, greater than zero, and spaced for the sake of later types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Class {
    MinKey = 0x08,
    Undefined = 0x10,
    Null = 0x18,
    Number = 0x20,
    String = 0x28,
    Document = 0x30,
    Array = 0x38,
    Binary = 0x40,
    ObjectId = 0x48,
    Boolean = 0x50,
    Date = 0x58,
    Timestamp = 0x60,
    Regex = 0x68,
    DbPointer = 0x70,
    Code = 0x78,
    CodeWithScope = 0x80,
    MaxKey = 0xf0,
}

impl Class {
    #[inline]
    pub(crate) fn of(value: RawBsonRef<'_>) -> Class {
        match value {
            RawBsonRef::MinKey => Class::MinKey,
            RawBsonRef::Undefined => Class::Undefined,
            RawBsonRef::Null => Class::Null,
            RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
                Class::Number
            }
            RawBsonRef::String(_) | RawBsonRef::Symbol(_) => Class::String,
            RawBsonRef::Document(_) => Class::Document,
            RawBsonRef::Array(_) => Class::Array,
            RawBsonRef::Binary(_) => Class::Binary,
            RawBsonRef::ObjectId(_) => Class::ObjectId,
            RawBsonRef::Boolean(_) => Class::Boolean,
            RawBsonRef::DateTime(_) => Class::Date,
            RawBsonRef::Timestamp(_) => Class::Timestamp,
            RawBsonRef::RegularExpression(_) => Class::Regex,
            RawBsonRef::DbPointer(_) => Class::DbPointer,
            RawBsonRef::JavaScriptCode(_) => Class::Code,
            RawBsonRef::JavaScriptCodeWithScope(_) => Class::CodeWithScope,
            RawBsonRef::MaxKey => Class::MaxKey,
        }
    }
}

/// Compares two values in MongoDB's order.
///
/// ```
/// use std::cmp::Ordering;
/// use bson::RawBsonRef;
/// use tailwater_matcher::compare;
///
/// assert_eq!(compare(RawBsonRef::Int32(1), RawBsonRef::Double(1.0)), Ordering::Equal);
/// assert_eq!(compare(RawBsonRef::Int32(9), RawBsonRef::String("1")), Ordering::Less);
/// ```
#[inline]
pub fn compare(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
    compare_at(a, b, 0, None)
}

/// As [`compare`], strings by the collation.
#[inline]
pub(crate) fn compare_with(a: RawBsonRef<'_>, b: RawBsonRef<'_>, collation: Option<&Collation>) -> Ordering {
    compare_at(a, b, 0, collation)
}

fn compare_at(a: RawBsonRef<'_>, b: RawBsonRef<'_>, depth: usize, collation: Option<&Collation>) -> Ordering {
    use RawBsonRef as B;
    match (a, b) {
        (B::Int32(a), B::Int32(b)) => a.cmp(&b),
        (B::String(a) | B::Symbol(a), B::String(b) | B::Symbol(b)) => match collation {
            None => a.cmp(b),
            Some(collation) => collation.compare(a, b),
        },
        (B::Document(a), B::Document(b)) => documents(a, b, depth, collation),
        (B::Array(a), B::Array(b)) => arrays(a, b, depth, collation),
        (B::Binary(a), B::Binary(b)) => binary_parts(&a).cmp(&binary_parts(&b)),
        (B::ObjectId(a), B::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
        (B::Boolean(a), B::Boolean(b)) => a.cmp(&b),
        (B::DateTime(a), B::DateTime(b)) => a.timestamp_millis().cmp(&b.timestamp_millis()),
        (B::Timestamp(a), B::Timestamp(b)) => (a.time, a.increment).cmp(&(b.time, b.increment)),
        (B::RegularExpression(a), B::RegularExpression(b)) => (a.pattern, a.options).cmp(&(b.pattern, b.options)),
        (B::DbPointer(_), B::DbPointer(_)) => db_pointer_parts(a).cmp(&db_pointer_parts(b)),
        (B::JavaScriptCode(a), B::JavaScriptCode(b)) => a.cmp(b),
        (B::JavaScriptCodeWithScope(a), B::JavaScriptCodeWithScope(b)) => a
            .code
            .cmp(b.code)
            .then_with(|| documents(a.scope, b.scope, depth, collation)),
        _ => match (Number::from_bson(a), Number::from_bson(b)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => Class::of(a).cmp(&Class::of(b)),
        },
    }
}

fn documents(a: &RawDocument, b: &RawDocument, depth: usize, collation: Option<&Collation>) -> Ordering {
    if depth >= DEPTH_MAX {
        return a.as_bytes().cmp(b.as_bytes());
    }
    elementwise(Elements::new(a), Elements::new(b), depth, true, collation)
}

fn arrays(a: &RawArray, b: &RawArray, depth: usize, collation: Option<&Collation>) -> Ordering {
    if depth >= DEPTH_MAX {
        return a.as_bytes().cmp(b.as_bytes());
    }
    match (elements::of_array(a), elements::of_array(b)) {
        (Some(a), Some(b)) => elementwise(a, b, depth, false, collation),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn elementwise(
    mut a: Elements<'_>,
    mut b: Elements<'_>,
    depth: usize,
    names: bool,
    collation: Option<&Collation>,
) -> Ordering {
    loop {
        let ((left, left_value), (right, right_value)) = match (a.next_value(), b.next_value()) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return left.is_some().cmp(&right.is_some()),
        };
        let classes = Class::of(left_value).cmp(&Class::of(right_value));
        let order = classes
            .then_with(|| {
                if names {
                    left.name.cmp(right.name)
                } else {
                    Ordering::Equal
                }
            })
            .then_with(|| compare_at(left_value, right_value, depth + 1, collation));
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Length as stored, subtype, content: the order in which binary values are compared.
pub(crate) fn binary_parts<'a>(binary: &RawBinaryRef<'a>) -> (u64, u8, &'a [u8]) {
    // The old generic subtype stores its length twice, and the stored length counts.
    let again = if binary.subtype == BinarySubtype::BinaryOld {
        4
    } else {
        0
    };
    (binary.bytes.len() as u64 + again, binary.subtype.into(), binary.bytes)
}

/// The stored bytes of a DBPointer's value, led by their length as MongoDB compares it.
///
/// Encoding the value is the only way to read it.
#[cold]
pub(crate) fn db_pointer_parts(value: RawBsonRef<'_>) -> (u64, Vec<u8>) {
    let mut document = RawDocumentBuf::new();
    document.append(bson::raw::cstr!(""), value);
    // Length, type and an empty name before; the document's end after.
    let bytes = document.as_bytes();
    let content = bytes.get(6 + 4..bytes.len() - 1).unwrap_or_default();
    (content.len() as u64, content.to_vec())
}
