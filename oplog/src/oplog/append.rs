//! Appending: one lock, one copy into the log buffer, the checksum on the way, and the watermark that says it is there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};

use super::Core;
use crate::bell::Awaited;
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::frame::{FLAG_BATCH, FLAG_BATCH_END, FrameHeader, HEADER_BYTES, crc32, frame_bytes};
use crate::ids::{OpId, Term, Timestamp};
use crate::primitives::MutexGuard;
use crate::region::RingWriter;
use crate::segment::{Segment, frames_capacity};

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
pub(super) struct Appender {
    pub(super) segment: Arc<Segment>,
    pub(super) ring: RingWriter,
    /// Position, in the log buffer's count, of the segment's first byte.
    pub(super) base: u64,
    /// Invariant: the end of the segment's frames, where the next one goes.
    pub(super) offset: usize,
    /// Invariant: the OpID of the next entry; `next - segment.first` entries are in the segment.
    pub(super) next: OpId,
    pub(super) timestamp: Timestamp,
    /// At this offset it is time to see whether the log's threads have something to do.
    pub(super) look: usize,
    /// Invariant: a frame that ends here or before fits the segment and the room that the log buffer is known to have, and
    /// [`Appender::look`] does not lie before its end.
    pub(super) free_until: usize,
    /// Holds a frame that does not lie in one piece in the buffer.
    pub(super) scratch: Vec<u8>,
}

impl Appender {
    /// Sees how far single entries can be written without a look at anything.
    fn set_free(&mut self) {
        // The footer's index grows with the entries, of which no more than this fit in front of the next look.
        let entries = self.next.get() - self.segment.first.get() + (LOOK_BYTES / HEADER_BYTES) as u64 + 1;
        let capacity = frames_capacity(self.segment.length(), entries);
        let room = self.ring.room().saturating_sub(self.base);
        self.free_until = (FRAMES_START + capacity).min(self.look).min(room as usize);
    }
}

/// How often a thread looks for the append lock before it sleeps.
const LOOKS: u32 = 25;
/// Turns that it waits between two looks: some microseconds, in which whoever has the lock appends many entries. Each look
/// takes the lock's cache line away from it, and each change of hands all that the lock protects; two threads that took
/// turns entry by entry would be half as fast together as one alone.
const SPINS: u32 = 200;
/// Bytes between two looks at what the log's threads have to do.
const LOOK_BYTES: usize = if cfg!(test) { 2 << 10 } else { 64 << 10 };

impl Core {
    pub(super) fn lock_appender(&self) -> MutexGuard<'_, Appender> {
        // An append holds the lock for less time than it takes to fall asleep, and whoever sleeps makes each that unlocks call
        // the kernel. So look for a while first.
        match self.look_for_appender() {
            Some(appender) => appender,
            None => self.appender.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The append lock, unless somebody has it for longer than it takes to write an entry, as a roll may.
    #[inline]
    pub(super) fn look_for_appender(&self) -> Option<MutexGuard<'_, Appender>> {
        for _ in 0..LOOKS {
            match self.appender.try_lock() {
                Ok(appender) => return Some(appender),
                // A panic under the lock leaves bytes in the buffer that were not handed over, which the next append overwrites.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => (0..SPINS).for_each(|_| std::hint::spin_loop()),
            }
        }
        None
    }

    /// Appends one entry, where nothing is to be seen to but the entry; otherwise does nothing. It is what most appends are, and
    /// seeing that once for many of them saves a sixth of their time.
    #[inline]
    pub(super) fn append_one(&self, kind: u8, payload: &[u8]) -> Option<AppendOutcome> {
        let bytes = frame_bytes(payload.len());
        let mut guard = self.lock_appender();
        let appender = &mut *guard;
        let end = appender.offset + bytes;
        let tail = self.tail();
        if end > appender.free_until
            || self.is_closed()
            || self.following.load(Ordering::Relaxed)
            || self.syncer.check(self).is_err()
        {
            return None;
        }
        let record = Record {
            kind,
            payload: &[payload],
        };
        let outcome = self.write_one(appender, &record, bytes)?;
        self.meters.batch_entries.add_alone(1);
        self.meters.append_bytes.add_alone(bytes as u64);
        let awaited = tail.accept(outcome.last);
        drop(guard);
        self.wake(awaited);
        Some(outcome)
    }

    /// Wakes those who wait for the entry that has just been accepted.
    #[inline]
    fn wake(&self, awaited: Awaited) {
        if awaited.here {
            // They find it in the buffer.
            self.tail().appended_bell.wake_here();
        }
        if awaited.elsewhere {
            // They must find it in the segment. A failure is the next call's: this entry has been accepted.
            let _ = self.shared.drain();
        }
    }

    pub(super) fn append(&self, records: &[Record<'_>]) -> Result<AppendOutcome> {
        let bytes = self.check_batch(records)?;
        let mut appender = self.lock_appender();
        self.check_not_closed()?;
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
            let _span = tracing::debug_span!("roll", next = appender.next.get()).entered();
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
        appender.set_free();
        drop(appender);
        self.wake(awaited);
        Ok(outcome)
    }

    /// Sees whether the log's threads have something to do.
    #[cold]
    #[inline(never)]
    pub(super) fn look(&self, appender: &mut Appender) {
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
        if let [record] = records
            && let Some(outcome) = self.write_one(appender, record, bytes)
        {
            return Ok(outcome);
        }
        let stamp = self.stamp(appender.next, appender.timestamp, records.len());
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

    /// As [`Core::write`], for one entry whose frame lies in one piece in the buffer; otherwise does nothing.
    ///
    /// The payload goes in before the clock is read: in that time the processor gets the cache lines that the draining thread had.
    #[inline(always)]
    fn write_one(&self, appender: &mut Appender, record: &Record<'_>, bytes: usize) -> Option<AppendOutcome> {
        let position = appender.base + appender.offset as u64;
        let frame = appender.ring.slot(position, bytes)?;
        write_payload(&mut frame[HEADER_BYTES..], record);
        let stamp = self.stamp(appender.next, appender.timestamp, 1);
        let header = stamp.header(0, record);
        write_header(frame, appender.segment.seed, &header);
        appender.segment.note(header.op_id, appender.offset);
        appender.offset += bytes;
        appender.ring.publish(position + bytes as u64);
        Some(stamp.done(appender))
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
        let stamp = self.stamp(appender.next, appender.timestamp, records.len());
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

    /// What `count` entries from `first` on, which follow one of that time, have in common if they are written now.
    #[inline]
    fn stamp(&self, first: OpId, last: Timestamp, count: usize) -> Stamp {
        Stamp {
            first,
            count,
            // Relaxed: it changes under the append lock, which is held here.
            term: Term::new(self.term.load(Ordering::Relaxed)),
            timestamp: last.successor(Timestamp::now()),
            watermark: self.tail().durable(),
        }
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
    write_payload(&mut frame[HEADER_BYTES..], record);
    write_header(frame, seed, header);
}

/// Writes the payload and the padding of a frame into `rest`, which has their length.
#[inline]
fn write_payload(mut rest: &mut [u8], record: &Record<'_>) {
    for piece in record.payload {
        let (here, behind) = rest.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        rest = behind;
    }
    // At most seven bytes.
    for byte in rest {
        *byte = 0;
    }
}

/// Writes the header in front of the rest of a frame, and the checksum over both.
#[inline]
fn write_header(frame: &mut [u8], seed: u32, header: &FrameHeader) {
    header.encode(frame.first_chunk_mut().expect("as long as a frame"));
    let crc = crc32(seed, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
}
