//! What is being carried out now, for `currentOp` and `killOp`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bson::raw::{CString, cstr};
use bson::{RawDocumentBuf, rawdoc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tailwater::matcher::{Interrupt, Interruption, StepScope};
use tailwater::{MemoryShare, QueryControl};

use tailwater_auth::UserId;

use crate::context::Peer;
use crate::error::{CommandError, CommandResult, code};
use crate::request::{Request, SessionId};
use crate::server::Shared;

/// How often an operation looks whether its client is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A command that is being carried out.
struct Operation {
    command: &'static str,
    namespace: String,
    connection: i32,
    client: SocketAddr,
    app_name: Option<String>,
    /// The session that it is part of.
    session: Option<SessionId>,
    /// The cursor that a `getMore` has.
    cursor: Option<i64>,
    started: Instant,
    /// Whether it is to end.
    killed: Arc<AtomicBool>,
}

/// The commands that are being carried out, by their numbers.
#[derive(Default)]
pub(crate) struct Operations {
    running: Mutex<BTreeMap<i32, Operation>>,
    begun: AtomicI32,
}

/// A command's place among them, which it leaves when it is done.
pub(crate) struct Running<'a> {
    operations: &'a Operations,
    id: i32,
    killed: Arc<AtomicBool>,
}

impl Running<'_> {
    /// What ends it in the middle; the connection is that of its client.
    pub(crate) fn interrupts<'a>(&self, server: &'a Arc<Shared>, stream: &Arc<TcpStream>) -> Interrupts<'a> {
        Interrupts {
            id: self.id,
            killed: Arc::clone(&self.killed),
            server,
            client: Arc::new(Client {
                server: Arc::downgrade(server),
                stream: Arc::downgrade(stream),
                looked: Mutex::new((Instant::now(), false)),
            }),
        }
    }
}

/// What ends an operation in the middle. Operations that may take long ask for it between two documents; what they evaluate on one is
/// ended by [`Interrupts::scope`].
#[derive(Clone)]
pub(crate) struct Interrupts<'a> {
    /// The operation's number.
    id: i32,
    killed: Arc<AtomicBool>,
    server: &'a Shared,
    client: Arc<Client>,
}

/// Whether the client of an operation is still there. A cursor that stands keeps this, and with it neither connection nor server.
struct Client {
    server: Weak<Shared>,
    stream: Weak<TcpStream>,
    /// When that was looked at, and what was seen.
    looked: Mutex<(Instant, bool)>,
}

impl Client {
    /// Looks now and then.
    fn is_gone(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, seen) = *looked;
        if seen || at.elapsed() < LOOK_INTERVAL {
            return seen;
        }
        let gone = match (self.server.upgrade(), self.stream.upgrade()) {
            // A server that stops ends what comes from its clients itself, and finishes what they have asked for.
            (Some(server), Some(stream)) => !server.is_stopping() && is_gone(&stream),
            _ => true,
        };
        *looked = (Instant::now(), gone);
        gone
    }
}

impl Interrupt for Client {
    fn check(&self) -> Result<(), Interruption> {
        match self.is_gone() {
            true => Err(Interruption::ClientGone),
            false => Ok(()),
        }
    }
}

/// What ends what an operation evaluates.
struct Ends {
    killed: Arc<AtomicBool>,
    deadline: Option<Instant>,
    client: Arc<Client>,
}

impl Interrupt for Ends {
    fn check(&self) -> Result<(), Interruption> {
        if self.killed.load(Ordering::Relaxed) {
            return Err(Interruption::Killed);
        }
        match self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(Interruption::TimeExpired),
            false => self.client.check(),
        }
    }
}

impl Interrupts<'_> {
    /// Over a query that is part of the operation, or of a cursor that it has.
    pub(crate) fn control(&self) -> QueryControl {
        QueryControl::new(self.server.query_memory.clone())
    }

    /// Memory for what a cursor keeps, with nothing in it yet.
    pub(crate) fn memory(&self) -> MemoryShare {
        self.server.query_memory.share()
    }

    /// Has a query end with this operation, with its client, and at the deadline.
    pub(crate) fn rule(&self, control: &QueryControl, deadline: Option<Instant>) {
        control.set_ends(Arc::clone(&self.killed), deadline);
        control.set_other_end(Arc::clone(&self.client) as Arc<dyn Interrupt>);
    }

    /// Has all that this thread evaluates end with this operation, with its client, and at the deadline, until the scope is dropped:
    /// also what is no query, as the changes that writes make.
    pub(crate) fn scope(&self, deadline: Option<Instant>) -> StepScope {
        StepScope::interrupted_by(Arc::new(Ends {
            killed: Arc::clone(&self.killed),
            deadline,
            client: Arc::clone(&self.client),
        }))
    }

    /// Has all other operations of a session end. What waits with a cursor ends with that.
    pub(crate) fn kill_session(&self, session: SessionId) {
        self.server.operations.kill_session(session, self.id);
    }

    /// Refuses to go on when the operation was killed, or its client is gone.
    pub(crate) fn check(&self) -> CommandResult<()> {
        if self.killed.load(Ordering::Relaxed) {
            return Err(CommandError::new(code::INTERRUPTED, "operation was interrupted"));
        }
        match self.client.is_gone() {
            true => Err(CommandError::new(code::CLIENT_DISCONNECT, "the client has gone")),
            false => Ok(()),
        }
    }

    /// The same, and when the server stops: for what reads a log without end.
    pub(crate) fn check_endless(&self) -> CommandResult<()> {
        if self.server.is_stopping() {
            return Err(CommandError::new(
                code::INTERRUPTED_AT_SHUTDOWN,
                "the server is shutting down",
            ));
        }
        self.check()
    }

    /// The same for what has been carried out and is told now: only the end of the client or the server is in its way.
    pub(crate) fn without_kill(&self) -> Self {
        Interrupts {
            killed: Arc::default(),
            ..self.clone()
        }
    }
}

