//! Reading a whole log with every checksum, and saying what was found.

use std::path::{Path, PathBuf};

use crate::disk::OsDisk;
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::recovery::{scan, search_segment};
use crate::segment::Segment;
use crate::tail::Tail;
use crate::view::{read_log, read_manifest};

/// What stands in one segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SegmentState {
    /// Full, with a sound footer.
    Sealed,
    /// Full, without a footer: a crash came in between. The next writable open adds it.
    Full,
    /// The newest.
    Open,
}

/// One segment that could be read.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// What stands in it.
    pub state: SegmentState,
    /// First OpID, by its name.
    pub first: OpId,
    /// Last entry that could be read; one less than `first` when there is none.
    pub last: OpId,
    /// Bytes of frames that could be read.
    pub frame_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Timestamps of the first and the last entry.
    pub timestamps: Option<(Timestamp, Timestamp)>,
    /// Highest term.
    pub term: Term,
}

/// Something that is not as it should be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Bytes behind the last entry that a crash left; nothing durable is among them. The next writable open cuts them off
    /// after keeping a copy.
    TornTail {
        /// The newest segment.
        path: PathBuf,
        /// Where the last whole entry ends.
        offset: u64,
        /// Bytes up to the last that is not zero.
        bytes: u64,
    },
    /// Damage: entries that were durable cannot be read.
    Damage(Error),
}

/// What [`verify`] found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// Identity of the log.
    pub log_id: LogId,
    /// Newest term by the manifest.
    pub term: Term,
    /// First entry that has not been trimmed.
    pub oldest: OpId,
    /// Last entry up to which everything from the oldest on could be read.
    pub newest: OpId,
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What is not as it should be; empty for a sound log.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether no durable entry is damaged; a torn tail is no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::Damage(_)))
    }
}

/// Reads the whole log in `dir`, checking every checksum, without writing anything. A live writer may go on meanwhile; what
/// it releases after the call began is left out.
///
/// # Errors
///
/// What keeps the log from being read at all: [`Error::NotFound`], [`Error::NotALog`], [`Error::NewerFormat`],
/// [`Error::DamagedMetadata`] of the manifest, [`Error::MissingSegment`], [`Error::Io`]. Damage inside segments is reported,
/// not returned.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
    let disk = OsDisk::new(dir.as_ref());
    let log_id = LogId::from_bytes(read_manifest(&disk)?.log_id);
    // The watermark before the directory: every entry up to it is in a segment that the listing shows.
    let tail = Tail::open(&disk, false).ok().filter(|tail| tail.is_live(log_id));
    let released = tail.as_ref().map(Tail::released);
    let (manifest, chain) = read_log(&disk)?;
    let oldest = OpId::new(manifest.first_op_id);
    let mut report = VerifyReport {
        log_id,
        term: Term::new(manifest.term),
        oldest,
        newest: oldest.previous(),
        segments: Vec::new(),
        findings: Vec::new(),
    };
    for (i, link) in chain.links().iter().enumerate() {
        let successor = chain.links().get(i + 1).map(|next| next.first);
        match Segment::open(&disk, log_id, link.sequence, link.first, false) {
            Ok(segment) => check_segment(&segment, successor, released, &mut report),
            Err(error) => {
                let now = read_manifest(&disk)?;
                if link.sequence < Sequence(now.first_sequence) {
                    // Trimmed meanwhile, with everything before it: the report begins anew.
                    report.oldest = successor.unwrap_or(link.first);
                    report.newest = report.oldest.previous();
                    report.segments.clear();
                    report.findings.clear();
                } else {
                    report.findings.push(Finding::Damage(error));
                }
            }
        }
    }
    Ok(report)
}

fn check_segment(segment: &Segment, successor: Option<OpId>, released: Option<OpId>, report: &mut VerifyReport) {
    let limit = segment
        .sealed()
        .map_or(segment.frames_limit(), |trailer| trailer.end as usize);
    segment.region().publish_foreign(limit);
    let area = segment.region().bytes(FRAMES_START..limit);
    let mut times: Option<(Timestamp, Timestamp)> = None;
    // Beyond what is released, a live writer's frames are its own affair.
    let stop = if successor.is_some() { None } else { released };
    let mut found = scan(
        area,
        FRAMES_START,
        segment.seed,
        segment.first,
        Term::default(),
        |header, _| {
            if stop.is_none_or(|stop| header.op_id <= stop) {
                times = Some((times.map_or(header.timestamp, |t| t.0), header.timestamp));
            }
        },
    );
    if let Some(stop) = stop.filter(|&stop| stop < found.next.previous()) {
        found.next = stop.next().max(segment.first);
    }
    let last = found.next.previous();
    let state = match (segment.sealed(), successor) {
        (Some(_), _) => SegmentState::Sealed,
        (None, Some(_)) => SegmentState::Full,
        (None, None) => SegmentState::Open,
    };
    report.segments.push(SegmentReport {
        path: segment.path.clone(),
        state,
        first: segment.first,
        last,
        frame_bytes: (found.end - FRAMES_START) as u64,
        file_bytes: segment.length() as u64,
        timestamps: times,
        term: found.term,
    });
    if report.newest.next() == segment.first {
        report.newest = last;
    }

    let wanted = match (successor, segment.sealed()) {
        (Some(next), _) => next.previous(),
        (None, Some(trailer)) => OpId::new(trailer.last).min(released.unwrap_or(OpId::new(trailer.last))),
        (None, None) => released.unwrap_or_else(|| {
            let slot = segment.slot().map_or(OpId::ZERO, |slot| OpId::new(slot.durable));
            slot.max(search_segment(segment, &area[found.end - FRAMES_START..], found.end).watermark)
        }),
    };
    if wanted > last {
        let (expected, offset) = found.invalid;
        report.findings.push(Finding::Damage(Error::Corrupt {
            path: segment.path.clone(),
            offset: offset as u64,
            expected,
            durable: wanted,
        }));
    } else if successor.is_none()
        // A live writer may have sealed it since the directory was read.
        && segment.sealed().is_some_and(|trailer| released.is_none_or(|released| released.get() > trailer.last))
    {
        report.findings.push(Finding::Damage(Error::MissingSegment {
            path: segment.path.parent().unwrap_or(Path::new("")).to_path_buf(),
            sequence: segment.sequence.next().0,
            from: last.next(),
        }));
    } else if released.is_none()
        && successor.is_none()
        && let Some(rest) = search_segment(segment, &area[found.end - FRAMES_START..], found.end).last
    {
        let bytes = rest as u64 + 1;
        report.findings.push(Finding::TornTail {
            path: segment.path.clone(),
            offset: found.end as u64,
            bytes,
        });
    }
}
