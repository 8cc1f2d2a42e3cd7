//! The log buffer: where frames lie between the append that wrote them and the segment.
//!
//! A store into a page of a segment faults after each sync, waits while the page is being written back, and would be a
//! SIGBUS where no space is left for it. So an append copies its frames into a small ring of memory that stays mapped, and
//! they are moved into the segment in order, many at a time, by `pwrite`. The ring is a file, `BUFFER`, never synced: like a
//! segment's pages it survives the death of the process in the page cache, and like the tail page it is recognised as stale
//! after a reboot or in a copy. What a killed writer left in it, the next one moves (`recovery.rs`).
//!
//! ```text
//!   append ──► ring ────────────── drain ─────────────► segment
//!              │ accepted: survives the process         │ appended: readers find it
//! ```
//!
//! Whoever needs entries in the segment drains: a sync before it syncs, a reader of this process that looks one up, an append
//! that finds somebody in another process waiting for it, or no room. A thread drains what nobody needs yet. A cursor of this
//! process that follows the log copies the newest entries out of the ring ([`Buffer::copy`], `fresh.rs`).
//!
//! Bytes in the ring stay what they are until *drained* moves past them, and only who holds the lock for writing moves it. So
//! who holds it for reading may read what lies between the two marks, beside others.
//!
//! Invariants: a frame for offset *o* of a segment stands at *o* mod capacity in the ring. *appended* moves only when
//! everything up to it is in its segment and published there.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use crate::boot::boot_id;
use crate::disk::{Disk, ZEROS_BYTES};
use crate::error::{Error, Result};
use crate::format::{self, BUFFER, BufferIdentity, FRAMES_START, RECORD_BYTES};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::ids::LogId;
use crate::primitives::{Mutex, RwLock, RwLockWriteGuard};
use crate::region::{Claim, Region, Ring, RingReader, RingWriter};
use crate::segment::Segment;
use crate::tail::Tail;

/// The ring's capacity is a quarter of a segment's length, within these bounds. At the upper one, half of it outlasts the
/// milliseconds for which the draining thread may be off its processor while an appender goes at full speed.
const CAPACITY_MIN: u64 = 8 << 10;
const CAPACITY_MAX: u64 = 16 << 20;
/// A file that says it is larger than this was not written by any release.
const CAPACITY_CREDIBLE: u64 = 1 << 30;
/// Moved at most at once, so that room comes back early.
const DRAIN_BYTES: u64 = 256 << 10;

/// Mapped at once by the draining thread, before there is something to drain.
const PREFAULT_BYTES: usize = 256 << 10;

fn capacity(segment_bytes: u64) -> usize {
    (segment_bytes / 4)
        .next_power_of_two()
        .clamp(CAPACITY_MIN, CAPACITY_MAX) as usize
}

/// A segment that frames in the ring belong to.
#[derive(Debug)]
struct Target {
    segment: Arc<Segment>,
    claim: Claim,
    /// Position, in the ring's count, of the segment's first byte.
    base: u64,
}

impl Target {
    fn new(segment: Arc<Segment>, claim: Claim, base: u64) -> Target {
        segment.set_base(base);
        Target { segment, claim, base }
    }
}

/// A segment that follows, and the position at which its predecessor ends.
#[derive(Debug)]
struct Next {
    after: u64,
    target: Target,
}

#[derive(Debug)]
struct Drain {
    reader: RingReader,
    target: Target,
}

/// The log buffer of a writer. See the module documentation.
#[derive(Debug)]
pub(crate) struct Buffer {
    ring: Arc<Ring>,
    drain: RwLock<Drain>,
    /// Segments that were begun since the one in `drain`, oldest first.
    following: Mutex<VecDeque<Next>>,
}

