//! Why a filter text is not one, shown where it goes wrong.

use std::fmt;

use crate::expression::{EXPRESSION_NODES_MAX, EXPRESSION_REGEXES_MAX};
use crate::filter::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};
use crate::path::PathError;
use crate::pattern::PatternError;
use crate::validate::DEPTH_MAX;

/// How much of a long line is shown on each side of the caret, in characters.
const EXCERPT_CHARS: usize = 60;

/// What is wrong with a filter text, and where.
///
/// Displays as a message followed by the offending line with a caret below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    kind: FilterErrorKind,
    line: usize,
    column: usize,
    /// What is shown of the line, and how many of its characters precede the caret.
    excerpt: String,
    caret: usize,
}

/// What can be wrong with a filter text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterErrorKind {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A quote is opened and never closed.
    #[error("the closing {quote} is missing")]
    Unterminated {
        /// The quote.
        quote: char,
    },
    /// A backslash is followed by something that has no meaning after it.
    #[error(r#"unknown escape, expected \n, \r, \t, \0, \\, \", \', \` or \u{{hex}}"#)]
    Escape,
    /// Digits that make no number, or one too large for a double.
    #[error("{found} is not a number that can be stored")]
    Number {
        /// The text.
        found: String,
    },
    /// The text in `date("…")` is not an RFC 3339 date and time.
    #[error("expected a date like 2024-01-31T12:00:00Z, found {found:?}")]
    Date {
        /// The text.
        found: String,
    },
    /// The text in `ObjectId("…")` is not 24 hexadecimal digits.
    #[error("expected 24 hexadecimal digits, found {found:?}")]
    ObjectId {
        /// The text.
        found: String,
    },
    /// The regular expression cannot be used.
    #[error("{0}")]
    Regex(PatternError),
    /// There are too many regular expressions.
    #[error("the filter holds too many regular expressions, limit={EXPRESSION_REGEXES_MAX}")]
    TooManyRegexes,
    /// A field name that no path can hold.
    #[error("a field name cannot {problem}")]
    Name {
        /// What the name does.
        problem: &'static str,
    },
    /// The field name is not a usable path.
    #[error("{0}")]
    Path(PathError),
    /// Parentheses and negations nest too deep.
    #[error("the filter nests too deep, limit={FILTER_DEPTH_MAX}")]
    TooDeep,
    /// Alternating `and`, `or` and `not` nest too deep.
    #[error("`and`, `or` and `not` nest too deep, limit={DEPTH_MAX} levels as a match document")]
    TooManyLevels,
    /// There are too many conditions.
    #[error("the filter holds too many conditions, limit={EXPRESSION_NODES_MAX}")]
    TooManyConditions,
    /// The text is too long.
    #[error("the filter is too long, found={found} limit={FILTER_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
}

impl FilterError {
    /// An error at byte `offset` of `text`.
    pub(super) fn new(kind: FilterErrorKind, text: &str, offset: usize) -> FilterError {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_start..].chars().count() + 1;
        let whole = text[line_start..].lines().next().unwrap_or_default();
        let skipped = (column - 1).saturating_sub(EXCERPT_CHARS);
        let caret = column - 1 - skipped;
        let excerpt = whole.chars().skip(skipped).take(caret + EXCERPT_CHARS).collect();
        FilterError {
            kind,
            line,
            column,
            excerpt,
            caret,
        }
    }

    /// What is wrong.
    pub fn kind(&self) -> &FilterErrorKind {
        &self.kind
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column, from 1, in characters.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at line {}, column {}", self.kind, self.line, self.column)?;
        // Tabs move the caret as they move the text; control characters would garble a terminal.
        let shown = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
        let excerpt: String = self.excerpt.chars().map(shown).collect();
        writeln!(f, "  | {excerpt}")?;
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = self.excerpt.chars().take(self.caret).map(blank).collect();
        write!(f, "  | {indent}^")
    }
}

impl std::error::Error for FilterError {}
