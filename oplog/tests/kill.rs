//! SIGKILL at random moments, over and over on the same log, with a checker that knows what was acknowledged.
//!
//! This test's binary starts itself again as the writer and as a reader that follows the log through all kills; an
//! environment variable says which. What a child prints, its parent reads through a pipe. A kill does not lose what was
//! stored in mapped memory, so every entry whose append returned must be there, whatever durability it asked for; power
//! loss is the simulated disk's business.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use tailwater_oplog::{
    Durability, Interrupt, OpId, Oplog, OplogView, Options, ReadConcern, Record, WaitOutcome, verify,
};

const KIND: u8 = 200;
const CYCLES: u64 = 120;
/// More, on a machine that lets the writers do next to nothing before they are killed, each of which lives longer.
const CYCLES_MAX: u64 = 10 * CYCLES;
/// So long a busy machine may take for what needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// The name of the test that children run, and what they are told.
const TEST: &str = "acknowledged_entries_survive_every_kill";
const ROLE: &str = "TAILWATER_KILL_ROLE";
const DIRECTORY: &str = "TAILWATER_KILL_DIRECTORY";
/// What the readers are told, and what they see.
const READERS: [(&str, ReadConcern); 2] = [("reader", ReadConcern::Durable), ("local", ReadConcern::Local)];
/// A child's lines begin so; everything else on its standard output is the test harness's.
const MARK: &str = "oplog:";

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        sync_interval: Duration::from_millis(3),
        ..Options::default()
    }
}

fn random(mut x: u64) -> u64 {
    x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 31)
}

/// The payload of the entry with that OpID, whoever wrote it.
fn payload(op_id: OpId) -> Vec<u8> {
    let bytes = match random(op_id.get()) % 50 {
        0 => 20_000,
        1..5 => 2_000,
        n => n as usize * 7,
    };
    (0..bytes as u64)
        .map(|i| random(op_id.get() ^ (i << 32)) as u8)
        .collect()
}

#[test]
fn acknowledged_entries_survive_every_kill() {
    match std::env::var(ROLE).as_deref() {
        Ok("writer") => write(Path::new(&std::env::var_os(DIRECTORY).unwrap())),
        Ok(role) => {
            let (_, concern) = READERS.into_iter().find(|(reader, _)| *reader == role).unwrap();
            follow(Path::new(&std::env::var_os(DIRECTORY).unwrap()), concern);
        }
        _ => check(),
    }
}

#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn say(line: &str) {
    println!("{MARK}{line}");
}

fn spawn(role: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A child's lines, without those that a kill cut off.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        let mut line = String::new();
        let whole = out.read_line(&mut line).is_ok() && line.ends_with('\n');
        whole.then_some(line)
    })
    // The harness prints the test's name without ending the line.
    .filter_map(|line| line.split_once(MARK).map(|(_, said)| said.trim_end().to_owned()))
}

/// The writer: appends for ever from two threads, singly and in batches, and says what has been acknowledged.
fn write(dir: &Path) {
    let log = options().open(dir).unwrap();
    say("open");
    // The parent has waited until the reader had come so far, so a trim up to here does not overtake it.
    let read = log.watermarks().appended;
    // Payloads are made from OpIDs, which are known only under the lock.
    let order = Mutex::new(());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (log, order) = (&log, &order);
            scope.spawn(move || {
                for n in 0.. {
                    let (last, durable) = append(log, order, read, random(n * 2 + thread));
                    let how = if durable { "disk" } else { "memory" };
                    say(&format!("{how} {last}"));
                    let _ = std::io::stdout().flush();
                }
            });
        }
    });
}

fn append(log: &Oplog, order: &Mutex<()>, read: OpId, chance: u64) -> (OpId, bool) {
    let last = {
        let _order = order.lock().unwrap();
        let next = log.watermarks().appended.next().get();
        let count = if chance.is_multiple_of(4) { 3 } else { 1 };
        let payloads: Vec<_> = (next..next + count).map(|n| payload(OpId::new(n))).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
        let outcome = log.append_batch(&records, Durability::Memory).unwrap();
        assert_eq!(outcome.first.get(), next);
        outcome.last
    };
    let durable = (chance >> 8).is_multiple_of(12);
    if durable {
        log.sync(last).unwrap();
    }
    if (chance >> 16).is_multiple_of(50) {
        log.trim(read).unwrap();
    }
    (last, durable)
}

