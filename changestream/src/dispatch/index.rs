//! The predicate index: for an event, the filters that could hold; for each of them it is enough to look at the event once.
//!
//! **It never misses.** A group is found whenever its filter holds: of every alternative of the filter one necessary
//! condition is in the index, and the values an event has at a path are those the filter itself would see (arrays element by
//! element and as a whole, missing as null), under keys that are equal where MongoDB's comparison says equal. It may find
//! too many; the filter decides.
//!
//! A [`Space`] is what shares scope and shown images, and so sees the same events with the same fields. Equalities of all
//! spaces are in one table, hashed with a key that nobody outside knows, so that nobody can make values collide.
//!
//! While a space has few groups they are simply all looked at.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use bson::RawBsonRef;
use tailwater_matcher::{Path, key_class};

use crate::dispatch::access::{self, Demand, Key, Part};
use crate::dispatch::intervals::{Interval, Intervals};
use crate::dispatch::sketch::Sketch;
use crate::fields::EventFields;
use crate::options::Images;
use crate::plan::Plan;
use crate::scope::Scope;

/// Up to so many groups of one space are not indexed.
const FEW: usize = 8;

/// Of the events every so-manieth is counted.
const SAMPLE: u64 = 8;

/// So many counted events tell more of a value's frequency than the filters do.
const EVENTS_TELLING: u32 = 64;

/// So many paths a space may know before those that are not used are forgotten.
const PATHS_UNSWEPT: usize = 64;

/// Samples that each path with ranges keeps.
const SAMPLES: usize = 64;

/// One entry of the index, kept by its group so that it can be taken out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Access {
    Equal { path: u32, hash: u64, class: u8 },
    Range { path: u32, class: u8, low: u64, high: u64 },
    Exists { path: u32 },
}

/// What a path of a space is asked for.
#[derive(Debug)]
struct PathUse {
    path: Path,
    /// Entries of the index at this path; with none, the path is not looked at.
    uses: u32,
    /// Classes of the values in the equality table.
    classes: u64,
    equalities: u32,
    exists: Vec<u32>,
    ranges: Vec<RangeUse>,
}

#[derive(Debug)]
struct RangeUse {
    class: u8,
    intervals: Intervals,
    samples: Vec<u64>,
    /// Where the next sample goes.
    next_sample: usize,
}

/// Groups with the same scope and images.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) scope: Arc<Scope>,
    pub(crate) images: Images,
    /// Every group.
    pub(crate) groups: Vec<u32>,
    /// Those that are looked at for every event.
    scanned: Vec<u32>,
    paths: Vec<PathUse>,
    by_path: HashMap<Path, u32>,
    /// Places in `paths` that are free.
    free_paths: Vec<u32>,
    /// Paths are swept when there are so many.
    sweep_at: usize,
    indexed: bool,
}

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

#[derive(Debug)]
enum Postings {
    One(u32),
    Many(Vec<u32>),
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
    key: Key,
}

impl Space {
    pub(crate) fn new(scope: Arc<Scope>, images: Images) -> Space {
        Space {
            scope,
            images,
            groups: Vec::new(),
            scanned: Vec::new(),
            paths: Vec::new(),
            by_path: HashMap::new(),
            free_paths: Vec::new(),
            sweep_at: PATHS_UNSWEPT,
            indexed: false,
        }
    }

    /// Whether the space has grown beyond what is simply looked at, and its groups are to be indexed from now on.
    pub(crate) fn outgrows(&mut self) -> bool {
        let outgrows = !self.indexed && self.groups.len() > FEW;
        if outgrows {
            self.indexed = true;
            self.scanned.clear();
        }
        outgrows
    }

    fn path(&mut self, path: &Path) -> u32 {
        if let Some(&known) = self.by_path.get(path) {
            return known;
        }
        let path_use = PathUse {
            path: path.clone(),
            uses: 0,
            classes: 0,
            equalities: 0,
            exists: Vec::new(),
            ranges: Vec::new(),
        };
        let number = match self.free_paths.pop() {
            Some(free) => {
                self.paths[free as usize] = path_use;
                free
            }
            None => {
                self.paths.push(path_use);
                self.paths.len() as u32 - 1
            }
        };
        self.by_path.insert(path.clone(), number);
        number
    }

