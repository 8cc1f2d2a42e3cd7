//! `listDatabases`.

use bson::{RawArrayBuf, rawdoc};
use tailwater::INTERNAL_DATABASE;
use tailwater::matcher::Expression;
use tailwater_auth::{Action, Resource};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::value::empty;

pub(super) const LIST_DATABASES: Command = Command {
    name: "listDatabases",
    aliases: &[],
    help: "The databases that have collections",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Login,
    run: list,
};

fn list(context: &mut Context<'_>) -> CommandResult {
    let (mut filter, mut names_only, mut only_own) = (empty(), false, false);
    for field in context.request.arguments() {
        match field.name {
            "filter" => filter = field.document()?,
            "nameOnly" => names_only = field.boolean()?,
            "authorizedDatabases" => only_own = field.boolean()?,
            _ => return Err(field.unknown()),
        }
    }
    if context.request.database != "admin" {
        return Err(CommandError::new(
            code::UNAUTHORIZED,
            "listDatabases may only be run against the admin database.",
        ));
    }
    let filter = Expression::parse(filter).map_err(tailwater::Error::from)?;
    let store = &context.server.store;
    // Who may not list all of them sees those that it has a part in (MongoDB manual: *listDatabases*, authorizedDatabases).
    let may_all = !only_own && context.may(Action::ListDatabases, Resource::Cluster);
    let (mut databases, mut total) = (RawArrayBuf::new(), 0_i64);
    for name in store.database_names() {
        if name == INTERNAL_DATABASE || !(may_all || has_part_in(context, &name)) {
            continue;
        }
        let bytes = super::stats::database(store, &name)?.data_bytes;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let described = rawdoc! { "name": name.as_str(), "sizeOnDisk": bytes, "empty": bytes == 0 };
        if !filter.matches(&*described).map_err(tailwater::Error::from)? {
            continue;
        }
        total = total.saturating_add(bytes);
        match names_only {
            true => databases.push(rawdoc! { "name": name }),
            false => databases.push(described),
        }
    }
    Ok(match names_only {
        true => rawdoc! { "databases": databases },
        false => rawdoc! { "databases": databases, "totalSize": total, "totalSizeMb": total >> 20 },
    })
}

/// Whether the client may read the database or one of its collections.
fn has_part_in(context: &Context<'_>, database: &str) -> bool {
    let may_find = |collection: &str| context.may(Action::Find, Resource::Collection { database, collection });
    context.may(Action::Find, Resource::Database(database))
        || context
            .server
            .store
            .collection_names(database)
            .iter()
            .any(|collection| may_find(collection))
}
