//! The log's housekeeping thread: prepares the next segment before it is needed, writes the footers of full segments, and has
//! the log begin behind what retention does not keep, in this order. Each of these is a short step, after which it begins again
//! with the first. The files of what is not kept are removed by a thread of their own: that may take the disk long, and no append
//! that needs a segment before it is prepared waits for it.
//!
//! A segment is ready as soon as its blocks are allocated. What time is left until it is needed goes into writing zeros over
//! them, and it is taken as it is: no append waits for zeros.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::disk::{Medium, ZEROS_BYTES};
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::ids::{OpId, Sequence};
use crate::oplog::{Core, prepare_spare};
use crate::primitives::{AtomicBool, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, yield_to_others};
use crate::retention::Pace;
use crate::segment::Segment;

/// A segment file that has been prepared, and is not part of the log yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) sequence: Sequence,
    pub(crate) name: String,
    pub(crate) medium: Medium,
    /// Zeros have been written up to here.
    filled: usize,
}

/// The prepared segment, or what became of it.
#[derive(Debug)]
enum Spare {
    None,
    Wanted(Sequence),
    Preparing,
    Ready(Prepared),
    Failed(Error),
}

/// Zeros are synced in steps of so many bytes. A log that syncs each entry is faster on blocks that have been written before:
/// the file system then has nothing to note. `docs/performance.md` has the figures.
const FILL_SYNC_BYTES: usize = 4 << 20;
/// Of a longer segment only so many bytes are filled with zeros: an open looks through the zeros behind the log's end, and is to
/// take no longer because segments are long. What was never written it steps over.
pub(crate) const FILL_BYTES_MAX: u64 = 64 << 20;
/// So many bytes of zeros for each byte appended: with three quarters of a segment to go, enough.
const ZEROS_FOR_EACH: usize = 2;
/// More unsynced entries than this mean a writer that does not sync each entry, for whom zeros are only in the way.
const UNSYNCED_MAX: u64 = 1024;
/// The thread yields to all others: what it does can wait.
const NICE: i32 = 10;
/// After a failure, retention is tried again when so much time has passed or something happens.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Jobs {
    spare: Spare,
    /// Full and durable segments that need their footer, oldest first.
    full: Vec<Arc<Segment>>,
    /// When to look whether something is to be removed.
    retain_at: Option<Instant>,
    /// Whether there are files to be removed.
    remove: bool,
    stop: bool,
}

impl Jobs {
    fn fill_failed(&mut self, core: &Core, error: io::Error) {
        match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(prepared) => {
                // The blocks are there; but a file that takes no zeros will hardly take frames.
                tracing::error!(%error, "filling the next segment with zeros");
                let _ = core.disk().remove(&prepared.name);
                self.spare = Spare::Failed(Error::io("write", core.disk().path().join(&prepared.name))(error));
            }
            other => {
                // Taken meanwhile. The kernel tells of a page it could not write once, and may have meant a frame's.
                self.spare = other;
                core.shared.poison.set(core.tail(), error);
            }
        }
    }
}

/// Housekeeping. See the module documentation.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    /// Where the thread that removes files waits.
    forgotten: Condvar,
    /// Whether the spare for the next segment has been asked for; a copy for the append path.
    asked: AtomicBool,
    /// Whether the spare is about to be taken: no more zeros.
    taking: AtomicBool,
    /// Bytes of zeros that the progress of the appends entitles to.
    zeros_due: AtomicUsize,
}

