//! Values while an expression runs.
//!
//! What comes out of a document or a constant stays a borrowed view of its bytes; only what an
//! operator computes is owned, and shared by reference count, so that binding a value to a variable
//! or passing an array on never copies it. Nothing is encoded until the final result is.
//!
//! Invariants: a computed array or document nests at most [`DEPTH_MAX`] levels above the bytes it
//! borrows, and would encode to at most [`DOCUMENT_BYTES_MAX`]; both are kept in each container, so
//! checking costs nothing per level. An array never holds *missing*, which becomes null in it, and
//! a document never does either: such a field is left out.

use std::borrow::Cow;
use std::sync::Arc;

use bson::raw::{CStr, RawBsonRef};
use bson::{DateTime, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf};

use super::error::{AggregationError, AggregationErrorKind as Kind};
use crate::elements::{self, Elements};
use crate::error::type_name;
use crate::evaluate::EvaluateError;
use crate::steps;
use crate::validate::{DEPTH_MAX, DOCUMENT_BYTES_MAX};

/// A name and a value of a computed document.
pub(crate) type Field<'a> = (Cow<'a, str>, Value<'a>);

/// The result of an expression.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// There is no value: a field that is not there, or `$$REMOVE`.
    Missing,
    /// A value in the bytes of the document or of the expression, or a computed scalar.
    Raw(RawBsonRef<'a>),
    /// A computed string.
    Text(Arc<str>),
    /// A computed array.
    Array(Arc<ArrayValue<'a>>),
    /// A computed document.
    Document(Arc<DocumentValue<'a>>),
}

/// A computed array.
#[derive(Debug)]
pub struct ArrayValue<'a> {
    items: Vec<Value<'a>>,
    size: Size,
}

/// A computed document.
#[derive(Debug)]
pub struct DocumentValue<'a> {
    fields: Vec<Field<'a>>,
    size: Size,
}

/// What a container would take when encoded, and how deep it nests.
#[derive(Clone, Copy, Debug)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl Size {
    /// An empty container: its length and its terminator.
    const EMPTY: Size = Size { bytes: 5, depth: 1 };

    /// Accounts for one element with a name of `name` bytes.
    fn add(&mut self, name: usize, value: &Value<'_>) -> Result<(), Kind> {
        self.bytes += name + 2 + value.bytes();
        self.depth = self.depth.max(value.depth() + 1);
        if self.bytes > DOCUMENT_BYTES_MAX {
            return Err(Kind::TooLarge { found: self.bytes });
        }
        if self.depth > DEPTH_MAX {
            return Err(Kind::TooDeep);
        }
        Ok(())
    }
}

impl<'a> Value<'a> {
    pub(crate) const NULL: Value<'static> = Value::Raw(RawBsonRef::Null);

