//! Closing a log that cannot be closed well. A test binary of its own, because it looks at the threads of the process.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tailwater_oplog::{Durability, Error, OplogView, ReadConcern};

mod common;

use common::{FRAMES_START, HEADER, copy, names, options, segments, temporary};

/// So many looks, a millisecond apart at least, that only a thread that does not end is seen at the last.
const LOOKS_MAX: usize = 20_000;

/// Names of this process's threads that are a log's.
fn log_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("tailwater-")).collect()
}

#[test]
fn a_damaged_segment_that_cannot_be_sealed_is_told_at_close_and_the_directory_is_free() {
    let dir = temporary();
    let log = options().open(dir.path()).unwrap();
    let payload = vec![7; 400_000];
    for _ in 0..3 {
        log.append(200, &payload, Durability::Memory).unwrap();
    }
    // Looking for the newest entries has them moved into their segments.
    assert_eq!(log.watermarks().appended.get(), 3);
    assert!(!log_threads().is_empty());
    let second = FRAMES_START + HEADER + payload.len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&segments(dir.path())[0])
        .unwrap();
    file.write_all_at(&[0xff], second as u64 + 8).unwrap();

    let error = log.close().unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { expected, .. } if expected.get() == 2),
        "{error:?}"
    );
    // A thread that has been joined may be listed for a moment more.
    for _ in 0..LOOKS_MAX {
        if log_threads().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(log_threads().is_empty(), "{:?}", log_threads());
    let view = OplogView::open(dir.path()).unwrap();
    assert_eq!(view.newest(ReadConcern::Durable).get(), 3);

    // All was durable, so it is damage, not a torn tail, also when no live tail page says so.
    let copied = copy(dir.path());
    for dir in [dir.path(), copied.path()] {
        let error = options().open(dir).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { expected, durable, .. } if expected.get() == 2 && durable.get() == 3),
            "{error:?}"
        );
        assert!(names(dir).iter().all(|name| !name.starts_with("torn-")));
    }
}
