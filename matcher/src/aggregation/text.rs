//! Strings by content: `$toLower`, `$toUpper`, `$strcasecmp`, `$trim`, `$ltrim`, `$rtrim`,
//! `$replaceOne`, `$replaceAll`.
//!
//! Case is ASCII's, as in MongoDB: other letters keep theirs.

use std::borrow::Cow;

use bson::RawBsonRef;

use super::convert::to_text;
use super::error::AggregationErrorKind as Kind;
use super::operator::{Argument, Operator, exactly, named, optional, required};
use super::string::text;
use super::value::Value;
use crate::validate::DOCUMENT_BYTES_MAX;

const TRIM: &[Argument] = &[required("input", 50695), optional("chars")];
const REPLACE: &[Argument] = &[
    required("input", 51749),
    required("find", 51748),
    required("replacement", 51747),
];

pub(crate) const OPERATORS: &[Operator] = &[
    exactly("$toLower", 1, |values| {
        Value::text(&coerced(&values[0])?.to_ascii_lowercase())
    }),
    exactly("$toUpper", 1, |values| {
        Value::text(&coerced(&values[0])?.to_ascii_uppercase())
    }),
    exactly("$strcasecmp", 2, |values| {
        let (a, b) = (coerced(&values[0])?, coerced(&values[1])?);
        let order = a.to_ascii_uppercase().cmp(&b.to_ascii_uppercase());
        Ok(Value::int(order as i32))
    }),
    named("$trim", TRIM, (50694, 50696), |values| trim(values, true, true)),
    named("$ltrim", TRIM, (50694, 50696), |values| trim(values, true, false)),
    named("$rtrim", TRIM, (50694, 50696), |values| trim(values, false, true)),
    named("$replaceOne", REPLACE, (51751, 51750), |values| replace(values, 1)),
    named("$replaceAll", REPLACE, (51751, 51750), |values| {
        replace(values, usize::MAX)
    }),
];

/// The value as a string, where MongoDB coerces: strings, numbers, dates, timestamps; nothing is
/// the empty string.
pub(crate) fn coerced<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Kind> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    match value {
        value if value.is_nullish() => Ok(Cow::Borrowed("")),
        Value::Raw(RawBsonRef::JavaScriptCode(code)) => Ok(Cow::Borrowed(code)),
        Value::Raw(RawBsonRef::Timestamp(timestamp)) => {
            Ok(Cow::Owned(super::date_format::timestamp(i64::from(timestamp.time))))
        }
        Value::Raw(
            raw @ (RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_)
            | RawBsonRef::DateTime(_)),
        ) => to_text(*raw).map(Cow::Owned),
        value => Err(Kind::wrong(16007, "a string, a number or a date", value)),
    }
}

/// What `$trim` removes when it is not told: white space and the zero byte.
const WHITE_SPACE: &[char] = &[
    '\0', ' ', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
    '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}',
];

fn trim<'a>(values: &[Option<Value<'a>>], left: bool, right: bool) -> Result<Value<'a>, Kind> {
    let [Some(input), chars] = values else {
        return Ok(Value::NULL);
    };
    if input.is_nullish() || chars.as_ref().is_some_and(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let input = text(input, 50699)?;
    let chars: Cow<'_, [char]> = match chars {
        Some(chars) => text(chars, 50700)?.chars().collect::<Vec<_>>().into(),
        None => WHITE_SPACE.into(),
    };
    let mut trimmed = input;
    if left {
        trimmed = trimmed.trim_start_matches(&*chars);
    }
    if right {
        trimmed = trimmed.trim_end_matches(&*chars);
    }
    Value::text(trimmed)
}

fn replace<'a>(values: &[Option<Value<'a>>], most: usize) -> Result<Value<'a>, Kind> {
    let [Some(input), Some(find), Some(replacement)] = values else {
        return Ok(Value::NULL);
    };
    // Types are checked even where another argument is null.
    for (value, code) in [(input, 51746), (find, 51745), (replacement, 51744)] {
        if !value.is_nullish() {
            text(value, code)?;
        }
    }
    let (Some(input), Some(find), Some(replacement)) = (input.as_str(), find.as_str(), replacement.as_str()) else {
        return Ok(Value::NULL);
    };
    let count = input.matches(find).take(most).count();
    let found = input.len() + count * replacement.len();
    if found.saturating_sub(count * find.len()) > DOCUMENT_BYTES_MAX {
        return Err(Kind::TooLarge { found });
    }
    Value::text(&input.replacen(find, replacement, most))
}
