//! One segment: a mapped file with frames, what is known about its end, and where its entries stand.
//!
//! A segment is *open* while it is the newest, *full* once it has a successor, and *sealed* once its footer says so on
//! disk. Readers hold it by `Arc`, so that a trim that unlinks the file takes nothing away from them.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::disk::{Disk, Durable, Medium};
use crate::error::{Error, Result};
use crate::format::{
    self, FRAMES_START, HEADER_OFFSETS, INDEX_STRIDE, NewerVersion, RECORD_BYTES, SLOT_OFFSETS, SegmentHeader, Slot,
    TRAILER_BYTES, Trailer, VERSION,
};
use crate::frame::{FrameHeader, HEADER_BYTES, check_frame, crc32};
use crate::ids::{LogId, OpId, Sequence, Timestamp};
use crate::options::SEGMENT_BYTES_MAX;
use crate::primitives::{AtomicU64, AtomicUsize};
use crate::region::{Region, zeroed_atomics};

/// Smallest frame, and so the most entries a segment can hold.
const FRAME_BYTES_MIN: usize = HEADER_BYTES;

/// No position: a log does not get so long.
const NOT_BUFFERED: u64 = u64::MAX;

/// The frame at this offset is not the valid frame of that entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InvalidFrame {
    pub(crate) offset: usize,
    pub(crate) expected: OpId,
}

/// A segment whose footer has been read.
#[derive(Debug)]
struct Sealed {
    trailer: Trailer,
    index_offset: usize,
}

/// A mapped segment. See the module documentation.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: Sequence,
    pub(crate) first: OpId,
    pub(crate) seed: u32,
    pub(crate) path: PathBuf,
    length: usize,
    medium: Medium,
    sealed: Option<Sealed>,
    /// Last OpID, or 0 while the segment has no successor.
    last: AtomicU64,
    /// Position of its first byte in the log buffer's count; `NOT_BUFFERED` when its frames do not come from there.
    base: AtomicU64,
    /// Offsets of every eighth entry divided by eight, 0 where not known yet; empty when the footer has them.
    index: Box<[AtomicU32]>,
    /// Frames from here on were checked or written by this process.
    trusted_from: AtomicUsize,
    /// Frames below this offset have been checked by this process.
    verified: AtomicUsize,
}

/// Entries that fit into frames of so many bytes, at the most.
fn entries_max(frames: Range<usize>) -> u64 {
    (frames.len() / FRAME_BYTES_MIN) as u64
}

/// Bytes of an index for so many entries.
pub(crate) fn index_bytes(entries: u64) -> usize {
    4 * usize::try_from(entries.div_ceil(INDEX_STRIDE)).unwrap_or(usize::MAX / 4)
}

/// Bytes that frames can take in a segment of that length, when it holds so many entries.
pub(crate) fn frames_capacity(length: usize, entries: u64) -> usize {
    // The index is padded to eight bytes in front of the trailer.
    length.saturating_sub(TRAILER_BYTES + FRAMES_START + index_bytes(entries).next_multiple_of(8))
}

/// The records of a segment file that is being prepared.
pub(crate) fn prepared_records(
    log_id: LogId,
    sequence: Sequence,
    seed: u32,
    length: u64,
    now: Timestamp,
) -> Vec<(usize, Vec<u8>)> {
    let header = SegmentHeader {
        version: VERSION,
        log_id: log_id.to_bytes(),
        sequence: sequence.0,
        seed,
        length,
        created: now.as_nanos(),
    };
    header_records(&header)
}

/// Both copies of a header.
pub(crate) fn header_records(header: &SegmentHeader) -> Vec<(usize, Vec<u8>)> {
    let copies = HEADER_OFFSETS.iter();
    copies
        .map(|&offset| (offset, format::encode_checked(header, 0)))
        .collect()
}

impl Segment {
    /// Opens the segment file with that name, checks that it is what the name says, and reads its footer if it has one.
    pub(crate) fn open(
        disk: &dyn Disk,
        log_id: LogId,
        sequence: Sequence,
        first: OpId,
        writable: bool,
    ) -> Result<Segment> {
        let name = format::segment_name(sequence, first);
        let path = disk.path().join(&name);
        let on_disk = disk.length(&name).map_err(Error::io("look at", &path))?;
        let on_disk = usize::try_from(on_disk).unwrap_or(usize::MAX);
        if on_disk < FRAMES_START {
            return Err(Error::DamagedMetadata {
                path,
                what: "shorter than a segment header",
            });
        }
        let medium = disk.open(&name, on_disk, writable).map_err(Error::io("map", &path))?;
        Segment::on(medium, log_id, sequence, first, path, on_disk)
    }

