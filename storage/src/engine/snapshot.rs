//! Reading: the state as of one commit, untouched by later ones.

use std::ops::Bound;
use std::sync::Arc;

use fjall::{Database, Readable};

use super::prefixes::{ANSWER_KEYS_MAX, Answer, CommitNumber, PrefixCache};
use super::{APPLIED_KEY, CATALOGUE_PREFIX, EngineError, Slice, Spaces, StateKey};

/// The engine's state at the end of one commit.
///
/// Shared between threads at will. Closed by dropping it.
pub(crate) struct EngineSnapshot {
    view: fjall::Snapshot,
    spaces: Arc<Spaces>,
    applied: u64,
    /// The commit that made it.
    commit: CommitNumber,
    prefixes: Arc<PrefixCache>,
}

/// Key and value as the engine has them.
pub(super) type StoredEntry = (fjall::Slice, fjall::Slice);

/// Key and value of a catalogue entry.
pub(crate) type CatalogEntry = (Vec<u8>, Vec<u8>);

/// The documents of one collection in key order. See [`EngineSnapshot::scan`].
///
/// It keeps its snapshot open, so it may outlive the handle it came from.
pub(crate) struct Scan {
    /// What comes first and has been read already.
    found: std::vec::IntoIter<(StateKey, Slice)>,
    /// What comes behind it; nothing when that is known to be nothing.
    tables: Option<fjall::Iter>,
}

impl EngineSnapshot {
    pub(super) fn take(
        database: &Database,
        spaces: &Arc<Spaces>,
        prefixes: &Arc<PrefixCache>,
        commit: CommitNumber,
    ) -> Result<Self, EngineError> {
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
            commit,
            prefixes: Arc::clone(prefixes),
        })
    }

    pub(super) fn commit(&self) -> CommitNumber {
        self.commit
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
        if let Some(prefix) = prefix_between(from, to) {
            return self.scan_prefix(&StateKey::new(collection, prefix));
        }
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
        Scan::of(self.view.range(&self.spaces.documents, range))
    }

    /// Everything whose key begins so. Few keys are remembered for the next one who asks.
    fn scan_prefix(&self, prefix: &StateKey) -> Scan {
        let scan = || Scan::of(self.view.prefix(&self.spaces.documents, &prefix.0));
        let found = match self.prefixes.get(prefix, self.commit) {
            Some(Answer::Whole(found)) => found.unpack(prefix),
            Some(Answer::Long) => return scan(),
            None => {
                let mut tables = self.view.prefix(&self.spaces.documents, &prefix.0);
                let mut found = Vec::new();
                while let Some(entry) = tables.next() {
                    let Ok(entry) = document(entry) else {
                        // Whoever reads on meets the error.
                        return scan();
                    };
                    found.push(entry);
                    if found.len() > ANSWER_KEYS_MAX {
                        self.prefixes.keep(prefix, self.commit, None);
                        return Scan {
                            found: found.into_iter(),
                            tables: Some(tables),
                        };
                    }
                }
                self.prefixes.keep(prefix, self.commit, Some(&found));
                found
            }
        };
        Scan {
            found: found.into_iter(),
            tables: None,
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

impl Scan {
    fn of(tables: fjall::Iter) -> Scan {
        Scan {
            found: Vec::new().into_iter(),
            tables: Some(tables),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<(StateKey, Slice), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.found.next().map(Ok);
        found.or_else(|| self.tables.as_mut()?.next().map(document))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        let behind = self.tables.as_mut().and_then(DoubleEndedIterator::next_back);
        behind.map(document).or_else(|| self.found.next_back().map(Ok))
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

/// The prefix of all keys between two bounds, where these are the keys with a prefix.
fn prefix_between<'k>(from: Bound<&'k [u8]>, to: Bound<&[u8]>) -> Option<&'k [u8]> {
    let (Bound::Included(prefix), Bound::Excluded(to)) = (from, to) else {
        return None;
    };
    let (last, before) = to.split_last()?;
    let (same, rest) = prefix.split_at_checked(before.len())?;
    let (raised, behind) = rest.split_first()?;
    let is_next = same == before && raised.checked_add(1) == Some(*last) && behind.iter().all(|byte| *byte == u8::MAX);
    is_next.then_some(prefix)
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
