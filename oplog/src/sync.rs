//! Group commit: one `fdatasync` serves everyone who waits.
//!
//! A thread that waits for durability and finds nobody syncing does it itself, for everything appended so far; those that it
//! does not serve wait, and one of them syncs next (`group.rs`). So a single writer pays no hand-over, and many writers share. Async waiters, and entries nobody waits for, are served by the log's sync thread.
//!
//! The first failed sync poisons the log: the kernel may have dropped the pages it could not write and report success the
//! next time, so nothing after the last good sync may ever be acknowledged again.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::Group;
use crate::ids::OpId;
use crate::oplog::Core;
use crate::primitives::{AtomicU64, Condvar, Instant, Mutex, MutexGuard};
use crate::recovery::Unproven;
use crate::segment::Segment;
use crate::stats::is_slow;
use crate::view::ReadConcern;

/// A watermark slot is rewritten when so many bytes have become durable since the last; it bounds what recovery scans.
/// Rewriting it after every sync would make each sync write a second page: 9 % fewer durable appends in our measurement.
const SLOT_BYTES: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// The files that the next sync must cover.
#[derive(Debug)]
struct Dirty {
    /// Full segments that no sync has covered since they became full, oldest first.
    full: Vec<Arc<Segment>>,
    newest: Arc<Segment>,
    /// What recovery has left to the first sync.
    unproven: Vec<Unproven>,
}

/// Group commit. See the module documentation.
#[derive(Debug)]
pub(crate) struct Syncer {
    group: Group,
    slots: Mutex<Slots>,
    dirty: Mutex<Dirty>,
    /// Highest OpID that an async waiter wants durable.
    wanted: AtomicU64,
    /// Everything up to this OpID has been durable at a rest of the log, and a slot on disk says so if one can.
    settled: AtomicU64,
    /// The last entry that was found when the log was opened, if that was not known to be durable.
    left: OpId,
    /// Interrupts the sync thread's pause.
    pause: (Mutex<()>, Condvar),
    /// Microseconds within which background syncs come, when that is less than the sync interval; zero when nobody asks for it.
    pace: AtomicU64,
    /// Who is told by the leader when a sync begins.
    listener: Mutex<Listening>,
}

/// Who is told, and how many have been before and with that one.
#[derive(Debug, Default)]
struct Listening {
    number: u64,
    current: Option<SyncListener>,
}

/// A listener that [`Oplog::on_sync`](crate::Oplog::on_sync) was given, by which it can be taken away again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SyncListenerId(u64);

/// What is called when a sync begins; whether that was enough, or those have to be woken as well who wait for it.
pub(crate) type Heard = dyn Fn() -> bool + Send + Sync;

/// See [`Oplog::on_sync`](crate::Oplog::on_sync).
pub(crate) struct SyncListener(pub(crate) Box<Heard>);

impl std::fmt::Debug for SyncListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncListener")
    }
}

/// What the last watermark slot says.
#[derive(Debug)]
struct Slots {
    sequence: u64,
    durable: OpId,
    end: usize,
    /// Whether a sync has covered it.
    synced: bool,
}

impl Syncer {
    /// With what recovery has left to the first sync: everything up to entry `left`, the frames of it that are `unproven`, and the
    /// segments `full`, oldest first.
    pub(crate) fn new(left: OpId, unproven: Vec<Unproven>, full: Vec<Arc<Segment>>, newest: Arc<Segment>) -> Syncer {
        let slot = newest.slot();
        let slots = Slots {
            sequence: newest.sequence.0,
            durable: OpId::new(slot.map_or(0, |slot| slot.durable)),
            end: slot.map_or(0, |slot| slot.end as usize),
            // A killed writer may have written it after its last sync.
            synced: slot.is_none(),
        };
        Syncer {
            group: Group::default(),
            slots: Mutex::new(slots),
            dirty: Mutex::new(Dirty { full, newest, unproven }),
            wanted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            left,
            pause: (Mutex::new(()), Condvar::new()),
            pace: AtomicU64::new(0),
            listener: Mutex::default(),
        }
    }

