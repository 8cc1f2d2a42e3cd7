//! `renameCollection`, which names both collections in full.

use bson::RawDocumentBuf;

use tailwater_auth::Action;

use super::{Command, Kind, Needs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::{self, Need};
use crate::request::{Request, missing};

pub(super) const RENAME_COLLECTION: Command = Command {
    name: "renameCollection",
    aliases: &[],
    help: "Gives a collection another name",
    kind: Kind::Alone,
    needs: Needs::Fields(needs),
    run: rename,
};

/// Within a database, to rename; into another, what moving takes. A target that is dropped is one.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let to = request.arguments().find(|field| field.name == "to");
    let to = to.ok_or_else(|| missing("renameCollection", "to"))?.string()?;
    let (from, to) = (request.collection()?, to);
    let drops = request.arguments().find(|field| field.name == "dropTarget");
    let (source, target) = (needs::namespace(from)?, needs::namespace(to)?);
    let mut needs = match namespace(from)?.0 == namespace(to)?.0 {
        true => vec![
            (Action::RenameCollectionSameDb, source),
            (Action::RenameCollectionSameDb, target),
        ],
        false => vec![
            (Action::Find, source),
            (Action::DropCollection, source),
            (Action::CreateCollection, target),
            (Action::Insert, target),
            (Action::CreateIndex, target),
        ],
    };
    if needs::is_true(drops.map(|field| field.value)) {
        needs.push((Action::DropCollection, target));
    }
    Ok(needs)
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
    let from = namespace(context.request.collection()?)?;
    let to = namespace(to.ok_or_else(|| missing("renameCollection", "to"))?)?;
    context.server.store.rename_collection(from, to, drop_target)?;
    Ok(RawDocumentBuf::new())
}

fn namespace(name: &str) -> CommandResult<(&str, &str)> {
    name.split_once('.')
        .ok_or_else(|| CommandError::new(code::INVALID_NAMESPACE, format!("Invalid namespace specified '{name}'")))
}
