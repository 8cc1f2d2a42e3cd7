//! `count`.

use bson::rawdoc;
use tailwater::CountOptions;
use tailwater_auth::Action;

use super::bulk::number;
use super::{Command, Kind, Needs, Runs, oplog_commands};
use crate::context::Context;
use crate::error::CommandResult;
use crate::oplog_view;
use crate::value::empty;

pub(super) const COUNT: Command = Command {
    name: "count",
    aliases: &[],
    help: "How many documents match a filter",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::Find]),
    run: count,
};

fn count(context: &mut Context<'_>) -> CommandResult {
    let mut options = CountOptions::default();
    let mut query = empty();
    for field in context.request.arguments() {
        match field.name {
            "query" => query = field.document()?,
            "skip" => options.skip = field.count()?,
            // A negative limit is the same limit.
            "limit" => options.limit = Some(field.integer()?.unsigned_abs()),
            "hint" => options.hint = field.hint()?,
            "collation" => options.collation = field.filled()?,
            "fields" => {}
            _ => return Err(field.unknown()),
        }
    }
    let everything = query.is_empty() && options == CountOptions::default();
    let count = match (context.request.database, context.request.collection()?) {
        oplog_view::NAMESPACE if everything => oplog_commands::entries(context),
        oplog_view::NAMESPACE => oplog_commands::count(context, query, &options)?,
        _ if everything => context.collection()?.estimated_count()?,
        _ => {
            options.control = context.control();
            context.collection()?.count_with(query, &options)?
        }
    };
    context.settle_reads()?;
    Ok(rawdoc! { "n": number(count) })
}
