//! Members as processes of their own, through the command line: killed at random, frozen and woken, and what is on their disks
//! afterwards.
//!
//! `TAILWATER_KILL_SECONDS=n` has the kills go on for so long.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::replication::Selection;
use tailwater::{Store, StoreOptions};
use tailwater_tests::binary::tailwater;
use tempfile::TempDir;

/// What the partial copy has.
const EVEN: &str = r#"{"_id": {"$mod": [2, 0]}}"#;
const LONG: Duration = Duration::from_secs(60);
const KILLS: Duration = Duration::from_secs(8);
/// How much longer the first kill and the first acknowledged write may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn base(command: &str, dir: &Path, name: &str) -> Command {
    let mut process = Command::new(tailwater());
    process.arg(command).arg("--dir").arg(dir);
    process.args(["--name", name, "--members", "a,b,c", "--heartbeat", "100"]);
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process
}

/// A process that is killed when it is dropped.
struct Member(Child);

impl Member {
    fn follow(dir: &Path, name: &str, port: u16) -> Member {
        let mut process = base("follow", dir, name);
        Member(process.args(["--from", &format!("127.0.0.1:{port}")]).spawn().unwrap())
    }

    /// One that has only a part: every second of the documents.
    fn follow_part(dir: &Path, port: u16) -> Member {
        let mut process = base("follow", dir, "part");
        process.args(["--filter-namespaces", "shop.*", "--filter", EVEN]);
        Member(process.args(["--from", &format!("127.0.0.1:{port}")]).spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A primary that inserts `{_id: n}` as it is told to, and says when that is held by a majority.
struct Writer {
    member: Member,
    input: ChildStdin,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
}

impl Writer {
    fn start(dir: &Path, name: &str, port: u16) -> Writer {
        Writer::start_with(dir, name, port, &[])
    }

    fn start_with(dir: &Path, name: &str, port: u16, more: &[&str]) -> Writer {
        let mut process = base("replicate", dir, name);
        process.args(["--listen", &format!("127.0.0.1:{port}"), "--insert", "shop.things"]);
        process.args(["--w", "majority", "--wtimeout", "60000"]).args(more);
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let member = Member(child);
        let writer = Writer {
            member,
            input,
            lines,
            reader,
        };
        assert!(writer.line(LONG).is_some_and(|line| line.contains("listening")));
        writer
    }

    fn insert(&mut self, id: i32) -> bool {
        writeln!(self.input, "{{\"_id\":{id}}}").is_ok()
    }

    /// The next line; nothing when the process ends first.
    fn line(&self, patience: Duration) -> Option<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was said for {patience:?}"),
        }
    }

    /// Kills it; returns how many more insertions it has acknowledged.
    fn kill(self) -> usize {
        self.member.kill();
        self.reader.join().unwrap();
        self.lines.try_iter().count()
    }
}

fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    Store::open_with(dir, &options).unwrap()
}

/// Of every member, once all are stopped: the state, by the entry it is of.
fn assert_digests_agree(dirs: &[&TempDir]) {
    let mut digests = BTreeMap::new();
    for dir in dirs {
        let store = open(dir.path());
        let digest = store.digest().unwrap();
        let known = digests.entry(digest.op_id).or_insert(digest);
        assert_eq!(*known, digest);
        store.close().unwrap();
    }
    assert_eq!(digests.len(), 1, "all are at the same entry");
}

/// The partial copy has its part of what all have.
fn assert_part_agrees(all: &Path, part: &Path) {
    let selection = Selection::new(["shop.*"], &rawdoc! { "_id": { "$mod": [2, 0] } }).unwrap();
    let of = |dir: &Path| {
        let store = open(dir);
        let digest = store.digest_of(&selection).unwrap();
        let count = store.collection("shop", "things").unwrap().count(&rawdoc! {}).unwrap();
        store.close().unwrap();
        (digest, count)
    };
    let ((all, count), (part, of_part)) = (of(all), of(part));
    assert_eq!(part, all);
    assert!(of_part < count, "{of_part} of {count}");
}

