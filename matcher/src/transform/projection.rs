//! What `$project`, `$addFields` and `$unset` do to one document.
//!
//! A projection is a tree of field names with rules at its leaves. It is applied in two passes, as
//! in MongoDB: the first decides which fields stay, in the order of the document; the second puts
//! computed fields in place, in the order of the specification. Both reach into arrays and treat
//! every document there alike.

use std::borrow::Cow;

use bson::{RawDocument, RawDocumentBuf};

use super::{IdEffect, encode_fields, fields_of};
use crate::aggregation::{
    AggregationError, AggregationErrorKind as Kind, Field, Value, ValueExpression, Variables, put, slice_bounds,
};
use crate::evaluate::EvaluateError;
use crate::expression::Expression;
use crate::steps;
use crate::validate::DEPTH_MAX;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Projection {
    pub(super) mode: Mode,
    pub(super) root: Level,
}

/// What happens to fields that have no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are left out.
    Inclusion,
    /// They stay.
    Exclusion,
    /// They stay; all rules compute.
    Addition,
}

/// The rules for the fields of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Level {
    pub(super) entries: Vec<(Box<str>, Rule)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Keep,
    Drop,
    Compute(ValueExpression),
    Nested(Level),
    /// Of an array, the items that `$slice` means.
    Slice {
        first: i32,
        count: Option<i32>,
    },
    /// Of an array, the first item that matches, as the predicate sees it under the name `v`.
    ElemMatch(Expression),
    /// Of an array, the item that the query has matched.
    Positional,
}

/// The item that the query has matched, for `Positional`.
pub(super) type Matched = Option<usize>;

impl Projection {
    /// The document as it makes it, of which at most `bytes_max` are computed.
    pub(super) fn apply(
        &self,
        document: &RawDocument,
        variables: &Variables<'_>,
        bytes_max: usize,
    ) -> Result<RawDocumentBuf, EvaluateError> {
        self.apply_matched(document, variables, None, bytes_max)
    }

    pub(super) fn apply_matched(
        &self,
        document: &RawDocument,
        variables: &Variables<'_>,
        matched: Matched,
        bytes_max: usize,
    ) -> Result<RawDocumentBuf, EvaluateError> {
        let kept = match self.mode {
            Mode::Addition => fields_of(document),
            mode => self.root.select(fields_of(document), mode, matched, 0)?,
        };
        let variables = variables.clone().rooted(&document);
        let mut room = Room {
            bytes_max,
            left: bytes_max,
        };
        let fields = self.root.compute(kept, &variables, &mut room, 0)?;
        Ok(encode_fields(&fields)?)
    }

    pub(super) fn id_effect(&self) -> IdEffect {
        let rule = self.root.get("_id");
        match (self.mode, rule) {
            (Mode::Inclusion, None) => IdEffect::Dropped,
            (_, None | Some(Rule::Keep)) => IdEffect::Kept,
            (_, Some(Rule::Compute(_))) => IdEffect::Uncertain,
            (Mode::Addition, Some(_)) => IdEffect::Uncertain,
            (_, Some(_)) => IdEffect::Dropped,
        }
    }
}

/// For what a projection computes. It is asked for each value, before the next is computed: together they are held until the last
/// is there.
struct Room {
    bytes_max: usize,
    left: usize,
}

impl Room {
    fn take(&mut self, value: &Value<'_>) -> Result<(), Kind> {
        let left = self.left.checked_sub(value.computed_bytes());
        self.left = left.ok_or(Kind::Memory { limit: self.bytes_max })?;
        Ok(())
    }
}

impl Level {
    pub(super) fn get(&self, name: &str) -> Option<&Rule> {
        let found = self.entries.iter().find(|(entry, _)| **entry == *name);
        found.map(|(_, rule)| rule)
    }

