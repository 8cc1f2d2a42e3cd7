//! The tree behind an expression, and its evaluation.
//!
//! Variables are numbered when the expression is parsed, so that a use is an index and not a lookup.
//! Operators that look at all of their arguments are plain functions on values ([`Positional`],
//! [`Named`]); those that decide which argument to look at, or that evaluate one many times, are
//! variants of [`Body`]. Recursion is as deep as the expression, which parsing limits.

use std::borrow::Cow;

use bson::{DateTime, RawBsonRef, RawDocumentBuf};

use super::call;
use super::error::{AggregationError, AggregationErrorKind as Kind};
use super::order::Comparer;
use super::percentile::Quantiles;
use super::regex::RegexCall;
use super::sort::SortPattern;
use super::value::Value;
use crate::fields::Fields;
use crate::node::Constant;
use crate::steps::{self, StepScope};
use crate::validate::DOCUMENT_BYTES_MAX;

/// An operator on arguments by position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Positional {
    Plain(for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, Kind>),
    /// One that compares them, or what is in them.
    Comparing(for<'a> fn(&[Value<'a>], Comparer<'_>) -> Result<Value<'a>, Kind>),
}

impl Positional {
    pub(crate) fn apply<'a>(self, arguments: &[Value<'a>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
        steps::take(arguments.iter().map(Value::reading_steps).sum())?;
        match self {
            Positional::Plain(apply) => apply(arguments),
            Positional::Comparing(apply) => apply(arguments, comparer),
        }
    }
}

/// An operator on arguments by name; `None` is an argument that was not given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Plain(for<'a> fn(&[Option<Value<'a>>]) -> Result<Value<'a>, Kind>),
    /// One that compares them, or what is in them.
    Comparing(for<'a> fn(&[Option<Value<'a>>], Comparer<'_>) -> Result<Value<'a>, Kind>),
}

impl Named {
    pub(crate) fn apply<'a>(self, arguments: &[Option<Value<'a>>], comparer: Comparer<'_>) -> Result<Value<'a>, Kind> {
        steps::take(arguments.iter().flatten().map(Value::reading_steps).sum())?;
        match self {
            Named::Plain(apply) => apply(arguments),
            Named::Comparing(apply) => apply(arguments, comparer),
        }
    }
}

/// Constants larger than this are not kept in place of the expression that yields them.
const FOLDED_BYTES_MAX: usize = 64 * 1024;

/// Steps for finding out what a part of an expression yields that depends on nothing; with more it is left as it is.
const FOLDED_STEPS_MAX: u64 = 10_000;

/// What an expression may have computed and hold at one time, as bytes of BSON. Each value is bounded as a document is; this bounds
/// how many there are, as arguments, in variables, in arrays that are not complete.
const HELD_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;

/// One node of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Constant(Constant),
    /// `$$REMOVE`.
    Missing,
    /// `$$NOW`.
    Now,
    /// A path from the root; the root itself when empty.
    Root(Box<[Box<str>]>),
    /// A path from a variable.
    Variable {
        slot: usize,
        path: Box<[Box<str>]>,
    },
    Array(Vec<Tree>),
    Object(Vec<(Box<str>, Tree)>),
    Call(Box<Call>),
}

/// An operator with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operator: &'static str,
    /// Where in the expression it stands, for errors.
    pub(crate) path: Box<str>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Positional {
        apply: Positional,
        arguments: Vec<Tree>,
    },
    Named {
        apply: Named,
        arguments: Vec<Option<Tree>>,
    },
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Cond {
        condition: Tree,
        then: Tree,
        otherwise: Tree,
    },
    IfNull(Vec<Tree>),
    Switch {
        branches: Vec<(Tree, Tree)>,
        default: Option<Tree>,
    },
    Let {
        bindings: Vec<(usize, Tree)>,
        body: Tree,
    },
    Map {
        input: Tree,
        slot: usize,
        body: Tree,
    },
    Filter {
        input: Tree,
        slot: usize,
        condition: Tree,
        limit: Option<Tree>,
    },
    Reduce {
        input: Tree,
        initial: Tree,
        value: usize,
        this: usize,
        body: Tree,
    },
    SortArray {
        input: Tree,
        pattern: SortPattern,
    },
    Percentile {
        input: Tree,
        quantiles: Quantiles,
    },
    Convert {
        input: Tree,
        to: Tree,
        on_error: Option<Tree>,
        on_null: Option<Tree>,
    },
    Regex(RegexCall),
    Random,
}