    pub(crate) fn bool(value: bool) -> Value<'a> {
        Value::Raw(RawBsonRef::Boolean(value))
    }

    pub(crate) fn int(value: i32) -> Value<'a> {
        Value::Raw(RawBsonRef::Int32(value))
    }

    /// An integer of the smallest type that holds it.
    pub(crate) fn integer(value: i64) -> Value<'a> {
        match i32::try_from(value) {
            Ok(int) => Value::int(int),
            Err(_) => Value::Raw(RawBsonRef::Int64(value)),
        }
    }

    pub(crate) fn double(value: f64) -> Value<'a> {
        Value::Raw(RawBsonRef::Double(value))
    }

    pub(crate) fn date(millis: i64) -> Value<'a> {
        Value::Raw(RawBsonRef::DateTime(DateTime::from_millis(millis)))
    }

    pub(crate) fn text(value: &str) -> Result<Value<'a>, Kind> {
        if value.len() > DOCUMENT_BYTES_MAX {
            return Err(Kind::TooLarge { found: value.len() });
        }
        steps::take(steps::for_bytes(value.len()))?;
        Ok(Value::Text(value.into()))
    }

    pub(crate) fn array(items: Vec<Value<'a>>) -> Result<Value<'a>, Kind> {
        steps::take(items.len() as u64)?;
        let mut items = items;
        let mut size = Size::EMPTY;
        for (at, item) in items.iter_mut().enumerate() {
            if item.is_missing() {
                *item = Value::NULL;
            }
            size.add(digits(at), item)?;
        }
        Ok(Value::Array(Arc::new(ArrayValue { items, size })))
    }

    pub(crate) fn document(fields: Vec<Field<'a>>) -> Result<Value<'a>, Kind> {
        steps::take(fields.len() as u64)?;
        let mut fields = fields;
        fields.retain(|(_, value)| !value.is_missing());
        let mut size = Size::EMPTY;
        for (name, value) in &fields {
            size.add(name.len(), value)?;
        }
        Ok(Value::Document(Arc::new(DocumentValue { fields, size })))
    }

    pub(crate) fn found(value: Option<RawBsonRef<'a>>) -> Value<'a> {
        value.map_or(Value::Missing, Value::Raw)
    }

    /// Says whether there is no value.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing)
    }

    /// Says whether there is no value, or null, or undefined, which most operators treat alike.
    #[must_use]
    pub fn is_nullish(&self) -> bool {
        matches!(
            self,
            Value::Missing | Value::Raw(RawBsonRef::Null | RawBsonRef::Undefined)
        )
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self, Value::Array(_) | Value::Raw(RawBsonRef::Array(_)))
    }

    pub(crate) fn is_document(&self) -> bool {
        matches!(self, Value::Document(_) | Value::Raw(RawBsonRef::Document(_)))
    }

    /// MongoDB's idea of truth: everything but false, zero, null, undefined and missing.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing => false,
            Value::Raw(raw) => match *raw {
                RawBsonRef::Null | RawBsonRef::Undefined => false,
                RawBsonRef::Boolean(value) => value,
                raw => !crate::compare(raw, RawBsonRef::Int32(0)).is_eq(),
            },
            Value::Text(_) | Value::Array(_) | Value::Document(_) => true,
        }
    }

    /// The string, if this is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Raw(RawBsonRef::String(text) | RawBsonRef::Symbol(text)) => Some(text),
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as bytes know it, unless it is missing or a computed container.
    pub(crate) fn as_raw(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Value::Raw(raw) => Some(*raw),
            Value::Text(text) => Some(RawBsonRef::String(text)),
            Value::Missing | Value::Array(_) | Value::Document(_) => None,
        }
    }

    /// The items, if this is an array.
    pub(crate) fn items(&self) -> Option<Cow<'_, [Value<'a>]>> {
        match self {
            Value::Array(array) => Some(Cow::Borrowed(&array.items)),
            Value::Raw(RawBsonRef::Array(array)) => {
                let mut items = Vec::new();
                let mut elements = elements::of_array(array)?;
                while let Some((_, value)) = elements.next_value() {
                    items.push(Value::Raw(value));
                }
                steps::note(steps::for_items(items.len()));
                Some(Cow::Owned(items))
            }
            _ => None,
        }
    }

    /// How many items the array has.
    pub(crate) fn items_len(&self) -> Option<usize> {
        match self {
            Value::Array(array) => Some(array.items.len()),
            Value::Raw(RawBsonRef::Array(array)) => {
                let length = elements::of_array(array)?.count();
                steps::note(steps::for_items(length) / 4);
                Some(length)
            }
            _ => None,
        }
    }

    /// The fields, if this is a document.
    pub(crate) fn fields(&self) -> Option<Cow<'_, [Field<'a>]>> {
        match self {
            Value::Document(document) => Some(Cow::Borrowed(&document.fields)),
            Value::Raw(RawBsonRef::Document(document)) => Some(Cow::Owned(fields_of(document))),
            _ => None,
        }
    }

    /// The first field of that name; missing when this is not a document.
    pub(crate) fn field(&self, name: &str) -> Value<'a> {
        match self {
            Value::Raw(RawBsonRef::Document(document)) => Value::found(elements::find(document, name)),
            Value::Document(document) => {
                let at = document.fields.iter().position(|(field, _)| field == name);
                steps::note(steps::for_items(at.unwrap_or(document.fields.len())) / 4);
                at.map_or(Value::Missing, |at| document.fields[at].1.clone())
            }
            _ => Value::Missing,
        }
    }

    /// What a field path reaches. Arrays on the way yield an array of what their documents hold.
    pub(crate) fn walk(&self, path: &[Box<str>]) -> Result<Value<'a>, Kind> {
        let Some((name, rest)) = path.split_first() else {
            return Ok(self.clone());
        };
        if self.is_document() {
            return self.field(name).walk(rest);
        }
        let Some(items) = self.items() else {
            return Ok(Value::Missing);
        };
        let mut found = Vec::new();
        for item in items.iter().filter(|item| item.is_document()) {
            let value = item.walk(path)?;
            if !value.is_missing() {
                found.push(value);
            }
        }
        Value::array(found)
    }

    /// The name of the value's type, as `$type` has it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Missing => "missing",
            Value::Raw(raw) => type_name(raw.element_type()),
            Value::Text(_) => "string",
            Value::Array(_) => "array",
            Value::Document(_) => "object",
        }
    }

    /// How many bytes the value takes in BSON, without type and name.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Value::Missing => 0,
            Value::Raw(raw) => raw_bytes(*raw),
            Value::Text(text) => text.len() + 5,
            Value::Array(array) => array.size.bytes,
            Value::Document(document) => document.size.bytes,
        }
    }

    /// How many of them are no document's and no expression's, so that the value takes memory for them.
    pub(crate) fn computed_bytes(&self) -> usize {
        match self {
            Value::Missing | Value::Raw(_) => 0,
            computed => computed.bytes(),
        }
    }

    /// The steps for an operator that may read all of it: those of its bytes. What was computed is counted by who looks at its
    /// items, since many operators need no more of it than a reference.
    pub(crate) fn reading_steps(&self) -> u64 {
        match self {
            Value::Raw(
                raw @ (RawBsonRef::String(_)
                | RawBsonRef::Symbol(_)
                | RawBsonRef::JavaScriptCode(_)
                | RawBsonRef::Binary(_)
                | RawBsonRef::Document(_)
                | RawBsonRef::Array(_)),
            ) => steps::for_bytes(raw_bytes(*raw)),
            Value::Text(text) => steps::for_bytes(text.len()),
            _ => 0,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Value::Array(array) => array.size.depth,
            Value::Document(document) => document.size.depth,
            _ => 0,
        }
    }

    /// The value as BSON of its own; `None` when it is missing.
    ///
    /// Fails when a computed name holds a zero byte.
    pub fn into_bson(self) -> Result<Option<RawBson>, EvaluateError> {
        self.encode().map_err(|kind| AggregationError::from(kind).into())
    }

    pub(crate) fn encode(&self) -> Result<Option<RawBson>, Kind> {
        Ok(Some(match self {
            Value::Missing => return Ok(None),
            Value::Raw(raw) => (*raw).into(),
            Value::Text(text) => RawBson::String(text.as_ref().to_owned()),
            Value::Array(array) => {
                let mut buffer = RawArrayBuf::new();
                for value in array.items.iter().map(Value::encode) {
                    buffer.push(value?.unwrap_or(RawBson::Null));
                }
                RawBson::Array(buffer)
            }
            Value::Document(document) => RawBson::Document(encode_fields(&document.fields)?),
        }))
    }
}

