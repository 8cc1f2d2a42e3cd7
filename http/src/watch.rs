//! `GET /v1/watch…`: change streams, in the representation that the client asks for.
//!
//! Each watch is a subscription: the store's dispatcher reads the log once for all of them. A client that does not read has its
//! socket full, then the few buffers behind it, then the watch's channel, and then its watch is parked in the log: memory stays
//! bounded, and nobody else notices.

mod feed;
mod lines;
mod query;
mod socket;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tailwater::{Scope, WatchDescription};
use tokio::time::{Instant, sleep};

use crate::body::{Body, Chunks};
use crate::connection::Peer;
use crate::gate::{Sight, Warrant};
use crate::problem::{Answer, Problem};
use crate::router::in_background;
use crate::server::Shared;
use feed::Feed;
use query::{Asked, Question};

/// Most events and bytes of entries that wait in a watch's channel.
const CHANNEL: (usize, usize) = (256, 1 << 20);

/// How long a watch waits for the first majority, and how often it looks.
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(10);
const MAJORITY_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How events come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Sse,
    Lines,
    Socket,
}

impl Transport {
    /// What the client asks for; Server-Sent Events if it does not say.
    fn of(headers: &HeaderMap) -> Answer<Transport> {
        if socket::is_wanted(headers) {
            return Ok(Transport::Socket);
        }
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut types = accepted
            .flat_map(|list| list.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .peekable();
        if types.peek().is_none() {
            return Ok(Transport::Sse);
        }
        let known = types.find_map(|range| match range.as_str() {
            "text/event-stream" | "text/*" | "*/*" => Some(Transport::Sse),
            "application/x-ndjson" | "application/*" => Some(Transport::Lines),
            _ => None,
        });
        known.ok_or_else(|| {
            let detail = "watches come as text/event-stream, as application/x-ndjson, or over a WebSocket";
            Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
        })
    }

    fn name(self) -> &'static str {
        match self {
            Transport::Sse => "sse",
            Transport::Lines => "ndjson",
            Transport::Socket => "websocket",
        }
    }
}

/// Answers a request to watch.
pub(crate) async fn answer(shared: &Arc<Shared>, peer: &Arc<Peer>, mut request: Request<Incoming>) -> Answer {
    let transport = Transport::of(request.headers())?;
    let upgrade = match transport {
        Transport::Socket => Some(socket::Upgrade::of(&mut request)?),
        _ => None,
    };
    let is_head = *request.method() == Method::HEAD;
    let (parts, _) = request.into_parts();
    let scope = scope_of(parts.uri.path())?;
    let sight = Sight::Changes(scope.clone());
    let warrant = shared.gate.admit(&parts.headers, peer.address.ip(), sight).await?;
    let Asked::Watch(question) = read(shared, scope, &parts)? else {
        // What a browser takes as the word to reconnect no more.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    if question.begins_with_majority {
        await_majority(shared).await;
    }
    let caller = Arc::clone(peer);
    let feed = in_background(shared, move |shared| {
        begin(shared, &caller, transport, *question, warrant)
    })
    .await?;
    let streaming = |media_type, chunks: Chunks| {
        let body = if is_head { Body::empty() } else { Body::Chunks(chunks) };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Proxies that collect answers are told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    };
    Ok(match upgrade {
        Some(upgrade) => upgrade.serve(feed, Arc::clone(peer)),
        None if transport == Transport::Lines => streaming("application/x-ndjson", Box::pin(lines::chunks(feed))),
        None => streaming("text/event-stream", Box::pin(sse::chunks(feed))),
    })
}

/// Waits for a while until a majority is known to hold anything, where one counts: in its first moments a primary has heard of
/// nobody, and a browser that is refused does not come back. Nothing tells of that moment but a wait that takes a thread, of which
/// there are not as many as watches; so this looks, as long as it lasts.
async fn await_majority(shared: &Shared) {
    let majority = shared.options.majority();
    let log = shared.store.log();
    let until = Instant::now() + MAJORITY_WAIT_MAX;
    while log.newest_known(majority).is_err() && Instant::now() < until && !shared.stop.is_stopped() {
        sleep(MAJORITY_LOOK_INTERVAL).await;
    }
}

/// What the request asks for, by path, query and head.
fn read(shared: &Shared, scope: Scope, request: &Parts) -> Answer<Asked> {
    let last_event_id = request
        .headers
        .get("last-event-id")
        .map(HeaderValue::to_str)
        .transpose();
    let last_event_id = last_event_id.map_err(|_| Problem::bad_parameter("Last-Event-ID", "it is no text"))?;
    let seen = (&shared.store, shared.options.majority());
    query::parse(seen, scope, request.uri.query(), last_event_id)
}

/// Begins a watch.
fn begin(
    shared: &Arc<Shared>,
    peer: &Peer,
    transport: Transport,
    question: Question,
    warrant: Warrant,
) -> Answer<Feed> {
    let Question {
        scope,
        filter,
        pipeline,
        writing,
        heartbeat,
        begins_with_majority: _,
        watch,
    } = question;
    if shared.store.log().is_closed() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store is closed"));
    }
    let (handle, receiver) = watch.channel_capacity(CHANNEL.0, CHANNEL.1).subscribe()?;
    let description = WatchDescription {
        scope,
        transport: transport.name(),
        client: peer.address.to_string(),
        filter,
        pipeline,
    };
    let listed = shared.store.listed_watches().enter_receiver(description, &receiver);
    Ok(Feed::new(
        (handle, receiver, listed),
        writing,
        (heartbeat, shared.options.heartbeat),
        (shared.stop.clone(), warrant),
        (Arc::clone(&shared.budget), peer.eviction.clone()),
    ))
}

fn scope_of(path: &str) -> Answer<Scope> {
    let below = path.strip_prefix("/v1/watch").unwrap_or_default();
    let segments: Vec<&str> = below.split('/').filter(|segment| !segment.is_empty()).collect();
    query::scope(&segments)?.ok_or_else(|| Problem::not_found(path))
}