/// Waits until the log in `dir` has come to the entry at which `other` stands.
fn await_same_end(dir: &Path, other: &Path) {
    let log = |dir: &Path| tailwater::LogView::open(tailwater::log_directory(dir)).unwrap();
    let until = Instant::now() + LONG;
    loop {
        let end = log(other).newest(tailwater::ReadConcern::Durable);
        if tailwater::log_directory(dir).join("MANIFEST").exists()
            && log(dir).newest(tailwater::ReadConcern::Durable) == end
        {
            return;
        }
        assert!(Instant::now() < until, "{} does not come to entry {end}", dir.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_at_random_no_member_loses_what_was_acknowledged() {
    // What may take minutes is not to be taken for the time of the test.
    let _ = tailwater();
    let seconds = std::env::var("TAILWATER_KILL_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let until = Instant::now() + seconds.map_or(KILLS, Duration::from_secs);
    let [a, b, c, p] = [(); 4].map(|()| TempDir::new().unwrap());
    let port = free_port();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut of_b = Member::follow(b.path(), "b", port);
    let of_c = Member::follow(c.path(), "c", port);
    let mut of_p = Member::follow_part(p.path(), port);
    let (mut sent, mut acknowledged) = (0, 0);
    let mut writer = Writer::start(a.path(), "a", port);
    let mut kills = 0;
    // A busy machine may need longer for the first ones.
    let enough = |kills: usize, acknowledged: usize| kills > 0 && acknowledged > 0;
    while Instant::now() < until || (!enough(kills, acknowledged) && Instant::now() < until + PATIENCE) {
        // Some at a time, so that some are under way when the end comes.
        for _ in 0..random.i32(1..40) {
            sent += i32::from(writer.insert(sent));
        }
        std::thread::sleep(Duration::from_millis(random.u64(..60)));
        acknowledged += writer.lines.try_iter().count();
        match random.u8(..5) {
            2 => {
                of_p.kill();
                of_p = Member::follow_part(p.path(), port);
            }
            0 => {
                of_b.kill();
                of_b = Member::follow(b.path(), "b", port);
                kills += 1;
            }
            1 => {
                acknowledged += writer.kill();
                // Those that were under way may be there or not; they are not sent again.
                sent += 1000;
                acknowledged_are_there(a.path(), acknowledged, seed);
                writer = Writer::start(a.path(), "a", port);
                kills += 1;
            }
            _ => {}
        }
    }
    assert!(enough(kills, acknowledged), "seed {seed}");
    let last = sent;
    assert!(writer.insert(last));
    drop(writer.input);
    for dir in [&b, &c, &p] {
        await_same_end(dir.path(), a.path());
    }
    writer.member.kill();
    of_b.kill();
    of_c.kill();
    of_p.kill();
    assert_digests_agree(&[&a, &b, &c]);
    assert_part_agrees(a.path(), p.path());
    acknowledged_are_there(c.path(), acknowledged, seed);
}

/// Insertions are acknowledged in their order, so a store that has fewer documents has lost one.
fn acknowledged_are_there(dir: &Path, acknowledged: usize, seed: u64) {
    let store = open(dir);
    let things = store.collection("shop", "things").unwrap();
    let there = things.count(&rawdoc! {}).unwrap();
    assert!(
        there >= acknowledged as u64,
        "{there} of {acknowledged} acknowledged, seed {seed}"
    );
    store.close().unwrap();
}

#[test]
fn a_frozen_primary_that_wakes_is_no_primary_any_more() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let (port, new_port) = (free_port(), free_port());
    let of_b = Member::follow(b.path(), "b", port);
    let of_c = Member::follow(c.path(), "c", port);
    let mut old = Writer::start(a.path(), "a", port);
    for id in 0..20 {
        assert!(old.insert(id));
        assert!(old.line(LONG).is_some());
    }
    await_same_end(b.path(), a.path());
    await_same_end(c.path(), a.path());
    of_b.kill();
    of_c.kill();
    // One that nobody else has.
    let end = || tailwater::LogView::open(tailwater::log_directory(a.path())).unwrap();
    let end = || end().newest(tailwater::ReadConcern::Durable);
    let before = end();
    assert!(old.insert(50));
    let until = Instant::now() + LONG;
    while end() == before {
        assert!(Instant::now() < until, "nothing was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    old.member.signal("-STOP");

    let mut promote = Command::new(tailwater());
    promote
        .args(["promote", "--name", "b", "--members", "a,b,c", "--dir"])
        .arg(b.path());
    let promoted = promote.output().unwrap();
    assert!(
        promoted.status.success(),
        "{}",
        String::from_utf8_lossy(&promoted.stderr)
    );
    let again = promote.output().unwrap();
    assert_eq!(again.status.code(), Some(2), "it takes writes already");
    let fence = format!("--fence=127.0.0.1:{port}");
    let mut new = Writer::start_with(b.path(), "b", new_port, &[&fence]);
    let of_c = Member::follow(c.path(), "c", new_port);
    for id in 100..110 {
        assert!(new.insert(id));
        assert!(new.line(LONG).is_some());
    }

    // It wakes, and would write; nobody would hold that.
    old.insert(51);
    old.member.signal("-CONT");
    // The new primary tells it, and it ends; before that it has acknowledged nothing.
    assert_eq!(
        old.line(LONG),
        None,
        "acknowledged at majority by a primary of the past"
    );
    let status = old.member.0.wait().unwrap();
    assert_eq!(status.code(), Some(4));

    // It comes back as a follower, and has what the others have; what only it had is in a file.
    let of_a = Member::follow(a.path(), "a", new_port);
    assert!(new.insert(200));
    assert!(new.line(LONG).is_some());
    let until = Instant::now() + LONG;
    while !a.path().join("rollback").exists() {
        assert!(Instant::now() < until, "nothing was rolled back");
        std::thread::sleep(Duration::from_millis(20));
    }
    await_same_end(a.path(), b.path());
    await_same_end(c.path(), b.path());
    new.member.kill();
    of_a.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
    let file = std::fs::read_dir(a.path().join("rollback"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(std::fs::read_to_string(file.path()).unwrap().contains("50"));
}
