//! The predicate index: for an event, the filters that could hold; for each of them it is enough to look at the event once.
//!
//! **It never misses.** A group is found whenever its filter holds: of every alternative of the filter one necessary
//! condition is in the index, and another one may be checked with it; the values an event has at a path are those the filter
//! itself would see (arrays element by element and as a whole, missing as null), under keys that are equal where MongoDB's
//! comparison says equal. It may find too many; the filter decides.
//!
//! An event is surveyed first: one walk over its document for all paths that anything is asked of, which notes the values'
//! classes and places ([`Facts`]) and the hashes of those that an equality could be about. Then come the look-ups.
//!
//! Equalities of all spaces are in one table, hashed with a key that nobody outside knows, so that nobody can make values
//! collide. While a space has few groups they are not indexed: each is checked.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use bson::{RawBsonRef, RawDocument};
use tailwater_matcher::key_class;

use crate::dispatch::access::{self, Demand, Key, Part};
use crate::dispatch::facts::Facts;
use crate::dispatch::intervals::Interval;
use crate::dispatch::postings::{self, Check, Posting, Postings};
use crate::dispatch::sketch::Sketch;
use crate::dispatch::space::{PathUse, SAMPLES, Space, class_bit};
use crate::fields::EventFields;
use crate::plan::Plan;

/// Of the events every so-manieth is counted.
const SAMPLE: u64 = 8;

/// So many counted events tell more of a value's frequency than the filters do.
const EVENTS_TELLING: u32 = 64;

/// One entry of the index, kept by its group so that it can be taken out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Access {
    Equal { path: u32, hash: u64, class: u8 },
    Range { path: u32, class: u8, low: u64, high: u64 },
    Exists { path: u32 },
}

/// An entry of the index, and what is checked with it.
type Choice = (Access, Option<Check>);

/// Of the hash tables whose keys are hashes.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u64` is called.
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What all spaces share.
#[derive(Debug, Default)]
pub(crate) struct Index {
    equal: HashMap<u64, Postings, BuildHasherDefault<AsItIs>>,
    keys: RandomState,
    /// How often values occur in events, and in filters.
    in_events: Sketch,
    in_filters: Sketch,
    turns: u64,
    // Of the event that is surveyed.
    key: Key,
    facts: Facts,
    hits: Vec<u64>,
}

impl Index {
    /// Adds a group to its space; returns where it stands in the index, nothing when no value leads to it.
    pub(crate) fn insert(&mut self, (number, space): (u32, &mut Space), group: u32, plan: &Plan) -> Box<[Access]> {
        space.sweep_paths();
        let alternatives = access::alternatives(plan);
        let chosen = match &alternatives {
            Some(alternatives) if space.indexed => self.choose(number, space, alternatives, true),
            _ => None,
        };
        let Some(chosen) = chosen else {
            let check = match alternatives.as_deref() {
                Some([only]) => self.choose_check(number, space, only),
                _ => None,
            };
            space.prepare(check);
            space.scanned.push(Posting::new(group, check));
            return Box::default();
        };
        self.post(space, group, &chosen);
        accesses(&chosen)
    }

    /// Takes a group out of the index.
    pub(crate) fn remove(&mut self, space: &mut Space, group: u32, accesses: &[Access]) {
        if accesses.is_empty() {
            let check = postings::take(&mut space.scanned, group);
            space.release(check);
            return;
        }
        for access in accesses {
            self.unpost(space, group, access);
        }
    }

    /// Chooses anew for a group that was looked at in vain too often, by what is known by now; whether that helps.
    pub(crate) fn choose_again(
        &mut self,
        (number, space): (u32, &mut Space),
        group: u32,
        plan: &Plan,
        present: &[Access],
    ) -> Option<Box<[Access]>> {
        if present.is_empty() {
            return None;
        }
        let chosen = self.choose(number, space, &access::alternatives(plan)?, false)?;
        let same = |(access, check): &Choice| {
            present.contains(access)
                && match access {
                    Access::Equal { hash, .. } => {
                        self.equal.get(hash).and_then(|postings| postings.check_of(group)) == *check
                    }
                    _ => true,
                }
        };
        if chosen.len() == present.len() && chosen.iter().all(same) {
            return None;
        }
        self.remove(space, group, present);
        self.post(space, group, &chosen);
        Some(accesses(&chosen))
    }

    fn hash(&self, space: u32, path: u32, key: &Key) -> u64 {
        self.keys.hash_one((space, path, key.hashed()))
    }

