//! `tailwater watch`: change events as JSON lines, with a place that survives the command.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::{Bson, RawDocumentBuf, rawdoc};
use tailwater::{
    ChangeEvent, ChangeStream, FullDocument, FullDocumentBeforeChange, OperationType, ReadConcern, ResumeToken, Scope,
    Watch,
};

use crate::directory::open_view;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Json};

/// Events that are printed before the resume file is replaced, while they come without a pause.
const EVENTS_PER_TOKEN: u32 = 1000;
/// How often a quiet watch replaces its resume file, as its place moves on without events.
const QUIET_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the changes of a store as they become durable, one JSON document a line.
///
/// It reads the store's log and writes nothing into the store, beside whatever process writes it, and goes on across that
/// process's restarts. Without --db it watches everything, with --db a database, with --collection one collection.
///
/// With --resume-file the place is kept: the next run goes on there. The file is replaced after the events before it have
/// been written out, so a killed watch repeats some events at most, and never leaves one out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater watch --dir ./store\n  \
    tailwater watch --dir ./store --db shop --collection orders --filter 'total > 100' --resume-file orders.token\n  \
    tailwater watch --dir ./store --operations insert,delete --start-at 2026-11-21T09:30:00Z\n  \
    tailwater watch --dir ./store --pipeline '[{\"$match\": {\"operationType\": \"delete\"}}]'\n\n\
    tailwater help filter describes the filter and $match languages.")]
pub(crate) struct Arguments {
    /// Directory of the store.
    #[arg(long)]
    dir: PathBuf,
    /// Watch one database.
    #[arg(long)]
    db: Option<String>,
    /// Watch one collection of the database.
    #[arg(long, requires = "db")]
    collection: Option<String>,
    /// Only events whose document satisfies this filter, such as 'age > 18 and tags has "urgent"'.
    #[arg(long)]
    filter: Option<String>,
    /// Only events that pass this pipeline, in the shape it gives them: a JSON array of $match, $project, $addFields, $set,
    /// $unset, $replaceRoot, $replaceWith and $redact stages.
    #[arg(long, value_name = "JSON")]
    pipeline: Option<String>,
    /// Only events of these types, such as insert,delete. The invalidate event that ends a watch always comes.
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = parse_operation)]
    operations: Option<Vec<OperationType>>,
    /// How the pipeline compares strings: a collation as JSON, such as '{"locale": "en", "strength": 2}'.
    #[arg(long, value_name = "JSON")]
    collation: Option<String>,
    /// Match deletes by what they deleted. Needs pre-images of the collection.
    #[arg(long)]
    match_deletes: bool,
    /// Print events above 16 MiB in fragments, as $changeStreamSplitLargeEvent does; without it they end the watch.
    #[arg(long)]
    split: bool,
    /// Keep the place in this file, and go on from there if it exists.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
    /// Where to begin when there is no resume file yet.
    #[arg(long, default_value = "now", value_parser = ["now", "oldest"], group = "start")]
    from: String,
    /// Begin behind the event with this token: the text in its _id, or the _id as JSON. Not for an invalidate event.
    #[arg(long, value_name = "TOKEN", value_parser = parse_token, group = "start")]
    resume_after: Option<ResumeToken>,
    /// As --resume-after, also behind an invalidate event.
    #[arg(long, value_name = "TOKEN", value_parser = parse_token, group = "start")]
    start_after: Option<ResumeToken>,
    /// Begin with the first event at or after this time, such as 2026-11-21T09:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time, group = "start")]
    start_at: Option<bson::Timestamp>,
    /// Whether updates carry the whole document: default, updateLookup, whenAvailable, required.
    #[arg(long, default_value = "default", value_name = "MODE",
          value_parser = ["default", "updateLookup", "whenAvailable", "required"])]
    full_document: String,
    /// Whether events carry the document as it was before: off, whenAvailable, required.
    #[arg(long, default_value = "off", value_name = "MODE", value_parser = ["off", "whenAvailable", "required"])]
    full_document_before_change: String,
    /// Show create, createIndexes, dropIndexes and modify events, and the fields collectionUUID, operationDescription and
    /// stateBeforeChange.
    #[arg(long)]
    show_expanded_events: bool,
    /// Show writes at once, before they are durable.
    #[arg(long)]
    local: bool,
    /// Of a replicated store, show only what a majority of its members holds: no promotion takes that back.
    #[arg(long, conflicts_with = "local")]
    majority: bool,
    /// Write numbers and dates so that every BSON type can be told.
    #[arg(long)]
    canonical: bool,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End when there is nothing more to read.
    #[arg(long)]
    no_follow: bool,
    /// Wait so many seconds for the store to come into being.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut stream = start(arguments)?;
    let mut place = Place {
        file: arguments.resume_file.as_deref(),
        kept: None,
    };
    let json = if arguments.canonical {
        Json::Canonical
    } else {
        Json::Relaxed
    };
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut since_token = 0;
    let patience = if arguments.no_follow {
        Duration::ZERO
    } else {
        QUIET_INTERVAL
    };
    let mut last_quiet = Instant::now();
    while left > 0 && !stream.is_ended() {
        let event = stream.next_if_any()?;
        if let Some(event) = &event {
            print_event(&mut out, event, json)?;
            left -= 1;
            since_token += 1;
            if since_token < EVENTS_PER_TOKEN {
                continue;
            }
        }
        output::written(out.flush())?;
        if since_token > 0 || last_quiet.elapsed() >= QUIET_INTERVAL {
            place.keep(stream.resume_token())?;
            (since_token, last_quiet) = (0, Instant::now());
        }
        if event.is_none() && !stream.wait_ready(Some(patience)) && arguments.no_follow {
            break;
        }
    }
    output::written(out.flush())?;
    place.keep(stream.resume_token())
}

