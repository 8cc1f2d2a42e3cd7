//! What is asked of the values a path reaches.
//!
//! Most conditions hold if *any* value reached satisfies them, elements of an array and the array
//! itself alike. Two are about arrays as such ([`Condition::wants_arrays`]): they see an array at
//! the end of a path only as a whole.

mod bits;
mod modulo;
mod types;

use bson::{RawBsonRef, RawDocument};

use crate::collation::Collation;
use crate::evaluate::EvaluateError;
use crate::node::{Comparison, Constant, Node};
use crate::pattern::Pattern;
use crate::steps;
use crate::{elements, leaf};

pub(crate) use bits::{BitMask, BitTest};
pub(crate) use modulo::Modulo;
pub use types::TypeSet;

/// A condition on one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    /// It compares so with the constant.
    Compare {
        operator: Comparison,
        value: Constant,
        collation: Option<Collation>,
    },
    /// It equals one of these.
    In(Box<List>),
    /// It is there.
    Exists,
    /// It is a string in which the pattern is found.
    Regex(Pattern),
    /// It is of one of these types.
    Type(TypeSet),
    /// It is a number that leaves this remainder.
    Modulo(Modulo),
    /// Its bits are so.
    Bits(BitTest, Box<BitMask>),
    /// It is an array of so many elements.
    Size(i64),
    /// It is an array with an element that satisfies all of the node's conditions, which are about
    /// the element itself: their paths are empty.
    ElementValue(Box<Node>),
    /// It is an array with a document (or an array) as an element that satisfies the predicate.
    ElementDocument(Box<Node>),
}

/// Constants to be equal to and patterns to match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    /// Sorted in the order of the collation, and distinct.
    pub(crate) values: Vec<Constant>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) collation: Option<Collation>,
}

impl List {
    /// Sorts the values and drops those equal to an earlier one, and patterns listed before.
    fn new(mut values: Vec<Constant>, patterns: Vec<Pattern>, collation: Option<Collation>) -> List {
        let compare = |a: &Constant, b: &Constant| leaf::order(a.get(), b.get(), collation.as_ref());
        values.sort_by(compare);
        values.dedup_by(|later, earlier| compare(later, earlier).is_eq());
        let mut distinct: Vec<Pattern> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if !distinct.contains(&pattern) {
                distinct.push(pattern);
            }
        }
        List {
            values,
            patterns: distinct,
            collation,
        }
    }
}

impl Condition {
    /// Being equal to one of the values, or a string in which one of the patterns is found.
    pub(crate) fn one_of(values: Vec<Constant>, patterns: Vec<Pattern>, collation: Option<Collation>) -> Condition {
        Condition::In(Box::new(List::new(values, patterns, collation)))
    }

    /// Says whether the condition is about whole arrays, not about their elements.
    pub(crate) fn wants_arrays(&self) -> bool {
        matches!(
            self,
            Condition::Size(_) | Condition::ElementValue(_) | Condition::ElementDocument(_)
        )
    }

    /// Says whether one value satisfies the condition; `None` is missing. `at` is its path, for
    /// errors.
    pub(crate) fn accepts(&self, found: Option<RawBsonRef<'_>>, at: &str) -> Result<bool, EvaluateError> {
        match self {
            Condition::Compare {
                operator,
                value,
                collation,
            } => return Ok(leaf::compares(*operator, value.get(), found, collation.as_ref())),
            Condition::In(list) => return list.accepts(found, at),
            _ => {}
        }
        let Some(found) = found else { return Ok(false) };
        Ok(match (self, found) {
            (Condition::Regex(pattern), found) => pattern.accepts(found, at)?,
            (Condition::Type(types), found) => types.accepts(found),
            (Condition::Modulo(modulo), found) => modulo.accepts(found),
            (Condition::Bits(test, mask), found) => mask.accepts(*test, found),
            (Condition::Size(size), RawBsonRef::Array(array)) => {
                elements::of_array(array).and_then(|elements| i64::try_from(elements.count()).ok()) == Some(*size)
            }
            (Condition::ElementValue(node), RawBsonRef::Array(array)) => {
                any_element(array, |element| node.holds_for(element, at))?
            }
            (Condition::ElementDocument(node), RawBsonRef::Array(array)) => {
                any_element(array, |element| match as_document(element) {
                    Some(document) => node.matches(document),
                    None => Ok(false),
                })?
            }
            (Condition::Size(_) | Condition::ElementValue(_) | Condition::ElementDocument(_), _) => false,
            (Condition::Exists | Condition::Compare { .. } | Condition::In(_), _) => true,
        })
    }
}

impl List {
    fn accepts(&self, found: Option<RawBsonRef<'_>>, at: &str) -> Result<bool, EvaluateError> {
        if leaf::listed(&self.values, found, self.collation.as_ref()) {
            return Ok(true);
        }
        let Some(found) = found else { return Ok(false) };
        steps::take(self.patterns.len() as u64)?;
        for pattern in &self.patterns {
            if pattern.accepts(found, at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn any_element(
    array: &bson::RawArray,
    accepts: impl Fn(RawBsonRef<'_>) -> Result<bool, EvaluateError>,
) -> Result<bool, EvaluateError> {
    if let Some(mut elements) = elements::of_array(array) {
        while let Some((_, element)) = elements.next_value() {
            steps::take(1)?;
            if accepts(element)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A document, or an array with its positions as names.
fn as_document(value: RawBsonRef<'_>) -> Option<&RawDocument> {
    match value {
        RawBsonRef::Document(document) => Some(document),
        RawBsonRef::Array(array) => RawDocument::from_bytes(array.as_bytes()).ok(),
        _ => None,
    }
}
