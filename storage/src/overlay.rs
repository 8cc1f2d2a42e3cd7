//! What was written lately: versions of documents and index entries that the engine does not have yet.
//!
//! A generation is a sorted map from key and OpID to what became of the document there, and beside it the [`Run`]s: batches of
//! inserts, as they came. Writers add to the newest generation only; older ones are frozen and wait for the applier. A reader
//! picks, for each key, the newest version at or below the OpID it reads at, so it needs no lock and later writes do not
//! disturb it.
//!
//! Invariant: no two runs of a generation overlap, so a key is in one of them at most.
//!
//! Keys and documents are the engine's own byte strings, which the applier hands over without copying them.
//! [`Generation::bytes`] counts them.

mod run;
mod scan;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use rustc_hash::FxHashMap;
use tailwater_oplog::OpId;

use crate::catalog::{CatalogChange, CollectionNumber, Size};
use crate::engine::{Slice, StateKey};
use crate::store::Few;
use run::Run;

pub(crate) use scan::{GenerationScan, KeyRange, after_prefix};

/// What a version costs beside its key and its document: map node, handles.
const VERSION_BYTES: usize = 160;
/// Shorter batches go into the map: with few documents each, runs would be a map themselves.
const RUN_KEYS_MIN: usize = 16;

/// A key, and the entry that has made something of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct VersionKey {
    key: StateKey,
    /// Newest first.
    op_id: Reverse<OpId>,
}

impl VersionKey {
    /// Where to look for the newest version of a key at or below `at`.
    pub(crate) fn at(key: StateKey, at: OpId) -> VersionKey {
        VersionKey {
            key,
            op_id: Reverse(at),
        }
    }

    pub(crate) fn key(&self) -> &StateKey {
        &self.key
    }
}

/// What became of a document or an index entry.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// This document was put there.
    Put(Slice),
    /// An index entry, whose key has so many bytes of values before the document's key.
    Indexed(u32),
    /// It was deleted.
    Deleted,
}

impl Version {
    /// The document's bytes, if there is one.
    pub(crate) fn document(&self) -> Option<&[u8]> {
        match self {
            Version::Put(document) => Some(document),
            Version::Indexed(_) | Version::Deleted => None,
        }
    }
}

/// A stretch of the log's latest writes. See the module documentation.
#[derive(Debug)]
pub(crate) struct Generation {
    versions: SkipMap<VersionKey, Version>,
    /// By the first key of each.
    runs: SkipMap<StateKey, Arc<Run>>,
    changes: Mutex<Changes>,
    bytes: AtomicUsize,
    last: AtomicU64,
}

/// What a generation does to the catalogue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) catalog: Vec<CatalogChange>,
    /// How much the collections have grown.
    pub(crate) growth: FxHashMap<CollectionNumber, Size>,
}

