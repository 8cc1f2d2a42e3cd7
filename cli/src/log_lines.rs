//! Lines of the program's own log: one for each event, whatever names and messages stand in it.
//!
//! Names of users, collections and clients come from outside, and may have line breaks or a terminal's commands in them. What would
//! end a line, or tell a terminal anything, is written as an escape.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers to the standard error output that escape. The formatter gives each event in one piece, with its line's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped;

impl<'a> MakeWriter<'a> for Escaped {
    type Writer = Lines<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(io::stderr())
    }
}

/// Writes each piece as one line.
#[derive(Debug)]
pub(crate) struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(piece);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let is_plain = !text.chars().any(ends_lines);
        match is_plain {
            true => self.0.write_all(piece)?,
            false => self.0.write_all((escaped(text) + end).as_bytes())?,
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether a character ends a line somewhere, or is a command.
fn ends_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match ends_lines(character) {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(piece: &str) -> String {
        let mut lines = Lines(Vec::new());
        lines.write_all(piece.as_bytes()).unwrap();
        String::from_utf8(lines.0).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        for (piece, line) in [
            (
                "WARN login failed user=ada@admin\n",
                "WARN login failed user=ada@admin\n",
            ),
            (
                "user=a\nINFO logged in user=root\n",
                "user=a\\nINFO logged in user=root\n",
            ),
            (
                "a\r\u{1b}[2Jb\u{85}c\u{2028}d\0\n",
                "a\\r\\u{1b}[2Jb\\u{85}c\\u{2028}d\\u{0}\n",
            ),
            ("größe=7 °C\n", "größe=7 °C\n"),
            ("without an end\t", "without an end\\t"),
        ] {
            assert_eq!(written(piece), line);
        }
    }
}
