//! Walking a range of keys of one generation, in either direction, a chunk at a time.
//!
//! The walk owns its generation and no place in its map: each chunk seeks its beginning anew, so a scan may be kept for as
//! long as one likes, and a short one does not pay for what it does not read. Versions above the OpID it reads at, which
//! writers may add meanwhile, are passed over.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use tailwater_oplog::OpId;

use super::{Generation, Version, VersionKey};
use crate::catalog::CollectionNumber;
use crate::engine::StateKey;

/// Keys fetched at first; each chunk doubles that, up to …
const CHUNK_KEYS_MIN: usize = 8;
/// … this.
const CHUNK_KEYS_MAX: usize = 512;

/// Keys of a collection or an index between two bounds, and the direction to read them in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) descending: bool,
}

impl KeyRange {
    /// Every key, ascending.
    pub(crate) fn all() -> KeyRange {
        KeyRange {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            descending: false,
        }
    }

    /// Every key between two, both included, ascending.
    pub(crate) fn between(first: &[u8], last: &[u8]) -> KeyRange {
        KeyRange {
            from: Bound::Included(first.to_vec()),
            to: Bound::Included(last.to_vec()),
            descending: false,
        }
    }

    /// Every key that begins so, ascending.
    pub(crate) fn prefix(prefix: &[u8]) -> KeyRange {
        KeyRange {
            from: Bound::Included(prefix.to_vec()),
            to: after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            descending: false,
        }
    }

    /// Whether a key lies in it.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let to = match &self.to {
            Bound::Included(to) => key <= to.as_slice(),
            Bound::Excluded(to) => key < to.as_slice(),
            Bound::Unbounded => true,
        };
        to && self.begins_by(key)
    }

    /// Whether a key lies in it or behind it, ascending.
    pub(crate) fn begins_by(&self, key: &[u8]) -> bool {
        match &self.from {
            Bound::Included(from) => from.as_slice() <= key,
            Bound::Excluded(from) => from.as_slice() < key,
            Bound::Unbounded => true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

/// The first key behind all those that begin with `prefix`; none when there is no such key.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut after = prefix[..=end].to_vec();
    after[end] += 1;
    Some(after)
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct GenerationScan {
    generation: Arc<Generation>,
    collection: CollectionNumber,
    at: OpId,
    /// What has not been fetched.
    range: KeyRange,
    chunk: VecDeque<(StateKey, Version)>,
    chunk_keys: usize,
    exhausted: bool,
}

impl GenerationScan {
    pub(crate) fn new(
        generation: Arc<Generation>,
        collection: CollectionNumber,
        range: KeyRange,
        at: OpId,
    ) -> GenerationScan {
        GenerationScan {
            exhausted: range.is_empty(),
            generation,
            collection,
            at,
            range,
            chunk: VecDeque::new(),
            chunk_keys: CHUNK_KEYS_MIN,
        }
    }

    /// Fetches a chunk when there is none, so that [`front`](GenerationScan::front) is what comes next.
    pub(crate) fn prepare(&mut self) {
        if self.chunk.is_empty() && !self.exhausted {
            self.fetch();
        }
    }

    /// The key that comes next, if the scan is prepared.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.chunk.front().map(|(key, _)| key.key())
    }

    /// Takes what comes next, if the scan is prepared.
    pub(crate) fn take(&mut self) -> Option<(StateKey, Version)> {
        self.chunk.pop_front()
    }

    fn fetch(&mut self) {
        let wanted = self.chunk_keys;
        self.chunk_keys = (wanted * 2).min(CHUNK_KEYS_MAX);
        let bounds = self.bounds();
        let (single, inserted) = if self.range.descending {
            (
                self.singles_descending(&bounds, wanted),
                self.inserted_descending(&bounds, wanted),
            )
        } else {
            (
                self.singles_ascending(&bounds, wanted),
                self.inserted_ascending(&bounds, wanted),
            )
        };
        self.chunk = merge(single, inserted, self.range.descending, wanted);
        match self.chunk.back() {
            Some((last, _)) if self.chunk.len() >= wanted => {
                let beyond = Bound::Excluded(last.key().to_vec());
                if self.range.descending {
                    self.range.to = beyond;
                } else {
                    self.range.from = beyond;
                }
            }
            _ => self.exhausted = true,
        }
    }

    /// The first keys of the map, each with its newest version that is old enough.
    fn singles_ascending(&self, bounds: &Bounds, wanted: usize) -> VecDeque<Found> {
        let mut chunk: VecDeque<Found> = VecDeque::new();
        for found in self.generation.versions.range(versions_between(bounds)) {
            let VersionKey { key, op_id } = found.key();
            // Newest first within a key: the first that is old enough is the one to read.
            if op_id.0 > self.at || chunk.back().is_some_and(|(last, ..)| last == key) {
                continue;
            }
            if chunk.len() == wanted {
                break;
            }
            chunk.push_back((key.clone(), op_id.0, found.value().clone()));
        }
        chunk
    }

    /// The last keys of the map, from the end.
    fn singles_descending(&self, bounds: &Bounds, wanted: usize) -> VecDeque<Found> {
        let mut chunk: VecDeque<Found> = VecDeque::new();
        for found in self.generation.versions.range(versions_between(bounds)).rev() {
            let VersionKey { key, op_id } = found.key();
            if op_id.0 > self.at {
                continue;
            }
            // Oldest first within a key: the last that is old enough is the one to read.
            let full = chunk.len() == wanted;
            match chunk.back_mut() {
                Some((last, at, version)) if last == key => (*at, *version) = (op_id.0, found.value().clone()),
                _ if full => break,
                _ => chunk.push_back((key.clone(), op_id.0, found.value().clone())),
            }
        }
        chunk
    }

    /// The first keys of the runs.
    fn inserted_ascending(&self, bounds: &Bounds, wanted: usize) -> VecDeque<Found> {
        let (from, to) = bounds;
        let mut chunk = VecDeque::new();
        // The one that the range may begin within, then those that begin within the range.
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => self.generation.runs.upper_bound(Bound::Included(key)),
            Bound::Unbounded => None,
        };
        let others = match &first {
            Some(first) => Bound::Excluded(first.key().clone()),
            None => from.clone(),
        };
        if is_crossed(&others, to) {
            return chunk;
        }
        for found in first
            .into_iter()
            .chain(self.generation.runs.range((others, to.clone())))
        {
            let run = found.value();
            for (key, op_id, document) in run.range(from, to).filter_map(|position| run.at(position)) {
                if chunk.len() == wanted {
                    return chunk;
                }
                if op_id <= self.at {
                    chunk.push_back((key.clone(), op_id, Version::Put(document.clone())));
                }
            }
        }
        chunk
    }

    /// The last keys of the runs, from the end.
    fn inserted_descending(&self, bounds: &Bounds, wanted: usize) -> VecDeque<Found> {
        let (from, to) = bounds;
        let mut chunk = VecDeque::new();
        for found in self.generation.runs.range((Bound::Unbounded, to.clone())).rev() {
            let run = found.value();
            let range = run.range(from, to);
            // Runs do not overlap: those before this one end before the range begins.
            if range.is_empty() {
                break;
            }
            for (key, op_id, document) in range.rev().filter_map(|position| run.at(position)) {
                if chunk.len() == wanted {
                    return chunk;
                }
                if op_id <= self.at {
                    chunk.push_back((key.clone(), op_id, Version::Put(document.clone())));
                }
            }
        }
        chunk
    }

    /// The range in terms of the engine's keys.
    fn bounds(&self) -> Bounds {
        let key = |key: &Vec<u8>| StateKey::new(self.collection.0, key);
        let from = match &self.range.from {
            Bound::Unbounded => Bound::Included(StateKey::new(self.collection.0, &[])),
            bound => bound.as_ref().map(key),
        };
        let to = match (&self.range.to, self.collection.0.checked_add(1)) {
            (Bound::Unbounded, Some(next)) => Bound::Excluded(StateKey::new(next, &[])),
            (Bound::Unbounded, None) => Bound::Unbounded,
            (bound, _) => bound.as_ref().map(key),
        };
        (from, to)
    }
}