/// Whether the other side has closed the connection, whatever it has left to be read: requests that it has sent ahead, or the end
/// of an encryption.
fn is_gone(stream: &TcpStream) -> bool {
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut waits = [PollFd::new(stream, PollFlags::RDHUP)];
    match poll(&mut waits, Some(&Timespec::default())) {
        Ok(_) => waits[0].revents().intersects(gone),
        Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.operations.lock().remove(&self.id);
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Operation>> {
        // Every change is one step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command begins.
    pub(crate) fn begin(&self, command: &'static str, request: &Request<'_>, peer: &Peer) -> Running<'_> {
        let id = self.begun.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (collection, cursor) = match command {
            "getMore" => (
                request.body.get_str("collection").ok(),
                request.body.get_i64("getMore").ok(),
            ),
            _ => (request.collection().ok(), None),
        };
        let operation = Operation {
            command,
            namespace: format!("{}.{}", request.database, collection.unwrap_or("$cmd")),
            connection: peer.id,
            client: peer.address,
            app_name: peer.app_name.get().cloned(),
            session: request.session,
            cursor,
            started: Instant::now(),
            killed: Arc::default(),
        };
        let killed = Arc::clone(&operation.killed);
        self.lock().insert(id, operation);
        Running {
            operations: self,
            id,
            killed,
        }
    }

    /// A document for each, as `currentOp` shows them.
    pub(crate) fn documents(&self) -> Vec<RawDocumentBuf> {
        let running = self.lock();
        running.iter().map(|(id, operation)| operation.document(*id)).collect()
    }

    /// Has the operation of that number end; the cursor that it waits with, if it is a `getMore`.
    pub(crate) fn kill(&self, id: i32) -> Option<i64> {
        let running = self.lock();
        let operation = running.get(&id)?;
        operation.killed.store(true, Ordering::Relaxed);
        operation.cursor
    }

    /// The sessions of a user in which something is being carried out.
    pub(crate) fn sessions_of(&self, user: Option<UserId>) -> Vec<SessionId> {
        let running = self.lock();
        let sessions = running.values().filter_map(|operation| operation.session);
        sessions.filter(|session| session.user == user).collect()
    }

    /// Has all operations of a session end but that of the number, which asks for it.
    fn kill_session(&self, session: SessionId, but: i32) {
        for (id, operation) in self.lock().iter() {
            if operation.session == Some(session) && *id != but {
                operation.killed.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Operation {
    fn document(&self, id: i32) -> RawDocumentBuf {
        let elapsed = self.started.elapsed();
        let op = match self.command {
            "getMore" => "getmore",
            "find" => "query",
            "insert" => "insert",
            "update" => "update",
            "delete" => "remove",
            _ => "command",
        };
        let mut command = RawDocumentBuf::new();
        if let Ok(name) = CString::try_from(self.command) {
            command.append(name, 1);
        }
        let mut document = rawdoc! {
            "type": "op",
            "desc": format!("conn{}", self.connection),
            "connectionId": self.connection,
            "client": self.client.to_string(),
            "active": true,
            "opid": id,
            "secs_running": i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX),
            "microsecs_running": i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX),
            "op": op,
            "ns": self.namespace.as_str(),
            "command": command,
        };
        if let Some(name) = &self.app_name {
            document.append(cstr!("appName"), name.as_str());
        }
        if let Some(cursor) = self.cursor {
            document.append(cstr!("cursor"), rawdoc! { "cursorId": cursor });
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_client_that_has_left_something_before_it_went_is_gone() {
        for left in [&b""[..], b"a request ahead"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            client.write_all(left).unwrap();
            assert!(!is_gone(&stream));
            drop(client);
            let deadline = Instant::now() + Duration::from_secs(60);
            while !is_gone(&stream) {
                assert!(Instant::now() < deadline, "a client that has gone is there");
                std::thread::yield_now();
            }
        }
    }
}