/// What an expression is evaluated in.
pub(crate) struct Frame<'a> {
    pub(crate) root: &'a dyn Fields,
    /// `$$NOW`; taken from the clock when it is first used, unless it was given.
    pub(crate) now: Option<DateTime>,
    pub(crate) slots: Vec<Value<'a>>,
    /// Bytes of computed values that are kept while others are evaluated, and of those in `slots`.
    pub(crate) held: usize,
    pub(crate) bound: usize,
    pub(crate) comparer: Comparer<'a>,
}

impl Tree {
    pub(crate) fn constant(value: RawBsonRef<'_>) -> Tree {
        Tree::Constant(Constant::new(value))
    }

    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Tree::Constant(_) | Tree::Missing)
    }

    /// The constant, when the tree is one.
    pub(crate) fn as_constant(&self) -> Option<Value<'_>> {
        match self {
            Tree::Constant(constant) => Some(Value::Raw(constant.get())),
            Tree::Missing => Some(Value::Missing),
            _ => None,
        }
    }

    /// The tree, or its value when that depends on nothing.
    ///
    /// What fails is left as it is: it may stand where it is never evaluated.
    pub(crate) fn folded(self, comparer: Comparer<'_>) -> Tree {
        let foldable = match &self {
            Tree::Array(items) => items.iter().all(Tree::is_constant),
            Tree::Object(fields) => fields.iter().all(|(_, value)| value.is_constant()),
            Tree::Call(call) => match &call.body {
                Body::Positional { arguments, .. } => arguments.iter().all(Tree::is_constant),
                Body::Named { arguments, .. } => arguments.iter().flatten().all(Tree::is_constant),
                _ => false,
            },
            _ => false,
        };
        if !foldable {
            return self;
        }
        let _scope = StepScope::limited(FOLDED_STEPS_MAX);
        let nothing = RawDocumentBuf::new();
        let mut frame = Frame {
            root: &nothing,
            now: None,
            slots: Vec::new(),
            held: 0,
            bound: 0,
            comparer,
        };
        let folded = match self.evaluate(&mut frame) {
            Ok(value) if value.is_missing() => Some(Tree::Missing),
            Ok(value) if value.bytes() <= FOLDED_BYTES_MAX => {
                let value = value.encode().ok().flatten();
                value.map(|value| Tree::Constant(value.into()))
            }
            _ => None,
        };
        folded.unwrap_or(self)
    }

    pub(crate) fn evaluate<'a>(&'a self, frame: &mut Frame<'a>) -> Result<Value<'a>, AggregationError> {
        steps::take(1)?;
        Ok(match self {
            Tree::Constant(constant) => Value::Raw(constant.get()),
            Tree::Missing => Value::Missing,
            Tree::Now => Value::Raw(RawBsonRef::DateTime(*frame.now.get_or_insert_with(DateTime::now))),
            Tree::Root(path) => frame.root_path(path)?,
            Tree::Variable { slot, path } => match frame.slots.get(*slot) {
                Some(value) => value.walk(path)?,
                None => Value::Missing,
            },
            Tree::Array(items) => Value::array(call::evaluate_all(items, frame)?)?,
            Tree::Object(fields) => {
                let before = frame.held;
                let mut values = Vec::with_capacity(fields.len());
                for (name, tree) in fields {
                    let value = tree.evaluate(frame)?;
                    frame.hold(&value)?;
                    values.push((Cow::Borrowed(&**name), value));
                }
                frame.held = before;
                Value::document(values)?
            }
            Tree::Call(call) => call
                .evaluate(frame)
                .map_err(|error| error.at(call.operator, &call.path))?,
        })
    }
}

