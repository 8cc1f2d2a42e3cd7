//! A ring of bytes over a region: how frames get from the thread that appends to the thread that moves them.
//!
//! One [`RingWriter`] owns the bytes from *head* round to *drained*, one [`RingReader`] those from *drained* to *head*, and
//! each hands bytes over by moving its own mark. Nobody else has either end, so no byte is written while it is lent out:
//! [`RingWriter::slot`] and [`RingReader::bytes`], which rely on it, stand with all other `unsafe` code in `region.rs`.
#![deny(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Region;
use crate::disk::between_stores;
use crate::format::FRAMES_START;
use crate::primitives::AtomicU64;

/// Bytes of a cache line; a guess costs no more than a hint that is not needed.
const LINE_BYTES: usize = 64;
/// The ring's lines were last read by the thread that drains, most likely on another processor. A store that waits for one
/// holds up the atomic operations behind it, so lines are asked for so many bytes before they are written.
pub(super) const PREFETCH_AHEAD: u64 = 2 << 10;
/// From here on the processor sees by itself where a copy is going.
const PREFETCH_BYTES: usize = 512;

/// A ring of bytes over a region, from `FRAMES_START` on. Positions count the bytes that ever went through, from zero; byte
/// *p* stands at *p* mod *capacity*.
///
/// Invariant: `drained ≤ head ≤ drained + capacity`.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(super) region: Arc<Region>,
    pub(super) capacity: u64,
    /// Moved by the writer: bytes before it are the reader's.
    head: AtomicU64,
    /// Moved by the reader: bytes before it are the writer's, for the next round.
    pub(super) drained: AtomicU64,
}

impl Ring {
    /// A ring over all of `region` behind `FRAMES_START`, and its two ends. Both marks stand at `position`.
    pub(crate) fn over(region: Arc<Region>, position: u64) -> Option<(Arc<Ring>, RingWriter, RingReader)> {
        let capacity = region.len.checked_sub(FRAMES_START).filter(|c| c.is_power_of_two())?;
        let claim = region.writable && !region.claimed.swap(true, Ordering::Relaxed);
        let ring = Arc::new(Ring {
            region,
            capacity: capacity as u64,
            head: AtomicU64::new(position),
            drained: AtomicU64::new(position),
        });
        let room = position + ring.capacity;
        let writer = RingWriter {
            ring: Arc::clone(&ring),
            head: position,
            room,
        };
        let reader = RingReader {
            ring: Arc::clone(&ring),
        };
        claim.then_some((ring, writer, reader))
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// End of what the writer has handed over.
    pub(crate) fn head(&self) -> u64 {
        // Acquire pairs with the Release in `RingWriter::publish`: the bytes are there.
        self.head.load(Ordering::Acquire)
    }

    /// End of what the reader has given back.
    pub(crate) fn drained(&self) -> u64 {
        // Acquire pairs with the Release in `RingReader::release`: the reader is done with the bytes.
        self.drained.load(Ordering::Acquire)
    }

    /// Has these bytes of the region mapped, which is to be done before they are written.
    pub(crate) fn prefault(&self, range: Range<usize>) {
        self.region.prefault(range);
    }

    /// Asks the processor for the lines of `len` bytes from `position` on, of the first ones if they are many, and of none behind
    /// the place where the ring goes round.
    #[inline(always)]
    pub(super) fn prefetch(&self, position: u64, len: usize) {
        let (at, contiguous) = self.place(position);
        let len = len.min(PREFETCH_BYTES).min(contiguous);
        self.region.prefetch_write(at..at + len, LINE_BYTES);
    }

    /// The place of `position` in the region, and how many bytes follow before the ring goes round.
    pub(super) fn place(&self, position: u64) -> (usize, usize) {
        let at = (position & (self.capacity - 1)) as usize;
        (FRAMES_START + at, self.capacity as usize - at)
    }
}

/// The end of a ring at which bytes go in.
#[derive(Debug)]
pub(crate) struct RingWriter {
    pub(super) ring: Arc<Ring>,
    /// As `ring.head`, which only this handle moves.
    pub(super) head: u64,
    /// Bytes before this position were given back when it was last looked.
    pub(super) room: u64,
}

impl RingWriter {
    /// Whether everything before position `end` can be written now.
    #[inline]
    pub(crate) fn has_room(&mut self, end: u64) -> bool {
        if end > self.room {
            self.room = self.ring.drained() + self.ring.capacity;
        }
        end <= self.room
    }

