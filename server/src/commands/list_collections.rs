//! `listCollections`.

use bson::raw::cstr;
use bson::{Binary, RawDocumentBuf, rawdoc};
use tailwater::CollectionSpecification;
use tailwater::matcher::Expression;
use tailwater_auth::{Action, Resource};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::cursor::{Cursor, Fill};
use crate::error::CommandResult;
use crate::needs::{self, Need};
use crate::oplog_view;
use crate::reply;
use crate::request::Request;
use crate::value::empty;

pub(super) const LIST_COLLECTIONS: Command = Command {
    name: "listCollections",
    aliases: &[],
    help: "The collections of a database",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Fields(needs),
    run: list,
};

/// To list them; or, where only names are asked for and only of those that the client may use, nothing.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let says = |name: &str| {
        let field = request.arguments().find(|field| field.name == name);
        needs::is_true(field.map(|field| field.value))
    };
    Ok(match says("nameOnly") && says("authorizedCollections") {
        true => Vec::new(),
        false => vec![(Action::ListCollections, Resource::Database(request.database))],
    })
}

fn list(context: &mut Context<'_>) -> CommandResult {
    let (mut filter, mut names_only) = (empty(), false);
    for field in context.request.arguments() {
        match field.name {
            "filter" => filter = field.document()?,
            "nameOnly" => names_only = field.boolean()?,
            // All of them come at once.
            "cursor" => drop(field.document()?),
            // Who may list them all is shown all.
            "authorizedCollections" => drop(field.boolean()?),
            _ => return Err(field.unknown()),
        }
    }
    let filter = Expression::parse(filter).map_err(tailwater::Error::from)?;
    let database = context.request.database;
    let may_all = context.may(Action::ListCollections, Resource::Database(database));
    let mut found = Vec::new();
    for collection in context.server.store.list_collections(database) {
        let resource = Resource::Collection {
            database,
            collection: &collection.name,
        };
        if !may_all && !context.may(Action::Find, resource) {
            continue;
        }
        let description = describe(&collection);
        if filter.matches(&*description).map_err(tailwater::Error::from)? {
            found.push(match names_only {
                true => rawdoc! { "name": collection.name, "type": "collection" },
                false => description,
            });
        }
    }
    let (local, log) = oplog_view::NAMESPACE;
    let resource = Resource::Collection {
        database,
        collection: log,
    };
    if database == local && context.may(Action::Find, resource) {
        let description = rawdoc! {
            "name": log, "type": "collection", "options": { "capped": true }, "info": { "readOnly": true },
        };
        if filter.matches(&*description).map_err(tailwater::Error::from)? {
            found.push(match names_only {
                true => rawdoc! { "name": log, "type": "collection" },
                false => description,
            });
        }
    }
    let mut cursor = Cursor::of_list(found);
    let batch = cursor.fill(Fill {
        count_max: None,
        time: None,
        deadline: None,
        awaits: false,
        interrupts: &context.interrupts,
    })?;
    let namespace = format!("{database}.$cmd.listCollections");
    let id = context.keep(cursor, &namespace, false)?;
    Ok(reply::cursor(cstr!("firstBatch"), batch, id, &namespace, None))
}

fn describe(collection: &CollectionSpecification) -> RawDocumentBuf {
    let mut on_id = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
    if let Some(collation) = collection.options.collation() {
        on_id.append(cstr!("collation"), collation);
    }
    rawdoc! {
        "name": collection.name.as_str(),
        "type": "collection",
        "options": collection.options.to_document(),
        "info": { "readOnly": false, "uuid": Binary::from_uuid(collection.uuid) },
        "idIndex": on_id,
    }
}
