//! What the filter of a partial index may be (MongoDB manual: *Partial Indexes*).
//!
//! The keys of a document are computed when it comes and again when it goes, by every member of a set and at every replay. So
//! the filter may ask for nothing but the document: equality, comparisons, `$in`, `$exists: true`, `$type`, `$and` and `$or`.
//! Expressions, which know the time and chance, are refused, and so is all else that the planner could not follow. What is
//! in a store already is not looked at again.

use bson::raw::RawBsonRef;
use bson::{RawArray, RawDocument};

use crate::error::{Error, Result};

/// Checks that a filter may be one. It has been parsed, which bounds how deep the search goes.
///
/// # Errors
///
/// [`Error::InvalidIndex`].
pub(super) fn check(filter: &RawDocument) -> Result<()> {
    match unsupported(filter) {
        None => Ok(()),
        Some(found) => Err(Error::InvalidIndex {
            name: String::new(),
            what: format!("unsupported expression in partial index: {found}"),
        }),
    }
}

/// What is not allowed in a filter that parses.
fn unsupported(filter: &RawDocument) -> Option<String> {
    filter
        .iter()
        .flatten()
        .find_map(|(name, value)| match (name.as_str(), value) {
            ("$and" | "$or", RawBsonRef::Array(clauses)) => clauses
                .into_iter()
                .flatten()
                .find_map(|clause| unsupported(clause.as_document()?)),
            ("$comment", _) => None,
            (name, _) if name.starts_with('$') => Some(name.to_owned()),
            (_, RawBsonRef::Document(condition)) if is_condition(condition) => {
                let mut operators = condition.iter().flatten();
                operators.find_map(|(operator, operand)| unsupported_operator(operator.as_str(), operand))
            }
            (_, RawBsonRef::RegularExpression(_)) => Some("$regex".to_owned()),
            _ => None,
        })
}

/// Whether a document is a condition and not a value, as a reference is.
fn is_condition(document: &RawDocument) -> bool {
    let first = document.iter().flatten().next();
    first.is_some_and(|(name, _)| name.as_str().starts_with('$') && !matches!(name.as_str(), "$ref" | "$id" | "$db"))
}

fn unsupported_operator(operator: &str, operand: RawBsonRef<'_>) -> Option<String> {
    let has_pattern = |array: &RawArray| {
        let mut values = array.into_iter().flatten();
        values.any(|value| matches!(value, RawBsonRef::RegularExpression(_)))
    };
    match (operator, operand) {
        ("$eq" | "$gt" | "$gte" | "$lt" | "$lte" | "$type" | "$comment", _) => None,
        ("$in", RawBsonRef::Array(values)) if has_pattern(values) => Some("$regex".to_owned()),
        ("$in", _) => None,
        ("$exists", operand) if is_true(operand) => None,
        ("$exists", _) => Some("$exists: false".to_owned()),
        (operator, _) => Some(operator.to_owned()),
    }
}

/// As the matcher reads the operand of `$exists`.
fn is_true(operand: RawBsonRef<'_>) -> bool {
    match operand {
        RawBsonRef::Boolean(value) => value,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        value => !tailwater_matcher::compare(value, RawBsonRef::Int32(0)).is_eq(),
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::error::ErrorCode;
    use crate::index::IndexDefinition;

    #[test]
    fn only_what_depends_on_the_document_alone_is_a_filter() {
        for filter in [
            rawdoc! { "a": 1, "b": { "$eq": 2 }, "c": { "x": 1 }, "$comment": "x" },
            rawdoc! { "a": { "$gt": 1, "$lte": 5 }, "b": { "$gte": 1, "$lt": 2 } },
            rawdoc! { "a": { "$exists": true }, "b": { "$type": "string" }, "c": { "$in": [1, "x"] } },
            rawdoc! { "$and": [{ "a": 1 }, { "$or": [{ "b": 1 }, { "c": { "$exists": 1 } }] }] },
            rawdoc! { "a": { "$ref": "people", "$id": 1 } },
        ] {
            assert!(check(&filter).is_ok(), "{filter:?}");
        }
        for (filter, found) in [
            (rawdoc! { "$expr": { "$gt": ["$expires", "$$NOW"] } }, "$expr"),
            (
                rawdoc! { "$or": [{ "a": 1 }, { "$and": [{ "$expr": { "$lt": [{ "$rand": {} }, 0.5] } }] }] },
                "$expr",
            ),
            (rawdoc! { "$nor": [{ "a": 1 }] }, "$nor"),
            (rawdoc! { "$jsonSchema": { "required": ["a"] } }, "$jsonSchema"),
            (rawdoc! { "a": { "$ne": 1 } }, "$ne"),
            (rawdoc! { "a": { "$gt": 1, "$not": { "$gt": 5 } } }, "$not"),
            (rawdoc! { "a": { "$nin": [1] } }, "$nin"),
            (rawdoc! { "a": { "$exists": false } }, "$exists: false"),
            (rawdoc! { "a": { "$regex": "x" } }, "$regex"),
            (
                rawdoc! { "a": bson::Regex { pattern: bson::cstr!("x").into(), options: bson::cstr!("").into() } },
                "$regex",
            ),
            (rawdoc! { "a": { "$elemMatch": { "$gt": 1 } } }, "$elemMatch"),
        ] {
            let refused = check(&filter).unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::CannotCreateIndex), "{filter:?}");
            let text = refused.to_string();
            assert!(
                text.contains(&format!("unsupported expression in partial index: {found}")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_in_a_store_is_read_as_it_is() {
        let stored = rawdoc! { "key": { "a": 1 }, "partialFilterExpression": { "b": { "$ne": 1 } } };
        assert!(IndexDefinition::parse(&stored).is_ok());
        let asked_for = IndexDefinition::asked_for(&stored, None);
        assert!(matches!(asked_for, Err(Error::InvalidIndex { .. })), "{asked_for:?}");
    }
}
