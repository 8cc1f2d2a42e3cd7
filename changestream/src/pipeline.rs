//! Compiling a change stream's pipeline.
//!
//! The `$match` stages that come first are one condition, which is evaluated on the entry where it lies. From the first other
//! stage on the pipeline needs the event's document, which is built only for entries that satisfy the condition.

mod stage;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, EvaluateError, Expression, IdEffect, ParseOptions, Transform};

use crate::error::{Error, Result};
use stage::Stage;

/// The largest event that a pipeline may make, in bytes. Above [`EVENT_BYTES_MAX`](crate::EVENT_BYTES_MAX) it is split, or
/// refused.
const SHAPED_BYTES_MAX: usize = 64 << 20;

/// A compiled pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// What an event must satisfy as it is.
    pub(crate) condition: Expression,
    /// What becomes of it then.
    transform: Transform,
    /// By how many bytes an event may become larger.
    growth_max: Option<usize>,
    /// Whether it ends with `$changeStreamSplitLargeEvent`.
    pub(crate) splits: bool,
}

impl Pipeline {
    pub(crate) fn compile(stages: &[RawDocumentBuf], collation: Option<&Collation>) -> Result<Pipeline> {
        let options = ParseOptions::default().with_collation(collation.cloned());
        let mut condition = Expression::always();
        let mut shaping: Vec<&RawDocument> = Vec::new();
        let mut split_at = None;
        for (stage, document) in stages.iter().enumerate() {
            match Stage::read(stage, document)? {
                Stage::Split => split_at = split_at.or(Some(stage)),
                Stage::Match(predicate) if shaping.is_empty() => {
                    let parsed = Expression::parse_with(predicate, &options);
                    let parsed = parsed.map_err(|source| Error::Match { stage, source })?;
                    condition = Expression::and(condition, parsed);
                }
                Stage::Match(_) | Stage::Shaping => {
                    // By itself, so that the error names it.
                    Transform::parse_with([&**document], &options).map_err(|source| Error::Match { stage, source })?;
                    shaping.push(document);
                }
            }
        }
        if let Some(stage) = split_at
            && stage + 1 < stages.len()
        {
            return Err(Error::SplitNotLast { stage });
        }
        let first_shaping = stages.len() - shaping.len() - usize::from(split_at.is_some());
        let transform = Transform::parse_with(shaping, &options).map_err(|source| Error::Match {
            stage: first_shaping,
            source,
        })?;
        if transform.id_effect() == IdEffect::Dropped {
            return Err(Error::TokenDropped);
        }
        Ok(Pipeline {
            condition,
            transform: transform.with_bytes_max(SHAPED_BYTES_MAX),
            growth_max: None,
            splits: split_at.is_some(),
        })
    }

    /// The same, by which an event may become so many bytes larger, and no more.
    pub(crate) fn with_growth_max(self, growth_max: Option<usize>) -> Pipeline {
        Pipeline { growth_max, ..self }
    }

    /// Whether events are delivered as they are.
    pub(crate) fn keeps_events(&self) -> bool {
        self.transform.is_empty()
    }

    /// The event's document as it is delivered; nothing when a later `$match` or a `$redact` leaves it out.
    pub(crate) fn shape(&self, event: &RawDocument) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        match self.growth_max {
            Some(growth) => {
                let bytes_max = event.as_bytes().len().saturating_add(growth).min(SHAPED_BYTES_MAX);
                self.transform.apply_within(event, bytes_max)
            }
            None => self.transform.apply(event),
        }
    }
}
