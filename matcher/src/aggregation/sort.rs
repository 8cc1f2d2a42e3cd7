//! Sort patterns of `$sortArray` and of the accumulators that order documents.

use std::cmp::Ordering;

use bson::RawBsonRef;

use super::numeric::whole_i32;
use super::order::Comparer;
use super::parse::Parser;
use super::value::Value;
use crate::error::ParseError;
use crate::path::position;

/// What to order by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SortPattern {
    /// The values themselves.
    Whole { descending: bool },
    /// Fields of them, the first that differs decides.
    Fields(Vec<(Box<[Box<str>]>, bool)>),
}

impl SortPattern {
    /// Parses `1`, `-1` or a document of such under paths.
    pub(crate) fn parse(parser: &Parser, operator: &str, value: RawBsonRef<'_>) -> Result<SortPattern, ParseError> {
        let RawBsonRef::Document(document) = value else {
            let descending = direction(parser, operator, value)?;
            return Ok(SortPattern::Whole { descending });
        };
        let mut keys = Vec::new();
        for (path, value) in parser.fields(document)? {
            keys.push((parser.components(path)?, direction(parser, operator, value)?));
        }
        if keys.is_empty() {
            return Err(parser.wrong_value(operator, "the sort pattern must name at least one field", 15976));
        }
        Ok(SortPattern::Fields(keys))
    }

    /// Sorts as `$push` with `$sort` does: an array is a value as others. Equal values keep their order.
    pub(crate) fn sort(&self, values: &mut [Value<'_>], comparer: Comparer<'_>) {
        match self {
            SortPattern::Whole { descending } => values.sort_by(|a, b| turned(comparer.order(a, b), *descending)),
            // The keys are computed once for each value, not once for each comparison.
            SortPattern::Fields(keys) => values.sort_by_cached_key(|value| SortKey {
                parts: keys.iter().map(|(path, _)| at_path(value, path)).collect(),
                pattern: self,
                comparer,
            }),
        }
    }

    /// What a document is ordered by among others, as in `$sort`; nothing counts as null.
    pub(crate) fn key<'a>(&self, value: &Value<'a>, comparer: Comparer<'_>) -> Vec<Value<'a>> {
        match self {
            SortPattern::Whole { .. } => vec![value.clone()],
            SortPattern::Fields(keys) => keys
                .iter()
                .map(|(path, descending)| key_at(value, path, *descending, comparer))
                .collect(),
        }
    }

    /// The order of two keys of this pattern.
    pub(crate) fn compare(&self, a: &[Value<'_>], b: &[Value<'_>], comparer: Comparer<'_>) -> Ordering {
        let mut parts = a.iter().zip(b).enumerate().map(|(at, (a, b))| {
            let descending = match self {
                SortPattern::Whole { descending } => *descending,
                SortPattern::Fields(keys) => keys.get(at).is_some_and(|(_, descending)| *descending),
            };
            turned(comparer.order(a, b), descending)
        });
        parts.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

struct SortKey<'k, 'a> {
    parts: Vec<Value<'a>>,
    pattern: &'k SortPattern,
    comparer: Comparer<'k>,
}

impl PartialEq for SortKey<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey<'_, '_> {}

impl PartialOrd for SortKey<'_, '_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey<'_, '_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pattern.compare(&self.parts, &other.parts, self.comparer)
    }
}

/// What lies at a path, a number being a position where there is an array. Nothing counts as null.
fn at_path<'a>(value: &Value<'a>, path: &[Box<str>]) -> Value<'a> {
    let mut found = value.clone();
    for name in path {
        let item = |items: &[Value<'a>]| items.get(position(name)?).cloned();
        found = match found.items() {
            Some(items) => item(&items).unwrap_or(Value::Missing),
            None => found.field(name),
        };
    }
    if found.is_missing() { Value::NULL } else { found }
}

/// An array is ordered by its least element, or by its greatest when descending; an empty one
/// before null, like undefined.
fn key_at<'a>(value: &Value<'a>, path: &[Box<str>], descending: bool, comparer: Comparer<'_>) -> Value<'a> {
    let found = value.walk(path).unwrap_or(Value::Missing);
    let Some(items) = found.items() else {
        return if found.is_missing() { Value::NULL } else { found };
    };
    let best = if descending {
        items.iter().max_by(|a, b| comparer.order(a, b))
    } else {
        items.iter().min_by(|a, b| comparer.order(a, b))
    };
    best.cloned().unwrap_or(Value::Raw(RawBsonRef::Undefined))
}

fn turned(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

fn direction(parser: &Parser, operator: &str, value: RawBsonRef<'_>) -> Result<bool, ParseError> {
    match whole_i32(&Value::Raw(value)) {
        Some(1) => Ok(false),
        Some(-1) => Ok(true),
        _ => Err(parser.wrong_value(operator, "a sort direction is 1 or -1", 15975)),
    }
}
