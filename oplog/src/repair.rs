//! Making a damaged log openable again, without throwing a byte away.
//!
//! Entries that damage has taken are gone; a repair decides what becomes of those that are left. OpIDs are dense, so of
//! the gap-free runs that damage has left, one can stay a log. [`plan`] says which runs there are, which one would stay and
//! what would be set aside; [`apply`] does it. `docs/durability.md` argues why it may be interrupted at any moment.
//!
//! ```text
//!   prepare  repair-<time>/          originals (hard links), new/ files, STEPS, report.txt; all synced
//!   commit   MANIFEST removed        from here on nobody can open the log, and STEPS is carried out to its end
//!   steps    originals removed, new files moved in, MANIFEST replaced last
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::buffer::LeftOver;
use crate::disk::{Disk, LockError, OsDisk};
use crate::error::{Error, Result};
use crate::format::{
    self, BUFFER, FRAMES_START, FileName, HEADER_OFFSETS, LOCK, MANIFEST, Manifest, NewerVersion, RECORD_BYTES,
    SLOT_OFFSETS, SegmentHeader, Slot, TAIL, TRAILER_BYTES, Trailer, VERSION, decode_checked, encode_checked,
    parse_name,
};
use crate::frame::{FLAG_BATCH, FrameHeader, check_frame};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::recovery::{scan, search};
use crate::region::Region;
use crate::segment::{Segment, header_copy, prepared_records};
use crate::tail::Tail;
use crate::verify::{Finding, verify};
use crate::view::{OplogView, read_manifest};

/// Beginning of the names of the folders in which repairs keep what they remove.
const FOLDER: &str = "repair-";
/// Folder, inside that of a repair, of the files that are to be moved into the log.
const NEW: &str = "new";
const STEPS: &str = "STEPS";
const REPORT: &str = "report.txt";
/// Last line of a whole `STEPS`.
const STEPS_END: &str = "end";

/// Which of the gap-free runs of entries stays the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// The oldest: everything before the damage. When damage has taken the oldest entries themselves, the first run that
    /// is left.
    #[default]
    Prefix,
    /// The newest: everything after the last damage, as a log whose history begins there.
    Suffix,
}

/// Consecutive entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first.
    pub first: OpId,
    /// The last.
    pub last: OpId,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "OpID {}", self.first);
        }
        write!(f, "OpIDs {} to {}", self.first, self.last)
    }
}

/// Entries that will not be in the repaired log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Which.
    pub span: Span,
    /// Whether they could still be read, and are only set aside because OpIDs must stay dense.
    pub readable: bool,
}

/// A file that is set aside or replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its name in the log's directory. The original is kept under the same name in the repair's folder.
    pub name: String,
    /// Its length in bytes; 0 when there is none yet.
    pub bytes: u64,
    /// What becomes of it.
    pub action: Action,
}

/// What a repair does with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Taken out of the log.
    SetAside,
    /// Replaced by one that holds the entries that stay.
    Replace,
    /// Made anew.
    Create,
}

/// What a repair would do. See [`plan`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepairPlan {
    /// Directory of the log.
    pub path: PathBuf,
    /// Which run was asked for.
    pub keep: Keep,
    /// Identity of the log.
    pub log_id: LogId,
    /// What is wrong, as opening and [`verify`] say it. Empty for a log that needs no repair.
    pub reasons: Vec<String>,
    /// The gap-free runs of whole entries that are left, oldest first.
    pub runs: Vec<Span>,
    /// The one that stays; nothing when the log holds no entry at all.
    pub kept: Option<Span>,
    /// Entries that will not be in the log, oldest first.
    pub losses: Vec<Loss>,
    /// What becomes of which file.
    pub changes: Vec<Change>,
    /// The folder of a repair that was interrupted and will be carried to its end; the plan is then that repair's.
    pub interrupted: Option<PathBuf>,
    work: Work,
}