impl Keeper {
    /// With the full segments recovery found, which are durable.
    pub(crate) fn new(full: Vec<Arc<Segment>>) -> Keeper {
        let jobs = Jobs {
            spare: Spare::None,
            full,
            retain_at: Some(Instant::now()),
            remove: false,
            stop: false,
        };
        Keeper {
            jobs: Mutex::new(jobs),
            changed: Condvar::new(),
            forgotten: Condvar::new(),
            asked: AtomicBool::new(false),
            taking: AtomicBool::new(false),
            zeros_due: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called under the append lock, every so many `appended` bytes: asks for the spare when the segment is a quarter full,
    /// and has it filled in step with the appends if they are synced one by one.
    pub(crate) fn look(&self, segment: &Segment, offset: usize, appended: usize, unsynced: u64) {
        if offset < segment.length() / 4 {
            return;
        }
        // Relaxed: asking twice does no harm.
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.ask(segment.sequence.next());
        }
        if unsynced < UNSYNCED_MAX {
            self.zeros_due.fetch_add(appended * ZEROS_FOR_EACH, Ordering::Relaxed);
            // Without the lock the thread may miss it; the next look comes.
            self.changed.notify_all();
        }
    }

    fn ask(&self, sequence: Sequence) {
        let mut jobs = self.lock();
        if !matches!(jobs.spare, Spare::Preparing | Spare::Ready(_)) {
            jobs.spare = Spare::Wanted(sequence);
            self.changed.notify_all();
        }
    }

    /// The prepared file for segment `sequence`, waiting for it if need be. A failure is this call's; the next one tries
    /// again.
    pub(crate) fn take_spare(&self, core: &Core, sequence: Sequence) -> Result<Prepared> {
        self.taking.store(true, Ordering::Relaxed);
        let taken = self.wait_for_spare(core, sequence);
        self.taking.store(false, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.zeros_due.store(0, Ordering::Relaxed);
        taken
    }

    fn wait_for_spare(&self, core: &Core, sequence: Sequence) -> Result<Prepared> {
        self.ask(sequence);
        let mut jobs = self.lock();
        loop {
            match std::mem::replace(&mut jobs.spare, Spare::None) {
                Spare::Ready(prepared) if prepared.sequence == sequence => return Ok(prepared),
                Spare::Ready(_) | Spare::None => jobs.spare = Spare::Wanted(sequence),
                Spare::Failed(error) => return Err(error),
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
    pub(crate) fn put_back(&self, prepared: Prepared) {
        self.lock().spare = Spare::Ready(prepared);
    }

    /// Takes segments over that are full, durable, and whose successors' names are durable.
    pub(crate) fn seal(&self, full: Vec<Arc<Segment>>) {
        self.lock().full.extend(full);
        self.changed.notify_all();
    }

    /// Has the thread look whether something is to be removed.
    pub(crate) fn retain(&self) {
        self.lock().retain_at = Some(Instant::now());
        self.changed.notify_all();
    }

    /// Has the files removed that are no part of the log any more.
    pub(crate) fn remove(&self) {
        self.lock().remove = true;
        self.forgotten.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
        self.forgotten.notify_all();
    }

    /// Whether an append waits for the segment it needs.
    #[cfg(test)]
    pub(crate) fn is_spare_awaited(&self) -> bool {
        self.taking.load(Ordering::Relaxed)
    }

    /// The housekeeping thread.
    pub(crate) fn run(core: &Core) {
        yield_to_others(NICE);
        let keeper = &core.keeper;
        let fill_end = core.segment_bytes.min(FILL_BYTES_MAX) as usize;
        let mut jobs = keeper.lock();
        loop {
            if jobs.stop {
                return;
            }
            if let Spare::Wanted(sequence) = jobs.spare {
                jobs.spare = Spare::Preparing;
                drop(jobs);
                let prepared = prepare(core, sequence);
                if let Err(error) = &prepared {
                    tracing::error!(%error, "preparing the next segment");
                }
                jobs = keeper.lock();
                jobs.spare = match prepared {
                    Ok(prepared) => Spare::Ready(prepared),
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
                jobs.retain_at = Some(Instant::now());
            } else if jobs.retain_at.is_some_and(|at| at <= Instant::now()) {
                jobs.retain_at = None;
                drop(jobs);
                let next = retain(core);
                jobs = keeper.lock();
                // Asked for meanwhile, it is sooner.
                jobs.retain_at = jobs.retain_at.or(next);
            } else if let Spare::Ready(prepared) = &mut jobs.spare
                && prepared.filled < fill_end
                && keeper.zeros_due.load(Ordering::Relaxed) >= ZEROS_BYTES
                && !keeper.taking.load(Ordering::Relaxed)
            {
                // Under the lock: the spare is not taken while zeros are written into it.
                keeper.zeros_due.fetch_sub(ZEROS_BYTES, Ordering::Relaxed);
                let fill = fill(prepared, fill_end);
                let file = Arc::clone(&prepared.medium.file);
                let sync = prepared.filled.is_multiple_of(FILL_SYNC_BYTES) || prepared.filled == fill_end;
                drop(jobs);
                let filled = fill.and_then(|()| if sync { file.sync() } else { Ok(()) });
                jobs = keeper.lock();
                if let Err(error) = filled {
                    jobs.fill_failed(core, error);
                }
            } else if let Some(at) = jobs.retain_at {
                let left = at.saturating_duration_since(Instant::now());
                let waited = keeper.changed.wait_timeout(jobs, left);
                jobs = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                jobs = keeper.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The thread that removes files.
    pub(crate) fn run_removals(core: &Core) {
        yield_to_others(NICE);
        let keeper = &core.keeper;
        let mut jobs = keeper.lock();
        while !jobs.stop {
            if std::mem::take(&mut jobs.remove) {
                drop(jobs);
                let removed = core.remove_forgotten();
                jobs = keeper.lock();
                if let Err(error) = removed
                    && !jobs.stop
                {
                    tracing::error!(%error, "removing old segments");
                    jobs.retain_at = jobs.retain_at.or(Instant::now().checked_add(RETRY));
                    keeper.changed.notify_all();
                }
            } else {
                let waited = keeper.forgotten.wait(jobs);
                jobs = waited.unwrap_or_else(PoisonError::into_inner);
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
        if let Spare::Ready(prepared) = std::mem::replace(&mut self.lock().spare, Spare::None) {
            // The next open removes what is left here.
            let _ = core.disk().remove(&prepared.name);
        }
    }
}

/// Allocates and maps the file for segment `sequence`.
fn prepare(core: &Core, sequence: Sequence) -> Result<Prepared> {
    let disk = core.disk();
    // The newest segment's name must be durable before its successor has one, or power loss could leave a gap.
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
    let name = prepare_spare(disk, core.shared.log_id, sequence, core.segment_bytes, 0)?;
    let opened = disk.open(&name, core.segment_bytes as usize, true).inspect_err(|_| {
        // Otherwise the next attempt finds it in its way.
        let _ = disk.remove(&name);
    });
    let medium = opened.map_err(Error::io("map", disk.path().join(&name)))?;
    Ok(Prepared {
        sequence,
        name,
        medium,
        filled: FRAMES_START,
    })
}

/// Writes the next piece of zeros, none of them behind `limit`.
fn fill(prepared: &mut Prepared, limit: usize) -> io::Result<()> {
    static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];
    let end = (prepared.filled + 1).next_multiple_of(ZEROS_BYTES).min(limit);
    prepared
        .medium
        .file
        .write_at(prepared.filled, &ZEROS[..end - prepared.filled])?;
    prepared.filled = end;
    Ok(())
}

/// Does a step of retention; returns when to take the next.
fn retain(core: &Core) -> Option<Instant> {
    let now = Instant::now();
    match core.retain() {
        // A time that cannot be named does not come.
        Ok(Pace::After(wait)) => now.checked_add(wait),
        Ok(Pace::Rest) | Err(Error::Closed | Error::Poisoned { .. }) => None,
        Err(error) => {
            tracing::error!(%error, "removing old segments");
            Some(now + RETRY)
        }
    }
}

fn seal(core: &Core, segment: &Segment) -> Result<()> {
    let _span = tracing::debug_span!("seal", segment = %segment.path.display()).entered();
    let invalid = |e: crate::segment::InvalidFrame| core.shared.corrupt(segment, e.offset, e.expected);
    let (offset, footer) = segment.footer().map_err(invalid)?;
    let written = segment.file().write_at(offset, &footer);
    written.map_err(Error::io("write", &segment.path))?;
    let last = segment.last().unwrap_or(OpId::ZERO);
    tracing::debug!(segment = %segment.path.display(), %last, "sealed");
    segment.sync().map_err(Error::io("sync", &segment.path))
}
