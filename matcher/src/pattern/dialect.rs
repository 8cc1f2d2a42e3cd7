//! From PCRE's notation to the engine's, where the two read the same characters differently.
//!
//! - `\d`, `\w` and `\s` know ASCII only in PCRE as MongoDB runs it; the engine's know Unicode.
//! - `\h`, `\v`, `\N`, `\R`, `\Q…\E`, `\<` and `\>` mean something else to the engine, or nothing.
//! - In a class, `[`, `&&`, `~~` and, with the option `x`, white space stand for themselves.
//! - Outside multi-line mode `$` also matches before a newline that ends the text. That needs
//!   look-ahead, which makes a pattern backtrack; so it goes into a second pattern, for such texts
//!   only.

const DIGIT: &str = "0-9";
const WORD: &str = "A-Za-z0-9_";
const SPACE: &str = r"\t\n\x0b\x0c\r\x20";
const HORIZONTAL: &str = r"\t\x20\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}";
const VERTICAL: &str = r"\n\x0b\x0c\r\x{85}\x{2028}\x{2029}";
const NEWLINE: &str = r"(?>\r\n|[\n\x0b\x0c\r\x{85}\x{2028}\x{2029}])";
const END: &str = r"(?=\n?\z)";

pub(super) struct Translated {
    pub(super) pattern: String,
    /// The pattern for texts that end with a newline, if it is another one.
    pub(super) before_newline: Option<String>,
}

pub(super) fn translate(source: &str, extended: bool, multi_line: bool) -> Translated {
    let mut translator = Translator {
        rest: source,
        extended,
        out: String::with_capacity(source.len() + 16),
        ends: Vec::new(),
    };
    translator.run();
    let Translator { out, ends, .. } = translator;
    let before_newline = (!ends.is_empty() && !multi_line && !turns_multi_line(source)).then(|| {
        let mut text = String::with_capacity(out.len() + ends.len() * END.len());
        let mut copied = 0;
        for end in ends {
            text.push_str(&out[copied..end]);
            text.push_str(END);
            copied = end + 1;
        }
        text.push_str(&out[copied..]);
        text
    });
    Translated {
        pattern: out,
        before_newline,
    }
}

/// The literal text that a pattern anchored at the beginning begins with.
pub(super) fn prefix(source: &str) -> Option<String> {
    let rest = source.strip_prefix('^').or_else(|| source.strip_prefix(r"\A"))?;
    // An alternative need not begin the same way.
    if rest.contains('|') {
        return None;
    }
    let mut prefix = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '[' | '(' | ')' | '$' | '^' | '{' | '}' | '*' | '+' | '?' => break,
            literal => literal,
        };
        match chars.peek() {
            // The character may be missing.
            Some('*' | '?' | '{') => break,
            _ => prefix.push(literal),
        }
    }
    (!prefix.is_empty()).then_some(prefix)
}

/// Says whether the pattern switches to multi-line mode by itself, as in `(?m)`.
fn turns_multi_line(source: &str) -> bool {
    source.split("(?").skip(1).any(|group| {
        let flags = group.split([')', ':', '-']).next().unwrap_or_default();
        flags.len() <= 8 && flags.contains('m') && flags.bytes().all(|flag| flag.is_ascii_alphabetic())
    })
}

struct Translator<'p> {
    rest: &'p str,
    extended: bool,
    out: String,
    /// Where in `out` a `$` stands that means the end of the text.
    ends: Vec<usize>,
}

impl Translator<'_> {
    fn run(&mut self) {
        while let Some(c) = self.take() {
            match c {
                '\\' => self.escape(),
                '[' => self.class(),
                '$' => {
                    self.ends.push(self.out.len());
                    self.out.push('$');
                }
                '#' if self.extended => {
                    self.out.push(c);
                    self.copy_through('\n');
                }
                '(' if self.rest.starts_with("?#") => {
                    self.out.push(c);
                    self.copy_through(')');
                }
                c => self.out.push(c),
            }
        }
    }

    fn escape(&mut self) {
        let Some(c) = self.take() else {
            return self.out.push('\\');
        };
        match (members(c), c) {
            (Some((members, false)), _) => self.push_all(&["[", members, "]"]),
            (Some((members, true)), _) => self.push_all(&["[^", members, "]"]),
            (None, 'N') => self.out.push_str(r"[^\n]"),
            (None, 'R') => self.out.push_str(NEWLINE),
            (None, 'Z') => self.out.push_str(END),
            (None, '<' | '>') => self.out.push(c),
            (None, 'Q') => {
                let (quoted, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                for c in quoted.chars() {
                    self.push_literal(c);
                }
                self.rest = after;
            }
            (None, c) => {
                self.out.push('\\');
                self.out.push(c);
            }
        }
    }

    /// Copies a class, behind its opening bracket.
    fn class(&mut self) {
        self.out.push('[');
        if self.accept('^') {
            self.out.push('^');
        }
        // Right at the beginning a closing bracket is a member.
        if self.accept(']') {
            self.out.push_str(r"\]");
        }
        while let Some(c) = self.take() {
            match c {
                ']' => return self.out.push(']'),
                '[' if self.rest.starts_with(':') => {
                    let end = self.rest.find(":]").map_or(self.rest.len(), |end| end + 2);
                    let (posix, rest) = self.rest.split_at(end);
                    self.push_all(&["[", posix]);
                    self.rest = rest;
                }
                '\\' => match self.take() {
                    None => self.out.push('\\'),
                    Some(c) => match members(c) {
                        Some((members, false)) => self.out.push_str(members),
                        Some((members, true)) => self.push_all(&["[^", members, "]"]),
                        None => {
                            self.out.push('\\');
                            self.out.push(c);
                        }
                    },
                },
                '[' | '&' | '~' => self.push_literal(c),
                '-' if self.rest.starts_with('-') => self.push_literal(c),
                c if self.extended && (c.is_whitespace() || c == '#') => self.push_literal(c),
                c => self.out.push(c),
            }
        }
    }

    /// Writes a character so that it stands for itself everywhere.
    fn push_literal(&mut self, c: char) {
        if c.is_alphanumeric() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!(r"\x{{{:x}}}", u32::from(c)));
        }
    }

    fn push_all(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.push_str(part);
        }
    }

    fn copy_through(&mut self, last: char) {
        let end = self
            .rest
            .find(last)
            .map_or(self.rest.len(), |end| end + last.len_utf8());
        let (copied, rest) = self.rest.split_at(end);
        self.out.push_str(copied);
        self.rest = rest;
    }

    fn accept(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }
}

/// The members of the class that `\c` stands for, and whether it stands for all others.
fn members(c: char) -> Option<(&'static str, bool)> {
    let members = match c.to_ascii_lowercase() {
        'd' => DIGIT,
        'w' => WORD,
        's' => SPACE,
        'h' => HORIZONTAL,
        'v' => VERTICAL,
        _ => return None,
    };
    Some((members, c.is_ascii_uppercase()))
}
