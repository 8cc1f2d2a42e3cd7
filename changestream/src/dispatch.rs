//! The dispatcher: one reader of the log for all watches that are delivered into channels.
//!
//! # Promises
//!
//! * **Cost follows what matches, not what stands.** Each entry is read once for all live watches. An index over their filters finds
//!   the few that could hold; watches that ask for the same are one, whose filter is evaluated once. See `index.rs`.
//! * **Nothing is lost, nothing comes twice.** A watch is at any moment attached to exactly one reader, or parked at a known
//!   entry, or ended (`channel.rs`). It changes readers only between two entries (`tail.rs`, `laps.rs`).
//! * **Nobody waits for anybody.** The writer knows nothing of watches. A watch with a full channel is *parked*: it leaves the shared
//!   tail with the entry that did not fit. When its receiver has made room it catches up on a *lap* behind the tail and joins again.
//! * **Memory is bounded.** A channel holds references to entries in the mapped log, up to its capacity; an idle watch has
//!   no memory for events at all. What is not materialised is neither decoded nor copied.
//! * **Ends and errors come in order**, behind the events that were delivered before: `invalidate`, a closed log, history that
//!   was trimmed before a parked watch had read it.
//! * **Tokens move.** [`Receiver::resume_token`](crate::Receiver::resume_token) of a watch whose channel is empty stands where
//!   its reader stands.
//!
//! # What is the same as with a [`ChangeStream`](crate::ChangeStream)
//!
//! Events, order, tokens, ends, errors. A part of a filter that cannot be evaluated (an `$expr` that divides by zero) fails a
//! watch only for an event that no other part of the same conjunction rules out; so it does not matter which part is indexed.
//!
//! A `ChangeStream` itself, once it waits beside others, waits here (`stream/joined.rs`). Its channel is small, and when that is
//! full it reads on by a cursor of its own instead of on a lap (`channel/streamed.rs`).
//!
//! # Costs
//!
//! One thread for each read concern that is used, one more once a watch has to catch up, and one once a watch is resumed in
//! front of what a follower has; a watch that is alone is served
//! in its receiver's thread (`helm.rs`). An entry costs a comparison of its namespace with the last one's, or two look-ups;
//! one walk over its document for all paths that filters of that namespace are indexed by or checked for, and one look-up
//! for each value there; then a check for each distinct watch that shares the value, an evaluation for each that passes, and
//! a short lock for each channel that gets the event.
//! Subscribing costs compiling the filter, unless an equal watch exists, and does not wait for the thread.
//!
//! # Inside
//!
//! ```text
//!  Watch::subscribe ──► inbox ──► tail's leader: Matching ──► channels ──► Receiver
//!                                    ▲  take over │ full                    │ has room again
//!                                    └── laps ◄───┴──────── parked ◄────────┘
//! ```
//!
//! | file | knows |
//! |---|---|
//! | `tail.rs`, `runner.rs`, `helm.rs` | the shared tail: who joins it where, what is done there, by which thread |
//! | `laps.rs`, `worker.rs` | catching up behind it; a thread |
//! | `arrivals.rs` | waiting for an entry that has not come here yet |
//! | `matching.rs` | from one entry to the channels |
//! | `namespaces.rs`, `space.rs`, `index.rs`, `access.rs` | which filters could hold |
//! | `facts.rs`, `postings.rs`, `intervals.rs`, `sketch.rs` | what the index is made of |
//! | `groups.rs`, `plans.rs` | watches that ask for the same |
//! | `channel.rs` | the queue of one watch |
//! | `crowd.rs` | how many streams there are: the only one waits for the log itself |

mod access;
mod arrivals;
mod channel;
mod crowd;
mod facts;
mod groups;
mod helm;
mod index;
mod intervals;
mod laps;
mod matching;
#[cfg(test)]
mod memory;
mod namespaces;
mod plans;
mod postings;
mod runner;
mod sketch;
mod slab;
mod space;
mod stats;
mod tail;
mod worker;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError};

use tailwater_oplog::{OplogView, ReadConcern};

use crate::error::Result;
use crate::options::Watch;
use crate::primitives::Mutex;
use crate::scope::Scope;

pub(crate) use channel::{Channel, Leaving, Streamed};
pub(crate) use crowd::Crowd;
use plans::Plans;
pub use stats::{Counts, DispatcherStats, Leader};
pub(crate) use tail::Tail;

/// Reads a log once for all watches that are made from it. See the [crate's documentation](crate) for what a watch may rely
/// on.
///
/// Cheap to clone; clones are the same dispatcher. Its threads begin with the first subscription, or the second
/// [`ChangeStream`](crate::ChangeStream) that waits, and end when the last clone, the last [`WatchHandle`](crate::WatchHandle)
/// and the last such stream are gone.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    view: OplogView,
    tails: Arc<Mutex<[Option<Arc<Tail>>; 3]>>,
    pub(crate) plans: Arc<Plans>,
    /// How many streams have been begun from it and are there.
    streams: Arc<AtomicUsize>,
}

impl Dispatcher {
    /// A dispatcher of the log behind `view`.
    #[must_use]
    pub fn new(view: OplogView) -> Dispatcher {
        Dispatcher {
            view,
            tails: Arc::default(),
            plans: Arc::default(),
            streams: Arc::default(),
        }
    }

    /// A watch over `scope`, from now on, whose [`Watch::subscribe`] shares this dispatcher.
    pub fn watch(&self, scope: Scope) -> Watch {
        Watch::shared(self.clone(), scope)
    }

    /// What has been done for watches with that read concern.
    #[must_use]
    pub fn stats(&self, concern: ReadConcern) -> DispatcherStats {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tail) = &tails[place(concern)] else {
            return DispatcherStats::default();
        };
        let leader = tail.shared.lock().helm.leader();
        let stats = *tail.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        DispatcherStats { leader, ..stats }
    }

    pub(crate) fn view(&self) -> &OplogView {
        &self.view
    }

    /// The tail for a read concern, begun if there is none.
    pub(crate) fn tail(&self, concern: ReadConcern) -> Result<Arc<Tail>> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = &mut tails[place(concern)];
        if let Some(tail) = tail {
            return Ok(Arc::clone(tail));
        }
        let begun = Arc::new(Tail::start(self.view.clone(), concern)?);
        *tail = Some(Arc::clone(&begun));
        Ok(begun)
    }
}

fn place(concern: ReadConcern) -> usize {
    match concern {
        ReadConcern::Local => 0,
        ReadConcern::Durable => 1,
        ReadConcern::Majority => 2,
    }
}