    /// The entries of the index for a filter: of every alternative the part that the fewest events satisfy, and the next one as
    /// the check. Nothing when an alternative has no part.
    fn choose(&mut self, number: u32, space: &mut Space, alternatives: &[Vec<Part>], new: bool) -> Option<Vec<Choice>> {
        let mut all: Vec<Choice> = Vec::new();
        if new {
            self.in_filters.turn();
        }
        for alternative in alternatives {
            let mut weighed: Vec<_> = Vec::with_capacity(alternative.len());
            for part in alternative {
                let (accesses, share) = self.weigh(number, space, part, new);
                weighed.push((part, accesses, share));
            }
            weighed.sort_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
            let mut weighed = weighed.into_iter();
            let (_, accesses, _) = weighed.next()?;
            let check = weighed.find_map(|(part, _, _)| check(space, part));
            for access in accesses {
                match all.iter_mut().find(|(present, _)| *present == access) {
                    // It leads to two alternatives: the check of one does not hold for the other.
                    Some((_, present)) if *present != check => *present = None,
                    Some(_) => {}
                    None => all.push((access, check)),
                }
            }
        }
        Some(all)
    }

    /// The check of the only alternative of a filter that no value leads to.
    fn choose_check(&mut self, number: u32, space: &mut Space, parts: &[Part]) -> Option<Check> {
        let mut best: Option<(Check, f64)> = None;
        for part in parts {
            let (_, share) = self.weigh(number, space, part, false);
            if best.is_none_or(|(_, least)| share < least)
                && let Some(check) = check(space, part)
            {
                best = Some((check, share));
            }
        }
        best.map(|(check, _)| check)
    }

    /// The entries of the index for one part, and the share of events that meets one of them.
    fn weigh(&mut self, number: u32, space: &mut Space, part: &Part, new: bool) -> (Vec<Access>, f64) {
        let path = space.path(&part.path);
        let (mut accesses, mut share) = (Vec::with_capacity(part.demands.len()), 0.0);
        for demand in &part.demands {
            let (access, one) = match demand {
                Demand::Equal(key) => {
                    let hash = self.hash(number, path, key);
                    if new {
                        self.in_filters.count(hash);
                    }
                    let told = self.in_events.total() >= EVENTS_TELLING;
                    let sketch = if told { &self.in_events } else { &self.in_filters };
                    let class = key.class();
                    (Access::Equal { path, hash, class }, sketch.share(hash))
                }
                Demand::Range { class, low, high } => {
                    let (path_use, class, low, high) = (&space.paths[path as usize], *class, *low, *high);
                    let known = path_use.ranges.iter().find(|range| range.class == class);
                    let share = match known {
                        Some(range) if range.samples.len() >= SAMPLES / 4 => {
                            let inside = range
                                .samples
                                .iter()
                                .filter(|place| (low..=high).contains(place))
                                .count();
                            // Never sure to be none: the next value may lie there.
                            (inside as f64 + 0.5) / range.samples.len() as f64
                        }
                        _ if low == 0 || high == u64::MAX => 0.5,
                        _ => 0.1,
                    };
                    (Access::Range { path, class, low, high }, share)
                }
                Demand::Exists => (Access::Exists { path }, 0.9),
            };
            accesses.push(access);
            share += one;
        }
        (accesses, share)
    }

    fn post(&mut self, space: &mut Space, group: u32, chosen: &[Choice]) {
        for (access, check) in chosen {
            match *access {
                Access::Equal { path, hash, class } => {
                    let path_use = space.hold(path);
                    path_use.equalities += 1;
                    path_use.classes |= class_bit(class);
                    space.prepare(*check);
                    let posting = Posting::new(group, *check);
                    self.equal
                        .entry(hash)
                        .and_modify(|postings| postings.push(posting))
                        .or_insert(Postings::One(posting));
                }
                Access::Range { path, class, low, high } => {
                    let owner = group;
                    let range = space.hold(path).range(class);
                    range.intervals.insert(Interval { low, high, owner });
                }
                Access::Exists { path } => space.hold(path).exists.push(group),
            }
        }
    }

    fn unpost(&mut self, space: &mut Space, group: u32, access: &Access) {
        match *access {
            Access::Equal { path, hash, .. } => {
                let path_use = space.let_go(path);
                path_use.equalities -= 1;
                if path_use.equalities == 0 {
                    path_use.classes = 0;
                }
                if let Some(postings) = self.equal.get_mut(&hash) {
                    let (check, emptied) = postings.remove(group);
                    space.release(check);
                    if emptied {
                        self.equal.remove(&hash);
                    }
                }
            }
            Access::Range { path, class, low, high } => {
                let owner = group;
                let range = space.let_go(path).range(class);
                range.intervals.remove(Interval { low, high, owner });
            }
            Access::Exists { path } => {
                let exists = &mut space.let_go(path).exists;
                if let Some(at) = exists.iter().position(|other| *other == group) {
                    exists.swap_remove(at);
                }
            }
        }
    }

