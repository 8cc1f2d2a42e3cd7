//! The bytes of one file as memory: the only file in Tailwater with `unsafe` code.
//!
//! A [`Region`] is a mapped file, or heap memory with the same face: for what one process has to itself, for tests and Miri. Soundness rests on one rule:
//! **bytes below the published position are never written again.**
//!
//! * Shared slices ([`Region::bytes`]) end at or below *published*.
//! * Segments are mapped for reading only. Their frames are written through the file, in order, and published
//!   afterwards, by whoever holds the one [`Claim`].
//! * Everything that changes in place (slots, watermarks, bells) is read and written as atomic words and never lent out as
//!   a slice.
//!
//! Another process may map the same file. It follows the same rule: it publishes in its own region only what the writer's
//! watermark says is written for good ([`Region::publish_foreign`]). What no rule can prevent is a stranger who writes
//! into the file or truncates it while it is mapped; the crate documentation says so where a log is opened.
//!
//! `region/ring.rs` lays the log buffer over a region, with a rule of its own; where the memory is touched for it, that is here.
#![allow(unsafe_code, reason = "this file is the workspace's one exception: it maps memory")]

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as RawU32, AtomicU64 as RawU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::disk::before_frame;
use crate::format::FRAMES_START;
use crate::primitives::{AtomicBool, AtomicUsize, SharedU32, SharedU64, note_read, note_write, shared_u32, shared_u64};

#[path = "region/ring.rs"]
mod ring;

pub(crate) use ring::{Ring, RingReader, RingWriter};

/// What keeps the memory alive.
enum Memory {
    Map(MmapRaw),
    /// Owned: what `Box::into_raw` gave, because a box that is moved forbids every pointer made from it before.
    Heap(NonNull<[UnsafeCell<u64>]>),
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Memory::Heap(words) = self {
            // SAFETY: it came from `Box::into_raw` and is given back once, here.
            drop(unsafe { Box::from_raw(words.as_ptr()) });
        }
    }
}

/// A fixed-length piece of memory behind a file. See the module documentation.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Invariant: bytes in `FRAMES_START..published` are never written again. Grows only.
    published: AtomicUsize,
    /// Whether the one claim has been handed out.
    claimed: AtomicBool,
    writable: bool,
    memory: Memory,
}

