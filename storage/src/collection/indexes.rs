//! Creating, listing and dropping the indexes of a collection (MongoDB manual: *createIndexes*, *listIndexes*, *dropIndexes*).

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::Collection;
use crate::catalog::CollectionInfo;
use crate::error::{Error, Result};
use crate::index::{ID_INDEX, INDEXES_MAX, IndexDefinition, IndexModel};
use crate::store::{Draft, entry_for, existing, indexes_detail};
use crate::workspace::Workspace;

/// What a creation of indexes has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexOutcome {
    /// Names of the indexes that were asked for, in order.
    pub names: Vec<String>,
    /// The last entry it wrote; nothing when all indexes were there already.
    pub op_id: Option<OpId>,
}

impl Collection {
    /// Creates an index; one that is there already is left as it is. Returns its name.
    ///
    /// # Errors
    ///
    /// As [`Collection::create_indexes`].
    pub fn create_index(&self, model: &IndexModel) -> Result<String> {
        let mut outcome = self.create_indexes(&[model.to_document().as_ref()])?;
        Ok(outcome.names.remove(0))
    }

    /// Creates indexes, given as `createIndexes` takes them: `{key, name, unique, …}`. A collection that is not there yet is
    /// created.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidIndex`]; [`Error::IndexConflict`] when there is another index of that name or with that key;
    /// [`Error::DuplicateKey`] when the documents do not allow a unique index; [`Error::ParallelArrays`],
    /// [`Error::IndexKeyTooLong`]; and the log's errors.
    pub fn create_indexes(&self, definitions: &[&RawDocument]) -> Result<IndexOutcome> {
        let parsed = definitions.iter().map(|definition| IndexDefinition::parse(definition));
        let definitions = parsed.collect::<Result<Vec<_>>>()?;
        let names = definitions.iter().map(|definition| definition.name.clone()).collect();
        let core = self.core();
        let op_id = {
            let mut commit = core.lock_commit()?;
            let mut workspace = Workspace::new(core.view_locked(&commit)?);
            let info = workspace.define(&self.namespace);
            let wanted = wanted(&info, definitions)?;
            if wanted.is_empty() {
                return Ok(IndexOutcome { names, op_id: None });
            }
            workspace.check_indexable(&info, &wanted)?;
            let detail = indexes_detail(&wanted);
            let mut drafts = workspace.into_drafts();
            let entry = StoreEntry {
                detail: Some(&detail),
                ..entry_for(&info)
            };
            drafts.push(Draft::new(EntryKind::CreateIndexes, &entry));
            core.commit(&mut commit, &drafts)?.last
        };
        self.settle(op_id)?;
        Ok(IndexOutcome {
            names,
            op_id: Some(op_id),
        })
    }

    /// The indexes as `listIndexes` shows them, the one on `_id` first; none when there is no such collection.
    ///
    /// # Errors
    ///
    /// [`Error::Log`] when the store is closed.
    pub fn list_indexes(&self) -> Result<Vec<RawDocumentBuf>> {
        let view = self.core().view()?;
        let Some(info) = view.catalog.get(&self.namespace) else {
            return Ok(Vec::new());
        };
        let on_id = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": ID_INDEX };
        let others = info.indexes.iter().map(|index| index.definition.document.clone());
        Ok(std::iter::once(on_id).chain(others).collect())
    }

    /// Drops an index by name; `"*"` drops all but the one on `_id`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCollection`], [`Error::NoSuchIndex`], [`Error::InvalidIndex`] for the one on `_id`, and the log's errors.
    pub fn drop_index(&self, name: &str) -> Result<()> {
        if name == ID_INDEX {
            return Err(Error::InvalidIndex {
                name: name.to_owned(),
                what: "the index on _id cannot be dropped".into(),
            });
        }
        let core = self.core();
        let op_id = {
            let mut commit = core.lock_commit()?;
            let info = existing(&commit, &self.namespace)?;
            let doomed = info.indexes.iter().map(|index| &*index.definition);
            let doomed: Vec<_> = doomed.filter(|d| name == "*" || d.name == name).collect();
            if doomed.is_empty() {
                if name == "*" {
                    return Ok(());
                }
                return Err(Error::NoSuchIndex { name: name.to_owned() });
            }
            let detail = indexes_detail(doomed);
            let entry = StoreEntry {
                detail: Some(&detail),
                ..entry_for(&info)
            };
            core.commit(&mut commit, &[Draft::new(EntryKind::DropIndexes, &entry)])?
                .last
        };
        self.settle(op_id).map(drop)
    }
}

/// Those of the definitions that the collection does not have yet.
fn wanted(info: &CollectionInfo, definitions: Vec<IndexDefinition>) -> Result<Vec<IndexDefinition>> {
    let mut wanted: Vec<IndexDefinition> = Vec::new();
    for definition in definitions {
        if definition.is_id() {
            continue;
        }
        let present = info.indexes.iter().map(|index| &*index.definition);
        let conflict = |other: &IndexDefinition| Error::IndexConflict {
            name: definition.name.clone(),
            other: other.name.clone(),
        };
        let mut there = false;
        for other in present.chain(&wanted) {
            if other.is_same(&definition) {
                there = true;
            } else if other.name == definition.name || other.is_equivalent(&definition) {
                return Err(conflict(other));
            }
        }
        if !there {
            wanted.push(definition);
        }
    }
    if info.indexes.len() + wanted.len() >= INDEXES_MAX {
        return Err(Error::InvalidIndex {
            name: wanted.last().map(|last| last.name.clone()).unwrap_or_default(),
            what: format!("a collection has at most {INDEXES_MAX} indexes"),
        });
    }
    Ok(wanted)
}
