//! What a transaction writes: staged, and checked early against what others have committed.

use std::sync::Arc;

use bson::{Bson, DateTime, RawDocument};
use tailwater_matcher::{Collation, StepScope};

use super::TransactionCollection;
use super::ahead::Ahead;
use crate::catalog::CollectionInfo;
use crate::collection::{
    BulkWriteOptions, BulkWriteOutcome, DeleteOptions, InsertManyOptions, Prepared, ReplaceOptions,
    UpdateModifications, UpdateOptions, WriteModel, WriteOutcome,
};
use crate::error::{Error, Result};
use crate::limits::LOCKED_STEPS_MAX;
use crate::store::View;
use crate::transaction::conflict;
use crate::workspace::Workspace;
use crate::write::{Modification, Modified, Reach, id_key};

impl TransactionCollection<'_> {
    /// Inserts one document; returns its `_id`. Without one it gets an ObjectId, in front. A collection that is not there
    /// comes into being with the transaction.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`],
    /// [`Error::DocumentFailedValidation`].
    pub fn insert_one(&self, document: &RawDocument) -> Result<Bson> {
        self.transaction
            .run(|workspace| self.insert(workspace, document, &self.now()?, false))
    }

    /// Inserts documents; returns their `_id`s, in order.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::insert_one`], for the first document that cannot be inserted; [`Error::NoDocuments`].
    pub fn insert_many<'a>(&self, documents: impl IntoIterator<Item = &'a RawDocument>) -> Result<Vec<Bson>> {
        self.insert_many_with(documents, &InsertManyOptions::default())
    }

    /// As [`TransactionCollection::insert_many`], with options. The first document that is refused aborts the transaction,
    /// ordered or not.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn insert_many_with<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a RawDocument>,
        options: &InsertManyOptions,
    ) -> Result<Vec<Bson>> {
        let bypass = options.bypass_document_validation;
        // Before the transaction is locked: the iterator is the caller's code, which may use the transaction.
        let documents: Vec<_> = documents.into_iter().collect();
        self.transaction.run(|workspace| {
            if documents.is_empty() {
                return Err(Error::NoDocuments);
            }
            let now = self.now()?;
            let ids = documents
                .into_iter()
                .map(|document| self.insert(workspace, document, &now, bypass));
            ids.collect()
        })
    }

    /// Changes the first document that matches.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`], and those of the changed document:
    /// [`Error::DuplicateKey`], [`Error::DocumentFailedValidation`].
    pub fn update_one(&self, filter: &RawDocument, update: impl Into<UpdateModifications>) -> Result<WriteOutcome> {
        self.update_one_with(filter, update, &UpdateOptions::default())
    }

    /// As [`Collection::update_one_with`](crate::Collection::update_one_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::update_one`].
    pub fn update_one_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &UpdateOptions,
    ) -> Result<WriteOutcome> {
        let update = update.into();
        self.run(|default| Modification::update(filter, Reach::First, &update, options, default, DateTime::now()))
    }

    /// Changes every document that matches.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one`].
    pub fn update_many(&self, filter: &RawDocument, update: impl Into<UpdateModifications>) -> Result<WriteOutcome> {
        self.update_many_with(filter, update, &UpdateOptions::default())
    }

    /// As [`Collection::update_many_with`](crate::Collection::update_many_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one_with`].
    pub fn update_many_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &UpdateOptions,
    ) -> Result<WriteOutcome> {
        let update = update.into();
        self.run(|default| Modification::update(filter, Reach::All, &update, options, default, DateTime::now()))
    }

    /// Replaces the first document that matches; its `_id` stays.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one`]; [`Error::InvalidReplacement`], [`Error::InvalidDocument`].
    pub fn replace_one(&self, filter: &RawDocument, replacement: &RawDocument) -> Result<WriteOutcome> {
        self.replace_one_with(filter, replacement, &ReplaceOptions::default())
    }

    /// As [`Collection::replace_one_with`](crate::Collection::replace_one_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::replace_one`].
    pub fn replace_one_with(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &ReplaceOptions,
    ) -> Result<WriteOutcome> {
        self.run(|default| Modification::replace(filter, replacement, options, default, DateTime::now()))
    }

    /// Deletes the first document that matches.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::Filter`], [`Error::Evaluate`].
    pub fn delete_one(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.delete_one_with(filter, &DeleteOptions::default())
    }

    /// As [`Collection::delete_one_with`](crate::Collection::delete_one_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::delete_one`].
    pub fn delete_one_with(&self, filter: &RawDocument, options: &DeleteOptions) -> Result<WriteOutcome> {
        self.run(|default| Modification::delete(filter, Reach::First, options, default, DateTime::now()))
    }

    /// Deletes every document that matches.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::delete_one`].
    pub fn delete_many(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.delete_many_with(filter, &DeleteOptions::default())
    }

    /// As [`Collection::delete_many_with`](crate::Collection::delete_many_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::delete_one_with`].
    pub fn delete_many_with(&self, filter: &RawDocument, options: &DeleteOptions) -> Result<WriteOutcome> {
        self.run(|default| Modification::delete(filter, Reach::All, options, default, DateTime::now()))
    }

    /// Carries out writes in order. The first that fails aborts the transaction, as any other operation would.
    ///
    /// # Errors
    ///
    /// That of the write that fails; [`Error::NoWrites`].
    pub fn bulk_write(&self, models: impl IntoIterator<Item = WriteModel>) -> Result<BulkWriteOutcome> {
        self.bulk_write_with(models, &BulkWriteOptions::default())
    }

    /// As [`TransactionCollection::bulk_write`], with options. The first write that fails aborts the transaction, ordered or
    /// not.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn bulk_write_with(
        &self,
        models: impl IntoIterator<Item = WriteModel>,
        options: &BulkWriteOptions,
    ) -> Result<BulkWriteOutcome> {
        let (bypass, moment) = (options.bypass_document_validation, DateTime::now());
        let models: Vec<_> = models.into_iter().collect();
        self.transaction.run(|workspace| {
            if models.is_empty() {
                return Err(Error::NoWrites);
            }
            let now = self.now()?;
            let default = self.collation(workspace);
            let mut outcome = BulkWriteOutcome::default();
            for (index, model) in models.iter().enumerate() {
                match model.prepare(moment, bypass, default.as_ref())? {
                    Prepared::Insert(document) => {
                        outcome.add_insert(index, self.insert(workspace, document, &now, bypass)?);
                    }
                    Prepared::Modify(modification) => {
                        let modified = self.modify(workspace, &modification)?;
                        outcome.add(index, model.is_delete(), modified);
                    }
                }
            }
            Ok(outcome)
        })
    }

    fn run(&self, modification: impl FnOnce(Option<&Collation>) -> Result<Modification>) -> Result<WriteOutcome> {
        self.transaction.run(|workspace| {
            let modification = modification(self.collation(workspace).as_ref())?;
            self.modify(workspace, &modification)
        })
    }

    /// Stages an insert. `now` is the state as of any moment since the transaction began.
    fn insert(&self, workspace: &mut Workspace, document: &RawDocument, now: &View, bypass: bool) -> Result<Bson> {
        let info = self.define(workspace, now)?;
        workspace.bypass_validation(bypass);
        let id = workspace.insert(&info, document)?;
        conflict::check_document(workspace.reading(), &info, &id_key(&id)?, now)?;
        self.transaction.check_size(workspace)?;
        Ok(id)
    }

    /// The collection, which comes into being if it is not there.
    fn define(&self, workspace: &mut Workspace, now: &View) -> Result<Arc<CollectionInfo>> {
        if workspace.reading().info(&self.namespace).is_none() {
            conflict::check_name(&self.namespace, now)?;
        }
        let info = workspace.define(&self.namespace);
        refuse_capped(&info)?;
        Ok(info)
    }

    /// Stages a modification of the documents that match as the transaction sees them.
    fn modify(&self, workspace: &mut Workspace, modification: &Modification) -> Result<WriteOutcome> {
        let mut outcome = WriteOutcome::default();
        self.modify_each(workspace, modification, |modified| outcome.add(modified))?;
        Ok(outcome)
    }

    /// As [`TransactionCollection::modify`]; says what becomes of each document.
    pub(super) fn modify_each(
        &self,
        workspace: &mut Workspace,
        modification: &Modification,
        mut each: impl FnMut(Modified),
    ) -> Result<()> {
        let now = self.now()?;
        let candidates = modification.candidates(workspace.reading(), &self.namespace)?;
        let mut ahead = Ahead::of(candidates, modification.reach)?;
        if ahead.is_empty() {
            if let Some(document) = modification.upserted()? {
                let info = self.define(workspace, &now)?;
                let modified = modification.stage_upsert(workspace, &info, &document)?;
                if let Some(id) = &modified.upserted_id {
                    conflict::check_document(workspace.reading(), &info, &id_key(id)?, &now)?;
                }
                each(modified);
            }
            return Ok(());
        }
        let Some(info) = workspace.reading().info(&self.namespace) else {
            return Ok(());
        };
        refuse_capped(&info)?;
        while let Some(found) = ahead.next(workspace.reading(), &info)? {
            conflict::check_document(workspace.reading(), &info, &found.key, &now)?;
            // Whoever asks for the transaction waits for it.
            let steps = StepScope::limited(LOCKED_STEPS_MAX);
            each(modification.stage(workspace, &info, found, None)?);
            drop(steps);
            self.transaction.check_size(workspace)?;
        }
        Ok(())
    }
}

/// The order in which documents leave a capped collection is that of their commits, which a transaction does not know yet.
fn refuse_capped(info: &CollectionInfo) -> Result<()> {
    match info.options.capped {
        None => Ok(()),
        Some(_) => Err(Error::OperationNotSupportedInTransaction {
            operation: format!("a write to the capped collection {}", info.namespace),
        }),
    }
}
