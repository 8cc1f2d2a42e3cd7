//! Finding the end of the log: what a torn tail is, and what is damage.
//!
//! A crash may leave, behind the last entry that was synced, any mixture of old and new sectors. So the first place where
//! no valid frame stands (where entry *e* should be) is the end of the log, unless something proves that *e* was once
//! durable: the watermark in a later frame, a watermark slot, or the live tail page. Then it is damage, and nothing is cut.
//!
//! Where only the process has died, the frames it had accepted and not yet moved are in the log buffer. They are moved as soon as
//! the search comes to where they belong, and then everything accepted must be there.
//!
//! The search begins at the newest watermark slot, not at the beginning, and covers only segments that are not sealed, so
//! its cost does not grow with the log. Recovery is idempotent: it may be interrupted anywhere and be started again.
//!
//! What was found and nothing proves to be on disk is written over itself, so that the next sync writes it. If it is little,
//! recovery syncs it; otherwise that is left to the log's first sync, and *durable* stands at what is proven until then.

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::LeftOver;
use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START};
use crate::frame::{FrameHeader, HEADER_BYTES, check_frame};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::region::Claim;
use crate::role_file::read_role;
use crate::segment::{Segment, read_header};

/// So many bytes that are not proven to be on disk are synced before the log is open: a few milliseconds, for which what was
/// found is durable from the beginning. More of them would hold up the open for as long as the disk takes.
const SYNC_AT_OPEN_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// What a killed writer left in the log buffer is read in pieces that begin with this size.
const LEFT_OVER_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// So much in front of where the search begins is looked at, too, whether the disk can read it: the entry before stands there,
/// if it is not larger.
const PROBE_BEFORE: usize = 1 << 20;

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

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&byte| byte != 0)
}

