//! What was planned for a query and what it took, as MongoDB's `explain` shows it (manual: *Explain Results*).
//!
//! The query is run only when that is asked for, and then to its end. There is one plan and no trial of others, so `rejectedPlans` is always empty.

use std::sync::Arc;

use bson::raw::CString;
use bson::{Bson, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::{Collation, Conjunct, Expression};

use super::hint::Hint;
use super::source::Source;
use super::{Language, Query, QueryControl};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::index::{Direction, ID_INDEX, IndexField};
use crate::plan::{Edge, End, Interval, Plan, QueryPlan};
use crate::query::Candidates;
use crate::reading::Reading;
use crate::sort::SORT_BYTES_MAX;

/// What a query that is to be explained asks for beside its filter.
#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    /// `{field: 1 or -1, …}`.
    pub sort: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// Documents to pass over.
    pub skip: u64,
    /// Most documents to return; no limit when it is missing or 0.
    pub limit: Option<u64>,
    /// How strings are compared, `{locale: …, strength: …}`; by the collection's default when it is missing.
    pub collation: Option<RawDocumentBuf>,
    /// What ends it in the middle, and bounds what it holds.
    pub control: QueryControl,
}

impl ExplainOptions {
    pub(crate) fn query(&self, filter: &RawDocument, default: Option<&Collation>) -> Result<Query> {
        let language = Language::new(self.collation.as_deref(), default)?;
        let mut query = language.query(filter, self.sort.as_deref())?;
        query.hint.clone_from(&self.hint);
        query.skip = self.skip;
        query.limit = self.limit.filter(|limit| *limit > 0);
        query.control = self.control.clone();
        Ok(query)
    }
}

/// A query that has been planned, and not been run.
#[derive(Debug)]
pub struct Explanation {
    planner: RawDocumentBuf,
    candidates: Candidates,
}

impl Explanation {
    /// What was planned: `explainVersion` and `queryPlanner`.
    #[must_use]
    pub fn planned(&self) -> RawDocumentBuf {
        rawdoc! { "explainVersion": "1", "queryPlanner": self.planner.clone() }
    }

    /// Runs the query to its end, and tells of that as well, in `executionStats`.
    ///
    /// # Errors
    ///
    /// Those of the documents, as of [`Collection::find_with`](crate::Collection::find_with).
    pub fn run(mut self) -> Result<RawDocumentBuf> {
        let mut returned = 0;
        for found in &mut self.candidates {
            found?;
            returned += 1;
        }
        let examined = self.candidates.examined();
        let mut told = self.planned();
        told.append(
            bson::raw::cstr!("executionStats"),
            rawdoc! {
                "executionSuccess": true,
                "nReturned": count(returned),
                "totalKeysExamined": count(examined.keys),
                "totalDocsExamined": count(examined.documents),
            },
        );
        Ok(told)
    }
}

impl Query {
    /// Plans the query.
    pub(crate) fn explanation(
        self,
        reading: &Reading,
        namespace: &Namespace,
        collation: Option<&RawDocument>,
    ) -> Result<Explanation> {
        let filter = Arc::clone(&self.filter);
        let of_query = || self.collation.as_ref().map(Collation::to_document);
        let collation = collation.map(RawDocument::to_owned).or_else(of_query);
        let info = reading.info(namespace);
        let (winning, candidates) = match &info {
            None => (
                rawdoc! { "stage": "EOF" },
                Candidates::of(self, Source::nothing(), true),
            ),
            Some(info) => {
                let plan = QueryPlan::choose(reading, info, self.asked(), self.hint.as_ref())?;
                let source = Source::new(reading, info, plan.paths());
                let (stages, is_sorted) = (self.stages(&plan), plan.is_sorted());
                (stages, Candidates::of(self, source, is_sorted))
            }
        };
        let mut planner = rawdoc! {
            "namespace": namespace.to_string(),
            "parsedQuery": filter.to_document(),
        };
        if let Some(collation) = collation {
            planner.append(bson::raw::cstr!("collation"), collation);
        }
        planner.append(bson::raw::cstr!("winningPlan"), winning);
        planner.append(bson::raw::cstr!("rejectedPlans"), RawArrayBuf::new());
        Ok(Explanation { planner, candidates })
    }

