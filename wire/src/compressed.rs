//! `OP_COMPRESSED`: another message, compressed.
//!
//! | offset behind the header | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | opcode of the message inside |
//! | 4 | 4 | bytes of it behind its header, decompressed |
//! | 8 | 1 | compressor |
//! | 9 | … | those bytes, compressed |

use crate::compressor::Compressor;
use crate::error::{Error, Result};
use crate::header::{HEADER_BYTES, Header, MESSAGE_BYTES_MAX, Opcode, begin, finish};
use crate::input::Input;

/// A compressed message. See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compressed<'a> {
    /// The header of the message inside.
    pub header: Header,
    /// What it was compressed with.
    pub compressor: Compressor,
    bytes: &'a [u8],
}

impl<'a> Compressed<'a> {
    /// Reads a message from what stands behind its header.
    ///
    /// # Errors
    ///
    /// [`Error::OtherOpcode`], [`Error::Overrun`]; [`Error::UnknownOpcode`] and [`Error::Malformed`] for what cannot be inside;
    /// [`Error::UnknownCompressor`]; [`Error::Length`] when the message inside were too long.
    pub fn parse(header: &Header, bytes: &'a [u8]) -> Result<Compressed<'a>> {
        header.expect(Opcode::Compressed)?;
        let mut input = Input::new(bytes);
        let opcode = input.i32("the opcode inside")?;
        let length = input.i32("the length inside")?;
        let compressor = Compressor::from_id(input.u8("the compressor")?)?;
        let inside = usize::try_from(length).ok();
        let inside = inside.filter(|inside| *inside <= MESSAGE_BYTES_MAX - HEADER_BYTES);
        let length = inside.ok_or(Error::Length { length: length.into() })? + HEADER_BYTES;
        let mut own = Header { length, ..*header }.to_bytes();
        own[12..].copy_from_slice(&opcode.to_le_bytes());
        let header = Header::parse(&own)?;
        if header.opcode == Opcode::Compressed {
            return Err(Error::Malformed {
                what: "a compressed message inside another",
            });
        }
        Ok(Compressed {
            header,
            compressor,
            bytes: input.rest(),
        })
    }

    /// What stands behind the header of the message inside.
    ///
    /// # Errors
    ///
    /// [`Error::Decompress`].
    pub fn decompress(&self) -> Result<Vec<u8>> {
        self.compressor.decompress(self.bytes, self.header.body_bytes())
    }
}

impl Compressor {
    /// A whole message compressed into another.
    ///
    /// # Errors
    ///
    /// [`Error::Overrun`] and those of [`Header::parse`] when `message` is none; [`Error::Compress`]; [`Error::Length`] when the result
    /// is too long.
    pub fn compress_message(self, message: &[u8]) -> Result<Vec<u8>> {
        let (header, body) = message
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(Error::Overrun { what: "the header" })?;
        let header = Header::parse(header)?;
        let bytes = self.compress(body)?;
        let mut message = begin(
            header.request_id,
            header.response_to,
            Opcode::Compressed,
            9 + bytes.len(),
        );
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&(header.opcode as i32).to_le_bytes());
        message.extend_from_slice(&length.to_le_bytes());
        message.push(self as u8);
        message.extend_from_slice(&bytes);
        finish(message)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::msg::Msg;

    fn parse(bytes: &[u8]) -> Result<Compressed<'_>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        Compressed::parse(&Header::parse(header)?, rest)
    }

    fn message() -> Vec<u8> {
        let body = rawdoc! { "insert": "people", "text": "water, water, water, water, water, water, water" };
        Msg::new(&body).to_bytes(4, 9).unwrap()
    }

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let message = message();
        for compressor in Compressor::ALL.into_iter().chain([Compressor::Noop]) {
            let compressed = compressor.compress_message(&message).unwrap();
            let found = parse(&compressed).unwrap();
            assert_eq!(found.compressor, compressor);
            assert_eq!(found.header.to_bytes(), message[..HEADER_BYTES], "{compressor}");
            assert_eq!(found.decompress().unwrap(), message[HEADER_BYTES..], "{compressor}");
        }
    }

    #[test]
    fn a_length_that_lies_is_found_out() {
        let message = message();
        for compressor in Compressor::ALL.into_iter().chain([Compressor::Noop]) {
            for wrong in [-1_i32, 1] {
                let mut compressed = compressor.compress_message(&message).unwrap();
                let length = i32::try_from(message.len() - HEADER_BYTES).unwrap() + wrong;
                compressed[20..24].copy_from_slice(&length.to_le_bytes());
                let found = parse(&compressed).unwrap().decompress();
                let length = usize::try_from(length).unwrap();
                assert_eq!(found, Err(Error::Decompress { compressor, length }));
            }
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = vec![0; 1 << 20];
        for compressor in Compressor::ALL {
            let bytes = compressor.compress(&bomb).unwrap();
            assert!(compressor.decompress(&bytes, 100).is_err(), "{compressor}");
        }
    }

    #[test]
    fn what_cannot_be_inside_is_refused() {
        let message = message();
        let compressed = Compressor::Snappy.compress_message(&message).unwrap();
        let with = |at: usize, bytes: [u8; 4]| {
            let mut changed = compressed.clone();
            changed[at..at + 4].copy_from_slice(&bytes);
            parse(&changed).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(20, (-1_i32).to_le_bytes()), Error::Length { length: -1 });
        assert_eq!(
            with(20, 48_000_000_i32.to_le_bytes()),
            Error::Length { length: 48_000_000 }
        );
        assert_eq!(with(16, 7_i32.to_le_bytes()), Error::UnknownOpcode { opcode: 7 });
        let what = "a compressed message inside another";
        assert_eq!(with(16, 2012_i32.to_le_bytes()), Error::Malformed { what });
        let mut unknown = compressed.clone();
        unknown[24] = 9;
        assert_eq!(parse(&unknown).map(|_| ()), Err(Error::UnknownCompressor { id: 9 }));
        for length in HEADER_BYTES..25 {
            assert!(
                matches!(parse(&compressed[..length]), Err(Error::Overrun { .. })),
                "{length}"
            );
        }
    }
}
