//! A walker over the elements of a raw document.
//!
//! Finding one field among a dozen is the hottest loop of this crate: it runs for every log entry
//! and every predicate. The `bson` crate's own iterator checks each name for UTF-8 and each nested
//! document's frame on the way; this one reads only what it needs to step over an element, and
//! decodes a value only when asked for it.
//!
//! Invariants: every read is bounds-checked and a malformed element ends the walk, so hostile bytes
//! cannot cause a panic, an allocation or an endless loop; the rest of such a document counts as
//! absent. A value that is malformed inside (bad UTF-8, a boolean of 7) is absent too.

use bson::oid::ObjectId;
use bson::raw::{RawBinaryRef, RawIter, RawJavaScriptCodeWithScopeRef, RawRegexRef};
use bson::spec::{BinarySubtype, ElementType};
use bson::{DateTime, Decimal128, RawArray, RawBsonRef, RawDocument, Timestamp};
use serde::Deserialize;
use serde::de::value::{BorrowedBytesDeserializer, Error as BytesError};

use crate::compare::Class;
use crate::keystring::{EXACT_MAX, ordered_bits};
use crate::steps;

/// One element: its type, its name and the undecoded bytes of its value.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) kind: u8,
    pub(crate) name: &'a [u8],
    bytes: &'a [u8],
    index: usize,
}

/// Walks the elements of one document in order.
pub(crate) struct Elements<'a> {
    document: &'a RawDocument,
    offset: usize,
    index: usize,
    /// See [`Elements::db_pointer`].
    trail: Option<(RawIter<'a>, usize)>,
}

impl<'a> Elements<'a> {
    pub(crate) fn new(document: &'a RawDocument) -> Self {
        Elements {
            document,
            offset: 4,
            index: 0,
            trail: None,
        }
    }

    /// Decodes `element`, which must come from this walk.
    pub(crate) fn value(&mut self, element: &Element<'a>) -> Option<RawBsonRef<'a>> {
        if element.kind == ElementType::DbPointer as u8 {
            return self.db_pointer(element.index);
        }
        element.decode()
    }

    /// The next element whose value decodes, with that value; the walk ends at the first that
    /// does not.
    pub(crate) fn next_value(&mut self) -> Option<(Element<'a>, RawBsonRef<'a>)> {
        let element = self.next()?;
        let value = self.value(&element)?;
        Some((element, value))
    }

    /// Decodes the DBPointer at `index`.
    ///
    /// `bson` does not let others build a value of this deprecated type, so its own iterator has
    /// to. That iterator trails this one and never starts over, which keeps a document full of
    /// DBPointers linear.
    #[cold]
    fn db_pointer(&mut self, index: usize) -> Option<RawBsonRef<'a>> {
        let document = self.document;
        let (iter, at) = self.trail.get_or_insert_with(|| (document.iter_elements(), 0));
        let element = iter.nth(index.checked_sub(*at)?)?.ok()?;
        *at = index + 1;
        element.value().ok()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let rest = self.document.as_bytes().get(self.offset..)?;
        let (&kind, rest) = rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let name_len = zero_at(rest)?;
        let (name, rest) = (&rest[..name_len], &rest[name_len + 1..]);
        let size = value_size(kind, rest)?;
        let bytes = rest.get(..size)?;
        let element = Element {
            kind,
            name,
            bytes,
            index: self.index,
        };
        self.offset += 1 + name_len + 1 + size;
        self.index += 1;
        Some(element)
    }
}

