//! Elements of a document as bytes: what is needed to copy and compare without decoding.

use bson::raw::RawDocument;
use bson::spec::ElementType;

use super::UpdateError;
use super::path::Path;
use crate::limits::{NESTING_MAX, nesting};

/// One field of a document, or one element of an array, where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ElementType,
    /// The value's bytes.
    pub(super) value: &'a [u8],
    /// Type, name and value.
    pub(super) whole: &'a [u8],
}

/// A value on its own: its type and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) kind: ElementType,
    pub(super) bytes: Box<[u8]>,
}

/// The elements of a document in order. Ends after the first error.
pub(super) fn elements(document: &RawDocument) -> impl Iterator<Item = Result<Element<'_>, UpdateError>> {
    let bytes = document.as_bytes();
    let mut start = size_of::<i32>();
    document.iter_elements().map(move |element| {
        let element = element?;
        // The reader has checked that all of this lies inside the document.
        let value_start = start + 1 + element.key().len() + 1;
        let end = value_start + element.size();
        let whole = &bytes[start..end];
        start = end;
        Ok(Element {
            name: element.key().as_str(),
            kind: element.element_type(),
            value: &bytes[value_start..end],
            whole,
        })
    })
}

impl<'a> Element<'a> {
    /// The value, if it is a document.
    pub(super) fn document(&self) -> Option<Result<&'a RawDocument, UpdateError>> {
        (self.kind == ElementType::EmbeddedDocument).then(|| self.container())
    }

    /// The value, if it is an array; arrays are documents in BSON.
    pub(super) fn array(&self) -> Option<Result<&'a RawDocument, UpdateError>> {
        (self.kind == ElementType::Array).then(|| self.container())
    }

    fn container(&self) -> Result<&'a RawDocument, UpdateError> {
        Ok(RawDocument::from_bytes(self.value)?)
    }

    /// Same type and bytes.
    pub(super) fn is(&self, kind: ElementType, bytes: &[u8]) -> bool {
        self.kind == kind && self.value == bytes
    }

    pub(super) fn to_value(self) -> Value {
        Value {
            kind: self.kind,
            bytes: self.value.into(),
        }
    }

    /// Reads the value through, and checks that it is not too deep to lie at `path`.
    pub(super) fn check(&self, path: &Path<'_>) -> Result<(), UpdateError> {
        // A document of just this element has one level more than the value.
        let mut alone = Vec::with_capacity(self.whole.len() + 5);
        alone.extend_from_slice(&(self.whole.len() as u32 + 5).to_le_bytes());
        alone.extend_from_slice(self.whole);
        alone.push(0);
        let levels = nesting(RawDocument::from_bytes(&alone)?)? - 1 + path.components().len();
        if levels > NESTING_MAX {
            return Err(UpdateError::NestingTooDeep { path: path.to_string() });
        }
        Ok(())
    }
}
