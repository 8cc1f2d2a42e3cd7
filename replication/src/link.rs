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

use crate::decision::Run;
use crate::error::{Error, Result};
use crate::wire::{self, Message, PREFACE_BYTES, VERSION};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Heartbeats that may be missed before a connection is given up.
const MISSED_MAX: u32 = 4;

/// How long the greeting may take, however slowly it comes.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first message may take behind it.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(120);

/// When the other side was last heard.
#[derive(Debug)]
struct Heard {
    begun: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Heard {
    fn now(&self) {
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ago(&self) -> Duration {
        Duration::from_millis(self.elapsed().saturating_sub(self.last.load(Ordering::Relaxed)))
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
    patience: Duration,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if is_timeout(&error) && self.heard.ago() < self.patience => {}
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

/// The reading half.
#[derive(Debug)]
pub(crate) struct Inbound {
    input: BufReader<Listening>,
    peer: String,
    frames_max: usize,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Outbound {
    out: BufWriter<Patient>,
    peer: String,
}

/// Ends the connection, for both halves at once.
#[derive(Debug)]
pub(crate) struct Hangup(TcpStream);

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

/// Refuses an address that a plaintext connection must not reach.
pub(crate) fn check_plaintext(address: SocketAddr, allowed: bool) -> Result<()> {
    let loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    match loopback || allowed {
        true => Ok(()),
        false => Err(Error::Plaintext { address }),
    }
}

/// Connects to a member at `HOST:PORT`.
pub(crate) fn connect(address: &str, plaintext: bool) -> Result<TcpStream> {
    let failed = Error::network(address, "connecting");
    let found = match address.to_socket_addrs() {
        Ok(found) => found,
        Err(error) => return Err(failed(error)),
    };
    let mut last = None;
    for candidate in found {
        check_plaintext(candidate, plaintext)?;
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(failed(
        last.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()),
    ))
}

/// Makes the two halves of a connection whose other side is heard from at every `heartbeat`, and exchanges prefaces.
pub(crate) fn open(stream: TcpStream, heartbeat: Duration, frames_max: usize) -> Result<(Inbound, Outbound, Hangup)> {
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "a member".to_owned(), |address| address.to_string());
    let patience = heartbeat * MISSED_MAX;
    let split = || -> std::io::Result<_> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok((stream.try_clone()?, stream.try_clone()?))
    };
    let (input, out) = split().map_err(Error::network(&peer, "opening"))?;
    let hangup = Hangup(stream);
    let begun = Instant::now();
    let heard = Arc::new(Heard {
        begun,
        last: AtomicU64::new(0),
    });
    let input = Listening {
        stream: input,
        heard: Arc::clone(&heard),
        until: Some(begun + GREETING_TIMEOUT),
    };
    let out = Patient {
        stream: out,
        heard,
        patience,
    };
    let mut inbound = Inbound {
        input: BufReader::with_capacity(256 << 10, input),
        peer: peer.clone(),
        frames_max,
    };
    let mut outbound = Outbound {
        out: BufWriter::with_capacity(64 << 10, out),
        peer: peer.clone(),
    };
    let sent = outbound
        .out
        .write_all(&wire::preface())
        .and_then(|()| outbound.out.flush());
    sent.map_err(Error::network(&peer, "greeting"))?;
    let mut preface = [0; PREFACE_BYTES];
    let read = inbound.input.read_exact(&mut preface);
    read.map_err(Error::network(&peer, "greeting"))?;
    inbound.input.get_mut().until = None;
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
    /// The next message; an error when none comes for too long.
    pub(crate) fn read(&mut self) -> Result<Message> {
        Message::read(&mut self.input, self.frames_max).map_err(Error::network(&self.peer, "reading"))
    }

    /// As [`Inbound::read`], for the first message: a stranger that says it byte by byte does not keep a connection for ever.
    pub(crate) fn read_introduction(&mut self) -> Result<Message> {
        self.input.get_mut().until = Some(Instant::now() + INTRODUCTION_TIMEOUT);
        let first = self.read();
        self.input.get_mut().until = None;
        first
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
    pub(crate) fn write(&mut self, message: &Message) -> Result<()> {
        let written = message.write(&mut self.out).and_then(|()| self.out.flush());
        written.map_err(Error::network(&self.peer, "writing"))
    }

    pub(crate) fn write_run(&mut self, run: &Run, frames: &[u8]) -> Result<()> {
        let written = wire::write_run(&mut self.out, run, frames).and_then(|()| self.out.flush());
        written.map_err(Error::network(&self.peer, "writing"))
    }
}
