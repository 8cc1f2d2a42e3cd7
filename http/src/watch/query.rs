//! What a request asks to watch: path, query and `Last-Event-ID`, as a [`Watch`] and the way in which its events are written.
//!
//! A parameter that there is not is refused rather than ignored, and so is one that comes twice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Bson, RawDocumentBuf};
use hyper::StatusCode;
use serde_json::Value;
use tailwater::{
    FullDocument, FullDocumentBeforeChange, OperationType, ReadConcern, ResumeToken, Scope, Store, TokenKind, Watch,
};

use crate::envelope::{Envelope, Writing};
use crate::extjson::Json;
use crate::problem::{Answer, Problem};

/// The parameters that there are.
const PARAMETERS: [&str; 16] = [
    "collation",
    "envelope",
    "filter",
    "from",
    "fullDocument",
    "fullDocumentBeforeChange",
    "heartbeat",
    "json",
    "matchDeletes",
    "operations",
    "pipeline",
    "readConcern",
    "resumeAfter",
    "showExpandedEvents",
    "startAfter",
    "startAtOperationTime",
];

/// Seconds between two heartbeats that can be asked for.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// Bytes by which a pipeline may make an event larger than it is. Events are made by the thread that serves all watches, and before
/// they have a place in memory.
const GROWTH_MAX: usize = 1 << 20;

/// What a request asks for.
pub(crate) struct Question {
    pub(crate) scope: Scope,
    pub(crate) filter: Option<String>,
    /// As it came.
    pub(crate) pipeline: Option<String>,
    pub(crate) writing: Writing,
    /// How often it wants to be told where it is, if it says so.
    pub(crate) heartbeat: Option<Duration>,
    /// Whether it begins now, with what a majority holds now.
    pub(crate) begins_with_majority: bool,
    pub(crate) watch: Watch,
}

/// What a request asks to watch.
pub(crate) enum Asked {
    Watch(Box<Question>),
    /// The client resumes behind the end of what it watched, where nothing comes any more.
    Ended,
}

/// Reads a request. `majority` is what is seen where the query does not say otherwise. `last_event_id` wins over every starting
/// point in the query: a browser that reconnects sends the URL that it has begun with.
pub(crate) fn parse(
    (store, majority): (&Store, ReadConcern),
    scope: Scope,
    query: Option<&str>,
    last_event_id: Option<&str>,
) -> Answer<Asked> {
    let parameters = Parameters::of(query.unwrap_or_default())?;
    let mut watch = match &scope {
        Scope::Everything => store.watch(),
        Scope::Deployment => store.watch_deployment(),
        Scope::Database(database) => store.watch_database(database),
        Scope::Collection { database, collection } => store.collection(database, collection)?.watch(),
    };
    if let Some(filter) = parameters.text("filter") {
        watch = watch.filter(filter);
    }
    if let Some(stages) = parameters.parse("pipeline", pipeline)? {
        watch = watch.raw_pipeline(stages);
    }
    if let Some(collation) = parameters.parse("collation", document)? {
        watch = watch.collation(collation);
    }
    if let Some(operations) = parameters.parse("operations", operations)? {
        watch = watch.operations(operations);
    }
    if let Some(mode) = parameters.parse("fullDocument", full_document)? {
        watch = watch.full_document(mode);
    }
    if let Some(mode) = parameters.parse("fullDocumentBeforeChange", before_change)? {
        watch = watch.full_document_before_change(mode);
    }
    if let Some(show) = parameters.parse("showExpandedEvents", boolean)? {
        watch = watch.show_expanded_events(show);
    }
    if let Some(by_pre_image) = parameters.parse("matchDeletes", boolean)? {
        watch = watch.match_deletes_by_pre_image(by_pre_image);
    }
    let concern = parameters.parse("readConcern", |text| read_concern(text, majority))?;
    let concern = concern.unwrap_or(majority);
    watch = watch.read_concern(concern).growth_max(GROWTH_MAX);
    match last_event_id.filter(|id| !id.is_empty()) {
        Some(id) => {
            let token: ResumeToken = id.parse()?;
            if token.kind() == TokenKind::Invalidate {
                return Ok(Asked::Ended);
            }
            watch = watch.resume_after(token);
        }
        None => watch = start(watch, &parameters)?,
    }
    let envelope = parameters.parse("envelope", envelope)?.unwrap_or_default();
    let json = parameters.parse("json", json)?;
    Ok(Asked::Watch(Box::new(Question {
        scope,
        filter: parameters.text("filter").map(str::to_owned),
        pipeline: parameters.text("pipeline").map(str::to_owned),
        writing: Writing::new(envelope, json),
        heartbeat: parameters.parse("heartbeat", heartbeat)?,
        begins_with_majority: concern == ReadConcern::Majority && !watch.has_start(),
        watch,
    })))
}

