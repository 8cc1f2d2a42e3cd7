//! `$regexMatch`, `$regexFind` and `$regexFindAll`.
//!
//! A pattern that is a constant is compiled when the expression is parsed, any other when it is
//! used. Patterns may look around and refer back; the engine counts its steps back and gives up at
//! a limit, so that no pattern can stall an evaluation. Positions are code points, as in MongoDB.

use std::borrow::Cow;
use std::sync::Arc;

use bson::RawBsonRef;
use fancy_regex::{Captures, Regex, RegexBuilder};

use super::error::AggregationErrorKind as Kind;
use super::operator::{Operator, special};
use super::parse::Parser;
use super::tree::{Body, Tree};
use super::value::Value;
use crate::error::ParseError;
use crate::pattern::Effort;
use crate::steps;

pub(crate) const OPERATORS: &[Operator] = &[
    special("$regexMatch", parse),
    special("$regexFind", parse),
    special("$regexFindAll", parse),
];

/// Steps for compiling a pattern where it is used.
const COMPILE_STEPS: u64 = 2_000;

/// How many steps back a match may take.
const BACKTRACK_MAX: usize = 1_000_000;

/// The longest pattern, in bytes; MongoDB's limit.
const PATTERN_BYTES_MAX: usize = 32_764;

/// A call to one of the three operators.
#[derive(Clone, Debug)]
pub(crate) struct RegexCall {
    pub(crate) input: Tree,
    mode: Mode,
    /// The pattern when it is constant.
    compiled: Option<Arc<Regex>>,
    /// The pattern and its options when they are not.
    pub(crate) regex: Option<Tree>,
    pub(crate) options: Option<Tree>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Match,
    Find,
    FindAll,
}

fn parse(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut regex, mut options) = (None, None, None);
    for (name, value) in parser.arguments(operator, value, 51103)? {
        let argument = match name {
            "input" => &mut input,
            "regex" => &mut regex,
            "options" => &mut options,
            _ => return Err(parser.unknown_argument(operator, name, 31024)),
        };
        *argument = Some(parser.inside(name, |parser| parser.expression(value))?);
    }
    let input = input.ok_or_else(|| parser.missing_argument(operator, "input", 31022))?;
    let regex = regex.ok_or_else(|| parser.missing_argument(operator, "regex", 31023))?;
    let constants = (regex.as_constant(), options.as_ref().map(Tree::as_constant));
    let compiled = match constants {
        (Some(regex), None) if !regex.is_nullish() => Some(compile(&regex, None)),
        (Some(regex), Some(Some(options))) if !regex.is_nullish() => Some(compile(&regex, Some(&options))),
        _ => None,
    };
    let compiled = match compiled {
        None => None,
        Some(Ok(regex)) => Some(Arc::new(regex)),
        Some(Err(Kind::WrongValue { problem, code })) => return Err(parser.wrong_value(operator, problem, code)),
        // Wrong types are reported where they are met.
        Some(Err(_)) => None,
    };
    let (regex, options) = if compiled.is_some() {
        (None, None)
    } else {
        (Some(regex), options)
    };
    let mode = match operator {
        "$regexMatch" => Mode::Match,
        "$regexFind" => Mode::Find,
        _ => Mode::FindAll,
    };
    Ok(Body::Regex(RegexCall {
        input,
        mode,
        compiled,
        regex,
        options,
    }))
}

impl RegexCall {
    pub(crate) fn parts(&mut self) -> impl Iterator<Item = &mut Tree> {
        [Some(&mut self.input), self.regex.as_mut(), self.options.as_mut()]
            .into_iter()
            .flatten()
    }

