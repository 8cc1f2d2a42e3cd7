//! The reading face of a log, the same for the process that writes it and for any other.

#[path = "view/manifest.rs"]
mod manifest;
#[path = "view/place.rs"]
mod place;
#[path = "view/shared.rs"]
mod shared;
#[path = "view/wait.rs"]
mod wait;

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use arc_swap::ArcSwap;

use crate::chain::Recent;
use crate::courier;
use crate::cursor::{Cursor, SharedEntry};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::ids::{LogId, OpId, Term, Timestamp};
use crate::part_file::read_part;
use crate::poison::Poison;
use crate::primitives::{AtomicBool, AtomicU8, AtomicU64, Instant};
use crate::recovery;
use crate::role_file::read_role;
use crate::tail::Watermarks;
use crate::wakers::Registration;

pub(crate) use manifest::{find_tail, read_log, read_manifest};
pub(crate) use shared::Shared;
use shared::{LIVE, UNKNOWN};
pub use wait::{Interrupt, WaitOutcome};

/// Which entries a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadConcern {
    /// Everything appended, at once; the machine's power loss may take some of it back.
    Local,
    /// Only what has been released: durable here, and never taken back by what happens to this machine. Members of a
    /// replicated log may agree on another history all the same, and take back what no majority of them has.
    #[default]
    Durable,
    /// Only what a majority of the members of a replicated log is known to hold, of what is durable here: never taken back,
    /// whoever is promoted. Whoever replicates the log says how far that is ([`Oplog::set_majority`](crate::Oplog::set_majority)).
    /// In a log without members it is [`ReadConcern::Durable`].
    Majority,
}

/// The reading face of a log. Cheap to clone; every method may be called from any thread.
///
/// A view of a log that this process writes comes from [`Oplog::view`](crate::Oplog::view); of any other,
/// from [`OplogView::open`], which writes nothing and works beside a live writer, after its death, and across its restart.
///
/// # Locks
///
/// A look-up and a cursor take none where the segment is mapped: not for entries that are durable, in whichever process, nor for
/// those of a [`ReadConcern::Local`] that are in their segment. In the process that writes the log, an entry that is still in
/// the log buffer is copied out of it under a lock that readers share and that the thread which moves the buffer takes alone; a
/// look-up of one has it moved first. A segment that is not mapped is mapped under a lock of its own.
///
/// # What lies outside this promise
///
/// A log is mapped memory. A stranger that truncates a segment file while it is mapped, or a disk that cannot read back a
/// page, ends the process with SIGBUS; no user-space check can prevent that.
#[derive(Clone)]
pub struct OplogView {
    pub(crate) shared: Arc<Shared>,
}

