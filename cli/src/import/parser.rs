//! One document, from text straight into BSON.
//!
//! Recursive descent over a slice that holds the whole document. An object is a
//! document unless its first key marks an Extended JSON type (see
//! [`typed`](super::typed)).
//!
//! # Limits
//!
//! Documents and arrays nest [`LEVELS_MAX`] deep, the outermost included; a
//! `$scope` is a document, the braces of other typed values do not count. The
//! recursion is bounded by that: no typed value holds another directly, except
//! in fixed places that end. Size is checked after each element and at the
//! end, so that no more than one value is written beyond [`DOCUMENT_BYTES_MAX`].
//!
//! # Duplicate keys
//!
//! They are refused: which of the two was meant cannot be known. The keys of a
//! document are sorted when it ends, which keeps documents with very many keys
//! cheap and needs no set.

use bson::{RawDocumentBuf, spec::ElementType};

use super::{
    error::{Fault, ImportError},
    lexer::{Lexer, Number},
    typed::TypeKey,
    writer::Writer,
};

/// MongoDB's limits, which clients and servers on both sides of an import rely
/// on.
pub(super) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(super) const LEVELS_MAX: usize = 100;

/// Parses `text`, which begins with a brace and ends with the one that closes
/// it, unless it is unfinished.
pub(super) fn parse(text: &[u8], scratch: &mut Scratch) -> Result<RawDocumentBuf, Fault> {
    scratch.out.clear();
    scratch.keys.clear();
    let mut parser = Parser {
        lexer: Lexer::new(text),
        out: &mut scratch.out,
        keys: &mut scratch.keys,
    };
    parser.document(1)?;
    parser.check_size()?;
    if parser.lexer.peek().is_some() {
        return Err(parser.lexer.unexpected("the end of the document"));
    }
    let document = RawDocumentBuf::from_bytes(scratch.out.bytes().to_vec());
    Ok(document.expect("the writer gives a document its length and its end"))
}

/// Buffers that one document after the other is built in.
#[derive(Default)]
pub(super) struct Scratch {
    out: Writer,
    keys: Vec<Key>,
}

pub(super) struct Parser<'a, 'b> {
    pub(super) lexer: Lexer<'a>,
    pub(super) out: &'b mut Writer,
    /// The keys of all documents that are open, the innermost last.
    keys: &'b mut Vec<Key>,
}

/// A key of an open document: where it was written, and where it was read.
struct Key {
    start: u32,
    length: u32,
    text_at: u32,
}

impl Parser<'_, '_> {
    /// Parses a value that lies inside `level` documents and arrays, and writes
    /// it.
    fn value(&mut self, level: usize) -> Result<ElementType, Fault> {
        match self.lexer.peek() {
            Some(b'"') => {
                let string = self.lexer.string()?;
                self.out.string(&string);
                Ok(ElementType::String)
            }
            Some(b'-' | b'0'..=b'9') => Ok(self.number()?),
            Some(b'{') => self.object(level + 1),
            Some(b'[') => self.array(level + 1),
            Some(b't') => self.boolean("true", 1),
            Some(b'f') => self.boolean("false", 0),
            Some(b'n') => self.lexer.word("null").map(|()| ElementType::Null),
            _ => Err(self.lexer.unexpected("a value")),
        }
    }

    /// Parses an object that may be a typed value; a document stands at `level`.
    fn object(&mut self, level: usize) -> Result<ElementType, Fault> {
        self.braces(level, Self::typed)
    }

    /// Parses an object that must be a document, at `level`.
    pub(super) fn document(&mut self, level: usize) -> Result<(), Fault> {
        let at = self.lexer.at();
        // Refused before the typed value is read: typed values directly inside
        // one another would recurse without passing a level.
        self.braces(level, |_, _, _| {
            let found = "an Extended JSON value";
            Err(Fault::new(at, ImportError::NotADocument { found }))
        })?;
        Ok(())
    }

    /// Parses an object and hands it to `typed` if its first key says so.
    fn braces(
        &mut self,
        level: usize,
        typed: impl FnOnce(&mut Self, TypeKey, usize) -> Result<ElementType, Fault>,
    ) -> Result<ElementType, Fault> {
        let start = self.lexer.at();
        self.lexer.expect(b'{', "'{'")?;
        self.lexer.skip_whitespace();
        if self.lexer.peek() == Some(b'"') {
            let key_at = self.lexer.at();
            let key = self.lexer.string()?;
            if let Some(type_key) = TypeKey::named(&key) {
                return typed(self, type_key, level);
            }
            self.check_level(start, level)?;
            self.fields(&key, key_at, level)?;
        } else {
            self.lexer.expect(b'}', "a key or '}'")?;
            self.check_level(start, level)?;
            let document = self.out.begin();
            self.out.end_document(&document);
        }
        Ok(ElementType::EmbeddedDocument)
    }