impl<'a> Frame<'a> {
    fn root_path(&self, path: &[Box<str>]) -> Result<Value<'a>, Kind> {
        match path.split_first() {
            Some((name, rest)) => Value::found(self.root.field(name)).walk(rest),
            None => match self.root.document() {
                Cow::Borrowed(document) => Ok(Value::Raw(RawBsonRef::Document(document))),
                // Whoever has such a root builds the document first: see `needs_document`.
                Cow::Owned(_) => Err(Kind::Unsupported {
                    feature: "$$ROOT as a whole on something that is not a stored document; name its fields",
                }),
            },
        }
    }

    /// Counts a value that is kept while others are evaluated. Whoever keeps it sets `held` back.
    pub(super) fn hold(&mut self, value: &Value<'_>) -> Result<(), Kind> {
        self.held += value.computed_bytes();
        self.check_held()
    }

    fn check_held(&self) -> Result<(), Kind> {
        match self.held + self.bound > HELD_BYTES_MAX {
            true => Err(Kind::Memory { limit: HELD_BYTES_MAX }),
            false => Ok(()),
        }
    }

    pub(super) fn bind(&mut self, slot: usize, value: Value<'a>) -> Result<(), Kind> {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, Value::Missing);
        }
        self.bound = self.bound + value.computed_bytes() - self.slots[slot].computed_bytes();
        self.slots[slot] = value;
        self.check_held()
    }
}

impl Tree {
    /// Visits the paths that begin at the root.
    pub(crate) fn roots(&mut self, visit: &mut impl FnMut(&mut Box<[Box<str>]>)) {
        match self {
            Tree::Root(path) => visit(path),
            Tree::Array(items) => items.iter_mut().for_each(|item| item.roots(visit)),
            Tree::Object(fields) => fields.iter_mut().for_each(|(_, value)| value.roots(visit)),
            Tree::Call(call) => call.body.parts(&mut |part| part.roots(visit)),
            Tree::Constant(_) | Tree::Missing | Tree::Now | Tree::Variable { .. } => {}
        }
    }
}

impl Body {
    /// Visits the expressions it consists of.
    fn parts(&mut self, visit: &mut dyn FnMut(&mut Tree)) {
        match self {
            Body::Positional { arguments: parts, .. } | Body::And(parts) | Body::Or(parts) | Body::IfNull(parts) => {
                parts.iter_mut().for_each(visit);
            }
            Body::Named { arguments, .. } => arguments.iter_mut().flatten().for_each(visit),
            Body::Cond {
                condition,
                then,
                otherwise,
            } => [condition, then, otherwise].into_iter().for_each(visit),
            Body::Switch { branches, default } => {
                let branches = branches.iter_mut().flat_map(|(case, then)| [case, then]);
                branches.chain(default).for_each(visit);
            }
            Body::Let { bindings, body } => bindings.iter_mut().map(|(_, tree)| tree).chain([body]).for_each(visit),
            Body::Map { input, body, .. } => [input, body].into_iter().for_each(visit),
            Body::Filter {
                input,
                condition,
                limit,
                ..
            } => [input, condition].into_iter().chain(limit).for_each(visit),
            Body::Reduce {
                input, initial, body, ..
            } => [input, initial, body].into_iter().for_each(visit),
            Body::SortArray { input, .. } | Body::Percentile { input, .. } => visit(input),
            Body::Convert {
                input,
                to,
                on_error,
                on_null,
            } => [input, to].into_iter().chain(on_error).chain(on_null).for_each(visit),
            Body::Regex(call) => call.parts().for_each(visit),
            Body::Random => {}
        }
    }
}

/// As [`items`], for an operator that looks at each of them.
pub(crate) fn looked_at<'v, 'a>(value: &'v Value<'a>, code: i32) -> Result<Cow<'v, [Value<'a>]>, Kind> {
    let items = items(value, code)?;
    steps::take(items.len() as u64)?;
    Ok(items)
}

pub(crate) fn items<'v, 'a>(value: &'v Value<'a>, code: i32) -> Result<Cow<'v, [Value<'a>]>, Kind> {
    value.items().ok_or_else(|| Kind::wrong(code, "an array", value))
}

impl Kind {
    pub(crate) fn wrong(code: i32, expected: &'static str, found: &Value<'_>) -> Kind {
        Kind::WrongType {
            expected,
            found: found.type_name(),
            code,
        }
    }
}
