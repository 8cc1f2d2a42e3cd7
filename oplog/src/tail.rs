//! The shared tail page: the log's watermarks and bells, where readers in this process and in others find them.
//!
//! ```text
//!   oldest ≤ … ≤ released ≤ durable ≤ appended
//!   │            │          │         └ in the log buffer or the segment: survives the process
//!   │            │          └ covered by a successful sync: survives power loss
//!   │            └ what watchers and followers may see: less than what is durable only in a log that follows, of
//!   │              entries that its primary has sent before they were durable there, or that its state does not have yet
//!   └ first entry that has not been trimmed
//! ```
//!
//! The page is a file in the log's directory, never synced: it survives the writer's death in the page cache and is
//! recognised as stale after a reboot (boot id) or in a copy of the directory (device and inode).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bell::{Awaited, Bell};
use crate::boot::boot_id;
use crate::disk::{Disk, FileIdentity, between_stores};
use crate::format::{self, RECORD_BYTES, TAIL, TailIdentity};
use crate::ids::{LogId, OpId};
use crate::primitives::{AtomicU64, SharedU64};
use crate::region::Region;

const TAIL_BYTES: usize = 4096;
const APPENDED: usize = 512;
const DURABLE: usize = 576;
const RELEASED: usize = 640;
const OLDEST: usize = 704;
const APPENDED_BELL: usize = 768;
const RELEASED_BELL: usize = 832;
const ACCEPTED: usize = 896;
const WANTED: usize = 904;
const POISONED: usize = 912;
const DRAIN_BELL: usize = 960;
const MAJORITY: usize = 1024;
const MAJORITY_BELL: usize = 1088;

/// What is known of what a majority of the members holds: as it stands in the page.
///
/// Zero is what a page says whose writer knows of no members, also one of an earlier release.
const NO_MEMBERS: u64 = 0;

/// Whatever is durable is released.
const ALL: u64 = u64::MAX;

/// The watermarks at one moment.
///
/// Invariant: `oldest - 1 ≤ released ≤ durable ≤ appended`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// First entry that has not been trimmed; one more than `appended` when the log holds none.
    pub oldest: OpId,
    /// Last entry that watchers and followers may see.
    pub released: OpId,
    /// Last entry that a successful sync covers.
    pub durable: OpId,
    /// Last entry that readers with [`ReadConcern::Local`](crate::ReadConcern::Local) find. In the process that writes the
    /// log that is the last one appended; others find it when they wait for it, or soon.
    pub appended: OpId,
}

/// A log that has been recovered, for its [`Tail::take_over`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) oldest: OpId,
    /// Known to be durable.
    pub(crate) durable: OpId,
    /// The last entry.
    pub(crate) last: OpId,
    /// Released of what is durable, where that is not everything.
    pub(crate) confirmed: Option<OpId>,
    /// Whether members decide what a majority holds, of which nothing is known yet.
    pub(crate) counts: bool,
}

/// What has become of *majority*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MajorityMoved {
    /// Nothing.
    No,
    /// It is higher.
    Up,
    /// Members are counted, or are not any more.
    Anew,
}

/// The shared tail page. See the module documentation.
#[derive(Debug)]
pub(crate) struct Tail {
    region: Arc<Region>,
    file: FileIdentity,
    /// Rung when *appended* moves.
    pub(crate) appended_bell: Bell,
    /// Rung when *durable* and *released* move.
    pub(crate) released_bell: Bell,
    /// Rung when *majority* moves.
    majority_bell: Bell,
    /// Rung when the thread that drains the log buffer has work.
    pub(crate) drain_bell: Bell,
    /// Rung when a sync begins, and when *released* moves.
    pub(crate) sync_bell: Bell,
    /// What the sync begun last covers.
    syncing: AtomicU64,
    /// How far what is durable may be released, by what the member that is followed has on its disk.
    confirmed: AtomicU64,
    /// How far, by what the state has that is made of this log.
    applied: AtomicU64,
}

