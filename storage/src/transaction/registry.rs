//! The open transactions of a store, and when they expire.
//!
//! A transaction that is older than its lifetime lets go of what it holds at its next use, when the applier has moved writes into
//! the engine, or when somebody looks ([`Store::end_expired_transactions`](crate::Store::end_expired_transactions)), whichever comes
//! first. What an old state keeps from being freed grows by nothing else, so there is no thread that looks at the clock; who has many
//! clients, whose staged writes are memory as well, looks by himself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bson::rawdoc;

use super::{Progress, TransactionSession};
use crate::error::Error;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Transactions {
    open: Mutex<Open>,
    /// The session of transactions that name none.
    session: bson::Uuid,
    next_number: AtomicI64,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    transactions: BTreeMap<u64, (Ticket, Arc<Mutex<Progress>>)>,
}

/// A transaction's place in the registry, and its time.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    id: u64,
    lifetime: Duration,
    /// Nothing when it is beyond what the clock can show.
    deadline: Option<Instant>,
}

impl Ticket {
    pub(super) fn is_expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    pub(super) fn expired(&self) -> Error {
        Error::TransactionExpired {
            lifetime: self.lifetime,
        }
    }
}

impl Transactions {
    pub(crate) fn new() -> Transactions {
        Transactions {
            open: Mutex::default(),
            session: bson::Uuid::new(),
            next_number: AtomicI64::new(1),
        }
    }

    /// The store's own session with a number that no other transaction of this store has had since it was opened.
    pub(super) fn next_session(&self) -> TransactionSession {
        TransactionSession {
            lsid: rawdoc! { "id": bson::Binary::from(self.session) },
            txn_number: self.next_number.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(super) fn enter(&self, progress: &Arc<Mutex<Progress>>, lifetime: Duration) -> Ticket {
        let mut open = self.lock();
        let ticket = Ticket {
            id: open.next,
            lifetime,
            deadline: Instant::now().checked_add(lifetime),
        };
        open.next += 1;
        open.transactions
            .insert(ticket.id, (ticket.clone(), Arc::clone(progress)));
        ticket
    }

    pub(super) fn leave(&self, ticket: &Ticket) {
        self.lock().transactions.remove(&ticket.id);
    }

    /// Ends those that have expired. One that is in the middle of an operation is left to notice for itself.
    pub(crate) fn reap(&self) {
        let expired = self.retain(|ticket| !ticket.is_expired());
        for (ticket, progress) in expired {
            let mut progress = match progress.try_lock() {
                Ok(progress) => progress,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if matches!(*progress, Progress::Active(_)) {
                tracing::warn!(lifetime = ?ticket.lifetime, "a transaction has expired");
                *progress = Progress::Failed(ticket.expired());
            }
        }
    }

    /// Ends all of them, for a store that closes.
    pub(crate) fn end_all(&self, cause: &Error) {
        for (_, progress) in self.retain(|_| false) {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*progress, Progress::Active(_)) {
                *progress = Progress::Failed(cause.clone());
            }
        }
    }

    /// Forgets those that are not to be kept, and returns them. They are ended without the registry's lock.
    fn retain(&self, keep: impl Fn(&Ticket) -> bool) -> Vec<(Ticket, Arc<Mutex<Progress>>)> {
        let mut removed = Vec::new();
        self.lock().transactions.retain(|_, (ticket, progress)| {
            let kept = keep(ticket);
            if !kept {
                removed.push((ticket.clone(), Arc::clone(progress)));
            }
            kept
        });
        removed
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreOptions};

    fn open(dir: &std::path::Path, transaction_lifetime: Duration) -> Store {
        let mut options = StoreOptions {
            transaction_lifetime,
            ..StoreOptions::default()
        };
        options.oplog.segment_bytes = 1 << 20;
        options.open(dir).unwrap()
    }

    #[test]
    fn an_expired_transaction_lets_go_of_its_state_without_being_used() {
        for (lifetime, ends) in [(Duration::ZERO, true), (Duration::MAX, false)] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path(), lifetime);
            let transaction = store.transaction().unwrap();
            assert!(transaction.failure().is_none());
            store.core().transactions.reap();
            let failure = transaction.failure();
            assert_eq!(matches!(failure, Some(Error::TransactionExpired { .. })), ends);
        }
    }

    #[test]
    fn transactions_leave_the_registry() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), Duration::MAX);
        let numbers: Vec<_> = (0..3)
            .map(|_| store.transaction().unwrap().session().txn_number)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        store.transaction().unwrap().commit().unwrap();
        assert!(store.core().transactions.lock().transactions.is_empty());
    }
}
