//! What the engine stores: keys with the number of their collection in front, and values.
//!
//! Both are the engine's own byte strings: cloning shares them, and short ones need no allocation. Who keeps recent writes
//! keeps them as these, so that nothing is copied when they go into the engine.

use std::ops::Deref;

use super::COLLECTION_PREFIX_BYTES;

/// Keys up to this length are put together without an allocation.
const SHORT_BYTES_MAX: usize = 32;

/// A key of the `documents` keyspace: collection, then the caller's key. Their order is that of the pairs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StateKey(pub(super) fjall::Slice);

impl StateKey {
    pub(crate) fn new(collection: u32, key: &[u8]) -> StateKey {
        let prefix = collection.to_be_bytes();
        let mut short = [0; SHORT_BYTES_MAX];
        let length = prefix.len() + key.len();
        match short.get_mut(..length) {
            Some(short) => {
                short[..COLLECTION_PREFIX_BYTES].copy_from_slice(&prefix);
                short[COLLECTION_PREFIX_BYTES..].copy_from_slice(key);
                StateKey(fjall::Slice::new(short))
            }
            None => StateKey(fjall::Slice::from([&prefix, key].concat())),
        }
    }

    /// This key with more behind it.
    pub(super) fn with(&self, suffix: &[u8]) -> StateKey {
        let mut short = [0; SHORT_BYTES_MAX];
        let (begin, length) = (self.0.len(), self.0.len() + suffix.len());
        match short.get_mut(..length) {
            Some(short) => {
                short[..begin].copy_from_slice(&self.0);
                short[begin..].copy_from_slice(suffix);
                StateKey(fjall::Slice::new(short))
            }
            None => StateKey(fjall::Slice::from([&self.0, suffix].concat())),
        }
    }

    /// The caller's key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0[COLLECTION_PREFIX_BYTES..]
    }

    /// Bytes of the engine's key.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StateKey").field(&&*self.0).finish()
    }
}

/// A value. Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slice(pub(super) fjall::Slice);

impl Slice {
    /// A copy of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Slice {
        Slice(fjall::Slice::new(bytes))
    }

    /// Whether both are known to share their bytes; short values never are.
    pub(crate) fn is_same(&self, other: &Slice) -> bool {
        std::ptr::eq::<[u8]>(&*self.0, &*other.0)
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slice").field(&&**self).finish()
    }
}
