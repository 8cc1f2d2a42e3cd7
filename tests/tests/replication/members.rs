//! Members as processes, what they say, and what is on their disks afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::{LogView, OpId, ReadConcern, Store, StoreOptions, log_directory};
use tailwater_tests::binary::tailwater;

use crate::proxy::Proxy;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What the partial copy has.
pub(crate) const EVEN: &str = r#"{"_id": {"$mod": [2, 0]}}"#;

/// Where a primary of this test listens, or a link to it begins: an address that nobody else has, so that its port is still free
/// when it comes back.
pub(crate) fn address(test: u16, place: u32) -> String {
    // Process ids have 22 bits at most, and all of 127.0.0.0/8 is this machine's.
    let host = (std::process::id() << 2 | place) & 0x00ff_ffff;
    SocketAddr::from((Ipv4Addr::from(127 << 24 | host), 7001 + test)).to_string()
}

/// A bad link, at an address of its own, to who listens at `target`.
pub(crate) fn link(test: u16, target: &str) -> Proxy {
    Proxy::at(address(test, 2).parse().unwrap(), target.parse().unwrap())
}

pub(crate) fn base(command: &str, dir: &Path, name: &str) -> Command {
    base_with(command, dir, name, "100")
}

pub(crate) fn base_with(command: &str, dir: &Path, name: &str, heartbeat: &str) -> Command {
    let mut process = Command::new(tailwater());
    process.arg(command).arg("--dir").arg(dir);
    process.args(["--name", name, "--members", "a,b,c", "--heartbeat", heartbeat]);
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process
}

/// The lines of what a process writes, and who reads them.
pub(crate) fn lines_of(output: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<()>) {
    let (say, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    });
    (lines, reader)
}

/// A process that is killed when it is dropped.
pub(crate) struct Member(pub(crate) Child);

impl Member {
    pub(crate) fn follow(dir: &Path, name: &str, from: &str) -> Member {
        let mut process = base("follow", dir, name);
        Member(process.args(["--from", from]).spawn().unwrap())
    }

    /// One that has only a part: every second of the documents.
    pub(crate) fn follow_part(dir: &Path, from: &str) -> Member {
        let mut process = base("follow", dir, "part");
        process.args(["--filter-namespaces", "shop.*", "--filter", EVEN]);
        Member(process.args(["--from", from]).spawn().unwrap())
    }

    /// One of which it is told what it says.
    pub(crate) fn follow_aloud(dir: &Path, name: &str, from: &str) -> (Member, Receiver<String>) {
        let mut process = base("follow", dir, name);
        let mut child = process.args(["--from", from]).stderr(Stdio::piped()).spawn().unwrap();
        let said = lines_of(child.stderr.take().unwrap()).0;
        (Member(child), said)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The most memory that it has had so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes << 10
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
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
pub(crate) struct Acknowledged {
    pub(crate) op_id: OpId,
    pub(crate) id: i32,
}

/// A primary that inserts `{_id: n}` as it is told to, and says when that is held by a majority.
pub(crate) struct Writer {
    pub(crate) member: Member,
    input: ChildStdin,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
    /// What was inserted and not acknowledged yet; the one comes in the order of the other.
    pub(crate) under_way: VecDeque<i32>,
}

impl Writer {
    pub(crate) fn start(dir: &Path, name: &str, address: &str) -> Writer {
        Writer::start_with(dir, name, address, &[])
    }

    pub(crate) fn start_with(dir: &Path, name: &str, address: &str, more: &[&str]) -> Writer {
        let mut process = base("replicate", dir, name);
        process.args(["--listen", address, "--insert", "shop.things"]);
        process.args(["--w", "majority", "--wtimeout", "600000"]).args(more);
        Writer::spawn(&mut process)
    }

    pub(crate) fn spawn(process: &mut Command) -> Writer {
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (lines, reader) = lines_of(output);
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
    pub(crate) fn insert(&mut self, id: i32) -> bool {
        self.insert_with(id, "")
    }

    /// The same for a document with that text.
    pub(crate) fn insert_with(&mut self, id: i32, text: &str) -> bool {
        let taken = writeln!(self.input, "{{\"_id\":{id},\"text\":\"{text}\"}}").is_ok();
        self.under_way.extend(taken.then_some(id));
        taken
    }

    /// The next line; nothing when the process ends first.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was said for {LONG:?}"),
        }
    }

    pub(crate) fn noted(&mut self, line: &str) -> Acknowledged {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        let op_id = OpId::new(said["opId"].as_u64().unwrap());
        let id = self.under_way.pop_front().unwrap();
        Acknowledged { op_id, id }
    }

    /// The next insertion that is acknowledged.
    pub(crate) fn acknowledged(&mut self) -> Acknowledged {
        let line = self.line().unwrap();
        self.noted(&line)
    }

    /// Inserts these one after the other, each when the one before is acknowledged; the last one's entry.
    pub(crate) fn insert_all(&mut self, ids: std::ops::Range<i32>, text: &str) -> OpId {
        let mut last = OpId::ZERO;
        for id in ids {
            assert!(self.insert_with(id, text));
            last = self.acknowledged().op_id;
        }
        last
    }

    /// Those that have been by now.
    pub(crate) fn already(&mut self) -> Vec<i32> {
        let lines: Vec<String> = self.lines.try_iter().collect();
        lines.iter().map(|line| self.noted(line).id).collect()
    }

    /// Kills it; returns what it has acknowledged since it was last asked.
    pub(crate) fn kill(self) -> Vec<i32> {
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

pub(crate) fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    Store::open_with(dir, &options).unwrap()
}

/// Of every member, once all are stopped: the state, by the entry it is of.
pub(crate) fn assert_digests_agree<D: AsRef<Path>>(dirs: &[D]) {
    let mut digests = BTreeMap::new();
    for dir in dirs {
        let store = open(dir.as_ref());
        let digest = store.digest().unwrap();
        let known = digests.entry(digest.op_id).or_insert(digest);
        assert_eq!(*known, digest);
        store.close().unwrap();
    }
    assert_eq!(digests.len(), 1, "all are at the same entry");
}

/// The last durable entry of the log in `dir`; nothing while there is none, or while a follower changes which files are its.
pub(crate) fn end_of(dir: &Path) -> Option<OpId> {
    let log = LogView::open(log_directory(dir)).ok()?;
    Some(log.newest(ReadConcern::Durable))
}

/// Waits until the log in `dir` has come to that entry.
pub(crate) fn await_entry(dir: &Path, op_id: OpId) {
    let until = Instant::now() + LONG;
    while end_of(dir).is_none_or(|end| end < op_id) {
        assert!(Instant::now() < until, "{} does not come to {op_id}", dir.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every document that was acknowledged is in the store.
pub(crate) fn assert_are_there(dir: &Path, acknowledged: &[i32], seed: u64) {
    let store = open(dir);
    let things = store.collection("shop", "things").unwrap();
    let found = things.find(&rawdoc! {}).unwrap();
    let there: BTreeSet<i32> = found.map(|found| found.unwrap().get_i32("_id").unwrap()).collect();
    let missing: Vec<&i32> = acknowledged.iter().filter(|id| !there.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?} were acknowledged, seed {seed}");
    store.close().unwrap();
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
