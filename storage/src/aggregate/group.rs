//! `$group`, and the part that `$bucket` shares with it (MongoDB manual: *$group*).
//!
//! Groups come in the order in which their first documents came. What they hold is counted: the values of `_id`, and what
//! each accumulator has gathered.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBson, RawBsonRef, RawDocumentBuf};
use tailwater_matcher::{Accumulator, AccumulatorState, ValueExpression};

use super::bucket::Boundaries;
use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::memory::Memory;
use super::parse::{Scope, fields};
use super::stage::{Place, Stream, deferred};
use crate::error::Result;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::query::Language;

/// What to group by, and what to gather.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) by: ValueExpression,
    /// Of `$bucket`: values between two boundaries are one group, and groups come in their order.
    pub(super) boundaries: Option<Boundaries>,
    pub(super) output: Output,
    pub(super) language: Language,
}

/// Fields and their accumulators.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<(CString, Accumulator)>);

/// One group.
#[derive(Debug)]
struct Gathered {
    id: RawBson,
    states: Vec<AccumulatorState>,
}

impl Group {
    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Group, Kind> {
        let (mut by, mut output) = (None, Output::default());
        for (name, value) in fields(value, 15947)? {
            match name {
                "_id" => by = Some(scope.expression(value)?),
                _ => output.add(scope, name, value)?,
            }
        }
        Ok(Group {
            by: by
                .ok_or_else(|| Kind::specification("an _id to group by is needed, null for one group of all", 15955))?,
            boundaries: None,
            output,
            language: scope.language.clone(),
        })
    }
}

impl Output {
    pub(super) fn add(&mut self, scope: &Scope, name: &str, value: RawBsonRef<'_>) -> Result<(), Kind> {
        if name.contains('.') {
            return Err(Kind::specification(
                format!("the field name {name:?} cannot hold a dot"),
                40235,
            ));
        }
        if name.starts_with('$') {
            return Err(Kind::specification(
                format!("the field name {name:?} cannot begin with $"),
                40236,
            ));
        }
        let RawBsonRef::Document(accumulator) = value else {
            return Err(Kind::specification(
                format!("the field {name:?} needs an accumulator"),
                40234,
            ));
        };
        let accumulator = scope.accumulator(accumulator)?;
        let name = CString::try_from(name).map_err(|_| Kind::specification("a field name holds a zero byte", 2))?;
        self.0.push((name, accumulator));
        Ok(())
    }

    pub(super) fn start(&self) -> Vec<AccumulatorState> {
        self.0.iter().map(|(_, accumulator)| accumulator.start()).collect()
    }

    /// Adds a document to what a group has gathered.
    pub(super) fn gather(
        &self,
        states: &mut [AccumulatorState],
        document: &RawDocumentBuf,
        memory: &mut Memory,
        place: &Place,
        context: &Context,
    ) -> Result<()> {
        let variables = context.variables(document);
        for ((_, accumulator), state) in self.0.iter().zip(states) {
            let before = state.bytes();
            let added = accumulator.add(state, &variables);
            added.map_err(|error| place.error(error))?;
            let after = state.bytes();
            // The difference alone: what was given back in between, another query might take.
            memory.release(before.saturating_sub(after));
            memory.take(after.saturating_sub(before), place)?;
        }
        Ok(())
    }

    pub(super) fn finish(
        &self,
        id: RawBsonRef<'_>,
        states: Vec<AccumulatorState>,
        place: &Place,
    ) -> Result<RawDocumentBuf> {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        for ((name, accumulator), state) in self.0.iter().zip(states) {
            document.append(name, accumulator.finish(state));
            if document.as_bytes().len() > DOCUMENT_BYTES_MAX {
                return Err(place.error(Kind::DocumentTooLarge));
            }
        }
        Ok(document)
    }
}

pub(super) fn open(input: Stream, group: Arc<Group>, place: Place, context: Context) -> Stream {
    deferred(move || {
        if let Some(boundaries) = &group.boundaries {
            boundaries.check().map_err(|kind| place.error(kind))?;
        }
        let mut memory = Memory::new(&context);
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut groups: Vec<Gathered> = Vec::new();
        for document in input {
            let document = document?;
            let id = value_of(&group.by, &document, &place, &context)?;
            let id = match &group.boundaries {
                Some(boundaries) => boundaries.bucket(id.as_raw_bson_ref(), &place)?,
                None => id,
            };
            let mut key = Vec::new();
            group.language.encode_key(id.as_raw_bson_ref(), &mut key);
            let at = match places.get(&key) {
                Some(&at) => at,
                None => {
                    let states = group.output.start();
                    let held: usize = states.iter().map(AccumulatorState::bytes).sum();
                    // The value is held about as long as its key.
                    memory.take(2 * key.len() + size_of::<Gathered>() + held, &place)?;
                    places.insert(key, groups.len());
                    groups.push(Gathered { id, states });
                    groups.len() - 1
                }
            };
            let states = &mut groups[at].states;
            group.output.gather(states, &document, &mut memory, &place, &context)?;
        }
        drop(places);
        if group.boundaries.is_some() {
            let language = &group.language;
            groups.sort_by(|a, b| language.compare(a.id.as_raw_bson_ref(), b.id.as_raw_bson_ref()));
        }
        Ok(memory.held_for(groups.into_iter().map(move |gathered| {
            group
                .output
                .finish(gathered.id.as_raw_bson_ref(), gathered.states, &place)
        })))
    })
}

/// The value of an expression for a document; null where it is missing.
pub(super) fn value_of(
    expression: &ValueExpression,
    document: &RawDocumentBuf,
    place: &Place,
    context: &Context,
) -> Result<RawBson> {
    let variables = context.variables(document);
    let value = expression
        .evaluate(&variables)
        .and_then(tailwater_matcher::Value::into_bson);
    Ok(value.map_err(|error| place.error(error))?.unwrap_or(RawBson::Null))
}
