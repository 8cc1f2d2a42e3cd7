//! The cursors that stand on the server between two requests: whose they are, and when they are closed.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tailwater::{MemoryShare, ResumeToken};
use tailwater_auth::UserId;

use super::{Cursor, Fill, Stop};
use crate::error::{CommandError, CommandResult, code};
use crate::needs::Reach;
use crate::options::ServerOptions;
use crate::reply::Batch;
use crate::request::{Owner, SessionId};

/// A cursor that stands on the server.
struct Standing {
    namespace: String,
    owner: Owner,
    /// Nothing while a request has it.
    cursor: Option<Cursor>,
    /// Ends the wait of a request that has it.
    stopper: Option<Stop>,
    used: Instant,
    never_expires: bool,
    /// Who asks for more must be allowed that.
    reach: Reach,
    /// That of what was asked for: a filter or a pipeline may be as large as a message.
    _question: MemoryShare,
    /// Bytes that the store had written when it was made, if the state of then is kept for it.
    pinned_at: Option<u64>,
}

/// Whose a cursor is and for how long it stands.
pub(crate) struct Keeping {
    pub(crate) namespace: String,
    pub(crate) owner: Owner,
    /// Whether it stands as long as its session.
    pub(crate) never_expires: bool,
    pub(crate) reach: Reach,
    /// Memory for what was asked for.
    pub(crate) question: MemoryShare,
    /// Bytes that the store has written so far.
    pub(crate) written: u64,
}

/// All cursors that stand.
#[derive(Default)]
struct Table {
    cursors: HashMap<i64, Standing>,
    /// How many each user has.
    by_user: HashMap<Option<UserId>, usize>,
}

impl Table {
    fn insert(&mut self, id: i64, standing: Standing) {
        *self.by_user.entry(standing.owner.user).or_default() += 1;
        self.cursors.insert(id, standing);
    }

    fn remove(&mut self, id: i64) -> Option<Standing> {
        let removed = self.cursors.remove(&id)?;
        if let Some(count) = self.by_user.get_mut(&removed.owner.user) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&removed.owner.user);
            }
        }
        Some(removed)
    }
}

/// The cursors of a server. See the module documentation.
pub(crate) struct Cursors {
    standing: Mutex<Table>,
    timeout: Duration,
    /// After which those go that never expire and have no session to end with.
    session_timeout: Duration,
    max: usize,
    per_user_max: usize,
    pinned_bytes_max: u64,
    /// Told of the first that stands.
    watcher: OnceLock<Sender<()>>,
}

/// A cursor taken from the table by a request, and put back when it is dropped, unless it has ended or was killed meanwhile.
pub(crate) struct Taken {
    cursors: Arc<Cursors>,
    id: i64,
    pub(crate) namespace: String,
    /// Who asks for more must be allowed that.
    pub(crate) reach: Reach,
    cursor: Option<Cursor>,
}

impl Cursors {
    pub(crate) fn new(options: &ServerOptions) -> Cursors {
        Cursors {
            standing: Mutex::default(),
            timeout: options.cursor_timeout,
            session_timeout: options.session_timeout,
            pinned_bytes_max: options.cursor_memory_max,
            max: options.cursors_max,
            per_user_max: options.cursors_per_user_max,
            watcher: OnceLock::new(),
        }
    }

