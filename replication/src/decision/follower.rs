//! The follower's decisions: whom to believe, what to promise, what to cut.
//!
//! A step takes one input and returns what is to be done, in order. Nothing here waits, reads a clock or does I/O. What is
//! remembered across a restart is the log and the promised term; the rest begins anew with each connection.

use tailwater_oplog::{Member, OpId, Term};

use super::history::{Apart, History, Position};
use super::message::{Course, Hello, Mark, MemberList, Refusal, Report, Run, Status, Welcome};

/// What the follower is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowerInput {
    /// There is a connection to the primary.
    Connected,
    /// The connection has ended.
    Gone,
    /// The primary lets it on.
    Welcome(Welcome),
    /// The primary turns it away.
    Refused(Refusal),
    /// Entries have arrived; their frames come with them.
    Run(Run),
    /// The primary's state.
    Status(Status),
    /// Everything up to this entry is on the disk.
    Durable(OpId),
    /// So many bytes of frames have been dealt with.
    Consumed(u64),
}

/// What the follower is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowerOutput {
    /// Introduce yourself.
    Hello(Hello),
    /// Tell the primary.
    Report(Report),
    /// Write durably that nothing older than this term will be taken; before anything that comes behind it.
    Promise(Term),
    /// Everything up to this entry is on the primary's own disk, as far as it is here: it may be shown.
    Confirmed(OpId),
    /// Check the frames, append and apply them.
    Append(Run),
    /// Keep a copy of the entries behind this one, cut them off, and connect again.
    Cut(OpId),
    /// Begin anew with a copy of the state, if that is allowed.
    Resync(Apart),
    /// End the connection, and try again later.
    Retry(Retry),
    /// Give up: trying again would not help.
    Stop(Refusal),
    /// What a majority holds has grown up to this entry, of those that are here.
    Majority(OpId),
}

/// Why a connection was ended that another may replace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The primary is one of an older term than was promised.
    StalePrimary,
    /// The primary has not been elected and must not have entries cut.
    NotElected,
    /// The member over there is no primary, and what is here does not simply go on with what it has.
    NotPrimary,
    /// What came does not follow what was there.
    OutOfOrder,
    /// The primary claims a term so far ahead that nobody can have come to it.
    TermTooFar,
}

/// What is known of the connection.
#[derive(Clone, Debug)]
struct Session {
    /// Whether the primary has answered.
    answered: bool,
    /// The term that was granted on it.
    granted: Option<Term>,
    /// The next entry; nothing until the primary has let it on.
    next: Option<OpId>,
}

/// A follower. See the module documentation.
#[derive(Clone, Debug)]
pub struct Follower {
    member: Member,
    name: String,
    members: MemberList,
    promised: Term,
    history: History,
    durable: OpId,
    /// Bytes of frames that may be on their way.
    window: u64,
    /// Which part of the entries it has; nothing for all.
    part: Option<Vec<u8>>,
    /// Some of its entries, for the primary to compare.
    marks: Vec<Mark>,
    session: Option<Session>,
    majority: OpId,
    /// Up to which entry it knows that what it has was on the disk of the member it has it from.
    confirmed: OpId,
    /// What the primary last said a majority holds, whether it is here or not.
    released: OpId,
}

impl Follower {
    /// A follower with that log, which has promised to take nothing from a term older than `promised`.
    #[must_use]
    pub fn new(
        member: Member,
        name: String,
        members: MemberList,
        history: History,
        promised: Term,
        window: u64,
    ) -> Follower {
        Follower {
            member,
            name,
            members,
            promised,
            durable: history.last,
            confirmed: history.last,
            history,
            window,
            part: None,
            marks: Vec::new(),
            session: None,
            majority: OpId::ZERO,
            released: OpId::ZERO,
        }
    }

    /// The same, of a log that has only that part of the entries.
    #[must_use]
    pub fn with_part(self, part: Option<Vec<u8>>) -> Follower {
        Follower { part, ..self }
    }

    /// The same, which has entries behind `confirmed` of which it does not know that their primary's disk has them.
    #[must_use]
    pub fn with_confirmed(self, confirmed: OpId) -> Follower {
        let confirmed = confirmed.min(self.history.last);
        Follower { confirmed, ..self }
    }

    /// The same, with some of its entries for the primary to compare.
    #[must_use]
    pub fn with_marks(self, marks: Vec<Mark>) -> Follower {
        Follower { marks, ..self }
    }

