//! What an index may conclude from a predicate.
//!
//! An index over predicates (which watchers could want this entry?) and an index over documents
//! (which documents could match this query?) ask the same question: what must hold for a value at
//! one path if the predicate is to hold at all? [`Conjunct`] is the answer.

mod derive;

use std::borrow::Cow;

use bson::{RawBson, RawBsonRef};

use crate::collation;
use crate::condition::{Condition, TypeSet};
use crate::expression::Expression;
use crate::node::{Comparison, Constant, Node};
use crate::path::Path;
use crate::pattern::Pattern;

pub(crate) use derive::{alternatives, of};

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
/// The elements of an `$elemMatch` are reported with their whole paths; that one element must satisfy
/// all of them is lost. Negations, comparisons that cross types (with MinKey or MaxKey) and schemas
/// are not reported. Of comparisons by another collation than asked for only is reported that there must be a value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Conjunct<'a> {
    /// A value at the path equals this one.
    Equal {
        /// The path.
        path: Cow<'a, Path>,
        /// The value.
        value: RawBsonRef<'a>,
    },
    /// A value at the path equals one of these.
    In {
        /// The path.
        path: Cow<'a, Path>,
        /// The values.
        values: Values<'a>,
    },
    /// A value at the path, of the same class as the bound, lies on this side of it.
    Range {
        /// The path.
        path: Cow<'a, Path>,
        /// The side.
        operator: RangeOperator,
        /// The bound.
        bound: RawBsonRef<'a>,
    },
    /// A value at the path is a string that begins so, or it is this regular expression.
    Prefix {
        /// The path.
        path: Cow<'a, Path>,
        /// What the string begins with; not empty.
        prefix: String,
        /// The regular expression that a value may be instead.
        regex: RawBson,
    },
    /// A value at the path is of one of these types.
    Type {
        /// The path.
        path: Cow<'a, Path>,
        /// The types.
        types: TypeSet,
    },
    /// There is a value at the path.
    Exists {
        /// The path.
        path: Cow<'a, Path>,
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
    /// What an index can conclude that has strings in another order than the conjunct compares them in: nothing of values that
    /// are, or may hold, strings but that there must be one; not even that where null is as good.
    #[must_use]
    pub fn without_strings(&self) -> Option<Conjunct<'a>> {
        let compares = match self {
            Conjunct::Equal { value, .. } | Conjunct::Range { bound: value, .. } => collation::matters_to(*value),
            Conjunct::In { values, .. } => values.iter().any(collation::matters_to),
            Conjunct::Prefix { .. } => true,
            Conjunct::Type { .. } | Conjunct::Exists { .. } => false,
        };
        if !compares {
            return Some(self.clone());
        }
        let path = self.path().clone();
        (!self.accepts_missing()).then_some(Conjunct::Exists { path: Cow::Owned(path) })
    }
}

impl Conjunct<'_> {
    /// The path the conjunct is about.
    pub fn path(&self) -> &Path {
        match self {
            Conjunct::Equal { path, .. }
            | Conjunct::In { path, .. }
            | Conjunct::Range { path, .. }
            | Conjunct::Prefix { path, .. }
            | Conjunct::Type { path, .. }
            | Conjunct::Exists { path } => path,
        }
    }

    /// The conjunct as a predicate of its own.
    pub fn to_expression(&self) -> Expression {
        let compare = |operator, value: &RawBsonRef<'_>| Condition::Compare {
            operator,
            value: Constant::new(*value),
            collation: None,
        };
        let condition = match self {
            Conjunct::Equal { value, .. } => compare(Comparison::Eq, value),
            Conjunct::In { values, .. } => Condition::one_of(values.0.to_vec(), Vec::new(), None),
            Conjunct::Range { operator, bound, .. } => compare((*operator).into(), bound),
            Conjunct::Prefix { prefix, regex, .. } => {
                // An escaped literal, no longer than the pattern it came from allows, compiles.
                let pattern = Pattern::new(&format!("^{}", fancy_regex::escape(prefix)), "");
                let values = vec![Constant::from(regex.clone())];
                Condition::one_of(values, pattern.into_iter().collect(), None)
            }
            Conjunct::Type { types, .. } => Condition::Type(*types),
            Conjunct::Exists { .. } => Condition::Exists,
        };
        Expression {
            root: Node::leaf(self.path(), condition),
        }
    }

    /// Says whether a path that reaches nothing satisfies the conjunct.
    fn accepts_missing(&self) -> bool {
        match self {
            Conjunct::Equal { value, .. } => matches!(value, RawBsonRef::Null),
            Conjunct::In { values, .. } => values.iter().any(|value| matches!(value, RawBsonRef::Null)),
            Conjunct::Range { .. } | Conjunct::Prefix { .. } | Conjunct::Type { .. } | Conjunct::Exists { .. } => false,
        }
    }

    /// The same conjunct on another path.
    fn at(self, path: Path) -> Self {
        let path = Cow::Owned(path);
        match self {
            Conjunct::Equal { value, .. } => Conjunct::Equal { path, value },
            Conjunct::In { values, .. } => Conjunct::In { path, values },
            Conjunct::Range { operator, bound, .. } => Conjunct::Range { path, operator, bound },
            Conjunct::Prefix { prefix, regex, .. } => Conjunct::Prefix { path, prefix, regex },
            Conjunct::Type { types, .. } => Conjunct::Type { path, types },
            Conjunct::Exists { .. } => Conjunct::Exists { path },
        }
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
