//! A connection between two members: deadlines on everything, and an end that both notice.
//!
//! What counts is whether anything moves, not how much: a reader waits as long as bytes come, however few; a writer as long as
//! the other side is heard from, which says something at every heartbeat while it takes in what it is sent. So a slow link is
//! slow, and one that moves nothing in one direction ends: the reader over there gives up.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::decision::Run;
use crate::error::{Error, Result};
use crate::tls::{self, Decrypting, Encrypting, Tls, TlsOptions};
use crate::wire::{self, Message, PREFACE_BYTES, VERSION};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Heartbeats that may be missed before a connection is given up.
const MISSED_MAX: u32 = 4;

/// How long the greeting may take, however slowly it comes.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first message may take behind it.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(120);

/// When the other side was last heard, and for how long it may not be.
#[derive(Debug)]
struct Heard {
    begun: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
    /// Milliseconds.
    patience: AtomicU64,
}

impl Heard {
    fn now(&self) {
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_recent(&self) -> bool {
        let ago = self.elapsed().saturating_sub(self.last.load(Ordering::Relaxed));
        ago < self.patience.load(Ordering::Relaxed)
    }

    fn have_patience(&self, patience: Duration) {
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.patience.store(millis, Ordering::Relaxed);
    }
}

/// Reads, and notes that something came.
#[derive(Debug)]
struct Listening {
    stream: TcpStream,
    heard: Arc<Heard>,
    /// Until when all that is awaited must have come.
    until: Option<Instant>,
}

impl Read for Listening {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let count = self.stream.read(buffer)?;
        self.heard.now();
        Ok(count)
    }
}

/// Writes, and waits for room as long as the other side is heard.
#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    heard: Arc<Heard>,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if is_timeout(&error) && self.heard.is_recent() => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// How connections are protected.
#[derive(Clone, Debug)]
pub(crate) enum Security {
    /// Not at all: between programs of one machine, or, when that was allowed, also beyond.
    Plaintext { anywhere: bool },
    /// Both sides show certificates.
    Encrypted(Tls),
}

impl Security {
    pub(crate) fn new(tls: Option<&TlsOptions>, anywhere: bool) -> Result<Security> {
        Ok(match tls {
            Some(options) => Security::Encrypted(Tls::load(options)?),
            None => Security::Plaintext { anywhere },
        })
    }

    /// Refuses an address that a plaintext connection must not reach.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<()> {
        let loopback = match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        };
        match self {
            Security::Plaintext { anywhere: false } if !loopback => Err(Error::Plaintext { address }),
            _ => Ok(()),
        }
    }
}

/// A connection that has not been opened yet.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    tls: Option<rustls::Connection>,
}

impl Raw {
    /// Ends it, also while it is being opened.
    pub(crate) fn hangup(&self) -> Result<Hangup> {
        let stream = self.stream.try_clone().map(Hangup);
        stream.map_err(Error::network("a member", "opening"))
    }
}

/// Bytes that come in, decrypted.
#[derive(Debug)]
enum Incoming {
    Plain(Listening),
    Encrypted(Box<Decrypting<Listening, Patient>>),
}

impl Incoming {
    fn listening(&mut self) -> &mut Listening {
        match self {
            Incoming::Plain(listening) => listening,
            Incoming::Encrypted(decrypting) => decrypting.get_mut(),
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Incoming::Plain(listening) => listening.read(buffer),
            Incoming::Encrypted(decrypting) => decrypting.read(buffer),
        }
    }
}

