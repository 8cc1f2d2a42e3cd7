//! What a log removes by itself, and what named slots keep from it, through its public face and real files.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tailwater_oplog::{
    Durability, Error, ErrorKind, OpId, Oplog, OplogView, Options, ReadConcern, Retention, RetentionSlot, SlotOptions,
    SlotState, Timestamp, verify,
};

const KIND: u8 = 200;
const SEGMENT: u64 = 1 << 20;
/// Ten entries fill a segment.
const BYTES: usize = 100_000;

fn options(max_bytes: Option<u64>, max_age: Option<Duration>) -> Options {
    Options {
        segment_bytes: SEGMENT,
        sync_interval: Duration::from_millis(5),
        retention: Retention {
            max_bytes,
            max_age,
            ..Retention::default()
        },
        ..Options::default()
    }
}

fn cap(segments: u64) -> SlotOptions {
    SlotOptions {
        max_lag_bytes: segments * SEGMENT,
    }
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; BYTES]
}

/// Appends so many entries, all durable when it returns.
fn fill(log: &Oplog, count: u64) -> OpId {
    let mut last = log.watermarks().appended;
    for _ in 0..count {
        last = log
            .append(KIND, &payload(last.next()), Durability::Memory)
            .unwrap()
            .last;
    }
    log.sync(last).unwrap();
    last
}

/// Waits for what the housekeeping thread does.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn check_from(view: &OplogView, from: OpId, last: OpId) {
    let mut cursor = view.cursor(from, ReadConcern::Durable).unwrap();
    while cursor.position() <= last {
        let next = cursor.position();
        let entry = cursor.try_next().unwrap().expect("durable");
        assert_eq!(entry.op_id(), next);
        assert!(entry.payload() == payload(next), "entry {next}");
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

fn slot(log: &Oplog, name: &str) -> RetentionSlot {
    let found = log.slots().into_iter().find(|slot| slot.name == name);
    found.unwrap_or_else(|| panic!("no slot {name}"))
}

#[test]
fn without_retention_everything_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    let last = fill(&log, 100);
    log.close().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    check_from(&log.view(), OpId::FIRST, last);
}

#[test]
fn the_segments_are_brought_down_to_so_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(Some(4 * SEGMENT), None).open(dir.path()).unwrap();
    let last = fill(&log, 200);
    wait_until("the last trim", || segments(dir.path()).len() <= 4);
    let oldest = log.watermarks().oldest;
    assert!(oldest > OpId::FIRST && oldest.get() + 45 > last.get());
    check_from(&log.view(), oldest, last);
    assert!(matches!(
        log.view().cursor(oldest.previous(), ReadConcern::Durable),
        Err(Error::HistoryLost { .. })
    ));
    log.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());

    // With a smaller limit, what is too much goes when the log is opened.
    let log = options(Some(0), None).open(dir.path()).unwrap();
    wait_until("the trim at the opening", || segments(dir.path()).len() == 1);
    log.view().get(last, ReadConcern::Durable).unwrap();
}

#[test]
fn entries_of_age_go_though_nothing_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let age = Duration::from_millis(300);
    let log = options(None, Some(age)).open(dir.path()).unwrap();
    let view = log.view();
    let mut times = vec![Timestamp::default()];
    let mut last = OpId::ZERO;
    for _ in 0..50 {
        let outcome = log.append(KIND, &payload(last.next()), Durability::Memory).unwrap();
        last = outcome.last;
        times.push(outcome.timestamp);
    }
    log.sync(last).unwrap();
    wait_until("age", || {
        let gone = log.watermarks().oldest.previous().get();
        // Whatever is gone was of age.
        let now = Timestamp::now().as_nanos();
        assert!(gone == 0 || times[gone as usize].as_nanos() + age.as_nanos() as u64 <= now);
        segments(dir.path()).len() == 1
    });
    // The newest segment stays, however old.
    let oldest = log.watermarks().oldest;
    assert!(oldest > OpId::FIRST && oldest <= last);
    std::thread::sleep(age);
    check_from(&view, oldest, last);
}

#[test]
fn young_entries_stay() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(None, Some(Duration::from_secs(3600))).open(dir.path()).unwrap();
    let last = fill(&log, 60);
    log.close().unwrap();
    let log = options(None, Some(Duration::from_secs(3600))).open(dir.path()).unwrap();
    let last = last.max(fill(&log, 60));
    check_from(&log.view(), OpId::FIRST, last);
}