impl Tail {
    /// Opens the page, for the log's writer or for one who only reads.
    pub(crate) fn open(disk: &dyn Disk, writer: bool) -> io::Result<Tail> {
        let (medium, file) = disk.open_shared(TAIL, TAIL_BYTES, writer)?;
        Ok(Tail::on(medium.region, file, writer))
    }

    pub(crate) fn on(region: Arc<Region>, file: FileIdentity, writer: bool) -> Tail {
        let appended_bell = Bell::new(Arc::clone(&region), APPENDED_BELL, writer);
        let released_bell = Bell::new(Arc::clone(&region), RELEASED_BELL, writer);
        let majority_bell = Bell::new(Arc::clone(&region), MAJORITY_BELL, writer);
        // Readers of other processes ring it, too.
        let drain_bell = Bell::new(Arc::clone(&region), DRAIN_BELL, false);
        // Only the threads of this process wait for syncs that begin.
        let sync_bell = Bell::new(Arc::new(Region::heap(64)), 0, true);
        Tail {
            region,
            file,
            appended_bell,
            released_bell,
            majority_bell,
            drain_bell,
            sync_bell,
            syncing: AtomicU64::new(0),
            confirmed: AtomicU64::new(ALL),
            applied: AtomicU64::new(ALL),
        }
    }

    /// Whether the watermarks belong to this log and this boot of the machine.
    pub(crate) fn is_live(&self, log_id: LogId) -> bool {
        let mut bytes = [0; RECORD_BYTES];
        self.region.load(0, &mut bytes);
        // Without a boot id nothing says that it is not from before a power loss.
        boot_id().is_ok_and(|boot_id| {
            format::decode_checked::<TailIdentity>(&bytes, 0) == Some(self.identity(log_id, boot_id))
        })
    }

    /// Takes the page over for a writer that has just recovered the log.
    pub(crate) fn take_over(&self, log_id: LogId, found: &Found) {
        let confirmed = found.confirmed.map_or(ALL, OpId::get);
        self.confirmed.store(confirmed, Ordering::SeqCst);
        self.applied.store(ALL, Ordering::SeqCst);
        let majority = if found.counts { held(OpId::ZERO) } else { NO_MEMBERS };
        for (offset, value) in [
            (OLDEST, found.oldest.get()),
            (APPENDED, found.last.get()),
            (ACCEPTED, found.last.get()),
            (DURABLE, found.durable.get()),
            (RELEASED, found.durable.get().min(confirmed)),
            (MAJORITY, majority),
            (WANTED, 0),
            (POISONED, 0),
        ] {
            between_stores();
            self.cell(offset).store(value, Ordering::Release);
        }
        between_stores();
        // A log is opened for writing only where there is a boot id; should it be gone since, nobody takes the page for live.
        let identity = self.identity(log_id, boot_id().unwrap_or_default());
        self.region.store(0, &format::encode_checked(&identity, 0));
        between_stores();
        self.ring_all();
    }

    fn identity(&self, log_id: LogId, boot_id: [u8; 16]) -> TailIdentity {
        TailIdentity {
            log_id: log_id.to_bytes(),
            boot_id,
            device: self.file.device,
            inode: self.file.inode,
        }
    }