    /// Forgets paths that nothing in the index is about, when there have come to be many.
    fn sweep_paths(&mut self) {
        if self.by_path.len() < self.sweep_at {
            return;
        }
        let (paths, free) = (&self.paths, &mut self.free_paths);
        self.by_path.retain(|_, number| {
            let used = paths[*number as usize].uses > 0;
            if !used {
                free.push(*number);
            }
            used
        });
        self.sweep_at = PATHS_UNSWEPT.max(2 * self.by_path.len());
    }
}

impl PathUse {
    fn range(&mut self, class: u8) -> &mut RangeUse {
        let at = self.ranges.iter().position(|range| range.class == class);
        let at = at.unwrap_or_else(|| {
            self.ranges.push(RangeUse {
                class,
                intervals: Intervals::default(),
                samples: Vec::new(),
                next_sample: 0,
            });
            self.ranges.len() - 1
        });
        &mut self.ranges[at]
    }
}

impl RangeUse {
    fn sample(&mut self, place: u64) {
        if self.samples.len() < SAMPLES {
            self.samples.push(place);
        } else {
            self.samples[self.next_sample] = place;
            self.next_sample = (self.next_sample + 1) % SAMPLES;
        }
    }
}

impl Index {
    /// Adds a group to its space; returns where it stands in the index, nothing when it is looked at for every event.
    pub(crate) fn insert(&mut self, (number, space): (u32, &mut Space), group: u32, plan: &Plan) -> Box<[Access]> {
        space.sweep_paths();
        let chosen = match space.indexed {
            true => self.choose(number, space, plan, true),
            false => None,
        };
        let Some((accesses, _)) = chosen else {
            space.scanned.push(group);
            return Box::default();
        };
        self.post(space, group, &accesses);
        accesses.into()
    }

