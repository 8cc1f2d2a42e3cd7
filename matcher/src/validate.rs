//! Checks untrusted bytes before anything else reads them.
//!
//! Bytes from a socket or a damaged file may claim any length and nest as deep as they like. After
//! [`validate`] has passed them, every walk over them terminates, stays inside them and needs
//! bounded stack: lengths agree at every level, strings are UTF-8, types are known.
//!
//! The check is one pass without recursion; its only memory is a fixed array of the ends of the
//! documents it is inside of. It does not look at field names' meaning (duplicates, `$`, array
//! positions out of order are all well-formed).

mod error;

use bson::RawDocument;
use bson::spec::{BinarySubtype, ElementType};

pub use error::{ValidateError, ValidateErrorKind};

use ValidateErrorKind as Kind;

/// How many levels documents and arrays may nest, the outermost counted; MongoDB's limit.
pub const DEPTH_MAX: usize = 100;

/// The largest document, in bytes: 16 MiB, MongoDB's limit.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest document that only carries others, such as a command, in bytes: one of [`DOCUMENT_BYTES_MAX`] fits into it.
pub const ENVELOPE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 16 * 1024;

/// How many levels a document that only carries others may nest: one of [`DEPTH_MAX`] fits into it.
pub const ENVELOPE_DEPTH_MAX: usize = DEPTH_MAX + 20;

/// The smallest document: its length and its terminator.
const DOCUMENT_BYTES_MIN: usize = 5;

/// Views `bytes` as a document if they are one through and through.
pub fn validate(bytes: &[u8]) -> Result<&RawDocument, ValidateError> {
    validate_within(bytes, DOCUMENT_BYTES_MAX)
}

/// As [`validate`], of a document that is never stored itself and carries some that are: a command, or a statement of one. It may
/// be larger and deeper, as in MongoDB, so that whatever may be stored can be sent. What it carries is validated again, by the
/// limits of a document, by whoever takes it out.
///
/// # Errors
///
/// As [`validate`]; [`ValidateErrorKind::TooLarge`] beyond [`ENVELOPE_BYTES_MAX`], [`ValidateErrorKind::TooDeep`] beyond
/// [`ENVELOPE_DEPTH_MAX`].
pub fn validate_envelope(bytes: &[u8]) -> Result<&RawDocument, ValidateError> {
    validate_levels::<ENVELOPE_DEPTH_MAX>(bytes, ENVELOPE_BYTES_MAX)
}

/// As [`validate`], of documents that may have so many bytes: what is on its way need not be storable.
pub(crate) fn validate_within(bytes: &[u8], bytes_max: usize) -> Result<&RawDocument, ValidateError> {
    validate_levels::<DEPTH_MAX>(bytes, bytes_max)
}

fn validate_levels<const LEVELS: usize>(bytes: &[u8], bytes_max: usize) -> Result<&RawDocument, ValidateError> {
    if bytes.len() > bytes_max {
        return Err(ValidateError {
            offset: 0,
            kind: Kind::TooLarge { found: bytes.len() },
        });
    }
    let mut reader = Reader { bytes, at: 0 };
    let end = reader.enter(bytes.len())?;
    if end != bytes.len() {
        return Err(reader.length_error(0));
    }
    let mut ends = [0usize; LEVELS];
    ends[0] = end;
    let mut depth = 1;
    while depth > 0 {
        let end = ends[depth - 1];
        match reader.element(end)? {
            Step::Value => {}
            Step::Enter(inner_end) => {
                let Some(slot) = ends.get_mut(depth) else {
                    return Err(reader.error(Kind::TooDeep));
                };
                *slot = inner_end;
                depth += 1;
            }
            Step::Leave => depth -= 1,
        }
    }
    RawDocument::from_bytes(bytes).map_err(|_| reader.length_error(0))
}

/// What the reader met.
enum Step {
    /// A value that holds no others; the reader is behind it.
    Value,
    /// A nested document that ends at this offset; the reader is at its first element.
    Enter(usize),
    /// The document's end; the reader is behind it.
    Leave,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads one element of a document that ends at `end`.
    fn element(&mut self, end: usize) -> Result<Step, ValidateError> {
        let start = self.at;
        let kind = self.take(1, end)?[0];
        if kind == 0 {
            return if self.at == end {
                Ok(Step::Leave)
            } else {
                Err(ValidateError {
                    offset: start,
                    kind: Kind::Terminator,
                })
            };
        }
        // The last byte of the document is its terminator, which belongs to no element.
        let end = end - 1;
        self.cstring(end)?;
        let Some(kind) = ElementType::from(kind) else {
            return Err(ValidateError {
                offset: start,
                kind: Kind::Type { found: kind },
            });
        };
        let size = match kind {
            ElementType::EmbeddedDocument | ElementType::Array => {
                return self.enter(end).map(Step::Enter);
            }
            ElementType::JavaScriptCodeWithScope => return self.code_with_scope(end),
            ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => {
                self.string(end)?;
                0
            }
            ElementType::DbPointer => {
                self.string(end)?;
                12
            }
            ElementType::RegularExpression => {
                self.cstring(end)?;
                self.cstring(end)?;
                0
            }
            ElementType::Binary => {
                self.binary(end)?;
                0
            }
            ElementType::Boolean => {
                let found = self.take(1, end)?[0];
                if found > 1 {
                    let offset = self.at - 1;
                    return Err(ValidateError {
                        offset,
                        kind: Kind::Boolean { found },
                    });
                }
                0
            }
            ElementType::Int32 => 4,
            ElementType::Double | ElementType::Int64 | ElementType::DateTime | ElementType::Timestamp => 8,
            ElementType::ObjectId => 12,
            ElementType::Decimal128 => 16,
            ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => 0,
        };
        self.take(size, end)?;
        Ok(Step::Value)
    }

