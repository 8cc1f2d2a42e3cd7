//! The sources of this crate over shuttle's threads and locks: random schedules of writer, dispatcher, catch-up and
//! receivers. Joining, leaving, parking and coming back lose no event, give none twice, and leave nobody asleep.
//!
//! This is the root of a test (`model_dispatch`), and no module of the crate. It stands here because modules are looked for
//! beside their root. All are those of the crate, except `primitives`; the log's view is one whose entries a thread of the model
//! makes visible (`tests/models`). `docs/durability.md` says what is covered.
#![allow(
    unused,
    unreachable_pub,
    missing_docs,
    clippy::all,
    reason = "the crate as it is, and not all of it is used"
)]

extern crate tailwater_oplog as log;
// What the sources take for the log is what stands here.
extern crate self as tailwater_oplog;

mod consumer;
mod deadline;
mod dispatch;
mod document_store;
mod error;
mod event;
mod fields;
mod live;
mod missing;
#[path = "../tests/models/log.rs"]
mod model_log;
mod options;
mod paths;
mod pipeline;
mod plan;
#[path = "../tests/models/primitives.rs"]
mod primitives;
#[path = "../../oplog/tests/models/runner.rs"]
mod runner;
#[path = "../tests/models/scenarios.rs"]
mod scenarios;
mod scope;
mod shape;
mod snapshot;
mod split;
mod start;
mod step;
mod stream;
mod subscription;
mod token;

pub use log::{
    Durability, Entry, Error, ErrorKind, LogId, OpId, ReadConcern, Result, RetentionSlot, SharedEntry, SlotState, Term,
    Timestamp, WaitOutcome, Watermarks, codec, entry,
};
pub use model_log::{Cursor, Interrupt, Oplog, OplogView, Options};

// Where the sources' documentation, and some of their code, expect them.
use consumer::{Consumer, ConsumerGroups, ConsumerOptions};
use dispatch::Dispatcher;
use document_store::{DocumentStore, INTERNAL_DATABASE};
use event::ChangeEvent;
use options::{FullDocument, Watch};
use scope::Scope;
use split::{EVENT_BYTES_MAX, SplitEvent};
use stream::ChangeStream;
use subscription::{Receiver, WatchHandle};

fn main() -> std::process::ExitCode {
    let dir = tempfile::tempdir().unwrap();
    scenarios::write_log(dir.path());
    runner::run(scenarios::MODELS)
}
