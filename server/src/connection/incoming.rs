//! Messages as they come in: their heads, the memory that they take, and what stands in compressed ones.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::sync::atomic::Ordering;
use std::time::Instant;

use tailwater_wire::{Compressed, Compressor, HEADER_BYTES, Header, Opcode};

use super::{Broken, Connection, MESSAGE_TIMEOUT};
use crate::server::Shared;

/// Messages that are read whatever others need: such as those by which an operator ends something.
const SMALL_MESSAGE: usize = 64 << 10;

/// Memory that a message, or an answer, has; given back with it.
pub(super) struct Reserved<'a> {
    server: &'a Shared,
    bytes: usize,
    /// What else of it there will be, for which there is always some.
    small: usize,
}

impl<'a> Reserved<'a> {
    pub(super) fn none(server: &'a Shared) -> Reserved<'a> {
        Reserved {
            server,
            bytes: 0,
            small: SMALL_MESSAGE,
        }
    }

    /// Takes so much more; no more than what is small while others need all there is.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Broken> {
        self.bytes += bytes;
        let before = self.server.message_memory.fetch_add(bytes, Ordering::Relaxed);
        match self.bytes <= self.small || before + bytes <= self.server.options.message_memory_max {
            true => Ok(()),
            false => Err(Broken::Memory { bytes: self.bytes }),
        }
    }

    /// Gives so much back.
    pub(super) fn give(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.server.message_memory.fetch_sub(bytes, Ordering::Relaxed);
    }
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

    /// Refuses a message that is too large for a client that has not logged in.
    pub(super) fn admit(&self, header: &Header) -> Result<(), Broken> {
        let bytes = header.body_bytes();
        let is_large = bytes > self.server.options.message_bytes_before_login;
        match is_large && !self.server.authority.is_known(&self.login.identity) {
            true => Err(Broken::BeforeLogin { bytes }),
            false => Ok(()),
        }
    }

    /// Reads the rest of a message. The buffer grows, and takes memory from the others, with what arrives and not with what is
    /// promised: whoever only promises takes nothing.
    pub(super) fn body(
        &mut self,
        header: &Header,
        buffer: &mut Vec<u8>,
        memory: &mut Reserved<'_>,
    ) -> Result<(), Broken> {
        let length = header.body_bytes();
        while buffer.len() < length {
            let chunk = match self.reader.fill_buf() {
                Ok([]) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(chunk) => &chunk[..chunk.len().min(length - buffer.len())],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            memory.take(chunk.len())?;
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