    fn lock_listener(&self) -> MutexGuard<'_, Listening> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces who is told of syncs that begin.
    pub(crate) fn set_listener(&self, listener: SyncListener) -> SyncListenerId {
        let mut listening = self.lock_listener();
        listening.number += 1;
        let own = SyncListenerId(listening.number);
        let before = listening.current.replace(listener);
        // What it holds may want this log.
        drop(listening);
        drop(before);
        own
    }

    /// Has that one told no longer, if no other has taken its place.
    pub(crate) fn remove_listener(&self, own: SyncListenerId) {
        let mut listening = self.lock_listener();
        let before = match listening.number == own.0 {
            true => listening.current.take(),
            false => None,
        };
        drop(listening);
        drop(before);
    }

    /// Says that a sync begins that will cover everything up to `target`: followers may have it meanwhile.
    fn tell_begun(&self, core: &Core, target: OpId) {
        core.tail().set_syncing(target);
        let listening = self.lock_listener();
        if !listening.current.as_ref().is_some_and(|listener| listener.0()) {
            core.tail().sync_bell.ring();
        }
    }

    /// Has background syncs come within `pace`, if that is shorter than the sync interval.
    pub(crate) fn set_pace(&self, pace: Option<Duration>) {
        let micros = pace.map_or(0, |pace| u64::try_from(pace.as_micros()).unwrap_or(u64::MAX).max(1));
        self.pace.store(micros, Ordering::SeqCst);
        self.interrupt_pause();
    }

    /// How long the sync thread waits for company before it syncs.
    fn interval(&self, core: &Core) -> Duration {
        let own = core.options.sync_interval;
        match self.pace.load(Ordering::SeqCst) {
            0 => own,
            micros => own.min(Duration::from_micros(micros)),
        }
    }

    /// Fails when the log is poisoned.
    #[inline]
    pub(crate) fn check(&self, core: &Core) -> Result<()> {
        core.shared.poison.check(core.tail())
    }

    fn poison(&self, core: &Core, error: io::Error) -> Error {
        core.shared.poison.set(core.tail(), error)
    }

    /// Says that `segment` has become the newest.
    pub(crate) fn rolled(&self, segment: Arc<Segment>) {
        let mut dirty = self.lock_dirty();
        let full = std::mem::replace(&mut dirty.newest, segment);
        dirty.full.push(full);
    }

    fn lock_dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything appended so far durable. `leader` is what entitles the caller.
    fn lead(&self, core: &Core, leader: &Leader<'_>) -> Result<()> {
        self.check(core)?;
        let options = &core.options;
        self.group.gather(options.group_delay, options.group_size);
        let begun = Instant::now();
        let before = core.tail().durable();
        let _span = tracing::debug_span!("sync", durable = before.get()).entered();
        let unproven = std::mem::take(&mut self.lock_dirty().unproven);
        for frames in &unproven {
            // Otherwise the sync would pass them over, and call them durable.
            frames.rewrite().map_err(|e| self.poison(core, e))?;
        }
        // Of these, the drain moves the last frame. One that becomes full while it is at work may have its last frames in the
        // buffer when it is synced here, and stays on the list for the next sync.
        let whole = self.lock_dirty().full.len();
        core.shared.drain()?;
        // The watermark before the files: what it covers is in them.
        let target = core.tail().appended();
        self.group.begin(target);
        self.tell_begun(core, target);
        let (mut full, newest) = {
            let dirty = self.lock_dirty();
            (dirty.full.clone(), Arc::clone(&dirty.newest))
        };
        for segment in &full {
            segment.sync().map_err(|e| self.poison(core, e))?;
        }
        if !full.is_empty() {
            // The successors' names.
            core.disk().sync_directory().map_err(|e| self.poison(core, e))?;
        }
        newest.sync().map_err(|e| self.poison(core, e))?;
        // Before anybody is told: whoever has been served finds it in the statistics.
        self.measured(core, begun.elapsed(), target.get() - before.get());
        core.tail().set_durable(target);
        if whole > 0 {
            self.lock_dirty().full.drain(..whole);
            full.truncate(whole);
            core.keeper.seal(full);
        }
        let due = {
            let slots = self.lock_slots();
            slots.sequence != newest.sequence.0 || newest.region().published() >= slots.end + SLOT_BYTES
        };
        if due {
            // Those that have been served sleep until the leader is gone, and a roll may wait for the disk: then the next sync
            // writes it.
            self.note_end(core, leader, false)?;
        }
        Ok(())
    }

