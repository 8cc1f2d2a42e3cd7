//! Why a pipeline is not one, or cannot go on.

use std::borrow::Cow;

use tailwater_matcher::{EvaluateError, EvaluateErrorKind, ParseError};

use super::{STAGES_MAX, SUB_PIPELINES_MAX};
use crate::error::ErrorCode;
use crate::limits::DOCUMENT_BYTES_MAX;

/// An error of one stage of a pipeline.
#[derive(Clone, Debug, thiserror::Error)]
#[error("stage {index} ({stage}): {kind}")]
pub struct AggregateError {
    /// Its place in its pipeline, from 0. In a sub-pipeline, its place there.
    pub index: usize,
    /// Its name as it was written; empty where there is none.
    pub stage: String,
    /// What is wrong.
    pub kind: AggregateErrorKind,
}

/// What is wrong with a stage.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateErrorKind {
    /// There is no such stage.
    #[error("there is no stage of that name")]
    UnknownStage,
    /// MongoDB has the stage, or the option of it, and this release does not.
    #[error("not supported: {reason}")]
    NotSupported {
        /// Why not, or what to do instead.
        reason: &'static str,
    },
    /// A stage that is not a document with its name as the only field.
    #[error("a stage is a document with one field, its name; found {fields} fields")]
    FieldCount {
        /// How many fields there are.
        fields: usize,
    },
    /// The pipeline has too many stages.
    #[error("the pipeline has too many stages, limit={STAGES_MAX}")]
    TooManyStages,
    /// Pipelines are within pipelines too often.
    #[error("pipelines nest too deep, limit={SUB_PIPELINES_MAX}")]
    TooDeep,
    /// The specification is wrong, or the stage cannot be in this place.
    #[error("{problem}")]
    Specification {
        /// What is wrong with it, and what would be accepted.
        problem: String,
        /// MongoDB's number for it.
        code: i32,
    },
    /// An expression, or a stage that works document by document, does not parse.
    #[error(transparent)]
    Parse(ParseError),
    /// An expression cannot be evaluated for a document.
    #[error(transparent)]
    Evaluate(EvaluateError),
    /// The stage would need more memory than it may have.
    #[error(
        "it needs more than {bytes_max} bytes of memory: let fewer documents or fields come to it, or raise memory_bytes_max"
    )]
    MemoryExceeded {
        /// The limit.
        bytes_max: usize,
    },
    /// A document would become too large.
    #[error("a document of more than {DOCUMENT_BYTES_MAX} bytes would come out: unwind it, or project fields away")]
    DocumentTooLarge,
}

impl AggregateErrorKind {
    pub(super) fn specification(problem: impl Into<String>, code: i32) -> AggregateErrorKind {
        AggregateErrorKind::Specification {
            problem: problem.into(),
            code,
        }
    }

    /// Of the stage at a place.
    pub(super) fn at(self, index: usize, stage: &str) -> AggregateError {
        AggregateError {
            index,
            stage: stage.to_owned(),
            kind: self,
        }
    }
}

impl AggregateError {
    /// MongoDB's number for the error.
    #[must_use]
    pub fn code(&self) -> i32 {
        match &self.kind {
            AggregateErrorKind::UnknownStage => 40324,
            AggregateErrorKind::FieldCount { .. } => 40323,
            AggregateErrorKind::NotSupported { .. } => 238,
            AggregateErrorKind::TooManyStages => 7_749_501,
            AggregateErrorKind::TooDeep => 232,
            AggregateErrorKind::Specification { code, .. } => *code,
            AggregateErrorKind::Parse(ParseError::Aggregation { kind, .. }) => kind.code(),
            AggregateErrorKind::Parse(error) => match &*error.code_name() {
                "FailedToParse" => 9,
                "TypeMismatch" => 14,
                "InvalidBSON" => 22,
                _ => 2,
            },
            AggregateErrorKind::Evaluate(error) => match error.kind() {
                EvaluateErrorKind::Aggregation(error) => error.code(),
                _ => 51156,
            },
            AggregateErrorKind::MemoryExceeded { .. } => 292,
            AggregateErrorKind::DocumentTooLarge => 10334,
        }
    }

    /// MongoDB's name for the error: `Location` and the number where it has no other.
    #[must_use]
    pub fn code_name(&self) -> Cow<'static, str> {
        match (ErrorCode::from_number(self.code()), &self.kind) {
            (Some(code), _) => Cow::Borrowed(code.name()),
            (None, AggregateErrorKind::Parse(error)) => error.code_name(),
            (None, _) => Cow::Owned(format!("Location{}", self.code())),
        }
    }
}

impl From<ParseError> for AggregateErrorKind {
    fn from(error: ParseError) -> AggregateErrorKind {
        AggregateErrorKind::Parse(error)
    }
}

impl From<EvaluateError> for AggregateErrorKind {
    fn from(error: EvaluateError) -> AggregateErrorKind {
        AggregateErrorKind::Evaluate(error)
    }
}