    /// Takes one input; returns what to do.
    pub fn step(&mut self, input: FollowerInput) -> Vec<FollowerOutput> {
        let mut outputs = Vec::new();
        match input {
            FollowerInput::Connected => self.connected(&mut outputs),
            FollowerInput::Gone => self.session = None,
            FollowerInput::Welcome(welcome) => self.welcome(&welcome, &mut outputs),
            FollowerInput::Refused(refusal) => self.refused(refusal, &mut outputs),
            FollowerInput::Run(run) => self.run(run, &mut outputs),
            FollowerInput::Status(status) => self.heard(&status, &mut outputs),
            FollowerInput::Durable(op_id) => self.durable(op_id, &mut outputs),
            FollowerInput::Consumed(bytes) => {
                if self.session.is_some() {
                    outputs.push(FollowerOutput::Report(Report::Credit(bytes)));
                }
            }
        }
        outputs
    }

    /// Says that the entries of a run are in the log, with when the first was written.
    pub fn appended(&mut self, term: Term, first: OpId, timestamp: tailwater_oplog::Timestamp, last: OpId) {
        self.history.extend(term, first, timestamp, last);
    }

    /// The oldest entry is this one now.
    pub fn trimmed(&mut self, oldest: OpId) {
        self.history.trim(oldest);
    }

    /// The log was cut behind `last`.
    pub fn was_cut(&mut self, last: OpId) {
        self.history.cut(last);
        self.durable = self.durable.min(last);
        self.confirmed = self.confirmed.min(last);
    }

