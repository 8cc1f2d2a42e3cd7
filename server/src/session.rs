//! Logical sessions: what a client does under one `lsid` (driver specifications: *Sessions*, *Transactions*, *Retryable Writes*).
//!
//! A session holds at most one transaction. What its last write and its last commit have done is in the store
//! ([`Store::session_writes`]), written together with them: so one that is sent again, also to a server that was started anew, is
//! answered and not carried out again.
//!
//! One session does one thing at a time; a second request under the same `lsid` waits for the first.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::{Durability, Store, Transaction, TransactionOptions, TransactionSession};
use tailwater_auth::UserId;

use crate::error::{CommandError, CommandResult, TRANSIENT_LABEL, code};
use crate::request::SessionId;
use crate::share::{Share, Shares};
use crate::staged::{Part, StagedBytes};

/// Most sessions at a time, as MongoDB's `maxSessions`.
const SESSIONS_MAX: usize = 1_000_000;
/// Most of one user's, where users log in.
const SESSIONS_PER_USER_MAX: usize = SESSIONS_MAX / 4;

/// A session's place in the table.
pub(crate) struct Entry {
    session: Mutex<Session>,
    /// It was ended while somebody used it, and goes with the last who does: who comes for it meanwhile waits for what is
    /// running, so that a write that is sent again finds what it has done.
    ended: AtomicBool,
    _share: Share,
}

impl Entry {
    /// The session's contents. One whose holder has panicked may have lost its transaction, which the store has aborted then.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Session> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.used = Instant::now();
        session
    }
}

/// What a session holds.
pub(crate) struct Session {
    id: SessionId,
    used: Instant,
    transaction: Option<(i64, Stage)>,
    /// What the transaction has staged.
    staged: Part,
    /// The largest number of a write that may be sent again.
    written: i64,
}

/// How far a session's transaction is.
enum Stage {
    Open(Box<Transaction>),
    Committed,
    /// Written, and not known to be durable: what was answered.
    Unknown(CommandError),
    Aborted,
}

/// The sessions of a server. See the module documentation.
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<SessionId, Arc<Entry>>>,
    timeout: Duration,
    shares: Shares,
    /// What their transactions have staged.
    pub(crate) staged: StagedBytes,
}

