//! The stream of documents: what may stand between them, and their limits.
//!
//! # Layout of the input
//!
//! A UTF-8 byte order mark may come first. If the first character is `[`, the
//! input is one array of documents and nothing may follow it. Otherwise it is
//! any number of documents with white space, or nothing, between them; a line
//! has no meaning beyond its number. An empty input holds no documents.
//!
//! # After an error
//!
//! The iterator ends: where the next document begins cannot be told from a text
//! that is not understood. [`DocumentReader::documents`] still counts those
//! handed out before.

use std::io::{self, Read};

use bson::RawDocumentBuf;

use super::{
    error::{Fault, Found, ImportError, Position, ReadError},
    extent::{Extent, Scan},
    input::Input,
    parser::{self, Scratch},
};

/// The text of one document may be this long. It is four times the largest
/// document, because text is wordier than BSON.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An unfinished text of this length, and of each doubling, is shown to the
/// parser, so that a forgotten brace near the top of a large file is reported
/// without reading on to the limit.
const PROBE_BYTES: usize = 64 * 1024;

/// Reads documents from JSON text, one at a time.
pub(crate) struct DocumentReader<R> {
    input: Input<R>,
    place: Place,
    scratch: Scratch,
    documents: u64,
}

/// One document of the input.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The document, its fields in the order of the text.
    pub(crate) document: RawDocumentBuf,
    /// The line on which it starts, beginning with 1.
    pub(crate) line: u64,
    /// How much of the input has been consumed with this document.
    pub(crate) bytes_read: u64,
}

/// What the reader expects next, in the order in which it happens.
#[derive(Clone, Copy)]
enum Place {
    /// Nothing has been read.
    Start,
    /// A document or the end, outside an array.
    Documents,
    /// The first document of the array or its end.
    ArrayStart,
    /// A comma and a document, or the end of the array.
    ArrayNext,
    /// Nothing more: the end, or an error, has been handed out.
    Done,
}

impl<R: Read> DocumentReader<R> {
    /// Nothing is read before the first document is asked for. The reader
    /// buffers by itself.
    pub(crate) fn new(source: R) -> Self {
        Self {
            input: Input::new(source),
            place: Place::Start,
            scratch: Scratch::default(),
            documents: 0,
        }
    }

    /// How many documents have been handed out, also after an error.
    pub(crate) fn documents(&self) -> u64 {
        self.documents
    }

    /// Sees to what stands before a document, then reads it.
    fn advance(&mut self) -> Result<Option<Parsed>, ReadError> {
        if matches!(self.place, Place::Start) {
            self.input.skip_byte_order_mark().map_err(|error| self.io(error))?;
            self.place = Place::Documents;
            if self.peek()? == Some(b'[') {
                self.input.advance(1);
                self.place = Place::ArrayStart;
            }
        }
        match (self.place, self.peek()?) {
            (Place::Start | Place::Done, _) | (Place::Documents, None) => Ok(None),
            (Place::ArrayStart | Place::ArrayNext, Some(b']')) => self.close_array(),
            (Place::Documents, Some(_)) => self.document("'{'").map(Some),
            (Place::ArrayStart, _) => {
                self.place = Place::ArrayNext;
                self.document("'{' or ']'").map(Some)
            }
            (Place::ArrayNext, Some(b',')) => {
                self.input.advance(1);
                self.document("'{'").map(Some)
            }
            (Place::ArrayNext, other) => {
                let found = Found::from(other);
                let expected = "',' or ']'";
                Err(self.here(ImportError::Syntax { expected, found }))
            }
        }
    }

    fn close_array(&mut self) -> Result<Option<Parsed>, ReadError> {
        self.input.advance(1);
        match self.peek()? {
            None => Ok(None),
            other => Err(self.here(ImportError::TrailingInput {
                found: Found::from(other),
            })),
        }
    }

    fn document(&mut self, expected: &'static str) -> Result<Parsed, ReadError> {
        let next = self.peek()?;
        if next != Some(b'{') {
            return Err(self.here(not_a_document(next, expected)));
        }
        let bytes = self.complete_document()?;
        let text = &self.input.unread()[..bytes];
        let document = parser::parse(text, &mut self.scratch).map_err(|fault| self.locate(fault))?;
        let line = self.input.position().line;
        self.input.advance(bytes);
        self.documents += 1;
        Ok(Parsed {
            document,
            line,
            bytes_read: self.input.offset(),
        })
    }

    /// Reads until the document that begins with the first unread byte lies in
    /// the window as a whole, and returns its length.
    fn complete_document(&mut self) -> Result<usize, ReadError> {
        let mut extent = Extent::new();
        let mut probe_bytes = PROBE_BYTES;
        loop {
            let scan = extent.resume(self.input.unread());
            let bytes = match scan {
                Scan::Whole(bytes) if bytes <= TEXT_BYTES_MAX => return Ok(bytes),
                Scan::Whole(bytes) => bytes,
                Scan::Partial => self.input.unread().len(),
                Scan::Broken => {
                    let fault = self.probe();
                    return Err(self.locate(fault));
                }
            };
            if bytes >= probe_bytes {
                probe_bytes = 2 * bytes;
                let fault = self.probe();
                if !fault.is_end() {
                    return Err(self.locate(fault));
                }
            }
            if bytes > TEXT_BYTES_MAX {
                let bytes_max = TEXT_BYTES_MAX;
                return Err(self.here(ImportError::TextTooLong { bytes_max }));
            }
            if !self.input.fill().map_err(|error| self.io(error))? {
                let fault = self.probe();
                return Err(self.locate(fault));
            }
        }
    }

    /// What the parser finds wrong with an unfinished document.
    fn probe(&mut self) -> Fault {
        let text = self.input.unread();
        let text = &text[..text.len().min(TEXT_BYTES_MAX)];
        match parser::parse(text, &mut self.scratch) {
            Err(fault) => fault,
            // The scan found no end and the parser did: they disagree about
            // the text, so it is refused where it stops.
            Ok(_) => Fault::new(
                text.len(),
                ImportError::Syntax {
                    expected: "'}'",
                    found: Found::End,
                },
            ),
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        self.input.peek_after_whitespace().map_err(|error| self.io(error))
    }

    /// An error of the source, placed after the last byte it gave.
    fn io(&self, error: io::Error) -> ReadError {
        self.locate(Fault::new(self.input.unread().len(), ImportError::Io(error)))
    }

    fn here(&self, error: ImportError) -> ReadError {
        self.locate(Fault::new(0, error))
    }

    fn locate(&self, fault: Fault) -> ReadError {
        let Position { line, .. } = self.input.position();
        ReadError {
            position: self.input.position_at(fault.at),
            document_line: line,
            error: fault.error,
        }
    }
}

impl<R: Read> Iterator for DocumentReader<R> {
    type Item = Result<Parsed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.place, Place::Done) {
            return None;
        }
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.place = Place::Done;
        }
        item
    }
}

fn not_a_document(next: Option<u8>, expected: &'static str) -> ImportError {
    let found = match next {
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        other => {
            let found = Found::from(other);
            return ImportError::Syntax { expected, found };
        }
    };
    ImportError::NotADocument { found }
}
