//! `saslStart`, `saslContinue` and `logout`: a connection becomes somebody's, and nobody's again.

use bson::RawDocumentBuf;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const SASL_START: Command = Command {
    name: "saslStart",
    aliases: &[],
    help: "Begins to log in",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: start,
};

pub(super) const SASL_CONTINUE: Command = Command {
    name: "saslContinue",
    aliases: &[],
    help: "Goes on logging in",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: go_on,
};

pub(super) const LOGOUT: Command = Command {
    name: "logout",
    aliases: &[],
    help: "Makes the connection nobody's again",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: |context| {
        context.login.log_out(context.peer);
        Ok(RawDocumentBuf::new())
    },
};

fn start(context: &mut Context<'_>) -> CommandResult {
    let (request, server) = (context.request, context.server);
    context
        .login
        .start(&server.authority, context.peer, request.database, request.body)
}

fn go_on(context: &mut Context<'_>) -> CommandResult {
    context.login.go_on(&context.server.authority, context.request.body)
}
