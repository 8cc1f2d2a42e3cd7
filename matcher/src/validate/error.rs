//! What the validator refuses, with the offset of the fault.

use super::{DEPTH_MAX, DOCUMENT_BYTES_MAX};

/// What is wrong with the bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} offset={offset}")]
pub struct ValidateError {
    /// How many bytes into the document the fault lies.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ValidateErrorKind,
}

/// What can be wrong with a document's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateErrorKind {
    /// The bytes end inside a value or a name.
    #[error("the bytes end too early")]
    Truncated,
    /// The document is larger than [`DOCUMENT_BYTES_MAX`], or one that carries others than
    /// [`ENVELOPE_BYTES_MAX`](crate::ENVELOPE_BYTES_MAX).
    #[error("the document is too large, found={found} limit={DOCUMENT_BYTES_MAX}")]
    TooLarge {
        /// The document's size in bytes.
        found: usize,
    },
    /// Documents nest deeper than [`DEPTH_MAX`], or with one that carries them than
    /// [`ENVELOPE_DEPTH_MAX`](crate::ENVELOPE_DEPTH_MAX).
    #[error("the document nests too deep, limit={DEPTH_MAX}")]
    TooDeep,
    /// A length is negative, too small for its type, or does not fit what surrounds it.
    #[error("a length does not fit, found={found}")]
    Length {
        /// The length as stored.
        found: i32,
    },
    /// A document or a string does not end with a zero byte where its length says it ends.
    #[error("a terminating zero byte is missing")]
    Terminator,
    /// No BSON type has this number.
    #[error("unknown element type, found={found:#04x}")]
    Type {
        /// The number.
        found: u8,
    },
    /// A string or a name is not UTF-8.
    #[error("a string is not valid utf-8")]
    Utf8,
    /// A boolean is neither 0 nor 1.
    #[error("a boolean must be 0 or 1, found={found}")]
    Boolean {
        /// The byte.
        found: u8,
    },
}
