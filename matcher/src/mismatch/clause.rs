//! The clauses of a filter: which of them do not hold, or do where they must not.
//!
//! Recursion goes as deep as the filter, which was parsed and so is no deeper than [`DEPTH_MAX`](crate::DEPTH_MAX).

use bson::raw::{RawBsonRef, cstr};
use bson::{RawArrayBuf, RawBson, RawDocument, RawDocumentBuf};

use super::report::Report;
use super::{leaf, schema};
use crate::aggregation::{ValueExpression, Variables};
use crate::evaluate::EvaluateError;
use crate::expression::Expression;
use crate::parse::holds_operators;
use crate::render;

/// One condition of a filter.
pub(super) struct Clause<'f> {
    /// A field, or an operator that stands in the place of one.
    pub(super) name: &'f str,
    /// Of a field the operator; none where it is a value or a regular expression.
    pub(super) operator: Option<&'f str>,
    pub(super) argument: RawBsonRef<'f>,
    /// Of `$regex`.
    options: Option<RawBsonRef<'f>>,
}

impl Clause<'_> {
    /// The clause as a filter of its own.
    pub(super) fn source(&self) -> RawDocumentBuf {
        let mut source = RawDocumentBuf::new();
        match self.operator {
            None => render::append(&mut source, self.name, self.argument),
            Some(operator) => {
                let mut condition = RawDocumentBuf::new();
                render::append(&mut condition, operator, self.argument);
                if let Some(options) = self.options {
                    condition.append(cstr!("$options"), options);
                }
                render::append(&mut source, self.name, RawBsonRef::Document(&condition));
            }
        }
        source
    }

    /// Whether it holds. One that cannot be decided does not.
    fn holds(&self, document: &RawDocument) -> bool {
        holds(&self.source(), document).unwrap_or(false)
    }
}

pub(super) fn holds(filter: &RawDocument, document: &RawDocument) -> Result<bool, EvaluateError> {
    // A part of a filter that parses does so, too.
    Expression::parse(filter).map_or(Ok(false), |filter| filter.matches(document))
}

/// The clauses of a filter, in its order, each operator on a field by itself.
fn clauses(filter: &RawDocument) -> Vec<Clause<'_>> {
    let mut clauses = Vec::new();
    for (name, value) in filter.iter().flatten() {
        let name = name.as_str();
        let mut add = |operator, argument, options| {
            clauses.push(Clause {
                name,
                operator,
                argument,
                options,
            });
        };
        match value {
            _ if name == "$comment" => {}
            RawBsonRef::Document(condition) if !name.starts_with('$') && holds_operators(condition) => {
                let options = condition.get("$options").ok().flatten();
                for (operator, argument) in condition.iter().flatten() {
                    match operator.as_str() {
                        "$options" => {}
                        "$regex" => add(Some("$regex"), argument, options),
                        operator => add(Some(operator), argument, None),
                    }
                }
            }
            value => add(None, value, None),
        }
    }
    clauses
}

/// What of a filter does not hold; or, inverted, what does although it must not.
pub(super) fn of_filter(
    report: &mut Report,
    filter: &RawDocument,
    document: &RawDocument,
    inverted: bool,
) -> Option<RawDocumentBuf> {
    let clauses = clauses(filter);
    if let [clause] = &clauses[..] {
        return of_clause(report, clause, document, inverted);
    }
    let mut list = RawArrayBuf::new();
    for (index, clause) in clauses.iter().enumerate() {
        if clause.holds(document) == inverted && !report.is_full() {
            let details = of_clause(report, clause, document, inverted);
            add_indexed(report, &mut list, index, details);
        }
    }
    with_list(report, "$and", inverted, list)
}

