//! Moving what a dead writer has accepted and left in the log buffer.

use super::scan::{Scan, scan};
use crate::buffer::LeftOver;
use crate::error::{Error, Result};
use crate::frame::FrameHeader;
use crate::ids::OpId;
use crate::segment::Segment;

/// What a killed writer left in the log buffer is read in pieces that begin with this size.
const LEFT_OVER_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Whether the frame of entry `expected` may begin here and only its end be missing.
fn goes_on(rest: &[u8], expected: OpId) -> bool {
    rest.first_chunk()
        .map(FrameHeader::decode)
        .is_none_or(|header| header.op_id == expected && header.frame_bytes() > rest.len())
}

/// Moves what a dead writer left in the log buffer for a segment in which `found` was found, behind that; returns whether there
/// was anything.
pub(super) fn move_left_over(segment: &Segment, found: &Scan, left_over: &LeftOver) -> Result<bool> {
    let room = left_over.len().min(segment.frames_limit() - found.end);
    let mut length = room.min(LEFT_OVER_BYTES);
    let (ring, more) = loop {
        let ring = left_over.read(found.end, length);
        let more = scan(&ring, found.end, segment.seed, found.next, found.term, |_, _| {});
        let (entry, offset) = more.invalid;
        if length == room || !goes_on(&ring[offset - found.end..], entry) {
            break (ring, more);
        }
        length = room.min(4 * length);
    };
    if more.end == found.end {
        return Ok(false);
    }
    tracing::info!(
        segment = %segment.path.display(), from = %found.next, to = %more.next.previous(),
        "moving entries that a killed writer had accepted into their segment"
    );
    let moved = segment.file().write_at(found.end, &ring[..more.end - found.end]);
    moved.map_err(Error::io("write", &segment.path))?;
    Ok(true)
}
