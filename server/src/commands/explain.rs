//! `explain` of a `find`, `count`, `distinct`, `update`, `delete`, `findAndModify` or `aggregate`.

use std::time::Instant;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{ExplainOptions, Explanation};
use tailwater_auth::{Action, Resource};

use super::aggregate::{self, Asked};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::Need;
use crate::oplog_view;
use crate::request::{Request, missing};
use crate::value::{Value, empty, fields};

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

/// How much is told (MongoDB manual: *explain*, verbosity modes).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// Where is looked.
    QueryPlanner,
    /// And what that has found. There are no plans beside the winning one to tell more of.
    ExecutionStats,
}

impl Verbosity {
    fn parse(field: Value<'_>) -> CommandResult<Verbosity> {
        match field.string()? {
            "queryPlanner" => Ok(Verbosity::QueryPlanner),
            "executionStats" | "allPlansExecution" => Ok(Verbosity::ExecutionStats),
            other => {
                let message =
                    format!("Enumeration value '{other}' for field 'explain.verbosity' is not a valid value.");
                Err(CommandError::new(code::BAD_VALUE, message))
            }
        }
    }

    /// The answer with as much as is asked for: the query is run for that, or not.
    fn tell(self, explanation: Explanation) -> CommandResult<RawDocumentBuf> {
        let begun = Instant::now();
        let told = match self {
            Verbosity::QueryPlanner => return Ok(explanation.planned()),
            Verbosity::ExecutionStats => explanation.run()?,
        };
        let millis = i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let stage = told
            .get_document("queryPlanner")
            .and_then(|planner| planner.get_document("winningPlan"));
        let stage = stage.map(RawDocument::to_owned).unwrap_or_default();
        let mut answer = RawDocumentBuf::new();
        for field in &told {
            let (name, value) = field.map_err(|error| CommandError::new(code::INTERNAL_ERROR, error.to_string()))?;
            match (name.as_str(), value) {
                ("executionStats", RawBsonRef::Document(stats)) => {
                    let mut stats = stats.to_owned();
                    stats.append(cstr!("executionTimeMillis"), millis);
                    let mut stages = stage.clone();
                    if let Ok(returned) = stats.get("nReturned").map(|value| value.map(RawBson::from))
                        && let Some(returned) = returned
                    {
                        stages.append(cstr!("nReturned"), returned);
                    }
                    stats.append(cstr!("executionStages"), stages);
                    answer.append(name, stats);
                }
                (_, value) => answer.append(name, value),
            }
        }
        Ok(answer)
    }
}

fn explain(context: &mut Context<'_>) -> CommandResult {
    let mut verbosity = Verbosity::ExecutionStats;
    for field in context.request.arguments() {
        match field.name {
            "verbosity" => verbosity = Verbosity::parse(field)?,
            _ => return Err(field.unknown()),
        }
    }
    let command = context.request.subject()?.document()?;
    let (name, value) = command
        .iter()
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| CommandError::new(code::FAILED_TO_PARSE, "there is no command to explain"))?;
    let subject = Value {
        command: "explain",
        name: name.as_str(),
        value,
    };
    if name == "aggregate" {
        let pipeline = fields("aggregate", command)
            .filter_map(Result::ok)
            .find(|field| field.name == "pipeline");
        let pipeline = pipeline.ok_or_else(|| missing("aggregate", "pipeline"))?.documents()?;
        return of_pipeline(context, subject, &pipeline, &Asked::of(command)?, verbosity);
    }
    let RawBsonRef::String(collection) = value else {
        return Err(CommandError::not_implemented(format_args!("explain of {name}")));
    };
    let (filter, mut options) = question(name.as_str(), command)?;
    options.control = context.control();
    oplog_view::refuse(context.request.database, collection)?;
    let collection = context.server.store.collection(context.request.database, collection)?;
    verbosity.tell(collection.explanation(filter, &options)?)
}

/// What a pipeline finds its documents by, and the stages that are run on them. Nothing is written.
pub(super) fn of_pipeline(
    context: &Context<'_>,
    subject: Value<'_>,
    stages: &[&RawDocument],
    asked: &Asked<'_>,
    verbosity: Verbosity,
) -> CommandResult {
    let RawBsonRef::String(collection) = subject.value else {
        return Err(CommandError::not_implemented(
            "explain of a pipeline without a collection",
        ));
    };
    let pipeline = asked.parse(stages)?;
    aggregate::check_reach(context, &pipeline, false)?;
    oplog_view::refuse(context.request.database, collection)?;
    let collection = context.server.store.collection(context.request.database, collection)?;
    let options = asked.options_of(context);
    let (explanation, absorbed) = collection.explain_aggregate(&pipeline, options, asked.collation())?;
    let query = verbosity.tell(explanation)?;
    let behind = &stages[absorbed.min(stages.len())..];
    if behind.is_empty() {
        return Ok(query);
    }
    let mut cursor = RawDocumentBuf::new();
    for (name, value) in query.iter().flatten().filter(|(name, _)| *name != "explainVersion") {
        cursor.append(name, value);
    }
    let mut told = RawArrayBuf::new();
    told.push(rawdoc! { "$cursor": cursor });
    behind.iter().for_each(|stage| told.push(*stage));
    Ok(rawdoc! { "explainVersion": "1", "stages": told })
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
