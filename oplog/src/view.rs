//! The reading face of a log, the same for the process that writes it and for any other.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::buffer::Buffer;
use crate::chain::{Chain, Link, Recent};
use crate::cursor::{Cursor, Entry, SharedEntry};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::format::{MANIFEST, Manifest, NewerVersion, OP_ID_MAX, VERSION, decode_versioned};
use crate::frame::FrameHeader;
use crate::fresh::Fresh;
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::poison::Poison;
use crate::primitives::{AtomicBool, AtomicU8, AtomicU64, Instant, thread};
use crate::recovery;
use crate::region::RingWriter;
use crate::segment::Segment;
use crate::tail::{Tail, Watermarks};

/// How often a reader looks for a writer while there has been none since the machine started.
const NO_WRITER_WAIT: Duration = Duration::from_millis(100);

/// How often a reader in another process looks whether an entry has come out of the log buffer before it asks for it: for a
/// few microseconds.
const SPINS: u32 = 500;

/// Which entries a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadConcern {
    /// Everything appended, at once; the machine's power loss may take some of it back.
    Local,
    /// Only what has been released: durable, never taken back.
    #[default]
    Durable,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOutcome {
    /// The entry can be read.
    Ready,
    /// The deadline passed first.
    TimedOut,
    /// The [`Interrupt`] was raised.
    Interrupted,
    /// The log was closed by its writer in this process.
    Closed,
}

/// Ends waits from another thread.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// An interrupt that has not been raised.
    #[must_use]
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Whether it has been raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What every handle of one open log shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) log_id: LogId,
    pub(crate) chain: ArcSwap<Chain>,
    pub(crate) recent: Recent,
    /// The tail page; absent while no writer has made one.
    tail: OnceLock<Tail>,
    /// Whether this process is the writer.
    pub(crate) writer: bool,
    pub(crate) closed: AtomicBool,
    /// The log buffer, when this process is the writer.
    buffer: Option<Buffer>,
    pub(crate) poison: Poison,
    /// `UNKNOWN`, `LIVE` or `FROZEN`.
    state: AtomicU8,
    /// What there is to read while the tail page says nothing.
    still: AtomicU64,
}

/// No writer has been seen since the machine started: `still` is all there is, and the tail page is looked at again.
const UNKNOWN: u8 = 0;
/// The tail page says what there is.
const LIVE: u8 = 1;
/// This process wrote the log and has closed it. The tail page may be another writer's by now: `still` is all there is.
const FROZEN: u8 = 2;

impl Shared {
    pub(crate) fn for_writer(disk: Box<dyn Disk>, log_id: LogId, chain: Chain, tail: Tail, buffer: Buffer) -> Shared {
        Shared {
            disk,
            log_id,
            chain: ArcSwap::from_pointee(chain),
            recent: Recent::default(),
            tail: OnceLock::from(tail),
            writer: true,
            closed: AtomicBool::new(false),
            buffer: Some(buffer),
            poison: Poison::default(),
            state: AtomicU8::new(LIVE),
            still: AtomicU64::new(0),
        }
    }

    /// The live tail, looked up again while there has been none.
    #[inline]
    pub(crate) fn tail(&self) -> Option<&Tail> {
        let tail = self.tail.get()?;
        match self.state.load(Ordering::Acquire) {
            LIVE => Some(tail),
            UNKNOWN if tail.is_live(self.log_id) => {
                self.state.store(LIVE, Ordering::Release);
                Some(tail)
            }
            _ => None,
        }
    }

    /// Keeps what there is to read as it is now, for those who still hold a log that was closed.
    pub(crate) fn freeze(&self) {
        if let Some(tail) = self.any_tail() {
            self.still.store(tail.durable().get(), Ordering::Release);
            self.state.store(FROZEN, Ordering::Release);
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state.load(Ordering::Acquire) == FROZEN
    }

    /// The log buffer of the writer.
    pub(crate) fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect("a writable log has a buffer")
    }

    /// Moves everything in the log buffer into the segments. Does nothing for a reader.
    pub(crate) fn drain(&self) -> Result<()> {
        self.with_buffer(|buffer, tail| match tail.appended() < tail.accepted() {
            true => buffer.drain(tail),
            false => Ok(()),
        })
    }

