//! The tree behind an expression.
//!
//! It is kept in one normal form, which rendering relies on: an `And` or `Or` never holds another of
//! its kind and never holds exactly one part, a `Not` never holds a `Not`, and the constants of a
//! list are sorted and distinct. Build nodes through [`Node::and`], [`Node::or`], [`Node::negate`]
//! and [`Condition::one_of`] only.
//!
//! Recursion goes as deep as the tree, and the tree is no deeper than the levels of BSON it was
//! parsed from, of which there are at most [`DEPTH_MAX`](crate::DEPTH_MAX).

use std::collections::HashSet;

use bson::oid::ObjectId;
use bson::{DateTime, RawBson, RawBsonRef};

use crate::aggregation::{ValueExpression, Variables};
use crate::condition::Condition;
use crate::evaluate::EvaluateError;
use crate::fields::Fields;
use crate::leaf;
use crate::path::Path;
use crate::schema::Schema;
use crate::steps;

/// One node of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// All parts hold; with no parts, always true.
    And(Vec<Node>),
    /// Any part holds.
    Or(Vec<Node>),
    /// The part does not hold.
    Not(Box<Node>),
    /// A value at the path satisfies the condition.
    Leaf { path: Path, condition: Condition },
    /// The root as a whole conforms to the schema.
    Schema(Schema),
    /// The expression's value is true.
    Computed(Box<ValueExpression>),
}

/// The comparison operators that are not negations of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Node {
    pub(crate) fn and(parts: impl IntoIterator<Item = Node>) -> Node {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Node::And(inner) => flat.extend(inner),
                part => flat.push(part),
            }
        }
        if flat.len() == 1 {
            flat.remove(0)
        } else {
            flat.shrink_to_fit();
            Node::And(flat)
        }
    }

    pub(crate) fn or(parts: impl IntoIterator<Item = Node>) -> Node {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Node::Or(inner) => flat.extend(inner),
                part => flat.push(part),
            }
        }
        if flat.len() == 1 {
            flat.remove(0)
        } else {
            flat.shrink_to_fit();
            Node::Or(flat)
        }
    }

    pub(crate) fn negate(self) -> Node {
        match self {
            Node::Not(inner) => *inner,
            node => Node::Not(Box::new(node)),
        }
    }

    pub(crate) fn leaf(path: &Path, condition: Condition) -> Node {
        Node::Leaf {
            path: path.clone(),
            condition,
        }
    }

    /// A node that no value at the path satisfies.
    pub(crate) fn never(path: &Path) -> Node {
        Node::leaf(path, Condition::one_of(Vec::new(), Vec::new(), None))
    }

    /// Says whether `root` satisfies the predicate.
    pub(crate) fn matches<F: Fields + ?Sized>(&self, root: &F) -> Result<bool, EvaluateError> {
        match self {
            Node::And(parts) => all(parts, |part| part.matches(root)),
            Node::Or(parts) => any(parts, |part| part.matches(root)),
            Node::Not(part) => Ok(!part.matches(root)?),
            Node::Leaf { path, condition } => match condition {
                // The plain ones, for which no error has to be carried through the walk.
                Condition::Compare {
                    operator,
                    value,
                    collation: None,
                } => {
                    let constant = value.get();
                    counted(|count| {
                        path.any(root, &mut |found| {
                            *count += 1;
                            leaf::compares(*operator, constant, found, None)
                        })
                    })
                }
                Condition::Exists => counted(|count| {
                    path.any(root, &mut |found| {
                        *count += 1;
                        found.is_some()
                    })
                }),
                condition => walk(path, condition, root),
            },
            Node::Schema(schema) => schema.accepts_document(&root.document()),
            Node::Computed(expression) => expression.holds(root),
        }
    }

    /// Says whether `value` satisfies the conditions, which are all about the value itself. `at` is
    /// its path, for errors.
    pub(crate) fn holds_for(&self, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
        match self {
            Node::And(parts) => all(parts, |part| part.holds_for(value, at)),
            Node::Or(parts) => any(parts, |part| part.holds_for(value, at)),
            Node::Not(part) => Ok(!part.holds_for(value, at)?),
            Node::Leaf { condition, .. } => condition.accepts(Some(value), at),
            Node::Schema(schema) => schema.accepts(value, at),
            Node::Computed(expression) => match value {
                RawBsonRef::Document(document) => expression.holds(document),
                _ => Ok(false),
            },
        }
    }

    pub(crate) fn prefixed(&self, prefix: &str) -> Node {
        let each = |parts: &[Node]| parts.iter().map(|part| part.prefixed(prefix)).collect();
        match self {
            Node::And(parts) => Node::And(each(parts)),
            Node::Or(parts) => Node::Or(each(parts)),
            Node::Not(part) => Node::Not(Box::new(part.prefixed(prefix))),
            Node::Leaf { path, condition } => Node::Leaf {
                path: path.prefixed(prefix),
                condition: condition.clone(),
            },
            Node::Schema(schema) => Node::Schema(schema.below(prefix)),
            Node::Computed(expression) => Node::Computed(Box::new(expression.prefixed(prefix))),
        }
    }

    /// Whether a part is computed.
    pub(crate) fn computes(&self) -> bool {
        match self {
            Node::And(parts) | Node::Or(parts) => parts.iter().any(Node::computes),
            Node::Not(part) => part.computes(),
            Node::Leaf { .. } | Node::Schema(_) => false,
            Node::Computed(_) => true,
        }
    }

    /// Gives the variables of computed parts their values.
    pub(crate) fn bind(&mut self, variables: &Variables<'_>) {
        match self {
            Node::And(parts) | Node::Or(parts) => parts.iter_mut().for_each(|part| part.bind(variables)),
            Node::Not(part) => part.bind(variables),
            Node::Leaf { .. } | Node::Schema(_) => {}
            Node::Computed(expression) => expression.bind(variables),
        }
    }

    /// Those of `$elemMatch` and of `$expr` stay as they are.
    pub(crate) fn share_paths(&mut self, known: &mut HashSet<Path>) {
        match self {
            Node::And(parts) | Node::Or(parts) => parts.iter_mut().for_each(|part| part.share_paths(known)),
            Node::Not(part) => part.share_paths(known),
            Node::Leaf { path, .. } => match known.get(path) {
                Some(same) => *path = same.clone(),
                None => {
                    known.insert(path.clone());
                }
            },
            Node::Schema(_) | Node::Computed(_) => {}
        }
    }

    pub(crate) fn collect_paths<'a>(&'a self, paths: &mut Vec<&'a Path>) {
        match self {
            Node::And(parts) | Node::Or(parts) => {
                for part in parts {
                    part.collect_paths(paths);
                }
            }
            Node::Not(part) => part.collect_paths(paths),
            Node::Leaf { path, .. } => paths.push(path),
            Node::Schema(_) | Node::Computed(_) => {}
        }
    }
}