impl RepairPlan {
    /// Whether there is nothing to repair.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.interrupted.is_none() && self.reasons.is_empty()
    }

    /// The plan in words, one fact a line.
    #[must_use]
    pub fn report(&self) -> String {
        if let Some(folder) = &self.interrupted {
            return format!("carries on the interrupted repair of {}\n", folder.display());
        }
        if self.is_sound() {
            return String::from("nothing to repair\n");
        }
        let mut text = format!("log {} at {}\n", self.log_id, self.path.display());
        for reason in &self.reasons {
            text += &format!("found: {reason}\n");
        }
        for run in &self.runs {
            text += &format!("whole: {run}\n");
        }
        match &self.kept {
            Some(kept) => text += &format!("stays: {kept}\n"),
            None => text += "stays: an empty log\n",
        }
        for Loss { span, readable } in &self.losses {
            let what = if *readable {
                "whole, set aside"
            } else {
                "cannot be read"
            };
            text += &format!("lost: {span} ({what})\n");
        }
        for change in &self.changes {
            let (name, bytes) = (&change.name, change.bytes);
            text += &match change.action {
                Action::SetAside => format!("sets aside: {name} ({bytes} bytes)\n"),
                Action::Replace => format!("replaces: {name} ({bytes} bytes)\n"),
                Action::Create => format!("creates: {name}\n"),
            };
        }
        text
    }
}

/// What [`apply`] has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// Where everything is that was removed or replaced, with `report.txt`; nothing when there was nothing to repair.
    pub folder: Option<PathBuf>,
}

