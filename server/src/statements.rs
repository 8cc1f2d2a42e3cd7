//! The statements of a write that may be sent again: those that were carried out when it came before, and those that are left
//! (driver specification: *Retryable Writes*).
//!
//! A write of several statements may have come to its end in the middle when the server died. When it is sent again, what
//! was carried out is answered from what the store has kept of it, and the rest is carried out.
//!
//! A statement that has matched nothing leaves no record. In an ordered write it is known all the same, by a later statement that
//! has left one: it was its turn before, and is not carried out behind what it went before.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf};
use tailwater::{Collection, Durability, RetryableWrite, StatementOutcome};

use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::session::too_old;

/// A statement that was carried out before.
pub(crate) struct Done {
    /// Its index in the command.
    pub(crate) index: usize,
    /// Its number (`stmtId`).
    pub(crate) statement: i32,
    pub(crate) outcome: StatementOutcome,
}

/// The statements of a command that writes. See the module documentation.
#[derive(Default)]
pub(crate) struct Statements {
    /// What is left, when the write may be sent again.
    write: Option<RetryableWrite>,
    /// The indexes of what is left, when some were carried out before.
    left: Option<Vec<usize>>,
    pub(crate) done: Vec<Done>,
    /// The indexes of those that have found nothing to do.
    pub(crate) idle: Vec<usize>,
}

impl Statements {
    /// Those of this request, which has so many; ordered, if each is carried out only when all before it were without a failure.
    ///
    /// # Errors
    ///
    /// When the session has gone on to another write, and the store's.
    pub(crate) fn of(context: &Context<'_>, count: usize, ordered: bool) -> CommandResult<Statements> {
        let Some(mut write) = context.request.retryable(count)? else {
            return Ok(Statements::default());
        };
        let store = &context.server.store;
        let known = match store.session_writes(write.session, write.number)? {
            Some(known) if known.number > write.number => return Err(too_old(write.number, known.number)),
            Some(known) if known.number == write.number && known.is_committed => {
                let message = format!("{} is the number of a transaction, not of a write", write.number);
                return Err(CommandError::new(code::INVALID_OPTIONS, message));
            }
            Some(known) if !known.is_empty() => known,
            _ => {
                return Ok(Statements {
                    write: Some(write),
                    ..Statements::default()
                });
            }
        };
        let last_done = write
            .statements
            .iter()
            .rposition(|statement| known.outcome(*statement).is_some());
        let (mut left, mut done, mut idle, mut statements) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, statement) in write.statements.drain(..).enumerate() {
            match known.outcome(statement) {
                Some(outcome) => done.push(Done {
                    index,
                    statement,
                    outcome: outcome.clone(),
                }),
                None if ordered && last_done.is_some_and(|last| index < last) => idle.push(index),
                None => {
                    left.push(index);
                    statements.push(statement);
                }
            }
        }
        // What was done then is to be as durable as this answer says.
        if !done.is_empty() && context.request.acknowledged.durability != Some(Durability::Memory) {
            store.sync()?;
        }
        write.statements = statements;
        Ok(Statements {
            write: Some(write),
            left: Some(left),
            done,
            idle,
        })
    }

    /// Whether it may be sent again.
    pub(crate) fn is_retryable(&self) -> bool {
        self.write.is_some()
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_complete(&self) -> bool {
        self.left.as_ref().is_some_and(Vec::is_empty)
    }

    /// Those of a command's items that are left.
    pub(crate) fn select<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if let Some(left) = &self.left {
            let mut left = left.iter().copied().peekable();
            let mut index = 0;
            items.retain(|_| {
                let is_left = left.next_if_eq(&index).is_some();
                index += 1;
                is_left
            });
        }
        items
    }

    /// The index in the command of one that was left.
    pub(crate) fn index(&self, selected: usize) -> usize {
        match &self.left {
            Some(left) => left.get(selected).copied().unwrap_or(selected),
            None => selected,
        }
    }

    /// The collection, whose next write is what is left.
    pub(crate) fn collection(&self, collection: Collection) -> Collection {
        match &self.write {
            Some(write) => collection.retryable(write.clone()),
            None => collection,
        }
    }

    /// The same for a part of what is left, which ascends without gaps. The store is told of the statement behind it: one that has
    /// matched and changed nothing leaves a record only if others follow.
    pub(crate) fn collection_for(&self, collection: Collection, selected: &[usize]) -> Collection {
        let behind = selected.last().map(|last| last + 1);
        match &self.write {
            Some(write) => collection.retryable(RetryableWrite {
                statements: selected
                    .iter()
                    .chain(&behind)
                    .filter_map(|&place| write.statements.get(place).copied())
                    .collect(),
                ..*write
            }),
            None => collection,
        }
    }

    /// Names those that were carried out before, as MongoDB does.
    pub(crate) fn name_retried(&self, answer: &mut RawDocumentBuf) {
        if !self.done.is_empty() {
            let retried = RawArrayBuf::from_iter(self.done.iter().map(|done| done.statement));
            answer.append(cstr!("retriedStmtIds"), retried);
        }
    }
}
