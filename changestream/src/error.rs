//! What can go wrong with a change stream.

mod code;

use tailwater_matcher::{EvaluateError, FilterError, ParseError};
use tailwater_oplog as oplog;
use tailwater_oplog::{OpId, Timestamp};

/// The result of a change-stream operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a change stream. After an error from a running stream, the token of the last event it delivered is still
/// good wherever the error does not say otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a resume token: cut, damaged, forged or from a newer release. Use the token as it was delivered.
    #[error("malformed resume token: {what}; pass a token exactly as an event carried it")]
    MalformedToken {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The token is an `invalidate` event's, after which nothing can be resumed. Start after it instead.
    #[error("the resume token is an invalidate event's, which ends a stream: use start_after with it, or start anew")]
    Invalidated,
    /// The token is ahead of this log: the log has lost its tail, or the token is of a later copy. Start from the log's end
    /// or from a snapshot.
    #[error("the resume token is at entry {requested}, ahead of this log, whose newest is {newest}")]
    TokenAheadOfLog {
        /// The token's entry.
        requested: OpId,
        /// The newest entry of this log.
        newest: OpId,
    },
    /// What happened since that time has been trimmed in part.
    #[error("history since {} ns after 1970 has been trimmed: the oldest entry is {oldest}", requested.as_nanos())]
    TimeTrimmed {
        /// The time that was asked for.
        requested: Timestamp,
        /// The oldest entry still there.
        oldest: OpId,
    },
    /// More than one starting point was given.
    #[error("give one of resume_after, start_after, start_at_operation_time and start_at_oldest, not several")]
    ConflictingStart,
    /// The text filter does not parse.
    #[error("malformed filter: {0}")]
    Filter(#[from] FilterError),
    /// A pipeline stage does not parse.
    #[error("pipeline stage {stage}: {source}")]
    Match {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A pipeline stage that a change stream does not take.
    #[error(
        "pipeline stage {stage}: {name} is not permitted in a change stream; permitted: $match, $project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact"
    )]
    UnsupportedStage {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
        /// The stage's operator.
        name: String,
    },
    /// A pipeline stage that is no stage.
    #[error("pipeline stage {stage}: {what}")]
    MalformedStage {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The pipeline drops `_id`, which is the resume token, from every event. Keep it.
    #[error("the pipeline drops _id, which is the resume token: only pipelines that keep it as it is are permitted")]
    TokenDropped,
    /// The pipeline has changed or dropped the `_id` of an event, which is its resume token (MongoDB: `ChangeStreamFatalError`).
    #[error(
        "the pipeline has changed _id, which is the resume token, of the event of entry {op_id}: only pipelines that keep it as it is are permitted"
    )]
    TokenModified {
        /// The entry.
        op_id: OpId,
    },
    /// The filter or a `$match` stage has no answer for an entry: whether to deliver it cannot be said.
    #[error("the filter cannot be evaluated: {0}")]
    Evaluate(#[from] EvaluateError),
    /// A pre-image was required, and the entry has none.
    #[error("entry {op_id} has no pre-image: record them for the collection, or ask for them whenAvailable")]
    NoPreImage {
        /// The entry.
        op_id: OpId,
    },
    /// A post-image was required, and the entry has none.
    #[error("entry {op_id} has no post-image: ask for it whenAvailable")]
    NoPostImage {
        /// The entry.
        op_id: OpId,
    },
    /// The log: history lost, another log, diverged, corrupt, closed, …
    #[error(transparent)]
    Log(#[from] oplog::Error),
}
