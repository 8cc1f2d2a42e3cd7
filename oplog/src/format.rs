//! Names, magics, sizes and metadata records of the on-disk format. `docs/oplog-format.md` is the authority.

use bincode::{Decode, Encode};

use crate::codec;
use crate::frame::crc32;
use crate::ids::{OpId, Sequence};

/// Format version that this release writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const MANIFEST: &str = "MANIFEST";
pub(crate) const TAIL: &str = "TAIL";
pub(crate) const BUFFER: &str = "BUFFER";
const SEGMENT_SUFFIX: &str = ".seg";
const SPARE_SUFFIX: &str = ".spare";

/// Offset of the first frame.
pub(crate) const FRAMES_START: usize = 4096;
/// Where the two header copies stand: sectors of their own.
pub(crate) const HEADER_OFFSETS: [usize; 2] = [0, 1536];
/// Where the two watermark slots stand: sectors of their own.
pub(crate) const SLOT_OFFSETS: [usize; 2] = [512, 1024];
/// Room for a checked record in its sector.
pub(crate) const RECORD_BYTES: usize = 512;
/// Room for the footer's trailer at the end of a segment.
pub(crate) const TRAILER_BYTES: usize = 128;
/// Largest OpID that manifest and names may give; there is no end to what can be appended behind it.
pub(crate) const OP_ID_MAX: u64 = u64::MAX / 2;
/// The sparse index names every so many-th entry.
pub(crate) const INDEX_STRIDE: u64 = 8;

const _: () = assert!(HEADER_OFFSETS[1] + RECORD_BYTES <= FRAMES_START);
const _: () = assert!(SLOT_OFFSETS[0].is_multiple_of(512) && SLOT_OFFSETS[1].is_multiple_of(512));
const _: () = assert!(FRAMES_START.is_multiple_of(8) && TRAILER_BYTES.is_multiple_of(8));

/// Identity of the log and its lower end.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Manifest {
    pub(crate) version: u32,
    pub(crate) log_id: [u8; 16],
    pub(crate) created: u64,
    pub(crate) term: u32,
    pub(crate) first_sequence: u64,
    pub(crate) first_op_id: u64,
}

/// What a segment file says about itself, twice.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    pub(crate) log_id: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) seed: u32,
    pub(crate) length: u64,
    pub(crate) created: u64,
}

/// A point in a segment that a successful sync covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Slot {
    pub(crate) count: u64,
    pub(crate) durable: u64,
    pub(crate) end: u64,
}

/// The end of a sealed segment.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Trailer {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) end: u64,
    pub(crate) first_timestamp: u64,
    pub(crate) last_timestamp: u64,
    pub(crate) index_len: u32,
    pub(crate) index_crc: u32,
}

/// Whose watermarks the `TAIL` file holds.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct TailIdentity {
    pub(crate) log_id: [u8; 16],
    pub(crate) boot_id: [u8; 16],
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Whose frames the `BUFFER` file holds.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct BufferIdentity {
    pub(crate) log_id: [u8; 16],
    pub(crate) boot_id: [u8; 16],
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) capacity: u64,
}

/// A type that is stored as a checked record under its own magic.
pub(crate) trait Checked: Encode + Decode<()> {
    const MAGIC: [u8; 8];
}

impl Checked for Manifest {
    const MAGIC: [u8; 8] = *b"TAILWMAN";
}
impl Checked for SegmentHeader {
    const MAGIC: [u8; 8] = *b"TAILWSEG";
}
impl Checked for Slot {
    const MAGIC: [u8; 8] = *b"TAILWSLT";
}
impl Checked for Trailer {
    const MAGIC: [u8; 8] = *b"TAILWEND";
}
impl Checked for TailIdentity {
    const MAGIC: [u8; 8] = *b"TAILWTAL";
}
impl Checked for BufferIdentity {
    const MAGIC: [u8; 8] = *b"TAILWBUF";
}

