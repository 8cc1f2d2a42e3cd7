//! `commitTransaction` and `abortTransaction`. What they do is the session's affair; here are only their fields.

use bson::RawDocumentBuf;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const COMMIT: Command = Command {
    name: "commitTransaction",
    aliases: &[],
    help: "Commits the session's transaction",
    kind: Kind::EndsTransaction,
    runs: Runs::Primary,
    needs: Needs::Login,
    run: ended,
};

pub(super) const ABORT: Command = Command {
    name: "abortTransaction",
    aliases: &[],
    help: "Aborts the session's transaction",
    kind: Kind::EndsTransaction,
    runs: Runs::Primary,
    needs: Needs::Login,
    run: ended,
};

fn ended(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            // Of use where there are shards.
            "recoveryToken" => {}
            _ => return Err(field.unknown()),
        }
    }
    Ok(RawDocumentBuf::new())
}