/// Where the search begins in a segment: behind the newest slot, or at its beginning.
fn starting_point(segment: &Segment) -> (OpId, usize) {
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
fn probe(segment: &Segment) -> Result<()> {
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

/// Where the log ends, among its segments that are not sealed.
struct End {
    /// Index, among those segments, of the one in which the log ends.
    segment: usize,
    /// Where the frames end in each segment up to that one.
    ends: Vec<usize>,
    scan: Scan,
    /// What stands behind, in that segment.
    rest: Rest,
    /// The last entry that a sync is known to have covered.
    durable: OpId,
}

/// Finds the end in `segments`, consecutive and not sealed, the last of them the newest of the log, with the sealed one
/// before them. `area` lends a segment's frames from an offset on. `complete` is told where a segment's frames seem to end, and
/// says whether it has added some there.
fn find_end<'a>(
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

/// The last entry that a segment's own records prove to have been durable.
pub(crate) fn proven_by(segment: &Segment) -> OpId {
    let slot = segment.slot().map_or(OpId::ZERO, |slot| OpId::new(slot.durable));
    let footer = segment.sealed().map_or(OpId::ZERO, |trailer| OpId::new(trailer.last));
    slot.max(footer)
}

/// Looks through `area`, which begins at offset `start` of its segment.
pub(crate) fn search_segment(segment: &Segment, area: &[u8], start: usize) -> Rest {
    search(area, segment.seed, |range| {
        let data = segment.file().data(start + range.start..start + range.end)?;
        Some(data.start - start..data.end - start)
    })
}

/// Segments that are not sealed, oldest first, and the sealed one before them, if any.
type Unsealed = (Vec<Arc<Segment>>, Option<Arc<Segment>>);

/// Opens the newest segments of the log, back to the first that is sealed.
fn unsealed(disk: &dyn Disk, log_id: LogId, chain: &Chain, writable: bool) -> Result<Unsealed> {
    let (mut segments, mut sealed) = (Vec::new(), None);
    for link in chain.links().iter().rev() {
        let segment = open_whole(disk, log_id, link.sequence, link.first, writable)?;
        if let Some(trailer) = segment.sealed() {
            let next = OpId::new(trailer.last).next();
            let successor: Option<&Arc<Segment>> = segments.last();
            if successor.is_none_or(|s| s.first != next) {
                let path = disk.path().to_path_buf();
                return Err(Error::MissingSegment {
                    path,
                    sequence: link.sequence.next().0,
                    from: next,
                });
            }
            sealed = Some(segment);
            break;
        }
        segments.push(segment);
    }
    segments.reverse();
    Ok((segments, sealed))
}

/// Opens a segment; one that was cut short, as by a copy that was interrupted, is made as long as it was before.
fn open_whole(disk: &dyn Disk, log_id: LogId, sequence: Sequence, first: OpId, writable: bool) -> Result<Arc<Segment>> {
    if writable {
        let name = format::segment_name(sequence, first);
        let path = disk.path().join(&name);
        let length = disk.length(&name).map_err(Error::io("look at", &path))?;
        if length >= FRAMES_START as u64 {
            let medium = disk.open(&name, FRAMES_START, false).map_err(Error::io("map", &path))?;
            let header = read_header(&medium.region, log_id, sequence, &path)?;
            if header.length > length {
                tracing::warn!(path = %path.display(), length, wanted = header.length, "segment was cut short");
                disk.extend(&name, header.length).map_err(Error::io("extend", &path))?;
            }
        }
    }
    Segment::open(disk, log_id, sequence, first, writable).map(Arc::new)
}

/// The last entry before the end of the log, found without writing anything; for readers where no writer has been.
pub(crate) fn last_whole_entry(disk: &dyn Disk, log_id: LogId, chain: &Chain, first: OpId) -> Result<OpId> {
    let (segments, sealed) = unsealed(disk, log_id, chain, false)?;
    if segments.is_empty() {
        return Ok(first.previous());
    }
    segments.iter().try_for_each(|segment| probe(segment))?;
    // No writer is alive, so what stands in the files is all there will be: the whole frame area may be looked at. These
    // mappings serve the search only.
    for segment in &segments {
        segment.region().publish_foreign(segment.frames_limit());
    }
    let area = |i: usize, start: usize| segments[i].region().bytes(start..segments[i].frames_limit());
    let evidence = Evidence {
        following: read_role(disk, log_id)?.following,
        ..Evidence::default()
    };
    let nothing = |_: &Segment, _: &Scan| Ok(false);
    let end = match find_end((&segments, sealed.as_deref()), evidence, area, nothing, |_, _, _| {}) {
        Ok(end) => end.scan.next.previous(),
        // Readers get everything up to the damage, and the error when they reach it.
        Err(Error::Corrupt { durable, .. }) => durable,
        Err(e) => return Err(e),
    };
    Ok(end)
}

/// What is known of a log before its segments have been looked at: what a live tail page says must be there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The one segment was made by this open and is empty.
    pub(crate) new: bool,
    /// Covered by a successful sync.
    pub(crate) durable: OpId,
    /// Appended, by a log that was not poisoned.
    pub(crate) accepted: OpId,
    /// The log follows another, whose writer wrote its frames.
    pub(crate) following: bool,
}

/// Whether the frame of entry `expected` may begin here and only its end be missing.
fn goes_on(rest: &[u8], expected: OpId) -> bool {
    rest.first_chunk()
        .map(FrameHeader::decode)
        .is_none_or(|header| header.op_id == expected && header.frame_bytes() > rest.len())
}

/// Moves what a dead writer left in the log buffer for a segment in which `found` was found, behind that; returns whether there
/// was anything.
fn move_left_over(segment: &Segment, found: &Scan, left_over: &LeftOver) -> Result<bool> {
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

/// A log that has been recovered and is ready for appending.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    /// Full segments that have no footer yet, oldest first. What is in them is durable if all that was found is.
    pub(crate) full: Vec<Arc<Segment>>,
    /// The last entry that is known to be durable.
    pub(crate) durable: OpId,
    /// The newest segment and the claim to it.
    pub(crate) newest: (Arc<Segment>, Claim),
    /// With term and timestamp of the last entry, wherever it stands.
    pub(crate) end: Scan,
}

/// Recovers the log for its writer: finds the end, keeps a copy of what lies beyond and cuts it off, and makes the rest
/// durable, or leaves that to the next sync of all the segments returned.
pub(crate) fn recover(disk: &dyn Disk, log_id: LogId, chain: &Chain, evidence: Evidence) -> Result<Recovered> {
    let (segments, sealed) = unsealed(disk, log_id, chain, true)?;
    if !evidence.new {
        segments.iter().try_for_each(|segment| probe(segment))?;
    }
    let claims: Option<Vec<Claim>> = segments.iter().map(|s| s.region().claim()).collect();
    let mut claims = claims.ok_or(Error::Closed)?;
    let left_over = LeftOver::open(disk, log_id);
    let area = |i: usize, start: usize| claims[i].bytes(start..segments[i].frames_limit());
    let complete = |segment: &Segment, found: &Scan| match &left_over {
        Some(left_over) => move_left_over(segment, found, left_over),
        None => Ok(false),
    };
    let note = |i: usize, header: &FrameHeader, offset| segments[i].note(header.op_id, offset);
    let end = find_end((&segments, sealed.as_deref()), evidence, area, complete, note)?;

    let keep = chain.links().len() - (segments.len() - 1 - end.segment);
    for segment in segments[end.segment + 1..].iter().rev() {
        set_aside(disk, segment)?;
    }
    let newest = &segments[end.segment];
    cut(disk, newest, &claims[end.segment], &end)?;

    let mut unproven = 0;
    for (i, (segment, claim)) in segments.iter().zip(&mut claims).take(end.segment + 1).enumerate() {
        let (_, start) = starting_point(segment);
        segment.trust_from(start);
        if i < end.segment {
            segment.set_last(segments[i + 1].first.previous());
        }
        let frames_end = end.ends[i];
        claim.publish(frames_end);
        // Nothing proves that these frames are on disk: a sync may have failed in an earlier life of the log.
        let from = unproven_from(segment, end.durable, start..frames_end);
        let rewritten = segment.file().rewrite(from..frames_end);
        rewritten.map_err(Error::io("write", &segment.path))?;
        unproven += frames_end - from;
    }
    let durable = match unproven <= SYNC_AT_OPEN_BYTES {
        true => {
            for segment in &segments[..=end.segment] {
                segment.sync().map_err(Error::io("sync", &segment.path))?;
            }
            end.scan.next.previous()
        }
        false => end.durable,
    };
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;

    let mut scan = end.scan;
    if let Some(last) = last_entry(&segments, sealed.as_deref(), &end) {
        (scan.term, scan.timestamp) = (last.term, last.timestamp);
    }
    let mut open: Vec<_> = segments.into_iter().zip(claims).take(end.segment + 1).collect();
    let newest = open.pop().ok_or(Error::Closed)?;
    Ok(Recovered {
        chain: chain.truncated(keep),
        full: open.into_iter().map(|(segment, _)| segment).collect(),
        durable,
        newest,
        end: scan,
    })
}

/// Where, in `frames` of a segment, the first entry stands that is not known to be durable.
fn unproven_from(segment: &Segment, durable: OpId, frames: Range<usize>) -> usize {
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
fn last_entry(segments: &[Arc<Segment>], sealed: Option<&Segment>, end: &End) -> Option<FrameHeader> {
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

/// Cuts everything behind the end, after keeping a copy of what is not zero.
fn cut(disk: &dyn Disk, segment: &Segment, claim: &Claim, end: &End) -> Result<()> {
    let offset = end.scan.end;
    let torn = claim.bytes(offset..segment.length());
    let behind = segment.frames_limit() - offset;
    let Some(last) = last_nonzero(&torn[behind..])
        .map(|last| behind + last)
        .max(end.rest.last)
    else {
        return Ok(());
    };
    let name = free_name(disk, &format!("torn-{:010}-{offset}", segment.sequence.0), "bin")?;
    tracing::warn!(
        segment = %segment.path.display(), offset, bytes = last + 1, kept = %name,
        "torn tail: cutting what a crash left behind the last whole entry"
    );
    disk.replace(&name, &torn[..=last])
        .map_err(Error::io("write", disk.path().join(&name)))?;
    let zeros = vec![0; (last + 1).next_multiple_of(8)];
    segment
        .file()
        .write_at(offset, &zeros)
        .map_err(Error::io("write", &segment.path))
}

/// Takes a segment out of the log that lies wholly behind the end, and keeps its file.
fn set_aside(disk: &dyn Disk, segment: &Segment) -> Result<()> {
    let from = format::segment_name(segment.sequence, segment.first);
    let to = free_name(
        disk,
        &format!("torn-{:010}-{:020}", segment.sequence.0, segment.first.get()),
        "seg",
    )?;
    tracing::warn!(segment = %segment.path.display(), kept = %to, "segment behind the end of the log set aside");
    disk.rename(&from, &to).map_err(Error::io("rename", &segment.path))?;
    disk.sync_directory().map_err(Error::io("sync", disk.path()))
}

pub(crate) fn free_name(disk: &dyn Disk, stem: &str, suffix: &str) -> Result<String> {
    let taken = disk.names().map_err(Error::io("list", disk.path()))?;
    let names = std::iter::once(format!("{stem}.{suffix}")).chain((2..).map(|n| format!("{stem}-{n}.{suffix}")));
    names
        .into_iter()
        .find(|name| !taken.contains(name))
        .ok_or(Error::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{crc32, frame_bytes};

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