fn of_clause(
    report: &mut Report,
    clause: &Clause<'_>,
    document: &RawDocument,
    inverted: bool,
) -> Option<RawDocumentBuf> {
    match (clause.name, clause.operator, clause.argument) {
        ("$and" | "$or", None, RawBsonRef::Array(parts)) => {
            of_parts(report, clause.name, parts, document, (inverted, inverted))
        }
        // What it is told of is what matches.
        ("$nor", None, RawBsonRef::Array(parts)) => {
            of_parts(report, clause.name, parts, document, (!inverted, !inverted))
        }
        ("$expr", None, argument) => Some(of_expression(report, argument, document, inverted)),
        ("$jsonSchema", None, RawBsonRef::Document(schema)) => {
            let mut entry = report.entry("$jsonSchema");
            report.annotations(&mut entry, schema);
            if inverted {
                report.text(&mut entry, cstr!("reason"), "schema matched");
            } else {
                let rules = schema::rules(report, schema, RawBsonRef::Document(document));
                entry.append(cstr!("schemaRulesNotSatisfied"), rules);
            }
            Some(entry)
        }
        (field, Some("$not"), argument) => {
            let mut inner = RawDocumentBuf::new();
            render::append(&mut inner, field, argument);
            let mut entry = report.entry("$not");
            if let Some(details) = of_filter(report, &inner, document, !inverted) {
                entry.append(cstr!("details"), details);
            }
            Some(entry)
        }
        _ => Some(leaf::describe(report, clause, document, inverted)),
    }
}

/// `told` says whether parts that hold are told of, and whether they are explained as such.
fn of_parts(
    report: &mut Report,
    operator: &str,
    parts: &bson::RawArray,
    document: &RawDocument,
    (told, inverted): (bool, bool),
) -> Option<RawDocumentBuf> {
    let mut list = RawArrayBuf::new();
    for (index, part) in parts.into_iter().flatten().enumerate() {
        let RawBsonRef::Document(part) = part else { continue };
        if holds(part, document).unwrap_or(false) == told && !report.is_full() {
            let details = of_filter(report, part, document, inverted);
            add_indexed(report, &mut list, index, details);
        }
    }
    with_list(report, operator, told, list)
}

fn add_indexed(report: &mut Report, list: &mut RawArrayBuf, index: usize, details: Option<RawDocumentBuf>) {
    let mut entry = bson::rawdoc! { "index": i32::try_from(index).unwrap_or(i32::MAX) };
    if let Some(details) = details {
        entry.append(cstr!("details"), details);
        report.push(list, entry);
    }
}

fn with_list(report: &mut Report, operator: &str, satisfied: bool, list: RawArrayBuf) -> Option<RawDocumentBuf> {
    if list.is_empty() {
        return None;
    }
    let mut entry = report.entry(operator);
    let name = match satisfied {
        true => cstr!("clausesSatisfied"),
        false => cstr!("clausesNotSatisfied"),
    };
    entry.append(name, list);
    Some(entry)
}

fn of_expression(
    report: &mut Report,
    argument: RawBsonRef<'_>,
    document: &RawDocument,
    inverted: bool,
) -> RawDocumentBuf {
    let mut entry = report.entry("$expr");
    report.specified(&mut entry, "$expr", argument);
    let expression = ValueExpression::parse(argument);
    let found = expression.map(|expression| {
        let value = expression.evaluate(&Variables::new(&document))?;
        value.into_bson()
    });
    match found {
        Ok(Ok(value)) => {
            let reason = if inverted {
                "expression did match"
            } else {
                "expression did not match"
            };
            report.text(&mut entry, cstr!("reason"), reason);
            if let Some(value) = &value {
                let value: &RawBson = value;
                report.value(&mut entry, cstr!("expressionResult"), value.as_raw_bson_ref());
            }
        }
        Ok(Err(error)) => {
            let reason = "failed to evaluate aggregation expression";
            report.text(&mut entry, cstr!("reason"), reason);
            let mut details = RawDocumentBuf::new();
            if let (Some(code), Some(name)) = (error.code(), error.code_name()) {
                details.append(cstr!("code"), code);
                details.append(cstr!("codeName"), &*name);
            }
            report.text(&mut details, cstr!("errmsg"), &error.to_string());
            entry.append(cstr!("details"), details);
        }
        // It was parsed before.
        Err(_) => {}
    }
    entry
}
