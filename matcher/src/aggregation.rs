//! MongoDB's aggregation expressions: values computed from a document.
//!
//! A [`ValueExpression`] is parsed once and evaluated for many documents. It serves `$expr`,
//! computed fields of `$project` and `$addFields`, `$redact`, pipeline updates and accumulators. A
//! [`Value`] borrows from the document and from the expression as long as nothing is computed, and
//! is encoded only when somebody asks for BSON.
//!
//! # Missing and null
//!
//! A path that leads nowhere is *missing*, which is not null: `$eq` tells them apart, `$ifNull` and
//! most operators do not, and a computed field that is missing is left out of its document.
//!
//! # Bounds
//!
//! Expressions nest at most [`AGGREGATION_DEPTH_MAX`] levels and hold at most
//! [`AGGREGATION_NODES_MAX`] parts. Every computed value stays within the size and the depth of a
//! document; beyond them evaluation fails with MongoDB's error, it never exhausts memory or stack.
//! How much an evaluation computes is counted in steps, which have a limit: [`StepScope`](crate::StepScope).
//! Values are held once for each level of `$map`, `$filter`, `$reduce` or `$let` they are bound in.

mod accumulate;
mod arithmetic;
mod array;
mod boolean;
mod calendar;
mod call;
mod collection;
mod compare_operators;
mod convert;
mod date;
mod date_format;
mod date_parse;
mod error;
mod math;
mod numeric;
mod object;
mod operator;
mod order;
mod parse;
mod percentile;
mod prefix;
mod regex;
mod set;
mod sort;
mod statistic;
mod string;
mod sum;
mod text;
mod tree;
mod value;

use bson::{DateTime, RawBson, RawBsonRef, RawDocumentBuf};

use crate::collation::Collation;
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::expression::ParseOptions;
use crate::fields::Fields;
use crate::steps;
use crate::validate::validate;

pub use accumulate::{Accumulator, AccumulatorState};
pub(crate) use error::code_number;
pub use error::{AggregationError, AggregationErrorKind, SyntaxErrorKind};
pub use parse::{AGGREGATION_DEPTH_MAX, AGGREGATION_NODES_MAX};
pub use value::{ArrayValue, DocumentValue, Value};

pub(crate) use array::slice_bounds;
pub(crate) use object::put;
pub(crate) use order::Comparer;
pub(crate) use parse::Parser;
pub(crate) use tree::{Frame, Tree};
pub(crate) use value::{Field, encode_fields, fields_of};

/// An expression that computes a value.
///
/// ```
/// use bson::{RawBson, rawdoc};
/// use tailwater_matcher::{ValueExpression, Variables};
///
/// let document = rawdoc! { "total": { "$multiply": ["$price", "$quantity"] } };
/// let expression = ValueExpression::parse(document.get("total")?.unwrap())?;
/// let order = rawdoc! { "price": 3, "quantity": 4 };
/// let value = expression.evaluate(&Variables::new(&order))?;
/// assert_eq!(value.into_bson()?, Some(RawBson::Int32(12)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValueExpression {
    /// The expression as it was written; two expressions are equal when this is.
    source: RawBson,
    variables: Vec<String>,
    collation: Option<Collation>,
    /// What the variables are, for an expression that is evaluated without being told.
    bound: Option<Box<Bound>>,
    tree: Tree,
    slots: usize,
    whole_root: bool,
}

/// The time, and values in the order of an expression's variables; nothing where one is missing.
#[derive(Clone, Debug, PartialEq)]
struct Bound {
    now: Option<DateTime>,
    values: Vec<Option<RawBson>>,
}

impl PartialEq for ValueExpression {
    fn eq(&self, other: &Self) -> bool {
        // As bytes: `1` is not `1.0`, and a NaN is itself.
        let bytes = |source: &RawBson| {
            let mut document = RawDocumentBuf::new();
            document.append(bson::raw::cstr!(""), source.as_raw_bson_ref());
            document.into_bytes()
        };
        self.variables == other.variables
            && self.collation == other.collation
            && self.bound == other.bound
            && bytes(&self.source) == bytes(&other.source)
    }
}

impl ValueExpression {
    /// Compiles an expression. The bytes are validated first, so untrusted ones are welcome.
    pub fn parse(source: RawBsonRef<'_>) -> Result<ValueExpression, ParseError> {
        ValueExpression::parse_with(source, &ParseOptions::default())
    }

    /// As [`parse`](ValueExpression::parse), with options: variables that the expression may use, which
    /// [`Variables::bind`] gives values, and a collation for all strings that its operators compare.
    pub fn parse_with(source: RawBsonRef<'_>, options: &ParseOptions) -> Result<ValueExpression, ParseError> {
        ValueExpression::parse_at("", source, options)
    }

    /// As [`parse_with`](ValueExpression::parse_with); errors count their places from `place`.
    pub(crate) fn parse_at(
        place: &str,
        source: RawBsonRef<'_>,
        options: &ParseOptions,
    ) -> Result<ValueExpression, ParseError> {
        match source {
            RawBsonRef::Document(document) => drop(validate(document.as_bytes())?),
            RawBsonRef::Array(array) => drop(validate(array.as_bytes())?),
            _ => {}
        }
        let mut parser = Parser::new(place, options);
        let tree = parser.expression(source)?;
        Ok(ValueExpression {
            source: source.into(),
            variables: options.variables.clone(),
            collation: options.collation.clone(),
            bound: None,
            tree,
            slots: parser.slots,
            whole_root: parser.whole_root,
        })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> RawBsonRef<'_> {
        self.source.as_raw_bson_ref()
    }

