//! What can be wrong with a message.

use crate::compressor::Compressor;
use crate::header::{HEADER_BYTES, MESSAGE_BYTES_MAX};

/// The result of reading or writing a message.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a message. Nothing after it on the same connection can be trusted: close that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message's length is shorter than its header, or longer than any message may be.
    #[error("a message of {length} bytes: it must have {HEADER_BYTES} at least and {MESSAGE_BYTES_MAX} at most")]
    Length {
        /// What its header says.
        length: i64,
    },
    /// An opcode that this protocol does not have any more, or never had.
    #[error("unknown opcode {opcode}")]
    UnknownOpcode {
        /// The opcode.
        opcode: i32,
    },
    /// A message of another kind than is read.
    #[error("expected a message of opcode {expected}, found {found}")]
    OtherOpcode {
        /// The opcode that was expected.
        expected: i32,
        /// The opcode of the message.
        found: i32,
    },
    /// A part of a message ends behind the end of what it is in.
    #[error("{what} goes beyond the end of its message")]
    Overrun {
        /// The part.
        what: &'static str,
    },
    /// Something in a message is not as the protocol has it.
    #[error("malformed message: {what}")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// Flags among the low sixteen, which must be understood, that this protocol does not have.
    #[error("unknown required flags {flags:#06x}")]
    UnknownFlags {
        /// The flags that are not known.
        flags: u32,
    },
    /// The bytes have changed on the way.
    #[error("the checksum of the message does not match: expected={expected:#010x} found={found:#010x}")]
    ChecksumMismatch {
        /// What the message says.
        expected: u32,
        /// What its bytes have.
        found: u32,
    },
    /// A compressor that is not known.
    #[error("unknown compressor {id}")]
    UnknownCompressor {
        /// Its number.
        id: u8,
    },
    /// Compressed bytes that cannot be decompressed, or are not as long as they claim.
    #[error("malformed {compressor} bytes, or not {length} of them")]
    Decompress {
        /// The compressor.
        compressor: Compressor,
        /// How many bytes there should be.
        length: usize,
    },
    /// A compressor failed.
    #[error("{compressor} cannot compress the message: send it as it is")]
    Compress {
        /// The compressor.
        compressor: Compressor,
    },
}
