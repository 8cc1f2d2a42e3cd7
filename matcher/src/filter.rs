//! The text filter language: predicates a person types.
//!
//! ```
//! use bson::rawdoc;
//!
//! let filter = tailwater_matcher::parse_filter(r#"age > 18 and (city is "NYC" or tags has "urgent")"#)?;
//! assert!(filter.matches(&rawdoc! { "age": 20, "city": "Rome", "tags": ["urgent", "new"] })?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It compiles to the same [`Expression`] as a `$match` document, so the two languages cannot
//! disagree about what a comparison means. Precedence: `not` binds tighter than `and`, `and` tighter
//! than `or`. Keywords are recognised in any case and only where a keyword can stand, so that fields
//! may be called `date` or `in`; only `and`, `or` and `not` must be quoted with backticks.
//!
//! Text comes from query strings and command lines: it is untrusted, its length and nesting are
//! limited, and no input makes the parser panic.

mod cursor;
mod error;
mod grammar;
mod literal;
mod token;

pub use error::{FilterError, FilterErrorKind};

use crate::expression::Expression;

/// The longest filter text, in bytes; which also keeps lists of values within
/// [`IN_VALUES_MAX`](crate::IN_VALUES_MAX).
pub const FILTER_BYTES_MAX: usize = 64 * 1024;

/// How deep parentheses and `not` may nest.
pub const FILTER_DEPTH_MAX: usize = 100;

/// Compiles a text filter.
///
/// Text of nothing but white space compiles to a predicate that holds for everything, as an empty
/// `$match` document does. The error shows the place with a caret.
pub fn parse_filter(text: &str) -> Result<Expression, FilterError> {
    grammar::parse(text)
}