// SAFETY: `base` points to memory that `memory` owns for as long as the region lives. Every shared access is either to
// bytes that are never written again, or atomic; plain writes need the unique `RingWriter`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes of `file`, shared. The caller has checked that the file is at least that long.
    pub(crate) fn map(file: &File, len: usize, writable: bool) -> io::Result<Region> {
        let mut options = MmapOptions::new();
        options.len(len);
        let map = if writable {
            options.map_raw(file)?
        } else {
            options.map_raw_read_only(file)?
        };
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Region::new(base, len, writable, Memory::Map(map)))
    }

    /// Zeroed heap memory with the same face.
    pub(crate) fn heap(len: usize) -> Region {
        let words: Box<[UnsafeCell<u64>]> = (0..len.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect();
        let words = NonNull::from(Box::leak(words));
        let base = words.cast();
        Region::new(base, len, true, Memory::Heap(words))
    }

    /// As a file that was opened for reading is mapped.
    #[cfg(test)]
    pub(crate) fn read_only(self) -> Region {
        Region {
            writable: false,
            ..self
        }
    }

    fn new(base: NonNull<u8>, len: usize, writable: bool, memory: Memory) -> Region {
        let published = AtomicUsize::new(FRAMES_START);
        Region {
            base,
            len,
            published,
            claimed: AtomicBool::new(false),
            writable,
            memory,
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether this process decides what is published.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Relaxed)
    }

    /// End of the bytes that can be lent out.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        // Acquire pairs with the Release in `Claim::publish` and `publish_foreign`: the bytes are there.
        self.published.load(Ordering::Acquire)
    }

    /// The bytes in `range`.
    ///
    /// # Panics
    ///
    /// When the range does not lie between `FRAMES_START` and *published*.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(FRAMES_START <= range.start && range.start <= range.end && range.end <= self.published());
        note_read(self.addresses(&range));
        // SAFETY: the range lies in the region (published ≤ len), and below *published*, where nothing writes any more.
        unsafe { std::slice::from_raw_parts(self.base.add(range.start).as_ptr(), range.end - range.start) }
    }

    /// Where the bytes at these offsets lie, for who notes accesses.
    fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        let base = self.base.addr().get();
        base + range.start..base + range.end
    }

    /// Says that another process's writer has written everything below `end` for good, by the evidence of its watermark.
    pub(crate) fn publish_foreign(&self, end: usize) {
        assert!(end <= self.len && !self.claimed.load(Ordering::Relaxed));
        // Release pairs with the Acquire in `published`.
        self.published.fetch_max(end, Ordering::Release);
    }

    /// Copies out `out.len()` bytes from `offset`, word by word. Both are multiples of eight.
    pub(crate) fn load(&self, offset: usize, out: &mut [u8]) {
        assert!(out.len().is_multiple_of(8));
        for (i, chunk) in out.chunks_exact_mut(8).enumerate() {
            let word = self.word(offset + 8 * i).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Overwrites bytes outside the frames in place, word by word. Offset and length are multiples of eight.
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        assert!(self.writable && bytes.len().is_multiple_of(8));
        assert!(offset + bytes.len() <= FRAMES_START || offset >= self.published());
        for (i, chunk) in bytes.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(offset + 8 * i)
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// A word that changes in place, in the area before the frames.
    pub(crate) fn cell_u64(&self, offset: usize) -> SharedU64<'_> {
        assert!(offset + 8 <= FRAMES_START);
        self.word(offset)
    }

    /// Half a word that changes in place, in the area before the frames.
    pub(crate) fn cell_u32(&self, offset: usize) -> SharedU32<'_> {
        assert!(offset.is_multiple_of(4) && offset + 4 <= FRAMES_START.min(self.len));
        // SAFETY: in bounds and aligned (`base` is 8-aligned); this area is only ever accessed atomically.
        shared_u32(unsafe { RawU32::from_ptr(self.base.add(offset).cast().as_ptr()) })
    }

    fn word(&self, offset: usize) -> SharedU64<'_> {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: in bounds and aligned (`base` is 8-aligned). Outside the frames all access is atomic; inside them this
        // reference is only loaded from (see `load` and `store`), which bytes that nobody writes permit.
        shared_u64(unsafe { RawU64::from_ptr(self.base.add(offset).cast().as_ptr()) })
    }

    /// Asks the processor for the cache line at `offset`, which will soon be read. A hint, and nothing outside the region.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if offset < self.len {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: in bounds. A prefetch changes nothing and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.base.add(offset).as_ptr().cast_const().cast()) }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = offset;
    }

    /// As [`Region::prefetch`], for a range of which every `step`-th byte will soon be written: with a processor that has a hint
    /// for that, where the program is compiled for it, other processors give up their lines. (`prefetchw` itself gained nothing
    /// where it was tried.)
    #[inline(always)]
    fn prefetch_write(&self, range: Range<usize>, step: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if range.end <= self.len {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            for offset in range.step_by(step) {
                // SAFETY: in bounds. A prefetch changes nothing and never faults.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(self.base.add(offset).as_ptr().cast_const().cast()) }
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (range, step);
    }

    /// Asks the kernel to map these bytes for writing now, so that stores do not fault later. A hint.
    fn prefault(&self, range: Range<usize>) {
        if let (Memory::Map(map), true) = (&self.memory, self.writable && range.end <= self.len) {
            let _ = map.advise_range(Advice::PopulateWrite, range.start, range.len());
        }
    }

    /// Maps the pages of `range` for reading now, which they will be: sooner done at once than fault by fault. Whether that was
    /// possible; where it was not, one of them may be a page that the disk cannot read.
    pub(crate) fn populate(&self, range: &Range<usize>) -> bool {
        match &self.memory {
            Memory::Map(map) if range.end <= self.len => {
                map.advise_range(Advice::PopulateRead, range.start, range.len()).is_ok()
            }
            _ => false,
        }
    }

    /// The one claim to this region; nothing when it has been handed out before.
    pub(crate) fn claim(self: &Arc<Region>) -> Option<Claim> {
        // Relaxed: the flag only makes the handle unique; the handle itself travels by ordinary means.
        let first = !self.claimed.swap(true, Ordering::Relaxed);
        first.then(|| Claim {
            region: Arc::clone(self),
        })
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

/// The right to decide what of a region is published; there is one for each region. Who holds it writes the frames, through
/// the file, and never while a slice of its own is alive.
#[derive(Debug)]
pub(crate) struct Claim {
    region: Arc<Region>,
}

impl Claim {
    /// The bytes in `range`, published or not.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.start >= FRAMES_START && range.end <= self.region.len);
        // SAFETY: in bounds. Frames are written only by the one who holds this claim, and not while it is borrowed; they
        // are accessed atomically only to be read.
        unsafe { std::slice::from_raw_parts(self.region.base.add(range.start).as_ptr(), range.end - range.start) }
    }

    /// Lends everything below `end` to readers, for good.
    #[inline]
    pub(crate) fn publish(&mut self, end: usize) {
        let region = &*self.region;
        assert!(end >= region.published.load(Ordering::Relaxed) && end <= region.len);
        // Release pairs with the Acquire in `Region::published`.
        region.published.store(end, Ordering::Release);
    }
}

impl RingWriter {
    /// The `len` bytes at `position`, to be filled; nothing when the ring goes round inside them.
    ///
    /// # Panics
    ///
    /// When they are not the writer's: at or behind *head*, with room.
    #[inline]
    pub(crate) fn slot(&mut self, position: u64, len: usize) -> Option<&mut [u8]> {
        assert!(position >= self.head && position + len as u64 <= self.room);
        let (at, contiguous) = self.ring.place(position);
        if len <= contiguous {
            note_write(self.ring.region.addresses(&(at..at + len)));
        }
        self.ring.prefetch(position + ring::PREFETCH_AHEAD, len);
        // SAFETY: in bounds, because it ends before the ring goes round. The bytes lie between *head* and
        // *drained + capacity*, where only this handle writes and nobody reads; it is borrowed mutably.
        let mut slot = (len <= contiguous)
            .then(|| unsafe { std::slice::from_raw_parts_mut(self.ring.region.base.add(at).as_ptr(), len) });
        if let Some(slot) = &mut slot {
            before_frame(slot);
        }
        slot
    }
}

impl RingReader {
    /// The bytes in `range`, in two pieces where the ring goes round.
    ///
    /// # Panics
    ///
    /// When they are not the reader's: between *drained* and *head*.
    pub(crate) fn bytes(&self, range: Range<u64>) -> [&[u8]; 2] {
        let ring = &*self.ring;
        assert!(ring.drained.load(Ordering::Relaxed) <= range.start && range.start <= range.end);
        assert!(range.end <= ring.head() && range.end - range.start <= ring.capacity);
        let len = (range.end - range.start) as usize;
        let (at, contiguous) = ring.place(range.start);
        let front = len.min(contiguous);
        for (at, len) in [(at, front), (FRAMES_START, len - front)] {
            note_read(ring.region.addresses(&(at..at + len)));
        }
        // SAFETY: in bounds, because each piece ends where the ring does at the latest. Nobody writes between *drained* and
        // *head* until this handle, which is borrowed, moves *drained*.
        unsafe {
            let base = ring.region.base;
            [
                std::slice::from_raw_parts(base.add(at).as_ptr(), front),
                std::slice::from_raw_parts(base.add(FRAMES_START).as_ptr(), len - front),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn panics<T>(act: impl FnOnce() -> T) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(act()))).is_err()
    }

    #[test]
    fn published_bytes_are_lent_and_unpublished_ones_are_not() {
        let region = Arc::new(Region::heap(8192));
        let mut claim = region.claim().unwrap();
        assert!(region.claim().is_none(), "one claim only");
        region.store(FRAMES_START, b"abcdefgh");
        assert_eq!(claim.bytes(FRAMES_START..FRAMES_START + 8), b"abcdefgh");
        assert!(panics(|| region.bytes(FRAMES_START..FRAMES_START + 8).len()));
        claim.publish(FRAMES_START + 8);
        assert_eq!(region.bytes(FRAMES_START..FRAMES_START + 8), b"abcdefgh");
        assert!(panics(|| region.bytes(FRAMES_START..FRAMES_START + 16).len()));
        assert!(
            panics(|| region.store(FRAMES_START, b"12345678")),
            "never written again"
        );
    }

    #[test]
    fn words_round_trip() {
        let region = Region::heap(8192);
        region.store(512, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut out = [0; 16];
        region.load(512, &mut out);
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            region.cell_u32(516).load(Ordering::Relaxed),
            u32::from_le_bytes([5, 6, 7, 8])
        );
    }
}
