//! The catalogue in the engine: one entry for each collection, with its indexes; the next number; and the numbers of what was
//! dropped, until its contents are gone.

use std::sync::Arc;

use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::Collation;

use super::{Catalog, CollectionInfo, CollectionNumber, IndexInfo, IndexState, Namespace, Natural, Size};
use crate::engine::{EngineBatch, EngineSnapshot};
use crate::error::{Error, Result};
use crate::index::{IndexDefinition, keys};
use crate::options::CollectionOptions;

/// Of an index with a collation: what its strings' sort keys were made by.
const COLLATED_BY: &CStr = cstr!("collatedBy");

const COLLECTION: u8 = b'c';
const GARBAGE: u8 = b'g';
const SIZE: u8 = b's';
const NEXT: &[u8] = b"next";

/// A change of the catalogue, as the engine must record it.
#[derive(Clone, Debug)]
pub(crate) enum CatalogChange {
    /// A collection was added or changed; the next number is this.
    Put { info: Arc<CollectionInfo>, next: u32 },
    /// A collection was removed; these were the numbers of its contents.
    Removed {
        id: [u8; 16],
        numbers: Vec<CollectionNumber>,
    },
    /// The contents under these numbers are no longer wanted.
    Garbage { numbers: Vec<CollectionNumber> },
}

impl CatalogChange {
    /// Records the change in the batch that covers its entry.
    pub(crate) fn record(&self, batch: &mut EngineBatch) {
        match self {
            CatalogChange::Put { info, next } => {
                batch.put_catalog(&collection_key(&info.id), encode(info).as_bytes());
                batch.put_catalog(NEXT, &next.to_le_bytes());
            }
            CatalogChange::Removed { id, numbers } => {
                batch.delete_catalog(&collection_key(id));
                discard(numbers, batch);
            }
            CatalogChange::Garbage { numbers } => discard(numbers, batch),
        }
    }
}

fn discard(numbers: &[CollectionNumber], batch: &mut EngineBatch) {
    for number in numbers {
        batch.put_catalog(&garbage_key(*number), &[]);
        batch.delete_catalog(&size_key(*number));
    }
}

impl Catalog {
    /// Reads the catalogue as of a snapshot.
    pub(crate) fn load(snapshot: &EngineSnapshot) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for (key, value) in snapshot.catalog()? {
            if key == NEXT {
                catalog.next = u32::from_le_bytes(value.try_into().map_err(|_| damaged("the next number"))?);
            } else if let [COLLECTION, id @ ..] = key.as_slice() {
                let id: [u8; 16] = id.try_into().map_err(|_| damaged("a collection's key"))?;
                let info = decode(id, value).ok_or_else(|| damaged("a collection's entry"))?;
                catalog.by_id.insert(id, info.namespace.clone());
                catalog.by_name.insert(info.namespace.clone(), Arc::new(info));
            }
        }
        Ok(catalog)
    }
}

impl Catalog {
    /// Takes over into `batch` what the engine keeps beside documents: of the collections that are selected, and of none. Not the
    /// sizes, and nothing of what was dropped.
    pub(crate) fn copy_selected(
        &self,
        from: &EngineSnapshot,
        is_selected: impl Fn(&Namespace) -> bool,
        batch: &mut EngineBatch,
    ) -> Result<()> {
        for (key, value) in from.catalog()? {
            let taken = match key.as_slice() {
                [COLLECTION, id @ ..] => {
                    let info = id.try_into().ok().and_then(|id| self.by_id(id));
                    info.is_some_and(|info| is_selected(&info.namespace))
                }
                [SIZE | GARBAGE, number @ ..] if number.len() == size_of::<u32>() => false,
                _ => true,
            };
            if taken {
                batch.put_catalog(&key, &value);
            }
        }
        Ok(())
    }
}

/// Numbers of dropped collections and indexes whose contents may not all be gone yet.
pub(crate) fn garbage(snapshot: &EngineSnapshot) -> Result<Vec<CollectionNumber>> {
    let entries = snapshot.catalog()?;
    let numbers = entries.iter().filter_map(|(key, _)| match key.as_slice() {
        [GARBAGE, number @ ..] => Some(CollectionNumber(u32::from_be_bytes(number.try_into().ok()?))),
        _ => None,
    });
    Ok(numbers.collect())
}

/// The key that says that a dropped collection's or index's contents may not all be gone.
pub(crate) fn garbage_key(number: CollectionNumber) -> Vec<u8> {
    [&[GARBAGE], &number.0.to_be_bytes()[..]].concat()
}

