//! Cursors: what is left of a query, or a change stream, until the client asks for more or lets go of it.
//!
//! A cursor is used by one request at a time; a second one meanwhile is told so, as in MongoDB. It belongs to the session, and to
//! the transaction, that it was made in, and ends with them; and the server closes those that nobody has asked for more within
//! its timeout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use tailwater::{ChangeStream, ResumeToken, Stopper};
use tailwater_auth::{Resource, UserId};

use crate::error::{CommandError, CommandResult, code};
use crate::oplog_view::{OplogTail, TailStopper};
use crate::options::ServerOptions;
use crate::reply::Batch;
use crate::request::{Owner, SessionId};

/// Documents of a first batch, unless the client says how many (MongoDB manual: *Cursor Batches*).
pub(crate) const FIRST_BATCH: u64 = 101;

/// How long a `getMore` of a change stream waits for an event, unless the client says how long.
const AWAIT: Duration = Duration::from_secs(1);

/// How long it waits at most, whatever the client says: it may be gone, which is found with the answer.
const AWAIT_MAX: Duration = Duration::from_secs(10);

/// Documents that a query, an aggregation or a list still has.
pub(crate) type Documents = Box<dyn Iterator<Item = CommandResult> + Send>;

/// What a cursor reads from.
pub(crate) enum Source {
    Documents(Documents),
    Changes(Box<ChangeStream>),
    Oplog(Box<OplogTail>),
}

/// A cursor as long as a request has it.
pub(crate) struct Cursor {
    source: Source,
    /// A document that did not fit into the last batch, and for a change stream the token before it.
    pending: Option<(RawDocumentBuf, Option<ResumeToken>)>,
    ended: bool,
    /// What a change stream watches: whoever asks for more must still be allowed to.
    watched: Option<Watched>,
}

/// What a change stream watches.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    Everything,
    Database(String),
    Collection(String, String),
}

impl Watched {
    pub(crate) fn of(resource: Resource<'_>) -> Watched {
        match resource {
            Resource::Database(database) => Watched::Database(database.to_owned()),
            Resource::Collection { database, collection } => {
                Watched::Collection(database.to_owned(), collection.to_owned())
            }
            _ => Watched::Everything,
        }
    }

    pub(crate) fn resource(&self) -> Resource<'_> {
        match self {
            Watched::Everything => Resource::AllCollections,
            Watched::Database(database) => Resource::Database(database),
            Watched::Collection(database, collection) => Resource::Collection { database, collection },
        }
    }
}

/// How a batch is filled.
#[derive(Clone, Copy)]
pub(crate) struct Fill {
    /// Most documents; as many as fit when it is missing.
    pub(crate) count_max: Option<u64>,
    /// How long it may take: for a change stream to wait, for anything else to fail when it is over.
    pub(crate) time: Option<Duration>,
    /// Whether a change stream waits for its first event.
    pub(crate) awaits: bool,
}

impl Cursor {
    pub(crate) fn new(source: Source) -> Cursor {
        Cursor {
            source,
            pending: None,
            ended: false,
            watched: None,
        }
    }

    /// A cursor over the changes of what the stream watches.
    pub(crate) fn of_changes(stream: ChangeStream, watched: Resource<'_>) -> Cursor {
        Cursor {
            watched: Some(Watched::of(watched)),
            ..Cursor::new(Source::Changes(Box::new(stream)))
        }
    }