    /// Reads a document's length and returns where the document ends.
    fn enter(&mut self, end: usize) -> Result<usize, ValidateError> {
        let start = self.at;
        let size = self.length(DOCUMENT_BYTES_MIN, end)?;
        if self.bytes[start + size - 1] != 0 {
            return Err(ValidateError {
                offset: start + size - 1,
                kind: Kind::Terminator,
            });
        }
        Ok(start + size)
    }

    fn code_with_scope(&mut self, end: usize) -> Result<Step, ValidateError> {
        let start = self.at;
        let whole_end = start + self.length(14, end)?;
        self.string(whole_end)?;
        let scope_start = self.at;
        let scope_end = self.enter(whole_end)?;
        if scope_end != whole_end {
            return Err(self.length_error(scope_start));
        }
        Ok(Step::Enter(scope_end))
    }

    fn binary(&mut self, end: usize) -> Result<(), ValidateError> {
        let start = self.at;
        let found = self.int(end)?;
        let size = usize::try_from(found).map_err(|_| self.length_error(start))?;
        let subtype = BinarySubtype::from(self.take(1, end)?[0]);
        let content = self.at;
        self.take(size, end)?;
        if subtype == BinarySubtype::BinaryOld {
            let mut inner = Reader {
                bytes: self.bytes,
                at: content,
            };
            let inner_size = inner.int(content + size)?;
            if usize::try_from(inner_size).ok() != size.checked_sub(4) {
                return Err(self.length_error(content));
            }
        }
        Ok(())
    }

    /// Reads a length-prefixed string with its terminator.
    fn string(&mut self, end: usize) -> Result<(), ValidateError> {
        let start = self.at;
        let found = self.int(end)?;
        let size = usize::try_from(found).ok().filter(|size| *size >= 1);
        let size = size.ok_or_else(|| self.length_error(start))?;
        let content = self.at;
        let bytes = self.take(size, end)?;
        let Some((0, text)) = bytes.split_last() else {
            return Err(ValidateError {
                offset: self.at - 1,
                kind: Kind::Terminator,
            });
        };
        utf8(text, content)
    }

    /// Reads up to and including the next zero byte.
    fn cstring(&mut self, end: usize) -> Result<(), ValidateError> {
        let start = self.at;
        let rest = &self.bytes[start..end.max(start)];
        let Some(size) = rest.iter().position(|&byte| byte == 0) else {
            return Err(self.error(Kind::Truncated));
        };
        self.at += size + 1;
        utf8(&rest[..size], start)
    }

    /// Reads a length that counts itself, at least `least`, and that must end at or before `end`.
    fn length(&mut self, least: usize, end: usize) -> Result<usize, ValidateError> {
        let start = self.at;
        let found = self.int(end)?;
        match usize::try_from(found) {
            Ok(size) if size >= least && size <= end - start => Ok(size),
            _ => Err(self.length_error(start)),
        }
    }

    fn int(&mut self, end: usize) -> Result<i32, ValidateError> {
        let start = self.at;
        match self.take(4, end)? {
            &[a, b, c, d] => Ok(i32::from_le_bytes([a, b, c, d])),
            _ => Err(ValidateError {
                offset: start,
                kind: Kind::Truncated,
            }),
        }
    }

    fn take(&mut self, size: usize, end: usize) -> Result<&'a [u8], ValidateError> {
        let taken = self.at.checked_add(size).filter(|until| *until <= end);
        let bytes = taken.and_then(|until| self.bytes.get(self.at..until));
        let bytes = bytes.ok_or_else(|| self.error(Kind::Truncated))?;
        self.at += size;
        Ok(bytes)
    }

    fn error(&self, kind: Kind) -> ValidateError {
        ValidateError { offset: self.at, kind }
    }

    fn length_error(&self, offset: usize) -> ValidateError {
        let stored = self.bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        let found = stored.map_or(0, |bytes| i32::from_le_bytes(*bytes));
        ValidateError {
            offset,
            kind: Kind::Length { found },
        }
    }
}

fn utf8(bytes: &[u8], offset: usize) -> Result<(), ValidateError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(ValidateError {
            offset: offset + error.valid_up_to(),
            kind: Kind::Utf8,
        }),
    }
}
