//! Reading: the state as of one commit, untouched by later ones.

use std::ops::Bound;
use std::sync::Arc;

use fjall::{Database, Readable};

use super::{APPLIED_KEY, CATALOGUE_PREFIX, EngineError, Slice, Spaces, StateKey};

/// The engine's state at the end of one commit.
///
/// Shared between threads at will. Closed by dropping it.
pub(crate) struct EngineSnapshot {
    view: fjall::Snapshot,
    spaces: Arc<Spaces>,
    applied: u64,
}

/// Key and value as the engine has them.
pub(super) type StoredEntry = (fjall::Slice, fjall::Slice);

/// Key and value of a catalogue entry.
pub(crate) type CatalogEntry = (Vec<u8>, Vec<u8>);

/// The documents of one collection in key order. See [`EngineSnapshot::scan`].
///
/// It keeps its snapshot open, so it may outlive the handle it came from.
pub(crate) struct Scan {
    documents: fjall::Iter,
}

impl EngineSnapshot {
    pub(super) fn take(database: &Database, spaces: &Arc<Spaces>) -> Result<Self, EngineError> {
        let view = database.snapshot();
        let applied = match view.get(&spaces.catalogue, APPLIED_KEY).map_err(reading)? {
            None => 0,
            Some(bytes) => u64::from_le_bytes(
                <[u8; 8]>::try_from(&bytes[..]).map_err(|_| EngineError::AppliedMalformed { bytes: bytes.len() })?,
            ),
        };
        Ok(EngineSnapshot {
            view,
            spaces: Arc::clone(spaces),
            applied,
        })
    }

    /// OpID that this state covers.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The document under `key`.
    pub(crate) fn get(&self, key: &StateKey) -> Result<Option<Slice>, EngineError> {
        let value = self.view.get(&self.spaces.documents, &key.0).map_err(reading)?;
        Ok(value.map(Slice))
    }

    /// Documents of `collection` between two keys, ascending; `.rev()` for descending.
    pub(crate) fn scan(&self, collection: u32, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan {
        let with_prefix = |key| prefixed(collection, key);
        let from = match from {
            Bound::Unbounded => Bound::Included(with_prefix(&[])),
            bound => bound.map(with_prefix),
        };
        let to = match (to, collection.checked_add(1)) {
            (Bound::Unbounded, Some(next)) => Bound::Excluded(prefixed(next, &[])),
            (Bound::Unbounded, None) => Bound::Unbounded,
            (bound, _) => bound.map(with_prefix),
        };
        // A range whose ends cross is empty here; the engine may take it for a mistake.
        let range = if is_empty(&from, &to) {
            (Bound::Excluded(Vec::new()), Bound::Included(Vec::new()))
        } else {
            (from, to)
        };
        Scan {
            documents: self.view.range(&self.spaces.documents, range),
        }
    }

    /// Every catalogue entry, in key order.
    pub(crate) fn catalog(&self) -> Result<Vec<CatalogEntry>, EngineError> {
        self.view
            .prefix(&self.spaces.catalogue, [CATALOGUE_PREFIX])
            .map(|entry| {
                let (key, value) = entry.into_inner().map_err(reading)?;
                Ok((key[1..].to_vec(), value.to_vec()))
            })
            .collect()
    }

    /// Everything under the documents' keyspace, keys as they are stored.
    pub(super) fn stored_documents(&self) -> impl Iterator<Item = Result<StoredEntry, EngineError>> + use<> {
        stored(self.view.iter(&self.spaces.documents))
    }

    /// Everything under the catalogue's keyspace, what the engine itself keeps there included.
    pub(super) fn stored_catalogue(&self) -> impl Iterator<Item = Result<StoredEntry, EngineError>> + use<> {
        stored(self.view.iter(&self.spaces.catalogue))
    }

    /// Full keys, prefix included, of a collection. Values are not read.
    pub(super) fn keys(&self, collection: u32) -> impl Iterator<Item = Result<fjall::Slice, EngineError>> + use<> {
        self.view
            .prefix(&self.spaces.documents, collection.to_be_bytes())
            .map(|entry| entry.key().map_err(reading))
    }
}

impl std::fmt::Debug for EngineSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineSnapshot")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl Iterator for Scan {
    type Item = Result<(StateKey, Slice), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.documents.next().map(document)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.documents.next_back().map(document)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

fn stored(entries: fjall::Iter) -> impl Iterator<Item = Result<StoredEntry, EngineError>> {
    entries.map(|entry| entry.into_inner().map_err(reading))
}

fn document(entry: fjall::Guard) -> Result<(StateKey, Slice), EngineError> {
    // Every key of a scan begins with the collection's prefix: the bounds say so.
    let (key, value) = entry.into_inner().map_err(reading)?;
    Ok((StateKey(key), Slice(value)))
}

fn prefixed(collection: u32, key: &[u8]) -> Vec<u8> {
    [&collection.to_be_bytes(), key].concat()
}

fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

fn reading(source: fjall::Error) -> EngineError {
    EngineError::Read { source }
}
