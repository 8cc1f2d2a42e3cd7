//! `$median` and `$percentile`, of one document's values and, as accumulators, of a group's.
//!
//! Numbers of all types count as doubles; other values and not-a-number do not count. A percentile is one of the numbers: the
//! least that at least such a part of them does not exceed. Without a number it is null.
//!
//! The only method is `approximate`, as in MongoDB 7, whose expressions compute exactly under that name and whose accumulators
//! estimate (manual: *$percentile*). Here both compute exactly, so an accumulator keeps its group's numbers, eight bytes each.
//!
//! Rules: <https://www.mongodb.com/docs/v7.0/reference/operator/aggregation/percentile/>

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::numeric::Number;
use super::operator::{Operator, special};
use super::parse::Parser;
use super::tree::{Body, Tree};
use super::value::Value;
use crate::error::ParseError;
use crate::steps;

pub(crate) const OPERATORS: &[Operator] = &[
    special("$median", |parser, operator, value| {
        expression(parser, operator, value, 7_436_201)
    }),
    special("$percentile", |parser, operator, value| {
        expression(parser, operator, value, 7_436_200)
    }),
];

/// So many percentiles can be asked for at once.
const PARTS_MAX: usize = 100_000;

/// Which percentiles are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Quantiles {
    /// The one in the middle, alone.
    Median,
    /// Those at these parts of the numbers, 0 to 1, as an array.
    At(Box<[f64]>),
}

/// The arguments of both operators, as they stand there.
pub(crate) struct Arguments<'d> {
    pub(crate) input: RawBsonRef<'d>,
    /// There for `$percentile` only.
    pub(crate) p: Option<RawBsonRef<'d>>,
    method: RawBsonRef<'d>,
}

impl<'d> Arguments<'d> {
    /// Reads them; `not_a_document` is MongoDB's number for something else in their place.
    pub(crate) fn read(
        parser: &Parser,
        operator: &str,
        value: RawBsonRef<'d>,
        not_a_document: i32,
    ) -> Result<Arguments<'d>, ParseError> {
        let has_p = operator == "$percentile";
        let (mut input, mut p, mut method) = (None, None, None);
        for (name, value) in parser.arguments(operator, value, not_a_document)? {
            match name {
                "input" => input = Some(value),
                "p" if has_p => p = Some(value),
                "method" => method = Some(value),
                _ => return Err(parser.unknown_argument(operator, name, 40415)),
            }
        }
        if has_p && p.is_none() {
            return Err(parser.missing_argument(operator, "p", 40414));
        }
        Ok(Arguments {
            input: input.ok_or_else(|| parser.missing_argument(operator, "input", 40414))?,
            p,
            method: method.ok_or_else(|| parser.missing_argument(operator, "method", 40414))?,
        })
    }

    /// What is asked for, where `p` is this constant, if it is one.
    pub(crate) fn quantiles(
        &self,
        parser: &Parser,
        operator: &str,
        p: Option<&Value<'_>>,
    ) -> Result<Quantiles, ParseError> {
        let refuse = |problem, code| parser.wrong_value(operator, problem, code);
        let quantiles = match (self.p, p) {
            (None, _) => Quantiles::Median,
            (Some(_), None) => return Err(refuse("p must be a constant", 7_750_300)),
            (Some(_), Some(p)) => Quantiles::At(parts(p).map_err(|(problem, code)| refuse(problem, code))?),
        };
        match self.method {
            RawBsonRef::String("approximate") => Ok(quantiles),
            RawBsonRef::String(_) => Err(refuse("the method must be \"approximate\"", 2)),
            other => Err(parser.wrong_type(operator, "a string as method", other, 14)),
        }
    }
}

/// The parts that `p` names.
fn parts(p: &Value<'_>) -> Result<Box<[f64]>, (&'static str, i32)> {
    let items = p.items().filter(|items| !items.is_empty());
    let items = items.ok_or(("p must be an array of at least one number from 0 to 1", 7_750_301))?;
    if items.len() > PARTS_MAX {
        return Err((
            "p must be an array of at most 100,000 numbers: the answers have to fit into a document",
            7_750_301,
        ));
    }
    let part = |item: &Value<'_>| {
        let number = Number::of(item).ok_or(("p must be an array of numbers", 7_750_302))?;
        let part = number.to_f64();
        let in_range = (0.0..=1.0).contains(&part);
        in_range
            .then_some(part)
            .ok_or(("each number of p must be from 0 to 1", 7_750_303))
    };
    items.iter().map(part).collect()
}

fn expression(
    parser: &mut Parser,
    operator: &'static str,
    value: RawBsonRef<'_>,
    not_a_document: i32,
) -> Result<Body, ParseError> {
    let arguments = Arguments::read(parser, operator, value, not_a_document)?;
    let input = parser.inside("input", |parser| parser.expression(arguments.input))?;
    let p = arguments
        .p
        .map(|p| parser.inside("p", |parser| parser.expression(p)))
        .transpose()?;
    let p = p.as_ref().and_then(Tree::as_constant);
    let quantiles = arguments.quantiles(parser, operator, p.as_ref())?;
    Ok(Body::Percentile { input, quantiles })
}

/// Those of a value: of an array's items, or of a number alone.
pub(crate) fn of_value<'a>(quantiles: &Quantiles, input: &Value<'_>) -> Result<Value<'a>, Kind> {
    let numbers = match input.items() {
        Some(items) => {
            steps::take(steps::for_sort(items.len(), 0))?;
            items.iter().filter_map(counted).collect()
        }
        None => counted(input).into_iter().collect(),
    };
    quantiles.of(numbers)
}

/// What a value counts as.
pub(crate) fn counted(value: &Value<'_>) -> Option<f64> {
    let number = Number::of(value)?.to_f64();
    (!number.is_nan()).then_some(number)
}

impl Quantiles {
    /// Those of numbers, none of which is not-a-number.
    pub(crate) fn of<'a>(&self, mut numbers: Vec<f64>) -> Result<Value<'a>, Kind> {
        numbers.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            numbers
                .get(rank(numbers.len(), part))
                .map_or(Value::NULL, |n| Value::double(*n))
        };
        match self {
            Quantiles::Median => Ok(at(0.5)),
            Quantiles::At(parts) => Value::array(parts.iter().map(|part| at(*part)).collect()),
        }
    }
}

/// The place of a percentile among so many numbers in order.
fn rank(count: usize, part: f64) -> usize {
    let not_above = (part * count as f64).ceil() as usize;
    not_above.clamp(1, count.max(1)) - 1
}