impl Buffer {
    /// Makes an empty buffer for a writer whose newest segment ends at `offset` and whose next ones will have
    /// `segment_bytes`. Returns the end at which frames go in.
    pub(crate) fn create(
        disk: &dyn Disk,
        log_id: LogId,
        segment: Arc<Segment>,
        claim: Claim,
        offset: usize,
        segment_bytes: u64,
    ) -> Result<(Buffer, RingWriter)> {
        let path = disk.path().join(BUFFER);
        let capacity = capacity(segment_bytes);
        let (medium, identity) = disk
            .open_shared(BUFFER, FRAMES_START + capacity, true)
            .map_err(Error::preparing(disk.path(), &path, (FRAMES_START + capacity) as u64))?;
        let boot_id = boot_id().ok();
        let expected = BufferIdentity {
            log_id: log_id.to_bytes(),
            boot_id: boot_id.unwrap_or_default(),
            device: identity.device,
            inode: identity.inode,
            capacity: capacity as u64,
        };
        // A buffer that this boot of the machine has left keeps its bytes: recovery has moved what was good for anything, and
        // to who looks at the rest after a later death it is what any round of the ring leaves behind it. In one from before,
        // frames may stand that power loss has taken from the segments.
        if boot_id.is_none() || read_identity(&medium.region) != Some(expected.clone()) {
            // The identity first: from here on until it is written anew nobody takes what is in the file for frames.
            let zeros = vec![0; ZEROS_BYTES];
            let pieces = (FRAMES_START..FRAMES_START + capacity).step_by(ZEROS_BYTES);
            medium
                .file
                .write_at(0, &zeros[..FRAMES_START])
                .and_then(|()| {
                    pieces.into_iter().try_for_each(|at| {
                        let piece = ZEROS_BYTES.min(FRAMES_START + capacity - at);
                        medium.file.write_at(at, &zeros[..piece])
                    })
                })
                .map_err(Error::io("write", &path))?;
        }
        medium.region.store(0, &format::encode_checked(&expected, 0));
        let (ring, writer, reader) = Ring::over(medium.region, offset as u64).ok_or(Error::Closed)?;
        let target = Target::new(segment, claim, 0);
        let buffer = Buffer {
            ring,
            drain: RwLock::new(Drain { reader, target }),
            following: Mutex::default(),
        };
        Ok((buffer, writer))
    }

    /// Maps the memory of the ring ahead of the appends, piece by piece until something is `waiting`. Not on the thread that opens
    /// the log: it takes milliseconds.
    pub(crate) fn prefault(&self, waiting: impl Fn() -> bool) {
        // The last quarter is touched by a writer that comes so far: one that is idle does without it.
        let end = (FRAMES_START + self.capacity() as usize) / 4 * 3;
        for start in (0..end).step_by(PREFAULT_BYTES) {
            if waiting() {
                return;
            }
            self.ring.prefault(start..(start + PREFAULT_BYTES).min(end));
        }
    }

    /// Bytes that can lie in the buffer.
    pub(crate) fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    /// Has the frames behind position `after` go into `segment`, and returns the position of the first of them, which is less
    /// than the capacity away. Called under the append lock, before that position is published.
    pub(crate) fn follow(&self, segment: Arc<Segment>, claim: Claim, after: u64) -> u64 {
        // A frame's place in the ring is its offset's.
        let capacity = self.ring.capacity();
        let gap = (FRAMES_START as u64 + capacity - after % capacity) % capacity;
        let base = after + gap - FRAMES_START as u64;
        let target = Target::new(segment, claim, base);
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        following.push_back(Next { after, target });
        after + gap
    }

    /// Whether so much waits that the draining thread is to be woken.
    #[inline]
    pub(crate) fn is_filling(&self) -> bool {
        // In this order: *drained* may pass what *head* was before.
        let drained = self.ring.drained();
        self.ring.head() - drained >= self.capacity() / 2
    }

    fn lock_drain(&self) -> RwLockWriteGuard<'_, Drain> {
        self.drain.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the frame at `position`, and what follows it up to `some` bytes, into `out`, which is left empty when the frame
    /// has been moved into its segment already. Something has been published at that position.
    pub(crate) fn copy(&self, position: u64, some: usize, out: &mut Vec<u8>) {
        out.clear();
        let drain = self.drain.read().unwrap_or_else(PoisonError::into_inner);
        let head = self.ring.head();
        if position < self.ring.drained() || position + HEADER_BYTES as u64 > head {
            return;
        }
        let mut copy = |from: u64, to: u64| {
            // In pieces it would take up to twice as much.
            out.reserve_exact((to - from) as usize);
            for piece in drain.reader.bytes(from..to) {
                out.extend_from_slice(piece);
            }
            out.first_chunk()
                .map_or(0, |header| FrameHeader::decode(header).frame_bytes())
        };
        let some = (some.max(HEADER_BYTES) as u64).min(head - position);
        let frame = copy(position, position + some) as u64;
        if frame > some && frame <= head - position {
            copy(position + some, position + frame);
        }
    }

    /// Moves everything that `tail` calls accepted into the segments, and says so there.
    pub(crate) fn drain(&self, tail: &Tail) -> io::Result<()> {
        let mut drain = self.lock_drain();
        // In this order: the writer moves *head* first.
        let accepted = tail.accepted();
        let head = self.ring.head();
        while self.ring.drained() < head {
            self.step(&mut drain, head)?;
        }
        // Not under the lock: a task that is woken may look at the log at once, in its waker.
        drop(drain);
        tail.set_appended(accepted);
        Ok(())
    }

