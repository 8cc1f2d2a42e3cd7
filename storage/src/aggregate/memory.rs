//! How much a stage holds, against what it may hold.

use super::stage::Place;
use crate::error::Result;

/// What a stage has taken of its memory.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: usize,
    bytes_max: usize,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Memory {
        Memory { bytes: 0, bytes_max }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// [`MemoryExceeded`](super::AggregateErrorKind::MemoryExceeded).
    pub(super) fn take(&mut self, bytes: usize, place: &Place) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            return Err(place.memory(self.bytes_max));
        }
        Ok(())
    }

    /// Gives so many back.
    pub(super) fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
