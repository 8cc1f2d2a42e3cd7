//! Arrays as lists: read from a document, changed as a whole, written again.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::spec::ElementType;

use super::UpdateError;
use super::element::{Element, Value, elements};
use super::writer::Writer;
use crate::query::Language;

/// An array that an operator was given, or a list of one value: BSON's array, which is a document.
#[derive(Clone, Debug)]
pub(super) struct List(RawDocumentBuf);

impl List {
    /// The elements of an array; `None` if it is something else.
    pub(super) fn of_array(element: &Element<'_>) -> Option<Result<List, UpdateError>> {
        Some(element.array()?.map(|array| List(array.to_owned())))
    }

    /// The value as the only element.
    pub(super) fn of_value(element: &Element<'_>) -> Result<List, UpdateError> {
        element.to_value().alone().map(List)
    }

    pub(super) fn items(&self) -> Result<Vec<Element<'_>>, UpdateError> {
        read(&self.0)
    }
}

/// The elements of an array.
pub(super) fn read(array: &RawDocument) -> Result<Vec<Element<'_>>, UpdateError> {
    elements(array).collect()
}

/// The array of these elements, in this order; their names become their places.
pub(super) fn write(items: &[Element<'_>]) -> Value {
    let mut array = Writer::default();
    let start = array.begin();
    for (place, item) in items.iter().enumerate() {
        array.put(&place.to_string(), item.kind, item.value);
    }
    array.end(start);
    Value::new(ElementType::Array, array.since(start).into())
}

/// What two values have in common exactly if MongoDB calls them equal: numbers by value whatever
/// their type, documents with the order of their fields, strings by the collation.
pub(super) fn key(value: RawBsonRef<'_>, language: &Language) -> Vec<u8> {
    let mut key = Vec::new();
    language.encode_key(value, &mut key);
    key
}
