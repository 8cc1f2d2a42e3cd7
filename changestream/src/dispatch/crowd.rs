//! The streams of a dispatcher: each reads by a cursor of its own, until there are others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tailwater_oplog::ReadConcern;

use crate::dispatch::Dispatcher;
use crate::dispatch::tail::Tail;

/// Events and bytes of entries that are kept at most for a stream that nobody reads. What comes beyond that it reads from the
/// log, as it would alone; so these are enough when what comes between two requests of a client fits.
const CAPACITY_MAX: (usize, usize) = (1024, 4 << 20);

/// A stream's place among those of its dispatcher.
#[derive(Debug)]
pub(crate) struct Crowd {
    dispatcher: Dispatcher,
    /// Events and bytes that its channel holds.
    pub(crate) capacity: (usize, usize),
}

impl Crowd {
    pub(crate) fn join(dispatcher: Dispatcher, (events, bytes): (usize, usize)) -> Crowd {
        dispatcher.streams.fetch_add(1, Ordering::Relaxed);
        let capacity = (events.min(CAPACITY_MAX.0), bytes.min(CAPACITY_MAX.1));
        Crowd { dispatcher, capacity }
    }

    /// The tail to wait at. None for the only stream, which is quicker, and needs no thread, when it waits for the log itself;
    /// nor when no thread can be started.
    pub(crate) fn tail(&self, concern: ReadConcern) -> Option<Arc<Tail>> {
        let is_alone = self.dispatcher.streams.load(Ordering::Relaxed) < 2;
        if is_alone {
            return None;
        }
        let tail = self.dispatcher.tail(concern);
        tail.inspect_err(|error| tracing::warn!(%error, "a stream waits for the log by itself"))
            .ok()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.dispatcher.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
