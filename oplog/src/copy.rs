//! Copying a part of a log, also while it is written: the frames of consecutive segments up to one entry, into a directory that
//! is a log of its own afterwards.
//!
//! # What a copy is
//!
//! - The same log id, sequence numbers, seeds, terms, timestamps: every frame is the same bytes, so a position that the original
//!   gave out up to the copy's end is good in the copy. What is written into a copy afterwards has another term or timestamp.
//! - It begins with the segment that holds the first entry wanted, and ends with the last one wanted, never inside a batch.
//! - Headers, slots and footers are made for it and claim what it holds, no more: the last segment has no footer, and a slot that
//!   proves its end. It is as long as its frames and their index need.
//! - It has no retention slots, no tail page and no buffer.
//! - A copy of a [part](crate::create_partial_follower) is one of the same part, and says so. What two logs have of a shared
//!   history is joined only if both have the same part of it, or everything.
//!
//! # Why it is consistent
//!
//! It only reaches to what has been released, and frames below that are never written again. Each one's checksum is computed
//! from what is copied. `MANIFEST` is written last, when everything else is durable: until then the directory is no log.
//!
//! Nothing keeps the segments from being trimmed meanwhile but the caller, with a slot or a hold; without one the copy may fail
//! with [`Error::HistoryLost`], and never has a gap.

use std::path::Path;
use std::sync::Arc;

use crate::chain::{Chain, Link};
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::format::{
    self, FRAMES_START, HEADER_OFFSETS, MANIFEST, Manifest, SLOT_OFFSETS, SegmentHeader, Slot, TRAILER_BYTES,
    encode_checked,
};
use crate::ids::{LogId, OpId, Sequence, Term};
use crate::part_file::write_part;
use crate::recovery::scan;
use crate::segment::{Segment, index_bytes, read_header};
use crate::view::{OplogView, ReadConcern, Shared, read_manifest};

/// Frames are written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What of a log is copied; see [`OplogView::copy_to`].
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions<'a> {
    /// The first entry that must be in the copy, which begins with the segment that holds it.
    pub from: OpId,
    /// The last entry of the copy, the last of its batch; [`OpId::ZERO`] for a log without entries.
    pub to: OpId,
    /// An older copy of the same log, for entries from `from` on that this one does not have any more. Its newest entry must
    /// still be in this one, which shows that they share a history.
    pub earlier: Option<&'a OplogView>,
}

/// What [`OplogView::copy_to`] has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CopyOutcome {
    /// The first entry of the copy.
    pub first: OpId,
    /// The last one.
    pub last: OpId,
    /// How many segments it has.
    pub segments: u64,
    /// Bytes of frames in them.
    pub bytes: u64,
}

/// A segment to be copied, with the log that has it.
struct Piece<'a> {
    log: &'a Shared,
    link: Arc<Link>,
    last: OpId,
}

