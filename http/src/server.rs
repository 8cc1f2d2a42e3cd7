//! The server: its socket, its threads, and its end.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tailwater::Store;
use tailwater_auth::Authority;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::budget::Budget;
use crate::connection::{self, Peer};
use crate::error::{HttpError, HttpResult};
use crate::gate::Gate;
use crate::options::HttpOptions;
use crate::places::Places;
use crate::stats::{Monitor, WireStats};
use crate::stop::{Stop, Stopper};

/// How long accepting pauses when the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection may be silent before the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Threads for what may wait for a disk: beginning a watch, checking a login, looking at the log.
const BLOCKING_THREADS: usize = 4;
/// Stack of each thread. Events are documents of limited depth.
const STACK_BYTES: usize = 1 << 20;

/// What a client is told for whom there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nConnection: close\r\n\r\n";

/// What has been counted since the server began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) problems: AtomicU64,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) options: HttpOptions,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counters: Counters,
    pub(crate) monitor: Monitor,
    pub(crate) budget: Arc<Budget>,
    pub(crate) places: Places,
    pub(crate) stop: Stop,
}

impl Shared {
    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.places.taken()
    }
}

/// A server that listens. See the crate's documentation.
#[derive(Debug)]
pub struct HttpServer {
    listener: StdListener,
    address: SocketAddr,
    store: Store,
    options: HttpOptions,
    gate: Arc<Gate>,
    monitor: Monitor,
    stopper: Arc<Stopper>,
}

impl HttpServer {
    /// Begins to listen, for those whom `authority`, which is the store's, lets in. Clients can connect from now on, and are
    /// answered as soon as [`HttpServer::run`] runs.
    ///
    /// # Errors
    ///
    /// [`HttpError::WithoutUsers`] and [`HttpError::WithoutTls`] when other machines could connect; [`HttpError::Listen`].
    pub fn bind(store: Store, authority: Arc<Authority>, options: HttpOptions) -> HttpResult<HttpServer> {
        let address = options.bind;
        if !address.ip().is_loopback() {
            if !authority.is_required() {
                return Err(HttpError::WithoutUsers { address });
            }
            if options.tls.is_none() && !options.allow_plaintext {
                return Err(HttpError::WithoutTls { address });
            }
        }
        let listen = |source| HttpError::Listen { address, source };
        let listener = StdListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(HttpServer {
            listener,
            address,
            store,
            options,
            gate: Arc::new(Gate::new(authority)),
            monitor: Monitor::default(),
            stopper: Arc::new(Stopper::new()),
        })
    }

    /// The same server, which also shows the numbers of a server of MongoDB's protocol in the same process.
    #[must_use]
    pub fn with_wire(mut self, wire: impl Fn() -> WireStats + Send + Sync + 'static) -> HttpServer {
        self.monitor = self.monitor.with_wire(wire);
        self
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server from elsewhere.
    #[must_use]
    pub fn handle(&self) -> HttpHandle {
        HttpHandle(Arc::clone(&self.stopper))
    }

    /// Serves until it is stopped. Then watches end with the token to go on from, other answers are finished, and what is not at
    /// its end within [`HttpOptions::grace`] is broken off.
    ///
    /// # Errors
    ///
    /// [`HttpError::Runtime`], before it serves anything.
    pub fn run(self) -> HttpResult<()> {
        let runtime = runtime(self.options.workers).map_err(HttpError::Runtime)?;
        let stop = self.stopper.subscribe();
        let grace = self.options.grace;
        let shared = Arc::new(Shared {
            budget: Arc::new(Budget::new(self.options.event_memory_max, self.options.stall_deadline)),
            places: Places::new(&self.options),
            store: self.store,
            options: self.options,
            gate: self.gate,
            counters: Counters::default(),
            monitor: self.monitor,
            stop,
        });
        let listener = self.listener;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).map_err(HttpError::Runtime)?;
            let sampled = Arc::clone(&shared);
            let sampling = tokio::spawn(async move { Monitor::sample(&sampled).await });
            accept(&shared, listener).await;
            sampling.abort();
            // All places are free when all connections have ended.
            if tokio::time::timeout(grace, shared.places.all_free()).await.is_err() {
                let connections = shared.connections();
                tracing::warn!(connections, "connections did not end in time");
            }
            Ok(())
        })?;
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }
}

fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("tailwater-http")
        .thread_stack_size(STACK_BYTES)
        .enable_io()
        .enable_time()
        .build()
}

/// Takes connections until the server stops.
async fn accept(shared: &Arc<Shared>, listener: TcpListener) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped() => return,
        };
        match accepted {
            Ok((stream, address)) => welcome(shared, stream, address),
            Err(error) => {
                // A client that is gone again, or too many open files: neither is for long.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives a connection its task, if there is a place for it.
fn welcome(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr) {
    shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    let Some(place) = shared.places.take(address.ip()) else {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            max = shared.options.connections_max,
            %address,
            "a connection was refused: there are too many, or too many from its address"
        );
        // What does not go at once does not matter. Who waits for encryption would not understand it.
        if shared.options.tls.is_none() {
            let _ = stream.try_write(FULL);
        }
        return;
    };
    // A system that does not know these has a connection that lives without them.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(&stream, true);
    let _ = sockopt::set_tcp_keepidle(&stream, KEEPALIVE);
    tokio::spawn(connection::serve(Arc::clone(shared), stream, Peer::new(address, place)));
}

/// Stops a server; see [`HttpServer::handle`].
#[derive(Clone, Debug)]
pub struct HttpHandle(Arc<Stopper>);

impl HttpHandle {
    /// Has [`HttpServer::run`] end. It returns when everything has come to its end.
    pub fn stop(&self) {
        self.0.stop();
    }
}
