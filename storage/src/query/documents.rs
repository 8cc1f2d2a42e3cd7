//! The documents that a query returns.

use bson::{Document, RawDocumentBuf};
use tailwater_oplog::OpId;

use super::{Candidates, Projection, project};
use crate::error::{Error, Result};

/// The documents that match a filter: a cursor that owns what it shows, so that it may be kept, sent to another thread and
/// continued at any time. See [`Collection::find`](crate::Collection::find). After an error there are no more.
#[derive(Debug)]
pub struct Documents {
    /// Nothing after an error.
    candidates: Option<Candidates>,
    projection: Option<Projection>,
}

impl Documents {
    pub(crate) fn new(candidates: Candidates, projection: Option<Projection>) -> Documents {
        Documents {
            candidates: Some(candidates),
            projection,
        }
    }

    /// The documents decoded, for small results.
    ///
    /// # Errors
    ///
    /// Those of the items.
    pub fn into_documents(self) -> Result<Vec<Document>> {
        self.map(|document| {
            Document::try_from(document?.as_ref()).map_err(|_| Error::Inconsistent {
                op_id: OpId::ZERO,
                what: "a stored document is malformed",
            })
        })
        .collect()
    }
}

impl Iterator for Documents {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        let found = self.candidates.as_mut()?.next()?;
        let document = match &self.projection {
            None => found.and_then(|found| project(None, found.stored)),
            Some(projection) => {
                let control = self.candidates.as_ref().map(|candidates| candidates.control().clone());
                let control = control.unwrap_or_default();
                let _scope = control.scope();
                let projected = found.and_then(|found| project(Some(projection), found.stored));
                projected.map_err(|error| control.told(error))
            }
        };
        if document.is_err() {
            self.candidates = None;
        }
        Some(document)
    }
}