    /// As [`Shared::limit`], and everything up to there is in the segments.
    pub(crate) fn moved_limit(&self, concern: ReadConcern) -> OpId {
        match concern {
            ReadConcern::Durable => self.limit(concern),
            ReadConcern::Local => {
                // What cannot be moved cannot be read; the writer is told.
                let _ = self.drain();
                self.tail().map_or_else(|| self.limit(concern), Tail::appended)
            }
        }
    }

    /// The frame of entry `expected` at `offset` of `segment`, copied out of the log buffer into `fresh`; nothing when it is
    /// not there, or not there any more.
    pub(crate) fn copy_fresh(
        &self,
        fresh: &mut Fresh,
        segment: &Segment,
        offset: usize,
        expected: OpId,
    ) -> Option<FrameHeader> {
        let (buffer, base) = (self.buffer.as_ref()?, segment.base()?);
        fresh.frame(buffer, base + offset as u64, expected)
    }

    /// Makes room in the log buffer.
    pub(crate) fn make_room(&self) -> Result<()> {
        self.with_buffer(|buffer, _| buffer.make_room())
    }

    /// See [`Buffer::bypass`].
    pub(crate) fn bypass(
        &self,
        writer: &mut RingWriter,
        start: u64,
        end: u64,
        frames: impl Iterator<Item = Vec<u8>>,
    ) -> Result<()> {
        self.with_buffer(|buffer, _| buffer.bypass(writer, start, end, frames))
    }

    /// A write that fails poisons the log: its entries were accepted.
    fn with_buffer(&self, act: impl FnOnce(&Buffer, &Tail) -> io::Result<()>) -> Result<()> {
        let (Some(buffer), Some(tail)) = (&self.buffer, self.tail()) else {
            return Ok(());
        };
        self.poison.check_write(tail)?;
        act(buffer, tail).map_err(|error| self.poison.set_write_failed(tail, error))
    }

    /// The tail page, live or not.
    pub(crate) fn any_tail(&self) -> Option<&Tail> {
        self.tail.get()
    }

    /// As [`Shared::any_tail`], looking for the file once more if there was none: a writer may have made it since.
    pub(crate) fn find_tail(&self) -> Option<&Tail> {
        if self.tail.get().is_none()
            && let Ok(tail) = Tail::open(&*self.disk, false)
        {
            // Another thread may have been first; its page is the same file.
            let _ = self.tail.set(tail);
        }
        self.tail.get()
    }

    #[inline]
    pub(crate) fn limit(&self, concern: ReadConcern) -> OpId {
        match (self.tail(), concern) {
            (Some(tail), ReadConcern::Durable) => tail.released(),
            // What cannot be moved into a segment any more is not shown; the writer is told.
            (Some(tail), ReadConcern::Local) if self.writer && !self.poison.is_write_failed() => tail.accepted(),
            (Some(tail), ReadConcern::Local) => tail.appended(),
            (None, _) => OpId::new(self.still.load(Ordering::Acquire)),
        }
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        match self.tail() {
            Some(tail) => {
                let _ = self.drain();
                tail.watermarks()
            }
            None => {
                let still = self.limit(ReadConcern::Durable);
                Watermarks {
                    oldest: self.oldest(),
                    released: still,
                    durable: still,
                    appended: still,
                }
            }
        }
    }

    pub(crate) fn oldest(&self) -> OpId {
        match self.tail() {
            Some(tail) => tail.oldest(),
            None => self.chain.load().oldest().map_or(OpId::FIRST, |link| link.first),
        }
    }