impl OplogView {
    /// Copies entries into `target`, which must not exist, as a log of its own; see `docs/backup.md`. `progress` is told the
    /// bytes of each piece that has been written. When it fails, nothing is left behind.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when the first entry has been trimmed, [`Error::Ahead`] when the last has not been released,
    /// [`Error::InsideBatch`] when it is not the last of its batch; [`Error::OtherLog`] and [`Error::Diverged`] when the earlier
    /// copy is not one of the same history, [`Error::OtherPart`] when it has another part of it; [`Error::Corrupt`] and its kin when an entry is damaged; [`Error::StorageFull`],
    /// [`Error::Io`].
    pub fn copy_to(
        &self,
        target: impl AsRef<Path>,
        options: &CopyOptions<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<CopyOutcome> {
        let pieces = plan(self, options)?;
        let target = target.as_ref();
        std::fs::create_dir(target).map_err(Error::io("create", target))?;
        let copied = write_log(&OsDisk::new(target), self, options, &pieces, progress);
        if copied.is_err() {
            // The error is what matters; without a manifest, what stays is no log.
            let _ = std::fs::remove_dir_all(target);
        }
        copied
    }
}

/// The segments that hold the entries, oldest first, none missing.
fn plan<'a>(view: &'a OplogView, options: &CopyOptions<'a>) -> Result<Vec<Piece<'a>>> {
    let CopyOptions { from, to, earlier } = *options;
    let newest = view.newest(ReadConcern::Durable);
    if to > newest {
        let requested = to;
        return Err(Error::Ahead { requested, newest });
    }
    if let Some(earlier) = earlier {
        check_shared_past(view, earlier)?;
    }
    let own = links(&view.shared)?;
    let oldest = own.oldest().map_or(from, |link| link.first);
    if to == OpId::ZERO && oldest.min(from) <= OpId::FIRST {
        return Ok(Vec::new());
    }
    let mut found: Vec<(&Shared, Arc<Link>)> = Vec::new();
    if from < oldest {
        let earlier = earlier.map(|earlier| (&*earlier.shared, earlier.shared.oldest()));
        let Some((earlier, _)) = earlier.filter(|(_, first)| *first <= from) else {
            let requested = from;
            return Err(Error::HistoryLost { requested, oldest });
        };
        let older = links(earlier)?;
        let older = older.links().iter().filter(|link| link.first < oldest.min(to.next()));
        found.extend(older.map(|link| (earlier, Arc::clone(link))));
    }
    let own = own.links().iter().filter(|link| link.first <= to);
    found.extend(own.map(|link| (&*view.shared, Arc::clone(link))));

    // The segments before the one that holds `from` are not wanted.
    let begin = found.iter().rposition(|(_, link)| link.first <= from).unwrap_or(0);
    found.drain(..begin);
    if let Some((_, link)) = found.first()
        && link.first > from
    {
        let (requested, oldest) = (from, link.first);
        return Err(Error::HistoryLost { requested, oldest });
    }
    let lasts: Vec<OpId> = found.iter().skip(1).map(|(_, link)| link.first.previous()).collect();
    for pair in found.windows(2) {
        let [(_, a), (log, b)] = pair else { continue };
        if b.sequence != a.sequence.next() {
            return Err(Error::MissingSegment {
                path: log.disk.path().to_path_buf(),
                sequence: a.sequence.next().0,
                from: b.first,
            });
        }
    }
    let lasts = lasts.into_iter().chain([to]);
    let pieces = found.into_iter().zip(lasts);
    Ok(pieces.map(|((log, link), last)| Piece { log, link, last }).collect())
}

/// The chain as it is now; another process may have rolled since the view looked.
fn links(log: &Shared) -> Result<Arc<Chain>> {
    if !log.writer {
        log.refresh()?;
    }
    Ok(log.chain.load_full())
}

/// The older log's newest entry is in the newer one: so is everything before it that either has.
fn check_shared_past(view: &OplogView, earlier: &OplogView) -> Result<()> {
    let (expected, got) = (view.log_id(), earlier.log_id());
    if expected != got {
        return Err(Error::OtherLog { expected, got });
    }
    // Places and terms are the same in every part, so the entry below does not tell them apart.
    if view.part()? != earlier.part()? {
        return Err(Error::OtherPart {
            path: view.path().to_path_buf(),
            other: earlier.path().to_path_buf(),
        });
    }
    let newest = earlier.newest(ReadConcern::Durable);
    if newest == OpId::ZERO {
        return Ok(());
    }
    let entry = earlier.get(newest, ReadConcern::Durable)?;
    view.check_position(newest, entry.term(), entry.timestamp())
}

fn write_log(
    target: &dyn Disk,
    view: &OplogView,
    options: &CopyOptions<'_>,
    pieces: &[Piece<'_>],
    progress: &mut dyn FnMut(u64),
) -> Result<CopyOutcome> {
    let mut manifest = read_manifest(&*view.shared.disk)?;
    if let Some(earlier) = options.earlier {
        manifest.term = manifest.term.max(read_manifest(&*earlier.shared.disk)?.term);
    }
    let (first_sequence, first) = match pieces.first() {
        Some(piece) => (piece.link.sequence, piece.link.first),
        // A log without entries: a manifest of term 0 needs no segment.
        None => {
            manifest.term = 0;
            (Sequence::FIRST, OpId::FIRST)
        }
    };
    let (mut bytes, mut term) = (0, Term::default());
    for (i, piece) in pieces.iter().enumerate() {
        let segment = piece
            .link
            .segment(&*piece.log.disk, piece.log.log_id, &piece.log.recent);
        let segment = segment.map_err(|error| lost_or(piece, error))?;
        let (end, last_term) = check(piece, &segment, term)?;
        term = last_term;
        write_segment(target, &segment, (piece, end), i + 1 == pieces.len(), progress)?;
        bytes += (end - FRAMES_START) as u64;
    }
    if let Some(part) = view.part()? {
        write_part(target, view.log_id(), &part)?;
    }
    target.sync_directory().map_err(Error::io("sync", target.path()))?;
    let manifest = Manifest {
        first_sequence: first_sequence.0,
        first_op_id: first.get(),
        ..manifest
    };
    target
        .replace(MANIFEST, &encode_checked(&manifest, 0))
        .map_err(Error::io("write", target.path().join(MANIFEST)))?;
    Ok(CopyOutcome {
        first,
        last: options.to,
        segments: pieces.len() as u64,
        bytes,
    })
}

/// A segment that cannot be opened because it was trimmed is history.
fn lost_or(piece: &Piece<'_>, error: Error) -> Error {
    // Looked up again: in another process, the view learns of a trim when it looks.
    if !piece.log.writer {
        let _ = piece.log.refresh();
    }
    let oldest = piece.log.oldest();
    match piece.link.first < oldest {
        true => Error::HistoryLost {
            requested: piece.link.first,
            oldest,
        },
        false => error,
    }
}

/// Checks every frame up to the piece's last entry, and that no batch is cut; returns where they end, and the last one's term.
fn check(piece: &Piece<'_>, segment: &Segment, term: Term) -> Result<(usize, Term)> {
    let corrupt = |offset, expected| piece.log.corrupt(segment, offset, expected);
    let invalid = |e: crate::segment::InvalidFrame| corrupt(e.offset, e.expected);
    let offset = segment.locate(piece.last).map_err(invalid)?;
    let end = offset + segment.hop(offset, piece.last).map_err(invalid)?.frame_bytes();
    segment.probe(FRAMES_START..end)?;
    let frames = segment.region().bytes(FRAMES_START..end);
    let scanned = scan(frames, FRAMES_START, segment.seed, segment.first, term, |_, _| {});
    let (next, at) = scanned.invalid;
    if (next, at) != (piece.last.next(), end) {
        return Err(corrupt(at, next));
    }
    if scanned.next != next {
        let (mut last, mut at) = (piece.last, offset);
        loop {
            let header = segment.hop(at, last).map_err(invalid)?;
            if header.ends_batch() {
                break;
            }
            (last, at) = (last.next(), at + header.frame_bytes());
        }
        return Err(Error::InsideBatch {
            op_id: piece.last,
            first: scanned.next,
            last,
        });
    }
    Ok((end, scanned.term))
}

/// Writes one segment of the copy, whose frames go up to `end`, durably but for its name. `newest`: the log ends in it.
fn write_segment(
    target: &dyn Disk,
    segment: &Segment,
    (piece, end): (&Piece<'_>, usize),
    newest: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let last = piece.last;
    let entries = last.get() - segment.first.get() + 1;
    let length = match newest {
        // Room for the index with which it will be sealed.
        true => (end + index_bytes(entries).next_multiple_of(8) + TRAILER_BYTES).next_multiple_of(4096),
        false => segment.length(),
    };
    let name = format::segment_name(segment.sequence, segment.first);
    let path = target.path().join(&name);
    let mut records = headers(segment, piece.log.log_id, length as u64)?;
    if newest {
        let slot = Slot {
            count: 1,
            durable: last.get(),
            end: end as u64,
        };
        records.push((SLOT_OFFSETS[1], encode_checked(&slot, segment.seed)));
    } else {
        let footer = match segment.sealed_footer() {
            Some(footer) => footer,
            // Its successor's frames are in the copy, so it is full, whether the writer has sealed it yet or not.
            None => {
                segment.set_last(last);
                let whole = segment.footer();
                whole.map_err(|e| Error::Corrupt {
                    path: segment.path.clone(),
                    offset: e.offset as u64,
                    expected: e.expected,
                    durable: last,
                })?
            }
        };
        records.push(footer);
    }
    target
        .prepare(&name, length as u64, 0, &records)
        .map_err(Error::preparing(target.path(), &path, length as u64))?;
    let copy = target.open(&name, length, true).map_err(Error::io("map", &path))?;
    for at in (FRAMES_START..end).step_by(PIECE_BYTES) {
        let bytes = segment.region().bytes(at..end.min(at + PIECE_BYTES));
        copy.file.write_at(at, bytes).map_err(Error::io("write", &path))?;
        progress(bytes.len() as u64);
    }
    copy.file.sync().map_err(Error::io("sync", &path))
}

/// Both copies of the segment's header, with another length.
fn headers(segment: &Segment, log_id: LogId, length: u64) -> Result<Vec<(usize, Vec<u8>)>> {
    let header = read_header(segment.region(), log_id, segment.sequence, &segment.path)?;
    let header = SegmentHeader { length, ..header };
    let copies = HEADER_OFFSETS.iter();
    Ok(copies.map(|&offset| (offset, encode_checked(&header, 0))).collect())
}
