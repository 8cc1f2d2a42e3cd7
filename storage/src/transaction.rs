//! Multi-document transactions: a state of their own, staged writes, and one atomic batch in the log.
//!
//! # What it promises
//!
//! - **Snapshot isolation.** Every read sees the state as it was when the transaction began, and the transaction's own writes.
//! - **First committer wins.** A commit fails with [`Error::WriteConflict`] when a document that it writes is another by then;
//!   nothing of it is in the log then. Writers outside of transactions count as committers, and never wait.
//! - **All or nothing.** The entries are one batch of the log: readers, watchers, replicas and a replay after a crash see all
//!   of them or none.
//!
//! # What it costs
//!
//! Nothing is locked before the commit. A transaction keeps in memory what it has staged, at most a segment of the log, and
//! holds on to the state of its beginning: the overlay of then, at most
//! [`overlay_bytes_max`](crate::StoreOptions::overlay_bytes_max), which transactions that began at the same time share, and
//! in the engine what was replaced since. [`transaction_lifetime`](crate::StoreOptions::transaction_lifetime) bounds how long.
//!
//! - [`conflict`]: whether staged writes may still be committed;
//! - [`registry`]: which transactions are open, and when they expire;
//! - [`collection`]: the operations;
//! - [`retry`]: running one until it succeeds.

mod collection;
mod conflict;
mod options;
mod registry;
mod retry;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_oplog::{Durability, OpId};

use crate::acknowledge::{Acknowledge, acknowledge};
use crate::error::{Error, Result};
use crate::names;
use crate::options::CollectionOptions;
use crate::sessions::{SessionId, commit_record};
use crate::store::Store;
use crate::workspace::Workspace;

pub use collection::TransactionCollection;
pub use options::{TransactionOptions, TransactionSession};
pub(crate) use registry::Transactions;

use registry::Ticket;

/// How far a transaction is.
#[derive(Debug)]
enum Progress {
    Active(Box<Workspace>),
    /// It has ended with this error, and let go of everything.
    Failed(Error),
}

/// A transaction: reads see the state of its beginning and its own writes, and [`Transaction::commit`] writes all of it at
/// once, or nothing.
///
/// Begun with [`Store::transaction`]; [`Store::with_transaction`] also commits, and tries again after a conflict. Dropping it
/// aborts it. It may be shared between threads, whose operations take turns.
///
/// # Errors
///
/// An operation that fails aborts the transaction, as in MongoDB: what follows fails with [`Error::TransactionAborted`], which
/// names the first error. This holds for errors of the filter and of the document too.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_storage::Store;
///
/// # fn main() -> Result<(), tailwater_storage::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path())?;
/// let transaction = store.transaction()?;
/// let accounts = transaction.collection("bank", "accounts")?;
/// accounts.insert_one(&rawdoc! { "_id": "ada", "balance": 10 })?;
/// assert_eq!(accounts.count(&rawdoc! {})?, 1);
/// assert_eq!(store.collection("bank", "accounts")?.count(&rawdoc! {})?, 0);
/// transaction.commit()?;
/// assert_eq!(store.collection("bank", "accounts")?.count(&rawdoc! {})?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Transaction {
    store: Store,
    ticket: Ticket,
    progress: Arc<Mutex<Progress>>,
    session: TransactionSession,
    /// The session that keeps that this was committed.
    remembered_by: Option<SessionId>,
    snapshot: OpId,
    durability: Durability,
    /// Who says when its commit may return, beside that.
    acknowledgement: Mutex<Option<Arc<dyn Acknowledge>>>,
}

impl Store {
    /// Ends the transactions that have expired, with what they hold in memory, before their next use. Somebody whose transactions are
    /// others', as a server's, calls this from time to time.
    pub fn end_expired_transactions(&self) {
        self.core().transactions.reap();
    }