#[test]
fn an_active_slot_holds_what_bytes_age_and_trim_would_remove() {
    let dir = tempfile::tempdir().unwrap();
    let policy = options(Some(0), Some(Duration::ZERO));
    let log = policy.open(dir.path()).unwrap();
    log.slot_create("a", OpId::FIRST, cap(1000)).unwrap();
    log.slot_create("b", OpId::FIRST, cap(1000)).unwrap();
    let last = fill(&log, 80);
    assert_eq!(log.trim(last).unwrap(), OpId::FIRST);
    let slow = slot(&log, "a");
    assert_eq!((slow.state, slow.lag_entries), (SlotState::Active, 80));
    assert_eq!(slow.lag_bytes, (segments(dir.path()).len() as u64 - 1) * SEGMENT);
    check_from(&log.view(), OpId::FIRST, last);

    // The slowest decides. Nothing is appended: letting go is enough.
    log.slot_advance("a", last.next(), Durability::Memory).unwrap();
    assert_eq!(slot(&log, "a").lag_bytes, 0);
    log.slot_advance("b", OpId::new(45), Durability::Memory).unwrap();
    wait_until("the trim up to b", || log.watermarks().oldest.get() > 30);
    assert!(log.watermarks().oldest.get() <= 45);
    check_from(&log.view(), OpId::new(45), last);
    log.slot_drop("b").unwrap();
    wait_until("the trim after b", || segments(dir.path()).len() == 1);
    assert_eq!(log.slots().len(), 1);
}

#[test]
fn a_slot_is_given_another_cap_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    let last = fill(&log, 5);
    log.slot_create("mine", last, cap(5)).unwrap();
    log.slot_limit("mine", cap(7)).unwrap();
    log.close().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    let found = slot(&log, "mine");
    assert_eq!((found.position, found.max_lag_bytes), (last, 7 * SEGMENT));
    assert!(matches!(log.slot_limit("other", cap(7)), Err(Error::NoSuchSlot { .. })));
    // Below what it keeps by now, it is lost at the next look, and then there is nothing to be limited.
    log.slot_limit("mine", SlotOptions { max_lag_bytes: 0 }).unwrap();
    wait_until("the loss", || {
        fill(&log, 5);
        slot(&log, "mine").state == SlotState::Lost
    });
    assert!(matches!(log.slot_limit("mine", cap(7)), Err(Error::SlotLost { .. })));
}

#[test]
fn a_slot_takes_the_place_of_another_or_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    let last = fill(&log, 60);
    let names = |log: &Oplog| -> Vec<(String, OpId)> {
        let slots = log.slots().into_iter();
        slots.map(|slot| (slot.name, slot.position)).collect()
    };
    let (early, late) = (OpId::new(5), OpId::new(40));
    log.slot_create("standby", late, cap(1000)).unwrap();
    // Back, forward, under another name, in the place of what is there, and of what is not.
    for (replaced, name, from) in [
        ("standby", "standby", early),
        ("standby", "standby", late),
        ("standby", "follower", early),
        ("nobody", "follower", late),
        ("nobody", "other", early),
        ("other", "follower", early),
    ] {
        log.slot_replace(replaced, name, from, cap(1000)).unwrap();
        let found = slot(&log, name);
        assert_eq!((found.position, found.state), (from, SlotState::Active), "{name}");
        assert!(replaced == name || names(&log).iter().all(|(name, _)| name != replaced));
    }
    assert_eq!(names(&log), [("follower".to_owned(), early)]);
    // What cannot be changes nothing, and nothing that both hold goes.
    assert!(log.trim(last).unwrap() <= early);
    let ahead = log.slot_replace("follower", "standby", last.next().next(), cap(1000));
    assert!(matches!(ahead, Err(Error::Ahead { .. })), "{ahead:?}");
    log.slot_replace("follower", "standby", late, cap(1000)).unwrap();
    wait_until("the trim", || log.trim(last).unwrap() > early);
    let gone = log.slot_replace("standby", "follower", early, cap(1000));
    assert!(matches!(gone, Err(Error::HistoryLost { .. })), "{gone:?}");
    assert_eq!(names(&log), [("standby".to_owned(), late)]);
    // As it was written.
    assert_eq!(names(&log)[0].1, log.view().slots().unwrap()[0].position);

    // Also when there is room for none.
    for number in 1..tailwater_oplog::RETENTION_SLOTS_MAX {
        log.slot_create(&number.to_string(), late, cap(1000)).unwrap();
    }
    let another = log.slot_replace("nobody", "another", late, cap(1000));
    assert!(matches!(another, Err(Error::TooManySlots { .. })), "{another:?}");
    log.slot_replace("standby", "another", late, cap(1000)).unwrap();
    assert_eq!(slot(&log, "another").position, late);
}

