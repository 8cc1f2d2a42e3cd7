//! What becomes of a member: started, promoted, killed, told by its decisions what to do.

use tailwater_oplog::{OpId, Term, Timestamp};
use tailwater_replication::decision::{
    Follower, FollowerInput, FollowerOutput, Position, Primary, PrimaryInput, PrimaryOutput, Refusal, Report,
};

use super::parts::Content;
use super::{Cluster, Connection, Disk, Entry, Message, Role, WINDOW, describe, op_id};

impl Cluster {
    /// Starts a node that is down as a follower of nobody yet.
    pub(crate) fn start(&mut self, at: usize) {
        let member = self.member(at);
        let node = &mut self.nodes[at];
        let durable = op_id(node.disk.released());
        node.relay = node
            .listens
            .then(|| Primary::relay(member, self.members.clone(), node.disk.history(), durable).with_name(&node.name));
        let part = node.part.map(super::Part::to_bytes);
        let follower = Follower::new(
            member,
            node.name.clone(),
            self.members.clone(),
            node.disk.history(),
            node.disk.promised,
            WINDOW,
        );
        node.role = Role::Follower(follower.with_part(part).with_confirmed(op_id(node.disk.confirmed)));
    }

    /// Makes a node primary, as its operator decides; one whose log has yet to come to its state cannot be,
    /// nor one that has only a part.
    pub(crate) fn promote(&mut self, at: usize) {
        if !self.nodes[at].disk.is_whole() || self.nodes[at].part.is_some() {
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
        (node.role, node.relay) = (Role::Primary(primary.with_name(&node.name)), None);
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
    pub(super) fn copy(&mut self, at: usize) {
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
        let part = self.nodes[at].part;
        let log: Vec<Entry> = theirs.log[..trimmed].iter().map(|entry| entry.share(part)).collect();
        let elected = log.iter().rposition(|entry| entry.term.is_elected());
        let before = elected.map_or(Position::default(), |at| Position {
            term: log[at].term,
            op_id: op_id(at + 1),
        });
        let (promised, known) = (theirs.promised, theirs.known);
        let last = copied.checked_sub(1).map(|at| (copied, theirs.log[at].share(part)));
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
            copied: last,
        };
        self.note(at, &format!("begins anew with a copy of {copied}"));
        self.start(at);
    }

    pub(super) fn carry_out_primary(&mut self, at: usize, outputs: Vec<PrimaryOutput>) {
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
                PrimaryOutput::Taken(peer, member, name) => {
                    self.note(at, &format!("says that {} has number {}", name, member.0));
                    self.tell_follower(peer, Message::Taken(member, name));
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

    pub(super) fn carry_out_follower(&mut self, at: usize, outputs: Vec<FollowerOutput>) {
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
                // Its operator finds another one for it to follow.
                FollowerOutput::Stop(Refusal::WiderPart(_)) => self.leave(at),
                FollowerOutput::Stop(Refusal::NumberTaken(name)) => {
                    self.note(at, &format!("ends, for {name} has its number"));
                    self.kill(at, 0);
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

    pub(super) fn promise(&mut self, at: usize, term: Term) {
        let disk = &mut self.nodes[at].disk;
        assert!(disk.promised <= term, "a promise is broken");
        disk.promised = term;
        disk.known = disk.known.max(term);
    }

    pub(super) fn begin_term(&mut self, at: usize, term: Term) {
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

    pub(super) fn cut(&mut self, at: usize, last: OpId) {
        let disk = &self.nodes[at].disk;
        if disk.copied.is_some_and(|(copied, _)| last < op_id(copied)) || last < op_id(disk.trimmed) {
            // Its state covers what would go, or the log could not be replayed.
            return self.copy(at);
        }
        self.drop_connections_of(at);
        let node = &mut self.nodes[at];
        for (number, entry) in (last.get() + 1..).zip(&node.disk.log[last.get() as usize..]) {
            let committed = self.ledger.committed.get(&number).map(|held| held.share(node.part));
            assert!(
                committed != Some(*entry),
                "entry {number}, which a majority holds, is cut"
            );
            node.rolled_back.push(entry.content);
        }
        node.disk.log.truncate(last.get() as usize);
        node.disk.durable = node.disk.durable.min(node.disk.log.len());
        node.disk.confirmed = node.disk.confirmed.min(node.disk.log.len());
        self.note(at, &format!("cuts what is behind {last}"));
        self.start(at);
    }

    /// To whoever decides there for those that follow the node.
    pub(super) fn primary_step(&mut self, at: usize, input: PrimaryInput) {
        let node = &mut self.nodes[at];
        if let Some(primary) = node.role.hub(&mut node.relay) {
            let outputs = primary.step(input);
            self.carry_out_primary(at, outputs);
        }
    }

    pub(super) fn relay_step(&mut self, at: usize, input: PrimaryInput) {
        if self.nodes[at].relay.is_some() {
            self.primary_step(at, input);
        }
    }

    pub(super) fn follower_step(&mut self, at: usize, input: FollowerInput) {
        if let Role::Follower(follower) = &mut self.nodes[at].role {
            let outputs = follower.step(input);
            self.carry_out_follower(at, outputs);
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

    pub(super) fn append_own(&mut self, at: usize, term: Term, value: u64) {
        self.clock += 1;
        let entry = Entry {
            term,
            timestamp: Timestamp::from_nanos(self.clock),
            content: Content::Whole(value),
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
}
