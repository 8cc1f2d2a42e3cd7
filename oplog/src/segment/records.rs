//! The records of a segment file: its header in two copies, and the footer of a sealed one. None is believed that no writer can
//! have written.

use std::ops::Range;
use std::path::Path;

use super::{FRAME_BYTES_MIN, Sealed, entries_max};
use crate::error::{Error, Result};
use crate::format::{
    self, FRAMES_START, HEADER_OFFSETS, INDEX_STRIDE, NewerVersion, RECORD_BYTES, SegmentHeader, TRAILER_BYTES,
    Trailer, VERSION,
};
use crate::frame::crc32;
use crate::ids::{LogId, Sequence, Timestamp};
use crate::options::SEGMENT_BYTES_MAX;
use crate::region::Region;

/// The records of a segment file that is being prepared.
pub(crate) fn prepared_records(
    log_id: LogId,
    sequence: Sequence,
    seed: u32,
    length: u64,
    now: Timestamp,
) -> Vec<(usize, Vec<u8>)> {
    let header = SegmentHeader {
        version: VERSION,
        log_id: log_id.to_bytes(),
        sequence: sequence.0,
        seed,
        length,
        created: now.as_nanos(),
    };
    header_records(&header)
}

/// Both copies of a header.
pub(crate) fn header_records(header: &SegmentHeader) -> Vec<(usize, Vec<u8>)> {
    let copies = HEADER_OFFSETS.iter();
    copies
        .map(|&offset| (offset, format::encode_checked(header, 0)))
        .collect()
}

/// The header, from either copy, whatever it says; or the newer version that wrote it.
pub(crate) fn header_copy(region: &Region) -> Option<Result<SegmentHeader, NewerVersion>> {
    HEADER_OFFSETS.iter().find_map(|&offset| {
        let mut bytes = [0; RECORD_BYTES];
        region.load(offset, &mut bytes);
        format::decode_versioned(&bytes)
    })
}

/// The header, from either copy, when it is that of segment `sequence` of this log and claims a length that segments have.
pub(crate) fn read_header(region: &Region, log_id: LogId, sequence: Sequence, path: &Path) -> Result<SegmentHeader> {
    let path = || path.to_path_buf();
    let damaged = |what| Error::DamagedMetadata { path: path(), what };
    let foreign = |what| Error::ForeignSegment { path: path(), what };
    let header = header_copy(region).ok_or_else(|| damaged("both copies of its header are bad"))?;
    let header = header.map_err(|NewerVersion(found)| Error::NewerFormat {
        path: path(),
        found,
        known: VERSION,
    })?;
    if header.log_id != log_id.to_bytes() {
        return Err(foreign("it was written by another log"));
    }
    if header.sequence != sequence.0 {
        return Err(foreign("its sequence number is not the one in its name"));
    }
    const SHORTEST: u64 = (FRAMES_START + TRAILER_BYTES) as u64;
    const LONGEST: u64 = SEGMENT_BYTES_MAX.next_multiple_of(4096);
    if !(SHORTEST..=LONGEST).contains(&header.length) || !header.length.is_multiple_of(8) {
        return Err(damaged("its header claims a length that no segment has"));
    }
    Ok(header)
}

/// The trailer, if it is one that a writer can have written, and where its index stands.
pub(super) fn read_trailer(region: &Region, seed: u32, length: usize) -> Option<(Trailer, Range<usize>)> {
    let limit = length.checked_sub(TRAILER_BYTES)?;
    let mut bytes = [0; TRAILER_BYTES];
    region.load(limit, &mut bytes);
    let trailer: Trailer = format::decode_checked(&bytes, seed)?;
    let index_offset = limit.checked_sub(4 * trailer.index_len as usize)?;
    let end = usize::try_from(trailer.end).ok()?;
    if !(FRAMES_START..=index_offset).contains(&end) || !end.is_multiple_of(8) {
        return None;
    }
    let behind_first = trailer.last.checked_sub(trailer.first)?;
    let indexed = behind_first / INDEX_STRIDE + 1;
    (behind_first < entries_max(FRAMES_START..end) && u64::from(trailer.index_len) == indexed)
        .then_some((trailer, index_offset..limit))
}

pub(super) fn read_footer(region: &Region, seed: u32, length: usize) -> Option<Sealed> {
    let (trailer, Range { start, end }) = read_trailer(region, seed, length)?;
    let padding = start % 8;
    let mut index = vec![0; end - start + padding];
    region.load(start - padding, &mut index);
    let index = &index[padding..];
    (crc32(seed, index) == trailer.index_crc && is_index(index, trailer.end)).then_some(Sealed {
        trailer,
        index_offset: start,
    })
}

/// Whether these can be the places of every eighth of the frames that begin where frames do and end at `end`.
fn is_index(index: &[u8], end: u64) -> bool {
    const SMALLEST: u64 = FRAME_BYTES_MIN as u64;
    let mut earliest = FRAMES_START as u64;
    let mut numbers = index.chunks_exact(4).enumerate();
    numbers.all(|(slot, number)| {
        let at = format::read_u32(number, 0).map_or(0, |number| u64::from(number) * 8);
        let fits = at >= earliest && at + SMALLEST <= end && (slot > 0 || at == earliest);
        earliest = at + INDEX_STRIDE * SMALLEST;
        fits
    })
}
