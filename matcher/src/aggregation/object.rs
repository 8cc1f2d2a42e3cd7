//! Documents: `$mergeObjects`, `$getField`, `$setField`, `$unsetField`, `$objectToArray`,
//! `$arrayToObject`.
//!
//! `$getField` and its relatives take names as they are: dots and dollar signs mean nothing.

use std::borrow::Cow;

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::operator::{Operator, any, exactly, special};
use super::parse::Parser;
use super::tree::{Body, Positional, Tree, looked_at};
use super::value::{Field, Value};
use crate::error::ParseError;
use crate::steps;
use crate::validate::DOCUMENT_BYTES_MAX;

pub(crate) const OPERATORS: &[Operator] = &[
    any("$mergeObjects", merge),
    special("$getField", get_field),
    special("$setField", set_field),
    special("$unsetField", set_field),
    exactly("$objectToArray", 1, to_array),
    exactly("$arrayToObject", 1, to_object),
];

/// Puts a field where one of that name is, or at the end.
pub(crate) fn put<'a>(fields: &mut Vec<Field<'a>>, name: Cow<'a, str>, value: Value<'a>) {
    match fields.iter_mut().find(|(field, _)| *field == name) {
        Some((_, old)) => *old = value,
        None => fields.push((name, value)),
    }
}

/// Adds the fields of a document, which replace those of the same name.
pub(crate) fn merge_into<'a>(fields: &mut Vec<Field<'a>>, value: &Value<'a>) -> Result<(), Kind> {
    if value.is_nullish() {
        return Ok(());
    }
    let Some(added) = value.fields() else {
        return Err(Kind::wrong(40400, "documents", value));
    };
    steps::take((fields.len() + added.len()) as u64)?;
    if fields.len().saturating_add(added.len()) < 32 {
        for (name, value) in added.iter() {
            put(fields, name.clone(), value.clone());
        }
        return Ok(());
    }
    // Many fields are found by name, not by looking at each.
    let mut places: std::collections::HashMap<Cow<'a, str>, usize> = fields
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (name.clone(), at))
        .collect();
    for (name, value) in added.iter() {
        match places.get(name) {
            Some(at) => fields[*at].1 = value.clone(),
            None => {
                places.insert(name.clone(), fields.len());
                fields.push((name.clone(), value.clone()));
            }
        }
    }
    Ok(())
}

fn merge<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let mut fields = Vec::new();
    let mut bytes = 0;
    for value in values {
        bytes += value.bytes();
        if bytes > 2 * DOCUMENT_BYTES_MAX {
            return Err(Kind::TooLarge { found: bytes });
        }
        merge_into(&mut fields, value)?;
    }
    Value::document(fields)
}

fn get_field(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut field, mut input) = (None, None);
    match value {
        RawBsonRef::Document(document)
            if parser
                .fields(document)?
                .first()
                .is_none_or(|(name, _)| !name.starts_with('$')) =>
        {
            for (name, value) in parser.fields(document)? {
                let argument = match name {
                    "field" => &mut field,
                    "input" => &mut input,
                    _ => return Err(parser.unknown_argument(operator, name, 3_041_701)),
                };
                *argument = Some(parser.inside(name, |parser| parser.expression(value))?);
            }
            if input.is_none() {
                return Err(parser.missing_argument(operator, "input", 3_041_703));
            }
        }
        value => field = Some(parser.expression(value)?),
    }
    let field = field.ok_or_else(|| parser.missing_argument(operator, "field", 3_041_702))?;
    if field.as_constant().is_some_and(|name| name.as_str().is_none()) {
        return Err(parser.wrong_value(operator, "the field must be a string", 5_654_602));
    }
    let input = match input {
        Some(input) => input,
        None => parser.expression(RawBsonRef::String("$$CURRENT"))?,
    };
    Ok(Body::Positional {
        apply: Positional::Plain(field_of),
        arguments: vec![field, input],
    })
}

fn field_of<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let Some(name) = values[0].as_str() else {
        return Err(Kind::wrong(3_041_704, "a string as field", &values[0]));
    };
    if values[1].is_document() || values[1].is_missing() {
        return Ok(values[1].field(name));
    }
    Ok(if values[1].is_nullish() {
        Value::NULL
    } else {
        Value::Missing
    })
}

