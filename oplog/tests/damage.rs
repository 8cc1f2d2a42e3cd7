//! Damaged logs: torn tails cut at every byte, every byte of a small log flipped, files missing, swapped, left over.
//!
//! The logs are built on `/dev/shm` where there is one, because these tests open them thousands of times and what they
//! check does not depend on the disk.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use common::{options, temporary};
use tailwater_oplog::{
    Durability, Error, ErrorKind, Finding, OpId, Oplog, OplogView, Options, ReadConcern, Record, SegmentState, verify,
};
use tempfile::TempDir;

const KIND: u8 = 200;
const SEGMENT: u64 = 1 << 20;
const FRAMES_START: usize = 4096;
const HEADER: usize = 40;

/// Bytes that cannot be guessed and are never zero.
fn payload(op_id: u64, bytes: usize) -> Vec<u8> {
    let mut state = op_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..bytes).map(step).collect()
}

fn append(log: &Oplog, bytes: usize, durability: Durability) -> u64 {
    let next = log.watermarks().appended.next().get();
    log.append(KIND, &payload(next, bytes), durability).unwrap().last.get()
}

fn copy(from: &Path) -> TempDir {
    let to = temporary();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn with_suffix(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    names(dir)
        .iter()
        .filter(|name| name.ends_with(suffix))
        .map(|name| dir.join(name))
        .collect()
}

fn flip(file: &Path, offset: usize, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset as u64).unwrap();
}

/// Reads everything there is; `bytes` says how long entry n is. What is read is right, or the test fails.
fn read(view: &OplogView, bytes: impl Fn(u64) -> usize) -> Result<u64, Error> {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut last = cursor.position().previous().get();
    while let Some(entry) = cursor.try_next()? {
        last += 1;
        assert_eq!(entry.op_id().get(), last);
        assert!(
            entry.payload() == payload(last, bytes(last)),
            "entry {last} is not what was written"
        );
    }
    Ok(last)
}

// ---------------------------------------------------------------- torn tails

/// A log of eight entries, five of them durable, as power loss could leave it; and where each frame ends.
struct Torn {
    dir: TempDir,
    segment: PathBuf,
    sound: Vec<u8>,
    ends: Vec<usize>,
    entry_bytes: usize,
}

impl Torn {
    fn new(entry_bytes: usize) -> Torn {
        let origin = temporary();
        let log = options().open(origin.path()).unwrap();
        for _ in 0..5 {
            append(&log, entry_bytes, Durability::Disk);
        }
        for _ in 0..3 {
            append(&log, entry_bytes, Durability::Memory);
        }
        // Looking for the newest entries has them moved from the log buffer into the segment.
        assert_eq!(log.watermarks().appended.get(), 8);
        // A copy has no live tail page and no live buffer, as after a reboot.
        let dir = copy(origin.path());
        let segment = with_suffix(dir.path(), ".seg").remove(0);
        let sound = fs::read(&segment).unwrap();
        let frame = (HEADER + entry_bytes).next_multiple_of(8);
        let ends = (0..=8).map(|n| FRAMES_START + n * frame).collect();
        Torn {
            dir,
            segment,
            sound,
            ends,
            entry_bytes,
        }
    }

