//! One connection: its requests one after the other, and their answers.
//!
//! A client may send requests ahead of their answers; they are answered in order. A message that is none ends the connection:
//! nothing behind it can be trusted.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf};
use tailwater_wire::{Compressed, Compressor, HEADER_BYTES, Header, Msg, MsgFlags, Opcode, Query, reply_bytes};

use crate::commands;
use crate::context::{Context, Peer};
use crate::error::{CommandError, CommandResult, code};
use crate::fail_points::Plan;
use crate::login::Login;
use crate::needs;
use crate::reply;
use crate::request::{Numbered, Request};
use crate::server::Shared;
use crate::session;
use crate::topology;
use crate::transport::Transport;

/// How long a client may take to send the rest of a message it has begun, or to take any of an answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that are read whatever others need: such as those by which an operator ends something.
const SMALL_MESSAGE: usize = 64 << 10;
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

/// Memory that a message has, given back when it has been answered.
struct Reserved<'a> {
    server: &'a Shared,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.server.message_memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message that is to be answered.
struct Asked {
    request_id: i32,
    compressor: Option<Compressor>,
}

struct Connection<'a> {
    server: &'a Arc<Shared>,
    peer: &'a Peer,
    stream: &'a TcpStream,
    reader: BufReader<Transport<'a>>,
    /// The number of the next message that is sent.
    next_id: i32,
    /// Who the client is.
    login: Login,
}

