//! Segments that are missing, swapped, foreign or double.

use std::fs;

use tailwater_oplog::{Durability, Error, OpId, OplogView, ReadConcern, verify};

use super::common::{options, temporary};
use super::{append, both, copy, read, seven_segments};

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

/// By a stranger: an error for its entries by name, and for nothing else; a trim behind it makes the log whole again.
#[test]
fn a_segment_that_vanishes_under_a_live_log_costs_its_own_entries() {
    let (dir, names) = seven_segments();
    let log = options().open(dir.path()).unwrap();
    let elsewhere = OplogView::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join(&names[2])).unwrap();
    let get = |view: &OplogView, n| view.get(OpId::new(n), ReadConcern::Durable).map(drop);
    let error = get(&log.view(), 5).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.ends_with(&names[2])),
        "{error:?}"
    );
    let error = get(&elsewhere, 5).unwrap_err();
    assert!(matches!(error, Error::MissingSegment { sequence: 3, .. }), "{error:?}");
    for view in [log.view(), elsewhere] {
        for n in [4, 7, 13] {
            get(&view, n).unwrap();
        }
        // A cursor stays in front of what is missing.
        let mut cursor = view.cursor(OpId::new(4), ReadConcern::Durable).unwrap();
        assert!(cursor.try_next().unwrap().is_some());
        for _ in 0..2 {
            assert!(cursor.try_next().is_err());
            assert_eq!(cursor.position(), OpId::new(5));
        }
    }
    assert_eq!(append(&log, 350_000, Durability::Disk), 14);
    assert!(log.trim(OpId::new(7)).unwrap() >= OpId::new(6));
    assert!(matches!(get(&log.view(), 5), Err(Error::HistoryLost { .. })));
    log.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
    options().open(dir.path()).unwrap();
}

/// While nobody has it mapped. How long it is, is looked at whenever it is mapped: nothing behind its end ever is.
#[test]
fn a_segment_cut_short_under_a_live_log_is_named_and_read_again_when_it_is_whole() {
    let (dir, names) = seven_segments();
    let log = options().open(dir.path()).unwrap();
    let elsewhere = OplogView::open(dir.path()).unwrap();
    let path = dir.path().join(&names[2]);
    let whole = fs::read(&path).unwrap();
    let get = |view: &OplogView, n| view.get(OpId::new(n), ReadConcern::Durable).map(drop);
    for length in [0, 1, 4095, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        for view in [log.view(), elsewhere.clone()] {
            let error = get(&view, 5).unwrap_err();
            assert!(
                matches!(&error, Error::DamagedMetadata { path, .. } if path.ends_with(&names[2])),
                "{length}: {error:?}"
            );
            for n in [4, 7, 13] {
                get(&view, n).unwrap();
            }
            // A cursor stays in front of what is missing.
            let mut cursor = view.cursor(OpId::new(4), ReadConcern::Durable).unwrap();
            assert!(cursor.try_next().unwrap().is_some());
            assert!(cursor.try_next().is_err());
            assert_eq!(cursor.position(), OpId::new(5));
        }
        assert!(!verify(dir.path()).unwrap().is_sound());
    }
    // Whether it is or not, it can be trimmed away.
    fs::write(&path, &whole).unwrap();
    for view in [log.view(), elsewhere] {
        get(&view, 5).unwrap();
    }
    assert!(log.trim(OpId::new(7)).unwrap() >= OpId::new(6));
    log.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
    options().open(dir.path()).unwrap();
}
