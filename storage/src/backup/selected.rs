//! Filling a new engine with a part of what another one holds: the state of a partial copy.
//!
//! A pass over the documents of the collections that are of the part. Their index entries are made from them, not looked up, so
//! that nothing is read for those that are left out. What sessions have written is not of any part.

use std::ops::Bound;
use std::path::Path;

use bson::RawDocument;
use tailwater_oplog::OpId;

use super::error::BackupError;
use super::{BackupOptions, BackupProgress, CACHE_BYTES};
use crate::catalog::{Catalog, CollectionInfo, CollectionNumber, Namespace, Natural, Size};
use crate::engine::{Engine, EngineBatch, EngineSnapshot, Slice, StateKey};
use crate::error::Error;
use crate::index::{keys, natural};
use crate::selection::Selection;

/// One commit takes documents and index entries of about so many bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// After so many bytes that were read, whether they are of the part or not, it tells how far it is and whether it is to go on …
const LOOK_BYTES: u64 = 4 << 20;
/// … where a document counts for so many at least, as reading a small one takes its time, too.
const DOCUMENT_BYTES_MIN: u64 = 1 << 10;

/// Copies what `selection` names into a new engine in `target`; returns how many documents it has. The catalogue comes last, with
/// the OpID that the snapshot covers: what an interruption leaves has applied nothing, and is not to be used.
pub(super) fn copy(
    from: &EngineSnapshot,
    selection: &Selection,
    target: &Path,
    options: &BackupOptions,
) -> Result<u64, BackupError> {
    let engine = Engine::open(target, CACHE_BYTES).map_err(Error::from)?;
    let mut filling = Filling {
        engine: &engine,
        options,
        batch: EngineBatch::new(),
        read: 0,
        until_look: LOOK_BYTES,
    };
    let is_selected = |name: &Namespace| selection.has_collection(&name.database, &name.collection);
    let catalog = Catalog::load(from)?;
    let mut last = EngineBatch::new();
    catalog.copy_selected(from, is_selected, &mut last)?;
    let mut documents = 0;
    for info in catalog.collections().filter(|info| is_selected(&info.namespace)) {
        let size = filling.collection(from, selection, info)?;
        size.record(info.number, &mut last);
        documents += size.documents;
    }
    filling.commit()?;
    filling.look()?;
    engine.commit(last, from.applied()).map_err(Error::from)?;
    engine.persist().map_err(Error::from)?;
    Ok(u64::try_from(documents).unwrap_or(0))
}

/// The value of an index entry, whose key has so many bytes before the document's key.
fn prefixed(bytes: usize) -> Slice {
    // Keys are shorter than an engine's may be.
    Slice::new(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes())
}

/// What is being filled.
struct Filling<'a> {
    engine: &'a Engine,
    options: &'a BackupOptions,
    batch: EngineBatch,
    /// Bytes of documents that were read.
    read: u64,
    /// How many more until it is looked again whether to go on.
    until_look: u64,
}

impl Filling<'_> {
    fn collection(
        &mut self,
        from: &EngineSnapshot,
        selection: &Selection,
        info: &CollectionInfo,
    ) -> Result<Size, BackupError> {
        let mut size = Size::default();
        for found in from.scan(info.number.0, Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = found.map_err(Error::from)?;
            let key = key.key();
            self.count(value.len() as u64)?;
            let document = RawDocument::from_bytes(&value).map_err(|_| Error::Inconsistent {
                op_id: OpId::new(from.applied()),
                what: "a document in the state is malformed",
            })?;
            if selection.has_document(document) {
                size.documents += 1;
                size.bytes += i64::try_from(value.len()).unwrap_or(i64::MAX);
                self.indexes(info, key, document)?;
                if let Some(order) = info.natural {
                    self.place(from, order, key)?;
                }
                self.put(info.number, key, value.clone())?;
            }
        }
        Ok(size)
    }

    fn indexes(&mut self, info: &CollectionInfo, key: &[u8], document: &RawDocument) -> Result<(), BackupError> {
        for index in &info.indexes {
            for values in keys::of(&index.definition, document)?.values {
                self.put(index.number, &keys::entry_key(&values, key), prefixed(values.len()))?;
            }
        }
        Ok(())
    }

    /// A document's place in the order of a capped collection.
    fn place(&mut self, from: &EngineSnapshot, order: Natural, key: &[u8]) -> Result<(), BackupError> {
        let end = [key, &[u8::MAX; 9]].concat();
        let of_key = from.scan(order.by_key.0, Bound::Included(key), Bound::Included(&end));
        for found in of_key {
            let (entry, value) = found.map_err(Error::from)?;
            if let Some(place) = natural::place_in(entry.key(), key) {
                self.put(order.by_order, &[place, key].concat(), prefixed(place.len()))?;
                self.put(order.by_key, entry.key(), value)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, number: CollectionNumber, key: &[u8], value: Slice) -> Result<(), BackupError> {
        self.batch.put(StateKey::new(number.0, key), value);
        match self.batch.bytes() < CHUNK_BYTES {
            true => Ok(()),
            false => self.commit(),
        }
    }

    fn commit(&mut self) -> Result<(), BackupError> {
        let batch = std::mem::take(&mut self.batch);
        Ok(self.engine.commit(batch, 0).map_err(Error::from)?)
    }

    /// A document of so many bytes was read.
    fn count(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.read += bytes;
        self.until_look = self.until_look.saturating_sub(bytes.max(DOCUMENT_BYTES_MIN));
        match self.until_look {
            0 => self.look(),
            _ => Ok(()),
        }
    }

    fn look(&mut self) -> Result<(), BackupError> {
        self.until_look = LOOK_BYTES;
        self.options.report(BackupProgress::State(self.read));
        match self.options.is_cancelled() {
            true => Err(BackupError::Cancelled),
            false => Ok(()),
        }
    }
}
