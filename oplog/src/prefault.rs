//! Maps pages ahead of an appender that does not sync, on a thread of its own.
//!
//! The first store into a page after a sync is a fault, which costs more than thirty appends of 256 bytes; on this thread
//! it costs the appender nothing. A durable writer gets no pages ahead: each of its syncs would write them, and take the
//! mapping away again.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::oplog::Core;
use crate::segment::Segment;

/// Pages are mapped up to so many bytes ahead. More would only make the next sync write pages that hold nothing yet.
const AHEAD_BYTES: usize = 16 << 20;
/// Fewer unsynced entries than this mean a writer that syncs.
const UNSYNCED_MIN: u64 = 1024;

#[derive(Debug, Default)]
struct Job {
    wanted: Option<(Arc<Segment>, Range<usize>)>,
    stop: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Prefaulter {
    job: Mutex<Job>,
    changed: Condvar,
}

/// How far the pages of the newest segment have been asked for. Owned by the appender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// The appender looks again when it gets here.
    pub(crate) look: usize,
    asked: usize,
}

impl Ahead {
    pub(crate) fn new(offset: usize) -> Ahead {
        Ahead {
            look: offset,
            asked: offset,
        }
    }
}

impl Prefaulter {
    /// Asks for pages ahead of `offset` if the writer does not sync. Called under the append lock, once in a while.
    pub(crate) fn advance(&self, segment: &Arc<Segment>, offset: usize, unsynced: u64, ahead: &mut Ahead) {
        if unsynced < UNSYNCED_MIN {
            *ahead = Ahead {
                look: offset.next_multiple_of(4096),
                asked: offset,
            };
            return;
        }
        let from = ahead.asked.max(offset);
        *ahead = Ahead {
            look: from,
            asked: from + AHEAD_BYTES,
        };
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        job.wanted = Some((Arc::clone(segment), from..from + AHEAD_BYTES));
        drop(job);
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.changed.notify_one();
    }

    /// The thread.
    pub(crate) fn run(core: &Core) {
        let prefaulter = &core.prefaulter;
        let mut job = prefaulter.job.lock().unwrap_or_else(PoisonError::into_inner);
        while !job.stop {
            match job.wanted.take() {
                Some((segment, range)) => {
                    drop(job);
                    segment.region().prefault(range);
                    drop(segment);
                    job = prefaulter.job.lock().unwrap_or_else(PoisonError::into_inner);
                }
                None => job = prefaulter.changed.wait(job).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
