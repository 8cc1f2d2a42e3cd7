//! A set of changes that become visible and durable together.

use fjall::{Database, OwnedWriteBatch, PersistMode};

use super::{CATALOGUE_PREFIX, COLLECTION_PREFIX_BYTES, EngineError, KEY_BYTES_MAX, Slice, Spaces, StateKey};

/// Changes for one commit. The last one for a key wins, whatever came before it.
///
/// It shares keys and values with whoever made them; a commit of about ten thousand small documents or a few
/// megabytes is where the engine is fastest.
#[derive(Debug, Default)]
pub(crate) struct EngineBatch {
    changes: Vec<Change>,
    bytes: usize,
    /// Of the longest key, its prefix included.
    key_bytes_longest: usize,
}

#[derive(Debug)]
struct Change {
    space: Space,
    key: fjall::Slice,
    /// `None` deletes.
    value: Option<fjall::Slice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Documents,
    Catalogue,
}

impl EngineBatch {
    /// An empty batch. Committing one is allowed: it only moves `applied` forward.
    pub(crate) fn new() -> EngineBatch {
        EngineBatch::default()
    }

    /// Inserts or replaces a document.
    pub(crate) fn put(&mut self, key: StateKey, value: Slice) {
        self.push(Space::Documents, key.0, Some(value.0));
    }

    /// Removes a document; none there is no error.
    pub(crate) fn delete(&mut self, key: StateKey) {
        self.push(Space::Documents, key.0, None);
    }

    /// Inserts or replaces a catalogue entry.
    pub(crate) fn put_catalog(&mut self, key: &[u8], value: &[u8]) {
        self.push(Space::Catalogue, catalogue_key(key), Some(fjall::Slice::new(value)));
    }

    /// Removes a catalogue entry; none there is no error.
    pub(crate) fn delete_catalog(&mut self, key: &[u8]) {
        self.push(Space::Catalogue, catalogue_key(key), None);
    }

    /// Number of changes, repeated keys counted each time.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Bytes of all keys and values, to decide when a batch is large enough.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys of documents that it changes.
    pub(super) fn document_keys(&self) -> impl Iterator<Item = &[u8]> {
        let documents = self.changes.iter().filter(|change| change.space == Space::Documents);
        documents.map(|change| &*change.key)
    }

    fn push(&mut self, space: Space, key: fjall::Slice, value: Option<fjall::Slice>) {
        self.key_bytes_longest = self.key_bytes_longest.max(key.len());
        self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        self.changes.push(Change { space, key, value });
    }

    /// One change per key, in key order.
    ///
    /// All changes of a commit share one sequence number, so two for the same key would be left to
    /// the engine's insertion order; and it takes sorted keys faster.
    pub(super) fn into_write(mut self, database: &Database, spaces: &Spaces) -> Result<OwnedWriteBatch, EngineError> {
        if self.key_bytes_longest > STORED_KEY_BYTES_MAX {
            return Err(EngineError::KeyTooLong {
                bytes: self.key_bytes_longest - COLLECTION_PREFIX_BYTES,
                bytes_max: KEY_BYTES_MAX,
            });
        }
        let is_before = |a: &Change, b: &Change| (a.space, &a.key) < (b.space, &b.key);
        if !self.changes.is_sorted_by(is_before) {
            // Latest first and a stable sort, so that `dedup_by`, which keeps the first, keeps the latest.
            self.changes.reverse();
            self.changes.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
            self.changes.dedup_by(|b, a| (a.space, &a.key) == (b.space, &b.key));
        }

        // One more, for `applied`. A commit reaches the operating system when it returns.
        let mut write = OwnedWriteBatch::with_capacity(database.clone(), self.changes.len() + 1)
            .durability(Some(PersistMode::Buffer));
        for Change { space, key, value } in self.changes {
            let keyspace = match space {
                Space::Documents => &spaces.documents,
                Space::Catalogue => &spaces.catalogue,
            };
            match value {
                Some(value) => write.insert(keyspace, key, value),
                None => write.remove(keyspace, key),
            }
        }
        Ok(write)
    }
}

fn catalogue_key(key: &[u8]) -> fjall::Slice {
    fjall::Slice::from([&[CATALOGUE_PREFIX], key].concat())
}

const STORED_KEY_BYTES_MAX: usize = KEY_BYTES_MAX + COLLECTION_PREFIX_BYTES;
const _: () = assert!(STORED_KEY_BYTES_MAX <= u16::MAX as usize);