/// How a new file comes about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Make {
    /// Frames in this range of the segment `from`, as they stand, and those that the log buffer holds behind them.
    Cut {
        from: String,
        frames: std::ops::Range<usize>,
        behind: Vec<u8>,
        header: SegmentHeader,
    },
    /// An empty segment.
    Empty { sequence: Sequence, length: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Work {
    /// Files to take out of the log.
    retire: Vec<String>,
    /// Files to make, by name.
    make: Vec<(String, Make)>,
    manifest: Option<Manifest>,
}

/// One gap-free run of whole entries in one segment.
#[derive(Clone, Copy, Debug)]
struct Piece {
    span: Span,
    start: usize,
    end: usize,
    terms: (Term, Term),
}

/// A segment file as it stands, read without believing it.
#[derive(Debug)]
struct Found {
    name: String,
    sequence: Sequence,
    first: OpId,
    bytes: u64,
    /// Why opening it fails, if it does.
    refused: Option<Error>,
    /// Its header, when its frames can be looked at.
    header: Option<SegmentHeader>,
    sealed: Option<OpId>,
    pieces: Vec<Piece>,
    /// Frames that a killed writer left in the log buffer for it, behind its last piece.
    behind: Vec<u8>,
    /// Highest OpID that it proves to have been durable.
    durable: OpId,
    slot: OpId,
    /// Highest term of any of its frames.
    term: Term,
    /// End of what is not zero in its frame area.
    written: usize,
}

/// Consecutive entries across segments: indices of the first and the last segment, and of their pieces.
#[derive(Clone, Copy, Debug)]
struct Run {
    span: Span,
    from: (usize, usize),
    to: (usize, usize),
}

/// Looks at the log in `dir` and says what a repair would do, without changing a byte.
///
/// # Errors
///
/// [`Error::Locked`] while a writer is alive; [`Error::NotFound`], [`Error::NotALog`], [`Error::NewerFormat`];
/// [`Error::Unrepairable`] when no whole entry is left to begin with; [`Error::Io`].
pub fn plan(dir: impl AsRef<Path>, keep: Keep) -> Result<RepairPlan> {
    let disk = OsDisk::new(dir.as_ref());
    refuse_writer(&disk)?;
    plan_on(&disk, keep)
}

/// Carries a plan out: makes the log one that opens, and keeps every byte that is removed or replaced in a folder
/// `repair-<time>` in the log's directory. For a sound log it does nothing.
///
/// It may be interrupted at any moment and be done again: nothing is changed before everything is kept durably, and once
/// something has been changed, the log does not open until a repair has carried this one to its end.
///
/// # Errors
///
/// As [`plan`]; [`Error::Unrepairable`] when the log is no longer as it was when the plan was made.
pub fn apply(plan: &RepairPlan) -> Result<Repaired> {
    let disk = OsDisk::new(&plan.path);
    if plan.is_sound() {
        return Ok(Repaired { folder: None });
    }
    let _lock = disk.lock(LOCK).map_err(|e| match e {
        LockError::Held { holder } => Error::Locked {
            path: plan.path.clone(),
            holder,
        },
        LockError::Io(e) => Error::io("lock", plan.path.join(LOCK))(e),
    })?;
    let fresh = plan_on(&disk, plan.keep)?;
    if fresh.work != plan.work || fresh.interrupted != plan.interrupted {
        return Err(Error::Unrepairable {
            path: plan.path.clone(),
            what: "it has changed since the plan was made; plan again",
        });
    }
    let folder = match plan.interrupted.clone() {
        Some(folder) => folder,
        None => prepare(&disk, plan)?,
    };
    carry_out(&disk, &folder)?;
    Ok(Repaired { folder: Some(folder) })
}

fn refuse_writer(disk: &OsDisk) -> Result<()> {
    match disk
        .lock_holder(LOCK)
        .map_err(Error::io("look at", disk.path().join(LOCK)))?
    {
        Some(holder) => Err(Error::Locked {
            path: disk.path().to_path_buf(),
            holder,
        }),
        None => Ok(()),
    }
}

// ---------------------------------------------------------------- planning

fn plan_on(disk: &OsDisk, keep: Keep) -> Result<RepairPlan> {
    let path = disk.path().to_path_buf();
    let names = match disk.names() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotFound { path }),
        other => other.map_err(Error::io("list", &path))?,
    };
    let mut plan = RepairPlan {
        path: path.clone(),
        keep,
        log_id: LogId::from_bytes([0; 16]),
        reasons: Vec::new(),
        runs: Vec::new(),
        kept: None,
        losses: Vec::new(),
        changes: Vec::new(),
        interrupted: None,
        work: Work::default(),
    };
    let manifest = match read_manifest(disk) {
        Ok(manifest) => Some(manifest),
        Err(error @ (Error::DamagedMetadata { .. } | Error::NotALog { .. })) => {
            if matches!(error, Error::NotALog { .. })
                && let Some(folder) = interrupted(disk, &names)?
            {
                plan.interrupted = Some(folder);
                return Ok(plan);
            }
            let any = names
                .iter()
                .any(|name| matches!(parse_name(name), FileName::Segment(..)));
            if !any {
                return Err(error);
            }
            plan.reasons.push(match error {
                Error::NotALog { path } => format!("{} is missing", path.join(MANIFEST).display()),
                error => error.to_string(),
            });
            None
        }
        Err(error) => return Err(error),
    };
    let log_id = match &manifest {
        Some(manifest) => LogId::from_bytes(manifest.log_id),
        None => commonest_log(disk, &names)?,
    };
    plan.log_id = log_id;

    let left_over = LeftOver::read(disk, log_id);
    let mut found = Vec::new();
    let mut others = Vec::new();
    for name in &names {
        if let FileName::Segment(sequence, first) = parse_name(name)
            && manifest.as_ref().is_none_or(|m| sequence.0 >= m.first_sequence)
        {
            found.push(look(disk, log_id, name, sequence, first, left_over.as_ref())?);
        }
    }
    found.sort_by_key(|f| (f.sequence, f.first));
    choose_among_doubles(&mut found, &mut others);

    let durable = proven(disk, log_id, &found);
    let wanted = manifest
        .as_ref()
        .map(|m| (Sequence(m.first_sequence), OpId::new(m.first_op_id)));
    let runs = runs(&found, wanted.map(|wanted| wanted.1), durable);
    if manifest.is_some() {
        plan.reasons = findings(disk, &runs, wanted, durable, !others.is_empty());
        if plan.reasons.is_empty() {
            return Ok(plan);
        }
    }
    plan.runs = runs.iter().map(|run| run.span).collect();
    let kept = match keep {
        Keep::Prefix => runs.first(),
        Keep::Suffix => runs.last(),
    };
    let Some(&kept) = kept else {
        return Err(Error::Unrepairable {
            path,
            what: "no whole entry is left of it; restore it from a copy",
        });
    };
    plan.kept = Some(kept.span);
    plan.losses = losses(&found, &runs, kept, wanted.map(|w| w.1), durable);
    arrange(disk, &mut plan, &found, &others, kept, manifest.as_ref(), &names)?;
    Ok(plan)
}