impl Size {
    /// The sizes of all collections as of a snapshot.
    pub(crate) fn load(snapshot: &EngineSnapshot) -> Result<Vec<(CollectionNumber, Size)>> {
        let mut sizes = Vec::new();
        for (key, value) in snapshot.catalog()? {
            if let [SIZE, number @ ..] = key.as_slice() {
                let number = number.try_into().map_err(|_| damaged("the key of a size"))?;
                let size = decode_size(&value).ok_or_else(|| damaged("a size"))?;
                sizes.push((CollectionNumber(u32::from_be_bytes(number)), size));
            }
        }
        Ok(sizes)
    }

    /// Records the size in the batch that covers the writes that made it.
    pub(crate) fn record(self, number: CollectionNumber, batch: &mut EngineBatch) {
        let value = [self.documents.to_le_bytes(), self.bytes.to_le_bytes()].concat();
        batch.put_catalog(&size_key(number), &value);
    }
}

fn decode_size(value: &[u8]) -> Option<Size> {
    let (documents, bytes) = value.split_first_chunk()?;
    Some(Size {
        documents: i64::from_le_bytes(*documents),
        bytes: i64::from_le_bytes(bytes.try_into().ok()?),
    })
}

fn size_key(number: CollectionNumber) -> Vec<u8> {
    [&[SIZE], &number.0.to_be_bytes()[..]].concat()
}

fn collection_key(id: &[u8; 16]) -> Vec<u8> {
    [&[COLLECTION], &id[..]].concat()
}

fn encode(info: &CollectionInfo) -> RawDocumentBuf {
    let mut indexes = RawArrayBuf::new();
    for index in &info.indexes {
        let mut entry = rawdoc! {
            "number": i64::from(index.number.0),
            "ready": index.state == IndexState::Ready,
            "filling": index.state == IndexState::Filling,
            "multikey": index.multikey,
            "rules": if index.outdated { 0 } else { keys::RULES },
            "definition": index.definition.document.clone(),
        };
        if index.definition.collation.is_some() && !index.outdated {
            entry.append(COLLATED_BY, Collation::KEYS);
        }
        indexes.push(entry);
    }
    let mut document = rawdoc! {
        "db": info.namespace.database.as_str(),
        "coll": info.namespace.collection.as_str(),
        "number": i64::from(info.number.0),
        "options": info.options.to_document(),
        "indexes": indexes,
    };
    if let Some(natural) = info.natural {
        let numbers = rawdoc! {
            "order": { "number": i64::from(natural.by_order.0) },
            "key": { "number": i64::from(natural.by_key.0) },
        };
        document.append(bson::raw::cstr!("natural"), numbers);
    }
    document
}

fn decode(id: [u8; 16], value: Vec<u8>) -> Option<CollectionInfo> {
    let document = RawDocumentBuf::from_bytes(value).ok()?;
    let mut indexes = Vec::new();
    // Entries written before there were indexes have none.
    if let Some(list) = document.get("indexes").ok()? {
        for index in list.as_array()? {
            indexes.push(decode_index(index.ok()?.as_document()?)?);
        }
    }
    Some(CollectionInfo {
        namespace: Namespace::new(document.get_str("db").ok()?, document.get_str("coll").ok()?),
        id,
        number: number(&document)?,
        options: CollectionOptions::parse(document.get_document("options").ok()?).ok()?,
        indexes,
        natural: match document.get("natural").ok()? {
            Some(natural) => Some(decode_natural(natural.as_document()?)?),
            None => None,
        },
    })
}

fn decode_index(index: &RawDocument) -> Option<IndexInfo> {
    let ready = index.get_bool("ready").ok()?;
    // Entries written before followers built beside what they take do not have it.
    let filling = index.get_bool("filling").unwrap_or(false);
    let definition = IndexDefinition::parse(index.get_document("definition").ok()?).ok()?;
    // Entries written before there were several rules do not name them.
    let rules = index.get_i32("rules").unwrap_or(0);
    let collated_by = index.get_str(COLLATED_BY).unwrap_or_default();
    let is_collated_otherwise = definition.collation.is_some() && collated_by != Collation::KEYS;
    Some(IndexInfo {
        outdated: (rules < keys::RULES && keys::have_changed(&definition)) || is_collated_otherwise,
        definition: Arc::new(definition),
        number: number(index)?,
        state: match (ready, filling) {
            (true, _) => IndexState::Ready,
            (false, true) => IndexState::Filling,
            (false, false) => IndexState::Building,
        },
        multikey: index.get_bool("multikey").ok()?,
    })
}

fn decode_natural(natural: &RawDocument) -> Option<Natural> {
    Some(Natural {
        by_order: number(natural.get_document("order").ok()?)?,
        by_key: number(natural.get_document("key").ok()?)?,
    })
}

fn number(document: &RawDocument) -> Option<CollectionNumber> {
    Some(CollectionNumber(u32::try_from(document.get_i64("number").ok()?).ok()?))
}

fn damaged(what: &'static str) -> Error {
    Error::Inconsistent {
        op_id: tailwater_oplog::OpId::ZERO,
        what,
    }
}
