//! Writing a report that may not grow beyond a size.

use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use super::MISMATCH_BYTES_MAX;
use crate::render;

/// What an entry takes beside its names and values.
const ENTRY_BYTES: usize = 64;

/// What is left of a report's size.
#[derive(Debug)]
pub(super) struct Report {
    left: usize,
    /// Whether values are left out from the beginning.
    terse: bool,
    cut: bool,
}

impl Report {
    pub(super) fn whole() -> Report {
        Report {
            left: MISMATCH_BYTES_MAX,
            terse: false,
            cut: false,
        }
    }

    pub(super) fn terse() -> Report {
        Report {
            terse: true,
            ..Report::whole()
        }
    }

    /// Whether something had no room.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.cut |= left.is_none();
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// An entry about an operator or a keyword.
    pub(super) fn entry(&mut self, operator: &str) -> RawDocumentBuf {
        let mut entry = RawDocumentBuf::new();
        self.text(&mut entry, cstr!("operatorName"), operator);
        entry
    }

    /// A name or a reason.
    pub(super) fn text(&mut self, entry: &mut RawDocumentBuf, name: &CStr, text: &str) {
        if self.take(text.len()) {
            entry.append(name, text);
        }
    }

    /// A condition as it was written, or a value that was considered.
    pub(super) fn value(&mut self, entry: &mut RawDocumentBuf, name: &CStr, value: RawBsonRef<'_>) {
        if !self.terse && self.take(bytes_of(value)) {
            entry.append(name, value);
        }
    }

    /// `specifiedAs`, with one field.
    pub(super) fn specified(&mut self, entry: &mut RawDocumentBuf, name: &str, value: RawBsonRef<'_>) {
        if !self.terse && self.take(name.len() + bytes_of(value)) {
            let mut specified = RawDocumentBuf::new();
            render::append(&mut specified, name, value);
            entry.append(cstr!("specifiedAs"), specified);
        }
    }

    /// What a schema says of itself.
    pub(super) fn annotations(&mut self, entry: &mut RawDocumentBuf, schema: &RawDocument) {
        for name in [cstr!("title"), cstr!("description")] {
            if let Ok(Some(RawBsonRef::String(text))) = schema.get(name) {
                self.text(entry, name, text);
            }
        }
    }

    /// Adds an entry to a list, if there is room.
    pub(super) fn push(&mut self, list: &mut RawArrayBuf, entry: RawDocumentBuf) {
        if self.take(ENTRY_BYTES) {
            list.push(entry);
        }
    }

    /// Whether there is no room for a further entry.
    pub(super) fn is_full(&self) -> bool {
        self.left < ENTRY_BYTES
    }
}

/// About how much a value takes.
fn bytes_of(value: RawBsonRef<'_>) -> usize {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => text.len(),
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        RawBsonRef::RegularExpression(regex) => regex.pattern.as_str().len(),
        RawBsonRef::JavaScriptCodeWithScope(code) => code.code.len() + code.scope.as_bytes().len(),
        _ => 16,
    }
}
