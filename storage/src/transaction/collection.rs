//! The operations of a transaction on one collection.
//!
//! They find and stage with the same code as [`Collection`](crate::Collection)'s; only that nothing is committed between two
//! documents, and that what cannot be committed any more is refused early.

use std::sync::Arc;

use bson::{Bson, RawBson, RawDocument, RawDocumentBuf};
use tailwater_matcher::Expression;

use super::{Transaction, conflict};
use crate::catalog::{CollectionInfo, Namespace};
use crate::collection::WriteOutcome;
use crate::error::{Error, Result};
use crate::query::{Candidates, Documents};
use crate::store::View;
use crate::update::Update;
use crate::workspace::{Workspace, document_key};
use crate::write::{Change, Reach, check_replacement};

/// A collection as a transaction sees it. See [`Transaction::collection`].
///
/// Every method fails with [`Error::TransactionAborted`] after an operation of the transaction has failed, and with
/// [`Error::TransactionExpired`] when it has become too old. Those that write fail with [`Error::WriteConflict`] when a
/// document they write was changed by another since the transaction began, with [`Error::TransactionTooLarge`], and with
/// [`Error::OperationNotSupportedInTransaction`] on a capped collection.
#[derive(Clone, Debug)]
pub struct TransactionCollection<'t> {
    transaction: &'t Transaction,
    namespace: Namespace,
}

impl<'t> TransactionCollection<'t> {
    pub(super) fn new(transaction: &'t Transaction, namespace: Namespace) -> TransactionCollection<'t> {
        TransactionCollection { transaction, namespace }
    }

    /// Name of its database.
    #[must_use]
    pub fn database_name(&self) -> &str {
        &self.namespace.database
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.namespace.collection
    }

    /// Inserts one document; returns its `_id`. Without one it gets an ObjectId, in front. A collection that is not there
    /// comes into being with the transaction.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`],
    /// [`Error::DocumentFailedValidation`].
    pub fn insert_one(&self, document: &RawDocument) -> Result<Bson> {
        let mut ids = self.insert_many([document])?;
        Ok(ids.remove(0))
    }

    /// Inserts documents; returns their `_id`s, in order.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::insert_one`], for the first document that cannot be inserted; [`Error::NoDocuments`].
    pub fn insert_many<'a>(&self, documents: impl IntoIterator<Item = &'a RawDocument>) -> Result<Vec<Bson>> {
        // Before the transaction is locked: the iterator is the caller's code, which may use the transaction.
        let documents: Vec<_> = documents.into_iter().collect();
        self.transaction.run(|workspace| {
            if documents.is_empty() {
                return Err(Error::NoDocuments);
            }
            let now = self.now()?;
            if workspace.reading().info(&self.namespace).is_none() {
                conflict::check_name(&self.namespace, &now)?;
            }
            let info = workspace.define(&self.namespace);
            refuse_capped(&info)?;
            let mut ids = Vec::with_capacity(documents.len());
            for document in documents {
                let id = workspace.insert(&info, document)?;
                let raw = RawBson::try_from(id.clone()).map_err(|_| Error::InvalidId { what: "malformed" })?;
                let key = document_key(raw.as_raw_bson_ref())?;
                conflict::check_document(workspace.reading(), &info, &key, &now)?;
                self.transaction.check_size(workspace)?;
                ids.push(id);
            }
            Ok(ids)
        })
    }

    /// The documents that match `filter`, in the order of their `_id`s, as they are in the transaction when the call is made;
    /// later writes do not disturb it, nor does the transaction's end.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], and those of every operation; the iterator's items can fail as those of
    /// [`Collection::find`](crate::Collection::find), which does not abort the transaction.
    pub fn find(&self, filter: &RawDocument) -> Result<Documents> {
        self.transaction.run(|workspace| {
            let filter = Arc::new(Expression::parse(filter)?);
            Ok(Documents(self.candidates(workspace, filter)?))
        })
    }

    /// The first document that matches, if any.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::find`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        self.transaction.run(|workspace| {
            let filter = Arc::new(Expression::parse(filter)?);
            let found = self.candidates(workspace, filter)?.next().transpose()?;
            found.map(|found| found.stored.into_document()).transpose()
        })
    }

    /// How many documents match.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::find`].
    pub fn count(&self, filter: &RawDocument) -> Result<u64> {
        self.transaction.run(|workspace| {
            let filter = Arc::new(Expression::parse(filter)?);
            let mut count = 0;
            for candidate in self.candidates(workspace, filter)? {
                candidate?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Changes the first document that matches.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`], and those of the changed document:
    /// [`Error::DuplicateKey`], [`Error::DocumentFailedValidation`].
    pub fn update_one(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        self.update(filter, Reach::First, update)
    }

    /// Changes every document that matches.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one`].
    pub fn update_many(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        self.update(filter, Reach::All, update)
    }

    /// Replaces the first document that matches; its `_id` stays.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one`]; [`Error::InvalidReplacement`], [`Error::InvalidDocument`].
    pub fn replace_one(&self, filter: &RawDocument, replacement: &RawDocument) -> Result<WriteOutcome> {
        self.transaction.run(|workspace| {
            check_replacement(replacement)?;
            self.change(workspace, filter, Reach::First, &Change::Replace(replacement))
        })
    }

    /// Deletes the first document that matches.
    ///
    /// # Errors
    ///
    /// Those of every write; [`Error::Filter`], [`Error::Evaluate`].
    pub fn delete_one(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.transaction
            .run(|workspace| self.change(workspace, filter, Reach::First, &Change::Delete))
    }

    /// Deletes every document that matches.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::delete_one`].
    pub fn delete_many(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.transaction
            .run(|workspace| self.change(workspace, filter, Reach::All, &Change::Delete))
    }

    fn update(&self, filter: &RawDocument, reach: Reach, update: &RawDocument) -> Result<WriteOutcome> {
        self.transaction.run(|workspace| {
            let update = Update::parse(update)?;
            self.change(workspace, filter, reach, &Change::Update(&update))
        })
    }

    /// Stages a change of the documents that match as the transaction sees them.
    fn change(
        &self,
        workspace: &mut Workspace,
        filter: &RawDocument,
        reach: Reach,
        change: &Change<'_>,
    ) -> Result<WriteOutcome> {
        let filter = Arc::new(Expression::parse(filter)?);
        let mut outcome = WriteOutcome::default();
        let Some(info) = workspace.reading().info(&self.namespace) else {
            return Ok(outcome);
        };
        refuse_capped(&info)?;
        let now = self.now()?;
        let candidates = self.candidates(workspace, filter)?;
        // All of them before the first is changed: what a change moves within an index is not to be met again.
        let found = candidates.take(reach.documents_max()).collect::<Result<Vec<_>>>()?;
        for found in found {
            outcome.matched += 1;
            conflict::check_document(workspace.reading(), &info, &found.key, &now)?;
            outcome.modified += u64::from(change.stage(workspace, &info, found)?);
            self.transaction.check_size(workspace)?;
        }
        Ok(outcome)
    }

    fn candidates(&self, workspace: &Workspace, filter: Arc<Expression>) -> Result<Candidates> {
        Candidates::new(workspace.reading(), &self.namespace, filter)
    }

    /// The state by now, to see what others have done since the transaction began.
    fn now(&self) -> Result<View> {
        self.transaction.store.core().view()
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
