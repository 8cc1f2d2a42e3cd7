//! Members without disks and sockets: logs are lists, connections are queues, and the decisions are the real ones.
//!
//! Every step checks what must hold whatever happens: see [`Ledger`], and `checks`. What connections do is in `links`, what becomes of
//! a member in `members`, and what filtered ones have in `parts`.

mod checks;
mod links;
mod members;
mod parts;

use std::collections::{BTreeMap, VecDeque};

use tailwater_oplog::{Member, OpId, Term, Timestamp};
use tailwater_replication::decision::{
    Follower, Hello, History, LogName, MemberNumber, PeerId, Position, Primary, Refusal, Report, Run, Status, Welcome,
    number_of,
};

use parts::Content;
pub(crate) use parts::{Part, is_within};

const LOG: LogName = LogName([7; 16]);
/// Bytes of one entry, for the flow control.
const ENTRY_BYTES: u64 = 100;
const WINDOW: u64 = 500;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) timestamp: Timestamp,
    pub(crate) content: Content,
}

impl Entry {
    /// What a member with `part` has of it.
    pub(crate) fn share(self, part: Option<Part>) -> Entry {
        let content = parts::share(part, self.content);
        Entry { content, ..self }
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Entry>,
    pub(crate) durable: usize,
    /// Of a follower's, what it knows to be on its primary's disk.
    pub(crate) confirmed: usize,
    pub(crate) promised: Term,
    /// The newest term it has heard of: what it begins is newer.
    known: Term,
    /// Entries that were trimmed; they stay in `log`, where nobody looks at them but those that check.
    pub(crate) trimmed: usize,
    /// The last entry of an elected term among those.
    before: Position,
    /// The last entry that its state covers, when that was copied: the log has yet to come to it.
    copied: Option<(usize, Entry)>,
}

impl Disk {
    /// Whether its log has come to its state. It never does when the entries that the copy covered were rolled back everywhere:
    /// then it needs another copy.
    fn is_whole(&self) -> bool {
        self.copied
            .is_none_or(|(last, entry)| self.log.get(last - 1) == Some(&entry))
    }

    /// What is shown, and passed on by a follower.
    fn released(&self) -> usize {
        self.durable.min(self.confirmed)
    }

    /// Its log in short, as it is found after a restart.
    fn history(&self) -> History {
        let mut history = History::empty(LOG, op_id(self.trimmed + 1));
        history.before = self.before;
        if let Some(last) = self.trimmed.checked_sub(1) {
            history.base = Some(self.log[last].term);
        }
        for (at, entry) in self.log.iter().enumerate().skip(self.trimmed) {
            history.extend(entry.term, op_id(at + 1), entry.timestamp, op_id(at + 1));
        }
        history
    }
}

fn op_id(number: usize) -> OpId {
    OpId::new(number as u64)
}

#[derive(Debug)]
pub(crate) enum Role {
    Down,
    Primary(Primary),
    Follower(Follower),
}

impl Role {
    /// Who decides for those that follow a node in this role.
    fn hub<'h>(&'h mut self, relay: &'h mut Option<Primary>) -> Option<&'h mut Primary> {
        match self {
            Role::Primary(primary) => Some(primary),
            Role::Follower(_) => relay.as_mut(),
            Role::Down => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) number: u8,
    pub(crate) disk: Disk,
    pub(crate) role: Role,
    /// What it has of the entries; nothing for all.
    pub(crate) part: Option<Part>,
    /// Whether it is followed while it follows.
    pub(crate) listens: bool,
    /// What it decides then for those behind it.
    pub(crate) relay: Option<Primary>,
    /// What it has last said that those hold, on this connection.
    reported: BTreeMap<MemberNumber, OpId>,
    /// Was primary when it went down.
    pub(crate) was_primary: bool,
    pub(crate) rolled_back: Vec<Content>,
    pub(crate) connection: Option<PeerId>,
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Hello(Hello),
    Report(Report),
    Welcome(Welcome),
    Refuse(Refusal),
    Run(Run, Vec<Entry>),
    Status(Status),
    Taken(MemberNumber, String),
    End,
}

/// A connection. It may be half-open: one end has left, and the other one does not know. What was under way to that one arrives.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) follower: usize,
    pub(crate) primary: usize,
    pub(crate) up: VecDeque<Message>,
    pub(crate) down: VecDeque<Message>,
    /// Whether the follower's end is open. If so, that is its node's connection.
    at_follower: bool,
    /// Whether the primary's is.
    at_primary: bool,
}

/// What must hold in every schedule.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every entry that was ever written, by term and OpID: no two logs differ there.
    written: BTreeMap<(Term, u64), Entry>,
    /// What a majority held when its primary said so: never lost, never another.
    pub(crate) committed: BTreeMap<u64, Entry>,
    /// The term whose primary said so first.
    committed_in: BTreeMap<u64, Term>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) members: Vec<String>,
    pub(crate) connections: BTreeMap<PeerId, Connection>,
    pub(crate) ledger: Ledger,
    /// Whether those at the other ends of a node's connections do not notice that it has gone.
    pub(crate) unnoticed: bool,
    /// What followers have said of themselves, for others to say again.
    hellos: Vec<Hello>,
    clock: u64,
    next_peer: u64,
    /// What happened, for scripts.
    pub(crate) trace: Vec<String>,
}

impl Cluster {
    /// `listed` of `names` are the members whose majority counts.
    pub(crate) fn new(names: &[&str], listed: usize) -> Cluster {
        let members: Vec<String> = names[..listed].iter().map(|name| (*name).to_owned()).collect();
        let nodes = names.iter().map(|name| Node {
            name: (*name).to_owned(),
            number: number_of(name, &members).0,
            disk: Disk::default(),
            role: Role::Down,
            part: None,
            listens: false,
            relay: None,
            reported: BTreeMap::new(),
            was_primary: false,
            rolled_back: Vec::new(),
            connection: None,
        });
        Cluster {
            nodes: nodes.collect(),
            members,
            connections: BTreeMap::new(),
            ledger: Ledger::default(),
            unnoticed: false,
            hellos: Vec::new(),
            clock: 0,
            next_peer: 0,
            trace: Vec::new(),
        }
    }

    fn note(&mut self, at: usize, what: &str) {
        let line = format!("{}: {what}", self.nodes[at].name);
        self.trace.push(line);
    }

    fn member(&self, at: usize) -> Member {
        Member::new(self.nodes[at].number).unwrap()
    }
}

/// How far what is sent may go: a primary sends what its own disk may not have yet, a follower what is released.
fn sendable_of(role: &Role, disk: &Disk) -> usize {
    match role {
        Role::Primary(_) => disk.log.len(),
        _ => disk.released(),
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "what led to a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = std::env::var("TAILWATER_TRACE").map_or(40, |lines| lines.parse().unwrap_or(usize::MAX));
            let last = self.trace.len().saturating_sub(lines);
            eprintln!("{}", self.trace[last..].join("\n"));
        }
    }
}

fn describe(welcome: &Welcome) -> String {
    let asks = welcome
        .asks
        .map_or_else(String::new, |term| format!(", asks for {term}"));
    format!("{:?}{asks}", welcome.course)
}
