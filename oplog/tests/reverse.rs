//! Reading backward gives what reading forward gives, the other way round.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tailwater_oplog::{Durability, Error, OpId, Oplog, OplogView, Options, ReadConcern, Record};

const KIND: u8 = 200;

fn small() -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    }
}

fn payload(n: u64) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(100 + (n * 37 % 400) as usize, n as u8);
    payload
}

/// Appends single entries and batches up to about `last`.
fn fill(log: &Oplog, last: u64) {
    loop {
        let next = log.watermarks().appended.next().get();
        if next > last {
            return;
        }
        let payloads: Vec<_> = (next..=next + next % 5).map(payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
        log.append_batch(&records, Durability::Memory).unwrap();
    }
}

fn forward(view: &OplogView, from: OpId) -> Vec<(u64, u32, bool, Vec<u8>)> {
    let mut cursor = view.cursor(from, ReadConcern::Local).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        found.push((
            entry.op_id().get(),
            entry.term().get(),
            entry.ends_batch(),
            entry.payload().to_vec(),
        ));
    }
    found
}

#[track_caller]
fn check(view: &OplogView) {
    let oldest = view.watermarks().oldest;
    let expected = forward(view, oldest);
    assert!(expected.iter().all(|(n, _, _, bytes)| *bytes == payload(*n)));
    let last = expected.last().unwrap().0;
    for from in [
        last,
        last - 1,
        last - 6,
        last - 7,
        last - 8,
        oldest.get() + 9,
        oldest.get(),
    ] {
        let mut cursor = view.reverse(OpId::new(from), ReadConcern::Local).unwrap();
        for wanted in expected.iter().rev().skip_while(|e| e.0 > from) {
            assert_eq!(cursor.position().get(), wanted.0);
            let entry = cursor.try_next().unwrap().unwrap();
            let found = (entry.op_id().get(), entry.term().get(), entry.ends_batch());
            assert_eq!(found, (wanted.0, wanted.1, wanted.2));
            assert!(entry.payload() == wanted.3);
        }
        assert!(cursor.try_next().unwrap().is_none());
        assert!(cursor.try_next().unwrap().is_none());
    }
    let mut newest = view.reverse_from_newest(ReadConcern::Local);
    assert_eq!(newest.try_next().unwrap().unwrap().op_id().get(), last);
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

#[test]
fn backward_is_forward_reversed_over_sealed_full_and_open_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 9_000);
    check(&log.view());
    check(&OplogView::open(dir.path()).unwrap());
    log.close().unwrap();
    check(&OplogView::open(dir.path()).unwrap());
    // In two terms, one segment without a footer.
    let full = &segments(dir.path())[1];
    let file = fs::OpenOptions::new().write(true).open(full).unwrap();
    file.write_all_at(&[0; 128], (1 << 20) - 128).unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10_000);
    assert!(segments(dir.path()).len() > 3);
    check(&log.view());
    check(&OplogView::open(dir.path()).unwrap());
    log.trim(OpId::new(5_000)).unwrap();
    assert!(log.watermarks().oldest > OpId::FIRST);
    check(&log.view());
    check(&OplogView::open(dir.path()).unwrap());
}

#[test]
fn it_begins_and_ends_where_the_log_does() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let view = log.view();
    assert!(
        view.reverse_from_newest(ReadConcern::Local)
            .try_next()
            .unwrap()
            .is_none()
    );
    let ahead = view.reverse(OpId::FIRST, ReadConcern::Local);
    assert!(matches!(ahead, Err(Error::Ahead { .. })), "{ahead:?}");
    fill(&log, 9_000);
    log.sync(log.watermarks().appended).unwrap();
    let mut cursor = view.reverse_from_newest(ReadConcern::Durable);
    let mut late = view.reverse(OpId::new(100), ReadConcern::Durable).unwrap();
    cursor.try_next().unwrap();
    late.try_next().unwrap();
    let oldest = log.trim(OpId::new(8_000)).unwrap();
    // The segment it is in is finished, then history is lost; the end is never reached in silence.
    let lost = loop {
        match late.try_next() {
            Ok(Some(_)) => {}
            other => break other.map(|_| ()),
        }
    };
    assert!(lost.is_ok(), "its segment was the oldest: {lost:?}");
    let lost = loop {
        match cursor.try_next() {
            Ok(Some(entry)) => assert!(entry.op_id() >= oldest),
            other => break other.map(|_| ()),
        }
    };
    let Err(Error::HistoryLost {
        requested,
        oldest: found,
    }) = lost
    else {
        panic!("{lost:?}");
    };
    assert_eq!((requested, found), (oldest.previous(), oldest));
    let trimmed = view.reverse(oldest.previous(), ReadConcern::Durable);
    assert!(matches!(trimmed, Err(Error::HistoryLost { .. })), "{trimmed:?}");
}

