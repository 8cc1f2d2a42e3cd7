//! The bytes of one file as memory: the only place in Tailwater with `unsafe` code.
//!
//! A [`Region`] is a mapped file, or heap memory with the same face for tests and Miri. Soundness rests on one rule that
//! this module enforces itself: **bytes below the published position are never written again.**
//!
//! * Shared slices ([`Region::bytes`]) end at or below *published*.
//! * Plain writes go through the one [`RegionWriter`] and begin at or above *published*.
//! * Everything that changes in place (slots, watermarks, bells) is read and written as atomic words and never lent out as
//!   a slice.
//!
//! Another process may map the same file. It follows the same rule: it publishes in its own region only what the writer's
//! watermark says is written for good ([`Region::publish_foreign`]). What no rule can prevent is a stranger who writes
//! into the file or truncates it while it is mapped; the crate documentation says so where a log is opened.
#![allow(unsafe_code, reason = "this file is the workspace's one exception: it maps memory")]

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::format::FRAMES_START;

/// What keeps the memory alive.
enum Memory {
    Map(MmapRaw),
    Heap(#[expect(dead_code, reason = "owned for its drop; accessed through the base pointer")] Box<[UnsafeCell<u64>]>),
}

/// A fixed-length piece of memory behind a file. See the module documentation.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Invariant: bytes in `FRAMES_START..published` are never written again. Grows only.
    published: AtomicUsize,
    /// Whether the one writer has been handed out.
    claimed: AtomicBool,
    writable: bool,
    memory: Memory,
}

// SAFETY: `base` points to memory that `memory` owns for as long as the region lives. Every shared access is either to
// bytes that are never written again, or atomic; plain writes need the unique `RegionWriter`.
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
    #[cfg_attr(not(test), expect(dead_code, reason = "used by the simulated disk"))]
    pub(crate) fn heap(len: usize) -> Region {
        let words: Box<[UnsafeCell<u64>]> = (0..len.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect();
        let base = NonNull::from(&*words).cast();
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

    /// End of the bytes that can be lent out.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        // Acquire pairs with the Release in `RegionWriter::publish` and `publish_foreign`: the bytes are there.
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
        // SAFETY: the range lies in the region (published ≤ len), and below *published*, where nothing writes any more.
        unsafe { std::slice::from_raw_parts(self.base.add(range.start).as_ptr(), range.end - range.start) }
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
    pub(crate) fn cell_u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + 8 <= FRAMES_START);
        self.word(offset)
    }

    /// Half a word that changes in place, in the area before the frames.
    pub(crate) fn cell_u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= FRAMES_START.min(self.len));
        // SAFETY: in bounds and aligned (`base` is 8-aligned); this area is only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(self.base.add(offset).cast().as_ptr()) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: in bounds and aligned (`base` is 8-aligned). Outside the frames all access is atomic; inside them this
        // reference is only loaded from (see `load` and `store`), which bytes that nobody writes permit.
        unsafe { AtomicU64::from_ptr(self.base.add(offset).cast().as_ptr()) }
    }

    /// Asks the kernel to map `range` for writing now, so that stores into it do not fault later. A hint.
    pub(crate) fn prefault(&self, range: Range<usize>) {
        let end = range.end.min(self.len);
        if let (Memory::Map(map), true, true) = (&self.memory, range.start < end, self.writable) {
            let _ = map.advise_range(Advice::PopulateWrite, range.start, end - range.start);
        }
    }

    /// The one writer of this region; nothing when it has been handed out before or the region is read-only.
    pub(crate) fn writer(self: &Arc<Region>) -> Option<RegionWriter> {
        // Relaxed: the flag only makes the handle unique; the handle itself travels by ordinary means.
        let first = self.writable && !self.claimed.swap(true, Ordering::Relaxed);
        first.then(|| RegionWriter {
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

/// Zeroed atomics straight from the allocator, so that those never touched cost address space only.
pub(crate) fn zeroed_atomics(count: usize) -> Box<[AtomicU32]> {
    let zeros = Box::into_raw(vec![0u32; count].into_boxed_slice());
    // SAFETY: `AtomicU32` has the size, alignment and bit validity of `u32`, and the box is the only owner.
    unsafe { Box::from_raw(zeros as *mut [AtomicU32]) }
}

/// The right to write the unpublished frames of a region; there is one for each region.
#[derive(Debug)]
pub(crate) struct RegionWriter {
    region: Arc<Region>,
}

impl RegionWriter {
    /// Copies `bytes` to `offset`, which is not published yet.
    #[inline]
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let region = &*self.region;
        // Relaxed: only this handle moves *published*.
        assert!(offset >= region.published.load(Ordering::Relaxed) && offset + bytes.len() <= region.len);
        // SAFETY: in bounds; at or above *published*, so no slice covers it; and this is the only writer, borrowed mutably.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), region.base.add(offset).as_ptr(), bytes.len());
        }
    }

    /// Writes zeros over `range`, which is not published yet.
    pub(crate) fn zero(&mut self, range: Range<usize>) {
        let region = &*self.region;
        assert!(range.start >= region.published.load(Ordering::Relaxed));
        assert!(range.start <= range.end && range.end <= region.len);
        // SAFETY: as in `write`.
        unsafe {
            region.base.add(range.start).write_bytes(0, range.end - range.start);
        }
    }

    /// The bytes in `range`, published or not.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.start >= FRAMES_START && range.end <= self.region.len);
        // SAFETY: in bounds; the only writer is borrowed for as long as the slice lives. Frames are not accessed atomically
        // while a writer exists except to be read.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_bytes_are_lent_and_unpublished_ones_are_not() {
        let region = Arc::new(Region::heap(8192));
        let mut writer = region.writer().unwrap();
        assert!(region.writer().is_none(), "one writer only");
        writer.write(FRAMES_START, b"abcdefgh");
        assert_eq!(writer.bytes(FRAMES_START..FRAMES_START + 8), b"abcdefgh");
        writer.publish(FRAMES_START + 8);
        assert_eq!(region.bytes(FRAMES_START..FRAMES_START + 8), b"abcdefgh");
        let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            region.bytes(FRAMES_START..FRAMES_START + 16).len()
        }));
        assert!(beyond.is_err());
    }

    #[test]
    fn published_bytes_cannot_be_written_again() {
        let region = Arc::new(Region::heap(8192));
        let mut writer = region.writer().unwrap();
        writer.publish(FRAMES_START + 8);
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.write(FRAMES_START, b"x")));
        assert!(again.is_err());
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
