//! Several writes in one call (MongoDB manual: *Bulk Write Operations*), to one collection or to several.
//!
//! It saves waiting: inserts that follow each other are appended as batches, and durability is waited for once. It is no
//! transaction: each write is visible when it is done, and stays when a later one fails.

use bson::{DateTime, RawDocument, RawDocumentBuf};
use tailwater_matcher::Collation;

use super::{
    BulkWriteOptions, BulkWriteOutcome, Collection, DeleteOptions, ReplaceOptions, UpdateModifications, UpdateOptions,
    WriteError, WriteOutcome,
};
use crate::acknowledge::{Acknowledge, acknowledge};
use crate::catalog::Namespace;
use crate::error::{Error, Result};
use crate::names;
use crate::sessions::RetryableWrite;
use crate::store::{Core, Store};
use crate::write::{Inserted, Modification, Reach, Writer};

/// One write of several.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum WriteModel {
    /// As [`Collection::insert_one`].
    InsertOne {
        /// The document.
        document: RawDocumentBuf,
    },
    /// As [`Collection::update_one_with`].
    UpdateOne {
        /// Which document.
        filter: RawDocumentBuf,
        /// What becomes of it.
        update: UpdateModifications,
        /// The options.
        options: UpdateOptions,
    },
    /// As [`Collection::update_many_with`].
    UpdateMany {
        /// Which documents.
        filter: RawDocumentBuf,
        /// What becomes of them.
        update: UpdateModifications,
        /// The options.
        options: UpdateOptions,
    },
    /// As [`Collection::replace_one_with`].
    ReplaceOne {
        /// Which document.
        filter: RawDocumentBuf,
        /// What takes its place.
        replacement: RawDocumentBuf,
        /// The options.
        options: ReplaceOptions,
    },
    /// As [`Collection::delete_one_with`].
    DeleteOne {
        /// Which document.
        filter: RawDocumentBuf,
        /// The options.
        options: DeleteOptions,
    },
    /// As [`Collection::delete_many_with`].
    DeleteMany {
        /// Which documents.
        filter: RawDocumentBuf,
        /// The options.
        options: DeleteOptions,
    },
}

impl WriteModel {
    /// An insert.
    #[must_use]
    pub fn insert_one(document: RawDocumentBuf) -> WriteModel {
        WriteModel::InsertOne { document }
    }

    /// An update of one document, with default options.
    pub fn update_one(filter: RawDocumentBuf, update: impl Into<UpdateModifications>) -> WriteModel {
        WriteModel::UpdateOne {
            filter,
            update: update.into(),
            options: UpdateOptions::default(),
        }
    }

    /// An update of many documents, with default options.
    pub fn update_many(filter: RawDocumentBuf, update: impl Into<UpdateModifications>) -> WriteModel {
        WriteModel::UpdateMany {
            filter,
            update: update.into(),
            options: UpdateOptions::default(),
        }
    }

    /// A replacement, with default options.
    #[must_use]
    pub fn replace_one(filter: RawDocumentBuf, replacement: RawDocumentBuf) -> WriteModel {
        WriteModel::ReplaceOne {
            filter,
            replacement,
            options: ReplaceOptions::default(),
        }
    }

    /// A deletion of one document, with default options.
    #[must_use]
    pub fn delete_one(filter: RawDocumentBuf) -> WriteModel {
        WriteModel::DeleteOne {
            filter,
            options: DeleteOptions::default(),
        }
    }

    /// A deletion of many documents, with default options.
    #[must_use]
    pub fn delete_many(filter: RawDocumentBuf) -> WriteModel {
        WriteModel::DeleteMany {
            filter,
            options: DeleteOptions::default(),
        }
    }

