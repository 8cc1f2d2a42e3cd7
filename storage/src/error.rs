//! What can go wrong with a store.

mod code;
mod label;

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::{CollationError, EvaluateError, ParseError, ValidateError};
use tailwater_oplog as oplog;
use tailwater_oplog::{LogId, OpId};

use crate::aggregate::AggregateError;
use crate::catalog::CollectionInfo;
use crate::collection::{BulkWriteOutcome, WriteError};
use crate::engine::EngineError;
use crate::index::{ID_INDEX, IndexDefinition, keys};
use crate::selection::SelectionError;
use crate::update::UpdateError;

pub use code::ErrorCode;
pub use label::ErrorLabel;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store. An operation that fails with one has changed nothing, unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A write is done, and was not acknowledged by as many members as asked for, or not in time (MongoDB manual: *Write Concern*,
    /// `wtimeout`).
    #[error("entry {op_id} is written, but not acknowledged: {reason}")]
    WriteConcernFailed {
        /// The last entry of the write.
        op_id: OpId,
        /// What stood in the way.
        reason: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The log: out of space, poisoned by a failed sync, open elsewhere, corrupt, …
    #[error(transparent)]
    Log(#[from] oplog::Error),
    /// The key-value engine under the state failed. The log has every write.
    #[error("the state engine failed; {remedy}")]
    Engine {
        /// What to do about it.
        remedy: &'static str,
        /// What it said.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The disk that the state is on is full. Reads go on; the log has every write that was acknowledged, and the next opening
    /// makes the state of it.
    #[error("no space left for the state: free some, and open the store again; the log has every write")]
    StateStorageFull {
        /// What failed first.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The state is in use: another process has it open, or somebody in this one still reads from a store that was closed.
    #[error("the state in {} is in use by another process, or by a read of this one that has not ended: end that first", path.display())]
    StateLocked {
        /// The state directory.
        path: PathBuf,
    },
    /// There is state, but no log beside it.
    #[error("there is state, but no log at {}: restore the log, or remove the state to begin with an empty store", path.display())]
    LogMissing {
        /// Where the log should be.
        path: PathBuf,
    },
    /// A thread could not be started.
    #[error("cannot start the thread {name}: free some of the system's threads or memory")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The directory of the store could not be made or read.
    #[error("cannot use {} as a store", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The state directory belongs to another log: directories were mixed up.
    #[error("the state in {} was made from log {found}, beside it lies log {expected}: restore the two together, or remove the state to have it rebuilt", path.display())]
    ForeignState {
        /// The state directory.
        path: PathBuf,
        /// The log beside it.
        expected: LogId,
        /// The log it was made from.
        found: LogId,
    },
    /// What a partial copy is to have, or has, cannot be told.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The store is a partial copy, and at this entry a collection was renamed into its part, whose documents it does not have.
    #[error(
        "at entry {op_id} {namespace} was renamed into what this partial copy has, which does not have its documents: make the copy anew (`resync`)"
    )]
    EnteredPart {
        /// The entry.
        op_id: OpId,
        /// The collection as it is called since.
        namespace: String,
    },
    /// The state was made from another copy of the log beside it, and each copy was written to by itself.
    #[error("the state in {} was made from a copy of the log beside it with another entry {applied}: restore the two together, or remove the state to have it rebuilt", path.display())]
    StateDiverged {
        /// The state directory.
        path: PathBuf,
        /// The last entry that the state covers, which the log has with another term or timestamp.
        applied: OpId,
    },
    /// The state covers entries that the log does not have: the log was put back to an older copy.
    #[error(
        "the state covers entries up to {applied}, the log ends at {newest}: restore the two together, or remove the state to have it rebuilt"
    )]
    StateAhead {
        /// What the state covers.
        applied: OpId,
        /// The log's last entry.
        newest: OpId,
    },
    /// The log was trimmed beyond what the state covers, so the state cannot be brought up to date.
    #[error(
        "the state covers entries up to {applied}, but the log begins at {oldest}: restore the state or the log from a copy"
    )]
    StateBehind {
        /// What the state covers.
        applied: OpId,
        /// The log's first entry.
        oldest: OpId,
    },
    /// A thread ended in the middle of something that others rely on.
    #[error("the store was interrupted while {what}: open it again, which makes the state anew from the log")]
    Interrupted {
        /// What it was doing.
        what: &'static str,
    },
    /// An entry of the log contradicts the state it is applied to.
    #[error("entry {op_id} does not fit the state before it: {what}; restore the store from a copy")]
    Inconsistent {
        /// The entry.
        op_id: OpId,
        /// In what way.
        what: &'static str,
    },
    /// A document with that key exists already, in the index on `_id` or in another unique one. MongoDB's code 11000.
    #[error(
        "E11000 duplicate key error collection: {namespace} index: {index} dup key: {}",
        text(key_value)
    )]
    DuplicateKey {
        /// `database.collection`.
        namespace: String,
        /// The index's name.
        index: String,
        /// The index's key.
        key_pattern: RawDocumentBuf,
        /// The document's values there.
        key_value: RawDocumentBuf,
    },
    /// A document does not match the collection's validator. MongoDB's code 121.
    #[error("the document {} fails the validator of {namespace}", text(id))]
    DocumentFailedValidation {
        /// `database.collection`.
        namespace: String,
        /// Which document: `{_id: …}`.
        id: RawDocumentBuf,
        /// Why, as MongoDB's `errInfo` has it: `{failingDocumentId, details: {operatorName, …}}` (manual: *Choose How to Handle
        /// Invalid Documents*), with `truncated: true` where that would have been too large
        /// ([`explain_mismatch`](tailwater_matcher::explain_mismatch)).
        info: RawDocumentBuf,
    },
    /// A document reaches two arrays through the fields of one index. MongoDB's code 171.
    #[error("the document has arrays in two fields of the index {name:?}: at most one may be an array")]
    ParallelArrays {
        /// The index's name.
        name: String,
    },
    /// A document has far more keys in an index, or in an order, than there are values in it: its paths have positions, and the
    /// keys are products of the document's arrays. MongoDB's code 201.
    #[error("the document has too many keys in {of}: the positions in its paths multiply the document's arrays")]
    TooManyKeys {
        /// The index's name, or the order.
        of: String,
    },
    /// A document's values in an index are too long.
    #[error("the document has {bytes} bytes of key in the index {name:?}, {bytes_max} at most")]
    IndexKeyTooLong {
        /// The index's name.
        name: String,
        /// Bytes of the key.
        bytes: usize,
        /// Most bytes there may be.
        bytes_max: usize,
    },
    /// An index that cannot be.
    #[error("invalid index {name:?}: {what}")]
    InvalidIndex {
        /// Its name, as far as it is known.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is an index that stands in its way: one of its name with another key, filter, `unique` or `sparse` (MongoDB's code
    /// 86), or an equivalent one with another name or other options (85).
    #[error(
        "the index {name:?} conflicts with the index {other:?}, which is there already: drop that first, or take another name and key"
    )]
    IndexConflict {
        /// The one that was asked for.
        name: String,
        /// The one that is there.
        other: String,
        /// Whether both have the same key, filter, `unique` and `sparse`.
        equivalent: bool,
    },
    /// There is no such index. MongoDB's code 27.
    #[error("there is no index {name:?}")]
    NoSuchIndex {
        /// The name.
        name: String,
    },
    /// Several indexes have that key pattern; their names tell them apart. MongoDB's code 181.
    #[error("several indexes have the key {key}: say by name which is meant")]
    AmbiguousIndexKey {
        /// The key pattern.
        key: String,
    },
    /// A build of an index ended without it: the index or its collection was dropped meanwhile. MongoDB's code 276.
    #[error("the build of the index {name:?} was aborted: the index or its collection was dropped meanwhile")]
    IndexBuildAborted {
        /// The index's name.
        name: String,
    },
    /// A hint at an index that the query cannot use. MongoDB's code 2.
    #[error("bad hint {hint}: {what}")]
    BadHint {
        /// The hint.
        hint: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An order that cannot be.
    #[error("invalid sort: {what}")]
    InvalidSort {
        /// What is wrong with it.
        what: String,
    },
    /// A document has arrays in two fields that it is to be sorted by. MongoDB's code 2.
    #[error("cannot sort by {sort}: a document has arrays in two of the fields; at most one may be an array")]
    SortParallelArrays {
        /// The order.
        sort: String,
    },
    /// Sorting takes more memory than it may. MongoDB's code 292.
    #[error(
        "sorting by {sort} takes more than {bytes_max} bytes of memory: create an index with that order, or set a limit"
    )]
    SortMemoryExceeded {
        /// Most bytes it may take; see [`SORT_BYTES_MAX`](crate::SORT_BYTES_MAX).
        bytes_max: usize,
        /// The order.
        sort: String,
    },
    /// What the sorts and groups of several queries hold together would be more than their
    /// [`MemoryBudget`](crate::MemoryBudget). MongoDB's code 146.
    #[error(
        "sorts and groups of all queries together would hold more than {bytes_max} bytes: close cursors that are not read to their end, or raise the limit"
    )]
    MemoryBudgetExceeded {
        /// Most bytes they may hold together.
        bytes_max: usize,
    },
    /// A query was ended in the middle, by its [`QueryControl`](crate::QueryControl). MongoDB's code 11601.
    #[error("operation was interrupted")]
    QueryInterrupted,
    /// A query has not come to its end in the time that its [`QueryControl`](crate::QueryControl) gives it. MongoDB's code 50.
    #[error("operation exceeded time limit")]
    QueryTimeExpired,
    /// Options of a collection that cannot be.
    #[error("invalid collection options: {what}")]
    InvalidOptions {
        /// What is wrong with them.
        what: String,
    },
    /// An `insert_many` without documents.
    #[error("there is no document to insert: name at least one")]
    NoDocuments,
    /// Some documents of an `update_many` or `delete_many` were changed, as durably as asked; then one could not be, and those
    /// after it were not tried.
    #[error("{modified} documents were changed, the next was not: {source}")]
    ChangeMany {
        /// How many were changed or deleted.
        modified: u64,
        /// Why the next one was not.
        source: Box<Error>,
    },
    /// Some documents of an `insert_many` were inserted, one was not, and those after it were not tried.
    #[error("document {index} was not inserted, those before it were: {source}")]
    InsertMany {
        /// Index of the document that was refused.
        index: usize,
        /// Why.
        source: Box<Error>,
    },
    /// A bulk write without writes.
    #[error("there is nothing to write: name at least one write")]
    NoWrites,
    /// Some of several writes failed; an ordered one has not tried those after the first that failed.
    #[error("{} of the writes failed, first the one with index {}", errors.len(), first_of(errors))]
    BulkWrite {
        /// Which failed and why, in order; one at least.
        errors: Vec<WriteError>,
        /// What the others have done, as durably as asked.
        outcome: Box<BulkWriteOutcome>,
    },
    /// A field whose values were asked for and that cannot be.
    #[error("invalid field {field:?}: {what}")]
    InvalidField {
        /// The field.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// The different values of a field take more room than a document may. MongoDB's code 17217.
    #[error(
        "the different values have more than {bytes_max} bytes: take a narrower filter, or find the documents themselves"
    )]
    DistinctTooLarge {
        /// Most bytes there may be.
        bytes_max: usize,
    },
    /// A value of a program's own type does not become a document.
    #[error("a {type_name} does not become a document: {source}")]
    Serialize {
        /// The type.
        type_name: &'static str,
        /// What serde said.
        source: Arc<bson::error::Error>,
    },
    /// A document does not become a value of a program's own type.
    #[error("the document with _id {id} does not become a {type_name}: {source}")]
    Deserialize {
        /// The type.
        type_name: &'static str,
        /// The document's `_id`.
        id: Box<bson::Bson>,
        /// What serde said.
        source: Arc<bson::error::Error>,
    },
    /// A database or collection name that is not allowed.
    #[error("invalid name {name:?}: {what}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The document's bytes are not sound BSON, or it is too large or too deep.
    #[error("invalid document: {0}")]
    InvalidDocument(#[from] ValidateError),
    /// A document is larger than a capped collection may be. MongoDB's code 2.
    #[error(
        "the document has {bytes} bytes, the capped collection {namespace} holds {bytes_max}: split it, or make a larger collection"
    )]
    CappedTooSmall {
        /// `database.collection`.
        namespace: String,
        /// Bytes of the document, with its `_id`.
        bytes: i64,
        /// The collection's size.
        bytes_max: i64,
    },
    /// An `_id` of a type that cannot be one.
    #[error("an _id cannot be {what}")]
    InvalidId {
        /// What it is.
        what: &'static str,
    },
    /// An `_id` with a field that begins with a dollar sign.
    #[error(
        "the _id has a field named {field}: names of its fields cannot begin with a dollar sign, save for those of a reference"
    )]
    DollarPrefixedId {
        /// The field.
        field: String,
    },
    /// A document with several fields named `_id`.
    #[error("the document has more than one _id: leave one")]
    IdTwice,
    /// A replacement with operators.
    #[error("invalid replacement: {what}")]
    InvalidReplacement {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The filter does not parse.
    #[error("invalid filter: {0}")]
    Filter(#[from] ParseError),
    /// The collation is none, or not one that is known.
    #[error("invalid collation: {0}")]
    Collation(#[source] CollationError),
    /// The projection does not parse.
    #[error("invalid projection: {0}")]
    Projection(#[source] ParseError),
    /// The projection cannot be computed for a document.
    #[error("the projection cannot be computed: {0}")]
    Project(#[source] EvaluateError),
    /// The filter has no answer for a document: whether it matches cannot be said.
    #[error("the filter cannot be evaluated: {0}")]
    Evaluate(#[from] EvaluateError),
    /// The update does not parse, or does not fit the document.
    #[error("invalid update: {0}")]
    Update(Arc<UpdateError>),
    /// A pipeline does not parse, or one of its stages cannot go on.
    #[error("the aggregation failed: {0}")]
    Aggregate(Arc<AggregateError>),
    /// There is no such collection.
    #[error("there is no collection {namespace}")]
    NoSuchCollection {
        /// `database.collection`.
        namespace: String,
    },
    /// There is such a collection already.
    #[error("collection {namespace} exists already")]
    CollectionExists {
        /// `database.collection`.
        namespace: String,
    },
    /// Another has written what the transaction writes, since it began. MongoDB's code 112, and the label
    /// [`TransientTransactionError`](ErrorLabel::TransientTransactionError).
    #[error("write conflict in {namespace}: {what} since the transaction began; run the transaction again")]
    WriteConflict {
        /// `database.collection`.
        namespace: String,
        /// What has happened.
        what: &'static str,
    },
    /// An earlier operation of the transaction has failed, and ended it. MongoDB's code 251.
    #[error("the transaction was aborted by an earlier error: {cause}; begin another")]
    TransactionAborted {
        /// The earlier error, whose labels this one has.
        cause: Box<Error>,
    },
    /// The transaction has been open for too long. MongoDB's code 290, and the label
    /// [`TransientTransactionError`](ErrorLabel::TransientTransactionError).
    #[error(
        "the transaction was aborted, as it has been open for longer than {lifetime:?}: run it again, or raise transaction_lifetime"
    )]
    TransactionExpired {
        /// How long a transaction may be open.
        lifetime: Duration,
    },
    /// The transaction's entries do not fit into one segment of the log. MongoDB's code 257.
    #[error(
        "the transaction has {bytes} bytes of entries, and {bytes_max} fit into the log: split it, or raise oplog.segment_bytes"
    )]
    TransactionTooLarge {
        /// Bytes of its entries when it was found too large.
        bytes: u64,
        /// Most bytes there may be.
        bytes_max: u64,
    },
    /// Something that a transaction cannot do. MongoDB's code 263.
    #[error("{operation} is not supported in a transaction: do it outside")]
    OperationNotSupportedInTransaction {
        /// What was asked for.
        operation: String,
    },
    /// The transaction is written, and readers see it, but it could not be made durable: power loss may take it back, as a
    /// whole. The label is [`UnknownTransactionCommitResult`](ErrorLabel::UnknownTransactionCommitResult).
    #[error("the transaction is written up to {op_id}, but not known to be durable: open the store again and look")]
    UnknownCommitResult {
        /// Its last entry.
        op_id: OpId,
        /// Why it could not be made durable.
        source: Box<Error>,
    },
}

impl Error {
    /// Whether it says that a document cannot be in an index.
    pub(crate) fn is_of_documents(&self) -> bool {
        matches!(
            self,
            Error::DuplicateKey { .. }
                | Error::ParallelArrays { .. }
                | Error::TooManyKeys { .. }
                | Error::IndexKeyTooLong { .. }
        ) || matches!(self, Error::Evaluate(error) if !error.ran_out())
    }

    /// Another document has that `_id`.
    pub(crate) fn duplicate_id(info: &CollectionInfo, key_value: RawDocumentBuf) -> Error {
        Error::DuplicateKey {
            namespace: info.namespace.to_string(),
            index: ID_INDEX.to_owned(),
            key_pattern: rawdoc! { "_id": 1 },
            key_value,
        }
    }

    /// Another document has one of the document's keys in a unique index, that of `values`.
    pub(crate) fn duplicate(
        info: &CollectionInfo,
        index: &IndexDefinition,
        document: &RawDocument,
        values: &[u8],
    ) -> Error {
        Error::DuplicateKey {
            namespace: info.namespace.to_string(),
            index: index.name.clone(),
            key_pattern: index.key().to_owned(),
            key_value: keys::values_of(index, document, values),
        }
    }
}

/// A document as messages show it.
pub(crate) fn text(document: &RawDocument) -> String {
    bson::Document::try_from(document).map_or_else(|error| error.to_string(), |document| document.to_string())
}

fn first_of(errors: &[WriteError]) -> String {
    let first = errors.first();
    first.map_or_else(String::new, |first| format!("{}: {}", first.index, first.error))
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Error {
        if is_full(&error) {
            return Error::StateStorageFull {
                source: Arc::new(error),
            };
        }
        let remedy = match error {
            EngineError::Locked { dir } => return Error::StateLocked { path: dir },
            EngineError::Closing => return Error::Log(tailwater_oplog::Error::Closed),
            EngineError::Open { .. } | EngineError::Repair { .. } | EngineError::AppliedMalformed { .. } => {
                "restore it from a copy, or remove the state to have it rebuilt from the log"
            }
            EngineError::FormatUnknown { .. } => {
                "use the release that wrote it, or remove the state to have it rebuilt from the log"
            }
            EngineError::KeyTooLong { .. }
            | EngineError::Read { .. }
            | EngineError::Write { .. }
            | EngineError::Poisoned => "reopen the store, whose log has every write",
        };
        Error::Engine {
            remedy,
            source: Arc::new(error),
        }
    }
}

/// Whether a full disk is among the causes of an error.
pub(crate) fn is_full(error: &(dyn StdError + 'static)) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        if error.downcast_ref::<io::Error>().or(shared).is_some_and(full) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<UpdateError> for Error {
    fn from(error: UpdateError) -> Error {
        Error::Update(Arc::new(error))
    }
}
