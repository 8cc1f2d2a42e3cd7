//! Finding the documents that match a filter: what a query asks for, and what it gives.
//!
//! - [`source`]: documents that a plan leads to;
//! - [`candidates`]: those of them that match, sorted, skipped and limited;
//! - [`explain`]: what was planned and what it took, as MongoDB shows it;
//! - [`hint`]: an index named by whoever asks.

mod candidates;
mod explain;
mod hint;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bson::{Document, RawDocumentBuf};
use tailwater_matcher::Expression;
use tailwater_oplog::OpId;

use crate::catalog::Namespace;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::reading::Reading;
use crate::sort::SortPattern;

pub(crate) use source::Source;

pub(crate) use candidates::Candidates;
pub use explain::ExplainOptions;
pub use hint::Hint;

/// What is asked of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) filter: Arc<Expression>,
    /// Without one, documents come as the plan finds them; by `_id` where it reads no index.
    pub(crate) sort: Option<SortPattern>,
    pub(crate) hint: Option<Hint>,
    pub(crate) skip: u64,
    /// No limit when `None`.
    pub(crate) limit: Option<u64>,
}

impl Query {
    /// All documents that match, in no particular order.
    pub(crate) fn new(filter: Arc<Expression>) -> Query {
        Query {
            filter,
            sort: None,
            hint: None,
            skip: 0,
            limit: None,
        }
    }

    /// Plans the query on a collection as `reading` sees it. A collection that is not there has no documents.
    ///
    /// # Errors
    ///
    /// [`Error::BadHint`].
    pub(crate) fn candidates(self, reading: &Reading, namespace: &Namespace) -> Result<Candidates> {
        let Some(info) = reading.info(namespace) else {
            return Ok(Candidates::of(self, Source::nothing(), true));
        };
        let plan = Plan::choose(reading, &info, &self.filter, self.sort.as_ref(), self.hint.as_ref())?;
        let source = Source::new(reading, &info, &plan);
        let sorted = plan.sorted;
        Ok(Candidates::of(self, source, sorted))
    }
}

/// The documents that match a filter. See [`Collection::find`](crate::Collection::find).
#[derive(Debug)]
pub struct Documents(pub(crate) Candidates);

impl Iterator for Documents {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        Some(self.0.next()?.and_then(|found| found.stored.into_document()))
    }
}

impl Documents {
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