    /// As [`Segment::open`], on a file of `on_disk` bytes that has been mapped already.
    pub(crate) fn on(
        medium: Medium,
        log_id: LogId,
        sequence: Sequence,
        first: OpId,
        path: PathBuf,
        on_disk: usize,
    ) -> Result<Segment> {
        let probe = |range| medium.file.probe(range).map_err(Error::io("read", &path));
        probe(0..FRAMES_START.min(on_disk))?;
        let header = read_header(&medium.region, log_id, sequence, &path)?;
        let length = header.length as usize;
        if length > on_disk {
            return Err(Error::DamagedMetadata {
                path,
                what: "shorter than its header says",
            });
        }
        probe(length - TRAILER_BYTES..length)?;
        if let Some((_, index)) = read_trailer(&medium.region, header.seed, length) {
            probe(index)?;
        }
        let sealed = read_footer(&medium.region, header.seed, length);
        if sealed.as_ref().is_some_and(|s| s.trailer.first != first.get()) {
            return Err(Error::ForeignSegment {
                path,
                what: "its first OpID is not the one in its name",
            });
        }
        let segment = Segment::new(sequence, first, header.seed, path, length, medium, sealed);
        Ok(segment)
    }

    fn new(
        sequence: Sequence,
        first: OpId,
        seed: u32,
        path: PathBuf,
        length: usize,
        medium: Medium,
        sealed: Option<Sealed>,
    ) -> Segment {
        let (last, slots) = match &sealed {
            Some(sealed) => {
                medium.region.publish_foreign(sealed.trailer.end as usize);
                (sealed.trailer.last, 0)
            }
            None => (0, length / FRAME_BYTES_MIN / INDEX_STRIDE as usize + 1),
        };
        let index = zeroed_atomics(slots);
        if let Some(start) = index.first() {
            start.store((FRAMES_START / 8) as u32, Ordering::Relaxed);
        }
        Segment {
            sequence,
            first,
            seed,
            path,
            length,
            medium,
            sealed,
            last: AtomicU64::new(last),
            base: AtomicU64::new(NOT_BUFFERED),
            index,
            trusted_from: AtomicUsize::new(usize::MAX),
            verified: AtomicUsize::new(FRAMES_START),
        }
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.medium.region
    }

