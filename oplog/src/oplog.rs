//! The writing face of a log: open, append, wait for durability, trim, close.

#[path = "oplog/replica.rs"]
mod replica;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{Context, Poll};

use crate::buffer::{self, Buffer};
use crate::chain::{Chain, Link};
use crate::cut;
use crate::disk::{Disk, LockError, OsDisk};
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START, FileName, LOCK, MANIFEST, Manifest, VERSION, encode_checked};
use crate::frame::{FLAG_BATCH, FLAG_BATCH_END, FrameHeader, crc32, frame_bytes};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::keeper::{Keeper, Prepared};
use crate::options::{Durability, Options};
use crate::primitives::thread::{self, JoinHandle};
use crate::primitives::{AtomicBool, AtomicU32, Mutex, MutexGuard};
use crate::recovery::{self, Evidence};
use crate::region::RingWriter;
use crate::retention::{Facts, Retention};
use crate::role_file::{Role, read_role, write_role};
use crate::segment::{Segment, frames_capacity, prepared_records};
use crate::slots::Slots;
use crate::stats::{Meters, Stats};
use crate::sync::Syncer;
use crate::tail::{Tail, Watermarks};
use crate::view::{OplogView, Shared, read_manifest};

pub use replica::FramesOutcome;

/// One entry to append: how its payload is to be read, and the payload in pieces that are written one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// 1–31 are the document store's, see [`EntryKind`](crate::entry::EntryKind); 128–255 are free for other programs.
    pub kind: u8,
    /// The payload.
    pub payload: &'a [&'a [u8]],
}

impl Record<'_> {
    fn payload_bytes(&self) -> usize {
        self.payload.iter().map(|piece| piece.len()).sum()
    }
}

/// What an append has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendOutcome {
    /// The first entry's OpID.
    pub first: OpId,
    /// The last entry's OpID; the same for a single entry.
    pub last: OpId,
    /// The term they were written in.
    pub term: Term,
    /// The timestamp they share.
    pub timestamp: Timestamp,
}

/// The end of the log, as the one who holds the append lock sees it.
#[derive(Debug)]
struct Appender {
    segment: Arc<Segment>,
    ring: RingWriter,
    /// Position, in the log buffer's count, of the segment's first byte.
    base: u64,
    /// Invariant: the end of the segment's frames, where the next one goes.
    offset: usize,
    /// Invariant: the OpID of the next entry; `next - segment.first` entries are in the segment.
    next: OpId,
    timestamp: Timestamp,
    /// At this offset it is time to see whether the log's threads have something to do.
    look: usize,
    /// Holds a frame that does not lie in one piece in the buffer.
    scratch: Vec<u8>,
}

/// How often a thread looks for the append lock before it sleeps.
const LOOKS: u32 = 25;
/// Turns that it waits between two looks: some microseconds, in which whoever has the lock appends many entries. Each look
/// takes the lock's cache line away from it, and each change of hands all that the lock protects; two threads that took
/// turns entry by entry would be half as fast together as one alone.
const SPINS: u32 = 200;
/// Bytes between two looks at what the log's threads have to do.
const LOOK_BYTES: usize = if cfg!(test) { 2 << 10 } else { 64 << 10 };

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
    /// Entries come from another member. Written under the append lock.
    following: AtomicBool,
    /// The role as it is on disk.
    role: Mutex<Role>,
    appender: Mutex<Appender>,
    /// The manifest as it is on disk; its lock also orders trims.
    manifest: Mutex<Manifest>,
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
/// [`Oplog::close`] to see them.
#[derive(Clone)]
pub struct Oplog {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the log is closed.
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

trait LockGuard: Send + Sync {}
impl<T: Any + Send + Sync + ?Sized> LockGuard for Box<T> {}
impl fmt::Debug for dyn LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
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
        options.check()?;
        if options.create {
            std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        Oplog::on(Box::new(OsDisk::new(dir)), options)
    }

