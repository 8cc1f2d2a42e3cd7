//! Frames as `docs/oplog-format.md` describes them, as far as the limits need them: what they write and check must have
//! the size and the checksum of the real ones.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::harness::Result;

/// Bytes of an entry's payload, in every workload.
pub const PAYLOAD_BYTES: usize = 256;
/// Bytes of a frame's header.
const HEADER_BYTES: usize = 40;
/// Bytes of the frame around such a payload.
pub(crate) const FRAME_BYTES: usize = (HEADER_BYTES + PAYLOAD_BYTES).next_multiple_of(8);
/// Where a segment's frames begin.
const FRAMES_START: usize = 4096;
/// Where a segment's header has the seed of its checksums: behind the checked record's head (16 bytes), version, log id
/// and sequence number.
const SEED_OFFSET: usize = 16 + 4 + 16 + 8;
/// Entries of this kind are other programs'.
pub(crate) const KIND: u8 = 128;

/// A payload that no compression or all-zero shortcut can profit from.
#[must_use]
pub fn payload() -> [u8; PAYLOAD_BYTES] {
    std::array::from_fn(|i| (i * 167 + 13) as u8)
}

/// Writes the frame of entry `op_id` to the beginning of `out`.
#[inline]
pub(crate) fn write_frame(out: &mut [u8], op_id: u64, payload: &[u8; PAYLOAD_BYTES]) {
    let out = &mut out[..FRAME_BYTES];
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&(PAYLOAD_BYTES as u32).to_le_bytes());
    header[8..16].copy_from_slice(&op_id.to_le_bytes());
    header[20] = KIND;
    out[..HEADER_BYTES].copy_from_slice(&header);
    out[HEADER_BYTES..].copy_from_slice(payload);
    let crc = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
}

/// A segment file, read into memory.
pub(crate) struct SegmentCopy {
    bytes: Vec<u8>,
    seed: u32,
}

impl SegmentCopy {
    pub(crate) fn read(path: &Path) -> Result<SegmentCopy> {
        let (bytes, seed) = (fs::read(path)?, seed_of(path)?);
        Ok(SegmentCopy { bytes, seed })
    }

    /// As [`walk`].
    pub(crate) fn walk(&self, each: impl FnMut(&[u8])) -> u64 {
        walk(&self.bytes[FRAMES_START..], self.seed, each)
    }
}

/// The seed of a segment file's checksums.
pub(crate) fn seed_of(path: &Path) -> Result<u32> {
    let mut header = [0; SEED_OFFSET + 4];
    File::open(path)?.read_exact(&mut header)?;
    Ok(u32_at(&header, SEED_OFFSET).ok_or("a segment without a header")?)
}

/// Walks `frames` with their checksums, calling `each` with every payload, until one does not hold, and returns how many do.
pub(crate) fn walk(frames: &[u8], seed: u32, mut each: impl FnMut(&[u8])) -> u64 {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = u32_at(frames, at + 4) {
        let bytes = (HEADER_BYTES + length as usize).next_multiple_of(8);
        let Some(frame) = frames.get(at..at + bytes) else {
            break;
        };
        let mut crc = crc32fast::Hasher::new_with_initial(seed);
        crc.update(&frame[4..]);
        if u32_at(frame, 0) != Some(crc.finalize()) {
            break;
        }
        each(&frame[HEADER_BYTES..HEADER_BYTES + length as usize]);
        at += bytes;
        count += 1;
    }
    count
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// The log's segment files, oldest first.
pub(crate) fn segment_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".seg") && !name.starts_with("torn-") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
