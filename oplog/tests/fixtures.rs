//! Logs that earlier releases wrote, sound and damaged, one set for each format version: every later release opens,
//! reads and judges them as written here. `fixtures/README.md` says how they are stored and how a set is made.

use std::fs;
use std::path::Path;

use tailwater_oplog::{Durability, Error, Finding, OplogView, ReadConcern, verify};

use crate::common;

use common::{CASES, fixtures, kept, kind, names, options, pack, payload, segments, unpack};

/// Name of a log, and what becomes of it when it is opened for writing and read, opened for reading and read, and
/// verified.
type Outcome = (&'static str, &'static str, &'static str, &'static str);

const OUTCOMES: &[Outcome] = &[
    ("empty", "1..=0, reads 1..=0", "1..=0", "1..=0: Open 1..=0"),
    ("sound", "1..=10, reads 1..=10", "1..=10", "1..=10: Open 1..=10"),
    (
        "several-segments",
        "1..=30, reads 1..=30",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30",
    ),
    (
        "full-segment-without-footer",
        "1..=30, reads 1..=30",
        "1..=30",
        "1..=30: Sealed 1..=10, Full 11..=20, Open 21..=30",
    ),
    (
        "trimmed-with-left-overs",
        "11..=30, reads 11..=30",
        "11..=30",
        "11..=30: Sealed 11..=20, Open 21..=30",
    ),
    (
        "torn-tail-of-garbage",
        "1..=30, reads 1..=30, 1 kept",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30; TornTail",
    ),
    (
        "torn-tail-of-a-later-entry",
        "1..=30, reads 1..=30, 1 kept",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30; TornTail",
    ),
    (
        "half-batch",
        "1..=30, reads 1..=30, 1 kept",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30; TornTail",
    ),
    (
        "half-batch-after-a-whole-entry",
        "1..=31, reads 1..=31, 1 kept",
        "1..=31",
        "1..=31: Sealed 1..=10, Sealed 11..=20, Open 21..=31; TornTail",
    ),
    (
        "entry-with-a-lower-term",
        "1..=30, reads 1..=30, 1 kept",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30; TornTail",
    ),
    (
        "entry-with-unknown-flags",
        "1..=30, reads 1..=30, 1 kept",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30; TornTail",
    ),
    (
        "roll-before-a-sync",
        "1..=8, reads 1..=8, 2 kept",
        "1..=8",
        "1..=8: Open 1..=8, Torn 11..=10; TornTail, TornTail",
    ),
    (
        "flipped-bit",
        "1..=30, reads 1..=22, Corrupt at 23",
        "1..=22, Corrupt at 23",
        "1..=22: Sealed 1..=10, Sealed 11..=20, Open 21..=22; Corrupt",
    ),
    (
        "flipped-bit-in-the-last-entry",
        "1..=30, reads 1..=29, Corrupt at 30",
        "1..=29, Corrupt at 30",
        "1..=29: Sealed 1..=10, Sealed 11..=20, Open 21..=29; Corrupt",
    ),
    (
        "flipped-bit-in-a-batch",
        "1..=30, reads 1..=24, Corrupt at 25",
        "1..=24, Corrupt at 25",
        "1..=23: Sealed 1..=10, Sealed 11..=20, Open 21..=23; Corrupt",
    ),
    (
        "flipped-bit-in-a-sealed-segment",
        "1..=30, reads 1..=6, Corrupt at 7",
        "1..=6, Corrupt at 7",
        "1..=6: Sealed 1..=6, Sealed 11..=20, Open 21..=30; Corrupt",
    ),
    (
        "flipped-bit-in-a-full-segment-without-footer",
        "Corrupt",
        "1..=13, Corrupt at 14",
        "1..=13: Sealed 1..=10, Full 11..=13, Open 21..=30; Corrupt",
    ),
    (
        "flipped-bit-behind-the-slots",
        "Corrupt",
        "1..=28, Corrupt at 29",
        "1..=28: Sealed 1..=10, Sealed 11..=20, Open 21..=28; Corrupt",
    ),
    (
        "one-header-copy-bad",
        "1..=30, reads 1..=30",
        "1..=30",
        "1..=30: Sealed 1..=10, Sealed 11..=20, Open 21..=30",
    ),
    (
        "both-header-copies-bad",
        "1..=30, reads 1..=0, DamagedMetadata at 1",
        "1..=0, DamagedMetadata at 1",
        "1..=0: Sealed 11..=20, Open 21..=30; DamagedMetadata",
    ),
    (
        "both-header-copies-of-the-newest-bad",
        "DamagedMetadata",
        "DamagedMetadata",
        "1..=20: Sealed 1..=10, Sealed 11..=20; DamagedMetadata",
    ),
    (
        "cut-short",
        "1..=30, reads 1..=30",
        "DamagedMetadata",
        "1..=20: Sealed 1..=10, Sealed 11..=20; DamagedMetadata",
    ),
    (
        "sealed-segment-cut-short",
        "1..=30, reads 1..=0, DamagedMetadata at 1",
        "1..=0, DamagedMetadata at 1",
        "1..=0: Sealed 11..=20, Open 21..=30; DamagedMetadata",
    ),
    (
        "missing-first-segment",
        "MissingSegment",
        "MissingSegment",
        "MissingSegment",
    ),
    ("missing-segment", "MissingSegment", "MissingSegment", "MissingSegment"),
    (
        "missing-newest-segment",
        "MissingSegment",
        "MissingSegment",
        "1..=20: Sealed 1..=10, Sealed 11..=20; MissingSegment",
    ),
    (
        "foreign-segment",
        "1..=30, reads 1..=0, ForeignSegment at 1",
        "1..=0, ForeignSegment at 1",
        "1..=0: Sealed 11..=20, Open 21..=30; ForeignSegment",
    ),
    (
        "two-segments-with-one-number",
        "ForeignSegment",
        "ForeignSegment",
        "ForeignSegment",
    ),
    ("newer-version", "NewerFormat", "NewerFormat", "NewerFormat"),
    (
        "damaged-manifest",
        "DamagedMetadata",
        "DamagedMetadata",
        "DamagedMetadata",
    ),
];