    /// What it does, checked, at a moment; past the collection's validator if its own options or the caller's say so. `default` is
    /// the collection's collation.
    pub(crate) fn prepare(
        &self,
        now: DateTime,
        bypass_validation: bool,
        default: Option<&Collation>,
    ) -> Result<Prepared<'_>> {
        let modification = match self {
            WriteModel::InsertOne { document } => return Ok(Prepared::Insert(document)),
            WriteModel::UpdateOne {
                filter,
                update,
                options,
            } => Modification::update(filter, Reach::First, update, options, default, now),
            WriteModel::UpdateMany {
                filter,
                update,
                options,
            } => Modification::update(filter, Reach::All, update, options, default, now),
            WriteModel::ReplaceOne {
                filter,
                replacement,
                options,
            } => Modification::replace(filter, replacement, options, default, now),
            WriteModel::DeleteOne { filter, options } => {
                Modification::delete(filter, Reach::First, options, default, now)
            }
            WriteModel::DeleteMany { filter, options } => {
                Modification::delete(filter, Reach::All, options, default, now)
            }
        };
        let mut modification = modification?;
        if bypass_validation {
            modification.bypass_validation();
        }
        Ok(Prepared::Modify(Box::new(modification)))
    }

    pub(crate) fn is_delete(&self) -> bool {
        matches!(self, WriteModel::DeleteOne { .. } | WriteModel::DeleteMany { .. })
    }

    fn as_insert(&self) -> Option<&RawDocument> {
        match self {
            WriteModel::InsertOne { document } => Some(document),
            _ => None,
        }
    }
}

/// A write, checked.
pub(crate) enum Prepared<'a> {
    Insert(&'a RawDocument),
    Modify(Box<Modification>),
}

/// One write of several, and the collection that it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct NamespacedWrite {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// The write.
    pub model: WriteModel,
}

impl Collection {
    /// Carries out writes in order, up to the first that fails.
    ///
    /// # Errors
    ///
    /// As [`Collection::bulk_write_with`].
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::{Store, WriteModel};
    ///
    /// # fn main() -> Result<(), tailwater_storage::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let people = Store::open(dir.path())?.collection("town", "people")?;
    /// let outcome = people.bulk_write([
    ///     WriteModel::insert_one(rawdoc! { "_id": 1, "name": "Ada" }),
    ///     WriteModel::update_one(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "age": 36 } }),
    ///     WriteModel::delete_many(rawdoc! { "age": { "$lt": 30 } }),
    /// ])?;
    /// assert_eq!((outcome.inserted, outcome.modified, outcome.deleted), (1, 1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn bulk_write(&self, models: impl IntoIterator<Item = WriteModel>) -> Result<BulkWriteOutcome> {
        self.bulk_write_with(models, &BulkWriteOptions::default())
    }

    /// Carries out writes, all of them or up to the first that fails.
    ///
    /// # Errors
    ///
    /// [`Error::BulkWrite`] says which failed and why, and what the others have done, as durably as asked;
    /// [`Error::NoWrites`] when there are none; the log's errors.
    pub fn bulk_write_with(
        &self,
        models: impl IntoIterator<Item = WriteModel>,
        options: &BulkWriteOptions,
    ) -> Result<BulkWriteOutcome> {
        let models: Vec<WriteModel> = models.into_iter().collect();
        let writes: Vec<_> = models.iter().map(|model| (&self.namespace, model)).collect();
        let bulk = Bulk::run(self.core(), &writes, options, self.retryable.as_deref());
        bulk.settled(|op_id| self.settle_write(op_id))
    }
}

impl Store {
    /// Carries out writes to any collections, in order, up to the first that fails.
    ///
    /// # Errors
    ///
    /// As [`Store::bulk_write_with`].
    pub fn bulk_write(&self, writes: impl IntoIterator<Item = NamespacedWrite>) -> Result<BulkWriteOutcome> {
        self.bulk_write_with(writes, &BulkWriteOptions::default())
    }

    /// Carries out writes to any collections, all of them or up to the first that fails.
    ///
    /// # Errors
    ///
    /// As [`Collection::bulk_write_with`]; [`Error::InvalidName`], before any of them is carried out.
    pub fn bulk_write_with(
        &self,
        writes: impl IntoIterator<Item = NamespacedWrite>,
        options: &BulkWriteOptions,
    ) -> Result<BulkWriteOutcome> {
        self.bulk_write_settled(writes, options, None)
    }

    /// As [`Store::bulk_write_with`]; it returns when what was written is, behind its durability, acknowledged.
    ///
    /// # Errors
    ///
    /// As there; [`Error::WriteConcernFailed`] when it is not acknowledged: the writes are done all the same.
    pub fn bulk_write_acknowledged(
        &self,
        writes: impl IntoIterator<Item = NamespacedWrite>,
        options: &BulkWriteOptions,
        acknowledgement: &dyn Acknowledge,
    ) -> Result<BulkWriteOutcome> {
        self.bulk_write_settled(writes, options, Some(acknowledgement))
    }

