//! The primary's decisions: who may follow and from where, who has agreed to its term, what a majority holds.
//!
//! A step takes one input and returns what is to be done, in order. Nothing here waits, reads a clock or does I/O.
//!
//! # Elected or not
//!
//! A member becomes primary because its operator says so, and writes at once, in a term that is *not elected*: writes are
//! acknowledged by as many members as were asked for, but none at majority. With a list of members it asks every follower on
//! it to agree to its next, elected term. With as many, itself included, as no majority can do without, it begins that term,
//! and from its first entry on counts majorities. The argument why that loses nothing is in `docs/replication.md`.
//!
//! With a list only elected terms bind anybody: nobody steps down for another one, whatever its number. So a primary of the
//! past that is started again deposes nobody by that, and promises its own elected term only when enough others have.

mod admission;

use std::collections::{BTreeMap, BTreeSet};

use tailwater_oplog::{Member, OpId, Term, Timestamp};

use super::concern::{WriteConcern, held_by, majority_of};
use super::history::{History, Position};
use super::message::{Hello, MemberList, MemberNumber, Refusal, Report, Run, Status, Welcome, number_of};

/// A connection, as the driver counts them: never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u64);

/// What the primary is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PrimaryInput {
    /// A follower has introduced itself on a new connection. Whoever does so again on one that it was let on by loses it.
    Hello(PeerId, Hello),
    /// It reports.
    Report(PeerId, Report),
    /// The connection has ended.
    Gone(PeerId),
    /// Entries from `first` to `last` have been written here, in `term`, the first at `timestamp`.
    Appended {
        /// Their term.
        term: Term,
        /// The first one.
        first: OpId,
        /// When that was written.
        timestamp: Timestamp,
        /// The last one.
        last: OpId,
    },
    /// Entries were trimmed that nobody had been told of: this is the log in short, as it is now.
    Looked(History),
    /// Everything up to this entry is on this member's disk.
    Durable(OpId),
    /// The oldest entry is this one now.
    Trimmed(OpId),
    /// Another member writes in this term.
    Heard(Term),
    /// So many bytes of frames, up to an entry, are on their way to a follower.
    Sent(PeerId, OpId, u64),
    /// To a relay: the primary that it follows writes in this term.
    Follows(Term),
    /// To a relay: it follows nobody at the moment.
    FollowsNobody,
    /// To a relay: a majority holds everything up to this entry, of what is here.
    Majority(OpId),
    /// To a relay: the number of a member that it has spoken for is that of another, of this name.
    Taken(MemberNumber, String),
}

/// What the primary is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PrimaryOutput {
    /// Let the follower on.
    Welcome(PeerId, Welcome),
    /// Turn it away, and close the connection.
    Refuse(PeerId, Refusal),
    /// Close the connection.
    Close(PeerId),
    /// Tell the relay over there that a member that it speaks for must be turned away: its number is that of another, of this name.
    Taken(PeerId, MemberNumber, String),
    /// Write durably that nothing older than this term will be taken; before anything that comes behind it.
    Promise(Term),
    /// Begin this term with an entry of its own.
    BeginTerm(Term),
    /// What a majority holds has grown up to this entry.
    Majority(OpId),
    /// What one follower holds has grown; who waits for members may look.
    Held,
    /// Be a primary no longer: this term has been promised to somebody.
    StepDown(Term),
    /// Be a primary no longer: somebody else who has this log has begun this term in it. The log stays as it is, for that one.
    Superseded(Term),
}

/// Whose word those that connect are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Its own.
    Primary,
    /// That of the primary it follows, if it does at the moment. It decides nothing that only a primary may: see
    /// [`Primary::relay`].
    Relay { follows: bool },
}

/// What a primary knows of one connection.
#[derive(Clone, Debug)]
struct Peer {
    member: MemberNumber,
    /// The next entry to send; nothing while the follower does not follow.
    next: Option<OpId>,
    credit: i64,
}

