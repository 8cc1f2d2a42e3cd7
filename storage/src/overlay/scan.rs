//! Walking a range of keys of one generation, in either direction, a chunk at a time.
//!
//! The walk owns its generation and no place in its map: each chunk seeks its beginning anew, so a scan may be kept for as
//! long as one likes, and a short one does not pay for what it does not read. Versions above the OpID it reads at, which
//! writers may add meanwhile, are passed over.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use tailwater_oplog::OpId;

use super::{Generation, Version, VersionKey};
use crate::catalog::CollectionNumber;

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

    /// Every key that begins so, ascending.
    pub(crate) fn prefix(prefix: &[u8]) -> KeyRange {
        KeyRange {
            from: Bound::Included(prefix.to_vec()),
            to: after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            descending: false,
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
    chunk: VecDeque<(Box<[u8]>, Version)>,
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
        self.chunk.front().map(|(key, _)| &**key)
    }

    /// Takes what comes next, if the scan is prepared.
    pub(crate) fn take(&mut self) -> Option<(Box<[u8]>, Version)> {
        self.chunk.pop_front()
    }

    fn fetch(&mut self) {
        let wanted = self.chunk_keys;
        self.chunk_keys = (wanted * 2).min(CHUNK_KEYS_MAX);
        if self.range.descending {
            self.fetch_descending(wanted);
        } else {
            self.fetch_ascending(wanted);
        }
        match self.chunk.back() {
            Some((last, _)) if self.chunk.len() >= wanted => {
                let beyond = Bound::Excluded(last.to_vec());
                if self.range.descending {
                    self.range.to = beyond;
                } else {
                    self.range.from = beyond;
                }
            }
            _ => self.exhausted = true,
        }
    }

    fn fetch_ascending(&mut self, wanted: usize) {
        let (from, to) = self.bounds();
        for found in self.generation.versions.range((from, to)) {
            let key = found.key();
            // Newest first within a key: the first that is old enough is the one to read.
            if key.op_id.0 > self.at || self.chunk.back().is_some_and(|(last, _)| *last == key.key) {
                continue;
            }
            if self.chunk.len() == wanted {
                break;
            }
            self.chunk.push_back((key.key.clone(), found.value().clone()));
        }
    }

    fn fetch_descending(&mut self, wanted: usize) {
        let (from, to) = self.bounds();
        for found in self.generation.versions.range((from, to)).rev() {
            let key = found.key();
            if key.op_id.0 > self.at {
                continue;
            }
            // Oldest first within a key: the last that is old enough is the one to read.
            let full = self.chunk.len() == wanted;
            match self.chunk.back_mut() {
                Some((last, version)) if *last == key.key => *version = found.value().clone(),
                _ if full => break,
                _ => self.chunk.push_back((key.key.clone(), found.value().clone())),
            }
        }
    }

    /// The range in terms of versions: all of a key's, or none.
    fn bounds(&self) -> (Bound<VersionKey>, Bound<VersionKey>) {
        let newest = Reverse(OpId::new(u64::MAX));
        let oldest = Reverse(OpId::ZERO);
        let version = |key: &[u8], op_id| VersionKey {
            collection: self.collection,
            key: key.into(),
            op_id,
        };
        let from = match &self.range.from {
            Bound::Unbounded => Bound::Included(version(&[], newest)),
            Bound::Included(key) => Bound::Included(version(key, newest)),
            Bound::Excluded(key) => Bound::Excluded(version(key, oldest)),
        };
        let to = match &self.range.to {
            Bound::Unbounded => match self.collection.0.checked_add(1) {
                Some(next) => Bound::Excluded(VersionKey {
                    collection: CollectionNumber(next),
                    key: Box::default(),
                    op_id: newest,
                }),
                None => Bound::Unbounded,
            },
            Bound::Included(key) => Bound::Included(version(key, oldest)),
            Bound::Excluded(key) => Bound::Excluded(version(key, newest)),
        };
        (from, to)
    }
}
