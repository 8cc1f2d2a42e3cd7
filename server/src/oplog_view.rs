//! `local.oplog.rs`: the log as MongoDB shows its oplog, for those who tail it (MongoDB manual: *Replica Set Oplog*).
//!
//! Nothing is copied: each entry is made from the log's when it is read. What was appended as one batch, a transaction or
//! several inserts of one command, is one `applyOps` entry, as MongoDB writes transactions: so `ts` is different for every
//! entry, and who resumes behind one has seen all of it.
//!
//! What the store keeps for itself, in a database of its own, is not shown.
//!
//! It can be read in its order and backward (`$natural`), from a `ts` on, and tailed: a cursor at the end waits for what is
//! written next, woken by the log. Readers see what survives power loss, or with `readConcern` `local` what the server has
//! accepted.

mod diff;
mod entry;
mod range;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bson::{RawDocument, RawDocumentBuf};
use tailwater::matcher::{Expression, FindProjection};
use tailwater::oplog::{Cursor, Interrupt, OplogView, ReverseCursor, SharedEntry};
use tailwater::{LogError, LogView, OpId, ReadConcern};

use crate::cursor::too_slow;
use crate::error::{CommandError, CommandResult, code};
use entry::Batch;

/// Database and collection.
pub(crate) const NAMESPACE: (&str, &str) = ("local", "oplog.rs");

/// Refuses the log's name as that of a collection: there is none of that name, and must be none, since nobody could read it.
pub(crate) fn refuse(database: &str, collection: &str) -> CommandResult<()> {
    match (database, collection) == NAMESPACE {
        false => Ok(()),
        true => Err(CommandError::new(
            code::COMMAND_NOT_SUPPORTED,
            "local.oplog.rs is the log: it is read, and not written or planned for",
        )),
    }
}

/// Entries of the log that a tail looks at before it answers that there is nothing yet.
const ENTRIES_MAX: usize = 100_000;

/// What is asked for.
pub(crate) struct OplogFind<'a> {
    pub(crate) filter: &'a RawDocument,
    /// By what it asks of `ts`, where to begin: the filter, or what comes first of what is asked of the entries afterwards.
    pub(crate) from: &'a RawDocument,
    pub(crate) projection: Option<&'a RawDocument>,
    pub(crate) backward: bool,
    pub(crate) skip: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) tailable: bool,
    pub(crate) awaits_data: bool,
    pub(crate) concern: ReadConcern,
    /// The last entry that is shown, if what is written meanwhile is not.
    pub(crate) until: Option<OpId>,
}

/// How long a read of the log goes on.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// Until then it waits for an entry, and then there is none.
    Wait(Instant),
    /// It waits for nothing, and fails when it is not done by then.
    Read(Option<Instant>),
}

enum Direction {
    Forward(Box<Cursor>),
    Backward(Box<ReverseCursor>),
}

/// A cursor over the log as an oplog. See the module documentation.
pub(crate) struct OplogTail {
    view: LogView,
    direction: Direction,
    /// Read, and of a batch that comes next.
    pending: Option<SharedEntry>,
    /// The last entry that is shown, if there is one.
    until: Option<OpId>,
    filter: Expression,
    projection: Option<FindProjection>,
    skip: u64,
    left: u64,
    tailable: bool,
    awaits_data: bool,
    interrupt: Interrupt,
    stopped: Arc<AtomicBool>,
}

/// Ends a tail's reads and waits from another thread.
pub(crate) struct TailStopper {
    view: OplogView,
    interrupt: Interrupt,
    stopped: Arc<AtomicBool>,
}

impl TailStopper {
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.view.interrupt(&self.interrupt);
    }
}