    pub(crate) fn on(disk: Box<dyn Disk>, options: &Options) -> Result<Oplog> {
        let segment_bytes = options.check()?;
        if !options.create {
            read_manifest(&*disk)?;
        }
        let lock = disk.lock(LOCK).map_err(|e| match e {
            LockError::Held { holder } => Error::Locked {
                path: disk.path().to_path_buf(),
                holder,
            },
            LockError::Io(e) => Error::io("lock", disk.path().join(LOCK))(e),
        })?;
        let mut manifest = match read_manifest(&*disk) {
            Err(Error::NotALog { path }) if options.create => initialise(&*disk, path)?,
            other => other?,
        };
        let log_id = LogId::from_bytes(manifest.log_id);
        let (first_sequence, first) = (Sequence(manifest.first_sequence), OpId::new(manifest.first_op_id));
        cut::finish(&*disk, &manifest)?;
        let slots = Slots::read(&*disk, log_id)?;
        let role = read_role(&*disk, log_id)?;
        remove(&*disk, |file| matches!(file, FileName::Spare))?;
        let mut chain = Chain::read(&*disk, &manifest)?;
        let new = chain.newest().is_none();
        if new {
            create_segment(&*disk, log_id, first_sequence, first, segment_bytes)?;
            chain = Chain::read(&*disk, &manifest)?;
        }

        let tail = Tail::open(&*disk, true).map_err(Error::io("open", disk.path().join(format::TAIL)))?;
        let evidence = match tail.is_live(log_id) {
            true => Evidence {
                new,
                durable: tail.durable(),
                accepted: if tail.is_poisoned() {
                    OpId::ZERO
                } else {
                    tail.accepted()
                },
                following: role.following,
            },
            false => Evidence {
                new,
                following: role.following,
                ..Evidence::default()
            },
        };
        let recovered = recovery::recover(&*disk, log_id, &chain, evidence)?;
        slots.settle(first, recovered.end.next);

        // Only now has it been seen that manifest and segments belong together.
        remove(
            &*disk,
            |file| matches!(file, FileName::Segment(sequence, _) if *sequence < first_sequence),
        )?;
        // A manifest that was restored from an old copy may know less than the entries.
        let was_following = role.following;
        let role = Role {
            following: was_following || options.follow,
            ..role
        };
        manifest.term = opening_term(&*disk, &role, Term::new(manifest.term).max(recovered.end.term))?.get();
        write_manifest(&*disk, &manifest)?;
        if role.following != was_following {
            write_role(&*disk, log_id, role)?;
        }
        let last = recovered.end.next.previous();
        tail.take_over(log_id, first, recovered.durable, last);

        let (segment, claim) = recovered.newest;
        let (buffer, ring) = Buffer::create(
            &*disk,
            log_id,
            Arc::clone(&segment),
            claim,
            recovered.end.end,
            segment_bytes,
        )?;
        // The chain refers to segments weakly; those that are still written are held here and by the keeper.
        let open = recovered.full.iter().chain([&segment]);
        let mut live_chain = recovered
            .chain
            .truncated(recovered.chain.links().len() - recovered.full.len() - 1);
        for segment in open {
            live_chain = live_chain.with(Link::mapped(segment));
        }
        let shared = Arc::new(Shared::for_writer(disk, log_id, live_chain, tail, buffer));
        // Full segments are sealed when they are durable.
        let (left, unsynced, unsealed) = match recovered.durable == last {
            true => (OpId::ZERO, Vec::new(), recovered.full),
            false => (last, recovered.full, Vec::new()),
        };
        let core = Arc::new(Core {
            syncer: Syncer::new(left, unsynced, Arc::clone(&segment)),
            keeper: Keeper::new(unsealed),
            meters: Meters::default(),
            options: options.clone(),
            segment_bytes,
            term: AtomicU32::new(match role.following {
                true => recovered.end.term.get(),
                false => manifest.term,
            }),
            following: AtomicBool::new(role.following),
            role: Mutex::new(role),
            appender: Mutex::new(Appender {
                ring,
                base: 0,
                offset: recovered.end.end,
                next: recovered.end.next,
                timestamp: recovered.end.timestamp,
                segment,
                look: 0,
                scratch: Vec::new(),
            }),
            manifest: Mutex::new(manifest),
            slots,
            facts: Facts::default(),
            retention: Mutex::new(options.retention),
            shared,
        });
        // Only what did not fit the log; before anything is appended that a slot set back is to hold.
        core.slots.save(&core)?;
        tracing::info!(
            path = %core.disk().path().display(), log = %log_id, term = core.term.load(Ordering::Relaxed),
            %last, durable = %recovered.durable, "log opened for writing"
        );
        let threads = vec![
            spawn("tailwater-sync", &core, Syncer::run)?,
            spawn("tailwater-keep", &core, Keeper::run)?,
            spawn("tailwater-drain", &core, Core::run_drain)?,
        ];
        let lock: Box<dyn LockGuard> = Box::new(lock);
        Ok(Oplog {
            handle: Arc::new(Handle {
                core,
                threads: Mutex::new(threads),
                lock: Mutex::new(Some(lock)),
            }),
        })
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
        self.append_batch(
            &[Record {
                kind,
                payload: &[payload],
            }],
            durability,
        )
    }

