//! How a primary stands and what its members hold, in numbers that a program can show or export.

use tailwater_oplog::{OpId, Term};

/// How a primary stands.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PrimaryStatus {
    /// The term that is written in.
    pub term: Term,
    /// The last entry that is durable here.
    pub durable: OpId,
    /// The last entry that a majority of the listed members holds.
    pub majority: OpId,
    /// The members that have been heard of, connected or not, by their numbers.
    pub members: Vec<MemberStatus>,
}

/// What is known of another member.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its number: its place on the list, or one from 32 on.
    pub number: u8,
    /// Its name. Nothing when it has only been heard of by a follower that it follows, and is on no list.
    pub name: Option<String>,
    /// Whether it is connected here.
    pub connected: bool,
    /// Whether it is connected here, or a follower that is connected has spoken for it. That it has left such a one is not told.
    pub here: bool,
    /// Whether it has only a part of the entries (see [`FollowerBuilder::filter`](crate::FollowerBuilder::filter)), and so does not
    /// count for a write concern.
    pub partial: bool,
    /// The last entry that it has said it holds.
    pub held: OpId,
    /// How many durable entries it has not said it holds.
    pub entries_behind: u64,
}
