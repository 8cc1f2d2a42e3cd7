//! Documents that were inserted as one batch, in the order of their keys.
//!
//! A run is made whole and never changes, so it needs neither a node for each document nor a search for its place: that is
//! most of what a batch of inserts would cost in the map.

use std::ops::{Bound, Range};

use tailwater_oplog::OpId;

use crate::engine::{Slice, StateKey};

/// What a document of a run costs beside its key and its bytes: the handles of both, and what allocations take.
const ENTRY_BYTES: usize = 88;

/// See the module documentation. The document at position `i` was inserted by the entry `first + i`.
#[derive(Debug)]
pub(super) struct Run {
    first: OpId,
    /// Strictly ascending, never empty.
    keys: Vec<StateKey>,
    documents: Vec<Slice>,
}

impl Run {
    /// Of documents and their keys, which must ascend. There must be some.
    pub(super) fn new(first: OpId, keys: Vec<StateKey>, documents: Vec<Slice>) -> Run {
        debug_assert!(!keys.is_empty() && keys.is_sorted_by(|a, b| a < b) && keys.len() == documents.len());
        Run { first, keys, documents }
    }

    pub(super) fn first_key(&self) -> &StateKey {
        &self.keys[0]
    }

    pub(super) fn last_key(&self) -> &StateKey {
        &self.keys[self.keys.len() - 1]
    }

    /// Memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(StateKey::len).sum();
        let documents: usize = self.documents.iter().map(|document| document.len()).sum();
        keys + documents + self.keys.len() * ENTRY_BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Key, entry and document at a position.
    pub(super) fn at(&self, position: usize) -> Option<(&StateKey, OpId, &Slice)> {
        let op_id = OpId::new(self.first.get() + position as u64);
        Some((self.keys.get(position)?, op_id, &self.documents[position]))
    }

    /// The document under a key, and its entry.
    pub(super) fn get(&self, key: &StateKey) -> Option<(OpId, &Slice)> {
        let position = self.keys.binary_search(key).ok()?;
        self.at(position).map(|(_, op_id, document)| (op_id, document))
    }

    /// Where the keys between two bounds are.
    pub(super) fn range(&self, from: &Bound<StateKey>, to: &Bound<StateKey>) -> Range<usize> {
        let start = match from {
            Bound::Unbounded => 0,
            Bound::Included(from) => self.keys.partition_point(|key| key < from),
            Bound::Excluded(from) => self.keys.partition_point(|key| key <= from),
        };
        let end = match to {
            Bound::Unbounded => self.keys.len(),
            Bound::Included(to) => self.keys.partition_point(|key| key <= to),
            Bound::Excluded(to) => self.keys.partition_point(|key| key < to),
        };
        start..end.max(start)
    }
}
