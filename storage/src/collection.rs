//! One collection: reading its documents, and writing them through the log.
//!
//! - [`insert`], [`update`] (with replacements), [`delete`], [`find_and_modify`], [`bulk`]: writes;
//! - [`find`]: reads, counts and distinct values;
//! - [`typed`]: the same with a program's own type for documents;
//! - [`options`], [`modifications`], [`outcome`]: what goes in and what comes out;
//! - [`indexes`], [`validate`]: what concerns the collection as a whole.

mod aggregate;
mod bulk;
mod delete;
mod find;
mod find_and_modify;
mod indexes;
mod insert;
mod modifications;
mod options;
mod outcome;
mod typed;
mod update;
mod validate;

use std::sync::Arc;

use tailwater_oplog::{Durability, OpId};

use crate::acknowledge::{Acknowledge, acknowledge};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::sessions::RetryableWrite;
use crate::store::{Core, Store};
use crate::write::Writer;

pub use aggregate::distinct_over;
pub(crate) use bulk::Prepared;
pub use bulk::{NamespacedWrite, WriteModel};
pub use find_and_modify::{FindAndModify, FindAndModifyOutcome};
pub use indexes::IndexOutcome;
pub use modifications::UpdateModifications;
pub use options::{
    BulkWriteOptions, CountOptions, DeleteOptions, DistinctOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions,
    FindOneAndUpdateOptions, FindOptions, InsertManyOptions, ReplaceOptions, ReturnDocument, UpdateOptions,
};
pub use outcome::{BulkWriteOutcome, CollectionSize, InsertOutcome, WriteError, WriteOutcome};
pub use typed::{TypedCollection, TypedDocuments};
pub use validate::Validation;

/// A collection of a store. Cheap to clone.
///
/// Filters and updates are MongoDB's documents; see [`tailwater_matcher`] for the operators of filters and
/// [`update`](crate::update) for those of updates. Methods named `…_with` take options, the others do what default options do.
#[derive(Clone, Debug)]
pub struct Collection {
    store: Store,
    namespace: Namespace,
    durability: Option<Durability>,
    acknowledgement: Option<Arc<dyn Acknowledge>>,
    retryable: Option<Arc<RetryableWrite>>,
}

impl Collection {
    pub(crate) fn new(store: Store, namespace: Namespace) -> Collection {
        Collection {
            store,
            namespace,
            durability: None,
            acknowledgement: None,
            retryable: None,
        }
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Collection {
        self.durability = Some(durability);
        self
    }

    /// The same collection, whose writes return when they are durable as asked and, behind that, acknowledged.
    ///
    /// A write that is not acknowledged fails with [`Error::WriteConcernFailed`](crate::Error::WriteConcernFailed), and is done
    /// all the same.
    #[must_use]
    pub fn with_acknowledgement(mut self, acknowledgement: Arc<dyn Acknowledge>) -> Collection {
        self.acknowledgement = Some(acknowledgement);
        self
    }

    /// The same collection, whose next call that writes is this write of a session: it leaves records of what it has done,
    /// in the same batch of the log, so that [`Store::session_writes`] tells whether it was carried out, also after a crash.
    /// They say of each inserted document, and of each update, replacement or deletion of one document, with what number it
    /// came; updates and deletions of many leave none. Nothing is looked up: who calls has asked.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::{RetryableWrite, Store};
    ///
    /// # fn main() -> Result<(), tailwater_storage::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::open(dir.path())?;
    /// let session = [7; 16];
    /// let write = RetryableWrite { session, number: 1, statements: vec![0] };
    /// let accounts = store.collection("bank", "accounts")?.retryable(write);
    /// if store.session_writes(session, 1)?.is_none_or(|writes| writes.outcome(0).is_none()) {
    ///     accounts.insert_one(&rawdoc! { "_id": "ada", "balance": 10 })?;
    /// }
    /// assert!(store.session_writes(session, 1)?.unwrap().outcome(0).is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retryable(mut self, write: RetryableWrite) -> Collection {
        self.retryable = Some(Arc::new(write));
        self
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

    /// The store it belongs to.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn core(&self) -> &Core {
        self.store.core()
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(self.core(), &self.namespace).retryable(self.retryable.as_deref())
    }

    /// As [`Core::settle_write`].
    fn settle_write(&self, op_id: Option<OpId>) -> Result<()> {
        self.settle(op_id.unwrap_or_else(|| self.core().applied())).map(drop)
    }

    fn settle(&self, op_id: OpId) -> Result<OpId> {
        let core = self.core();
        core.settle(op_id, self.durability.unwrap_or(core.options.durability))?;
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledge(&**acknowledgement, op_id)?;
        }
        Ok(op_id)
    }
}
