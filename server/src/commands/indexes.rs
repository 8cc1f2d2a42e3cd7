//! `createIndexes`, `listIndexes` and `dropIndexes`.

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::Collection;
use tailwater::matcher::compare;
use tailwater_auth::Action;

use super::bulk::number;
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::cursor::{Cursor, Fill};
use crate::error::{CommandError, CommandResult, code};
use crate::oplog_view;
use crate::reply;
use crate::request::missing;
use crate::value::Value;

pub(super) const CREATE_INDEXES: Command = Command {
    name: "createIndexes",
    aliases: &[],
    help: "Creates indexes",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::CreateIndex]),
    run: create,
};

pub(super) const LIST_INDEXES: Command = Command {
    name: "listIndexes",
    aliases: &[],
    help: "The indexes of a collection",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::ListIndexes]),
    run: list,
};

pub(super) const DROP_INDEXES: Command = Command {
    name: "dropIndexes",
    aliases: &["deleteIndexes"],
    help: "Drops indexes",
    kind: Kind::Alone,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::DropIndex]),
    run: drop_indexes,
};

fn create(context: &mut Context<'_>) -> CommandResult {
    let mut definitions = None;
    for field in context.request.arguments() {
        match field.name {
            "indexes" => definitions = Some(field.documents()?),
            // How many members must have built it: the one there is.
            "commitQuorum" => {}
            _ => return Err(field.unknown()),
        }
    }
    let definitions = definitions.ok_or_else(|| missing("createIndexes", "indexes"))?;
    let collection = context.collection()?;
    let before = present(&collection)?;
    collection.create_indexes(&definitions)?;
    let after = present(&collection)?.map_or(0, |indexes| indexes.len());
    Ok(rawdoc! {
        "numIndexesBefore": number(before.as_ref().map_or(1, Vec::len) as u64),
        "numIndexesAfter": number(after as u64),
        "createdCollectionAutomatically": before.is_none(),
    })
}

/// The collection's indexes; nothing when there is no such collection.
fn present(collection: &Collection) -> CommandResult<Option<Vec<RawDocumentBuf>>> {
    match collection.list_indexes() {
        Ok(indexes) => Ok(Some(indexes)),
        Err(tailwater::Error::NoSuchCollection { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn list(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            // All of them come at once: there are never many.
            "cursor" => drop(field.document()?),
            _ => return Err(field.unknown()),
        }
    }
    let indexes = match (context.request.database, context.request.collection()?) {
        // It is read in its order alone.
        oplog_view::NAMESPACE => Vec::new(),
        _ => context.collection()?.list_indexes()?,
    };
    let mut cursor = Cursor::of_list(indexes);
    let batch = cursor.fill(Fill {
        count_max: None,
        time: None,
        deadline: None,
        awaits: false,
        interrupts: &context.interrupts,
    })?;
    Ok(reply::cursor(
        cstr!("firstBatch"),
        batch,
        0,
        &context.namespace()?,
        None,
    ))
}

fn drop_indexes(context: &mut Context<'_>) -> CommandResult {
    let mut which = None;
    for field in context.request.arguments() {
        match field.name {
            "index" => which = Some(field),
            _ => return Err(field.unknown()),
        }
    }
    let which = which.ok_or_else(|| missing("dropIndexes", "index"))?;
    let collection = context.collection()?;
    let indexes = collection.list_indexes()?;
    for name in names(which, &indexes)? {
        collection.drop_index(&name)?;
    }
    Ok(rawdoc! { "nIndexesWas": number(indexes.len() as u64) })
}

/// Names of the indexes that are meant: by name, by key, several by name, or all but the one on `_id` (`*`).
fn names(which: Value<'_>, indexes: &[RawDocumentBuf]) -> CommandResult<Vec<String>> {
    let all = || {
        let names = indexes.iter().filter_map(|index| index.get_str("name").ok());
        names.filter(|name| *name != "_id_").map(str::to_owned).collect()
    };
    match which.value {
        RawBsonRef::String("*") => Ok(all()),
        RawBsonRef::String(name) => Ok(vec![name.to_owned()]),
        RawBsonRef::Document(key) => Ok(vec![name_by_key(key, indexes)?]),
        RawBsonRef::Array(names) => names
            .into_iter()
            .map(|name| match name {
                Ok(RawBsonRef::String(name)) => Ok(name.to_owned()),
                _ => Err(CommandError::new(
                    code::TYPE_MISMATCH,
                    "dropIndexes.index must name indexes",
                )),
            })
            .collect(),
        _ => Err(CommandError::new(
            code::TYPE_MISMATCH,
            "dropIndexes.index must be a name, a key or an array of names",
        )),
    }
}

/// The name of the one index with this key. A constraint must not go because another index of the same key was meant.
fn name_by_key(key: &RawDocument, indexes: &[RawDocumentBuf]) -> CommandResult<String> {
    // Numbers by their values: drivers differ in their types.
    let is_key = |own: &RawDocument| compare(RawBsonRef::Document(own), RawBsonRef::Document(key)).is_eq();
    let with_key = indexes
        .iter()
        .filter(|index| index.get_document("key").is_ok_and(is_key));
    let found: Vec<&str> = with_key.filter_map(|index| index.get_str("name").ok()).collect();
    match *found {
        [name] => Ok(name.to_owned()),
        [] => Err(CommandError::new(
            (27, "IndexNotFound"),
            format!("can't find index with key: {key:?}"),
        )),
        _ => Err(CommandError::new(
            (181, "AmbiguousIndexKeyPattern"),
            format!("several indexes have the key {key:?}: drop by name one of {found:?}"),
        )),
    }
}
