//! A window on the input that knows its line and column.
//!
//! Bytes enter at the far end by [`Input::fill`] and leave at the near end by
//! [`Input::advance`]; what lies between is contiguous, so that a document can
//! be parsed as one slice. The window grows only when it is full, that is, when
//! a single document is larger than it.
//!
//! Invariant: `start ≤ end ≤ buffer.len()`, and `offset` and `position` belong
//! to the byte at `start`.

use std::io::{self, ErrorKind, Read};

use super::error::Position;

const WINDOW_BYTES_INITIAL: usize = 256 * 1024;

pub(super) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// After the end has been seen the source is not asked again: a terminal
    /// would wait for more.
    ended: bool,
    offset: u64,
    position: Position,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; WINDOW_BYTES_INITIAL],
            start: 0,
            end: 0,
            ended: false,
            offset: 0,
            position: Position { line: 1, column: 1 },
        }
    }

    /// Reads more. `false` means that the input has ended.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.make_room();
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        // A source that claims more than it was offered is not believed.
        self.end = (self.end + read).min(self.buffer.len());
        self.ended = read == 0;
        Ok(!self.ended)
    }

    /// Consumes a byte order mark, which has no column.
    pub(super) fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        while self.unread().len() < MARK.len() && MARK.starts_with(self.unread()) {
            if !self.fill()? {
                return Ok(());
            }
        }
        if self.unread().starts_with(MARK) {
            self.start += MARK.len();
            self.offset += MARK.len() as u64;
        }
        Ok(())
    }

    /// Consumes white space and shows the byte after it.
    pub(super) fn peek_after_whitespace(&mut self) -> io::Result<Option<u8>> {
        loop {
            let blank = self
                .unread()
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
                .count();
            self.advance(blank);
            if let Some(&byte) = self.unread().first() {
                return Ok(Some(byte));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Consumes `count` bytes of [`Input::unread`].
    pub(super) fn advance(&mut self, count: usize) {
        self.position = self.position_at(count);
        self.start += count;
        self.offset += count as u64;
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// How many bytes of the input have been consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The place of the first unread byte.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The place of an unread byte, or of the one after the last.
    pub(super) fn position_at(&self, at: usize) -> Position {
        let passed = &self.unread()[..at];
        let Position { line, column } = self.position;
        match passed.iter().rposition(|&byte| byte == b'\n') {
            None => Position {
                line,
                column: column + characters(passed),
            },
            Some(last) => Position {
                line: line + passed.iter().filter(|&&byte| byte == b'\n').count() as u64,
                column: 1 + characters(&passed[last + 1..]),
            },
        }
    }

    fn make_room(&mut self) {
        if self.end < self.buffer.len() {
            return;
        }
        if self.start == 0 {
            self.buffer.resize(2 * self.buffer.len(), 0);
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

/// Characters are counted by the bytes that begin one, so that bytes which are
/// no UTF-8 still have a place.
fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64
}
