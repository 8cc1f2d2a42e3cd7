//! `count`.

use bson::rawdoc;
use tailwater::CountOptions;
use tailwater_auth::Action;

use super::bulk::number;
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;
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
    let collection = context.collection()?;
    let count = match everything {
        true => collection.estimated_count()?,
        false => collection.count_with(query, &options)?,
    };
    context.settle_reads()?;
    Ok(rawdoc! { "n": number(count) })
}