    /// Parses the fields of a document whose first key has been read.
    fn fields(&mut self, first: &str, first_at: usize, level: usize) -> Result<(), Fault> {
        let document = self.out.begin();
        let outer_keys = self.keys.len();
        self.field(first, first_at, level)?;
        loop {
            self.lexer.skip_whitespace();
            if self.lexer.eat(b'}') {
                break;
            }
            self.lexer.expect(b',', "',' or '}'")?;
            self.lexer.skip_whitespace();
            let at = self.lexer.at();
            if self.lexer.peek() != Some(b'"') {
                return Err(self.lexer.unexpected("a key"));
            }
            let key = self.lexer.string()?;
            if let Some(type_key) = TypeKey::named(&key) {
                let key = type_key.name();
                return Err(Fault::new(at, ImportError::MixedTypeKey { key }));
            }
            self.field(&key, at, level)?;
        }
        self.check_duplicates(outer_keys)?;
        self.keys.truncate(outer_keys);
        self.out.end_document(&document);
        Ok(())
    }

    /// Parses the rest of a field after its key, and writes all of it.
    fn field(&mut self, key: &str, text_at: usize, level: usize) -> Result<(), Fault> {
        if key.contains('\0') {
            let key = key.to_owned();
            return Err(Fault::new(text_at, ImportError::NulInKey { key }));
        }
        let element = self.out.begin_field(key);
        let end = self.out.position() - 1;
        // The limits on text and document leave all three far below 32 bits.
        self.keys.push(Key {
            start: (end - key.len()) as u32,
            length: key.len() as u32,
            text_at: text_at as u32,
        });
        self.colon()?;
        let element_type = self.value(level)?;
        self.out.end_element(&element, element_type);
        self.check_size()
    }

    fn array(&mut self, level: usize) -> Result<ElementType, Fault> {
        self.check_level(self.lexer.at(), level)?;
        self.lexer.expect(b'[', "'['")?;
        let array = self.out.begin();
        self.lexer.skip_whitespace();
        let mut index = 0;
        let mut more = !self.lexer.eat(b']');
        while more {
            let element = self.out.begin_item(index);
            let element_type = self.value(level)?;
            self.out.end_element(&element, element_type);
            self.check_size()?;
            index += 1;
            self.lexer.skip_whitespace();
            more = !self.lexer.eat(b']');
            if more {
                self.lexer.expect(b',', "',' or ']'")?;
                self.lexer.skip_whitespace();
            }
        }
        self.out.end_document(&array);
        Ok(ElementType::Array)
    }

    fn number(&mut self) -> Result<ElementType, Fault> {
        Ok(match self.lexer.number()? {
            Number::Int32(value) => {
                self.out.raw(&value.to_le_bytes());
                ElementType::Int32
            }
            Number::Int64(value) => {
                self.out.raw(&value.to_le_bytes());
                ElementType::Int64
            }
            Number::Double(value) => {
                self.out.raw(&value.to_le_bytes());
                ElementType::Double
            }
        })
    }

    fn boolean(&mut self, word: &'static str, byte: u8) -> Result<ElementType, Fault> {
        self.lexer.word(word)?;
        self.out.raw(&[byte]);
        Ok(ElementType::Boolean)
    }

    pub(super) fn colon(&mut self) -> Result<(), Fault> {
        self.lexer.skip_whitespace();
        self.lexer.expect(b':', "':'")?;
        self.lexer.skip_whitespace();
        Ok(())
    }

    fn check_level(&self, at: usize, level: usize) -> Result<(), Fault> {
        if level <= LEVELS_MAX {
            return Ok(());
        }
        let levels_max = LEVELS_MAX;
        Err(Fault::new(at, ImportError::TooDeep { levels_max }))
    }

    fn check_size(&self) -> Result<(), Fault> {
        if self.out.position() <= DOCUMENT_BYTES_MAX {
            return Ok(());
        }
        let bytes_max = DOCUMENT_BYTES_MAX;
        Err(self.lexer.fault(ImportError::DocumentTooLarge { bytes_max }))
    }

    /// Refuses the innermost open document if two of its keys are equal, and
    /// names the first that repeats another.
    fn check_duplicates(&mut self, outer_keys: usize) -> Result<(), Fault> {
        let written = self.out.bytes();
        let name = |key: &Key| &written[key.start as usize..][..key.length as usize];
        let keys = &mut self.keys[outer_keys..];
        keys.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(a.text_at.cmp(&b.text_at)));
        let repeated = keys
            .windows(2)
            .filter(|pair| name(&pair[0]) == name(&pair[1]))
            .map(|pair| &pair[1])
            .min_by_key(|key| key.text_at);
        let Some(repeated) = repeated else {
            return Ok(());
        };
        let key = String::from_utf8_lossy(name(repeated)).into_owned();
        let at = repeated.text_at as usize;
        Err(Fault::new(at, ImportError::DuplicateKey { key }))
    }
}