/// Writes fields as a document; missing ones are left out.
pub(crate) fn encode_fields(fields: &[Field<'_>]) -> Result<RawDocumentBuf, Kind> {
    let mut buffer = RawDocumentBuf::new();
    for (name, value) in fields {
        append(&mut buffer, name, value)?;
    }
    Ok(buffer)
}

/// Appends a field, unless its value is missing.
pub(crate) fn append(buffer: &mut RawDocumentBuf, name: &str, value: &Value<'_>) -> Result<(), Kind> {
    let name = <&CStr>::try_from(name).map_err(|_| Kind::ZeroByte)?;
    match value {
        Value::Raw(raw) => buffer.append(name, *raw),
        value => {
            if let Some(value) = value.encode()? {
                buffer.append(name, value);
            }
        }
    }
    Ok(())
}

/// A document's readable fields.
pub(crate) fn fields_of(document: &RawDocument) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut elements = Elements::new(document);
    while let Some((element, value)) = elements.next_value() {
        let Ok(name) = std::str::from_utf8(element.name) else {
            break;
        };
        fields.push((Cow::Borrowed(name), Value::Raw(value)));
    }
    steps::note(steps::for_items(fields.len()));
    fields
}

fn raw_bytes(raw: RawBsonRef<'_>) -> usize {
    match raw {
        RawBsonRef::Double(_) | RawBsonRef::Int64(_) | RawBsonRef::DateTime(_) | RawBsonRef::Timestamp(_) => 8,
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => text.len() + 5,
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Boolean(_) => 1,
        RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::MinKey | RawBsonRef::MaxKey => 0,
        RawBsonRef::RegularExpression(regex) => regex.pattern.len() + regex.options.len() + 2,
        RawBsonRef::JavaScriptCodeWithScope(code) => code.code.len() + 9 + code.scope.as_bytes().len(),
        RawBsonRef::Int32(_) => 4,
        RawBsonRef::Binary(binary) => binary.bytes.len() + 9,
        RawBsonRef::ObjectId(_) => 12,
        RawBsonRef::Decimal128(_) => 16,
        RawBsonRef::DbPointer(_) => crate::compare::db_pointer_parts(raw).1.len() + 4,
    }
}

/// How many digits a position takes as a name.
fn digits(at: usize) -> usize {
    at.checked_ilog10().map_or(1, |log| log as usize + 1)
}