/// What opening and verifying say is wrong; empty when the log opens and every durable entry can be read.
fn findings(
    disk: &OsDisk,
    runs: &[Run],
    wanted: Option<(Sequence, OpId)>,
    durable: OpId,
    doubles: bool,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Err(error) = OplogView::open(disk.path()) {
        reasons.push(error.to_string());
    }
    match verify(disk.path()) {
        Ok(report) => {
            for finding in report.findings {
                if let Finding::Damage(error) = finding {
                    reasons.push(error.to_string());
                }
            }
        }
        Err(error) => reasons.push(error.to_string()),
    }
    reasons.dedup();
    // After power loss a full segment may end early: the next writable open makes it the newest again, and that is no damage
    // as long as nothing proves that its missing entries were durable.
    let first = wanted.map_or(OpId::FIRST, |wanted| wanted.1);
    let whole = match runs.first() {
        Some(run) => run.span.first == first && run.span.last >= durable,
        None => durable < first,
    };
    let opens = whole && !doubles && OplogView::open(disk.path()).is_ok();
    let torn = |reason: &String| reason.contains("is corrupt at offset");
    if opens && reasons.iter().all(torn) {
        return Vec::new();
    }
    if reasons.is_empty() && !whole {
        reasons.push(format!(
            "entries up to {durable} were durable, whole are only those up to {}",
            runs.first().map_or(first.previous(), |run| run.span.last)
        ));
    }
    reasons
}

/// The log that most of the segments say they belong to.
fn commonest_log(disk: &OsDisk, names: &[String]) -> Result<LogId> {
    let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for name in names {
        if matches!(parse_name(name), FileName::Segment(..))
            && let Some(header) = header_of(disk, name)?
        {
            *counts.entry(header.log_id).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|&(_, count)| count);
    most.map(|(id, _)| LogId::from_bytes(id))
        .ok_or_else(|| Error::Unrepairable {
            path: disk.path().to_path_buf(),
            what: "no segment says which log this is; restore it from a copy",
        })
}

fn header_of(disk: &OsDisk, name: &str) -> Result<Option<SegmentHeader>> {
    let path = disk.path().join(name);
    let length = disk.length(name).map_err(Error::io("look at", &path))?;
    if length < FRAMES_START as u64 {
        return Ok(None);
    }
    let medium = disk.open(name, FRAMES_START, false).map_err(Error::io("map", &path))?;
    match header_copy(&medium.region).transpose() {
        Ok(header) => Ok(header),
        Err(NewerVersion(found)) => Err(Error::NewerFormat {
            path,
            found,
            known: VERSION,
        }),
    }
}

/// A header for a segment that has lost both copies of its own: the name says most of it, and the seed follows from any
/// frame whose checksum is right. Nothing when no second record agrees about the seed.
fn salvage_header(
    disk: &OsDisk,
    log_id: LogId,
    name: &str,
    sequence: Sequence,
    first: OpId,
) -> Result<Option<SegmentHeader>> {
    let path = disk.path().join(name);
    let bytes = disk.length(name).map_err(Error::io("look at", &path))?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    if !(FRAMES_START + TRAILER_BYTES..=crate::options::SEGMENT_BYTES_MAX as usize).contains(&length)
        || !length.is_multiple_of(4096)
    {
        return Ok(None);
    }
    let limit = length - TRAILER_BYTES;
    let medium = disk.open(name, length, false).map_err(Error::io("map", &path))?;
    medium.region.publish_foreign(limit);
    let area = medium.region.bytes(FRAMES_START..limit);
    let Some(frame) = area
        .first_chunk()
        .map(FrameHeader::decode)
        .filter(|frame| frame.op_id == first)
    else {
        return Ok(None);
    };
    let Some(covered) = area.get(4..frame.frame_bytes()) else {
        return Ok(None);
    };
    let seed = seed_of(frame.crc, covered);
    // Any bytes have a seed under which they are a frame.
    let agrees = scan(area, FRAMES_START, seed, first, Term::default(), |_, _| {})
        .invalid
        .0
        > first.next()
        || proven_by_records(&medium.region, seed, true, length) > OpId::ZERO;
    Ok(agrees.then(|| SegmentHeader {
        version: VERSION,
        log_id: log_id.to_bytes(),
        sequence: sequence.0,
        seed,
        length: bytes,
        created: frame.timestamp.as_nanos(),
    }))
}

/// What the slots of a segment, and its trailer if the file is `whole`, prove to have been durable.
fn proven_by_records(region: &Region, seed: u32, whole: bool, length: usize) -> OpId {
    let slots = SLOT_OFFSETS.iter().filter_map(|&offset| {
        let mut record = [0; RECORD_BYTES];
        region.load(offset, &mut record);
        Some(decode_checked::<Slot>(&record, seed)?.durable)
    });
    let mut record = [0; TRAILER_BYTES];
    if whole {
        region.load(length - TRAILER_BYTES, &mut record);
    }
    let trailer = decode_checked::<Trailer>(&record, seed).map(|trailer| trailer.last);
    OpId::new(slots.chain(trailer).max().unwrap_or(0))
}

/// The seed with which `bytes` have the checksum `crc`. There is just one: each step of the sum can be taken back.
fn seed_of(crc: u32, bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| {
        (0..8).fold(i as u32, |rest, _| {
            let carry = if rest & 1 == 1 { 0xEDB8_8320 } else { 0 };
            (rest >> 1) ^ carry
        })
    });
    // The upper bytes of the table are all different.
    let mut index = [0; 256];
    for (i, word) in table.iter().enumerate() {
        index[(word >> 24) as usize] = i as u32;
    }
    let start = bytes.iter().rev().fold(!crc, |sum, &byte| {
        let i = index[(sum >> 24) as usize];
        (sum ^ table[i as usize]) << 8 | (i ^ u32::from(byte))
    });
    !start
}