    /// The stages from the last to the first, each within the one that reads from it.
    fn stages(&self, plan: &QueryPlan<'_>) -> RawDocumentBuf {
        let mut stage = match plan {
            QueryPlan::Single(plan) => access(plan, &self.filter),
            QueryPlan::Union { paths, .. } => union(paths, &self.filter),
        };
        if let Some(sort) = self.sort.as_ref().filter(|_| !plan.is_sorted()) {
            let mut sorting = rawdoc! {
                "stage": "SORT",
                "sortPattern": sort.document().to_owned(),
                "memLimit": count(SORT_BYTES_MAX as u64),
            };
            if let Some(limit) = self.limit {
                sorting.append(bson::raw::cstr!("limitAmount"), count(limit.saturating_add(self.skip)));
            }
            sorting.append(bson::raw::cstr!("inputStage"), stage);
            stage = sorting;
        }
        if self.skip > 0 {
            stage = rawdoc! { "stage": "SKIP", "skipAmount": count(self.skip), "inputStage": stage };
        }
        if let Some(limit) = self.limit {
            stage = rawdoc! { "stage": "LIMIT", "limitAmount": count(limit), "inputStage": stage };
        }
        stage
    }
}

fn access(plan: &Plan<'_>, filter: &Expression) -> RawDocumentBuf {
    let direction = if plan.descending { "backward" } else { "forward" };
    if plan.bounds.is_empty() {
        return rawdoc! { "stage": "EOF" };
    }
    if plan.is_collection_scan() {
        return rawdoc! { "stage": "COLLSCAN", "filter": filter.to_document(), "direction": direction };
    }
    if plan.index.is_none() && is_one_id(filter) {
        return rawdoc! { "stage": "IDHACK" };
    }
    rawdoc! { "stage": "FETCH", "filter": filter.to_document(), "inputStage": scan(plan) }
}

/// Several indexes, and what is fetched of what any of them has.
fn union(paths: &[Plan<'_>], filter: &Expression) -> RawDocumentBuf {
    let mut scans = RawArrayBuf::new();
    for plan in paths {
        scans.push(scan(plan));
    }
    let or = rawdoc! { "stage": "OR", "inputStages": scans };
    rawdoc! { "stage": "FETCH", "filter": filter.to_document(), "inputStage": or }
}

fn scan(plan: &Plan<'_>) -> RawDocumentBuf {
    let direction = if plan.descending { "backward" } else { "forward" };
    let definition = plan.index.map(|index| &index.definition);
    let mut scan = rawdoc! {
        "stage": "IXSCAN",
        "keyPattern": definition.map_or_else(|| rawdoc! { "_id": 1 }, |d| d.key().to_owned()),
        "indexName": definition.map_or(ID_INDEX, |d| &d.name),
    };
    if let Some(collation) = definition.and_then(|d| d.collation.as_ref()) {
        scan.append(bson::raw::cstr!("collation"), collation.to_document());
    }
    let rest = rawdoc! {
        "isMultiKey": plan.multikey,
        "isUnique": definition.is_none_or(|d| d.unique),
        "isSparse": definition.is_some_and(|d| d.sparse),
        "isPartial": definition.is_some_and(|d| d.partial.is_some()),
        "direction": direction,
        "indexBounds": bounds(plan),
    };
    for (name, value) in rest.iter().flatten() {
        scan.append(name, value);
    }
    scan
}

/// Whether a filter is `{_id: value}` and nothing else.
fn is_one_id(filter: &Expression) -> bool {
    let conjuncts = filter.indexable();
    matches!(&*conjuncts, [only @ Conjunct::Equal { path, .. }] if path.as_str() == "_id" && only.to_expression() == *filter)
}

fn bounds(plan: &Plan<'_>) -> RawDocumentBuf {
    let mut shown = RawDocumentBuf::new();
    for (field, intervals) in plan.fields().iter().zip(&plan.bounds.fields) {
        let backward = (field.direction == Direction::Descending) != plan.descending;
        let mut list = RawArrayBuf::new();
        let texts = intervals.iter().map(|interval| interval_text(interval, backward));
        if backward {
            texts.rev().for_each(|text| list.push(text));
        } else {
            texts.for_each(|text| list.push(text));
        }
        append(&mut shown, field, list);
    }
    shown
}

fn append(document: &mut RawDocumentBuf, field: &IndexField, list: RawArrayBuf) {
    // Paths have no NUL.
    if let Ok(name) = CString::try_from(field.path.as_str().to_owned()) {
        document.append(&name, list);
    }
}

fn interval_text(interval: &Interval<'_>, backward: bool) -> String {
    let (first, last) = if backward {
        (&interval.high, &interval.low)
    } else {
        (&interval.low, &interval.high)
    };
    let closed = |end: &End<'_>| match end.edge {
        Edge::Value(_) | Edge::Shown(_) => end.inclusive,
        Edge::Least | Edge::Greatest => true,
        // Where the end of a class is shown as the beginning of the next, it does not belong to it.
        Edge::ClassLeast(_) => true,
        Edge::ClassGreatest(value) => !matches!(
            value,
            RawBsonRef::String(_) | RawBsonRef::Symbol(_) | RawBsonRef::Document(_) | RawBsonRef::Binary(_)
        ),
    };
    let open = if closed(first) { '[' } else { '(' };
    let close = if closed(last) { ']' } else { ')' };
    format!("{open}{}, {}{close}", edge_text(&first.edge), edge_text(&last.edge))
}