    /// Appends entries that are released together or not at all, and returns when they are as durable as asked.
    ///
    /// # Errors
    ///
    /// As [`Oplog::append`]; [`Error::EmptyBatch`].
    pub fn append_batch(&self, records: &[Record<'_>], durability: Durability) -> Result<AppendOutcome> {
        let outcome = self.core().append(records)?;
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
        Durable {
            core: Arc::clone(self.core()),
            op_id,
        }
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
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.core();
        let meters = &core.meters;
        Stats {
            log_id: core.shared.log_id,
            term: self.term(),
            watermarks: core.shared.watermarks(),
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
    /// closed.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] when that sync or an earlier one failed. [`Error::Corrupt`] when a full segment that was still to be
    /// sealed is damaged: everything is durable, and the next open will tell. [`Error::Io`] when it could not be sealed. The
    /// log is closed and the directory free after an error, too.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        let core = &self.core;
        // Under the append lock, so that an append either is part of the last sync or finds the log closed.
        let first = {
            let _appender = core.lock_appender();
            !core.shared.closed.swap(true, Ordering::SeqCst)
        };
        if !first {
            return Ok(());
        }
        core.keeper.stop();
        core.tail().drain_bell.ring();
        core.syncer.stop(core);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic of theirs has been reported by the panic hook; the log on disk is sound whatever they did.
            let _ = thread.join();
        }
        let result = core.syncer.finish(core);
        if let Err(error) = core.slots.save(core) {
            // As after a crash: they go back to what was written last.
            tracing::warn!(%error, "writing the positions of retention slots");
        }
        core.keeper.discard_spare(core);
        if result.is_ok() {
            buffer::remove(core.disk());
        }
        core.shared.freeze();
        core.tail().ring_all();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
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

/// Waits for an entry to be durable; see [`Oplog::durable`].
#[derive(Debug)]
pub struct Durable {
    core: Arc<Core>,
    op_id: OpId,
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let core = &self.core;
        if let Some(result) = core.durable_now(self.op_id) {
            return Poll::Ready(result);
        }
        core.tail().released_bell.register(context.waker());
        match core.durable_now(self.op_id) {
            Some(result) => Poll::Ready(result),
            None => {
                core.syncer.request(core, self.op_id);
                Poll::Pending
            }
        }
    }
}

impl Core {
    fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        // An append holds the lock for less time than it takes to fall asleep, and whoever sleeps makes each that unlocks call
        // the kernel. So look for a while first.
        for _ in 0..LOOKS {
            match self.appender.try_lock() {
                Ok(appender) => return appender,
                // A panic under the lock leaves bytes in the buffer that were not handed over, which the next append overwrites.
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => (0..SPINS).for_each(|_| std::hint::spin_loop()),
            }
        }
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, records: &[Record<'_>]) -> Result<AppendOutcome> {
        let bytes = self.check_batch(records)?;
        let mut appender = self.lock_appender();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if self.following.load(Ordering::Relaxed) {
            return Err(self.not_primary());
        }
        self.syncer.check(self)?;
        let entries = appender.next.get() - appender.segment.first.get();
        let capacity = frames_capacity(appender.segment.length(), entries + records.len() as u64);
        if appender.offset - FRAMES_START + bytes > capacity {
            if entries == 0 {
                // Made with smaller options than these. Its successor would begin with the same OpID, and two segments that do
                // are refused by the next open.
                return Err(Error::TooLarge {
                    what: "the first batch of a segment",
                    bytes: bytes as u64,
                    max: capacity as u64,
                });
            }
            self.roll(&mut appender)?;
        }
        let outcome = match bytes as u64 <= self.shared.buffer().capacity() / 2 {
            true => self.write(&mut appender, records, bytes)?,
            false => self.write_past_buffer(&mut appender, records, bytes)?,
        };
        self.meters.batch_entries.add_alone(records.len() as u64);
        self.meters.append_bytes.add_alone(bytes as u64);
        let awaited = self.tail().accept(outcome.last);
        if appender.offset >= appender.look {
            self.look(&mut appender);
        }
        drop(appender);
        if awaited.here {
            // They find it in the buffer.
            self.tail().appended_bell.wake_here();
        }
        if awaited.elsewhere {
            // They must find it in the segment. A failure is the next call's: this entry has been accepted.
            let _ = self.shared.drain();
        }
        Ok(outcome)
    }

    /// Sees whether the log's threads have something to do.
    #[cold]
    #[inline(never)]
    fn look(&self, appender: &mut Appender) {
        appender.look = appender.offset + LOOK_BYTES;
        let unsynced = appender.next.get() - self.tail().durable().get();
        self.keeper
            .look(&appender.segment, appender.offset, LOOK_BYTES, unsynced);
        if self.shared.buffer().is_filling() {
            self.tail().drain_bell.ring();
        }
    }

    fn check_batch(&self, records: &[Record<'_>]) -> Result<usize> {
        let what = match records {
            [] => return Err(Error::EmptyBatch),
            [_] => "entry",
            _ => "batch",
        };
        let bytes = records
            .iter()
            .fold(0usize, |sum, r| sum.saturating_add(frame_bytes(r.payload_bytes())));
        let max = frames_capacity(self.segment_bytes as usize, records.len() as u64);
        if bytes > max {
            return Err(Error::TooLarge {
                what,
                bytes: bytes as u64,
                max: max as u64,
            });
        }
        Ok(bytes)
    }

    /// Writes the frames of one batch behind the end, into the log buffer. They fit.
    fn write(&self, appender: &mut Appender, records: &[Record<'_>], bytes: usize) -> Result<AppendOutcome> {
        let end = appender.base + (appender.offset + bytes) as u64;
        while !appender.ring.has_room(end) {
            self.shared.make_room()?;
        }
        let stamp = self.stamp(appender, records.len());
        for (i, record) in records.iter().enumerate() {
            let header = stamp.header(i, record);
            let position = appender.base + appender.offset as u64;
            match appender.ring.slot(position, header.frame_bytes()) {
                Some(frame) => write_frame(frame, appender.segment.seed, &header, record),
                None => {
                    appender.scratch.resize(header.frame_bytes(), 0);
                    write_frame(&mut appender.scratch, appender.segment.seed, &header, record);
                    appender.ring.write(position, &appender.scratch);
                }
            }
            appender.segment.note(header.op_id, appender.offset);
            appender.offset += header.frame_bytes();
        }
        appender.ring.publish(end);
        Ok(stamp.done(appender))
    }

    /// Writes the frames of a batch that is too large for the log buffer behind the end, straight into the segment.
    #[cold]
    #[inline(never)]
    fn write_past_buffer(
        &self,
        appender: &mut Appender,
        records: &[Record<'_>],
        bytes: usize,
    ) -> Result<AppendOutcome> {
        let start = appender.base + appender.offset as u64;
        let stamp = self.stamp(appender, records.len());
        let seed = appender.segment.seed;
        let frames = records.iter().enumerate().map(|(i, record)| {
            let header = stamp.header(i, record);
            let mut frame = vec![0; header.frame_bytes()];
            write_frame(&mut frame, seed, &header, record);
            frame
        });
        self.shared
            .bypass(&mut appender.ring, start, start + bytes as u64, frames)?;
        for (i, record) in records.iter().enumerate() {
            let header = stamp.header(i, record);
            appender.segment.note(header.op_id, appender.offset);
            appender.offset += header.frame_bytes();
        }
        Ok(stamp.done(appender))
    }

    #[inline]
    fn stamp(&self, appender: &Appender, count: usize) -> Stamp {
        Stamp {
            first: appender.next,
            count,
            // Relaxed: it changes under the append lock, which is held here.
            term: Term::new(self.term.load(Ordering::Relaxed)),
            timestamp: appender.timestamp.successor(Timestamp::now()),
            watermark: self.tail().durable(),
        }
    }

    /// Makes the prepared spare the newest segment.
    #[cold]
    #[inline(never)]
    fn roll(&self, appender: &mut Appender) -> Result<()> {
        let sequence = appender.segment.sequence.next();
        let spare = self.keeper.take_spare(self, sequence)?;
        self.enter(appender, spare, self.segment_bytes as usize)
    }

    /// Makes a prepared file of `length` bytes the newest segment.
    fn enter(&self, appender: &mut Appender, spare: Prepared, length: usize) -> Result<()> {
        let sequence = spare.sequence;
        let name = format::segment_name(sequence, appender.next);
        let path = self.disk().path().join(&name);
        if let Err(error) = self.disk().rename(&spare.name, &name) {
            self.keeper.put_back(spare);
            return Err(Error::io("rename", &path)(error));
        }
        let log_id = self.shared.log_id;
        let opened = Segment::on(
            spare.medium.clone(),
            log_id,
            sequence,
            appender.next,
            path.clone(),
            length,
        )
        .and_then(|segment| Ok((segment.region().claim().ok_or(Error::Closed)?, Arc::new(segment))));
        let (claim, segment) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Otherwise the next spare is renamed over it.
                if self.disk().rename(&name, &spare.name).is_ok() {
                    self.keeper.put_back(spare);
                }
                return Err(error);
            }
        };
        segment.trust_from(FRAMES_START);
        self.meters.rolls.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(segment = %path.display(), first = %appender.next, "rolled to a new segment");

        // From here on the segment is the newest. The chain first: who finds the old one full must find its successor.
        self.shared.chain.rcu(|chain| chain.with(Link::mapped(&segment)));
        appender.segment.set_last(appender.next.previous());
        self.syncer.rolled(Arc::clone(&segment));
        let after = appender.base + appender.offset as u64;
        let start = self.shared.buffer().follow(Arc::clone(&segment), claim, after);
        appender.segment = segment;
        appender.base = start - FRAMES_START as u64;
        appender.offset = FRAMES_START;
        appender.look = 0;
        // This only fails by poisoning the log.
        while !appender.ring.has_room(start) {
            self.shared.make_room()?;
        }
        appender.ring.publish(start);
        Ok(())
    }

    /// The draining thread: moves what nobody needs yet.
    fn run_drain(&self) {
        let (buffer, tail) = (self.shared.buffer(), self.tail());
        // What has not been accepted yet is not moved: its append rings when it has.
        let filling = || buffer.is_filling() && tail.appended() < tail.accepted();
        let work = || filling() || tail.is_wanted() || self.is_closed();
        loop {
            tail.drain_bell.wait_until(None, work);
            if self.is_closed() || self.shared.drain().is_err() {
                return;
            }
        }
    }

    /// Where the newest segment ends, for a slot. The end belongs to the returned OpID.
    pub(crate) fn end(&self) -> (Arc<Segment>, OpId, usize) {
        let appender = self.lock_appender();
        (Arc::clone(&appender.segment), appender.next.previous(), appender.offset)
    }

    pub(crate) fn trim(&self, before: OpId) -> Result<OpId> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.syncer.check(self)?;
        // Held to the end, so that no slot comes to hold what is being removed.
        let mut slots = self.slots.lock_written();
        let before = before.min(self.slots.floor(self, &mut slots)?);
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = self.shared.chain.load_full();
        let before = before.min(self.tail().durable().next());
        // A segment is wholly below `before` when its successor begins at or below it.
        let keep_from = chain.links().iter().rev().find(|link| link.first <= before);
        let Some(keep_from) = keep_from.filter(|link| link.first.get() > manifest.first_op_id) else {
            return Ok(OpId::new(manifest.first_op_id));
        };
        let changed = Manifest {
            first_sequence: keep_from.sequence.0,
            first_op_id: keep_from.first.get(),
            ..manifest.clone()
        };
        self.keep_rank(keep_from.first)?;
        // The new beginning may be a segment whose name is not durable yet.
        self.disk()
            .sync_directory()
            .map_err(Error::io("sync", self.disk().path()))?;
        // Then the manifest: a crash from here on leaves files that the next open recognises as left-overs.
        write_manifest(self.disk(), &changed)?;
        *manifest = changed;
        self.tail().set_oldest(keep_from.first);
        // Not under the append lock: an append may hold it and wait for the housekeeping thread, which trims.
        self.shared.chain.rcu(|chain| chain.from(keep_from.sequence));
        self.shared.recent.forget_before(keep_from.sequence);
        tracing::info!(oldest = %keep_from.first, "trimmed");
        for link in chain.links().iter().filter(|link| link.sequence < keep_from.sequence) {
            let name = format::segment_name(link.sequence, link.first);
            self.disk()
                .remove(&name)
                .map_err(Error::io("remove", self.disk().path().join(&name)))?;
        }
        self.disk()
            .sync_directory()
            .map_err(Error::io("sync", self.disk().path()))?;
        Ok(keep_from.first)
    }
}

/// What the frames of one batch have in common.
struct Stamp {
    first: OpId,
    count: usize,
    term: Term,
    timestamp: Timestamp,
    watermark: OpId,
}

impl Stamp {
    /// Header of the batch's `i`-th frame, without its checksum.
    #[inline]
    fn header(&self, i: usize, record: &Record<'_>) -> FrameHeader {
        let flags = match self.count {
            1 => 0,
            n if i + 1 == n => FLAG_BATCH | FLAG_BATCH_END,
            _ => FLAG_BATCH,
        };
        FrameHeader {
            crc: 0,
            length: record.payload_bytes() as u32,
            op_id: OpId::new(self.first.get() + i as u64),
            term: self.term,
            kind: record.kind,
            flags,
            reserved: 0,
            timestamp: self.timestamp,
            watermark: self.watermark,
        }
    }

    /// Moves the appender behind the batch, which has been written.
    #[inline]
    fn done(self, appender: &mut Appender) -> AppendOutcome {
        appender.next = OpId::new(self.first.get() + self.count as u64);
        appender.timestamp = self.timestamp;
        AppendOutcome {
            first: self.first,
            last: appender.next.previous(),
            term: self.term,
            timestamp: self.timestamp,
        }
    }
}

/// Writes one frame into `frame`, which has its length.
#[inline]
fn write_frame(frame: &mut [u8], seed: u32, header: &FrameHeader, record: &Record<'_>) {
    let (head, mut rest) = frame.split_first_chunk_mut().expect("as long as a frame");
    header.encode(head);
    for piece in record.payload {
        let (here, behind) = rest.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        rest = behind;
    }
    // At most seven bytes.
    for byte in rest {
        *byte = 0;
    }
    let crc = crc32(seed, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The manifest's term for a log whose newest one is `newest`: one that nobody has written in, unless the log follows.
fn opening_term(disk: &dyn Disk, role: &Role, newest: Term) -> Result<Term> {
    let next = match role {
        Role { following: true, .. } => Some(newest),
        Role {
            member: Some(member), ..
        } => member.term_after(newest, false),
        Role { member: None, .. } => newest.get().checked_add(1).map(Term::new),
    };
    next.filter(|term| term.get() < u32::MAX)
        .ok_or_else(|| Error::DamagedMetadata {
            path: disk.path().join(MANIFEST),
            what: "its term is the largest there is",
        })
}

/// Makes `directory`, which has no manifest, a new log; unless it holds something else.
fn initialise(disk: &dyn Disk, path: std::path::PathBuf) -> Result<Manifest> {
    let names = disk.names().map_err(Error::io("list", disk.path()))?;
    let ours = |name: &String| [LOCK, "MANIFEST.tmp", "lost+found"].contains(&name.as_str());
    if !names.iter().all(ours) {
        return Err(Error::NotALog { path });
    }
    let manifest = Manifest {
        version: VERSION,
        log_id: LogId::random().to_bytes(),
        created: Timestamp::now().as_nanos(),
        term: 0,
        first_sequence: Sequence::FIRST.0,
        first_op_id: OpId::FIRST.get(),
    };
    write_manifest(disk, &manifest)?;
    Ok(manifest)
}

fn write_manifest(disk: &dyn Disk, manifest: &Manifest) -> Result<()> {
    disk.replace(MANIFEST, &encode_checked(manifest, 0))
        .map_err(Error::io("write", disk.path().join(MANIFEST)))
}

/// Removes left-overs: spares, or segments that an interrupted trim has already taken out of the manifest.
fn remove(disk: &dyn Disk, left_over: impl Fn(&FileName) -> bool) -> Result<()> {
    for name in disk.names().map_err(Error::io("list", disk.path()))? {
        if left_over(&format::parse_name(&name)) {
            disk.remove(&name)
                .map_err(Error::io("remove", disk.path().join(&name)))?;
        }
    }
    Ok(())
}

/// Prepares a file for segment `sequence` under its spare name, `filled` with zeros or only allocated.
pub(crate) fn prepare_spare(
    disk: &dyn Disk,
    log_id: LogId,
    sequence: Sequence,
    length: u64,
    filled: bool,
) -> Result<String> {
    let name = format::spare_name(sequence);
    let seed = uuid::Uuid::new_v4().as_fields().0;
    let records = prepared_records(log_id, sequence, seed, length, Timestamp::now());
    disk.prepare(&name, length, filled, &records).map_err(Error::preparing(
        disk.path(),
        &disk.path().join(&name),
        length,
    ))?;
    Ok(name)
}

fn create_segment(disk: &dyn Disk, log_id: LogId, sequence: Sequence, first: OpId, length: u64) -> Result<()> {
    let spare = prepare_spare(disk, log_id, sequence, length, true)?;
    let name = format::segment_name(sequence, first);
    disk.rename(&spare, &name)
        .map_err(Error::io("rename", disk.path().join(&name)))?;
    disk.sync_directory().map_err(Error::io("sync", disk.path()))
}

fn spawn(name: &str, core: &Arc<Core>, run: fn(&Core)) -> Result<JoinHandle<()>> {
    let thread_core = Arc::clone(core);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run(&thread_core))
        .map_err(Error::io("start a thread for", core.disk().path()))
}
