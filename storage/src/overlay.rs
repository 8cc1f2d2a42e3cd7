//! What was written lately: versions of documents and index entries that the engine does not have yet.
//!
//! A generation is a sorted map from collection, key and OpID to what became of the document there. Writers add to the
//! newest generation only; older ones are frozen and wait for the applier. A reader picks, for each key, the newest version
//! at or below the OpID it reads at, so it needs no lock and later writes do not disturb it.
//!
//! A version holds the payload of its entry, which it shares with whoever wrote it. So a recent document is in memory once,
//! and [`Generation::bytes`] counts it.

mod scan;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use tailwater_oplog::OpId;

use crate::catalog::{CatalogChange, CollectionNumber, Size};
use crate::payload::Payload;

pub(crate) use scan::{GenerationScan, KeyRange, after_prefix};

/// What a version costs beside its key and its payload: map node, handles.
const VERSION_BYTES: usize = 160;

/// A key, and the entry that has made something of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct VersionKey {
    collection: CollectionNumber,
    key: Box<[u8]>,
    /// Newest first.
    op_id: Reverse<OpId>,
}

impl VersionKey {
    /// Where to look for the newest version of a key at or below `at`.
    pub(crate) fn at(collection: CollectionNumber, key: &[u8], at: OpId) -> VersionKey {
        VersionKey {
            collection,
            key: key.into(),
            op_id: Reverse(at),
        }
    }

    /// Whether both are versions of one key.
    fn is_of(&self, other: &VersionKey) -> bool {
        self.collection == other.collection && self.key == other.key
    }
}

/// What became of a document or an index entry.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// The document of this payload was put there.
    Put(Payload),
    /// An index entry, whose key has so many bytes of values before the document's key.
    Indexed(u32),
    /// It was deleted.
    Deleted,
}

impl Version {
    /// The document's bytes, if there is one.
    pub(crate) fn document(&self) -> Option<&[u8]> {
        match self {
            Version::Put(payload) => payload.document(),
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
            Version::Put(payload) => payload.bytes().len(),
            Version::Indexed(_) | Version::Deleted => 0,
        };
        self.bytes
            .fetch_add(VERSION_BYTES + key.len() + payload, Ordering::Relaxed);
        self.versions.insert(VersionKey::at(collection, key, op_id), version);
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

    /// The newest version of a key at or below an OpID.
    pub(crate) fn get(&self, sought: &VersionKey) -> Option<Version> {
        let found = self.versions.lower_bound(Bound::Included(sought))?;
        found.key().is_of(sought).then(|| found.value().clone())
    }

    /// Calls `each` with the newest version of every key.
    pub(crate) fn newest_versions(&self, mut each: impl FnMut(CollectionNumber, &[u8], &Version)) {
        let mut last: Option<Entry<'_, VersionKey, Version>> = None;
        for found in &self.versions {
            let key = found.key();
            if last.as_ref().is_some_and(|last| last.key().is_of(key)) {
                continue;
            }
            each(key.collection, &key.key, found.value());
            last = Some(found);
        }
    }
}
