//! `collMod`.

use bson::RawDocumentBuf;
use bson::raw::CString;
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const COLL_MOD: Command = Command {
    name: "collMod",
    aliases: &[],
    help: "Changes options of a collection or of one of its indexes",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::CollMod]),
    run: coll_mod,
};

fn coll_mod(context: &mut Context<'_>) -> CommandResult {
    let mut changes = RawDocumentBuf::new();
    for field in context.request.arguments() {
        let name = CString::try_from(field.name).map_err(|_| field.unknown())?;
        changes.append(name, field.value);
    }
    let collection = context.request.collection()?;
    context
        .server
        .store
        .modify_collection(context.request.database, collection, &changes)?;
    Ok(RawDocumentBuf::new())
}
