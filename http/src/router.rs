//! From a request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;

use crate::access::{Action, Caller, Identity, Refusal};
use crate::body::Body;
use crate::connection::Peer;
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
    let asking = match origin::check(request.headers(), &shared.options, shared.access.asks_for_login()) {
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
    let (peer, authorization) = (Arc::clone(peer), headers.get(AUTHORIZATION).cloned());
    in_background(shared, move |shared| {
        authorize(shared, &peer, authorization.as_ref(), Action::Monitor)?;
        work(shared)
    })
    .await
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

/// Who it is, if it may.
pub(crate) fn authorize(
    shared: &Shared,
    peer: &Peer,
    authorization: Option<&HeaderValue>,
    action: Action<'_>,
) -> Answer<Identity> {
    let caller = Caller {
        address: peer.address,
        authorization: authorization.and_then(|value| value.to_str().ok()),
    };
    shared
        .access
        .authorize(caller, action)
        .map_err(|refusal| match refusal {
            Refusal::Login => {
                let scheme = HeaderValue::from_static("Basic realm=\"tailwater\", charset=\"UTF-8\"");
                Problem::new(StatusCode::UNAUTHORIZED, "authentication is required, or has failed")
                    .with_code(18, "AuthenticationFailed")
                    .with_header(WWW_AUTHENTICATE, scheme)
            }
            Refusal::Forbidden { what } => Problem::new(StatusCode::FORBIDDEN, what).with_code(13, "Unauthorized"),
        })
}

fn text(media_type: &'static str, text: impl Into<hyper::body::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