    /// Whether a primary has let it on, and entries come.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.next.is_some())
    }

    /// It takes nothing from a term older than this.
    #[must_use]
    pub fn promised(&self) -> Term {
        self.promised
    }

    /// Its log in short.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last entry here that a majority holds.
    #[must_use]
    pub fn majority(&self) -> OpId {
        self.majority
    }

    fn connected(&mut self, outputs: &mut Vec<FollowerOutput>) {
        // What another primary said was of its entries.
        self.released = OpId::ZERO;
        self.session = Some(Session {
            answered: false,
            granted: None,
            next: None,
        });
        outputs.push(FollowerOutput::Hello(Hello {
            member: self.member.into(),
            name: self.name.clone(),
            members: self.members.clone(),
            promised: self.promised,
            history: self.history.clone(),
            durable: self.durable,
            part: self.part.clone(),
            marks: self.marks.clone(),
        }));
    }

    fn retry(&mut self, why: Retry, outputs: &mut Vec<FollowerOutput>) {
        self.session = None;
        outputs.push(FollowerOutput::Retry(why));
    }

    fn welcome(&mut self, welcome: &Welcome, outputs: &mut Vec<FollowerOutput>) {
        let offered = welcome.asks.unwrap_or(welcome.term);
        let needed = self.rank_to(offered.member());
        let Some(session) = &mut self.session else {
            return;
        };
        if std::mem::replace(&mut session.answered, true) {
            // Once for each introduction. Another one may be of what was here before.
            return self.retry(Retry::OutOfOrder, outputs);
        }
        if !offered.is_near(self.promised.max(self.history.end().term)) {
            return self.retry(Retry::TermTooFar, outputs);
        }
        if offered < self.promised {
            return self.retry(Retry::StalePrimary, outputs);
        }
        // An earlier promise to the same primary is as good as a new one; it may not have heard of it.
        let grant = welcome.asks.filter(|_| {
            let listed = usize::from(self.member.get()) < self.members.len();
            listed && welcome.rank >= needed
        });
        session.granted = grant;
        self.promise(grant.unwrap_or(welcome.term), outputs);
        if let Some(term) = grant {
            outputs.push(FollowerOutput::Report(Report::Grant(term)));
        }
        if welcome.term < self.promised && grant.is_none() {
            return self.retry(Retry::StalePrimary, outputs);
        }
        let may_be_cut = self.members.is_empty() || welcome.term.is_elected();
        match welcome.course {
            Course::Continue(next) if next == self.history.last.next() => {
                if let Some(session) = &mut self.session {
                    session.next = Some(next);
                }
                outputs.push(FollowerOutput::Report(Report::Credit(self.window)));
                outputs.push(FollowerOutput::Report(Report::Durable(self.durable)));
            }
            Course::Cut(last) if may_be_cut && last < self.history.last => {
                self.session = None;
                outputs.push(FollowerOutput::Cut(last));
            }
            Course::Resync(apart) if may_be_cut => {
                self.session = None;
                outputs.push(FollowerOutput::Resync(apart));
            }
            // The primary ends the connection when it has been elected.
            Course::Wait if grant.is_some() => {}
            Course::Cut(_) | Course::Resync(_) | Course::Wait => self.retry(Retry::NotElected, outputs),
            Course::Continue(_) => self.retry(Retry::OutOfOrder, outputs),
        }
    }

    /// How much a member has to know to be agreed to: as much as this one. But what that member has itself sent, in its own term,
    /// before it was on its disk, and this one has not heard to be there since, it may have lost: nobody was told that it is held.
    fn rank_to(&self, member: Member) -> Position {
        let rank = self.history.rank();
        if rank.term.member() != member || rank.op_id <= self.confirmed {
            return rank;
        }
        let mut confirmed = self.history.clone();
        confirmed.cut(self.confirmed);
        confirmed.rank()
    }

    /// Promises a term that binds: one that was elected, or, without a list of members, any. A primary that nobody has agreed
    /// to may be followed all the same, but nobody is turned away because of it.
    fn promise(&mut self, term: Term, outputs: &mut Vec<FollowerOutput>) {
        let binds = self.members.is_empty() || term.is_elected();
        if binds && term > self.promised {
            self.promised = term;
            outputs.push(FollowerOutput::Promise(term));
        }
    }

    fn refused(&mut self, refusal: Refusal, outputs: &mut Vec<FollowerOutput>) {
        match refusal {
            Refusal::StalePrimary(_) => self.retry(Retry::StalePrimary, outputs),
            Refusal::NotPrimary => self.retry(Retry::NotPrimary, outputs),
            other => {
                self.session = None;
                outputs.push(FollowerOutput::Stop(other));
            }
        }
    }

    /// Whether what a primary sends in `term` may be taken: since it let this follower on, another may have been promised
    /// something.
    fn believes(&mut self, term: Term, outputs: &mut Vec<FollowerOutput>) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        if term < self.promised && session.granted != Some(self.promised) {
            self.retry(Retry::StalePrimary, outputs);
            return false;
        }
        if !term.is_near(self.promised.max(self.history.end().term)) {
            self.retry(Retry::TermTooFar, outputs);
            return false;
        }
        // Others have elected it.
        self.promise(term, outputs);
        true
    }

    fn run(&mut self, run: Run, outputs: &mut Vec<FollowerOutput>) {
        if !self.believes(run.term, outputs) {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        if session.next != Some(run.first) || run.last < run.first {
            return self.retry(Retry::OutOfOrder, outputs);
        }
        session.next = Some(run.last.next());
        // Before the frames: what is behind this must not be shown when it comes.
        self.confirm(run.durable.min(run.last), outputs);
        outputs.push(FollowerOutput::Append(run));
        self.released = self.released.max(run.majority);
    }

    fn heard(&mut self, status: &Status, outputs: &mut Vec<FollowerOutput>) {
        if self.believes(status.term, outputs) {
            if self.is_following() {
                self.confirm(status.newest.min(self.history.last), outputs);
            }
            self.released = self.released.max(status.majority);
            self.release(outputs);
        }
    }

    /// The primary has everything up to this entry, which is here or on its way, on its disk.
    fn confirm(&mut self, op_id: OpId, outputs: &mut Vec<FollowerOutput>) {
        self.confirmed = self.confirmed.max(op_id);
        outputs.push(FollowerOutput::Confirmed(self.confirmed));
    }

    fn durable(&mut self, op_id: OpId, outputs: &mut Vec<FollowerOutput>) {
        self.durable = self.durable.max(op_id);
        if self.session.as_ref().is_some_and(|session| session.next.is_some()) {
            outputs.push(FollowerOutput::Report(Report::Durable(self.durable)));
        }
        self.release(outputs);
    }

    fn release(&mut self, outputs: &mut Vec<FollowerOutput>) {
        let majority = self.released.min(self.durable);
        let follows = self.session.as_ref().is_some_and(|session| session.next.is_some());
        if follows && majority > self.majority {
            self.majority = majority;
            outputs.push(FollowerOutput::Majority(majority));
        }
    }
}
