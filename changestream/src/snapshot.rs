//! A snapshot, then every change behind it, in one stream: [`Watch::with_snapshot`].
//!
//! # What it promises
//!
//! - The documents that match are delivered as of one OpID, then every change behind that OpID: no gap, and nothing twice.
//! - It can be resumed at any place, also inside the snapshot, also after a crash.
//!
//! # Resuming inside a snapshot
//!
//! The state of then cannot be had any more: it died with its process. So a token inside a snapshot names the OpID *s* that
//! the snapshot was read at and the last document *k* it delivered, in the order of collection UUIDs and `_id`s. A stream that
//! goes on from there takes the state as of now, *t*, and delivers
//!
//! 1. the changes in *s* … *t* to documents up to *k*, which have been delivered as of *s*: now they are known as of *t*;
//! 2. the documents behind *k* as of *t*, none of which has been delivered;
//! 3. every change behind *t*.
//!
//! So each document is delivered as of one OpID and each change behind that OpID once, however often the stream is resumed, and
//! a token stays small. Whoever applies what is delivered has, behind the snapshot, exactly the collection. Only before that may
//! two documents be known as of different OpIDs; in a stream that was not resumed there is one. Changes that concern no
//! document (`drop`, `rename`, …) are all delivered in step 1.
//!
//! It needs the log from *s* on. If that has been trimmed, resuming fails with
//! [`HistoryLost`](tailwater_oplog::Error::HistoryLost); start anew. Until the stream has caught up, a retention slot keeps it, up to a
//! cap ([`SnapshotWatch::max_lag_bytes`]).
//!
//! # What it costs
//!
//! The state is kept until the snapshot has been read, in memory and on disk: what was replaced or deleted since.

mod event;
mod stream;
mod token;

use std::sync::Arc;

pub use event::{SNAPSHOT_OPERATION, SnapshotDocument, SnapshotEvent};
pub use stream::SnapshotStream;
pub(crate) use token::INSIDE_TEXT;
pub use token::SnapshotToken;

use crate::document_store::Hold;
use crate::error::{Error, Result};
use crate::options::Watch;
use crate::subscription::{StreamHandle, StreamReceiver, subscribe};

/// Most bytes of log that a stream may hold while it reads its snapshot, unless told otherwise.
const MAX_LAG_BYTES: u64 = 1 << 30;

/// Builds a stream that begins with a snapshot: [`Watch::with_snapshot`].
#[derive(Clone, Debug)]
#[must_use = "a watch does nothing before it is started"]
pub struct SnapshotWatch {
    watch: Watch,
    resume: Option<SnapshotToken>,
    max_lag_bytes: u64,
}

impl Watch {
    /// Begins with the documents that are there: they come first, each as an event with the `operationType` `snapshot`, put
    /// through filter and pipeline as every other event, and behind them every change.
    ///
    /// A filter or `$match` that asks for other operation types leaves the snapshot's documents out. [`Watch::operations`] speaks
    /// of the changes alone.
    pub fn with_snapshot(self) -> SnapshotWatch {
        SnapshotWatch {
            watch: self.whole_for("a stream with a snapshot"),
            resume: None,
            max_lag_bytes: MAX_LAG_BYTES,
        }
    }
}

impl SnapshotWatch {
    /// Goes on behind the event that carried this token, or where a stream was that had it. An `invalidate` event's token is taken,
    /// too, as by [`Watch::start_after`].
    pub fn resume_after(mut self, token: impl Into<SnapshotToken>) -> SnapshotWatch {
        self.resume = Some(token.into());
        self
    }

    /// How many bytes the log may keep for the stream while it reads the snapshot and until it has caught up with the log
    /// behind it, against the log's retention. When it is too slow for that, the stream fails with [`HistoryLost`](tailwater_oplog::Error::HistoryLost) behind the snapshot. Default
    /// 1 GiB.
    pub fn max_lag_bytes(mut self, bytes: u64) -> SnapshotWatch {
        self.max_lag_bytes = bytes;
        self
    }

    /// Starts the stream, with a handle that ends it and a receiver.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWatch::start`].
    pub fn subscribe(self) -> Result<(StreamHandle, StreamReceiver<SnapshotStream>)> {
        let stream = self.start()?;
        let stopper = stream.stopper();
        Ok(subscribe(stream, stopper))
    }

    /// Starts the stream.
    ///
    /// # Errors
    ///
    /// As [`Watch::start`]; [`Error::ConflictingStart`] when the watch has a starting point of its own; [`Error::NoStore`] when
    /// the watch is one of a log without its store; [`Error::Store`].
    pub fn start(self) -> Result<SnapshotStream> {
        if self.watch.has_start() {
            return Err(Error::ConflictingStart);
        }
        let store = Arc::clone(self.watch.store().ok_or(Error::NoStore)?);
        let (view, concern) = (self.watch.view().clone(), self.watch.concern());
        let inside = match self.resume {
            Some(token) => match token.place() {
                None => {
                    let changes = self.watch.start_after(token.position()).start()?;
                    return Ok(SnapshotStream::new(changes, None, Arc::default(), None));
                }
                // Nothing has been delivered: the same as a beginning.
                Some(place) if place.is_start() => None,
                Some(place) => Some((token.position(), Arc::clone(place))),
            },
            None => None,
        };
        if let Some((position, place)) = inside {
            // The token is checked first, so that one of another log is refused as such.
            // Nor may the state be older than the token: it has not what came between the two.
            let changes = self.watch.resume_after(position).at_once().start()?;
            let hold = Hold::new(&store, position.op_id().next(), self.max_lag_bytes)?;
            let state = store.state(concern)?;
            return Ok(SnapshotStream::new(changes, Some(state), place, Some(hold)));
        }
        // Before the state is taken, so that nothing behind it can be trimmed.
        let hold = Hold::new(
            &store,
            view.newest(tailwater_oplog::ReadConcern::Local).next(),
            self.max_lag_bytes,
        )?;
        let state = store.state(concern)?;
        let changes = self.watch.start_behind(state.as_of())?;
        Ok(SnapshotStream::new(changes, Some(state), Arc::default(), Some(hold)))
    }
}
