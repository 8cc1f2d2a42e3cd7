//! What can still be told of a segment whose header is damaged.
//!
//! The name says sequence and first OpID, the file its length. The seed, without which no checksum inside can be checked,
//! follows from any frame that is whole.

use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{
    FRAMES_START, FileName, NewerVersion, RECORD_BYTES, SLOT_OFFSETS, SegmentHeader, Slot, TRAILER_BYTES, Trailer,
    VERSION, decode_checked, parse_name,
};
use crate::frame::FrameHeader;
use crate::ids::{LogId, OpId, Sequence, Term};
use crate::recovery::scan;
use crate::region::Region;
use crate::segment::header_copy;

/// The log that most of the segments say they belong to.
pub(super) fn commonest_log(disk: &dyn Disk, names: &[String]) -> Result<LogId> {
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

pub(super) fn header_of(disk: &dyn Disk, name: &str) -> Result<Option<SegmentHeader>> {
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
pub(super) fn salvage_header(
    disk: &dyn Disk,
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
pub(super) fn proven_by_records(region: &Region, seed: u32, whole: bool, length: usize) -> OpId {
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
