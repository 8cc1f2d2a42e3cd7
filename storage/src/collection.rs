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

use tailwater_oplog::{Durability, OpId};

use crate::catalog::Namespace;
use crate::error::Result;
use crate::store::{Core, Store};
use crate::write::Writer;

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
}

impl Collection {
    pub(crate) fn new(store: Store, namespace: Namespace) -> Collection {
        Collection {
            store,
            namespace,
            durability: None,
        }
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Collection {
        self.durability = Some(durability);
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
        Writer::new(self.core(), &self.namespace)
    }

    /// As [`Core::settle_write`].
    fn settle_write(&self, op_id: Option<OpId>) -> Result<()> {
        let core = self.core();
        core.settle_write(op_id, self.durability.unwrap_or(core.options.durability))
    }

    fn settle(&self, op_id: OpId) -> Result<OpId> {
        let core = self.core();
        core.settle(op_id, self.durability.unwrap_or(core.options.durability))
    }
}
