//! One connection: its requests one after the other, and their answers.
//!
//! A client may send requests ahead of their answers; they are answered in order. A message that is none ends the connection:
//! nothing behind it can be trusted.

mod dispatch;
mod incoming;

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::RawDocument;
use tailwater_wire::{Compressed, Compressor, Msg, MsgFlags, Opcode, Query, reply_bytes};

use crate::commands;
use crate::context::Peer;
use crate::error::{CommandError, code};
use crate::login::Login;
use crate::request::Request;
use crate::server::Shared;
use crate::topology;
use crate::transport::{Transport, WriteDeadline};
use incoming::{Plain, Reserved};

/// How long a client may take to send the rest of a message it has begun, or to take an answer, …
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// … and a second more for so many bytes of an answer.
const SLOWEST_BYTES_PER_SECOND: usize = 64 << 10;
/// The same while messages have more than half of the memory that there is for them.
const PRESSED_TIMEOUT: Duration = Duration::from_secs(10);
const PRESSED_BYTES_PER_SECOND: usize = 1 << 20;
/// What a buffer for messages keeps from one to the next.
const BUFFER_KEPT: usize = 64 << 10;

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] tailwater_wire::Error),
    #[error("a message of {bytes} bytes from a client that has not logged in")]
    BeforeLogin { bytes: usize },
    #[error("no memory for a message of {bytes} bytes beside the others: raise the limit, or send less at a time")]
    Memory { bytes: usize },
    #[error("a fail point has closed the connection")]
    FailPoint,
}

/// A message that is to be answered.
struct Asked {
    request_id: i32,
    compressor: Option<Compressor>,
}

struct Connection<'a> {
    server: &'a Arc<Shared>,
    peer: &'a Peer,
    stream: &'a Arc<TcpStream>,
    reader: BufReader<Transport<'a>>,
    /// The number of the next message that is sent.
    next_id: i32,
    /// Who the client is.
    login: Login,
}

/// Serves a connection until it ends.
pub(crate) fn serve(server: &Arc<Shared>, peer: &Peer, stream: &Arc<TcpStream>) {
    let tls = server.options.tls.as_ref().map(|tls| tls.config());
    let deadline = Instant::now() + server.options.handshake_timeout;
    let is_pressed = || server.message_memory.load(Ordering::Relaxed) > server.options.message_memory_max / 2;
    let transport = match Transport::new(stream, tls, deadline, is_pressed) {
        Ok(transport) => transport,
        Err(error) => {
            tracing::warn!(client = %peer.address, %error, "a connection could not be encrypted");
            return;
        }
    };
    let mut connection = Connection {
        server,
        peer,
        stream,
        reader: BufReader::with_capacity(16 << 10, transport),
        next_id: 1,
        login: Login::new(peer),
    };
    tracing::debug!(client = %peer.address, connection = peer.id, "connected");
    let ended = connection.run();
    connection.reader.get_mut().close();
    match ended {
        Ok(()) => tracing::debug!(client = %peer.address, connection = peer.id, "disconnected"),
        Err(error) => tracing::info!(client = %peer.address, connection = peer.id, %error, "connection ended"),
    }
}

impl<'a> Connection<'a> {
    fn run(&mut self) -> Result<(), Broken> {
        let mut buffer = Vec::new();
        let mut is_first = true;
        while let Some(header) = self.header(is_first)? {
            is_first = false;
            self.admit(&header)?;
            let mut memory = Reserved::none(self.server);
            self.body(&header, &mut buffer, &mut memory)?;
            if header.opcode == Opcode::Compressed {
                // It says how large it will be.
                let inner = Compressed::parse(&header, &buffer)?.header;
                self.admit(&inner)?;
                memory.take(inner.body_bytes())?;
            }
            let message = Plain::new(&header, &buffer)?;
            let (header, bytes) = (&message.header, &message.bytes);
            let asked = Asked {
                request_id: header.request_id,
                compressor: message.compressor,
            };
            match header.opcode {
                Opcode::Msg => self.command(&asked, &Msg::parse(header, bytes)?)?,
                Opcode::Query => self.query(&asked, &Query::parse(header, bytes)?)?,
                Opcode::Reply | Opcode::Compressed => {
                    return Err(tailwater_wire::Error::Malformed {
                        what: "an answer instead of a request",
                    }
                    .into());
                }
            }
            buffer.clear();
            buffer.shrink_to(BUFFER_KEPT);
        }
        Ok(())
    }

