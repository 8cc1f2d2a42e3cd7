//! Evaluating an operator's call. Most operators take values and compute one; those here decide by themselves which of their
//! parts are evaluated, how often, and with which variables.

use super::error::{AggregationError, AggregationErrorKind as Kind};
use super::order::take_for_sort;
use super::percentile;
use super::sort::SortPattern;
use super::tree::{Body, Call, Frame, Tree, items};
use super::value::Value;

type Result<T, E = AggregationError> = std::result::Result<T, E>;

impl Call {
    pub(super) fn evaluate<'a>(&'a self, frame: &mut Frame<'a>) -> Result<Value<'a>> {
        match &self.body {
            Body::Positional { apply, arguments } => Ok(match &arguments[..] {
                // Most operators take one or two arguments: no list is made for those.
                [one] => apply.apply(&[one.evaluate(frame)?], frame.comparer)?,
                [one, two] => {
                    let before = frame.held;
                    let one = one.evaluate(frame)?;
                    frame.hold(&one)?;
                    let two = two.evaluate(frame)?;
                    frame.held = before;
                    apply.apply(&[one, two], frame.comparer)?
                }
                all => apply.apply(&evaluate_all(all, frame)?, frame.comparer)?,
            }),
            Body::Named { apply, arguments } => {
                let before = frame.held;
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let value = evaluate_optional(argument.as_ref(), frame)?;
                    value.iter().try_for_each(|value| frame.hold(value))?;
                    values.push(value);
                }
                frame.held = before;
                Ok(apply.apply(&values, frame.comparer)?)
            }
            Body::And(parts) => every(parts, frame, true),
            Body::Or(parts) => every(parts, frame, false),
            Body::Cond {
                condition,
                then,
                otherwise,
            } => {
                let branch = if condition.evaluate(frame)?.is_true() {
                    then
                } else {
                    otherwise
                };
                branch.evaluate(frame)
            }
            Body::IfNull(parts) => first_of(parts, frame),
            Body::Switch { branches, default } => switch(branches, default.as_ref(), frame),
            Body::Let { bindings, body } => with_bindings(bindings, body, frame),
            Body::Map { input, slot, body } => map(input, *slot, body, frame),
            Body::Filter {
                input,
                slot,
                condition,
                limit,
            } => filter(input, *slot, condition, limit.as_ref(), frame),
            Body::Reduce {
                input,
                initial,
                value,
                this,
                body,
            } => reduce(input, initial, [*value, *this], body, frame),
            Body::SortArray { input, pattern } => sort_array(input, pattern, frame),
            Body::Percentile { input, quantiles } => Ok(percentile::of_value(quantiles, &input.evaluate(frame)?)?),
            Body::Convert {
                input,
                to,
                on_error,
                on_null,
            } => convert(input, to, [on_error.as_ref(), on_null.as_ref()], frame),
            Body::Regex(call) => {
                let input = call.input.evaluate(frame)?;
                let regex = evaluate_optional(call.regex.as_ref(), frame)?;
                let options = evaluate_optional(call.options.as_ref(), frame)?;
                Ok(call.apply(&input, regex.as_ref(), options.as_ref())?)
            }
            Body::Random => Ok(Value::double(fastrand::f64())),
        }
    }
}

pub(super) fn evaluate_all<'a>(trees: &'a [Tree], frame: &mut Frame<'a>) -> Result<Vec<Value<'a>>> {
    let before = frame.held;
    let mut values = Vec::with_capacity(trees.len());
    for tree in trees {
        let value = tree.evaluate(frame)?;
        frame.hold(&value)?;
        values.push(value);
    }
    frame.held = before;
    Ok(values)
}

fn evaluate_optional<'a>(tree: Option<&'a Tree>, frame: &mut Frame<'a>) -> Result<Option<Value<'a>>> {
    tree.map(|tree| tree.evaluate(frame)).transpose()
}

/// `$and` when `looked_for` is true, else `$or`; stops at the first part that decides.
fn every<'a>(parts: &'a [Tree], frame: &mut Frame<'a>, looked_for: bool) -> Result<Value<'a>> {
    for part in parts {
        if part.evaluate(frame)?.is_true() != looked_for {
            return Ok(Value::bool(!looked_for));
        }
    }
    Ok(Value::bool(looked_for))
}

/// `$ifNull`: the last one, when all are null or missing.
fn first_of<'a>(parts: &'a [Tree], frame: &mut Frame<'a>) -> Result<Value<'a>> {
    let mut last = Value::Missing;
    for part in parts {
        last = part.evaluate(frame)?;
        if !last.is_nullish() {
            break;
        }
    }
    Ok(last)
}

fn switch<'a>(branches: &'a [(Tree, Tree)], default: Option<&'a Tree>, frame: &mut Frame<'a>) -> Result<Value<'a>> {
    for (case, then) in branches {
        if case.evaluate(frame)?.is_true() {
            return then.evaluate(frame);
        }
    }
    match default {
        Some(default) => default.evaluate(frame),
        None => Err(Kind::WrongValue {
            problem: "no branch holds, and there is no default",
            code: 40066,
        }
        .into()),
    }
}

