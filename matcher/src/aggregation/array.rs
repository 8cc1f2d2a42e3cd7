//! Arrays by position: `$arrayElemAt`, `$first`, `$last`, `$slice`, `$firstN`, `$lastN`, `$minN`,
//! `$maxN`, `$indexOfArray`, `$in`, `$isArray`, `$size`, `$reverseArray`, `$concatArrays`, `$range`.

use super::error::AggregationErrorKind as Kind;
use super::numeric::{is_number, whole_i32};
use super::operator::{Argument, Operator, any, between, comparing, exactly, named_comparing, required};
use super::order::{Comparer, take_for_sort};
use super::string::search_bounds;
use super::tree::{items, looked_at};
use super::value::Value;
use crate::steps;
use crate::validate::DOCUMENT_BYTES_MAX;

const COUNTED: &[Argument] = &[required("n", 5_787_906), required("input", 5_787_907)];

pub(crate) const OPERATORS: &[Operator] = &[
    exactly("$arrayElemAt", 2, elem_at),
    exactly("$first", 1, |values| end(values, 0)),
    exactly("$last", 1, |values| end(values, -1)),
    between("$slice", 2, 3, slice),
    named_comparing("$firstN", COUNTED, (5_787_801, 5_787_901), |values, comparer| {
        counted(values, Pick::First, comparer)
    }),
    named_comparing("$lastN", COUNTED, (5_787_801, 5_787_901), |values, comparer| {
        counted(values, Pick::Last, comparer)
    }),
    named_comparing("$minN", COUNTED, (5_787_900, 5_787_901), |values, comparer| {
        counted(values, Pick::Min, comparer)
    }),
    named_comparing("$maxN", COUNTED, (5_787_900, 5_787_901), |values, comparer| {
        counted(values, Pick::Max, comparer)
    }),
    comparing("$indexOfArray", (2, 4), index_of),
    comparing("$in", (2, 2), |values, comparer| {
        let all = looked_at(&values[1], 40081)?;
        Ok(Value::bool(all.iter().any(|item| comparer.equal(item, &values[0]))))
    }),
    exactly("$isArray", 1, |values| Ok(Value::bool(values[0].is_array()))),
    exactly("$size", 1, |values| match values[0].items_len() {
        Some(size) => Ok(Value::integer(size as i64)),
        None => Err(Kind::wrong(17124, "an array", &values[0])),
    }),
    exactly("$reverseArray", 1, |values| {
        if values[0].is_nullish() {
            return Ok(Value::NULL);
        }
        let mut reversed = items(&values[0], 34435)?.into_owned();
        reversed.reverse();
        Value::array(reversed)
    }),
    any("$concatArrays", concat),
    between("$range", 2, 3, range),
];

fn elem_at<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let all = items(&values[0], 28689)?;
    if !is_number(&values[1]) {
        return Err(Kind::wrong(28690, "a number as position", &values[1]));
    }
    let problem = "the position must be a whole number of 32 bits";
    let at = whole_i32(&values[1]).ok_or(Kind::WrongValue { problem, code: 28691 })?;
    Ok(item(&all, at))
}

fn end<'a>(values: &[Value<'a>], at: i32) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    Ok(item(&items(&values[0], 28689)?, at))
}

/// The item at a position, from the end when negative; missing beyond either end.
fn item<'a>(items: &[Value<'a>], at: i32) -> Value<'a> {
    let from_start = usize::try_from(at).ok();
    let from_end = || items.len().checked_sub(at.unsigned_abs() as usize);
    let found = from_start.or_else(from_end).and_then(|at| items.get(at));
    found.cloned().unwrap_or(Value::Missing)
}

fn slice<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let all = items(&values[0], 28724)?;
    let whole = |value: &Value<'_>, codes: (i32, i32)| {
        if !is_number(value) {
            return Err(Kind::wrong(codes.0, "numbers as position and count", value));
        }
        let problem = "position and count must be whole numbers of 32 bits";
        whole_i32(value).ok_or(Kind::WrongValue { problem, code: codes.1 })
    };
    let first = whole(&values[1], (28725, 28726))?;
    let count = match values.get(2) {
        None => None,
        Some(count) => match whole(count, (28727, 28728))? {
            count if count > 0 => Some(count),
            _ => {
                let problem = "the count must be above zero when there is a position";
                return Err(Kind::WrongValue { problem, code: 28729 });
            }
        },
    };
    let (start, end) = slice_bounds(all.len(), first, count);
    Value::array(all[start..end].to_vec())
}