    fn command(&mut self, asked: &Asked, msg: &Msg<'_>) -> Result<(), Broken> {
        let request = Request::of_msg(msg, self.login.identity.id());
        let mut response_to = asked.request_id;
        // Whoever sends checksums wants them; TLS and compression have their own.
        let is_plain = asked.compressor.is_none() && self.server.options.tls.is_none();
        let flags = match is_plain && msg.flags.contains(MsgFlags::CHECKSUM_PRESENT) {
            true => MsgFlags::CHECKSUM_PRESENT,
            false => MsgFlags::default(),
        };
        loop {
            let answer = match &request {
                Ok(request) => self.answer(request)?,
                Err(error) => self.refusal(error),
            };
            if msg.flags.contains(MsgFlags::MORE_TO_COME) {
                return Ok(());
            }
            // A cursor that has more is answered for as long as it has, if the client takes that.
            let more = msg.flags.contains(MsgFlags::EXHAUST_ALLOWED) && has_more(request.as_ref().ok(), &answer);
            let mut memory = Reserved::none(self.server);
            // Twice while the message is made.
            let answer_bytes = answer.as_bytes().len();
            memory.take(2 * answer_bytes)?;
            let mut reply = Msg::new(&answer);
            reply.flags = match more {
                true => flags | MsgFlags::MORE_TO_COME,
                false => flags,
            };
            let id = self.number();
            let bytes = match reply.to_bytes(id, response_to) {
                Err(tailwater_wire::Error::Length { length }) => {
                    let message = format!("the answer has {length} bytes, more than a message may have");
                    let refusal = self.refusal(&CommandError::new(code::BSON_TOO_LARGE, message));
                    let mut reply = Msg::new(&refusal);
                    reply.flags = flags;
                    reply.to_bytes(id, response_to)?
                }
                bytes => bytes?,
            };
            drop(answer);
            memory.give(answer_bytes);
            self.send(bytes, asked.compressor)?;
            if !more || self.server.is_stopping() {
                return Ok(());
            }
            response_to = id;
        }
    }

    /// A command in the old form: only the first of a connection comes so.
    fn query(&mut self, asked: &Asked, query: &Query<'_>) -> Result<(), Broken> {
        let answer = match Request::of_query(query, self.login.identity.id()) {
            Ok(request) if commands::is_hello(request.name) => self.answer(&request)?,
            Ok(request) => self.refusal(&CommandError::new(
                (352, "UnsupportedOpQueryCommand"),
                format!("Unsupported OP_QUERY command: {}: use OP_MSG", request.name),
            )),
            Err(error) => self.refusal(&error),
        };
        let id = self.number();
        self.send(reply_bytes(&answer, id, asked.request_id)?, asked.compressor)
    }

    fn number(&mut self) -> i32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Sends a message, compressed if it then fits. However slowly it is taken, it has to be taken in time: what waits for a client
    /// that takes a little now and then is memory that others do not have.
    fn send(&mut self, message: Vec<u8>, compressor: Option<Compressor>) -> Result<(), Broken> {
        let compressed = compressor.map(|compressor| compressor.compress_message(&message));
        let message = match compressed {
            Some(Ok(compressed)) => compressed,
            None | Some(Err(tailwater_wire::Error::Length { .. })) => message,
            Some(Err(error)) => return Err(error.into()),
        };
        let seconds_at = |rate: usize| Duration::from_secs((message.len() / rate) as u64);
        let now = Instant::now();
        let transport = self.reader.get_mut();
        transport.set_write_deadline(WriteDeadline {
            latest: now + MESSAGE_TIMEOUT + seconds_at(SLOWEST_BYTES_PER_SECOND),
            pressed: now + PRESSED_TIMEOUT + seconds_at(PRESSED_BYTES_PER_SECOND),
        });
        transport.write_all(&message)?;
        Ok(transport.flush()?)
    }
}

/// The shortest time after which a client is told of the topology again.
const TOPOLOGY_PAUSE_MIN_MS: i64 = 100;

/// Whether a `getMore` has left something to ask for, or who waited in vain for another topology may wait on.
fn has_more(request: Option<&Request<'_>>, answer: &RawDocument) -> bool {
    let is_topology = |request: &Request<'_>| commands::is_hello(request.name) && topology::is_awaitable(request.body);
    if let Some(request) = request.filter(|request| is_topology(request)) {
        let version = |document: &RawDocument| document.get_document("topologyVersion").map(RawDocument::to_owned).ok();
        let pause = request.body.get("maxAwaitTimeMS").ok().flatten();
        let pause = pause.and_then(|pause| pause.as_i64().or(pause.as_i32().map(i64::from)));
        // With another version there is nothing to wait for: the same request would be answered again at once.
        return version(request.body).is_some_and(|asked| Some(asked) == version(answer))
            && pause.is_some_and(|pause| pause >= TOPOLOGY_PAUSE_MIN_MS);
    }
    let is_more = request.is_some_and(|request| request.name == "getMore");
    let id = answer.get_document("cursor").and_then(|cursor| cursor.get_i64("id"));
    is_more && id.is_ok_and(|id| id != 0)
}
