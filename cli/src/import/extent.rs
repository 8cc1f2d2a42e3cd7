//! Where a document ends, without saying whether it is one.
//!
//! The scan counts brackets outside strings and nothing else. It can stop at
//! any byte and go on when there is more, so that a document which arrives in
//! small pieces is looked at once. Everything that may be wrong with the text
//! is left to the parser: one place for every fault.

pub(super) struct Extent {
    scanned: usize,
    depth: usize,
    in_string: bool,
    /// The byte before, inside a string, was a backslash that counts.
    escaped: bool,
}

pub(super) enum Scan {
    /// The document is the first so many bytes.
    Whole(usize),
    /// The document goes on after the text.
    Partial,
    /// No continuation makes this a document; the parser knows why.
    Broken,
}

impl Extent {
    pub(super) fn new() -> Self {
        Self {
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Goes on where the last call stopped. `text` begins with the opening
    /// brace and has what earlier calls saw as its prefix.
    pub(super) fn resume(&mut self, text: &[u8]) -> Scan {
        for (at, &byte) in text.iter().enumerate().skip(self.scanned) {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                match byte {
                    b'"' => self.in_string = false,
                    b'\\' => self.escaped = true,
                    // A quote was forgotten. Without this stop the rest of the
                    // file would be read as the inside of a string.
                    0..=0x1f => return Scan::Broken,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Scan::Whole(at + 1);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.scanned = text.len();
        Scan::Partial
    }
}
