//! What users of a log rely on, through its public face and real files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tailwater_oplog::{
    Cursor, Durability, Error, Interrupt, OpId, Oplog, OplogView, Options, ReadConcern, Record, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN, WaitOutcome, verify,
};

const KIND: u8 = 200;

fn small() -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    }
}

fn payload(n: u64, bytes: usize) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(bytes.max(8), n as u8);
    payload
}

fn fill(log: &Oplog, count: u64, bytes: usize) {
    for _ in 0..count {
        let next = log.watermarks().appended.next().get();
        log.append(KIND, &payload(next, bytes), Durability::Memory).unwrap();
    }
}

/// Reads to the end and checks that entry n carries payload n; returns the last OpID read.
fn check_to_end(cursor: &mut Cursor, bytes: usize) -> OpId {
    let mut last = cursor.position().previous();
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.op_id(), last.next());
        last = entry.op_id();
        assert_eq!(entry.payload(), payload(last.get(), bytes));
    }
    last
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

#[test]
fn entries_survive_close_and_reopen_in_a_new_term() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let (id, term) = (log.log_id(), log.term());
    fill(&log, 100, 50);
    log.close().unwrap();
    let log = small().open(dir.path()).unwrap();
    assert_eq!(log.log_id(), id);
    assert!(log.term() > term);
    assert_eq!(log.watermarks().durable, OpId::new(100));
    fill(&log, 5, 50);
    let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
    assert_eq!(check_to_end(&mut cursor, 50), OpId::new(105));
    assert_eq!(
        log.view().get(OpId::new(101), ReadConcern::Local).unwrap().term(),
        log.term()
    );
    assert_eq!(log.view().get(OpId::new(100), ReadConcern::Local).unwrap().term(), term);
}

#[test]
fn a_log_rolls_through_segments_and_every_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 20_000, 300);
    assert!(segments(dir.path()).len() >= 6);
    let view = log.view();
    assert_eq!(
        check_to_end(&mut view.cursor_from_oldest(ReadConcern::Local), 300),
        OpId::new(20_000)
    );
    for n in (1..=20_000).step_by(37) {
        assert_eq!(
            view.get(OpId::new(n), ReadConcern::Local).unwrap().payload(),
            payload(n, 300)
        );
    }
    log.close().unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.newest, OpId::new(20_000));

    let log = small().open(dir.path()).unwrap();
    let view = log.view();
    assert_eq!(
        check_to_end(&mut view.cursor_from_oldest(ReadConcern::Durable), 300),
        OpId::new(20_000)
    );
    for n in (1..=20_000).step_by(41) {
        assert_eq!(
            view.get(OpId::new(n), ReadConcern::Durable).unwrap().payload(),
            payload(n, 300)
        );
    }
}

#[test]
fn readers_see_an_entry_when_it_is_durable_and_with_local_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync_interval: Duration::from_secs(3600),
        ..small()
    };
    let log = options.open(dir.path()).unwrap();
    let view = log.view();
    let last = log.append(KIND, b"x", Durability::Memory).unwrap().last;
    assert_eq!(view.newest(ReadConcern::Local), last);
    assert_eq!(view.newest(ReadConcern::Durable), OpId::ZERO);
    log.sync(last).unwrap();
    assert_eq!(view.newest(ReadConcern::Durable), last);
}

#[test]
fn memory_appends_become_durable_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    for _ in 0..3 {
        let last = log.append(KIND, b"x", Durability::Memory).unwrap().last;
        let outcome = log.view().wait(last, ReadConcern::Durable, None, &Interrupt::new());
        assert_eq!(outcome, WaitOutcome::Ready);
    }
}

#[test]
fn many_threads_append_durably_and_each_finds_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let threads: Vec<_> = (0..16u8)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                let append = |n: u8| log.append(KIND, &[thread, n], Durability::Disk).unwrap().last;
                (0..50).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    for (thread, handle) in threads.into_iter().enumerate() {
        for (n, op_id) in handle.join().unwrap().into_iter().enumerate() {
            let entry = log.view().get(op_id, ReadConcern::Durable).unwrap();
            assert_eq!(entry.payload(), [thread as u8, n as u8]);
        }
    }
    assert_eq!(log.watermarks().durable, OpId::new(16 * 50));
}

#[tokio::test]
async fn async_waiters_share_the_sync_thread() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let waits: Vec<_> = (0..32)
        .map(|_| log.durable(log.append(KIND, b"x", Durability::Memory).unwrap().last))
        .collect();
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(log.watermarks().durable, OpId::new(32));
}

