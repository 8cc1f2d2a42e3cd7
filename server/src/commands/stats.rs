//! `collStats` and `dbStats`.

use bson::{RawDocumentBuf, rawdoc};
use tailwater::{Collection, CollectionSize, Error, Store};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs, oplog_commands};
use crate::context::Context;
use crate::error::CommandResult;
use crate::oplog_view;

pub(super) const COLL_STATS: Command = Command {
    name: "collStats",
    aliases: &["collstats"],
    help: "How large a collection is",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::CollStats]),
    run: of_collection,
};

pub(super) const DB_STATS: Command = Command {
    name: "dbStats",
    aliases: &["dbstats"],
    help: "How large a database is",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Database(&[Action::DbStats]),
    run: of_database,
};

/// How large a database is.
#[derive(Default)]
pub(super) struct DatabaseSize {
    collections: u64,
    documents: u64,
    pub(super) data_bytes: u64,
    indexes: u64,
}

/// What `scale` divides sizes by.
fn scale(context: &Context<'_>) -> CommandResult<u64> {
    let mut scale = 1;
    for field in context.request.arguments() {
        match field.name {
            "scale" => scale = field.count()?.max(1),
            "freeStorage" => {}
            _ => return Err(field.unknown()),
        }
    }
    Ok(scale)
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn of_collection(context: &mut Context<'_>) -> CommandResult {
    let scale = scale(context)?;
    let mut answer = rawdoc! { "ns": context.namespace()? };
    let sizes = match (context.request.database, context.request.collection()?) {
        oplog_view::NAMESPACE => oplog_commands::sizes(context, scale),
        _ => collection(&context.collection()?, scale)?,
    };
    for field in &sizes {
        let Ok((name, value)) = field else { break };
        answer.append(name, value);
    }
    Ok(answer)
}

/// How large a collection is, with sizes divided by `scale`.
pub(super) fn collection(collection: &Collection, scale: u64) -> CommandResult {
    let CollectionSize { documents, data_bytes } = collection.size()?;
    let indexes = match collection.list_indexes() {
        Ok(indexes) => indexes.len() as u64,
        Err(Error::NoSuchCollection { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(rawdoc! {
        "count": number(documents),
        "size": number(data_bytes / scale),
        "avgObjSize": number(data_bytes.checked_div(documents).unwrap_or(0)),
        "storageSize": number(data_bytes / scale),
        "nindexes": number(indexes),
        "totalIndexSize": 0_i64,
        "indexSizes": {},
        "scaleFactor": number(scale),
    })
}

pub(super) fn database(store: &Store, name: &str) -> CommandResult<DatabaseSize> {
    let mut sum = DatabaseSize::default();
    for collection in store.collection_names(name) {
        let collection = store.collection(name, &collection)?;
        let size = collection.size()?;
        sum.collections += 1;
        sum.documents += size.documents;
        sum.data_bytes += size.data_bytes;
        // One that was dropped meanwhile has none.
        sum.indexes += collection.list_indexes().map_or(0, |indexes| indexes.len() as u64);
    }
    Ok(sum)
}

fn of_database(context: &mut Context<'_>) -> CommandResult<RawDocumentBuf> {
    let scale = scale(context)?;
    let name = context.request.database;
    let size = database(&context.server.store, name)?;
    let data = size.data_bytes as f64 / scale as f64;
    Ok(rawdoc! {
        "db": name,
        "collections": number(size.collections),
        "views": 0_i64,
        "objects": number(size.documents),
        "avgObjSize": size.data_bytes.checked_div(size.documents).unwrap_or(0) as f64,
        "dataSize": data,
        "storageSize": data,
        "indexes": number(size.indexes),
        "indexSize": 0.0,
        "totalSize": data,
        "scaleFactor": number(scale),
    })
}
