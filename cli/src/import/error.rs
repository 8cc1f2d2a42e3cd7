//! What can be wrong with the input, and where.
//!
//! [`ImportError`] says what, [`ReadError`] adds the place. Only
//! [`ImportError::Io`] may go away by trying again; every other variant means
//! that the text has to be changed, so each names the thing to look for.

use std::{error, fmt, io};

use thiserror::Error;

/// A fault in the input, with its place.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// Where the fault is.
    pub(crate) position: Position,
    /// The line on which the refused document starts; the line of `position`
    /// if the fault lies between documents.
    pub(crate) document_line: u64,
    /// What is wrong.
    pub(crate) error: ImportError,
}

/// A place in the input, as an editor counts it: both numbers begin with 1 and
/// a column is one character, not one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Lines end with a line feed; a carriage return before it counts as a
    /// character of its line.
    pub(crate) line: u64,
    /// The byte order mark, if there is one, is not counted.
    pub(crate) column: u64,
}

/// What is wrong with the input.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    /// The input could not be read.
    #[error("cannot read the input")]
    Io(#[source] io::Error),
    /// The text is not JSON.
    #[error("expected {expected}, found {found}")]
    Syntax { expected: &'static str, found: Found },
    /// A string holds a control character that must be written as an escape;
    /// mostly a line break after a forgotten quote.
    #[error("control character {code:#04x} in a string")]
    ControlCharacter { code: u8 },
    /// A backslash in a string is followed by something that is no escape, or
    /// by half of a surrogate pair.
    #[error("invalid escape in a string")]
    InvalidEscape,
    /// A string is not UTF-8.
    #[error("invalid UTF-8 in a string")]
    InvalidUtf8,
    /// A number is beyond the range of a double.
    #[error("number out of range")]
    NumberOutOfRange,
    /// Where a document belongs there is another kind of value.
    #[error("expected a document, found {found}")]
    NotADocument { found: &'static str },
    /// Something other than white space follows the closing bracket of an
    /// array of documents.
    #[error("expected nothing after the array, found {found}")]
    TrailingInput { found: Found },
    /// Documents and arrays are nested too deeply.
    #[error("nested too deeply levels_max={levels_max}")]
    TooDeep { levels_max: usize },
    /// The text of one document is too long.
    #[error("text of one document too long bytes_max={bytes_max}")]
    TextTooLong { bytes_max: usize },
    /// The document is larger in BSON than any document may be.
    #[error("document too large bytes_max={bytes_max}")]
    DocumentTooLarge { bytes_max: usize },
    /// A document has two fields of one name.
    #[error("duplicate key {key:?}")]
    DuplicateKey { key: String },
    /// A field name holds a NUL, which BSON cannot express.
    #[error("NUL in key {key:?}")]
    NulInKey { key: String },
    /// A key that marks an Extended JSON type has company in its object.
    #[error("key {key:?} cannot be mixed with others")]
    MixedTypeKey { key: &'static str },
    /// The value of a key that marks an Extended JSON type does not fit it.
    #[error("invalid {key}: expected {expected}")]
    InvalidValue { key: &'static str, expected: &'static str },
}

/// What stands where something else was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The input ends here.
    End,
    /// A printable ASCII character.
    Character(char),
    /// Anything else, by its first byte.
    Byte(u8),
}

/// A fault at an offset of the text being parsed; the reader turns it into a
/// [`ReadError`], because only it knows where that text lies in the input.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) error: ImportError,
}

impl From<Option<u8>> for Found {
    fn from(byte: Option<u8>) -> Self {
        match byte {
            None => Self::End,
            Some(byte) if byte.is_ascii_graphic() => Self::Character(char::from(byte)),
            Some(byte) => Self::Byte(byte),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("end of input"),
            Self::Character(character) => write!(f, "'{character}'"),
            Self::Byte(byte) => write!(f, "byte {byte:#04x}"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "line {line}, column {column}: {}", self.error)?;
        if self.document_line != line {
            write!(f, " document_line={}", self.document_line)?;
        }
        Ok(())
    }
}

impl error::Error for ReadError {
    /// The message already holds that of `error`, so the chain goes on below it.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.error.source()
    }
}

impl Fault {
    pub(super) fn new(at: usize, error: ImportError) -> Self {
        Self { at, error }
    }

    /// Whether the text ended too early, so that more of it might help.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.error, ImportError::Syntax { found: Found::End, .. })
    }
}