/// A primary. See the module documentation.
#[derive(Clone, Debug)]
pub struct Primary {
    standing: Standing,
    member: Member,
    members: MemberList,
    history: History,
    /// The newest binding term that it knows of, its own or another's.
    promised: Term,
    /// The term that is written in.
    term: Term,
    /// The term that others are asked to agree to; nothing when it has begun, or nobody is to be asked.
    asks: Option<Term>,
    granted: BTreeSet<MemberNumber>,
    /// First entry of the elected term.
    elected_from: Option<OpId>,
    durable: OpId,
    majority: OpId,
    peers: BTreeMap<PeerId, Peer>,
    /// What each member has last said it holds, whether connected or not.
    held: BTreeMap<MemberNumber, OpId>,
    /// Which relay's connection has last spoken for a member.
    through: BTreeMap<MemberNumber, PeerId>,
    /// For whom a relay has spoken since [`Primary::held_again`] was last asked.
    heard_of: BTreeSet<MemberNumber>,
    /// Who has only a part of what it holds, and does not count.
    partial: BTreeSet<MemberNumber>,
    /// Whose numbers are known: its own, those of whoever has been connected, or reported by a relay.
    names: BTreeMap<MemberNumber, String>,
    deposed: bool,
}

impl Primary {
    /// The primary of a log that has promised `promised` and now writes in `term`, with what is to be done first.
    #[must_use]
    pub fn new(
        member: Member,
        members: MemberList,
        history: History,
        promised: Term,
        term: Term,
        durable: OpId,
    ) -> (Primary, Vec<PrimaryOutput>) {
        let listed = usize::from(member.get()) < members.len();
        // A log that was copied anew and does not reach yet what its member is remembered to hold must not be chosen for it.
        let whole = history.before.op_id <= history.last;
        let asks = (listed && whole).then(|| member.term_after(term, true)).flatten();
        let mut primary = Primary {
            promised,
            term,
            asks,
            ..Primary::standing(Standing::Primary, member, members, history, durable)
        };
        let mut outputs = Vec::new();
        if primary.members.is_empty() {
            // The operator's word is enough.
            primary.promise(term, &mut outputs);
        }
        primary.count_grants(&mut outputs);
        (primary, outputs)
    }

    /// A follower that is followed itself. It passes on the term of the primary that it follows, what that one says of a
    /// majority, and, the other way, what its followers hold. It asks nobody for a term, begins none, and never steps down; who
    /// does not simply go on with what is here is sent to the primary, but for entries that [no primary can
    /// want](Primary::may_cut).
    #[must_use]
    pub fn relay(member: Member, members: MemberList, history: History, durable: OpId) -> Primary {
        Primary::standing(Standing::Relay { follows: false }, member, members, history, durable)
    }

    fn standing(standing: Standing, member: Member, members: MemberList, history: History, durable: OpId) -> Primary {
        Primary {
            standing,
            member,
            members,
            promised: Term::default(),
            term: history.end().term,
            history,
            asks: None,
            granted: BTreeSet::from([member.into()]),
            elected_from: None,
            durable,
            majority: OpId::ZERO,
            peers: BTreeMap::new(),
            held: BTreeMap::new(),
            through: BTreeMap::new(),
            heard_of: BTreeSet::new(),
            partial: BTreeSet::new(),
            names: BTreeMap::new(),
            deposed: false,
        }
    }

