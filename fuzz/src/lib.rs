//! What the targets share: logs written by `docs/oplog-format.md` instead of by the engine, with segments of a few
//! kilobytes, which the engine reads but does not make.

use std::fs;
use std::path::Path;

use tailwater_oplog::fuzzing::checksum;
use tempfile::TempDir;

pub const FRAMES_START: usize = 4096;
pub const HEADER: usize = 40;
pub const TRAILER: usize = 128;
pub const LOG_ID: [u8; 16] = [0xab; 16];

/// The input, taken from the front. When it is at its end there are only zeros.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        bytes[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        bytes
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// A number that is small most of the time.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            255 => self.u64(),
            254 => u64::MAX - u64::from(self.u8()),
            253 => u64::from(self.u32()),
            small => u64::from(small),
        }
    }
}

/// A directory in memory.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("the targets work in /dev/shm")
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A checked record with that body.
pub fn record(magic: &[u8; 8], seed: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    let crc = checksum(seed, &bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The body of the checked record at the beginning of `bytes`, if it is good.
pub fn body<'a>(bytes: &'a [u8], magic: &[u8; 8], seed: u32) -> Option<&'a [u8]> {
    let length = u32_at(bytes.get(..16)?, 12) as usize;
    let covered = bytes.get(12..16 + length)?;
    (bytes[..8] == *magic && checksum(seed, covered) == u32_at(bytes, 8)).then(|| &covered[4..])
}

/// Makes `bytes` begin with a good record of that kind, whatever its fields then say.
pub fn fix_record(bytes: &mut [u8], magic: &[u8; 8], seed: u32) {
    if bytes.len() > 16 {
        bytes[..8].copy_from_slice(magic);
        let length = (u32_at(bytes, 12) as usize % 64).min(bytes.len() - 16);
        bytes[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        let crc = checksum(seed, &bytes[12..16 + length]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Sets right the checksums of the frames that follow each other from the beginning of `area`.
pub fn fix_frames(area: &mut [u8], seed: u32) {
    let mut at = 0;
    while at + HEADER <= area.len() {
        let end = at + (HEADER + u32_at(area, at + 4) as usize).next_multiple_of(8);
        if end > area.len() {
            return;
        }
        let crc = checksum(seed, &area[at + 4..end]);
        area[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// Concatenates numbers as little-endian fields.
#[macro_export]
macro_rules! fields {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend_from_slice(&$field.to_le_bytes());)*
        bytes
    }};
}

/// The fields of a manifest.
pub fn manifest(version: u32, term: u32, first_sequence: u64, first: u64) -> Vec<u8> {
    let mut fields = fields![version];
    fields.extend_from_slice(&LOG_ID);
    fields.extend(fields![1u64, term, first_sequence, first]);
    record(b"TAILWMAN", 0, &fields)
}

/// The fields of a segment's header.
pub fn header(version: u32, sequence: u64, seed: u32, length: u64) -> Vec<u8> {
    let mut fields = fields![version];
    fields.extend_from_slice(&LOG_ID);
    fields.extend(fields![sequence, seed, length, 1u64]);
    record(b"TAILWSEG", 0, &fields)
}

pub fn segment_name(sequence: u64, first: u64) -> String {
    format!("{sequence:010}-{first:020}.seg")
}

pub fn put(bytes: &mut [u8], at: usize, piece: &[u8]) {
    let end = bytes.len().min(at + piece.len());
    if at < end {
        bytes[at..end].copy_from_slice(&piece[..end - at]);
    }
}

/// One frame, checksum included.
#[allow(clippy::too_many_arguments, reason = "a frame has so many fields")]
pub fn frame(
    seed: u32,
    op_id: u64,
    term: u32,
    kind: u8,
    flags: u8,
    time: u64,
    watermark: u64,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = fields![
        0u32,
        payload.len() as u32,
        op_id,
        term,
        kind,
        flags,
        0u16,
        time,
        watermark
    ];
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    fix_frames(&mut bytes, seed);
    bytes
}

/// A segment of the template log.
pub struct Segment {
    pub sequence: u64,
    pub first: u64,
    pub last: u64,
    pub bytes: Vec<u8>,
}

pub fn payload(op_id: u64) -> Vec<u8> {
    let mut state = op_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..8 + op_id % 30).map(step).collect()
}

/// What the template log consists of.
pub struct Plan {
    /// How many entries each segment has.
    pub entries: Vec<u64>,
    /// How many of the first segments are sealed.
    pub sealed: usize,
    /// Entries before this one were durable when it, and all that follow, were written; and a slot says so.
    pub durable: u64,
    pub length: usize,
}

impl Plan {
    pub fn last(&self) -> u64 {
        self.entries.iter().sum()
    }

    pub fn segments(&self) -> Vec<Segment> {
        let mut first = 1;
        let make = |(i, &entries): (usize, &u64)| {
            let segment = self.segment(i, first, entries);
            first += entries;
            segment
        };
        self.entries.iter().enumerate().map(make).collect()
    }

    fn segment(&self, i: usize, first: u64, entries: u64) -> Segment {
        let (sequence, seed, last) = (i as u64 + 1, 0x5eed + i as u32, first + entries - 1);
        let mut bytes = vec![0; self.length];
        let head = header(1, sequence, seed, self.length as u64);
        put(&mut bytes, 0, &head);
        put(&mut bytes, 1536, &head);
        let (mut at, mut offsets, mut slot) = (FRAMES_START, Vec::new(), None);
        for op_id in first..=last {
            // Entries 5n + 2 and 5n + 3 are a batch, where both are in the segment.
            let flags = match op_id % 5 {
                2 if op_id < last => 1,
                3 if op_id > first => 3,
                _ => 0,
            };
            let time = if flags == 3 { op_id - 1 } else { op_id };
            let watermark = self.durable.min(op_id.saturating_sub(3));
            let bytes_of_frame = frame(seed, op_id, 1, 200, flags, time, watermark, &payload(op_id));
            offsets.push(at);
            put(&mut bytes, at, &bytes_of_frame);
            at += bytes_of_frame.len();
            if op_id <= self.durable {
                slot = Some((op_id, at as u64));
            }
        }
        assert!(at + TRAILER + 4 * offsets.len() < self.length);
        if let Some((durable, end)) = slot {
            put(
                &mut bytes,
                1024,
                &record(b"TAILWSLT", seed, &fields![1u64, durable, end]),
            );
        }
        if i < self.sealed {
            let index: Vec<u8> = offsets
                .iter()
                .step_by(8)
                .flat_map(|&at| (at as u32 / 8).to_le_bytes())
                .collect();
            let count = index.len() as u32 / 4;
            let limit = self.length - TRAILER;
            put(&mut bytes, limit - index.len(), &index);
            let crc = checksum(seed, &index);
            let fields = fields![first, last, at as u64, first, last, count, crc];
            put(&mut bytes, limit, &record(b"TAILWEND", seed, &fields));
        }
        Segment {
            sequence,
            first,
            last,
            bytes,
        }
    }
}

/// Names and contents of everything in a directory.
pub fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut contents: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    contents.sort();
    contents
}
