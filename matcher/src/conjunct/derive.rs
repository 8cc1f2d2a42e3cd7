//! From a predicate to its conjuncts.
//!
//! A predicate is read as alternatives (a disjunction of conjunctions), of which there are at most
//! as many as the caller wants: what would make them more is left out, which only makes the answer
//! weaker. An alternative without conjuncts says nothing.
//!
//! `order` is the collation by which strings are in order where the conjuncts are sought; by their bytes if there is none. A
//! comparison by another one is not reported.

use std::borrow::Cow;

use bson::RawBsonRef;

use super::{Conjunct, RangeOperator, Values};
use crate::collation::{self, Collation};
use crate::condition::{Condition, List};
use crate::node::{Comparison, Node};
use crate::number::Number;
use crate::path::Path;
use crate::pattern::Pattern;

type Alternatives<'a> = Vec<Vec<Conjunct<'a>>>;

/// The conjuncts that hold whenever the predicate does.
pub(crate) fn of<'a>(node: &'a Node, order: Option<&Collation>) -> Vec<Conjunct<'a>> {
    alternatives(node, 1, order).pop().unwrap_or_default()
}

/// At least one of these, at most `limit`, holds entirely whenever the predicate does.
pub(crate) fn alternatives<'a>(node: &'a Node, limit: usize, order: Option<&Collation>) -> Alternatives<'a> {
    match node {
        Node::And(parts) => {
            let mut product: Alternatives<'a> = vec![Vec::new()];
            for part in parts {
                // What has room beside the others; a part that has none is left out.
                product = times(product, &alternatives(part, limit, order), limit);
            }
            product
        }
        Node::Or(parts) => {
            let mut sum = Vec::new();
            for part in parts {
                let more = alternatives(part, limit, order);
                let says_nothing = more.iter().any(Vec::is_empty);
                sum.extend(more);
                if says_nothing || sum.len() > limit {
                    return vec![Vec::new()];
                }
            }
            sum
        }
        // An expression does not look into arrays as a predicate does, so an index that lists their
        // elements says nothing about it.
        Node::Not(_) | Node::Schema(_) | Node::Computed(_) => vec![Vec::new()],
        Node::Leaf { path, condition } => leaf(path, condition, limit, order),
    }
}

fn times<'a>(mut product: Alternatives<'a>, part: &[Vec<Conjunct<'a>>], limit: usize) -> Alternatives<'a> {
    if let [only] = part {
        for alternative in &mut product {
            alternative.extend_from_slice(only);
        }
        return product;
    }
    if product.len() * part.len() > limit.max(1) {
        return product;
    }
    let mut times = Vec::with_capacity(product.len() * part.len());
    for alternative in &product {
        for more in part {
            times.push(alternative.iter().chain(more).cloned().collect());
        }
    }
    times
}

fn leaf<'a>(path: &'a Path, condition: &'a Condition, limit: usize, order: Option<&Collation>) -> Alternatives<'a> {
    match condition {
        Condition::ElementDocument(node) => below(alternatives(node, limit, order), path),
        // An array that was itself reached by position is not looked into.
        Condition::ElementValue(node) if !path.ends_in_position() => {
            let elements = alternatives(node, limit, order);
            map(elements, |conjunct| Some(conjunct.at(path.clone())))
        }
        condition => vec![one(path, condition, order).into_iter().collect()],
    }
}

/// What must hold for the elements of the array at `path`, said of the whole paths.
fn below<'a>(elements: Alternatives<'a>, path: &'a Path) -> Alternatives<'a> {
    let mut alternatives = map(elements, |conjunct| {
        // An element that is an array has positions for fields, which whole paths do not reach, and
        // none of the others; and where there is none, whole paths reach nothing, not missing.
        if conjunct.accepts_missing() || conjunct.path().begins_with_position() {
            return None;
        }
        let whole = Path::new(&format!("{path}.{}", conjunct.path())).ok()?;
        Some(conjunct.at(whole))
    });
    for alternative in &mut alternatives {
        alternative.push(exists(path));
    }
    alternatives
}

fn map<'a>(alternatives: Alternatives<'a>, change: impl Fn(Conjunct<'a>) -> Option<Conjunct<'a>>) -> Alternatives<'a> {
    let each = |alternative: Vec<Conjunct<'a>>| alternative.into_iter().filter_map(&change).collect();
    alternatives.into_iter().map(each).collect()
}

fn exists(path: &Path) -> Conjunct<'_> {
    Conjunct::Exists {
        path: Cow::Borrowed(path),
    }
}

/// Whether a comparison with a value is one by the order in which it is sought.
fn is_sought(value: RawBsonRef<'_>, by: Option<&Collation>, order: Option<&Collation>) -> bool {
    by == order || !collation::matters_to(value)
}

fn one<'a>(path: &'a Path, condition: &'a Condition, order: Option<&Collation>) -> Option<Conjunct<'a>> {
    match condition {
        Condition::Compare {
            operator,
            value,
            collation,
        } if is_sought(value.get(), collation.as_ref(), order) => compare(path, *operator, value.get()),
        Condition::In(list) => listed(path, list, order),
        // The texts that begin so are together in the order of bytes only.
        Condition::Regex(pattern) if order.is_none() => Some(regex(path, pattern)),
        Condition::Type(types) => Some(Conjunct::Type {
            path: Cow::Borrowed(path),
            types: *types,
        }),
        // What a collation matters to is no null.
        Condition::Compare { .. }
        | Condition::Regex(_)
        | Condition::Exists
        | Condition::Modulo(_)
        | Condition::Bits(..)
        | Condition::Size(_)
        | Condition::ElementValue(_)
        | Condition::ElementDocument(_) => Some(exists(path)),
    }
}

fn regex<'a>(path: &'a Path, pattern: &Pattern) -> Conjunct<'a> {
    match pattern.prefix() {
        Some(prefix) => Conjunct::Prefix {
            path: Cow::Borrowed(path),
            prefix,
            regex: pattern.to_bson(),
        },
        None => exists(path),
    }
}

fn listed<'a>(path: &'a Path, list: &'a List, order: Option<&Collation>) -> Option<Conjunct<'a>> {
    let values = Values(&list.values);
    let are_sought = || {
        values
            .iter()
            .all(|value| is_sought(value, list.collation.as_ref(), order))
    };
    if list.patterns.is_empty() && are_sought() {
        return Some(Conjunct::In {
            path: Cow::Borrowed(path),
            values,
        });
    }
    let null = values.iter().any(|value| matches!(value, RawBsonRef::Null));
    (!null).then(|| exists(path))
}

fn compare<'a>(path: &'a Path, operator: Comparison, value: RawBsonRef<'a>) -> Option<Conjunct<'a>> {
    let path = Cow::Borrowed(path);
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