    /// Whom to tell when there is one again after there was none.
    pub(crate) fn watched_by(&self, watcher: Sender<()>) {
        // There is one of them.
        let _ = self.watcher.set(watcher);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A table whose holder has panicked is as good as it was: every change of it is one step.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a cursor, and gives its number; 0 if it has ended, as nothing is kept then.
    pub(crate) fn keep(&self, cursor: Cursor, keeping: Keeping) -> CommandResult<i64> {
        if cursor.is_ended() {
            return Ok(0);
        }
        let stopper = cursor.source.stop();
        let Keeping {
            namespace,
            owner,
            never_expires,
            reach,
            question,
            written,
        } = keeping;
        let mut standing = self.lock();
        if standing.cursors.is_empty()
            && let Some(watcher) = self.watcher.get()
        {
            // It may have ended with the server.
            let _ = watcher.send(());
        }
        let of_user = standing.by_user.get(&owner.user).copied().unwrap_or(0);
        for (count, max) in [(standing.cursors.len(), self.max), (of_user, self.per_user_max)] {
            if count >= max {
                return Err(CommandError::new(
                    code::TOO_MANY_CURSORS,
                    format!("there are {max} cursors: close some"),
                ));
            }
        }
        // A client knows a cursor by this number alone, so it is not one that can be guessed from another.
        let id = loop {
            let id = fastrand::i64(1..);
            if !standing.cursors.contains_key(&id) {
                break id;
            }
        };
        standing.insert(
            id,
            Standing {
                namespace,
                owner,
                pinned_at: cursor.pins_state().then_some(written),
                cursor: Some(cursor),
                stopper,
                used: Instant::now(),
                never_expires,
                reach,
                _question: question,
            },
        );
        Ok(id)
    }

    /// Takes a cursor, of this session and transaction if it was made in them.
    pub(crate) fn take(self: &Arc<Self>, id: i64, namespace: &str, owner: Owner) -> CommandResult<Taken> {
        let mut standing = self.lock();
        let found = standing.cursors.get_mut(&id).ok_or_else(|| not_found(id))?;
        if found.owner.user != owner.user {
            return Err(not_yours(id));
        }
        if found.namespace != namespace {
            let message = format!(
                "Requested getMore on namespace '{namespace}', but cursor belongs to a different namespace {}",
                found.namespace
            );
            return Err(CommandError::new(code::UNAUTHORIZED, message));
        }
        if found.owner.transaction != owner.transaction {
            let message =
                format!("Cannot run getMore on cursor {id}, which was created in another transaction or in none");
            return Err(CommandError::new((50741, "Location50741"), message));
        }
        if found.owner.session.is_some() && found.owner.session != owner.session {
            let message = format!("Cannot run getMore on cursor {id}, which was created in another session");
            return Err(CommandError::new((50738, "Location50738"), message));
        }
        let cursor = found.cursor.take();
        let cursor = cursor
            .ok_or_else(|| CommandError::new(code::CURSOR_IN_USE, format!("cursor id {id} is already in use")))?;
        Ok(Taken {
            cursors: Arc::clone(self),
            id,
            namespace: found.namespace.clone(),
            reach: found.reach.clone(),
            cursor: Some(cursor),
        })
    }

    /// Whose a cursor is, if it is there.
    pub(crate) fn user_of(&self, id: i64) -> Option<Option<UserId>> {
        self.lock().cursors.get(&id).map(|standing| standing.owner.user)
    }

    /// Lets go of a cursor; whether there was one. A request that waits with it is ended.
    pub(crate) fn kill(&self, id: i64) -> bool {
        let killed = self.lock().remove(id);
        if let Some(stopper) = killed.as_ref().and_then(|killed| killed.stopper.as_ref()) {
            stopper.stop();
        }
        killed.is_some()
    }

    /// Lets go of the cursors of a session.
    pub(crate) fn kill_session(&self, session: SessionId) {
        self.kill_where(|standing| standing.owner.session == Some(session));
    }

    /// Lets go of those of a session that nobody has asked for since: it may have begun anew meanwhile.
    pub(crate) fn kill_idle_of_session(&self, session: SessionId, since: Instant) {
        self.kill_where(|standing| {
            standing.owner.session == Some(session) && standing.cursor.is_some() && standing.used <= since
        });
    }

    /// Lets go of the cursors of a session's transactions.
    pub(crate) fn kill_transactions(&self, session: SessionId) {
        self.kill_where(|standing| standing.owner.session == Some(session) && standing.owner.transaction.is_some());
    }

    /// Ends all cursors and all waits with them.
    pub(crate) fn kill_all(&self) {
        self.kill_where(|_| true);
    }

    /// Lets go of those that nobody has asked for more in time.
    pub(crate) fn expire(&self) {
        self.kill_where(|standing| {
            let timeout = match (standing.never_expires, standing.owner.session) {
                (false, _) => self.timeout,
                (true, None) => self.session_timeout,
                // It ends with its session.
                (true, Some(_)) => return false,
            };
            standing.cursor.is_some() && standing.used.elapsed() >= timeout
        });
    }

    /// Lets go of those since which more was written than may be kept for them. Each keeps the writes that were in memory when it
    /// was made, so all of them together keep no more than was written since the oldest, and a little before.
    pub(crate) fn unpin(&self, written: u64) {
        let closed = self.kill_where(|standing| {
            let pinned = standing.pinned_at.map(|at| written.saturating_sub(at));
            standing.cursor.is_some() && pinned.is_some_and(|pinned| pinned > self.pinned_bytes_max)
        });
        if closed > 0 {
            let max = self.pinned_bytes_max;
            tracing::warn!(
                closed,
                max,
                "cursors were closed: more was written since they were made than is kept for them"
            );
        }
    }

    /// Lets go of those that are doomed; how many.
    fn kill_where(&self, doomed: impl Fn(&Standing) -> bool) -> usize {
        let ids: Vec<i64> = {
            let standing = self.lock();
            let doomed = standing.cursors.iter().filter(|(_, standing)| doomed(standing));
            doomed.map(|(id, _)| *id).collect()
        };
        // Dropped one by one, outside of the lock. Meanwhile somebody may have come for one.
        let killed = ids.into_iter().filter(|id| {
            let mut standing = self.lock();
            let still = standing.cursors.get(id).is_some_and(&doomed);
            let killed = still.then(|| standing.remove(*id)).flatten();
            drop(standing);
            if let Some(stopper) = killed.as_ref().and_then(|killed| killed.stopper.as_ref()) {
                stopper.stop();
            }
            killed.is_some()
        });
        killed.count()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().cursors.len()
    }
}

impl Taken {
    pub(crate) fn fill(&mut self, fill: Fill<'_>) -> CommandResult<Batch> {
        let id = self.id;
        let filled = match &mut self.cursor {
            Some(cursor) => cursor.fill(fill),
            None => Err(not_found(id)),
        };
        if filled.is_err() {
            // What fails once would fail again: the cursor goes, as in MongoDB.
            self.cursor = None;
        }
        filled
    }

