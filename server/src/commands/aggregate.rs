//! `aggregate`: pipelines, and change streams, which are pipelines that begin with `$changeStream`.

mod change_stream;
mod coll_stats;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{AggregateOptions, Aggregation, Pipeline, QueryControl};
use tailwater_auth::{Action, Resource};

use super::explain::{self, Verbosity};
use super::{Command, Kind, Needs, Runs, current_op, oplog_commands};
use crate::context::{Context, Target};
use crate::cursor::{Cursor, FIRST_BATCH, Fill, Source};
use crate::error::{CommandError, CommandResult, code};
use crate::needs::{self, Need};
use crate::oplog_view;
use crate::reply;
use crate::request::{Request, missing};
use crate::value::{Value, empty, fields};

pub(super) const AGGREGATE: Command = Command {
    name: "aggregate",
    aliases: &[],
    help: "Runs a pipeline, or watches changes",
    kind: Kind::InTransaction,
    runs: Runs::OptIn,
    needs: Needs::Fields(needs),
    run: aggregate,
};

/// To read the collection, or what a first stage is about instead. What the stages behind it read and write is asked for when they
/// have been parsed.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let pipeline = request.arguments().find(|field| field.name == "pipeline");
    let stages = pipeline.map_or(Ok(Vec::new()), Value::documents)?;
    if let Some(options) = stage_options(&stages, change_stream::STAGE) {
        let watched = change_stream::watched(request, options?)?;
        return Ok(vec![(Action::Find, watched), (Action::ChangeStream, watched)]);
    }
    let action = match stage_options(&stages, coll_stats::STAGE) {
        Some(_) => Action::CollStats,
        None => Action::Find,
    };
    match request.subject()?.value {
        RawBsonRef::String(_) => Ok(vec![(action, needs::collection(request)?)]),
        // It makes its documents itself.
        _ => Ok(Vec::new()),
    }
}

/// Whether the last stage writes what the pipeline finds.
pub(super) fn writes(request: &Request<'_>) -> bool {
    let last = request
        .body
        .get_array("pipeline")
        .ok()
        .and_then(|stages| stages.into_iter().last());
    let stage = last
        .and_then(Result::ok)
        .and_then(|stage| stage.as_document()?.iter().next()?.ok());
    stage.is_some_and(|(name, _)| matches!(name.as_str(), "$out" | "$merge"))
}

/// Refuses a pipeline that reads or writes collections that the client may not.
pub(super) fn check_reach(context: &Context<'_>, pipeline: &Pipeline, bypasses: bool) -> CommandResult<()> {
    let of = |database, collection| Resource::Collection { database, collection };
    let database = context.request.database;
    for collection in pipeline.reads() {
        context.require(Action::Find, of(database, collection))?;
        oplog_view::refuse(database, collection)?;
    }
    if let Some(target) = pipeline.writes() {
        let database = target.database.unwrap_or(database);
        let resource = of(database, target.collection);
        oplog_view::refuse(database, target.collection)?;
        context.require(Action::Insert, resource)?;
        context.require(
            if target.replaces {
                Action::Remove
            } else {
                Action::Update
            },
            resource,
        )?;
        if bypasses {
            context.require(Action::BypassDocumentValidation, resource)?;
        }
    }
    Ok(())
}

/// What is asked for beside the pipeline.
#[derive(Default)]
pub(super) struct Asked<'a> {
    collation: Option<RawDocumentBuf>,
    variables: Option<&'a RawDocument>,
    options: AggregateOptions,
}

