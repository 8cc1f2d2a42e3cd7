//! Inserts of documents that nobody has inserted before, into a collection without indexes: what most inserts are. They hold
//! the lock that all writers take for hardly longer than their append takes.
//!
//! Before it is taken the documents are checked, their entries written, and the state as it is then asked whether their keys
//! are free. Under the lock only what was written since is asked again. Whatever is out of the ordinary (an index, a capped
//! collection, a document that is refused, a key that is taken) is left to the [`Workspace`](crate::workspace::Workspace),
//! which also knows what to say about it.

use std::sync::Arc;

use bson::raw::RawBsonRef;
use bson::{Bson, RawDocument};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::StoreEntry;

use super::Inserted;
use crate::catalog::{CollectionInfo, Namespace};
use crate::document_id::write_document_key;
use crate::engine::{Slice, StateKey};
use crate::error::{Error, Result};
use crate::overlay::KeyRange;
use crate::sessions::RetryableWrite;
use crate::store::{Commit, Core, Few, Inserts, View, entry_for};
use crate::workspace::{check_validator, identified};

/// From so many keys on, one look at all that lies between them is cheaper than one at each.
const RANGE_KEYS_MIN: usize = 8;
/// Room for the rest of an entry, beside its document.
const HEAD_BYTES: usize = 64;
/// Room for a key; most are shorter.
const KEY_BYTES: usize = 32;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Fresh {
    info: Arc<CollectionInfo>,
    inserts: Inserts,
    /// The documents' `_id`s, each with the index it came with.
    ids: Few<(usize, Bson)>,
    /// The state in which the keys were found to be free, for few of them but for its newest generation.
    seen: View,
}

impl Fresh {
    /// Prepares the inserts of all these documents; nothing when they must go the ordinary way.
    ///
    /// # Errors
    ///
    /// The state's.
    pub(super) fn prepare(
        core: &Core,
        namespace: &Namespace,
        documents: &[(usize, &RawDocument)],
        bypass_validation: bool,
    ) -> Result<Option<Fresh>> {
        let seen = core.view()?;
        let Some(info) = seen.catalog.get(namespace).cloned() else {
            return Ok(None);
        };
        if !info.indexes.is_empty() || info.natural.is_some() {
            return Ok(None);
        }
        let bytes: usize = documents.iter().map(|(_, document)| document.as_bytes().len()).sum();
        let mut fresh = Fresh {
            inserts: Inserts {
                number: info.number,
                payloads: Vec::with_capacity(bytes + documents.len() * HEAD_BYTES),
                ends: Few::with_capacity(documents.len()),
                keys: Few::with_capacity(documents.len()),
                documents: Few::with_capacity(documents.len()),
                records: Vec::new(),
            },
            ids: Few::with_capacity(documents.len()),
            info,
            seen,
        };
        let mut key = Vec::with_capacity(KEY_BYTES);
        for (index, document) in documents {
            if fresh.add(*index, document, bypass_validation, &mut key).is_err() {
                return Ok(None);
            }
        }
        let is_free = fresh.keys_differ() && fresh.are_free()?;
        Ok(is_free.then_some(fresh))
    }

    /// The same, that leave records of themselves with their session.
    pub(super) fn recorded(mut self, write: Option<&RetryableWrite>) -> Fresh {
        if let Some(write) = write {
            self.inserts.records = write.insert_records(self.ids.iter().map(|(index, _)| *index));
        }
        self
    }

    fn add(&mut self, index: usize, document: &RawDocument, bypass_validation: bool, key: &mut Vec<u8>) -> Result<()> {
        let document = identified(document)?;
        if !bypass_validation {
            check_validator(&self.info, None, &document)?;
        }
        let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
        key.clear();
        write_document_key(id, key)?;
        let entry = StoreEntry {
            document: Some(&document),
            ..entry_for(&self.info)
        };
        let inserts = &mut self.inserts;
        entry.encode(&mut inserts.payloads);
        inserts.ends.push(inserts.payloads.len());
        inserts.keys.push(StateKey::new(inserts.number.0, key));
        inserts.documents.push(Slice::new(document.as_bytes()));
        let id = Bson::try_from(id).map_err(|_| Error::InvalidId { what: "malformed" })?;
        self.ids.push((index, id));
        Ok(())
    }

    fn is_ascending(&self) -> bool {
        self.inserts.keys.is_sorted_by(|a, b| a < b)
    }

    fn keys_differ(&self) -> bool {
        self.is_ascending() || {
            let mut sorted: Vec<_> = self.inserts.keys.iter().collect();
            sorted.sort_unstable();
            sorted.is_sorted_by(|a, b| a < b)
        }
    }

    /// Whether the prepared keys are few: then the newest generation, in which most of what is written lately lies, is only
    /// searched under the lock, where that has to be done anyway once somebody else has written.
    fn are_few(&self) -> bool {
        self.inserts.keys.len() < RANGE_KEYS_MIN
    }

    /// Whether the keys are free in the state that was seen, for few of them but for its newest generation.
    fn are_free(&self) -> Result<bool> {
        if !self.are_few() {
            return self.are_free_in(&self.seen);
        }
        let View { layers, at, .. } = &self.seen;
        for key in &self.inserts.keys {
            // Below a deletion in the newest generation, it may be there and free all the same.
            if layers.find_frozen(key.clone(), *at)?.is_some() && layers.find(key.clone(), *at)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn are_free_in(&self, view: &View) -> Result<bool> {
        let keys = &self.inserts.keys;
        if keys.len() >= RANGE_KEYS_MIN
            && self.is_ascending()
            && let (Some(first), Some(last)) = (keys.first(), keys.last())
        {
            let range = KeyRange::between(first.key(), last.key());
            let found = view.layers.scan(self.info.number, range, view.at).next();
            if found.transpose()?.is_none() {
                return Ok(true);
            }
        }
        for key in keys {
            if view.layers.find(key.clone(), view.at)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the inserts are still possible in the state that the holder of the lock finds.
    fn are_free_now(&self, now: &View) -> Result<bool> {
        let info = now.catalog.get(&self.info.namespace);
        if !info.is_some_and(|info| Arc::ptr_eq(info, &self.info)) {
            return Ok(false);
        }
        if now.at == self.seen.at && !self.are_few() {
            return Ok(true);
        }
        // What the engine has taken in since may be what was written since.
        if !Arc::ptr_eq(&now.layers.engine, &self.seen.layers.engine) {
            return self.are_free_in(now);
        }
        if self.are_few() {
            // No generation has gone while the engine is the same.
            let open = now.layers.generations.len() + 1 - self.seen.layers.generations.len();
            let mut keys = self.inserts.keys.iter();
            return Ok(keys.all(|key| !now.layers.has_lately(key.clone(), now.at, open)));
        }
        let mut since = now
            .layers
            .generations
            .iter()
            .take_while(|g| g.last() > self.seen.at || g.last() == OpId::ZERO);
        Ok(since.all(|generation| !generation.has_any_since(&self.inserts.keys, self.seen.at)))
    }

    /// Commits the inserts, unless that has become impossible since they were prepared; says whether it did.
    ///
    /// # Errors
    ///
    /// The log's and the state's.
    pub(super) fn commit(mut self, core: &Core, commit: &mut Commit<'_>, inserted: &mut Inserted) -> Result<bool> {
        if !self.are_free_now(&core.view_locked(commit)?)? {
            return Ok(false);
        }
        let outcome = core.commit_inserts(commit, self.inserts)?;
        inserted.op_id = Some(outcome.last);
        inserted.ids.append(&mut self.ids);
        Ok(true)
    }
}
