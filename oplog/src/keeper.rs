//! The log's housekeeping thread: prepares the next segment before it is needed, and writes the footers of full segments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::ids::{OpId, Sequence};
use crate::oplog::{Core, prepare_spare};
use crate::segment::Segment;

/// The prepared segment, or what became of it.
#[derive(Debug)]
enum Spare {
    None,
    Wanted(Sequence),
    Preparing,
    Ready(Sequence, String),
    Failed(Error),
}

#[derive(Debug)]
struct Jobs {
    spare: Spare,
    /// Full and durable segments that need their footer, oldest first.
    full: Vec<Arc<Segment>>,
    stop: bool,
}

/// Housekeeping. See the module documentation.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    /// Whether the spare for the next segment has been asked for; a copy for the append path.
    asked: AtomicBool,
}

impl Keeper {
    /// With the full segments recovery found, which are durable.
    pub(crate) fn new(full: Vec<Arc<Segment>>) -> Keeper {
        let jobs = Jobs {
            spare: Spare::None,
            full,
            stop: false,
        };
        Keeper {
            jobs: Mutex::new(jobs),
            changed: Condvar::new(),
            asked: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called under the append lock, once in a while: asks for the spare when the segment is a quarter full.
    pub(crate) fn look(&self, segment: &Segment, offset: usize) {
        // Relaxed: asking twice does no harm.
        if offset >= segment.length() / 4 && !self.asked.swap(true, Ordering::Relaxed) {
            self.ask(segment.sequence.next());
        }
    }

    fn ask(&self, sequence: Sequence) {
        let mut jobs = self.lock();
        if !matches!(jobs.spare, Spare::Preparing | Spare::Ready(..)) {
            jobs.spare = Spare::Wanted(sequence);
            self.changed.notify_all();
        }
    }

    /// The prepared file for segment `sequence`, waiting for it if need be. A failure is this call's; the next one tries
    /// again.
    pub(crate) fn take_spare(&self, core: &Core, sequence: Sequence) -> Result<String> {
        self.ask(sequence);
        let mut jobs = self.lock();
        loop {
            match std::mem::replace(&mut jobs.spare, Spare::None) {
                Spare::Ready(ready, name) if ready == sequence => {
                    self.asked.store(false, Ordering::Relaxed);
                    return Ok(name);
                }
                Spare::Ready(..) | Spare::None => jobs.spare = Spare::Wanted(sequence),
                Spare::Failed(error) => {
                    self.asked.store(false, Ordering::Relaxed);
                    return Err(error);
                }
                other => jobs.spare = other,
            }
            if jobs.stop || core.is_closed() {
                return Err(Error::Closed);
            }
            self.changed.notify_all();
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes back a spare that was not used.
    pub(crate) fn put_back(&self, sequence: Sequence, name: String) {
        self.lock().spare = Spare::Ready(sequence, name);
    }

    /// Takes segments over that are full, durable, and whose successors' names are durable.
    pub(crate) fn seal(&self, full: Vec<Arc<Segment>>) {
        self.lock().full.extend(full);
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// The housekeeping thread.
    pub(crate) fn run(core: &Core) {
        let keeper = &core.keeper;
        let mut jobs = keeper.lock();
        loop {
            if jobs.stop {
                return;
            }
            if let Spare::Wanted(sequence) = jobs.spare {
                jobs.spare = Spare::Preparing;
                drop(jobs);
                // The newest segment's name must be durable before its successor has one, or power loss could leave a gap.
                let named = core
                    .disk()
                    .sync_directory()
                    .map_err(Error::io("sync", core.disk().path()));
                let prepared =
                    named.and_then(|()| prepare_spare(core.disk(), core.shared.log_id, sequence, core.segment_bytes));
                if let Err(error) = &prepared {
                    tracing::error!(%error, "preparing the next segment");
                }
                jobs = keeper.lock();
                jobs.spare = match prepared {
                    Ok(name) => Spare::Ready(sequence, name),
                    Err(error) => Spare::Failed(error),
                };
                keeper.changed.notify_all();
            } else if !jobs.full.is_empty() {
                let segment = jobs.full.remove(0);
                drop(jobs);
                // A segment without a footer is scanned at the next open, and sealed then.
                if let Err(error) = seal(core, &segment) {
                    tracing::error!(%error, segment = %segment.path.display(), "sealing a segment");
                }
                jobs = keeper.lock();
            } else {
                jobs = keeper.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Seals what is left, at close.
    pub(crate) fn seal_all(&self, core: &Core) -> Result<()> {
        let full = std::mem::take(&mut self.lock().full);
        full.iter().try_for_each(|segment| seal(core, segment))
    }

    /// Removes the spare, at close.
    pub(crate) fn discard_spare(&self, core: &Core) {
        if let Spare::Ready(_, name) = std::mem::replace(&mut self.lock().spare, Spare::None) {
            // The next open removes what is left here.
            let _ = core.disk().remove(&name);
        }
    }
}

fn seal(core: &Core, segment: &Segment) -> Result<()> {
    let invalid = |e: crate::segment::InvalidFrame| core.shared.corrupt(segment, e.offset, e.expected);
    segment.write_footer().map_err(invalid)?;
    let last = segment.last().unwrap_or(OpId::ZERO);
    tracing::debug!(segment = %segment.path.display(), %last, "sealed");
    segment.sync().map_err(Error::io("sync", &segment.path))
}
