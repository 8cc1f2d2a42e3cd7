//! `configureFailPoint`, which only a server that was started for tests has.

use bson::rawdoc;

use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::request::missing;

pub(super) const CONFIGURE_FAIL_POINT: Command = Command {
    name: "configureFailPoint",
    aliases: &[],
    help: "Has commands fail, for tests",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    // It is there only on a server that was started for tests, and locks others out there.
    needs: Needs::Cluster(&[Action::ConfigureFailPoint]),
    run: configure,
};

fn configure(context: &mut Context<'_>) -> CommandResult {
    let Some(points) = &context.server.fail_points else {
        let message = "no such command: 'configureFailPoint': the server was not started with --test-commands";
        return Err(CommandError::new(code::COMMAND_NOT_FOUND, message));
    };
    if context.request.database != "admin" {
        let message = "configureFailPoint may only be run against the admin database.";
        return Err(CommandError::new((13, "Unauthorized"), message));
    }
    let (mut mode, mut data) = (None, None);
    for field in context.request.arguments() {
        match field.name {
            "mode" => mode = Some(field),
            "data" => data = Some(field),
            _ => return Err(field.unknown()),
        }
    }
    let mode = mode.ok_or_else(|| missing("configureFailPoint", "mode"))?;
    let fired = points.configure(context.request.subject()?.string()?, mode, data)?;
    Ok(rawdoc! { "count": fired })
}
