//! Logs, sound and damaged, that several tests look at, and the files in which `fixtures/` keeps them.
//!
//! Every log here holds entries of one plan: which entry has which contents, stands in which segment and belongs to which
//! batch. So whoever reads entry n, of whatever log and format version, knows what it must be.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_oplog::{Durability, Oplog, Options, Record};
use tempfile::TempDir;

pub(crate) const FRAMES_START: usize = 4096;
pub(crate) const HEADER: usize = 40;
const SEGMENT: u64 = 1 << 20;
const TRAILER: usize = 128;
const HEADER_COPIES: [usize; 2] = [0, 1536];

/// The first entries of the second and the third segment: too large for what is left of the one before.
const LARGE: [u64; 2] = [11, 21];
/// The last entry of a log of three segments.
pub(crate) const LAST: u64 = 30;

pub(crate) fn temporary() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

/// The payload of entry n, in every log: a few bytes that cannot be guessed, then zeros.
pub(crate) fn payload(op_id: u64) -> Vec<u8> {
    let mut state = op_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    let mut payload: Vec<u8> = (0..17 + op_id % 7).map(step).collect();
    if LARGE.contains(&op_id) {
        payload.resize(1_043_000, 0);
    } else if op_id < LARGE[0] {
        payload.resize(150, 0);
    }
    payload
}

pub(crate) fn kind(op_id: u64) -> u8 {
    200 + (op_id % 3) as u8
}

/// The last member of the batch that begins with that entry.
fn batch_end(op_id: u64) -> u64 {
    match op_id {
        4 => 6,
        24 => 26,
        other => other,
    }
}

/// Appends the entries up to `last`.
pub(crate) fn append_to(log: &Oplog, last: u64) {
    while log.watermarks().appended.get() < last {
        let first = log.watermarks().appended.get() + 1;
        let payloads: Vec<_> = (first..=batch_end(first)).map(|n| (kind(n), payload(n))).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|(_, payload)| [payload.as_slice()]).collect();
        let records = payloads.iter().zip(&pieces);
        let records: Vec<_> = records
            .map(|((kind, _), payload)| Record { kind: *kind, payload })
            .collect();
        log.append_batch(&records, Durability::Memory).unwrap();
    }
}

/// What a log's directory holds when nobody has it open and the machine has been started again.
pub(crate) fn copy(from: &Path) -> TempDir {
    let to = temporary();
    for name in names(from) {
        if !["LOCK", "TAIL", "BUFFER"].contains(&name.as_str()) {
            fs::copy(from.join(&name), to.path().join(&name)).unwrap();
        }
    }
    to
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Name, length, inode, times and contents of everything in the directory.
pub(crate) fn picture(dir: &Path) -> Vec<(PathBuf, u64, u64, i64, i64, Vec<u8>)> {
    let look = |path: PathBuf| {
        let m = fs::metadata(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        (
            path,
            m.len(),
            m.ino(),
            m.mtime_nsec() + m.mtime() * 1_000_000_000,
            m.ctime_nsec() + m.ctime(),
            bytes,
        )
    };
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| look(e.unwrap().path())).collect();
    files.sort();
    files
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = names(dir);
    let segments = names
        .iter()
        .filter(|name| name.ends_with(".seg") && !name.starts_with("torn-"));
    segments.map(|name| dir.join(name)).collect()
}

/// A closed log of the entries up to `last`, written in two terms.
pub(crate) fn closed(last: u64) -> TempDir {
    let origin = temporary();
    for last in [last.min(8), last] {
        let log = options().open(origin.path()).unwrap();
        append_to(&log, last);
        log.close().unwrap();
    }
    copy(origin.path())
}

// ---------------------------------------------------------------- damage

pub(crate) fn write_at(file: &Path, offset: usize, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, offset as u64).unwrap();
}

