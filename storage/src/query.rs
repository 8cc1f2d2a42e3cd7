//! Finding the documents that match a filter: what a query asks for, and what it gives.
//!
//! - [`control`], [`budget`]: when it has to end, and what it may hold;
//! - [`by_id`]: filters that need no plan;
//! - [`source`]: documents that a plan leads to; [`repeats`]: which of them came before;
//! - [`candidates`]: those of them that match, sorted, skipped and limited;
//! - [`distinct`]: the different values of a field;
//! - [`documents`], [`projection`]: what is returned of them;
//! - [`explain`]: what was planned and what it took, as MongoDB shows it;
//! - [`hint`]: an index named by whoever asks;
//! - [`language`]: how strings are compared.

mod budget;
mod by_id;
mod candidates;
mod control;
mod distinct;
mod documents;
mod explain;
mod hint;
mod language;
mod projection;
mod repeats;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tailwater_matcher::{Collation, Expression};

use crate::catalog::Namespace;
use crate::error::Result;
use crate::plan::{QueryPlan, Question};
use crate::reading::Reading;
use crate::sort::SortPattern;

pub(crate) use source::Source;

pub use budget::{MemoryBudget, MemoryShare};
pub(crate) use by_id::only_id;
pub(crate) use candidates::Candidates;
pub(crate) use control::Looks;
pub use control::QueryControl;
pub(crate) use distinct::Distinct;
pub use documents::Documents;
pub use explain::{ExplainOptions, Explanation};
pub use hint::Hint;
pub(crate) use language::Language;
pub(crate) use projection::{Projection, project};

/// What is asked of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) filter: Arc<Expression>,
    /// By what the filter compares strings, if not by their bytes.
    pub(crate) collation: Option<Collation>,
    /// Without one, documents come as the plan finds them; by `_id` where it reads no index.
    pub(crate) sort: Option<SortPattern>,
    pub(crate) hint: Option<Hint>,
    pub(crate) skip: u64,
    /// No limit when `None`.
    pub(crate) limit: Option<u64>,
    pub(crate) control: QueryControl,
}

impl Query {
    /// All documents that match, in no particular order.
    pub(crate) fn new(filter: Arc<Expression>) -> Query {
        Query {
            filter,
            collation: None,
            sort: None,
            hint: None,
            skip: 0,
            limit: None,
            control: QueryControl::default(),
        }
    }

    /// What the planner is asked.
    pub(crate) fn asked(&self) -> Question<'_> {
        Question {
            filter: &self.filter,
            collation: self.collation.as_ref(),
            sort: self.sort.as_ref(),
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
        let plan = QueryPlan::choose(reading, &info, self.asked(), self.hint.as_ref())?;
        let source = Source::new(reading, &info, plan.paths());
        let sorted = plan.is_sorted();
        Ok(Candidates::of(self, source, sorted))
    }
}
