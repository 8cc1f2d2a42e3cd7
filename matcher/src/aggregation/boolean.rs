//! `$and`, `$or`, `$not`, `$cond`, `$ifNull`, `$switch` and `$let`.
//!
//! They evaluate only what decides; a branch that is not taken cannot fail.

use bson::RawBsonRef;

use super::operator::{Operator, exactly, special};
use super::parse::Parser;
use super::tree::{Body, Tree};
use super::value::Value;
use crate::error::ParseError;

pub(crate) const OPERATORS: &[Operator] = &[
    special("$and", |parser, _, value| Ok(Body::And(parser.list(value)?))),
    special("$or", |parser, _, value| Ok(Body::Or(parser.list(value)?))),
    exactly("$not", 1, |values| Ok(Value::bool(!values[0].is_true()))),
    special("$cond", cond),
    special("$ifNull", |parser, operator, value| {
        let parts = parser.list(value)?;
        if parts.len() < 2 {
            return Err(parser.wrong_value(operator, "needs at least two arguments", 1_257_300));
        }
        Ok(Body::IfNull(parts))
    }),
    special("$switch", switch),
    special("$let", bindings),
];

fn cond(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let RawBsonRef::Document(document) = value else {
        let parts = parser.list(value)?;
        parser.arity(operator, parts.len(), 3, 3)?;
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or(Tree::Missing);
        return Ok(Body::Cond {
            condition: next(),
            then: next(),
            otherwise: next(),
        });
    };
    let (mut condition, mut then, mut otherwise) = (None, None, None);
    for (name, value) in parser.fields(document)? {
        let part = match name {
            "if" => &mut condition,
            "then" => &mut then,
            "else" => &mut otherwise,
            _ => return Err(parser.unknown_argument(operator, name, 17083)),
        };
        *part = Some(parser.inside(name, |parser| parser.expression(value))?);
    }
    Ok(Body::Cond {
        condition: condition.ok_or_else(|| parser.missing_argument(operator, "if", 17080))?,
        then: then.ok_or_else(|| parser.missing_argument(operator, "then", 17081))?,
        otherwise: otherwise.ok_or_else(|| parser.missing_argument(operator, "else", 17082))?,
    })
}

fn switch(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut branches, mut default) = (Vec::new(), None);
    for (name, value) in parser.arguments(operator, value, 40060)? {
        match name {
            "branches" => {
                let RawBsonRef::Array(array) = value else {
                    return Err(parser.wrong_type(operator, "an array of branches", value, 40061));
                };
                for (at, value) in array.into_iter().flatten().enumerate() {
                    let place = format!("branches[{at}]");
                    branches.push(parser.inside(&place, |parser| branch(parser, operator, value))?);
                }
            }
            "default" => default = Some(parser.inside(name, |parser| parser.expression(value))?),
            _ => return Err(parser.unknown_argument(operator, name, 40067)),
        }
    }
    if branches.is_empty() {
        return Err(parser.wrong_value(operator, "needs at least one branch", 40068));
    }
    Ok(Body::Switch { branches, default })
}

fn branch(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<(Tree, Tree), ParseError> {
    let (mut case, mut then) = (None, None);
    for (name, value) in parser.arguments(operator, value, 40062)? {
        let part = match name {
            "case" => &mut case,
            "then" => &mut then,
            _ => return Err(parser.unknown_argument(operator, name, 40063)),
        };
        *part = Some(parser.inside(name, |parser| parser.expression(value))?);
    }
    let case = case.ok_or_else(|| parser.missing_argument(operator, "case", 40064))?;
    let then = then.ok_or_else(|| parser.missing_argument(operator, "then", 40065))?;
    Ok((case, then))
}

fn bindings(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut variables, mut body) = (None, None);
    for (name, value) in parser.arguments(operator, value, 16874)? {
        match name {
            "vars" => variables = Some(value),
            "in" => body = Some(value),
            _ => return Err(parser.unknown_argument(operator, name, 16875)),
        }
    }
    let variables = variables.ok_or_else(|| parser.missing_argument(operator, "vars", 16876))?;
    let body = body.ok_or_else(|| parser.missing_argument(operator, "in", 16877))?;
    let mut values = Vec::new();
    // All values are computed before any variable is in sight.
    for (name, value) in parser.arguments(operator, variables, 10065)? {
        let name = parser.variable_name(operator, name)?;
        let tree = parser.inside("vars", |parser| parser.inside(name, |parser| parser.expression(value)))?;
        values.push((name, tree));
    }
    let count = values.len();
    let bindings = values
        .into_iter()
        .map(|(name, tree)| (parser.declare(name), tree))
        .collect();
    let body = parser.inside("in", |parser| parser.expression(body))?;
    parser.forget(count);
    Ok(Body::Let { bindings, body })
}
