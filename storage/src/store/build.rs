//! Building indexes while writes go on.
//!
//! A build begins with an entry that says so. From then on every write maintains the index, as [`super::apply`] does for all
//! of them; what is missing are the documents that have not been written since. The builder indexes those in chunks, each
//! under the commit lock for a short while, as they are at that moment. At the end an entry says that the index is complete,
//! and queries begin to use it. Small collections are indexed by that last entry alone.
//!
//! # Why this is sound
//!
//! - A chunk's entries are put at the last visible OpID, into the newest generation, under the lock: they lie before every
//!   later write, whose moves of keys replace them. Putting them again changes nothing.
//! - They reach the engine with their generation. A crash loses them or not; in both cases the build begins again, and the
//!   entries that are there already are put again.
//! - A unique index under construction has the keys of what was indexed so far and of what was written since, so each key is
//!   checked against all those that came before it, by the builder or by the write, whichever is second.

use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::apply::{Logged, definitions, indexes_detail, mark_multikey, put_index_entry};
use super::commit::{Commit, Draft, entry_for};
use super::shared::{Core, View};
use crate::applier;
use crate::catalog::{CollectionInfo, IndexInfo, IndexState};
use crate::error::{Error, Result};
use crate::index::keys;
use crate::overlay::KeyRange;
use crate::reading::Reading;
use crate::workspace::{check_length, is_taken};

/// Collections with more documents than this are indexed in chunks.
pub(crate) const BUILD_AT_ONCE_MAX: i64 = 1000;
/// Documents of one chunk; writers wait so long.
const CHUNK_DOCUMENTS: usize = 256;

/// Whether the keys of a unique index are looked at while it is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Uniqueness {
    /// Two documents with one key give the build up.
    Checked,
    /// The primary has looked, or does.
    Given,
}

/// Indexes of one collection that are to be completed.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) collection: [u8; 16],
    /// As they were when the build began.
    pub(crate) indexes: Vec<IndexInfo>,
}

impl Build {
    /// Those of a collection's indexes of which `of` says so, if there are any.
    pub(crate) fn new(info: &CollectionInfo, of: impl Fn(&IndexInfo) -> bool) -> Option<Build> {
        let indexes: Vec<_> = info.indexes.iter().filter(|index| of(index)).cloned().collect();
        let collection = info.id;
        (!indexes.is_empty()).then_some(Build { collection, indexes })
    }

    /// The same, of those whose build has begun, and has not ended by what the log says.
    pub(crate) fn begun(info: &CollectionInfo, of: impl Fn(&IndexInfo) -> bool) -> Option<Build> {
        Build::new(info, |index| index.state == IndexState::Building && of(index))
    }

    /// A build for each of them.
    pub(super) fn singly(&self) -> impl Iterator<Item = Build> {
        self.indexes.iter().map(|index| Build {
            collection: self.collection,
            indexes: vec![index.clone()],
        })
    }

    /// The collection as it is by now, and those of the indexes that it still has.
    pub(super) fn found(&self, view: &View) -> Result<(Arc<CollectionInfo>, Vec<IndexInfo>)> {
        let info = view.catalog.by_id(&self.collection).cloned();
        let info = info.ok_or_else(|| aborted(&self.indexes[0]))?;
        let mut indexes = info.indexes.clone();
        indexes.retain(|index| self.indexes.iter().any(|begun| begun.number == index.number));
        Ok((info, indexes))
    }
}

impl Core {
    /// The builds that an earlier process has begun and not ended, and how many documents each has before it.
    pub(crate) fn unfinished_builds(&self) -> Vec<(Build, i64)> {
        let catalog = self.catalog();
        let of = |info: &CollectionInfo| Some((Build::begun(info, |_| true)?, self.size(info.number).documents));
        catalog.collections().filter_map(|info| of(info)).collect()
    }

