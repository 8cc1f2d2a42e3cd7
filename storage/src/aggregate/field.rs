//! Fields of documents by dotted paths, for the stages that write one: `$unwind` and `$lookup`.

use bson::raw::CString;
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::error::AggregateErrorKind as Kind;
use crate::names::is_field_path;

/// A path of field names. It leads through embedded documents, not through arrays.
#[derive(Clone, Debug)]
pub(super) struct FieldPath(Vec<CString>);

/// As many as a document can nest.
const COMPONENTS_MAX: usize = crate::limits::NESTING_MAX;

impl FieldPath {
    pub(super) fn parse(path: &str, code: i32) -> Result<FieldPath, Kind> {
        let invalid = |problem: &str| Kind::specification(format!("the path {path:?} {problem}"), code);
        let mut components = Vec::new();
        if !is_field_path(path) {
            return Err(invalid("has an empty component or one that begins with $"));
        }
        for component in path.split('.') {
            components.push(CString::try_from(component).map_err(|_| invalid("holds a zero byte"))?);
        }
        if components.len() > COMPONENTS_MAX {
            return Err(invalid("has too many components"));
        }
        Ok(FieldPath(components))
    }

    pub(super) fn get<'a>(&self, document: &'a RawDocument) -> Option<RawBsonRef<'a>> {
        let (last, parents) = self.0.split_last()?;
        let mut inner = document;
        for parent in parents {
            match inner.get(parent.as_str()).ok()?? {
                RawBsonRef::Document(document) => inner = document,
                _ => return None,
            }
        }
        inner.get(last.as_str()).ok()?
    }

    /// The document with the field set, or removed. What is in the way of the path is replaced.
    pub(super) fn set(&self, document: &RawDocument, value: Option<RawBsonRef<'_>>) -> RawDocumentBuf {
        written(document, &self.0, value)
    }

    /// The values at the path, through arrays at every level and of an array at its end each element; for `$lookup`.
    pub(super) fn values(&self, document: &RawDocument) -> Vec<RawBson> {
        let mut values = Vec::new();
        collect(RawBsonRef::Document(document), &self.0, &mut values);
        values
    }
}

/// Recurses along the components of the path.
fn written(document: &RawDocument, path: &[CString], value: Option<RawBsonRef<'_>>) -> RawDocumentBuf {
    let mut copy = RawDocumentBuf::new();
    let Some((name, below)) = path.split_first() else {
        return copy;
    };
    let mut found = false;
    for (other, old) in document.iter().flatten() {
        if other != name.as_ref() {
            copy.append(other, old);
        } else if !found {
            found = true;
            put(&mut copy, name, Some(old), below, value);
        }
    }
    if !found {
        put(&mut copy, name, None, below, value);
    }
    copy
}

fn put(
    copy: &mut RawDocumentBuf,
    name: &CString,
    old: Option<RawBsonRef<'_>>,
    below: &[CString],
    value: Option<RawBsonRef<'_>>,
) {
    match (below.is_empty(), old, value) {
        (true, _, Some(value)) => copy.append(name, value),
        (true, _, None) => {}
        (false, Some(RawBsonRef::Document(inner)), value) => copy.append(name, written(inner, below, value)),
        (false, Some(old), None) => copy.append(name, old),
        (false, None, None) => {}
        (false, _, value) => copy.append(name, written(&RawDocumentBuf::new(), below, value)),
    }
}

/// Recurses along the components of the path, and once for each array in between.
fn collect(value: RawBsonRef<'_>, path: &[CString], values: &mut Vec<RawBson>) {
    match (value, path.split_first()) {
        (RawBsonRef::Array(array), None) => values.extend(array.into_iter().flatten().map(RawBson::from)),
        (value, None) => values.push(value.into()),
        (RawBsonRef::Document(document), Some((name, below))) => {
            if let Ok(Some(inner)) = document.get(name.as_str()) {
                collect(inner, below, values);
            }
        }
        (RawBsonRef::Array(array), Some(_)) => {
            for element in array.into_iter().flatten() {
                // Arrays in arrays are not gone through.
                if let RawBsonRef::Document(_) = element {
                    collect(element, path, values);
                }
            }
        }
        _ => {}
    }
}
