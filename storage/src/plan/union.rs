//! Alternatives, each looked for by an index of its own (MongoDB manual: *$or*, *$or Clauses and Indexes*).
//!
//! A filter with `$or` is the disjunction of some conjunctions. When each of these bounds an index, the documents that match are
//! among those that the indexes have there; a document that several have is met once. When one of them does not, all documents
//! have to be looked at anyway, and the others are of no use.
//!
//! The whole filter is asked about whatever is found, so that the alternatives may say less than it does.

use super::{Asked, Plan, Question};
use crate::catalog::CollectionInfo;
use crate::error::Result;
use crate::query::Hint;
use crate::reading::Reading;

/// Most alternatives that are looked for one by one. Of a filter with more, all documents are looked at.
const ALTERNATIVES_MAX: usize = 64;

/// Where to look for the documents of a query.
#[derive(Debug)]
pub(crate) enum QueryPlan<'a> {
    /// In one place.
    Single(Plan<'a>),
    /// In several; in no order.
    Union {
        /// One for each alternative, at least two.
        paths: Vec<Plan<'a>>,
        /// Whether no order was asked for.
        sorted: bool,
    },
}

impl<'a> QueryPlan<'a> {
    /// The plan for a question to a collection.
    ///
    /// # Errors
    ///
    /// As [`Plan::choose`].
    pub(crate) fn choose(
        reading: &Reading,
        info: &'a CollectionInfo,
        question: Question<'a>,
        hint: Option<&Hint>,
    ) -> Result<QueryPlan<'a>> {
        let single = Plan::choose(reading, info, question, hint)?;
        if hint.is_some() || single.bounds.points > 0 || single.bounds.is_empty() {
            return Ok(QueryPlan::Single(single));
        }
        let paths = alternatives(reading, info, question);
        // A range that all alternatives share is worth as much as ranges of their own, and costs less.
        let is_better = |path: &Plan<'_>| path.bounds.points > 0 || (path.bounds.range && !single.bounds.range);
        Ok(if paths.len() > 1 && paths.iter().all(is_better) {
            QueryPlan::Union {
                paths,
                sorted: question.sort.is_none(),
            }
        } else {
            QueryPlan::Single(single)
        })
    }

    /// The places, in the order in which to look there.
    pub(crate) fn paths(&self) -> &[Plan<'a>] {
        match self {
            QueryPlan::Single(path) => std::slice::from_ref(path),
            QueryPlan::Union { paths, .. } => paths,
        }
    }

    /// Whether documents are found in the order that was asked for.
    pub(crate) fn is_sorted(&self) -> bool {
        match self {
            QueryPlan::Single(path) => path.sorted,
            QueryPlan::Union { sorted, .. } => *sorted,
        }
    }
}

fn alternatives<'a>(reading: &Reading, info: &'a CollectionInfo, question: Question<'a>) -> Vec<Plan<'a>> {
    let question = Question { sort: None, ..question };
    let alternatives = question.filter.alternatives_by(ALTERNATIVES_MAX, question.collation);
    let best = alternatives
        .into_iter()
        .map(|conjuncts| Asked { question, conjuncts }.best(reading, info));
    best.collect()
}