    pub(crate) fn file(&self) -> &dyn Durable {
        &*self.medium.file
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Where frames must end at the latest, whatever the index needs.
    pub(crate) fn frames_limit(&self) -> usize {
        self.length - TRAILER_BYTES
    }

    /// End of the frames, first and last timestamp, when the segment is sealed.
    pub(crate) fn sealed(&self) -> Option<&Trailer> {
        self.sealed.as_ref().map(|s| &s.trailer)
    }

    /// Last OpID, once the segment has a successor.
    #[inline]
    pub(crate) fn last(&self) -> Option<OpId> {
        // Acquire pairs with the Release in `set_last`: the segment's frames are all there.
        let last = self.last.load(Ordering::Acquire);
        (last != 0).then_some(OpId::new(last))
    }

    pub(crate) fn set_last(&self, last: OpId) {
        self.last.store(last.get(), Ordering::Release);
    }

    /// Position of the segment's first byte in the log buffer's count, when this process writes it.
    pub(crate) fn base(&self) -> Option<u64> {
        // Relaxed: set before any entry of the segment is accepted, and watermarks order what follows.
        Some(self.base.load(Ordering::Relaxed)).filter(|&base| base != NOT_BUFFERED)
    }

    pub(crate) fn set_base(&self, base: u64) {
        self.base.store(base, Ordering::Relaxed);
    }

    /// Says that this process has checked, or will write, every frame from `offset` on.
    pub(crate) fn trust_from(&self, offset: usize) {
        self.trusted_from.store(offset, Ordering::Relaxed);
    }

    /// Notes where an entry's frame stands, for lookups.
    #[inline]
    pub(crate) fn note(&self, op_id: OpId, offset: usize) {
        let number = op_id.get() - self.first.get();
        if number.is_multiple_of(INDEX_STRIDE) {
            // Relaxed: readers reach the entry through a watermark or `published`, which order it.
            if let Some(slot) = self.index.get((number / INDEX_STRIDE) as usize) {
                slot.store((offset / 8) as u32, Ordering::Relaxed);
            }
        }
    }

    /// The frame of entry `expected` at `offset`, its checksum verified unless this process has done so before.
    ///
    /// The caller knows from a watermark that the entry has been written.
    #[inline]
    pub(crate) fn frame(&self, offset: usize, expected: OpId) -> Result<FrameHeader, InvalidFrame> {
        let invalid = InvalidFrame { offset, expected };
        if offset + HEADER_BYTES > self.region().published() {
            self.publish_next(offset, expected).ok_or(invalid)?;
        }
        let bytes = self.region().bytes(offset..offset + HEADER_BYTES);
        let header = FrameHeader::decode(bytes.first_chunk().ok_or(invalid)?);
        if header.op_id != expected {
            return Err(invalid);
        }
        let end = offset + header.frame_bytes();
        if end > self.region().published() {
            return Err(invalid);
        }
        // Relaxed: both only ever save work; a stale value costs one more checksum.
        let verified = self.verified.load(Ordering::Relaxed);
        if offset >= verified && offset < self.trusted_from.load(Ordering::Relaxed) {
            let checked = check_frame(self.region().bytes(offset..end), self.seed).ok_or(invalid)?;
            // As in recovery, which finds no valid frame here either.
            if checked.watermark >= expected {
                return Err(invalid);
            }
            if offset == verified {
                let _ = self
                    .verified
                    .compare_exchange(offset, end, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        Ok(header)
    }

    /// Publishes the frame of entry `expected` at `offset`, which another process has written.
    #[cold]
    fn publish_next(&self, offset: usize, expected: OpId) -> Option<()> {
        if offset + HEADER_BYTES > self.frames_limit() || self.region().is_claimed() {
            return None;
        }
        let mut bytes = [0; HEADER_BYTES];
        self.region().load(offset, &mut bytes);
        let header = FrameHeader::decode(&bytes);
        let end = offset.checked_add(header.frame_bytes())?;
        if header.op_id != expected || end > self.frames_limit() {
            return None;
        }
        self.region().publish_foreign(end);
        Some(())
    }

    /// Payload of the frame at `offset`.
    #[inline]
    pub(crate) fn payload(&self, offset: usize, header: &FrameHeader) -> &[u8] {
        let start = offset + HEADER_BYTES;
        self.region().bytes(start..start + header.length as usize)
    }

    /// Offset of the frame of entry `op_id`, which is in this segment and has been written; or where this segment's frames end,
    /// when `op_id` follows its last entry.
    pub(crate) fn locate(&self, op_id: OpId) -> Result<usize, InvalidFrame> {
        let number = op_id.get() - self.first.get();
        let known = match &self.sealed {
            None => self.index.len(),
            Some(sealed) => sealed.trailer.index_len as usize,
        };
        let wanted = usize::try_from(number / INDEX_STRIDE).unwrap_or(usize::MAX);
        let mut slot = wanted.min(known.saturating_sub(1));
        let mut offset = self.indexed(slot);
        while offset == 0 && slot > 0 {
            slot -= 1;
            offset = self.indexed(slot);
        }
        let mut at = OpId::new(self.first.get() + slot as u64 * INDEX_STRIDE);
        self.prefetch_hops(offset, slot, op_id.get() - at.get());
        while at < op_id {
            let header = self.hop(offset, at)?;
            offset += header.frame_bytes();
            at = at.next();
            self.note(at, offset);
        }
        Ok(offset)
    }

    /// Asks the processor for the headers on the way from the entry of `slot`, at `offset`, to the one so many `hops` behind
    /// it, as if all in between were equally long. Otherwise each is waited for in turn.
    #[inline]
    fn prefetch_hops(&self, offset: usize, slot: usize, hops: u64) {
        let span = self.indexed(slot + 1).saturating_sub(offset);
        let hops = hops.min(INDEX_STRIDE) as usize;
        for hop in 0..=hops {
            self.region().prefetch(offset + span * hop / INDEX_STRIDE as usize);
        }
        // The last one's payload begins on the same line or on the next.
        self.region()
            .prefetch(offset + span * hops / INDEX_STRIDE as usize + HEADER_BYTES);
    }

    /// The header at `offset`, bounds checked but without its checksum: enough to step over it.
    pub(crate) fn hop(&self, offset: usize, expected: OpId) -> Result<FrameHeader, InvalidFrame> {
        let invalid = InvalidFrame { offset, expected };
        if offset + HEADER_BYTES > self.region().published() {
            self.publish_next(offset, expected).ok_or(invalid)?;
        }
        let header = FrameHeader::decode(
            self.region()
                .bytes(offset..offset + HEADER_BYTES)
                .first_chunk()
                .ok_or(invalid)?,
        );
        let whole = offset + header.frame_bytes() <= self.region().published();
        (whole && header.op_id == expected).then_some(header).ok_or(invalid)
    }

    /// Indexed offset of entry `slot * 8` of this segment, 0 when not known.
    fn indexed(&self, slot: usize) -> usize {
        match &self.sealed {
            None => self
                .index
                .get(slot)
                .map_or(0, |s| s.load(Ordering::Relaxed) as usize * 8),
            Some(sealed) if slot < sealed.trailer.index_len as usize => {
                let at = sealed.index_offset + 4 * slot;
                let mut word = [0; 8];
                self.region().load(at & !7, &mut word);
                format::read_u32(&word, at & 7).unwrap_or(0) as usize * 8
            }
            Some(_) => 0,
        }
    }

    /// The newest valid watermark slot.
    pub(crate) fn slot(&self) -> Option<Slot> {
        let slots = SLOT_OFFSETS.iter().filter_map(|&offset| {
            let mut bytes = [0; RECORD_BYTES];
            self.region().load(offset, &mut bytes);
            format::decode_checked::<Slot>(&bytes, self.seed)
        });
        // What no writer can have written is no slot: it would prove that entries were durable that never existed.
        let entries = entries_max(FRAMES_START..self.frames_limit());
        slots
            .filter(|slot| slot.durable < self.first.get().saturating_add(entries) && slot.count < u64::MAX)
            .max_by_key(|slot| slot.count)
    }

    /// Writes a watermark slot, over the older of the two. It becomes durable with the next sync.
    pub(crate) fn write_slot(&self, durable: OpId, end: usize) -> io::Result<()> {
        let count = self.slot().map_or(0, |s| s.count) + 1;
        let slot = Slot {
            count,
            durable: durable.get(),
            end: end as u64,
        };
        let offset = SLOT_OFFSETS[(count % 2) as usize];
        self.file().write_at(offset, &format::encode_checked(&slot, self.seed))
    }

    /// Index and trailer, and the offset where they belong. Before they are written, frames and the successor's name must be
    /// durable.
    pub(crate) fn footer(&self) -> Result<(usize, Vec<u8>), InvalidFrame> {
        let last = self.last().unwrap_or(self.first);
        let entries = last.get() - self.first.get() + 1;
        // Fills the gaps that recovery left in the index.
        let last_offset = self.locate_indexing(last)?;
        let last_header = self.hop(last_offset, last)?;
        let first_header = self.hop(FRAMES_START, self.first)?;
        let count = entries.div_ceil(INDEX_STRIDE) as usize;
        let mut index: Vec<u8> = Vec::with_capacity(index_bytes(entries).next_multiple_of(8));
        // An odd index is padded in front, so that it ends where the trailer begins.
        if !count.is_multiple_of(2) {
            index.extend_from_slice(&[0; 4]);
        }
        for slot in &self.index[..count] {
            index.extend_from_slice(&slot.load(Ordering::Relaxed).to_le_bytes());
        }
        let padded = index.len();
        let padding = padded - 4 * count;
        let trailer = Trailer {
            first: self.first.get(),
            last: last.get(),
            end: (last_offset + last_header.frame_bytes()) as u64,
            first_timestamp: first_header.timestamp.as_nanos(),
            last_timestamp: last_header.timestamp.as_nanos(),
            index_len: count as u32,
            index_crc: crc32(self.seed, &index[padding..]),
        };
        index.extend_from_slice(&format::encode_checked(&trailer, self.seed));
        Ok((self.frames_limit() - padded, index))
    }

    /// Index and trailer as they stand in the file, and the offset where; nothing when the segment is not sealed.
    pub(crate) fn sealed_footer(&self) -> Option<(usize, Vec<u8>)> {
        let start = self.sealed.as_ref()?.index_offset & !7;
        let mut bytes = vec![0; self.length - start];
        self.region().load(start, &mut bytes);
        Some((start, bytes))
    }

    /// As [`Segment::locate`], but walks from the last gap-free place on, so that every index slot below gets filled.
    fn locate_indexing(&self, op_id: OpId) -> Result<usize, InvalidFrame> {
        let slots = ((op_id.get() - self.first.get()) / INDEX_STRIDE) as usize;
        let gap = (0..=slots).find(|&slot| self.indexed(slot) == 0);
        if let Some(gap) = gap {
            let mut slot = gap - 1;
            while slot < slots {
                slot += 1;
                self.locate(OpId::new(self.first.get() + slot as u64 * INDEX_STRIDE))?;
            }
        }
        self.locate(op_id)
    }

    /// Fails when the disk cannot read what of `range` may hold anything but zeros. See [`Durable::probe`].
    pub(crate) fn probe(&self, range: Range<usize>) -> Result<()> {
        let mut at = range.start;
        while let Some(data) = self.file().data(at..range.end) {
            let read = self.file().probe(data.clone());
            read.map_err(Error::io("read", &self.path))?;
            at = data.end;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file().sync()
    }
}

/// The header, from either copy, whatever it says; or the newer version that wrote it.
pub(crate) fn header_copy(region: &Region) -> Option<Result<SegmentHeader, NewerVersion>> {
    HEADER_OFFSETS.iter().find_map(|&offset| {
        let mut bytes = [0; RECORD_BYTES];
        region.load(offset, &mut bytes);
        format::decode_versioned(&bytes)
    })
}

/// The header, from either copy, when it is that of segment `sequence` of this log and claims a length that segments have.
pub(crate) fn read_header(region: &Region, log_id: LogId, sequence: Sequence, path: &Path) -> Result<SegmentHeader> {
    let path = || path.to_path_buf();
    let damaged = |what| Error::DamagedMetadata { path: path(), what };
    let foreign = |what| Error::ForeignSegment { path: path(), what };
    let header = header_copy(region).ok_or_else(|| damaged("both copies of its header are bad"))?;
    let header = header.map_err(|NewerVersion(found)| Error::NewerFormat {
        path: path(),
        found,
        known: VERSION,
    })?;
    if header.log_id != log_id.to_bytes() {
        return Err(foreign("it was written by another log"));
    }
    if header.sequence != sequence.0 {
        return Err(foreign("its sequence number is not the one in its name"));
    }
    const SHORTEST: u64 = (FRAMES_START + TRAILER_BYTES) as u64;
    const LONGEST: u64 = SEGMENT_BYTES_MAX.next_multiple_of(4096);
    if !(SHORTEST..=LONGEST).contains(&header.length) || !header.length.is_multiple_of(8) {
        return Err(damaged("its header claims a length that no segment has"));
    }
    Ok(header)
}

fn read_trailer(region: &Region, seed: u32, length: usize) -> Option<(Trailer, Range<usize>)> {
    let limit = length.checked_sub(TRAILER_BYTES)?;
    let mut bytes = [0; TRAILER_BYTES];
    region.load(limit, &mut bytes);
    let trailer: Trailer = format::decode_checked(&bytes, seed)?;
    let index_offset = limit.checked_sub(4 * trailer.index_len as usize)?;
    Some((trailer, index_offset..limit))
}

fn read_footer(region: &Region, seed: u32, length: usize) -> Option<Sealed> {
    let (trailer, index) = read_trailer(region, seed, length)?;
    let (index_offset, limit) = (index.start, index.end);
    let end = usize::try_from(trailer.end).ok()?;
    if !(FRAMES_START..=index_offset).contains(&end)
        || trailer.first > trailer.last
        || trailer.last - trailer.first >= entries_max(FRAMES_START..end)
    {
        return None;
    }
    let start = index_offset & !7;
    let mut index = vec![0; limit - start];
    region.load(start, &mut index);
    (crc32(seed, &index[index_offset - start..]) == trailer.index_crc).then_some(Sealed { trailer, index_offset })
}
