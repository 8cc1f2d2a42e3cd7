//! What a log consists of at this moment, without reading its entries.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, OsDisk};
use crate::error::{Error, Result};
use crate::folders::Folders;
use crate::format::{self, BUFFER, FRAMES_START, FileName, LOCK, parse_name};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::segment::Segment;
use crate::slots::RetentionSlot;
use crate::tail::Watermarks;
use crate::verify::SegmentState;
use crate::view::{OplogView, ReadConcern, read_log};

/// One segment, by its metadata.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentStat {
    /// The file.
    pub path: PathBuf,
    /// What stands in it.
    pub state: SegmentState,
    /// First OpID, by its name.
    pub first: OpId,
    /// Last OpID; one less than `first` when there is none.
    pub last: OpId,
    /// Bytes of frames; nothing for a segment that is not sealed and whose last entry cannot be found.
    pub frame_bytes: Option<u64>,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Timestamps of the first and the last entry, if there is one and they can be read.
    pub timestamps: Option<(Timestamp, Timestamp)>,
    /// Why the segment cannot be read, if that is so.
    pub refused: Option<Error>,
}

/// Files of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// How many.
    pub count: u64,
    /// Their lengths together, in bytes.
    pub bytes: u64,
}

/// What [`stat`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogStat {
    /// Directory of the log.
    pub path: PathBuf,
    /// Identity of the log.
    pub log_id: LogId,
    /// The newest term, by the manifest.
    pub term: Term,
    /// When the log was created.
    pub created: Timestamp,
    /// What the lock file says about the writer that is alive; nothing when none is.
    pub writer: Option<String>,
    /// The watermarks. Without a writer since the machine started, all but *oldest* are the last whole entry.
    pub watermarks: Watermarks,
    /// The segments, oldest first.
    pub segments: Vec<SegmentStat>,
    /// The retention slots as they are written on disk, by name; see [`OplogView::slots`].
    pub slots: Vec<RetentionSlot>,
    /// Why they are not known, if that is so. No writer opens the log then.
    pub slots_refused: Option<Error>,
    /// Segments that are prepared and not part of the log yet.
    pub spares: Files,
    /// What recovery has cut off and kept: `torn-*`.
    pub torn: Files,
    /// What repairs have kept: the files in `repair-*`.
    pub repairs: Files,
    /// The log buffer; its writer removes it when it closes the log.
    pub buffer: Files,
    /// Lengths of all files of the log's directory together, in bytes.
    pub bytes: u64,
}

/// Looks at the log in `dir` without writing anything, also beside a live writer. It reads metadata, and of segments that
/// are not sealed the frames' headers; [`verify`](crate::verify) reads everything.
///
/// # Errors
///
/// As [`OplogView::open`]. A segment in the middle that cannot be read is reported, not returned.
pub fn stat(dir: impl AsRef<Path>) -> Result<LogStat> {
    let disk = OsDisk::new(dir.as_ref());
    let view = OplogView::open(disk.path())?;
    let writer = disk
        .lock_holder(LOCK)
        .map_err(Error::io("look at", disk.path().join(LOCK)))?;
    // The watermarks before the directory: it has a segment for each of them.
    let watermarks = view.watermarks();
    let (manifest, chain) = read_log(&disk)?;
    let mut stat = LogStat {
        path: disk.path().to_path_buf(),
        log_id: view.log_id(),
        term: Term::new(manifest.term),
        created: Timestamp::from_nanos(manifest.created),
        writer,
        watermarks,
        segments: Vec::new(),
        slots: Vec::new(),
        slots_refused: None,
        spares: Files::default(),
        torn: Files::default(),
        repairs: Files::default(),
        buffer: Files::default(),
        bytes: 0,
    };
    match view.slots() {
        Ok(slots) => stat.slots = slots,
        Err(error) => stat.slots_refused = Some(error),
    }
    for (i, link) in chain.links().iter().enumerate() {
        let successor = chain.links().get(i + 1).map(|next| next.first);
        if let Some(segment) = segment(&disk, &view, &stat, link.sequence, link.first, successor)? {
            stat.segments.push(segment);
        }
    }
    for name in disk.names().map_err(Error::io("list", disk.path()))? {
        let path = disk.path().join(&name);
        let files = count(&path);
        stat.bytes += files.bytes;
        let kind = match parse_name(&name) {
            FileName::Spare => &mut stat.spares,
            FileName::Other if name == BUFFER => &mut stat.buffer,
            FileName::Other if name.starts_with("torn-") => &mut stat.torn,
            FileName::Other if name.starts_with("repair-") && path.is_dir() => &mut stat.repairs,
            _ => continue,
        };
        kind.count += files.count;
        kind.bytes += files.bytes;
    }
    Ok(stat)
}

/// The files at and below `path`; those that vanish meanwhile are left out.
fn count(path: &Path) -> Files {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Files::default();
    };
    if !metadata.is_dir() {
        return Files {
            count: 1,
            bytes: metadata.len(),
        };
    }
    let mut all = Files::default();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let files = count(&entry.path());
        all.count += files.count;
        all.bytes += files.bytes;
    }
    all
}

/// One segment; nothing when it has been trimmed meanwhile.
fn segment(
    disk: &OsDisk,
    view: &OplogView,
    stat: &LogStat,
    sequence: Sequence,
    first: OpId,
    successor: Option<OpId>,
) -> Result<Option<SegmentStat>> {
    let name = format::segment_name(sequence, first);
    let path = disk.path().join(&name);
    let last = match successor {
        Some(next) => next.previous(),
        None => stat.watermarks.appended.max(first.previous()),
    };
    let mut found = SegmentStat {
        path: path.clone(),
        state: if successor.is_some() {
            SegmentState::Full
        } else {
            SegmentState::Open
        },
        first,
        last,
        frame_bytes: None,
        file_bytes: 0,
        timestamps: None,
        refused: None,
    };
    match disk.length(&name) {
        Ok(bytes) => found.file_bytes = bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("look at", &path)(e)),
    }
    let segment = match Segment::open(disk, stat.log_id, sequence, first, false) {
        Ok(segment) => segment,
        Err(_) if !path.exists() => return Ok(None),
        Err(error) => {
            found.refused = Some(error);
            return Ok(Some(found));
        }
    };
    if let Some(trailer) = segment.sealed() {
        found.state = SegmentState::Sealed;
        found.last = OpId::new(trailer.last);
        found.frame_bytes = Some(trailer.end - FRAMES_START as u64);
        let times = (trailer.first_timestamp, trailer.last_timestamp);
        found.timestamps = Some((Timestamp::from_nanos(times.0), Timestamp::from_nanos(times.1)));
        return Ok(Some(found));
    }
    if last < first {
        found.frame_bytes = Some(0);
        return Ok(Some(found));
    }
    // What is damaged or trimmed meanwhile is not known here.
    if let Ok(entry) = segment
        .locate(last)
        .and_then(|offset| Ok((offset, segment.hop(offset, last)?)))
    {
        let (offset, header) = entry;
        found.frame_bytes = Some((offset + header.frame_bytes() - FRAMES_START) as u64);
        let begins = view.get(first, ReadConcern::Local).map(|entry| entry.timestamp());
        found.timestamps = begins.ok().map(|begins| (begins, header.timestamp));
    }
    Ok(Some(found))
}
