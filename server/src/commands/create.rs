//! `create`.

use bson::RawDocumentBuf;
use bson::raw::CString;
use tailwater::CollectionOptions;
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;
use crate::oplog_view;

pub(super) const CREATE: Command = Command {
    name: "create",
    aliases: &[],
    help: "Creates a collection",
    kind: Kind::InTransaction,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::CreateCollection]),
    run: create,
};

fn create(context: &mut Context<'_>) -> CommandResult {
    let mut options = RawDocumentBuf::new();
    for field in context.request.arguments() {
        match field.name {
            // What an `_id` index always is.
            "idIndex" | "autoIndexId" => {}
            "storageEngine"
            | "indexOptionDefaults"
            | "viewOn"
            | "timeseries"
            | "clusteredIndex"
            | "encryptedFields"
            | "pipeline"
            | "expireAfterSeconds" => field.unsupported(false)?,
            name => {
                let name = CString::try_from(name).map_err(|_| field.unknown())?;
                options.append(name, field.value);
            }
        }
    }
    let options = CollectionOptions::parse(&options)?;
    let (database, name) = (context.request.database, context.request.collection()?);
    oplog_view::refuse(database, name)?;
    match context.transaction {
        Some(transaction) => transaction.create_collection_with(database, name, &options)?,
        None => drop(context.server.store.create_collection_with(database, name, &options)?),
    }
    Ok(RawDocumentBuf::new())
}
