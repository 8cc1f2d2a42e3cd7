//! A set of changes that become visible and durable together.

use fjall::{Database, OwnedWriteBatch};

use super::{CATALOGUE_PREFIX, COLLECTION_PREFIX_BYTES, EngineError, KEY_BYTES_MAX, Spaces};

/// Changes for one commit. The last one for a key wins, whatever came before it.
///
/// It holds a copy of all keys and values; a commit of about ten thousand small documents or a few
/// megabytes is where the engine is fastest.
#[derive(Debug, Default)]
pub(crate) struct EngineBatch {
    changes: Vec<Change>,
    /// The key that is being put together: the engine keeps short ones without an allocation.
    key: Vec<u8>,
    bytes: usize,
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
    pub(crate) fn put(&mut self, collection: u32, key: &[u8], value: &[u8]) {
        self.push(Space::Documents, &collection.to_be_bytes(), key, Some(value));
    }

    /// Removes a document; none there is no error.
    pub(crate) fn delete(&mut self, collection: u32, key: &[u8]) {
        self.push(Space::Documents, &collection.to_be_bytes(), key, None);
    }

    /// Inserts or replaces a catalogue entry.
    pub(crate) fn put_catalog(&mut self, key: &[u8], value: &[u8]) {
        self.push(Space::Catalogue, &[CATALOGUE_PREFIX], key, Some(value));
    }

    /// Removes a catalogue entry; none there is no error.
    pub(crate) fn delete_catalog(&mut self, key: &[u8]) {
        self.push(Space::Catalogue, &[CATALOGUE_PREFIX], key, None);
    }

    /// Number of changes, repeated keys counted each time.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it holds no change.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of all keys and values, to decide when a batch is large enough.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, space: Space, prefix: &[u8], key: &[u8], value: Option<&[u8]>) {
        self.key_bytes_longest = self.key_bytes_longest.max(key.len());
        self.bytes += prefix.len() + key.len() + value.map_or(0, <[u8]>::len);
        self.key.clear();
        self.key.extend_from_slice(prefix);
        self.key.extend_from_slice(key);
        self.changes.push(Change {
            space,
            key: fjall::Slice::from(self.key.as_slice()),
            value: value.map(fjall::Slice::from),
        });
    }

    /// One change per key, in key order.
    ///
    /// All changes of a commit share one sequence number, so two for the same key would be left to
    /// the engine's insertion order; and it takes sorted keys faster.
    pub(super) fn into_write(mut self, database: &Database, spaces: &Spaces) -> Result<OwnedWriteBatch, EngineError> {
        if self.key_bytes_longest > KEY_BYTES_MAX {
            return Err(EngineError::KeyTooLong {
                bytes: self.key_bytes_longest,
                bytes_max: KEY_BYTES_MAX,
            });
        }
        // Latest first and a stable sort, so that `dedup_by`, which keeps the first, keeps the latest.
        self.changes.reverse();
        self.changes.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
        self.changes.dedup_by(|b, a| (a.space, &a.key) == (b.space, &b.key));

        let mut write = database.batch();
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

const _: () = assert!(KEY_BYTES_MAX + COLLECTION_PREFIX_BYTES <= u16::MAX as usize);
