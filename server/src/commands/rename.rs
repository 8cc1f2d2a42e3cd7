//! `renameCollection`, which names both collections in full.

use bson::RawDocumentBuf;

use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs;
use crate::oplog_view;
use crate::request::missing;

pub(super) const RENAME_COLLECTION: Command = Command {
    name: "renameCollection",
    aliases: &[],
    help: "Gives a collection another name",
    kind: Kind::Alone,
    runs: Runs::Primary,
    // And what it needs of the two collections, as soon as they are known.
    needs: Needs::Login,
    run: rename,
};

/// Refuses whoever may neither rename nor move: what gets another name must not become readable by that (MongoDB manual: *Privilege
/// Actions*, `renameCollectionSameDB`).
fn check(context: &Context<'_>, from: &str, to: &str, drop_target: bool) -> CommandResult<()> {
    let (source, target) = (needs::namespace(from)?, needs::namespace(to)?);
    let renames = namespace(from)?.0 == namespace(to)?.0
        && [source, target]
            .iter()
            .all(|&resource| context.may(Action::RenameCollectionSameDb, resource))
        && (context.may(Action::Find, source) || !context.may(Action::Find, target));
    if !renames {
        for (action, resource) in [
            (Action::Find, source),
            (Action::DropCollection, source),
            (Action::CreateCollection, target),
            (Action::Insert, target),
            (Action::CreateIndex, target),
        ] {
            context.require(action, resource)?;
        }
    }
    match drop_target {
        true => context.require(Action::DropCollection, target),
        false => Ok(()),
    }
}

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
            code::UNAUTHORIZED,
            "renameCollection may only be run against the admin database.",
        ));
    }
    let from = context.request.collection()?;
    let to = to.ok_or_else(|| missing("renameCollection", "to"))?;
    check(context, from, to, drop_target)?;
    let (from, to) = (namespace(from)?, namespace(to)?);
    for (database, collection) in [from, to] {
        oplog_view::refuse(database, collection)?;
    }
    context.server.store.rename_collection(from, to, drop_target)?;
    Ok(RawDocumentBuf::new())
}

fn namespace(name: &str) -> CommandResult<(&str, &str)> {
    name.split_once('.')
        .ok_or_else(|| CommandError::new(code::INVALID_NAMESPACE, format!("Invalid namespace specified '{name}'")))
}
