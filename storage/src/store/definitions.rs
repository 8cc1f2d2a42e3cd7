//! Creating, dropping, renaming and changing collections; every one of these is an entry of the log.

use std::sync::Arc;

use bson::raw::RawBsonRef;
use bson::spec::BinarySubtype;
use bson::{Binary, RawDocument, RawDocumentBuf, Uuid, rawdoc};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::{Commit, Core, Draft, Store, entry_for};
use crate::aggregate::is_temporary;
use crate::catalog::{CollectionInfo, Namespace};
use crate::error::{Error, Result, text};
use crate::names;
use crate::options::CollectionOptions;
use crate::workspace::Workspace;

/// A collection as `listCollections` shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct CollectionSpecification {
    /// Its name.
    pub name: String,
    /// Its UUID, which a rename does not change.
    pub uuid: Uuid,
    /// Its options.
    pub options: CollectionOptions,
}

impl Store {
    /// Creates a collection with default options.
    ///
    /// # Errors
    ///
    /// As [`Store::create_collection_with`].
    pub fn create_collection(&self, database: &str, collection: &str) -> Result<OpId> {
        self.create_collection_with(database, collection, &CollectionOptions::default())
    }

    /// Creates a collection.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::CollectionExists`], and the log's errors.
    pub fn create_collection_with(
        &self,
        database: &str,
        collection: &str,
        options: &CollectionOptions,
    ) -> Result<OpId> {
        let namespace = names::namespace(database, collection)?;
        self.define(|core, commit| {
            refuse_taken(commit, &namespace)?;
            let mut workspace = Workspace::new(core.view_locked(commit)?);
            workspace.create(namespace.clone(), options.clone());
            Ok(workspace.into_drafts())
        })
    }

    /// Drops a collection with its documents and indexes.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCollection`], and the log's errors.
    pub fn drop_collection(&self, database: &str, collection: &str) -> Result<OpId> {
        let namespace = Namespace::new(database, collection);
        self.define(|_, commit| {
            let info = existing(commit, &namespace)?;
            Ok(vec![Draft::new(EntryKind::Drop, &entry_for(&info))])
        })
    }

    /// Drops every collection of a database, in one step. A database without collections is none; dropping it does nothing.
    ///
    /// # Errors
    ///
    /// The log's errors.
    pub fn drop_database(&self, database: &str) -> Result<Option<OpId>> {
        let core = self.core();
        let outcome = {
            let mut commit = core.lock_commit()?;
            let catalog = commit.catalog();
            let doomed = catalog.collections().filter(|info| info.namespace.database == database);
            let mut drafts: Vec<Draft> = doomed
                .map(|info| Draft::new(EntryKind::Drop, &entry_for(info)))
                .collect();
            if drafts.is_empty() {
                return Ok(None);
            }
            let entry = StoreEntry {
                database,
                ..StoreEntry::default()
            };
            drafts.push(Draft::new(EntryKind::DropDatabase, &entry));
            core.commit(&mut commit, &drafts)?
        };
        core.settle(outcome.last, core.options.durability).map(Some)
    }

    /// Gives a collection another name, in its own or another database. Documents, indexes and UUID stay.
    ///
    /// With `drop_target` a collection that has the new name is dropped in the same step.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`]; [`Error::NoSuchCollection`]; [`Error::CollectionExists`] when the new name is taken and
    /// `drop_target` is not set, or both names are the same; and the log's errors.
    pub fn rename_collection(&self, from: (&str, &str), to: (&str, &str), drop_target: bool) -> Result<OpId> {
        let (from, to) = (names::namespace(from.0, from.1)?, names::namespace(to.0, to.1)?);
        self.define(|_, commit| {
            let info = existing(commit, &from)?;
            let catalog = commit.catalog();
            let target = catalog.get(&to);
            if from == to || (target.is_some() && !drop_target) {
                return Err(Error::CollectionExists {
                    namespace: to.to_string(),
                });
            }
            let mut detail = rawdoc! {
                "to": { "db": to.database.as_str(), "coll": to.collection.as_str() },
            };
            if let Some(target) = target {
                detail.append(
                    bson::raw::cstr!("dropTarget"),
                    Binary {
                        subtype: BinarySubtype::Uuid,
                        bytes: target.id.to_vec(),
                    },
                );
            }
            let entry = StoreEntry {
                detail: Some(&detail),
                ..entry_for(&info)
            };
            Ok(vec![Draft::new(EntryKind::Rename, &entry)])
        })
    }

