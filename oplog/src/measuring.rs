//! What `benches/` needs of the inside, to measure what a log could reach at best. No part of the interface.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::format::FRAMES_START;
use crate::primitives::{FutexFlags, futex_wait, futex_wake};
use crate::region::Region;

/// The frame area of a segment file that nobody writes to any more, in a map of its own.
#[derive(Debug)]
pub struct MappedFrames {
    region: Region,
    length: usize,
}

impl MappedFrames {
    /// Maps the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or mapped, or is shorter than a segment's header.
    pub fn open(path: &Path) -> io::Result<MappedFrames> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if length < FRAMES_START {
            return Err(io::Error::other("shorter than a segment's header"));
        }
        let region = Region::map(&file, length, false)?;
        region.publish_foreign(length);
        Ok(MappedFrames { region, length })
    }

    /// The bytes where frames may stand, footer included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.region.bytes(FRAMES_START..self.length)
    }
}

/// One value in memory that processes share, with a futex by which one wakes another: the least that a wake-up across
/// processes takes.
#[derive(Debug)]
pub struct SharedValue {
    region: Region,
}

/// Where the futex word and the value stand, each on a cache line of its own.
const WORD: usize = 0;
const VALUE: usize = 64;
const SHARED_BYTES: usize = 4096;

impl SharedValue {
    /// Maps the file at `path`, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be made, opened or mapped.
    pub fn open(path: &Path) -> io::Result<SharedValue> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(SHARED_BYTES as u64)?;
        let region = Region::map(&file, SHARED_BYTES, true)?;
        Ok(SharedValue { region })
    }

    /// Puts `value` there and wakes whoever waits for it.
    pub fn put(&self, value: u64) {
        self.region.cell_u64(VALUE).store(value, Ordering::Release);
        self.region.cell_u32(WORD).fetch_add(1, Ordering::SeqCst);
        futex_wake(self.region.cell_u32(WORD), FutexFlags::empty(), u32::MAX);
    }

    /// How often a value has been put there.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.region.cell_u32(WORD).load(Ordering::Acquire)
    }

    /// Blocks until a value was put there more often than `seen` times, and returns it; nothing when `deadline` passes first.
    #[must_use]
    pub fn wait(&self, seen: u32, deadline: Instant) -> Option<u64> {
        while self.count() == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return None;
            }
            futex_wait(self.region.cell_u32(WORD), FutexFlags::empty(), seen, Some(left));
        }
        Some(self.region.cell_u64(VALUE).load(Ordering::Acquire))
    }
}
