//! Regular expressions: `$regex`, `/pattern/`, `pattern` in schemas and `matches` in text filters.
//!
//! MongoDB runs PCRE. Here the `fancy-regex` crate does: patterns without look-around and back
//! references run in time linear in the text; the others backtrack, under a limit of
//! [`REGEX_STEPS_MAX`] steps, beyond which evaluation fails by name instead of taking for ever. The
//! notations that the two engines read differently are translated (see [`dialect`]); what remains
//! different is listed in `docs/compatibility.md`.
//!
//! Limits on the length of a pattern and on what it compiles to keep hostile filters small.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query/regex/>

mod dialect;

use std::fmt;
use std::sync::Arc;

use bson::raw::CString;
use bson::{RawBson, RawBsonRef, Regex as BsonRegex};
use fancy_regex::{Regex, RegexBuilder};

use crate::evaluate::{EvaluateError, EvaluateErrorKind};

/// The longest pattern, in bytes; MongoDB's limit.
pub const REGEX_BYTES_MAX: usize = 32_764;

/// How often a pattern may backtrack on one text before evaluation fails.
pub const REGEX_STEPS_MAX: usize = 1_000_000;

/// How many bytes a pattern's automata may take, each.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// How many instructions a pattern that backtracks may compile to.
const PROGRAM_MAX: usize = 1 << 16;

/// A compiled regular expression. Clones share it.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    /// The pattern and its options as they were written.
    source: BsonRegex,
    regex: Regex,
    /// For texts that end with a newline, where it makes a difference: `$` also matches before it.
    before_newline: Option<Regex>,
}

/// Why a pattern does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is longer than [`REGEX_BYTES_MAX`].
    #[error("the regular expression is too long, found={found} limit={REGEX_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The pattern holds a zero byte.
    #[error("a regular expression cannot hold a zero byte")]
    ZeroByte,
    /// An option other than `i`, `m`, `s`, `x` and `u`.
    #[error("unknown regular expression option {found:?}, expected i, m, s, x or u")]
    Option {
        /// The option.
        found: char,
    },
    /// The pattern is malformed, uses what the engine does not have, or compiles to too much.
    #[error("the regular expression does not compile: {reason}")]
    Syntax {
        /// What the engine said.
        reason: String,
    },
}

impl Pattern {
    pub(crate) fn new(source: &str, options: &str) -> Result<Pattern, PatternError> {
        if source.len() > REGEX_BYTES_MAX {
            return Err(PatternError::TooLong { found: source.len() });
        }
        if let Some(found) = options.chars().find(|option| !"imsxu".contains(*option)) {
            return Err(PatternError::Option { found });
        }
        let written = |text: &str| CString::try_from(text).map_err(|_| PatternError::ZeroByte);
        let has = |option| options.contains(option);
        let translated = dialect::translate(source, has('x'), has('m'));
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .case_insensitive(has('i'))
                .multi_line(has('m'))
                .dot_matches_new_line(has('s'))
                .ignore_whitespace(has('x'))
                .backtrack_limit(REGEX_STEPS_MAX)
                .delegate_size_limit(COMPILED_BYTES_MAX)
                .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
                .delegate_dfa_skip_cache_capacity_check(false)
                .max_prog_size(PROGRAM_MAX)
                .build()
                .map_err(|error| PatternError::Syntax {
                    reason: error.to_string(),
                })
        };
        Ok(Pattern(Arc::new(Compiled {
            source: BsonRegex {
                pattern: written(source)?,
                options: written(options)?,
            },
            regex: build(&translated.pattern)?,
            before_newline: translated.before_newline.as_deref().map(build).transpose()?,
        })))
    }

    /// Says whether the pattern is found in `text`, which lies at the path `at`.
    pub(crate) fn is_found_in(&self, text: &str, at: &str) -> Result<bool, EvaluateError> {
        let regex = match &self.0.before_newline {
            Some(regex) if text.ends_with('\n') => regex,
            _ => &self.0.regex,
        };
        regex.is_match(text).map_err(|error| self.gave_up(at, &error))
    }

    /// Strings and symbols are searched; a regular expression matches its equal.
    pub(crate) fn accepts(&self, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
        match value {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => self.is_found_in(text, at),
            RawBsonRef::RegularExpression(regex) => {
                Ok(regex.pattern.as_str() == self.source() && regex.options.as_str() == self.options())
            }
            _ => Ok(false),
        }
    }

    pub(crate) fn source(&self) -> &str {
        self.0.source.pattern.as_str()
    }

    pub(crate) fn options(&self) -> &str {
        self.0.source.options.as_str()
    }

    /// What every string that matches begins with, if the pattern says so.
    pub(crate) fn prefix(&self) -> Option<String> {
        // Neither `i` nor `x` leaves a literal what it is, and with `m` the line may begin anywhere.
        if self.options().contains(['i', 'x', 'm']) {
            return None;
        }
        dialect::prefix(self.source())
    }

    pub(crate) fn to_bson(&self) -> RawBson {
        RawBson::RegularExpression(self.0.source.clone())
    }

    #[cold]
    fn gave_up(&self, at: &str, error: &fancy_regex::Error) -> EvaluateError {
        EvaluateError::from(EvaluateErrorKind::Regex {
            path: at.to_owned(),
            pattern: self.source().to_owned(),
            reason: error.to_string(),
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source() == other.source() && self.options() == other.options()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.source(), self.options())
    }
}