    /// Puts `bytes` in the segment's place, opens the log and expects the entries whose frames are whole in it.
    fn check(&self, bytes: &[u8], what: &str) {
        let mut extended = bytes.to_vec();
        extended.resize(self.sound.len(), 0);
        let whole = (1..=8).take_while(|&n| {
            let frame = self.ends[n - 1]..self.ends[n];
            extended[frame.clone()] == self.sound[frame]
        });
        let whole = whole.count();
        assert!(whole >= 5, "{what}: damages what is durable");
        for torn in with_suffix(self.dir.path(), ".bin") {
            fs::remove_file(torn).unwrap();
        }
        // The last round's tail page is alive; power loss would have ended that.
        let _ = fs::remove_file(self.dir.path().join("TAIL"));
        fs::write(&self.segment, bytes).unwrap();

        let view = OplogView::open(self.dir.path());
        if bytes.len() < self.sound.len() {
            // A reader may not make the file whole again, and maps nothing that is not there.
            assert!(matches!(view, Err(Error::DamagedMetadata { .. })), "{what}: {view:?}");
        } else {
            assert_eq!(
                read(&view.unwrap(), |_| self.entry_bytes).unwrap(),
                whole as u64,
                "{what}"
            );
            let report = verify(self.dir.path()).unwrap();
            assert!(
                report.is_sound() && report.newest.get() == whole as u64,
                "{what}: {report:?}"
            );
        }

        let log = options()
            .open(self.dir.path())
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(log.watermarks().durable.get(), whole as u64, "{what}");
        let rest = &bytes[self.ends[whole].min(bytes.len())..];
        let torn = with_suffix(self.dir.path(), ".bin");
        match rest.iter().rposition(|&byte| byte != 0) {
            None => assert!(torn.is_empty(), "{what}: {torn:?}"),
            Some(last) => assert_eq!(fs::read(&torn[0]).unwrap(), rest[..=last], "{what}"),
        }
        append(&log, self.entry_bytes, Durability::Disk);
        assert_eq!(
            read(&log.view(), |_| self.entry_bytes).unwrap(),
            whole as u64 + 1,
            "{what}"
        );
        log.close().unwrap();
        assert_eq!(fs::metadata(&self.segment).unwrap().len(), SEGMENT, "{what}");
        let view = OplogView::open(self.dir.path()).unwrap();
        assert_eq!(read(&view, |_| self.entry_bytes).unwrap(), whole as u64 + 1, "{what}");
    }

    /// Every byte of the three frames that are not durable, and the first behind them.
    fn cuts(&self) -> std::ops::RangeInclusive<usize> {
        self.ends[5]..=self.ends[8]
    }
}

#[test]
fn a_tail_of_zeros_from_any_byte_on_is_cut_and_kept() {
    for entry_bytes in [24, 27] {
        let torn = Torn::new(entry_bytes);
        for at in torn.cuts() {
            let mut bytes = torn.sound.clone();
            bytes[at..].fill(0);
            torn.check(&bytes, &format!("zeros from {at}"));
        }
    }
}

#[test]
fn a_tail_of_garbage_from_any_byte_on_is_cut_and_kept() {
    let torn = Torn::new(27);
    for at in torn.cuts() {
        let mut bytes = torn.sound.clone();
        let garbage = payload(at as u64, 700);
        bytes[at..at + 700].copy_from_slice(&garbage);
        torn.check(&bytes, &format!("garbage from {at}"));
    }
}

#[test]
fn a_segment_cut_short_at_any_byte_of_its_tail_is_made_whole_again() {
    let torn = Torn::new(27);
    for at in torn.cuts() {
        torn.check(&torn.sound[..at], &format!("cut short at {at}"));
    }
}

/// One sector keeps its old bytes, those before and behind it are new: what an unsynced page can look like.
#[test]
fn a_hole_in_what_was_never_durable_is_no_corruption() {
    let torn = Torn::new(27);
    for at in torn.ends[5]..torn.ends[7] {
        let mut bytes = torn.sound.clone();
        bytes[at..torn.ends[7]].fill(0);
        torn.check(&bytes, &format!("hole from {at}"));
    }
}

#[test]
fn a_hole_below_a_known_watermark_is_corruption_and_nothing_is_cut() {
    let torn = Torn::new(27);
    let mut bytes = torn.sound.clone();
    // Entry 5 is gone; entries 6 to 8 say that it was durable.
    bytes[torn.ends[4]..torn.ends[5]].fill(0);
    fs::write(&torn.segment, &bytes).unwrap();
    let error = options().open(torn.dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { path, offset, expected, durable }
            if *path == torn.segment && *offset == torn.ends[4] as u64 && expected.get() == 5 && durable.get() == 5),
        "{error:?}"
    );
    assert!(fs::read(&torn.segment).unwrap() == bytes, "the file is as it was");
    assert!(with_suffix(torn.dir.path(), ".bin").is_empty());
    // Readers get what stands before the hole.
    let view = OplogView::open(torn.dir.path()).unwrap();
    assert_eq!(
        view.get(OpId::new(4), ReadConcern::Durable).unwrap().payload(),
        payload(4, 27)
    );
    assert!(matches!(
        view.get(OpId::new(5), ReadConcern::Durable),
        Err(Error::Corrupt { .. })
    ));
    let report = verify(torn.dir.path()).unwrap();
    assert!(!report.is_sound() && report.newest.get() == 4, "{report:?}");
}