    /// Makes room: moves a part of what is in the ring.
    pub(crate) fn make_room(&self) -> io::Result<()> {
        let mut drain = self.lock_drain();
        let head = self.ring.head();
        if self.ring.drained() < head {
            self.step(&mut drain, head)?;
        }
        Ok(())
    }

    /// Moves a piece of what lies before `head`.
    fn step(&self, drain: &mut Drain, head: u64) -> io::Result<()> {
        let after = self.turn(drain);
        let from = self.ring.drained();
        let to = head.min(after.unwrap_or(head)).min(from + DRAIN_BYTES);
        if from >= to {
            return Ok(());
        }
        let target = &mut drain.target;
        let mut offset = (from - target.base) as usize;
        for piece in drain.reader.bytes(from..to) {
            if !piece.is_empty() {
                target.segment.file().write_at(offset, piece)?;
                offset += piece.len();
            }
        }
        target.claim.publish(offset);
        drain.reader.release(to);
        Ok(())
    }

    /// Turns to the segment that follows, if everything for the current one has been moved. Returns where the current one
    /// ends, if that is known.
    fn turn(&self, drain: &mut Drain) -> Option<u64> {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(next) = following.front() {
            let start = next.target.base + FRAMES_START as u64;
            if next.after > self.ring.drained() || start > self.ring.head() {
                return Some(next.after);
            }
            if let Some(next) = following.pop_front() {
                drain.target = next.target;
                drain.reader.release(start);
            }
        }
        None
    }

    /// Writes frames into the newest segment past the ring, from position `start` to `end`, for a batch that does not fit;
    /// the ring goes on behind them. Called under the append lock.
    pub(crate) fn bypass(
        &self,
        writer: &mut RingWriter,
        start: u64,
        end: u64,
        frames: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let mut drain = self.lock_drain();
        while self.ring.drained() < start {
            self.step(&mut drain, start)?;
        }
        self.turn(&mut drain);
        let target = &mut drain.target;
        let mut offset = (start - target.base) as usize;
        for frame in frames {
            target.segment.file().write_at(offset, &frame)?;
            offset += frame.len();
        }
        target.claim.publish(offset);
        writer.skip_to(end);
        drain.reader.release(end);
        Ok(())
    }
}

fn read_identity(region: &Region) -> Option<BufferIdentity> {
    let mut record = [0; RECORD_BYTES];
    region.load(0, &mut record);
    format::decode_checked(&record, 0)
}

/// What a dead writer left in the buffer.
#[derive(Debug)]
pub(crate) struct LeftOver {
    region: Arc<Region>,
    capacity: usize,
}

impl LeftOver {
    /// Opens the buffer if it belongs to this log and this boot of the machine. One that cannot be opened may have what its
    /// writer had accepted, so that is an error.
    pub(crate) fn open(disk: &dyn Disk, log_id: LogId) -> Result<Option<LeftOver>> {
        let shared = |length| match disk.open_shared(BUFFER, length, false) {
            Ok(opened) => Ok(Some(opened)),
            // None that was ever used is shorter than it says.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(Error::io("open", disk.path().join(BUFFER))(error)),
        };
        let Some((head, identity)) = shared(FRAMES_START)? else {
            return Ok(None);
        };
        let live = |found: &BufferIdentity| {
            found.log_id == log_id.to_bytes()
                && boot_id().is_ok_and(|boot_id| boot_id == found.boot_id)
                && (found.device, found.inode) == (identity.device, identity.inode)
                && found.capacity.is_power_of_two()
                && found.capacity <= CAPACITY_CREDIBLE
        };
        let Some(found) = read_identity(&head.region).filter(live) else {
            return Ok(None);
        };
        let capacity = found.capacity as usize;
        let whole = shared(FRAMES_START + capacity)?;
        Ok(whole.map(|(whole, _)| LeftOver {
            region: whole.region,
            capacity,
        }))
    }

    /// Bytes of the ring.
    pub(crate) fn len(&self) -> usize {
        self.capacity
    }

    /// Puts the first `length` bytes of the ring into `out`, turned so that it begins with the byte for `offset` of a segment.
    pub(crate) fn read(&self, offset: usize, length: usize, out: &mut Vec<u8>) {
        out.resize(length, 0);
        let at = offset % self.capacity;
        let (front, back) = out.split_at_mut(length.min(self.capacity - at));
        self.region.load(FRAMES_START + at, front);
        self.region.load(FRAMES_START, back);
    }
}

/// Removes the buffer of a log that has been closed.
pub(crate) fn remove(disk: &dyn Disk) {
    // What is left is recognised as stale or drained, and made anew by the next writer.
    let _ = disk.remove(BUFFER);
}
