//! What happens to one value: an operator with its operand.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use bson::RawDocumentBuf;
use bson::raw::RawDocument;
use bson::spec::ElementType;

use super::element::{Element, Value, elements};
use super::list::{self, List};
use super::number::{Arithmetic, Bitwise, Number};
use super::pull::Pull;
use super::push::Push;
use super::{ApplyContext, UpdateError};
use crate::query::Language;

/// What happens to one value.
#[derive(Debug)]
pub(super) enum Change {
    /// Give it this value, where it is, or at the end if it is new.
    Set(Value),
    Unset,
    Calculate(Arithmetic, Number),
    /// `$min` and `$max`: a document of the operand alone, and how the operand has to compare with
    /// the value to take its place.
    Replace(RawDocumentBuf, Ordering, Language),
    CurrentDate(Clock),
    Bit(Vec<(Bitwise, Number)>),
    Push(Push),
    AddToSet(List, Language),
    Pop(End),
    Pull(&'static str, Pull),
}

/// The types of `$currentDate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Date,
    Timestamp,
}

/// The ends of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// What a change asks of a place where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Nothing: there it does nothing.
    Nothing,
    /// It does nothing, but insists that something could be there.
    Viable,
    /// It creates what is missing.
    Creates,
}

/// What becomes of a value.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    Keep,
    Put(Cow<'a, Value>),
    /// The array, whose elements from this one on are new.
    Append(Value, usize),
}

impl Change {
    pub(super) fn need(&self) -> Need {
        match self {
            Change::Unset => Need::Nothing,
            Change::Pop(_) | Change::Pull(..) => Need::Viable,
            _ => Need::Creates,
        }
    }

    /// What becomes of the value, or of nothing. `path` is asked for by errors only.
    ///
    /// A removal is the caller's business, who knows whether there is a name to remove.
    pub(super) fn outcome(
        &self,
        old: Option<&Element<'_>>,
        context: &ApplyContext,
        path: &dyn Fn() -> String,
    ) -> Result<Outcome<'_>, UpdateError> {
        let put = |value| Ok(Outcome::Put(Cow::Owned(value)));
        match self {
            Change::Unset => Ok(Outcome::Keep),
            Change::Set(value) => Ok(Outcome::Put(Cow::Borrowed(value))),
            Change::Calculate(operation, operand) => put(calculate(*operation, *operand, old, path)?.to_value()),
            Change::Replace(operand, wanted, language) => {
                let operand = elements(operand).next().transpose()?;
                let Some(operand) = operand else {
                    return Ok(Outcome::Keep);
                };
                match old {
                    Some(old) if language.compare(operand.get()?, old.get()?) != *wanted => Ok(Outcome::Keep),
                    _ => put(operand.to_value()),
                }
            }
            Change::CurrentDate(clock) => put(clock.read(context)),
            Change::Bit(operations) => put(bits(operations, old, path)?.to_value()),
            Change::Push(push) => {
                let pushed = push.apply(array("$push", old, path)?)?;
                match pushed.appended_from {
                    Some(from) => Ok(Outcome::Append(pushed.array, from)),
                    None => put(pushed.array),
                }
            }
            Change::AddToSet(values, language) => put(add_to_set(values, array("$addToSet", old, path)?, language)?),
            Change::Pop(end) => match old {
                None => Ok(Outcome::Keep),
                Some(old) => put(pop(*end, old, path)?),
            },
            Change::Pull(operator, pull) => match array(operator, old, path)? {
                None => Ok(Outcome::Keep),
                Some(array) => put(pull.apply(array)?),
            },
        }
    }
}

impl Clock {
    fn read(self, context: &ApplyContext) -> Value {
        match self {
            Clock::Date => Value::new(
                ElementType::DateTime,
                context.now.timestamp_millis().to_le_bytes().into(),
            ),
            Clock::Timestamp => {
                let timestamp = context.timestamp;
                let number = u64::from(timestamp.time) << 32 | u64::from(timestamp.increment);
                Value::new(ElementType::Timestamp, number.to_le_bytes().into())
            }
        }
    }
}

fn calculate(
    operation: Arithmetic,
    operand: Number,
    old: Option<&Element<'_>>,
    path: &dyn Fn() -> String,
) -> Result<Number, UpdateError> {
    let operator = match operation {
        Arithmetic::Add => "$inc",
        Arithmetic::Multiply => "$mul",
    };
    let Some(old) = old else {
        return Ok(match operation {
            Arithmetic::Add => operand,
            // Zero has no overflow.
            Arithmetic::Multiply => Number::Int32(0).calculate(operation, operand).unwrap_or(operand),
        });
    };
    let current = Number::read(old).ok_or_else(|| UpdateError::TypeMismatch {
        operator,
        path: path(),
        found: old.kind,
    })?;
    current
        .calculate(operation, operand)
        .map_err(|overflow| UpdateError::Overflow {
            operator,
            path: path(),
            current: overflow.current,
            operand: overflow.operand,
        })
}

fn bits(
    operations: &[(Bitwise, Number)],
    old: Option<&Element<'_>>,
    path: &dyn Fn() -> String,
) -> Result<Number, UpdateError> {
    let current = match old {
        None => Some(Number::Int32(0)),
        Some(old) => Number::read(old),
    };
    let result = operations.iter().try_fold(current, |value, (operation, operand)| {
        value?.combine(*operation, *operand).map(Some)
    });
    result.flatten().ok_or_else(|| UpdateError::NotAnInteger {
        path: path(),
        found: old.map_or(ElementType::Null, |old| old.kind),
    })
}

fn add_to_set(values: &List, old: Option<&RawDocument>, language: &Language) -> Result<Value, UpdateError> {
    let mut items = old.map(list::read).transpose()?.unwrap_or_default();
    let mut keys = HashSet::with_capacity(items.len());
    for item in &items {
        keys.insert(list::key(item.get()?, language));
    }
    for value in values.items()? {
        if keys.insert(list::key(value.get()?, language)) {
            items.push(value);
        }
    }
    Ok(list::write(&items))
}

fn pop(end: End, old: &Element<'_>, path: &dyn Fn() -> String) -> Result<Value, UpdateError> {
    let array = old.array().ok_or_else(|| UpdateError::TypeMismatch {
        operator: "$pop",
        path: path(),
        found: old.kind,
    })?;
    let items = list::read(array?)?;
    let rest = match end {
        End::First => items.get(1..),
        End::Last => items.len().checked_sub(1).and_then(|length| items.get(..length)),
    };
    Ok(list::write(rest.unwrap_or_default()))
}

/// The array that is to be changed, if something is there.
fn array<'a>(
    operator: &'static str,
    old: Option<&Element<'a>>,
    path: &dyn Fn() -> String,
) -> Result<Option<&'a RawDocument>, UpdateError> {
    let Some(old) = old else {
        return Ok(None);
    };
    let array = old.array().ok_or_else(|| UpdateError::NotAnArray {
        operator,
        path: path(),
        found: old.kind,
    })?;
    array.map(Some)
}
