//! Equality that does not look at the order of a document's fields.
//!
//! Two values are equal so exactly when their keys are: the sortable key of the value with the
//! fields of every document in it sorted by name. Comparing keys instead of values keeps `enum` and
//! `uniqueItems` from being quadratic.

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::elements::{self, Elements};
use crate::keystring::encode_key;
use crate::render;
use crate::validate::DEPTH_MAX;

pub(super) fn key(value: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    match value {
        RawBsonRef::Document(_) | RawBsonRef::Array(_) => {
            encode_key(sorted(value, 0).as_raw_bson_ref(), &mut key);
        }
        value => encode_key(value, &mut key),
    }
    key
}

fn sorted(value: RawBsonRef<'_>, depth: usize) -> RawBson {
    match value {
        RawBsonRef::Document(document) if depth < DEPTH_MAX => RawBson::Document(sorted_document(document, depth)),
        RawBsonRef::Array(array) if depth < DEPTH_MAX => {
            let mut sorted_array = RawArrayBuf::new();
            if let Some(mut elements) = elements::of_array(array) {
                while let Some((_, value)) = elements.next_value() {
                    sorted_array.push(sorted(value, depth + 1));
                }
            }
            RawBson::Array(sorted_array)
        }
        value => value.into(),
    }
}

fn sorted_document(document: &RawDocument, depth: usize) -> RawDocumentBuf {
    let mut fields = Vec::new();
    let mut elements = Elements::new(document);
    while let Some((element, value)) = elements.next_value() {
        fields.push((element.name, value));
    }
    fields.sort_by_key(|(name, _)| *name);
    let mut document = RawDocumentBuf::new();
    for (name, value) in fields {
        let name = std::str::from_utf8(name).unwrap_or_default();
        render::append(&mut document, name, sorted(value, depth + 1).as_raw_bson_ref());
    }
    document
}
