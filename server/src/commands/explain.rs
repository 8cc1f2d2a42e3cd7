//! `explain` of a `find`, `count`, `update`, `delete` or `findAndModify`.

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument};
use tailwater::ExplainOptions;
use tailwater_auth::{Action, Resource};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::Need;
use crate::request::Request;
use crate::value::{empty, fields};

pub(super) const EXPLAIN: Command = Command {
    name: "explain",
    aliases: &[],
    help: "How a query would be answered",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Fields(needs),
    run: explain,
};

/// What the command that is explained needs; one that cannot be explained is refused for that.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let command = request.subject()?.document()?;
    let Some(Ok((name, RawBsonRef::String(collection)))) = command.iter().next() else {
        return Ok(Vec::new());
    };
    let actions: &[Action] = match name.as_str() {
        "update" => &[Action::Find, Action::Update],
        "delete" => &[Action::Find, Action::Remove],
        "findAndModify" | "findandmodify" => &[Action::Find, Action::Update, Action::Remove],
        _ => &[Action::Find],
    };
    let resource = Resource::Collection {
        database: request.database,
        collection,
    };
    Ok(actions.iter().map(|&action| (action, resource)).collect())
}

fn explain(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            // What is told is always that of `queryPlanner`: nothing is run.
            "verbosity" => drop(field.string()?),
            _ => return Err(field.unknown()),
        }
    }
    let command = context.request.subject()?.document()?;
    let (name, subject) = command
        .iter()
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| CommandError::new(code::FAILED_TO_PARSE, "there is no command to explain"))?;
    let RawBsonRef::String(collection) = subject else {
        return Err(CommandError::not_implemented(format_args!("explain of {name}")));
    };
    let (filter, options) = question(name.as_str(), command)?;
    let collection = context.server.store.collection(context.request.database, collection)?;
    let mut answer = collection.explain(filter, &options)?;
    answer.append(cstr!("explainVersion"), "1");
    Ok(answer)
}

/// The filter and what else decides how it is answered.
fn question<'a>(name: &'a str, command: &'a RawDocument) -> CommandResult<(&'a RawDocument, ExplainOptions)> {
    let mut filter = empty();
    let mut options = ExplainOptions::default();
    let statement = match name {
        "find" | "count" | "distinct" | "findAndModify" | "findandmodify" => command,
        "update" | "delete" => {
            let statements = command.get_array(if name == "update" { "updates" } else { "deletes" });
            let first = statements.ok().and_then(|statements| statements.get_document(0).ok());
            first.ok_or_else(|| CommandError::new(code::FAILED_TO_PARSE, "there is no statement to explain"))?
        }
        other => return Err(CommandError::not_implemented(format_args!("explain of {other}"))),
    };
    for field in fields("explain", statement) {
        let field = field?;
        match field.name {
            "filter" | "query" | "q" => filter = field.document()?,
            "sort" => options.sort = field.filled()?,
            "hint" => options.hint = field.hint()?,
            "skip" => options.skip = field.count()?,
            "limit" if name != "delete" => options.limit = Some(field.count()?),
            "collation" => options.collation = field.filled()?,
            "let" | "min" | "max" => field.no_variables()?,
            // What else a command has does not change where it looks.
            _ => {}
        }
    }
    Ok((filter, options))
}