/// Where it begins, as the query says.
fn start(mut watch: Watch, parameters: &Parameters<'_>) -> Answer<Watch> {
    if let Some(token) = parameters.parse("resumeAfter", token)? {
        watch = watch.resume_after(token);
    }
    if let Some(token) = parameters.parse("startAfter", token)? {
        watch = watch.start_after(token);
    }
    if let Some(time) = parameters.parse("startAtOperationTime", time)? {
        watch = watch.start_at_operation_time(time);
    }
    let from = |text: &str| match text {
        "now" => Ok(false),
        "oldest" => Ok(true),
        _ => Err("it must be now or oldest".to_owned()),
    };
    Ok(match parameters.parse("from", from)? {
        Some(true) => watch.start_at_oldest(),
        _ => watch,
    })
}

/// The parameters of a query, by name.
struct Parameters<'a>(BTreeMap<&'static str, Cow<'a, str>>);

impl<'a> Parameters<'a> {
    fn of(query: &'a str) -> Answer<Parameters<'a>> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(&known) = PARAMETERS.iter().find(|known| **known == name) else {
                let what = format!("there is no such parameter; there are {}", PARAMETERS.join(", "));
                return Err(Problem::bad_parameter(&name, what));
            };
            if parameters.insert(known, value).is_some() {
                return Err(Problem::bad_parameter(known, "it is given twice"));
            }
        }
        Ok(Parameters(parameters))
    }

    /// What it says; nothing when it is left out or empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| &**text).filter(|text| !text.is_empty())
    }

    fn parse<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Answer<Option<T>> {
        let parsed = self.text(name).map(parse).transpose();
        parsed.map_err(|what| Problem::bad_parameter(name, what))
    }
}

/// The scope that a path below `/v1/watch` names.
pub(crate) fn scope(segments: &[&str]) -> Answer<Option<Scope>> {
    let decoded = |segment: &str| {
        let name = percent_encoding::percent_decode_str(segment).decode_utf8();
        let name = name.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the path is not UTF-8"))?;
        Answer::Ok(name.into_owned())
    };
    Ok(Some(match segments {
        [] => Scope::Deployment,
        [database] => Scope::Database(decoded(database)?),
        [database, collection] => Scope::Collection {
            database: decoded(database)?,
            collection: decoded(collection)?,
        },
        _ => return Ok(None),
    }))
}

fn bson(text: &str) -> Result<Bson, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Bson::try_from(value).map_err(|error| error.to_string())
}

fn document(text: &str) -> Result<RawDocumentBuf, String> {
    match bson(text)? {
        Bson::Document(document) => RawDocumentBuf::try_from(&document).map_err(|error| error.to_string()),
        _ => Err("it must be a JSON object".into()),
    }
}

