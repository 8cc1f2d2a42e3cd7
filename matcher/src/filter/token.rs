//! Splits filter text into tokens.
//!
//! A dotted name is one token with its components, so that `tags.0.name` does not read as a number
//! and `` `first name`.given `` keeps its quotes. Whether a name is a keyword is for the grammar to
//! say: it depends on where the name stands.

use bson::RawBson;

use super::FILTER_BYTES_MAX;
use super::error::{FilterError, FilterErrorKind as Kind};
use super::literal;

/// A token and where it begins and ends, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A bare word without dots: a name or a keyword.
    Word,
    /// A name that can only be a path: dotted or quoted; without its quotes.
    Path(String),
    Text(String),
    Number(RawBson),
    /// A regular expression between slashes, and its options.
    Regex(String, String),
    /// An operator or a bracket, in its one canonical spelling.
    Sign(&'static str),
    End,
}

/// Spellings of signs and what they mean, longer ones first.
const SIGNS: [(&str, &str); 16] = [
    ("==", "="),
    ("!=", "!="),
    ("<>", "!="),
    (">=", ">="),
    ("<=", "<="),
    ("&&", "and"),
    ("||", "or"),
    ("=", "="),
    (">", ">"),
    ("<", "<"),
    ("!", "not"),
    ("(", "("),
    (")", ")"),
    ("[", "["),
    ("]", "]"),
    (",", ","),
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(FilterError::new(Kind::TooLong { found: text.len() }, text, 0));
    }
    let mut scanner = Scanner { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = scanner.token()?;
        let last = token.kind == TokenKind::End;
        tokens.push(token);
        if last {
            return Ok(tokens);
        }
    }
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn token(&mut self) -> Result<Token, FilterError> {
        self.skip_while(char::is_whitespace);
        let start = self.at;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some(quote @ ('"' | '\'')) => TokenKind::Text(self.quoted(quote)?),
            Some('/') => self.regex()?,
            Some(c) if c == '`' || starts_word(c) => self.name()?,
            Some(c) if c.is_ascii_digit() || self.begins_number() => self.number()?,
            Some(_) => self.sign()?,
        };
        Ok(Token {
            kind,
            start,
            end: self.at,
        })
    }

    fn sign(&mut self) -> Result<TokenKind, FilterError> {
        let rest = &self.text[self.at..];
        match SIGNS.iter().find(|(spelling, _)| rest.starts_with(spelling)) {
            Some((spelling, meaning)) => {
                self.at += spelling.len();
                Ok(TokenKind::Sign(meaning))
            }
            None => {
                let found = format!("`{}`", self.peek().unwrap_or_default());
                let expected = "a field name, a value or an operator";
                Err(self.error(Kind::Unexpected { expected, found }, self.at))
            }
        }
    }

    fn name(&mut self) -> Result<TokenKind, FilterError> {
        let mut path = String::new();
        let mut bare = true;
        loop {
            let start = self.at;
            if self.peek() == Some('`') {
                bare = false;
                let component = self.quoted('`')?;
                if component.contains('.') {
                    let problem = "hold a dot, which always separates names";
                    return Err(self.error(Kind::Name { problem }, start));
                }
                path.push_str(&component);
            } else {
                self.skip_while(continues_word);
                // A hyphen inside a word belongs to it: there is no subtraction.
                while self.peek() == Some('-') && self.peek_second().is_some_and(continues_word) {
                    self.at += 1;
                    self.skip_while(continues_word);
                }
                path.push_str(&self.text[start..self.at]);
            }
            if start == self.at {
                let expected = "a field name after the dot";
                return Err(self.error(
                    Kind::Unexpected {
                        expected,
                        found: self.here(),
                    },
                    start,
                ));
            }
            if self.peek() != Some('.') {
                break;
            }
            bare = false;
            path.push('.');
            self.at += 1;
        }
        Ok(if bare { TokenKind::Word } else { TokenKind::Path(path) })
    }

    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        let start = self.at;
        self.at += quote.len_utf8();
        let mut content = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                None => return Err(self.error(Kind::Unterminated { quote }, start)),
                Some(c) if c == quote => return Ok(content),
                Some('\\') => match self.escape() {
                    Some(c) => content.push(c),
                    None => return Err(self.error(Kind::Escape, at)),
                },
                Some(c) => content.push(c),
            }
        }
    }

    /// Reads `/pattern/options`. Escapes are left to the pattern, but for that of the slash.
    fn regex(&mut self) -> Result<TokenKind, FilterError> {
        let start = self.at;
        self.at += 1;
        let mut pattern = String::new();
        loop {
            match self.bump() {
                None => return Err(self.error(Kind::Unterminated { quote: '/' }, start)),
                Some('/') => break,
                Some('\\') => match self.bump() {
                    Some('/') => pattern.push('/'),
                    escaped => {
                        pattern.push('\\');
                        pattern.extend(escaped);
                    }
                },
                Some(c) => pattern.push(c),
            }
        }
        let options = self.at;
        self.skip_while(continues_word);
        Ok(TokenKind::Regex(pattern, self.text[options..self.at].to_owned()))
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.bump()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            c @ ('\\' | '"' | '\'' | '`') => c,
            'u' => {
                let rest = self.text[self.at..].strip_prefix('{')?;
                let (digits, _) = rest.split_once('}')?;
                let hex = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let code = if hex {
                    u32::from_str_radix(digits, 16).ok()?
                } else {
                    return None;
                };
                self.at += digits.len() + 2;
                char::from_u32(code)?
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Result<TokenKind, FilterError> {
        let start = self.at;
        self.at += 1;
        loop {
            let exponent_sign = matches!(self.peek(), Some('-' | '+')) && self.text[..self.at].ends_with(['e', 'E']);
            match self.peek() {
                Some(c) if c.is_alphanumeric() || c == '.' || c == '_' || exponent_sign => {
                    self.at += c.len_utf8();
                }
                _ => break,
            }
        }
        let found = &self.text[start..self.at];
        match literal::number(found) {
            Some(number) => Ok(TokenKind::Number(number)),
            None => Err(self.error(
                Kind::Number {
                    found: found.to_owned(),
                },
                start,
            )),
        }
    }

    fn begins_number(&self) -> bool {
        matches!(self.peek(), Some('-' | '+' | '.'))
            && self.peek_second().is_some_and(|c| c.is_ascii_digit() || c == '.')
    }

    /// The rest of the text's first character, for an error.
    fn here(&self) -> String {
        self.peek()
            .map_or_else(|| "the end of the filter".to_owned(), |c| format!("`{c}`"))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_while(&mut self, accepts: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !accepts(c)).unwrap_or(rest.len());
    }

    fn error(&self, kind: Kind, offset: usize) -> FilterError {
        FilterError::new(kind, self.text, offset)
    }
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}
