//! `$redact`: an expression decides, level by level, what of a document may be seen.
//!
//! `$$KEEP` keeps the level with all below it, `$$PRUNE` drops both, `$$DESCEND` keeps the level's
//! own fields and asks again for every document in them. Paths in the expression begin at the level.

use std::borrow::Cow;

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};

use crate::aggregation::{
    AggregationError, AggregationErrorKind as Kind, Value, ValueExpression, Variables, encode_fields, fields_of,
};
use crate::error::ParseError;
use crate::expression::ParseOptions;
use crate::validate::DEPTH_MAX;

const DECISIONS: [&str; 3] = ["DESCEND", "PRUNE", "KEEP"];

pub(super) fn parse(place: &str, value: RawBsonRef<'_>, options: &ParseOptions) -> Result<ValueExpression, ParseError> {
    let mut options = options.clone();
    options
        .variables
        .extend(["CURRENT"].into_iter().chain(DECISIONS).map(str::to_owned));
    ValueExpression::parse_at(place, value, &options)
}

pub(super) fn apply(
    expression: &ValueExpression,
    document: &RawDocument,
    variables: &Variables<'_>,
) -> Result<Option<RawDocumentBuf>, AggregationError> {
    let mut variables = variables.clone().rooted(&document);
    for decision in DECISIONS {
        variables = variables.bind(decision, RawBsonRef::String(decision));
    }
    match level(expression, document, &variables, 0)? {
        Some(Value::Raw(RawBsonRef::Document(document))) => Ok(Some(document.to_owned())),
        Some(value) => match value.fields() {
            Some(fields) => Ok(Some(encode_fields(&fields)?)),
            None => Ok(None),
        },
        None => Ok(None),
    }
}

fn level<'a>(
    expression: &'a ValueExpression,
    document: &'a RawDocument,
    variables: &Variables<'a>,
    depth: usize,
) -> Result<Option<Value<'a>>, AggregationError> {
    if depth > DEPTH_MAX {
        return Err(Kind::TooDeep.into());
    }
    let whole = RawBsonRef::Document(document);
    let decision = expression.compute(&variables.clone().bind("CURRENT", whole))?;
    match decision.as_str() {
        Some("KEEP") => Ok(Some(Value::Raw(whole))),
        Some("PRUNE") => Ok(None),
        Some("DESCEND") => {
            let mut fields = Vec::new();
            for (name, value) in fields_of(document) {
                if let Some(value) = inside(expression, value, variables, depth)? {
                    fields.push((Cow::clone(&name), value));
                }
            }
            Ok(Some(Value::document(fields)?))
        }
        _ => {
            let expected = "one of $$DESCEND, $$PRUNE and $$KEEP";
            Err(AggregationError::new(
                "$redact",
                Kind::wrong(17053, expected, &decision),
            ))
        }
    }
}

fn inside<'a>(
    expression: &'a ValueExpression,
    value: Value<'a>,
    variables: &Variables<'a>,
    depth: usize,
) -> Result<Option<Value<'a>>, AggregationError> {
    if let Value::Raw(RawBsonRef::Document(document)) = value {
        return level(expression, document, variables, depth + 1);
    }
    let Some(items) = value.items() else {
        return Ok(Some(value));
    };
    if depth > DEPTH_MAX {
        return Err(Kind::TooDeep.into());
    }
    let mut kept = Vec::with_capacity(items.len());
    for item in items.into_owned() {
        kept.extend(inside(expression, item, variables, depth + 1)?);
    }
    Ok(Some(Value::array(kept)?))
}