    /// Takes a group out of the index.
    pub(crate) fn remove(&mut self, space: &mut Space, group: u32, accesses: &[Access]) {
        if accesses.is_empty() {
            if let Some(at) = space.scanned.iter().position(|other| *other == group) {
                space.scanned.swap_remove(at);
            }
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
        accesses: &[Access],
    ) -> Option<Box<[Access]>> {
        if accesses.is_empty() {
            return None;
        }
        let (chosen, _) = self.choose(number, space, plan, false)?;
        if chosen == accesses {
            return None;
        }
        self.remove(space, group, accesses);
        self.post(space, group, &chosen);
        Some(chosen.into())
    }

    fn hash(&self, space: u32, path: u32, key: &Key) -> u64 {
        self.keys.hash_one((space, path, key.hashed()))
    }

    /// The entries of the index for a plan and the share of events that meets one; nothing when the plan cannot be indexed.
    fn choose(&mut self, number: u32, space: &mut Space, plan: &Plan, new: bool) -> Option<(Vec<Access>, f64)> {
        let alternatives = access::alternatives(plan)?;
        let (mut all, mut total) = (Vec::new(), 0.0);
        if new {
            self.in_filters.turn();
        }
        for alternative in &alternatives {
            let mut best: Option<(Vec<Access>, f64)> = None;
            for part in alternative {
                let (accesses, share) = self.weigh(number, space, part, new);
                if best.as_ref().is_none_or(|(_, least)| share < *least) {
                    best = Some((accesses, share));
                }
            }
            let (accesses, share) = best?;
            total += share;
            for access in accesses {
                if !all.contains(&access) {
                    all.push(access);
                }
            }
        }
        Some((all, total))
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

    fn post(&mut self, space: &mut Space, group: u32, accesses: &[Access]) {
        for access in accesses {
            match *access {
                Access::Equal { path, hash, class } => {
                    let path_use = &mut space.paths[path as usize];
                    path_use.uses += 1;
                    path_use.equalities += 1;
                    path_use.classes |= class_bit(class);
                    self.equal
                        .entry(hash)
                        .and_modify(|postings| postings.push(group))
                        .or_insert(Postings::One(group));
                }
                Access::Range { path, class, low, high } => {
                    let path_use = &mut space.paths[path as usize];
                    path_use.uses += 1;
                    let owner = group;
                    path_use.range(class).intervals.insert(Interval { low, high, owner });
                }
                Access::Exists { path } => {
                    let path_use = &mut space.paths[path as usize];
                    path_use.uses += 1;
                    path_use.exists.push(group);
                }
            }
        }
    }

    fn unpost(&mut self, space: &mut Space, group: u32, access: &Access) {
        match *access {
            Access::Equal { path, hash, .. } => {
                let path_use = &mut space.paths[path as usize];
                path_use.uses -= 1;
                path_use.equalities -= 1;
                if path_use.equalities == 0 {
                    path_use.classes = 0;
                }
                if let Some(postings) = self.equal.get_mut(&hash)
                    && postings.remove(group)
                {
                    self.equal.remove(&hash);
                }
            }
            Access::Range { path, class, low, high } => {
                let path_use = &mut space.paths[path as usize];
                path_use.uses -= 1;
                let owner = group;
                path_use.range(class).intervals.remove(Interval { low, high, owner });
            }
            Access::Exists { path } => {
                let path_use = &mut space.paths[path as usize];
                path_use.uses -= 1;
                if let Some(at) = path_use.exists.iter().position(|other| *other == group) {
                    path_use.exists.swap_remove(at);
                }
            }
        }
    }

    /// Appends every group of the space whose filter could hold for the event, some of them more than once.
    pub(crate) fn find(&mut self, (number, space): (u32, &mut Space), fields: &EventFields<'_>, found: &mut Vec<u32>) {
        found.extend_from_slice(&space.scanned);
        if !space.indexed {
            return;
        }
        self.turns += 1;
        let counted = self.turns.is_multiple_of(SAMPLE);
        if counted {
            self.in_events.turn();
        }
        let mut key = std::mem::take(&mut self.key);
        for (path, path_use) in space.paths.iter_mut().enumerate() {
            if path_use.uses > 0 || counted {
                self.probe((number, path as u32), path_use, fields, &mut key, (found, counted));
            }
        }
        self.key = key;
    }

    fn probe(
        &mut self,
        (space, path): (u32, u32),
        path_use: &mut PathUse,
        fields: &EventFields<'_>,
        key: &mut Key,
        (found, counted): (&mut Vec<u32>, bool),
    ) {
        let PathUse {
            classes,
            exists,
            ranges,
            ..
        } = path_use;
        let mut any = false;
        // The span of the values of each class that ranges ask for.
        let mut spans: [(u64, u64); 4] = [(u64::MAX, 0); 4];
        let spans_kept = ranges.len() <= spans.len();
        path_use.path.any(fields, &mut |value| {
            any |= value.is_some();
            let value = value.unwrap_or(RawBsonRef::Null);
            let class = key_class(value);
            let in_ranges = ranges.iter().position(|range| range.class == class);
            // Long values are not encoded for a count.
            let equal = *classes & class_bit(class) != 0;
            if !equal && in_ranges.is_none() && !(counted && is_short(value)) {
                return false;
            }
            key.set(value);
            if let Some(at) = in_ranges {
                let place = key.short().place;
                match spans.get_mut(at).filter(|_| spans_kept) {
                    Some(span) => *span = (span.0.min(place), span.1.max(place)),
                    // More classes than any sensible set of filters has: everything of the class.
                    None => ranges[at]
                        .intervals
                        .each_overlapping(0, u64::MAX, &mut |group| found.push(group)),
                }
                if counted {
                    ranges[at].sample(place);
                }
            }
            if equal || counted {
                let hash = self.keys.hash_one((space, path, key.hashed()));
                if counted {
                    self.in_events.count(hash);
                }
                match self.equal.get(&hash) {
                    Some(Postings::One(group)) => found.push(*group),
                    Some(Postings::Many(groups)) => found.extend_from_slice(groups),
                    None => {}
                }
            }
            false
        });
        if any {
            found.extend_from_slice(exists);
        }
        for (range, (low, high)) in ranges.iter().zip(spans).filter(|(_, (low, high))| low <= high) {
            range
                .intervals
                .each_overlapping(low, high, &mut |group| found.push(group));
        }
    }
}

impl Postings {
    fn push(&mut self, group: u32) {
        match self {
            Postings::One(one) => *self = Postings::Many(vec![*one, group]),
            Postings::Many(many) => many.push(group),
        }
    }

    /// Whether nothing is left.
    fn remove(&mut self, group: u32) -> bool {
        match self {
            Postings::One(one) => *one == group,
            Postings::Many(many) => {
                if let Some(at) = many.iter().position(|other| *other == group) {
                    many.swap_remove(at);
                }
                if let [one] = many.as_slice() {
                    *self = Postings::One(*one);
                }
                false
            }
        }
    }
}

/// Classes are numbered in steps of eight.
fn class_bit(class: u8) -> u64 {
    1 << (class >> 3)
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