    /// Counts a sync that has worked, and warns if it was slow.
    fn measured(&self, core: &Core, took: Duration, entries: u64) {
        core.meters
            .sync_micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        core.meters.sync_entries.add(entries);
        tracing::trace!(entries, micros = took.as_micros(), "synced");
        if is_slow(took) {
            tracing::warn!(path = %core.disk().path().display(), ?took, entries, "slow sync: writers wait for the disk");
        }
    }

    /// Writes a slot for the newest durable entry, if the end of its frame is at hand; of a log that rolls, if it is to `wait`.
    fn note_end(&self, core: &Core, _: &Leader<'_>, wait: bool) -> Result<()> {
        let Some((segment, last, end)) = core.end(wait) else {
            return Ok(());
        };
        let mut slots = self.lock_slots();
        let durable = core.tail().durable();
        if durable < segment.first || slots.durable == durable {
            return Ok(());
        }
        let end = if durable == last {
            end
        } else {
            // More was appended meanwhile; the entry after the durable one begins where that ends.
            match segment.locate(durable.next()) {
                Ok(end) => end,
                Err(_) => return Ok(()),
            }
        };
        segment.write_slot(durable, end).map_err(|e| self.poison(core, e))?;
        *slots = Slots {
            sequence: segment.sequence.0,
            durable,
            end,
            synced: false,
        };
        Ok(())
    }

    fn lock_slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes the leader if nobody is.
    fn try_leader<'a>(&'a self, core: &'a Core) -> Option<Leader<'a>> {
        self.group.try_lead().then(|| Leader { syncer: self, core })
    }

    /// Waits to become the leader.
    fn leader<'a>(&'a self, core: &'a Core) -> Leader<'a> {
        let behind_all = OpId::new(u64::MAX);
        loop {
            if let Some(leader) = self.group.sleep(behind_all, || self.try_leader(core)) {
                return leader;
            }
        }
    }

    /// Syncs everything appended so far.
    fn sync_all(&self, core: &Core) -> Result<()> {
        self.lead(core, &self.leader(core))
    }

    /// Asks the sync thread to make `op_id` durable.
    pub(crate) fn request(&self, core: &Core, op_id: OpId) {
        self.wanted.fetch_max(op_id.get(), Ordering::SeqCst);
        self.interrupt_pause();
        core.tail().appended_bell.ring();
    }

