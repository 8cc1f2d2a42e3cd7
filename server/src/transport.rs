//! A connection's bytes, encrypted or not, with the deadlines that reading them has.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How often a write that waits for the other side looks whether it has waited for too long.
const WRITE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// By when something has to have been taken.
#[derive(Clone, Copy)]
pub(crate) struct WriteDeadline {
    /// However slow the other side is.
    pub(crate) latest: Instant,
    /// While others want for the memory that it takes.
    pub(crate) pressed: Instant,
}

impl WriteDeadline {
    /// The same whoever else wants what.
    fn only(deadline: Instant) -> WriteDeadline {
        WriteDeadline {
            latest: deadline,
            pressed: deadline,
        }
    }
}

/// What is to be there in time, or whatever time it takes.
pub(crate) struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Option<Instant>,
    /// Whether the socket has a timeout now.
    is_limited: bool,
    /// When what is written has to have been taken.
    write_deadline: WriteDeadline,
    /// Whether others want for memory.
    is_pressed: Box<dyn Fn() -> bool + 'a>,
}

impl Timed<'_> {
    fn is_late(&self) -> bool {
        let now = Instant::now();
        now >= self.write_deadline.latest || (now >= self.write_deadline.pressed && (self.is_pressed)())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.deadline {
            None if self.is_limited => {
                self.stream.set_read_timeout(None)?;
                self.is_limited = false;
            }
            None => {}
            Some(deadline) => {
                // However little arrives at a time, all of it has to be there by then.
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.stream.set_read_timeout(Some(left))?;
                self.is_limited = true;
            }
        }
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            // It comes back after the socket's own timeout at the latest, with what was taken by then.
            match self.stream.write(bytes) {
                Ok(written) if written == bytes.len() => return Ok(written),
                // However little is taken at a time, all of it has to be by then.
                _ if self.is_late() => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A connection's bytes. See the module documentation.
pub(crate) enum Transport<'a> {
    Plain(Timed<'a>),
    Encrypted(Box<StreamOwned<ServerConnection, Timed<'a>>>),
}

impl<'a> Transport<'a> {
    /// A transport whose first bytes, with what encryption needs, have to be there by the deadline. `is_pressed` says whether others
    /// want for the memory of what it has to write.
    pub(crate) fn new(
        stream: &'a TcpStream,
        tls: Option<Arc<ServerConfig>>,
        deadline: Instant,
        is_pressed: impl Fn() -> bool + 'a,
    ) -> io::Result<Transport<'a>> {
        stream.set_write_timeout(Some(WRITE_LOOK_INTERVAL))?;
        let timed = Timed {
            stream,
            deadline: Some(deadline),
            is_limited: false,
            write_deadline: WriteDeadline::only(deadline),
            is_pressed: Box::new(is_pressed),
        };
        Ok(match tls {
            None => Transport::Plain(timed),
            Some(config) => {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                Transport::Encrypted(Box::new(StreamOwned::new(connection, timed)))
            }
        })
    }

    /// By when what is read next has to be there.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        match self {
            Transport::Plain(timed) => timed.deadline = deadline,
            Transport::Encrypted(stream) => stream.sock.deadline = deadline,
        }
    }

    /// By when what is written next has to have been taken.
    pub(crate) fn set_write_deadline(&mut self, deadline: WriteDeadline) {
        match self {
            Transport::Plain(timed) => timed.write_deadline = deadline,
            Transport::Encrypted(stream) => stream.sock.write_deadline = deadline,
        }
    }

    /// Tells the other side that nothing more comes, where that is part of the encryption: what was sent is then known to be all.
    pub(crate) fn close(&mut self) {
        if let Transport::Encrypted(stream) = self {
            stream.conn.send_close_notify();
            // It may be gone already.
            let _ = stream.flush();
        }
    }
}

impl Read for Transport<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(timed) => timed.read(buffer),
            Transport::Encrypted(stream) => match stream.read(buffer) {
                // A client that ends the connection without saying so first: a message that was begun is found to be cut short.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Transport<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(timed) => timed.write(bytes),
            Transport::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(timed) => timed.flush(),
            Transport::Encrypted(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_takes_nothing_is_left_sooner_while_others_want_for_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let now = Instant::now();
        let mut transport = Transport::new(&stream, None, now, || true).unwrap();
        let hour = Duration::from_secs(3600);
        // More than a socket takes for somebody who does not read.
        let answer = vec![0; 64 << 20];
        transport.set_write_deadline(WriteDeadline {
            latest: now + hour,
            pressed: now,
        });
        let failed = transport.write_all(&answer).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }
}
