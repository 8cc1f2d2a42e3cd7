//! Bits flipped, one at a time, wherever they are.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tailwater_oplog::{Durability, Error, ErrorKind, Finding, OpId, OplogView, ReadConcern, SegmentState, verify};
use tempfile::TempDir;

use super::common::{options, temporary};
use super::{FRAMES_START, HEADER, KIND, SEGMENT, append, copy, flip, payload, with_suffix};

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
