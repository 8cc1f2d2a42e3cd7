//! Change streams: tailing, filtering, resumable cursors over the Tailwater oplog.
//!
//! [`Watch`] collects what is wanted; [`Watch::start`] gives a [`ChangeStream`], [`Watch::subscribe`] a channel with a
//! handle. Events are evaluated where the entry lies, before anything is decoded or delivered.
//!
//! This crate knows the log and the match language. It knows no store: what an event shows is in the entry it comes from.
//!
//! # What a watcher may rely on
//!
//! * **Order**: events come in the order of the log.
//! * **Nothing lost**: a watcher that resumes with the token of the last event it has dealt with gets every later event of
//!   its scope; if history is gone, it gets an error that says so.
//! * **Nothing twice**: within one stream each event is delivered once.
//! * **Nothing that did not happen**: with [`ReadConcern::Durable`](tailwater_oplog::ReadConcern), the default, an event's
//!   write survives power loss.

mod consumer;
mod deadline;
mod dispatch;
mod document_store;
mod error;
mod event;
mod fields;
mod listing;
mod live;
mod missing;
mod options;
mod paths;
mod pipeline;
mod plan;
mod primitives;
mod scope;
mod shape;
mod snapshot;
mod split;
mod start;
mod step;
mod stream;
mod subscription;
mod token;

pub use consumer::{
    CONSUMER_NAME_BYTES_MAX, Consumer, ConsumerBuilder, ConsumerGroups, ConsumerOptions, ConsumerSnapshot,
    ConsumerStatus, Delivery, LostHistory, consumer_drop, consumers,
};
pub use dispatch::{Counts, Dispatcher, DispatcherStats, Leader};
pub use document_store::{
    DocumentOrder, DocumentStore, INTERNAL_DATABASE, Put, StateCollection, StateQuery, StoreDocuments, StoreError,
    StoreState, drop_stale_holds,
};
pub use error::{Error, Result};
pub use event::{ChangeEvent, OperationType};
pub use fields::cluster_time;
pub use listing::{ListedWatch, WatchDescription, WatchList, WatchStatus};
pub use live::{LIVE_DOCUMENTS_MAX, LiveEvent, LiveQuery, LiveStream};
pub use options::{FullDocument, FullDocumentBeforeChange, Watch};
pub use scope::Scope;
pub use snapshot::{SNAPSHOT_OPERATION, SnapshotDocument, SnapshotEvent, SnapshotStream, SnapshotToken, SnapshotWatch};
pub use split::{EVENT_BYTES_MAX, SplitEvent};
pub use stream::{BlockingIter, ChangeStream, Stopper};
pub use subscription::{Receiver, RecvError, StreamHandle, StreamReceiver, Subscribed, WatchHandle};
pub use token::{ResumeToken, TokenKind};