#[test]
fn a_batch_has_consecutive_op_ids_and_one_timestamp() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let records = [
        Record {
            kind: KIND,
            payload: &[b"one"],
        },
        Record {
            kind: KIND,
            payload: &[b"t", b"wo"],
        },
        Record {
            kind: KIND,
            payload: &[],
        },
    ];
    let outcome = log.append_batch(&records, Durability::Disk).unwrap();
    assert_eq!((outcome.first, outcome.last), (OpId::new(1), OpId::new(3)));
    let entries: Vec<_> = (1..=3)
        .map(|n| log.view().get(OpId::new(n), ReadConcern::Durable).unwrap())
        .collect();
    assert_eq!(
        entries.iter().map(|e| e.payload().to_vec()).collect::<Vec<_>>(),
        [&b"one"[..], b"two", b""]
    );
    assert!(
        entries
            .iter()
            .all(|e| e.timestamp() == outcome.timestamp && e.entry().in_batch())
    );
    assert_eq!(
        entries.iter().map(|e| e.entry().ends_batch()).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert!(matches!(
        log.append_batch(&[], Durability::Memory),
        Err(Error::EmptyBatch)
    ));
}

#[test]
fn what_does_not_fit_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let Err(Error::TooLarge { max, .. }) = log.append(KIND, &vec![0; 1 << 20], Durability::Memory) else {
        panic!("an entry as large as the segment does not fit");
    };
    // The largest that fits, header included, fits indeed, also behind another entry.
    log.append(KIND, b"small", Durability::Memory).unwrap();
    log.append(KIND, &vec![7; max as usize - 40], Durability::Disk).unwrap();
    assert_eq!(log.watermarks().durable, OpId::new(2));
}

/// The log buffer has 256 KiB here. Three times as much leaves no gap before the next segment's first frame, which is too large
/// for the buffer.
#[test]
fn an_entry_past_the_buffer_begins_the_next_segment_where_the_buffer_goes_round() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let lengths = [[(128 << 10) - 40; 6].as_slice(), &[300_000, 8]].concat();
    for (n, &bytes) in (1..).zip(&lengths) {
        log.append(KIND, &payload(n, bytes), Durability::Memory).unwrap();
    }
    assert_eq!(log.stats().segments, 2);
    log.close().unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    for (n, &bytes) in (1..).zip(&lengths) {
        let entry = view.get(OpId::new(n), ReadConcern::Durable).unwrap();
        assert_eq!(entry.payload(), payload(n, bytes), "entry {n}");
    }
}

#[test]
fn the_stats_say_what_the_writer_has_done() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10, 300);
    let records = [Record {
        kind: KIND,
        payload: &[b"member"],
    }; 5];
    log.append_batch(&records, Durability::Disk).unwrap();
    let stats = log.stats();
    assert_eq!((stats.log_id, stats.term), (log.log_id(), log.term()));
    assert_eq!(stats.watermarks.durable, OpId::new(15));
    assert_eq!((stats.batch_entries.count(), stats.batch_entries.sum()), (11, 15));
    assert_eq!(stats.append_bytes.sum(), 10 * (40 + 304) + 5 * (40 + 8));
    assert!(stats.sync_micros.count() >= 1);
    assert_eq!(stats.sync_entries.sum(), 15, "every entry became durable once");
    assert_eq!((stats.segments, stats.rolls, stats.poisoned), (1, 0, false));

    fill(&log, 10_000, 300);
    let stats = log.stats();
    assert!(stats.rolls >= 3);
    assert_eq!(stats.segments, stats.rolls + 1);
    // What the log takes on disk, also when the oldest entries are gone.
    let on_disk = || -> u64 {
        let files = segments(dir.path());
        files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum()
    };
    assert_eq!(stats.segment_bytes, on_disk());
    log.sync(log.watermarks().appended).unwrap();
    log.trim(OpId::new(8_000)).unwrap();
    let trimmed = log.stats();
    assert_eq!(trimmed.segment_bytes, on_disk());
    assert!(trimmed.segment_bytes < stats.segment_bytes);
}

