//! Where the log ends, and the last entry that is known to be durable: by frames, slots and footers, written by nobody here.

use std::ops::Range;
use std::sync::Arc;

use super::Evidence;
use super::scan::{Rest, Scan, scan, search_segment};
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::frame::{FrameHeader, HEADER_BYTES, check_frame};
use crate::ids::{OpId, Term};
use crate::segment::Segment;

/// So much in front of where the search begins is looked at, too, whether the disk can read it: the entry before stands there,
/// if it is not larger.
const PROBE_BEFORE: usize = 1 << 20;

/// Where the log ends, among its segments that are not sealed.
pub(super) struct End {
    /// Index, among those segments, of the one in which the log ends.
    pub(super) segment: usize,
    /// Where the frames end in each segment up to that one.
    pub(super) ends: Vec<usize>,
    pub(super) scan: Scan,
    /// What stands behind, in that segment.
    pub(super) rest: Rest,
    /// The last entry that a sync is known to have covered.
    pub(super) durable: OpId,
}

/// Finds the end in `segments`, consecutive and not sealed, the last of them the newest of the log, with the sealed one
/// before them. `area` lends a segment's frames from an offset on. `complete` is told where a segment's frames seem to end, and
/// says whether it has added some there.
pub(super) fn find_end<'a>(
    (segments, sealed): (&'a [Arc<Segment>], Option<&Segment>),
    evidence: Evidence,
    area: impl Fn(usize, usize) -> &'a [u8],
    complete: impl Fn(&Segment, &Scan) -> Result<bool>,
    mut note: impl FnMut(usize, &FrameHeader, usize),
) -> Result<End> {
    let mut ends: Vec<Scan> = Vec::new();
    // What stands before them is sealed, or has been trimmed; both only happen to what is durable.
    let mut durable = segments.first().map_or(OpId::ZERO, |segment| segment.first.previous());
    for (i, segment) in segments.iter().enumerate() {
        let (expected, start) = starting_point(segment);
        let front = &area(i, FRAMES_START)[..start - FRAMES_START];
        let before = term_before(segment, front, sealed.filter(|_| i == 0));
        let term = ends.last().map_or(before, |end| end.term.max(before));
        let mut each = |header: &FrameHeader, offset| {
            if !evidence.following {
                durable = durable.max(header.watermark);
            }
            note(i, header, offset);
        };
        let mut found = scan(area(i, start), start, segment.seed, expected, term, &mut each);
        if complete(segment, &found)? {
            let (end, next) = (found.end, found.next);
            found = scan(area(i, end), end, segment.seed, next, found.term, &mut each);
        }
        ends.push(found);
        if segments
            .get(i + 1)
            .is_none_or(|successor| successor.first != found.next)
        {
            break;
        }
    }
    let scan = *ends.last().ok_or(Error::Closed)?;
    let segment = ends.len() - 1;
    let rests: Vec<Rest> = (segment..segments.len())
        .map(|i| {
            if evidence.new {
                return Rest::default();
            }
            let start = if i == segment { scan.end } else { FRAMES_START };
            search_segment(&segments[i], area(i, start), start)
        })
        .collect();
    let slots = segments.iter().map(|segment| proven_by(segment));
    // Of a log that follows, frames say what was durable elsewhere.
    let here = rests.iter().filter(|_| !evidence.following);
    let beyond = here.map(|rest| rest.watermark);
    let durable = slots.chain(beyond).fold(evidence.durable.max(durable), OpId::max);
    let durable_or_kept = durable.max(evidence.accepted);
    if durable_or_kept >= scan.next {
        let (expected, offset) = scan.invalid;
        return Err(Error::Corrupt {
            path: segments[segment].path.clone(),
            offset: offset as u64,
            expected,
            durable: durable_or_kept,
        });
    }
    let rest = rests.first().copied().unwrap_or_default();
    let ends = ends.iter().map(|scan| scan.end).collect();
    Ok(End {
        segment,
        ends,
        scan,
        rest,
        durable,
    })
}

/// Where the search begins in a segment: behind the newest slot, or at its beginning.
pub(super) fn starting_point(segment: &Segment) -> (OpId, usize) {
    let slot = segment.slot().filter(|slot| {
        let end = usize::try_from(slot.end).unwrap_or(usize::MAX);
        slot.durable >= segment.first.get()
            && end <= segment.frames_limit()
            && end > FRAMES_START
            && end.is_multiple_of(8)
    });
    match slot {
        Some(slot) => (OpId::new(slot.durable).next(), slot.end as usize),
        None => (segment.first, FRAMES_START),
    }
}

/// Fails when the disk cannot read what the search looks at in a segment.
pub(super) fn probe(segment: &Segment) -> Result<()> {
    let (_, start) = starting_point(segment);
    segment.probe(start.saturating_sub(PROBE_BEFORE).max(FRAMES_START)..segment.length())
}

/// The term of the entry before the one with which the search begins in a segment; the search has not seen it. The lowest
/// when there is no entry before it, or when its frame is damaged, which its reader will be told. `front` are the segment's
/// frames up to where the search begins.
fn term_before(segment: &Segment, front: &[u8], predecessor: Option<&Segment>) -> Term {
    let (expected, _) = starting_point(segment);
    let last = match front {
        [] => predecessor.and_then(|sealed| {
            sealed
                .frame(sealed.locate(expected.previous()).ok()?, expected.previous())
                .ok()
        }),
        _ => last_frame(front, segment.seed, expected.previous()),
    };
    last.map_or(Term::default(), |header| header.term)
}

/// The last entry that a segment's own records prove to have been durable.
pub(crate) fn proven_by(segment: &Segment) -> OpId {
    let slot = segment.slot().map_or(OpId::ZERO, |slot| OpId::new(slot.durable));
    let footer = segment.sealed().map_or(OpId::ZERO, |trailer| OpId::new(trailer.last));
    slot.max(footer)
}

/// Where, in `frames` of a segment, the first entry stands that is not known to be durable.
pub(super) fn unproven_from(segment: &Segment, durable: OpId, frames: Range<usize>) -> usize {
    if durable < segment.first {
        return frames.start;
    }
    // An entry that is in a later segment is not found in this one.
    let found = match segment.last().is_some_and(|last| last <= durable) {
        true => frames.end,
        false => segment.locate(durable.next()).unwrap_or(frames.start),
    };
    found.clamp(frames.start, frames.end)
}

/// Header of the last entry, which the scan has not seen when it began behind it. Nothing when there is no entry, or when
/// its frame is damaged, which its reader will be told.
pub(super) fn last_entry(segments: &[Arc<Segment>], sealed: Option<&Segment>, end: &End) -> Option<FrameHeader> {
    let last = end.scan.next.previous();
    match segments[..=end.segment].iter().rev().find(|s| s.first <= last) {
        Some(segment) => {
            let area = segment.region().bytes(FRAMES_START..segment.region().published());
            last_frame(area, segment.seed, last)
        }
        None => sealed.and_then(|segment| segment.frame(segment.locate(last).ok()?, last).ok()),
    }
}

/// Header of the frame of entry `op_id`, which ends where `area` ends, found from behind.
fn last_frame(area: &[u8], seed: u32, op_id: OpId) -> Option<FrameHeader> {
    let starts = (0..=area.len().checked_sub(HEADER_BYTES)?).rev().step_by(8);
    starts.into_iter().find_map(|at| {
        let header = FrameHeader::decode(area[at..].first_chunk()?);
        let fits = header.op_id == op_id && at + header.frame_bytes() == area.len();
        fits.then(|| check_frame(&area[at..], seed)).flatten()
    })
}
