//! Commands about sessions themselves (driver specification: *Driver Sessions*).

use bson::{Binary, RawDocumentBuf, rawdoc};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;
use crate::request::{SessionId, session_id};

pub(super) const START_SESSION: Command = Command {
    name: "startSession",
    aliases: &[],
    help: "Names a new session",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: start,
};

pub(super) const END_SESSIONS: Command = Command {
    name: "endSessions",
    aliases: &[],
    help: "Ends sessions, with their transactions and cursors",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: end,
};

pub(super) const KILL_SESSIONS: Command = Command {
    name: "killSessions",
    aliases: &[],
    help: "Ends sessions, with their transactions, their cursors, and what is running in them, as killOp does",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: kill,
};

pub(super) const REFRESH_SESSIONS: Command = Command {
    name: "refreshSessions",
    aliases: &[],
    help: "Keeps sessions from ending",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: refresh,
};

fn start(context: &mut Context<'_>) -> CommandResult {
    let minutes = context.server.options.session_timeout.as_secs() / 60;
    Ok(rawdoc! {
        "id": { "id": Binary::from_uuid(bson::Uuid::new()) },
        "timeoutMinutes": i32::try_from(minutes).unwrap_or(i32::MAX),
    })
}

fn end(context: &mut Context<'_>) -> CommandResult {
    for id in ids(context)? {
        context.server.end_session(id);
    }
    Ok(RawDocumentBuf::new())
}

/// Unlike `endSessions`, by which a client says that it is done, this interrupts what goes on (MongoDB manual: *killSessions*). Without
/// names it is about all sessions of who asks.
fn kill(context: &mut Context<'_>) -> CommandResult {
    let mut ids = ids(context)?;
    if ids.is_empty() {
        ids = context.server.sessions.of(context.request.user);
        // A session's first command is carried out before the session is kept.
        ids.extend(context.server.operations.sessions_of(context.request.user));
    }
    for id in ids {
        context.interrupts.kill_session(id);
        context.server.end_session(id);
    }
    Ok(RawDocumentBuf::new())
}

fn refresh(context: &mut Context<'_>) -> CommandResult {
    for id in ids(context)? {
        context.server.sessions.touch(id)?;
    }
    Ok(RawDocumentBuf::new())
}

/// The sessions that the command names.
fn ids(context: &Context<'_>) -> CommandResult<Vec<SessionId>> {
    context.request.no_arguments()?;
    let sessions = context.request.subject()?.documents()?;
    let user = context.request.user;
    sessions.into_iter().map(|session| session_id(session, user)).collect()
}
