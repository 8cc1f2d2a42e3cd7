//! Reading frames as they lie in their segments, for another member of the log.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START, MANIFEST, Manifest, SegmentHeader, VERSION, encode_checked};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::part_file::{PART_BYTES_MAX, write_part};
use crate::role_file::{Base, Role, write_role};
use crate::segment::{Segment, header_records, read_header};
use crate::terms::Before;
use crate::view::{OplogView, ReadConcern};

/// A segment as it begins: what another member needs to make one that is byte for byte the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentStart {
    /// Which log.
    pub log_id: LogId,
    /// Its sequence number.
    pub sequence: u64,
    /// Its first entry.
    pub first: OpId,
    /// The seed of its checksums.
    pub seed: u32,
    /// Its length in bytes.
    pub length: u64,
    /// Nanoseconds since the Unix epoch at which it was prepared.
    pub created: u64,
}

impl SegmentStart {
    pub(crate) fn header(&self) -> SegmentHeader {
        SegmentHeader {
            version: VERSION,
            log_id: self.log_id.to_bytes(),
            sequence: self.sequence,
            seed: self.seed,
            length: self.length,
            created: self.created,
        }
    }
}

/// Consecutive frames of one segment, whole batches. It keeps the segment mapped.
#[derive(Clone, Debug)]
pub struct FrameRun {
    segment: Arc<Segment>,
    log_id: LogId,
    range: Range<usize>,
    /// The first entry.
    pub first: OpId,
    /// The last one.
    pub last: OpId,
    /// Term of the last one.
    pub term: Term,
    /// When the first of that term in this run was written, and which entry it is.
    pub term_start: (OpId, Timestamp),
}

impl FrameRun {
    /// The frames.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.segment.region().bytes(self.range.clone())
    }

    /// The seed of the checksums of its segment.
    pub(crate) fn seed(&self) -> u32 {
        self.segment.seed
    }

    /// Whether the run is the beginning of its segment.
    #[must_use]
    pub fn begins_segment(&self) -> bool {
        self.range.start == FRAMES_START
    }

    /// How its segment begins.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedMetadata`] when neither copy of the header is right.
    pub fn segment_start(&self) -> Result<SegmentStart> {
        start_of(&self.segment, self.log_id)
    }
}

fn start_of(segment: &Segment, log_id: LogId) -> Result<SegmentStart> {
    let header = read_header(segment.region(), log_id, segment.sequence, &segment.path)?;
    Ok(SegmentStart {
        log_id,
        sequence: header.sequence,
        first: segment.first,
        seed: header.seed,
        length: header.length,
        created: header.created,
    })
}

impl OplogView {
    /// The frames from entry `from` on, of its segment, as many whole batches as fit `bytes_max` and at least one. All of one
    /// term, so that who sends them knows what it sends. Nothing when `from` is not there yet, or still in the log buffer, where
    /// nothing is that has been released.
    ///
    /// # Errors
    ///
    /// As [`Cursor::try_next`](crate::Cursor::try_next).
    pub fn frames(&self, from: OpId, bytes_max: usize, concern: ReadConcern) -> Result<Option<FrameRun>> {
        self.frames_up_to(from, OpId::new(u64::MAX), bytes_max, concern)
    }

    /// As [`OplogView::frames`], with no entry behind `last`, which ends its batch.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn frames_up_to(
        &self,
        from: OpId,
        last: OpId,
        bytes_max: usize,
        concern: ReadConcern,
    ) -> Result<Option<FrameRun>> {
        let mut cursor = self.cursor(from, concern)?;
        let mut run: Option<FrameRun> = None;
        // End of the batch that is being looked at.
        let mut end = 0;
        while let Some(entry) = cursor.try_next()? {
            let Some((segment, frame)) = entry.place() else {
                break;
            };
            match &run {
                _ if entry.op_id() > last => break,
                Some(run) if !Arc::ptr_eq(&run.segment, segment) => break,
                Some(run) if run.term != entry.term() => break,
                Some(run) if !run.range.is_empty() && frame.end - run.range.start > bytes_max => break,
                Some(_) => {}
                None => {
                    run = Some(FrameRun {
                        segment: Arc::clone(segment),
                        log_id: self.log_id(),
                        range: frame.start..frame.start,
                        first: entry.op_id(),
                        last: from.previous(),
                        term: entry.term(),
                        term_start: (entry.op_id(), entry.timestamp()),
                    });
                }
            }
            end = end.max(frame.end);
            if entry.ends_batch()
                && let Some(run) = &mut run
            {
                run.range.end = end;
                run.last = entry.op_id();
            }
        }
        Ok(run.filter(|run| !run.range.is_empty()))
    }

    /// How the segment begins that holds entry `op_id`, or that will hold it when it is the next one.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when it has been trimmed; as [`OplogView::get`].
    pub fn segment_of(&self, op_id: OpId) -> Result<SegmentStart> {
        start_of(&*self.shared.covering(op_id)?, self.log_id())
    }
}

