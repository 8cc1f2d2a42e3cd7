//! A server in this process, and a client that speaks the protocol and nothing more.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::needless_pass_by_value, reason = "commands are written where they are sent")]

pub(crate) mod scram;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::{Binary, Document, RawDocument, RawDocumentBuf, doc};
use tailwater::Store;
use tailwater_auth::{Authentication, Authority};
use tailwater_server::{Server, ServerHandle, ServerOptions};
use tailwater_wire::{HEADER_BYTES, Header, Msg, MsgFlags, Sequence};

/// A server over a store of its own, which ends with it.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServerHandle,
    authority: Arc<Authority>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    pub(crate) fn new() -> Running {
        Running::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Running {
        Running::authenticating(Authentication::default(), change)
    }

    pub(crate) fn authenticating(authentication: Authentication, change: impl FnOnce(&mut ServerOptions)) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let authority = Arc::new(Authority::open(store.clone(), authentication).unwrap());
        let mut options = on_a_free_port();
        change(&mut options);
        let server = Server::bind(store.clone(), Arc::clone(&authority), options).unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Running {
            store,
            address,
            handle,
            authority,
            thread: Some(thread),
            _dir: dir,
        }
    }

    /// A server whose clients have to log in, with a user `root` that may do everything.
    pub(crate) fn guarded() -> Running {
        Running::guarded_with(|_| {})
    }

    pub(crate) fn guarded_with(change: impl FnOnce(&mut ServerOptions)) -> Running {
        let running = Running::with(change);
        let root = doc! { "createUser": "root", "pwd": "root's", "roles": ["root"] };
        let made = running.client().run_on("admin", root);
        assert_eq!(made.get_f64("ok").ok(), Some(1.0), "{made}");
        running
    }

    /// Whether clients have to log in.
    pub(crate) fn has_users(&self) -> bool {
        let status = self.client().run(doc! { "find": "c", "limit": 1 });
        status.get_i32("code").ok() == Some(13)
    }

    /// A connection on which `root` has logged in.
    pub(crate) fn root(&self) -> Client {
        let mut client = self.client();
        client.login("root", "root's");
        client
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Stops it, and starts another over the same store, on another address.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let authority = Arc::clone(&self.authority);
        let server = Server::bind(self.store.clone(), authority, on_a_free_port()).unwrap();
        (self.address, self.handle) = (server.local_addr(), server.handle());
        self.thread = Some(std::thread::spawn(move || server.run().unwrap()));
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn on_a_free_port() -> ServerOptions {
    ServerOptions {
        bind: "127.0.0.1:0".parse().unwrap(),
        // A test may connect long before it says something, and a busy machine makes that longer.
        handshake_timeout: Duration::from_secs(300),
        ..ServerOptions::default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, next_id: 1 }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // The server may have closed already, which the next read finds.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a command with flags and sequences; its number.
    pub(crate) fn send(&mut self, body: &Document, flags: MsgFlags, sequences: Vec<Sequence<'_>>) -> i32 {
        self.send_raw(&RawDocumentBuf::try_from(body).unwrap(), flags, sequences)
    }

    fn send_raw(&mut self, body: &RawDocument, flags: MsgFlags, sequences: Vec<Sequence<'_>>) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let msg = Msg { flags, body, sequences };
        let bytes = msg.to_bytes(id, 0).unwrap();
        self.send_bytes(&bytes);
        id
    }

    /// The next message; nothing when the server has closed.
    pub(crate) fn receive_bytes(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head).ok()?;
        let header = Header::parse(&head).unwrap();
        let mut rest = vec![0; header.body_bytes()];
        self.stream.read_exact(&mut rest).unwrap();
        Some((header, rest))
    }

    /// The next answer, with its flags and the number of what it answers.
    pub(crate) fn receive(&mut self) -> (Document, MsgFlags, i32) {
        let (header, rest) = self.receive_bytes().expect("an answer");
        let msg = Msg::parse(&header, &rest).unwrap();
        (Document::try_from(msg.body).unwrap(), msg.flags, header.response_to)
    }

    /// Runs a command on a database; the answer, whatever it says.
    pub(crate) fn run_on(&mut self, database: &str, mut command: Document) -> Document {
        command.insert("$db", database);
        let id = self.send(&command, MsgFlags::default(), Vec::new());
        let (answer, _, response_to) = self.receive();
        assert_eq!(response_to, id);
        answer
    }

    /// The same with a body as it is, which no `Document` may be able to hold.
    pub(crate) fn run_raw(&mut self, database: &str, body: &RawDocument) -> Document {
        let mut body = body.to_owned();
        body.append(bson::raw::cstr!("$db"), database);
        let id = self.send_raw(&body, MsgFlags::default(), Vec::new());
        let (answer, _, response_to) = self.receive();
        assert_eq!(response_to, id);
        answer
    }

    /// Runs a command on `test`; nothing when the server has closed.
    pub(crate) fn run_if_open(&mut self, mut command: Document) -> Option<Document> {
        command.insert("$db", "test");
        self.send(&command, MsgFlags::default(), Vec::new());
        let (header, rest) = self.receive_bytes()?;
        let msg = Msg::parse(&header, &rest).unwrap();
        Document::try_from(msg.body).ok()
    }

    pub(crate) fn run(&mut self, command: Document) -> Document {
        self.run_on("test", command)
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&mut self, command: Document) -> Document {
        let answer = self.run(command.clone());
        assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{command}: {answer}");
        answer
    }

    /// Runs a command that must fail; its code and name.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: Document) -> (i32, String) {
        let answer = self.run(command.clone());
        assert_eq!(answer.get_f64("ok").ok(), Some(0.0), "{command}: {answer}");
        let name = answer.get_str("codeName").unwrap().to_owned();
        assert!(!answer.get_str("errmsg").unwrap().is_empty());
        (answer.get_i32("code").unwrap(), name)
    }

    /// Runs a command on `admin` that must succeed.
    #[track_caller]
    pub(crate) fn admin(&mut self, command: Document) -> Document {
        let answer = self.run_on("admin", command.clone());
        assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{command}: {answer}");
        answer
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive_bytes().is_none()
    }
}

/// How long something may take that comes by itself, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Looks until there is something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// What is being carried out of a kind (`getmore`, `query`, …), as soon as there is any.
#[track_caller]
pub(crate) fn under_way(client: &mut Client, op: &str) -> Document {
    until(&format!("an operation {op}"), || {
        let answer = client.run_on("admin", doc! { "currentOp": true, "op": op });
        let found = answer.get_array("inprog").unwrap().first()?;
        Some(found.as_document().unwrap().clone())
    })
}

/// The documents of an answer's batch.
pub(crate) fn batch(answer: &Document) -> Vec<Document> {
    let cursor = answer.get_document("cursor").unwrap();
    let batch = cursor
        .get_array("firstBatch")
        .or_else(|_| cursor.get_array("nextBatch"));
    let documents = batch.unwrap().iter();
    documents
        .map(|document| document.as_document().unwrap().clone())
        .collect()
}

/// The number of an answer's cursor.
pub(crate) fn cursor_id(answer: &Document) -> i64 {
    answer.get_document("cursor").unwrap().get_i64("id").unwrap()
}

/// A new session.
pub(crate) fn session() -> Document {
    doc! { "id": Binary::from_uuid(bson::Uuid::new()) }
}

/// The most bytes of memory that the process has had in use.
pub(crate) fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
