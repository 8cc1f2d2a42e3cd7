//! From a request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;

use crate::body::Body;
use crate::connection::Peer;
use crate::gate::Sight;
use crate::origin;
use crate::problem::{Answer, Problem};
use crate::server::Shared;
use crate::{dashboard, metrics, watch};

const WATCH: &str = "/v1/watch";

/// Answers a request, whatever it is.
pub(crate) async fn answer(shared: &Arc<Shared>, peer: &Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
    shared.counters.requests.fetch_add(1, Ordering::Relaxed);
    let refused = |problem: Problem| {
        shared.counters.problems.fetch_add(1, Ordering::Relaxed);
        problem.into_response()
    };
    let asking = match origin::check(request.headers(), &shared.options, shared.gate.asks_for_login()) {
        Ok(asking) => asking,
        Err(problem) => return refused(problem),
    };
    let mut response = route(shared, peer, request).await.unwrap_or_else(refused);
    asking.mark(&mut response);
    response
}

async fn route(shared: &Arc<Shared>, peer: &Arc<Peer>, request: Request<Incoming>) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Ok(origin::preflight()),
        _ => {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "there is nothing here but to GET");
            return Err(problem.with_header(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS")));
        }
    }
    let path = request.uri().path();
    match path {
        "/healthz" => Ok(text("text/plain; charset=utf-8", "ok\n")),
        "/readyz" => in_background(shared, |shared| shared.monitor.readiness(shared)).await,
        "/metrics" => {
            monitored(shared, peer, request.headers(), |shared| {
                Ok(text(metrics::CONTENT_TYPE, metrics::render(shared)))
            })
            .await
        }
        "/v1/stats" => {
            monitored(shared, peer, request.headers(), |shared| {
                Ok(text("application/json", shared.monitor.json(shared)?))
            })
            .await
        }
        _ => match path.strip_prefix(WATCH) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => watch::answer(shared, peer, request).await,
            _ => {
                let asset = dashboard::find(path).ok_or_else(|| Problem::not_found(path))?;
                let headers = request.headers().clone();
                monitored(shared, peer, &headers.clone(), move |_| Ok(asset.response(&headers))).await
            }
        },
    }
}

/// Answers from a thread that may wait, for a caller that may look at how things are.
async fn monitored(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    headers: &HeaderMap,
    work: impl FnOnce(&Arc<Shared>) -> Answer + Send + 'static,
) -> Answer {
    shared.gate.admit(headers, peer.address.ip(), Sight::Numbers).await?;
    in_background(shared, work).await
}

/// Runs what may wait for a disk in a thread that may.
pub(crate) async fn in_background<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Arc<Shared>) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let shared = Arc::clone(shared);
    let done = spawn_blocking(move || work(&shared)).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "answering a request has failed");
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server has failed; its log says more",
        ))
    })
}

fn text(media_type: &'static str, text: impl Into<hyper::body::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