    /// A cursor over documents that are all there.
    pub(crate) fn of_list(documents: Vec<RawDocumentBuf>) -> Cursor {
        Cursor::new(Source::Documents(Box::new(documents.into_iter().map(Ok))))
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The token that a change stream may be resumed with behind what it has given.
    pub(crate) fn resume_token(&self) -> Option<ResumeToken> {
        match &self.pending {
            // What waits has not been given yet.
            Some((_, before)) => *before,
            None => self.source.token(),
        }
    }

    /// The next batch: as many documents as are asked for and fit, and are there.
    pub(crate) fn fill(&mut self, fill: Fill) -> CommandResult<Batch> {
        let mut batch = Batch::new();
        let count_max = fill
            .count_max
            .map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let deadline = fill.time.map(|time| Instant::now() + time);
        while batch.count < count_max {
            let before = self.source.token();
            let next = match self.pending.take() {
                Some((pending, _)) => Some(pending),
                None => self.next(batch.count == 0, fill, deadline)?,
            };
            let Some(document) = next else { break };
            if !batch.has_room_for(&document) {
                self.pending = Some((document, before));
                break;
            }
            batch.push(&document);
        }
        Ok(batch)
    }

    fn next(&mut self, is_first: bool, fill: Fill, deadline: Option<Instant>) -> CommandResult<Option<RawDocumentBuf>> {
        match &mut self.source {
            Source::Documents(documents) => {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(CommandError::new(
                        code::MAX_TIME_EXPIRED,
                        "operation exceeded time limit",
                    ));
                }
                let next = documents.next().transpose()?;
                self.ended = next.is_none();
                Ok(next)
            }
            Source::Changes(stream) => {
                let wait = match is_first && fill.awaits {
                    true => fill.time.unwrap_or(AWAIT).min(AWAIT_MAX),
                    // What is there by now, and of that no more than a stream looks at in one go: history may be long.
                    false => Duration::ZERO,
                };
                let next = stream.wait_next(Some(wait))?;
                self.ended = next.is_none() && stream.is_ended();
                Ok(next.map(|event| event.to_document()))
            }
            Source::Oplog(tail) => {
                let wait = match is_first && fill.awaits {
                    true => fill.time.unwrap_or(AWAIT).min(AWAIT_MAX),
                    false => Duration::ZERO,
                };
                let next = tail.next(wait)?;
                self.ended = next.is_none() && !tail.is_tailable();
                Ok(next)
            }
        }
    }
}

impl Source {
    /// Where a change stream is.
    fn token(&self) -> Option<ResumeToken> {
        match self {
            Source::Changes(stream) => Some(stream.resume_token()),
            Source::Documents(_) | Source::Oplog(_) => None,
        }
    }

    /// What ends its waits.
    fn stop(&self) -> Option<Stop> {
        match self {
            Source::Changes(stream) => Some(Stop::Changes(stream.stopper())),
            Source::Oplog(tail) => Some(Stop::Oplog(tail.stopper())),
            Source::Documents(_) => None,
        }
    }
}

/// Ends the waits of a request that has a cursor.
enum Stop {
    Changes(Stopper),
    Oplog(TailStopper),
}

impl Stop {
    fn stop(&self) {
        match self {
            Stop::Changes(stopper) => stopper.stop(),
            Stop::Oplog(stopper) => stopper.stop(),
        }
    }
}

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
    max: usize,
    per_user_max: usize,
}

/// A cursor taken from the table by a request, and put back when it is dropped, unless it has ended or was killed meanwhile.
pub(crate) struct Taken {
    cursors: Arc<Cursors>,
    id: i64,
    pub(crate) namespace: String,
    cursor: Option<Cursor>,
}

impl Cursors {
    pub(crate) fn new(options: &ServerOptions) -> Cursors {
        Cursors {
            standing: Mutex::default(),
            timeout: options.cursor_timeout,
            max: options.cursors_max,
            per_user_max: options.cursors_per_user_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A table whose holder has panicked is as good as it was: every change of it is one step.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a cursor, and gives its number; 0 if it has ended, as nothing is kept then.
    pub(crate) fn keep(
        &self,
        cursor: Cursor,
        namespace: String,
        owner: Owner,
        never_expires: bool,
    ) -> CommandResult<i64> {
        if cursor.is_ended() {
            return Ok(0);
        }
        let stopper = cursor.source.stop();
        let mut standing = self.lock();
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
                cursor: Some(cursor),
                stopper,
                used: Instant::now(),
                never_expires,
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
            !standing.never_expires && standing.cursor.is_some() && standing.used.elapsed() >= self.timeout
        });
    }

    fn kill_where(&self, doomed: impl Fn(&Standing) -> bool) {
        let ids: Vec<i64> = {
            let standing = self.lock();
            standing
                .cursors
                .iter()
                .filter(|(_, standing)| doomed(standing))
                .map(|(id, _)| *id)
                .collect()
        };
        // Dropped one by one, outside of the lock.
        for id in ids {
            self.kill(id);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().cursors.len()
    }
}

impl Taken {
    pub(crate) fn fill(&mut self, fill: Fill) -> CommandResult<Batch> {
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

    /// What it watches, if it is a change stream.
    pub(crate) fn watched(&self) -> Option<&Watched> {
        self.cursor.as_ref()?.watched.as_ref()
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
    CommandError::new(code::CURSOR_NOT_FOUND, format!("cursor id {id} not found"))
}
