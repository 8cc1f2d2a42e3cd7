//! Strings, numbers and words of JSON, from a slice.
//!
//! The grammar is that of RFC 8259, with nothing added: no comments, no single
//! quotes, no trailing commas.
//!
//! Invariant: a fault caused by the end of the slice is always [`Found::End`].
//! The reader shows unfinished texts to the parser and trusts every other fault
//! to be final.

use std::borrow::Cow;

use super::error::{Fault, Found, ImportError};

pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

/// A JSON number in the narrowest type that holds it.
///
/// An integer beyond 64 bits becomes a double, as Extended JSON says of numbers
/// that fit neither integer type; whoever needs all its digits writes
/// `$numberDecimal`. A fraction or an exponent makes a double, even in `1.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int32(i32),
    Int64(i64),
    Double(f64),
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Consumes `byte` if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    /// Consumes `byte`; `expected` is what to say if something else comes next.
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// Consumes `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        for &byte in word.as_bytes() {
            self.expect(byte, word)?;
        }
        Ok(())
    }

    /// Consumes a string; borrowed unless it holds escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.expect(b'"', "a string")?;
        let plain = self.plain()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut string = String::from(plain);
        loop {
            match self.peek() {
                None => return Err(self.unexpected("'\"'")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(string));
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(code) => {
                    return Err(self.fault(ImportError::ControlCharacter { code }));
                }
            }
            string.push_str(self.plain()?);
        }
    }

    pub(super) fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        let mut integer = true;
        if self.eat(b'.') {
            integer = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            integer = false;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        if self.peek().is_none() {
            // A number is never the last of a document: this one may go on.
            return Err(self.unexpected("',' or a closing bracket"));
        }
        let text = self.utf8(start)?;
        if integer && let Ok(value) = text.parse::<i64>() {
            return Ok(i32::try_from(value).map_or(Number::Int64(value), Number::Int32));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Number::Double(value)),
            _ => Err(Fault::new(start, ImportError::NumberOutOfRange)),
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// A fault at the next byte, which is not what was expected.
    pub(super) fn unexpected(&self, expected: &'static str) -> Fault {
        let found = Found::from(self.peek());
        self.fault(ImportError::Syntax { expected, found })
    }

    pub(super) fn fault(&self, error: ImportError) -> Fault {
        Fault::new(self.at, error)
    }

    /// Consumes the part of a string up to a quote, an escape, a control
    /// character or the end.
    fn plain(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        self.at = stop.map_or(self.text.len(), |stop| start + stop);
        if stop.is_none() {
            return Err(self.unexpected("'\"'"));
        }
        self.utf8(start)
    }

    /// Consumes an escape, whole surrogate pairs included.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let invalid = || Fault::new(start, ImportError::InvalidEscape);
        self.at += 1;
        let Some(kind) = self.peek() else {
            return Err(self.unexpected("an escape"));
        };
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4(start)?;
                let code = match unit {
                    0xd800..=0xdbff => self.low_surrogate(unit, start)?,
                    _ => unit,
                };
                char::from_u32(code).ok_or_else(invalid)?
            }
            _ => return Err(invalid()),
        })
    }

    /// Consumes the second half of a surrogate pair and joins it to `high`.
    fn low_surrogate(&mut self, high: u32, start: usize) -> Result<u32, Fault> {
        for &byte in b"\\u" {
            if self.peek().is_none() {
                return Err(self.unexpected("an escape"));
            }
            if !self.eat(byte) {
                return Err(Fault::new(start, ImportError::InvalidEscape));
            }
        }
        match self.hex4(start)? {
            low @ 0xdc00..=0xdfff => Ok(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
            _ => Err(Fault::new(start, ImportError::InvalidEscape)),
        }
    }

    fn hex4(&mut self, start: usize) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else {
                return Err(self.unexpected("an escape"));
            };
            let digit = char::from(byte)
                .to_digit(16)
                .ok_or_else(|| Fault::new(start, ImportError::InvalidEscape))?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Consumes one digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn utf8(&self, start: usize) -> Result<&'a str, Fault> {
        std::str::from_utf8(&self.text[start..self.at])
            .map_err(|error| Fault::new(start + error.valid_up_to(), ImportError::InvalidUtf8))
    }
}
