//! The table of operators: what each takes, and what computes it.
//!
//! Each family's file holds its own part of the table beside the functions. Looking a name up is a
//! scan, once per operator of an expression when it is parsed.

use bson::RawBsonRef;

use super::error::AggregationErrorKind as Kind;
use super::order::Comparer;
use super::parse::Parser;
use super::tree::{Body, Named, Positional};
use super::value::Value;
use super::{
    arithmetic, array, boolean, collection, compare_operators, convert, date, math, object, percentile, regex, set,
    statistic, string, text,
};
use crate::error::ParseError;

/// An operator.
pub(crate) struct Operator {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
}

/// How an operator takes its arguments.
pub(crate) enum Form {
    /// A list, or a single value in place of a list of one.
    Positional {
        least: usize,
        most: usize,
        apply: Positional,
    },
    /// A document of named arguments.
    Named {
        arguments: &'static [Argument],
        /// A value that is not such a document stands for the first argument.
        bare: bool,
        /// MongoDB's numbers for: not a document, unknown argument.
        codes: (i32, i32),
        apply: Named,
    },
    /// A form of its own.
    Special(fn(&mut Parser, &'static str, RawBsonRef<'_>) -> Result<Body, ParseError>),
}

/// A named argument.
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    /// MongoDB's number for its absence; `None` when it may be absent.
    pub(crate) missing: Option<i32>,
}

pub(crate) const fn required(name: &'static str, missing: i32) -> Argument {
    Argument {
        name,
        missing: Some(missing),
    }
}

pub(crate) const fn optional(name: &'static str) -> Argument {
    Argument { name, missing: None }
}

/// A function on arguments.
type Plain = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, Kind>;

pub(crate) const fn exactly(name: &'static str, count: usize, apply: Plain) -> Operator {
    between(name, count, count, apply)
}

pub(crate) const fn between(name: &'static str, least: usize, most: usize, apply: Plain) -> Operator {
    let apply = Positional::Plain(apply);
    Operator {
        name,
        form: Form::Positional { least, most, apply },
    }
}

pub(crate) const fn any(name: &'static str, apply: Plain) -> Operator {
    between(name, 0, usize::MAX, apply)
}

/// One that compares its arguments, or what is in them.
pub(crate) const fn comparing(
    name: &'static str,
    (least, most): (usize, usize),
    apply: for<'a> fn(&[Value<'a>], Comparer<'_>) -> Result<Value<'a>, Kind>,
) -> Operator {
    let apply = Positional::Comparing(apply);
    Operator {
        name,
        form: Form::Positional { least, most, apply },
    }
}

pub(crate) const fn named(
    name: &'static str,
    arguments: &'static [Argument],
    codes: (i32, i32),
    apply: for<'a> fn(&[Option<Value<'a>>]) -> Result<Value<'a>, Kind>,
) -> Operator {
    with_names(name, arguments, codes, Named::Plain(apply))
}

/// One that compares its arguments, or what is in them.
pub(crate) const fn named_comparing(
    name: &'static str,
    arguments: &'static [Argument],
    codes: (i32, i32),
    apply: for<'a> fn(&[Option<Value<'a>>], Comparer<'_>) -> Result<Value<'a>, Kind>,
) -> Operator {
    with_names(name, arguments, codes, Named::Comparing(apply))
}

const fn with_names(name: &'static str, arguments: &'static [Argument], codes: (i32, i32), apply: Named) -> Operator {
    Operator {
        name,
        form: Form::Named {
            arguments,
            bare: false,
            codes,
            apply,
        },
    }
}

pub(crate) const fn special(
    name: &'static str,
    parse: fn(&mut Parser, &'static str, RawBsonRef<'_>) -> Result<Body, ParseError>,
) -> Operator {
    Operator {
        name,
        form: Form::Special(parse),
    }
}

const FAMILIES: &[&[Operator]] = &[
    compare_operators::OPERATORS,
    boolean::OPERATORS,
    arithmetic::OPERATORS,
    math::OPERATORS,
    string::OPERATORS,
    text::OPERATORS,
    regex::OPERATORS,
    array::OPERATORS,
    collection::OPERATORS,
    set::OPERATORS,
    object::OPERATORS,
    date::OPERATORS,
    convert::OPERATORS,
    statistic::OPERATORS,
    percentile::OPERATORS,
];

pub(crate) fn lookup(name: &str) -> Option<&'static Operator> {
    let mut all = FAMILIES.iter().copied().flatten();
    all.find(|operator| operator.name == name)
}