    #[inline]
    fn cell(&self, offset: usize) -> SharedU64<'_> {
        self.region.cell_u64(offset)
    }

    // Each load is Acquire, each store Release: who sees a watermark sees the frames below it.

    #[inline]
    pub(crate) fn appended(&self) -> OpId {
        OpId::new(self.cell(APPENDED).load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn durable(&self) -> OpId {
        OpId::new(self.cell(DURABLE).load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn released(&self) -> OpId {
        OpId::new(self.cell(RELEASED).load(Ordering::Acquire))
    }

    /// What a majority of the members is known to hold, of what is released; all of that when nobody counts.
    pub(crate) fn majority(&self) -> OpId {
        let released = self.released();
        self.held_by_majority().map_or(released, |held| released.min(held))
    }

    /// What a majority of the members is known to hold; nothing when nobody counts.
    pub(crate) fn held_by_majority(&self) -> Option<OpId> {
        let known = self.cell(MAJORITY).load(Ordering::Acquire);
        (known != NO_MEMBERS).then(|| OpId::new(known - 1))
    }

    /// Whether members decide what a majority holds.
    pub(crate) fn counts(&self) -> bool {
        self.cell(MAJORITY).load(Ordering::Acquire) != NO_MEMBERS
    }

    /// Says what a majority of the members holds, which is released; nothing when there are no members to be counted. It
    /// does not go back while they are. Whoever says so passes what is returned on to [`Tail::ring_majority`].
    pub(crate) fn set_majority(&self, known: Option<OpId>) -> MajorityMoved {
        let cell = self.cell(MAJORITY);
        match known {
            Some(op_id) if self.counts() => match cell.fetch_max(held(op_id), Ordering::AcqRel) < held(op_id) {
                true => MajorityMoved::Up,
                false => MajorityMoved::No,
            },
            _ => {
                cell.store(known.map_or(NO_MEMBERS, held), Ordering::Release);
                MajorityMoved::Anew
            }
        }
    }

    /// Wakes those for whom *majority* has moved.
    pub(crate) fn ring_majority(&self, moved: MajorityMoved) {
        match moved {
            MajorityMoved::No => {}
            MajorityMoved::Up => self.majority_bell.ring(),
            // Who waits does so at another bell from now on.
            MajorityMoved::Anew => self.ring_all(),
        }
    }

    /// The bell that is rung when *majority* moves. It is another one once members are counted; whoever waits at the first is
    /// woken then, and asks again.
    pub(crate) fn majority_bell(&self) -> &Bell {
        match self.counts() {
            true => &self.majority_bell,
            false => &self.released_bell,
        }
    }

    pub(crate) fn oldest(&self) -> OpId {
        OpId::new(self.cell(OLDEST).load(Ordering::Acquire))
    }

    /// The last entry that is in the log buffer or already in the segment.
    #[inline]
    pub(crate) fn accepted(&self) -> OpId {
        // SeqCst: partner of the exchange in `accept`.
        OpId::new(self.cell(ACCEPTED).load(Ordering::SeqCst))
    }

    /// Says that the writer is poisoned: what is not durable may be gone.
    pub(crate) fn set_poisoned(&self) {
        self.cell(POISONED).store(1, Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.cell(POISONED).load(Ordering::Acquire) != 0
    }

    /// Says that everything up to `op_id` is in the buffer. Returns who waits for it.
    #[inline]
    pub(crate) fn accept(&self, op_id: OpId) -> Awaited {
        // The two flags of the bell's protocol: here the watermark moves before the flag is looked at, a waiter raises the
        // flag before it looks at the watermark. One exchange is cheaper than a store and a fence.
        between_stores();
        self.cell(ACCEPTED).swap(op_id.get(), Ordering::SeqCst);
        between_stores();
        self.appended_bell.awaited()
    }

    /// Says that everything up to `op_id` is in the segment, unless more has been said to be.
    pub(crate) fn set_appended(&self, op_id: OpId) {
        between_stores();
        if self.cell(APPENDED).fetch_max(op_id.get(), Ordering::AcqRel) < op_id.get() {
            between_stores();
            self.appended_bell.ring();
        }
    }

    /// Asks the writer, who may be another process, to move entry `op_id` from the buffer to the segment. Only a reader that
    /// can ring is heard; what it wants comes with the next sync otherwise.
    pub(crate) fn want(&self, op_id: OpId) {
        if self.is_writable() {
            self.cell(WANTED).fetch_max(op_id.get(), Ordering::SeqCst);
            self.drain_bell.ring();
        }
    }

    /// Whether somebody wants an entry that is still in the buffer.
    pub(crate) fn is_wanted(&self) -> bool {
        let wanted = OpId::new(self.cell(WANTED).load(Ordering::SeqCst));
        wanted.min(self.accepted()) > self.appended()
    }

    pub(crate) fn set_durable(&self, op_id: OpId) {
        debug_assert!(op_id <= self.accepted() && op_id >= self.durable());
        // SeqCst, as the loads in `release`: partner of `set_confirmed` and `set_applied`. Whichever comes last sees the others.
        between_stores();
        self.cell(DURABLE).store(op_id.get(), Ordering::SeqCst);
        between_stores();
        self.release();
        between_stores();
    }

    /// Releases what is durable, confirmed and applied; whether that is more than before.
    fn release(&self) -> bool {
        let (confirmed, applied) = (
            self.confirmed.load(Ordering::SeqCst),
            self.applied.load(Ordering::SeqCst),
        );
        let durable = self.cell(DURABLE).load(Ordering::SeqCst);
        let to = durable.min(confirmed).min(applied);
        self.cell(RELEASED).fetch_max(to, Ordering::AcqRel) < to
    }

    /// Has what is durable here released up to this entry only, or all of it. What has been released stays so.
    pub(crate) fn set_confirmed(&self, up_to: Option<OpId>) {
        let up_to = up_to.map_or(ALL, OpId::get);
        let before = self.confirmed.load(Ordering::SeqCst);
        // One member is followed at a time, and what it has on its disk grows.
        if before == ALL || before < up_to {
            self.confirmed.store(up_to, Ordering::SeqCst);
            self.release_and_ring();
        }
    }

    /// The same for what the state has.
    pub(crate) fn set_applied(&self, up_to: Option<OpId>) {
        self.applied.store(up_to.map_or(ALL, OpId::get), Ordering::SeqCst);
        self.release_and_ring();
    }

    fn release_and_ring(&self) {
        if self.release() {
            self.released_bell.ring();
            // What a majority holds of it may have been known before.
            self.majority_bell.ring();
            self.sync_bell.ring();
        }
    }

    /// Up to which entry what is durable may be released; nothing when that is all of it.
    pub(crate) fn confirmed(&self) -> Option<OpId> {
        let confirmed = self.confirmed.load(Ordering::SeqCst);
        (confirmed != ALL).then(|| OpId::new(confirmed))
    }

    /// Whether all that is durable is released.
    pub(crate) fn releases_all(&self) -> bool {
        self.confirmed().is_none() && self.applied.load(Ordering::SeqCst) == ALL
    }

    /// Says that a sync begins that will cover everything up to `target`. The bell is the caller's to ring.
    pub(crate) fn set_syncing(&self, target: OpId) {
        self.syncing.fetch_max(target.get(), Ordering::SeqCst);
    }

    /// The last entry that is durable, or will be with the sync that has begun.
    pub(crate) fn syncing(&self) -> OpId {
        OpId::new(self.syncing.load(Ordering::SeqCst)).max(self.durable())
    }

    pub(crate) fn set_oldest(&self, op_id: OpId) {
        between_stores();
        self.cell(OLDEST).store(op_id.get(), Ordering::Release);
        between_stores();
    }

    /// Whether bells can be rung: the page is mapped for writing.
    pub(crate) fn is_writable(&self) -> bool {
        self.region.is_writable()
    }

    pub(crate) fn ring_all(&self) {
        self.appended_bell.ring();
        self.released_bell.ring();
        self.majority_bell.ring();
        self.sync_bell.ring();
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        // Lower marks first: each moves up only, so read in this order they cannot appear out of order.
        let (oldest, released) = (self.oldest(), self.released());
        Watermarks {
            oldest,
            released,
            durable: self.durable(),
            appended: self.appended(),
        }
    }
}

/// As it stands in the page: one more, so that zero is left for what is not counted.
fn held(op_id: OpId) -> u64 {
    op_id.get().saturating_add(1)
}
