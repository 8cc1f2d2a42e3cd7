//! The catalogue: which collections there are, and the number under which each keeps its documents.
//!
//! It changes only by applying entries of the log, in their order, so every replica that has applied the same entries has
//! the same catalogue. Numbers are never used again.

use std::collections::{BTreeMap, HashMap};

use bson::{RawDocumentBuf, rawdoc};

use crate::engine::{EngineBatch, EngineSnapshot};
use crate::error::{Error, Result};

/// Number of a collection in the engine's keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct CollectionNumber(pub(crate) u32);

/// A database and a collection in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Namespace {
    pub(crate) database: String,
    pub(crate) collection: String,
}

impl Namespace {
    pub(crate) fn new(database: &str, collection: &str) -> Namespace {
        Namespace {
            database: database.to_owned(),
            collection: collection.to_owned(),
        }
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// What is known about one collection.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CollectionInfo {
    pub(crate) namespace: Namespace,
    pub(crate) id: [u8; 16],
    pub(crate) number: CollectionNumber,
    pub(crate) options: RawDocumentBuf,
}

/// A change of the catalogue, as the engine must record it.
#[derive(Clone, Debug)]
pub(crate) enum CatalogChange {
    Added(CollectionInfo),
    Removed { id: [u8; 16], number: CollectionNumber },
}

/// The collections of a store at one OpID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    by_name: BTreeMap<Namespace, CollectionInfo>,
    by_id: HashMap<[u8; 16], Namespace>,
    next: u32,
}

const COLLECTION: u8 = b'c';
const GARBAGE: u8 = b'g';
const NEXT: &[u8] = b"next";

impl Catalog {
    pub(crate) fn get(&self, namespace: &Namespace) -> Option<&CollectionInfo> {
        self.by_name.get(namespace)
    }

    pub(crate) fn by_id(&self, id: &[u8; 16]) -> Option<&CollectionInfo> {
        self.by_name.get(self.by_id.get(id)?)
    }

    pub(crate) fn collections(&self) -> impl Iterator<Item = &CollectionInfo> {
        self.by_name.values()
    }

    /// The next collection, if it is added under that name.
    pub(crate) fn candidate(&self, namespace: Namespace, id: [u8; 16]) -> CollectionInfo {
        CollectionInfo {
            namespace,
            id,
            number: CollectionNumber(self.next),
            options: RawDocumentBuf::new(),
        }
    }

    /// Adds a collection; nothing when its name or id is taken.
    pub(crate) fn add(&mut self, namespace: Namespace, id: [u8; 16], options: RawDocumentBuf) -> Option<CatalogChange> {
        if self.by_name.contains_key(&namespace) || self.by_id.contains_key(&id) {
            return None;
        }
        let info = CollectionInfo {
            options,
            ..self.candidate(namespace.clone(), id)
        };
        self.next += 1;
        self.by_id.insert(id, namespace.clone());
        self.by_name.insert(namespace, info.clone());
        Some(CatalogChange::Added(info))
    }

    /// Removes a collection; nothing when there is none with that id.
    pub(crate) fn remove(&mut self, id: &[u8; 16]) -> Option<CatalogChange> {
        let namespace = self.by_id.remove(id)?;
        let info = self.by_name.remove(&namespace)?;
        Some(CatalogChange::Removed {
            id: *id,
            number: info.number,
        })
    }

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
                catalog.by_name.insert(info.namespace.clone(), info);
            }
        }
        Ok(catalog)
    }

    /// Numbers of dropped collections whose documents may not all be gone yet.
    pub(crate) fn garbage(snapshot: &EngineSnapshot) -> Result<Vec<CollectionNumber>> {
        let entries = snapshot.catalog()?;
        let numbers = entries.iter().filter_map(|(key, _)| match key.as_slice() {
            [GARBAGE, number @ ..] => Some(CollectionNumber(u32::from_be_bytes(number.try_into().ok()?))),
            _ => None,
        });
        Ok(numbers.collect())
    }
}

impl CatalogChange {
    /// Records the change in the batch that covers its entry.
    pub(crate) fn record(&self, batch: &mut EngineBatch) {
        match self {
            CatalogChange::Added(info) => {
                batch.put_catalog(&collection_key(&info.id), encode(info).as_bytes());
                batch.put_catalog(NEXT, &(info.number.0 + 1).to_le_bytes());
            }
            CatalogChange::Removed { id, number } => {
                batch.delete_catalog(&collection_key(id));
                batch.put_catalog(&garbage_key(*number), &[]);
            }
        }
    }
}

/// The key that says that a dropped collection's documents may not all be gone.
pub(crate) fn garbage_key(number: CollectionNumber) -> Vec<u8> {
    [&[GARBAGE], &number.0.to_be_bytes()[..]].concat()
}

fn collection_key(id: &[u8; 16]) -> Vec<u8> {
    [&[COLLECTION], &id[..]].concat()
}

fn encode(info: &CollectionInfo) -> RawDocumentBuf {
    rawdoc! {
        "db": info.namespace.database.as_str(),
        "coll": info.namespace.collection.as_str(),
        "number": i64::from(info.number.0),
        "options": info.options.clone(),
    }
}

fn decode(id: [u8; 16], value: Vec<u8>) -> Option<CollectionInfo> {
    let document = RawDocumentBuf::from_bytes(value).ok()?;
    Some(CollectionInfo {
        namespace: Namespace::new(document.get_str("db").ok()?, document.get_str("coll").ok()?),
        id,
        number: CollectionNumber(u32::try_from(document.get_i64("number").ok()?).ok()?),
        options: document.get_document("options").ok()?.to_owned(),
    })
}

fn damaged(what: &'static str) -> Error {
    Error::Inconsistent {
        op_id: tailwater_oplog::OpId::ZERO,
        what,
    }
}
