//! `tailwater watch`: change events as JSON lines, with a place that survives the command.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::{Bson, RawDocumentBuf};
use tailwater::{
    ChangeEvent, ChangeStream, FullDocument, FullDocumentBeforeChange, ReadConcern, ResumeToken, Scope, Watch,
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
    /// Only events that pass this pipeline: a JSON array of $match stages.
    #[arg(long, value_name = "JSON")]
    pipeline: Option<String>,
    /// Keep the place in this file, and go on from there if it exists.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
    /// Where to begin when there is no resume file yet.
    #[arg(long, default_value = "now", value_parser = ["now", "oldest"])]
    from: String,
    /// Whether updates carry the whole document: default, updateLookup, whenAvailable, required.
    #[arg(long, default_value = "default", value_name = "MODE",
          value_parser = ["default", "updateLookup", "whenAvailable", "required"])]
    full_document: String,
    /// Whether events carry the document as it was before: off, whenAvailable, required.
    #[arg(long, default_value = "off", value_name = "MODE", value_parser = ["off", "whenAvailable", "required"])]
    full_document_before_change: String,
    /// Show create events, and the fields collectionUUID and operationDescription.
    #[arg(long)]
    show_expanded_events: bool,
    /// Show writes at once, before they are durable.
    #[arg(long)]
    local: bool,
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
    }
    if let Some(filter) = &arguments.filter {
        watch = watch.filter(filter);
    }
    if let Some(pipeline) = &arguments.pipeline {
        watch = watch.raw_pipeline(parse_pipeline(pipeline)?);
    }
    watch = match kept_token(arguments.resume_file.as_deref())? {
        Some(token) => watch.start_after(token),
        None if arguments.from == "oldest" => watch.start_at_oldest(),
        None => watch,
    };
    Ok(watch.start()?)
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