    fn bulk_write_settled(
        &self,
        writes: impl IntoIterator<Item = NamespacedWrite>,
        options: &BulkWriteOptions,
        acknowledgement: Option<&dyn Acknowledge>,
    ) -> Result<BulkWriteOutcome> {
        let mut named = Vec::new();
        for write in writes {
            named.push((names::namespace(&write.database, &write.collection)?, write.model));
        }
        let writes: Vec<_> = named.iter().map(|(namespace, model)| (namespace, model)).collect();
        let core = self.core();
        let bulk = Bulk::run(core, &writes, options, None);
        bulk.settled(|op_id| {
            core.settle_write(op_id, core.options.durability)?;
            match acknowledgement {
                Some(acknowledgement) => acknowledge(acknowledgement, op_id.unwrap_or_else(|| core.applied())),
                None => Ok(()),
            }
        })
    }
}

/// How far several writes have come.
struct Bulk {
    /// One moment for all of them.
    now: DateTime,
    bypass_validation: bool,
    outcome: BulkWriteOutcome,
    errors: Vec<WriteError>,
    is_empty: bool,
    /// Whether there was one that may have found nothing to do.
    has_modifications: bool,
}

impl Bulk {
    fn run(
        core: &Core,
        writes: &[(&Namespace, &WriteModel)],
        options: &BulkWriteOptions,
        retryable: Option<&RetryableWrite>,
    ) -> Bulk {
        let ordered = options.ordered;
        let mut bulk = Bulk {
            now: DateTime::now(),
            bypass_validation: options.bypass_document_validation,
            outcome: BulkWriteOutcome::default(),
            errors: Vec::new(),
            is_empty: writes.is_empty(),
            has_modifications: false,
        };
        let mut next = 0;
        while let Some((namespace, model)) = writes.get(next) {
            if ordered && !bulk.errors.is_empty() {
                break;
            }
            let writer = Writer::new(core, namespace)
                .retryable(retryable)
                .bypassing_validation(options.bypass_document_validation);
            // What can be inserted as one batch.
            let inserts = writes[next..].iter().map_while(|(other, model)| {
                let document = model.as_insert()?;
                (other == namespace).then_some(document)
            });
            let inserts: Vec<_> = (next..).zip(inserts).collect();
            if inserts.is_empty() {
                bulk.modify(writer, next, model);
                next += 1;
            } else {
                let run = inserts.len();
                bulk.insert(writer, inserts, ordered);
                next += run;
            }
        }
        bulk
    }

    fn insert(&mut self, writer: Writer<'_>, documents: Vec<(usize, &RawDocument)>, ordered: bool) {
        let mut inserted = Inserted::default();
        writer.insert(documents, ordered, &mut inserted);
        for (index, id) in inserted.ids {
            self.outcome.add_insert(index, id);
        }
        self.errors.append(&mut inserted.errors);
        self.outcome.op_id = inserted.op_id.or(self.outcome.op_id);
    }

    fn modify(&mut self, writer: Writer<'_>, index: usize, model: &WriteModel) {
        self.has_modifications = true;
        let mut outcome = WriteOutcome::default();
        let modified = model
            .prepare(self.now, self.bypass_validation, writer.collation().as_ref())
            .and_then(|prepared| match prepared {
                Prepared::Modify(modification) => writer.at(index).modify(&modification, &mut outcome),
                Prepared::Insert(_) => Ok(()),
            });
        self.outcome.add(index, model.is_delete(), outcome);
        if let Err(error) = modified {
            self.errors.push(WriteError { index, error });
        }
    }

    fn settled(self, settle: impl FnOnce(Option<tailwater_oplog::OpId>) -> Result<()>) -> Result<BulkWriteOutcome> {
        if self.is_empty {
            return Err(Error::NoWrites);
        }
        // Also before an error: what is reported as written is as durable as asked.
        let has_only_inserted = self.errors.is_empty() && !self.has_modifications;
        settle(self.outcome.op_id.filter(|_| has_only_inserted))?;
        if self.errors.is_empty() {
            return Ok(self.outcome);
        }
        Err(Error::BulkWrite {
            errors: self.errors,
            outcome: Box::new(self.outcome),
        })
    }
}