fn pipeline(text: &str) -> Result<Vec<RawDocumentBuf>, String> {
    let Bson::Array(stages) = bson(text)? else {
        return Err("it must be a JSON array of stages, such as [{\"$match\": {…}}]".into());
    };
    let stage = |(i, stage)| match stage {
        Bson::Document(stage) => RawDocumentBuf::try_from(&stage).map_err(|error| format!("stage {i}: {error}")),
        _ => Err(format!("stage {i} is not an object")),
    };
    stages.into_iter().enumerate().map(stage).collect()
}

fn operations(text: &str) -> Result<Vec<OperationType>, String> {
    let operation = |name: &str| {
        OperationType::from_name(name.trim()).ok_or_else(|| {
            let names: Vec<_> = OperationType::ALL.into_iter().map(OperationType::name).collect();
            format!("{name:?} is no type of event; there are {}", names.join(", "))
        })
    };
    text.split(',').map(operation).collect()
}

fn full_document(text: &str) -> Result<FullDocument, String> {
    Ok(match text {
        "default" => FullDocument::Default,
        "updateLookup" => FullDocument::UpdateLookup,
        "whenAvailable" => FullDocument::WhenAvailable,
        "required" => FullDocument::Required,
        _ => return Err("it must be default, updateLookup, whenAvailable or required".into()),
    })
}

fn before_change(text: &str) -> Result<FullDocumentBeforeChange, String> {
    Ok(match text {
        "off" => FullDocumentBeforeChange::Off,
        "whenAvailable" => FullDocumentBeforeChange::WhenAvailable,
        "required" => FullDocumentBeforeChange::Required,
        _ => return Err("it must be off, whenAvailable or required".into()),
    })
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("it must be true or false".into()),
    }
}

fn read_concern(text: &str, majority: ReadConcern) -> Result<ReadConcern, String> {
    match text {
        "majority" => Ok(majority),
        "local" => Ok(ReadConcern::Local),
        _ => Err("it must be majority, for what stays whatever happens, or local, for writes at once".into()),
    }
}

/// A token as text, or in the document that drivers see.
fn token(text: &str) -> Result<ResumeToken, String> {
    let token = match text.trim_start().starts_with('{') {
        true => ResumeToken::from_document(&document(text)?),
        false => text.parse(),
    };
    token.map_err(|error| error.to_string())
}

/// A cluster time as Extended JSON, or the first one of a point in time.
fn time(text: &str) -> Result<bson::Timestamp, String> {
    const EXPECTED: &str = r#"give a time such as 2026-11-21T09:30:00Z, or {"$timestamp": {"t": 1795253400, "i": 1}}"#;
    if text.starts_with('{') {
        return match bson(text)? {
            Bson::Timestamp(time) => Ok(time),
            _ => Err(EXPECTED.into()),
        };
    }
    let time = bson::DateTime::parse_rfc3339_str(text).map_err(|_| EXPECTED.to_owned())?;
    let millis = u64::try_from(time.timestamp_millis()).map_err(|_| format!("it is before 1970; {EXPECTED}"))?;
    let seconds = u32::try_from(millis / 1000).map_err(|_| format!("it is after 2106; {EXPECTED}"))?;
    // A cluster time's increment: nanoseconds within the second, plus one.
    let increment = (millis % 1000) as u32 * 1_000_000 + 1;
    Ok(bson::Timestamp {
        time: seconds,
        increment,
    })
}

fn envelope(text: &str) -> Result<Envelope, String> {
    Ok(match text {
        "mongodb" => Envelope::Mongodb,
        "debezium" => Envelope::Debezium,
        "cloudevents" => Envelope::CloudEvents,
        _ => return Err("it must be mongodb, debezium or cloudevents".into()),
    })
}

fn json(text: &str) -> Result<Json, String> {
    match text {
        "canonical" => Ok(Json::Canonical),
        "relaxed" => Ok(Json::Relaxed),
        _ => Err("it must be canonical or relaxed".into()),
    }
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| HEARTBEAT_SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (least, most) = (HEARTBEAT_SECONDS.start(), HEARTBEAT_SECONDS.end());
        format!("it must be a number of seconds from {least} to {most}")
    })
}