/// The bytes of `record` as a checked record, padded with zeros to a multiple of eight.
pub(crate) fn encode_checked<T: Checked>(record: &T, seed: u32) -> Vec<u8> {
    let body = codec::encode(record);
    let length = u32::try_from(body.len()).expect("metadata is small");
    let mut bytes = Vec::with_capacity((16 + body.len()).next_multiple_of(8));
    bytes.extend_from_slice(&T::MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32(seed, &bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The record at the beginning of `bytes`, or nothing when magic, length, checksum or contents are wrong.
pub(crate) fn decode_checked<T: Checked>(bytes: &[u8], seed: u32) -> Option<T> {
    codec::decode(body::<T>(bytes, seed)?).ok()
}

/// As [`decode_checked`], for a record that begins with its format version. A newer one, whose fields nobody here knows, is
/// an error that says which.
pub(crate) fn decode_versioned<T: Checked>(bytes: &[u8]) -> Option<Result<T, NewerVersion>> {
    let body = body::<T>(bytes, 0)?;
    match read_u32(body, 0)? {
        version if version > VERSION => Some(Err(NewerVersion(version))),
        _ => codec::decode(body).ok().map(Ok),
    }
}

/// The format version of a record that is sound but too new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NewerVersion(pub(crate) u32);

/// The fields of the record at the beginning of `bytes`, whose magic and checksum hold.
fn body<T: Checked>(bytes: &[u8], seed: u32) -> Option<&[u8]> {
    if bytes.get(..8)? != T::MAGIC {
        return None;
    }
    let crc = read_u32(bytes, 8)?;
    let length = read_u32(bytes, 12)? as usize;
    let covered = bytes.get(12..16usize.checked_add(length)?)?;
    (crc32(seed, covered) == crc).then_some(&covered[4..])
}

pub(crate) fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

pub(crate) fn segment_name(sequence: Sequence, first: OpId) -> String {
    format!("{:010}-{:020}{SEGMENT_SUFFIX}", sequence.0, first.get())
}

pub(crate) fn spare_name(sequence: Sequence) -> String {
    format!("{:010}{SPARE_SUFFIX}", sequence.0)
}

/// What a file name in the log's directory means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FileName {
    Segment(Sequence, OpId),
    Spare,
    /// Not ours to read.
    Other,
}

pub(crate) fn parse_name(name: &str) -> FileName {
    if let Some(stem) = name.strip_suffix(SEGMENT_SUFFIX)
        && let Some((sequence, first)) = stem.split_once('-')
        && let (Some(sequence), Some(first)) = (digits(sequence, 10), digits(first, 20))
        && sequence > 0
        && (1..=OP_ID_MAX).contains(&first)
    {
        return FileName::Segment(Sequence(sequence), OpId::new(first));
    }
    match name.strip_suffix(SPARE_SUFFIX).and_then(|stem| digits(stem, 10)) {
        Some(_) => FileName::Spare,
        None => FileName::Other,
    }
}

fn digits(text: &str, width: usize) -> Option<u64> {
    let right = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_left_alone() {
        let name = segment_name(Sequence(7), OpId::new(123));
        assert_eq!(name, "0000000007-00000000000000000123.seg");
        assert_eq!(parse_name(&name), FileName::Segment(Sequence(7), OpId::new(123)));
        assert_eq!(parse_name(&spare_name(Sequence(8))), FileName::Spare);
        for other in [
            "LOCK",
            "lost+found",
            "7-1.seg",
            "0000000007-00000000000000000123.seg~",
            "x.spare",
            "",
        ] {
            assert_eq!(parse_name(other), FileName::Other, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_checked_record_is_noticed() {
        let slot = Slot {
            count: 3,
            durable: 99,
            end: 4096,
        };
        let good = encode_checked(&slot, 77);
        assert_eq!(decode_checked::<Slot>(&good, 77), Some(slot));
        assert_eq!(decode_checked::<Slot>(&good, 78), None, "another seed");
        for bit in 0..(16 + 24) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_checked::<Slot>(&bad, 77), None, "bit {bit}");
        }
    }

    #[test]
    fn the_manifest_is_golden() {
        let manifest = Manifest {
            version: 1,
            log_id: [0xab; 16],
            created: 2,
            term: 3,
            first_sequence: 4,
            first_op_id: 5,
        };
        let bytes = encode_checked(&manifest, 0);
        let mut expected = b"TAILWMAN".to_vec();
        expected.extend_from_slice(&crc32(0, &bytes[12..64]).to_le_bytes());
        expected.extend_from_slice(&48u32.to_le_bytes());
        expected.extend_from_slice(&[1, 0, 0, 0]);
        expected.extend_from_slice(&[0xab; 16]);
        for (value, width) in [(2u64, 8), (3, 4), (4, 8), (5, 8)] {
            expected.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        assert_eq!(bytes, expected);
    }
}
