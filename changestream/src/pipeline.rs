//! Compiling a change stream's pipeline.
//!
//! The `$match` stages that come first are one condition, which is evaluated on the entry where it lies. From the first other
//! stage on the pipeline needs the event's document, which is built only for entries that satisfy the condition.

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{EvaluateError, Expression, IdEffect, Transform};

use crate::error::{Error, Result};

/// The stages that shape an event (MongoDB manual: *Modify Change Stream Output*).
const SHAPING: [&str; 8] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$redact",
];

/// A compiled pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// What an event must satisfy as it is.
    pub(crate) condition: Expression,
    /// What becomes of it then.
    transform: Transform,
}

impl Pipeline {
    pub(crate) fn compile(stages: &[RawDocumentBuf]) -> Result<Pipeline> {
        let mut condition = Expression::always();
        let mut shaping: Vec<&RawDocument> = Vec::new();
        for (stage, document) in stages.iter().enumerate() {
            let (name, value) = operator(stage, document)?;
            match value {
                RawBsonRef::Document(predicate) if name == "$match" && shaping.is_empty() => {
                    let parsed = Expression::parse(predicate).map_err(|source| Error::Match { stage, source })?;
                    condition = Expression::and(condition, parsed);
                }
                _ => {
                    // By itself, so that the error names it.
                    Transform::parse([&**document]).map_err(|source| Error::Match { stage, source })?;
                    shaping.push(document);
                }
            }
        }
        let first_shaping = stages.len() - shaping.len();
        let transform = Transform::parse(shaping).map_err(|source| Error::Match {
            stage: first_shaping,
            source,
        })?;
        if transform.id_effect() == IdEffect::Dropped {
            return Err(Error::TokenDropped);
        }
        Ok(Pipeline { condition, transform })
    }

    /// Whether events are delivered as they are.
    pub(crate) fn keeps_events(&self) -> bool {
        self.transform.is_empty()
    }

    /// The event's document as it is delivered; nothing when a later `$match` or a `$redact` leaves it out.
    pub(crate) fn shape(&self, event: &RawDocument) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        self.transform.apply(event)
    }
}

/// The one operator of a stage, if a change stream takes it.
fn operator(stage: usize, document: &RawDocument) -> Result<(&str, RawBsonRef<'_>)> {
    let malformed = |what| Error::MalformedStage { stage, what };
    let mut fields = document.iter();
    let Some(Ok((name, value))) = fields.next() else {
        return Err(malformed("it has no operator"));
    };
    if fields.next().is_some() {
        return Err(malformed("it has more than one operator; write one stage for each"));
    }
    if !SHAPING.contains(&name.as_str()) {
        return Err(Error::UnsupportedStage {
            stage,
            name: name.as_str().to_owned(),
        });
    }
    if name.as_str() == "$match" && !matches!(value, RawBsonRef::Document(_)) {
        return Err(malformed("$match takes a document"));
    }
    Ok((name.as_str(), value))
}