/// Reads everything that stands in a segment file.
fn look(
    disk: &OsDisk,
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
        Err(error @ Error::NewerFormat { .. }) => return Err(error),
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
        let ring = left_over.from(at);
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

/// Of several files with one sequence number at most one belongs to the log: the one that goes on where its predecessor
/// ends, otherwise one that is what its name says.
fn choose_among_doubles(found: &mut Vec<Found>, others: &mut Vec<Found>) {
    let rank = |candidate: &Found, before: Option<OpId>| {
        let first = candidate.pieces.first().map(|piece| piece.span.first);
        (
            first.is_some() && first == before.map(OpId::next),
            first == Some(candidate.first),
            first.is_some(),
        )
    };
    let mut chosen: Vec<Found> = Vec::new();
    for candidate in found.drain(..) {
        let before = chosen.iter().rev().find(|f| f.sequence < candidate.sequence);
        let before = before.and_then(|f| f.pieces.last()).map(|piece| piece.span.last);
        match chosen.last_mut() {
            Some(last) if last.sequence == candidate.sequence => {
                if rank(&candidate, before) > rank(last, before) {
                    others.push(std::mem::replace(last, candidate));
                } else {
                    others.push(candidate);
                }
            }
            _ => chosen.push(candidate),
        }
    }
    *found = chosen;
}

/// The highest OpID known to have been durable.
fn proven(disk: &OsDisk, log_id: LogId, found: &[Found]) -> OpId {
    let files = found.iter().map(|f| f.durable).fold(OpId::ZERO, OpId::max);
    let Some(tail) = Tail::open(disk, false).ok().filter(|tail| tail.is_live(log_id)) else {
        return files;
    };
    let accepted = if tail.is_poisoned() {
        OpId::ZERO
    } else {
        tail.accepted()
    };
    files.max(tail.durable()).max(accepted)
}

/// The runs that are left of the log, oldest first. What lies behind a hole that was never durable is a torn tail, no run.
fn runs(found: &[Found], oldest: Option<OpId>, durable: OpId) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut term = Term::default();
    for (i, segment) in found.iter().enumerate() {
        for (j, piece) in segment.pieces.iter().enumerate() {
            let place = (i, j);
            if let Some(run) = runs.last_mut() {
                let next = run.span.last.next();
                let adjacent = run.to.0 + 1 == i && found[run.to.0].sequence.next() == segment.sequence;
                if piece.span.first == next && piece.start == FRAMES_START && adjacent && piece.terms.0 >= term {
                    (run.span.last, run.to) = (piece.span.last, place);
                    term = piece.terms.1;
                    continue;
                }
                if piece.span.first <= next.previous() {
                    // Of entries that are there twice, the earlier ones count.
                    continue;
                }
                if piece.span.first.previous() > durable && run.span.last >= durable {
                    return runs;
                }
            } else if oldest.is_some_and(|oldest| piece.span.first > oldest && oldest > durable) {
                return runs;
            }
            term = piece.terms.1;
            runs.push(Run {
                span: piece.span,
                from: place,
                to: place,
            });
        }
    }
    runs
}

