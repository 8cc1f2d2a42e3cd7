//! How long the frames between two indexed entries of a sealed segment are, for who looks entries up often.
//!
//! Walking costs a cache line for each header on the way. Where many look-ups come to a segment, what the walks have found is
//! kept: eight bytes for eight entries, allocated at the 256th walk, if all segments that a view has mapped keep no more than it
//! has [room](StrideRoom) for. A few look-ups, as when a reader begins somewhere, leave nothing behind. Frames of a sealed segment never change, so what was true once is true for as long as it is mapped; it saves
//! the walk and nothing else: who goes to a frame checks that it is that of the entry.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::format::INDEX_STRIDE;
use crate::primitives::{AtomicU32, AtomicU64, AtomicUsize};

/// Lengths that are needed to get from an indexed entry to each of those behind it.
pub(super) const LENGTHS: usize = INDEX_STRIDE as usize - 1;
/// So many walks in a segment make it worth keeping what they find.
const WALKS_MIN: u32 = if cfg!(test) { 4 } else { 256 };
/// In the byte that no length needs: the other seven are known.
const KNOWN: u64 = 1 << 56;
/// In the same byte: a frame is so long that one has to walk.
const TOO_LONG: u64 = 2 << 56;

/// Bytes that the segments of one view keep together at the most: for four million entries. Whoever looks up in more of them walks.
const ROOM_BYTES: usize = if cfg!(test) { 64 } else { 4 << 20 };

/// How many bytes the segments of one view may keep yet.
#[derive(Debug)]
pub(crate) struct StrideRoom(AtomicUsize);

impl Default for StrideRoom {
    fn default() -> StrideRoom {
        StrideRoom(AtomicUsize::new(ROOM_BYTES))
    }
}

impl StrideRoom {
    // Relaxed, both: it counts, and orders nothing.

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Strides {
    room: Arc<StrideRoom>,
    walks: AtomicU32,
    /// For each indexed entry the lengths of its frame and of the next six, divided by eight, one byte each; 0 where nothing
    /// is known. Without any when there was no room.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl Drop for Strides {
    fn drop(&mut self) {
        self.room
            .give_back(self.words.get().map_or(0, |words| size_of_val(&**words)));
    }
}

impl Strides {
    /// Of a segment of the view that has that room.
    pub(super) fn within(room: &Arc<StrideRoom>) -> Strides {
        Strides {
            room: Arc::clone(room),
            walks: AtomicU32::new(0),
            words: OnceLock::new(),
        }
    }

    /// Bytes from the indexed entry of `slot` to the one `hops` behind it, fewer than eight; nothing when they are not known.
    #[inline]
    pub(super) fn distance(&self, slot: usize, hops: usize) -> Option<usize> {
        // Relaxed: each word stands for itself, and says what the frames say.
        let word = self.words.get()?.get(slot)?.load(Ordering::Relaxed);
        (word & KNOWN != 0).then(|| sum_of_bytes(word & ((1 << (8 * hops)) - 1)) * 8)
    }

    /// Counts a walk in a segment with so many indexed entries, and says whether to keep what it finds.
    #[inline]
    pub(super) fn are_worth_keeping(&self, slots: usize) -> bool {
        // Relaxed: a count that is a little off does no harm.
        if self.words.get().is_none() && self.walks.fetch_add(1, Ordering::Relaxed) < WALKS_MIN {
            return false;
        }
        let words = self.words.get_or_init(|| match self.room.take(8 * slots) {
            true => (0..slots).map(|_| AtomicU64::new(0)).collect(),
            false => Box::default(),
        });
        !words.is_empty()
    }

    /// Keeps the lengths of the frames from the indexed entry of `slot` on.
    pub(super) fn keep(&self, slot: usize, lengths: &[usize; LENGTHS]) {
        let Some(kept) = self.words.get().and_then(|words| words.get(slot)) else {
            return;
        };
        let mut word = KNOWN;
        for (i, &length) in lengths.iter().enumerate() {
            match u8::try_from(length / 8) {
                Ok(byte) => word |= u64::from(byte) << (8 * i),
                Err(_) => {
                    word = TOO_LONG;
                    break;
                }
            }
        }
        kept.store(word, Ordering::Relaxed);
    }

    /// Whether a walk over the frames behind the indexed entry of `slot` has nothing to find any more.
    pub(super) fn are_kept(&self, slot: usize) -> bool {
        let word = self.words.get().and_then(|words| words.get(slot));
        word.is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }
}

/// The sum of the eight bytes of a word.
#[inline]
fn sum_of_bytes(word: u64) -> usize {
    const EVERY_OTHER: u64 = 0x00ff_00ff_00ff_00ff;
    // Four sums of two bytes each, and their sum in the highest sixteen bits of the product: at most 8 × 255.
    let pairs = (word & EVERY_OTHER) + ((word >> 8) & EVERY_OTHER);
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lengths: &[usize; LENGTHS]) -> Strides {
        let strides = Strides::default();
        while !strides.are_worth_keeping(3) {}
        strides.keep(1, lengths);
        strides
    }

    #[test]
    fn distances_are_the_sums_of_the_lengths_before() {
        for lengths in [[40; 7], [2040; 7], [40, 48, 2040, 56, 1000, 296, 64]] {
            let strides = kept(&lengths);
            for hops in 0..=LENGTHS {
                assert_eq!(strides.distance(1, hops), Some(lengths[..hops].iter().sum()));
                assert_eq!(strides.distance(0, hops), None, "not kept");
                assert_eq!(strides.distance(3, hops), None, "beyond the last");
            }
        }
    }

    #[test]
    fn frames_that_do_not_fit_a_byte_are_walked_over_and_not_looked_at_again() {
        let strides = kept(&[40, 40, 40, 2048, 40, 40, 40]);
        assert_eq!(strides.distance(1, 1), None);
        assert!(strides.are_kept(1) && !strides.are_kept(0));
    }

    #[test]
    fn segments_of_one_view_keep_no_more_than_it_has_room_for() {
        let room = Arc::default();
        let looked_up = || {
            let strides = Strides::within(&room);
            let kept = (0..3 * WALKS_MIN).filter(|_| strides.are_worth_keeping(5)).count();
            (strides, kept > 0)
        };
        let (first, kept) = looked_up();
        assert!(kept);
        let (second, kept) = looked_up();
        assert!(!kept, "80 bytes of 64");
        second.keep(1, &[40; LENGTHS]);
        assert_eq!(second.distance(1, 1), None);
        drop((first, second));
        assert!(looked_up().1, "there is room again");
    }

    #[test]
    fn a_few_walks_leave_nothing_behind() {
        let strides = Strides::default();
        assert!((0..WALKS_MIN).all(|_| !strides.are_worth_keeping(3)));
        assert!(strides.words.get().is_none());
        assert!(strides.are_worth_keeping(3));
    }
}
