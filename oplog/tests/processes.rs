//! Processes that want to write the same log: one at a time does, whoever else wants to is told who, and its death is the end of
//! its right.
//!
//! The test's binary starts itself again as each of them; an environment variable says so.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tailwater_oplog::{Durability, Error, OpId, Oplog, OplogView, Options, ReadConcern, Term, Timestamp};

mod common;

use common::{names, temporary};

const KIND: u8 = 200;
const DIRECTORY: &str = "TAILWATER_PROCESSES_DIRECTORY";
const MARK: &str = "process:";
const CONTENDERS: usize = 4;
/// How often each of them writes.
const TURNS: u64 = 5;

fn open(dir: &Path) -> Result<Oplog, Error> {
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    options.open(dir)
}

#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn say(line: &str) {
    println!("{MARK}{line}");
}

/// Runs `test`, or, in the process that it has started, `role`.
fn in_processes(role: fn(&Path), test: impl FnOnce()) {
    match std::env::var_os(DIRECTORY) {
        Some(dir) => role(Path::new(&dir)),
        None => test(),
    }
}

fn start(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process says next; nothing when it has ended.
fn heard(out: &mut impl BufRead) -> Option<String> {
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        // The harness prints the test's name without ending the line.
        if let Some((_, said)) = line.split_once(MARK) {
            return Some(said.trim_end().to_owned());
        }
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_writes_until_that_one_dies() {
    const TEST: &str = "a_second_process_is_refused_and_told_who_writes_until_that_one_dies";
    let writer = |dir: &Path| {
        let log = open(dir).unwrap();
        let last = log.append(KIND, b"first", Durability::Disk).unwrap().last;
        say(&format!("{last}"));
        // Until it is killed.
        let _ = std::io::stdin().read_line(&mut String::new());
    };
    in_processes(writer, || {
        let dir = temporary();
        for n in 1..=3 {
            let begun = Timestamp::now().as_millis() / 1000 * 1000;
            let mut child = start(TEST, dir.path());
            let mut out = BufReader::new(child.stdout.take().unwrap());
            assert_eq!(heard(&mut out), Some(n.to_string()));
            let Err(Error::Locked { holder, pid, since, .. }) = open(dir.path()) else {
                panic!("two processes write")
            };
            assert!(holder.contains(&format!("pid {}", child.id())), "{holder}");
            assert_eq!(pid, Some(child.id()));
            let since = since.unwrap().as_millis();
            assert!(
                (begun..=Timestamp::now().as_millis()).contains(&since),
                "{since}, {begun}"
            );
            let view = OplogView::open(dir.path()).unwrap();
            let entry = view.get(OpId::new(n), ReadConcern::Durable).unwrap();
            assert_eq!(entry.payload(), b"first");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // Nobody has to remove anything.
        let log = open(dir.path()).unwrap();
        assert_eq!(log.watermarks().appended, OpId::new(3));
    });
}

#[test]
fn processes_that_contend_for_a_log_write_one_after_the_other() {
    const TEST: &str = "processes_that_contend_for_a_log_write_one_after_the_other";
    let contender = |dir: &Path| {
        let mut turns = 0;
        while turns < TURNS {
            match open(dir) {
                Ok(log) => {
                    let outcome = log
                        .append(KIND, &std::process::id().to_le_bytes(), Durability::Memory)
                        .unwrap();
                    say(&format!("{} {}", outcome.last, log.term()));
                    // A close, or a death of the handle without one.
                    match turns % 2 {
                        0 => log.close().unwrap(),
                        _ => drop(log),
                    }
                    turns += 1;
                }
                Err(Error::Locked { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    in_processes(contender, || {
        let dir = temporary();
        let mut children: Vec<_> = (0..CONTENDERS).map(|_| start(TEST, dir.path())).collect();
        let mut written = BTreeSet::new();
        for child in &mut children {
            let mut out = BufReader::new(child.stdout.take().unwrap());
            while let Some(line) = heard(&mut out) {
                let (op_id, term) = line.split_once(' ').unwrap();
                let numbers: (u64, u32) = (op_id.parse().unwrap(), term.parse().unwrap());
                assert!(written.insert((numbers, child.id())), "{line}");
            }
            assert!(child.wait().unwrap().success());
        }
        let log = open(dir.path()).unwrap();
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
        for (n, ((op_id, term), process)) in (1..).zip(&written) {
            let entry = cursor.try_next().unwrap().unwrap();
            assert_eq!((entry.op_id().get(), *op_id), (n, n), "an OpID twice, or none");
            assert_eq!(entry.term(), Term::new(*term));
            assert_eq!(entry.payload(), process.to_le_bytes());
        }
        assert_eq!(written.len() as u64, CONTENDERS as u64 * TURNS);
        assert!(cursor.try_next().unwrap().is_none());
        // Each opening had a term to itself.
        let terms: BTreeSet<_> = written.iter().map(|((_, term), _)| term).collect();
        assert_eq!(terms.len(), written.len());
    });
}

/// A stranger cuts a file that a reader has mapped. Outside the promise, but for this: the reader gets entries as they were
/// written, an error by name, or SIGBUS; never something else. A cut within the part that it had checked before is not looked at.
#[test]
fn a_segment_that_is_cut_while_it_is_mapped_is_read_right_or_not_at_all() {
    const TEST: &str = "a_segment_that_is_cut_while_it_is_mapped_is_read_right_or_not_at_all";
    const ENTRIES: u64 = 300;
    let payload = |n: u64| (0..3_000).map(|i| (n * 31 + i) as u8).collect::<Vec<u8>>();
    let reader = |dir: &Path| {
        let payload = |n: u64| (0..3_000).map(|i| (n * 31 + i) as u8).collect::<Vec<u8>>();
        let view = OplogView::open(dir).unwrap();
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        let mut next = 1;
        loop {
            match cursor.try_next() {
                Ok(Some(entry)) => {
                    assert_eq!(entry.op_id().get(), next);
                    assert!(entry.payload() == payload(next), "entry {next} reads as something else");
                    next += 1;
                }
                Ok(None) => return say("all"),
                Err(error) => return say(&format!("{:?}", error.kind())),
            }
            if next == 2 {
                // It has mapped the segment; now it is cut.
                say("mapped");
                let _ = std::io::stdin().read_line(&mut String::new());
            }
        }
    };
    in_processes(reader, || {
        let sound = temporary();
        let log = open(sound.path()).unwrap();
        for n in 1..=ENTRIES {
            log.append(KIND, &payload(n), Durability::Memory).unwrap();
        }
        log.close().unwrap();
        let mut outcomes = BTreeSet::new();
        // At pages and within them, of frames, of what is behind them, of the footer.
        for length in [
            8_192,
            8_200,
            300_000,
            409_600,
            905_000,
            1_040_000,
            (1 << 20) - 64,
            4_096,
        ] {
            let dir = temporary();
            for name in names(sound.path()) {
                fs::copy(sound.path().join(&name), dir.path().join(&name)).unwrap();
            }
            let mut child = start(TEST, dir.path());
            let mut out = BufReader::new(child.stdout.take().unwrap());
            assert_eq!(heard(&mut out).as_deref(), Some("mapped"));
            let segment = names(dir.path())
                .into_iter()
                .find(|name| name.ends_with(".seg"))
                .unwrap();
            let file = OpenOptions::new().write(true).open(dir.path().join(segment)).unwrap();
            file.set_len(length).unwrap();
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
            let said = heard(&mut out);
            let status = child.wait().unwrap();
            match said.as_deref() {
                Some("all" | "Corrupt") => assert!(status.success(), "{length}: {status:?}"),
                None => assert_eq!(status.signal(), Some(Signal::BUS.as_raw()), "{length}: {status:?}"),
                Some(other) => panic!("{length}: {other}"),
            }
            outcomes.insert(said);
        }
        assert!(outcomes.len() > 1, "{outcomes:?}");
    });
}
