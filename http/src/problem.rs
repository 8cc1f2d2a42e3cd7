//! What a request is refused with: problem documents (RFC 9457) with MongoDB's numbers and names for what is wrong.

use std::borrow::Cow;
use std::error::Error;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use tailwater::oplog::ErrorKind;
use tailwater::{LogError, WatchError};

use crate::body::Body;

/// The media type of problem documents.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The result of answering a request.
pub(crate) type Answer<T = Response<Body>> = Result<T, Problem>;

/// Why a request is not answered as it asks.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    status: StatusCode,
    detail: String,
    /// MongoDB's number and name for it.
    code: Option<(i32, Cow<'static, str>)>,
    labels: &'static [&'static str],
    /// Line and column in the text filter, from 1.
    position: Option<(usize, usize)>,
    /// A header that says what to do.
    header: Option<(hyper::header::HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Details {
            status,
            detail: detail.into(),
            code: None,
            labels: &[],
            position: None,
            header: None,
        }))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// A parameter that cannot be understood.
    pub(crate) fn bad_parameter(name: &str, what: impl std::fmt::Display) -> Problem {
        let problem = Problem::new(StatusCode::BAD_REQUEST, format!("parameter {name}: {what}"));
        problem.with_code(9, "FailedToParse")
    }

    pub(crate) fn not_found(path: &str) -> Problem {
        let detail = format!("there is nothing at {path}: watch at /v1/watch/{{database}}/{{collection}}");
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn with_code(mut self, number: i32, name: impl Into<Cow<'static, str>>) -> Problem {
        self.0.code = Some((number, name.into()));
        self
    }

    pub(crate) fn with_header(mut self, name: hyper::header::HeaderName, value: HeaderValue) -> Problem {
        self.0.header = Some((name, value));
        self
    }

    /// The document.
    pub(crate) fn to_json(&self) -> Value {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        put("status", self.0.status.as_u16().into());
        put("title", self.0.status.canonical_reason().unwrap_or("Error").into());
        put("detail", self.0.detail.as_str().into());
        if let Some((number, name)) = &self.0.code {
            put("code", (*number).into());
            put("codeName", name.as_ref().into());
        }
        if !self.0.labels.is_empty() {
            put("errorLabels", self.0.labels.into());
        }
        if let Some((line, column)) = self.0.position {
            put("position", json!({ "line": line, "column": column }));
        }
        Value::Object(document)
    }

    /// The answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::whole(self.to_json().to_string()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.0.header {
            headers.insert(name, value);
        }
        response
    }
}

impl From<WatchError> for Problem {
    fn from(error: WatchError) -> Problem {
        let mut problem = Problem::new(status_of_watch(&error), message(&error));
        problem.0.code = error.code().zip(error.code_name());
        problem.0.labels = error.labels();
        if let WatchError::Filter(filter) = &error {
            problem.0.position = Some((filter.line(), filter.column()));
        }
        problem
    }
}

impl From<tailwater::Error> for Problem {
    fn from(error: tailwater::Error) -> Problem {
        let status = match &error {
            tailwater::Error::Log(error) => status_of_log(error),
            tailwater::Error::InvalidName { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut problem = Problem::new(status, message(&error));
        problem.0.code = error.code().map(|code| (code.number(), code.name().into()));
        problem
    }
}

fn status_of_watch(error: &WatchError) -> StatusCode {
    use WatchError as E;
    match error {
        E::Log(error) => status_of_log(error),
        E::TimeTrimmed { .. } | E::ConsumerLostHistory { .. } => StatusCode::GONE,
        E::TokenAheadOfLog { .. } => StatusCode::CONFLICT,
        E::Store(_) | E::NoStore => StatusCode::INTERNAL_SERVER_ERROR,
        // What only an event can bring about.
        E::Evaluate(_)
        | E::TokenModified { .. }
        | E::EventTooLarge { .. }
        | E::FieldTooLarge { .. }
        | E::NoPreImage { .. }
        | E::NoPostImage { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn status_of_log(error: &LogError) -> StatusCode {
    match error.kind() {
        ErrorKind::HistoryLost => StatusCode::GONE,
        ErrorKind::OtherHistory => StatusCode::CONFLICT,
        ErrorKind::Closed | ErrorKind::NotYet => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error's message with those of its causes that it does not repeat itself.
fn message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = next.source();
    }
    message
}
