//! From a request to its answer: the command is found, its client may run it, and it runs within its session.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf};
use tailwater::Transaction;

use super::{Broken, Connection};
use crate::commands::{self, Command, Kind};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::fail_points::Plan;
use crate::needs;
use crate::reply;
use crate::request::{Numbered, Request, SessionId};
use crate::secondary;
use crate::session::Session;
use crate::topology;

impl Connection<'_> {
    /// Runs a command; the answer is complete.
    pub(super) fn answer(&mut self, request: &Request<'_>) -> Result<RawDocumentBuf, Broken> {
        self.server.commands_run.fetch_add(1, Ordering::Relaxed);
        let plan = self.planned_failure(request);
        if plan.closes_before {
            return Err(Broken::FailPoint);
        }
        let result = match plan.error {
            Some(error) => Err(error),
            None => self.run_command(request),
        };
        if plan.closes_behind {
            return Err(Broken::FailPoint);
        }
        Ok(match result {
            Ok(mut document) => {
                if let Some(error) = plan.write_concern_error {
                    // Instead of what was really in the way of the write concern, with its labels.
                    document = reply::without(&document, &["writeConcernError", "errorLabels"]);
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
            let version = self.server.topology.current(self.server.store.is_following());
            document.append(cstr!("topologyVersion"), version.to_document());
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
        let interrupts = running.interrupts(self.server, self.stream);
        // A `getMore` has the time to wait for something, not for what is evaluated on it; see what it fills its batch with.
        let deadline = request.deadline().filter(|_| command.name != "getMore");
        let _scope = interrupts.scope(deadline);
        let mut context = Context {
            server: self.server,
            peer: self.peer,
            request,
            interrupts,
            login: &mut self.login,
            transaction: None,
            needed,
            required: RefCell::default(),
        };
        secondary::check(command, request, self.server)?;
        context.catch_up()?;
        let answer = run(command, &mut context)?;
        Ok(context.settle_writes(command, answer))
    }
}

/// Runs a command within its session, if it has one.
fn run(command: &Command, context: &mut Context<'_>) -> CommandResult {
    let (server, request) = (context.server, context.request);
    // Whoever has not logged in leaves nothing behind.
    let session = request
        .session
        .filter(|_| server.authority.is_known(&context.login.identity));
    match (session, request.numbered) {
        (Some(id), Some(numbered)) => {
            let entry = server.sessions.get(id)?;
            let result = run_numbered(command, context, &mut entry.lock(), numbered, id);
            server.sessions.leave(id, entry);
            result
        }
        (session, _) => {
            if let Some(id) = session {
                server.sessions.touch(id)?;
            }
            match command.kind {
                Kind::EndsTransaction => Err(CommandError::new(
                    code::INVALID_OPTIONS,
                    format!("{} needs a session and a transaction number", request.name),
                )),
                _ => (command.run)(context),
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
                "commitTransaction" => session.commit(number, &server.store, request.acknowledged.durability),
                _ => session.abort(number),
            };
            session.recount();
            server.cursors.kill_transactions(id);
            ended.map_err(CommandError::of_retryable)?;
            Ok(answer)
        }
        (Numbered::Transaction { number, first }, Kind::InTransaction | Kind::Retryable) => {
            if first {
                server.cursors.kill_transactions(id);
            }
            let mut result = run_in_transaction(command, context, session.transaction(number, first, &server.store)?);
            session.recount();
            if server
                .sessions
                .is_over(server.options.transaction_memory_max, request.user)
            {
                result = result.and(Err(no_room()));
            }
            // A write that was refused ends it as well.
            let refused = |answer: &RawDocumentBuf| {
                answer.get_array("writeErrors").is_ok() || answer.get_i32("nErrors").is_ok_and(|errors| errors > 0)
            };
            if result.as_ref().map_or(true, refused) {
                session.give_up(number);
                session.recount();
                server.cursors.kill_transactions(id);
            }
            result
        }
        (Numbered::Retryable(_), _) => Err(CommandError::new(
            (50768, "NotARetryableWriteCommand"),
            format!("txnNumber is not allowed for {} outside of a transaction", request.name),
        )),
        (Numbered::Transaction { .. }, Kind::Alone) => Err(CommandError::new(
            code::NOT_IN_TRANSACTION,
            format!("Cannot run '{}' in a multi-document transaction.", request.name),
        )),
    }
}

/// There is no room for what a transaction has staged.
fn no_room() -> CommandError {
    CommandError::new(
        (388, "TransactionTooLargeForCache"),
        "open transactions have staged too much together, or those of this user: commit or abort some, or write less in one",
    )
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