    fn interrupt_pause(&self) {
        drop(self.pause.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.pause.1.notify_all();
    }

    fn settled(&self) -> OpId {
        OpId::new(self.settled.load(Ordering::SeqCst))
    }

    fn wanted(&self) -> OpId {
        OpId::new(self.wanted.load(Ordering::SeqCst))
    }

    /// Ends the sync thread.
    pub(crate) fn stop(&self, core: &Core) {
        self.interrupt_pause();
        core.tail().appended_bell.ring();
    }

    /// The sync thread: serves async waiters at once, and everything else within the sync interval. While there is nothing
    /// to sync it sleeps without a time-out.
    ///
    /// It waits for the bell only then: while entries keep coming, the clock says when the next sync is due, and no append
    /// has to wake it beside the readers.
    pub(crate) fn run(core: &Core) {
        let syncer = &core.syncer;
        let tail = core.tail();
        // What others have synced since the last rest needs its slot as well.
        let work = || tail.accepted() > syncer.settled() || core.is_closed();
        // What recovery has left to the first sync is waited for since before the log was open.
        if tail.durable() < syncer.left && syncer.sync_all(core).is_err() {
            return;
        }
        loop {
            tail.appended_bell.wait_until(None, work);
            loop {
                let seen = tail.accepted();
                syncer.rest(core);
                if core.is_closed() || syncer.check(core).is_err() {
                    return;
                }
                if tail.durable() < tail.accepted() {
                    if syncer.sync_all(core).is_err() {
                        return;
                    }
                } else if tail.accepted() == seen && syncer.is_at_rest(core, seen) {
                    if syncer.settle(core).is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }

    /// Whether nothing is appended behind `seen`, the newest entry, for a whole sync interval: a shorter one, which has passed, is
    /// not enough.
    fn is_at_rest(&self, core: &Core, seen: OpId) -> bool {
        let tail = core.tail();
        let left = core.options.sync_interval.saturating_sub(self.interval(core));
        if !left.is_zero() {
            let deadline = Instant::now().checked_add(left);
            tail.appended_bell
                .wait_until(deadline, || tail.accepted() > seen || core.is_closed());
        }
        tail.accepted() == seen && !core.is_closed()
    }

    /// Waits out the interval, unless an async waiter comes or the log closes.
    fn rest(&self, core: &Core) {
        let begun = Instant::now();
        let mut guard = self.pause.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // One that cannot be named does not come.
            let deadline = begun.checked_add(self.interval(core));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if core.is_closed() || self.wanted() > core.tail().durable() || left == Some(Duration::ZERO) {
                return;
            }
            let changed = &self.pause.1;
            guard = match left {
                Some(left) => {
                    let waited = changed.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// When nothing has been appended for a sync interval, writes a slot and makes it durable: from then on damage to the
    /// newest entries cannot pass for a torn tail.
    fn settle(&self, core: &Core) -> Result<()> {
        let tail = core.tail();
        if tail.accepted() != tail.durable() || core.is_closed() {
            return Ok(());
        }
        let leader = self.leader(core);
        let durable = tail.durable();
        if tail.accepted() != durable {
            return Ok(());
        }
        self.settled.store(durable.get(), Ordering::SeqCst);
        self.note_end(core, &leader, true)?;
        // It may have been written before, behind the last sync.
        if !self.lock_slots().synced {
            self.sync_newest(core)?;
            self.lock_slots().synced = true;
        }
        Ok(())
    }

    fn sync_newest(&self, core: &Core) -> Result<()> {
        let newest = Arc::clone(&self.lock_dirty().newest);
        newest.sync().map_err(|e| self.poison(core, e))
    }

    /// The last sync of a log that is being closed.
    pub(crate) fn finish(&self, core: &Core) -> Result<()> {
        self.sync_all(core)?;
        // What cannot be sealed is damaged, and the slot is what will prove it.
        let sealed = core.keeper.seal_all(core);
        let leader = self.leader(core);
        self.note_end(core, &leader, true)?;
        self.sync_newest(core)?;
        sealed
    }
}

impl Core {
    /// Whether `op_id` is durable, or never will be.
    pub(crate) fn durable_now(&self, op_id: OpId) -> Option<Result<()>> {
        let tail = self.tail();
        let is_frozen = self.shared.is_frozen();
        // What is released may be less than that.
        let durable = match is_frozen {
            true => self.shared.limit(ReadConcern::Durable),
            false => tail.durable(),
        };
        if durable >= op_id {
            return Some(Ok(()));
        }
        if is_frozen {
            return Some(Err(Error::Closed));
        }
        if let Err(error) = self.syncer.check(self) {
            return Some(Err(error));
        }
        let newest = tail.accepted();
        if newest < op_id {
            return Some(Err(Error::Ahead {
                requested: op_id,
                newest,
            }));
        }
        None
    }

    pub(crate) fn sync(&self, op_id: OpId) -> Result<()> {
        if let Some(result) = self.durable_now(op_id) {
            return result;
        }
        let syncer = &self.syncer;
        syncer.group.arrive();
        let look = || match self.durable_now(op_id) {
            Some(result) => Some(Ok(result)),
            None => syncer.try_leader(self).map(Err),
        };
        loop {
            match syncer.group.sleep(op_id, look) {
                Some(Ok(result)) => {
                    syncer.group.pass_on();
                    return result;
                }
                // Served while this thread became the leader.
                Some(Err(_leader)) if self.tail().durable() >= op_id => return Ok(()),
                Some(Err(leader)) => syncer.lead(self, &leader)?,
                None => {}
            }
        }
    }
}

/// The right to sync, held by one thread at a time. Its drop wakes those who wait, served or to lead.
#[derive(Debug)]
struct Leader<'a> {
    syncer: &'a Syncer,
    core: &'a Core,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let poisoned = self.syncer.check(self.core).is_err();
        self.syncer.group.stop_leading(poisoned);
        self.core.tail().released_bell.ring();
        self.core.tail().sync_bell.ring();
    }
}
