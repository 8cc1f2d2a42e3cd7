//! `$changeStream`, the first stage of a pipeline that watches (MongoDB manual: *$changeStream*).

use bson::{Bson, Document, RawBsonRef, RawDocument};
use tailwater::{FullDocument, FullDocumentBeforeChange, ResumeToken, Scope, Watch, WatchDescription};
use tailwater_auth::Resource;

use crate::context::Context;
use crate::cursor::{Cursor, Source};
use crate::error::{CommandError, CommandResult, code};
use crate::needs;
use crate::request::Request;
use crate::value::{Value, fields};

pub(super) const STAGE: &str = "$changeStream";

/// What is shown of a pipeline in the list of streams.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// What a stream watches.
pub(super) fn watched<'a>(request: &Request<'a>, options: &RawDocument) -> CommandResult<Resource<'a>> {
    let all = options.get("allChangesForCluster").ok().flatten();
    Ok(match request.subject()?.value {
        _ if needs::is_true(all) => Resource::AllCollections,
        RawBsonRef::String(collection) => Resource::Collection {
            database: request.database,
            collection,
        },
        _ => Resource::Database(request.database),
    })
}

/// Begins to watch. The collection's name in the answer is its own, or `$cmd.aggregate` for a database or everything.
pub(super) fn open(
    context: &Context<'_>,
    options: &RawDocument,
    stages: &[&RawDocument],
    collation: Option<&RawDocument>,
) -> CommandResult<(Cursor, String)> {
    let mut all_changes = false;
    let mut starts: Vec<Box<dyn FnOnce(Watch) -> Watch>> = Vec::new();
    let mut modes: Vec<Box<dyn FnOnce(Watch) -> Watch>> = Vec::new();
    for option in fields(STAGE, options) {
        let option = option?;
        match option.name {
            "fullDocument" => {
                let mode = full_document(option)?;
                modes.push(Box::new(move |watch| watch.full_document(mode)));
            }
            "fullDocumentBeforeChange" => {
                let mode = before_change(option)?;
                modes.push(Box::new(move |watch| watch.full_document_before_change(mode)));
            }
            "showExpandedEvents" => {
                let show = option.boolean()?;
                modes.push(Box::new(move |watch| watch.show_expanded_events(show)));
            }
            "resumeAfter" => {
                let token = ResumeToken::from_document(option.document()?)?;
                starts.push(Box::new(move |watch| watch.resume_after(token)));
            }
            "startAfter" => {
                let token = ResumeToken::from_document(option.document()?)?;
                starts.push(Box::new(move |watch| watch.start_after(token)));
            }
            "startAtOperationTime" => {
                let time = option.timestamp()?;
                starts.push(Box::new(move |watch| watch.start_at_operation_time(time)));
            }
            "allChangesForCluster" => all_changes = option.boolean()?,
            // The driver for Rust puts a stream's comment here as well as beside the pipeline. It says nothing to the server.
            "comment" => {}
            _ => return Err(option.unknown()),
        }
    }
    let (watch, name) = scope(context, all_changes)?;
    if starts.is_empty() {
        context.await_majority()?;
    }
    let watch = watch.read_concern(context.sees());
    let watch = watch.raw_pipeline(stages.iter().map(|stage| (*stage).to_owned()));
    let watch = match collation.filter(|collation| !collation.is_empty()) {
        Some(collation) => watch.collation(collation.to_owned()),
        None => watch,
    };
    let watch = match context.request.body.get("comment").ok().flatten().map(Bson::try_from) {
        Some(Ok(comment)) => watch.comment(comment),
        _ => watch,
    };
    let watch = modes.into_iter().chain(starts).fold(watch, |watch, set| set(watch));
    let stream = watch.start()?;
    let description = describe(context, options, stages)?;
    let listed = context
        .server
        .store
        .listed_watches()
        .enter(description, stream.resume_token());
    Ok((Cursor::new(Source::Changes(Box::new((stream, listed)))), name))
}

/// What whoever looks at the server is shown of a stream.
fn describe(context: &Context<'_>, options: &RawDocument, stages: &[&RawDocument]) -> CommandResult<WatchDescription> {
    let scope = match watched(context.request, options)? {
        Resource::Collection { database, collection } => Scope::Collection {
            database: database.to_owned(),
            collection: collection.to_owned(),
        },
        Resource::Database(database) => Scope::Database(database.to_owned()),
        Resource::Cluster | Resource::AllCollections => Scope::Deployment,
    };
    let stages = stages.iter().filter_map(|stage| Document::try_from(*stage).ok());
    let stages: Vec<String> = stages.map(|stage| stage.to_string()).collect();
    let mut pipeline = format!("[{}]", stages.join(", "));
    if pipeline.len() > SHOWN_BYTES_MAX {
        let end = (0..=SHOWN_BYTES_MAX).rev().find(|at| pipeline.is_char_boundary(*at));
        pipeline.truncate(end.unwrap_or_default());
        pipeline.push('…');
    }
    Ok(WatchDescription {
        scope,
        transport: "mongodb",
        client: context.peer.address.to_string(),
        filter: None,
        pipeline: (!stages.is_empty()).then_some(pipeline),
    })
}

/// A collection, a database (`aggregate: 1`), or everything (on `admin` with `allChangesForCluster`).
fn scope(context: &Context<'_>, all_changes: bool) -> CommandResult<(Watch, String)> {
    let database = context.request.database;
    let store = &context.server.store;
    match context.request.subject()?.value {
        _ if all_changes && database != "admin" => Err(CommandError::new(
            code::INVALID_OPTIONS,
            "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database",
        )),
        RawBsonRef::String(_) if all_changes => Err(CommandError::new(
            code::INVALID_OPTIONS,
            "A $changeStream with 'allChangesForCluster:true' may only be opened with 'aggregate: 1'",
        )),
        _ if !all_changes && matches!(database, "admin" | "config" | "local") => Err(CommandError::new(
            code::INVALID_NAMESPACE,
            format!("$changeStream may not be opened on the internal {database} database"),
        )),
        RawBsonRef::String(name) => Ok((store.collection(database, name)?.watch(), name.to_owned())),
        _ if all_changes => Ok((store.watch_deployment(), "$cmd.aggregate".to_owned())),
        _ => Ok((store.watch_database(database), "$cmd.aggregate".to_owned())),
    }
}

fn unknown(option: Value<'_>, value: &str) -> CommandError {
    let message = format!(
        "Enumeration value '{value}' for field '{STAGE}.{}' is not a valid value.",
        option.name
    );
    CommandError::new(code::BAD_VALUE, message)
}

fn full_document(option: Value<'_>) -> CommandResult<FullDocument> {
    Ok(match option.string()? {
        "default" => FullDocument::Default,
        "updateLookup" => FullDocument::UpdateLookup,
        "whenAvailable" => FullDocument::WhenAvailable,
        "required" => FullDocument::Required,
        other => return Err(unknown(option, other)),
    })
}

fn before_change(option: Value<'_>) -> CommandResult<FullDocumentBeforeChange> {
    Ok(match option.string()? {
        "off" => FullDocumentBeforeChange::Off,
        "whenAvailable" => FullDocumentBeforeChange::WhenAvailable,
        "required" => FullDocumentBeforeChange::Required,
        other => return Err(unknown(option, other)),
    })
}