impl Sessions {
    pub(crate) fn new(timeout: Duration) -> Sessions {
        Sessions {
            sessions: Mutex::default(),
            timeout,
            shares: Shares::default(),
            staged: StagedBytes::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        // A table whose holder has panicked is as good as it was: every change of it is one step.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, made if there is none.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub(crate) fn get(&self, id: SessionId) -> CommandResult<Arc<Entry>> {
        let mut sessions = self.lock();
        if let Some(session) = sessions.get(&id) {
            return Ok(Arc::clone(session));
        }
        let too_many = |max: usize, whose: &str| {
            let message = format!("there are {max} sessions{whose}: end some");
            CommandError::new((261, "TooManyLogicalSessions"), message)
        };
        if sessions.len() >= SESSIONS_MAX {
            return Err(too_many(SESSIONS_MAX, ""));
        }
        let share = self.shares.take(id.user.map(UserId::uuid), SESSIONS_PER_USER_MAX);
        let share = share.ok_or_else(|| too_many(SESSIONS_PER_USER_MAX, " of this user"))?;
        let session = Session {
            id,
            used: Instant::now(),
            transaction: None,
            staged: self.staged.part(id.user.map(UserId::uuid)),
            written: i64::MIN,
        };
        let entry = Arc::new(Entry {
            session: Mutex::new(session),
            ended: AtomicBool::new(false),
            _share: share,
        });
        sessions.insert(id, Arc::clone(&entry));
        Ok(entry)
    }

    /// Marks the session as used now.
    pub(crate) fn touch(&self, id: SessionId) -> CommandResult<()> {
        // One that is in use by another request now is marked already.
        if let Ok(mut session) = self.get(id)?.session.try_lock() {
            session.used = Instant::now();
        }
        Ok(())
    }

    /// Whether transactions have staged more than so much together, or those of the user three quarters of it: others are to have some
    /// as well.
    pub(crate) fn is_over(&self, max: u64, user: Option<UserId>) -> bool {
        let of_user = user.map_or(0, |user| self.staged.of(user.uuid()));
        self.staged.get() > max || of_user > max - max / 4
    }

    /// Counts again what transactions have staged: of those that have expired it is nothing.
    pub(crate) fn recount(&self) {
        for entry in self.lock().values() {
            // One that is in use counts for itself.
            if let Ok(mut session) = entry.session.try_lock() {
                session.recount();
            }
        }
    }

    /// Ends the sessions that have gone without a command for too long; which.
    pub(crate) fn expire(&self) -> Vec<SessionId> {
        let mut sessions = self.lock();
        // Nobody can come for one meanwhile: that takes the lock on the table.
        let old = sessions.extract_if(|_, entry| {
            Arc::strong_count(entry) == 1
                && (entry.session.try_lock()).is_ok_and(|session| session.used.elapsed() >= self.timeout)
        });
        let ended: Vec<_> = old.collect();
        drop(sessions);
        // Their transactions are aborted outside of the lock.
        ended.into_iter().map(|(id, _)| id).collect()
    }

    /// Ends a session, and aborts its transaction: at once, or when what is running in it is done.
    pub(crate) fn end(&self, id: SessionId) {
        let mut sessions = self.lock();
        let ended = match sessions.entry(id) {
            Occupied(entry) if Arc::strong_count(entry.get()) == 1 => Some(entry.remove()),
            Occupied(entry) => {
                entry.get().ended.store(true, Ordering::Relaxed);
                None
            }
            Vacant(_) => None,
        };
        // Dropped outside of the lock: aborting takes others.
        drop(sessions);
        drop(ended);
    }

    /// The sessions of a user; of everybody, where nobody logs in.
    pub(crate) fn of(&self, user: Option<UserId>) -> Vec<SessionId> {
        self.lock().keys().filter(|id| id.user == user).copied().collect()
    }

    /// Somebody is done with a session.
    pub(crate) fn leave(&self, id: SessionId, entry: Arc<Entry>) {
        let mut sessions = self.lock();
        let ended = match sessions.entry(id) {
            // The table's and this one.
            Occupied(kept)
                if Arc::ptr_eq(kept.get(), &entry)
                    && Arc::strong_count(&entry) == 2
                    && entry.ended.load(Ordering::Relaxed) =>
            {
                Some(kept.remove())
            }
            _ => None,
        };
        drop(sessions);
        drop((ended, entry));
    }

    pub(crate) fn end_all(&self) {
        let ended = std::mem::take(&mut *self.lock());
        drop(ended);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Session {
    /// A write with this number begins, for the first time or again.
    pub(crate) fn begin_write(&mut self, number: i64) -> CommandResult<()> {
        let last = self.transaction.as_ref().map_or(i64::MIN, |(number, _)| *number);
        let last = last.max(self.written);
        if last > number {
            return Err(too_old(number, last));
        }
        if last < number {
            // A transaction that is still open is over with the session's next write, as with its next transaction.
            self.transaction = None;
            self.recount();
        }
        self.written = number;
        Ok(())
    }

    /// The transaction with that number, begun if this is its first operation.
    pub(crate) fn transaction(&mut self, number: i64, first: bool, store: &Store) -> CommandResult<&Transaction> {
        if first {
            self.begin(number, store)?;
        }
        match &self.transaction {
            Some((open, Stage::Open(transaction))) if *open == number => Ok(transaction),
            Some((done, Stage::Committed | Stage::Unknown(_))) if *done == number => Err(committed(number)),
            Some((other, _)) if *other > number => Err(too_old(number, *other)),
            _ => Err(no_such(number)),
        }
    }

    fn begin(&mut self, number: i64, store: &Store) -> CommandResult<()> {
        if self.written > number {
            return Err(too_old(number, self.written));
        }
        match &self.transaction {
            Some((other, _)) if *other > number => return Err(too_old(number, *other)),
            Some((same, _)) if *same == number => {
                let message = format!("Transaction {number} has been started already");
                return Err(CommandError::new((117, "ConflictingOperationInProgress"), message));
            }
            _ => {}
        }
        // The one before it, if it is still open, is aborted.
        self.transaction = None;
        self.recount();
        let id = bson::Uuid::from_bytes(self.id.id);
        let options = TransactionOptions {
            durability: None,
            session: Some(TransactionSession {
                lsid: rawdoc! { "id": bson::Binary::from_uuid(id) },
                txn_number: number,
            }),
            remembered_by: Some(self.id.key()),
        };
        let transaction = store.transaction_with(&options)?;
        self.transaction = Some((number, Stage::Open(Box::new(transaction))));
        Ok(())
    }

    /// Counts what the transaction has staged, if there is one.
    pub(crate) fn recount(&mut self) {
        self.staged.set(match &self.transaction {
            Some((_, Stage::Open(transaction))) => transaction.staged_bytes(),
            _ => 0,
        });
    }

    /// An operation of the transaction has failed: it is over.
    pub(crate) fn give_up(&mut self, number: i64) {
        self.transaction = Some((number, Stage::Aborted));
    }

    /// Commits the transaction with that number. Committing it again, when it is, does nothing.
    ///
    /// What it has written is as durable as asked when it is answered, now or again.
    pub(crate) fn commit(&mut self, number: i64, store: &Store, durability: Option<Durability>) -> CommandResult<()> {
        self.commit_once(number, store, durability)?;
        match durability {
            Some(Durability::Disk) => Ok(store.sync()?),
            _ => Ok(()),
        }
    }

    fn commit_once(&mut self, number: i64, store: &Store, durability: Option<Durability>) -> CommandResult<()> {
        match self.transaction.take() {
            Some((open, Stage::Open(transaction))) if open == number => {
                let transaction = match durability {
                    Some(durability) => transaction.with_durability(durability),
                    None => *transaction,
                };
                let (stage, result) = match transaction.commit() {
                    Ok(_) => (Stage::Committed, Ok(())),
                    Err(error @ tailwater::Error::UnknownCommitResult { .. }) => {
                        let error = CommandError::from(error);
                        (Stage::Unknown(error.clone()), Err(error))
                    }
                    Err(error) => (Stage::Aborted, Err(error.into())),
                };
                self.transaction = Some((number, stage));
                result
            }
            Some((done, Stage::Unknown(error))) if done == number => {
                self.transaction = Some((done, Stage::Unknown(error.clone())));
                Err(error)
            }
            Some((done, Stage::Committed)) if done == number => {
                self.transaction = Some((done, Stage::Committed));
                Ok(())
            }
            Some((done, Stage::Aborted)) if done == number => {
                self.transaction = Some((done, Stage::Aborted));
                Err(no_such(number))
            }
            other => {
                self.transaction = other;
                // It may have been committed before the server was started.
                match store.session_writes(self.id.key(), number)? {
                    Some(writes) if writes.number == number && writes.is_committed => Ok(store.sync()?),
                    Some(writes) if writes.number > number => Err(too_old(number, writes.number)),
                    _ => Err(no_such(number)),
                }
            }
        }
    }

    /// Aborts the transaction with that number.
    pub(crate) fn abort(&mut self, number: i64) -> CommandResult<()> {
        match &self.transaction {
            Some((open, Stage::Open(_))) if *open == number => {
                self.give_up(number);
                Ok(())
            }
            Some((done, Stage::Committed | Stage::Unknown(_))) if *done == number => Err(committed(number)),
            _ => Err(no_such(number)),
        }
    }
}

pub(crate) fn too_old(number: i64, last: i64) -> CommandError {
    let message = format!("Cannot use transaction number {number}: the session has gone on to {last}");
    CommandError::new(code::TRANSACTION_TOO_OLD, message)
}

fn committed(number: i64) -> CommandError {
    CommandError::new(
        code::TRANSACTION_COMMITTED,
        format!("Transaction {number} has been committed."),
    )
}

fn no_such(number: i64) -> CommandError {
    let message = format!("Given transaction number {number} does not match any in-progress transactions.");
    CommandError::new(code::NO_SUCH_TRANSACTION, message).labelled(TRANSIENT_LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId {
        id: [7; 16],
        user: None,
    };

    #[test]
    fn who_comes_for_a_session_that_was_ended_in_use_waits_for_what_is_running() {
        let sessions = Sessions::new(Duration::from_secs(1800));
        let running = sessions.get(ID).unwrap();
        let guard = running.lock();
        sessions.end(ID);
        // A write that is sent again has the same session, whose lock is taken.
        let again = sessions.get(ID).unwrap();
        assert!(Arc::ptr_eq(&running, &again) && again.session.try_lock().is_err());
        drop(guard);
        sessions.leave(ID, running);
        assert_eq!(sessions.len(), 1);
        // It goes with the last.
        sessions.leave(ID, again);
        assert_eq!(sessions.len(), 0);
        // One that nobody uses goes at once.
        let entry = sessions.get(ID).unwrap();
        sessions.leave(ID, entry);
        assert_eq!(sessions.len(), 1);
        sessions.end(ID);
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn a_session_that_somebody_has_come_for_is_not_too_old() {
        let sessions = Sessions::new(Duration::ZERO);
        let entry = sessions.get(ID).unwrap();
        assert_eq!(sessions.expire(), []);
        sessions.leave(ID, entry);
        assert_eq!(sessions.expire(), [ID]);
        assert_eq!(sessions.len(), 0);
    }
}
