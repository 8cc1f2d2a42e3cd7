//! What members say to each other. `docs/replication.md` specifies it; `wire` puts it into bytes.

use bincode::{Decode, Encode};
use tailwater_oplog::{LogId, MEMBERS_MAX, Member, OpId, Term, codec};

use super::history::{Apart, History, Position};

/// Identity of a log, as it travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct LogName(pub [u8; 16]);

impl From<LogId> for LogName {
    fn from(id: LogId) -> LogName {
        LogName(id.to_bytes())
    }
}

impl From<LogName> for LogId {
    fn from(name: LogName) -> LogId {
        LogId::from_bytes(name.0)
    }
}

/// Names of the members whose majority counts, in an order that is the same everywhere; empty when there is no such list.
pub type MemberList = Vec<String>;

/// Number of a member, as it travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct MemberNumber(pub u8);

impl From<Member> for MemberNumber {
    fn from(member: Member) -> MemberNumber {
        MemberNumber(member.get())
    }
}

/// Members on a list at most; the other numbers are for those that are on none.
pub const LISTED_MAX: usize = MEMBERS_MAX as usize / 2;

/// The number of the member `name`: its place on the list, or, when it is not on it, one of the upper half by its name. Two that
/// are not listed may come to have the same; the second one is refused by name then.
#[must_use]
pub fn number_of(name: &str, members: &[String]) -> MemberNumber {
    let number = match members.iter().position(|member| member == name) {
        Some(place) => place,
        None => LISTED_MAX + codec::checksum(name.as_bytes()) as usize % LISTED_MAX,
    };
    MemberNumber(u8::try_from(number).unwrap_or(u8::MAX))
}

/// An entry by its bytes: with the same term, OpID and checksum two logs have the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Mark {
    /// Which entry.
    pub op_id: OpId,
    /// The checksum in its frame.
    pub checksum: u32,
}

/// A follower introduces itself, and says what it has.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Hello {
    /// Who it is.
    pub member: MemberNumber,
    /// Its name, for logs and retention slots.
    pub name: String,
    /// The members that it knows.
    pub members: MemberList,
    /// It takes nothing from a primary of an older term. With a list of members, an elected one.
    pub promised: Term,
    /// Its log.
    pub history: History,
    /// Its last entry that is on its disk.
    pub durable: OpId,
    /// Which part of the entries it has and wants, as a store's `Selection` is written; nothing for all. What it holds of those
    /// is nothing to be counted.
    pub part: Option<Vec<u8>>,
    /// Some of its entries, newest first: the last one, and others that lie ever further apart. None of a part.
    pub marks: Vec<Mark>,
}

/// The primary's answer to a [`Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Welcome {
    /// The term that the primary writes in.
    pub term: Term,
    /// The term that it wants to be elected for; nothing when it is, or when there is no list of members.
    pub asks: Option<Term>,
    /// How much it knows: its last entry of an elected term.
    pub rank: Position,
    /// How to go on.
    pub course: Course,
}

/// How a follower goes on from where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Course {
    /// Entries follow, from this one on.
    Continue(OpId),
    /// The follower has entries behind this one that the primary does not have: keep a copy, cut them off, come again.
    Cut(OpId),
    /// The same, but the primary has not been elected, and may itself be the one that is wrong. Who has agreed to its term waits
    /// until the primary ends the connection; who has not comes again later.
    Wait,
    /// What the follower has is of no use: begin anew with a copy of the state.
    Resync(Apart),
}

/// Why a member is turned away.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Refusal {
    /// The member has promised a newer term to somebody: this primary is one no longer, and has just learned of it.
    StalePrimary(Term),
    /// Another log.
    OtherLog(LogName),
    /// The members differ.
    OtherMembers(MemberList),
    /// The follower calls itself by the primary's number.
    SameMember,
    /// The follower's number is not that of its name.
    OtherNumber,
    /// The follower is not listed, and another one that is not has the number that its name has.
    NumberTaken(String),
    /// The follower has promised a term so far ahead that nobody can have come to it.
    TermTooFar(Term),
    /// Not a primary, and the follower's log is not simply the beginning of this one.
    NotPrimary,
    /// More than so many bytes were written before the follower had its copy of the state and had caught up: what it would need
    /// next was kept no longer.
    CopyOutrun(u64),
    /// The state is in more than so many files, and cannot be offered.
    TooManyFiles(u64),
    /// No copy at the moment: one is being made for another follower.
    Busy,
    /// No copy in place of what the follower has: this primary has not been elected, or does not know as much.
    NotElected,
    /// No copy at the moment: it needs so many bytes of the primary's disk, with what is reserved there, and so many are free.
    NoSpaceForCopy(u64, u64),
    /// No copy at the moment: making one has failed for this reason, and is not begun again for a while.
    CopyFailed(String),
    /// The follower wants only a part, and is on the list of those that count: it would count for what it does not have.
    ListedPart,
    /// This member has only a part itself, this one, and the follower's is not known to be within that.
    WiderPart(Vec<u8>),
    /// Both have this entry in one term, and not with the same bytes: one of the two logs was changed. Up to the other entry they are
    /// known to be the same, if it is not zero; in between they were not compared.
    Differs(OpId, OpId),
}

impl Refusal {
    /// Whether the same member may be let on later, without anybody doing anything where it is.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Refusal::Busy | Refusal::NotElected | Refusal::NoSpaceForCopy(..) | Refusal::CopyFailed(_)
        )
    }
}

/// Entries under way, without their frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Run {
    /// The term that the primary writes in when it sends them.
    pub term: Term,
    /// The first entry.
    pub first: OpId,
    /// The last one, which ends its batch.
    pub last: OpId,
    /// What a majority holds.
    pub majority: OpId,
    /// What is on the primary's own disk: what comes behind it has been sent while its sync is under way.
    pub durable: OpId,
}

/// What the primary says when there is nothing else to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Status {
    /// The term that it writes in.
    pub term: Term,
    /// The newest entry that is on its own disk.
    pub newest: OpId,
    /// What a majority holds.
    pub majority: OpId,
}

/// From a follower to the primary, behind the [`Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Report {
    /// It agrees to this term, and will take nothing from an older one.
    Grant(Term),
    /// It has everything up to this entry on its disk.
    Durable(OpId),
    /// It has room for so many more bytes of frames.
    Credit(u64),
    /// It is still there.
    Alive,
    /// The member of that number and name, which follows this one, has everything up to this entry on its disk.
    Holds(MemberNumber, String, OpId),
}
