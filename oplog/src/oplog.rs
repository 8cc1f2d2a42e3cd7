//! The writing face of a log: open, append, wait for durability, trim, close.

#[path = "oplog/append.rs"]
mod append;
#[path = "oplog/closing.rs"]
mod closing;
#[path = "oplog/durable.rs"]
mod durable;
#[path = "oplog/opening.rs"]
mod opening;
#[path = "oplog/replica.rs"]
mod replica;
#[path = "oplog/roll.rs"]
mod roll;
#[path = "oplog/trim.rs"]
mod trim;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::boot::{BOOT_ID, boot_id};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::format::Manifest;
use crate::ids::{LogId, OpId, Term};
use crate::keeper::Keeper;
use crate::options::{Durability, Options};
use crate::primitives::{AtomicBool, AtomicU32, Mutex};
use crate::retention::{Facts, Retention};
use crate::role_file::Role;
use crate::slots::Slots;
use crate::stats::{Meters, Stats};
use crate::sync::Syncer;
use crate::tail::{Tail, Watermarks};
use crate::view::{OplogView, Shared};

use append::Appender;
pub use append::{AppendOutcome, Record};
use closing::Handle;
pub use durable::Durable;
pub(crate) use opening::prepare_spare;
pub use replica::FramesOutcome;

/// Shared by the handles of a writable log and its threads.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) syncer: Syncer,
    pub(crate) keeper: Keeper,
    pub(crate) meters: Meters,
    pub(crate) options: Options,
    pub(crate) segment_bytes: u64,
    /// The term that entries are written in, or, in a log that follows, that of the newest. Written under the append lock.
    term: AtomicU32,
    /// The manifest's term. Written under its lock, once it is on the disk.
    known_term: AtomicU32,
    /// Entries come from another member. Written under the append lock.
    following: AtomicBool,
    /// The role as it is on disk.
    role: Mutex<Role>,
    /// Which part of the entries the log has; nothing when it has everything.
    part: Option<Box<[u8]>>,
    appender: Mutex<Appender>,
    /// The manifest as it is on disk; its lock also orders trims.
    manifest: Mutex<Manifest>,
    /// Names of segment files that are no part of the log any more.
    forgotten: Mutex<VecDeque<String>>,
    /// Held by who removes them. Nobody waits for it who holds another lock.
    removing: Mutex<()>,
    pub(crate) slots: Slots,
    pub(crate) facts: Facts,
    pub(crate) retention: Mutex<Retention>,
}

