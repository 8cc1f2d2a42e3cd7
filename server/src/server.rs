//! The server: its socket, its connections, and its end.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bson::{DateTime, Timestamp};
use rustix::net::sockopt;
use tailwater::{MemoryBudget, OpId, ReadConcern, Store};
use tailwater_auth::Authority;

use crate::connection;
use crate::context::Peer;
use crate::cursor::Cursors;
use crate::election::Elections;
use crate::error::{ServerError, ServerResult};
use crate::fail_points::FailPoints;
use crate::operations::Operations;
use crate::options::ServerOptions;
use crate::request::SessionId;
use crate::session::Sessions;
use crate::topology::Topology;
use crate::users::Keeper;

/// How long connections may take to finish what they are at when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked for cursors and sessions whose time is over: at least and at most.
const SWEEP_INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
/// How often it is looked for cursors that keep too much, while there are cursors.
const UNPIN_INTERVAL: Duration = Duration::from_millis(500);
/// How long accepting pauses when the system has no more file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// After so long a silence the system asks whether the other machine is still there, and ends the connection if it is not.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) authority: Arc<Authority>,
    pub(crate) options: ServerOptions,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) sessions: Sessions,
    pub(crate) topology: Arc<Topology>,
    pub(crate) elections: Elections,
    pub(crate) operations: Operations,
    /// Of a server that was started for tests.
    pub(crate) fail_points: Option<FailPoints>,
    pub(crate) started: Instant,
    pub(crate) commands_run: AtomicU64,
    stopping: AtomicBool,
    connections: Mutex<HashMap<i32, (Arc<TcpStream>, IpAddr)>>,
    /// Told when a connection has ended.
    ended: Condvar,
    connections_made: AtomicI32,
    /// Bytes of the messages that are being read and answered.
    pub(crate) message_memory: AtomicUsize,
    /// What queries hold.
    pub(crate) query_memory: MemoryBudget,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, HashMap<i32, (Arc<TcpStream>, IpAddr)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connection_count(&self) -> (usize, i32) {
        (self.connections().len(), self.connections_made.load(Ordering::Relaxed))
    }

    /// Ends a session, with its transaction and its cursors.
    pub(crate) fn end_session(&self, id: SessionId) {
        self.sessions.end(id);
        self.cursors.kill_session(id);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Bytes that the store has appended to its log since it was opened.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.store.log_stats().append_bytes.sum()
    }

    /// The newest entry that reads see.
    pub(crate) fn seen(&self) -> OpId {
        match self.store.is_following() {
            // Its log has more, when much comes at once.
            true => self.store.applied(),
            false => self.store.log().newest(ReadConcern::Local),
        }
    }

    /// The cluster time of the newest entry that reads see, or of now as long as there is none.
    pub(crate) fn operation_time(&self) -> Timestamp {
        self.op_time(self.seen()).map_or_else(
            || tailwater::cluster_time(tailwater::oplog::Timestamp::now()),
            |(time, _)| time,
        )
    }

    /// When, and in which term, an entry was written that is still there.
    pub(crate) fn op_time(&self, op_id: OpId) -> Option<(Timestamp, i64)> {
        let entry = self.store.log().get(op_id, ReadConcern::Local).ok()?;
        Some((
            tailwater::cluster_time(entry.timestamp()),
            i64::from(entry.term().get()),
        ))
    }
}