impl OplogView {
    /// Opens the log in `dir` for reading only.
    ///
    /// With a writer alive, or since this boot of the machine, the view follows its watermarks. Otherwise (after a reboot,
    /// in a copy) it shows every entry up to the first that is not whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotALog`], [`Error::NewerFormat`], [`Error::DamagedMetadata`],
    /// [`Error::MissingSegment`], [`Error::ForeignSegment`], [`Error::Corrupt`], [`Error::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<OplogView> {
        OplogView::on(Box::new(OsDisk::new(dir.as_ref())))
    }

    pub(crate) fn on(disk: Box<dyn Disk>) -> Result<OplogView> {
        let log_id = LogId::from_bytes(read_manifest(&*disk)?.log_id);
        let tail = find_tail(&*disk)?;
        let live = tail.as_ref().is_some_and(|tail| tail.is_live(log_id));
        let (manifest, chain) = read_log(&*disk)?;
        let first = OpId::new(manifest.first_op_id);
        let still = if live {
            OpId::ZERO
        } else {
            recovery::last_whole_entry(&*disk, log_id, &chain, first)?
        };
        // Members that cannot be read may be any.
        let counts = read_role(&*disk, log_id).map_or(true, |role| role.counts());
        let still_majority = if counts { OpId::ZERO } else { still };
        let shared = Shared {
            disk,
            log_id,
            chain: ArcSwap::from_pointee(chain),
            recent: Recent::default(),
            tail: tail.map_or_else(OnceLock::new, OnceLock::from),
            writer: false,
            closed: AtomicBool::new(false),
            buffer: None,
            poison: Poison::default(),
            state: AtomicU8::new(if live { LIVE } else { UNKNOWN }),
            still: AtomicU64::new(still.get()),
            couriers: Default::default(),
            still_majority: AtomicU64::new(still_majority.get()),
        };
        Ok(OplogView {
            shared: Arc::new(shared),
        })
    }

    /// Identity of the log.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// Directory of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.disk.path()
    }

    /// The watermarks now.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.shared.watermarks()
    }

    /// The oldest entry, or the one that will be when there is none. Unlike [`OplogView::watermarks`], it moves nothing.
    #[must_use]
    pub fn oldest(&self) -> OpId {
        self.shared.oldest()
    }

    /// The last entry a reader with that concern sees.
    #[must_use]
    pub fn newest(&self, concern: ReadConcern) -> OpId {
        self.shared.limit(concern)
    }

    /// As [`OplogView::newest`], for whoever begins there.
    ///
    /// # Errors
    ///
    /// [`Error::MajorityUnknown`] when there are entries, and members whose majority counts, and it is not known of any entry
    /// that they hold it, as before the first of them has been heard.
    pub fn newest_known(&self, concern: ReadConcern) -> Result<OpId> {
        let newest = self.shared.limit(concern);
        let durable = self.shared.limit(ReadConcern::Durable);
        match newest == OpId::ZERO && concern == ReadConcern::Majority && durable > OpId::ZERO {
            true => Err(Error::MajorityUnknown { op_id: durable }),
            false => Ok(newest),
        }
    }

    /// A cursor whose first entry is `from`, which may be one that has not been written yet.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when `from` has been trimmed.
    pub fn cursor(&self, from: OpId, concern: ReadConcern) -> Result<Cursor> {
        let oldest = self.shared.oldest();
        if from < oldest {
            return Err(Error::HistoryLost {
                requested: from,
                oldest,
            });
        }
        Ok(Cursor::new(Arc::clone(&self.shared), from, concern))
    }

    /// A cursor over everything the log still has.
    #[must_use]
    pub fn cursor_from_oldest(&self, concern: ReadConcern) -> Cursor {
        Cursor::new(Arc::clone(&self.shared), self.shared.oldest(), concern)
    }

    /// A cursor over what comes after this call, and over what is written but not to be seen with that concern yet.
    #[must_use]
    pub fn cursor_from_now(&self, concern: ReadConcern) -> Cursor {
        let next = self.shared.limit(concern).next().max(self.shared.oldest());
        Cursor::new(Arc::clone(&self.shared), next, concern)
    }

    /// A cursor that begins with the first entry at or after `time`, of those that have been released and are still there.
    ///
    /// # Errors
    ///
    /// As [`OplogView::get`], for the entries looked at on the way, but never [`Error::HistoryLost`]: a trim meanwhile moves the
    /// beginning.
    pub fn cursor_from_time(&self, time: Timestamp, concern: ReadConcern) -> Result<Cursor> {
        let (mut low, mut high) = (self.shared.oldest(), self.shared.limit(concern).next());
        while low < high {
            let middle = OpId::new(low.get() + (high.get() - low.get()) / 2);
            match self.get(middle, concern) {
                Ok(entry) if entry.timestamp() < time => low = middle.next(),
                Ok(_) => high = middle,
                // Trimmed meanwhile. Who asks by time asks for what there is.
                Err(Error::HistoryLost { oldest, .. }) if oldest > middle => low = oldest,
                Err(error) => return Err(error),
            }
        }
        let from = low.max(self.shared.oldest());
        Ok(Cursor::new(Arc::clone(&self.shared), from, concern))
    }

    /// Reads one entry.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when it has been trimmed, [`Error::Ahead`] when it is not there yet, [`Error::Corrupt`] and its
    /// kin when it cannot be read.
    pub fn get(&self, op_id: OpId, concern: ReadConcern) -> Result<SharedEntry> {
        let newest = self.shared.moved_limit(concern);
        if op_id > newest {
            return Err(Error::Ahead {
                requested: op_id,
                newest,
            });
        }
        let (segment, offset, header) = self.shared.locate(op_id)?;
        Ok(SharedEntry::new(segment, offset, header))
    }

    /// Checks that this log holds entry `op_id` and wrote it in `term`, at `timestamp`.
    ///
    /// The term alone does not name a history: two copies of one log that are each reopened write in the same one. The
    /// timestamp tells them apart, and every copy of an entry carries it unchanged.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when it was written in another term or at another time, otherwise as [`OplogView::get`].
    pub fn check_position(&self, op_id: OpId, term: Term, timestamp: Timestamp) -> Result<()> {
        let entry = self.get(op_id, ReadConcern::Local)?;
        let (requested, found) = ((term, timestamp), (entry.term(), entry.timestamp()));
        if requested == found {
            return Ok(());
        }
        Err(Error::Diverged {
            op_id,
            requested,
            found,
        })
    }

    /// Blocks until entry `next` can be read with that concern, the deadline passes or `interrupt` is raised.
    #[must_use]
    pub fn wait(
        &self,
        next: OpId,
        concern: ReadConcern,
        deadline: Option<Instant>,
        interrupt: &Interrupt,
    ) -> WaitOutcome {
        self.shared.wait(next, concern, deadline, interrupt)
    }

    /// Has `waker` woken at the next movement of the watermark that decides what a reader with that concern sees, unless what
    /// is returned is dropped before. Look at [`OplogView::newest`] once more after the call.
    ///
    /// In a process that does not write the log, a thread of this view carries the rings over.
    #[must_use = "dropped, it has the task forgotten"]
    pub fn wake_on_change(&self, concern: ReadConcern, waker: &Waker) -> Registration {
        let mut registration = None;
        courier::register(&self.shared, concern, waker, &mut registration);
        registration.expect("registering makes a registration")
    }

    /// The last entry that is durable, or will be when the sync ends that is under way: what a follower may be sent, whose own
    /// disk can write it meanwhile. In a log that follows, and in a process that does not write the log, what has been
    /// [released](Watermarks::released).
    #[must_use]
    pub fn syncing(&self) -> OpId {
        self.shared.syncing()
    }

    /// Waits until [`OplogView::syncing`] is above the first or what has been released above the second of `seen`, in the process
    /// that writes the log.
    #[must_use]
    pub fn wait_for_sync(&self, seen: (OpId, OpId), deadline: Instant, interrupt: &Interrupt) -> WaitOutcome {
        self.shared.wait_for_sync(seen, deadline, interrupt)
    }

    /// Raises `interrupt` and wakes everyone who waits, so that its waits end now.
    pub fn interrupt(&self, interrupt: &Interrupt) {
        interrupt.0.store(true, Ordering::SeqCst);
        if let Some(tail) = self.shared.any_tail()
            // A read-only mapping cannot be rung; its waiters look for themselves every few milliseconds.
            && tail.is_writable()
        {
            tail.ring_all();
        }
        self.shared.wake_tasks();
    }

    /// Whether the log follows another member, and its entries come from there. Read from the log's directory, so that it is
    /// known in every process.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedMetadata`] of `REPLICA`, [`Error::Io`].
    pub fn is_following(&self) -> Result<bool> {
        Ok(read_role(&*self.shared.disk, self.log_id())?.following)
    }

    /// Which part of another log's entries this one has, as [`create_partial_follower`](crate::create_partial_follower) was told;
    /// nothing for a log that has everything. Read from the log's directory.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedMetadata`] of `PART`, [`Error::Io`].
    pub fn part(&self) -> Result<Option<Box<[u8]>>> {
        read_part(&*self.shared.disk, self.log_id())
    }

    /// Whether the log was closed by its writer in this process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for OplogView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OplogView")
            .field("path", &self.path())
            .field("watermarks", &self.watermarks())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oplog::Oplog;
    use crate::options::{Durability, Options};
    use crate::sim::SimDisk;

    #[test]
    fn a_trim_does_not_take_its_history_from_who_asks_for_a_time() {
        const LOOKS: usize = 20_000;
        let options = Options {
            segment_bytes: 16 << 10,
            sync_interval: Duration::from_secs(3600),
            ..Options::default()
        };
        let log = Oplog::on(Box::new(SimDisk::new()), &options).unwrap();
        log.append(200, &[7; 1400], Durability::Disk).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let last = log.append(200, &[7; 1400], Durability::Disk).unwrap().last;
                    log.trim(last).unwrap();
                }
            });
            let (view, mut answers) = (log.view(), Vec::new());
            for _ in 0..LOOKS {
                answers.extend(
                    view.cursor_from_time(Timestamp::from_nanos(1), ReadConcern::Durable)
                        .err(),
                );
            }
            done.store(true, Ordering::Relaxed);
            assert!(answers.is_empty(), "{:?}", answers.first());
        });
    }
}