#[test]
fn a_damaged_entry_is_named_and_those_around_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 4_000);
    log.close().unwrap();
    let segment = segments(dir.path()).remove(0);
    let bytes = fs::read(&segment).unwrap();
    let wanted = payload(1_000);
    let at = bytes.windows(wanted.len()).position(|w| w == wanted).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[bytes[at + 50] ^ 4], at as u64 + 50).unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    let mut cursor = view.reverse_from_newest(ReadConcern::Durable);
    while cursor.position() > OpId::new(1_000) {
        let n = cursor.position().get();
        assert!(cursor.try_next().unwrap().unwrap().payload() == payload(n));
    }
    for _ in 0..2 {
        let error = cursor.try_next().map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { path, offset, expected, .. }
                if *path == segment && *offset == at as u64 - 40 && expected.get() == 1_000),
            "{error:?}"
        );
    }
    let mut below = view.reverse(OpId::new(999), ReadConcern::Durable).unwrap();
    for n in (1..=999).rev() {
        assert!(below.try_next().unwrap().unwrap().payload() == payload(n));
    }
}

#[test]
fn beside_a_writer_that_rolls_and_trims_it_reads_right_or_says_that_history_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 2_000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for last in (3_000..40_000).step_by(500) {
                fill(&log, last);
                log.sync(log.watermarks().appended).unwrap();
                log.trim(OpId::new(last - 2_500)).unwrap();
            }
            stop.store(true, Ordering::SeqCst);
        });
        let foreign = OplogView::open(dir.path()).unwrap();
        let mut ends = 0;
        while !stop.load(Ordering::SeqCst) || ends == 0 {
            for view in [&foreign, &log.view()] {
                let mut cursor = view.reverse_from_newest(ReadConcern::Durable);
                loop {
                    let n = cursor.position().get();
                    match cursor.try_next() {
                        Ok(Some(entry)) => {
                            assert_eq!(entry.op_id().get(), n);
                            assert!(entry.payload() == payload(n));
                        }
                        Ok(None) => {
                            ends += 1;
                            break;
                        }
                        Err(Error::HistoryLost { .. }) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        }
    });
}

/// A view that does not know the newest segment yet takes its first entry for one that follows in the segment before.
#[test]
fn another_process_finds_the_entry_a_new_segment_begins_with() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10);
    let views: Vec<_> = (0..3).map(|_| OplogView::open(dir.path()).unwrap()).collect();
    // Each knows the first segment, and nothing of a second one.
    for view in &views {
        assert!(view.get(OpId::FIRST, ReadConcern::Local).unwrap().payload() == payload(1));
    }
    let segments = || {
        fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| is_segment(entry.as_ref().unwrap()))
            .count()
    };
    let mut first = log.watermarks().appended;
    while segments() == 1 {
        let next = payload(first.next().get());
        first = log.append(KIND, &next, Durability::Disk).unwrap().first;
    }
    let first_payload = payload(first.get());
    assert!(views[0].get(first, ReadConcern::Durable).unwrap().payload() == first_payload);
    let mut forward = views[1].cursor(first, ReadConcern::Durable).unwrap();
    assert!(forward.try_next().unwrap().unwrap().payload() == first_payload);
    let mut backward = views[2].reverse_from_newest(ReadConcern::Durable);
    for n in (1..=first.get()).rev() {
        assert!(backward.try_next().unwrap().unwrap().payload() == payload(n));
    }
    assert!(backward.try_next().unwrap().is_none());
}

fn is_segment(entry: &fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|extension| extension == "seg")
}
