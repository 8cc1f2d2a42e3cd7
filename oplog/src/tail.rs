//! The shared tail page: the log's watermarks and bells, where readers in this process and in others find them.
//!
//! ```text
//!   oldest ≤ … ≤ released ≤ durable ≤ appended
//!   │            │          │         └ in the mapped segment: survives the process
//!   │            │          └ covered by a successful sync: survives power loss
//!   │            └ what watchers and followers may see
//!   └ first entry that has not been trimmed
//! ```
//!
//! The page is a file in the log's directory, never synced: it survives the writer's death in the page cache and is
//! recognised as stale after a reboot (boot id) or in a copy of the directory (device and inode).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bell::Bell;
use crate::disk::{Disk, FileIdentity};
use crate::format::{self, RECORD_BYTES, TAIL, TailIdentity};
use crate::ids::{LogId, OpId};
use crate::region::Region;

const TAIL_BYTES: usize = 4096;
const APPENDED: usize = 512;
const DURABLE: usize = 576;
const RELEASED: usize = 640;
const OLDEST: usize = 704;
const APPENDED_BELL: usize = 768;
const RELEASED_BELL: usize = 832;

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
    /// Last entry in the mapped segment.
    pub appended: OpId,
}

/// The shared tail page. See the module documentation.
#[derive(Debug)]
pub(crate) struct Tail {
    region: Arc<Region>,
    identity: FileIdentity,
    /// Rung when *appended* moves.
    pub(crate) appended_bell: Bell,
    /// Rung when *durable* and *released* move.
    pub(crate) released_bell: Bell,
}

impl Tail {
    pub(crate) fn open(disk: &dyn Disk, writable: bool) -> io::Result<Tail> {
        let (medium, identity) = disk.open_tail(TAIL, TAIL_BYTES, writable)?;
        Ok(Tail::on(medium.region, identity))
    }

    fn on(region: Arc<Region>, identity: FileIdentity) -> Tail {
        let appended_bell = Bell::new(Arc::clone(&region), APPENDED_BELL);
        let released_bell = Bell::new(Arc::clone(&region), RELEASED_BELL);
        Tail {
            region,
            identity,
            appended_bell,
            released_bell,
        }
    }

    /// Whether the watermarks belong to this log and this boot of the machine.
    pub(crate) fn is_live(&self, log_id: LogId) -> bool {
        let mut bytes = [0; RECORD_BYTES];
        self.region.load(0, &mut bytes);
        format::decode_checked::<TailIdentity>(&bytes, 0) == Some(self.expected(log_id))
    }

    /// Takes the page over for a writer that has just recovered the log up to `last`, all of it durable.
    pub(crate) fn take_over(&self, log_id: LogId, oldest: OpId, last: OpId) {
        self.cell(OLDEST).store(oldest.get(), Ordering::Release);
        for offset in [APPENDED, DURABLE, RELEASED] {
            self.cell(offset).store(last.get(), Ordering::Release);
        }
        self.region.store(0, &format::encode_checked(&self.expected(log_id), 0));
        self.ring_all();
    }

    fn expected(&self, log_id: LogId) -> TailIdentity {
        TailIdentity {
            log_id: log_id.to_bytes(),
            boot_id: boot_id(),
            device: self.identity.device,
            inode: self.identity.inode,
        }
    }

    #[inline]
    fn cell(&self, offset: usize) -> &AtomicU64 {
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

    pub(crate) fn oldest(&self) -> OpId {
        OpId::new(self.cell(OLDEST).load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn set_appended(&self, op_id: OpId) {
        self.cell(APPENDED).store(op_id.get(), Ordering::Release);
        self.appended_bell.ring();
    }

    pub(crate) fn set_durable(&self, op_id: OpId) {
        debug_assert!(op_id <= self.appended() && op_id >= self.durable());
        self.cell(DURABLE).store(op_id.get(), Ordering::Release);
        self.cell(RELEASED).store(op_id.get(), Ordering::Release);
    }

    pub(crate) fn set_oldest(&self, op_id: OpId) {
        self.cell(OLDEST).store(op_id.get(), Ordering::Release);
    }

    /// Whether bells can be rung: the page is mapped for writing.
    pub(crate) fn is_writable(&self) -> bool {
        self.region.is_writable()
    }

    pub(crate) fn ring_all(&self) {
        self.appended_bell.ring();
        self.released_bell.ring();
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

/// The running kernel's boot id; zero where there is none to be had, which still tells copies by device and inode.
fn boot_id() -> [u8; 16] {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| uuid::Uuid::try_parse(text.trim()).ok())
        .map_or([0; 16], uuid::Uuid::into_bytes)
}
