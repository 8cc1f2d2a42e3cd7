//! Reading parts of a message, in order, without ever going beyond its end.

use bson::RawDocument;

use crate::error::{Error, Result};

/// The rest of a message, or of a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8> {
        Ok(self.chunk::<1>(what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.chunk(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32> {
        Ok(i32::from_le_bytes(self.chunk(what)?))
    }

    fn chunk<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Overrun { what })?;
        self.0 = rest;
        Ok(*chunk)
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Error::Overrun { what })?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A string up to its NUL.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let bytes = self.bytes(end.ok_or(Error::Overrun { what })?, what)?;
        self.u8(what)?;
        std::str::from_utf8(bytes).map_err(|_| Error::Malformed {
            what: "a name that is not UTF-8",
        })
    }

    /// A document, by the length it begins with. What is inside is not looked at.
    pub(crate) fn document(&mut self, what: &'static str) -> Result<&'a RawDocument> {
        let length = Input(self.0).i32(what)?;
        let length = usize::try_from(length).map_err(|_| Error::Overrun { what })?;
        let bytes = self.bytes(length, what)?;
        RawDocument::from_bytes(bytes).map_err(|_| Error::Malformed {
            what: "a document shorter than any, or without its end",
        })
    }
}