#[test]
fn half_a_batch_is_no_batch() {
    let origin = temporary();
    let log = options().open(origin.path()).unwrap();
    append(&log, 27, Durability::Disk);
    let payloads: Vec<_> = (2..=5).map(|n| payload(n, 27)).collect();
    let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
    let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
    log.append_batch(&records, Durability::Memory).unwrap();
    let frame = (HEADER + 27).next_multiple_of(8);
    for at in FRAMES_START + frame..FRAMES_START + 5 * frame - 5 {
        let cut = copy(origin.path());
        let segment = with_suffix(cut.path(), ".seg").remove(0);
        let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
        file.write_all_at(&vec![0; 1024], at as u64).unwrap();
        let log = options().open(cut.path()).unwrap();
        assert_eq!(log.watermarks().durable.get(), 1, "cut at {at}");
    }
}

// ---------------------------------------------------------------- flipped bits

/// Length of entry n of [`closed`]: ten small ones, one that does not fit behind them, nine small ones.
fn closed_bytes(op_id: u64) -> usize {
    match op_id {
        1..=10 => 200 + 3 * op_id as usize,
        11 => 1_042_500,
        _ => 30 + op_id as usize,
    }
}

const CLOSED_ENTRIES: u64 = 20;

/// The payload of entry n of [`closed`]; the large one is made once.
fn closed_payload(op_id: u64) -> &'static [u8] {
    static PAYLOADS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = || (1..=CLOSED_ENTRIES).map(|n| payload(n, closed_bytes(n))).collect();
    &PAYLOADS.get_or_init(make)[op_id as usize - 1]
}

/// Reads a flipped log to its end. What is read is right, or the test fails.
fn read_closed(view: &OplogView) -> Result<u64, Error> {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut last = 0;
    while let Some(entry) = cursor.try_next()? {
        last += 1;
        assert_eq!(entry.op_id().get(), last);
        assert!(
            entry.payload() == closed_payload(last),
            "entry {last} is not what was written"
        );
    }
    Ok(last)
}

/// A log that was closed: one sealed segment with few entries, and the newest, which is nearly full.
fn closed() -> TempDir {
    let origin = temporary();
    let log = options().open(origin.path()).unwrap();
    for n in 1..=CLOSED_ENTRIES {
        append(&log, closed_bytes(n), Durability::Memory);
    }
    log.close().unwrap();
    let dir = copy(origin.path());
    let report = verify(dir.path()).unwrap();
    let states: Vec<_> = report.segments.iter().map(|s| s.state).collect();
    assert_eq!(states, [SegmentState::Sealed, SegmentState::Open]);
    assert!(
        report.findings.is_empty() && report.newest.get() == CLOSED_ENTRIES,
        "{report:?}"
    );
    dir
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flip {
    /// The log opens, and every entry reads as it was written.
    Harmless,
    /// An error names the damage.
    Refused,
    /// All but the damaged entry can be had, and reading that one is an error.
    Entry(u64),
}

/// What a flipped log does; fails on wrong data and on entries that are not there without an error.
fn outcome(dir: &Path, what: &str) -> Flip {
    let view = match OplogView::open(dir) {
        Ok(view) => view,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
            let report = verify(dir);
            assert!(
                !report.is_ok_and(|report| report.is_sound()),
                "{what}: verify finds nothing"
            );
            return Flip::Refused;
        }
    };
    assert_eq!(
        view.newest(ReadConcern::Durable).get(),
        CLOSED_ENTRIES,
        "{what}: silently shorter"
    );
    let report = verify(dir).unwrap();
    match read_closed(&view) {
        Ok(last) => {
            assert_eq!(last, CLOSED_ENTRIES, "{what}");
            assert!(
                report.is_sound() && report.newest.get() == CLOSED_ENTRIES,
                "{what}: {report:?}"
            );
            Flip::Harmless
        }
        Err(Error::Corrupt { expected, durable, .. }) => {
            assert!(expected <= durable, "{what}");
            assert!(!report.is_sound(), "{what}: verify finds nothing");
            let bad = expected.get();
            for n in 1..bad {
                let entry = view.get(OpId::new(n), ReadConcern::Durable).unwrap();
                assert!(entry.payload() == closed_payload(n), "{what}");
            }
            assert!(
                matches!(view.get(expected, ReadConcern::Durable), Err(Error::Corrupt { .. })),
                "{what}"
            );
            for n in bad + 1..=CLOSED_ENTRIES {
                if let Ok(entry) = view.get(OpId::new(n), ReadConcern::Durable) {
                    assert!(entry.payload() == closed_payload(n), "{what}");
                }
            }
            Flip::Entry(bad)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
            assert!(!report.is_sound(), "{what}: verify finds nothing");
            Flip::Refused
        }
    }
}

