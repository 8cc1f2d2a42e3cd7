//! A segment file as it stands, read without believing it.

use super::Span;
use super::salvage::{header_of, proven_by_records, salvage_header};
use crate::buffer::LeftOver;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{FRAMES_START, SegmentHeader, TRAILER_BYTES};
use crate::frame::{FLAG_BATCH, check_frame};
use crate::ids::{LogId, OpId, Sequence, Term};
use crate::recovery::{scan, search};
use crate::segment::Segment;
use crate::view::find_tail;

/// One gap-free run of whole entries in one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) span: Span,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) terms: (Term, Term),
}

/// A segment file as it stands, read without believing it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) sequence: Sequence,
    pub(super) first: OpId,
    pub(super) bytes: u64,
    /// Why opening it fails, if it does.
    pub(super) refused: Option<Error>,
    /// Its header, when its frames can be looked at.
    pub(super) header: Option<SegmentHeader>,
    pub(super) sealed: Option<OpId>,
    pub(super) pieces: Vec<Piece>,
    /// Frames that a killed writer left in the log buffer for it, behind its last piece.
    pub(super) behind: Vec<u8>,
    /// Highest OpID that it proves to have been durable.
    pub(super) durable: OpId,
    pub(super) slot: OpId,
    /// Highest term of any of its frames.
    pub(super) term: Term,
    /// End of what is not zero in its frame area.
    pub(super) written: usize,
}

/// Reads everything that stands in a segment file.
pub(super) fn look(
    disk: &dyn Disk,
    log_id: LogId,
    name: &str,
    sequence: Sequence,
    first: OpId,
    left_over: Option<&LeftOver>,
) -> Result<Found> {
    let path = disk.path().join(name);
    let bytes = disk.length(name).map_err(Error::io("look at", &path))?;
    let mut found = Found {
        name: name.to_owned(),
        sequence,
        first,
        bytes,
        refused: None,
        header: None,
        sealed: None,
        pieces: Vec::new(),
        behind: Vec::new(),
        durable: OpId::ZERO,
        slot: OpId::ZERO,
        term: Term::default(),
        written: FRAMES_START,
    };
    match Segment::open(disk, log_id, sequence, first, false) {
        Ok(segment) => {
            found.sealed = segment.sealed().map(|trailer| OpId::new(trailer.last));
            found.slot = segment.slot().map_or(OpId::ZERO, |slot| OpId::new(slot.durable));
        }
        // Nothing is wrong with the file when there is no room to map it.
        Err(
            error @ (Error::NewerFormat { .. }
            | Error::Io {
                action: "map" | "look at",
                ..
            }),
        ) => return Err(error),
        Err(error) => found.refused = Some(error),
    }
    let header = match header_of(disk, name)? {
        Some(header) => Some(header),
        None => salvage_header(disk, log_id, name, sequence, first)?,
    };
    let Some(header) = header else {
        return Ok(found);
    };
    let ours = header.log_id == log_id.to_bytes() && header.sequence == sequence.0;
    let cut_short = matches!(found.refused, Some(Error::DamagedMetadata { .. }));
    let Ok(length) = usize::try_from(header.length) else {
        return Ok(found);
    };
    let sane = length >= FRAMES_START + TRAILER_BYTES
        && length.is_multiple_of(8)
        && header.length <= crate::options::SEGMENT_BYTES_MAX;
    if !ours || !sane || (found.refused.is_some() && !cut_short) {
        return Ok(found);
    }
    // A file that was cut short is read as far as it goes.
    let limit = (length - TRAILER_BYTES).min(usize::try_from(bytes).unwrap_or(length)) & !7;
    let mapped = usize::try_from(bytes).unwrap_or(length).min(length);
    let medium = disk.open(name, mapped, false).map_err(Error::io("map", &path))?;
    medium.region.publish_foreign(limit);
    let area = medium.region.bytes(FRAMES_START..limit);
    let seed = header.seed;
    let records = match found.refused {
        Some(_) => proven_by_records(&medium.region, seed, mapped == length, length),
        None => found.slot.max(found.sealed.unwrap_or(OpId::ZERO)),
    };
    let all = search(area, seed, Some);
    found.durable = records.max(all.watermark);
    found.written = FRAMES_START + all.last.map_or(0, |last| last + 1);
    found.pieces = pieces(area, seed, first, &mut found.term);
    if found.sealed.is_none()
        && let Some(left_over) = left_over
    {
        let last = found.pieces.last();
        let (at, next, term) = last.map_or((FRAMES_START, first, Term::default()), |p| {
            (p.end, p.span.last.next(), p.terms.1)
        });
        let mut ring = Vec::new();
        left_over.read(at, left_over.len(), &mut ring);
        let room = ring.len().min((length - TRAILER_BYTES).saturating_sub(at));
        let more = scan(&ring[..room], at, seed, next, term, |_, _| {});
        if more.end > at {
            found.behind = ring[..more.end - at].to_vec();
            found.term = found.term.max(more.term);
            let end = more.next.previous();
            match found.pieces.last_mut() {
                Some(piece) => (piece.span.last, piece.terms.1) = (end, more.term),
                None => found.pieces.push(Piece {
                    span: Span { first, last: end },
                    start: at,
                    end: at,
                    terms: (term, more.term),
                }),
            }
        }
    }
    found.header = Some(header);
    Ok(found)
}

