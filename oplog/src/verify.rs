//! Reading a whole log with every checksum, and saying what was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::Link;
use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::part_file::read_part;
use crate::recovery::{Rest, Scan, proven_by, scan, search_segment};
use crate::role_file::read_role;
use crate::segment::Segment;
use crate::slot_file::{RETENTION, read_slots};
use crate::tail::Tail;
use crate::view::{find_tail, read_log, read_manifest};

/// What stands in one segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SegmentState {
    /// Full, with a sound footer.
    Sealed,
    /// Full, without a footer: a crash came in between. The next writable open adds it.
    Full,
    /// The newest, or the one that will be once a torn tail is cut.
    Open,
    /// Wholly behind the end of the log: power failed before its predecessor's last entries were durable. The next writable
    /// open sets it aside.
    Torn,
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
    /// Last entry that could be read and is not behind the end of the log; one less than `first` when there is none.
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
    /// after keeping a copy. There is one of these for the segment in which the log ends, and then one for each behind it.
    TornTail {
        /// The segment.
        path: PathBuf,
        /// Where the last whole entry ends; the beginning of the frames in a segment behind the end of the log.
        offset: u64,
        /// Bytes up to the last that is not zero.
        bytes: u64,
    },
    /// Damage: entries that were durable cannot be read, or retention slots, without which no writer opens the log.
    Damage(Error),
}

impl Finding {
    /// Whether it is about the retention slots, and so not about a segment.
    pub(crate) fn is_of_slots(&self) -> bool {
        matches!(self, Finding::Damage(Error::DamagedMetadata { path, .. }) if path.ends_with(RETENTION))
    }
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
    verify_on(&OsDisk::new(dir.as_ref()))
}

pub(crate) fn verify_on(disk: &dyn Disk) -> Result<VerifyReport> {
    let log_id = LogId::from_bytes(read_manifest(disk)?.log_id);
    // The watermark before the directory: every entry up to it is in a segment that the listing shows.
    let tail = find_tail(disk)?.filter(|tail| tail.is_live(log_id));
    let released = tail.as_ref().map(Tail::released);
    let (manifest, chain) = read_log(disk)?;
    let oldest = OpId::new(manifest.first_op_id);
    let mut report = VerifyReport {
        log_id,
        term: Term::new(manifest.term),
        oldest,
        newest: oldest.previous(),
        segments: Vec::new(),
        findings: Vec::new(),
    };
    let mut following = match read_role(disk, log_id) {
        Ok(role) => role.following,
        Err(error @ Error::DamagedMetadata { .. }) => {
            report.findings.push(Finding::Damage(error));
            false
        }
        Err(error) => return Err(error),
    };
    match read_part(disk, log_id) {
        Ok(part) => following |= part.is_some(),
        Err(error @ Error::DamagedMetadata { .. }) => report.findings.push(Finding::Damage(error)),
        Err(error) => return Err(error),
    }
    let mut pass = Pass {
        following,
        released,
        term: Term::default(),
        torn: false,
    };
    match read_slots(disk, log_id) {
        Ok(_) => {}
        Err(error @ Error::DamagedMetadata { .. }) => report.findings.push(Finding::Damage(error)),
        Err(error) => return Err(error),
    }
    for (i, link) in chain.links().iter().enumerate() {
        let later = &chain.links()[i + 1..];
        let whole = |segment: Segment| segment.probe(0..segment.length()).map(|()| segment);
        match Segment::open(disk, log_id, link.sequence, link.first, false).and_then(whole) {
            Ok(segment) => {
                let known = || known_watermark(disk, log_id, later, following);
                pass.check(&segment, later.first().map(|next| next.first), known, &mut report);
            }
            Err(error) => {
                let now = read_manifest(disk)?;
                if link.sequence < Sequence(now.first_sequence) {
                    // Trimmed meanwhile, with everything before it: the report begins anew.
                    report.oldest = later.first().map_or(link.first, |next| next.first);
                    report.newest = report.oldest.previous();
                    report.segments.clear();
                    report.findings.retain(Finding::is_of_slots);
                } else {
                    report.findings.push(Finding::Damage(error));
                }
            }
        }
    }
    Ok(report)
}

/// What the newest segments prove to have been durable, among those that `later` names: as an open for writing would find
/// it. What is wrong with one of them is reported when its turn comes.
fn known_watermark(disk: &dyn Disk, log_id: LogId, later: &[Arc<Link>], following: bool) -> OpId {
    let mut known = OpId::ZERO;
    for link in later.iter().rev() {
        let Ok(segment) = Segment::open(disk, log_id, link.sequence, link.first, false) else {
            continue;
        };
        known = known.max(proven_by(&segment));
        if segment.sealed().is_some() {
            break;
        }
        segment.region().publish_foreign(segment.frames_limit());
        let area = segment.region().bytes(FRAMES_START..segment.frames_limit());
        // Of a log that follows, frames say what was durable elsewhere.
        if !following {
            known = known.max(search_segment(&segment, area, FRAMES_START).watermark);
        }
    }
    known
}