/// Which part `$slice` means: the first or last `first` items, or `count` items from there.
pub(crate) fn slice_bounds(length: usize, first: i32, count: Option<i32>) -> (usize, usize) {
    let magnitude = first.unsigned_abs() as usize;
    let Some(count) = count else {
        return if first < 0 {
            (length.saturating_sub(magnitude), length)
        } else {
            (0, magnitude.min(length))
        };
    };
    let start = if first < 0 {
        length.saturating_sub(magnitude)
    } else {
        magnitude.min(length)
    };
    let count = usize::try_from(count).unwrap_or(0);
    (start, start.saturating_add(count).min(length))
}

/// Which items the operators that end in `N` pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    First,
    Last,
    Min,
    Max,
}

fn counted<'a>(values: &[Option<Value<'a>>], pick: Pick, comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
    let [Some(n), Some(input)] = values else {
        return Ok(Value::NULL);
    };
    let n = count_of(n)?;
    let mut all = items(input, 5_788_200)?.into_owned();
    match pick {
        Pick::First => {}
        Pick::Last => drop(all.drain(..all.len().saturating_sub(n))),
        Pick::Min | Pick::Max => {
            all.retain(|item| !item.is_nullish());
            take_for_sort(&all)?;
            all.sort_by(|a, b| match pick {
                Pick::Max => comparer.order(b, a),
                _ => comparer.order(a, b),
            });
        }
    }
    all.truncate(n);
    Value::array(all)
}

/// The `n` of an operator that takes one: a whole number above zero.
pub(crate) fn count_of(n: &Value<'_>) -> Result<usize, Kind> {
    if !is_number(n) {
        return Err(Kind::wrong(5_787_902, "a number as n", n));
    }
    let problem = "n must be a whole number";
    let whole = super::numeric::whole_i64(n).ok_or(Kind::WrongValue {
        problem,
        code: 5_787_903,
    })?;
    match usize::try_from(whole) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Kind::WrongValue {
            problem: "n must be above zero",
            code: 5_787_908,
        }),
    }
}

fn index_of<'a>(values: &[Value<'a>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let all = items(&values[0], 40090)?;
    let (start, end) = search_bounds(values, all.len())?;
    steps::take(end.saturating_sub(start) as u64)?;
    let found = (start..end).find(|at| comparer.equal(&all[*at], &values[1]));
    Ok(Value::integer(found.map_or(-1, |at| at as i64)))
}

fn concat<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let mut joined = Vec::new();
    let mut bytes = 0;
    for value in values {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        bytes += value.bytes();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Kind::TooLarge { found: bytes });
        }
        joined.extend_from_slice(&items(value, 28664)?);
    }
    Value::array(joined)
}

/// How many numbers `$range` makes at most: those of a document of 16 MiB.
const RANGE_MAX: u64 = DOCUMENT_BYTES_MAX as u64 / 8;

fn range<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let whole = |value: &Value<'_>, codes: (i32, i32)| {
        if !is_number(value) {
            return Err(Kind::wrong(codes.0, "numbers as start, end and step", value));
        }
        let problem = "start, end and step must be whole numbers of 32 bits";
        whole_i32(value)
            .map(i64::from)
            .ok_or(Kind::WrongValue { problem, code: codes.1 })
    };
    let start = whole(&values[0], (34443, 34444))?;
    let end = whole(&values[1], (34445, 34446))?;
    let step = values.get(2).map_or(Ok(1), |step| whole(step, (34447, 34448)))?;
    if step == 0 {
        let problem = "the step must not be zero";
        return Err(Kind::WrongValue { problem, code: 34449 });
    }
    let span = if step > 0 { end - start } else { start - end };
    let count = u64::try_from(span).map_or(0, |span| span.div_ceil(step.unsigned_abs()));
    if count > RANGE_MAX {
        return Err(Kind::Memory {
            limit: DOCUMENT_BYTES_MAX,
        });
    }
    // Before there are any.
    steps::take(count / 2)?;
    let numbers = (0..count as i64).map(|at| Value::integer(start + at * step)).collect();
    Value::array(numbers)
}