/// Serves a connection until it ends.
pub(crate) fn serve(server: &Arc<Shared>, peer: &Peer, stream: &TcpStream) {
    let tls = server.options.tls.as_ref().map(|tls| tls.config());
    let deadline = Instant::now() + server.options.handshake_timeout;
    let transport = match Transport::new(stream, tls, deadline) {
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
        self.stream.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
        let mut buffer = Vec::new();
        let mut is_first = true;
        while let Some(header) = self.header(is_first)? {
            is_first = false;
            let _memory = self.reserve(&header)?;
            self.body(&header, &mut buffer)?;
            // A compressed one says how large it will be.
            let _inner = match header.opcode {
                Opcode::Compressed => Some(self.reserve(&Compressed::parse(&header, &buffer)?.header)?),
                _ => None,
            };
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

    /// The next header; nothing when the client has closed, or the server stops.
    fn header(&mut self, is_first: bool) -> Result<Option<Header>, Broken> {
        if self.server.is_stopping() {
            return Ok(None);
        }
        // A client may be silent between messages for as long as it likes, but not before the first one, and not within one.
        if !is_first {
            self.reader.get_mut().set_deadline(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        let mut read = 0;
        while read < bytes.len() {
            match self.reader.read(&mut bytes[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(some) => {
                    if read == 0 && !is_first {
                        let deadline = Instant::now() + MESSAGE_TIMEOUT;
                        self.reader.get_mut().set_deadline(Some(deadline));
                    }
                    read += some;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Header::parse(&bytes)?))
    }

    /// Takes the memory that a message may need; none, and the end of the connection, for one that is too large for a client that
    /// has not logged in, or while others need all there is.
    fn reserve(&self, header: &Header) -> Result<Reserved<'a>, Broken> {
        let server: &'a Arc<Shared> = self.server;
        let bytes = header.body_bytes();
        let options = &server.options;
        if bytes > options.message_bytes_before_login && !server.authority.is_known(&self.login.identity) {
            return Err(Broken::BeforeLogin { bytes });
        }
        let reserved = Reserved { server, bytes };
        let before = server.message_memory.fetch_add(bytes, Ordering::Relaxed);
        match bytes <= SMALL_MESSAGE || before + bytes <= options.message_memory_max {
            true => Ok(reserved),
            false => Err(Broken::Memory { bytes }),
        }
    }

    /// Reads the rest of a message. The buffer grows with what arrives, not with what is promised.
    fn body(&mut self, header: &Header, buffer: &mut Vec<u8>) -> Result<(), Broken> {
        let length = header.body_bytes();
        while buffer.len() < length {
            let chunk = match self.reader.fill_buf() {
                Ok([]) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(chunk) => &chunk[..chunk.len().min(length - buffer.len())],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            buffer.extend_from_slice(chunk);
            let taken = chunk.len();
            self.reader.consume(taken);
        }
        Ok(())
    }

    fn command(&mut self, asked: &Asked, msg: &Msg<'_>) -> Result<(), Broken> {
        let request = Request::of_msg(msg, self.login.identity.id());
        let mut response_to = asked.request_id;
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
            let mut reply = Msg::new(&answer);
            if more {
                reply.flags = MsgFlags::MORE_TO_COME;
            }
            let id = self.number();
            let bytes = match reply.to_bytes(id, response_to) {
                Err(tailwater_wire::Error::Length { length }) => {
                    let message = format!("the answer has {length} bytes, more than a message may have");
                    let refusal = self.refusal(&CommandError::new(code::BSON_TOO_LARGE, message));
                    Msg::new(&refusal).to_bytes(id, response_to)?
                }
                bytes => bytes?,
            };
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

    fn send(&mut self, message: Vec<u8>, compressor: Option<Compressor>) -> Result<(), Broken> {
        let message = match compressor {
            Some(compressor) => compressor.compress_message(&message)?,
            None => message,
        };
        let transport = self.reader.get_mut();
        transport.write_all(&message)?;
        Ok(transport.flush()?)
    }

    /// Runs a command; the answer is complete.
    fn answer(&mut self, request: &Request<'_>) -> Result<RawDocumentBuf, Broken> {
        self.server.commands_run.fetch_add(1, Ordering::Relaxed);
        let plan = self.planned_failure(request);
        if plan.closes_before {
            return Err(Broken::FailPoint);
        }
        let result = match plan.error {
            Some(error) => Err(error),
            None => self.run_command(request),
        };
        if plan.closes_behind {
            return Err(Broken::FailPoint);
        }
        Ok(match result {
            Ok(mut document) => {
                if let Some(error) = plan.write_concern_error {
                    document.append(cstr!("writeConcernError"), error);
                    if let Some(labels) = plan.labels {
                        document.append(cstr!("errorLabels"), RawArrayBuf::from_iter(labels));
                    }
                }
                reply::finish(document, self.server.operation_time())
            }
            Err(error) => {
                tracing::debug!(command = request.name, code = error.code, message = %error.message, "refused");
                self.refusal(&error)
            }
        })
    }

    /// What a test has asked to become of the command.
    fn planned_failure(&self, request: &Request<'_>) -> Plan {
        let points = self.server.fail_points.as_ref();
        let plan = points.map(|points| {
            let command = commands::find(request.name).map_or(request.name, |command| command.name);
            points.plan(command, request, self.peer.app_name.get().map(String::as_str))
        });
        plan.unwrap_or_default()
    }

    fn refusal(&self, error: &CommandError) -> RawDocumentBuf {
        let mut document = error.to_document();
        if topology::is_state_change(error.code) {
            document.append(cstr!("topologyVersion"), self.server.topology.current().to_document());
        }
        reply::finish(document, self.server.operation_time())
    }

    /// Finds the command and runs it within its session.
    fn run_command(&mut self, request: &Request<'_>) -> CommandResult {
        use commands::Kind;
        let command = commands::find(request.name).ok_or_else(|| {
            CommandError::new(code::COMMAND_NOT_FOUND, format!("no such command: '{}'", request.name))
        })?;
        let authority = &self.server.authority;
        needs::authorize(&command.needs, request, authority, &self.login.identity)?;
        let _running = self.server.operations.begin(command.name, request, self.peer);
        let mut context = Context {
            server: self.server,
            peer: self.peer,
            request,
            login: &mut self.login,
            transaction: None,
        };
        // Whoever has not logged in leaves nothing behind.
        let session = request.session.filter(|_| authority.is_known(&context.login.identity));
        let (Some(id), Some(numbered)) = (session, request.numbered) else {
            if let Some(id) = session {
                self.server.sessions.touch(id)?;
            }
            return match command.kind {
                Kind::EndsTransaction => Err(CommandError::new(
                    code::INVALID_OPTIONS,
                    format!("{} needs a session and a transaction number", request.name),
                )),
                _ => (command.run)(&mut context),
            };
        };
        let session = self.server.sessions.get(id)?;
        let mut session = session::lock(&session);
        match (numbered, command.kind) {
            (Numbered::Retryable(number), Kind::Retryable) => {
                session.begin_write(number)?;
                (command.run)(&mut context).map_err(CommandError::of_retryable)
            }
            (Numbered::Transaction { number, .. }, Kind::EndsTransaction) => {
                let answer = (command.run)(&mut context)?;
                let ended = match request.name {
                    "commitTransaction" => session.commit(number, &self.server.store),
                    _ => session.abort(number),
                };
                self.server.cursors.kill_transactions(id);
                ended.map_err(CommandError::of_retryable)?;
                Ok(answer)
            }
            (Numbered::Transaction { number, first }, Kind::InTransaction | Kind::Retryable) => {
                if first {
                    self.server.cursors.kill_transactions(id);
                }
                let result = {
                    context.transaction = Some(session.transaction(number, first, &self.server.store)?);
                    (command.run)(&mut context)
                };
                // A write that was refused ends it as well.
                let refused = |answer: &RawDocumentBuf| {
                    answer.get_array("writeErrors").is_ok() || answer.get_i32("nErrors").is_ok_and(|errors| errors > 0)
                };
                if result.as_ref().map_or(true, refused) {
                    session.give_up(number);
                    self.server.cursors.kill_transactions(id);
                }
                result
            }
            (Numbered::Retryable(_), _) => Err(CommandError::new(
                code::INVALID_OPTIONS,
                format!("txnNumber is not allowed for {} outside of a transaction", request.name),
            )),
            (Numbered::Transaction { .. }, Kind::Alone) => Err(CommandError::new(
                code::NOT_IN_TRANSACTION,
                format!("Cannot run '{}' in a multi-document transaction.", request.name),
            )),
        }
    }
}

/// A message, taken out of a compressed one if it came in one.
struct Plain<'a> {
    header: Header,
    /// What stands behind the header.
    bytes: Cow<'a, [u8]>,
    /// What it was compressed with: so is its answer.
    compressor: Option<Compressor>,
}

impl<'a> Plain<'a> {
    fn new(header: &Header, bytes: &'a [u8]) -> tailwater_wire::Result<Plain<'a>> {
        if header.opcode != Opcode::Compressed {
            return Ok(Plain {
                header: *header,
                bytes: Cow::Borrowed(bytes),
                compressor: None,
            });
        }
        let compressed = Compressed::parse(header, bytes)?;
        Ok(Plain {
            header: compressed.header,
            bytes: Cow::Owned(compressed.decompress()?),
            compressor: Some(compressed.compressor),
        })
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
