//! Who is let on, from where, and whose word counts: introductions, refusals, agreements.

use super::{Peer, PeerId, Primary, PrimaryOutput, Standing};
use crate::decision::concern::electors_of;
use crate::decision::history::{Meeting, Position};
use crate::decision::message::{Course, Hello, MemberList, MemberNumber, Refusal, Welcome, number_of};
use tailwater_oplog::{OpId, Term};

impl Primary {
    pub(super) fn hello(&mut self, peer: PeerId, hello: &Hello, outputs: &mut Vec<PrimaryOutput>) {
        if self.peers.remove(&peer).is_some() {
            // Said twice: what was made of the first one does not hold, nor is the second one believed.
            outputs.push(PrimaryOutput::Close(peer));
            return;
        }
        if let Some(refusal) = self.refusal(hello) {
            if let Refusal::StalePrimary(term) = refusal {
                self.step_down(term, outputs);
            }
            outputs.push(PrimaryOutput::Refuse(peer, refusal));
            return;
        }
        // A member has one connection: the newest, for the other may be one that nobody holds any more.
        let stale: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, other)| other.member == hello.member)
            .map(|(peer, _)| *peer)
            .collect();
        for old in stale {
            self.peers.remove(&old);
            outputs.push(PrimaryOutput::Close(old));
        }
        let (course, held) = match self.history.meet(&hello.history) {
            Meeting::Continues(next) => (Course::Continue(next), hello.durable.min(next.previous())),
            Meeting::Forks(last) if self.may_cut(last, hello) => (Course::Cut(last), hello.durable.min(last)),
            Meeting::Forks(last) => (Course::Wait, hello.durable.min(last)),
            Meeting::Apart(apart) if self.may_decide() => (Course::Resync(apart), OpId::ZERO),
            Meeting::Apart(_) => (Course::Wait, OpId::ZERO),
        };
        // What it said before may be of a disk that it no longer has.
        self.held.insert(hello.member, held);
        self.names.insert(hello.member, hello.name.clone());
        match hello.part {
            Some(_) => self.partial.insert(hello.member),
            None => self.partial.remove(&hello.member),
        };
        let next = match course {
            Course::Continue(next) => Some(next),
            _ => None,
        };
        let member = hello.member;
        self.peers.insert(
            peer,
            Peer {
                member,
                next,
                credit: 0,
            },
        );
        outputs.push(PrimaryOutput::Welcome(
            peer,
            Welcome {
                term: self.term,
                asks: self.asks.filter(|_| self.is_listed(member)),
                rank: self.history.rank(),
                course,
            },
        ));
        if next.is_some() {
            outputs.push(PrimaryOutput::Held);
            self.count_majority(outputs);
        }
    }

    fn refusal(&self, hello: &Hello) -> Option<Refusal> {
        if hello.history.log != self.history.log {
            return Some(Refusal::OtherLog(self.history.log));
        }
        if let Some(refusal) = self.refusal_of(&hello.name, &hello.members) {
            return Some(refusal);
        }
        if hello.member != number_of(&hello.name, &self.members) {
            return Some(Refusal::OtherNumber);
        }
        if hello.part.is_some() && self.is_listed(hello.member) {
            return Some(Refusal::ListedPart);
        }
        if let Standing::Relay { follows } = self.standing {
            // The primary itself, which comes to say that it is; or somebody else by its number, for it to see.
            let is_primary = follows && hello.member == self.term.member().into();
            return (is_primary || !self.may_relay(hello)).then_some(Refusal::NotPrimary);
        }
        if !hello.promised.is_near(self.term) {
            return Some(Refusal::TermTooFar(hello.promised));
        }
        let over = self.is_over(hello.promised) || self.is_replaced(hello.history.rank().term) || self.deposed;
        over.then_some(Refusal::StalePrimary(hello.promised))
    }

    /// Why a member of that name, with that list, is turned away, whatever it has; if it is.
    #[must_use]
    pub fn refusal_of(&self, name: &str, members: &MemberList) -> Option<Refusal> {
        if *members != self.members {
            return Some(Refusal::OtherMembers(self.members.clone()));
        }
        let number = number_of(name, members);
        if number == self.member.into() {
            return Some(Refusal::SameMember);
        }
        let other = self.names.get(&number).filter(|other| *other != name);
        other.cloned().map(Refusal::NumberTaken)
    }

    /// Whether a copy may be given to a member in place of what it has, when it has promised `promised` and its rank is `rank`:
    /// others may count on that, so only an elected primary that knows as much may have it replaced.
    #[must_use]
    pub fn may_replace(&self, promised: Term, rank: Position) -> bool {
        let over = self.deposed || self.is_over(promised) || self.is_replaced(rank.term);
        self.standing == Standing::Primary && self.may_decide() && !over && self.history.rank() >= rank
    }

    /// Whether a connection is one of a follower that was let on.
    #[must_use]
    pub fn is_served(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Whether this is primary no longer when a member has promised `promised`.
    pub(super) fn is_over(&self, promised: Term) -> bool {
        if self.members.is_empty() {
            return promised > self.term;
        }
        // What it has promised to this primary is no reason.
        promised.is_elected() && promised > self.asks.unwrap_or(self.term)
    }

    /// Whether another was elected since, of whose term, `elected`, there are entries, while here it has not been heard of: then
    /// this is a primary of the past that has been started again, and its own term has a larger number for that reason only.
    pub(super) fn is_replaced(&self, elected: Term) -> bool {
        let known = self.promised.max(self.history.rank().term);
        !self.members.is_empty() && elected.is_elected() && elected > known
    }

    /// Whether a relay can be of use to a member: that has promised nothing newer, and goes on with what is here, or has entries
    /// that may be cut.
    fn may_relay(&self, hello: &Hello) -> bool {
        let goes_on = match self.history.meet(&hello.history) {
            Meeting::Continues(_) => true,
            Meeting::Forks(last) => self.may_cut(last, hello),
            Meeting::Apart(_) => false,
        };
        goes_on && hello.promised <= self.term
    }

    /// Whether entries of a member behind `last`, which are not here, may be cut.
    ///
    /// A relay may not have come as far as the member; so it needs proof that those are no part of the history. With a list that
    /// is an entry of an elected term behind `last`, newer than any the member has entries of or has promised: the primary of that
    /// term had all that was ever acknowledged at majority, and this log is a part of its. Without one it is the word of a primary
    /// that is followed at the moment.
    pub fn may_cut(&self, last: OpId, hello: &Hello) -> bool {
        let Standing::Relay { follows } = self.standing else {
            return self.may_decide();
        };
        if self.members.is_empty() {
            return follows && last < self.history.last;
        }
        let rank = self.history.rank();
        let newer = rank > hello.history.rank() && rank.term >= hello.promised;
        self.term.is_elected() && last < rank.op_id && newer
    }

    /// Whether this primary's word is enough to take entries from a follower. Without a list of members the operator's is; with
    /// one, the electors'. That also holds for a follower that is on no list: what it has may have been acknowledged at majority,
    /// and shown as such.
    pub(super) fn may_decide(&self) -> bool {
        self.members.is_empty() || self.elected_from.is_some()
    }

    /// Whether the member of that name is on the list.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.is_listed(number_of(name, &self.members))
    }

    pub(super) fn is_listed(&self, member: MemberNumber) -> bool {
        usize::from(member.0) < self.members.len()
    }

    pub(super) fn count_grants(&mut self, outputs: &mut Vec<PrimaryOutput>) {
        if let Some(term) = self.asks
            && !self.deposed
            && self.granted.len() >= electors_of(self.members.len())
        {
            self.asks = None;
            // Entries of the old term are behind it from now on.
            self.term = term;
            // Not before the others: alone it would bind nobody but itself, which would then be lost to everybody else.
            self.promise(term, outputs);
            outputs.push(PrimaryOutput::BeginTerm(term));
            // Who was told to wait comes again, and is told what to cut.
            let waiting: Vec<PeerId> = self
                .peers
                .iter()
                .filter(|(_, p)| p.next.is_none())
                .map(|(id, _)| *id)
                .collect();
            for peer in waiting {
                self.peers.remove(&peer);
                outputs.push(PrimaryOutput::Close(peer));
            }
        }
    }
}