    /// Begins a transaction with default [`TransactionOptions`].
    ///
    /// # Errors
    ///
    /// As [`Store::transaction_with`].
    pub fn transaction(&self) -> Result<Transaction> {
        self.transaction_with(&TransactionOptions::default())
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDocument`] for a malformed `lsid`; [`Error::Log`] when the store is closed.
    pub fn transaction_with(&self, options: &TransactionOptions) -> Result<Transaction> {
        let core = self.core();
        let session = match &options.session {
            Some(session) => session.clone(),
            None => core.transactions.next_session(),
        };
        let view = core.view()?;
        let snapshot = view.at;
        let workspace = Workspace::new(view).with_session(session.to_document()?);
        let progress = Arc::new(Mutex::new(Progress::Active(Box::new(workspace))));
        let ticket = core.transactions.enter(&progress, core.options.transaction_lifetime);
        Ok(Transaction {
            store: self.clone(),
            ticket,
            progress,
            session,
            remembered_by: options.remembered_by,
            snapshot,
            durability: options.durability.unwrap_or(core.options.durability),
            acknowledgement: Mutex::default(),
        })
    }
}

impl Transaction {
    /// A collection as this transaction sees it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`].
    pub fn collection(&self, database: &str, collection: &str) -> Result<TransactionCollection<'_>> {
        Ok(TransactionCollection::new(
            self,
            names::namespace(database, collection)?,
        ))
    }

    /// Creates a collection with default options, as part of the transaction.
    ///
    /// # Errors
    ///
    /// As [`Transaction::create_collection_with`].
    pub fn create_collection(&self, database: &str, collection: &str) -> Result<()> {
        self.create_collection_with(database, collection, &CollectionOptions::default())
    }

    /// Creates a collection, as part of the transaction. Other definitions are not to be had in a transaction.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`]; [`Error::CollectionExists`]; [`Error::WriteConflict`] when somebody has created it since the
    /// transaction began; [`Error::TransactionAborted`], [`Error::TransactionExpired`], [`Error::TransactionTooLarge`].
    pub fn create_collection_with(&self, database: &str, collection: &str, options: &CollectionOptions) -> Result<()> {
        let namespace = names::namespace(database, collection)?;
        self.run(|workspace| {
            if workspace.reading().info(&namespace).is_some() {
                return Err(Error::CollectionExists {
                    namespace: namespace.to_string(),
                });
            }
            conflict::check_name(&namespace, &self.store.core().view()?)?;
            workspace.create(namespace, options.clone());
            Ok(())
        })
    }

    /// What its entries in the log, and the events of change streams, say whose they are.
    #[must_use]
    pub fn session(&self) -> &TransactionSession {
        &self.session
    }

    /// The last entry whose effect it sees.
    #[must_use]
    pub fn snapshot(&self) -> OpId {
        self.snapshot
    }

    /// The same transaction, whose commit is as durable as that when it returns.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Transaction {
        self.durability = durability;
        self
    }

    /// Has its commit return when what it has written is durable as asked and, behind that, acknowledged: by as many members of a
    /// replicated store as `acknowledgement` waits for.
    ///
    /// A commit that is not acknowledged fails with [`Error::WriteConcernFailed`], and is done all the same. It may be called in
    /// the body of [`Store::with_transaction`], which does not repeat what failed so.
    pub fn acknowledge_by(&self, acknowledgement: Arc<dyn Acknowledge>) {
        *self.acknowledgement.lock().unwrap_or_else(PoisonError::into_inner) = Some(acknowledgement);
    }

    /// Writes everything at once, and returns when it is as durable as asked, with the last entry; nothing when there was
    /// nothing to write. With [`Durability::Disk`] also what it has read is durable then.
    ///
    /// # Errors
    ///
    /// [`Error::WriteConflict`] when another has committed first, [`Error::TransactionExpired`],
    /// [`Error::TransactionTooLarge`], [`Error::TransactionAborted`] when an operation has failed, and the log's errors: then
    /// nothing was written. [`Error::UnknownCommitResult`] when everything was written and is not known to be durable;
    /// [`Error::WriteConcernFailed`] when it is durable and not [acknowledged](Transaction::acknowledge_by).
    pub fn commit(self) -> Result<Option<OpId>> {
        let core = self.store.core();
        let Some(last) = self.append()? else {
            core.settle(self.snapshot, self.durability)?;
            return Ok(None);
        };
        core.settle(last, self.durability)
            .map_err(|source| Error::UnknownCommitResult {
                op_id: last,
                source: Box::new(source),
            })?;
        let acknowledgement = self
            .acknowledgement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(acknowledgement) = acknowledgement {
            acknowledge(&*acknowledgement, last)?;
        }
        Ok(Some(last))
    }

    /// Appends and applies what is staged, if anything is; returns the last entry.
    fn append(&self) -> Result<Option<OpId>> {
        self.run(|workspace| {
            if workspace.drafts().is_empty() {
                return Ok(None);
            }
            let core = self.store.core();
            let mut commit = core.lock_commit()?;
            conflict::check(workspace, &core.view_locked(&commit)?)?;
            if let Some(session) = self.remembered_by {
                // In front: the last entry of the batch is the transaction's last write, which its event tells.
                workspace.record_first(commit_record(session, self.session.txn_number));
            }
            let outcome = core.commit(&mut commit, workspace.drafts());
            Ok(Some(outcome.map_err(too_large)?.last))
        })
    }

    /// Gives it up. Nothing of it was or will be in the log.
    pub fn abort(self) {
        drop(self);
    }

    /// Runs one operation, and aborts the transaction when it fails.
    fn run<T>(&self, operation: impl FnOnce(&mut Workspace) -> Result<T>) -> Result<T> {
        let mut progress = self.lock();
        let workspace = match &mut *progress {
            Progress::Active(workspace) => workspace,
            Progress::Failed(cause) => return Err(aborted_by(cause.clone())),
        };
        let outcome = if self.ticket.is_expired() {
            Err(self.ticket.expired())
        } else {
            operation(workspace).and_then(|outcome| {
                self.check_size(workspace)?;
                Ok(outcome)
            })
        };
        if let Err(error) = &outcome {
            *progress = Progress::Failed(error.clone());
        }
        outcome
    }

    /// What is larger than a segment of the log will not fit into one; the log itself says so precisely at the commit.
    fn check_size(&self, workspace: &Workspace) -> Result<()> {
        let (bytes, bytes_max) = (workspace.bytes() as u64, self.store.core().options.oplog.segment_bytes);
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(Error::TransactionTooLarge { bytes, bytes_max })
    }

    /// Bytes that it has staged: about so much memory does it hold beside the state. None when it has failed.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        match &*self.lock() {
            Progress::Active(workspace) => workspace.bytes() as u64,
            Progress::Failed(_) => 0,
        }
    }

    /// The error that has ended it, if one has.
    fn failure(&self) -> Option<Error> {
        match &*self.lock() {
            Progress::Active(_) => None,
            Progress::Failed(cause) => Some(cause.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // No code of the caller's runs under it. A panic of ours leaves a workspace that is sound as memory.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.store.core().transactions.leave(&self.ticket);
    }
}

/// What an operation meets in a transaction that has failed before.
fn aborted_by(cause: Error) -> Error {
    match cause {
        // This says all there is to say, however often it is met.
        Error::TransactionExpired { .. } => cause,
        cause => Error::TransactionAborted { cause: Box::new(cause) },
    }
}

fn too_large(error: Error) -> Error {
    match error {
        Error::Log(tailwater_oplog::Error::TooLarge { bytes, max, .. }) => {
            Error::TransactionTooLarge { bytes, bytes_max: max }
        }
        error => error,
    }
}