pub(crate) fn flip(file: &Path, offset: usize) {
    let byte = fs::read(file).unwrap()[offset];
    write_at(file, offset, &[byte ^ 4]);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// What seeds the checksums of a sound segment.
pub(crate) fn seed(segment: &Path) -> u32 {
    u32_at(&fs::read(segment).unwrap(), 44)
}

/// A checked record with that body.
pub(crate) fn record(magic: &[u8; 8], seed: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    let crc = crc32(seed, &bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Where the frames of a sound segment stand, from its first on.
pub(crate) fn frames(segment: &[u8]) -> Vec<Range<usize>> {
    let first = (u64_at(segment, FRAMES_START + 8) > 0).then_some(FRAMES_START);
    let range = |start: usize| start..start + (HEADER + u32_at(segment, start + 4) as usize).next_multiple_of(8);
    let next = |frame: &Range<usize>| {
        let follows = u64_at(segment, frame.end + 8) == u64_at(segment, frame.start + 8) + 1;
        follows.then(|| range(frame.end))
    };
    std::iter::successors(first.map(range), next).collect()
}

/// Where in its segment the frame of an entry stands.
pub(crate) fn place(dir: &Path, op_id: u64) -> (PathBuf, Range<usize>) {
    let find = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let frame = frames(&bytes)
            .into_iter()
            .find(|frame| u64_at(&bytes, frame.start + 8) == op_id)?;
        Some((path, frame))
    };
    segments(dir).into_iter().find_map(find).unwrap()
}

/// Gives a segment a footer with that index and good checksums, which otherwise says what its frames are.
pub(crate) fn forge_index(segment: &Path, index: &[u32]) {
    let bytes = fs::read(segment).unwrap();
    let (seed, all, trailer) = (seed(segment), frames(&bytes), bytes.len() - TRAILER);
    let (first, last) = (all.first().unwrap(), all.last().unwrap());
    let fields = [
        u64_at(&bytes, first.start + 8),
        u64_at(&bytes, last.start + 8),
        last.end as u64,
        u64_at(&bytes, first.start + 24),
        u64_at(&bytes, last.start + 24),
    ];
    let numbers: Vec<u8> = index.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut body: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    body.extend_from_slice(&(index.len() as u32).to_le_bytes());
    body.extend_from_slice(&crc32(seed, &numbers).to_le_bytes());
    write_at(segment, trailer - numbers.len(), &numbers);
    write_at(segment, trailer, &record(b"TAILWEND", seed, &body));
}

/// Changes the header of every frame of a segment and sets its CRC right.
pub(crate) fn reframe(segment: &Path, change: impl Fn(&mut [u8])) {
    let mut bytes = fs::read(segment).unwrap();
    let seed = u32_at(&bytes, 44);
    for range in frames(&bytes) {
        seal_frame(&mut bytes[range], seed, &change);
    }
    fs::write(segment, bytes).unwrap();
}

fn seal_frame(frame: &mut [u8], seed: u32, change: impl Fn(&mut [u8])) {
    change(&mut frame[..HEADER]);
    let crc = crc32(seed, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The newest segment and the end of its frames.
fn end(dir: &Path) -> (PathBuf, usize) {
    let newest = segments(dir).pop().unwrap();
    let end = frames(&fs::read(&newest).unwrap())
        .last()
        .map_or(FRAMES_START, |frame| frame.end);
    (newest, end)
}

/// Puts the frames of the entries that come next behind the end, as their writer would have, but for what `change` does
/// to the header of each.
pub(crate) fn append_frames(dir: &Path, count: u64, change: impl Fn(&mut [u8])) {
    append_frames_to(&segments(dir).pop().unwrap(), count, change);
}

/// The same in any segment.
pub(crate) fn append_frames_to(segment: &Path, count: u64, change: impl Fn(&mut [u8])) {
    let bytes = fs::read(segment).unwrap();
    let last = frames(&bytes).pop().unwrap();
    let mut at = last.end;
    let header = &bytes[last][..HEADER];
    for n in 1..=count {
        let op_id = u64_at(header, 8) + n;
        let payload = payload(op_id);
        let mut frame = header.to_vec();
        frame[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        frame[8..16].copy_from_slice(&op_id.to_le_bytes());
        frame[20..22].copy_from_slice(&[kind(op_id), 0]);
        frame[24..32].copy_from_slice(&(u64_at(header, 24) + n).to_le_bytes());
        frame.extend_from_slice(&payload);
        frame.resize(frame.len().next_multiple_of(8), 0);
        seal_frame(&mut frame, u32_at(&bytes, 44), &change);
        write_at(segment, at, &frame);
        at += frame.len();
    }
}

pub(crate) fn zero(segment: &Path, range: Range<usize>) {
    write_at(segment, range.start, &vec![0; range.len()]);
}

pub(crate) fn remove_footer(segment: &Path) {
    zero(segment, SEGMENT as usize - TRAILER..SEGMENT as usize);
}

/// A log and the damage done to it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    last: u64,
    damage: fn(&Path),
}

impl Case {
    /// The log, made now and by this version.
    pub(crate) fn make(&self) -> TempDir {
        let dir = closed(self.last);
        (self.damage)(dir.path());
        dir
    }
}

const fn case(name: &'static str, last: u64, damage: fn(&Path)) -> Case {
    Case { name, last, damage }
}

/// The logs of which every format version keeps a fixture.
pub(crate) const CASES: &[Case] = &[
    case("empty", 0, |_| {}),
    case("sound", 10, |_| {}),
    case("several-segments", LAST, |_| {}),
    case("full-segment-without-footer", LAST, |dir| {
        remove_footer(&segments(dir)[1]);
    }),
    case("trimmed-with-left-overs", LAST, |dir| {
        let first = segments(dir).remove(0);
        let bytes = fs::read(&first).unwrap();
        let log = options().open(dir).unwrap();
        log.trim(tailwater_oplog::OpId::new(15)).unwrap();
        log.close().unwrap();
        for name in ["LOCK", "TAIL", "BUFFER"] {
            let _ = fs::remove_file(dir.join(name));
        }
        assert!(!first.exists());
        fs::write(first, bytes).unwrap();
        fs::write(dir.join("0000000004.spare"), "half a spare").unwrap();
        fs::write(dir.join("MANIFEST.tmp"), "half a manifest").unwrap();
        fs::write(dir.join("notes.txt"), "not of the log").unwrap();
    }),
    case("torn-tail-of-garbage", LAST, |dir| {
        let (newest, end) = end(dir);
        write_at(&newest, end + 3, &payload(99));
    }),
    case("torn-tail-of-a-later-entry", LAST, |dir| {
        // Its predecessor never reached the disk.
        append_frames(dir, 2, |_| {});
        let (newest, range) = place(dir, LAST + 1);
        zero(&newest, range);
    }),
    case("half-batch", LAST, |dir| append_frames(dir, 2, |header| header[21] = 1)),
    case("half-batch-after-a-whole-entry", LAST, |dir| {
        append_frames(dir, 1, |_| {});
        append_frames(dir, 1, |header| header[21] = 1);
    }),
    case("entry-with-a-lower-term", LAST, |dir| {
        // Without slots, so that the search begins with the segment's first entry.
        zero(&segments(dir)[2], 512..1536);
        append_frames(dir, 1, |header| header[16..20].copy_from_slice(&1u32.to_le_bytes()));
    }),
    case("entry-with-unknown-flags", LAST, |dir| {
        append_frames(dir, 1, |header| header[21] = 4);
    }),
    case("roll-before-a-sync", 20, |dir| {
        // Nothing was durable but the names when power failed; a sector of entry 9 is lost.
        let segments = segments(dir);
        remove_footer(&segments[0]);
        for segment in &segments {
            zero(segment, 512..1536);
            reframe(segment, |header| header[32..40].fill(0));
        }
        let (segment, frame) = place(dir, 9);
        zero(&segment, frame.start..frame.start + 64);
    }),
    case("flipped-bit", LAST, |dir| {
        let (segment, frame) = place(dir, 23);
        flip(&segment, frame.start + HEADER + 5);
    }),
    case("flipped-bit-in-the-last-entry", LAST, |dir| {
        let (segment, frame) = place(dir, LAST);
        flip(&segment, frame.start + 9);
    }),
    case("flipped-bit-in-a-batch", LAST, |dir| {
        let (segment, frame) = place(dir, 25);
        flip(&segment, frame.start + 30);
    }),
    case("flipped-bit-in-a-sealed-segment", LAST, |dir| {
        let (segment, frame) = place(dir, 7);
        flip(&segment, frame.start + HEADER);
    }),
    case("flipped-bit-in-a-full-segment-without-footer", LAST, |dir| {
        let (segment, frame) = place(dir, 14);
        remove_footer(&segment);
        flip(&segment, frame.start + 1);
    }),
    case("flipped-bit-behind-the-slots", LAST, |dir| {
        // Only the watermark of a later frame says that entry 29 was durable.
        append_frames(dir, 1, |header| header[32..40].copy_from_slice(&LAST.to_le_bytes()));
        let (segment, frame) = place(dir, 29);
        zero(&segment, 512..1536);
        flip(&segment, frame.end - 1);
    }),
    case("one-header-copy-bad", LAST, |dir| {
        for (i, segment) in segments(dir).iter().enumerate() {
            flip(segment, HEADER_COPIES[i % 2] + 20);
        }
    }),
    case("both-header-copies-bad", LAST, |dir| {
        let segment = segments(dir).remove(0);
        HEADER_COPIES.iter().for_each(|at| flip(&segment, at + 20));
    }),
    case("both-header-copies-of-the-newest-bad", LAST, |dir| {
        let segment = segments(dir).remove(2);
        HEADER_COPIES.iter().for_each(|at| flip(&segment, at + 20));
    }),
    case("cut-short", LAST, |dir| {
        let (newest, end) = end(dir);
        let bytes = fs::read(&newest).unwrap();
        fs::write(newest, &bytes[..end]).unwrap();
    }),
    case("sealed-segment-cut-short", LAST, |dir| {
        let segment = segments(dir).remove(0);
        let bytes = fs::read(&segment).unwrap();
        fs::write(segment, &bytes[..5000]).unwrap();
    }),
    case("missing-first-segment", LAST, |dir| {
        fs::remove_file(&segments(dir)[0]).unwrap();
    }),
    case("missing-segment", LAST, |dir| {
        fs::remove_file(&segments(dir)[1]).unwrap();
    }),
    case("missing-newest-segment", LAST, |dir| {
        fs::remove_file(&segments(dir)[2]).unwrap();
    }),
    case("foreign-segment", LAST, |dir| {
        let other = closed(LAST);
        fs::copy(&segments(other.path())[0], &segments(dir)[0]).unwrap();
    }),
    case("two-segments-with-one-number", LAST, |dir| {
        fs::copy(&segments(dir)[1], dir.join("0000000002-00000000000000000012.seg")).unwrap();
    }),
    case("newer-version", 10, |dir| {
        // A version that will never come.
        change_manifest(dir, |bytes| bytes[16..20].fill(0xff));
    }),
    case("damaged-manifest", 10, |dir| flip(&dir.join("MANIFEST"), 40)),
];

fn change_manifest(dir: &Path, change: impl Fn(&mut [u8])) {
    let mut bytes = fs::read(dir.join("MANIFEST")).unwrap();
    change(&mut bytes);
    let crc = crc32(0, &bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(dir.join("MANIFEST"), bytes).unwrap();
}

// ---------------------------------------------------------------- fixtures

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Zeros that are left out when there are so many in a row.
const RUN: usize = 16;

/// The files of a directory as text; `fixtures/README.md` describes it.
pub(crate) fn pack(dir: &Path) -> String {
    let mut text = String::new();
    for name in names(dir) {
        let bytes = fs::read(dir.join(&name)).unwrap();
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        let mut at = 0;
        while let Some(start) = bytes[at..].iter().position(|&byte| byte != 0).map(|n| at + n) {
            let mut line = bytes[start..].len().min(56);
            if let Some(zeros) = bytes[start..start + line].windows(RUN).position(|w| w == [0; RUN]) {
                line = zeros;
            }
            write!(text, "{start} ").unwrap();
            bytes[start..start + line]
                .iter()
                .for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
            at = start + line;
        }
    }
    text
}

/// Makes the files that [`pack`] has described.
pub(crate) fn unpack(text: &str) -> TempDir {
    let dir = temporary();
    let mut file = None;
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["file", name, length] => {
                let made = fs::File::create_new(dir.path().join(name)).unwrap();
                made.set_len(length.parse().unwrap()).unwrap();
                file = Some(made);
            }
            [offset, hex] => {
                let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
                let file = file.as_ref().expect("a line of bytes follows a line that names a file");
                file.write_all_at(&bytes, offset.parse().unwrap()).unwrap();
            }
            _ => panic!("not a line of a fixture: {line}"),
        }
    }
    dir
}

/// Name and text of every kept log, of all versions.
pub(crate) fn kept() -> Vec<(String, String)> {
    let mut kept = Vec::new();
    for version in names(&fixtures()).iter().filter(|name| name.starts_with('v')) {
        for name in names(&fixtures().join(version)) {
            let text = fs::read_to_string(fixtures().join(version).join(&name)).unwrap();
            kept.push((format!("{version}/{}", name.trim_end_matches(".log")), text));
        }
    }
    kept
}
