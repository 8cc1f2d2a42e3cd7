//! `$unwind`: a document for each element of an array (MongoDB manual: *$unwind*).

use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::error::AggregateErrorKind as Kind;
use super::field::FieldPath;
use super::parse::fields;
use super::stage::{Place, Stream};
use crate::error::Result;
use crate::limits::DOCUMENT_BYTES_MAX;

/// Which array, and what to do where there is none.
#[derive(Debug)]
pub(super) struct Unwind {
    path: FieldPath,
    index: Option<FieldPath>,
    preserve: bool,
}

impl Unwind {
    pub(super) fn parse(value: RawBsonRef<'_>) -> Result<Unwind, Kind> {
        let (mut path, mut index, mut preserve) = (None, None, false);
        if let RawBsonRef::String(text) = value {
            path = Some(text);
        } else {
            for (name, value) in fields(value, 15981)? {
                match (name, value) {
                    ("path", RawBsonRef::String(text)) => path = Some(text),
                    ("path", _) => return Err(Kind::specification("path must be a string", 28808)),
                    ("preserveNullAndEmptyArrays", RawBsonRef::Boolean(value)) => preserve = value,
                    ("preserveNullAndEmptyArrays", _) => {
                        return Err(Kind::specification(
                            "preserveNullAndEmptyArrays must be a boolean",
                            28809,
                        ));
                    }
                    ("includeArrayIndex", RawBsonRef::String(text)) if !text.is_empty() => {
                        index = Some(FieldPath::parse(text, 28822)?);
                    }
                    ("includeArrayIndex", _) => {
                        return Err(Kind::specification(
                            "includeArrayIndex must be the name of a field",
                            28810,
                        ));
                    }
                    (name, _) => return Err(Kind::specification(format!("there is no option {name:?}"), 28811)),
                }
            }
        }
        let path = path.ok_or_else(|| Kind::specification("a path is needed", 28812))?;
        let problem = "the path must begin with $";
        let path = path
            .strip_prefix('$')
            .ok_or_else(|| Kind::specification(problem, 28818))?;
        Ok(Unwind {
            path: FieldPath::parse(path, 28818)?,
            index,
            preserve,
        })
    }

    /// The document with one element in the array's place.
    fn with(&self, document: &RawDocument, element: Option<RawBsonRef<'_>>, index: Option<i64>) -> RawDocumentBuf {
        let document = self.path.set(document, element);
        match &self.index {
            None => document,
            Some(path) => path.set(&document, Some(index.map_or(RawBsonRef::Null, RawBsonRef::Int64))),
        }
    }
}

/// What comes of one document, as it is asked for.
struct Unwinding {
    unwind: Arc<Unwind>,
    document: RawDocumentBuf,
    /// The elements that are left; none where there is no array.
    elements: std::iter::Enumerate<std::vec::IntoIter<bson::RawBson>>,
    alone: Option<RawDocumentBuf>,
}

impl Unwinding {
    fn new(unwind: &Arc<Unwind>, document: RawDocumentBuf) -> Unwinding {
        let (mut elements, mut alone) = (Vec::new(), None);
        match unwind.path.get(&document) {
            Some(RawBsonRef::Array(array)) if !array.is_empty() => {
                elements = array.into_iter().flatten().map(bson::RawBson::from).collect();
            }
            Some(RawBsonRef::Array(_)) if unwind.preserve => alone = Some(unwind.with(&document, None, None)),
            None if unwind.preserve => alone = Some(unwind.with(&document, None, None)),
            Some(value @ (RawBsonRef::Null | RawBsonRef::Undefined)) if unwind.preserve => {
                alone = Some(unwind.with(&document, Some(value), None));
            }
            None | Some(RawBsonRef::Array(_) | RawBsonRef::Null | RawBsonRef::Undefined) => {}
            Some(value) => alone = Some(unwind.with(&document, Some(value), None)),
        }
        Unwinding {
            unwind: Arc::clone(unwind),
            document,
            elements: elements.into_iter().enumerate(),
            alone,
        }
    }
}

impl Iterator for Unwinding {
    type Item = RawDocumentBuf;

    fn next(&mut self) -> Option<RawDocumentBuf> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        let (index, element) = self.elements.next()?;
        let index = i64::try_from(index).ok();
        Some(self.unwind.with(&self.document, Some(element.as_raw_bson_ref()), index))
    }
}

pub(super) fn open(input: Stream, unwind: Arc<Unwind>, place: Place) -> Stream {
    Box::new(input.flat_map(move |document| -> Stream {
        let document = match document {
            Ok(document) => document,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let place = place.clone();
        Box::new(
            Unwinding::new(&unwind, document).map(move |document| -> Result<RawDocumentBuf> {
                // Only the index could have made it larger.
                if document.as_bytes().len() > DOCUMENT_BYTES_MAX {
                    return Err(place.error(Kind::DocumentTooLarge));
                }
                Ok(document)
            }),
        )
    }))
}
