//! A log in short: which entry each term began with, and where two logs part.
//!
//! Terms are nobody's but one writer's, so an entry is named by its term and OpID, and two logs that have an entry in common
//! have everything before it in common, too. To find the last one they share it is enough to lay the two lists of terms over
//! each other.

use bincode::{Decode, Encode};
use tailwater_oplog::{OpId, Rank, Term, Timestamp};

use super::message::LogName;

/// Terms that a history lists at most, the newest ones.
pub const TERMS_MAX: usize = 4096;

/// The first entry that a log has of a term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TermStart {
    /// The term.
    pub term: Term,
    /// Its first entry; in the log's oldest term, the first one that is left.
    pub first: OpId,
    /// When that was written.
    pub timestamp: Timestamp,
}

/// A place in a replicated log. Ordered as entries follow each other in any log that has both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
pub struct Position {
    /// Term of the entry.
    pub term: Term,
    /// Its OpID.
    pub op_id: OpId,
}

impl From<Rank> for Position {
    fn from(Rank { term, op_id }: Rank) -> Position {
        Position { term, op_id }
    }
}

impl From<Position> for Rank {
    fn from(Position { term, op_id }: Position) -> Rank {
        Rank { term, op_id }
    }
}

/// What a member has to say about its log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct History {
    /// Which log.
    pub log: LogName,
    /// The oldest entry it has, or the first it will have.
    pub oldest: OpId,
    /// The terms of its entries, oldest first, [`TERMS_MAX`] at most.
    pub terms: Vec<TermStart>,
    /// The last entry of an elected term before those listed: what the member still knows of what was trimmed.
    pub before: Position,
    /// Term of the entry before `oldest`, zero when there was none: what an empty log is compared by. Nothing when that is not
    /// known.
    pub base: Option<Term>,
    /// The last entry; the one before `oldest` when there is none.
    pub last: OpId,
}

/// How a follower's log lies to a primary's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meeting {
    /// It is the beginning of the primary's, which goes on with this entry.
    Continues(OpId),
    /// It has entries that the primary does not have; this is the last one they share.
    Forks(OpId),
    /// They share nothing that is left.
    Apart(Apart),
}

/// Why two logs have nothing in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Apart {
    /// They are different logs.
    OtherLog,
    /// The primary's begins behind the follower's end, with this entry.
    HistoryLost(OpId),
    /// The histories parted before the oldest entry that both still have, or so many terms ago that they are not listed.
    Unrelated,
    /// Both have written in this term: one is a copy of the other's directory, and both were opened for writing.
    TermTwice(Term),
    /// The follower has only a part, into which a collection was renamed whose documents it does not have.
    Entered,
}

impl History {
    /// A log without entries whose first will be `oldest`.
    #[must_use]
    pub fn empty(log: LogName, oldest: OpId) -> History {
        History {
            log,
            oldest,
            terms: Vec::new(),
            before: Position::default(),
            base: (oldest == OpId::FIRST).then(Term::default),
            last: oldest.previous(),
        }
    }

    /// Place of the last entry.
    #[must_use]
    pub fn end(&self) -> Position {
        Position {
            term: self.terms.last().map_or(Term::default(), |start| start.term),
            op_id: self.last,
        }
    }

    /// Place of the last entry that was written in an elected term, whether the log still has it or not: what counts when
    /// members compare who knows more. Entries behind it were written by a primary that had asked nobody.
    #[must_use]
    pub fn rank(&self) -> Position {
        let newest = self.terms.iter().rposition(|start| start.term.is_elected());
        let listed = newest.map_or(Position::default(), |at| self.end_of(at));
        listed.max(self.before)
    }

    /// Term of an entry, if it is one of those listed.
    #[must_use]
    pub fn term_at(&self, op_id: OpId) -> Option<Term> {
        let behind = self.terms.partition_point(|start| start.first <= op_id);
        let listed = op_id <= self.last;
        behind.checked_sub(1).filter(|_| listed).map(|at| self.terms[at].term)
    }

    /// Term of an entry, if it is listed or the one before the oldest.
    fn term_of(&self, op_id: OpId) -> Option<Term> {
        let is_base = op_id == self.oldest.previous();
        self.base.filter(|_| is_base).or_else(|| self.term_at(op_id))
    }