/// Flips, looks, flips back.
fn flipped(dir: &Path, file: &Path, offset: usize, bit: u8) -> Flip {
    flip(file, offset, bit);
    let outcome = outcome(dir, &format!("{}, offset {offset}, bit {bit}", file.display()));
    flip(file, offset, bit);
    outcome
}

/// Where each entry's frame stands in its segment, and where it ends.
fn frames(first: u64, last: u64) -> Vec<(u64, std::ops::Range<usize>)> {
    let mut offset = FRAMES_START;
    let frame = |n| {
        let start = offset;
        offset += (HEADER + closed_bytes(n)).next_multiple_of(8);
        (n, start..offset)
    };
    (first..=last).map(frame).collect()
}

#[test]
fn every_flipped_bit_of_the_manifest_is_refused() {
    let dir = closed();
    let manifest = dir.path().join("MANIFEST");
    for offset in 0..fs::metadata(&manifest).unwrap().len() as usize {
        for bit in 0..8 {
            assert_eq!(
                flipped(dir.path(), &manifest, offset, bit),
                Flip::Refused,
                "offset {offset}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_headers_slots_and_footer_is_harmless_on_its_own() {
    let dir = closed();
    for segment in with_suffix(dir.path(), ".seg") {
        let bytes = fs::read(&segment).unwrap();
        let limit = bytes.len() - 256;
        for offset in (0..FRAMES_START).chain(limit..bytes.len()) {
            let bits: &[u8] = if bytes[offset] != 0 {
                &[0, 1, 2, 3, 4, 5, 6, 7]
            } else if offset % 7 == 0 {
                &[5]
            } else {
                &[]
            };
            for &bit in bits {
                assert_eq!(flipped(dir.path(), &segment, offset, bit), Flip::Harmless, "{offset}");
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_frame_is_an_error_for_that_entry() {
    let dir = closed();
    let segments = with_suffix(dir.path(), ".seg");
    for (segment, frames) in segments.iter().zip([frames(1, 10), frames(11, 20)]) {
        for (n, range) in frames {
            // Of the large entry a sample, of the first small ones every bit.
            let step = if range.len() > 1000 { 9_973 } else { 1 };
            for offset in range.step_by(step) {
                let bits: &[u8] = if n <= 2 {
                    &[0, 1, 2, 3, 4, 5, 6, 7]
                } else {
                    &[(offset % 8) as u8][..]
                };
                for &bit in bits {
                    assert_eq!(flipped(dir.path(), segment, offset, bit), Flip::Entry(n), "{offset}");
                }
            }
        }
    }
}

#[test]
fn flipped_bits_behind_the_end_are_harmless_and_reported() {
    let dir = closed();
    let segments = with_suffix(dir.path(), ".seg");
    for (segment, frames, newest) in [
        (&segments[0], frames(1, 10), false),
        (&segments[1], frames(11, 20), true),
    ] {
        let end = frames.last().unwrap().1.end;
        let far = (end + 64..SEGMENT as usize - 1024).step_by(50_021);
        for offset in (end..end + 64).chain(far) {
            flip(segment, offset, 3);
            let what = format!("{}, offset {offset}", segment.display());
            assert_eq!(outcome(dir.path(), &what), Flip::Harmless);
            let findings = verify(dir.path()).unwrap().findings;
            assert_eq!(
                matches!(findings[..], [Finding::TornTail { .. }]),
                newest,
                "{what}: {findings:?}"
            );
            flip(segment, offset, 3);
        }
    }
}

/// The same damage, met by a writer. It may open the log over damage that its readers will be told of, but it removes
/// nothing.
#[test]
fn a_writer_never_shortens_a_closed_log_whatever_byte_is_flipped() {
    let dir = closed();
    let mut cases: Vec<(String, usize)> = (0..64)
        .step_by(3)
        .map(|offset| ("MANIFEST".to_owned(), offset))
        .collect();
    for segment in with_suffix(dir.path(), ".seg") {
        let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&segment).unwrap();
        let written = (0..bytes.len()).filter(|&offset| bytes[offset] != 0);
        let small = written
            .clone()
            .filter(|&offset| offset < FRAMES_START + 2800 || offset > bytes.len() - 4000);
        cases.extend(small.step_by(11).map(|offset| (name.clone(), offset)));
        cases.extend(written.step_by(100_003).map(|offset| (name.clone(), offset)));
        cases.extend(
            (FRAMES_START + 3000..bytes.len())
                .step_by(200_003)
                .map(|offset| (name.clone(), offset)),
        );
    }
    for (name, offset) in cases {
        let copy = copy(dir.path());
        flip(&copy.path().join(&name), offset, 2);
        match options().open(copy.path()) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}, offset {offset}: {error:?}"),
            Ok(log) => {
                assert_eq!(
                    log.watermarks().durable.get(),
                    CLOSED_ENTRIES,
                    "{name}, offset {offset}"
                );
                match read_closed(&log.view()) {
                    Ok(last) => assert_eq!(last, CLOSED_ENTRIES, "{name}, offset {offset}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}, offset {offset}: {error:?}"),
                }
                log.append(KIND, b"goes on", Durability::Disk).unwrap();
            }
        }
    }
}

#[test]
fn one_bad_header_copy_is_enough_and_two_are_named() {
    let dir = closed();
    for segment in with_suffix(dir.path(), ".seg") {
        for offset in [0, 1536] {
            assert_eq!(flipped(dir.path(), &segment, offset + 20, 0), Flip::Harmless);
        }
        flip(&segment, 20, 0);
        flip(&segment, 1536 + 20, 0);
        let what = "both copies of a header";
        assert_eq!(outcome(dir.path(), what), Flip::Refused);
        let error = options().open(copy(dir.path()).path()).unwrap_err();
        assert!(
            error.to_string().contains("both copies of its header are bad"),
            "{error}"
        );
        flip(&segment, 20, 0);
        flip(&segment, 1536 + 20, 0);
    }
}

// ---------------------------------------------------------------- directories

/// Seven segments, of which six are sealed.
fn seven_segments() -> (TempDir, Vec<String>) {
    let origin = temporary();
    let log = options().open(origin.path()).unwrap();
    for _ in 0..13 {
        append(&log, 350_000, Durability::Memory);
    }
    log.close().unwrap();
    let names: Vec<String> = names(origin.path())
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    assert_eq!(names.len(), 7);
    (origin, names)
}

fn both(dir: &Path) -> [Error; 2] {
    [
        options().open(dir).map(|_| ()).unwrap_err(),
        OplogView::open(dir).map(|_| ()).unwrap_err(),
    ]
}

#[test]
fn a_missing_segment_is_named_wherever_it_was() {
    let (dir, names) = seven_segments();
    for (i, name) in names.iter().enumerate() {
        let path = dir.path().join(name);
        let away = dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        // Without the tail page, which would only say that an entry is missing.
        let copied = copy(dir.path());
        for error in both(copied.path()) {
            assert!(
                matches!(error, Error::MissingSegment { sequence, .. } if sequence == i as u64 + 1),
                "{name}: {error:?}"
            );
        }
        fs::rename(&away, &path).unwrap();
    }
    assert_eq!(read(&OplogView::open(dir.path()).unwrap(), |_| 350_000).unwrap(), 13);
}

#[test]
fn a_log_without_any_segment_is_refused() {
    let (dir, names) = seven_segments();
    for name in &names {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let [writing, reading] = both(dir.path());
    for error in [writing, reading, verify(dir.path()).unwrap_err()] {
        assert!(matches!(error, Error::MissingSegment { sequence: 1, .. }), "{error:?}");
    }
}

/// Its writer died, or has not come further yet.
#[test]
fn a_log_that_has_only_its_first_manifest_is_new_and_empty() {
    let (dir, names) = seven_segments();
    let manifest = dir.path().join("MANIFEST");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[44..48].fill(0);
    let crc = crc32fast::hash(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(&manifest, bytes).unwrap();
    for name in &names {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let dir = copy(dir.path());
    let _ = fs::remove_file(dir.path().join("TAIL"));
    assert_eq!(
        OplogView::open(dir.path()).unwrap().newest(ReadConcern::Local),
        OpId::ZERO
    );
    assert!(verify(dir.path()).unwrap().findings.is_empty());
    assert_eq!(options().open(dir.path()).unwrap().watermarks().appended, OpId::ZERO);
}

/// The first segment has its name before the manifest has a term: a reader that comes meanwhile sees an empty log, or none
/// yet.
#[test]
fn a_reader_that_comes_while_a_log_is_made_is_never_told_that_a_segment_is_missing() {
    for _ in 0..30 {
        let dir = temporary();
        let path = dir.path().to_path_buf();
        let writer = std::thread::spawn(move || options().open(path).unwrap().close().unwrap());
        while !writer.is_finished() {
            for result in [OplogView::open(dir.path()).map(|_| ()), verify(dir.path()).map(|_| ())] {
                assert!(matches!(result, Ok(()) | Err(Error::NotALog { .. })), "{result:?}");
            }
        }
        writer.join().unwrap();
    }
}

#[test]
fn swapped_segments_are_foreign_to_their_names() {
    let (dir, names) = seven_segments();
    let swap = |a: &str, b: &str| {
        fs::rename(dir.path().join(a), dir.path().join("away")).unwrap();
        fs::rename(dir.path().join(b), dir.path().join(a)).unwrap();
        fs::rename(dir.path().join("away"), dir.path().join(b)).unwrap();
    };
    for pair in names.windows(2) {
        swap(&pair[0], &pair[1]);
        let copied = copy(dir.path());
        let report = verify(copied.path()).unwrap();
        assert!(!report.is_sound(), "{pair:?}");
        // An open looks at the newest segments only; reading finds the others.
        let error = match OplogView::open(copied.path()) {
            Ok(view) => read(&view, |_| 350_000).unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, Error::ForeignSegment { .. }), "{pair:?}: {error:?}");
        swap(&pair[0], &pair[1]);
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (dir, names) = seven_segments();
    let (other, other_names) = seven_segments();
    assert_eq!(names, other_names);
    for name in &names {
        let copied = copy(dir.path());
        fs::copy(other.path().join(name), copied.path().join(name)).unwrap();
        assert!(!verify(copied.path()).unwrap().is_sound());
        let error = match OplogView::open(copied.path()) {
            Ok(view) => read(&view, |_| 350_000).unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(&error, Error::ForeignSegment { path, .. } if path.ends_with(name)),
            "{error:?}"
        );
    }
}

#[test]
fn two_segments_with_one_sequence_number_are_refused() {
    let (dir, names) = seven_segments();
    for name in &names {
        let double = format!("{}-{:020}.seg", &name[..10], 999);
        fs::copy(dir.path().join(name), dir.path().join(&double)).unwrap();
        for error in both(dir.path()) {
            assert!(matches!(error, Error::ForeignSegment { .. }), "{error:?}");
        }
        fs::remove_file(dir.path().join(&double)).unwrap();
    }
}

#[test]
fn junk_is_ignored_and_left_alone() {
    let (dir, names) = seven_segments();
    let junk = [
        "notes.txt",
        ".hidden",
        "MANIFEST.tmp",
        "MANIFEST~",
        "0000000099-00000000000000000999.seg.bak",
        "99-999.seg",
        "torn-0000000001-4096.bin",
    ];
    for name in junk {
        fs::write(dir.path().join(name), "junk").unwrap();
    }
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert!(verify(dir.path()).unwrap().findings.is_empty());
    let log = options().open(dir.path()).unwrap();
    assert_eq!(read(&log.view(), |_| 350_000).unwrap(), 13);
    log.close().unwrap();
    for name in junk.iter().filter(|name| **name != "MANIFEST.tmp") {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"junk");
    }
    assert!(names.iter().all(|name| dir.path().join(name).exists()));
}

#[test]
fn a_missing_manifest_is_named_and_nothing_is_made_in_its_place() {
    let (dir, _) = seven_segments();
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    let before = names(dir.path());
    for error in both(dir.path()) {
        assert!(matches!(error, Error::NotALog { .. }), "{error:?}");
    }
    assert_eq!(names(dir.path()), before);
}

#[test]
fn a_short_or_empty_manifest_is_damaged() {
    let (dir, _) = seven_segments();
    let manifest = dir.path().join("MANIFEST");
    let bytes = fs::read(&manifest).unwrap();
    for length in 0..bytes.len() {
        fs::write(&manifest, &bytes[..length]).unwrap();
        for error in both(dir.path()) {
            assert!(
                matches!(error, Error::DamagedMetadata { .. }),
                "{length} bytes: {error:?}"
            );
        }
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (dir, _) = seven_segments();
    let manifest = dir.path().join("MANIFEST");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[16..20].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(&manifest, &bytes).unwrap();
    for error in both(dir.path()) {
        assert!(
            matches!(error, Error::NewerFormat { found: 2, known: 1, .. }),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::NewerFormat);
    }
}

#[test]
fn what_an_interrupted_trim_or_preparation_left_is_removed() {
    let (dir, names) = seven_segments();
    let log = options().open(dir.path()).unwrap();
    let first = fs::read(dir.path().join(&names[0])).unwrap();
    let oldest = log.trim(OpId::new(5)).unwrap();
    log.close().unwrap();
    assert!(oldest > OpId::FIRST && !dir.path().join(&names[0]).exists());
    fs::write(dir.path().join(&names[0]), first).unwrap();
    let spare = dir.path().join("0000000008.spare");
    fs::write(&spare, "half a spare").unwrap();
    // Readers do not mind, and remove nothing.
    assert_eq!(read(&OplogView::open(dir.path()).unwrap(), |_| 350_000).unwrap(), 13);
    assert!(spare.exists() && dir.path().join(&names[0]).exists());

    let log = options().open(dir.path()).unwrap();
    assert!(!spare.exists() && !dir.path().join(&names[0]).exists());
    assert_eq!(log.watermarks().oldest, oldest);
    // The name of the spare is free again.
    for _ in 0..4 {
        append(&log, 350_000, Durability::Disk);
    }
}

#[test]
fn a_full_segment_without_its_footer_is_sealed_at_the_next_open() {
    let (dir, names) = seven_segments();
    let path = dir.path().join(&names[5]);
    let sealed = fs::read(&path).unwrap();
    for damage in [0usize, 16, 100] {
        let copied = copy(dir.path());
        let path = copied.path().join(&names[5]);
        let mut bytes = sealed.clone();
        let trailer = bytes.len() - 128;
        bytes[trailer + damage..].fill(0);
        fs::write(&path, &bytes).unwrap();
        let whole = damage == 100;
        let state = |n: usize| verify(copied.path()).unwrap().segments[n].state;
        assert_eq!(
            state(5),
            if whole {
                SegmentState::Sealed
            } else {
                SegmentState::Full
            }
        );
        assert_eq!(read(&OplogView::open(copied.path()).unwrap(), |_| 350_000).unwrap(), 13);
        let log = options().open(copied.path()).unwrap();
        assert_eq!(read(&log.view(), |_| 350_000).unwrap(), 13);
        log.close().unwrap();
        assert_eq!(state(5), SegmentState::Sealed);
        assert!(fs::read(&path).unwrap() == sealed, "the same footer");
    }
}

/// An old segment that was cut short by hand: named at the first read of it, by a reader and by verify, and no SIGBUS.
#[test]
fn a_sealed_segment_cut_short_is_named() {
    let (dir, names) = seven_segments();
    let whole = fs::read(dir.path().join(&names[2])).unwrap();
    for length in [0, 100, 4095, 4096, 5000, 351_000, 700_000, 1_048_575] {
        fs::write(dir.path().join(&names[2]), &whole[..length]).unwrap();
        let view = OplogView::open(dir.path()).unwrap();
        assert!(view.get(OpId::new(4), ReadConcern::Durable).is_ok());
        let error = view.get(OpId::new(5), ReadConcern::Durable).unwrap_err();
        assert!(
            matches!(&error, Error::DamagedMetadata { path, .. } if path.ends_with(&names[2])),
            "{error:?}"
        );
        assert!(view.get(OpId::new(7), ReadConcern::Durable).is_ok());
        assert!(!verify(dir.path()).unwrap().is_sound());
    }
}

/// The newest entries are known to be durable only from a slot, which is made durable once the log has rested; until then
/// damage to them passes for a torn tail. This is the rest after which it no longer does.
#[test]
fn after_a_short_rest_damage_to_the_newest_entry_is_found_too() {
    for durability in [Durability::Memory, Durability::Disk] {
        for round in 0..20 {
            let origin = temporary();
            let options = Options {
                sync_interval: Duration::from_millis(1),
                ..options()
            };
            let log = options.open(origin.path()).unwrap();
            let last = (0..3).fold(0, |_, _| append(&log, 24, durability));
            std::thread::sleep(Duration::from_millis(60));
            let dir = copy(origin.path());
            let segment = with_suffix(dir.path(), ".seg").remove(0);
            for at in (FRAMES_START + 2 * 64..FRAMES_START + 3 * 64).step_by(7) {
                let what = format!("{durability:?}, round {round}, offset {at}");
                flip(&segment, at, 1);
                let view = OplogView::open(dir.path()).unwrap();
                assert_eq!(
                    view.newest(ReadConcern::Durable).get(),
                    last,
                    "{what}: silently shorter"
                );
                assert!(
                    matches!(
                        view.get(OpId::new(last), ReadConcern::Durable),
                        Err(Error::Corrupt { .. })
                    ),
                    "{what}"
                );
                flip(&segment, at, 1);
            }
        }
    }
}

/// Its seal failed, and a later one worked. It is not looked at when the log is opened, and read all the same.
#[test]
fn a_segment_without_its_footer_among_sealed_ones_is_read_by_walking() {
    let (dir, names) = seven_segments();
    let copied = copy(dir.path());
    for name in &names[1..3] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(copied.path().join(name))
            .unwrap();
        file.write_all_at(&[0; 128], SEGMENT - 128).unwrap();
    }
    let view = OplogView::open(copied.path()).unwrap();
    assert_eq!(read(&view, |_| 350_000).unwrap(), 13);
    assert!(verify(copied.path()).unwrap().findings.is_empty());
    let log = options().open(copied.path()).unwrap();
    assert_eq!(read(&log.view(), |_| 350_000).unwrap(), 13);
    for n in (1..=13).rev() {
        let entry = log.view().get(OpId::new(n), ReadConcern::Durable).unwrap();
        assert!(entry.payload() == payload(n, 350_000));
    }
}
