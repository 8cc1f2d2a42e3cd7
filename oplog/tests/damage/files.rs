//! Whatever else may be in the directory: junk, manifests, what an interruption left; and footers that are missing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use tailwater_oplog::{Durability, Error, ErrorKind, OpId, OplogView, Options, ReadConcern, SegmentState, verify};
use tempfile::TempDir;

use super::common::{options, temporary};
use super::{FRAMES_START, SEGMENT, append, both, copy, flip, names, payload, read, seven_segments, with_suffix};

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

/// So many looks, a millisecond apart at least, that only a rest that never comes is missed.
const LOOKS_MAX: usize = 20_000;

/// A copy of a log that has rested: one in which damage to its newest entry, at that place, is found.
fn copy_at_rest(origin: &Path, damage: usize, newest: u64) -> TempDir {
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(Duration::from_millis(1));
        let dir = copy(origin);
        let segment = with_suffix(dir.path(), ".seg").remove(0);
        flip(&segment, damage, 1);
        let found = OplogView::open(dir.path()).unwrap().newest(ReadConcern::Durable);
        flip(&segment, damage, 1);
        if found.get() == newest {
            return dir;
        }
    }
    panic!("the log has not come to rest");
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
            let frame = FRAMES_START + 2 * 64..FRAMES_START + 3 * 64;
            let dir = copy_at_rest(origin.path(), frame.start, last);
            let segment = with_suffix(dir.path(), ".seg").remove(0);
            for at in frame.step_by(7) {
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