fn start(arguments: &Arguments) -> Outcome<ChangeStream> {
    let view = open_view(&arguments.dir, arguments.wait.map(Duration::from_secs))?;
    let scope = match (&arguments.db, &arguments.collection) {
        (Some(database), Some(collection)) => Scope::Collection {
            database: database.clone(),
            collection: collection.clone(),
        },
        (Some(database), None) => Scope::Database(database.clone()),
        (None, _) => Scope::Everything,
    };
    let mut watch = Watch::new(view, scope)
        .full_document(match arguments.full_document.as_str() {
            "updateLookup" => FullDocument::UpdateLookup,
            "whenAvailable" => FullDocument::WhenAvailable,
            "required" => FullDocument::Required,
            _ => FullDocument::Default,
        })
        .full_document_before_change(match arguments.full_document_before_change.as_str() {
            "whenAvailable" => FullDocumentBeforeChange::WhenAvailable,
            "required" => FullDocumentBeforeChange::Required,
            _ => FullDocumentBeforeChange::Off,
        })
        .show_expanded_events(arguments.show_expanded_events);
    if arguments.local {
        watch = watch.read_concern(ReadConcern::Local);
    } else if arguments.majority {
        watch = watch.read_concern(ReadConcern::Majority);
    }
    if let Some(filter) = &arguments.filter {
        watch = watch.filter(filter);
    }
    if let Some(operations) = &arguments.operations {
        watch = watch.operations(operations.iter().copied());
    }
    if let Some(collation) = &arguments.collation {
        watch = watch.collation(parse_collation(collation)?);
    }
    let mut pipeline = arguments
        .pipeline
        .as_deref()
        .map(parse_pipeline)
        .transpose()?
        .unwrap_or_default();
    if arguments.split {
        pipeline.push(rawdoc! { "$changeStreamSplitLargeEvent": {} });
    }
    watch = watch
        .raw_pipeline(pipeline)
        .match_deletes_by_pre_image(arguments.match_deletes);
    Ok(begin(arguments, watch)?.start()?)
}

/// Where to begin: the resume file, when there is one, says it alone.
fn begin(arguments: &Arguments, watch: Watch) -> Outcome<Watch> {
    if let Some(token) = kept_token(arguments.resume_file.as_deref())? {
        return Ok(watch.start_after(token));
    }
    Ok(
        match (arguments.resume_after, arguments.start_after, arguments.start_at) {
            (Some(token), _, _) => watch.resume_after(token),
            (_, Some(token), _) => watch.start_after(token),
            (_, _, Some(time)) => watch.start_at_operation_time(time),
            _ if arguments.from == "oldest" => watch.start_at_oldest(),
            _ => watch,
        },
    )
}

