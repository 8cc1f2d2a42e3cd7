//! Where the documents of a pipeline come from: a collection, through the planner.
//!
//! The `$match` stages in front become the query's filter, and a `$sort` behind them its order where an index provides it. So
//! `explain` of the same query says which index the pipeline uses.

use std::sync::Arc;

use tailwater_matcher::Expression;

use super::context::Context;
use super::stage::{Stage, StageKind, Stream, chain};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::plan::{QueryPlan, Question};
use crate::query::{Documents, Hint, Query};
use crate::sort::SortPattern;

/// The documents of a collection that pass `filter`, sent through the stages.
pub(super) fn collection(
    namespace: &Namespace,
    filter: Option<Expression>,
    stages: &[Stage],
    hint: Option<&Hint>,
    context: &Context,
) -> Result<Stream> {
    if stages.first().is_some_and(Stage::is_documents) {
        return Ok(chain(stages, Box::new(std::iter::empty()), context));
    }
    let (query, rest) = query(namespace, filter, stages, hint, context)?;
    let documents = Documents::new(query.candidates(&context.reading, namespace)?, None);
    Ok(chain(rest, Box::new(documents), context))
}

/// The query that the stages begin with, and the stages behind it.
pub(super) fn query<'s>(
    namespace: &Namespace,
    filter: Option<Expression>,
    stages: &'s [Stage],
    hint: Option<&Hint>,
    context: &Context,
) -> Result<(Query, &'s [Stage])> {
    let leading = stages.iter().take_while(|stage| stage.is_match()).count();
    let (matches, mut rest) = stages.split_at(leading);
    let mut filter = filter.unwrap_or_else(Expression::always);
    for stage in matches {
        if let StageKind::Match(part) = &stage.kind {
            filter = Expression::and(filter, context.bind(part).as_ref().clone());
        }
    }
    let mut query = Query::new(Arc::new(filter));
    query.collation = context.collation.clone();
    query.hint = hint.cloned();
    query.control = context.options.control.clone();
    if let Some((first, behind)) = rest.split_first()
        && let StageKind::Sort(pattern) = &first.kind
        && let Some(info) = context.reading.info(namespace)
        && QueryPlan::choose(&context.reading, &info, sorted_by(&query, pattern), hint)?.is_sorted()
    {
        query.sort = Some(pattern.clone());
        rest = behind;
    }
    Ok((query, rest))
}

fn sorted_by<'q>(query: &'q Query, pattern: &'q SortPattern) -> Question<'q> {
    Question {
        sort: Some(pattern),
        ..query.asked()
    }
}