impl OplogTail {
    pub(crate) fn open(view: LogView, find: &OplogFind<'_>) -> CommandResult<OplogTail> {
        if find.backward && find.tailable {
            return Err(CommandError::new(
                code::BAD_VALUE,
                "cannot use tailable option with a sort other than {$natural: 1}",
            ));
        }
        let concern = find.concern;
        let direction = match find.backward {
            true => Direction::Backward(Box::new(view.reverse_from_newest(concern))),
            false => {
                let from = range::lower_bound(find.from).map(|time| view.cursor_from_time(time, concern));
                Direction::Forward(Box::new(match from {
                    Some(Ok(cursor)) => cursor,
                    // What was asked for from is gone: the oldest entry that is left says so by its time.
                    Some(Err(LogError::HistoryLost { .. })) | None => view.cursor_from_oldest(concern),
                    Some(Err(error)) => return Err(failed(error)),
                }))
            }
        };
        let projection = find.projection.map(FindProjection::parse).transpose();
        let parse = tailwater::Error::from;
        Ok(OplogTail {
            view,
            direction,
            pending: None,
            until: find.until,
            filter: Expression::parse(find.filter).map_err(parse)?,
            projection: projection.map_err(parse)?,
            skip: find.skip,
            left: find.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX),
            tailable: find.tailable,
            awaits_data: find.tailable && find.awaits_data,
            interrupt: Interrupt::new(),
            stopped: Arc::default(),
        })
    }

    pub(crate) fn stopper(&self) -> TailStopper {
        TailStopper {
            view: self.view.clone(),
            interrupt: self.interrupt.clone(),
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// Whether it goes on when there is nothing more for now.
    pub(crate) fn is_tailable(&self) -> bool {
        self.tailable && self.left > 0
    }

    /// Whether it waits for what is written next.
    pub(crate) fn awaits_data(&self) -> bool {
        self.awaits_data
    }

    /// The next entry that matches; of a tail that waits for data as soon as there is one. It ends when `check` fails.
    pub(crate) fn next(
        &mut self,
        patience: Patience,
        check: &dyn Fn() -> CommandResult<()>,
    ) -> CommandResult<Option<RawDocumentBuf>> {
        let mut looked_at = 0;
        while self.left > 0 && !self.stopped.load(Ordering::Acquire) {
            check()?;
            if let Patience::Read(Some(deadline)) = patience
                && Instant::now() >= deadline
            {
                return Err(too_slow());
            }
            let Some(batch) = self.batch().map_err(failed)? else {
                match patience {
                    Patience::Wait(until) if self.wait(until) => continue,
                    _ => return Ok(None),
                }
            };
            looked_at += batch.len();
            let document = batch.to_document().map_err(failed)?;
            let matches = self.filter.matches(&*document).map_err(tailwater::Error::from)?;
            if matches && self.skip > 0 {
                self.skip -= 1;
            } else if matches {
                self.left -= 1;
                let projected = self
                    .projection
                    .as_ref()
                    .map(|projection| projection.apply(&document, None));
                return Ok(Some(projected.unwrap_or(Ok(document)).map_err(tailwater::Error::from)?));
            }
            let is_late = match patience {
                Patience::Wait(until) => Instant::now() >= until,
                Patience::Read(_) => true,
            };
            if self.tailable && looked_at >= ENTRIES_MAX && is_late {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Waits for an entry; whether there is one.
    fn wait(&self, until: Instant) -> bool {
        match &self.direction {
            Direction::Forward(cursor) if Instant::now() < until => {
                cursor.wait(Some(until), &self.interrupt) == tailwater::oplog::WaitOutcome::Ready
            }
            _ => false,
        }
    }

    /// What was appended together, in the order of the log.
    fn batch(&mut self) -> Result<Option<Batch>, LogError> {
        match &mut self.direction {
            Direction::Forward(cursor) => {
                let mut entries = Vec::new();
                while let Some(entry) = cursor.try_next()? {
                    if self.until.is_some_and(|until| entry.op_id() > until) {
                        return Ok(None);
                    }
                    entries.push(entry.share());
                    if !entry.in_batch() || entry.ends_batch() {
                        return Ok(Some(Batch::new(entries)));
                    }
                }
                // A batch is seen whole: its last entry is there when its first is.
                Ok((!entries.is_empty()).then(|| Batch::new(entries)))
            }
            Direction::Backward(cursor) => {
                let last = match self.pending.take() {
                    Some(pending) => Some(pending),
                    None => cursor.try_next()?.map(|entry| entry.share()),
                };
                let Some(last) = last else { return Ok(None) };
                let in_batch = last.entry().in_batch();
                let mut entries = vec![last];
                while in_batch && let Some(entry) = cursor.try_next()? {
                    if !entry.in_batch() || entry.ends_batch() {
                        self.pending = Some(entry.share());
                        break;
                    }
                    entries.push(entry.share());
                }
                entries.reverse();
                Ok(Some(Batch::new(entries)))
            }
        }
    }
}

fn failed(error: LogError) -> CommandError {
    match error {
        LogError::HistoryLost { .. } => {
            let message = "the log was trimmed while it was read: begin anew with what is left of it";
            CommandError::new((136, "CappedPositionLost"), message)
        }
        error => tailwater::Error::from(error).into(),
    }
}