    /// Everything before this position can be written, as far as is known without asking the reader.
    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// Copies `bytes` to `position`, going round where need be.
    pub(crate) fn write(&mut self, position: u64, bytes: &[u8]) {
        let (_, contiguous) = self.ring.place(position);
        let (front, back) = bytes.split_at(bytes.len().min(contiguous));
        for (at, part) in [(position, front), (position + front.len() as u64, back)] {
            if let Some(slot) = self.slot(at, part.len()) {
                slot.copy_from_slice(part);
            }
        }
    }

    /// Hands everything before `end` to the reader.
    #[inline]
    pub(crate) fn publish(&mut self, end: u64) {
        assert!(end >= self.head && end <= self.room);
        self.head = end;
        between_stores();
        // Release pairs with the Acquire in `Ring::head`.
        self.ring.head.store(end, Ordering::Release);
    }

    /// Moves *head* to `end`, wherever that is. The bytes skipped mean nothing.
    ///
    /// # Panics
    ///
    /// When the ring is not empty.
    pub(crate) fn skip_to(&mut self, end: u64) {
        assert!(end >= self.head && self.ring.drained() == self.head);
        self.head = end;
        self.ring.head.store(end, Ordering::Release);
    }
}

/// The end of a ring at which bytes come out.
#[derive(Debug)]
pub(crate) struct RingReader {
    pub(super) ring: Arc<Ring>,
}

impl RingReader {
    /// Gives everything before `end` back to the writer.
    pub(crate) fn release(&mut self, end: u64) {
        let ring = &*self.ring;
        assert!(end >= ring.drained.load(Ordering::Relaxed) && end <= ring.head());
        // Release pairs with the Acquire in `Ring::drained`.
        ring.drained.store(end, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::tests::panics;

    #[test]
    fn a_ring_goes_round_and_keeps_each_end_to_its_bytes() {
        let region = Arc::new(Region::heap(FRAMES_START + 64));
        let (ring, mut writer, mut reader) = Ring::over(Arc::clone(&region), 1000).unwrap();
        assert!(Ring::over(region, 0).is_none(), "one ring only");
        let bytes: Vec<u8> = (0..64).collect();
        let mut at = 1000;
        for round in 0..if cfg!(miri) { 3 } else { 10 } {
            let len = 40 + round;
            assert!(writer.has_room(at + len as u64));
            assert!(!writer.has_room(at + 65));
            writer.write(at, &bytes[..len]);
            assert!(panics(|| reader.bytes(at..at + 8)), "not handed over yet");
            writer.publish(at + len as u64);
            assert!(panics(|| writer.write(at, &bytes[..len])), "handed over");
            let end = at + len as u64;
            assert_eq!(reader.bytes(at..end).concat(), &bytes[..len]);
            assert!(!writer.has_room(end + 64));
            reader.release(end);
            assert!(panics(|| reader.bytes(at..end)), "given back");
            at = end;
        }
        assert_eq!((ring.head(), ring.drained()), (at, at));
    }

    #[test]
    fn a_ring_hands_bytes_from_thread_to_thread() {
        let region = Arc::new(Region::heap(FRAMES_START + 64));
        let (ring, mut writer, mut reader) = Ring::over(region, 0).unwrap();
        let total: u64 = if cfg!(miri) { 500 } else { 200_000 };
        let out = std::thread::spawn(move || {
            let (mut at, mut expected) = (0, 0u8);
            while at < total {
                let end = ring.head();
                for &byte in reader.bytes(at..end).into_iter().flatten() {
                    assert_eq!(byte, expected);
                    expected = expected.wrapping_add(1);
                }
                reader.release(end);
                at = end;
            }
        });
        let (mut at, mut next) = (0u64, 0u8);
        while at < total {
            let len = (1 + at % 13).min(total - at);
            while !writer.has_room(at + len) {
                std::thread::yield_now();
            }
            let bytes: Vec<u8> = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
            writer.write(at, &bytes);
            writer.publish(at + len);
            (at, next) = (at + len, next.wrapping_add(len as u8));
        }
        out.join().unwrap();
    }
}