    /// Takes the steps for looking each rule up among the fields.
    fn take_for(&self, fields: &[Field<'_>]) -> Result<(), Kind> {
        steps::take((fields.len() * self.entries.len()) as u64 / 16)
    }

    fn computes(&self) -> bool {
        self.entries.iter().any(|(_, rule)| match rule {
            Rule::Compute(_) => true,
            Rule::Nested(level) => level.computes(),
            _ => false,
        })
    }

    /// The first pass: which fields stay.
    fn select<'a>(
        &self,
        fields: Vec<Field<'a>>,
        mode: Mode,
        matched: Matched,
        depth: usize,
    ) -> Result<Vec<Field<'a>>, EvaluateError> {
        self.take_for(&fields)?;
        let mut selected = Vec::with_capacity(fields.len());
        // They come behind the fields that are in as they are.
        let mut matching = Vec::new();
        for (name, value) in fields {
            let value = match self.get(&name) {
                // A field that will be computed keeps its place when it would stay anyway.
                None | Some(Rule::Compute(_)) if mode == Mode::Inclusion => continue,
                Some(Rule::Drop) => continue,
                None | Some(Rule::Keep | Rule::Compute(_)) => value,
                Some(Rule::Nested(level)) => level.select_in(value, mode, matched, depth + 1)?,
                Some(Rule::Slice { first, count }) => slice(value, *first, *count)?,
                Some(Rule::ElemMatch(expression)) => {
                    matching.push((name, first_match(&value, expression)?));
                    continue;
                }
                Some(Rule::Positional) => positional(value, matched)?,
            };
            if !value.is_missing() {
                selected.push((name, value));
            }
        }
        // In the order in which they were asked for.
        matching.sort_by_key(|(name, _)| self.entries.iter().position(|(entry, _)| **entry == **name));
        matching.retain(|(_, value)| !value.is_missing());
        selected.append(&mut matching);
        Ok(selected)
    }

    fn select_in<'a>(
        &self,
        value: Value<'a>,
        mode: Mode,
        matched: Matched,
        depth: usize,
    ) -> Result<Value<'a>, EvaluateError> {
        within(depth)?;
        if let Some(fields) = value.fields() {
            let fields = self.select(fields.into_owned(), mode, matched, depth)?;
            return Ok(Value::document(fields)?);
        }
        if let Some(items) = value.items() {
            let mut selected = Vec::with_capacity(items.len());
            for item in items.into_owned() {
                let item = self.select_in(item, mode, matched, depth + 1)?;
                if !item.is_missing() {
                    selected.push(item);
                }
            }
            return Ok(Value::array(selected)?);
        }
        Ok(if mode == Mode::Inclusion { Value::Missing } else { value })
    }

    /// The second pass: computed fields.
    fn compute<'a>(
        &'a self,
        fields: Vec<Field<'a>>,
        variables: &Variables<'a>,
        room: &mut Room,
        depth: usize,
    ) -> Result<Vec<Field<'a>>, EvaluateError> {
        let mut fields = fields;
        self.take_for(&fields)?;
        for (name, rule) in &self.entries {
            match rule {
                Rule::Compute(expression) => {
                    let value = expression.compute(variables)?;
                    room.take(&value)?;
                    put(&mut fields, Cow::Borrowed(name), value);
                }
                Rule::Nested(level) if level.computes() => {
                    let old = fields.iter().find(|(field, _)| **field == **name);
                    let old = old.map_or(Value::Missing, |(_, value)| value.clone());
                    let value = level.compute_in(&old, variables, room, depth + 1)?;
                    put(&mut fields, Cow::Borrowed(name), value);
                }
                _ => {}
            }
        }
        fields.retain(|(_, value)| !value.is_missing());
        Ok(fields)
    }

    fn compute_in<'a>(
        &'a self,
        value: &Value<'a>,
        variables: &Variables<'a>,
        room: &mut Room,
        depth: usize,
    ) -> Result<Value<'a>, EvaluateError> {
        within(depth)?;
        if let Some(items) = value.items() {
            let computed = items
                .iter()
                .map(|item| self.compute_in(item, variables, room, depth + 1));
            return Ok(Value::array(computed.collect::<Result<_, _>>()?)?);
        }
        // Anything but a document gives way to one.
        let fields = value.fields().map(Cow::into_owned).unwrap_or_default();
        Ok(Value::document(self.compute(fields, variables, room, depth)?)?)
    }
}

fn within(depth: usize) -> Result<(), Kind> {
    if depth > DEPTH_MAX { Err(Kind::TooDeep) } else { Ok(()) }
}

fn slice(value: Value<'_>, first: i32, count: Option<i32>) -> Result<Value<'_>, EvaluateError> {
    let Some(items) = value.items() else { return Ok(value) };
    let (start, end) = slice_bounds(items.len(), first, count);
    let part = items[start..end].to_vec();
    drop(items);
    Ok(Value::array(part)?)
}

fn first_match<'a>(value: &Value<'a>, expression: &Expression) -> Result<Value<'a>, EvaluateError> {
    let Some(items) = value.items() else {
        return Ok(Value::Missing);
    };
    for item in items.iter() {
        let alone = encode_fields(&[(Cow::Borrowed("v"), Value::array(vec![item.clone()])?)])?;
        if expression.matches(&alone)? {
            return Ok(Value::array(vec![item.clone()])?);
        }
    }
    Ok(Value::Missing)
}

fn positional(value: Value<'_>, matched: Matched) -> Result<Value<'_>, EvaluateError> {
    let Some(items) = value.items() else { return Ok(value) };
    let item = matched.and_then(|at| items.get(at)).cloned();
    drop(items);
    match item {
        Some(item) => Ok(Value::array(vec![item])?),
        None => {
            let problem = "the query has matched no item of the array for the positional operator";
            Err(AggregationError::new("$", Kind::WrongValue { problem, code: 51246 }).into())
        }
    }
}