    /// Changes options of a collection: `changeStreamPreAndPostImages`, `validator`, `validationLevel`, `validationAction`; and
    /// of one of its indexes: `index: {name or keyPattern, hidden, expireAfterSeconds}` (MongoDB manual: *collMod*). What is
    /// not named stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCollection`], [`Error::InvalidOptions`], [`Error::NoSuchIndex`], [`Error::InvalidIndex`], and the log's
    /// errors.
    pub fn modify_collection(&self, database: &str, collection: &str, changes: &RawDocument) -> Result<OpId> {
        let namespace = Namespace::new(database, collection);
        let op_id = self.define(|_, commit| {
            let info = existing(commit, &namespace)?;
            let mut options = info.options.clone();
            let mut drafts = Vec::new();
            for change in changes {
                let (name, value): (_, RawBsonRef<'_>) = change.map_err(|_| Error::InvalidOptions {
                    what: "they are malformed".into(),
                })?;
                match (name.as_str(), value) {
                    ("index", RawBsonRef::Document(change)) => {
                        drafts.push(modification(&info, &index_modification(&info, change)?));
                    }
                    (name, value) => options.set(name, value)?,
                }
            }
            if drafts.is_empty() || options != info.options {
                let detail = rawdoc! {
                    "options": options.to_document(),
                    "before": info.options.to_document(),
                };
                drafts.push(modification(&info, &detail));
            }
            Ok(drafts)
        })?;
        self.ensure_expiry()?;
        Ok(op_id)
    }

    /// Drops what a crash has left of results that were on their way to the place of a collection.
    pub(super) fn drop_temporary(&self) -> Result<()> {
        let catalog = self.core().catalog();
        for info in catalog.collections() {
            let Namespace { database, collection } = &info.namespace;
            if is_temporary(collection) {
                tracing::info!(namespace = %info.namespace, "dropping what an $out that was cut short has written");
                self.drop_collection(database, collection)?;
            }
        }
        Ok(())
    }

    /// Names of the databases that have collections, sorted.
    #[must_use]
    pub fn database_names(&self) -> Vec<String> {
        let catalog = self.core().catalog();
        let mut names: Vec<_> = catalog
            .collections()
            .map(|info| info.namespace.database.clone())
            .collect();
        names.dedup();
        names
    }

    /// Names of the collections of a database, sorted.
    #[must_use]
    pub fn collection_names(&self, database: &str) -> Vec<String> {
        let catalog = self.core().catalog();
        let of_database = catalog.collections().filter(|info| info.namespace.database == database);
        of_database.map(|info| info.namespace.collection.clone()).collect()
    }

    /// The collections of a database with their options, sorted by name.
    #[must_use]
    pub fn list_collections(&self, database: &str) -> Vec<CollectionSpecification> {
        let catalog = self.core().catalog();
        let of_database = catalog.collections().filter(|info| info.namespace.database == database);
        of_database
            .map(|info| CollectionSpecification {
                name: info.namespace.collection.clone(),
                uuid: Uuid::from_bytes(info.id),
                options: info.options.clone(),
            })
            .collect()
    }

    /// Computes entries under the lock, commits them, and waits as long as the store's durability asks.
    pub(crate) fn define(&self, drafts: impl FnOnce(&Core, &Commit<'_>) -> Result<Vec<Draft>>) -> Result<OpId> {
        let core = self.core();
        let outcome = {
            let mut commit = core.lock_commit()?;
            let drafts = drafts(core, &commit)?;
            core.commit(&mut commit, &drafts)?
        };
        core.settle(outcome.last, core.options.durability)
    }
}

/// An entry that changes a collection's options or one of its indexes.
pub(crate) fn modification(info: &CollectionInfo, detail: &RawDocumentBuf) -> Draft {
    let entry = StoreEntry {
        detail: Some(detail),
        ..entry_for(info)
    };
    Draft::new(EntryKind::Modify, &entry)
}

/// The detail of an entry that changes an index: what it becomes, and what it was.
fn index_modification(info: &CollectionInfo, change: &RawDocument) -> Result<RawDocumentBuf> {
    let invalid = |what: String| Error::InvalidOptions { what };
    let mut index = None;
    let mut changes = Vec::new();
    for field in change {
        let (option, value) = field.map_err(|_| invalid("they are malformed".into()))?;
        match (option.as_str(), value) {
            ("name", RawBsonRef::String(name)) => {
                let found = info.index(name);
                index = Some(found.ok_or_else(|| Error::NoSuchIndex { name: name.to_owned() })?);
            }
            ("keyPattern", RawBsonRef::Document(key)) => {
                let mut found = info.indexes.iter().filter(|index| index.definition.has_key(key));
                index = Some(found.next().ok_or_else(|| Error::NoSuchIndex { name: text(key) })?);
                if found.next().is_some() {
                    return Err(Error::AmbiguousIndexKey { key: text(key) });
                }
            }
            (option @ ("hidden" | "expireAfterSeconds"), value) => changes.push((option, value)),
            (option, _) => {
                return Err(invalid(format!(
                    "index.{option} is not supported, or has the wrong type"
                )));
            }
        }
    }
    let index = index.ok_or_else(|| invalid("index needs a name or a keyPattern".into()))?;
    if index.definition.is_id() {
        return Err(invalid("the index on _id cannot be changed".into()));
    }
    let changed = index.definition.changed(&changes)?;
    Ok(rawdoc! { "index": changed.document, "before": index.definition.document.clone() })
}

pub(crate) fn existing(commit: &Commit<'_>, namespace: &Namespace) -> Result<Arc<CollectionInfo>> {
    let info = commit.catalog().get(namespace).cloned();
    info.ok_or_else(|| Error::NoSuchCollection {
        namespace: namespace.to_string(),
    })
}

fn refuse_taken(commit: &Commit<'_>, namespace: &Namespace) -> Result<()> {
    match commit.catalog().get(namespace) {
        None => Ok(()),
        Some(_) => Err(Error::CollectionExists {
            namespace: namespace.to_string(),
        }),
    }
}
