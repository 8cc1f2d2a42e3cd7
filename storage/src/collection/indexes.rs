//! Creating, listing and dropping the indexes of a collection (MongoDB manual: *createIndexes*, *listIndexes*, *dropIndexes*).

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::EntryKind;

use super::Collection;
use crate::catalog::{CollectionInfo, IndexInfo, IndexState};
use crate::error::{Error, Result};
use crate::index::{ID_INDEX, INDEXES_MAX, IndexDefinition, IndexModel};
use crate::store::{BUILD_AT_ONCE_MAX, Build, definition, existing, indexes_detail};
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
    /// It returns when the indexes are complete. Writes go on meanwhile where there are more than a thousand documents, and
    /// maintain the indexes from the beginning; queries use them from the end. A build that a crash interrupts goes on when the
    /// store is opened again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidIndex`]; [`Error::IndexBuildAborted`] when one is dropped meanwhile; [`Error::IndexConflict`] when there is another index of that name or with that key;
    /// [`Error::DuplicateKey`] when the documents do not allow a unique index; [`Error::ParallelArrays`],
    /// [`Error::TooManyKeys`], [`Error::IndexKeyTooLong`]; and the log's errors.
    pub fn create_indexes(&self, definitions: &[&RawDocument]) -> Result<IndexOutcome> {
        let default = self.core().collation_of(&self.namespace);
        let parsed = definitions
            .iter()
            .map(|definition| IndexDefinition::asked_for(definition, default.as_ref()));
        let definitions = parsed.collect::<Result<Vec<_>>>()?;
        let names = definitions.iter().map(|definition| definition.name.clone()).collect();
        let core = self.core();
        let begun = self.begin_indexes(definitions)?;
        let last = match &begun.build {
            Some(build) => core.complete(build)?.or(begun.op_id),
            None => begun.op_id,
        };
        self.store.ensure_expiry()?;
        let op_id = last.map(|op_id| self.settle(op_id)).transpose()?;
        Ok(IndexOutcome { names, op_id })
    }

    /// Writes the entry that creates the indexes, or the one that begins to build them.
    fn begin_indexes(&self, definitions: Vec<IndexDefinition>) -> Result<Begun> {
        let core = self.core();
        let mut commit = core.lock_commit()?;
        let mut workspace = Workspace::new(core.view_locked(&commit)?);
        let info = workspace.define(&self.namespace);
        let asked_for: Vec<String> = definitions.iter().map(|definition| definition.name.clone()).collect();
        let wanted = wanted(&info, definitions)?;
        let large = core.size(info.number).documents > BUILD_AT_ONCE_MAX;
        let mut op_id = None;
        if !wanted.is_empty() {
            if !large {
                workspace.check_indexable(&info, &wanted)?;
            }
            let kind = if large {
                EntryKind::StartIndexBuild
            } else {
                EntryKind::CreateIndexes
            };
            let mut drafts = workspace.into_drafts();
            drafts.push(definition(kind, &info, &indexes_detail(&wanted)));
            op_id = Some(core.commit(&mut commit, &drafts)?.last);
        }
        // Those that somebody else is building are completed with them.
        let catalog = commit.catalog();
        let is_asked_for = |index: &IndexInfo| asked_for.contains(&index.definition.name);
        let build = catalog
            .by_id(&info.id)
            .and_then(|info| Build::begun(info, is_asked_for));
        Ok(Begun { build, op_id })
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
        // With a collation it is one of the others, and the first.
        let on_id = info.index(ID_INDEX).is_none().then_some(on_id);
        let others = info.indexes.iter().map(|index| index.definition.document.clone());
        Ok(on_id.into_iter().chain(others).collect())
    }

    /// Drops an index by name; `"*"` drops all but the one on `_id`. One that is being built is given up.
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
            let is_doomed = |index: &&IndexInfo| match name {
                "*" => !index.definition.is_id(),
                name => index.definition.name == name,
            };
            let doomed = info.indexes.iter().filter(is_doomed);
            let (building, ready): (Vec<_>, Vec<_>) = doomed.partition(|index| index.state == IndexState::Building);
            let entries = [(EntryKind::AbortIndexBuild, building), (EntryKind::DropIndexes, ready)];
            let drafts = entries.into_iter().filter(|(_, indexes)| !indexes.is_empty());
            let drafts: Vec<_> = drafts
                .map(|(kind, indexes)| {
                    let detail = indexes_detail(indexes.iter().map(|index| &*index.definition));
                    definition(kind, &info, &detail)
                })
                .collect();
            if drafts.is_empty() {
                if name == "*" {
                    return Ok(());
                }
                return Err(Error::NoSuchIndex { name: name.to_owned() });
            }
            core.commit(&mut commit, &drafts)?.last
        };
        self.settle(op_id).map(drop)
    }
}

/// What is left to do after the entry that begins it.
struct Begun {
    build: Option<Build>,
    op_id: Option<OpId>,
}

/// Those of the definitions that the collection does not have yet.
fn wanted(info: &CollectionInfo, definitions: Vec<IndexDefinition>) -> Result<Vec<IndexDefinition>> {
    let mut wanted: Vec<IndexDefinition> = Vec::new();
    for definition in definitions {
        if definition.is_id() {
            if definition.collation != info.options.collation {
                return Err(Error::InvalidIndex {
                    name: definition.name,
                    what: "the index on _id has the collation of the collection".into(),
                });
            }
            continue;
        }
        if definition.name == ID_INDEX {
            return Err(Error::InvalidIndex {
                name: definition.name,
                what: "the name is that of the index on _id: give it another one".into(),
            });
        }
        let present = info.indexes.iter().map(|index| &*index.definition);
        let conflict = |other: &IndexDefinition| Error::IndexConflict {
            name: definition.name.clone(),
            other: other.name.clone(),
            equivalent: other.is_equivalent(&definition),
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