/// An entry among frames that have been checked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FrameEntry<'a> {
    /// Its position.
    pub op_id: OpId,
    /// How its payload is to be read.
    pub kind: u8,
    /// Whether it ends what becomes visible together.
    pub ends_batch: bool,
    /// Its payload.
    pub payload: &'a [u8],
}

/// The entries in frames that [`Oplog::append_frames`](crate::Oplog::append_frames) has taken. Ends early, and without a word,
/// in bytes that are not frames.
pub fn entries_in(frames: &[u8]) -> impl Iterator<Item = FrameEntry<'_>> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let header = FrameHeader::decode(rest.first_chunk()?);
        let (frame, behind) = rest.split_at_checked(header.frame_bytes())?;
        rest = behind;
        Some(FrameEntry {
            op_id: header.op_id,
            kind: header.kind,
            ends_batch: header.ends_batch(),
            payload: frame.get(HEADER_BYTES..HEADER_BYTES + header.length as usize)?,
        })
    })
}

/// Makes a log in `dir`, which must not hold one, that follows another: with one empty segment, whose entries are to come. It
/// has promised `promised`, knows `before` of the entries before that segment, and begins no term that is not newer than `known`.
///
/// # Errors
///
/// [`Error::NotALog`] when there is something in the directory; [`Error::StorageFull`], [`Error::Io`].
pub fn create_follower(
    dir: impl AsRef<Path>,
    start: &SegmentStart,
    promised: Term,
    known: Term,
    before: Before,
) -> Result<()> {
    create(dir.as_ref(), start, promised, known, before, None)
}

/// As [`create_follower`], for a log that is to have only a part of the entries ([`FrameRun::part`]): the one that `part` names, at
/// most [`PART_BYTES_MAX`](crate::PART_BYTES_MAX) bytes. It is never written to but by following.
///
/// # Errors
///
/// As there; [`Error::InvalidOption`] for a name that is empty or too long.
pub fn create_partial_follower(
    dir: impl AsRef<Path>,
    start: &SegmentStart,
    promised: Term,
    known: Term,
    before: Before,
    part: &[u8],
) -> Result<()> {
    match part.len() {
        1..=PART_BYTES_MAX => create(dir.as_ref(), start, promised, known, before, Some(part)),
        bytes => Err(Error::InvalidOption {
            option: "the name of a part",
            range: "1 to 65,536 bytes",
            got: bytes as u64,
        }),
    }
}

fn create(
    dir: &Path,
    start: &SegmentStart,
    promised: Term,
    known: Term,
    before: Before,
    part: Option<&[u8]>,
) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let disk = OsDisk::new(dir);
    if !disk.names().map_err(Error::io("list", dir))?.is_empty() {
        return Err(Error::NotALog {
            path: dir.to_path_buf(),
        });
    }
    let role = Role {
        following: true,
        member: None,
        promised,
        trimmed: before.rank,
        base: before.term.filter(|_| start.first > OpId::FIRST).map(|term| Base {
            term,
            op_id: start.first.previous(),
        }),
    };
    write_role(&disk, start.log_id, role)?;
    if let Some(part) = part {
        write_part(&disk, start.log_id, part)?;
    }
    let name = format::segment_name(Sequence(start.sequence), start.first);
    let path = dir.join(&name);
    disk.prepare(&name, start.length, 0, &header_records(&start.header()))
        .map_err(Error::preparing(dir, &path, start.length))?;
    disk.sync_directory().map_err(Error::io("sync", dir))?;
    // Last: until then the directory is no log.
    let manifest = Manifest {
        version: VERSION,
        log_id: start.log_id.to_bytes(),
        created: start.created,
        term: promised
            .max(known)
            .max(before.rank.term)
            .max(before.term.unwrap_or_default())
            .get(),
        first_sequence: start.sequence,
        first_op_id: start.first.get(),
    };
    disk.replace(MANIFEST, &encode_checked(&manifest, 0))
        .map_err(Error::io("write", dir.join(MANIFEST)))
}
