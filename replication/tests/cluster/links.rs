//! Connections: how they come about and end, and what travels over them.

use std::collections::VecDeque;

use tailwater_oplog::{OpId, Term};
use tailwater_replication::decision::{
    FollowerInput, FollowerOutput, PeerId, Primary, PrimaryInput, Refusal, Report, Run,
};

use super::{Cluster, Connection, ENTRY_BYTES, Entry, Message, Role, is_within, sendable_of};

impl Cluster {
    pub(super) fn drop_connections_of(&mut self, at: usize) {
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

    pub(super) fn leave(&mut self, at: usize) {
        if let Some(peer) = self.nodes[at].connection {
            self.break_connection(peer);
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

    pub(super) fn open(&mut self, follower: usize, primary: usize, at_follower: bool) -> PeerId {
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
        let part = self.nodes[connection.follower].part;
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
                let entries = &node.disk.log[next.get() as usize - 1..last as usize];
                let frames: Vec<Entry> = entries.iter().map(|entry| entry.share(part)).collect();
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
                let (wanted, own) = (self.nodes[follower].part, self.nodes[primary].part);
                if let Some(own) = own.filter(|own| !is_within(wanted, Some(*own))) {
                    let refusal = Refusal::WiderPart(own.to_bytes());
                    self.tell_follower(peer, Message::Refuse(refusal));
                    return true;
                }
                let node = &mut self.nodes[primary];
                match node.role.hub(&mut node.relay) {
                    Some(_) => self.primary_step(primary, PrimaryInput::Hello(peer, hello)),
                    None => self.tell_follower(peer, Message::Refuse(Refusal::NotPrimary)),
                }
            }
            Message::Report(report) => {
                self.primary_step(primary, PrimaryInput::Report(peer, report));
                self.check_counted(primary);
            }
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
            Message::Taken(member, name) => self.relay_step(follower, PrimaryInput::Taken(member, name)),
            Message::End => self.break_connection(peer),
        }
        true
    }

    pub(super) fn receive(&mut self, at: usize, run: Run, frames: &[Entry]) {
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

    /// To those behind a node, after a message of the one that it follows.
    pub(super) fn pass_on(&mut self, at: usize, term: Term) {
        if matches!(&self.nodes[at].role, Role::Follower(follower) if follower.is_following()) {
            self.relay_step(at, PrimaryInput::Follows(term));
        }
    }

    /// Has a node say what those hold that follow it, as it does at each heartbeat, and when that is news.
    pub(crate) fn report(&mut self, at: usize) {
        let relay = self.nodes[at].relay.as_ref().filter(|relay| relay.is_following());
        let Some(held) = relay.map(Primary::held_here) else {
            return;
        };
        for (member, op_id) in &held {
            let name = self.nodes[at].relay.as_ref().and_then(|relay| relay.name_of(*member));
            let name = name.unwrap_or_default().to_owned();
            self.tell_primary(at, Message::Report(Report::Holds(*member, name, *op_id)));
        }
        self.nodes[at].reported = held;
    }

    pub(super) fn has_news(&self, at: usize) -> bool {
        let relay = self.nodes[at].relay.as_ref().filter(|relay| relay.is_following());
        relay.is_some_and(|relay| relay.held_here() != self.nodes[at].reported)
    }

    pub(super) fn tell_follower(&mut self, peer: PeerId, message: Message) {
        if let Some(connection) = self
            .connections
            .get_mut(&peer)
            .filter(|connection| connection.at_primary)
        {
            connection.down.push_back(message);
        }
    }

    pub(super) fn tell_primary(&mut self, at: usize, message: Message) {
        if let Some(peer) = self.nodes[at].connection
            && let Some(connection) = self.connections.get_mut(&peer)
        {
            connection.up.push_back(message);
        }
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

    pub(super) fn has_more(&self, peer: PeerId) -> bool {
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
