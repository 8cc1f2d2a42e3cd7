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

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::CString;
use bson::{RawBson, RawBsonRef, Regex as BsonRegex};
use fancy_regex::{Regex, RegexBuilder};
use rustix::time::{ClockId, clock_gettime};

use crate::aggregation::AggregationErrorKind as Kind;
use crate::evaluate::{EvaluateError, EvaluateErrorKind};
use crate::steps;

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
    /// Whether it may take longer than its text is long.
    backtracks: bool,
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
            backtracks: may_backtrack(source),
            before_newline: translated.before_newline.as_deref().map(build).transpose()?,
        })))
    }

    /// Says whether the pattern is found in `text`, which lies at the path `at`.
    pub(crate) fn is_found_in(&self, text: &str, at: &str) -> Result<bool, EvaluateError> {
        let regex = match &self.0.before_newline {
            Some(regex) if text.ends_with('\n') => regex,
            _ => &self.0.regex,
        };
        if text.len() < FREE_BYTES && !self.0.backtracks {
            return regex.is_match(text).map_err(|error| self.gave_up(at, &error));
        }
        let effort = Effort::of(self.0.backtracks, text.len())?;
        let found = regex.is_match(text).map_err(|error| self.gave_up(at, &error));
        effort.end()?;
        found
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

/// What a search takes, counted in steps.
pub(crate) struct Effort {
    /// What this thread had run when a search began that may go back over its text. How often it does is known to the engine alone,
    /// so the time it takes stands for it: the processor's, since a thread may stand still for other reasons.
    since: Option<Cell<Duration>>,
}

/// What a step of a search that goes back is taken to last.
const STEP_NANOS: u128 = 50;

/// Texts that are searched without being counted: it takes less than the call that finds them.
const FREE_BYTES: usize = 1024;

/// Bytes that an automaton passes over in a step.
const SEARCHED_BYTES: usize = 16;

impl Effort {
    /// A search with this pattern in so many bytes.
    pub(crate) fn begin(pattern: &str, bytes: usize) -> Result<Effort, Kind> {
        Effort::of(may_backtrack(pattern), bytes)
    }

    fn of(backtracks: bool, bytes: usize) -> Result<Effort, Kind> {
        steps::take(1 + (bytes / SEARCHED_BYTES) as u64)?;
        Ok(Effort {
            since: backtracks.then(|| Cell::new(run_time())),
        })
    }

    /// Takes the steps since the search began, or since this was last called.
    pub(crate) fn take(&self) -> Result<(), Kind> {
        let Some(since) = &self.since else {
            return steps::take(1);
        };
        let now = run_time();
        let taken = now.saturating_sub(since.replace(now)).as_nanos() / STEP_NANOS;
        steps::take(u64::try_from(taken).unwrap_or(u64::MAX))
    }

    /// The search has come to its end.
    pub(crate) fn end(self) -> Result<(), Kind> {
        match self.since.is_some() {
            true => self.take(),
            false => Ok(()),
        }
    }
}

/// How long this thread has run.
fn run_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Whether a pattern has what no automaton can do, so that it may be tried again and again: look-around, references back, atomic
/// and possessive parts, conditions. Too often rather than too rarely.
fn may_backtrack(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let pairs = || bytes.windows(2).map(|pair| (pair[0], pair[1]));
    let groups = || {
        bytes
            .windows(3)
            .filter(|three| three.starts_with(b"(?"))
            .map(|three| three[2])
    };
    groups().any(|third| b"=!<>(#P|&R".contains(&third) || third.is_ascii_digit())
        || pairs().any(|pair| match pair {
            (b'\\', escaped) => escaped.is_ascii_digit() || b"kgGKZX".contains(&escaped),
            (b'*' | b'+' | b'?' | b'}', b'+') => true,
            _ => false,
        })
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