/// A reader: follows the log from its first entry on, and says how far it has come. It never stops by itself. What it has seen
/// is never taken back, with either concern: these are deaths of a process, not of the machine.
fn follow(dir: &Path, concern: ReadConcern) {
    let view = OplogView::open(dir).unwrap();
    let mut cursor = view.cursor(OpId::FIRST, concern).unwrap();
    let mut next = OpId::FIRST;
    loop {
        assert_eq!(cursor.wait(None, &Interrupt::new()), WaitOutcome::Ready);
        while let Some(entry) = cursor.try_next().unwrap() {
            assert_eq!(entry.op_id(), next, "each entry once, in order");
            assert!(entry.payload() == payload(next), "entry {next} is not what was written");
            next = next.next();
        }
        say(&next.previous().to_string());
        let _ = std::io::stdout().flush();
    }
}

/// A reader's process, and what it says.
struct Reader {
    process: Killed,
    progress: mpsc::Receiver<u64>,
    /// How far it has come.
    read: u64,
}

impl Reader {
    fn start(role: &str, dir: &Path) -> Reader {
        let mut process = Killed(spawn(role, dir));
        let followed = lines(&mut process.0);
        let (sender, progress) = mpsc::channel();
        std::thread::spawn(move || {
            for line in followed {
                let _ = sender.send(line.parse().unwrap());
            }
        });
        Reader {
            process,
            progress,
            read: 0,
        }
    }

    /// Returns when it has read the last entry there is.
    fn await_end(&mut self, last: u64, what: &str) {
        let patience = Instant::now() + PATIENCE;
        while self.read < last {
            let left = patience.saturating_duration_since(Instant::now());
            let said = self.progress.recv_timeout(left);
            self.read = said.unwrap_or_else(|e| panic!("{what}: a reader has stopped at {}: {e}", self.read));
            assert!(self.read <= last, "{what}: a reader saw {} of {last}", self.read);
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check() {
    let temporary = tempfile::tempdir().unwrap();
    let dir: PathBuf = temporary.path().join("log");
    options().open(&dir).unwrap().close().unwrap();
    let mut readers = READERS.map(|(role, _)| Reader::start(role, &dir));
    let seed = u64::from(std::process::id());
    let (mut acknowledged, mut recovered, mut term) = (0, 0, 1);
    let mut oldest = OpId::FIRST;
    for cycle in 0..CYCLES_MAX {
        // Until something has been written, and trimmed.
        if cycle >= CYCLES && recovered > CYCLES && oldest > OpId::FIRST {
            break;
        }
        let what = format!("cycle {cycle} of seed {seed}");
        let mut writer = Killed(spawn("writer", &dir));
        let mut said = lines(&mut writer.0);
        if !cycle.is_multiple_of(8) {
            assert_eq!(said.next().as_deref(), Some("open"), "{what}");
        }
        // Every eighth time the kill comes while the log is being opened.
        let longer = Duration::from_millis(10 * cycle.saturating_sub(CYCLES));
        std::thread::sleep(longer + Duration::from_micros(500 + random(seed ^ (cycle << 32)) % 29_500));
        drop(writer);
        for line in said.filter(|line| line != "open") {
            let (_, op_id) = line.split_once(' ').unwrap();
            acknowledged = acknowledged.max(op_id.parse::<u64>().unwrap());
        }

        let report = verify(&dir).unwrap();
        assert!(report.is_sound(), "{what}: {:?}", report.findings);
        let log = options().open(&dir).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let marks = log.watermarks();
        assert!(
            marks.appended.get() >= acknowledged,
            "{what}: {marks:?}, {acknowledged} acknowledged"
        );
        assert!(
            marks.appended.get() >= recovered,
            "{what}: {marks:?}, {recovered} recovered before"
        );
        assert!(log.term().get() > term, "{what}");
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Durable);
        let mut in_batch = 0;
        while let Some(entry) = cursor.try_next().unwrap() {
            assert!(
                entry.payload() == payload(entry.op_id()),
                "{what}: entry {}",
                entry.op_id()
            );
            in_batch = if entry.ends_batch() { 0 } else { in_batch + 1 };
        }
        assert_eq!(in_batch, 0, "{what}: half a batch");
        assert_eq!(cursor.position(), marks.appended.next(), "{what}");
        (recovered, term) = (marks.appended.get(), log.term().get());
        // The readers have to come along before the next trim can overtake them.
        for reader in &mut readers {
            reader.await_end(recovered, &what);
        }
        // Now and then the parent trims, which a writer may not live long enough to do, and closes the log, as no writer does.
        if cycle % 5 == 0 {
            oldest = log.trim(marks.appended).unwrap();
            log.close().unwrap();
        }
    }
    let marks = OplogView::open(&dir).unwrap().watermarks();
    assert!(marks.oldest > OpId::FIRST, "nothing was trimmed: {marks:?}");
    assert!(recovered > CYCLES, "the writers wrote next to nothing: {recovered}");
    for reader in &mut readers {
        assert!(reader.process.0.try_wait().unwrap().is_none(), "the readers live");
    }
}