/// What will not be in the log.
fn losses(found: &[Found], runs: &[Run], kept: Run, oldest: Option<OpId>, durable: OpId) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut next = oldest
        .into_iter()
        .chain(found.first().map(|f| f.first))
        .min()
        .unwrap_or(OpId::FIRST);
    for run in runs {
        if run.span.first > next {
            losses.push(Loss {
                span: Span {
                    first: next,
                    last: run.span.first.previous(),
                },
                readable: false,
            });
        }
        if run.from != kept.from {
            losses.push(Loss {
                span: run.span,
                readable: true,
            });
        }
        next = run.span.last.next();
    }
    if next <= durable {
        losses.push(Loss {
            span: Span {
                first: next,
                last: durable,
            },
            readable: false,
        });
    }
    losses
}

/// Decides what becomes of each file.
fn arrange(
    disk: &OsDisk,
    plan: &mut RepairPlan,
    found: &[Found],
    others: &[Found],
    kept: Run,
    manifest: Option<&Manifest>,
    names: &[String],
) -> Result<()> {
    let mut retired: Vec<(&Found, Action)> = others.iter().map(|other| (other, Action::SetAside)).collect();
    let mut make = Vec::new();
    let mut empty_newest = None;
    for (i, segment) in found.iter().enumerate() {
        let inside = (kept.from.0..=kept.to.0).contains(&i);
        if !inside {
            if empty_newest != Some(i) {
                retired.push((segment, Action::SetAside));
            }
            continue;
        }
        let j = if i == kept.from.0 { kept.from.1 } else { 0 };
        let (Some(header), Some(piece)) = (&segment.header, segment.pieces.get(j)) else {
            continue;
        };
        let last_of_run = i == kept.to.0;
        let sealed_whole = segment.sealed == Some(piece.span.last);
        let cut = (piece.start, piece.span.first) != (FRAMES_START, segment.first)
            || segment.refused.is_some()
            || !segment.behind.is_empty()
            || (last_of_run && (segment.durable > kept.span.last || (segment.sealed.is_some() && !sealed_whole)));
        if cut {
            retired.push((segment, Action::Replace));
            let is_last = j + 1 == segment.pieces.len();
            make.push((
                format::segment_name(segment.sequence, piece.span.first),
                Make::Cut {
                    from: segment.name.clone(),
                    frames: piece.start..piece.end,
                    behind: if is_last { segment.behind.clone() } else { Vec::new() },
                    header: header.clone(),
                },
            ));
        } else if last_of_run && sealed_whole {
            // A sealed segment has a successor.
            let (sequence, first) = (segment.sequence.next(), kept.span.last.next());
            let fits = |next: &Found| {
                (next.sequence, next.first) == (sequence, first)
                    && next.refused.is_none()
                    && next.written == FRAMES_START
                    && next.slot == OpId::ZERO
            };
            if found.get(i + 1).is_some_and(fits) {
                empty_newest = Some(i + 1);
            } else {
                let length = header.length;
                make.push((format::segment_name(sequence, first), Make::Empty { sequence, length }));
            }
        }
    }
    for (segment, action) in retired {
        plan.changes.push(Change {
            name: segment.name.clone(),
            bytes: segment.bytes,
            action,
        });
        plan.work.retire.push(segment.name.clone());
    }
    // What they say of the log is no longer so; what the buffer held for the entries that stay is in the new files.
    for name in [TAIL, BUFFER] {
        if names.iter().any(|n| n == name) {
            let bytes = disk
                .length(name)
                .map_err(Error::io("look at", disk.path().join(name)))?;
            plan.changes.push(Change {
                name: name.to_owned(),
                bytes,
                action: Action::SetAside,
            });
            plan.work.retire.push(name.to_owned());
        }
    }
    for (name, how) in &make {
        if matches!(how, Make::Empty { .. }) && !plan.work.retire.contains(name) {
            plan.changes.push(Change {
                name: name.clone(),
                bytes: 0,
                action: Action::Create,
            });
        }
    }
    plan.work.make = make;

    let term = found
        .iter()
        .chain(others)
        .map(|f| f.term)
        .fold(Term::default(), Term::max);
    let created = found.iter().filter_map(|f| Some(f.header.as_ref()?.created)).min();
    let fresh = Manifest {
        version: VERSION,
        log_id: plan.log_id.to_bytes(),
        created: manifest.map_or(created.unwrap_or(0), |m| m.created),
        term: manifest.map_or(0, |m| m.term).max(term.get()),
        first_sequence: found[kept.from.0].sequence.0,
        first_op_id: kept.span.first.get(),
    };
    if manifest != Some(&fresh) {
        let exists = names.iter().any(|n| n == MANIFEST);
        plan.changes.push(Change {
            name: MANIFEST.to_owned(),
            bytes: if exists {
                disk.length(MANIFEST)
                    .map_err(Error::io("look at", disk.path().join(MANIFEST)))?
            } else {
                0
            },
            action: if exists { Action::Replace } else { Action::Create },
        });
    }
    plan.work.manifest = Some(fresh);
    Ok(())
}