/// A server that listens. See the crate's documentation.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Begins to listen. Clients can connect from now on, and are answered as soon as [`Server::run`] runs.
    ///
    /// # Errors
    ///
    /// [`ServerError::WithoutUsers`], [`ServerError::WithoutTls`], [`ServerError::Listen`].
    pub fn bind(store: Store, authority: Arc<Authority>, options: ServerOptions) -> ServerResult<Server> {
        let address = options.bind;
        if !address.ip().is_loopback() {
            if !authority.is_required() {
                return Err(ServerError::WithoutUsers { address });
            }
            if options.tls.is_none() && !options.allow_plaintext {
                return Err(ServerError::WithoutTls { address });
            }
        }
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared {
            authority,
            cursors: Arc::new(Cursors::new(&options)),
            sessions: Sessions::new(options.session_timeout),
            topology: Arc::new(Topology::new(store.is_following())),
            elections: Elections::default(),
            operations: Operations::default(),
            query_memory: MemoryBudget::new(options.query_memory_max),
            store,
            fail_points: options.test_commands.then(FailPoints::default),
            options,
            started: Instant::now(),
            commands_run: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            ended: Condvar::new(),
            connections_made: AtomicI32::new(0),
            message_memory: AtomicUsize::new(0),
        };
        if let Some(member) = &shared.options.member {
            member.tell(&shared.topology);
        }
        Ok(Server {
            listener,
            address,
            shared: Arc::new(shared),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server from another thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            shared: Arc::clone(&self.shared),
            address: self.address,
        }
    }

    /// Serves until it is stopped, then ends what is going on: waits for changes end at once, with an error after which drivers
    /// resume elsewhere; other commands are finished; and everything that was written is made durable.
    ///
    /// # Errors
    ///
    /// [`ServerError::Thread`], before it serves anything; [`ServerError::Users`], also when it has served: it stops for that.
    pub fn run(self) -> ServerResult<()> {
        let users = Keeper::start(&self.shared, self.handle())?;
        let (wake, woken) = mpsc::channel::<()>();
        self.shared.cursors.watched_by(wake.clone());
        let swept = Arc::clone(&self.shared);
        let sweeper = thread::Builder::new()
            .name("tailwater-sweep".into())
            .spawn(move || sweep(&swept, &woken))
            .map_err(ServerError::Thread)?;
        for stream in self.listener.incoming() {
            if self.shared.is_stopping() {
                break;
            }
            match stream {
                Ok(stream) => accept(&self.shared, stream),
                Err(error) => {
                    // A client that is gone again, or too many open files: neither is for long.
                    tracing::warn!(%error, "a connection could not be accepted");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        drop(self.listener);
        // It is there as long as this runs, or has panicked.
        let _ = wake.send(());
        finish(&self.shared);
        let kept = users.map_or(Ok(()), Keeper::stop);
        // A sweep that has panicked has been told of, and keeps nothing from ending.
        let _ = sweeper.join();
        kept
    }
}

/// Ends cursors and sessions whose time is over, until the server stops. It is woken for that, and when there is a cursor again.
fn sweep(shared: &Shared, woken: &mpsc::Receiver<()>) {
    let shortest = shared.options.cursor_timeout.min(shared.options.session_timeout);
    let interval = (shortest / 4).clamp(SWEEP_INTERVALS.0, SWEEP_INTERVALS.1);
    let (mut forgot, mut swept) = (Instant::now(), Instant::now());
    let mut written = 0;
    loop {
        let pause = match shared.cursors.len() {
            0 => interval,
            _ => interval.min(UNPIN_INTERVAL),
        };
        let woke = woken.recv_timeout(pause);
        if shared.is_stopping() || woke == Err(mpsc::RecvTimeoutError::Disconnected) {
            break;
        }
        let now_written = shared.bytes_written();
        if now_written != std::mem::replace(&mut written, now_written) {
            shared.cursors.unpin(written);
        }
        if swept.elapsed() < interval {
            continue;
        }
        swept = Instant::now();
        if forgot.elapsed() >= shared.options.session_timeout / 4 {
            forgot = Instant::now();
            forget_writes(shared);
        }
        shared.store.end_expired_transactions();
        shared.sessions.recount();
        shared.cursors.expire();
        let before = Instant::now();
        for id in shared.sessions.expire() {
            shared.cursors.kill_idle_of_session(id, before);
        }
    }
}

/// Has the store forget what sessions have written that have not written for as long as a session lasts: nobody sends that
/// again.
fn forget_writes(shared: &Shared) {
    if shared.store.is_following() {
        // The primary's entries say what it has forgotten.
        return;
    }
    let age = i64::try_from(shared.options.session_timeout.as_millis()).unwrap_or(i64::MAX);
    let before = DateTime::from_millis(DateTime::now().timestamp_millis().saturating_sub(age));
    if let Err(error) = shared.store.forget_sessions(before) {
        tracing::error!(%error, "what old sessions have written is not forgotten; trying again later");
    }
}

/// A connection's place among the others, which it leaves when its thread ends, however that is.
struct Place {
    shared: Arc<Shared>,
    id: i32,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((stream, _)) = self.shared.connections().remove(&self.id) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.ended.notify_all();
    }
}

/// Gives a connection its thread; without one for it the connection is closed.
fn accept(shared: &Arc<Shared>, stream: TcpStream) {
    let mut connections = shared.connections();
    if connections.len() >= shared.options.connections_max {
        tracing::warn!(
            max = shared.options.connections_max,
            "a connection was refused: there are too many"
        );
        return;
    }
    let Ok(address) = stream.peer_addr() else {
        // It is gone again.
        return;
    };
    let network = tailwater_auth::network(address.ip());
    let max = shared.options.connections_max_of(address.ip());
    // Only looked at where it can be reached.
    if connections.len() >= max && connections.values().filter(|(_, other)| *other == network).count() >= max {
        tracing::warn!(%network, max, "a connection was refused: there are too many from its address");
        return;
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let id = shared.connections_made.fetch_add(1, Ordering::Relaxed) + 1;
    let peer = Peer {
        id,
        address,
        local,
        app_name: OnceLock::new(),
    };
    // A system that does not know these has a connection that lives without them.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(&stream, true);
    let _ = sockopt::set_tcp_keepidle(&stream, KEEPALIVE);
    // One descriptor for both who serves it and who ends it.
    let stream = Arc::new(stream);
    let handle = Arc::clone(&stream);
    connections.insert(id, (handle, network));
    drop(connections);
    let place = Place {
        shared: Arc::clone(shared),
        id,
    };
    let run = move || {
        let place = place;
        connection::serve(&place.shared, &peer, &stream);
    };
    if let Err(error) = thread::Builder::new().name(format!("tailwater-{id}")).spawn(run) {
        tracing::warn!(%error, "a connection was refused: there is no thread for it");
    }
}

/// Ends what is going on.
fn finish(shared: &Shared) {
    shared.topology.stop();
    if let Some(points) = &shared.fail_points {
        points.stop();
    }
    shared.cursors.kill_all();
    // No more requests; what is being answered can still be.
    for (stream, _) in shared.connections().values() {
        let _ = stream.shutdown(Shutdown::Read);
    }
    let deadline = Instant::now() + GRACE;
    let mut connections = shared.connections();
    while !connections.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!(connections = connections.len(), "connections did not end in time");
            for (stream, _) in connections.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            break;
        }
        let waited = shared.ended.wait_timeout(connections, left);
        connections = waited.map_or_else(|error| error.into_inner().0, |(connections, _)| connections);
    }
    drop(connections);
    shared.sessions.end_all();
    // One that is to be cut back or replaced is closed already.
    if !shared.store.log().is_closed()
        && let Err(error) = shared.store.sync()
    {
        tracing::error!(%error, "what was written last may not survive power loss");
    }
}

/// Stops a server; see [`Server::handle`].
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl ServerHandle {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Has [`Server::run`] end. It returns when everything has come to its end.
    pub fn stop(&self) {
        if !self.shared.stopping.swap(true, Ordering::AcqRel) {
            // Accepting waits for a connection, so that is what wakes it.
            let _ = TcpStream::connect(self.address);
        }
    }
}
