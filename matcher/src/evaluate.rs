//! Why a predicate could not be evaluated.
//!
//! Comparisons cannot fail; an operator that runs a program of its own on a value can: a regular
//! expression may backtrack beyond its step limit. Such a document is neither a match nor a
//! non-match, so whoever evaluates must stop and say so: a filter that skips what it cannot judge
//! would lose documents silently.

use std::borrow::Cow;
use std::fmt;

use crate::aggregation::{AggregationError, AggregationErrorKind};

/// Evaluation failed; the predicate has no answer for this document.
///
/// One pointer wide, so that the `Result<bool, EvaluateError>` of every comparison travels in
/// registers.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateError(Box<EvaluateErrorKind>);

/// What made an evaluation fail.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateErrorKind {
    /// A regular expression backtracked more often than its limit allows.
    #[error("the regular expression {pattern:?} gives up on a value at `{path}`, simplify it: {reason}")]
    Regex {
        /// The path whose value it was tried on.
        path: String,
        /// The pattern.
        pattern: String,
        /// What the engine said.
        reason: String,
    },
    /// An aggregation expression met values that its operator does not take.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
}

impl EvaluateError {
    /// What made it fail.
    #[must_use]
    pub fn kind(&self) -> &EvaluateErrorKind {
        &self.0
    }

    /// Whether it was ended for what it takes, in steps or in time, rather than for what it found.
    #[must_use]
    pub fn ran_out(&self) -> bool {
        match self.kind() {
            EvaluateErrorKind::Aggregation(error) => matches!(
                error.kind(),
                AggregationErrorKind::Steps { .. } | AggregationErrorKind::Interrupted(_)
            ),
            EvaluateErrorKind::Regex { .. } => false,
        }
    }

    /// MongoDB's number for the error; a regular expression that gives up has none.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.kind() {
            EvaluateErrorKind::Aggregation(error) => Some(error.code()),
            EvaluateErrorKind::Regex { .. } => None,
        }
    }

    /// MongoDB's name for the error, where it has a number.
    #[must_use]
    pub fn code_name(&self) -> Option<Cow<'static, str>> {
        match self.kind() {
            EvaluateErrorKind::Aggregation(error) => Some(error.code_name()),
            EvaluateErrorKind::Regex { .. } => None,
        }
    }
}

impl From<EvaluateErrorKind> for EvaluateError {
    #[cold]
    fn from(kind: EvaluateErrorKind) -> EvaluateError {
        EvaluateError(Box::new(kind))
    }
}

impl From<AggregationError> for EvaluateError {
    #[cold]
    fn from(error: AggregationError) -> EvaluateError {
        EvaluateErrorKind::from(error).into()
    }
}

impl From<AggregationErrorKind> for EvaluateError {
    #[cold]
    fn from(kind: AggregationErrorKind) -> EvaluateError {
        AggregationError::from(kind).into()
    }
}

impl fmt::Display for EvaluateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for EvaluateError {}
