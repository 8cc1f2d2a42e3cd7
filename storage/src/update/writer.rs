//! A document in the making, written front to back.

use std::ops::Range;

use bson::raw::RawDocumentBuf;
use bson::spec::ElementType;

use super::UpdateError;
use super::element::Element;

/// A document in the making.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a document or array; returns where, for `end`.
    pub(super) fn begin(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; size_of::<u32>()]);
        start
    }

    pub(super) fn end(&mut self, start: usize) {
        self.bytes.push(0);
        // Far below 2^31: a document has its limit, and a diff is no larger than one and its update.
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn copy(&mut self, element: &Element<'_>) {
        self.bytes.extend_from_slice(element.whole);
    }

    /// Writes type and name of an element; returns where its value is to begin.
    pub(super) fn head(&mut self, name: &str, kind: ElementType) -> usize {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.bytes.len()
    }

    /// Writes an element; returns where its value begins.
    pub(super) fn put(&mut self, name: &str, kind: ElementType, value: &[u8]) -> usize {
        let start = self.head(name, kind);
        self.bytes.extend_from_slice(value);
        start
    }

    /// What was written from `start` on.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        &self.bytes[start..]
    }

    /// What was written between two places.
    pub(super) fn range(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// The type of the element that was written at `start`.
    pub(super) fn kind_at(&self, start: usize) -> ElementType {
        ElementType::from(self.bytes[start]).expect("this writer wrote a type there")
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was written from `start` on.
    pub(super) fn truncate(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    /// The document, after its `end`.
    pub(super) fn finish(self) -> Result<RawDocumentBuf, UpdateError> {
        Ok(RawDocumentBuf::from_bytes(self.bytes)?)
    }
}