#[test]
fn at_its_cap_a_dead_consumer_loses_by_name_and_the_disk_does_not_fill() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(Some(2 * SEGMENT), None).open(dir.path()).unwrap();
    log.slot_create("dead", OpId::FIRST, cap(5)).unwrap();
    log.slot_create("alive", OpId::FIRST, cap(5)).unwrap();
    let mut reader = log.view().cursor(OpId::FIRST, ReadConcern::Durable).unwrap();
    fill(&log, 1);
    assert!(reader.try_next().unwrap().is_some());
    let mut most = 0;
    for _ in 0..40 {
        let last = fill(&log, 5);
        log.slot_advance("alive", last.next(), Durability::Memory).unwrap();
        wait_until("housekeeping", || segments(dir.path()).len() <= 7);
        most = most.max(segments(dir.path()).len());
    }
    assert!(most >= 4, "the slot held something");
    wait_until("the loss", || slot(&log, "dead").state == SlotState::Lost);
    assert_eq!(slot(&log, "alive").state, SlotState::Active);
    wait_until("the trim", || segments(dir.path()).len() <= 2);

    let refused = log.slot_advance("dead", OpId::new(20), Durability::Disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::HistoryLost);
    assert!(refused.to_string().contains("\"dead\""), "{refused}");
    assert_eq!(slot(&log, "dead").position, OpId::FIRST);
    // A reader finishes its segment, and is told.
    let error = loop {
        match reader.try_next() {
            Ok(entry) => assert!(entry.is_some(), "a gap"),
            Err(error) => break error,
        }
    };
    let next = reader.position();
    assert!(matches!(error, Error::HistoryLost { requested, .. } if requested == next));

    // Dropped or created anew, the name can be used again.
    let oldest = log.watermarks().oldest;
    log.slot_create("dead", oldest, cap(5)).unwrap();
    assert_eq!(slot(&log, "dead").state, SlotState::Active);
    log.slot_drop("dead").unwrap();
    assert!(matches!(log.slot_drop("dead"), Err(Error::NoSuchSlot { .. })));
}

#[test]
fn slots_outlive_the_log_that_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    fill(&log, 30);
    log.slot_create("a", OpId::new(3), cap(7)).unwrap();
    log.slot_create("b", OpId::new(5), cap(8)).unwrap();
    log.slot_advance("a", OpId::new(25), Durability::Memory).unwrap();
    let before = log.slots();
    log.close().unwrap();
    let log = options(None, None).open(dir.path()).unwrap();
    assert_eq!(log.slots(), before);
    assert!(matches!(
        log.slot_create("a", OpId::new(3), cap(7)),
        Err(Error::SlotExists { position, .. }) if position == OpId::new(25)
    ));
    assert!(matches!(
        log.slot_create("c", OpId::new(32), cap(7)),
        Err(Error::Ahead { .. })
    ));
    assert!(matches!(
        log.slot_create("tab\t", OpId::new(3), cap(7)),
        Err(Error::InvalidSlotName { .. })
    ));
}

const DIRECTORY: &str = "TAILWATER_RETENTION_DIRECTORY";

#[test]
fn slots_outlive_a_killed_writer() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "retention::slots_outlive_a_killed_writer",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut written = OpId::ZERO;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some((_, number)) = line.unwrap().split_once("written ") {
                written = OpId::new(number.parse().unwrap());
                if written.get() % 7 == round {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let log = options(None, None).open(dir.path()).unwrap();
        let found = slot(&log, "consumer");
        assert_eq!(found.state, SlotState::Active);
        assert!(found.position >= written, "{} of {written}", found.position);
        let marks = log.watermarks();
        assert!(marks.oldest <= found.position && found.position <= marks.durable.next());
        check_from(&log.view(), marks.oldest, marks.durable);
    }
}

/// The writer that is killed: advances a slot behind its own appends, and lets retention remove what that frees.
#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn write_until_killed(dir: &Path) {
    let log = options(Some(0), None).open(dir).unwrap();
    if log.slots().is_empty() {
        log.slot_create("consumer", OpId::FIRST, cap(1000)).unwrap();
    }
    loop {
        let last = fill(&log, 3);
        log.slot_advance("consumer", last, Durability::Disk).unwrap();
        println!("\nwritten {last}");
        let _ = std::io::stdout().flush();
        log.slot_advance("consumer", last.next(), Durability::Memory).unwrap();
    }
}

#[test]
fn appends_and_slots_go_on_while_the_log_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = options(Some(2 * SEGMENT), None).open(dir.path()).unwrap();
    log.slot_create("reader", OpId::FIRST, cap(1000)).unwrap();
    let done = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let marks = log.watermarks();
                let oldest = log.trim(marks.durable).unwrap();
                assert!(oldest >= marks.oldest);
            }
        });
        let reader = scope.spawn(|| {
            let mut cursor = log.view().cursor(OpId::FIRST, ReadConcern::Durable).unwrap();
            loop {
                while let Some(entry) = cursor.try_next().unwrap() {
                    assert!(entry.payload() == payload(entry.op_id()));
                }
                log.slot_advance("reader", cursor.position(), Durability::Memory)
                    .unwrap();
                if done.load(Ordering::Relaxed) && cursor.position() > log.watermarks().durable {
                    return;
                }
                std::thread::yield_now();
            }
        });
        let mut last = OpId::ZERO;
        for _ in 0..60 {
            last = fill(&log, 10);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        last
    });
    assert_eq!(last, OpId::new(600));
    wait_until("the last trim", || segments(dir.path()).len() <= 2);
    check_from(&log.view(), log.watermarks().oldest, last);
    log.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
}
