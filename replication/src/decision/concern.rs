//! Write concern: how many members must hold an entry before its writer is told that it is safe (MongoDB manual: *Write
//! Concern*, `w`).

use std::num::NonZeroU8;

use tailwater_oplog::OpId;

/// How many members must have an entry on their disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteConcern {
    /// So many, the primary among them, whoever they are.
    Members(NonZeroU8),
    /// More than half of the named members. What is acknowledged so is never lost as long as more than half of the members
    /// keep their disks.
    Majority,
}

impl WriteConcern {
    /// `w: n`; nothing for zero, which would mean not to ask at all.
    #[must_use]
    pub fn members(count: u8) -> Option<WriteConcern> {
        NonZeroU8::new(count).map(WriteConcern::Members)
    }
}

/// More than half of `members`.
#[must_use]
pub fn majority_of(members: usize) -> usize {
    members / 2 + 1
}

/// How many of `members`, the one that asks included, must agree to a term for it to be elected: so many that no majority can
/// do without all of them. With an odd number that is a majority itself, with an even number one less. Of two members one is
/// enough: what both have acknowledged it has, and without it the other can have nothing acknowledged any more.
#[must_use]
pub fn electors_of(members: usize) -> usize {
    members - majority_of(members) + 1
}

/// The newest entry that at least `count` of these hold.
#[must_use]
pub fn held_by(count: usize, durable: impl IntoIterator<Item = OpId>) -> OpId {
    let mut durable: Vec<OpId> = durable.into_iter().collect();
    durable.sort_unstable_by(|a, b| b.cmp(a));
    count
        .checked_sub(1)
        .and_then(|at| durable.get(at).copied())
        .unwrap_or(OpId::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_held_by_as_many_as_have_it_or_a_later_one() {
        let durable = [7, 3, 9].map(OpId::new);
        for (count, expected) in [(0, 0), (1, 9), (2, 7), (3, 3), (4, 0)] {
            assert_eq!(held_by(count, durable), OpId::new(expected), "{count}");
        }
        assert_eq!([1, 2, 3, 4, 5].map(majority_of), [1, 2, 2, 3, 3]);
        assert_eq!([1, 2, 3, 4, 5].map(electors_of), [1, 1, 2, 2, 3]);
    }
}
