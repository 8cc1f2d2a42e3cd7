//! What an index may conclude from a predicate.
//!
//! An index over predicates (which watchers could want this entry?) and an index over documents
//! (which documents could match this query?) ask the same question: what must hold for a value at
//! one path if the predicate is to hold at all? [`Conjunct`] is the answer.

use bson::RawBsonRef;

use crate::expression::Expression;
use crate::node::{Comparison, Constant, Node};
use crate::number::Number;
use crate::path::Path;

/// A necessary condition of a predicate, on one path.
///
/// **Soundness:** whenever the predicate holds, every one of its conjuncts holds; the converse is
/// not promised, so candidates must still be evaluated. A conjunct holds when *some* value the path
/// reaches satisfies it, where
///
/// - missing counts as null: an index must have a key (null) for a document in which the path
///   reaches nothing but missing, or `{ a: null }` will not find it;
/// - an array is reached element by element *and* as a whole, and different conjuncts may be
///   satisfied by different elements. Therefore two ranges on one path are never merged into one:
///   `{ a: { $gt: 1, $lt: 5 } }` holds for `[0, 9]`.
///
/// Only parts of the top-level conjunction are reported. Negations, disjunctions and comparisons
/// that cross types (with MinKey or MaxKey) are not.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Conjunct<'a> {
    /// A value at the path equals this one.
    Equal {
        /// The path.
        path: &'a Path,
        /// The value.
        value: RawBsonRef<'a>,
    },
    /// A value at the path equals one of these.
    In {
        /// The path.
        path: &'a Path,
        /// The values.
        values: Values<'a>,
    },
    /// A value at the path, of the same class as the bound, lies on this side of it.
    Range {
        /// The path.
        path: &'a Path,
        /// The side.
        operator: RangeOperator,
        /// The bound.
        bound: RawBsonRef<'a>,
    },
    /// There is a value at the path.
    Exists {
        /// The path.
        path: &'a Path,
    },
}

/// The sides of a bound on which values may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOperator {
    /// Above the bound.
    Gt,
    /// At the bound or above.
    Gte,
    /// Below the bound.
    Lt,
    /// At the bound or below.
    Lte,
}

/// The values of an `$in`, in comparison order and distinct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values<'a>(&'a [Constant]);

impl<'a> Values<'a> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there are none; then nothing can match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawBsonRef<'a>> + use<'a> {
        self.0.iter().map(Constant::get)
    }
}

impl<'a> Conjunct<'a> {
    /// The path the conjunct is about.
    pub fn path(&self) -> &'a Path {
        match self {
            Conjunct::Equal { path, .. }
            | Conjunct::In { path, .. }
            | Conjunct::Range { path, .. }
            | Conjunct::Exists { path } => path,
        }
    }

    /// The conjunct as a predicate of its own.
    pub fn to_expression(&self) -> Expression {
        let path = self.path().clone();
        let compare = |operator, value: &RawBsonRef<'a>| Node::Compare {
            path: path.clone(),
            operator,
            value: Constant::new(*value),
        };
        let root = match self {
            Conjunct::Equal { value, .. } => compare(Comparison::Eq, value),
            Conjunct::In { values, .. } => Node::In {
                path,
                values: values.0.to_vec(),
            },
            Conjunct::Range { operator, bound, .. } => compare((*operator).into(), bound),
            Conjunct::Exists { .. } => Node::Exists { path },
        };
        Expression { root }
    }
}

impl From<RangeOperator> for Comparison {
    fn from(operator: RangeOperator) -> Self {
        match operator {
            RangeOperator::Gt => Comparison::Gt,
            RangeOperator::Gte => Comparison::Gte,
            RangeOperator::Lt => Comparison::Lt,
            RangeOperator::Lte => Comparison::Lte,
        }
    }
}

pub(crate) fn of(node: &Node) -> Vec<Conjunct<'_>> {
    match node {
        Node::And(parts) => parts.iter().filter_map(one).collect(),
        node => one(node).into_iter().collect(),
    }
}

fn one(node: &Node) -> Option<Conjunct<'_>> {
    match node {
        Node::Compare { path, operator, value } => compare(path, *operator, value.get()),
        Node::In { path, values } => Some(Conjunct::In {
            path,
            values: Values(values),
        }),
        Node::Exists { path } => Some(Conjunct::Exists { path }),
        // An expression does not look into arrays as a predicate does, so an index that lists their
        // elements says nothing about it.
        Node::And(_) | Node::Or(_) | Node::Not(_) | Node::Computed(_) => None,
    }
}

fn compare<'a>(path: &'a Path, operator: Comparison, value: RawBsonRef<'a>) -> Option<Conjunct<'a>> {
    let operator = match operator {
        Comparison::Eq => return Some(Conjunct::Equal { path, value }),
        Comparison::Gt => RangeOperator::Gt,
        Comparison::Gte => RangeOperator::Gte,
        Comparison::Lt => RangeOperator::Lt,
        Comparison::Lte => RangeOperator::Lte,
    };
    let alone_in_class = matches!(value, RawBsonRef::Null) || Number::from_bson(value).is_some_and(Number::is_nan);
    match (operator, value) {
        // These match values of every class.
        (_, RawBsonRef::MinKey | RawBsonRef::MaxKey) => None,
        // Null and NaN have nothing above or below: at the bound means equal to it.
        (RangeOperator::Gte | RangeOperator::Lte, _) if alone_in_class => Some(Conjunct::Equal { path, value }),
        _ => Some(Conjunct::Range {
            path,
            operator,
            bound: value,
        }),
    }
}
