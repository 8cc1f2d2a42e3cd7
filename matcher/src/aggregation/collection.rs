//! Arrays as a whole: `$map`, `$filter`, `$reduce`, `$sortArray`, `$zip`.

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::operator::{Argument, Operator, named, optional, required, special};
use super::parse::Parser;
use super::sort::SortPattern;
use super::tree::{Body, items};
use super::value::Value;
use crate::error::ParseError;
use crate::validate::DOCUMENT_BYTES_MAX;

const ZIP: &[Argument] = &[
    required("inputs", 34465),
    optional("useLongestLength"),
    optional("defaults"),
];

pub(crate) const OPERATORS: &[Operator] = &[
    special("$map", map),
    special("$filter", filter),
    special("$reduce", reduce),
    special("$sortArray", sort_array),
    named("$zip", ZIP, (34460, 34464), zip),
];

fn map(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut name, mut body) = (None, "this", None);
    for (argument, value) in parser.arguments(operator, value, 16878)? {
        match argument {
            "input" => input = Some(parser.inside(argument, |parser| parser.expression(value))?),
            "as" => name = variable(parser, operator, value)?,
            "in" => body = Some(value),
            _ => return Err(parser.unknown_argument(operator, argument, 16879)),
        }
    }
    let input = input.ok_or_else(|| parser.missing_argument(operator, "input", 16880))?;
    let body = body.ok_or_else(|| parser.missing_argument(operator, "in", 16882))?;
    let slot = parser.declare(name);
    let body = parser.inside("in", |parser| parser.expression(body))?;
    parser.forget(1);
    Ok(Body::Map { input, slot, body })
}

fn filter(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut name, mut condition, mut limit) = (None, "this", None, None);
    for (argument, value) in parser.arguments(operator, value, 28646)? {
        match argument {
            "input" => input = Some(parser.inside(argument, |parser| parser.expression(value))?),
            "as" => name = variable(parser, operator, value)?,
            "cond" => condition = Some(value),
            "limit" => limit = Some(parser.inside(argument, |parser| parser.expression(value))?),
            _ => return Err(parser.unknown_argument(operator, argument, 28647)),
        }
    }
    let input = input.ok_or_else(|| parser.missing_argument(operator, "input", 28648))?;
    let condition = condition.ok_or_else(|| parser.missing_argument(operator, "cond", 28650))?;
    let slot = parser.declare(name);
    let condition = parser.inside("cond", |parser| parser.expression(condition))?;
    parser.forget(1);
    Ok(Body::Filter {
        input,
        slot,
        condition,
        limit,
    })
}

fn reduce(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut initial, mut body) = (None, None, None);
    for (argument, value) in parser.arguments(operator, value, 40075)? {
        match argument {
            "input" => input = Some(parser.inside(argument, |parser| parser.expression(value))?),
            "initialValue" => initial = Some(parser.inside(argument, |parser| parser.expression(value))?),
            "in" => body = Some(value),
            _ => return Err(parser.unknown_argument(operator, argument, 40076)),
        }
    }
    let input = input.ok_or_else(|| parser.missing_argument(operator, "input", 40077))?;
    let initial = initial.ok_or_else(|| parser.missing_argument(operator, "initialValue", 40078))?;
    let body = body.ok_or_else(|| parser.missing_argument(operator, "in", 40079))?;
    let (value, this) = (parser.declare("value"), parser.declare("this"));
    let body = parser.inside("in", |parser| parser.expression(body))?;
    parser.forget(2);
    Ok(Body::Reduce {
        input,
        initial,
        value,
        this,
        body,
    })
}

fn sort_array(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut pattern) = (None, None);
    for (argument, value) in parser.arguments(operator, value, 2_942_500)? {
        match argument {
            "input" => input = Some(parser.inside(argument, |parser| parser.expression(value))?),
            "sortBy" => pattern = Some(SortPattern::parse(parser, operator, value)?),
            _ => return Err(parser.unknown_argument(operator, argument, 2_942_501)),
        }
    }
    Ok(Body::SortArray {
        input: input.ok_or_else(|| parser.missing_argument(operator, "input", 2_942_502))?,
        pattern: pattern.ok_or_else(|| parser.missing_argument(operator, "sortBy", 2_942_503))?,
    })
}

fn variable<'d>(parser: &Parser, operator: &str, value: RawBsonRef<'d>) -> Result<&'d str, ParseError> {
    match value {
        RawBsonRef::String(name) => parser.variable_name(operator, name),
        value => Err(parser.wrong_type(operator, "a string as the name of its variable", value, 16866)),
    }
}

fn zip<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    let [Some(inputs), longest, defaults] = values else {
        return Ok(Value::NULL);
    };
    let refuse = |problem, code| Err(Kind::WrongValue { problem, code });
    let inputs = items(inputs, 34461)?;
    if inputs.is_empty() {
        return refuse("needs at least one input", 34465);
    }
    let longest = match longest {
        Some(Value::Raw(RawBsonRef::Boolean(longest))) => *longest,
        None => false,
        Some(other) => return Err(Kind::wrong(34463, "a boolean as useLongestLength", other)),
    };
    let defaults = match defaults {
        Some(defaults) => items(defaults, 34462)?,
        None => Vec::new().into(),
    };
    if !defaults.is_empty() && !longest {
        return refuse("defaults need useLongestLength", 34466);
    }
    if !defaults.is_empty() && defaults.len() != inputs.len() {
        return refuse("there must be as many defaults as inputs", 34467);
    }
    if inputs.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let inputs = inputs
        .iter()
        .map(|input| items(input, 34468))
        .collect::<Result<Vec<_>, _>>()?;
    let lengths = inputs.iter().map(|input| input.len());
    let length = if longest { lengths.max() } else { lengths.min() }.unwrap_or(0);
    // Shorter inputs are filled up, so the result can be larger than all of them.
    if length.saturating_mul(inputs.len()) > DOCUMENT_BYTES_MAX / 8 {
        return Err(Kind::Memory {
            limit: DOCUMENT_BYTES_MAX,
        });
    }
    let rows = (0..length).map(|row| {
        let cells = inputs.iter().enumerate().map(|(column, input)| {
            let cell = input.get(row).or_else(|| defaults.get(column));
            cell.cloned().unwrap_or(Value::NULL)
        });
        Value::array(cells.collect())
    });
    Value::array(rows.collect::<Result<_, _>>()?)
}