fn parse_operation(name: &str) -> Result<OperationType, String> {
    OperationType::from_name(name.trim()).ok_or_else(|| {
        let names: Vec<_> = OperationType::ALL.into_iter().map(OperationType::name).collect();
        format!("there is no such type of event; there are {}", names.join(", "))
    })
}

/// A token as text, or in the document that drivers see.
fn parse_token(text: &str) -> Result<ResumeToken, String> {
    let text = text.trim();
    let token = match text.starts_with('{') {
        false => text.parse(),
        true => {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
            value["_data"].as_str().unwrap_or_default().parse()
        }
    };
    token.map_err(|e: tailwater::WatchError| e.to_string())
}

fn parse_time(text: &str) -> Result<bson::Timestamp, String> {
    let example = "give a time such as 2026-11-21T09:30:00Z";
    let time = bson::DateTime::parse_rfc3339_str(text).map_err(|_| example.to_owned())?;
    let millis = u64::try_from(time.timestamp_millis()).map_err(|_| format!("it is before 1970; {example}"))?;
    let seconds = u32::try_from(millis / 1000).map_err(|_| format!("it is after 2106; {example}"))?;
    // A cluster time's increment: nanoseconds within the second, plus one.
    let increment = (millis % 1000) as u32 * 1_000_000 + 1;
    Ok(bson::Timestamp {
        time: seconds,
        increment,
    })
}

fn parse_collation(text: &str) -> Outcome<RawDocumentBuf> {
    let wrong = |what: String| Failure::new(Exit::Usage, format!("malformed collation: {what}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    match Bson::try_from(value) {
        Ok(Bson::Document(collation)) => RawDocumentBuf::try_from(&collation).map_err(|e| wrong(e.to_string())),
        Ok(_) => Err(wrong("it must be a JSON object, such as {\"locale\": \"en\"}".into())),
        Err(e) => Err(wrong(e.to_string())),
    }
}

fn print_event(out: &mut impl Write, event: &ChangeEvent, json: Json) -> Outcome {
    output::line(out, &event.to_document(), json)
}

fn parse_pipeline(text: &str) -> Outcome<Vec<RawDocumentBuf>> {
    let wrong = |what: String| Failure::new(Exit::Usage, format!("malformed pipeline: {what}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let serde_json::Value::Array(stages) = value else {
        return Err(wrong(
            "it must be a JSON array of stages, such as [{\"$match\": {…}}]".into(),
        ));
    };
    let stage = |(i, stage): (usize, serde_json::Value)| match Bson::try_from(stage) {
        Ok(Bson::Document(stage)) => RawDocumentBuf::try_from(&stage).map_err(|e| wrong(format!("stage {i}: {e}"))),
        Ok(_) => Err(wrong(format!("stage {i} is not a document"))),
        Err(e) => Err(wrong(format!("stage {i}: {e}"))),
    };
    stages.into_iter().enumerate().map(stage).collect()
}

/// The token in the resume file, if there is one.
fn kept_token(file: Option<&Path>) -> Outcome<Option<ResumeToken>> {
    let Some(file) = file else { return Ok(None) };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("cannot read {}: {e}", file.display()),
            ));
        }
    };
    let token = text.trim().parse().map_err(|e: tailwater::WatchError| {
        Failure::new(
            Exit::Usage,
            format!("{}: {e}; remove the file to begin anew", file.display()),
        )
    })?;
    Ok(Some(token))
}

/// The resume file.
struct Place<'a> {
    file: Option<&'a Path>,
    kept: Option<ResumeToken>,
}

impl Place<'_> {
    /// Replaces the file's contents at once: a crash leaves the old token or the new one.
    fn keep(&mut self, token: ResumeToken) -> Outcome {
        let Some(file) = self.file.filter(|_| self.kept != Some(token)) else {
            return Ok(());
        };
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = file.with_file_name(name);
        let replace = || {
            let mut out = File::create(&new)?;
            writeln!(out, "{token}")?;
            out.sync_data()?;
            fs::rename(&new, file)
        };
        replace().map_err(|e| Failure::io(&format!("write {}", file.display()), &e))?;
        self.kept = Some(token);
        Ok(())
    }
}
