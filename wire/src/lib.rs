//! MongoDB's wire protocol as bytes: messages in, messages out.
//!
//! This crate knows the layout of messages and nothing else. It opens no socket, and knows no command: whoever has the bytes of a
//! message asks for its parts, and whoever has an answer asks for its bytes. The authority is MongoDB's manual (*MongoDB Wire
//! Protocol*) and the driver specifications (*OP_MSG*, *Wire Compression*).
//!
//! # From bytes to a command
//!
//! ```text
//! 16 bytes ──► Header::parse ──► the rest of the message ──► OP_COMPRESSED? ──► Compressed::parse, decompress
//!                                                      └──► OP_MSG          ──► Msg::parse
//!                                                      └──► OP_QUERY        ──► Query::parse
//! ```
//!
//! A parsed message borrows the bytes it came from: documents are raw, and are not looked into. That they are well-formed
//! inside is for whoever reads them to find out.
//!
//! # What is refused
//!
//! Bytes from the network are never trusted. A length that is too small, too large or not the length of what it names, a flag
//! that must be understood and is not, a section of an unknown kind, a message with no body or with two, a checksum that does
//! not match, and compressed bytes that are not as long as they claim: each is an [`Error`], before anything is allocated for
//! it. [`MESSAGE_BYTES_MAX`] bounds every message, and what it decompresses to.
//!
//! ```
//! use bson::rawdoc;
//! use tailwater_wire::{Header, HEADER_BYTES, Msg, MsgFlags};
//!
//! # fn main() -> Result<(), tailwater_wire::Error> {
//! let ping = rawdoc! { "ping": 1, "$db": "admin" };
//! let bytes = Msg::new(&ping).to_bytes(7, 0)?;
//!
//! let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().expect("a whole message");
//! let header = Header::parse(head)?;
//! let msg = Msg::parse(&header, rest)?;
//! assert_eq!(header.request_id, 7);
//! assert_eq!(msg.flags, MsgFlags::default());
//! assert_eq!(msg.body, &*ping);
//! # Ok(())
//! # }
//! ```

mod compressed;
mod compressor;
mod error;
mod header;
mod input;
mod msg;
mod query;

pub use compressed::Compressed;
pub use compressor::Compressor;
pub use error::{Error, Result};
pub use header::{HEADER_BYTES, Header, MESSAGE_BYTES_MAX, Opcode};
pub use msg::{Msg, MsgFlags, Sequence};
pub use query::{Query, reply_bytes};