impl Generation {
    pub(crate) fn new() -> Generation {
        Generation {
            versions: SkipMap::new(),
            runs: SkipMap::new(),
            changes: Mutex::default(),
            bytes: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn put(&self, collection: CollectionNumber, key: &[u8], op_id: OpId, version: Version) {
        self.put_version(StateKey::new(collection.0, key), op_id, version);
    }

    fn put_version(&self, key: StateKey, op_id: OpId, version: Version) {
        let bytes = VERSION_BYTES + key.len() + version.document().map_or(0, <[u8]>::len);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.versions.insert(VersionKey::at(key, op_id), version);
    }

    /// Puts documents there that were not there before, the first by the entry `first` and so on: as a [`Run`] where they can
    /// be one, else one by one. Keys and documents must be as many.
    pub(crate) fn put_all(&self, first: OpId, keys: Few<StateKey>, documents: Few<Slice>) {
        if keys.len() >= RUN_KEYS_MIN && keys.is_sorted_by(|a, b| a < b) && self.is_apart(&keys) {
            let run = Run::new(first, keys.into_vec(), documents.into_vec());
            self.bytes.fetch_add(run.bytes(), Ordering::Relaxed);
            self.runs.insert(run.first_key().clone(), Arc::new(run));
            return;
        }
        for ((op_id, key), document) in (first.get()..).map(OpId::new).zip(keys).zip(documents) {
            self.put_version(key, op_id, Version::Put(document));
        }
    }

    /// Whether no run has keys between the first and the last of these.
    fn is_apart(&self, keys: &[StateKey]) -> bool {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return false;
        };
        let before = self.runs.upper_bound(Bound::Included(last));
        before.is_none_or(|before| before.value().last_key() < first)
    }

    pub(crate) fn change_catalog(&self, change: CatalogChange) {
        self.lock_changes().catalog.push(change);
        self.bytes.fetch_add(VERSION_BYTES, Ordering::Relaxed);
    }

    pub(crate) fn grow(&self, collection: CollectionNumber, size: Size) {
        *self.lock_changes().growth.entry(collection).or_default() += size;
    }

    fn lock_changes(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that everything up to `op_id` is in this generation or an older one.
    pub(crate) fn cover(&self, op_id: OpId) {
        self.last.store(op_id.get(), Ordering::Release);
    }

    /// The last entry it covers; zero when it covers none.
    pub(crate) fn last(&self) -> OpId {
        OpId::new(self.last.load(Ordering::Acquire))
    }

    /// Memory it takes, documents included, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn changes(&self) -> Changes {
        self.lock_changes().clone()
    }

    /// The newest version of a key at or below an OpID.
    pub(crate) fn get(&self, sought: &VersionKey) -> Option<Version> {
        self.newest(sought).map(|(_, version)| version)
    }

    /// Whether one of these keys has a version above an OpID.
    pub(crate) fn has_any_since(&self, keys: &[StateKey], at: OpId) -> bool {
        keys.iter().any(|key| {
            let sought = VersionKey::at(key.clone(), OpId::new(u64::MAX));
            self.newest(&sought).is_some_and(|(op_id, _)| op_id > at)
        })
    }

    fn newest(&self, sought: &VersionKey) -> Option<(OpId, Version)> {
        let found = self.versions.lower_bound(Bound::Included(sought));
        let found = found.filter(|found| found.key().key == sought.key);
        let single = found.map(|found| (found.key().op_id.0, found.value().clone()));
        let run = self.runs.upper_bound(Bound::Included(&sought.key));
        let inserted = run.and_then(|run| {
            let (op_id, document) = run.value().get(&sought.key)?;
            (op_id <= sought.op_id.0).then(|| (op_id, Version::Put(document.clone())))
        });
        match (single, inserted) {
            (Some(single), Some(inserted)) => Some(if single.0 > inserted.0 { single } else { inserted }),
            (single, inserted) => single.or(inserted),
        }
    }

    /// Calls `each` with the newest version of every key, in the order of the keys.
    pub(crate) fn newest_versions(&self, mut each: impl FnMut(&StateKey, &Version)) {
        let mut runs = RunWalk::new(self.runs.iter().map(|run| Arc::clone(run.value())).collect());
        let mut last: Option<Entry<'_, VersionKey, Version>> = None;
        for found in &self.versions {
            let VersionKey { key, op_id } = found.key();
            if last.as_ref().is_some_and(|last| last.key().key == *key) {
                continue;
            }
            runs.pass_below(key, &mut each);
            match runs.peek() {
                Some((inserted, by, document)) if inserted == key => {
                    // Both are versions of one key.
                    if by > op_id.0 {
                        each(key, &Version::Put(document.clone()));
                    } else {
                        each(key, found.value());
                    }
                    runs.advance();
                }
                _ => each(key, found.value()),
            }
            last = Some(found);
        }
        runs.pass_all(&mut each);
    }
}

/// Goes through runs that do not overlap, in order.
struct RunWalk {
    runs: Vec<Arc<Run>>,
    run: usize,
    position: usize,
}

impl RunWalk {
    fn new(runs: Vec<Arc<Run>>) -> RunWalk {
        RunWalk {
            runs,
            run: 0,
            position: 0,
        }
    }

    fn peek(&self) -> Option<(&StateKey, OpId, &Slice)> {
        self.runs.get(self.run)?.at(self.position)
    }

    fn advance(&mut self) {
        self.position += 1;
        if self.runs.get(self.run).is_some_and(|run| self.position == run.len()) {
            (self.run, self.position) = (self.run + 1, 0);
        }
    }

    fn pass_below(&mut self, limit: &StateKey, each: &mut impl FnMut(&StateKey, &Version)) {
        while let Some((key, _, document)) = self.peek()
            && key < limit
        {
            each(key, &Version::Put(document.clone()));
            self.advance();
        }
    }

    fn pass_all(&mut self, each: &mut impl FnMut(&StateKey, &Version)) {
        while let Some((key, _, document)) = self.peek() {
            each(key, &Version::Put(document.clone()));
            self.advance();
        }
    }
}