    /// The segment that holds `op_id`.
    pub(crate) fn covering(&self, op_id: OpId) -> Result<Arc<Segment>> {
        let lost = || Error::HistoryLost {
            requested: op_id,
            oldest: self.oldest(),
        };
        loop {
            if op_id < self.oldest() {
                return Err(lost());
            }
            if !self.writer && self.chain.load().covering(op_id).is_none() {
                // The view is older than the first segment.
                self.refresh()?;
            }
            let chain = self.chain.load();
            let link = chain.covering(op_id).ok_or_else(lost)?;
            match link.segment(&*self.disk, self.log_id, &self.recent) {
                Err(_) if op_id < self.oldest() => return Err(lost()),
                Err(error) if !self.writer => {
                    // It may be the newest this process knew of, trimmed since, and `op_id` in one that is newer.
                    self.refresh()?;
                    if self
                        .chain
                        .load()
                        .covering(op_id)
                        .is_some_and(|now| now.sequence == link.sequence)
                    {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// The segment after `segment`, whose entries before `next` have all been read; nothing when it has no successor.
    pub(crate) fn successor(&self, segment: &Segment, next: OpId) -> Result<Option<Arc<Segment>>> {
        if !self.writer
            && self
                .chain
                .load()
                .newest()
                .is_none_or(|link| link.sequence <= segment.sequence)
        {
            self.refresh()?;
        }
        let chain = self.chain.load();
        let Some(link) = chain.covering(next) else {
            return Err(Error::HistoryLost {
                requested: next,
                oldest: self.oldest(),
            });
        };
        if link.sequence <= segment.sequence {
            return Ok(None);
        }
        if link.first != next {
            // The chain went on from another OpID: what lies between is not there.
            return Err(self.corrupt(segment, segment.region().published(), next));
        }
        segment.set_last(next.previous());
        self.covering(next).map(Some)
    }

    /// Reads the directory again: another process may have rolled or trimmed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let (manifest, fresh) = read_log(&*self.disk)?;
        let from = Sequence(manifest.first_sequence);
        // Links that are known stay, with what they have mapped.
        let known = self.chain.load().from(from);
        let newest = known.newest().map_or(Sequence(0), |link| link.sequence);
        let fresh = fresh.links().iter().filter(|link| link.sequence > newest);
        let chain = known.extended(fresh.map(|link| Link::new(link.sequence, link.first)));
        self.chain.store(Arc::new(chain));
        self.recent.forget_before(from);
        Ok(())
    }

    pub(crate) fn corrupt(&self, segment: &Segment, offset: usize, expected: OpId) -> Error {
        let path = segment.path.clone();
        Error::Corrupt {
            path,
            offset: offset as u64,
            expected,
            durable: self.limit(ReadConcern::Durable),
        }
    }

    /// For a reader in another process than the writer: has entry `next`, if it is in the writer's log buffer, moved into its
    /// segment. Whether it is there now; if not, it will be, and the bell rings.
    fn fetch(&self, next: OpId) -> bool {
        let Some(tail) = self.tail().filter(|tail| tail.accepted() >= next) else {
            return false;
        };
        // The writer is about to move it, most likely: that takes a microsecond or two.
        for _ in 0..SPINS {
            if tail.appended() >= next {
                return true;
            }
            std::hint::spin_loop();
        }
        tail.want(next);
        false
    }

    /// Waits until entry `next` can be read.
    pub(crate) fn wait(
        &self,
        next: OpId,
        concern: ReadConcern,
        deadline: Option<Instant>,
        interrupt: &Interrupt,
    ) -> WaitOutcome {
        let reason = || {
            if self.limit(concern) >= next {
                return Some(WaitOutcome::Ready);
            }
            if concern == ReadConcern::Local && !self.writer && self.fetch(next) {
                return Some(WaitOutcome::Ready);
            }
            if interrupt.is_raised() {
                Some(WaitOutcome::Interrupted)
            } else if self.closed.load(Ordering::SeqCst) {
                Some(WaitOutcome::Closed)
            } else {
                None
            }
        };
        loop {
            let mut outcome = None;
            let tail = self.find_tail();
            // Without a live tail nobody rings in time to be relied on.
            let look_again = (self.tail().is_none() && !self.is_frozen()).then(|| Instant::now() + NO_WRITER_WAIT);
            let until = [deadline, look_again].into_iter().flatten().min();
            match tail {
                Some(tail) => {
                    let bell = match concern {
                        ReadConcern::Local => &tail.appended_bell,
                        ReadConcern::Durable => &tail.released_bell,
                    };
                    bell.wait_until(until, || {
                        outcome = reason();
                        outcome.is_some()
                    });
                }
                None => {
                    outcome = reason();
                    if outcome.is_none() {
                        thread::sleep(until.map_or(NO_WRITER_WAIT, |u| u - Instant::now().min(u)));
                    }
                }
            }
            if let Some(outcome) = outcome {
                return outcome;
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return WaitOutcome::TimedOut;
            }
        }
    }
}

/// Reads and checks the manifest.
pub(crate) fn read_manifest(disk: &dyn Disk) -> Result<Manifest> {
    let path = disk.path().join(MANIFEST);
    let Some(bytes) = disk.read(MANIFEST).map_err(Error::io("read", &path))? else {
        let path = disk.path().to_path_buf();
        return Err(if path.is_dir() {
            Error::NotALog { path }
        } else {
            Error::NotFound { path }
        });
    };
    let sane = |manifest: &Manifest| {
        let numbers = [manifest.first_sequence, manifest.first_op_id];
        numbers.iter().all(|number| (1..=OP_ID_MAX).contains(number)) && manifest.term < u32::MAX
    };
    match decode_versioned::<Manifest>(&bytes) {
        Some(Ok(manifest)) if sane(&manifest) => Ok(manifest),
        Some(Err(NewerVersion(found))) => Err(Error::NewerFormat {
            path,
            found,
            known: VERSION,
        }),
        _ => Err(Error::DamagedMetadata {
            path,
            what: "checksum or contents are wrong",
        }),
    }
}

/// Reads the manifest and the directory as they belong together, though a trim may come between the two.
pub(crate) fn read_log(disk: &dyn Disk) -> Result<(Manifest, Chain)> {
    let mut manifest = read_manifest(disk)?;
    loop {
        match Chain::read(disk, &manifest) {
            Ok(chain) => return Ok((manifest, chain)),
            Err(error) => {
                let now = read_manifest(disk)?;
                if now.first_sequence == manifest.first_sequence {
                    return Err(error);
                }
                manifest = now;
            }
        }
    }
}

/// The reading face of a log. Cheap to clone; every method may be called from any thread.
///
/// A view of a log that this process writes comes from [`Oplog::view`](crate::Oplog::view); of any other,
/// from [`OplogView::open`], which writes nothing and works beside a live writer, after its death, and across its restart.
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
        // No tail file, or one that cannot be opened, only means that there is no live writer.
        let tail = Tail::open(&*disk, false).ok();
        let live = tail.as_ref().is_some_and(|tail| tail.is_live(log_id));
        let (manifest, chain) = read_log(&*disk)?;
        let first = OpId::new(manifest.first_op_id);
        let still = if live {
            OpId::ZERO
        } else {
            recovery::last_whole_entry(&*disk, log_id, &chain, first)?
        };
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

    /// The last entry a reader with that concern sees.
    #[must_use]
    pub fn newest(&self, concern: ReadConcern) -> OpId {
        self.shared.limit(concern)
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

    /// A cursor over what comes after this call.
    #[must_use]
    pub fn cursor_from_now(&self, concern: ReadConcern) -> Cursor {
        Cursor::new(Arc::clone(&self.shared), self.shared.limit(concern).next(), concern)
    }

    /// A cursor that begins with the first entry at or after `time`, of those that have been released.
    ///
    /// # Errors
    ///
    /// As [`OplogView::get`], for the entries looked at on the way.
    pub fn cursor_from_time(&self, time: Timestamp, concern: ReadConcern) -> Result<Cursor> {
        let (mut low, mut high) = (self.shared.oldest(), self.shared.limit(concern).next());
        while low < high {
            let middle = OpId::new(low.get() + (high.get() - low.get()) / 2);
            if self.get(middle, concern)?.timestamp() < time {
                low = middle.next();
            } else {
                high = middle;
            }
        }
        self.cursor(low, concern)
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
        let mut cursor = self.cursor(op_id, concern)?;
        let entry = cursor.try_next()?.as_ref().map(Entry::share);
        entry.ok_or(Error::Ahead {
            requested: op_id,
            newest,
        })
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

    /// Has `waker` woken at the next movement of the watermark that decides what a reader with that concern sees. Look at
    /// [`OplogView::newest`] once more after the call.
    ///
    /// In a process that does not write the log, a thread of this view carries the rings over.
    pub fn wake_on_change(&self, concern: ReadConcern, waker: &Waker) {
        crate::courier::register(&self.shared, concern, waker);
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
