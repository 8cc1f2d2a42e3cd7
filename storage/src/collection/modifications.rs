//! What an update consists of: operators or a pipeline.

use bson::{RawDocument, RawDocumentBuf};

use crate::error::Result;
use crate::query::Language;
use crate::update::{Update, UpdateError};

/// A document of update operators (`{$set: …}`), or an aggregation pipeline. Made from either by itself, where an update is
/// due.
#[derive(Clone, PartialEq, Debug)]
pub enum UpdateModifications {
    /// Operators.
    Document(RawDocumentBuf),
    /// The stages of a pipeline.
    Pipeline(Vec<RawDocumentBuf>),
}

impl UpdateModifications {
    pub(crate) fn parse(&self, array_filters: &[RawDocumentBuf], language: &Language) -> Result<Update> {
        match self {
            UpdateModifications::Document(document) => Ok(Update::parse_in(language, document, array_filters)?),
            UpdateModifications::Pipeline(_) if !array_filters.is_empty() => Err(UpdateError::ArrayFilterUnused {
                identifier: String::new(),
            }
            .into()),
            UpdateModifications::Pipeline(stages) => Ok(Update::parse_pipeline_in(language, stages)?),
        }
    }
}

impl From<&RawDocument> for UpdateModifications {
    fn from(document: &RawDocument) -> UpdateModifications {
        UpdateModifications::Document(document.to_owned())
    }
}

impl From<&RawDocumentBuf> for UpdateModifications {
    fn from(document: &RawDocumentBuf) -> UpdateModifications {
        UpdateModifications::Document(document.clone())
    }
}

impl From<RawDocumentBuf> for UpdateModifications {
    fn from(document: RawDocumentBuf) -> UpdateModifications {
        UpdateModifications::Document(document)
    }
}

impl From<Vec<RawDocumentBuf>> for UpdateModifications {
    fn from(stages: Vec<RawDocumentBuf>) -> UpdateModifications {
        UpdateModifications::Pipeline(stages)
    }
}

impl<const N: usize> From<[RawDocumentBuf; N]> for UpdateModifications {
    fn from(stages: [RawDocumentBuf; N]) -> UpdateModifications {
        UpdateModifications::Pipeline(stages.into())
    }
}
