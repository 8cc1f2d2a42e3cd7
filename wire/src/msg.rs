//! `OP_MSG`: a command or its answer (MongoDB manual: *OP_MSG*).
//!
//! | offset behind the header | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | flags |
//! | 4 | … | sections: a byte for the kind, then what the kind says |
//! | last 4 | 4 | CRC-32C of everything before it, with the flag `checksumPresent` |
//!
//! A section of kind 0 is a document, the body; there is exactly one. A section of kind 1 is a sequence of documents that belong
//! to the body as an array would: its length, the name of the array, and the documents one after the other.

use std::ops::BitOr;

use bson::RawDocument;

use crate::error::{Error, Result};
use crate::header::{HEADER_BYTES, Header, Opcode, begin, finish};
use crate::input::Input;

const CHECKSUM_BYTES: usize = 4;

/// Most sequences in one message. No command has more than a few.
pub const SEQUENCES_MAX: usize = 8;

/// Most documents in one sequence. MongoDB's servers take 100,000 writes at a time.
pub const SEQUENCE_DOCUMENTS_MAX: usize = 1_000_000;

/// Flags of a message. The low sixteen must be understood, the others may be ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MsgFlags(u32);

impl MsgFlags {
    /// The message ends with a checksum.
    pub const CHECKSUM_PRESENT: MsgFlags = MsgFlags(1);
    /// Another message follows without a request; for a request: there is to be no answer.
    pub const MORE_TO_COME: MsgFlags = MsgFlags(1 << 1);
    /// The client takes several answers to this request.
    pub const EXHAUST_ALLOWED: MsgFlags = MsgFlags(1 << 16);

    const REQUIRED: u32 = 0xffff;

    /// Whether all of these are set.
    #[must_use]
    pub fn contains(self, flags: MsgFlags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for MsgFlags {
    type Output = MsgFlags;

    fn bitor(self, other: MsgFlags) -> MsgFlags {
        MsgFlags(self.0 | other.0)
    }
}

/// Documents that belong to the body as an array would.
#[derive(Clone, PartialEq, Debug)]
pub struct Sequence<'a> {
    /// The name of the array.
    pub identifier: &'a str,
    /// Its members.
    pub documents: Vec<&'a RawDocument>,
}

/// A command or its answer. See the module documentation.
#[derive(Clone, PartialEq, Debug)]
pub struct Msg<'a> {
    /// Its flags, [`MsgFlags::CHECKSUM_PRESENT`] among them if it came with one.
    pub flags: MsgFlags,
    /// The command, or the answer.
    pub body: &'a RawDocument,
    /// What belongs to it besides.
    pub sequences: Vec<Sequence<'a>>,
}