/// Name of an error's variant.
fn name(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(']).next().unwrap().to_owned()
}

/// Reads to the end, and checks that each entry is the one it must be.
fn read(view: &OplogView, last: u64) -> String {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let first = cursor.position();
    loop {
        let next = cursor.position();
        match cursor.try_next() {
            Ok(Some(entry)) if next.get() <= last => {
                let n = entry.op_id().get();
                assert_eq!((entry.op_id(), entry.kind()), (next, kind(n)));
                assert!(entry.payload() == payload(n), "entry {n} is not what was written");
                assert_eq!(
                    entry.in_batch(),
                    [4..=6, 24..=26].iter().any(|batch| batch.contains(&n)),
                    "entry {n}"
                );
            }
            Ok(Some(_)) => {}
            Ok(None) => return format!("{first}..={}", next.previous()),
            Err(error) => return format!("{first}..={}, {} at {next}", next.previous(), name(&error)),
        }
    }
}

fn reading(dir: &Path) -> String {
    match OplogView::open(dir) {
        Err(error) => name(&error),
        Ok(view) => read(&view, u64::MAX),
    }
}

fn verifying(dir: &Path) -> String {
    let report = match verify(dir) {
        Err(error) => return name(&error),
        Ok(report) => report,
    };
    let segment = |s: &tailwater_oplog::SegmentReport| format!("{:?} {}..={}", s.state, s.first, s.last);
    let segments: Vec<_> = report.segments.iter().map(segment).collect();
    let finding = |finding: &Finding| match finding {
        Finding::Damage(error) => name(error),
        other => name_of(other),
    };
    let findings: Vec<_> = report.findings.iter().map(finding).collect();
    let found = format!("{}..={}: {}", report.oldest, report.newest, segments.join(", "));
    if findings.is_empty() {
        found
    } else {
        format!("{found}; {}", findings.join(", "))
    }
}

fn name_of(finding: &Finding) -> String {
    format!("{finding:?}").split(' ').next().unwrap().to_owned()
}

/// Opens for writing, goes on writing, and reads all of it again. Who is refused changes no segment.
fn writing(dir: &Path) -> String {
    let contents = |dir: &Path| -> Vec<_> { segments(dir).iter().map(|path| fs::read(path).unwrap()).collect() };
    let before = contents(dir);
    let log = match options().open(dir) {
        Err(error) => {
            assert!(contents(dir) == before, "refused, and a segment is not what it was");
            return name(&error);
        }
        Ok(log) => log,
    };
    let last = log.watermarks().durable;
    let found = read(&log.view(), last.get());
    let kept = names(dir).iter().filter(|name| name.starts_with("torn-")).count();
    assert_eq!(log.append(255, b"goes on", Durability::Disk).unwrap().last, last.next());
    log.close().unwrap();
    let log = options().open(dir).unwrap();
    assert_eq!(log.watermarks().durable, last.next(), "after closing and opening again");
    let oldest = log.watermarks().oldest;
    let readable = read(&log.view(), last.get());
    assert!(
        readable == found || readable == format!("{oldest}..={}", last.next()),
        "{readable}"
    );
    let kept = if kept == 0 {
        String::new()
    } else {
        format!(", {kept} kept")
    };
    format!("{oldest}..={last}, reads {found}{kept}")
}

/// Compares what becomes of a log with what must become of it.
fn judge(dir: &Path, case: &str, what: &str) {
    let (_, write, read, verify) = OUTCOMES.iter().find(|(known, ..)| *known == case).unwrap();
    assert_eq!(reading(dir), *read, "{what}, reading");
    assert_eq!(verifying(dir), *verify, "{what}, verifying");
    assert_eq!(writing(dir), *write, "{what}, writing");
}

#[test]
fn every_kept_log_of_every_version_is_opened_read_and_judged_as_ever() {
    let kept = kept();
    let mut versions: Vec<_> = kept.iter().map(|(name, _)| name.split('/').next().unwrap()).collect();
    versions.dedup();
    assert!(versions.contains(&"v1"));
    assert_eq!(
        kept.len(),
        versions.len() * OUTCOMES.len(),
        "each version has its whole set"
    );
    for (name, text) in &kept {
        judge(unpack(text).path(), name.split('/').nth(1).unwrap(), name);
    }
}

/// So that a failure of the kept ones can be told from one of the cases themselves.
#[test]
fn every_log_made_now_is_opened_read_and_judged_in_the_same_way() {
    assert_eq!(CASES.len(), OUTCOMES.len());
    for case in CASES {
        judge(case.make().path(), case.name, case.name);
    }
}

#[test]
fn what_is_packed_is_unpacked_byte_by_byte() {
    for case in CASES {
        let dir = case.make();
        let unpacked = unpack(&pack(dir.path()));
        assert_eq!(names(unpacked.path()), names(dir.path()));
        for name in names(dir.path()) {
            let bytes = |dir: &Path| fs::read(dir.join(&name)).unwrap();
            assert!(bytes(unpacked.path()) == bytes(dir.path()), "{}, {name}", case.name);
        }
    }
}

#[test]
#[ignore = "writes the fixtures of the current format version: to be run once, by hand, when there is a new one"]
fn make_the_fixtures_of_this_version() {
    // What the version is, a manifest made now says.
    let manifest = fs::read(CASES[0].make().path().join("MANIFEST")).unwrap();
    let version = u32::from_le_bytes(manifest[16..20].try_into().unwrap());
    let set = fixtures().join(format!("v{version}"));
    fs::create_dir(&set).expect("a set that is there stays as it is");
    for case in CASES {
        fs::write(set.join(format!("{}.log", case.name)), pack(case.make().path())).unwrap();
    }
}