impl<'a> Element<'a> {
    /// The commonest types first: what is behind them is a call.
    #[inline]
    fn decode(&self) -> Option<RawBsonRef<'a>> {
        const STRING: u8 = ElementType::String as u8;
        const INT32: u8 = ElementType::Int32 as u8;
        const INT64: u8 = ElementType::Int64 as u8;
        const DOUBLE: u8 = ElementType::Double as u8;
        let bytes = self.bytes;
        match self.kind {
            STRING => text(bytes).map(RawBsonRef::String),
            INT32 => Some(RawBsonRef::Int32(i32::from_le_bytes(bytes.try_into().ok()?))),
            INT64 => Some(RawBsonRef::Int64(i64::from_le_bytes(bytes.try_into().ok()?))),
            DOUBLE => Some(RawBsonRef::Double(f64::from_le_bytes(bytes.try_into().ok()?))),
            _ => self.decode_other(),
        }
    }

    fn decode_other(&self) -> Option<RawBsonRef<'a>> {
        let bytes = self.bytes;
        Some(match ElementType::from(self.kind)? {
            ElementType::EmbeddedDocument => RawBsonRef::Document(RawDocument::from_bytes(bytes).ok()?),
            ElementType::Array => RawBsonRef::Array(array(bytes)?),
            ElementType::Binary => RawBsonRef::Binary(binary(bytes)?),
            ElementType::Undefined => RawBsonRef::Undefined,
            ElementType::ObjectId => RawBsonRef::ObjectId(ObjectId::from_bytes(bytes.try_into().ok()?)),
            ElementType::Boolean => RawBsonRef::Boolean(match bytes {
                [0] => false,
                [1] => true,
                _ => return None,
            }),
            ElementType::DateTime => {
                RawBsonRef::DateTime(DateTime::from_millis(i64::from_le_bytes(bytes.try_into().ok()?)))
            }
            ElementType::Null => RawBsonRef::Null,
            ElementType::RegularExpression => {
                let (pattern, rest) = cstring(bytes)?;
                let (options, _) = cstring(rest)?;
                RawBsonRef::RegularExpression(RawRegexRef {
                    pattern: pattern.try_into().ok()?,
                    options: options.try_into().ok()?,
                })
            }
            // Decoded by `Elements::value`, and by `decode`.
            ElementType::DbPointer => return None,
            ElementType::String | ElementType::Int32 | ElementType::Int64 | ElementType::Double => return None,
            ElementType::JavaScriptCode => RawBsonRef::JavaScriptCode(text(bytes)?),
            ElementType::Symbol => RawBsonRef::Symbol(text(bytes)?),
            ElementType::JavaScriptCodeWithScope => {
                let (code, scope) = bytes.get(4..)?.split_at_checked(text_size(bytes.get(4..)?)?)?;
                RawBsonRef::JavaScriptCodeWithScope(RawJavaScriptCodeWithScopeRef {
                    code: text(code)?,
                    scope: RawDocument::from_bytes(scope).ok()?,
                })
            }
            ElementType::Timestamp => {
                let bits = u64::from_le_bytes(bytes.try_into().ok()?);
                RawBsonRef::Timestamp(Timestamp {
                    time: (bits >> 32) as u32,
                    increment: bits as u32,
                })
            }
            ElementType::Decimal128 => RawBsonRef::Decimal128(Decimal128::from_bytes(bytes.try_into().ok()?)),
            ElementType::MaxKey => RawBsonRef::MaxKey,
            ElementType::MinKey => RawBsonRef::MinKey,
        })
    }
}

impl<'a> Element<'a> {
    /// An element whose name does not matter.
    #[inline]
    pub(crate) fn of(kind: u8, bytes: &'a [u8]) -> Element<'a> {
        let (name, index) = (&[][..], 0);
        Element {
            kind,
            name,
            bytes,
            index,
        }
    }

    /// Class and place (see [`key_place`](crate::key_place)) of a value that has them at hand; `None` for every other value,
    /// and for one that does not decode.
    #[inline]
    pub(crate) fn place(&self) -> Option<(Class, u64)> {
        const INT32: u8 = ElementType::Int32 as u8;
        const INT64: u8 = ElementType::Int64 as u8;
        const DATE_TIME: u8 = ElementType::DateTime as u8;
        const OBJECT_ID: u8 = ElementType::ObjectId as u8;
        const NULL: u8 = ElementType::Null as u8;
        let eight = || self.bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        Some(match self.kind {
            INT32 => {
                let number = i32::from_le_bytes(*self.bytes.first_chunk()?);
                (Class::Number, ordered_bits(number.into()))
            }
            INT64 => {
                let number = eight()? as i64;
                if number.unsigned_abs() > EXACT_MAX {
                    return None;
                }
                (Class::Number, ordered_bits(number as f64))
            }
            DATE_TIME => (Class::Date, eight()? ^ (1 << 63)),
            OBJECT_ID => (Class::ObjectId, u64::from_be_bytes(*self.bytes.first_chunk()?)),
            NULL => (Class::Null, 0),
            _ => return None,
        })
    }
}

/// The first field of that name, without decoding the others.
#[inline]
pub(crate) fn find<'a>(document: &'a RawDocument, name: &str) -> Option<RawBsonRef<'a>> {
    let mut elements = Elements::new(document);
    while let Some(element) = elements.next() {
        if is_same(element.name, name.as_bytes()) {
            passed(elements.index);
            return elements.value(&element);
        }
    }
    passed(elements.index);
    None
}