    /// Lets go of it.
    pub(crate) fn discard(&mut self) {
        self.cursor = None;
    }

    pub(crate) fn resume_token(&self) -> Option<ResumeToken> {
        self.cursor.as_ref().and_then(Cursor::resume_token)
    }

    /// Whether it was killed meanwhile.
    pub(crate) fn is_killed(&self) -> bool {
        !self.cursors.lock().cursors.contains_key(&self.id)
    }

    /// Its number, or 0 when there is nothing more to ask for.
    pub(crate) fn id_left(&self) -> i64 {
        match &self.cursor {
            Some(cursor) if !cursor.is_ended() => self.id,
            _ => 0,
        }
    }

    pub(crate) fn is_change_stream(&self) -> bool {
        self.cursor.as_ref().is_some_and(Cursor::is_change_stream)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let cursor = self.cursor.take().filter(|cursor| !cursor.is_ended());
        let mut standing = self.cursors.lock();
        match cursor {
            None => drop(standing.remove(self.id)),
            // It may have been killed meanwhile.
            Some(cursor) => {
                if let Some(standing) = standing.cursors.get_mut(&self.id) {
                    standing.cursor = Some(cursor);
                    standing.used = Instant::now();
                }
            }
        }
    }
}

/// What somebody is told of a cursor that another user has made.
pub(crate) fn not_yours(id: i64) -> CommandError {
    CommandError::new(
        code::UNAUTHORIZED,
        format!("cursor id {id} was not created by the authenticated user"),
    )
}

fn not_found(id: i64) -> CommandError {
    let message = format!(
        "cursor id {id} not found: it has come to its end, nobody has asked for more in time, or too much was written meanwhile"
    );
    CommandError::new(code::CURSOR_NOT_FOUND, message)
}
