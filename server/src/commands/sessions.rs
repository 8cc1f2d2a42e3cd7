//! Commands about sessions themselves (driver specification: *Driver Sessions*).

use bson::{Binary, RawDocument, RawDocumentBuf, rawdoc};

use super::{Command, Kind};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::request::SessionId;

pub(super) const START_SESSION: Command = Command {
    name: "startSession",
    aliases: &[],
    help: "Names a new session",
    kind: Kind::Alone,
    run: start,
};

pub(super) const END_SESSIONS: Command = Command {
    name: "endSessions",
    aliases: &[],
    help: "Ends sessions, with their transactions and cursors",
    kind: Kind::Alone,
    run: end,
};

pub(super) const KILL_SESSIONS: Command = Command {
    name: "killSessions",
    aliases: &[],
    help: "As endSessions",
    kind: Kind::Alone,
    run: end,
};

pub(super) const REFRESH_SESSIONS: Command = Command {
    name: "refreshSessions",
    aliases: &[],
    help: "Keeps sessions from ending",
    kind: Kind::Alone,
    run: refresh,
};

pub(super) const LOGOUT: Command = Command {
    name: "logout",
    aliases: &[],
    help: "Does nothing: there are no users",
    kind: Kind::Alone,
    run: |_| Ok(RawDocumentBuf::new()),
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
        context.server.sessions.end(id);
        context.server.cursors.kill_session(id);
    }
    Ok(RawDocumentBuf::new())
}

fn refresh(context: &mut Context<'_>) -> CommandResult {
    for id in ids(context)? {
        drop(crate::session::lock(&context.server.sessions.get(id)));
    }
    Ok(RawDocumentBuf::new())
}

/// The sessions that the command names.
fn ids(context: &Context<'_>) -> CommandResult<Vec<SessionId>> {
    let id = |session: &RawDocument| {
        let id = session.get_binary("id").ok();
        let id = id.and_then(|id| SessionId::try_from(id.bytes).ok());
        id.ok_or_else(|| CommandError::new(code::BAD_VALUE, "a session's id must be a UUID"))
    };
    context.request.subject()?.documents()?.into_iter().map(id).collect()
}