    /// Adds the entries from `first` to `last`, which were written in `term`, the first of them at `timestamp`.
    pub fn extend(&mut self, term: Term, first: OpId, timestamp: Timestamp, last: OpId) {
        if self.terms.last().is_none_or(|start| start.term < term) {
            if self.terms.len() == TERMS_MAX {
                if self.terms[0].term.is_elected() {
                    self.before = self.before.max(self.end_of(0));
                }
                self.terms.remove(0);
            }
            self.terms.push(TermStart { term, first, timestamp });
        }
        self.last = last;
    }

    /// Takes the entries behind `last` away.
    pub fn cut(&mut self, last: OpId) {
        self.terms.retain(|start| start.first <= last);
        self.last = last.max(self.oldest.previous());
    }

    /// The oldest entries have been trimmed.
    pub fn trim(&mut self, oldest: OpId) {
        self.base = self.term_of(oldest.previous());
        self.oldest = oldest;
    }

    /// Whether every term is listed that the log has ever had.
    fn is_complete(&self) -> bool {
        self.oldest == OpId::FIRST && self.terms.len() < TERMS_MAX
    }

    fn end_of(&self, at: usize) -> Position {
        Position {
            term: self.terms[at].term,
            op_id: self.last_of(at),
        }
    }

    /// The last entry of the `at`-th term.
    fn last_of(&self, at: usize) -> OpId {
        self.terms.get(at + 1).map_or(self.last, |next| next.first.previous())
    }

    /// The first entry of the `at`-th term that is left.
    fn first_of(&self, at: usize) -> OpId {
        self.terms[at].first.max(self.oldest)
    }

    /// How `follower`'s log lies to this one, a primary's.
    #[must_use]
    pub fn meet(&self, follower: &History) -> Meeting {
        if self.log != follower.log {
            return Meeting::Apart(Apart::OtherLog);
        }
        if follower.last.next() < self.oldest {
            return Meeting::Apart(Apart::HistoryLost(self.oldest));
        }
        if follower.terms.is_empty() || follower.last.next() == self.oldest {
            return self.meet_at_end(follower);
        }
        match self.last_shared(follower) {
            Ok(Some(shared)) if shared == follower.last => Meeting::Continues(shared.next()),
            Ok(Some(shared)) => Meeting::Forks(shared),
            // Both have all that was ever written, and differ from the first entry on.
            Ok(None) if self.is_complete() && follower.is_complete() => Meeting::Forks(OpId::ZERO),
            Ok(None) => Meeting::Apart(Apart::Unrelated),
            Err(term) => Meeting::Apart(Apart::TermTwice(term)),
        }
    }

    /// The same where no entry can be that both have: what the follower has, or its copy covers, lies before what is left here,
    /// or its log is empty yet. Then its last entry is compared, which one of the two or both know by its term only.
    fn meet_at_end(&self, follower: &History) -> Meeting {
        let end = follower.last;
        match (self.term_of(end), follower.term_of(end)) {
            _ if end > self.last => Meeting::Apart(Apart::Unrelated),
            (Some(own), Some(theirs)) if own == theirs => Meeting::Continues(end.next()),
            (Some(_), Some(_)) => Meeting::Apart(Apart::Unrelated),
            // Both logs begin where one was trimmed that was nobody's replica: before there was anything to part from.
            (None, None) => Meeting::Continues(end.next()),
            _ => Meeting::Apart(Apart::HistoryLost(self.oldest)),
        }
    }

    /// The last entry that both have; an error when both have written in one term.
    fn last_shared(&self, other: &History) -> Result<Option<OpId>, Term> {
        for (theirs, start) in other.terms.iter().enumerate().rev() {
            let Ok(ours) = self.terms.binary_search_by_key(&start.term, |own| own.term) else {
                continue;
            };
            let own = self.terms[ours];
            let first = self.first_of(ours).max(other.first_of(theirs));
            let last = self.last_of(ours).min(other.last_of(theirs));
            // Where both still have the term's first entry, it must be the same one.
            let trimmed = own.first <= self.oldest || start.first <= other.oldest;
            let differ = match own.first == start.first {
                true => own.timestamp != start.timestamp,
                false => !trimmed,
            };
            if differ {
                return Err(start.term);
            }
            if first <= last {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }
}
