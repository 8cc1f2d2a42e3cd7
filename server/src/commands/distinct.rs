//! `distinct`.

use bson::{RawArrayBuf, rawdoc};
use tailwater::DistinctOptions;
use tailwater_auth::Action;

use super::update::raw;
use super::{Command, Kind, Needs, Runs, oplog_commands};
use crate::context::{Context, Target};
use crate::error::CommandResult;
use crate::oplog_view;
use crate::request::missing;
use crate::value::empty;

pub(super) const DISTINCT: Command = Command {
    name: "distinct",
    aliases: &[],
    help: "The different values of a field",
    kind: Kind::InTransaction,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::Find]),
    run: distinct,
};

fn distinct(context: &mut Context<'_>) -> CommandResult {
    let (mut key, mut query) = (None, empty());
    let mut options = DistinctOptions::default();
    for field in context.request.arguments() {
        match field.name {
            "key" => key = Some(field.string()?),
            "query" => query = field.document()?,
            "collation" => options.collation = field.filled()?,
            "hint" => options.hint = field.hint()?,
            _ => return Err(field.unknown()),
        }
    }
    let key = key.ok_or_else(|| missing("distinct", "key"))?;
    let found = match (context.request.database, context.request.collection()?) {
        oplog_view::NAMESPACE => oplog_commands::distinct(context, key, query, &options)?,
        _ => {
            options.control = context.control();
            match context.target()? {
                Target::Collection(collection) => collection.distinct_with(key, query, &options)?,
                Target::Transaction(collection) => collection.distinct_with(key, query, &options)?,
            }
        }
    };
    context.settle_reads()?;
    let mut values = RawArrayBuf::new();
    for value in found {
        values.push(raw(value)?);
    }
    Ok(rawdoc! { "values": values })
}