// ---------------------------------------------------------------- doing it

/// The folder of a repair that had begun to change the log and was interrupted. Only called when there is no manifest.
fn interrupted(disk: &OsDisk, names: &[String]) -> Result<Option<PathBuf>> {
    for name in names.iter().filter(|name| name.starts_with(FOLDER)) {
        let folder = disk.within(name);
        let read = |disk: &OsDisk, name: &str| disk.read(name).map_err(Error::io("read", disk.path().join(name)));
        if !folder.path().join(NEW).is_dir() {
            continue;
        }
        if read(&folder.within(NEW), MANIFEST)?.is_some() && steps(&folder)?.is_some() {
            return Ok(Some(folder.path().to_path_buf()));
        }
    }
    Ok(None)
}

/// What a repair's folder says is to be done: files to retire, and files to move in. Nothing when that was not written to
/// its end.
fn steps(folder: &OsDisk) -> Result<Option<(Vec<String>, Vec<String>)>> {
    let text = folder
        .read(STEPS)
        .map_err(Error::io("read", folder.path().join(STEPS)))?;
    let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Ok(None);
    };
    let (mut retire, mut place) = (Vec::new(), Vec::new());
    let mut lines = text.lines();
    for line in lines.by_ref() {
        match line.split_once(' ') {
            Some(("retire", name)) => retire.push(name.to_owned()),
            Some(("place", name)) => place.push(name.to_owned()),
            _ => return Ok((line == STEPS_END).then_some((retire, place))),
        }
    }
    Ok(None)
}

/// Keeps everything that will be removed, and makes what is to come; durably. Changes nothing in the log.
fn prepare(disk: &OsDisk, plan: &RepairPlan) -> Result<PathBuf> {
    let names = disk.names().map_err(Error::io("list", disk.path()))?;
    // A preparation that was interrupted must never be carried out later, when the log is another.
    for name in names.iter().filter(|name| name.starts_with(FOLDER)) {
        let new = disk.within(name).within(NEW);
        if new.path().join(MANIFEST).exists() {
            new.remove(MANIFEST)
                .and_then(|()| new.sync_directory())
                .map_err(Error::io("remove", new.path().join(MANIFEST)))?;
        }
    }
    let stem = format!("{FOLDER}{}", Timestamp::now().as_millis());
    let free = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
    let name = free
        .into_iter()
        .find(|name| !names.contains(name))
        .unwrap_or_else(|| stem.clone());
    let folder = disk
        .make_directory(&name)
        .map_err(Error::io("create", disk.path().join(&name)))?;
    let new = folder
        .make_directory(NEW)
        .map_err(Error::io("create", folder.path().join(NEW)))?;
    let manifest = names.iter().find(|name| *name == MANIFEST);
    for name in plan.work.retire.iter().chain(manifest) {
        disk.keep_in(&folder, name)
            .map_err(Error::io("keep", disk.path().join(name)))?;
    }
    let log_id = plan.log_id;
    for (name, how) in &plan.work.make {
        let path = new.path().join(name);
        let (length, records) = match how {
            Make::Empty { sequence, length } => {
                let seed = uuid::Uuid::new_v4().as_fields().0;
                (
                    *length,
                    prepared_records(log_id, *sequence, seed, *length, Timestamp::now()),
                )
            }
            Make::Cut {
                from,
                frames,
                behind,
                header,
            } => {
                let medium = disk
                    .open(from, frames.end, false)
                    .map_err(Error::io("map", disk.path().join(from)))?;
                medium.region.publish_foreign(frames.end);
                let mut bytes = medium.region.bytes(frames.clone()).to_vec();
                bytes.extend_from_slice(behind);
                let header = encode_checked(header, 0);
                let mut records: Vec<_> = HEADER_OFFSETS.iter().map(|&at| (at, header.clone())).collect();
                records.push((FRAMES_START, bytes));
                (records_length(how), records)
            }
        };
        new.prepare(name, length, false, &records)
            .map_err(Error::preparing(disk.path(), &path, length))?;
    }
    let write = |disk: &OsDisk, name: &str, bytes: &[u8]| {
        disk.replace(name, bytes)
            .map_err(Error::io("write", disk.path().join(name)))
    };
    if let Some(manifest) = &plan.work.manifest {
        write(&new, MANIFEST, &encode_checked(manifest, 0))?;
    }
    write(&folder, REPORT, plan.report().as_bytes())?;
    let mut steps = String::new();
    for name in &plan.work.retire {
        steps += &format!("retire {name}\n");
    }
    for (name, _) in &plan.work.make {
        steps += &format!("place {name}\n");
    }
    steps += STEPS_END;
    steps += "\n";
    new.sync_directory().map_err(Error::io("sync", new.path()))?;
    write(&folder, STEPS, steps.as_bytes())?;
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
    Ok(folder.path().to_path_buf())
}