    /// Whether the next event is counted, and therefore looked at more closely.
    pub(crate) fn counts_next(&mut self, space: &Space) -> bool {
        if !space.indexed {
            return false;
        }
        self.turns += 1;
        let counted = self.turns.is_multiple_of(SAMPLE);
        if counted {
            self.in_events.turn();
        }
        counted
    }

    /// Appends every group of the space whose filter could hold for the event, some of them more than once. `document` is
    /// its `fullDocument`, where that is one. The fields may be left out where [`Space::asks_beyond_document`] says no;
    /// with `counted`, they may not.
    pub(crate) fn find(
        &mut self,
        (number, space): (u32, &mut Space),
        document: Option<&RawDocument>,
        fields: Option<&EventFields<'_>>,
        counted: bool,
        found: &mut Vec<u32>,
    ) {
        let Space {
            paths, walks, scanned, ..
        } = space;
        self.facts.clear(paths.len());
        self.hits.clear();
        if !walks.document.is_empty() {
            walks.document.each(document, &mut |path, value| {
                self.note((number, path), &mut paths[path as usize], value, counted);
            });
        }
        if let Some(fields) = fields {
            for &path in &walks.others {
                self.note_all((number, path), &mut paths[path as usize], fields, counted);
            }
            if counted {
                // How selective those would be that are not used.
                for (path, path_use) in (0..).zip(paths.iter_mut()).filter(|(_, path_use)| path_use.uses == 0) {
                    self.note_all((number, path), path_use, fields, counted);
                }
            }
        }
        postings::select(scanned, &self.facts, found);
        for hash in &self.hits {
            if let Some(postings) = self.equal.get(hash) {
                postings.find(&self.facts, found);
            }
        }
        for (path, path_use) in (0..).zip(paths.iter()) {
            if !path_use.exists.is_empty() && self.facts.any(path) {
                found.extend_from_slice(&path_use.exists);
            }
            for range in &path_use.ranges {
                if let Some((low, high)) = self.facts.span(path, range.class) {
                    let intervals = &range.intervals;
                    intervals.each_overlapping(low, high, &mut |group| found.push(group));
                }
            }
        }
    }

    fn note_all(&mut self, at: (u32, u32), path_use: &mut PathUse, fields: &EventFields<'_>, counted: bool) {
        let path = path_use.path.clone();
        path.any(fields, &mut |value| {
            self.note(at, path_use, value, counted);
            false
        });
    }

    /// Notes a value at a path, as far as something is asked of it there.
    #[inline]
    fn note(
        &mut self,
        (space, path): (u32, u32),
        path_use: &mut PathUse,
        value: Option<RawBsonRef<'_>>,
        counted: bool,
    ) {
        if value.is_some() {
            self.facts.note_any(path);
        }
        let value = value.unwrap_or(RawBsonRef::Null);
        let class = key_class(value);
        let range = path_use.ranges.iter_mut().find(|range| range.class == class);
        let equal = path_use.classes & class_bit(class) != 0;
        // Long values are not encoded for a count.
        let hashed = equal || counted && is_short(value);
        if hashed {
            self.key.set(value);
            let hash = self.keys.hash_one((space, path, self.key.hashed()));
            if counted {
                self.in_events.count(hash);
            }
            if equal {
                self.hits.push(hash);
            }
        }
        if range.is_some() || path_use.checked & class_bit(class) != 0 {
            let place = match hashed {
                true => self.key.place(),
                false => self.key.place_of(value),
            };
            self.facts.note(path, class, place);
            if let Some(range) = range.filter(|_| counted) {
                range.sample(place);
            }
        }
    }
}

fn accesses(chosen: &[Choice]) -> Box<[Access]> {
    chosen.iter().map(|(access, _)| *access).collect()
}

/// The check for a part, if there is one.
fn check(space: &mut Space, part: &Part) -> Option<Check> {
    let (class, low, high) = part.span()?;
    Check::new(space.path(&part.path), class, (low, high))
}

/// Whether a value's key is short whatever the value.
fn is_short(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => text.len() <= 256,
        RawBsonRef::Document(_)
        | RawBsonRef::Array(_)
        | RawBsonRef::Binary(_)
        | RawBsonRef::JavaScriptCode(_)
        | RawBsonRef::JavaScriptCodeWithScope(_)
        | RawBsonRef::RegularExpression(_)
        | RawBsonRef::DbPointer(_) => false,
        _ => true,
    }
}