/// Counts the elements that were passed over, where they are many: each is a fraction of a step.
#[inline]
fn passed(elements: usize) {
    let steps = steps::for_items(elements) / 8;
    if steps > 0 {
        steps::note(steps);
    }
}

/// Names of one length mostly differ in their first byte, which needs no call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.first() == b.first() && a == b
}

/// The elements of an array, under their positions as names.
pub(crate) fn of_array(array: &RawArray) -> Option<Elements<'_>> {
    Some(Elements::new(RawDocument::from_bytes(array.as_bytes()).ok()?))
}

/// Where the first zero byte is: names are short, so eight at a time and without a call.
#[inline]
fn zero_at(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let eight = u64::from_le_bytes(*eight);
        // The lowest bit set stands at the first zero byte; those above it may be wrong.
        let zeros = eight.wrapping_sub(ONES) & !eight & TOPS;
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    Some(at + bytes[at..].iter().position(|&byte| byte == 0)?)
}

/// How many bytes the value at the head of `rest` takes; `None` when they say nothing sensible.
#[inline]
pub(crate) fn value_size(kind: u8, rest: &[u8]) -> Option<usize> {
    const STRING: u8 = ElementType::String as u8;
    match FIXED_SIZES[usize::from(kind)] {
        // The commonest of them, without a call.
        SIZE_VARIES if kind == STRING => text_size(rest),
        SIZE_VARIES => varying_size(kind, rest),
        size => Some(size.into()),
    }
}

/// What stands in [`FIXED_SIZES`] for types whose values say how long they are, and for bytes that are no type.
const SIZE_VARIES: u8 = u8::MAX;

/// Bytes of the values of a type.
const FIXED_SIZES: [u8; 256] = {
    let mut sizes = [SIZE_VARIES; 256];
    sizes[ElementType::Int32 as usize] = 4;
    sizes[ElementType::Double as usize] = 8;
    sizes[ElementType::Int64 as usize] = 8;
    sizes[ElementType::DateTime as usize] = 8;
    sizes[ElementType::Timestamp as usize] = 8;
    sizes[ElementType::ObjectId as usize] = 12;
    sizes[ElementType::Boolean as usize] = 1;
    sizes[ElementType::Null as usize] = 0;
    sizes[ElementType::Undefined as usize] = 0;
    sizes[ElementType::MinKey as usize] = 0;
    sizes[ElementType::MaxKey as usize] = 0;
    sizes[ElementType::Decimal128 as usize] = 16;
    sizes
};

fn varying_size(kind: u8, rest: &[u8]) -> Option<usize> {
    Some(match ElementType::from(kind)? {
        ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => text_size(rest)?,
        ElementType::EmbeddedDocument | ElementType::Array => length(rest)?.max(5),
        ElementType::Binary => length(rest)?.checked_add(5)?,
        ElementType::DbPointer => text_size(rest)?.checked_add(12)?,
        ElementType::JavaScriptCodeWithScope => length(rest)?.max(14),
        ElementType::RegularExpression => {
            let (pattern, after) = cstring(rest)?;
            let (options, _) = cstring(after)?;
            pattern.len() + options.len() + 2
        }
        _ => return None,
    })
}

#[inline]
fn length(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*bytes)).ok()
}

/// The size of a length-prefixed, NUL-terminated string, prefix included.
#[inline]
fn text_size(bytes: &[u8]) -> Option<usize> {
    length(bytes)?.max(1).checked_add(4)
}

fn text(bytes: &[u8]) -> Option<&str> {
    let (&last, content) = bytes.get(4..)?.split_last()?;
    if last != 0 {
        return None;
    }
    std::str::from_utf8(content).ok()
}

fn cstring(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn array(bytes: &[u8]) -> Option<&RawArray> {
    <&RawArray>::deserialize(BorrowedBytesDeserializer::<BytesError>::new(bytes)).ok()
}

fn binary(bytes: &[u8]) -> Option<RawBinaryRef<'_>> {
    let subtype = BinarySubtype::from(*bytes.get(4)?);
    let mut content = bytes.get(5..)?;
    if subtype == BinarySubtype::BinaryOld {
        // The old generic subtype repeats its length inside.
        if length(content)?.checked_add(4)? != content.len() {
            return None;
        }
        content = &content[4..];
    }
    Some(RawBinaryRef {
        subtype,
        bytes: content,
    })
}
