//! Where the frame of an entry stands: the index of every eighth entry, and the way from there.
//!
//! An open segment keeps its index in memory, a sealed one has it in its footer, in the map. Who has not written the segment makes
//! that index as he walks: from its beginning once, or from a watermark slot, where the tail is not far. In between one walks from
//! header to header, each of which is on a cache line of its own; a sealed segment that is looked up in often remembers the lengths of the
//! frames it has walked over (`strides.rs`), and then goes to the frame at once.

use super::strides::LENGTHS;
use super::{InvalidFrame, Segment};
use crate::format::{self, FRAMES_START, INDEX_STRIDE, Slot};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::ids::OpId;

/// From so many entries on, a walk first asks the watermark slots for a nearer beginning.
const FAR: u64 = 8 * INDEX_STRIDE;

impl Segment {
    /// Notes where an entry's frame stands, for lookups.
    #[inline]
    pub(crate) fn note(&self, op_id: OpId, offset: usize) {
        let number = op_id.get() - self.first.get();
        if number.is_multiple_of(INDEX_STRIDE) {
            self.index.note((number / INDEX_STRIDE) as usize, offset);
        }
    }

    /// Offset of the frame of entry `op_id`, which is in this segment and has been written; or where this segment's frames end,
    /// when `op_id` follows its last entry.
    pub(crate) fn locate(&self, op_id: OpId) -> Result<usize, InvalidFrame> {
        let number = op_id.get() - self.first.get();
        let known = match &self.sealed {
            None => self.index.slots(),
            Some(sealed) => sealed.trailer.index_len as usize,
        };
        let wanted = usize::try_from(number / INDEX_STRIDE).unwrap_or(usize::MAX);
        let hops = (number % INDEX_STRIDE) as usize;
        if let Some(distance) = self.strides.distance(wanted, hops) {
            let offset = self.indexed(wanted) + distance;
            // Its payload begins on the same line or on the next.
            self.region().prefetch(offset + HEADER_BYTES);
            return Ok(offset);
        }
        let mut slot = wanted.min(known.saturating_sub(1));
        let mut offset = self.indexed(slot);
        while offset == 0 && slot > 0 {
            slot -= 1;
            offset = self.indexed(slot);
        }
        let mut at = OpId::new(self.first.get() + slot as u64 * INDEX_STRIDE);
        if op_id.get() - at.get() > FAR
            && self.sealed.is_none()
            && let Some(nearer) = self.nearer(at, op_id)
        {
            (at, offset) = nearer;
        }
        self.prefetch_hops(offset, slot, op_id.get() - at.get());
        while at < op_id {
            let header = self.hop(offset, at)?;
            offset += header.frame_bytes();
            at = at.next();
            self.note(at, offset);
        }
        if self.sealed.is_some() && self.strides.are_worth_keeping(known) && !self.strides.are_kept(wanted) {
            self.keep_strides(wanted);
        }
        Ok(offset)
    }

    /// The last entry between the two that stands just behind a watermark slot, and where it begins.
    #[cold]
    fn nearer(&self, at: OpId, op_id: OpId) -> Option<(OpId, usize)> {
        let behind = |slot: Slot| Some((OpId::new(slot.durable).next(), usize::try_from(slot.end).ok()?));
        let between = |&(nearer, offset): &(OpId, usize)| {
            let fits = offset.is_multiple_of(8) && (FRAMES_START..=self.frames_limit()).contains(&offset);
            // There need be no frame yet where the last one ends.
            at < nearer && fits && (nearer == op_id || nearer < op_id && self.hop(offset, nearer).is_ok())
        };
        self.slots().filter_map(behind).filter(between).max()
    }

    /// Remembers how long the frames behind the indexed entry of `slot` are, if they all are there.
    fn keep_strides(&self, slot: usize) {
        let first = self.first.get() + slot as u64 * INDEX_STRIDE;
        let mut lengths = [0; LENGTHS];
        if self.last().is_none_or(|last| first + LENGTHS as u64 > last.get()) {
            return;
        }
        let mut offset = self.indexed(slot);
        for (op_id, length) in (first..).zip(&mut lengths) {
            let Ok(header) = self.hop(offset, OpId::new(op_id)) else {
                return;
            };
            *length = header.frame_bytes();
            offset += *length;
        }
        self.strides.keep(slot, &lengths);
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
        #[cfg(test)]
        HOPS.set(HOPS.get() + 1);
        let invalid = InvalidFrame { offset, expected };
        if offset < FRAMES_START {
            return Err(invalid);
        }
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
            None => self.index.get(slot),
            Some(sealed) if slot < sealed.trailer.index_len as usize => {
                let at = sealed.index_offset + 4 * slot;
                let mut word = [0; 8];
                self.region().load(at & !7, &mut word);
                format::read_u32(&word, at & 7).unwrap_or(0) as usize * 8
            }
            Some(_) => 0,
        }
    }

    /// As [`Segment::locate`], but walks from the last gap-free place on, so that every index slot below gets filled.
    pub(super) fn locate_indexing(&self, op_id: OpId) -> Result<usize, InvalidFrame> {
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
}

#[cfg(test)]
std::thread_local! {
    /// Headers that this thread has looked at.
    static HOPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::{Durability, Options};
    use crate::view::{OplogView, ReadConcern};

    /// The newest segment, read by another process: its view finds an entry at the tail without walking there from the segment's
    /// beginning, walks once for one in the middle, and not again for those around it.
    #[test]
    fn the_open_segment_is_walked_from_its_slot_and_no_part_of_it_twice() {
        const ENTRIES: u64 = 20_000;
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 4 << 20,
            sync_interval: Duration::from_secs(3600),
            ..Options::default()
        };
        let log = options.open(dir.path()).unwrap();
        for n in 0..ENTRIES {
            let durability = match n % 1_000 {
                0 => Durability::Disk,
                _ => Durability::Memory,
            };
            log.append(200, &n.to_le_bytes(), durability).unwrap();
        }
        let last = log.append(200, b"last", Durability::Disk).unwrap().last;
        let view = OplogView::open(dir.path()).unwrap();
        let hops_to = |op_id: u64| {
            HOPS.set(0);
            let entry = view.get(OpId::new(op_id), ReadConcern::Durable).unwrap();
            assert_eq!(entry.op_id().get(), op_id);
            HOPS.get()
        };
        let at_the_tail = hops_to(last.get());
        assert!(at_the_tail < ENTRIES / 10, "{at_the_tail}");
        let mut cursor = view.cursor_from_now(ReadConcern::Durable);
        HOPS.set(0);
        assert!(cursor.try_next().unwrap().is_none());
        let next = log.append(200, b"next", Durability::Disk).unwrap().last;
        assert_eq!(cursor.try_next().unwrap().unwrap().op_id(), next);
        assert!(HOPS.get() < ENTRIES / 10, "{}", HOPS.get());
        let middle = hops_to(ENTRIES / 2);
        assert!((ENTRIES / 4..ENTRIES).contains(&middle), "{middle}");
        for n in [ENTRIES / 2 + 1, ENTRIES / 2, ENTRIES / 3, 9, 1] {
            let hops = hops_to(n);
            assert!(hops <= 2 * INDEX_STRIDE, "{hops} to {n}");
        }
    }
}
