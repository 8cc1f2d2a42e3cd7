//! The tree behind an expression.
//!
//! It is kept in one normal form, which rendering relies on: an `And` or `Or` never holds another of
//! its kind and never holds exactly one part, a `Not` never holds a `Not`, and the constants of an
//! `In` are sorted and distinct. Build nodes through [`Node::and`], [`Node::or`], [`Node::negate`]
//! and [`Node::any_of`] only.

use bson::{RawBson, RawBsonRef};

use crate::aggregation::ValueExpression;
use crate::evaluate::EvaluateError;
use crate::fields::Fields;
use crate::path::Path;
use crate::{compare, leaf};

/// One node of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// All parts hold; with no parts, always true.
    And(Vec<Node>),
    /// Any part holds.
    Or(Vec<Node>),
    /// The part does not hold.
    Not(Box<Node>),
    /// A value at the path compares so with the constant.
    Compare {
        path: Path,
        operator: Comparison,
        value: Constant,
    },
    /// A value at the path equals one of the constants, which are sorted and distinct.
    In { path: Path, values: Vec<Constant> },
    /// There is a value at the path.
    Exists { path: Path },
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
            Node::Or(flat)
        }
    }

    pub(crate) fn negate(self) -> Node {
        match self {
            Node::Not(inner) => *inner,
            node => Node::Not(Box::new(node)),
        }
    }

    /// An `In` node; sorts the values and drops those equal to an earlier one.
    pub(crate) fn any_of(path: Path, mut values: Vec<Constant>) -> Node {
        values.sort_by(|a, b| compare(a.get(), b.get()));
        values.dedup_by(|later, earlier| compare(later.get(), earlier.get()).is_eq());
        Node::In { path, values }
    }

    pub(crate) fn matches<F: Fields + ?Sized>(&self, root: &F) -> Result<bool, EvaluateError> {
        Ok(match self {
            Node::And(parts) => {
                for part in parts {
                    if !part.matches(root)? {
                        return Ok(false);
                    }
                }
                true
            }
            Node::Or(parts) => {
                for part in parts {
                    if part.matches(root)? {
                        return Ok(true);
                    }
                }
                false
            }
            Node::Not(part) => !part.matches(root)?,
            Node::Compare { path, operator, value } => {
                let constant = value.get();
                path.any(root, &mut |found| leaf::compares(*operator, constant, found))
            }
            Node::In { path, values } => path.any(root, &mut |found| leaf::listed(values, found)),
            Node::Exists { path } => path.any(root, &mut |found| found.is_some()),
            Node::Computed(expression) => expression.holds(root)?,
        })
    }

    pub(crate) fn prefixed(&self, prefix: &str) -> Node {
        let each = |parts: &[Node]| parts.iter().map(|part| part.prefixed(prefix)).collect();
        match self {
            Node::And(parts) => Node::And(each(parts)),
            Node::Or(parts) => Node::Or(each(parts)),
            Node::Not(part) => Node::Not(Box::new(part.prefixed(prefix))),
            Node::Compare { path, operator, value } => Node::Compare {
                path: path.prefixed(prefix),
                operator: *operator,
                value: value.clone(),
            },
            Node::In { path, values } => Node::In {
                path: path.prefixed(prefix),
                values: values.clone(),
            },
            Node::Exists { path } => Node::Exists {
                path: path.prefixed(prefix),
            },
            Node::Computed(expression) => Node::Computed(Box::new(expression.prefixed(prefix))),
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
            Node::Compare { path, .. } | Node::In { path, .. } | Node::Exists { path } => {
                paths.push(path);
            }
            Node::Computed(_) => {}
        }
    }

    /// How many levels of logical operators nest here.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Node::And(parts) | Node::Or(parts) => 1 + parts.iter().map(Node::depth).max().unwrap_or(0),
            Node::Not(part) => 1 + part.depth(),
            Node::Compare { .. } | Node::In { .. } | Node::Exists { .. } => 0,
            // A level of operators takes up to two levels of BSON.
            Node::Computed(expression) => expression.levels().div_ceil(2),
        }
    }
}

/// A constant in an expression: decoded and owned.
#[derive(Clone, Debug)]
pub(crate) struct Constant(RawBson);

impl Constant {
    pub(crate) fn new(value: RawBsonRef<'_>) -> Constant {
        Constant(value.into())
    }

    #[inline]
    pub(crate) fn get(&self) -> RawBsonRef<'_> {
        self.0.as_raw_bson_ref()
    }
}

impl From<RawBson> for Constant {
    fn from(value: RawBson) -> Self {
        Constant(value)
    }
}

/// The same type and the same bytes: unlike comparison, this tells `1` from `1.0`, and a NaN equals
/// itself, so that an expression always equals its clone.
impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        if let (RawBson::Double(a), RawBson::Double(b)) = (&self.0, &other.0) {
            return a.to_bits() == b.to_bits();
        }
        self.0 == other.0
    }
}