/// The gap-free runs of entries in a frame area whose first entry should be `first`; `term` is raised to the highest seen.
fn pieces(area: &[u8], seed: u32, first: OpId, term: &mut Term) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut at, mut expected) = (0, first);
    while at < area.len() {
        let mut terms = (Term::default(), Term::default());
        let found = scan(
            &area[at..],
            FRAMES_START + at,
            seed,
            expected,
            Term::default(),
            |header, _| {
                if terms.0 == Term::default() {
                    terms.0 = header.term;
                }
            },
        );
        terms.1 = found.term;
        *term = (*term).max(found.term);
        if found.next > expected {
            pieces.push(Piece {
                span: Span {
                    first: expected,
                    last: found.next.previous(),
                },
                start: FRAMES_START + at,
                end: found.end,
                terms,
            });
        }
        // On to the next whole frame behind the one that is not. A batch of which members are missing stays away whole, so an
        // entry is a beginning only when it belongs to none; behind the end of a batch is a beginning, too.
        let above = found.invalid.0;
        at = found.invalid.1 - FRAMES_START;
        let mut inside = true;
        loop {
            let Some(rest) = area.get(at..).filter(|rest| !rest.is_empty()) else {
                return pieces;
            };
            match check_frame(rest, seed) {
                Some(header) if header.op_id >= above && header.watermark < header.op_id => {
                    if !inside || header.flags & FLAG_BATCH == 0 {
                        expected = header.op_id;
                        break;
                    }
                    *term = (*term).max(header.term);
                    inside = !header.ends_batch();
                    at += header.frame_bytes();
                }
                _ => {
                    // Zeros up to the end are the rest of most segments.
                    let page = &rest[..rest.len().min(4096)];
                    at += if page.iter().all(|&byte| byte == 0) {
                        page.len()
                    } else {
                        8
                    };
                    inside = true;
                }
            }
        }
    }
    pieces
}

/// The highest OpID known to have been durable.
pub(super) fn proven(disk: &dyn Disk, log_id: LogId, found: &[Found]) -> Result<OpId> {
    let files = found.iter().map(|f| f.durable).fold(OpId::ZERO, OpId::max);
    let Some(tail) = find_tail(disk)?.filter(|tail| tail.is_live(log_id)) else {
        return Ok(files);
    };
    let accepted = if tail.is_poisoned() {
        OpId::ZERO
    } else {
        tail.accepted()
    };
    Ok(files.max(tail.durable()).max(accepted))
}
