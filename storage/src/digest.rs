//! A digest of everything in a store, to compare copies by: a replica with its source, a restored backup with the original, a
//! state with the replay of its log.
//!
//! It covers what a reader can tell: the collections in the order of their names, each with its UUID, options, documents in
//! the order of their `_id`s, and its complete indexes with their entries; and what is kept of sessions' writes. It does not cover how the state lies on disk, nor
//! indexes that are still being built.
//!
//! # What is digested
//!
//! SHA-256 over a sequence of items, each a tag of one byte, the length of its bytes as `u64` little-endian, and the bytes.
//! For each collection: `c` database name, `n` collection name, `u` UUID, `o` options as BSON; for each document `k` its key
//! and `d` the document; then for each index `i` its definition as BSON and for each entry `e` its key. Last for each record of
//! what sessions have written `s` its key and `r` the record.

use std::fmt;
use std::sync::Arc;

use bson::RawDocument;
use sha2::{Digest, Sha256};
use tailwater_oplog::OpId;

use crate::catalog::{CollectionInfo, IndexState};
use crate::error::Result;
use crate::overlay::KeyRange;
use crate::reading::Reading;
use crate::selection::Selection;
use crate::sessions::SESSIONS;
use crate::store::Store;

/// The digest of a store's state after one entry of its log. Two stores with equal digests have the same contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateDigest {
    /// The last entry whose effect is in it.
    pub op_id: OpId,
    /// SHA-256 of the state.
    pub sha256: [u8; 32],
}

/// As `sha256:` and 64 hexadecimal digits, without the entry.
impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Store {
    /// Reads everything in the store and digests it. Writes go on meanwhile; the digest is of the moment of the call.
    ///
    /// It costs a scan of all documents and index entries, and holds on to the state while it lasts, as any long read does. A follower
    /// first completes the indexes that the primary had completed by the entry that is digested.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`](crate::Error::Engine), [`Error::Inconsistent`](crate::Error::Inconsistent), and
    /// [`Error::Log`](crate::Error::Log) when the store is closed.
    pub fn digest(&self) -> Result<StateDigest> {
        let reading = Reading::new(self.core().view_filled()?);
        let mut items = Items(Sha256::new());
        for info in reading.view.catalog.collections() {
            items.collection(&reading, info)?;
        }
        for found in reading.scan(SESSIONS, KeyRange::all()) {
            let (key, stored) = found?;
            items.item(b's', &key);
            items.item(b'r', stored.document()?.as_bytes());
        }
        Ok(StateDigest {
            op_id: reading.view.at,
            sha256: items.0.finalize().into(),
        })
    }

    /// Digests the documents that `selection` names, with the options and indexes of their collections, but without the entries of
    /// those, and without sessions: a partial copy has the same one as the store that it is of.
    ///
    /// # Errors
    ///
    /// As [`Store::digest`].
    pub fn digest_of(&self, selection: &Selection) -> Result<StateDigest> {
        let reading = Reading::new(self.core().view()?);
        let mut items = Items(Sha256::new());
        let named = |info: &&Arc<CollectionInfo>| {
            selection.has_collection(&info.namespace.database, &info.namespace.collection)
        };
        for info in reading.view.catalog.collections().filter(named) {
            items.head(info);
            for found in reading.scan(info.number, KeyRange::all()) {
                let (key, stored) = found?;
                let document = stored.document()?;
                if selection.has_document(document) {
                    items.document(&key, document);
                }
            }
            for index in info.indexes.iter().filter(|index| index.state != IndexState::Building) {
                items.item(b'i', index.definition.document.as_bytes());
            }
        }
        Ok(StateDigest {
            op_id: reading.view.at,
            sha256: items.0.finalize().into(),
        })
    }
}

/// The sequence of items that is digested.
struct Items(Sha256);

impl Items {
    fn item(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn head(&mut self, info: &CollectionInfo) {
        self.item(b'c', info.namespace.database.as_bytes());
        self.item(b'n', info.namespace.collection.as_bytes());
        self.item(b'u', &info.id);
        self.item(b'o', info.options.to_document().as_bytes());
    }

    fn document(&mut self, key: &[u8], document: &RawDocument) {
        self.item(b'k', key);
        self.item(b'd', document.as_bytes());
    }

    fn collection(&mut self, reading: &Reading, info: &CollectionInfo) -> Result<()> {
        self.head(info);
        for found in reading.scan(info.number, KeyRange::all()) {
            let (key, stored) = found?;
            self.document(&key, stored.document()?);
        }
        for index in info.indexes.iter().filter(|index| index.state == IndexState::Ready) {
            self.item(b'i', index.definition.document.as_bytes());
            for found in reading.scan(index.number, KeyRange::all()) {
                self.item(b'e', &found?.0);
            }
        }
        Ok(())
    }
}
