//! Whose terms are whose: members of one replicated log never write in the same term.
//!
//! A term is a number that its writer chooses alone, without asking anybody, so two writers that do not see each other must not
//! come to choose the same one. Every member therefore takes its terms from a class of its own: the numbers that leave the
//! same rest when divided by 128. That rest also says whether a majority of the members had agreed to the term before it was
//! written in (*elected*), which is what replication needs to know of an entry and of nothing else.
//!
//! ```text
//!   term = 128 · round + 2 · member + elected
//! ```
//!
//! A log that is not replicated takes the next number each time, as ever; those terms mean nothing here, and lie below all
//! that come later.

use crate::ids::Term;

/// How many members there can be: numbers from 0 on.
pub const MEMBERS_MAX: u8 = 64;
/// Numbers of terms in one round.
const ROUND: u32 = 2 * MEMBERS_MAX as u32;
/// How far ahead of the newest term known another may be that is believed: over a hundred thousand promotions, each of which
/// takes a round. So a number that somebody made up uses up little of what there is.
pub const TERM_JUMP_MAX: u32 = 1 << 24;

/// Number of a member of a replicated log, below [`MEMBERS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member(u8);

impl Member {
    /// The member with this number; nothing when there is none.
    #[must_use]
    pub const fn new(number: u8) -> Option<Member> {
        if number < MEMBERS_MAX {
            Some(Member(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The smallest of its terms above `term`; nothing when there is none left.
    #[must_use]
    pub fn term_after(self, term: Term, elected: bool) -> Option<Term> {
        let rest = 2 * u32::from(self.0) + u32::from(elected);
        let least = term.get().checked_add(1)?;
        let round = least.checked_sub(rest).map_or(0, |above| above.div_ceil(ROUND));
        let number = round.checked_mul(ROUND)?.checked_add(rest)?;
        // The largest number is no manifest's.
        (number < u32::MAX).then(|| Term::new(number))
    }
}

impl Term {
    /// Whether a majority had agreed to the term before anything was written in it. Of terms from before a log was replicated
    /// this says nothing.
    #[must_use]
    pub const fn is_elected(self) -> bool {
        !self.get().is_multiple_of(2)
    }

    /// Whose term it is. Of terms from before a log was replicated this says nothing.
    #[must_use]
    pub const fn member(self) -> Member {
        Member((self.get() % ROUND / 2) as u8)
    }

    /// Whether a log that knows `known` believes that there is this term: it is older, or not impossibly much newer.
    #[must_use]
    pub const fn is_near(self, known: Term) -> bool {
        self.get() <= known.get().saturating_add(TERM_JUMP_MAX) && self.get() < u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_grow_and_are_nobody_elses() {
        let mut seen = std::collections::HashMap::new();
        for number in 0..MEMBERS_MAX {
            let member = Member::new(number).unwrap();
            let mut term = Term::new(0);
            for elected in [false, true, true, false] {
                let next = member.term_after(term, elected).unwrap();
                assert!(next > term && next.is_elected() == elected && next.member() == member);
                assert_eq!(seen.insert(next, number), None, "{next} of {number}");
                term = next;
            }
        }
    }

    #[test]
    fn the_next_term_is_the_nearest_one() {
        let member = Member::new(3).unwrap();
        for (after, elected, expected) in [
            (0, false, 6),
            (5, true, 7),
            (6, false, 134),
            (6, true, 7),
            (7, true, 135),
        ] {
            assert_eq!(member.term_after(Term::new(after), elected), Some(Term::new(expected)));
        }
        assert_eq!(member.term_after(Term::new(u32::MAX - 1), true), None);
        assert_eq!(member.term_after(Term::new(u32::MAX), true), None);
        assert_eq!(Member::new(64), None);
    }

    #[test]
    fn a_term_that_is_impossibly_far_ahead_is_not_believed() {
        let known = Term::new(131);
        for (term, near) in [
            (5, true),
            (131, true),
            (131 + TERM_JUMP_MAX, true),
            (132 + TERM_JUMP_MAX, false),
            (u32::MAX, false),
        ] {
            assert_eq!(Term::new(term).is_near(known), near, "{term}");
        }
        assert!(!Term::new(u32::MAX).is_near(Term::new(u32::MAX - 1)), "no manifest's");
    }
}
