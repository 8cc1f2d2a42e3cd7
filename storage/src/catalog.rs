//! The catalogue: which collections and indexes there are, and the numbers under which they keep their contents.
//!
//! It changes only by applying entries of the log, in their order, so every replica that has applied the same entries has
//! the same catalogue. Numbers are never used again.

mod stored;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::index::IndexDefinition;
use crate::options::CollectionOptions;

pub(crate) use stored::{CatalogChange, garbage, garbage_key};

/// Number of a collection, or of an index, in the engine's keys.
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

/// How far an index is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexState {
    /// Writes maintain it; older documents may be missing. No query uses it.
    Building,
    /// The log says that every document is in it; in this store's some may be missing yet. Writes maintain it, and no query uses
    /// it. Of a follower, or of one that was.
    Filling,
    /// Every document is in it.
    Ready,
}

/// What is known about one index. The one on `_id` is the order of the documents themselves, and not among these, but where the
/// collection has a collation: that order is the one of bytes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct IndexInfo {
    pub(crate) definition: Arc<IndexDefinition>,
    pub(crate) number: CollectionNumber,
    pub(crate) state: IndexState,
    /// Whether a document has had more than one key, or an array's. It stays so.
    pub(crate) multikey: bool,
    /// Whether its entries were made by other rules than today's and are to be made anew before anybody reads them.
    pub(crate) outdated: bool,
}

impl IndexInfo {
    /// The index of a collection that has no documents yet.
    pub(crate) fn ready(definition: IndexDefinition, number: CollectionNumber) -> IndexInfo {
        IndexInfo {
            definition: Arc::new(definition),
            number,
            state: IndexState::Ready,
            multikey: false,
            outdated: false,
        }
    }
}

/// What is known about one collection.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CollectionInfo {
    pub(crate) namespace: Namespace,
    pub(crate) id: [u8; 16],
    pub(crate) number: CollectionNumber,
    pub(crate) options: CollectionOptions,
    /// In the order of their creation.
    pub(crate) indexes: Vec<IndexInfo>,
    /// Set for a capped collection.
    pub(crate) natural: Option<Natural>,
}

/// Where a capped collection keeps the order in which its documents came. See [`natural`](crate::index::natural).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Natural {
    /// OpID of the insert, then the document's key.
    pub(crate) by_order: CollectionNumber,
    /// The document's key, then the OpID of the insert.
    pub(crate) by_key: CollectionNumber,
}

impl CollectionInfo {
    /// Whether a write that was computed under one of them may be committed under the other.
    pub(crate) fn is_compatible(&self, other: &CollectionInfo) -> bool {
        let same = |(a, b): (&IndexInfo, &IndexInfo)| a.number == b.number;
        self.id == other.id
            && self.namespace == other.namespace
            && self.options == other.options
            && self.indexes.len() == other.indexes.len()
            && self.indexes.iter().zip(&other.indexes).all(same)
    }

    pub(crate) fn index(&self, name: &str) -> Option<&IndexInfo> {
        self.indexes.iter().find(|index| index.definition.name == name)
    }
}

/// The collections of a store at one OpID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    by_name: BTreeMap<Namespace, Arc<CollectionInfo>>,
    by_id: HashMap<[u8; 16], Namespace>,
    next: u32,
}

impl Catalog {
    pub(crate) fn get(&self, namespace: &Namespace) -> Option<&Arc<CollectionInfo>> {
        self.by_name.get(namespace)
    }

    pub(crate) fn by_id(&self, id: &[u8; 16]) -> Option<&Arc<CollectionInfo>> {
        self.by_name.get(self.by_id.get(id)?)
    }

    pub(crate) fn collections(&self) -> impl Iterator<Item = &Arc<CollectionInfo>> {
        self.by_name.values()
    }

    /// Adds a collection; nothing when its name or id is taken.
    pub(crate) fn add(
        &mut self,
        namespace: Namespace,
        id: [u8; 16],
        options: CollectionOptions,
    ) -> Option<CatalogChange> {
        if self.by_name.contains_key(&namespace) || self.by_id.contains_key(&id) {
            return None;
        }
        let on_id = options.collation.as_ref().map(IndexDefinition::on_id);
        let info = CollectionInfo {
            namespace,
            id,
            number: self.take_number(),
            natural: options.capped.is_some().then(|| Natural {
                by_order: self.take_number(),
                by_key: self.take_number(),
            }),
            options,
            indexes: on_id
                .map(|definition| IndexInfo::ready(definition, self.take_number()))
                .into_iter()
                .collect(),
        };
        Some(self.put(info))
    }