    /// Says whether the expression needs the root as one document (`$$ROOT`), rather than fields
    /// of it. Such an expression fails on roots that are not stored documents.
    #[must_use]
    pub fn needs_document(&self) -> bool {
        self.whole_root
    }

    /// The value when it is the same for all documents.
    #[must_use]
    pub fn constant(&self) -> Option<Value<'_>> {
        self.tree.as_constant()
    }

    /// Computes the value. Fails when an operator meets a value it does not take.
    pub fn evaluate<'a>(&'a self, variables: &Variables<'a>) -> Result<Value<'a>, EvaluateError> {
        Ok(self.compute(variables)?)
    }

    /// How its operators compare values.
    pub(crate) fn comparer(&self) -> Comparer<'_> {
        Comparer::new(self.collation.as_ref())
    }

    pub(crate) fn compute<'a>(&'a self, variables: &Variables<'a>) -> Result<Value<'a>, AggregationError> {
        let mut frame = Frame {
            root: variables.root,
            now: variables.now,
            slots: Vec::new(),
            held: 0,
            bound: 0,
            comparer: self.comparer(),
        };
        if self.slots > 0 {
            frame.slots.reserve(self.slots);
            let bound = self.variables.iter().map(|name| variables.get(name));
            frame.slots.extend(bound);
        }
        steps::computing(|| self.tree.evaluate(&mut frame))
    }
}

/// For `$expr`: expressions as predicates.
impl ValueExpression {
    /// Says whether the value for `root` is true.
    pub(crate) fn holds<F: Fields + ?Sized>(&self, root: &F) -> Result<bool, EvaluateError> {
        if self.whole_root {
            let document = root.document();
            return Ok(self.compute(&self.own_variables(&&*document))?.is_true());
        }
        Ok(self.compute(&self.own_variables(&root))?.is_true())
    }

    /// Keeps the time and the values of the expression's variables for [`ValueExpression::holds`].
    pub(crate) fn bind(&mut self, variables: &Variables<'_>) {
        let value = |name: &String| variables.get(name).encode().ok().flatten();
        self.bound = Some(Box::new(Bound {
            now: variables.now,
            values: self.variables.iter().map(value).collect(),
        }));
    }

    fn own_variables<'a>(&'a self, root: &'a dyn Fields) -> Variables<'a> {
        let mut variables = Variables::new(root);
        if let Some(bound) = &self.bound {
            variables.now = bound.now;
            for (name, value) in self.variables.iter().zip(&bound.values) {
                if let Some(value) = value {
                    variables = variables.bind(name, value.as_raw_bson_ref());
                }
            }
        }
        variables
    }

    /// The same expression one document further down.
    pub(crate) fn prefixed(&self, prefix: &str) -> ValueExpression {
        let mut moved = self.clone();
        let steps: Vec<Box<str>> = prefix.split('.').map(Into::into).collect();
        moved
            .tree
            .roots(&mut |path| *path = steps.iter().chain(path.iter()).cloned().collect());
        moved.source = prefix::moved(self.source(), prefix);
        moved.whole_root = false;
        moved
    }
}

/// MongoDB's idea of truth.
pub(crate) fn is_true(value: RawBsonRef<'_>) -> bool {
    Value::Raw(value).is_true()
}

/// The 32-bit integer that a number of any type equals.
pub(crate) fn whole_i32(value: RawBsonRef<'_>) -> Option<i32> {
    numeric::whole_i32(&Value::Raw(value))
}

/// What an expression is evaluated in: the root, the time, and variables bound from outside.
#[derive(Clone)]
pub struct Variables<'a> {
    root: &'a dyn Fields,
    now: Option<DateTime>,
    bound: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Variables<'a> {
    /// Variables with `root` as `$$ROOT` and `$$CURRENT`.
    pub fn new(root: &'a dyn Fields) -> Variables<'a> {
        Variables {
            root,
            now: None,
            bound: Vec::new(),
        }
    }

    /// Sets `$$NOW`, which is one moment for all documents of an operation. Without it, each
    /// evaluation takes its own.
    #[must_use]
    pub fn now(mut self, now: DateTime) -> Variables<'a> {
        self.now = Some(now);
        self
    }

    /// Gives a variable its value; one that is not bound is missing.
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: RawBsonRef<'a>) -> Variables<'a> {
        self.bound.push((name, Value::Raw(value)));
        self
    }

    /// The same variables with another root.
    pub(crate) fn rooted<'b>(self, root: &'b dyn Fields) -> Variables<'b>
    where
        'a: 'b,
    {
        Variables {
            root,
            now: self.now,
            bound: self.bound,
        }
    }

    fn get(&self, name: &str) -> Value<'a> {
        let found = self.bound.iter().rev().find(|(bound, _)| *bound == name);
        found.map_or(Value::Missing, |(_, value)| value.clone())
    }
}

impl std::fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variables")
            .field("now", &self.now)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
