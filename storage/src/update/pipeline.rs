//! Updates by aggregation pipeline: `[{$set: …}, {$unset: …}, {$replaceWith: …}]`.
//!
//! The stages are those of the matcher. As long as it has none that transform documents, a pipeline is refused by name.

use bson::raw::RawDocument;

use super::{Applied, ApplyContext, UpdateError};

/// A checked pipeline; see [`Update`](super::Update). There is none yet.
#[derive(Debug)]
pub struct Pipeline(std::convert::Infallible);

impl Pipeline {
    pub(super) fn parse<D: AsRef<RawDocument>>(stages: &[D]) -> Result<Pipeline, UpdateError> {
        Err(UpdateError::PipelineUnsupported { stages: stages.len() })
    }

    pub(super) fn apply(&self, _old: &RawDocument, _context: &ApplyContext) -> Result<Option<Applied>, UpdateError> {
        match self.0 {}
    }
}