/// One pass over the segments, oldest first.
struct Pass {
    /// The log follows another: its frames prove nothing about this disk.
    following: bool,
    /// What a live tail page says has been released.
    released: Option<OpId>,
    /// Of the entries so far.
    term: Term,
    /// Whether the log has ended, before its last segment.
    torn: bool,
}

impl Pass {
    /// Checks one segment. `later` gives what the segments behind it prove to have been durable.
    fn check(
        &mut self,
        segment: &Segment,
        successor: Option<OpId>,
        later: impl Fn() -> OpId,
        report: &mut VerifyReport,
    ) {
        let limit = segment
            .sealed()
            .map_or(segment.frames_limit(), |trailer| trailer.end as usize);
        segment.region().publish_foreign(limit);
        let area = segment.region().bytes(FRAMES_START..limit);
        if self.torn {
            let rest = search_segment(segment, area, FRAMES_START);
            report
                .segments
                .push(summary(segment, SegmentState::Torn, segment.first.previous(), 0));
            report.findings.push(torn_tail(segment, FRAMES_START, rest));
            return;
        }
        let mut times: Option<(Timestamp, Timestamp)> = None;
        // Beyond what is released, a live writer's frames are its own affair.
        let stop = self.released.unwrap_or(OpId::new(u64::MAX));
        let found = scan(
            area,
            FRAMES_START,
            segment.seed,
            segment.first,
            self.term,
            |header, _| {
                if header.op_id <= stop {
                    times = Some((times.map_or(header.timestamp, |t| t.0), header.timestamp));
                }
            },
        );
        self.term = found.term;
        let last = found.next.previous().min(stop).max(segment.first.previous());
        let mut finding = None;
        if let Some(released) = self.released {
            let wanted = successor.map_or(released, |next| released.min(next.previous()));
            if wanted > last {
                finding = Some(corrupt(segment, &found, wanted));
            } else if successor.is_none()
                // A live writer may have sealed it since the directory was read.
                && segment.sealed().is_some_and(|trailer| released.get() > trailer.last)
            {
                finding = Some(missing_successor(segment, last));
            }
        } else if successor != Some(found.next) {
            // The frames end here. By the same rules as when the log is opened, this is damage or the end of the log.
            let rest = search_segment(segment, &area[found.end - FRAMES_START..], found.end);
            let beyond = if self.following { OpId::ZERO } else { rest.watermark };
            let known = proven_by(segment).max(beyond).max(later());
            if known >= found.next {
                finding = Some(corrupt(segment, &found, known));
            } else if successor.is_none() && segment.sealed().is_some() {
                finding = Some(missing_successor(segment, last));
            } else if successor.is_some() || rest.last.is_some() {
                self.torn = true;
                finding = Some(torn_tail(segment, found.end, rest));
            }
        }
        let state = match (segment.sealed(), successor) {
            (Some(_), _) => SegmentState::Sealed,
            (None, Some(_)) if !self.torn => SegmentState::Full,
            (None, _) => SegmentState::Open,
        };
        report.segments.push(SegmentReport {
            timestamps: times,
            term: found.term,
            ..summary(segment, state, last, found.end - FRAMES_START)
        });
        if report.newest.next() == segment.first {
            report.newest = last;
        }
        report.findings.extend(finding);
    }
}

fn summary(segment: &Segment, state: SegmentState, last: OpId, frame_bytes: usize) -> SegmentReport {
    SegmentReport {
        path: segment.path.clone(),
        state,
        first: segment.first,
        last,
        frame_bytes: frame_bytes as u64,
        file_bytes: segment.length() as u64,
        timestamps: None,
        term: Term::default(),
    }
}

fn corrupt(segment: &Segment, found: &Scan, durable: OpId) -> Finding {
    let (expected, offset) = found.invalid;
    Finding::Damage(Error::Corrupt {
        path: segment.path.clone(),
        offset: offset as u64,
        expected,
        durable,
    })
}

fn missing_successor(segment: &Segment, last: OpId) -> Finding {
    Finding::Damage(Error::MissingSegment {
        path: segment.path.parent().unwrap_or(Path::new("")).to_path_buf(),
        sequence: segment.sequence.next().0,
        from: last.next(),
    })
}

fn torn_tail(segment: &Segment, offset: usize, rest: Rest) -> Finding {
    Finding::TornTail {
        path: segment.path.clone(),
        offset: offset as u64,
        bytes: rest.last.map_or(0, |last| last as u64 + 1),
    }
}
