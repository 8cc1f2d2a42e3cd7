//! Where the frames of an open segment stand: the offset of every eighth entry, in memory until the footer has it.
//!
//! A segment can hold far more entries than most do, so the index is made piece by piece, as entries are noted: an idle log, or
//! a reader that looks at a place or two, pays for the pieces it has come to. No lock is taken once a piece is there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries of the index in a piece: 8 KiB, for 16,384 entries of the log.
const PIECE: usize = 2048;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct OpenIndex {
    slots: usize,
    /// Offsets divided by eight, 0 where not known yet.
    pieces: Box<[OnceLock<Box<[AtomicU32]>>]>,
}

impl OpenIndex {
    /// For so many indexed entries at most.
    pub(super) fn new(slots: usize) -> OpenIndex {
        let pieces = slots.div_ceil(PIECE);
        OpenIndex {
            slots,
            pieces: std::iter::repeat_with(OnceLock::new).take(pieces).collect(),
        }
    }

    /// How many entries it has room for.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Offset of the indexed entry of `slot`, 0 when not known.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> usize {
        let piece = self.pieces.get(slot / PIECE).and_then(OnceLock::get);
        // Relaxed: readers reach the entry through a watermark or `published`, which order it.
        piece.map_or(0, |piece| piece[slot % PIECE].load(Ordering::Relaxed) as usize * 8)
    }

    /// Notes where the indexed entry of `slot` stands; beyond the room there is, nothing.
    #[inline]
    pub(super) fn note(&self, slot: usize, offset: usize) {
        if let Some(place) = self.pieces.get(slot / PIECE) {
            let piece = place.get_or_init(|| std::iter::repeat_with(AtomicU32::default).take(PIECE).collect());
            piece[slot % PIECE].store((offset / 8) as u32, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_and_only_pieces_that_were_come_to_are_made() {
        let index = OpenIndex::new(10 * PIECE + 1);
        assert_eq!((index.slots(), index.pieces.len()), (10 * PIECE + 1, 11));
        for (slot, offset) in [(0, 4096), (PIECE - 1, 8192), (10 * PIECE, (2 << 30) - 8)] {
            assert_eq!(index.get(slot), 0);
            index.note(slot, offset);
            assert_eq!(index.get(slot), offset);
        }
        assert_eq!(index.pieces.iter().filter(|piece| piece.get().is_some()).count(), 2);
        index.note(usize::MAX, 8);
        assert_eq!((index.get(1), index.get(usize::MAX)), (0, 0));
        let none = OpenIndex::new(0);
        none.note(0, 8);
        assert_eq!((none.get(0), none.slots()), (0, 0));
    }
}
