//! Who is looked at when a value occurs, and under which further condition.
//!
//! Filters that share a value often differ in something else: a tenant's watches in the ranges of the amounts they are
//! about. So a [`Posting`] carries a second necessary condition of its filter, in 24 bytes that lie one after the other for all
//! who share the value; the filter itself, which is scattered over memory, is looked at when both hold.

use std::num::NonZero;

use crate::dispatch::facts::Facts;

/// A necessary condition: at the path the event has a value of the class whose place (the beginning of its sortable key)
/// lies within the bounds; or, values on both sides of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) path: u16,
    pub(crate) class: u8,
}

impl Check {
    /// A path number that no path has: the check of a posting without one.
    const NOWHERE: u16 = u16::MAX;

    /// A check at a path, if its number is one that a check can have.
    pub(crate) fn new(path: u32, class: u8, (low, high): (u64, u64)) -> Option<Check> {
        let path = u16::try_from(path).ok().filter(|path| *path != Check::NOWHERE)?;
        Some(Check { low, high, path, class })
    }
}

/// A group, and what must hold for its filter to be worth a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Posting {
    low: u64,
    high: u64,
    /// One more than the group's number, so that [`Postings`] are no larger than this.
    group_above: NonZero<u32>,
    path: u16,
    class: u8,
}

const _: () = assert!(size_of::<Postings>() == 24);

impl Posting {
    pub(crate) fn new(group: u32, check: Option<Check>) -> Posting {
        let none = Check {
            low: 0,
            high: 0,
            path: Check::NOWHERE,
            class: 0,
        };
        let Check { low, high, path, class } = check.unwrap_or(none);
        Posting {
            low,
            high,
            group_above: NonZero::<u32>::MIN.saturating_add(group),
            path,
            class,
        }
    }

    pub(crate) fn group(&self) -> u32 {
        self.group_above.get() - 1
    }

    pub(crate) fn check(&self) -> Option<Check> {
        let Posting {
            low, high, path, class, ..
        } = *self;
        (path != Check::NOWHERE).then_some(Check { low, high, path, class })
    }

    /// Whether a value at a path satisfies the check, if that is about the path.
    #[inline]
    pub(crate) fn accepts(&self, path: u32, class: u8, place: u64) -> bool {
        u32::from(self.path) == path && self.class == class && self.low <= place && place <= self.high
    }

    #[inline]
    fn holds(&self, facts: &Facts) -> bool {
        self.path == Check::NOWHERE || facts.overlap(self.path, self.class, self.low, self.high)
    }
}

/// The groups behind one value: for most values one.
#[derive(Debug)]
pub(crate) enum Postings {
    One(Posting),
    #[expect(clippy::box_collection, reason = "a vector would make every value's entry larger")]
    Many(Box<Vec<Posting>>),
}

impl Postings {
    pub(crate) fn push(&mut self, posting: Posting) {
        match self {
            Postings::One(one) => *self = Postings::Many(Box::new(vec![*one, posting])),
            Postings::Many(many) => many.push(posting),
        }
    }

    /// Takes a group out; what it was checked for, and whether nobody is left.
    pub(crate) fn remove(&mut self, group: u32) -> (Option<Check>, bool) {
        match self {
            Postings::One(one) if one.group() == group => (one.check(), true),
            Postings::One(_) => (None, false),
            Postings::Many(many) => {
                let removed = take(many, group);
                if let [one] = many.as_slice() {
                    *self = Postings::One(*one);
                }
                (removed, false)
            }
        }
    }

    fn as_slice(&self) -> &[Posting] {
        match self {
            Postings::One(one) => std::slice::from_ref(one),
            Postings::Many(many) => many,
        }
    }

    /// What a group that is here is checked for.
    pub(crate) fn check_of(&self, group: u32) -> Option<Check> {
        self.as_slice().iter().find(|posting| posting.group() == group)?.check()
    }

    pub(crate) fn find(&self, facts: &Facts, found: &mut Vec<u32>) {
        select(self.as_slice(), facts, found);
    }
}

/// Appends the groups whose checks hold.
pub(crate) fn select(postings: &[Posting], facts: &Facts, found: &mut Vec<u32>) {
    for posting in postings {
        if posting.holds(facts) {
            found.push(posting.group());
        }
    }
}

/// Takes a group out of a list, if it is there; returns what it was checked for.
pub(crate) fn take(postings: &mut Vec<Posting>, group: u32) -> Option<Check> {
    let at = postings.iter().position(|posting| posting.group() == group)?;
    postings.swap_remove(at).check()
}
