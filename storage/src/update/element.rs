//! Elements of a document as bytes: what is needed to copy and compare without decoding.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, RawElement};
use bson::spec::ElementType;

use super::UpdateError;
use super::path::Path;
use crate::limits::{NESTING_MAX, nesting};

/// One field of a document, or one element of an array, where it lies.
#[derive(Clone)]
pub(super) struct Element<'a> {
    raw: RawElement<'a>,
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

impl Value {
    pub(super) const fn new(kind: ElementType, bytes: Box<[u8]>) -> Value {
        Value { kind, bytes }
    }

    /// The null that stands where an array's element was removed.
    pub(super) fn null() -> Value {
        Value::new(ElementType::Null, [].into())
    }

    /// A document of this value alone, under an empty name, where it can be read.
    pub(super) fn alone(&self) -> Result<RawDocumentBuf, UpdateError> {
        let mut head = vec![self.kind as u8, 0];
        head.extend_from_slice(&self.bytes);
        alone(&head)
    }
}

/// A document of one element, given as bytes.
fn alone(element: &[u8]) -> Result<RawDocumentBuf, UpdateError> {
    let length = element.len() + size_of::<u32>() + 1;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(element);
    bytes.push(0);
    Ok(RawDocumentBuf::from_bytes(bytes)?)
}

/// The elements of a document in order. Ends after the first error.
pub(super) fn elements(document: &RawDocument) -> impl Iterator<Item = Result<Element<'_>, UpdateError>> {
    let bytes = document.as_bytes();
    let mut start = size_of::<i32>();
    document.iter_elements().map(move |element| {
        let element: RawElement<'_> = element?;
        // The reader has checked that all of this lies inside the document.
        let value_start = start + 1 + element.key().len() + 1;
        let end = value_start + element.size();
        let whole = &bytes[start..end];
        start = end;
        Ok(Element {
            raw: element.clone(),
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

    /// Bytes before the value: type, name and a zero.
    pub(super) fn head_length(&self) -> usize {
        1 + self.name.len() + 1
    }

    /// Same type and bytes.
    pub(super) fn is(&self, kind: ElementType, bytes: &[u8]) -> bool {
        self.kind == kind && self.value == bytes
    }

    pub(super) fn to_value(&self) -> Value {
        Value::new(self.kind, self.value.into())
    }

    /// The value, decoded as far as its own type goes.
    pub(super) fn get(&self) -> Result<RawBsonRef<'a>, UpdateError> {
        Ok(self.raw.value()?)
    }

    /// Reads the value through, and checks that it is not too deep to lie at `path`, or `extra` levels below it.
    pub(super) fn check(&self, path: &Path<'_>, extra: usize) -> Result<(), UpdateError> {
        // A document of just this element has one level more than the value.
        let levels = nesting(&alone(self.whole)?)? - 1 + path.components().len() + extra;
        if levels > NESTING_MAX {
            return Err(UpdateError::NestingTooDeep { path: path.to_string() });
        }
        Ok(())
    }
}
