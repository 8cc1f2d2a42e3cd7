//! Reads an update document: which operators there are, and what operands they take.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument};
use bson::spec::ElementType;

use super::UpdateError;
use super::change::{Change, Clock, End};
use super::element::{Element, elements};
use super::list::List;
use super::number::{Arithmetic, Bitwise, Number};
use super::path::Path;
use super::plan::Step;
use super::pull::Pull;
use super::push::Push;
use crate::query::Language;

/// The operators, in the order in which messages list them.
const OPERATORS: [&str; 15] = [
    "$set",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$rename",
    "$setOnInsert",
    "$currentDate",
    "$bit",
    "$push",
    "$addToSet",
    "$pop",
    "$pull",
    "$pullAll",
];

/// The operators that there are, for messages.
pub(super) fn supported() -> String {
    OPERATORS.join(",")
}

/// The steps of an update document, as they stand there.
pub(super) fn parse(document: &RawDocument, language: &Language) -> Result<Vec<Step>, UpdateError> {
    let mut steps = Vec::new();
    if elements(document).next().is_none() {
        return Err(UpdateError::Empty);
    }
    for operation in elements(document) {
        let operation = operation?;
        let operator = operation.name;
        if !operator.starts_with('$') {
            return Err(UpdateError::FieldWithoutOperator {
                field: operator.to_owned(),
            });
        }
        let Some(operator) = OPERATORS.into_iter().find(|known| *known == operator) else {
            return Err(UpdateError::OperatorUnknown {
                operator: operator.to_owned(),
            });
        };
        let operand = operation.document().ok_or_else(|| UpdateError::OperandNotDocument {
            operator: operator.to_owned(),
            found: operation.kind,
        })?;
        for field in elements(operand?) {
            let field = field?;
            let path = Path::of_update(field.name)?;
            steps.push(step(operator, &path, &field, language)?);
        }
    }
    Ok(steps)
}

fn step(
    operator: &'static str,
    path: &Path<'_>,
    operand: &Element<'_>,
    language: &Language,
) -> Result<Step, UpdateError> {
    if operator == "$rename" {
        return rename(path, operand);
    }
    Ok(Step::Change {
        path: path.to_string(),
        change: Arc::new(change(operator, path, operand, language)?),
        only_on_insert: operator == "$setOnInsert",
    })
}

fn change(
    operator: &'static str,
    path: &Path<'_>,
    operand: &Element<'_>,
    language: &Language,
) -> Result<Change, UpdateError> {
    let invalid = |expected| UpdateError::OperandInvalid {
        operator,
        path: path.to_string(),
        expected,
    };
    Ok(match operator {
        "$set" | "$setOnInsert" => {
            operand.check(path, 0)?;
            Change::Set(operand.to_value())
        }
        "$unset" => Change::Unset,
        "$inc" => Change::Calculate(Arithmetic::Add, number(operator, path, operand)?),
        "$mul" => Change::Calculate(Arithmetic::Multiply, number(operator, path, operand)?),
        "$min" | "$max" => {
            operand.check(path, 0)?;
            let wanted = if operator == "$min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            Change::Replace(operand.to_value().alone()?, wanted, language.clone())
        }
        "$currentDate" => {
            let clock = clock(operand)?;
            Change::CurrentDate(
                clock.ok_or_else(|| invalid("a boolean, or {$type: \"date\"} or {$type: \"timestamp\"}"))?,
            )
        }
        "$bit" => {
            let operations = bit_operations(operand)?;
            Change::Bit(operations.ok_or_else(|| invalid("a document of and, or and xor with integers"))?)
        }
        "$push" => Change::Push(Push::parse(path, operand, language)?),
        "$addToSet" => Change::AddToSet(set_values(path, operand)?, language.clone()),
        "$pop" => match Number::read_whole(operand) {
            Some(1) => Change::Pop(End::Last),
            Some(-1) => Change::Pop(End::First),
            _ => return Err(UpdateError::PopInvalid { path: path.to_string() }),
        },
        "$pull" => Change::Pull(operator, Pull::parse(path, operand, language)?),
        "$pullAll" => {
            operand.check(path, 0)?;
            let pull = Pull::parse_all(operand, language).ok_or_else(|| invalid("an array"))?;
            Change::Pull(operator, pull?)
        }
        _ => {
            return Err(UpdateError::OperatorUnknown {
                operator: operator.to_owned(),
            });
        }
    })
}

