//! One connection: a task that reads requests and writes answers until one of both sides ends it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tailwater_auth::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::budget::Eviction;
use crate::encryption;
use crate::patience::Patient;
use crate::places::Place;
use crate::router;
use crate::server::Shared;

/// Bytes of a request's head beyond which no more is read, and of what waits to be written besides the newest chunk. The last read of
/// a head may be as long again.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Fields in a request's head.
const HEADERS_MAX: usize = 64;

/// A client, as long as anything of its connection lives.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Tells it to leave what it takes too little of.
    pub(crate) eviction: Eviction,
    /// Its place among the connections.
    _place: Place,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, place: Place) -> Peer {
        Peer {
            address,
            eviction: Eviction::default(),
            _place: place,
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: Peer) {
    match shared.options.tls.clone() {
        None => {
            let stream = Patient::new(stream, shared.options.stall_deadline);
            converse(shared, stream, peer).await;
        }
        // Boxed, so that the task of a connection that is not encrypted has no room for one that is.
        Some(tls) => Box::pin(serve_encrypted(shared, tls, stream, peer)).await,
    }
}

async fn serve_encrypted(shared: Arc<Shared>, tls: Arc<Tls>, stream: TcpStream, peer: Peer) {
    match encryption::accept(&shared, &tls, stream).await {
        Ok(stream) => converse(shared, stream, peer).await,
        Err(error) => {
            tracing::info!(address = %peer.address, %error, "a connection was not encrypted, and is closed");
        }
    }
}

/// Answers requests until one of both sides ends the connection.
async fn converse<S>(shared: Arc<Shared>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header_deadline = shared.options.header_deadline;
    let mut stop = shared.stop.clone();
    let peer = Arc::new(peer);
    let eviction = peer.eviction.clone();
    let service = service_fn(move |request| {
        let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(router::answer(&shared, &peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let to_the_end = async {
        tokio::select! {
            served = connection.as_mut() => served,
            () = stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    tokio::select! {
        served = to_the_end => if let Err(error) = served {
            // It is gone, or has sent what is no request: its affair.
            tracing::debug!(%error, "a connection has ended");
        },
        () = eviction.told() => tracing::info!("a client was left that has taken too little of a large event"),
    }
}
