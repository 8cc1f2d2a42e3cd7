//! What a stream's collation does not reach is refused: it must not be taken for something that counts.
//!
//! `$match` compares strings by the collation, aggregation expressions by their bytes. So an expression that compares values
//! has no place in a pipeline with a collation.

use bson::raw::RawBsonRef;
use bson::{RawArray, RawDocument};

use crate::error::{Error, Result};

/// The operators of expressions whose result depends on how strings compare.
const COMPARING: [&str; 21] = [
    "$cmp",
    "$eq",
    "$gt",
    "$gte",
    "$in",
    "$indexOfArray",
    "$lt",
    "$lte",
    "$max",
    "$maxN",
    "$min",
    "$minN",
    "$ne",
    "$setDifference",
    "$setEquals",
    "$setIntersection",
    "$setIsSubset",
    "$setUnion",
    "$sortArray",
    "$top",
    "$bottom",
];

/// Documents and arrays within one another that are looked into. A stage that nests deeper is malformed, and refused as such.
const DEPTH_MAX: usize = 200;

/// Refuses a stage with an expression that compares values.
pub(super) fn check(stage: usize, document: &RawDocument) -> Result<()> {
    let is_match = matches!(document.iter().next(), Some(Ok((name, _))) if name.as_str() == "$match");
    match comparing(RawBsonRef::Document(document), !is_match, 0) {
        None => Ok(()),
        Some(operator) => Err(Error::CollationUnsupported {
            stage: Some(stage),
            what: operator,
        }),
    }
}

/// An operator that compares values, within an expression; `$match` has expressions only inside `$expr`.
fn comparing(value: RawBsonRef<'_>, in_expression: bool, depth: usize) -> Option<&'static str> {
    if depth == DEPTH_MAX {
        return None;
    }
    let fields: Box<dyn Iterator<Item = (&str, RawBsonRef<'_>)>> = match value {
        RawBsonRef::Document(document) => fields(document),
        RawBsonRef::Array(array) => elements(array),
        _ => return None,
    };
    for (name, value) in fields {
        let known = COMPARING.iter().find(|&&operator| operator == name);
        if let Some(&operator) = known.filter(|_| in_expression) {
            return Some(operator);
        }
        if name == "$literal" {
            continue;
        }
        if let Some(found) = comparing(value, in_expression || name == "$expr", depth + 1) {
            return Some(found);
        }
    }
    None
}

fn fields<'a>(document: &'a RawDocument) -> Box<dyn Iterator<Item = (&'a str, RawBsonRef<'a>)> + 'a> {
    Box::new(document.iter().flatten().map(|(name, value)| (name.as_str(), value)))
}

fn elements<'a>(array: &'a RawArray) -> Box<dyn Iterator<Item = (&'a str, RawBsonRef<'a>)> + 'a> {
    Box::new(array.into_iter().flatten().map(|value| ("", value)))
}
