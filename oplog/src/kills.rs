//! A process that is killed at every system call with which it changes a file, and between every two stores into what it has
//! mapped, one after the other.
//!
//! The test starts itself again as a writer, which works through a script of its own on a real directory and kills itself
//! (SIGKILL) before its *n*-th such call, after it, or in the middle of its *n*-th write; *n* goes from 1 until a run ends
//! alive. A second writer then comes upon what is left and dies early, while it recovers. What both were told has been
//! done went to the test through a pipe; the test looks at the directory after each death.
//!
//! Stores into mapped memory (the log buffer, the watermarks) are no system calls. There it dies before and after each of those
//! that move a mark, and halfway through a frame.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::disk::death::{Moment, die_at};
use crate::ids::OpId;
use crate::oplog::{Oplog, Record};
use crate::options::{Durability, Options};
use crate::slots::SlotOptions;
use crate::view::ReadConcern;

/// The tests that children run, and what they are told: the directory, the moment, and the number of the call.
const CALLS: &str = "kills::a_kill_at_any_system_call_loses_nothing_acknowledged";
const STORES: &str = "kills::a_kill_between_any_two_stores_into_memory_loses_nothing_acknowledged";
const DIRECTORY: &str = "TAILWATER_KILLS_DIRECTORY";
const MOMENT: &str = "TAILWATER_KILLS_MOMENT";
const CALL: &str = "TAILWATER_KILLS_CALL";
/// A child's lines begin so; everything else on its standard output is the test harness's.
const MARK: &str = "kills:";

const MOMENTS: [Moment; 5] = [
    Moment::Before,
    Moment::HalfWay,
    Moment::After,
    Moment::Store,
    Moment::HalfFrame,
];

fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

fn payload(op_id: u64) -> Vec<u8> {
    let bytes = 100 + op_id as usize * 977 % 1500;
    (0..bytes as u64).map(|i| (op_id * 31 + i) as u8).collect()
}

const KIND: u8 = 200;
const BATCH: u64 = 3;

#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn say(what: &str, value: OpId) {
    println!("{MARK}{what} {value}");
}

/// Appends so many entries as one batch, and says so before and after.
fn append(log: &Oplog, count: u64, durability: Durability) -> OpId {
    let next = log.watermarks().appended.next().get();
    let last = OpId::new(next + count - 1);
    say("appending", last);
    let payloads: Vec<_> = (next..next + count).map(payload).collect();
    let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
    let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
    assert_eq!(log.append_batch(&records, durability).unwrap().last, last);
    say("appended", last);
    last
}

/// What a child does, twice: everything that changes files.
fn write(dir: &Path) {
    for _ in 0..2 {
        let log = options().open(dir).unwrap();
        say("appended", log.watermarks().appended);
        let slot = log.slots().into_iter().find(|slot| slot.name == "slot");
        if slot.is_none() {
            let capless = SlotOptions { max_lag_bytes: 1 << 40 };
            let oldest = log.watermarks().oldest;
            log.slot_create("slot", oldest, capless).unwrap();
            say("held", oldest);
        }
        for _ in 0..2 {
            for _ in 0..4 {
                append(&log, 1, Durability::Memory);
            }
            append(&log, BATCH, Durability::Memory);
            append(&log, 1, Durability::Disk);
            append(&log, BATCH, Durability::Disk);
        }
        let position = OpId::new(log.watermarks().durable.get() - 5);
        say("holding", position);
        say("held", log.slot_advance("slot", position, Durability::Disk).unwrap());
        say("trimmed", log.trim(position).unwrap());
        append(&log, 1, Durability::Disk);
        append(&log, 1, Durability::Memory);
        log.close().unwrap();
    }
}

/// What a child does between whose stores it dies: less, because there are more of those. Its first life leaves entries in the
/// buffer for the second.
fn write_a_little(dir: &Path) {
    for life in 0..2 {
        let log = options().open(dir).unwrap();
        say("appended", log.watermarks().appended);
        append(&log, 1, Durability::Memory);
        append(&log, BATCH, Durability::Disk);
        // Into the next segment.
        for _ in 0..8 {
            append(&log, BATCH, Durability::Memory);
        }
        match life {
            0 => drop(log),
            _ => log.close().unwrap(),
        }
    }
}