/// `$setField`, and `$unsetField`, which is the same with nothing as the value.
fn set_field(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let unset = operator == "$unsetField";
    let (mut field, mut input, mut new) = (None, None, unset.then_some(Tree::Missing));
    for (name, value) in parser.arguments(operator, value, 4_161_100)? {
        let argument = match name {
            "field" => &mut field,
            "input" => &mut input,
            "value" if !unset => &mut new,
            _ => return Err(parser.unknown_argument(operator, name, 4_161_101)),
        };
        *argument = Some(parser.inside(name, |parser| parser.expression(value))?);
    }
    let field = field.ok_or_else(|| parser.missing_argument(operator, "field", 4_161_102))?;
    let input = input.ok_or_else(|| parser.missing_argument(operator, "input", 4_161_109))?;
    let new = new.ok_or_else(|| parser.missing_argument(operator, "value", 4_161_103))?;
    let named = field.as_constant().is_some_and(|name| name.as_str().is_some());
    if !named {
        return Err(parser.wrong_value(operator, "the field must be a constant string", 4_161_107));
    }
    Ok(Body::Positional {
        apply: Positional::Plain(with_field),
        arguments: vec![field, input, new],
    })
}

fn with_field<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let (name, input, new) = (&values[0], &values[1], &values[2]);
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(fields) = input.fields() else {
        return Err(Kind::wrong(4_161_105, "a document as input", input));
    };
    let mut fields = fields.into_owned();
    steps::take(fields.len() as u64)?;
    put(
        &mut fields,
        Cow::Owned(name.as_str().unwrap_or_default().to_owned()),
        new.clone(),
    );
    Value::document(fields)
}

fn to_array<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(fields) = values[0].fields() else {
        return Err(Kind::wrong(40390, "a document", &values[0]));
    };
    let mut pairs = Vec::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        pairs.push(Value::document(vec![
            (Cow::Borrowed("k"), Value::text(name)?),
            (Cow::Borrowed("v"), value.clone()),
        ])?);
    }
    Value::array(pairs)
}

fn to_object<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let pairs = looked_at(&values[0], 40386)?;
    let documents = pairs.first().is_some_and(Value::is_document);
    let mut places = std::collections::HashMap::new();
    let mut fields: Vec<Field<'a>> = Vec::with_capacity(pairs.len());
    for pair in pairs.iter() {
        let (name, value) = if documents {
            from_document(pair)?
        } else {
            from_pair(pair)?
        };
        if name.contains('\0') {
            return Err(Kind::ZeroByte);
        }
        // The last of a name wins, in the place of the first.
        match places.get(&name) {
            Some(at) => fields[*at] = (name.into(), value),
            None => {
                places.insert(name.clone(), fields.len());
                fields.push((name.into(), value));
            }
        }
    }
    Value::document(fields)
}

fn from_document<'a>(pair: &Value<'a>) -> Result<(String, Value<'a>), Kind> {
    let Some(fields) = pair.fields() else {
        return Err(Kind::wrong(40391, "documents of k and v throughout", pair));
    };
    if fields.len() != 2 {
        let problem = "each document must have the fields k and v alone";
        return Err(Kind::WrongValue { problem, code: 40392 });
    }
    let (name, value) = (pair.field("k"), pair.field("v"));
    if name.is_missing() || value.is_missing() {
        let problem = "each document must have the fields k and v";
        return Err(Kind::WrongValue { problem, code: 40393 });
    }
    match name.as_str() {
        Some(name) => Ok((name.to_owned(), value)),
        None => Err(Kind::wrong(40394, "strings as k", &name)),
    }
}

fn from_pair<'a>(pair: &Value<'a>) -> Result<(String, Value<'a>), Kind> {
    let Some(parts) = pair.items() else {
        let code = if pair.is_document() { 40396 } else { 40398 };
        return Err(Kind::wrong(code, "arrays of name and value throughout", pair));
    };
    let [name, value] = &parts[..] else {
        let problem = "each array must hold a name and a value";
        return Err(Kind::WrongValue { problem, code: 40397 });
    };
    match name.as_str() {
        Some(text) => Ok((text.to_owned(), value.clone())),
        None => Err(Kind::wrong(40395, "strings as names", name)),
    }
}
