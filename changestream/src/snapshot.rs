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
//! [`HistoryLost`](tailwater_oplog::Error::HistoryLost), or begins anew by itself ([`SnapshotWatch::anew_if_lost`]). Until the stream has caught up, a retention slot keeps it, up to a
//! cap ([`SnapshotWatch::max_lag_bytes`]).
//!
//! # What it costs
//!
//! The state is kept until the snapshot has been read, in memory and on disk: what was replaced or deleted since.

mod event;
mod stream;
mod token;

use std::sync::Arc;

use tailwater_oplog::{Error as LogError, OpId, ReadConcern};

pub use event::{SNAPSHOT_OPERATION, SnapshotDocument, SnapshotEvent};
pub use stream::SnapshotStream;
pub(crate) use token::INSIDE_TEXT;
pub use token::SnapshotToken;

use crate::document_store::{DocumentStore, Hold, StoreState};
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
    anew_if_lost: bool,
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
            anew_if_lost: false,
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

    /// What to do when the log has been trimmed behind the token that the stream resumes with: instead of failing with
    /// [`HistoryLost`](tailwater_oplog::Error::HistoryLost), begin with a snapshot of now, and go on from there. So one call
    /// serves a first start, a resumption, and a return after too long.
    ///
    /// [`SnapshotStream::begins_anew`] says that this has happened. Nothing tells then what was deleted meanwhile: who keeps
    /// a copy empties it first.
    pub fn anew_if_lost(mut self, anew: bool) -> SnapshotWatch {
        self.anew_if_lost = anew;
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
    pub fn start(mut self) -> Result<SnapshotStream> {
        let Some(token) = self.resume.take() else {
            return self.start_behind(None);
        };
        let anew = self.anew_if_lost.then(|| self.clone());
        match (self.start_behind(Some(token)), anew) {
            (Err(Error::Log(LogError::HistoryLost { requested, oldest })), Some(anew)) => {
                tracing::warn!(%requested, %oldest, "a stream with a snapshot begins anew: what it needed was trimmed");
                anew.start_behind(None).map(SnapshotStream::beginning_anew)
            }
            (started, _) => started,
        }
    }

    fn start_behind(self, resume: Option<SnapshotToken>) -> Result<SnapshotStream> {
        if self.watch.has_start() {
            return Err(Error::ConflictingStart);
        }
        let store = Arc::clone(self.watch.store().ok_or(Error::NoStore)?);
        let (view, concern) = (self.watch.view().clone(), self.watch.concern());
        let inside = match resume {
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
            let changes = self.watch.resume_after(position).at_once().start()?;
            let hold = Hold::new(&store, position.op_id().next(), self.max_lag_bytes)?;
            let state = state_with(&*store, concern, position.op_id())?;
            return Ok(SnapshotStream::new(changes, Some(state), place, Some(hold)));
        }
        // Before the state is taken, so that nothing behind it can be trimmed.
        let newest = view.newest(ReadConcern::Local);
        let hold = Hold::new(&store, newest.next(), self.max_lag_bytes)?;
        // One that has everything before what is held: the log of a follower may be ahead of its state.
        let state = state_with(&*store, concern, newest)?;
        let changes = self.watch.start_behind(state.as_of())?;
        Ok(SnapshotStream::new(changes, Some(state), Arc::default(), Some(hold)))
    }
}

/// A state that has the effect of the entry `op_id`, which is in the log.
///
/// What is in the log need not be in the state yet. A stream that begins behind the entry with a state from before it would never
/// tell what came between the two.
fn state_with(store: &dyn DocumentStore, concern: ReadConcern, op_id: OpId) -> Result<Box<dyn StoreState>> {
    let state = store.state(concern)?;
    if state.as_of() >= op_id {
        return Ok(state);
    }
    drop(state);
    store.finish_applying();
    let state = store.state(concern)?;
    match state.as_of() {
        newest if newest < op_id => Err(Error::TokenAheadOfLog {
            requested: op_id,
            newest,
        }),
        _ => Ok(state),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bson::RawDocument;
    use tailwater_oplog::RetentionSlot;

    use super::*;
    use crate::consumer::ConsumerGroups;
    use crate::document_store::{DocumentOrder, Put, StateCollection, StateQuery, StoreDocuments};

    /// A store that has applied the entries up to one of them, and applies those up to `logged` when it is waited for.
    #[derive(Debug)]
    struct Applying {
        applied: AtomicU64,
        logged: u64,
    }

    #[derive(Debug)]
    struct State(OpId);

    impl StoreState for State {
        fn as_of(&self) -> OpId {
            self.0
        }

        fn collections(&self) -> Vec<StateCollection> {
            Vec::new()
        }

        fn scan(&self, _: &[u8; 16], _: Option<&[u8]>) -> StoreDocuments {
            Box::new(std::iter::empty())
        }

        fn find(&self, _: &StateQuery<'_>) -> Result<StoreDocuments> {
            Ok(Box::new(std::iter::empty()))
        }
    }

    impl DocumentStore for Applying {
        fn state(&self, _: ReadConcern) -> Result<Box<dyn StoreState>> {
            Ok(Box::new(State(OpId::new(self.applied.load(Ordering::Relaxed)))))
        }

        fn finish_applying(&self) {
            self.applied.store(self.logged, Ordering::Relaxed);
        }

        fn order(&self, _: &RawDocument) -> Result<Box<dyn DocumentOrder>> {
            Err(Error::NoStore)
        }

        fn put(&self, _: &[Put<'_>]) -> Result<OpId> {
            Err(Error::NoStore)
        }

        fn delete(&self, _: &str, _: &str) -> Result<bool> {
            Err(Error::NoStore)
        }

        fn slot_create(&self, _: &str, _: OpId, _: u64) -> Result<()> {
            Ok(())
        }

        fn slot_advance(&self, _: &str, _: OpId) -> Result<()> {
            Ok(())
        }

        fn slot_limit(&self, _: &str, _: u64) -> Result<()> {
            Ok(())
        }

        fn slot_drop(&self, _: &str) -> Result<()> {
            Ok(())
        }

        fn slots(&self) -> Vec<RetentionSlot> {
            Vec::new()
        }

        fn groups(&self) -> &ConsumerGroups {
            unreachable!("no consumer joins")
        }
    }

    #[test]
    fn a_state_is_never_from_before_the_token() {
        let store = Applying {
            applied: AtomicU64::new(3),
            logged: 8,
        };
        let state = |op_id| state_with(&store, ReadConcern::Local, OpId::new(op_id));
        assert_eq!(state(3).unwrap().as_of(), OpId::new(3));
        assert_eq!(state(4).unwrap().as_of(), OpId::new(8));
        // Applying has failed, or the log was cut back meanwhile.
        let refused = state(9).unwrap_err();
        assert!(matches!(refused, Error::TokenAheadOfLog { .. }), "{refused:?}");
    }
}
