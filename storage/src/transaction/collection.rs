//! The operations of a transaction on one collection.
//!
//! They find and stage with the same code as [`Collection`](crate::Collection)'s; only that nothing is committed between two
//! documents, and that what cannot be committed any more is refused early.

mod ahead;
mod find_and_modify;
mod read;
mod write;

use tailwater_matcher::Collation;

use super::Transaction;
use crate::catalog::Namespace;
use crate::error::Result;
use crate::store::View;
use crate::workspace::Workspace;

/// A collection as a transaction sees it. See [`Transaction::collection`].
///
/// Every method fails with [`Error::TransactionAborted`](crate::Error::TransactionAborted) after an operation of the transaction has failed, and with
/// [`Error::TransactionExpired`](crate::Error::TransactionExpired) when it has become too old. Those that write fail with [`Error::WriteConflict`](crate::Error::WriteConflict) when a
/// document they write was changed by another since the transaction began, with [`Error::TransactionTooLarge`](crate::Error::TransactionTooLarge), and with
/// [`Error::OperationNotSupportedInTransaction`](crate::Error::OperationNotSupportedInTransaction) on a capped collection.
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

    /// By what operations compare strings that do not say it themselves.
    fn collation(&self, workspace: &Workspace) -> Option<Collation> {
        let info = workspace.reading().info(&self.namespace)?;
        info.options.collation.clone()
    }

    /// The state by now, to see what others have done since the transaction began.
    fn now(&self) -> Result<View> {
        self.transaction.store.core().view()
    }
}