fn records_length(how: &Make) -> u64 {
    match how {
        Make::Cut { header, .. } => header.length,
        Make::Empty { length, .. } => *length,
    }
}

/// Does what has been prepared, from wherever it was interrupted.
fn carry_out(disk: &OsDisk, folder: &Path) -> Result<()> {
    let folder = OsDisk::new(folder);
    let new = folder.within(NEW);
    let Some((retire, place)) = steps(&folder)? else {
        return Err(Error::Unrepairable {
            path: folder.path().to_path_buf(),
            what: "its STEPS are damaged; put the files in it back by hand, or restore the log from a copy",
        });
    };
    // Nothing is removed that has not been kept.
    let manifest = MANIFEST.to_owned();
    let mut leaving = Vec::new();
    for name in retire.iter().chain([&manifest]) {
        let path = disk.path().join(name);
        if !path.exists() {
            continue;
        }
        let same = disk.is_kept_in(&folder, name).map_err(Error::io("compare", &path))?;
        let replaced = place.contains(name) && !new.path().join(name).exists();
        match (same, replaced) {
            (true, _) => leaving.push(name),
            (false, true) => {}
            (false, false) => {
                return Err(Error::Unrepairable {
                    path,
                    what: "it has changed since the repair began; nothing was removed",
                });
            }
        }
    }
    // The manifest first: without it nobody opens the log.
    leaving.reverse();
    for (i, name) in leaving.iter().enumerate() {
        disk.remove(name).map_err(Error::io("remove", disk.path().join(name)))?;
        if i == 0 {
            disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
        }
    }
    for name in &place {
        if new.path().join(name).exists() {
            new.move_to(disk, name)
                .map_err(Error::io("move", new.path().join(name)))?;
        }
    }
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
    // With the manifest the log is whole again.
    let path = new.path().join(MANIFEST);
    if let Some(bytes) = new.read(MANIFEST).map_err(Error::io("read", &path))? {
        disk.replace(MANIFEST, &bytes)
            .map_err(Error::io("write", disk.path().join(MANIFEST)))?;
        new.remove(MANIFEST).map_err(Error::io("remove", &path))?;
    }
    // An empty folder, whose name says nothing any more.
    let _ = std::fs::remove_dir(new.path());
    folder.sync_directory().map_err(Error::io("sync", folder.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::crc32;

    #[test]
    fn the_seed_follows_from_a_checksum() {
        for (seed, bytes) in [
            (0, &b""[..]),
            (1, b"x"),
            (0xdead_beef, b"thirteen bytes"),
            (u32::MAX, &[0; 100]),
        ] {
            assert_eq!(seed_of(crc32(seed, bytes), bytes), seed);
        }
    }
}
