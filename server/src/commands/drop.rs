//! `drop` and `dropDatabase`.

use bson::{RawDocumentBuf, rawdoc};
use tailwater::Error;
use tailwater_auth::Action;

use super::bulk::number;
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const DROP: Command = Command {
    name: "drop",
    aliases: &[],
    help: "Drops a collection with its documents and indexes",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::DropCollection]),
    run: drop_collection,
};

pub(super) const DROP_DATABASE: Command = Command {
    name: "dropDatabase",
    aliases: &[],
    help: "Drops all collections of a database",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Database(&[Action::DropDatabase]),
    run: drop_database,
};

fn drop_collection(context: &mut Context<'_>) -> CommandResult {
    if let Some(field) = context.request.arguments().next() {
        return Err(field.unknown());
    }
    let collection = context.collection()?;
    let indexes = match collection.list_indexes() {
        Ok(indexes) => indexes.len(),
        // One that is not there is dropped already.
        Err(Error::NoSuchCollection { .. }) => return Ok(RawDocumentBuf::new()),
        Err(error) => return Err(error.into()),
    };
    match context
        .server
        .store
        .drop_collection(context.request.database, collection.name())
    {
        Ok(_) => Ok(rawdoc! { "nIndexesWas": number(indexes as u64), "ns": context.namespace()? }),
        Err(Error::NoSuchCollection { .. }) => Ok(RawDocumentBuf::new()),
        Err(error) => Err(error.into()),
    }
}

fn drop_database(context: &mut Context<'_>) -> CommandResult {
    if let Some(field) = context.request.arguments().next() {
        return Err(field.unknown());
    }
    let database = context.request.database;
    Ok(match context.server.store.drop_database(database)? {
        Some(_) => rawdoc! { "dropped": database },
        None => RawDocumentBuf::new(),
    })
}
