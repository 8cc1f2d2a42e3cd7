//! `commitTransaction` and `abortTransaction`. What they do is the session's affair; here are only their fields.

use bson::RawDocumentBuf;

use super::{Command, Kind};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const COMMIT: Command = Command {
    name: "commitTransaction",
    aliases: &[],
    help: "Commits the session's transaction",
    kind: Kind::EndsTransaction,
    run: ended,
};

pub(super) const ABORT: Command = Command {
    name: "abortTransaction",
    aliases: &[],
    help: "Aborts the session's transaction",
    kind: Kind::EndsTransaction,
    run: ended,
};

fn ended(_: &mut Context<'_>) -> CommandResult {
    Ok(RawDocumentBuf::new())
}