fn with_bindings<'a>(bindings: &'a [(usize, Tree)], body: &'a Tree, frame: &mut Frame<'a>) -> Result<Value<'a>> {
    // None of them sees another.
    let before = frame.held;
    let mut values = Vec::with_capacity(bindings.len());
    for (slot, tree) in bindings {
        let value = tree.evaluate(frame)?;
        frame.hold(&value)?;
        values.push((*slot, value));
    }
    frame.held = before;
    for (slot, value) in values {
        frame.bind(slot, value)?;
    }
    body.evaluate(frame)
}

fn map<'a>(input: &'a Tree, slot: usize, body: &'a Tree, frame: &mut Frame<'a>) -> Result<Value<'a>> {
    let input = input.evaluate(frame)?;
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let before = frame.held;
    frame.hold(&input)?;
    let items = items(&input, 16883)?;
    let mut mapped = Vec::with_capacity(items.len());
    // Checked on the way: each item may be small and the whole too large.
    let mut bytes = 0;
    for item in items.iter() {
        frame.bind(slot, item.clone())?;
        let value = body.evaluate(frame)?;
        bytes += value.bytes();
        within_document(bytes)?;
        frame.hold(&value)?;
        mapped.push(value);
    }
    frame.held = before;
    Ok(Value::array(mapped)?)
}

fn filter<'a>(
    input: &'a Tree,
    slot: usize,
    condition: &'a Tree,
    limit: Option<&'a Tree>,
    frame: &mut Frame<'a>,
) -> Result<Value<'a>> {
    let input = input.evaluate(frame)?;
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let before = frame.held;
    frame.hold(&input)?;
    let limit = filter_limit(evaluate_optional(limit, frame)?)?;
    let items = items(&input, 28651)?;
    let mut kept = Vec::new();
    for item in items.iter() {
        if kept.len() == limit {
            break;
        }
        frame.bind(slot, item.clone())?;
        if condition.evaluate(frame)?.is_true() {
            kept.push(item.clone());
        }
    }
    frame.held = before;
    Ok(Value::array(kept)?)
}

/// With the slots of `$$value` and `$$this`.
fn reduce<'a>(
    input: &'a Tree,
    initial: &'a Tree,
    [value, this]: [usize; 2],
    body: &'a Tree,
    frame: &mut Frame<'a>,
) -> Result<Value<'a>> {
    let input = input.evaluate(frame)?;
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let before = frame.held;
    frame.hold(&input)?;
    let items = items(&input, 40080)?;
    let mut accumulated = initial.evaluate(frame)?;
    for item in items.iter() {
        frame.bind(value, accumulated)?;
        frame.bind(this, item.clone())?;
        accumulated = body.evaluate(frame)?;
    }
    frame.held = before;
    Ok(accumulated)
}

fn sort_array<'a>(input: &'a Tree, pattern: &SortPattern, frame: &mut Frame<'a>) -> Result<Value<'a>> {
    let input = input.evaluate(frame)?;
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let mut sorted = items(&input, 2_942_504)?.into_owned();
    take_for_sort(&sorted)?;
    pattern.sort(&mut sorted, frame.comparer);
    Ok(Value::array(sorted)?)
}

fn convert<'a>(
    input: &'a Tree,
    to: &'a Tree,
    [on_error, on_null]: [Option<&'a Tree>; 2],
    frame: &mut Frame<'a>,
) -> Result<Value<'a>> {
    let input = input.evaluate(frame)?;
    let to = to.evaluate(frame)?;
    if input.is_nullish() || to.is_nullish() {
        return match on_null {
            Some(on_null) if input.is_nullish() => on_null.evaluate(frame),
            _ => Ok(Value::NULL),
        };
    }
    match (super::convert::convert(&input, &to), on_error) {
        (Err(Kind::Conversion { .. }), Some(on_error)) => on_error.evaluate(frame),
        (result, _) => Ok(result?),
    }
}

fn within_document(bytes: usize) -> Result<(), Kind> {
    if bytes > crate::validate::DOCUMENT_BYTES_MAX {
        return Err(Kind::TooLarge { found: bytes });
    }
    Ok(())
}

fn filter_limit(limit: Option<Value<'_>>) -> Result<usize, Kind> {
    let Some(limit) = limit.filter(|limit| !limit.is_nullish()) else {
        return Ok(usize::MAX);
    };
    match super::numeric::whole_i32(&limit) {
        Some(limit) if limit > 0 => Ok(limit.unsigned_abs() as usize),
        Some(_) => Err(Kind::WrongValue {
            problem: "the limit must be above zero",
            code: 327_392,
        }),
        None => Err(Kind::wrong(327_391, "a 32-bit integer as limit", &limit)),
    }
}
