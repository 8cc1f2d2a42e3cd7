//! `listDatabases`.

use bson::{RawArrayBuf, rawdoc};
use tailwater::matcher::Expression;

use super::{Command, Kind};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::value::empty;

pub(super) const LIST_DATABASES: Command = Command {
    name: "listDatabases",
    aliases: &[],
    help: "The databases that have collections",
    kind: Kind::Alone,
    run: list,
};

fn list(context: &mut Context<'_>) -> CommandResult {
    let (mut filter, mut names_only) = (empty(), false);
    for field in context.request.arguments() {
        match field.name {
            "filter" => filter = field.document()?,
            "nameOnly" => names_only = field.boolean()?,
            "authorizedDatabases" => {}
            _ => return Err(field.unknown()),
        }
    }
    if context.request.database != "admin" {
        return Err(CommandError::new(
            (13, "Unauthorized"),
            "listDatabases may only be run against the admin database.",
        ));
    }
    let filter = Expression::parse(filter).map_err(tailwater::Error::from)?;
    let store = &context.server.store;
    let (mut databases, mut total) = (RawArrayBuf::new(), 0_i64);
    for name in store.database_names() {
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