    /// Completes indexes whose build has begun; returns the entry that says so, unless somebody else has written it.
    ///
    /// Any number of threads may complete the same indexes.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::ParallelArrays`], [`Error::IndexKeyTooLong`], and those of a partial filter's
    /// evaluation: the indexes are gone then. [`Error::IndexBuildAborted`] when they were dropped meanwhile. The log's and the
    /// engine's errors, after which the build goes on when the store is opened again.
    pub(crate) fn complete(&self, build: &Build) -> Result<Option<OpId>> {
        let mut after = None;
        loop {
            // Between two chunks nothing is held, so that others come in.
            let mut commit = self.lock_commit()?;
            match self.index_chunk(&mut commit, build, after, Uniqueness::Checked) {
                Ok(None) => return self.end_build(&mut commit, build),
                Ok(last) => after = last,
                Err(error) => {
                    if error.is_of_documents() {
                        self.abort_build(&mut commit, build)?;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Indexes what an entry of the log says to be complete, before it is replayed by a store that takes writes; so that replaying
    /// it has nothing left to do, however many documents there are.
    pub(crate) fn complete_before(&self, entry: &Logged<'_>) -> Result<()> {
        if EntryKind::from_number(entry.kind) != Some(EntryKind::CreateIndexes) {
            return Ok(());
        }
        let store = StoreEntry::decode(entry.payload)?;
        let named = store.detail.map(definitions).transpose()?.unwrap_or_default();
        let catalog = self.catalog();
        let Some(info) = catalog.by_id(&store.collection_id) else {
            return Ok(());
        };
        let is_named = |index: &IndexInfo| named.iter().any(|named| named.name == index.definition.name);
        let Some(build) = Build::begun(info, is_named) else {
            return Ok(());
        };
        let mut after = None;
        loop {
            // Without waiting for room in the overlay: the applier is not running yet.
            after = self.index_chunk(&mut Commit { ahead: self.lock() }, &build, after, Uniqueness::Checked)?;
            let layers = self.layers()?;
            if self.is_due(&layers) {
                applier::flush(self)?;
            }
            if after.is_none() {
                break;
            }
        }
        self.remember_completed(&build);
        Ok(())
    }

    /// Indexes the documents after a key; returns the last one's key, or nothing at the end.
    pub(super) fn index_chunk(
        &self,
        commit: &mut Commit<'_>,
        build: &Build,
        after: Option<Vec<u8>>,
        uniqueness: Uniqueness,
    ) -> Result<Option<Vec<u8>>> {
        let view = self.view_locked(commit)?;
        let (info, indexes) = build.found(&view)?;
        if indexes.is_empty() {
            return Err(aborted(&build.indexes[0]));
        }
        if indexes.iter().all(|index| index.state == IndexState::Ready) {
            return Ok(None);
        }
        let reading = Reading::new(view.clone());
        let generation = &view.layers.generations[0];
        let before = generation.bytes();
        let range = KeyRange {
            from: after.map_or(Bound::Unbounded, Bound::Excluded),
            ..KeyRange::all()
        };
        let mut last = None;
        for found in reading.scan(info.number, range).take(CHUNK_DOCUMENTS) {
            let (key, stored) = found?;
            let document = stored.document()?;
            for index in indexes.iter().filter(|index| index.state != IndexState::Ready) {
                let keys = keys::of(&index.definition, document)?;
                for values in &keys.values {
                    check_length(&index.definition, values, &key)?;
                    let checked = index.definition.unique && uniqueness == Uniqueness::Checked;
                    if checked && is_taken(&reading, index.number, values, &key)? {
                        return Err(Error::duplicate(&info, &index.definition, document, values));
                    }
                    put_index_entry(generation, index.number, values, &key, view.at);
                }
                if keys.multikey {
                    mark_multikey(&mut commit.ahead, generation, &info, index.number);
                }
            }
            last = Some(key);
        }
        if generation.bytes() > before {
            generation.cover(view.at);
            self.publish(&commit.ahead, view.at);
            self.wake_if_due(generation, before);
        }
        Ok(last)
    }

    fn end_build(&self, commit: &mut Commit<'_>, build: &Build) -> Result<Option<OpId>> {
        let view = self.view_locked(commit)?;
        let (info, indexes) = build.found(&view)?;
        let building = indexes.iter().filter(|index| index.state == IndexState::Building);
        let building: Vec<_> = building.map(|index| &*index.definition).collect();
        let mut last = None;
        if !building.is_empty() {
            self.remember_completed(build);
            let detail = indexes_detail(building);
            let draft = definition(EntryKind::CreateIndexes, &info, &detail);
            last = Some(self.commit(commit, &[draft])?.last);
        }
        let dropped = build
            .indexes
            .iter()
            .find(|begun| indexes.iter().all(|index| index.number != begun.number));
        dropped.map_or(Ok(last), |index| Err(aborted(index)))
    }

    fn abort_build(&self, commit: &mut Commit<'_>, build: &Build) -> Result<()> {
        let (info, indexes) = build.found(&self.view_locked(commit)?)?;
        let building = indexes.iter().filter(|index| index.state == IndexState::Building);
        let building: Vec<_> = building.map(|index| &*index.definition).collect();
        if !building.is_empty() {
            let detail = indexes_detail(building);
            let draft = definition(EntryKind::AbortIndexBuild, &info, &detail);
            self.commit(commit, &[draft])?;
        }
        Ok(())
    }

    /// The entry that says that they are complete has nothing left to do.
    pub(super) fn remember_completed(&self, build: &Build) {
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        completed.extend(build.indexes.iter().map(|index| index.number));
    }
}

fn aborted(index: &IndexInfo) -> Error {
    Error::IndexBuildAborted {
        name: index.definition.name.clone(),
    }
}

/// An entry about indexes of a collection.
pub(crate) fn definition(kind: EntryKind, info: &CollectionInfo, detail: &bson::RawDocument) -> Draft {
    let entry = StoreEntry {
        detail: Some(detail),
        ..entry_for(info)
    };
    Draft::new(kind, &entry)
}
