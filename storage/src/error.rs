//! What can go wrong with a store.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use bson::RawDocumentBuf;
use tailwater_matcher::{EvaluateError, ParseError, ValidateError};
use tailwater_oplog as oplog;
use tailwater_oplog::{LogId, OpId};

use crate::engine::EngineError;
use crate::update::UpdateError;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store. An operation that fails with one has changed nothing, unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// The directory of the store could not be made or read.
    #[error("cannot use {} as a store", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
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
    /// An entry of the log contradicts the state it is applied to.
    #[error("entry {op_id} does not fit the state before it: {what}; restore the store from a copy")]
    Inconsistent {
        /// The entry.
        op_id: OpId,
        /// In what way.
        what: &'static str,
    },
    /// A document with that `_id` exists already.
    #[error("duplicate key in {namespace}: {key:?}")]
    DuplicateKey {
        /// `database.collection`.
        namespace: String,
        /// `{_id: …}`.
        key: RawDocumentBuf,
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
    /// An `_id` of a type that cannot be one.
    #[error("an _id cannot be {what}")]
    InvalidId {
        /// What it is.
        what: &'static str,
    },
    /// A replacement with another `_id`, or one with operators.
    #[error("invalid replacement: {what}")]
    InvalidReplacement {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The filter does not parse.
    #[error("invalid filter: {0}")]
    Filter(#[from] ParseError),
    /// The filter has no answer for a document: whether it matches cannot be said.
    #[error("the filter cannot be evaluated: {0}")]
    Evaluate(#[from] EvaluateError),
    /// The update does not parse, or does not fit the document.
    #[error("invalid update: {0}")]
    Update(Arc<UpdateError>),
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
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Error {
        let remedy = match error {
            EngineError::Locked { dir } => return Error::StateLocked { path: dir },
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

impl From<UpdateError> for Error {
    fn from(error: UpdateError) -> Error {
        Error::Update(Arc::new(error))
    }
}
