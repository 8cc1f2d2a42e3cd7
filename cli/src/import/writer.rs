//! BSON bytes, appended to one buffer.
//!
//! Nested documents are written in place and get their length when they end, so
//! that a document of any shape costs no buffer of its own.
//!
//! Lengths are 32-bit in BSON. The parser keeps the buffer below that: it stops
//! at the largest document, and no single value is longer than the text limit.

use bson::spec::ElementType;

use super::reader::TEXT_BYTES_MAX;

#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

/// The place of a length that is not known yet.
#[must_use]
pub(super) struct Open(usize);

/// The place of a type byte that is not known yet: only the first key of an
/// object says whether it is a document.
#[must_use]
pub(super) struct Element(usize);

const LENGTH_BYTES: usize = size_of::<i32>();

const _: () = assert!(
    TEXT_BYTES_MAX + super::parser::DOCUMENT_BYTES_MAX < (i32::MAX / 2) as usize,
    "a length must fit 32 bits before the limits are checked"
);

impl Writer {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a document, an array or another value that starts with its own
    /// length.
    pub(super) fn begin(&mut self) -> Open {
        let open = Open(self.bytes.len());
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        open
    }

    /// Ends a document or an array.
    pub(super) fn end_document(&mut self, open: &Open) {
        self.bytes.push(0);
        self.end(open);
    }

    /// Ends a value that has a length and no terminator.
    pub(super) fn end(&mut self, open: &Open) {
        let length = length(self.bytes.len() - open.0);
        self.bytes[open.0..open.0 + LENGTH_BYTES].copy_from_slice(&length);
    }

    /// Takes back the length of a value that turned out to have none.
    pub(super) fn unbegin(&mut self, open: &Open) {
        self.bytes.drain(open.0..open.0 + LENGTH_BYTES);
    }

    /// Moves what was written since `middle` before what was written since
    /// `open` began.
    pub(super) fn swap_parts(&mut self, open: &Open, middle: usize) {
        let parts = open.0 + LENGTH_BYTES;
        self.bytes[parts..].rotate_left(middle - parts);
    }

    /// Begins a field. The name must hold no NUL.
    pub(super) fn begin_field(&mut self, name: &str) -> Element {
        let element = Element(self.bytes.len());
        self.bytes.push(0);
        self.cstring(name);
        element
    }

    /// Begins an element of an array, whose name is its index.
    pub(super) fn begin_item(&mut self, index: usize) -> Element {
        let element = Element(self.bytes.len());
        self.bytes.push(0);
        let digits = self.bytes.len();
        let mut rest = index;
        loop {
            self.bytes.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes[digits..].reverse();
        self.bytes.push(0);
        element
    }

    /// Ends a field or an element of an array: its value has been written.
    pub(super) fn end_element(&mut self, element: &Element, element_type: ElementType) {
        self.bytes[element.0] = element_type as u8;
    }

    pub(super) fn string(&mut self, value: &str) {
        self.bytes.extend_from_slice(&length(value.len() + 1));
        self.cstring(value);
    }

    /// Text that a NUL ends.
    pub(super) fn cstring(&mut self, value: &str) {
        self.raw(value.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn binary(&mut self, subtype: u8, value: &[u8]) {
        /// The old generic subtype repeats its length inside.
        const SUBTYPE_OLD: u8 = 2;
        if subtype == SUBTYPE_OLD {
            self.raw(&length(value.len() + LENGTH_BYTES));
            self.bytes.push(subtype);
            self.raw(&length(value.len()));
        } else {
            self.raw(&length(value.len()));
            self.bytes.push(subtype);
        }
        self.raw(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes have been written.
    pub(super) fn position(&self) -> usize {
        self.bytes.len()
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    debug_assert!(i32::try_from(bytes).is_ok());
    (bytes as i32).to_le_bytes()
}