impl Core {
    pub(crate) fn tail(&self) -> &Tail {
        self.shared.any_tail().expect("a writable log has a tail page")
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    pub(crate) fn view(&self) -> OplogView {
        OplogView {
            shared: Arc::clone(&self.shared),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn check_not_closed(&self) -> Result<()> {
        match self.is_closed() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_not_closed()?;
        self.syncer.check(self)
    }
}

/// Handle of the one writable log in a directory. Cheap to clone; every method may be called from any thread.
///
/// ```text
///   append ──► log buffer ──► segment ──► sync ──► durable ──► released ──► readers
///    one lock, one copy, CRC    │                    │
///                               └ ReadConcern::Local └ ReadConcern::Durable
/// ```
///
/// # Losing power, losing the process
///
/// An append with [`Durability::Disk`] that has returned survives power loss. One with [`Durability::Memory`] survives
/// the death of the process at once and power loss after the next sync. Neither ever leaves a gap: what is found after a
/// crash is a prefix of what was appended, batches whole.
///
/// # Closing
///
/// The last handle's drop syncs what is left and gives the directory free. Errors at that point have nowhere to go; call
/// [`Oplog::close`] to see them. In a [`Waker`](std::task::Waker), which may run on a thread that a close waits for, both only
/// begin it, and a thread of its own carries it to its end.
#[derive(Clone)]
pub struct Oplog {
    handle: Arc<Handle>,
}

impl Oplog {
    /// Opens the log in `dir` for writing, with default [`Options`]; a missing or empty directory becomes a new log.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Oplog> {
        Options::default().open(dir)
    }

    pub(crate) fn open_with(dir: &Path, options: &Options) -> Result<Oplog> {
        let _span = tracing::debug_span!("open", path = %dir.display()).entered();
        options.check()?;
        boot_id().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => Error::NoBootId {
                path: PathBuf::from(BOOT_ID),
                source: Arc::new(source),
            },
            // For want of a descriptor, say: it is there.
            _ => Error::io("read the machine's boot id for", dir)(source),
        })?;
        if options.create {
            std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        Oplog::on(Box::new(OsDisk::new(dir)), options)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    /// Appends one entry and returns when it is as durable as asked.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::StorageFull`], [`Error::Poisoned`], [`Error::Closed`]: the entry is not in the log.
    /// With [`Durability::Disk`], [`Error::Poisoned`] can also mean that it was appended but its sync failed: whether it
    /// survives is known after reopening.
    pub fn append(&self, kind: u8, payload: &[u8], durability: Durability) -> Result<AppendOutcome> {
        let outcome = match self.core().append_one(kind, payload) {
            Some(outcome) => outcome,
            None => self.core().append(&[Record {
                kind,
                payload: &[payload],
            }])?,
        };
        self.settle(outcome, durability)
    }

    /// Appends entries that are released together or not at all, and returns when they are as durable as asked.
    ///
    /// # Errors
    ///
    /// As [`Oplog::append`]; [`Error::EmptyBatch`].
    pub fn append_batch(&self, records: &[Record<'_>], durability: Durability) -> Result<AppendOutcome> {
        let outcome = self.core().append(records)?;
        self.settle(outcome, durability)
    }

    /// Waits until an append is as durable as asked.
    #[inline]
    fn settle(&self, outcome: AppendOutcome, durability: Durability) -> Result<AppendOutcome> {
        if durability == Durability::Disk {
            self.sync(outcome.last)?;
        }
        Ok(outcome)
    }

    /// Blocks until entry `op_id` is durable, taking part in the group's sync. Not for an async task: see
    /// [`Oplog::durable`].
    ///
    /// # Errors
    ///
    /// [`Error::Ahead`] when the entry has not been appended, [`Error::Poisoned`] when a sync failed, [`Error::Closed`].
    pub fn sync(&self, op_id: OpId) -> Result<()> {
        self.core().sync(op_id)
    }

    /// A future that is ready when entry `op_id` is durable. The sync runs on the log's own thread.
    #[must_use]
    pub fn durable(&self, op_id: OpId) -> Durable {
        Durable::new(Arc::clone(self.core()), op_id)
    }

    /// Removes whole segments that hold only entries below `before`, oldest first, and returns the oldest entry that is
    /// left. It never removes the newest segment, an entry that is not durable, or one that an active retention slot holds:
    /// to be rid of those, [drop](Oplog::slot_drop) the slot. Appends go on meanwhile; readers inside a removed segment
    /// finish it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Poisoned`], [`Error::Closed`].
    pub fn trim(&self, before: OpId) -> Result<OpId> {
        self.core().trim(before)
    }

    /// The reading face.
    #[must_use]
    pub fn view(&self) -> OplogView {
        self.core().view()
    }

    /// The watermarks now.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.core().shared.watermarks()
    }

    /// What this writer has done since it opened the log: sizes of appends, latencies and sizes of syncs, watermarks.
    ///
    /// For a metrics system to ask for at any time, from a task as well: it waits for no append and no sync, and neither reads
    /// nor writes a file. (Soon after the opening it may ask the file system for the lengths of segments.)
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.core();
        let meters = &core.meters;
        Stats {
            log_id: core.shared.log_id,
            term: self.term(),
            watermarks: core.shared.watermarks_unmoved(),
            segment_bytes: core.segments_bytes(),
            segments: core.shared.chain.load().links().len() as u64,
            batch_entries: meters.batch_entries.snapshot(),
            append_bytes: meters.append_bytes.snapshot(),
            sync_micros: meters.sync_micros.snapshot(),
            sync_entries: meters.sync_entries.snapshot(),
            rolls: meters.rolls.load(Ordering::Relaxed),
            poisoned: core.syncer.check(core).is_err(),
        }
    }

    /// Identity of the log.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.core().shared.log_id
    }

    /// The term this handle writes in.
    #[must_use]
    pub fn term(&self) -> Term {
        Term::new(self.core().term.load(Ordering::SeqCst))
    }

    /// Syncs what is left, ends the log's threads and waits, and gives the directory free. Other handles find the log
    /// closed. Where it is being closed already, this returns when it is closed; but not in a waker, where it returns at once.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] when that sync or an earlier one failed. [`Error::Corrupt`] when a full segment that was still to be
    /// sealed is damaged: everything is durable, and the next open will tell. [`Error::Io`] when it could not be sealed. The
    /// log is closed and the directory free after an error, too; unless this was called in a waker and no thread could be
    /// started, also [`Error::Io`], after which it is as open as before.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

impl fmt::Debug for Oplog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oplog")
            .field("path", &self.core().disk().path())
            .field("term", &self.term())
            .field("watermarks", &self.watermarks())
            .finish_non_exhaustive()
    }
}
