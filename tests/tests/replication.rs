//! Members as processes of their own, through the command line: killed at random, frozen and woken, and what is on their disks
//! afterwards.
//!
//! `TAILWATER_KILL_SECONDS=n` has the kills go on for so long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::replication::Selection;
use tailwater::{LogView, OpId, ReadConcern, Store, StoreOptions, log_directory};
use tailwater_tests::binary::tailwater;
use tempfile::TempDir;

/// What the partial copy has.
const EVEN: &str = r#"{"_id": {"$mod": [2, 0]}}"#;
const LONG: Duration = Duration::from_secs(60);
const KILLS: Duration = Duration::from_secs(8);
/// Insertions that are given to a primary before it has acknowledged those in front of them.
const UNDER_WAY_MAX: usize = 100;

/// Where a primary of this test listens: an address that nobody else has, so that its port is still free when it comes back.
fn address(test: u32, primary: u32) -> String {
    // Process ids have 22 bits at most, and all of 127.0.0.0/8 is this machine's.
    let host = (std::process::id() << 2 | test << 1 | primary) & 0x00ff_ffff;
    format!("{}:7001", Ipv4Addr::from(127 << 24 | host))
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
    fn follow(dir: &Path, name: &str, from: &str) -> Member {
        let mut process = base("follow", dir, name);
        Member(process.args(["--from", from]).spawn().unwrap())
    }

    /// One that has only a part: every second of the documents.
    fn follow_part(dir: &Path, from: &str) -> Member {
        let mut process = base("follow", dir, "part");
        process.args(["--filter-namespaces", "shop.*", "--filter", EVEN]);
        Member(process.args(["--from", from]).spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Kills it, and waits until it is gone.
    fn kill(&mut self) {
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

/// An insertion that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    op_id: OpId,
    id: i32,
}

/// A primary that inserts `{_id: n}` as it is told to, and says when that is held by a majority.
struct Writer {
    member: Member,
    input: ChildStdin,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
    /// What was inserted and not acknowledged yet; the one comes in the order of the other.
    under_way: VecDeque<i32>,
}

impl Writer {
    fn start(dir: &Path, name: &str, address: &str) -> Writer {
        Writer::start_with(dir, name, address, &[])
    }

    fn start_with(dir: &Path, name: &str, address: &str, more: &[&str]) -> Writer {
        let mut process = base("replicate", dir, name);
        process.args(["--listen", address, "--insert", "shop.things"]);
        process.args(["--w", "majority", "--wtimeout", "600000"]).args(more);
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let writer = Writer {
            member: Member(child),
            input,
            lines,
            reader,
            under_way: VecDeque::new(),
        };
        assert!(writer.line().is_some_and(|line| line.contains("listening")));
        writer
    }

    /// Whether the process takes it.
    fn insert(&mut self, id: i32) -> bool {
        let taken = writeln!(self.input, "{{\"_id\":{id}}}").is_ok();
        self.under_way.extend(taken.then_some(id));
        taken
    }

    /// The next line; nothing when the process ends first.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was said for {LONG:?}"),
        }
    }

    fn noted(&mut self, line: &str) -> Acknowledged {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        let op_id = OpId::new(said["opId"].as_u64().unwrap());
        let id = self.under_way.pop_front().unwrap();
        Acknowledged { op_id, id }
    }

    /// The next insertion that is acknowledged.
    fn acknowledged(&mut self) -> Acknowledged {
        let line = self.line().unwrap();
        self.noted(&line)
    }

    /// Those that have been by now.
    fn already(&mut self) -> Vec<i32> {
        let lines: Vec<String> = self.lines.try_iter().collect();
        lines.iter().map(|line| self.noted(line).id).collect()
    }

    /// Kills it; returns what it has acknowledged since it was last asked.
    fn kill(self) -> Vec<i32> {
        let Writer {
            mut member,
            lines,
            reader,
            under_way,
            ..
        } = self;
        member.kill();
        reader.join().unwrap();
        lines.try_iter().zip(under_way).map(|(_, id)| id).collect()
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

/// The last durable entry of the log in `dir`; nothing while there is none, or while a follower changes which files are its.
fn end_of(dir: &Path) -> Option<OpId> {
    let log = LogView::open(log_directory(dir)).ok()?;
    Some(log.newest(ReadConcern::Durable))
}

/// Waits until the log in `dir` has come to that entry.
fn await_entry(dir: &Path, op_id: OpId) {
    let until = Instant::now() + LONG;
    while end_of(dir).is_none_or(|end| end < op_id) {
        assert!(Instant::now() < until, "{} does not come to {op_id}", dir.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every document that was acknowledged is in the store.
fn assert_are_there(dir: &Path, acknowledged: &[i32], seed: u64) {
    let store = open(dir);
    let things = store.collection("shop", "things").unwrap();
    let found = things.find(&rawdoc! {}).unwrap();
    let there: BTreeSet<i32> = found.map(|found| found.unwrap().get_i32("_id").unwrap()).collect();
    let missing: Vec<&i32> = acknowledged.iter().filter(|id| !there.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?} were acknowledged, seed {seed}");
    store.close().unwrap();
}

#[test]
fn killed_at_random_no_member_loses_what_was_acknowledged() {
    // What may take minutes is not to be taken for the time of the test.
    let _ = tailwater();
    let seconds = std::env::var("TAILWATER_KILL_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let [a, b, c, p] = [(); 4].map(|()| TempDir::new().unwrap());
    let from = address(0, 0);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let behind = [("b", &b), ("c", &c)];
    let mut followers = behind.map(|(name, dir)| Member::follow(dir.path(), name, &from));
    let mut of_p = Member::follow_part(p.path(), &from);
    let mut writer = Writer::start(a.path(), "a", &from);
    // All have a log, and have made a majority, before the first one dies.
    assert!(writer.insert(0));
    let first = writer.acknowledged();
    for dir in [&b, &c, &p] {
        await_entry(dir.path(), first.op_id);
    }
    let (mut next, mut acknowledged) = (1, vec![first.id]);
    let until = Instant::now() + seconds.map_or(KILLS, Duration::from_secs);
    for round in 0.. {
        // Each of them is killed once at least.
        if round >= 4 && Instant::now() >= until {
            break;
        }
        // Some at a time, so that some are under way when the end comes.
        for _ in 0..random.i32(1..40) {
            if writer.under_way.len() < UNDER_WAY_MAX && writer.insert(next) {
                next += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(random.u64(..60)));
        acknowledged.extend(writer.already());
        let victim = if round < 4 { round } else { random.usize(..10) };
        match victim {
            0 => {
                // Those that are under way may come to be there or not; they are not sent again.
                acknowledged.extend(writer.kill());
                assert_are_there(a.path(), &acknowledged, seed);
                writer = Writer::start(a.path(), "a", &from);
                // It lives for long enough now and then, however busy the machine is.
                if random.bool() {
                    assert!(writer.insert(next));
                    next += 1;
                    acknowledged.push(writer.acknowledged().id);
                }
            }
            1 | 2 => {
                let (name, dir) = behind[victim - 1];
                followers[victim - 1].kill();
                followers[victim - 1] = Member::follow(dir.path(), name, &from);
            }
            3 => {
                of_p.kill();
                of_p = Member::follow_part(p.path(), &from);
            }
            _ => {}
        }
    }
    assert!(writer.insert(next));
    let mut last = writer.acknowledged();
    acknowledged.push(last.id);
    while last.id != next {
        last = writer.acknowledged();
        acknowledged.push(last.id);
    }
    for dir in [&b, &c, &p] {
        await_entry(dir.path(), last.op_id);
    }
    writer.kill();
    followers.iter_mut().for_each(Member::kill);
    of_p.kill();
    assert_digests_agree(&[&a, &b, &c]);
    assert_part_agrees(a.path(), p.path());
    for (_, dir) in behind {
        assert_are_there(dir.path(), &acknowledged, seed);
    }
}

#[test]
fn a_frozen_primary_that_wakes_is_no_primary_any_more() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let (at, new_at) = (address(1, 0), address(1, 1));
    let mut of_b = Member::follow(b.path(), "b", &at);
    let mut of_c = Member::follow(c.path(), "c", &at);
    let mut old = Writer::start(a.path(), "a", &at);
    let mut shared = OpId::ZERO;
    for id in 0..20 {
        assert!(old.insert(id));
        shared = old.acknowledged().op_id;
    }
    await_entry(b.path(), shared);
    await_entry(c.path(), shared);
    of_b.kill();
    of_c.kill();
    // One that nobody else has.
    assert!(old.insert(50));
    await_entry(a.path(), shared.next());
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
    let mut new = Writer::start_with(b.path(), "b", &new_at, &["--fence", &at]);
    let mut of_c = Member::follow(c.path(), "c", &new_at);
    for id in 100..110 {
        assert!(new.insert(id));
        new.acknowledged();
    }

    // It wakes, and would write; nobody would hold that.
    old.insert(51);
    old.member.signal("-CONT");
    // The new primary tells it, and it ends; before that it has acknowledged nothing.
    assert_eq!(old.line(), None, "acknowledged at majority by a primary of the past");
    let status = old.member.0.wait().unwrap();
    assert_eq!(status.code(), Some(4));

    // It comes back as a follower, and has what the others have; what only it had is in a file.
    let mut of_a = Member::follow(a.path(), "a", &new_at);
    assert!(new.insert(200));
    let last = new.acknowledged().op_id;
    let until = Instant::now() + LONG;
    while !a.path().join("rollback").exists() {
        assert!(Instant::now() < until, "nothing was rolled back");
        std::thread::sleep(Duration::from_millis(20));
    }
    await_entry(a.path(), last);
    await_entry(c.path(), last);
    new.kill();
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
