//! Looking at bytes where frames may stand: consecutive whole ones, and what is left behind the first that is not.

use std::ops::Range;

use crate::frame::{FrameHeader, check_frame};
use crate::ids::{OpId, Term, Timestamp};
use crate::segment::Segment;

/// What a scan over consecutive frames found, up to the last entry after which no batch is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scan {
    /// The entry that would come next.
    pub(crate) next: OpId,
    /// Where its frame would stand, in the segment.
    pub(crate) end: usize,
    pub(crate) term: Term,
    pub(crate) timestamp: Timestamp,
    /// The entry whose frame is not valid, and where it should stand: beyond `next` when that is inside a batch.
    pub(crate) invalid: (OpId, usize),
}

/// Follows the frames in `area`, which begins at offset `start` of its segment, from entry `expected` on; calls `each` for
/// every valid frame, also those of a batch that turns out to be incomplete.
pub(crate) fn scan(
    area: &[u8],
    start: usize,
    seed: u32,
    expected: OpId,
    term: Term,
    mut each: impl FnMut(&FrameHeader, usize),
) -> Scan {
    let mut whole = Scan {
        next: expected,
        end: start,
        term,
        timestamp: Timestamp::default(),
        invalid: (expected, start),
    };
    let (mut next, mut at, mut term) = (expected, 0, term);
    while let Some(header) = area.get(at..).and_then(|rest| check_frame(rest, seed)) {
        if header.op_id != next || header.term < term || header.watermark >= header.op_id {
            break;
        }
        each(&header, start + at);
        (next, at, term) = (next.next(), at + header.frame_bytes(), header.term);
        if header.ends_batch() {
            whole = Scan {
                next,
                end: start + at,
                term,
                timestamp: header.timestamp,
                invalid: whole.invalid,
            };
        }
    }
    whole.invalid = (next, start + at);
    whole
}

/// What stands behind the place where a segment's frames end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rest {
    /// The highest watermark in any whole frame, wherever that stands.
    pub(crate) watermark: OpId,
    /// Index of the last byte that is not zero.
    pub(crate) last: Option<usize>,
}

/// Looks through `area`. Of a range in it, `data` says where the first part is that may hold anything but zeros.
pub(crate) fn search(area: &[u8], seed: u32, data: impl Fn(Range<usize>) -> Option<Range<usize>>) -> Rest {
    let mut rest = Rest::default();
    let mut at = 0;
    while at < area.len()
        && let Some(written) = data(at..area.len())
    {
        at = at.max(written.start & !7);
        while at < written.end {
            // Most of what was written are zeros; step over them quickly.
            let page = &area[at..written.end.min(at + 4096)];
            if page.iter().fold(0, |all, &byte| all | byte) == 0 {
                at += page.len();
                continue;
            }
            rest.last = last_nonzero(page).map(|last| at + last).max(rest.last);
            let page_end = at + page.len();
            while at < page_end {
                match check_frame(&area[at..], seed) {
                    Some(header) => {
                        let frame = &area[at..at + header.frame_bytes()];
                        rest.watermark = rest.watermark.max(header.watermark);
                        rest.last = last_nonzero(frame).map(|last| at + last).max(rest.last);
                        at += frame.len();
                    }
                    None => at += 8,
                }
            }
        }
    }
    rest
}

pub(super) fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&byte| byte != 0)
}

/// Looks through `area`, which begins at offset `start` of its segment.
pub(crate) fn search_segment(segment: &Segment, area: &[u8], start: usize) -> Rest {
    search(area, segment.seed, |range| {
        let data = segment.file().data(start + range.start..start + range.end)?;
        Some(data.start - start..data.end - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HEADER_BYTES, crc32, frame_bytes};

    /// A frame whose payload is all zeros, but for `last`.
    fn frame(payload: usize, watermark: u64, last: u8) -> Vec<u8> {
        let mut header = FrameHeader {
            crc: 0,
            length: payload as u32,
            op_id: OpId::new(1000),
            term: Term::new(1),
            kind: 200,
            flags: 0,
            reserved: 0,
            timestamp: Timestamp::default(),
            watermark: OpId::new(watermark),
        };
        let mut bytes = vec![0; frame_bytes(payload)];
        bytes[HEADER_BYTES + payload - 1] = last;
        header.encode(bytes.first_chunk_mut().unwrap());
        header.crc = crc32(7, &bytes[4..]);
        bytes[..4].copy_from_slice(&header.crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_search_finds_the_same_whatever_holes_are_known() {
        for last in [0, 1] {
            let mut area = vec![0; 64 << 10];
            for (at, payload, watermark) in [(8, 30, 3), (5000, 20_000, 9), (40_960, 100, 6)] {
                let frame = frame(payload, watermark, last);
                area[at..at + frame.len()].copy_from_slice(&frame);
            }
            // A frame whose end was never written is none.
            area[60_000..60_040].copy_from_slice(&frame(100, 99, 1)[..40]);
            let whole = |range: Range<usize>| (!range.is_empty()).then_some(range);
            let rest = search(&area, 7, whole);
            assert_eq!(rest.watermark, OpId::new(9));
            assert_eq!(rest.last, area.iter().rposition(|&byte| byte != 0));
            for block in [8, 512, 4096] {
                let blocks = |range: Range<usize>| {
                    let zero = |at: usize| area[at..area.len().min(at + block)].iter().all(|&byte| byte == 0);
                    let mut places = (range.start / block * block..range.end).step_by(block);
                    let start = places.find(|&at| !zero(at))?;
                    let end = places.find(|&at| zero(at)).unwrap_or(range.end);
                    Some(start.max(range.start)..end.min(range.end))
                };
                assert_eq!(search(&area, 7, blocks), rest, "blocks of {block}");
            }
            assert_eq!(search(&area, 7, |_| None), Rest::default());
        }
    }
}
