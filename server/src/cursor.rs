//! Cursors: what is left of a query, or a change stream, until the client asks for more or lets go of it.
//!
//! A cursor is used by one request at a time; a second one meanwhile is told so, as in MongoDB. It belongs to the session, and to
//! the transaction, that it was made in, and ends with them; and the server closes those that nobody has asked for more within
//! its timeout. Whoever asks for more must still be allowed what the command needed that made it.

mod standing;

use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use tailwater::{ChangeStream, ListedWatch, MemoryShare, QueryControl, ResumeToken, Stopper};

use crate::error::{CommandError, CommandResult, code};
use crate::operations::Interrupts;
use crate::oplog_view::{OplogTail, Patience, TailStopper};
use crate::reply::Batch;

pub(crate) use standing::{Cursors, Keeping, not_yours};

/// Documents of a first batch, unless the client says how many (MongoDB manual: *Cursor Batches*).
pub(crate) const FIRST_BATCH: u64 = 101;

/// How long a `getMore` of a change stream waits for an event, unless the client says how long.
const AWAIT: Duration = Duration::from_secs(1);

/// How long it waits at most, whatever the client says: it may be gone, which is found with the answer.
const AWAIT_MAX: Duration = Duration::from_secs(10);

/// The largest document that an answer can hold beside what else stands in it.
const ANSWER_DOCUMENT_MAX: usize = tailwater_wire::MESSAGE_BYTES_MAX - (16 << 10);

/// Documents that a query, an aggregation or a list still has.
pub(crate) type Documents = Box<dyn Iterator<Item = CommandResult> + Send>;

/// What a cursor reads from.
pub(crate) enum Source {
    Documents(Documents, QueryControl),
    /// With its place in the list of those who watch.
    Changes(Box<(ChangeStream, ListedWatch)>),
    Oplog(Box<OplogTail>),
}

/// A cursor as long as a request has it.
pub(crate) struct Cursor {
    source: Source,
    pending: Option<Pending>,
    ended: bool,
}

/// A document that did not fit into the last batch.
struct Pending {
    document: RawDocumentBuf,
    /// Of a change stream, the token before it.
    before: Option<ResumeToken>,
    /// It may stand for long.
    _memory: MemoryShare,
}

/// How a batch is filled.
#[derive(Clone, Copy)]
pub(crate) struct Fill<'a> {
    /// Most documents; as many as fit when it is missing.
    pub(crate) count_max: Option<u64>,
    /// How long a change stream, or a tail of the log, waits.
    pub(crate) time: Option<Duration>,
    /// When anything else fails.
    pub(crate) deadline: Option<Instant>,
    /// Whether a change stream waits for its first event.
    pub(crate) awaits: bool,
    /// What ends it in the middle.
    pub(crate) interrupts: &'a Interrupts<'a>,
}

impl Cursor {
    pub(crate) fn new(source: Source) -> Cursor {
        Cursor {
            source,
            pending: None,
            ended: false,
        }
    }

    /// A cursor over documents that are all there.
    pub(crate) fn of_list(documents: Vec<RawDocumentBuf>) -> Cursor {
        Cursor::new(Source::Documents(
            Box::new(documents.into_iter().map(Ok)),
            QueryControl::default(),
        ))
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn is_change_stream(&self) -> bool {
        matches!(self.source, Source::Changes(_))
    }

    /// Whether it shows a state of the past, which is kept in memory and on disk for it.
    fn pins_state(&self) -> bool {
        matches!(self.source, Source::Documents(..))
    }

    /// The token that a change stream may be resumed with behind what it has given.
    pub(crate) fn resume_token(&self) -> Option<ResumeToken> {
        match &self.pending {
            // What waits has not been given yet.
            Some(pending) => pending.before,
            None => self.source.token(),
        }
    }

    /// The next batch: as many documents as are asked for and fit, and are there.
    pub(crate) fn fill(&mut self, fill: Fill<'_>) -> CommandResult<Batch> {
        let mut batch = Batch::new();
        let count_max = fill
            .count_max
            .map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let deadline = fill.deadline;
        if let Source::Documents(_, control) = &self.source {
            fill.interrupts.rule(control, deadline);
        }
        while batch.count < count_max {
            let before = self.source.token();
            let next = match self.pending.take() {
                Some(pending) => Some(pending.document),
                None => self.next(batch.count == 0, fill, deadline)?,
            };
            let Some(document) = next else { break };
            if document.as_bytes().len() > ANSWER_DOCUMENT_MAX {
                // It would be lost to whoever asks for what comes behind it.
                let message = format!(
                    "a document of {} bytes is larger than an answer: leave fields out of it",
                    document.as_bytes().len()
                );
                return Err(CommandError::new(code::BSON_TOO_LARGE, message));
            }
            if !batch.has_room_for(&document) {
                let mut memory = fill.interrupts.memory();
                // A change stream would end for good.
                if let Err(error) = memory.take(document.as_bytes().len())
                    && !self.is_change_stream()
                {
                    return Err(error.into());
                }
                self.pending = Some(Pending {
                    document,
                    before,
                    _memory: memory,
                });
                break;
            }
            batch.push(&document);
        }
        if let (Source::Changes(changes), Some(token)) = (&self.source, self.resume_token()) {
            changes.1.delivered(batch.count as u64, token);
        }
        Ok(batch)
    }

    fn next(
        &mut self,
        is_first: bool,
        fill: Fill<'_>,
        deadline: Option<Instant>,
    ) -> CommandResult<Option<RawDocumentBuf>> {
        match &mut self.source {
            Source::Documents(documents, _) => {
                fill.interrupts.check()?;
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(too_slow());
                }
                let next = documents.next().transpose()?;
                self.ended = next.is_none();
                Ok(next)
            }
            Source::Changes(changes) => {
                let (stream, _) = &mut **changes;
                let next = match is_first && fill.awaits {
                    true => stream.wait_next(Some(fill.time.unwrap_or(AWAIT).min(AWAIT_MAX)))?,
                    // What is there by now, and of that no more than a stream looks at in one go: history may be long.
                    false => stream.next_at_hand()?,
                };
                self.ended = next.is_none() && stream.is_ended();
                Ok(next.map(|event| event.to_document()))
            }
            Source::Oplog(tail) => {
                let awaits = is_first && fill.awaits && tail.awaits_data();
                let patience = match awaits {
                    true => Patience::Wait(Instant::now() + fill.time.unwrap_or(AWAIT).min(AWAIT_MAX)),
                    false => Patience::Read(deadline),
                };
                let next = tail.next(patience, &|| fill.interrupts.check_endless())?;
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
            Source::Changes(changes) => Some(changes.0.resume_token()),
            Source::Documents(..) | Source::Oplog(_) => None,
        }
    }

    /// What ends its waits.
    fn stop(&self) -> Option<Stop> {
        match self {
            Source::Changes(changes) => Some(Stop::Changes(changes.0.stopper())),
            Source::Oplog(tail) => Some(Stop::Oplog(tail.stopper())),
            Source::Documents(..) => None,
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

/// What an operation ends with whose time is over.
pub(crate) fn too_slow() -> CommandError {
    CommandError::new(code::MAX_TIME_EXPIRED, "operation exceeded time limit")
}
