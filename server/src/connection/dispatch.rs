//! From a request to its answer: the command is found, its client may run it, and it runs within its session.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::Transaction;
use tailwater::replication::{Error, WriteConcern, acknowledgement};

use super::{Broken, Connection};
use crate::commands::{self, Command, Kind};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::fail_points::Plan;
use crate::needs;
use crate::reply;
use crate::request::{Numbered, Request, SessionId, Wants, unsatisfiable};
use crate::session::Session;
use crate::topology;

/// Commands that write, and wait for a majority unless they say otherwise.
const WRITES: [&str; 14] = [
    "bulkWrite",
    "collMod",
    "commitTransaction",
    "create",
    "createIndexes",
    "delete",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "findAndModify",
    "findandmodify",
    "insert",
    "renameCollection",
    "update",
];

/// How often who waits for members looks whether the server stops.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Which members must have what was written before it is answered, and within what time.
#[derive(Clone, Copy, Debug)]
struct Waits {
    concern: WriteConcern,
    timeout: Duration,
}

impl Connection<'_> {
    /// Runs a command; the answer is complete.
    pub(super) fn answer(&mut self, request: &Request<'_>) -> Result<RawDocumentBuf, Broken> {
        self.server.commands_run.fetch_add(1, Ordering::Relaxed);
        let plan = self.planned_failure(request);
        if plan.closes_before {
            return Err(Broken::FailPoint);
        }
        let waits = match plan.error {
            Some(error) => Err(error),
            None => self.waits_for(request),
        };
        let result = waits.and_then(|waits| Ok((self.run_command(request)?, waits)));
        if plan.closes_behind {
            return Err(Broken::FailPoint);
        }
        Ok(match result {
            Ok((mut document, waits)) => {
                let failed = waits.and_then(|waits| self.await_members(waits));
                if let Some(error) = failed {
                    document.append(cstr!("writeConcernError"), error);
                } else if let Some(error) = plan.write_concern_error {
                    document.append(cstr!("writeConcernError"), error);
                    if let Some(labels) = plan.labels {
                        document.append(cstr!("errorLabels"), RawArrayBuf::from_iter(labels));
                    }
                }
                reply::finish(document, self.server.operation_time())
            }
            Err(error) => {
                tracing::debug!(
                    command = request.name,
                    code = error.code,
                    error = error.message,
                    "refused"
                );
                self.refusal(&error)
            }
        })
    }

    /// What the answer waits for when the command has been carried out: members of a replicated store, by its write concern or,
    /// without one, a majority (MongoDB manual: *Implicit Default Write Concern*).
    fn waits_for(&self, request: &Request<'_>) -> CommandResult<Option<Waits>> {
        let is_part =
            matches!(request.numbered, Some(Numbered::Transaction { .. })) && request.name != "commitTransaction";
        let waits = match request.wants {
            Wants::Members(concern, timeout) => Waits { concern, timeout },
            Wants::Default if WRITES.contains(&request.name) && !is_part => Waits {
                concern: WriteConcern::Majority,
                timeout: Duration::MAX,
            },
            Wants::Default | Wants::Here => return Ok(None),
        };
        let can_be_told = acknowledgement(&self.server.store, waits.concern, Duration::ZERO).is_some();
        match (can_be_told, waits.concern) {
            (true, _) => Ok(Some(waits)),
            (false, WriteConcern::Majority) => Ok(None),
            (false, _) => Err(unsatisfiable()),
        }
    }

    /// Waits until what was written is held by the members; why that is not known, if it is not. The write is done, and may yet
    /// come to be held.
    fn await_members(&self, waits: Waits) -> Option<RawDocumentBuf> {
        let (store, begun) = (&self.server.store, Instant::now());
        let written = store.applied();
        loop {
            let left = waits.timeout.saturating_sub(begun.elapsed());
            // In parts, for a server that stops not to wait for members that are away.
            let primary = acknowledgement(store, waits.concern, left.min(LOOK_INTERVAL));
            let held = primary.map(|primary| primary.acknowledge(written));
            let reason = held.unwrap_or_else(|| Err(Error::Stopped.into())).err()?;
            let timed_out = matches!(reason.downcast_ref(), Some(Error::WriteConcernTimeout { .. }));
            if timed_out && left > LOOK_INTERVAL && !self.server.is_stopping() {
                continue;
            }
            let (code, name) = match timed_out {
                true => (64, "WriteConcernFailed"),
                false => (189, "PrimarySteppedDown"),
            };
            let message = reason.to_string();
            return Some(rawdoc! {
                "code": code,
                "codeName": name,
                "errmsg": message,
                "errInfo": { "wtimeout": timed_out },
            });
        }
    }

    /// What a test has asked to become of the command.
    fn planned_failure(&self, request: &Request<'_>) -> Plan {
        let points = self.server.fail_points.as_ref();
        let plan = points.map(|points| {
            let command = commands::find(request.name).map_or(request.name, |command| command.name);
            points.plan(command, request, self.peer.app_name.get().map(String::as_str))
        });
        plan.unwrap_or_default()
    }

    pub(super) fn refusal(&self, error: &CommandError) -> RawDocumentBuf {
        let mut document = error.to_document();
        if topology::is_state_change(error.code) {
            document.append(cstr!("topologyVersion"), self.server.topology.current().to_document());
        }
        reply::finish(document, self.server.operation_time())
    }

    /// Finds the command and runs it, within its session if it has one.
    fn run_command(&mut self, request: &Request<'_>) -> CommandResult {
        let command = commands::find(request.name).ok_or_else(|| {
            CommandError::new(code::COMMAND_NOT_FOUND, format!("no such command: '{}'", request.name))
        })?;
        let authority = &self.server.authority;
        let needed = needs::authorize(&command.needs, request, authority, &self.login.identity)?;
        let running = self.server.operations.begin(command.name, request, self.peer);
        let mut context = Context {
            server: self.server,
            peer: self.peer,
            request,
            interrupts: running.interrupts(self.server, self.stream),
            login: &mut self.login,
            transaction: None,
            needed,
            required: RefCell::default(),
        };
        // Whoever has not logged in leaves nothing behind.
        let session = request.session.filter(|_| authority.is_known(&context.login.identity));
        match (session, request.numbered) {
            (Some(id), Some(numbered)) => {
                let entry = context.server.sessions.get(id)?;
                let result = run_numbered(command, &mut context, &mut entry.lock(), numbered, id);
                context.server.sessions.leave(id, entry);
                result
            }
            (session, _) => {
                if let Some(id) = session {
                    context.server.sessions.touch(id)?;
                }
                match command.kind {
                    Kind::EndsTransaction => Err(CommandError::new(
                        code::INVALID_OPTIONS,
                        format!("{} needs a session and a transaction number", request.name),
                    )),
                    _ => (command.run)(&mut context),
                }
            }
        }
    }
}