/// `Duration::MAX` is never: nothing is synced before somebody waits for it, in a thread or in a task, or the log is closed.
#[tokio::test]
async fn a_sync_interval_without_end_syncs_for_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync_interval: Duration::MAX,
        ..small()
    };
    let log = options.open(dir.path()).unwrap();
    let append = || log.append(KIND, b"x", Durability::Memory).unwrap().last;
    for _ in 0..3 {
        let last = append();
        log.durable(last).await.unwrap();
        assert!(log.watermarks().durable >= last);
        let last = append();
        log.sync(last).unwrap();
    }
    let last = append();
    let view = log.view();
    log.close().unwrap();
    assert_eq!(view.newest(ReadConcern::Durable), last);
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let second = Duration::from_secs(1);
    let cases = [
        (small().group_delay, SEGMENT_BYTES_MIN - 1, Some("segment_bytes")),
        (small().group_delay, SEGMENT_BYTES_MAX + 1, Some("segment_bytes")),
        (small().group_delay, u64::MAX, Some("segment_bytes")),
        (second + Duration::from_nanos(1), SEGMENT_BYTES_MIN, Some("group_delay")),
        (Duration::MAX, SEGMENT_BYTES_MIN, Some("group_delay")),
        (second, SEGMENT_BYTES_MIN, None),
        (Duration::ZERO, SEGMENT_BYTES_MIN + 1, None),
    ];
    for (group_delay, segment_bytes, refused) in cases {
        let options = Options {
            group_delay,
            segment_bytes,
            ..small()
        };
        let opened = options.open(dir.path());
        let option = match &opened {
            Err(Error::InvalidOption { option, .. }) => Some(*option),
            other => {
                assert!(other.is_ok(), "{other:?}");
                None
            }
        };
        assert_eq!(option, refused, "{group_delay:?}, {segment_bytes}");
    }
}

/// As a request does that has waited long enough; on a log where nothing happens nobody else clears up after it.
#[test]
fn a_task_that_gives_up_is_forgotten() {
    /// Those that are held are counted.
    struct Task(#[expect(dead_code, reason = "held")] Arc<()>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 1, 50);
    log.sync(OpId::FIRST).unwrap();
    // One that nobody has written since the machine was started.
    let still = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if file.file_name() != "TAIL" {
            std::fs::copy(file.path(), still.path().join(file.file_name())).unwrap();
        }
    }
    let [elsewhere, still] = [dir.path(), still.path()].map(|dir| OplogView::open(dir).unwrap());
    let held = Arc::new(());
    let waker = || Waker::from(Arc::new(Task(Arc::clone(&held))));
    for view in [log.view(), elsewhere, still] {
        for concern in [ReadConcern::Local, ReadConcern::Durable] {
            for _ in 0..100 {
                let cursor = view.cursor_from_now(concern);
                for _ in 0..3 {
                    let waker = waker();
                    assert!(cursor.poll_ready(&mut Context::from_waker(&waker)).is_pending());
                }
                drop(view.wake_on_change(concern, &waker()));
                // The cursor's, and those that a thread is about to wake.
                assert!(Arc::strong_count(&held) < 8, "{}", Arc::strong_count(&held));
            }
        }
    }
    let all_forgotten = |_| {
        std::thread::sleep(Duration::from_millis(1));
        Arc::strong_count(&held) == 1
    };
    assert!((0..20_000).any(all_forgotten), "{} are held", Arc::strong_count(&held));
}

#[test]
fn a_second_writer_is_refused_and_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let Err(Error::Locked { holder, .. }) = small().open(dir.path()) else {
        panic!("two writers")
    };
    assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
    drop(log);
    small().open(dir.path()).unwrap();
}

#[test]
fn a_closed_log_says_so_and_ends_waits() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let view = log.view();
    let other = log.clone();
    let waiter = std::thread::spawn(move || view.wait(OpId::FIRST, ReadConcern::Durable, None, &Interrupt::new()));
    log.close().unwrap();
    assert_eq!(waiter.join().unwrap(), WaitOutcome::Closed);
    assert!(matches!(
        other.append(KIND, b"x", Durability::Memory),
        Err(Error::Closed)
    ));
}

/// The tail page is the next writer's by then, and what it says is not about the segments that the old handle holds.
#[tokio::test]
async fn handles_of_a_closed_log_stay_at_its_end_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10, 50);
    let view = log.view();
    let mut behind = view.cursor(OpId::new(5), ReadConcern::Local).unwrap();
    let mut at_the_end = view.cursor_from_now(ReadConcern::Local);
    let durable = log.durable(OpId::new(10));
    log.close().unwrap();

    let log = small().open(dir.path()).unwrap();
    fill(&log, 100, 50);
    log.sync(OpId::new(110)).unwrap();
    assert_eq!(check_to_end(&mut behind, 50), OpId::new(10));
    assert!(at_the_end.try_next().unwrap().is_none());
    let waited = at_the_end.wait(Some(Instant::now() + Duration::from_secs(10)), &Interrupt::new());
    assert_eq!(waited, WaitOutcome::Closed);
    assert_eq!(view.watermarks().appended, OpId::new(10));
    assert!(matches!(
        view.get(OpId::new(11), ReadConcern::Local),
        Err(Error::Ahead { newest, .. }) if newest == OpId::new(10)
    ));
    durable.await.unwrap();
}

