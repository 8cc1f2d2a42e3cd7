//! What every handle of one open log shares: segments, tail page, and in the writer's process the log buffer.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;

use super::ReadConcern;
use crate::buffer::Buffer;
use crate::chain::{Chain, Recent};
use crate::courier::Courier;
use crate::disk::Disk;
use crate::error::Result;
use crate::frame::FrameHeader;
use crate::fresh::Fresh;
use crate::ids::{LogId, OpId};
use crate::poison::Poison;
use crate::primitives::{AtomicBool, AtomicU8, AtomicU64};
use crate::region::RingWriter;
use crate::segment::Segment;
use crate::tail::{Tail, Watermarks};

/// What every handle of one open log shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) log_id: LogId,
    pub(crate) chain: ArcSwap<Chain>,
    pub(crate) recent: Recent,
    /// The tail page; absent while no writer has made one.
    pub(super) tail: OnceLock<Tail>,
    /// Whether this process is the writer.
    pub(crate) writer: bool,
    pub(crate) closed: AtomicBool,
    /// The log buffer, when this process is the writer.
    pub(super) buffer: Option<Buffer>,
    pub(crate) poison: Poison,
    /// `UNKNOWN`, `LIVE` or `FROZEN`.
    pub(super) state: AtomicU8,
    /// What there is to read while the tail page says nothing.
    pub(super) still: AtomicU64,
    /// Where another process writes: this one's tasks, by what they see.
    pub(super) couriers: [Courier; 3],
    /// Of that, what a majority of the members was known to hold.
    pub(super) still_majority: AtomicU64,
}

/// No writer has been seen since the machine started: `still` is all there is, and the tail page is looked at again.
pub(super) const UNKNOWN: u8 = 0;
/// The tail page says what there is.
pub(super) const LIVE: u8 = 1;
/// This process wrote the log and has closed it. The tail page may be another writer's by now: `still` is all there is.
pub(super) const FROZEN: u8 = 2;

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
            couriers: Default::default(),
            still_majority: AtomicU64::new(0),
        }
    }

    pub(crate) fn courier(&self, concern: ReadConcern) -> &Courier {
        match concern {
            ReadConcern::Local => &self.couriers[0],
            ReadConcern::Durable => &self.couriers[1],
            ReadConcern::Majority => &self.couriers[2],
        }
    }

    /// Wakes the tasks that no bell of this process wakes.
    pub(crate) fn wake_tasks(&self) {
        self.couriers.iter().for_each(Courier::wake);
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

    /// Keeps what there is to read as it is now, for those who still hold a log that was closed. For [`ReadConcern::Local`], too,
    /// that is what has been released: of a log that follows the rest may be cut off by whoever opens it next, and its bytes with
    /// it, of which this one's readers would not know. In any other log it is the same.
    pub(crate) fn freeze(&self) {
        if let Some(tail) = self.any_tail() {
            self.still.store(tail.released().get(), Ordering::Release);
            self.still_majority.store(tail.majority().get(), Ordering::Release);
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
            ReadConcern::Durable | ReadConcern::Majority => self.limit(concern),
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
            (Some(tail), ReadConcern::Majority) => tail.majority(),
            // What cannot be moved into a segment any more is not shown; the writer is told.
            (Some(tail), ReadConcern::Local) if self.writer && !self.poison.is_write_failed() => tail.accepted(),
            (Some(tail), ReadConcern::Local) => tail.appended(),
            (None, ReadConcern::Majority) => OpId::new(self.still_majority.load(Ordering::Acquire)),
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

    /// As [`Shared::watermarks`], for one who does not read what they cover: what is in the log buffer stays there.
    pub(crate) fn watermarks_unmoved(&self) -> Watermarks {
        match self.tail() {
            Some(tail) => {
                let marks = tail.watermarks();
                // Asked for last: it is not below the others.
                let appended = self.limit(ReadConcern::Local);
                Watermarks { appended, ..marks }
            }
            None => self.watermarks(),
        }
    }

    pub(crate) fn oldest(&self) -> OpId {
        match self.tail() {
            Some(tail) => tail.oldest(),
            None => self.chain.load().oldest().map_or(OpId::FIRST, |link| link.first),
        }
    }
}