impl<'a> Asked<'a> {
    /// Of a command that is explained; other fields say nothing to that.
    pub(super) fn of(command: &'a RawDocument) -> CommandResult<Asked<'a>> {
        let mut asked = Asked::default();
        for field in fields("aggregate", command) {
            let field = field?;
            match field.name {
                "collation" => asked.collation = field.filled()?,
                "let" => asked.variables = Some(field.document()?),
                "hint" => asked.options.hint = field.hint()?,
                _ => {}
            }
        }
        Ok(asked)
    }

    pub(super) fn parse(&self, stages: &[&RawDocument]) -> CommandResult<Pipeline> {
        let variables = self.variables.unwrap_or(empty());
        Ok(Pipeline::parse_with_variables(
            stages,
            self.collation.as_deref(),
            variables,
        )?)
    }

    pub(super) fn collation(&self) -> Option<&RawDocument> {
        self.collation.as_deref()
    }

    pub(super) fn options_of(&self, context: &Context<'_>) -> AggregateOptions {
        AggregateOptions {
            control: context.control(),
            ..self.options.clone()
        }
    }

    /// A stream reads the log, where there are no indexes, and its stages know no variables.
    fn refuse_for_stream(&self) -> CommandResult<()> {
        let variables = self.variables.is_some_and(|variables| !variables.is_empty());
        match variables || self.options.hint.is_some() {
            true => Err(CommandError::not_implemented("let or hint with $changeStream")),
            false => Ok(()),
        }
    }
}

fn aggregate(context: &mut Context<'_>) -> CommandResult {
    let (mut pipeline, mut batch_size, mut has_cursor, mut explain) = (None, None, false, false);
    let mut asked = Asked::default();
    for field in context.request.arguments() {
        match field.name {
            "pipeline" => pipeline = Some(field.documents()?),
            "cursor" => {
                has_cursor = true;
                batch_size = cursor_batch_size(field)?;
            }
            "explain" => explain = field.boolean()?,
            "bypassDocumentValidation" => asked.options.bypass_document_validation = field.boolean()?,
            "collation" => asked.collation = field.filled()?,
            "let" => asked.variables = Some(field.document()?),
            "hint" => asked.options.hint = field.hint()?,
            // No stage writes to the disk.
            "allowDiskUse" => {}
            _ => return Err(field.unknown()),
        }
    }
    let pipeline = pipeline.ok_or_else(|| missing("aggregate", "pipeline"))?;
    if explain {
        return explain::of_pipeline(
            context,
            context.request.subject()?,
            &pipeline,
            &asked,
            Verbosity::QueryPlanner,
        );
    }
    if !has_cursor {
        return Err(CommandError::new(
            code::FAILED_TO_PARSE,
            "The 'cursor' option is required, except for aggregate with the explain argument",
        ));
    }
    let changes = stage_options(&pipeline, change_stream::STAGE);
    let (cursor, collection) = if let Some(options) = changes {
        context.outside_transaction("$changeStream")?;
        asked.refuse_for_stream()?;
        change_stream::open(context, options?, &pipeline[1..], asked.collation.as_deref())?
    } else if let Some(options) = stage_options(&pipeline, coll_stats::STAGE) {
        let document = coll_stats::document(context, options?)?;
        let source = rawdoc! { "$documents": [document] };
        let stages: Vec<&RawDocument> = [&*source].into_iter().chain(pipeline[1..].iter().copied()).collect();
        (
            over_none(context, &stages, &asked)?,
            context.request.collection()?.to_owned(),
        )
    } else if let Some(options) = stage_options(&pipeline, current_op::STAGE) {
        // What more to show it says; there is no more.
        options?;
        let source = rawdoc! { "$documents": RawArrayBuf::from_iter(current_op::documents(context)?) };
        let stages: Vec<&RawDocument> = [&*source].into_iter().chain(pipeline[1..].iter().copied()).collect();
        (over_none(context, &stages, &asked)?, "$cmd.aggregate".to_owned())
    } else {
        run(context, &pipeline, &asked)?
    };
    answer(context, cursor, &collection, batch_size)
}

/// The options of the stage of that name, if the pipeline begins with it.
fn stage_options<'a>(pipeline: &[&'a RawDocument], stage: &'a str) -> Option<CommandResult<&'a RawDocument>> {
    let (name, value) = pipeline.first()?.iter().next()?.ok()?;
    let field = Value {
        command: "aggregate.pipeline",
        name: stage,
        value,
    };
    (name.as_str() == stage).then(|| field.document())
}

/// The first batch, and the number of the cursor for the rest.
fn answer(context: &Context<'_>, mut cursor: Cursor, collection: &str, batch_size: Option<u64>) -> CommandResult {
    let batch = cursor.fill(Fill {
        count_max: Some(batch_size.unwrap_or(FIRST_BATCH)),
        time: context.request.max_time,
        deadline: context.request.deadline(),
        awaits: false,
        interrupts: &context.interrupts,
    })?;
    // What a stream sees, it waits for by itself.
    if !cursor.is_change_stream() {
        context.settle_reads()?;
    }
    let token = cursor.resume_token();
    let namespace = format!("{}.{collection}", context.request.database);
    let id = context.keep(cursor, &namespace, false)?;
    Ok(reply::cursor(
        cstr!("firstBatch"),
        batch,
        id,
        &namespace,
        token.as_ref(),
    ))
}

/// A pipeline over a collection, or with `aggregate: 1` over none.
fn run(context: &Context<'_>, stages: &[&RawDocument], asked: &Asked<'_>) -> CommandResult<(Cursor, String)> {
    match context.request.subject()?.value {
        RawBsonRef::String(name) => {
            let pipeline = asked.parse(stages)?;
            check_reach(context, &pipeline, asked.options.bypass_document_validation)?;
            let options = asked.options_of(context);
            let control = options.control.clone();
            if (context.request.database, name) == oplog_view::NAMESPACE {
                let documents = oplog_commands::aggregate(context, &pipeline, stages, options)?;
                return Ok((Cursor::new(Source::Documents(documents, control)), name.to_owned()));
            }
            let found = match context.target()? {
                Target::Collection(collection) => collection.aggregate_with(&pipeline, options)?,
                Target::Transaction(collection) => collection.aggregate_with(&pipeline, options)?,
            };
            Ok((cursor(found, control), name.to_owned()))
        }
        _ => Ok((over_none(context, stages, asked)?, "$cmd.aggregate".to_owned())),
    }
}

/// A pipeline that begins with `$documents`.
fn over_none(context: &Context<'_>, stages: &[&RawDocument], asked: &Asked<'_>) -> CommandResult<Cursor> {
    context.outside_transaction("a pipeline that begins without a collection's documents")?;
    let pipeline = asked.parse(stages)?;
    check_reach(context, &pipeline, asked.options.bypass_document_validation)?;
    let store = &context.server.store;
    let options = asked.options_of(context);
    let control = options.control.clone();
    let found = store.aggregate_with(context.request.database, &pipeline, options)?;
    Ok(cursor(found, control))
}

fn cursor(found: Aggregation, control: QueryControl) -> Cursor {
    let documents = found.map(|document| document.map_err(CommandError::from));
    Cursor::new(Source::Documents(Box::new(documents), control))
}

fn cursor_batch_size(field: Value<'_>) -> CommandResult<Option<u64>> {
    let mut size = None;
    for option in fields("aggregate.cursor", field.document()?) {
        let option = option?;
        match option.name {
            "batchSize" => size = Some(option.count()?),
            _ => return Err(option.unknown()),
        }
    }
    Ok(size)
}