type Bounds = (Bound<StateKey>, Bound<StateKey>);

/// A key, and a version with the entry that made it.
type Found = (StateKey, OpId, Version);

/// Bounds in terms of versions: all of a key's, or none.
fn versions_between((from, to): &Bounds) -> (Bound<VersionKey>, Bound<VersionKey>) {
    let newest = |key: &StateKey| VersionKey::at(key.clone(), OpId::new(u64::MAX));
    let oldest = |key: &StateKey| VersionKey::at(key.clone(), OpId::ZERO);
    let from = match from {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(newest(key)),
        Bound::Excluded(key) => Bound::Excluded(oldest(key)),
    };
    let to = match to {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(oldest(key)),
        Bound::Excluded(key) => Bound::Excluded(newest(key)),
    };
    (from, to)
}

/// Whether no key can be between these bounds.
fn is_crossed(from: &Bound<StateKey>, to: &Bound<StateKey>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// Merges two chunks in one order; of versions of one key the newer counts.
fn merge(
    mut a: VecDeque<Found>,
    mut b: VecDeque<Found>,
    descending: bool,
    wanted: usize,
) -> VecDeque<(StateKey, Version)> {
    let mut merged = VecDeque::with_capacity(wanted.min(a.len() + b.len()));
    while merged.len() < wanted {
        let order = match (a.front(), b.front()) {
            (Some((a, ..)), Some((b, ..))) if descending => b.cmp(a),
            (Some((a, ..)), Some((b, ..))) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        let next = match order {
            std::cmp::Ordering::Less => a.pop_front(),
            std::cmp::Ordering::Greater => b.pop_front(),
            std::cmp::Ordering::Equal => a
                .pop_front()
                .into_iter()
                .chain(b.pop_front())
                .max_by_key(|(_, op_id, _)| *op_id),
        };
        match next {
            Some((key, _, version)) => merged.push_back((key, version)),
            None => break,
        }
    }
    merged
}
