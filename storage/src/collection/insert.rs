//! Inserting documents.

use bson::RawDocument;

use super::{BulkWriteOutcome, Collection, InsertManyOptions, InsertOutcome};
use crate::error::{Error, Result};
use crate::write::Inserted;

impl Collection {
    /// Inserts one document. Without an `_id` it gets an ObjectId, in front.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`], and the log's errors.
    pub fn insert_one(&self, document: &RawDocument) -> Result<InsertOutcome> {
        self.insert_many([document]).map_err(|error| match error {
            Error::InsertMany { source, .. } => *source,
            error => error,
        })
    }

    /// Inserts documents in order, up to the first that is refused.
    ///
    /// # Errors
    ///
    /// [`Error::NoDocuments`] when there are none. [`Error::InsertMany`] says which document was refused and why; the ones
    /// before it are inserted, as durably as asked. The log's errors, when nothing was inserted before.
    pub fn insert_many<'a>(&self, documents: impl IntoIterator<Item = &'a RawDocument>) -> Result<InsertOutcome> {
        self.insert_many_with(documents, &InsertManyOptions::default())
    }

    /// Inserts documents; one that is refused ends the insert only if it is ordered.
    ///
    /// # Errors
    ///
    /// As [`Collection::insert_many`]; [`Error::BulkWrite`] when it is not ordered: it lists all that were refused, and what
    /// was inserted, as durably as asked.
    pub fn insert_many_with<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a RawDocument>,
        options: &InsertManyOptions,
    ) -> Result<InsertOutcome> {
        let mut documents = documents.into_iter().enumerate().peekable();
        if documents.peek().is_none() {
            return Err(Error::NoDocuments);
        }
        let mut inserted = Inserted::default();
        self.writer()
            .bypassing_validation(options.bypass_document_validation)
            .insert(documents, options.ordered, &mut inserted);
        if let (None, Some(error)) = (inserted.op_id, inserted.failure) {
            return Err(error);
        }
        let op_id = inserted.op_id;
        self.settle_write(op_id.filter(|_| inserted.errors.is_empty()))?;
        if !options.ordered && !inserted.errors.is_empty() {
            let mut outcome = BulkWriteOutcome {
                op_id,
                ..BulkWriteOutcome::default()
            };
            for (index, id) in inserted.ids {
                outcome.add_insert(index, id);
            }
            return Err(Error::BulkWrite {
                errors: inserted.errors,
                outcome: Box::new(outcome),
            });
        }
        match (inserted.errors.into_iter().next(), op_id) {
            (Some(refused), _) => Err(Error::InsertMany {
                index: refused.index,
                source: Box::new(refused.error),
            }),
            (None, Some(op_id)) => Ok(InsertOutcome {
                inserted_ids: inserted.ids.into_iter().map(|(_, id)| id).collect(),
                op_id,
            }),
            // Every document is either inserted or refused.
            (None, None) => Err(Error::NoDocuments),
        }
    }
}