    pub(crate) fn apply<'a>(
        &self,
        input: &Value<'a>,
        regex: Option<&Value<'a>>,
        options: Option<&Value<'a>>,
    ) -> Result<Value<'a>, Kind> {
        let nothing = match self.mode {
            Mode::Match => Value::bool(false),
            Mode::Find => Value::NULL,
            Mode::FindAll => Value::array(Vec::new())?,
        };
        if !input.is_nullish() && input.as_str().is_none() {
            return Err(Kind::wrong(51104, "a string as input", input));
        }
        let regex = match (&self.compiled, regex) {
            (Some(compiled), _) => Arc::clone(compiled),
            (None, Some(regex)) if !regex.is_nullish() => {
                steps::take(COMPILE_STEPS)?;
                Arc::new(compile(regex, options)?)
            }
            _ => return Ok(nothing),
        };
        let Some(input) = input.as_str() else {
            return Ok(nothing);
        };
        let effort = Effort::begin(regex.as_str(), input.len())?;
        let result = self.search(&regex, input, nothing, &effort);
        effort.end()?;
        result
    }

    fn search<'a>(&self, regex: &Regex, input: &str, nothing: Value<'a>, effort: &Effort) -> Result<Value<'a>, Kind> {
        match self.mode {
            Mode::Match => Ok(Value::bool(regex.is_match(input).map_err(|_| GAVE_UP)?)),
            Mode::Find => match regex.captures(input).map_err(|_| GAVE_UP)? {
                Some(captures) => found(input, &captures),
                None => Ok(nothing),
            },
            Mode::FindAll => {
                let mut all = Vec::new();
                for captures in regex.captures_iter(input) {
                    effort.take()?;
                    all.push(found(input, &captures.map_err(|_| GAVE_UP)?)?);
                }
                Value::array(all)
            }
        }
    }
}

const GAVE_UP: Kind = Kind::WrongValue {
    problem: "the pattern needs too many steps on this input; make it simpler",
    code: 51156,
};

fn found<'a>(input: &str, captures: &Captures<'_, str>) -> Result<Value<'a>, Kind> {
    let Some(whole) = captures.get(0) else {
        return Ok(Value::NULL);
    };
    steps::take(1 + steps::for_bytes(whole.start()))?;
    let at = input[..whole.start()].chars().count();
    let mut groups = Vec::with_capacity(captures.len() - 1);
    for group in captures.iter().skip(1) {
        groups.push(match group {
            Some(group) => Value::text(group.as_str())?,
            None => Value::NULL,
        });
    }
    Value::document(vec![
        (Cow::Borrowed("match"), Value::text(whole.as_str())?),
        (Cow::Borrowed("idx"), Value::integer(at as i64)),
        (Cow::Borrowed("captures"), Value::array(groups)?),
    ])
}

/// Compiles a string or a regular expression with options `i`, `m`, `s`, `x` (and `u`, which
/// changes nothing: patterns are always about characters).
fn compile(regex: &Value<'_>, options: Option<&Value<'_>>) -> Result<Regex, Kind> {
    let (pattern, inline) = match regex {
        Value::Raw(RawBsonRef::RegularExpression(regex)) => (regex.pattern.as_str(), regex.options.as_str()),
        regex => match regex.as_str() {
            Some(text) => (text, ""),
            None => return Err(Kind::wrong(51105, "a string or a regular expression", regex)),
        },
    };
    let options = match options {
        Some(options) if !options.is_nullish() => match options.as_str() {
            Some(options) => options,
            None => return Err(Kind::wrong(51106, "a string as options", options)),
        },
        _ => "",
    };
    let refuse = |problem, code| Err(Kind::WrongValue { problem, code });
    if !options.is_empty() && !inline.is_empty() {
        return refuse("options are given twice, in the pattern and beside it", 51107);
    }
    let flags = if inline.is_empty() { options } else { inline };
    if !flags.chars().all(|flag| "imsxu".contains(flag)) {
        return refuse("the options are i, m, s, x and u", 51108);
    }
    if pattern.contains('\0') {
        return refuse("the pattern cannot hold a zero byte", 51109);
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return refuse("the pattern is longer than 32764 bytes", 51111);
    }
    let built = RegexBuilder::new(pattern)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .verbose_mode(flags.contains('x'))
        .backtrack_limit(BACKTRACK_MAX)
        .build();
    built.map_err(|_| Kind::WrongValue {
        problem: "the pattern is not a regular expression",
        code: 51111,
    })
}