/// Bytes that go out.
#[derive(Debug)]
enum Outgoing {
    Plain(Patient),
    Encrypted(Encrypting<Patient>),
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Outgoing::Plain(patient) => patient.write(bytes),
            Outgoing::Encrypted(encrypting) => encrypting.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Outgoing::Plain(patient) => patient.flush(),
            Outgoing::Encrypted(encrypting) => encrypting.flush(),
        }
    }
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Inbound {
    input: BufReader<Incoming>,
    peer: String,
    frames_max: usize,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Outbound {
    out: BufWriter<Outgoing>,
    peer: String,
    /// When something was last said.
    said: Instant,
}

/// Ends the connection, for both halves at once.
#[derive(Debug)]
pub(crate) struct Hangup(pub(crate) TcpStream);

impl Hangup {
    pub(crate) fn now(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        self.now();
    }
}

/// Connects to a member at `HOST:PORT`.
pub(crate) fn connect(address: &str, security: &Security) -> Result<Raw> {
    let failed = Error::network(address, "connecting");
    let found = match address.to_socket_addrs() {
        Ok(found) => found,
        Err(error) => return Err(failed(error)),
    };
    let mut last = None;
    for candidate in found {
        security.check(candidate)?;
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                let tls = match security {
                    Security::Plaintext { .. } => Ok(None),
                    Security::Encrypted(tls) => tls.connect(address).map(Some),
                };
                let tls = tls.map_err(Error::network(address, "encrypting"))?;
                return Ok(Raw { stream, tls });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(failed(
        last.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()),
    ))
}

/// A connection that another member has begun.
pub(crate) fn accepted(stream: TcpStream, security: &Security) -> Result<Raw> {
    let tls = match security {
        Security::Plaintext { .. } => Ok(None),
        Security::Encrypted(tls) => tls.accept().map(Some),
    };
    let tls = tls.map_err(Error::network("a member", "encrypting"))?;
    Ok(Raw { stream, tls })
}

/// Makes the two halves of a connection over which this side says something at every `heartbeat`, and exchanges prefaces, by which
/// each side learns how often the other does.
pub(crate) fn open(raw: Raw, heartbeat: Duration, frames_max: usize) -> Result<(Inbound, Outbound, Hangup)> {
    let Raw { stream, tls } = raw;
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "a member".to_owned(), |address| address.to_string());
    let patience = heartbeat * MISSED_MAX;
    let split = || -> std::io::Result<_> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
        stream.set_write_timeout(Some(patience))?;
        Ok((stream.try_clone()?, stream.try_clone()?))
    };
    let (input, out) = split().map_err(Error::network(&peer, "opening"))?;
    let hangup = Hangup(stream);
    let begun = Instant::now();
    let heard = Arc::new(Heard {
        begun,
        last: AtomicU64::new(0),
        patience: AtomicU64::new(0),
    });
    heard.have_patience(patience);
    let input = Listening {
        stream: input,
        heard: Arc::clone(&heard),
        until: Some(begun + GREETING_TIMEOUT),
    };
    let out = Patient {
        stream: out,
        heard: Arc::clone(&heard),
    };
    let (input, out) = match tls {
        None => (Incoming::Plain(input), Outgoing::Plain(out)),
        Some(connection) => {
            let (input, out) = tls::split(connection, input, out).map_err(Error::network(&peer, "encrypting"))?;
            (Incoming::Encrypted(Box::new(input)), Outgoing::Encrypted(out))
        }
    };
    let mut inbound = Inbound {
        input: BufReader::with_capacity(256 << 10, input),
        peer: peer.clone(),
        frames_max,
    };
    let mut outbound = Outbound {
        out: BufWriter::with_capacity(64 << 10, out),
        peer: peer.clone(),
        said: begun,
    };
    let sent = outbound
        .out
        .write_all(&wire::preface(heartbeat))
        .and_then(|()| outbound.out.flush());
    sent.map_err(Error::network(&peer, "greeting"))?;
    let mut preface = [0; PREFACE_BYTES];
    let read = inbound.input.read_exact(&mut preface);
    read.map_err(Error::network(&peer, "greeting"))?;
    inbound.until(None);
    let patience = patience.max(wire::heartbeat_in(&preface) * MISSED_MAX);
    heard.have_patience(patience);
    let patient = hangup.0.set_read_timeout(Some(patience));
    patient.map_err(Error::network(&peer, "opening"))?;
    match wire::versions(&preface) {
        None => Err(Error::Protocol {
            peer,
            what: "it is no member of a replicated store",
        }),
        Some((oldest, newest)) if oldest > VERSION || newest < VERSION => Err(Error::OtherVersion {
            peer,
            oldest,
            newest,
            own: VERSION,
        }),
        Some(_) => Ok((inbound, outbound, hangup)),
    }
}

impl Inbound {
    fn until(&mut self, until: Option<Instant>) {
        self.input.get_mut().listening().until = until;
    }

    /// The next message; an error when none comes for too long.
    pub(crate) fn read(&mut self) -> Result<Message> {
        Message::read(&mut self.input, self.frames_max).map_err(Error::network(&self.peer, "reading"))
    }

    /// As [`Inbound::read`], for the first message: a stranger that says it byte by byte does not keep a connection for ever.
    pub(crate) fn read_introduction(&mut self) -> Result<Message> {
        self.until(Some(Instant::now() + INTRODUCTION_TIMEOUT));
        let first = self.read();
        self.until(None);
        first
    }

    /// Whether something has come that was not read yet, as far as can be told without waiting: of what is encrypted, it may be
    /// less than a message.
    pub(crate) fn has_more(&mut self) -> bool {
        if !self.input.buffer().is_empty() {
            return true;
        }
        let stream = &self.input.get_mut().listening().stream;
        let mut streams = [PollFd::new(stream, PollFlags::IN)];
        poll(&mut streams, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// For a message that must not come now.
    pub(crate) fn unexpected(&self) -> Error {
        Error::Protocol {
            peer: self.peer.clone(),
            what: "a message that does not belong here",
        }
    }
}

impl Outbound {
    /// How long nothing has been said.
    pub(crate) fn quiet(&self) -> Duration {
        self.said.elapsed()
    }

    pub(crate) fn write(&mut self, message: &Message) -> Result<()> {
        let written = message.write(&mut self.out).and_then(|()| self.out.flush());
        self.said = Instant::now();
        written.map_err(Error::network(&self.peer, "writing"))
    }

    pub(crate) fn write_run(&mut self, run: &Run, frames: &[&[u8]]) -> Result<()> {
        let written = wire::write_run(&mut self.out, run, frames).and_then(|()| self.out.flush());
        self.said = Instant::now();
        written.map_err(Error::network(&self.peer, "writing"))
    }
}