fn rename(from: &Path<'_>, operand: &Element<'_>) -> Result<Step, UpdateError> {
    let refused = |to: &str, reason| UpdateError::RenameInvalid {
        from: from.to_string(),
        to: to.to_owned(),
        reason,
    };
    let RawBsonRef::String(target) = operand.get()? else {
        return Err(refused("", "the target is no text"));
    };
    if target.contains('\0') {
        return Err(refused("", "the target contains a zero byte"));
    }
    let to = Path::of_update(target)?;
    if from.overlaps(&to) {
        return Err(refused(target, "one is, or contains, the other"));
    }
    if from.is_positional() || to.is_positional() {
        return Err(refused(target, "a path has a positional component"));
    }
    Ok(Step::Rename {
        from: from.to_string(),
        to: to.to_string(),
    })
}

fn number(operator: &'static str, path: &Path<'_>, operand: &Element<'_>) -> Result<Number, UpdateError> {
    Number::read(operand).ok_or_else(|| UpdateError::OperandNotNumeric {
        operator,
        path: path.to_string(),
        found: operand.kind,
    })
}

/// `None` if the operand names no clock.
fn clock(operand: &Element<'_>) -> Result<Option<Clock>, UpdateError> {
    if operand.kind == ElementType::Boolean {
        return Ok(Some(Clock::Date));
    }
    let Some(document) = operand.document() else {
        return Ok(None);
    };
    let mut fields = elements(document?);
    let (Some(field), None) = (fields.next().transpose()?, fields.next().transpose()?) else {
        return Ok(None);
    };
    Ok(match (field.name, field.get()?) {
        ("$type", RawBsonRef::String("date")) => Some(Clock::Date),
        ("$type", RawBsonRef::String("timestamp")) => Some(Clock::Timestamp),
        _ => None,
    })
}

/// `None` if the operand is no list of operations.
fn bit_operations(operand: &Element<'_>) -> Result<Option<Vec<(Bitwise, Number)>>, UpdateError> {
    let Some(document) = operand.document() else {
        return Ok(None);
    };
    let mut operations = Vec::new();
    for field in elements(document?) {
        let field = field?;
        let operation = match field.name {
            "and" => Bitwise::And,
            "or" => Bitwise::Or,
            "xor" => Bitwise::Xor,
            _ => return Ok(None),
        };
        match Number::read(&field) {
            Some(number) if number.is_integer() => operations.push((operation, number)),
            _ => return Ok(None),
        }
    }
    Ok((!operations.is_empty()).then_some(operations))
}

/// The values of `$addToSet`: the operand, or those of its `$each`.
fn set_values(path: &Path<'_>, operand: &Element<'_>) -> Result<List, UpdateError> {
    let invalid = |operator, expected| UpdateError::OperandInvalid {
        operator,
        path: path.to_string(),
        expected,
    };
    let fields = match operand.document() {
        Some(document) => elements(document?).collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    match &fields[..] {
        [each] if each.name == "$each" => {
            each.check(path, 0)?;
            List::of_array(each).ok_or_else(|| UpdateError::TypeMismatch {
                operator: "$each",
                path: path.to_string(),
                found: each.kind,
            })?
        }
        [each, ..] if each.name == "$each" => Err(invalid("$addToSet", "nothing beside $each")),
        _ => {
            operand.check(path, 1)?;
            List::of_value(operand)
        }
    }
}
