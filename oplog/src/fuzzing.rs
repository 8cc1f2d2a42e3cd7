//! The inside of the log as the fuzz targets in `fuzz/` need it. No part of the interface.

use crate::format::{
    self, FRAMES_START, FileName, Manifest, SegmentHeader, Slot, TailIdentity, Trailer, decode_checked, encode_checked,
};
use crate::frame::{FrameHeader, HEADER_BYTES, check_frame, crc32};
use crate::ids::{OpId, Term};
use crate::recovery::{scan, search};

/// Reads `bytes` as a frame under `seed`; when it is one, checks that its header is encoded as it was read.
///
/// # Panics
///
/// When it is not, or when a frame is said to be longer than its bytes.
#[must_use]
pub fn frame(bytes: &[u8], seed: u32) -> bool {
    let Some(header) = check_frame(bytes, seed) else {
        return false;
    };
    assert!((HEADER_BYTES..=bytes.len()).contains(&header.frame_bytes()));
    let mut again = [0; HEADER_BYTES];
    header.encode(&mut again);
    assert_eq!(again, bytes[..HEADER_BYTES]);
    assert_eq!(
        FrameHeader::decode(bytes.first_chunk().expect("a frame has a header")),
        header
    );
    true
}

/// Follows the frames in `area` from entry `expected` on, and searches it for watermarks and for its last byte.
///
/// # Panics
///
/// When what is found contradicts itself.
pub fn area(area: &[u8], seed: u32, expected: u64, term: u32) {
    let expected = OpId::new(expected);
    let (mut entries, mut highest) = (0, OpId::ZERO);
    let found = scan(area, FRAMES_START, seed, expected, Term::new(term), |header, offset| {
        assert!((FRAMES_START..FRAMES_START + area.len()).contains(&offset));
        entries += 1;
        highest = highest.max(header.watermark);
    });
    assert!(found.end <= FRAMES_START + area.len() && found.end <= found.invalid.1);
    assert!(found.next <= found.invalid.0 && found.invalid.0.get() - expected.get() == entries);
    let all = search(area, seed, |range| (!range.is_empty()).then_some(range));
    assert!(all.watermark >= highest);
    assert_eq!(all.last, area.iter().rposition(|&byte| byte != 0));
    // As a file system would say it that knows of every eight bytes whether they are zero.
    let pieces = search(area, seed, |range| {
        let zero = |at: &usize| area[*at..area.len().min(at + 8)].iter().all(|&byte| byte == 0);
        let places = || range.clone().step_by(8);
        let start = places().find(|at| !zero(at))?;
        let end = places().find(|at| *at > start && zero(at)).unwrap_or(range.end);
        Some(start..end)
    });
    assert_eq!(pieces, all);
}

/// Reads `bytes` as each kind of checked record; what is one is encoded as it was read.
///
/// # Panics
///
/// When it is not.
pub fn records(bytes: &[u8], seed: u32) {
    fn check<T: format::Checked>(bytes: &[u8], seed: u32) {
        if let Some(record) = decode_checked::<T>(bytes, seed) {
            let again = encode_checked(&record, seed);
            let length = format::read_u32(bytes, 12).expect("it was decoded") as usize;
            assert_eq!(again[..16 + length], bytes[..16 + length]);
        }
    }
    check::<Manifest>(bytes, seed);
    check::<SegmentHeader>(bytes, seed);
    check::<Slot>(bytes, seed);
    check::<Trailer>(bytes, seed);
    check::<TailIdentity>(bytes, seed);
}

/// Reads `name` as a file's name; a segment's is made again from what it says.
///
/// # Panics
///
/// When that gives another name.
pub fn name(name: &str) {
    if let FileName::Segment(sequence, first) = format::parse_name(name) {
        assert_eq!(format::segment_name(sequence, first), name);
    }
}

/// The checksum of frames and records.
#[must_use]
pub fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    crc32(seed, bytes)
}