impl<'a> Msg<'a> {
    /// A message with a body alone, without flags.
    #[must_use]
    pub fn new(body: &'a RawDocument) -> Msg<'a> {
        Msg {
            flags: MsgFlags::default(),
            body,
            sequences: Vec::new(),
        }
    }

    /// Reads a message from what stands behind its header. A checksum is verified.
    ///
    /// # Errors
    ///
    /// [`Error::OtherOpcode`], [`Error::Overrun`], [`Error::Malformed`], [`Error::UnknownFlags`], [`Error::ChecksumMismatch`].
    pub fn parse(header: &Header, bytes: &'a [u8]) -> Result<Msg<'a>> {
        header.expect(Opcode::Msg)?;
        let mut input = Input::new(bytes);
        let flags = MsgFlags(input.u32("the flags")?);
        let unknown = flags.0 & MsgFlags::REQUIRED & !(MsgFlags::CHECKSUM_PRESENT | MsgFlags::MORE_TO_COME).0;
        if unknown != 0 {
            return Err(Error::UnknownFlags { flags: unknown });
        }
        let mut sections = input;
        if flags.contains(MsgFlags::CHECKSUM_PRESENT) {
            let length = input.rest().len().checked_sub(CHECKSUM_BYTES);
            let length = length.ok_or(Error::Overrun { what: "the checksum" })?;
            sections = Input::new(input.bytes(length, "the checksum")?);
            verify(
                header,
                &bytes[..bytes.len() - CHECKSUM_BYTES],
                input.u32("the checksum")?,
            )?;
        }
        let mut body = None;
        let mut sequences: Vec<Sequence<'a>> = Vec::new();
        while !sections.is_empty() {
            match sections.u8("a section")? {
                0 if body.is_some() => return Err(Error::Malformed { what: "two bodies" }),
                0 => body = Some(sections.document("the body")?),
                1 if sequences.len() == SEQUENCES_MAX => {
                    return Err(Error::Malformed {
                        what: "more sequences than any command has",
                    });
                }
                1 => {
                    let sequence = sequence(&mut sections)?;
                    if sequences.iter().any(|other| other.identifier == sequence.identifier) {
                        return Err(Error::Malformed {
                            what: "two sequences of the same name",
                        });
                    }
                    sequences.push(sequence);
                }
                _ => {
                    return Err(Error::Malformed {
                        what: "a section of an unknown kind",
                    });
                }
            }
        }
        Ok(Msg {
            flags,
            body: body.ok_or(Error::Malformed { what: "no body" })?,
            sequences,
        })
    }

    /// The message's bytes, its header included; with a checksum if the flags say so.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when it is too long.
    pub fn to_bytes(&self, request_id: i32, response_to: i32) -> Result<Vec<u8>> {
        let body = self.body.as_bytes();
        let sequences: usize = self.sequences.iter().map(Sequence::bytes).sum();
        let capacity = 4 + 1 + body.len() + sequences + CHECKSUM_BYTES;
        let mut message = begin(request_id, response_to, Opcode::Msg, capacity);
        message.extend_from_slice(&self.flags.0.to_le_bytes());
        message.push(0);
        message.extend_from_slice(body);
        for sequence in &self.sequences {
            sequence.append_to(&mut message);
        }
        if !self.flags.contains(MsgFlags::CHECKSUM_PRESENT) {
            return finish(message);
        }
        message.extend_from_slice(&[0; CHECKSUM_BYTES]);
        let mut message = finish(message)?;
        let end = message.len() - CHECKSUM_BYTES;
        let checksum = crc32c::crc32c(&message[..end]);
        message[end..].copy_from_slice(&checksum.to_le_bytes());
        Ok(message)
    }
}

impl Sequence<'_> {
    /// Bytes of its section.
    fn bytes(&self) -> usize {
        let documents: usize = self.documents.iter().map(|document| document.as_bytes().len()).sum();
        1 + 4 + self.identifier.len() + 1 + documents
    }

    fn append_to(&self, message: &mut Vec<u8>) {
        // A sequence that is too long makes the message too long, which is found at its end.
        let length = u32::try_from(self.bytes() - 1).unwrap_or(u32::MAX);
        message.push(1);
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(self.identifier.as_bytes());
        message.push(0);
        for document in &self.documents {
            message.extend_from_slice(document.as_bytes());
        }
    }
}

fn sequence<'a>(sections: &mut Input<'a>) -> Result<Sequence<'a>> {
    let length = sections.i32("a sequence")?;
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let length = length.ok_or(Error::Malformed {
        what: "a sequence shorter than its own length",
    })?;
    let mut input = Input::new(sections.bytes(length, "a sequence")?);
    let identifier = input.string("the name of a sequence")?;
    let mut documents = Vec::new();
    while !input.is_empty() {
        if documents.len() == SEQUENCE_DOCUMENTS_MAX {
            return Err(Error::Malformed {
                what: "more documents than any sequence has",
            });
        }
        documents.push(input.document("a document of a sequence")?);
    }
    Ok(Sequence { identifier, documents })
}

fn verify(header: &Header, covered: &[u8], expected: u32) -> Result<()> {
    if header.body_bytes() != covered.len() + CHECKSUM_BYTES {
        return Err(Error::Malformed {
            what: "another number of bytes than its header says",
        });
    }
    let found = crc32c::crc32c_append(crc32c::crc32c(&header.to_bytes()[..HEADER_BYTES]), covered);
    if found == expected {
        return Ok(());
    }
    Err(Error::ChecksumMismatch { expected, found })
}

#[cfg(test)]
mod tests;
