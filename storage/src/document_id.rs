//! What can be the `_id` of a document (MongoDB manual: *The `_id` Field*, *Field Names with Periods and Dollar Signs*).
//!
//! Any value but an array, a regular expression and undefined, once in a document, and, if it is a document itself, without names
//! that begin with a dollar sign at any level. Only the fields of a reference may: `$ref`, `$id` and `$db`, in this order and first.

use std::iter::Skip;

use bson::RawDocument;
use bson::raw::{RawBsonRef, RawIter};
use tailwater_matcher::encode_key;

use crate::engine::KEY_BYTES_MAX;
use crate::error::{Error, Result};

/// The engine's key for an `_id`, if it can be one.
///
/// # Errors
///
/// [`Error::InvalidId`], [`Error::DollarPrefixedId`].
pub(crate) fn document_key(id: RawBsonRef<'_>) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    write_document_key(id, &mut key)?;
    Ok(key)
}

/// The same, appended to an empty vector.
pub(crate) fn write_document_key(id: RawBsonRef<'_>, key: &mut Vec<u8>) -> Result<()> {
    let what = match id {
        RawBsonRef::Array(_) => "an array",
        RawBsonRef::RegularExpression(_) => "a regular expression",
        RawBsonRef::Undefined => "undefined",
        _ => {
            if let RawBsonRef::Document(document) = id
                && let Some(field) = dollar_prefixed(document)
            {
                return Err(Error::DollarPrefixedId { field });
            }
            encode_key(id, key);
            if key.len() <= KEY_BYTES_MAX {
                return Ok(());
            }
            "longer than 64 KiB"
        }
    };
    Err(Error::InvalidId { what })
}

/// Refuses a document that has several.
///
/// # Errors
///
/// [`Error::IdTwice`].
pub(crate) fn check_single(document: &RawDocument) -> Result<()> {
    let is_id = |name: &str| name == "_id";
    let ids = document
        .iter_elements()
        .flatten()
        .filter(|field| is_id(field.key().as_str()));
    if ids.take(2).count() > 1 {
        Err(Error::IdTwice)
    } else {
        Ok(())
    }
}

/// The first field of an `_id`, at any level, that must not be called so.
///
/// Does not recurse. Of malformed bytes it looks at what can be read.
pub(crate) fn dollar_prefixed(id: &RawDocument) -> Option<String> {
    let mut open = vec![fields(id)];
    while let Some(level) = open.last_mut() {
        let Some(field) = level.next() else {
            open.pop();
            continue;
        };
        let Ok(field) = field else { continue };
        if field.key().as_str().starts_with('$') {
            return Some(field.key().as_str().to_owned());
        }
        match field.value() {
            Ok(RawBsonRef::Document(document)) => open.push(fields(document)),
            Ok(RawBsonRef::Array(array)) => open.push(without(0, array.iter_elements())),
            _ => {}
        }
    }
    None
}

/// The fields of a document, without those of a reference.
fn fields(document: &RawDocument) -> Skip<RawIter<'_>> {
    without(reference_fields(document), document.iter_elements())
}

fn without(first: usize, fields: RawIter<'_>) -> Skip<RawIter<'_>> {
    fields.skip(first)
}

/// How many fields of a document are those of a reference, at its beginning.
fn reference_fields(document: &RawDocument) -> usize {
    let mut fields = document.iter().flatten();
    match (fields.next(), fields.next(), fields.next()) {
        (Some((first, RawBsonRef::String(_))), Some((second, _)), third)
            if (first.as_str(), second.as_str()) == ("$ref", "$id") =>
        {
            let has_database = third.is_some_and(|(name, value)| name.as_str() == "$db" && value.as_str().is_some());
            2 + usize::from(has_database)
        }
        _ => 0,
    }
}
