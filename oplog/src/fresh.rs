//! Entries that are still in the log buffer, copied out for a cursor of the process that writes the log.
//!
//! Who follows the log wants each entry at once, and moving it into its segment first would cost more than all the rest of
//! the way. So a cursor copies the frame out of the ring, and with it what follows, up to a few KiB: many entries for one
//! taking of the buffer's lock when there are many. Nothing is checked again: this process has written the frame, and the
//! lock keeps its place from being used again meanwhile.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::ids::OpId;

/// Copied at once, unless one frame is longer. It bounds what an entry that is held for long keeps in memory.
const COPY_BYTES: usize = 4 << 10;

/// Consecutive bytes of the log buffer. Entries that are held share it.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Position of the first one, in the buffer's count.
    from: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Header of the frame at `position`, if it is here as a whole and that of entry `expected`.
    fn frame(&self, position: u64, expected: OpId) -> Option<(FrameHeader, usize)> {
        let at = usize::try_from(position.checked_sub(self.from)?).ok()?;
        let rest = self.bytes.get(at..)?;
        let header = FrameHeader::decode(rest.first_chunk()?);
        (header.op_id == expected && header.frame_bytes() <= rest.len()).then_some((header, at))
    }

    /// Payload of the frame that begins with byte `at`.
    pub(crate) fn payload(&self, at: usize, header: &FrameHeader) -> &[u8] {
        let start = at + HEADER_BYTES;
        &self.bytes[start..start + header.length as usize]
    }
}

/// What a cursor has copied last.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    chunk: Option<Arc<Chunk>>,
    /// Where the frame begins that was asked for last.
    at: usize,
}

impl Fresh {
    /// The frame of entry `expected` at `position`, from what has been copied before or from `buffer`; nothing when it has
    /// been moved into its segment.
    pub(crate) fn frame(&mut self, buffer: &Buffer, position: u64, expected: OpId) -> Option<FrameHeader> {
        let found = self.copied(position, expected).or_else(|| {
            self.refill(buffer, position);
            self.copied(position, expected)
        });
        let (header, at) = found?;
        self.at = at;
        Some(header)
    }

    fn copied(&self, position: u64, expected: OpId) -> Option<(FrameHeader, usize)> {
        self.chunk.as_ref()?.frame(position, expected)
    }

    fn refill(&mut self, buffer: &Buffer, position: u64) {
        // One that an entry still lies in stays as it is, and one that held a long entry is not kept.
        let free = self.chunk.as_mut().and_then(Arc::get_mut);
        if free.is_none_or(|chunk| chunk.bytes.capacity() > 4 * COPY_BYTES) {
            self.chunk = None;
        }
        if let Some(chunk) = Arc::get_mut(self.chunk.get_or_insert_default()) {
            chunk.from = position;
            buffer.copy(position, COPY_BYTES, &mut chunk.bytes);
        }
    }

    /// For a cursor that has nothing to read: a long entry is not kept until there is more.
    pub(crate) fn rest(&mut self) {
        if self
            .chunk
            .as_ref()
            .is_some_and(|chunk| chunk.bytes.capacity() > COPY_BYTES)
        {
            self.chunk = None;
        }
    }

    /// The frame found last: what it lies in, and where it begins there.
    pub(crate) fn place(&self) -> Option<(&Arc<Chunk>, usize)> {
        self.chunk.as_ref().map(|chunk| (chunk, self.at))
    }
}
