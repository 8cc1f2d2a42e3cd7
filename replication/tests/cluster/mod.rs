//! Members without disks and sockets: logs are lists, connections are queues, and the decisions are the real ones.
//!
//! Every step checks what must hold whatever happens; see [`Ledger`].

use std::collections::{BTreeMap, VecDeque};

use tailwater_oplog::{Member, OpId, Term, Timestamp};
use tailwater_replication::decision::{
    Follower, FollowerInput, FollowerOutput, Hello, History, LogName, MemberNumber, PeerId, Position, Primary,
    PrimaryInput, PrimaryOutput, Refusal, Report, Run, Status, Welcome, number_of,
};

const LOG: LogName = LogName([7; 16]);
/// Bytes of one entry, for the flow control.
const ENTRY_BYTES: u64 = 100;
const WINDOW: u64 = 500;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) timestamp: Timestamp,
    pub(crate) value: u64,
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
    /// Whether it is followed while it follows.
    pub(crate) listens: bool,
    /// What it decides then for those behind it.
    pub(crate) relay: Option<Primary>,
    /// What it has last said that those hold, on this connection.
    reported: BTreeMap<MemberNumber, OpId>,
    /// Was primary when it went down.
    pub(crate) was_primary: bool,
    pub(crate) rolled_back: Vec<u64>,
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

    /// Starts a node that is down as a follower of nobody yet.
    pub(crate) fn start(&mut self, at: usize) {
        let member = self.member(at);
        let node = &mut self.nodes[at];
        let durable = op_id(node.disk.released());
        node.relay = node
            .listens
            .then(|| Primary::relay(member, self.members.clone(), node.disk.history(), durable));
        let follower = Follower::new(
            member,
            node.name.clone(),
            self.members.clone(),
            node.disk.history(),
            node.disk.promised,
            WINDOW,
        );
        node.role = Role::Follower(follower.with_confirmed(op_id(node.disk.confirmed)));
    }

    /// Makes a node primary, as its operator decides; one whose log has yet to come to its state cannot be.
    pub(crate) fn promote(&mut self, at: usize) {
        if !self.nodes[at].disk.is_whole() {
            return;
        }
        self.drop_connections_of(at);
        let member = self.member(at);
        let node = &mut self.nodes[at];
        node.disk.durable = node.disk.log.len();
        node.disk.confirmed = node.disk.durable;
        let newest = node.disk.log.last().map_or(Term::default(), |entry| entry.term);
        let term = member.term_after(node.disk.known.max(newest), false).unwrap();
        node.disk.known = term;
        let (history, promised, durable) = (node.disk.history(), node.disk.promised, op_id(node.disk.durable));
        let (primary, outputs) = Primary::new(member, self.members.clone(), history, promised, term, durable);
        (node.role, node.relay) = (Role::Primary(primary), None);
        self.note(at, &format!("primary of term {term}"));
        self.carry_out_primary(at, outputs);
    }

    /// Kills a node: of what it had not synced, `kept` entries are left.
    pub(crate) fn kill(&mut self, at: usize, kept: usize) {
        self.drop_connections_of(at);
        let node = &mut self.nodes[at];
        node.was_primary = matches!(&node.role, Role::Primary(primary) if !primary.is_deposed());
        (node.role, node.relay) = (Role::Down, None);
        let left = (node.disk.durable + kept).min(node.disk.log.len());
        node.disk.log.truncate(left);
        node.disk.durable = left;
        node.disk.confirmed = match node.was_primary {
            true => left,
            false => node.disk.confirmed.min(left),
        };
    }

    fn drop_connections_of(&mut self, at: usize) {
        let ended: Vec<PeerId> = self
            .connections
            .iter()
            .filter(|(_, c)| c.follower == at || c.primary == at)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in ended {
            match self.unnoticed {
                true => self.leave_end(peer, self.connections[&peer].follower == at),
                false => self.break_connection(peer),
            }
        }
    }

    /// Ends a connection for both.
    pub(crate) fn break_connection(&mut self, peer: PeerId) {
        self.leave_end(peer, true);
        self.leave_end(peer, false);
    }

    /// Ends a connection for the follower, or for the primary; the other one does not know.
    pub(crate) fn leave_end(&mut self, peer: PeerId, of_follower: bool) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let (follower, primary) = (connection.follower, connection.primary);
        let end = match of_follower {
            true => &mut connection.at_follower,
            false => &mut connection.at_primary,
        };
        let was_open = std::mem::take(end);
        if !connection.at_follower && !connection.at_primary {
            self.connections.remove(&peer);
        }
        if was_open && of_follower {
            self.nodes[follower].connection = None;
            self.follower_step(follower, FollowerInput::Gone);
            self.relay_step(follower, PrimaryInput::FollowsNobody);
        } else if was_open {
            self.primary_step(primary, PrimaryInput::Gone(peer));
        }
    }

    /// Has the first message that is under way come a second time, behind `behind` of the others: as from a peer that is broken.
    pub(crate) fn duplicate(&mut self, peer: PeerId, up: bool, behind: usize) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let queue = if up { &mut connection.up } else { &mut connection.down };
        // The end of a connection is no message.
        if let Some(message) = queue
            .front()
            .filter(|message| !matches!(message, Message::End))
            .cloned()
        {
            queue.insert((1 + behind).min(queue.len()), message);
        }
    }

    /// Has somebody say to a node what a follower has said of itself at some time, over a connection of which that one knows
    /// nothing.
    pub(crate) fn replay(&mut self, said: usize, primary: usize) {
        let Some(hello) = self.hellos.get(said % self.hellos.len().max(1)).cloned() else {
            return;
        };
        let follower = self.nodes.iter().position(|node| node.name == hello.name);
        let follower = follower.expect("one of the nodes has said it");
        if follower == primary {
            return;
        }
        let peer = self.open(follower, primary, false);
        self.connections
            .get_mut(&peer)
            .expect("it is open at one end")
            .up
            .push_back(Message::Hello(hello));
    }

    fn open(&mut self, follower: usize, primary: usize, at_follower: bool) -> PeerId {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        let connection = Connection {
            follower,
            primary,
            up: VecDeque::new(),
            down: VecDeque::new(),
            at_follower,
            at_primary: true,
        };
        self.connections.insert(peer, connection);
        peer
    }

    /// Has a follower connect to a node.
    pub(crate) fn connect(&mut self, follower: usize, primary: usize) {
        if follower == primary || !matches!(self.nodes[follower].role, Role::Follower(_)) {
            return;
        }
        if let Some(old) = self.nodes[follower].connection {
            match self.unnoticed {
                true => self.leave_end(old, true),
                false => self.break_connection(old),
            }
        }
        let peer = self.open(follower, primary, true);
        self.nodes[follower].connection = Some(peer);
        self.nodes[follower].reported.clear();
        self.follower_step(follower, FollowerInput::Connected);
    }

    /// Writes one entry at a node, if it is primary; whether it did.
    pub(crate) fn write(&mut self, at: usize, value: u64) -> bool {
        let Role::Primary(primary) = &self.nodes[at].role else {
            return false;
        };
        if primary.is_deposed() {
            return false;
        }
        let term = primary.term();
        self.append_own(at, term, value);
        true
    }

    fn append_own(&mut self, at: usize, term: Term, value: u64) {
        self.clock += 1;
        let entry = Entry {
            term,
            timestamp: Timestamp::from_nanos(self.clock),
            value,
        };
        let op_id = self.append(at, entry);
        let input = PrimaryInput::Appended {
            term,
            first: op_id,
            timestamp: entry.timestamp,
            last: op_id,
        };
        self.primary_step(at, input);
    }

    fn append(&mut self, at: usize, entry: Entry) -> OpId {
        let disk = &mut self.nodes[at].disk;
        disk.known = disk.known.max(entry.term);
        let log = &mut disk.log;
        assert!(log.last().is_none_or(|last| last.term <= entry.term), "terms go back");
        log.push(entry);
        let op_id = log.len() as u64;
        let other = self.ledger.written.insert((entry.term, op_id), entry);
        assert!(
            other.is_none_or(|other| other == entry),
            "two entries {op_id} of term {}",
            entry.term
        );
        OpId::new(op_id)
    }

    /// Syncs a node's log.
    pub(crate) fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.disk.durable = node.disk.log.len();
        let durable = OpId::new(node.disk.durable as u64);
        match node.role {
            Role::Primary(_) => self.primary_step(at, PrimaryInput::Durable(durable)),
            Role::Follower(_) => self.follower_step(at, FollowerInput::Durable(durable)),
            Role::Down => {}
        }
    }

    /// Has a primary send what it may on one connection, `entries` at most.
    pub(crate) fn send(&mut self, peer: PeerId, entries: usize) {
        let connection = self.connections.get(&peer).filter(|connection| connection.at_primary);
        let Some(sender) = connection.map(|connection| connection.primary) else {
            return;
        };
        self.look(sender);
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let node = &mut self.nodes[sender];
        if node.role.hub(&mut node.relay).is_none() {
            return;
        }
        let newest = sendable_of(&node.role, &node.disk);
        let primary = node.role.hub(&mut node.relay).expect("looked at above");
        let message = match primary.sendable(peer) {
            Some((next, credit)) if next.get() <= newest as u64 => {
                let count = credit.div_ceil(ENTRY_BYTES).min(entries as u64).max(1);
                let last = (next.get() + count - 1).min(newest as u64);
                let frames = node.disk.log[next.get() as usize - 1..last as usize].to_vec();
                let run = primary.run(next, OpId::new(last));
                let bytes = frames.len() as u64 * ENTRY_BYTES;
                let sent = primary.step(PrimaryInput::Sent(peer, OpId::new(last), bytes));
                assert!(sent.is_empty());
                Message::Run(run, frames)
            }
            _ => Message::Status(primary.status()),
        };
        connection.down.push_back(message);
    }

    /// Delivers the first message on its way to the primary, or to the follower; whether there was one.
    pub(crate) fn deliver(&mut self, peer: PeerId, up: bool) -> bool {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return false;
        };
        let (follower, primary) = (connection.follower, connection.primary);
        let queue = if up { &mut connection.up } else { &mut connection.down };
        let Some(message) = queue.pop_front() else {
            return false;
        };
        if !(if up {
            connection.at_primary
        } else {
            connection.at_follower
        }) {
            return true;
        }
        match message {
            Message::Hello(hello) => {
                self.look(primary);
                let node = &mut self.nodes[primary];
                match node.role.hub(&mut node.relay) {
                    Some(_) => self.primary_step(primary, PrimaryInput::Hello(peer, hello)),
                    None => self.tell_follower(peer, Message::Refuse(Refusal::NotPrimary)),
                }
            }
            Message::Report(report) => self.primary_step(primary, PrimaryInput::Report(peer, report)),
            Message::Welcome(welcome) => {
                let term = welcome.term;
                self.follower_step(follower, FollowerInput::Welcome(welcome));
                self.pass_on(follower, term);
            }
            Message::Refuse(refusal) => self.follower_step(follower, FollowerInput::Refused(refusal)),
            Message::Status(status) => {
                self.follower_step(follower, FollowerInput::Status(status));
                self.pass_on(follower, status.term);
            }
            Message::Run(run, frames) => {
                self.receive(follower, run, &frames);
                self.pass_on(follower, run.term);
            }
            Message::End => self.break_connection(peer),
        }
        true
    }

    fn receive(&mut self, at: usize, run: Run, frames: &[Entry]) {
        let Role::Follower(follower) = &mut self.nodes[at].role else {
            return;
        };
        let outputs = follower.step(FollowerInput::Run(run));
        let appends = outputs.contains(&FollowerOutput::Append(run));
        self.carry_out_follower(at, outputs);
        if !appends {
            return;
        }
        for entry in frames {
            let op_id = self.append(at, *entry);
            let Role::Follower(follower) = &mut self.nodes[at].role else {
                return;
            };
            follower.appended(entry.term, op_id, entry.timestamp, op_id);
        }
        self.follower_step(at, FollowerInput::Consumed(frames.len() as u64 * ENTRY_BYTES));
    }

    /// To whoever decides there for those that follow the node.
    fn primary_step(&mut self, at: usize, input: PrimaryInput) {
        let node = &mut self.nodes[at];
        if let Some(primary) = node.role.hub(&mut node.relay) {
            let outputs = primary.step(input);
            self.carry_out_primary(at, outputs);
        }
    }

    fn relay_step(&mut self, at: usize, input: PrimaryInput) {
        if self.nodes[at].relay.is_some() {
            self.primary_step(at, input);
        }
    }

    /// To those behind a node, after a message of the one that it follows.
    fn pass_on(&mut self, at: usize, term: Term) {
        if matches!(&self.nodes[at].role, Role::Follower(follower) if follower.is_following()) {
            self.relay_step(at, PrimaryInput::Follows(term));
        }
    }

    /// Has a node that is followed while it follows look at its log, as it does before it says something to those behind it, and
    /// now and then.
    pub(crate) fn look(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(relay) = &node.relay else {
            return;
        };
        let (from, durable) = (relay.history().last.get() as usize, node.disk.released());
        let new = node.disk.log.iter().enumerate().take(durable).skip(from);
        let mut inputs: Vec<PrimaryInput> = new
            .map(|(at, entry)| PrimaryInput::Appended {
                term: entry.term,
                first: op_id(at + 1),
                timestamp: entry.timestamp,
                last: op_id(at + 1),
            })
            .collect();
        inputs.push(PrimaryInput::Trimmed(op_id(node.disk.trimmed + 1)));
        inputs.push(PrimaryInput::Durable(op_id(durable)));
        for input in inputs {
            self.relay_step(at, input);
        }
    }

    /// Has a node say what those hold that follow it, as it does at each heartbeat, and when that is news.
    pub(crate) fn report(&mut self, at: usize) {
        let relay = self.nodes[at].relay.as_ref().filter(|relay| relay.is_following());
        let Some(held) = relay.map(Primary::held_here) else {
            return;
        };
        for (member, op_id) in &held {
            self.tell_primary(at, Message::Report(Report::Holds(*member, *op_id)));
        }
        self.nodes[at].reported = held;
    }

    fn has_news(&self, at: usize) -> bool {
        let relay = self.nodes[at].relay.as_ref().filter(|relay| relay.is_following());
        relay.is_some_and(|relay| relay.held_here() != self.nodes[at].reported)
    }

    fn follower_step(&mut self, at: usize, input: FollowerInput) {
        if let Role::Follower(follower) = &mut self.nodes[at].role {
            let outputs = follower.step(input);
            self.carry_out_follower(at, outputs);
        }
    }

    fn tell_follower(&mut self, peer: PeerId, message: Message) {
        if let Some(connection) = self
            .connections
            .get_mut(&peer)
            .filter(|connection| connection.at_primary)
        {
            connection.down.push_back(message);
        }
    }

    fn carry_out_primary(&mut self, at: usize, outputs: Vec<PrimaryOutput>) {
        let decides = matches!(self.nodes[at].role, Role::Primary(_));
        for output in outputs {
            match output {
                PrimaryOutput::Promise(_) | PrimaryOutput::BeginTerm(_) | PrimaryOutput::StepDown(_) if !decides => {
                    panic!("{} decides what only a primary may: {output:?}", self.nodes[at].name);
                }
                // Its own watchers see it.
                PrimaryOutput::Majority(op_id) if !decides => self.check_majority(at, op_id),
                PrimaryOutput::Welcome(peer, welcome) => {
                    self.note(at, &format!("welcome: {}", describe(&welcome)));
                    self.tell_follower(peer, Message::Welcome(welcome));
                }
                PrimaryOutput::Refuse(peer, refusal) => {
                    self.note(at, &format!("refuse: {refusal:?}"));
                    self.tell_follower(peer, Message::Refuse(refusal));
                }
                PrimaryOutput::Close(peer) => self.tell_follower(peer, Message::End),
                PrimaryOutput::Promise(term) => self.promise(at, term),
                PrimaryOutput::BeginTerm(term) => self.begin_term(at, term),
                PrimaryOutput::Majority(op_id) => self.commit(at, op_id),
                PrimaryOutput::Held => {}
                PrimaryOutput::Superseded(term) => panic!("{} has not begun term {term}", self.nodes[at].name),
                PrimaryOutput::StepDown(term) => {
                    self.note(at, &format!("steps down for term {term}"));
                    self.promise(at, term);
                }
            }
        }
        // Carried out, a deposed primary is a follower.
        if matches!(&self.nodes[at].role, Role::Primary(primary) if primary.is_deposed()) {
            let disk = &mut self.nodes[at].disk;
            (disk.durable, disk.confirmed) = (disk.log.len(), disk.log.len());
            self.start(at);
        }
    }

    fn promise(&mut self, at: usize, term: Term) {
        let disk = &mut self.nodes[at].disk;
        assert!(disk.promised <= term, "a promise is broken");
        disk.promised = term;
        disk.known = disk.known.max(term);
    }

    /// Removes the oldest entries of a node, up to `last`, but never its newest durable one.
    pub(crate) fn trim(&mut self, at: usize, last: usize) {
        let disk = &mut self.nodes[at].disk;
        let last = last.min(disk.durable.saturating_sub(1)).max(disk.trimmed);
        let removed = disk.log[disk.trimmed..last].iter().enumerate();
        let elected = removed.rev().find(|(_, entry)| entry.term.is_elected());
        if let Some((behind, entry)) = elected {
            disk.before = Position {
                term: entry.term,
                op_id: op_id(disk.trimmed + behind + 1),
            };
        }
        disk.trimmed = last;
        match &mut self.nodes[at].role {
            Role::Primary(_) => self.primary_step(at, PrimaryInput::Trimmed(op_id(last + 1))),
            Role::Follower(follower) => follower.trimmed(op_id(last + 1)),
            Role::Down => {}
        }
    }

    /// Replaces what a node has by a copy of the primary that it is connected to: its state, and the empty beginning of a log
    /// from some entry up to the one that the state covers.
    fn copy(&mut self, at: usize) {
        let peer = self.nodes[at].connection.expect("a copy is of a primary");
        let Connection {
            primary, at_primary, ..
        } = self.connections[&peer];
        if !at_primary {
            // Nobody gives it one.
            return self.leave(at);
        }
        // Those behind it, too: what they follow is closed.
        self.drop_connections_of(at);
        let theirs = &self.nodes[primary].disk;
        // A state is given nothing that is not released.
        let copied = match self.nodes[primary].role {
            Role::Primary(_) => theirs.durable,
            _ => theirs.released(),
        };
        // A segment begins somewhere between; which, is as good as random.
        let trimmed = theirs.trimmed + (copied - theirs.trimmed).saturating_sub(1) * (self.clock as usize % 3) / 2;
        let log = theirs.log[..trimmed].to_vec();
        let elected = log.iter().rposition(|entry| entry.term.is_elected());
        let before = elected.map_or(Position::default(), |at| Position {
            term: log[at].term,
            op_id: op_id(at + 1),
        });
        let (promised, known, theirs) = (theirs.promised, theirs.known, theirs.log.clone());
        let disk = &mut self.nodes[at].disk;
        let rank = disk.history().rank();
        *disk = Disk {
            durable: trimmed,
            confirmed: trimmed,
            log,
            promised: disk.promised.max(promised),
            known: disk.known.max(known),
            trimmed,
            // What it was known to have it does not give up knowing of.
            before: before.max(rank),
            copied: copied.checked_sub(1).map(|at| (copied, theirs[at])),
        };
        self.note(at, &format!("begins anew with a copy of {copied}"));
        self.start(at);
    }

    fn begin_term(&mut self, at: usize, term: Term) {
        self.note(at, &format!("elected for term {term}"));
        for (op_id, entry) in &self.ledger.committed {
            // Agreements to an older term may arrive late. Nobody who holds the entry takes anything from its primary.
            if self.ledger.committed_in[op_id] > term {
                continue;
            }
            let own = self.nodes[at].disk.log.get(*op_id as usize - 1);
            assert_eq!(
                own,
                Some(entry),
                "elected without entry {op_id}, which a majority holds"
            );
        }
        self.append_own(at, term, 0);
        // Before anybody is told to replace what it has.
        self.sync(at);
    }

    fn commit(&mut self, at: usize, op_id: OpId) {
        self.note(at, &format!("majority holds {op_id}"));
        let Role::Primary(primary) = &self.nodes[at].role else {
            unreachable!("only a primary counts");
        };
        let term = primary.term();
        let log = &self.nodes[at].disk.log;
        for (number, entry) in (1..=op_id.get()).zip(log) {
            self.ledger.committed_in.entry(number).or_insert(term);
            let before = self.ledger.committed.insert(number, *entry);
            assert!(
                before.is_none_or(|before| before == *entry),
                "entry {number} acknowledged twice"
            );
        }
    }

    fn carry_out_follower(&mut self, at: usize, outputs: Vec<FollowerOutput>) {
        for output in outputs {
            match output {
                FollowerOutput::Hello(hello) => {
                    self.hellos.push(hello.clone());
                    self.tell_primary(at, Message::Hello(hello));
                }
                FollowerOutput::Report(report) => {
                    if let Report::Grant(term) = report {
                        self.note(at, &format!("grants term {term}"));
                    }
                    self.tell_primary(at, Message::Report(report));
                }
                FollowerOutput::Promise(term) => self.promise(at, term),
                FollowerOutput::Cut(last) => self.cut(at, last),
                FollowerOutput::Retry(why) => {
                    self.note(at, &format!("retries: {why:?}"));
                    self.leave(at);
                }
                FollowerOutput::Stop(refusal) => panic!("{} gives up: {refusal:?}", self.nodes[at].name),
                FollowerOutput::Resync(_) => self.copy(at),
                FollowerOutput::Majority(op_id) => {
                    self.check_majority(at, op_id);
                    self.relay_step(at, PrimaryInput::Majority(op_id));
                }
                FollowerOutput::Confirmed(op_id) => self.nodes[at].disk.confirmed = op_id.get() as usize,
                // The caller has the frames.
                FollowerOutput::Append(_) => {}
            }
        }
    }

    /// What a follower shows at majority is what was acknowledged.
    fn check_majority(&self, at: usize, op_id: OpId) {
        for number in self.nodes[at].disk.trimmed as u64 + 1..=op_id.get() {
            let own = self.nodes[at].disk.log.get(number as usize - 1);
            assert_eq!(own, self.ledger.committed.get(&number), "shown at majority: {number}");
        }
    }

    fn tell_primary(&mut self, at: usize, message: Message) {
        if let Some(peer) = self.nodes[at].connection
            && let Some(connection) = self.connections.get_mut(&peer)
        {
            connection.up.push_back(message);
        }
    }

    fn leave(&mut self, at: usize) {
        if let Some(peer) = self.nodes[at].connection {
            self.break_connection(peer);
        }
    }

    fn cut(&mut self, at: usize, last: OpId) {
        let disk = &self.nodes[at].disk;
        if disk.copied.is_some_and(|(copied, _)| last < op_id(copied)) || last < op_id(disk.trimmed) {
            // Its state covers what would go, or the log could not be replayed.
            return self.copy(at);
        }
        self.drop_connections_of(at);
        let node = &mut self.nodes[at];
        for (number, entry) in (last.get() + 1..).zip(&node.disk.log[last.get() as usize..]) {
            assert!(
                self.ledger.committed.get(&number) != Some(entry),
                "entry {number}, which a majority holds, is cut"
            );
            node.rolled_back.push(entry.value);
        }
        node.disk.log.truncate(last.get() as usize);
        node.disk.durable = node.disk.durable.min(node.disk.log.len());
        node.disk.confirmed = node.disk.confirmed.min(node.disk.log.len());
        self.note(at, &format!("cuts what is behind {last}"));
        self.start(at);
    }

    /// Delivers and sends until nothing is under way; what is written is synced on the way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for at in 0..self.nodes.len() {
                if self.nodes[at].disk.durable < self.nodes[at].disk.log.len() {
                    quiet = false;
                    self.sync(at);
                }
            }
            for at in 0..self.nodes.len() {
                self.look(at);
                if self.has_news(at) {
                    quiet = false;
                    self.report(at);
                }
            }
            let peers: Vec<PeerId> = self.connections.keys().copied().collect();
            for peer in peers {
                for up in [true, false] {
                    while self.deliver(peer, up) {
                        quiet = false;
                    }
                }
                if self.has_more(peer) {
                    quiet = false;
                    self.send(peer, 5);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the cluster does not settle");
    }

    fn has_more(&self, peer: PeerId) -> bool {
        let Some(connection) = self.connections.get(&peer) else {
            return false;
        };
        let node = &self.nodes[connection.primary];
        let hub = match &node.role {
            Role::Primary(primary) => Some(primary),
            _ => node.relay.as_ref(),
        };
        let Some((next, _)) = hub.and_then(|hub| hub.sendable(peer)) else {
            return false;
        };
        let follower = &self.nodes[connection.follower].disk;
        let durable = match node.role {
            Role::Primary(_) => node.disk.durable,
            _ => node.disk.released(),
        };
        // Entries, or that those it has been sent are durable.
        next.get() <= sendable_of(&node.role, &node.disk) as u64 || follower.confirmed < durable.min(follower.log.len())
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
