//! The sixteen bytes that every message begins with.
//!
//! | offset | bytes | meaning, little-endian |
//! |---|---|---|
//! | 0 | 4 | length of the message, these bytes included |
//! | 4 | 4 | its number, chosen by the sender |
//! | 8 | 4 | the number of the message it answers, 0 for none |
//! | 12 | 4 | opcode |

use crate::error::{Error, Result};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// Most bytes of a message, compressed or not, as MongoDB's `maxMessageSizeBytes`.
pub const MESSAGE_BYTES_MAX: usize = 48_000_000;

/// What kind a message is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum Opcode {
    /// An answer to [`Opcode::Query`].
    Reply = 1,
    /// What drivers send first, before they know what the server speaks.
    Query = 2004,
    /// Another message, compressed.
    Compressed = 2012,
    /// A command or its answer.
    Msg = 2013,
}

impl Opcode {
    fn from_number(opcode: i32) -> Result<Opcode> {
        [Opcode::Reply, Opcode::Query, Opcode::Compressed, Opcode::Msg]
            .into_iter()
            .find(|known| *known as i32 == opcode)
            .ok_or(Error::UnknownOpcode { opcode })
    }
}

/// A message's header. See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the whole message.
    pub length: usize,
    /// The message's number.
    pub request_id: i32,
    /// The number of the message it answers.
    pub response_to: i32,
    /// What it is.
    pub opcode: Opcode,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::UnknownOpcode`].
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header> {
        let number = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = usize::try_from(number(0)).ok();
        let length = length.filter(|length| (HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(length));
        Ok(Header {
            length: length.ok_or(Error::Length {
                length: number(0).into(),
            })?,
            request_id: number(4),
            response_to: number(8),
            opcode: Opcode::from_number(number(12))?,
        })
    }

    /// Bytes of the message behind its header.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.length - HEADER_BYTES
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.request_id.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.response_to.to_le_bytes());
        bytes[12..].copy_from_slice(&(self.opcode as i32).to_le_bytes());
        bytes
    }

    pub(crate) fn expect(&self, opcode: Opcode) -> Result<()> {
        if self.opcode == opcode {
            return Ok(());
        }
        Err(Error::OtherOpcode {
            expected: opcode as i32,
            found: self.opcode as i32,
        })
    }
}

/// Writes the length of a message that is complete into its header.
pub(crate) fn finish(mut message: Vec<u8>) -> Result<Vec<u8>> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Error::Length {
            length: i64::try_from(message.len()).unwrap_or(i64::MAX),
        });
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_le_bytes());
    Ok(message)
}

/// The beginning of a message, whose length [`finish`] fills in.
pub(crate) fn begin(request_id: i32, response_to: i32, opcode: Opcode, body_bytes: usize) -> Vec<u8> {
    let header = Header {
        length: 0,
        request_id,
        response_to,
        opcode,
    };
    let mut message = Vec::with_capacity(HEADER_BYTES + body_bytes);
    message.extend_from_slice(&header.to_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_its_bytes() {
        let header = Header {
            length: 21,
            request_id: 5,
            response_to: -1,
            opcode: Opcode::Msg,
        };
        let bytes = [21, 0, 0, 0, 5, 0, 0, 0, 255, 255, 255, 255, 0xdd, 0x07, 0, 0];
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(Header::parse(&bytes), Ok(header));
        assert_eq!(header.body_bytes(), 5);
    }

    #[test]
    fn lengths_and_opcodes_that_cannot_be_are_refused() {
        let with = |length: i32, opcode: i32| {
            let mut bytes = [0; HEADER_BYTES];
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[12..].copy_from_slice(&opcode.to_le_bytes());
            Header::parse(&bytes)
        };
        for length in [i32::MIN, -1, 0, 15, 48_000_001, i32::MAX] {
            let expected = Err(Error::Length { length: length.into() });
            assert_eq!(with(length, 2013), expected);
        }
        assert!(with(16, 2013).is_ok() && with(48_000_000, 2013).is_ok());
        for opcode in [0, 2, 2001, 2002, 2005, 2010, 2014, -1] {
            assert_eq!(with(16, opcode), Err(Error::UnknownOpcode { opcode }));
        }
    }
}