/// What children have said, the highest of each kind.
#[derive(Default)]
struct Said(BTreeMap<String, u64>);

impl Said {
    fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Has a child write to the log in `dir` and die, or not.
    fn spawn(&mut self, test: &str, dir: &Path, moment: Moment, call: u64) -> ExitStatus {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir)
            .env(MOMENT, format!("{moment:?}"))
            .env(CALL, call.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The harness prints the test's name without ending the line.
            if let Some((_, said)) = line.split_once(MARK) {
                let (what, value) = said.split_once(' ').unwrap();
                let highest = self.0.entry(what.to_owned()).or_default();
                *highest = value.parse().unwrap_or(0).max(*highest);
            }
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() || output.status.signal() == Some(Signal::KILL.as_raw()),
            "{moment:?} call {call}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.status
    }

    /// Checks that the log in `dir` holds what children were told it does, and nothing else, and that it can be used.
    fn check(&self, dir: &Path, what: &str) {
        let log = options().open(dir).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let marks = log.watermarks();
        let (appended, oldest) = (marks.appended.get(), marks.oldest.get());
        assert!(
            (self.get("appended")..=self.get("appending")).contains(&appended),
            "{what}: {marks:?}"
        );
        assert!(oldest >= self.get("trimmed").max(1), "{what}: {marks:?}");
        if let Some(slot) = log.slots().iter().find(|slot| slot.name == "slot") {
            let position = slot.position.get();
            assert!(
                (self.get("held")..=self.get("holding").max(1)).contains(&position),
                "{what}: {slot:?}"
            );
            assert!(oldest <= position, "{what}: {slot:?}, {marks:?}");
        } else {
            assert_eq!(self.get("held"), 0, "{what}: the slot is gone");
        }
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
        let (mut next, mut in_batch) = (oldest, 0);
        while let Some(entry) = cursor.try_next().unwrap_or_else(|e| panic!("{what}: {e:?}")) {
            assert_eq!(entry.op_id().get(), next, "{what}");
            assert!(entry.payload() == payload(next), "{what}: entry {next}");
            in_batch = if entry.ends_batch() { 0 } else { in_batch + 1 };
            next += 1;
        }
        assert_eq!((next, in_batch), (appended + 1, 0), "{what}");
        log.append(KIND, &payload(next), Durability::Disk).unwrap();
        log.close().unwrap();
        sound(dir, what);
    }
}

fn sound(dir: &Path, what: &str) {
    // Before it has a manifest there is no log to look at.
    if dir.join("MANIFEST").exists() {
        match crate::verify(dir) {
            Ok(report) => assert!(report.is_sound(), "{what}: {:?}", report.findings),
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

/// Returns at which call a child died last.
fn die_at_every_call(test: &str, moment: Moment) -> u64 {
    for call in 1.. {
        let temporary = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let dir = temporary.path().join("log");
        let what = format!("{moment:?} call {call}");
        let mut said = Said::default();
        if said.spawn(test, &dir, moment, call).success() {
            return call - 1;
        }
        sound(&dir, &what);
        // While it is being opened, or soon after.
        let again = 1 + call * 7 % 31;
        said.spawn(test, &dir, moment, again);
        let what = format!("{what}, then call {again}");
        sound(&dir, &what);
        said.check(&dir, &what);
    }
    unreachable!("some run ends alive")
}

/// Has children die at each of these moments, or is one of them, which does `act`.
fn check(test: &str, moments: &[Moment], deaths_min: u64, act: fn(&Path)) {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        let told = |name| std::env::var(name).unwrap();
        let moment = MOMENTS.into_iter().find(|moment| format!("{moment:?}") == told(MOMENT));
        die_at(moment.unwrap(), told(CALL).parse().unwrap());
        return act(Path::new(&dir));
    }
    for &moment in moments {
        let deaths = die_at_every_call(test, moment);
        assert!(deaths > deaths_min, "{moment:?}: only {deaths} deaths");
    }
}

#[test]
fn a_kill_at_any_system_call_loses_nothing_acknowledged() {
    check(CALLS, &[Moment::Before, Moment::HalfWay, Moment::After], 50, write);
}

#[test]
fn a_kill_between_any_two_stores_into_memory_loses_nothing_acknowledged() {
    check(STORES, &[Moment::Store, Moment::HalfFrame], 40, write_a_little);
}