/// Runs a command that has a number in its session: a write that may be sent again, or a part of a transaction.
fn run_numbered(
    command: &Command,
    context: &mut Context<'_>,
    session: &mut Session,
    numbered: Numbered,
    id: SessionId,
) -> CommandResult {
    let (server, request) = (context.server, context.request);
    match (numbered, command.kind) {
        (Numbered::Retryable(number), Kind::Retryable) => {
            session.begin_write(number)?;
            (command.run)(context).map_err(CommandError::of_retryable)
        }
        (Numbered::Transaction { number, .. }, Kind::EndsTransaction) => {
            let answer = (command.run)(context)?;
            let ended = match request.name {
                "commitTransaction" => session.commit(number, &server.store, request.durability),
                _ => session.abort(number),
            };
            server.cursors.kill_transactions(id);
            ended.map_err(CommandError::of_retryable)?;
            Ok(answer)
        }
        (Numbered::Transaction { number, first }, Kind::InTransaction | Kind::Retryable) => {
            if first {
                server.cursors.kill_transactions(id);
            }
            let result = run_in_transaction(command, context, session.transaction(number, first, &server.store)?);
            // A write that was refused ends it as well.
            let refused = |answer: &RawDocumentBuf| {
                answer.get_array("writeErrors").is_ok() || answer.get_i32("nErrors").is_ok_and(|errors| errors > 0)
            };
            if result.as_ref().map_or(true, refused) {
                session.give_up(number);
                server.cursors.kill_transactions(id);
            }
            result
        }
        (Numbered::Retryable(_), _) => Err(CommandError::new(
            code::INVALID_OPTIONS,
            format!("txnNumber is not allowed for {} outside of a transaction", request.name),
        )),
        (Numbered::Transaction { .. }, Kind::Alone) => Err(CommandError::new(
            code::NOT_IN_TRANSACTION,
            format!("Cannot run '{}' in a multi-document transaction.", request.name),
        )),
    }
}

/// Runs a command as a part of a transaction, in a context of its own: the transaction goes on with the session.
fn run_in_transaction(command: &Command, context: &mut Context<'_>, transaction: &Transaction) -> CommandResult {
    let mut context = Context {
        server: context.server,
        peer: context.peer,
        request: context.request,
        login: &mut *context.login,
        transaction: Some(transaction),
        interrupts: context.interrupts.clone(),
        needed: std::mem::take(&mut context.needed),
        required: RefCell::default(),
    };
    (command.run)(&mut context)
}
