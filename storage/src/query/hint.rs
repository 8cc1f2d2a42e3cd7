//! An index that a query is told to use (MongoDB manual: *cursor.hint*).

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{Error, Result};

/// Which index a query must use.
#[derive(Clone, PartialEq, Debug)]
pub enum Hint {
    /// The index of this name.
    Name(String),
    /// The index with this key pattern.
    Key(RawDocumentBuf),
    /// None: the documents in the order of their `_id`s, backwards when it is negative (`$natural`).
    Natural(i32),
}

impl Hint {
    /// Reads a key pattern or `{$natural: ±1}`.
    ///
    /// # Errors
    ///
    /// [`Error::BadHint`] for a `$natural` that is neither 1 nor -1.
    pub fn from_document(document: &RawDocument) -> Result<Hint> {
        let Some(Ok((name, value))) = document.iter().next() else {
            return Ok(Hint::Key(document.to_owned()));
        };
        if name.as_str() != "$natural" {
            return Ok(Hint::Key(document.to_owned()));
        }
        match value {
            RawBsonRef::Int32(1) | RawBsonRef::Int64(1) | RawBsonRef::Double(1.0) => Ok(Hint::Natural(1)),
            RawBsonRef::Int32(-1) | RawBsonRef::Int64(-1) | RawBsonRef::Double(-1.0) => Ok(Hint::Natural(-1)),
            _ => Err(Error::BadHint {
                hint: format!("{document:?}"),
                what: "$natural must be 1 or -1",
            }),
        }
    }
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hint::Name(name) => write!(f, "{name:?}"),
            Hint::Key(key) => write!(f, "{key:?}"),
            Hint::Natural(direction) => write!(f, "{{$natural: {direction}}}"),
        }
    }
}
