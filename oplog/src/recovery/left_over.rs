//! Moving what a dead writer has accepted and left in the log buffer.

use super::scan::{Scan, scan};
use crate::buffer::LeftOver;
use crate::error::{Error, Result};
use crate::frame::FrameHeader;
use crate::ids::OpId;
use crate::segment::Segment;

/// What a killed writer left in the log buffer is moved in pieces of this size, or larger ones where a batch is.
const LEFT_OVER_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Whether the frame of entry `expected` may begin here and only its end be missing.
fn goes_on(rest: &[u8], expected: OpId) -> bool {
    rest.first_chunk()
        .map(FrameHeader::decode)
        .is_none_or(|header| header.op_id == expected && header.frame_bytes() > rest.len())
}

/// Moves what a dead writer left in the log buffer for a segment in which `found` was found, behind that; returns whether there
/// was anything. It goes piece by piece, whole batches in each: memory that is used again costs less than as much as the buffer has.
pub(super) fn move_left_over(segment: &Segment, found: &Scan, left_over: &LeftOver) -> Result<bool> {
    let limit = segment.frames_limit().min(found.end + left_over.len());
    let (mut at, mut length) = (*found, LEFT_OVER_BYTES);
    let mut piece = Vec::new();
    loop {
        let start = at.end;
        left_over.read(start, length.min(limit - start), &mut piece);
        let more = scan(&piece, start, segment.seed, at.next, at.term, |_, _| {});
        let (entry, offset) = more.invalid;
        let goes_on = start + piece.len() < limit && goes_on(&piece[offset - start..], entry);
        if more.end > start {
            let moved = segment.file().write_at(start, &piece[..more.end - start]);
            moved.map_err(Error::io("write", &segment.path))?;
            (at, length) = (more, LEFT_OVER_BYTES);
        } else {
            // One frame, or one batch, is longer than that.
            length *= 4;
        }
        if !goes_on {
            break;
        }
    }
    if at.end == found.end {
        return Ok(false);
    }
    tracing::info!(
        segment = %segment.path.display(), from = %found.next, to = %at.next.previous(),
        "entries that a killed writer had accepted were moved into their segment"
    );
    Ok(true)
}
