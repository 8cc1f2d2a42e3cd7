//! One segment: a mapped file with frames, what is known about its end, and where its entries stand.
//!
//! `segment/lookup.rs` finds an entry's frame, `segment/records.rs` reads and checks header and footer.
//!
//! A segment is *open* while it is the newest, *full* once it has a successor, and *sealed* once its footer says so on
//! disk. Readers hold it by `Arc`, so that a trim that unlinks the file takes nothing away from them.

#[path = "segment/index.rs"]
mod index;
#[path = "segment/lookup.rs"]
mod lookup;
#[path = "segment/records.rs"]
mod records;
#[path = "segment/strides.rs"]
mod strides;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, Durable, Medium};
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START, INDEX_STRIDE, RECORD_BYTES, SLOT_OFFSETS, Slot, TRAILER_BYTES, Trailer};
use crate::frame::{FrameHeader, HEADER_BYTES, check_frame, crc32};
use crate::ids::{LogId, OpId, Sequence};
use crate::primitives::{AtomicU64, AtomicUsize};
use crate::region::Region;

use index::OpenIndex;
pub(crate) use records::{header_copy, header_records, prepared_records, read_header};
use records::{read_footer, read_trailer};
pub(crate) use strides::StrideRoom;
use strides::Strides;

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
    /// Offsets of every eighth entry, as far as known; without room when the footer has them.
    index: OpenIndex,
    /// How long frames between indexed entries are, of those that were looked up.
    strides: Strides,
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
        // All that it takes from the file is read; the rest is in the map.
        medium.file.rest();
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
        let index = OpenIndex::new(slots);
        index.note(0, FRAMES_START);
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
            strides: Strides::default(),
            trusted_from: AtomicUsize::new(usize::MAX),
            verified: AtomicUsize::new(FRAMES_START),
        }
    }

    /// The segment, that it keeps what look-ups find within the `room` of a view.
    pub(crate) fn within(self, room: &Arc<StrideRoom>) -> Segment {
        Segment {
            strides: Strides::within(room),
            ..self
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

    /// The frame of entry `expected` at `offset`, its checksum verified unless this process has done so before.
    ///
    /// The caller knows from a watermark that the entry has been written.
    #[inline]
    pub(crate) fn frame(&self, offset: usize, expected: OpId) -> Result<FrameHeader, InvalidFrame> {
        let invalid = InvalidFrame { offset, expected };
        if offset < FRAMES_START {
            return Err(invalid);
        }
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

    /// The newest valid watermark slot.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.slots().max_by_key(|slot| slot.count)
    }

    /// The valid watermark slots, two at the most.
    fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let slots = SLOT_OFFSETS.iter().filter_map(|&offset| {
            let mut bytes = [0; RECORD_BYTES];
            self.region().load(offset, &mut bytes);
            format::decode_checked::<Slot>(&bytes, self.seed)
        });
        // What no writer can have written is no slot: it would prove that entries were durable that never existed.
        let entries = entries_max(FRAMES_START..self.frames_limit());
        slots.filter(move |slot| slot.durable < self.first.get().saturating_add(entries) && slot.count < u64::MAX)
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
        for slot in 0..count {
            index.extend_from_slice(&((self.index.get(slot) / 8) as u32).to_le_bytes());
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

    /// Fails when the disk cannot read what of `range` may hold anything but zeros. See [`Durable::probe`].
    ///
    /// It has the kernel map those pages, which brings them into memory and copies nothing, and looks for what is wrong in the
    /// file only when the kernel could not.
    pub(crate) fn probe(&self, range: Range<usize>) -> Result<()> {
        let mut at = range.start;
        while let Some(data) = self.file().data(at..range.end) {
            if !self.region().populate(&data) {
                let read = self.file().probe(data.clone());
                read.map_err(Error::io("read", &self.path))?;
            }
            at = data.end;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file().sync()
    }
}
