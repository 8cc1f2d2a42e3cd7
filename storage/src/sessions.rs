//! What sessions have written, so that a write that is sent again is not carried out again (driver specification: *Retryable
//! Writes*).
//!
//! A client that did not get the answer to a write sends it again under the same session and number. Each statement of the
//! write leaves a record of what it has done, in the same batch of the log as its entries: both are there or neither, after any
//! crash, on every follower, in every backup. So does the commit of a transaction that is
//! to be remembered by a session.
//!
//! # What is kept
//!
//! Of each session only what its newest number has done, until a larger number comes or [`Store::forget_sessions`] finds it
//! too old. A statement that has changed nothing leaves no record when it is the write's last: to carry it out again is as good as
//! the first time. Before others one that has matched leaves one, because it cannot be carried out behind them.
//!
//! # Where it is kept
//!
//! In the state, beside the documents, under a number that no collection has; so it is no namespace, and neither readers nor
//! watchers meet it. Under the session's identifier lies its *head*, the record of the first statement or of the commit; under
//! the identifier and the statement's number lie the records of further ones, if there are any, as the head says then.
//!
//! # What it costs
//!
//! One entry in the log for each write, of some 150 bytes, or for each batch of inserts; and the document that a
//! findAndModify gives back is kept with it.

mod apply;
mod record;

use bson::{Bson, DateTime, RawDocumentBuf};
use tailwater_oplog::OpId;

use crate::catalog::CollectionNumber;
use crate::error::Result;
use crate::overlay::KeyRange;
use crate::reading::Reading;
use crate::state::Stored;
use crate::store::{Core, Store};

pub(crate) use apply::apply;
use record::Record;
pub(crate) use record::{commit_record, forgetting};

/// What the records lie under in the state. Collections are numbered from the other end.
pub(crate) const SESSIONS: CollectionNumber = CollectionNumber(u32::MAX);

/// Sessions that are forgotten in one commit.
const FORGET_BATCH: usize = 1000;

/// A session's identifier: the UUID in its `lsid`.
pub type SessionId = [u8; 16];

/// A write that its sender may send again: the session, the write's number there, and which statements it has.
///
/// Numbers of a session grow with each new write; a write that is sent again has the same. Of two calls for one session at
/// the same time nothing is promised: a session does one thing at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryableWrite {
    /// The session.
    pub session: SessionId,
    /// The write's number in the session (`txnNumber`).
    pub number: i64,
    /// The numbers of its statements (`stmtId`), in the order of the documents or models that the write has. One without a
    /// number here leaves no record. There may be more numbers than the write has documents or models: those of statements that
    /// follow it.
    pub statements: Vec<i32>,
}

/// What a statement has done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StatementOutcome {
    /// Whether a document matched; never for an insert.
    pub matched: bool,
    /// Whether an update or a replacement has changed the document that matched.
    pub modified: bool,
    /// The `_id` of the document that an upsert has inserted.
    pub upserted_id: Option<Bson>,
    /// The document that a findAndModify has given back.
    pub document: Option<RawDocumentBuf>,
}

/// What is known of a session.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SessionWrites {
    /// Its newest number.
    pub number: i64,
    /// Whether that is the number of a transaction, which was committed.
    pub is_committed: bool,
    /// First and last number of statements that have the same outcome; ascending.
    executed: Vec<(i32, i32, StatementOutcome)>,
}

impl SessionWrites {
    /// What the statement has done, if it was carried out.
    #[must_use]
    pub fn outcome(&self, statement: i32) -> Option<&StatementOutcome> {
        let behind = self.executed.partition_point(|(first, ..)| *first <= statement);
        let (_, last, outcome) = self.executed.get(behind.checked_sub(1)?)?;
        (statement <= *last).then_some(outcome)
    }

    /// Whether none of its statements was carried out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.executed.is_empty()
    }
}

impl Store {
    /// What is known of a session whose write with this number has come; nothing when it has written nothing lately. The
    /// statements are those of this number: there are none when the session's newest is another.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`](crate::Error::Engine), [`Error::Inconsistent`](crate::Error::Inconsistent), and
    /// [`Error::Log`](crate::Error::Log) when the store is closed.
    pub fn session_writes(&self, session: SessionId, number: i64) -> Result<Option<SessionWrites>> {
        let reading = Reading::new(self.core().view()?);
        let Some(stored) = reading.get(SESSIONS, &session)? else {
            return Ok(None);
        };
        let head = Record::decode(stored.document()?)?;
        let mut writes = SessionWrites {
            number: head.number,
            is_committed: head.statements.is_none(),
            executed: Vec::new(),
        };
        let has_more = head.has_more;
        if head.number == number {
            writes.add(head)?;
        }
        if head.number == number && has_more {
            for found in reading.scan(SESSIONS, KeyRange::prefix(&session)).skip(1) {
                writes.add(Record::decode(found?.1.document()?)?)?;
            }
            writes.executed.sort_by_key(|(first, ..)| *first);
        }
        Ok(Some(writes))
    }

    /// Forgets what sessions have written that have written nothing since `before`, by the clock of who took their writes;
    /// returns how many. A follower forgets what its primary forgets, and nothing by itself.
    ///
    /// # Errors
    ///
    /// The log's and the engine's errors. What was forgotten before stays so.
    pub fn forget_sessions(&self, before: DateTime) -> Result<u64> {
        let core = self.core();
        if core.log.is_following() {
            return Ok(0);
        }
        let reading = Reading::new(core.view()?);
        let (mut old, mut forgotten) = (Vec::new(), 0);
        for found in reading.scan(SESSIONS, KeyRange::all()) {
            let (key, stored) = found?;
            // Longer keys are those of further statements.
            if let Ok(session) = SessionId::try_from(key)
                && is_older(&stored, before)?
            {
                old.push(session);
            }
            if old.len() == FORGET_BATCH {
                forgotten += forget(core, &std::mem::take(&mut old), before)?;
            }
        }
        Ok(forgotten + forget(core, &old, before)?)
    }
}

/// Forgets those of the sessions that have not written meanwhile; returns how many.
fn forget(core: &Core, sessions: &[SessionId], before: DateTime) -> Result<u64> {
    if sessions.is_empty() {
        return Ok(0);
    }
    let mut commit = core.lock_commit()?;
    let now = Reading::new(core.view_locked(&commit)?);
    let mut old = Vec::new();
    for session in sessions {
        if let Some(stored) = now.get(SESSIONS, session)?
            && is_older(&stored, before)?
        {
            old.push(*session);
        }
    }
    if !old.is_empty() {
        core.commit(&mut commit, &[forgetting(&old)])?;
    }
    Ok(old.len() as u64)
}

fn is_older(record: &Stored, before: DateTime) -> Result<bool> {
    Ok(Record::decode(record.document()?)?.at < before)
}

impl SessionWrites {
    fn add(&mut self, record: Record<'_>) -> Result<()> {
        if let Some((first, last)) = record.statements {
            self.executed.push((first, last, record.outcome()?));
        }
        Ok(())
    }
}

/// The error for a record that is none.
fn damaged(what: &'static str) -> crate::Error {
    crate::Error::Inconsistent {
        op_id: OpId::ZERO,
        what,
    }
}
