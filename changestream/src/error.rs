//! What can go wrong with a change stream.

mod code;

use tailwater_matcher::{CollationError, EvaluateError, FilterError, ParseError};
use tailwater_oplog as oplog;
use tailwater_oplog::{OpId, Timestamp};

use crate::document_store::StoreError;
use crate::split::{EVENT_BYTES_MAX, SplitEvent};

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
    /// The token stands inside a snapshot, of which an ordinary watch knows nothing. Resume it with
    /// [`Watch::with_snapshot`](crate::Watch::with_snapshot).
    #[error("the resume token stands inside a snapshot: resume it with with_snapshot()")]
    InsideSnapshot,
    /// The token is an `invalidate` event's, after which nothing can be resumed. Start after it instead.
    #[error("the resume token is an invalidate event's, which ends a stream: use start_after with it, or start anew")]
    Invalidated,
    /// The token is ahead of this log, and that entry does not come by itself: the log follows no other member, has lost its tail,
    /// or the token is of a later copy. Start from the log's end or from a snapshot. Of a member that has just changed its part, try
    /// again. On one that follows, a stream waits for the entry; durable consumers, and streams inside a snapshot, do not.
    #[error(
        "the resume token is at entry {requested}, ahead of this log, whose newest is {newest}: resume it where it is from, or start anew"
    )]
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
        "pipeline stage {stage}: {name} is {}; permitted: $match, $project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact, $changeStreamSplitLargeEvent",
        if *known { "not permitted in a change stream" } else { "no stage" }
    )]
    UnsupportedStage {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
        /// The stage's operator.
        name: String,
        /// Whether there is a stage of that name.
        known: bool,
    },
    /// A pipeline with `$changeStream`: the watch itself is that stage. Leave it out.
    #[error("pipeline stage {stage}: $changeStream is the watch itself; leave it out")]
    NestedChangeStream {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
    },
    /// `$changeStreamSplitLargeEvent` takes an empty document.
    #[error("pipeline stage {stage}: $changeStreamSplitLargeEvent takes an empty document")]
    SplitNotEmpty {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
    },
    /// `$changeStreamSplitLargeEvent` must be the last stage, and there can be one only.
    #[error("pipeline stage {stage}: $changeStreamSplitLargeEvent must be the last stage in the pipeline")]
    SplitNotLast {
        /// Index of the stage in the pipeline, from 0.
        stage: usize,
    },
    /// What hands events out whole does not split them. Leave `$changeStreamSplitLargeEvent` out: events of every size come.
    #[error("{by} delivers events of every size whole: leave $changeStreamSplitLargeEvent out")]
    SplitUnsupported {
        /// What was to be made of the watch.
        by: &'static str,
    },
    /// The token stands between the fragments of an event, and the pipeline does not split events. End it with
    /// `$changeStreamSplitLargeEvent`, as when the token was delivered.
    #[error(
        "the resume token stands behind a fragment of an event: end the pipeline with $changeStreamSplitLargeEvent to go on"
    )]
    SplitMissing,
    /// The token stands between the fragments of an event, and this watch does not split that event into the same. Ask for
    /// what the watch asked for that delivered the token.
    #[error(
        "the resume token stands behind fragment {fragment} of {of} of the event of entry {op_id}, which this watch does not split like that: resume with the same pipeline and options",
        fragment = split.fragment, of = split.of
    )]
    SplitChanged {
        /// The entry.
        op_id: OpId,
        /// Where the token stands.
        split: SplitEvent,
    },
    /// An event is too large for one document. End the pipeline with `$changeStreamSplitLargeEvent`, or ask for less with
    /// `$project` and without pre- and post-images.
    #[error(
        "the event of entry {op_id} has {bytes} bytes, and {EVENT_BYTES_MAX} are the limit: end the pipeline with $changeStreamSplitLargeEvent, or ask for less of it"
    )]
    EventTooLarge {
        /// The entry.
        op_id: OpId,
        /// How large the event is.
        bytes: usize,
    },
    /// A field of an event is too large for a fragment: fields are not split. Ask for less with `$project`.
    #[error(
        "the event of entry {op_id} cannot be split: its field {field} has {bytes} bytes, too many for one fragment; ask for less of it with $project"
    )]
    FieldTooLarge {
        /// The entry.
        op_id: OpId,
        /// The field's name.
        field: String,
        /// How large it is.
        bytes: usize,
    },
    /// The collation does not parse.
    #[error("malformed collation: {0}")]
    Collation(#[from] CollationError),
    /// A text filter beside a collation: it compares strings by their bytes, whatever the collation says.
    #[error("a text filter compares strings by their bytes, not by the collation: leave one of the two out")]
    CollationUnsupported,
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
    /// A watch of a log alone, without its store, was asked for what needs documents: a snapshot, a live query or a durable
    /// consumer. Make the watch from a store's handle, in the process that writes it.
    #[error("this needs the store's documents, and the watch knows only its log: make it from a store or a collection")]
    NoStore,
    /// A name that no durable consumer can have.
    #[error("a consumer cannot be called {name:?}: {what}")]
    InvalidConsumerName {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The consumer is there, and is another one. Use another name, or drop that consumer.
    #[error("consumer {name:?} {what}: use another name, or drop it first")]
    ConsumerMismatch {
        /// Its name.
        name: String,
        /// How it differs.
        what: String,
    },
    /// There is no consumer of that name.
    #[error("there is no consumer {name:?}")]
    NoSuchConsumer {
        /// The name.
        name: String,
    },
    /// The consumer has members now. Drop those first.
    #[error("consumer {name:?} has members now: drop those first")]
    ConsumerActive {
        /// Its name.
        name: String,
    },
    /// What the store has of the consumer is not what this release writes. Drop the consumer, and start it anew.
    #[error("what the store keeps of consumer {name:?} is malformed: drop it, and start it anew")]
    MalformedConsumer {
        /// Its name.
        name: String,
    },
    /// History that the consumer still needed is gone: it was away, or slow, for longer than the log keeps. Its position is
    /// still there.
    #[error(
        "consumer {name:?} needs the log from entry {requested} on, and the oldest is {oldest}: join with lost_history set to skip what is gone, or drop it and begin again with a snapshot"
    )]
    ConsumerLostHistory {
        /// Its name.
        name: String,
        /// The first entry that it still needed.
        requested: OpId,
        /// The oldest entry that is there.
        oldest: OpId,
    },
    /// The event is not the member's any more: its document's events come again from an earlier one, or the member has left
    /// or was silent for its lease. It will be, or was, delivered again.
    #[error("the event of entry {op_id} was taken back, and is delivered again: do not go on with it")]
    DeliveryRevoked {
        /// The entry.
        op_id: OpId,
    },
    /// The filter of a live query does not parse.
    #[error("the query's filter: {0}")]
    Query(ParseError),
    /// The result of a live query is larger than is kept up to date, or its limit asks for more. Narrow it, or set a limit.
    #[error("a live query has at most {max} documents: narrow its filter, or set a limit")]
    LiveTooLarge {
        /// Most documents.
        max: usize,
    },
    /// An option of a query that has no meaning while it is live.
    #[error("a live query takes no {option}")]
    LiveUnsupported {
        /// Its name.
        option: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The log: history lost, another log, diverged, corrupt, closed, …
    #[error(transparent)]
    Log(#[from] oplog::Error),
}