    /// Takes one input; returns what to do.
    pub fn step(&mut self, input: PrimaryInput) -> Vec<PrimaryOutput> {
        let mut outputs = Vec::new();
        match input {
            PrimaryInput::Hello(peer, hello) => self.hello(peer, &hello, &mut outputs),
            PrimaryInput::Report(peer, report) => self.report(peer, report, &mut outputs),
            PrimaryInput::Gone(peer) => drop(self.peers.remove(&peer)),
            PrimaryInput::Appended {
                term,
                first,
                timestamp,
                last,
            } => {
                self.appended(term, first, timestamp, last);
                self.superseded(&mut outputs);
            }
            PrimaryInput::Looked(history) => {
                self.looked(history);
                self.superseded(&mut outputs);
            }
            PrimaryInput::Durable(op_id) => {
                self.durable = self.durable.max(op_id);
                self.count_majority(&mut outputs);
            }
            PrimaryInput::Trimmed(oldest) => self.history.trim(oldest),
            PrimaryInput::Follows(_) | PrimaryInput::FollowsNobody | PrimaryInput::Majority(_) => {
                self.told(&input, &mut outputs);
            }
            PrimaryInput::Taken(member, name) => self.taken(member, name, &mut outputs),
            PrimaryInput::Heard(term) => {
                if term.is_near(self.term) && (self.is_over(term) || self.is_replaced(term)) {
                    self.step_down(term, &mut outputs);
                }
            }
            PrimaryInput::Sent(peer, last, bytes) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.next = Some(last.next());
                    peer.credit = peer.credit.saturating_sub_unsigned(bytes);
                }
            }
        }
        outputs
    }

    /// What the primary says that a relay follows.
    fn told(&mut self, input: &PrimaryInput, outputs: &mut Vec<PrimaryOutput>) {
        let Standing::Relay { follows } = &mut self.standing else {
            return;
        };
        match input {
            PrimaryInput::Follows(term) => {
                *follows = true;
                let lower = *term < self.term;
                self.term = *term;
                if lower {
                    self.forget_followers(outputs);
                }
            }
            PrimaryInput::Majority(op_id) => self.majority = self.majority.max(*op_id),
            _ => *follows = false,
        }
    }

    /// The relay follows a primary of an older term than before. Who was let on before may have promised a newer one than that,
    /// to another primary: what it holds must not be reported to this one as if it had not. All come again, and are asked.
    fn forget_followers(&mut self, outputs: &mut Vec<PrimaryOutput>) {
        self.held.clear();
        self.through.clear();
        self.heard_of.clear();
        self.close_all(outputs);
    }

    fn close_all(&mut self, outputs: &mut Vec<PrimaryOutput>) {
        for (peer, _) in std::mem::take(&mut self.peers) {
            outputs.push(PrimaryOutput::Close(peer));
        }
    }

    /// The same, of which is known what it is called itself.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Primary {
        self.names.insert(self.member.into(), name.to_owned());
        self
    }

    /// Name of a member, if it is listed or has ever been connected, or reported by one that was.
    #[must_use]
    pub fn name_of(&self, member: MemberNumber) -> Option<&str> {
        let named = self
            .names
            .get(&member)
            .or_else(|| self.members.get(usize::from(member.0)));
        named.map(String::as_str)
    }

    /// Whether a member has a connection, and was let on.
    #[must_use]
    pub fn is_connected(&self, member: MemberNumber) -> bool {
        self.peers.values().any(|peer| peer.member == member)
    }

    /// Whether it is a relay that follows a primary at the moment, and may tell it what its followers hold.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.standing == Standing::Relay { follows: true }
    }

    /// What each member that has ever connected, or was reported by one that had, has last said it holds.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<MemberNumber, OpId> {
        &self.held
    }

    /// The same of those that are here now, or behind a relay that is: for the others a relay does not speak. They may follow
    /// another member by now, and hold more.
    #[must_use]
    pub fn held_here(&self) -> BTreeMap<MemberNumber, OpId> {
        let here = |member| self.is_here(member) && !self.is_partial(member);
        let held = self.held.iter().filter(|(member, _)| here(**member));
        held.map(|(&member, &op_id)| (member, op_id)).collect()
    }

    /// For whom a relay speaks again at a heartbeat: those that are connected to it, and those for whom another relay has done so
    /// since the last time. Nobody is told that a member has left the end of a chain; it is no longer spoken for.
    pub fn held_again(&mut self) -> BTreeSet<MemberNumber> {
        let mut again = std::mem::take(&mut self.heard_of);
        again.extend(self.peers.values().map(|peer| peer.member));
        again
    }

    /// Whether a member has only a part of the entries, and counts for nothing.
    #[must_use]
    pub fn is_partial(&self, member: MemberNumber) -> bool {
        self.partial.contains(&member)
    }

    /// Whether a member has a connection, or a relay that has one has spoken for it. When it has left that relay is not told.
    #[must_use]
    pub fn is_here(&self, member: MemberNumber) -> bool {
        let relay = self.through.get(&member);
        self.is_connected(member) || relay.is_some_and(|relay| self.is_served(*relay))
    }

    /// The next entry to send on a connection, and how many bytes may be sent; nothing while there is no room over there. A
    /// batch that is larger may be sent all the same, as a whole.
    #[must_use]
    pub fn sendable(&self, peer: PeerId) -> Option<(OpId, u64)> {
        let peer = self.peers.get(&peer)?;
        let credit = u64::try_from(peer.credit).ok().filter(|credit| *credit > 0)?;
        Some((peer.next?, credit)).filter(|_| !self.deposed)
    }

    /// What goes in front of the frames of entries that are sent now.
    #[must_use]
    pub fn run(&self, first: OpId, last: OpId) -> Run {
        Run {
            term: self.term,
            first,
            last,
            majority: self.majority,
            durable: self.durable,
        }
    }

    /// What to say when there is nothing to send.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            term: self.term,
            newest: self.durable,
            majority: self.majority,
        }
    }

    /// Whether as many members as `concern` asks for hold everything up to an entry. `None` when nobody can ever tell: there
    /// is no list of members that could have a majority.
    #[must_use]
    pub fn is_held(&self, op_id: OpId, concern: WriteConcern) -> Option<bool> {
        match concern {
            WriteConcern::Members(count) => {
                let counts = |member| member != self.member.into() && !self.is_partial(member);
                let holders = self.held.iter().filter(|(member, _)| counts(**member));
                let durable = holders.map(|(_, held)| *held).chain([self.durable]);
                Some(held_by(usize::from(count.get()), durable).min(self.durable) >= op_id)
            }
            WriteConcern::Majority if self.members.is_empty() => None,
            WriteConcern::Majority => Some(self.majority >= op_id),
        }
    }

    /// Whether there are members whose majority counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.members.is_empty()
    }

    /// The term that is written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whether it has learned that somebody else is primary, or writes over its log.
    #[must_use]
    pub fn is_deposed(&self) -> bool {
        self.deposed
    }

    /// The last entry that a majority holds.
    #[must_use]
    pub fn majority(&self) -> OpId {
        self.majority
    }

    fn report(&mut self, peer: PeerId, report: Report, outputs: &mut Vec<PrimaryOutput>) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        let member = known.member;
        match report {
            Report::Grant(term) => {
                if self.asks == Some(term) && self.is_listed(member) {
                    self.granted.insert(member);
                    self.count_grants(outputs);
                }
            }
            Report::Durable(op_id) => {
                // Nobody holds what has not been sent.
                let Some(sent) = known.next.map(OpId::previous) else {
                    return;
                };
                let held = self.held.entry(member).or_default();
                *held = (*held).max(op_id.min(sent));
                outputs.push(PrimaryOutput::Held);
                self.count_majority(outputs);
            }
            Report::Credit(bytes) => known.credit = known.credit.saturating_add_unsigned(bytes),
            Report::Holds(holder, name, op_id) => {
                // Who follows a partial log has no more than that.
                let sent = known.next.map(OpId::previous);
                if let Some(sent) =
                    sent.filter(|_| !self.is_partial(member) && self.is_its_own(peer, holder, name, outputs))
                {
                    self.reported(peer, holder, op_id.min(sent), outputs);
                }
            }
            Report::Alive => {}
        }
    }

    /// Whether the number of a member that a relay speaks for is nobody else's. If it is, both would be counted as one, and, were
    /// both promoted, both would write in one term: the relay is told to turn it away.
    fn is_its_own(
        &mut self,
        relay: PeerId,
        member: MemberNumber,
        name: String,
        outputs: &mut Vec<PrimaryOutput>,
    ) -> bool {
        if number_of(&name, &self.members) != member {
            return false;
        }
        match self.name_of(member) {
            Some(known) if known != name => {
                outputs.push(PrimaryOutput::Taken(relay, member, known.to_owned()));
                false
            }
            Some(_) => true,
            None => {
                self.names.insert(member, name);
                true
            }
        }
    }

    /// To a relay: the member of that number is another one than the one behind it.
    fn taken(&mut self, member: MemberNumber, name: String, outputs: &mut Vec<PrimaryOutput>) {
        let is_relay = matches!(self.standing, Standing::Relay { .. });
        let own = member == self.member.into();
        if !is_relay || own || number_of(&name, &self.members) != member || self.name_of(member) == Some(&*name) {
            return;
        }
        self.held.remove(&member);
        self.heard_of.remove(&member);
        let here: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.member == member)
            .map(|(id, _)| *id)
            .collect();
        for peer in here {
            self.peers.remove(&peer);
            outputs.push(PrimaryOutput::Refuse(peer, Refusal::NumberTaken(name.clone())));
        }
        if let Some(relay) = self.through.remove(&member) {
            outputs.push(PrimaryOutput::Taken(relay, member, name.clone()));
        }
        self.names.insert(member, name);
    }

    /// A relay says what one of its followers holds. It followed this log when it said so, by frames that came from here, so it
    /// counts as if it had said so itself; one that is connected here speaks for itself.
    ///
    /// It says so again at every heartbeat: what is not taken here may be the next time.
    fn reported(&mut self, relay: PeerId, holder: MemberNumber, op_id: OpId, outputs: &mut Vec<PrimaryOutput>) {
        let own = holder == self.member.into();
        if own || Member::new(holder.0).is_none() || self.is_connected(holder) {
            return;
        }
        self.through.insert(holder, relay);
        self.heard_of.insert(holder);
        // Less than before, when it has lost its disk.
        if self.held.insert(holder, op_id) == Some(op_id) {
            return;
        }
        outputs.push(PrimaryOutput::Held);
        self.count_majority(outputs);
    }

    fn appended(&mut self, term: Term, first: OpId, timestamp: Timestamp, last: OpId) {
        self.history.extend(term, first, timestamp, last);
        if term.is_elected() && term == self.term && self.elected_from.is_none() && !self.members.is_empty() {
            self.elected_from = Some(first);
        }
    }

    /// Whether the log has entries of a term that this primary has not begun. Nobody has agreed to that term here, nor does
    /// anything that is said for the own one, however it was elected, hold for what comes behind.
    fn superseded(&mut self, outputs: &mut Vec<PrimaryOutput>) {
        let newest = self.history.end().term;
        if self.standing != Standing::Primary || self.deposed || newest <= self.term {
            return;
        }
        self.deposed = true;
        self.asks = None;
        outputs.push(PrimaryOutput::Superseded(newest));
        self.close_all(outputs);
    }

    /// The log in short takes the place of what was known of it.
    fn looked(&mut self, history: History) {
        let own = history.terms.iter().find(|start| start.term == self.term);
        if let Some(start) = own.filter(|start| start.term.is_elected() && !self.members.is_empty()) {
            self.elected_from.get_or_insert(start.first);
        }
        self.history = history;
    }

    /// A majority's entries count from the elected term's first one on: only who has that has agreed to everything before it.
    ///
    /// The primary is always one of those that hold them. Entries travel while it syncs, so others may have them sooner; but what
    /// it lost with the power its followers let it disown ([`Follower`](super::Follower)), and that must not have been acknowledged.
    ///
    /// Only the primary of that term may count: a relay that saw it begin may follow one by now that has not been elected, or that
    /// knows of less, and takes its word instead.
    fn count_majority(&mut self, outputs: &mut Vec<PrimaryOutput>) {
        if self.standing != Standing::Primary {
            return;
        }
        let Some(from) = self.elected_from.filter(|_| !self.deposed) else {
            return;
        };
        let own = MemberNumber::from(self.member);
        let listed = (0..self.members.len()).map(|number| MemberNumber(u8::try_from(number).unwrap_or(u8::MAX)));
        let durable = listed.map(|member| match member == own {
            true => self.durable,
            false => self.held.get(&member).copied().unwrap_or_default(),
        });
        let majority = held_by(majority_of(self.members.len()), durable).min(self.durable);
        if majority >= from && majority > self.majority {
            self.majority = majority;
            outputs.push(PrimaryOutput::Majority(majority));
        }
    }

    fn promise(&mut self, term: Term, outputs: &mut Vec<PrimaryOutput>) {
        if term > self.promised {
            self.promised = term;
            outputs.push(PrimaryOutput::Promise(term));
        }
    }

    fn step_down(&mut self, term: Term, outputs: &mut Vec<PrimaryOutput>) {
        if self.deposed {
            return;
        }
        self.deposed = true;
        self.asks = None;
        self.promised = self.promised.max(term);
        outputs.push(PrimaryOutput::StepDown(self.promised));
        self.close_all(outputs);
    }

    /// The newest binding term that it knows of: with a list of members an elected one.
    #[must_use]
    pub fn promised(&self) -> Term {
        self.promised
    }

    /// Its last entry of an elected term.
    #[must_use]
    pub fn rank(&self) -> Position {
        self.history.rank()
    }

    /// Its log in short.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }
}