#[test]
fn an_interrupt_ends_one_wait_and_a_deadline_another() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let (view, interrupt) = (log.view(), Interrupt::new());
    let waiter = std::thread::spawn({
        let (view, interrupt) = (view.clone(), interrupt.clone());
        move || view.wait(OpId::FIRST, ReadConcern::Durable, None, &interrupt)
    });
    view.interrupt(&interrupt);
    assert_eq!(waiter.join().unwrap(), WaitOutcome::Interrupted);
    let soon = Some(Instant::now() + Duration::from_millis(10));
    assert_eq!(
        view.wait(OpId::FIRST, ReadConcern::Durable, soon, &Interrupt::new()),
        WaitOutcome::TimedOut
    );
}

#[test]
fn trim_removes_whole_segments_and_readers_get_named_errors() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10_000, 500);
    log.sync(OpId::new(10_000)).unwrap();
    let mut behind = log.view().cursor_from_oldest(ReadConcern::Durable);
    behind.try_next().unwrap().unwrap();
    let held = log.view().get(OpId::new(3), ReadConcern::Durable).unwrap();

    let before = segments(dir.path()).len();
    let oldest = log.trim(OpId::new(6_000)).unwrap();
    assert!(oldest > OpId::FIRST && oldest <= OpId::new(6_000));
    assert!(segments(dir.path()).len() < before);
    assert_eq!(log.watermarks().oldest, oldest);
    assert!(matches!(
        log.view().cursor(OpId::new(5), ReadConcern::Durable),
        Err(Error::HistoryLost { requested, oldest: found }) if requested == OpId::new(5) && found == oldest
    ));
    assert_eq!(held.payload(), payload(3, 500), "a held entry keeps its segment");

    // The reader inside a removed segment finishes it, and then is told.
    let mut read = 1;
    let error = loop {
        match behind.try_next() {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("skipped silently"),
            Err(error) => break error,
        }
    };
    assert!(read > 1_000, "{read}");
    assert!(matches!(error, Error::HistoryLost { requested, .. } if requested.get() == read + 1));

    // Never the newest segment, whatever is asked.
    let oldest = log.trim(OpId::new(u64::MAX)).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    log.close().unwrap();
    let log = small().open(dir.path()).unwrap();
    assert_eq!(log.watermarks().oldest, oldest);
    assert_eq!(
        check_to_end(&mut log.view().cursor_from_oldest(ReadConcern::Durable), 500),
        OpId::new(10_000)
    );
}

#[test]
fn a_view_of_another_handle_tails_live_across_rolls_and_a_restart_of_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    // As in another process: nothing is shared but the files.
    let view = OplogView::open(dir.path()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        let mut last = OpId::ZERO;
        while last < OpId::new(20_000) {
            assert_eq!(cursor.wait(None, &Interrupt::new()), WaitOutcome::Ready);
            last = check_to_end(&mut cursor, 300);
        }
    });
    fill(&log, 10_000, 300);
    log.close().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10_000, 300);
    reader.join().unwrap();
}

#[tokio::test]
async fn async_readers_of_another_handle_are_woken() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    let mut cursor = view.cursor_from_now(ReadConcern::Durable);
    let reader = tokio::spawn(async move {
        for n in 1..=100 {
            std::future::poll_fn(|context| cursor.poll_ready(context))
                .await
                .unwrap();
            assert_eq!(cursor.try_next().unwrap().unwrap().op_id(), OpId::new(n));
        }
    });
    for _ in 0..100 {
        log.append(KIND, b"x", Durability::Memory).unwrap();
        tokio::task::yield_now().await;
    }
    reader.await.unwrap();
}

#[test]
fn a_copy_of_the_directory_opens_on_its_own() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = small().open(dir.path()).unwrap();
    fill(&log, 5_000, 300);
    log.sync(OpId::new(5_000)).unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    // The original's live watermarks say nothing about the copy.
    let view = OplogView::open(copy.path()).unwrap();
    assert_eq!(
        check_to_end(&mut view.cursor_from_oldest(ReadConcern::Durable), 300),
        OpId::new(5_000)
    );
    let copied = small().open(copy.path()).unwrap();
    assert_eq!(copied.watermarks().durable, OpId::new(5_000));
}

