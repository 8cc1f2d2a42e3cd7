//! Updates by aggregation pipeline: `[{$set: …}, {$unset: …}, {$replaceWith: …}]` (MongoDB manual: *Updates with Aggregation
//! Pipeline*).
//!
//! The stages are those of the matcher that make one document of one document. What they made is compared with what was
//! there, and the log gets the difference. `_id` stays: a result without one keeps the stored one, another one is refused.
//!
//! Where a difference does not say it all (the order of fields has changed, or a name has a dot) there is no diff, and the log
//! gets the new document as a whole.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use tailwater_matcher::{ParseError, ParseOptions, Transform, Variables, compare};

use super::element::elements;
use super::{Applied, ApplyContext, ID, UpdateDiff, UpdateError};
use crate::limits::DOCUMENT_BYTES_MAX;

/// The stages an update may have.
pub(super) const STAGES: [&str; 6] = [
    "$addFields",
    "$set",
    "$project",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
];

/// A checked pipeline; see [`Update`](super::Update).
#[derive(Clone, Debug)]
pub struct Pipeline(Transform);

impl Pipeline {
    /// Its expressions may use variables, and compare by a collation.
    ///
    /// # Errors
    ///
    /// [`UpdateError::PipelineStage`], [`UpdateError::Pipeline`].
    pub(crate) fn parse_with<D: AsRef<RawDocument>>(
        stages: &[D],
        options: &ParseOptions,
    ) -> Result<Pipeline, UpdateError> {
        let mut transform = Transform::default();
        for (index, stage) in stages.iter().enumerate() {
            let stage = stage.as_ref();
            let name = match elements(stage).next().transpose()? {
                Some(first) => first.name.to_owned(),
                None => String::new(),
            };
            if !STAGES.contains(&name.as_str()) {
                return Err(UpdateError::PipelineStage { index, stage: name });
            }
            transform.push(index, stage, options)?;
        }
        Ok(Pipeline(transform))
    }

    pub(super) fn apply(&self, old: &RawDocument, context: &ApplyContext) -> Result<Option<Applied>, UpdateError> {
        self.apply_with(old, &Variables::new(&old).now(context.now))
    }

    /// With `old` as the root of `variables`.
    ///
    /// # Errors
    ///
    /// As [`Update::apply`](super::Update::apply).
    pub(crate) fn apply_with(
        &self,
        old: &RawDocument,
        variables: &Variables<'_>,
    ) -> Result<Option<Applied>, UpdateError> {
        let Some(new) = self.0.apply_with(old, variables)? else {
            return Ok(None);
        };
        let document = keeping_id(old, new)?;
        if document.as_bytes() == old.as_bytes() {
            return Ok(None);
        }
        let diff = UpdateDiff::between(old, &document)?;
        let diff = match diff {
            Some(diff) if diff.apply(old)? == document => Some(diff),
            _ => None,
        };
        Ok(Some(Applied { document, diff }))
    }
}

/// The new document with the `_id` of the old one in front.
fn keeping_id(old: &RawDocument, new: RawDocumentBuf) -> Result<RawDocumentBuf, UpdateError> {
    let (before, after): (Option<RawBsonRef<'_>>, Option<RawBsonRef<'_>>) = (old.get(ID)?, new.get(ID)?);
    let (Some(before), after) = (before, after) else {
        return Ok(new);
    };
    if after.is_some_and(|after| compare(before, after).is_ne()) {
        return Err(UpdateError::ImmutableField { field: ID.to_owned() });
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), before);
    for field in new.iter_elements() {
        let field = field?;
        if field.key().as_str() != ID {
            document.append(field.key(), field.value()?);
        }
    }
    let bytes_min = document.as_bytes().len();
    if bytes_min > DOCUMENT_BYTES_MAX {
        return Err(UpdateError::DocumentTooLarge { bytes_min });
    }
    Ok(document)
}

impl From<ParseError> for UpdateError {
    fn from(source: ParseError) -> UpdateError {
        UpdateError::Pipeline {
            source: Box::new(source),
        }
    }
}