/// Whether all hold. One that does not decides it, also behind one that cannot be evaluated: so the answer does not depend on
/// which part is looked at first, nor on whether an index has answered one of them.
fn all(parts: &[Node], holds: impl Fn(&Node) -> Result<bool, EvaluateError>) -> Result<bool, EvaluateError> {
    take_for(parts)?;
    let mut failed = None;
    for part in parts {
        match holds(part) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // Whoever bounds what is evaluated bounds it for all parts.
            Err(error) if error.ran_out() => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(true), Err)
}

fn any(parts: &[Node], holds: impl Fn(&Node) -> Result<bool, EvaluateError>) -> Result<bool, EvaluateError> {
    take_for(parts)?;
    for part in parts {
        if holds(part)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the steps for parts that may all be looked at, where they are many.
#[inline]
fn take_for(parts: &[Node]) -> Result<(), EvaluateError> {
    let steps = steps::for_items(parts.len());
    if steps > 0 {
        steps::take(steps)?;
    }
    Ok(())
}

/// Looks for a value that satisfies the condition; the first error ends the walk.
fn walk<F: Fields + ?Sized>(path: &Path, condition: &Condition, root: &F) -> Result<bool, EvaluateError> {
    let mut failure = None;
    let found = counted(|count| {
        let mut visit = |found: Option<RawBsonRef<'_>>| {
            *count += 1;
            match condition.accepts(found, path.as_str()) {
                Ok(accepted) => accepted,
                Err(error) => {
                    failure = Some(error);
                    true
                }
            }
        };
        if condition.wants_arrays() {
            path.any_whole(root, &mut visit)
        } else {
            path.any(root, &mut visit)
        }
    })?;
    match failure {
        None => Ok(found),
        Some(error) => Err(error),
    }
}

/// Takes the steps for the values that a walk has counted, where they are many: a filter of thousands of conditions may ask each of
/// them of each item of a long array.
#[inline]
fn counted(walk: impl FnOnce(&mut usize) -> bool) -> Result<bool, EvaluateError> {
    let mut count = 0;
    let found = walk(&mut count);
    let steps = steps::for_items(count);
    if steps > 0 {
        steps::take(steps)?;
    }
    Ok(found)
}

/// A constant in an expression: decoded and owned, in half of what a [`RawBson`] takes, because a million filters that
/// stand beside one another each have their own.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    Null,
    Boolean(bool),
    Int32(i32),
    Int64(i64),
    Double(f64),
    DateTime(DateTime),
    ObjectId(ObjectId),
    String(Box<str>),
    Other(Box<RawBson>),
}

const _: () = assert!(size_of::<Constant>() <= 24 && size_of::<Node>() <= 48);

impl Constant {
    pub(crate) fn new(value: RawBsonRef<'_>) -> Constant {
        match value {
            RawBsonRef::Null => Constant::Null,
            RawBsonRef::Boolean(value) => Constant::Boolean(value),
            RawBsonRef::Int32(value) => Constant::Int32(value),
            RawBsonRef::Int64(value) => Constant::Int64(value),
            RawBsonRef::Double(value) => Constant::Double(value),
            RawBsonRef::DateTime(value) => Constant::DateTime(value),
            RawBsonRef::ObjectId(value) => Constant::ObjectId(value),
            RawBsonRef::String(value) => Constant::String(value.into()),
            value => Constant::Other(Box::new(value.into())),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> RawBsonRef<'_> {
        match self {
            Constant::Null => RawBsonRef::Null,
            Constant::Boolean(value) => RawBsonRef::Boolean(*value),
            Constant::Int32(value) => RawBsonRef::Int32(*value),
            Constant::Int64(value) => RawBsonRef::Int64(*value),
            Constant::Double(value) => RawBsonRef::Double(*value),
            Constant::DateTime(value) => RawBsonRef::DateTime(*value),
            Constant::ObjectId(value) => RawBsonRef::ObjectId(*value),
            Constant::String(value) => RawBsonRef::String(value),
            Constant::Other(value) => value.as_raw_bson_ref(),
        }
    }
}

impl From<RawBson> for Constant {
    fn from(value: RawBson) -> Self {
        Constant::new(value.as_raw_bson_ref())
    }
}

/// The same type and the same bytes: unlike comparison, this tells `1` from `1.0`, and a NaN equals
/// itself, so that an expression always equals its clone.
impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        match (self.get(), other.get()) {
            (RawBsonRef::Double(a), RawBsonRef::Double(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}