#[test]
fn a_lookup_by_time_finds_the_first_entry_at_or_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    fill(&log, 10_000, 200);
    let view = log.view();
    let middle = view.get(OpId::new(4_321), ReadConcern::Local).unwrap().timestamp();
    assert_eq!(
        view.cursor_from_time(middle, ReadConcern::Local).unwrap().position(),
        OpId::new(4_321)
    );
    let early = tailwater_oplog::Timestamp::from_nanos(0);
    assert_eq!(
        view.cursor_from_time(early, ReadConcern::Local).unwrap().position(),
        OpId::FIRST
    );
    let late = tailwater_oplog::Timestamp::from_nanos(u64::MAX);
    assert_eq!(
        view.cursor_from_time(late, ReadConcern::Local).unwrap().position(),
        OpId::new(10_001)
    );
}

#[test]
fn directories_that_are_no_log_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear log").unwrap();
    assert!(matches!(Oplog::open(dir.path()), Err(Error::NotALog { .. })));
    assert!(matches!(OplogView::open(dir.path()), Err(Error::NotALog { .. })));
    let nowhere = dir.path().join("nowhere");
    assert!(matches!(OplogView::open(&nowhere), Err(Error::NotFound { .. })));
    let existing_only = Options {
        create: false,
        ..Options::default()
    };
    assert!(matches!(existing_only.open(&nowhere), Err(Error::NotFound { .. })));
    assert!(!nowhere.exists());
}

#[test]
fn a_view_that_is_older_than_the_tail_page_and_the_first_segment_catches_up() {
    let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = small().open(made.path()).unwrap();
    fill(&log, 3, 100);
    log.close().unwrap();
    // A reader may come in the middle of a log's first open, when the manifest has no term yet.
    let mut manifest = std::fs::read(made.path().join("MANIFEST")).unwrap();
    manifest[44..48].fill(0);
    let crc = crc32fast::hash(&manifest[12..64]);
    manifest[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(dir.path().join("MANIFEST"), manifest).unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        assert_eq!(cursor.wait(None, &Interrupt::new()), WaitOutcome::Ready);
        check_to_end(&mut cursor, 100)
    });
    for segment in segments(made.path()) {
        std::fs::copy(&segment, dir.path().join(segment.file_name().unwrap())).unwrap();
    }
    let log = small().open(dir.path()).unwrap();
    assert_eq!(reader.join().unwrap(), OpId::new(3));
    drop(log);
}

#[test]
fn a_batch_that_no_empty_segment_of_earlier_options_holds_is_refused_and_the_log_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    small().open(dir.path()).unwrap().close().unwrap();
    let larger = Options {
        segment_bytes: 4 * small().segment_bytes,
        ..small()
    };
    let large = vec![1; 2 * usize::try_from(small().segment_bytes).unwrap()];
    let log = larger.open(dir.path()).unwrap();
    let refused = log.append(KIND, &large, Durability::Disk);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    // Behind another entry it is in a segment of its own.
    log.append(KIND, b"small", Durability::Disk).unwrap();
    log.append(KIND, &large, Durability::Disk).unwrap();
    log.close().unwrap();
    let log = larger.open(dir.path()).unwrap();
    assert_eq!(log.watermarks().durable, OpId::new(2));
}

/// Entry n of a log whose frames are now and then longer than what is copied out of the log buffer at once.
fn uneven(n: u64) -> Vec<u8> {
    payload(
        n,
        if n.is_multiple_of(97) {
            20_000
        } else {
            (n % 300) as usize
        },
    )
}

#[test]
fn cursors_that_follow_the_newest_entries_never_see_a_torn_one() {
    const ENTRIES: u64 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut cursor = log.view().cursor_from_now(ReadConcern::Local);
            scope.spawn(move || {
                let mut held = Vec::new();
                while cursor.position().get() <= ENTRIES {
                    assert_eq!(cursor.wait(None, &Interrupt::new()), WaitOutcome::Ready);
                    while let Some(entry) = cursor.try_next().unwrap() {
                        let n = entry.op_id().get();
                        assert!(entry.payload() == uneven(n), "torn: {n}");
                        if n.is_multiple_of(1000) {
                            held.push(entry.share());
                        }
                    }
                }
                assert!(held.iter().all(|entry| entry.payload() == uneven(entry.op_id().get())));
            });
        }
        for n in 1..=ENTRIES {
            log.append(KIND, &uneven(n), Durability::Memory).unwrap();
            if n.is_multiple_of(5000) {
                // Lets the readers catch up, so that they take entries from the buffer again.
                log.sync(OpId::new(n)).unwrap();
            }
        }
    });
}
