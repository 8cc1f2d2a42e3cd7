//! Applying an entry: the one function that turns entries into state, for writes, for replay and for followers.
//!
//! It puts the document's new version into the overlay, moves its index entries, counts, and changes the catalogue. Entries
//! are applied in their order, each once between two openings; the engine's commits end at entry boundaries, so after a crash
//! none is applied a second time over itself.

use std::sync::{Arc, PoisonError};

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{StepScope, encode_key};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::Few;
use super::shared::{Ahead, Core};
use crate::catalog::{Catalog, CatalogChange, CollectionInfo, CollectionNumber, IndexState, Namespace, Size};
use crate::engine::{Slice, StateKey};
use crate::error::{Error, Result};
use crate::index::{IndexDefinition, keys, natural};
use crate::options::CollectionOptions;
use crate::overlay::{Generation, KeyRange, Version};
use crate::sessions;
use crate::state::{Layers, Stored};

/// An entry of the log, as it is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged<'a> {
    pub(crate) op_id: OpId,
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
    /// The document of the payload as the state is to have it, if the caller has that already.
    pub(crate) document: Option<&'a Slice>,
}

/// Inserts that are worth to be put into the overlay together.
const INSERTS_MIN: usize = 16;

impl Core {
    /// Applies entries that follow each other, about which nobody knows anything beside what they say.
    pub(super) fn apply_all(&self, ahead: &mut Ahead, layers: &Layers, entries: &[Logged<'_>]) -> Result<()> {
        let mut rest = entries;
        while let Some(entry) = rest.first() {
            let applied = self.apply_inserts(ahead, layers, rest)?;
            if applied == 0 {
                self.apply(ahead, layers, entry, None)?;
            }
            rest = &rest[applied.max(1)..];
        }
        Ok(())
    }

    /// Applies the inserts into one collection that `entries` begins with, if they are some and nothing but the documents has to
    /// be kept of them; returns how many.
    fn apply_inserts(&self, ahead: &Ahead, layers: &Layers, entries: &[Logged<'_>]) -> Result<usize> {
        let is_insert = |entry: &Logged<'_>| entry.kind == EntryKind::Insert.number();
        let Some(first) = entries
            .first()
            .filter(|_| entries.iter().take(INSERTS_MIN).all(is_insert))
        else {
            return Ok(0);
        };
        let collection = StoreEntry::decode(first.payload)?.collection_id;
        let info = ahead.catalog.by_id(&collection);
        let info = info.filter(|info| info.indexes.is_empty() && info.natural.is_none());
        let Some(info) = info.filter(|_| entries.len() >= INSERTS_MIN) else {
            return Ok(0);
        };
        let (mut keys, mut documents) = (Vec::new(), Vec::new());
        let mut growth = Size::default();
        for entry in entries.iter().take_while(|entry| is_insert(entry)) {
            let store = StoreEntry::decode(entry.payload)?;
            if store.collection_id != collection {
                break;
            }
            let unfit = |what| Error::Inconsistent {
                op_id: entry.op_id,
                what,
            };
            let document = store.document.ok_or(unfit("it has no document"))?;
            let id = document.get("_id").ok().flatten().ok_or(unfit("it has no _id"))?;
            let mut key = Vec::with_capacity(16);
            encode_key(id, &mut key);
            keys.push(StateKey::new(info.number.0, &key));
            documents.push(stored_document(entry, &store));
            growth += Size::of(document);
        }
        let (generation, count) = (&layers.generations[0], keys.len());
        generation.put_all(first.op_id, Few::from_vec(keys), Few::from_vec(documents));
        self.grow(generation, info.number, growth);
        generation.cover(entries[count - 1].op_id);
        Ok(count)
    }

    /// Applies one entry to the newest generation. `before` is the document that it takes the place of, if the caller knows;
    /// otherwise it is looked up where it is needed.
    pub(super) fn apply(
        &self,
        ahead: &mut Ahead,
        layers: &Layers,
        entry: &Logged<'_>,
        before: Option<Option<&Stored>>,
    ) -> Result<()> {
        // It is in the log: no limit of who wrote it ends what has to be done with it.
        let _scope = StepScope::apart();
        let op_id = entry.op_id;
        let generation = &layers.generations[0];
        if let Some(kind) = EntryKind::from_number(entry.kind) {
            let store = StoreEntry::decode(entry.payload)?;
            match kind {
                EntryKind::Insert | EntryKind::Update | EntryKind::Replace | EntryKind::Delete => {
                    self.apply_document(ahead, layers, entry, kind, &store, before)?;
                }
                EntryKind::Leave if store.key.is_some() => {
                    // Whatever was done to it: here it is no more, if it was.
                    self.apply_document(ahead, layers, entry, EntryKind::Delete, &store, before)?;
                }
                // A database is gone with its collections, each of which has an entry of its own.
                EntryKind::DropDatabase | EntryKind::Noop => {}
                EntryKind::SessionWrite => {
                    let what = "it has no detail";
                    let detail = store.detail.ok_or(Error::Inconsistent { op_id, what })?;
                    sessions::apply(layers, op_id, detail)?;
                }
                _ => self.apply_definition(ahead, layers, op_id, kind, &store)?,
            }
        }
        generation.cover(op_id);
        Ok(())
    }

    fn apply_document(
        &self,
        ahead: &mut Ahead,
        layers: &Layers,
        entry: &Logged<'_>,
        kind: EntryKind,
        store: &StoreEntry<'_>,
        before: Option<Option<&Stored>>,
    ) -> Result<()> {
        let op_id = entry.op_id;
        let unfit = |what| Error::Inconsistent { op_id, what };
        let info = ahead.catalog.by_id(&store.collection_id);
        let info = Arc::clone(info.ok_or(unfit("there is no such collection"))?);
        let (document, version) = match kind {
            EntryKind::Delete => (None, Version::Deleted),
            _ => (store.document, Version::Put(stored_document(entry, store))),
        };
        let identified = document.or(store.key).ok_or(unfit("it has neither document nor key"))?;
        let id = identified.get("_id").ok().flatten().ok_or(unfit("it has no _id"))?;
        let mut key = Vec::with_capacity(16);
        encode_key(id, &mut key);

        let looked_up;
        let before = match before {
            Some(known) => known,
            None if kind == EntryKind::Insert => None,
            None => {
                looked_up = layers.get(info.number, &key, OpId::new(op_id.get() - 1))?;
                looked_up.as_ref()
            }
        };
        let before = before.map(Stored::document).transpose()?;
        let generation = &layers.generations[0];
        generation.put(info.number, &key, op_id, version);
        self.count(generation, info.number, before, document);
        match (info.natural, kind) {
            (Some(order), EntryKind::Delete) => natural::remove(order, layers, &key, op_id)?,
            // Inserted; or, in a partial copy, what it was before was none of its part.
            (Some(order), _) if before.is_none() => natural::add(order, generation, &key, op_id),
            _ => {}
        }
        self.move_index_entries(ahead, generation, op_id, &info, &key, before, document)
    }

    fn count(
        &self,
        generation: &Generation,
        number: CollectionNumber,
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) {
        let size = |document: Option<&RawDocument>| document.map(Size::of).unwrap_or_default();
        let (before, after) = (size(before), size(after));
        let growth = Size {
            documents: after.documents - before.documents,
            bytes: after.bytes - before.bytes,
        };
        self.grow(generation, number, growth);
    }

    pub(super) fn grow(&self, generation: &Generation, number: CollectionNumber, growth: Size) {
        generation.grow(number, growth);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        *sizes.entry(number).or_default() += growth;
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of `apply_document`, which has them all"
    )]
    fn move_index_entries(
        &self,
        ahead: &mut Ahead,
        generation: &Generation,
        op_id: OpId,
        info: &CollectionInfo,
        key: &[u8],
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> Result<()> {
        for index in &info.indexes {
            let of = |document: Option<&RawDocument>| {
                let keys = document.map(|document| keys::of(&index.definition, document));
                keys.transpose().map(Option::unwrap_or_default)
            };
            let (old, new) = (of(before)?, of(after)?);
            for values in old.values.iter().filter(|v| new.values.binary_search(v).is_err()) {
                generation.put(index.number, &keys::entry_key(values, key), op_id, Version::Deleted);
            }
            for values in new.values.iter().filter(|v| old.values.binary_search(v).is_err()) {
                put_index_entry(generation, index.number, values, key, op_id);
            }
            if new.multikey && !index.multikey {
                mark_multikey(ahead, generation, info, index.number);
            }
        }
        Ok(())
    }

    fn apply_definition(
        &self,
        ahead: &mut Ahead,
        layers: &Layers,
        op_id: OpId,
        kind: EntryKind,
        store: &StoreEntry<'_>,
    ) -> Result<()> {
        let id = &store.collection_id;
        let unfit = |what| Error::Inconsistent { op_id, what };
        let detail = || store.detail.ok_or(unfit("it has no detail"));
        let mut catalog = Catalog::clone(&ahead.catalog);
        let mut changes = Vec::new();
        match kind {
            EntryKind::Create => {
                let namespace = Namespace::new(store.database, store.collection);
                let options = store.detail.map(CollectionOptions::parse).transpose()?;
                changes.extend(catalog.add(namespace, *id, options.unwrap_or_default()));
            }
            EntryKind::Leave if store.detail.is_some() => {
                let namespace = Namespace::new(store.database, store.collection).to_string();
                return Err(Error::EnteredPart { op_id, namespace });
            }
            EntryKind::Drop | EntryKind::Leave => changes.extend(catalog.remove(id)),
            EntryKind::Rename => {
                let detail = detail()?;
                let (to, target) = rename_of(detail).ok_or(unfit("its rename is malformed"))?;
                changes.extend(target.and_then(|target| catalog.remove(&target)));
                changes.extend(catalog.rename(id, to));
            }
            EntryKind::Modify => {
                let detail = detail()?;
                if let Ok(options) = detail.get_document("options") {
                    let options = CollectionOptions::parse(options)?;
                    changes.extend(catalog.modify(id, |info| info.options = options));
                }
                if let Ok(index) = detail.get_document("index") {
                    let definition = Arc::new(IndexDefinition::parse(index)?);
                    changes.extend(catalog.modify(id, |info| replace_definition(info, definition)));
                }
            }
            EntryKind::StartIndexBuild | EntryKind::CreateIndexes => {
                let definitions = definitions(detail()?)?;
                let start = kind == EntryKind::StartIndexBuild;
                let state = if start { IndexState::Building } else { IndexState::Ready };
                let mut unfinished = self.unfinished(&catalog, id, &definitions);
                let filling = match self.log.is_following() && !start {
                    true => take_begun(&catalog, id, &mut unfinished),
                    false => Vec::new(),
                };
                changes.extend(catalog.add_indexes(id, definitions, state));
                changes.extend(catalog.modify(id, |info| set_filling(info, &filling)));
                if !start && !unfinished.is_empty() {
                    let generation = &layers.generations[0];
                    changes.extend(self.complete_indexes(&mut catalog, layers, generation, op_id, id, &unfinished)?);
                }
            }
            EntryKind::DropIndexes | EntryKind::AbortIndexBuild => {
                let definitions = definitions(detail()?)?;
                let names: Vec<_> = definitions.iter().map(|d| d.name.as_str()).collect();
                changes.extend(catalog.remove_indexes(id, &names));
            }
            _ => {}
        }
        // Nothing changes when it is applied again.
        if !changes.is_empty() {
            for change in changes {
                layers.generations[0].change_catalog(change);
            }
            ahead.catalog = Arc::new(catalog);
        }
        Ok(())
    }

    /// Names of the indexes among `definitions` that are neither ready nor have been completed by this process's builder.
    fn unfinished(&self, catalog: &Catalog, id: &[u8; 16], definitions: &[IndexDefinition]) -> Vec<String> {
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = |name: &str| {
            let index = catalog.by_id(id).and_then(|info| info.index(name));
            index.is_some_and(|index| completed.remove(&index.number) || index.state == IndexState::Ready)
        };
        let names = definitions.iter().map(|definition| &definition.name);
        names.filter(|name| !done(name)).cloned().collect()
    }

    /// Indexes the documents as they are before `op_id`, for indexes that nobody has completed in steps before.
    fn complete_indexes(
        &self,
        catalog: &mut Catalog,
        layers: &Layers,
        generation: &Generation,
        op_id: OpId,
        id: &[u8; 16],
        names: &[String],
    ) -> Result<Option<CatalogChange>> {
        let Some(info) = catalog.by_id(id).cloned() else {
            return Ok(None);
        };
        let indexes: Vec<_> = info
            .indexes
            .iter()
            .filter(|index| names.contains(&index.definition.name))
            .collect();
        let mut multikey = Vec::new();
        for found in layers.scan(info.number, KeyRange::all(), OpId::new(op_id.get() - 1)) {
            let (key, stored) = found?;
            for index in &indexes {
                let keys = keys::of(&index.definition, stored.document()?)?;
                for values in &keys.values {
                    put_index_entry(generation, index.number, values, &key, op_id);
                }
                if keys.multikey && !multikey.contains(&index.number) {
                    multikey.push(index.number);
                }
            }
        }
        Ok(catalog.modify(id, |info| {
            for index in info.indexes.iter_mut().filter(|i| multikey.contains(&i.number)) {
                index.multikey = true;
            }
        }))
    }
}

fn stored_document(entry: &Logged<'_>, store: &StoreEntry<'_>) -> Slice {
    let bytes = || store.document.map_or(&[][..], RawDocument::as_bytes);
    entry.document.cloned().unwrap_or_else(|| Slice::new(bytes()))
}

pub(crate) fn put_index_entry(
    generation: &Generation,
    number: CollectionNumber,
    values: &[u8],
    key: &[u8],
    op_id: OpId,
) {
    // Values are shorter than an engine's key may be.
    let length = u32::try_from(values.len()).unwrap_or(u32::MAX);
    generation.put(number, &keys::entry_key(values, key), op_id, Version::Indexed(length));
}

pub(crate) fn mark_multikey(
    ahead: &mut Ahead,
    generation: &Generation,
    info: &CollectionInfo,
    number: CollectionNumber,
) {
    let mut catalog = Catalog::clone(&ahead.catalog);
    let change = catalog.modify(&info.id, |info| {
        for index in info.indexes.iter_mut().filter(|index| index.number == number) {
            index.multikey = true;
        }
    });
    if let Some(change) = change {
        generation.change_catalog(change);
        ahead.catalog = Arc::new(catalog);
    }
}

/// Takes those of the indexes out whose build an earlier entry has begun: a follower goes on with it beside the entries behind.
fn take_begun(catalog: &Catalog, id: &[u8; 16], names: &mut Vec<String>) -> Vec<String> {
    let info = catalog.by_id(id);
    names
        .extract_if(.., |name| info.is_some_and(|info| info.index(name).is_some()))
        .collect()
}

fn set_filling(info: &mut CollectionInfo, names: &[String]) {
    for index in info
        .indexes
        .iter_mut()
        .filter(|index| names.contains(&index.definition.name))
    {
        index.state = IndexState::Filling;
    }
}

fn replace_definition(info: &mut CollectionInfo, definition: Arc<IndexDefinition>) {
    let named = info.indexes.iter_mut().find(|i| i.definition.name == definition.name);
    if let Some(index) = named {
        index.definition = definition;
    }
}

/// The definitions in a detail's `indexes`.
pub(crate) fn definitions(detail: &RawDocument) -> Result<Vec<IndexDefinition>> {
    let malformed = || Error::InvalidIndex {
        name: String::new(),
        what: "the list of indexes is malformed".into(),
    };
    let list = detail.get_array("indexes").map_err(|_| malformed())?;
    let definition = |value: RawBsonRef<'_>| IndexDefinition::parse(value.as_document().ok_or_else(malformed)?);
    list.into_iter()
        .map(|value| definition(value.map_err(|_| malformed())?))
        .collect()
}

/// A rename's new name, and the collection that it takes the name from.
fn rename_of(detail: &RawDocument) -> Option<(Namespace, Option<[u8; 16]>)> {
    let to = detail.get_document("to").ok()?;
    let to = Namespace::new(to.get_str("db").ok()?, to.get_str("coll").ok()?);
    let target = match detail.get("dropTarget").ok()? {
        Some(RawBsonRef::Binary(binary)) => Some(binary.bytes.try_into().ok()?),
        _ => None,
    };
    Some((to, target))
}

/// A detail that lists indexes.
pub(crate) fn indexes_detail<'a>(definitions: impl IntoIterator<Item = &'a IndexDefinition>) -> RawDocumentBuf {
    let mut list = bson::RawArrayBuf::new();
    for definition in definitions {
        list.push(definition.document.clone());
    }
    bson::rawdoc! { "indexes": list }
}
