//! What was written lately: versions of documents and index entries that the engine does not have yet.
//!
//! A generation is a sorted map from collection, key and OpID to what became of the document there. Writers add to the
//! newest generation only; older ones are frozen and wait for the applier. A reader picks, for each key, the newest version
//! at or below the OpID it reads at, so it needs no lock and later writes do not disturb it.
//!
//! A version holds no copy of the document: it holds the log entry, whose bytes are mapped.

mod scan;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;
use tailwater_oplog::entry::StoreEntry;
use tailwater_oplog::{OpId, SharedEntry};

use crate::catalog::{CatalogChange, CollectionNumber, Size};

pub(crate) use scan::{GenerationScan, KeyRange, after_prefix};

/// What a version costs beside its key: map node, entry handle.
const VERSION_BYTES: usize = 160;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct VersionKey {
    collection: CollectionNumber,
    key: Box<[u8]>,
    /// Newest first.
    op_id: Reverse<OpId>,
}

/// What became of a document or an index entry.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// The entry's document is the document.
    Put(SharedEntry),
    /// An index entry, whose key has so many bytes of values before the document's key.
    Indexed(u32),
    /// It was deleted.
    Deleted,
}

impl Version {
    /// The document's bytes, if there is one.
    pub(crate) fn document(&self) -> Option<&[u8]> {
        match self {
            Version::Put(entry) => StoreEntry::decode(entry.payload())
                .ok()
                .and_then(|e| e.document)
                .map(bson::RawDocument::as_bytes),
            Version::Indexed(_) | Version::Deleted => None,
        }
    }
}

/// A stretch of the log's latest writes. See the module documentation.
#[derive(Debug)]
pub(crate) struct Generation {
    versions: SkipMap<VersionKey, Version>,
    changes: Mutex<Changes>,
    bytes: AtomicUsize,
    last: AtomicU64,
}

/// What a generation does to the catalogue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) catalog: Vec<CatalogChange>,
    /// How much the collections have grown.
    pub(crate) growth: HashMap<CollectionNumber, Size>,
}

impl Generation {
    pub(crate) fn new() -> Generation {
        Generation {
            versions: SkipMap::new(),
            changes: Mutex::default(),
            bytes: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn put(&self, collection: CollectionNumber, key: &[u8], op_id: OpId, version: Version) {
        let payload = match &version {
            Version::Put(entry) => entry.payload().len(),
            Version::Indexed(_) | Version::Deleted => 0,
        };
        self.bytes
            .fetch_add(VERSION_BYTES + key.len() + payload, Ordering::Relaxed);
        let key = VersionKey {
            collection,
            key: key.into(),
            op_id: Reverse(op_id),
        };
        self.versions.insert(key, version);
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

    /// Memory it takes, documents in the map included, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn changes(&self) -> Changes {
        self.lock_changes().clone()
    }

    /// The newest version of a key at or below `at`.
    pub(crate) fn get(&self, collection: CollectionNumber, key: &[u8], at: OpId) -> Option<Version> {
        let from = VersionKey {
            collection,
            key: key.into(),
            op_id: Reverse(at),
        };
        let found = self.versions.lower_bound(Bound::Included(&from))?;
        let found_key = found.key();
        (found_key.collection == collection && *found_key.key == *key).then(|| found.value().clone())
    }

    /// Calls `each` with the newest version of every key.
    pub(crate) fn newest_versions(&self, mut each: impl FnMut(CollectionNumber, &[u8], &Version)) {
        let mut last: Option<(CollectionNumber, Box<[u8]>)> = None;
        for found in &self.versions {
            let key = found.key();
            if last
                .as_ref()
                .is_some_and(|(c, k)| *c == key.collection && *k == key.key)
            {
                continue;
            }
            each(key.collection, &key.key, found.value());
            last = Some((key.collection, key.key.clone()));
        }
    }
}