    /// Removes a collection; nothing when there is none with that id.
    pub(crate) fn remove(&mut self, id: &[u8; 16]) -> Option<CatalogChange> {
        let namespace = self.by_id.remove(id)?;
        let info = self.by_name.remove(&namespace)?;
        let of_indexes = info.indexes.iter().map(|index| index.number);
        let natural = info
            .natural
            .iter()
            .flat_map(|natural| [natural.by_order, natural.by_key]);
        Some(CatalogChange::Removed {
            id: *id,
            numbers: std::iter::once(info.number).chain(of_indexes).chain(natural).collect(),
        })
    }

    /// Gives a collection another name; nothing when it has that name, or the name is taken.
    pub(crate) fn rename(&mut self, id: &[u8; 16], to: Namespace) -> Option<CatalogChange> {
        if self.by_name.contains_key(&to) {
            return None;
        }
        let from = self.by_id.get(id)?.clone();
        let mut info = CollectionInfo::clone(&*self.by_name.remove(&from)?);
        info.namespace = to;
        Some(self.put(info))
    }

    /// Changes what is known about a collection; nothing when `change` leaves it as it is.
    pub(crate) fn modify(&mut self, id: &[u8; 16], change: impl FnOnce(&mut CollectionInfo)) -> Option<CatalogChange> {
        let before = self.by_id(id)?;
        let mut info = CollectionInfo::clone(before);
        change(&mut info);
        (info != **before).then(|| self.put(info))
    }

    /// Adds indexes that are not there yet, or moves those that are being built to `state`.
    pub(crate) fn add_indexes(
        &mut self,
        id: &[u8; 16],
        definitions: Vec<IndexDefinition>,
        state: IndexState,
    ) -> Option<CatalogChange> {
        let mut info = CollectionInfo::clone(self.by_id(id)?);
        for definition in definitions {
            let found = info.indexes.iter_mut().find(|i| i.definition.name == definition.name);
            match found {
                Some(index) if state == IndexState::Ready => index.state = state,
                Some(_) => {}
                None => info.indexes.push(IndexInfo {
                    state,
                    ..IndexInfo::ready(definition, self.take_number())
                }),
            }
        }
        (info != **self.by_id(id)?).then(|| self.put(info))
    }

    /// Removes indexes by name.
    pub(crate) fn remove_indexes(&mut self, id: &[u8; 16], names: &[&str]) -> Vec<CatalogChange> {
        let Some(before) = self.by_id(id) else {
            return Vec::new();
        };
        let mut info = CollectionInfo::clone(before);
        let doomed = |index: &IndexInfo| names.contains(&index.definition.name.as_str());
        let numbers: Vec<_> = info.indexes.iter().filter(|i| doomed(i)).map(|i| i.number).collect();
        if numbers.is_empty() {
            return Vec::new();
        }
        info.indexes.retain(|index| !doomed(index));
        vec![self.put(info), CatalogChange::Garbage { numbers }]
    }

    fn put(&mut self, info: CollectionInfo) -> CatalogChange {
        let info = Arc::new(info);
        self.by_id.insert(info.id, info.namespace.clone());
        self.by_name.insert(info.namespace.clone(), Arc::clone(&info));
        CatalogChange::Put { info, next: self.next }
    }

    fn take_number(&mut self) -> CollectionNumber {
        let number = CollectionNumber(self.next);
        self.next += 1;
        number
    }
}

/// How many documents a collection has, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Size {
    pub(crate) documents: i64,
    pub(crate) bytes: i64,
}

impl Size {
    /// That of one document.
    pub(crate) fn of(document: &bson::RawDocument) -> Size {
        Size {
            documents: 1,
            bytes: i64::try_from(document.as_bytes().len()).unwrap_or(i64::MAX),
        }
    }
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}