fn edge_text(edge: &Edge<'_>) -> String {
    match edge {
        Edge::Least => "MinKey".into(),
        Edge::Greatest => "MaxKey".into(),
        Edge::Value(value) => value_text(*value),
        Edge::Shown(text) => text.clone(),
        Edge::ClassLeast(value) => class_least(*value).into(),
        Edge::ClassGreatest(value) => class_greatest(*value).into(),
    }
}

fn value_text(value: RawBsonRef<'_>) -> String {
    match value {
        RawBsonRef::Double(number) if number.is_infinite() => format!("{number}.0"),
        RawBsonRef::DateTime(date) => format!("new Date({})", date.timestamp_millis()),
        RawBsonRef::ObjectId(id) => format!("ObjectId('{id}')"),
        RawBsonRef::Undefined => "undefined".into(),
        RawBsonRef::MinKey => "MinKey".into(),
        RawBsonRef::MaxKey => "MaxKey".into(),
        value => Bson::try_from(value).map_or_else(|_| "?".into(), |value| value.to_string()),
    }
}

/// What MongoDB shows for the beginning of a class.
fn class_least(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => "-inf.0",
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => "\"\"",
        RawBsonRef::Boolean(_) => "false",
        RawBsonRef::DateTime(_) => "new Date(-9223372036854775808)",
        RawBsonRef::ObjectId(_) => "ObjectId('000000000000000000000000')",
        RawBsonRef::Timestamp(_) => "Timestamp(0, 0)",
        RawBsonRef::Document(_) => "{}",
        RawBsonRef::Binary(_) => "BinData(0, )",
        _ => "its class's least",
    }
}

/// What MongoDB shows for the end of a class; for some it is the beginning of the next.
fn class_greatest(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => "inf.0",
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => "{}",
        RawBsonRef::Boolean(_) => "true",
        RawBsonRef::DateTime(_) => "new Date(9223372036854775807)",
        RawBsonRef::ObjectId(_) => "ObjectId('ffffffffffffffffffffffff')",
        RawBsonRef::Timestamp(_) => "Timestamp(4294967295, 4294967295)",
        RawBsonRef::Document(_) => "[]",
        RawBsonRef::Binary(_) => "ObjectId('000000000000000000000000')",
        _ => "its class's greatest",
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
