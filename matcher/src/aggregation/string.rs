//! Strings by length and position: `$concat`, `$substrBytes`, `$substrCP`, `$strLenBytes`,
//! `$strLenCP`, `$indexOfBytes`, `$indexOfCP`, `$split`.
//!
//! Operators that end in `CP` count code points, the others bytes of UTF-8.

use super::error::AggregationErrorKind as Kind;
use super::numeric::{is_number, whole_i32, whole_i64};
use super::operator::{Operator, any, between, exactly};
use super::text::coerced;
use super::value::Value;
use crate::validate::DOCUMENT_BYTES_MAX;

pub(crate) const OPERATORS: &[Operator] = &[
    any("$concat", concat),
    exactly("$substr", 3, substr_bytes),
    exactly("$substrBytes", 3, substr_bytes),
    exactly("$substrCP", 3, substr_code_points),
    exactly("$strLenBytes", 1, |values| {
        Ok(Value::integer(text(&values[0], 34473)?.len() as i64))
    }),
    exactly("$strLenCP", 1, |values| {
        Ok(Value::integer(text(&values[0], 34471)?.chars().count() as i64))
    }),
    between("$indexOfBytes", 2, 4, index_of_bytes),
    between("$indexOfCP", 2, 4, index_of_code_points),
    exactly("$split", 2, split),
];

/// The string, or an error with that number.
pub(crate) fn text<'v>(value: &'v Value<'_>, code: i32) -> Result<&'v str, Kind> {
    value.as_str().ok_or_else(|| Kind::wrong(code, "a string", value))
}

fn concat<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let mut joined = String::new();
    for value in values {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        joined.push_str(text(value, 16702)?);
        if joined.len() > DOCUMENT_BYTES_MAX {
            return Err(Kind::TooLarge { found: joined.len() });
        }
    }
    Value::text(&joined)
}

fn substr_bytes<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let text = coerced(&values[0])?;
    if !is_number(&values[1]) {
        return Err(Kind::wrong(16034, "a number as start", &values[1]));
    }
    if !is_number(&values[2]) {
        return Err(Kind::wrong(16035, "a number as length", &values[2]));
    }
    let whole = |value: &Value<'_>| super::numeric::Number::of(value).map_or(0, |number| number.to_f64() as i64);
    let problem = "the start must not be negative";
    let start = usize::try_from(whole(&values[1])).map_err(|_| Kind::WrongValue { problem, code: 50752 })?;
    // A negative length reaches to the end.
    let length = usize::try_from(whole(&values[2])).unwrap_or(usize::MAX);
    let start = start.min(text.len());
    let end = start.saturating_add(length).min(text.len());
    if !text.is_char_boundary(start) {
        let problem = "the start is inside of a character";
        return Err(Kind::WrongValue { problem, code: 28656 });
    }
    match text.get(start..end) {
        Some(part) => Value::text(part),
        None => Err(Kind::WrongValue {
            problem: "the end is inside of a character",
            code: 28657,
        }),
    }
}

fn substr_code_points<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let text = coerced(&values[0])?;
    let position = |value: &Value<'_>, codes: (i32, i32, i32)| {
        if !is_number(value) {
            return Err(Kind::wrong(codes.0, "whole numbers as start and length", value));
        }
        let problem = "start and length must be whole numbers of 32 bits";
        let whole = whole_i32(value).ok_or(Kind::WrongValue { problem, code: codes.1 })?;
        let problem = "start and length must not be negative";
        usize::try_from(whole).map_err(|_| Kind::WrongValue { problem, code: codes.2 })
    };
    let start = position(&values[1], (34450, 34451, 34455))?;
    let length = position(&values[2], (34452, 34453, 34454))?;
    let part: String = text.chars().skip(start).take(length).collect();
    Value::text(&part)
}

/// The bounds of a search: from where, up to where, in the operator's unit.
pub(crate) fn search_bounds(values: &[Value<'_>], length: usize) -> Result<(usize, usize), Kind> {
    let bound = |value: Option<&Value<'_>>, default: usize| {
        let Some(value) = value else { return Ok(default) };
        let whole = whole_i64(value).filter(|whole| i32::try_from(*whole).is_ok());
        let whole = whole.ok_or_else(|| Kind::wrong(40096, "whole numbers as bounds", value))?;
        let problem = "the bounds must not be negative";
        usize::try_from(whole).map_err(|_| Kind::WrongValue { problem, code: 40097 })
    };
    let start = bound(values.get(2), 0)?;
    let end = bound(values.get(3), length)?.min(length);
    Ok((start, end))
}

fn index_of_bytes<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let (haystack, needle) = (text(&values[0], 40091)?, text(&values[1], 40092)?);
    let (start, end) = search_bounds(values, haystack.len())?;
    let found = find(haystack.as_bytes(), needle.as_bytes(), start, end);
    Ok(Value::integer(found.map_or(-1, |at| at as i64)))
}

fn index_of_code_points<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let (haystack, needle) = (text(&values[0], 40093)?, text(&values[1], 40094)?);
    let (start, end) = search_bounds(values, haystack.chars().count())?;
    let byte = |position: usize| {
        let at = haystack.char_indices().nth(position);
        at.map_or(haystack.len(), |(byte, _)| byte)
    };
    if start > end {
        return Ok(Value::int(-1));
    }
    let found = find(haystack.as_bytes(), needle.as_bytes(), byte(start), byte(end));
    let found = found
        .and_then(|at| haystack.get(..at))
        .map(|before| before.chars().count());
    Ok(Value::integer(found.map_or(-1, |at| at as i64)))
}

/// The first position of `needle` that begins and ends within the bounds.
fn find(haystack: &[u8], needle: &[u8], start: usize, end: usize) -> Option<usize> {
    let window = haystack.get(start..end)?;
    if needle.is_empty() {
        return Some(start);
    }
    // Whole strings search in linear time; a bound inside of a character leaves bytes.
    let at = match (std::str::from_utf8(window), std::str::from_utf8(needle)) {
        (Ok(window), Ok(needle)) => window.find(needle),
        _ => window.windows(needle.len()).position(|part| part == needle),
    };
    at.map(|at| start + at)
}

fn split<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() || values[1].is_nullish() {
        return Ok(Value::NULL);
    }
    let (joined, separator) = (text(&values[0], 40085)?, text(&values[1], 40086)?);
    if separator.is_empty() {
        let problem = "the separator must not be empty";
        return Err(Kind::WrongValue { problem, code: 40087 });
    }
    let parts = joined.split(separator).map(Value::text).collect::<Result<_, _>>()?;
    Value::array(parts)
}
