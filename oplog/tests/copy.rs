//! A copy of a part of a log is a log: the same entries up to one of them, whatever the original does meanwhile.

use crate::common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{append_to, closed, copy, names, options, segments, temporary, write_at};
use tailwater_oplog::{
    CopyOptions, CopyOutcome, Durability, Error, ErrorKind, OpId, Oplog, OplogView, ReadConcern, Record, SlotOptions,
    verify,
};

/// OpID, term, timestamp, kind and payload of everything there is.
type Entries = Vec<(u64, u32, u64, u8, Vec<u8>)>;

fn entries(view: &OplogView, from: u64, to: u64) -> Entries {
    let mut cursor = view.cursor(OpId::new(from), ReadConcern::Durable).unwrap();
    let mut found = Entries::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        if entry.op_id().get() > to {
            break;
        }
        found.push((
            entry.op_id().get(),
            entry.term().get(),
            entry.timestamp().as_nanos(),
            entry.kind(),
            entry.payload().to_vec(),
        ));
    }
    found
}

fn copy_range(view: &OplogView, target: &Path, from: u64, to: u64) -> Result<CopyOutcome, Error> {
    let options = CopyOptions {
        from: OpId::new(from),
        to: OpId::new(to),
        earlier: None,
    };
    view.copy_to(target, &options, &mut |_| {})
}

/// Checks that `target` holds the entries of `view` from the beginning of a segment up to `to`, soundly, and goes on.
fn check(view: &OplogView, target: &Path, to: u64) {
    let copied = OplogView::open(target).unwrap();
    let oldest = copied.watermarks().oldest.get();
    assert_eq!(copied.log_id(), view.log_id());
    assert_eq!(entries(&copied, oldest, u64::MAX), entries(view, oldest, to));
    let findings = verify(target).unwrap().findings;
    assert!(findings.is_empty(), "up to {to}: {findings:?}");
    let log = options().open(target).unwrap();
    assert_eq!(log.watermarks().appended, OpId::new(to));
    let next = log.append(200, &[7; 300_000], Durability::Disk).unwrap();
    assert_eq!(next.first, OpId::new(to + 1));
    assert!(to == 0 || next.term.get() > view.get(OpId::new(to), ReadConcern::Durable).unwrap().term().get());
    log.close().unwrap();
    let log = options().open(target).unwrap();
    assert_eq!(log.watermarks().appended, OpId::new(to + 1));
    log.close().unwrap();
    assert!(verify(target).unwrap().findings.is_empty());
}

/// Batches of one to three entries, of 30 kB each, in segments of 1 MiB; returns the batches' ends.
fn batches(dir: &Path, count: u64) -> Vec<u64> {
    let log = options().open(dir).unwrap();
    let mut ends = vec![0];
    for n in 0..count {
        let payload = vec![n as u8; 30_000];
        let record = Record {
            kind: 200,
            payload: &[&payload],
        };
        let batch = vec![record; n as usize % 3 + 1];
        ends.push(log.append_batch(&batch, Durability::Memory).unwrap().last.get());
    }
    log.close().unwrap();
    ends
}

#[test]
fn a_copy_ends_with_any_batch_and_never_inside_one() {
    let (dir, out) = (temporary(), temporary());
    let ends = batches(dir.path(), 50);
    let view = OplogView::open(dir.path()).unwrap();
    assert!(segments(dir.path()).len() > 2);
    for to in 0..=*ends.last().unwrap() {
        let target = out.path().join(to.to_string());
        let copied = copy_range(&view, &target, 1, to);
        if ends.contains(&to) {
            assert_eq!(copied.unwrap().last, OpId::new(to));
            check(&view, &target, to);
            std::fs::remove_dir_all(&target).unwrap();
            continue;
        }
        let (before, behind) = ends.iter().partition::<Vec<u64>, _>(|end| **end < to);
        let (first, last) = (before.last().unwrap() + 1, behind[0]);
        match copied.unwrap_err() {
            Error::InsideBatch {
                op_id,
                first: f,
                last: l,
            } => {
                assert_eq!((op_id.get(), f.get(), l.get()), (to, first, last));
            }
            other => panic!("{other:?}"),
        }
        assert!(!target.exists(), "an attempt that failed leaves nothing");
    }
}

