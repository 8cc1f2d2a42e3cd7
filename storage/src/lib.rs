//! A document store whose only write path is the Tailwater oplog.
//!
//! A write is validated and computed, appended to the log, and applied to the state; replay and followers run the same
//! apply. So the state is always what the log adds up to, and everything else that wants to know of a write reads the log.
//!
//! This crate knows documents, updates, the catalogue and the engine under the state. It knows no watchers and no sockets.
//!
//! ```
//! use bson::rawdoc;
//! use tailwater_storage::Store;
//!
//! # fn main() -> Result<(), tailwater_storage::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! let store = Store::open(dir.path())?;
//! let people = store.collection("town", "people")?;
//! people.insert_one(&rawdoc! { "_id": 1, "name": "Ada", "age": 36 })?;
//! people.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$inc": { "age": 1 } })?;
//! let ada = people.find_one(&rawdoc! { "age": { "$gt": 36 } })?.expect("she is 37");
//! assert_eq!(ada, rawdoc! { "_id": 1, "name": "Ada", "age": 37 });
//! # Ok(())
//! # }
//! ```

mod acknowledge;
mod aggregate;
mod applier;
pub mod backup;
mod catalog;
mod checkpoint;
mod collection;
mod digest;
mod document_id;
mod engine;
mod error;
mod expire;
mod index;
pub mod limits;
mod names;
mod options;
mod overlay;
mod plan;
mod query;
mod reading;
mod selection;
mod sessions;
mod snapshot;
mod sort;
mod state;
mod store;
mod transaction;
pub mod update;
mod workspace;
mod write;

pub use acknowledge::Acknowledge;
pub use aggregate::{
    AggregateError, AggregateErrorKind, AggregateOptions, Aggregation, Pipeline, PipelineTarget, STAGE_BYTES_MAX,
    STAGES_MAX, SUB_PIPELINES_MAX,
};
pub use backup::{
    BackupError, BackupOptions, BackupOutcome, BackupProgress, RestoreOptions, RestoreOutcome, RestorePoint, StateCopy,
    backup_log, restore,
};
pub use collection::{
    BulkWriteOptions, BulkWriteOutcome, Collection, CollectionSize, CountOptions, DeleteOptions, DistinctOptions,
    FindAndModify, FindAndModifyOutcome, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
    FindOptions, IndexOutcome, InsertManyOptions, InsertOutcome, NamespacedWrite, ReplaceOptions, ReturnDocument,
    TypedCollection, TypedDocuments, UpdateModifications, UpdateOptions, Validation, WriteError, WriteModel,
    WriteOutcome, distinct_over,
};
pub use digest::StateDigest;
pub use error::{Error, ErrorCode, ErrorLabel, Result};
pub use index::{ID_INDEX, INDEX_FIELDS_MAX, INDEXES_MAX, IndexModel};
pub use options::{CAPPED_BYTES_MIN, Capped, CollectionOptions, ValidationAction, ValidationLevel};
pub use query::{Documents, ExplainOptions, Explanation, Hint, MemoryBudget, MemoryShare, QueryControl};
pub use selection::{SELECTION_NAMESPACES_MAX, Selection, SelectionError, Share, Sharing};
pub use sessions::{RetryableWrite, SessionId, SessionWrites, StatementOutcome};
pub use snapshot::{Snapshot, SnapshotCollection, SnapshotScan, SortOrder};
pub use sort::SORT_BYTES_MAX;
pub use store::{CollectionSpecification, CutBack, Store, StoreOptions, log_directory, state_directory};
pub use transaction::{Transaction, TransactionCollection, TransactionOptions, TransactionSession};
