//! Where the grammar stands in the tokens, and the errors about that place.

use super::error::{FilterError, FilterErrorKind as Kind};
use super::token::{Token, TokenKind};

pub(super) struct Cursor<'t> {
    text: &'t str,
    /// Ends with [`TokenKind::End`], which is never passed.
    tokens: &'t [Token],
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str, tokens: &'t [Token]) -> Cursor<'t> {
        Cursor { text, tokens, at: 0 }
    }

    /// The token as it is written.
    pub(super) fn text(&self, token: &Token) -> &'t str {
        &self.text[token.start..token.end]
    }

    pub(super) fn token(&self) -> &'t Token {
        // The last token is `End`, and `advance` stays on it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(super) fn kind(&self) -> &'t TokenKind {
        &self.token().kind
    }

    /// Says whether the next token is this sign, or this word in any case.
    pub(super) fn is(&self, expected: &str) -> bool {
        let token = self.token();
        match &token.kind {
            TokenKind::Sign(sign) => *sign == expected,
            TokenKind::Word => self.text(token).eq_ignore_ascii_case(expected),
            _ => false,
        }
    }

    pub(super) fn accept(&mut self, expected: &str) -> bool {
        let found = self.is(expected);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn unexpected(&self, expected: &'static str) -> FilterError {
        let token = self.token();
        let found = match &token.kind {
            TokenKind::End => "the end of the filter".to_owned(),
            _ => excerpt(self.text(token)),
        };
        self.error(Kind::Unexpected { expected, found })
    }

    pub(super) fn error(&self, kind: Kind) -> FilterError {
        FilterError::new(kind, self.text, self.token().start)
    }
}

/// A token as the error quotes it; long ones are cut.
fn excerpt(token: &str) -> String {
    const CHARS_MAX: usize = 40;
    let mut shown: String = token.chars().take(CHARS_MAX).collect();
    if shown.len() < token.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}
