//! Opening the segments that the search covers: those that are not sealed, as long as they once were.

use std::sync::Arc;

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START};
use crate::ids::{LogId, OpId, Sequence};
use crate::segment::{Segment, read_header};

/// Segments that are not sealed, oldest first, and the sealed one before them, if any.
pub(super) type Unsealed = (Vec<Arc<Segment>>, Option<Arc<Segment>>);

/// Opens the newest segments of the log, back to the first that is sealed.
pub(super) fn unsealed(disk: &dyn Disk, log_id: LogId, chain: &Chain, writable: bool) -> Result<Unsealed> {
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
