//! Tailwater: an embeddable document store with an oplog and change streams.
//!
//! This crate is what a program depends on. It opens the parts, wires them together and re-exports them; it has no logic of
//! its own.
//!
//! ```
//! use tailwater::{Store, bson::rawdoc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(dir.path())?;
//! let people = store.collection("town", "people")?;
//! let (handle, adults) = people.watch().filter("age > 18").subscribe()?;
//!
//! people.insert_one(&rawdoc! { "name": "Ada", "age": 36 })?;
//! people.insert_one(&rawdoc! { "name": "Bo", "age": 7 })?;
//! people.insert_one(&rawdoc! { "name": "Cy", "age": 19 })?;
//!
//! let name = |event: &tailwater::ChangeEvent| Some(event.full_document()?.get_str("name").ok()?.to_owned());
//! assert_eq!(name(&adults.recv()?).as_deref(), Some("Ada"));
//! assert_eq!(name(&adults.recv()?).as_deref(), Some("Cy"));
//! drop(handle);
//! # Ok(())
//! # }
//! ```
//!
//! # What a crash can do
//!
//! A write acknowledged with [`Durability::Disk`], the default, survives power loss; one with [`Durability::Memory`]
//! survives the death of the process, and power loss after the next sync. Watchers see a write when it is durable, unless
//! they ask for [`ReadConcern::Local`]. A watcher that resumes with the token of its last event misses nothing.

mod acknowledge;
mod find;
mod replicas;
mod store;
mod wiring;

pub use bson;
pub use find::Find;
pub use store::{Collection, LogError, LogView, Store};
pub use tailwater_changestream::{
    BlockingIter, CONSUMER_NAME_BYTES_MAX, ChangeEvent, ChangeStream, Consumer, ConsumerBuilder, ConsumerOptions,
    ConsumerSnapshot, ConsumerStatus, Counts, Delivery, Dispatcher, DispatcherStats, EVENT_BYTES_MAX,
    Error as WatchError, FullDocument, FullDocumentBeforeChange, INTERNAL_DATABASE, LIVE_DOCUMENTS_MAX, Leader,
    ListedWatch, LiveEvent, LiveQuery, LiveStream, LostHistory, OperationType, Receiver, RecvError, ResumeToken,
    SNAPSHOT_OPERATION, Scope, SnapshotDocument, SnapshotEvent, SnapshotStream, SnapshotToken, SnapshotWatch,
    SplitEvent, Stopper, StoreError, StreamHandle, StreamReceiver, Subscribed, TokenKind, Watch, WatchDescription,
    WatchHandle, WatchList, WatchStatus, cluster_time,
};
pub use tailwater_matcher as matcher;
pub use tailwater_oplog as oplog;
pub use tailwater_oplog::{Durability, OpId, ReadConcern};
pub use tailwater_replication as replication;
pub use tailwater_storage::{
    AggregateError, AggregateErrorKind, AggregateOptions, Aggregation, BackupError, BackupOptions, BackupOutcome,
    BackupProgress, BulkWriteOptions, BulkWriteOutcome, CollectionOptions, CollectionSize, CollectionSpecification,
    CountOptions, DeleteOptions, DistinctOptions, Documents, Error, ErrorCode, ErrorLabel, ExplainOptions, Explanation,
    FindAndModify, FindAndModifyOutcome, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
    FindOptions, Hint, IndexModel, IndexOutcome, InsertManyOptions, InsertOutcome, MemoryBudget, MemoryShare,
    NamespacedWrite, Pipeline, PipelineTarget, QueryControl, ReplaceOptions, RestoreOptions, RestoreOutcome,
    RestorePoint, Result, RetryableWrite, ReturnDocument, SessionId, SessionWrites, StateDigest, StatementOutcome,
    StoreOptions, Transaction, TransactionCollection, TransactionOptions, TransactionSession, TypedCollection,
    TypedDocuments, UpdateModifications, UpdateOptions, ValidationAction, ValidationLevel, WriteError, WriteModel,
    WriteOutcome, backup_log, distinct_over, limits, log_directory, restore, update,
};
