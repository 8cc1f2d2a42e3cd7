//! `renameCollection`, which names both collections in full.

use bson::RawDocumentBuf;

use super::{Command, Kind};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::request::missing;

pub(super) const RENAME_COLLECTION: Command = Command {
    name: "renameCollection",
    aliases: &[],
    help: "Gives a collection another name",
    kind: Kind::Alone,
    run: rename,
};

fn rename(context: &mut Context<'_>) -> CommandResult {
    let (mut to, mut drop_target) = (None, false);
    for field in context.request.arguments() {
        match field.name {
            "to" => to = Some(field.string()?),
            "dropTarget" => drop_target = field.boolean()?,
            _ => return Err(field.unknown()),
        }
    }
    if context.request.database != "admin" {
        return Err(CommandError::new(
            (13, "Unauthorized"),
            "renameCollection may only be run against the admin database.",
        ));
    }
    let from = namespace(context.request.collection()?)?;
    let to = namespace(to.ok_or_else(|| missing("renameCollection", "to"))?)?;
    context.server.store.rename_collection(from, to, drop_target)?;
    Ok(RawDocumentBuf::new())
}

fn namespace(name: &str) -> CommandResult<(&str, &str)> {
    name.split_once('.')
        .ok_or_else(|| CommandError::new(code::INVALID_NAMESPACE, format!("Invalid namespace specified '{name}'")))
}
