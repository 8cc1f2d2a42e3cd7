//! Messages as they come in: their heads, the memory that they take, and what stands in compressed ones.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tailwater_wire::{Compressed, Compressor, HEADER_BYTES, Header, Opcode};

use super::{Broken, Connection, MESSAGE_TIMEOUT};
use crate::server::Shared;

/// Messages that are read whatever others need: such as those by which an operator ends something.
const SMALL_MESSAGE: usize = 64 << 10;

/// Memory that a message has, given back when it has been answered.
pub(super) struct Reserved<'a> {
    server: &'a Shared,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.server.message_memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<'a> Connection<'a> {
    /// The next header; nothing when the client has closed, or the server stops.
    pub(super) fn header(&mut self, is_first: bool) -> Result<Option<Header>, Broken> {
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
    pub(super) fn reserve(&self, header: &Header) -> Result<Reserved<'a>, Broken> {
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
    pub(super) fn body(&mut self, header: &Header, buffer: &mut Vec<u8>) -> Result<(), Broken> {
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
}

/// A message, taken out of a compressed one if it came in one.
pub(super) struct Plain<'a> {
    pub(super) header: Header,
    /// What stands behind the header.
    pub(super) bytes: Cow<'a, [u8]>,
    /// What it was compressed with: so is its answer.
    pub(super) compressor: Option<Compressor>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(header: &Header, bytes: &'a [u8]) -> tailwater_wire::Result<Plain<'a>> {
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
