//! Taking out of the log what lies behind its end. Every byte of it is kept, in a file beside the segments.

use super::end::End;
use super::scan::last_nonzero;
use crate::disk::{Disk, ZEROS_BYTES};
use crate::error::{Error, Result};
use crate::format;
use crate::region::Claim;
use crate::segment::Segment;

/// Cuts everything behind the end, after keeping a copy of what is not zero.
pub(super) fn cut(disk: &dyn Disk, segment: &Segment, claim: &Claim, end: &End) -> Result<()> {
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
    // In pieces: it can be most of a segment.
    let end = offset + (last + 1).next_multiple_of(8);
    let zeros = vec![0; ZEROS_BYTES.min(end - offset)];
    for at in (offset..end).step_by(ZEROS_BYTES) {
        let written = segment.file().write_at(at, &zeros[..zeros.len().min(end - at)]);
        written.map_err(Error::io("write", &segment.path))?;
    }
    Ok(())
}

/// Takes a segment out of the log that lies wholly behind the end, and keeps its file.
pub(super) fn set_aside(disk: &dyn Disk, segment: &Segment) -> Result<()> {
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