#[test]
fn a_copy_begins_with_the_segment_of_its_first_entry_and_has_nothing_but_the_log() {
    let (dir, out) = (closed(30), temporary());
    let view = OplogView::open(dir.path()).unwrap();
    let firsts: Vec<u64> = verify(dir.path())
        .unwrap()
        .segments
        .iter()
        .map(|s| s.first.get())
        .collect();
    let log = options().open(dir.path()).unwrap();
    log.slot_create("consumer", OpId::new(25), SlotOptions::default())
        .unwrap();
    for from in [1, firsts[1] - 1, firsts[1], 25, 30] {
        let target = out.path().join(from.to_string());
        let first = copy_range(&view, &target, from, 30).unwrap().first.get();
        assert_eq!(Some(&first), firsts.iter().rfind(|first| **first <= from));
        let strangers = names(&target);
        assert!(
            strangers
                .iter()
                .all(|name| name == "MANIFEST" || name.ends_with(".seg")),
            "{strangers:?}"
        );
        assert_eq!(OplogView::open(&target).unwrap().slots().unwrap(), []);
        check(&view, &target, 30);
    }
    let error = copy_range(&view, &out.path().join("x"), 1, 31).unwrap_err();
    assert!(matches!(error, Error::Ahead { .. }), "{error:?}");
    log.trim(OpId::new(25)).unwrap();
    for view in [log.view(), OplogView::open(dir.path()).unwrap(), view] {
        let error = copy_range(&view, &out.path().join("x"), 1, 30).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error:?}");
    }
    let error = copy_range(&log.view(), &out.path().join("1"), 25, 30).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "there is something: {error:?}");
    assert!(out.path().join("1").join("MANIFEST").exists());
}

#[test]
fn what_is_damaged_is_not_copied() {
    let (dir, out) = (closed(30), temporary());
    write_at(&segments(dir.path())[1], 4096 + 300, b"damage");
    let view = OplogView::open(dir.path()).unwrap();
    let error = copy_range(&view, &out.path().join("copy"), 1, 30).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(names(out.path()), [""; 0]);
}

/// By the writer itself, and by a view that knows the directory only, as in another process.
#[test]
fn a_log_is_copied_while_it_is_written() {
    let (dir, out) = (temporary(), temporary());
    let log = options().open(dir.path()).unwrap();
    append_to(&log, 10);
    let other = OplogView::open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 10;
            while !done.load(Ordering::Relaxed) && last < 30_000 {
                last += 7;
                append_to(&log, last);
            }
        });
        for round in 0..12 {
            let view = if round % 2 == 0 { &log.view() } else { &other };
            log.sync(log.watermarks().appended).unwrap();
            let to = view.newest(ReadConcern::Durable).get();
            let target = out.path().join(round.to_string());
            copy_range(view, &target, 1, to).unwrap();
            check(view, &target, to);
            std::fs::remove_dir_all(&target).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_older_copy_lends_what_was_trimmed_if_it_has_the_same_past() {
    let (dir, out) = (closed(30), temporary());
    let older = copy(dir.path());
    let log = options().open(dir.path()).unwrap();
    append_to(&log, 90);
    log.sync(OpId::new(90)).unwrap();
    let oldest = log.trim(OpId::new(25)).unwrap();
    assert!(oldest.get() > 1 && oldest.get() <= 25);
    let joined = |earlier: &Path, target: &str, to: u64| {
        let earlier = OplogView::open(earlier).unwrap();
        let options = CopyOptions {
            from: OpId::FIRST,
            to: OpId::new(to),
            earlier: Some(&earlier),
        };
        log.view().copy_to(out.path().join(target), &options, &mut |_| {})
    };
    let all = joined(older.path(), "joined", 90).unwrap();
    assert_eq!((all.first, all.last), (OpId::FIRST, OpId::new(90)));
    let copied = OplogView::open(out.path().join("joined")).unwrap();
    let before = OplogView::open(older.path()).unwrap();
    assert_eq!(entries(&copied, 1, 30), entries(&before, 1, 30));
    assert_eq!(entries(&copied, 31, 90), entries(&log.view(), 31, 90));
    check(&copied, &out.path().join("joined"), 90);
    // Also when only the older one is needed.
    joined(older.path(), "early", 1).unwrap();
    check(&before, &out.path().join("early"), 1);

    // A copy with a life of its own.
    let parted = copy(older.path());
    let own = options().open(parted.path()).unwrap();
    own.append(200, b"mine", Durability::Disk).unwrap();
    own.close().unwrap();
    let error = joined(parted.path(), "x", 90).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OtherHistory, "{error:?}");
    let error = joined(closed(30).path(), "x", 90).unwrap_err();
    assert!(matches!(error, Error::OtherLog { .. }), "{error:?}");
    // One that ends before what is left begins.
    let short = temporary();
    copy_range(&before, &short.path().join("log"), 1, 1).unwrap();
    let error = joined(&short.path().join("log"), "x", 90).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error:?}");
    assert!(!out.path().join("x").exists());
}

#[test]
fn an_empty_log_can_be_copied() {
    let (dir, out) = (temporary(), temporary());
    let log = Oplog::open(dir.path()).unwrap();
    let copied = copy_range(&log.view(), &out.path().join("copy"), 1, 0).unwrap();
    assert_eq!((copied.segments, copied.bytes), (0, 0));
    check(&log.view(), &out.path().join("copy"), 0);
}
