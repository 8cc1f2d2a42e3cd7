//! Which element of an array a filter has matched, for the positional `$` of updates and projections.
//!
//! MongoDB's rules (manual: *`$` (update)*): each condition that a document must meet is asked, in order, which element of the
//! first array on its path meets it, and the last answer counts. Of the alternatives of an `$or` the first that holds is
//! asked. Conditions that hold because no element does (`$ne`, `$nin`, `$not`, `$nor`), that are about an array as a whole
//! (`$size`, equality with an array), or that name an element by its position have no answer.
//!
//! # Costs
//!
//! Elements are tried one by one, each in a small copy of its surroundings. Only writes and projections that have a `$` pay.

use bson::raw::{CString, RawArray, RawArrayBuf, RawBsonRef};
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{DEPTH_MAX, Expression};

use crate::error::Result;
use crate::query::Language;

/// A filter's conditions on single paths.
#[derive(Clone, Debug)]
pub(crate) struct Positions(Node);

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<(Expression, Node)>),
    Condition { path: Vec<String>, holds: Expression },
}

impl Positions {
    /// Reads a filter that parses.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`](crate::Error::Filter).
    pub(crate) fn parse(filter: &RawDocument, language: &Language) -> Result<Positions> {
        language.filter(filter)?;
        Ok(Positions(Node::parse(filter, language, 0)?))
    }

    /// The index of the element that has made the filter match this document, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Evaluate`](crate::Error::Evaluate).
    pub(crate) fn of(&self, document: &RawDocument) -> Result<Option<usize>> {
        self.0.position(document)
    }
}

impl Node {
    /// Recurses along `$and` and `$or`, no deeper than filters may nest.
    fn parse(filter: &RawDocument, language: &Language, depth: usize) -> Result<Node> {
        let mut nodes = Vec::new();
        let is_deep = depth > DEPTH_MAX;
        for (name, value) in filter.iter().flatten().filter(|_| !is_deep) {
            match (name.as_str(), value) {
                ("$and", RawBsonRef::Array(clauses)) => {
                    for clause in documents(clauses) {
                        nodes.push(Node::parse(clause, language, depth + 1)?);
                    }
                }
                ("$or", RawBsonRef::Array(clauses)) => {
                    let clause = |clause| Ok((language.filter(clause)?, Node::parse(clause, language, depth + 1)?));
                    nodes.push(Node::Any(documents(clauses).map(clause).collect::<Result<_>>()?));
                }
                (name, _) if name.starts_with('$') => {}
                (path, RawBsonRef::Document(operators)) if is_operators(operators) => {
                    conditions(path, operators, language, &mut nodes)?;
                }
                (_, RawBsonRef::Array(_)) => {}
                (path, value) => nodes.push(Node::condition(
                    language,
                    path,
                    &with(RawDocumentBuf::new(), path, value),
                )?),
            }
        }
        Ok(Node::All(nodes))
    }

    fn condition(language: &Language, path: &str, filter: &RawDocument) -> Result<Node> {
        Ok(Node::Condition {
            path: path.split('.').map(str::to_owned).collect(),
            holds: language.filter(filter)?,
        })
    }

    fn position(&self, document: &RawDocument) -> Result<Option<usize>> {
        match self {
            Node::All(nodes) => {
                let mut last = None;
                for node in nodes {
                    last = node.position(document)?.or(last);
                }
                Ok(last)
            }
            Node::Any(nodes) => {
                for (holds, node) in nodes {
                    if holds.matches(document)? {
                        return node.position(document);
                    }
                }
                Ok(None)
            }
            Node::Condition { path, holds } => match first_array(path, document) {
                Some((above, array)) => first_element(above, array, holds),
                None => Ok(None),
            },
        }
    }
}

/// Adds the conditions that the operators on one path are.
fn conditions(path: &str, operators: &RawDocument, language: &Language, nodes: &mut Vec<Node>) -> Result<()> {
    for (operator, value) in operators.iter().flatten() {
        let condition = match (operator.as_str(), value) {
            ("$ne" | "$nin" | "$not" | "$size" | "$options", _) | ("$eq", RawBsonRef::Array(_)) => continue,
            // Each of them must be met; the last one's answer counts.
            ("$all", RawBsonRef::Array(values)) => {
                let Some(Ok(last)) = values.into_iter().last() else {
                    continue;
                };
                let mut only = RawArrayBuf::new();
                only.push(last);
                with(RawDocumentBuf::new(), "$all", RawBsonRef::Array(&only))
            }
            ("$regex", value) => {
                let condition = with(RawDocumentBuf::new(), "$regex", value);
                match operators.get("$options").ok().flatten() {
                    Some(options) => with(condition, "$options", options),
                    None => condition,
                }
            }
            (operator, value) => with(RawDocumentBuf::new(), operator, value),
        };
        let filter = with(RawDocumentBuf::new(), path, RawBsonRef::Document(&condition));
        nodes.push(Node::condition(language, path, &filter)?);
    }
    Ok(())
}

/// The first array on a path, and the path up to there; nothing when the path goes on by a position in it.
fn first_array<'p, 'd>(path: &'p [String], mut document: &'d RawDocument) -> Option<(&'p [String], &'d RawArray)> {
    for (place, name) in path.iter().enumerate() {
        match document.get(name.as_str()).ok().flatten()? {
            RawBsonRef::Document(inner) => document = inner,
            RawBsonRef::Array(array) => {
                let next = path.get(place + 1);
                let by_position = next.is_some_and(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
                return (!by_position).then_some((&path[..=place], array));
            }
            _ => return None,
        }
    }
    None
}

/// The first element that meets a condition when it is alone in its array, which is at the path `above`.
fn first_element(above: &[String], array: &RawArray, holds: &Expression) -> Result<Option<usize>> {
    for (index, element) in array.into_iter().flatten().enumerate() {
        let mut alone = RawArrayBuf::new();
        alone.push(element);
        let mut names = above.iter().rev();
        let Some(last) = names.next() else { return Ok(None) };
        let innermost = with(RawDocumentBuf::new(), last, RawBsonRef::Array(&alone));
        let surrounded = names.fold(innermost, |inner, name| {
            with(RawDocumentBuf::new(), name, RawBsonRef::Document(&inner))
        });
        if holds.matches(&*surrounded)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The document with one more field. Names come from BSON, where none has a NUL.
fn with(mut document: RawDocumentBuf, name: &str, value: RawBsonRef<'_>) -> RawDocumentBuf {
    if let Ok(name) = CString::try_from(name.to_owned()) {
        document.append(&name, value);
    }
    document
}

fn documents(array: &RawArray) -> impl Iterator<Item = &RawDocument> {
    array.into_iter().flatten().filter_map(RawBsonRef::as_document)
}

fn is_operators(document: &RawDocument) -> bool {
    let first = document.iter().next();
    first.is_some_and(|field| field.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn the_element_that_matched_is_found() {
        let grades = rawdoc! { "grades": [80, 85, 90, 85] };
        let students = rawdoc! { "s": [{ "g": 80, "m": 75 }, { "g": 85, "m": 90 }, { "g": 90, "m": 85 }] };
        let inner = rawdoc! { "a": { "b": [{ "c": [1, 2] }, { "c": [3, 4] }] } };
        let two = rawdoc! { "x": [1, 2, 3], "y": [3, 2, 1], "z": 1 };
        for (document, filter, expected) in [
            (&grades, rawdoc! { "grades": 85 }, Some(1)),
            (&grades, rawdoc! { "grades": { "$gt": 85 } }, Some(2)),
            (
                &grades,
                rawdoc! { "grades": { "$elemMatch": { "$gt": 80, "$lt": 90 } } },
                Some(1),
            ),
            (&grades, rawdoc! { "grades": { "$in": [90, 85] } }, Some(1)),
            (&grades, rawdoc! { "grades": { "$all": [85, 80] } }, Some(0)),
            (&grades, rawdoc! { "grades": { "$ne": 7 } }, None),
            (&grades, rawdoc! { "grades": { "$size": 4 } }, None),
            (&grades, rawdoc! { "grades": [80, 85, 90, 85] }, None),
            (&grades, rawdoc! { "grades.2": 90 }, None),
            (&grades, rawdoc! {}, None),
            (&students, rawdoc! { "s.g": 85 }, Some(1)),
            (
                &students,
                rawdoc! { "s": { "$elemMatch": { "g": { "$lte": 90 }, "m": { "$gt": 80 } } } },
                Some(1),
            ),
            // The outermost array counts.
            (&inner, rawdoc! { "a.b.c": 4 }, Some(1)),
            // Of several arrays the last one that is named.
            (&two, rawdoc! { "x": 1, "y": 1 }, Some(2)),
            (&two, rawdoc! { "$and": [{ "y": 1 }, { "x": 2 }], "z": 1 }, Some(1)),
            (&two, rawdoc! { "$or": [{ "x": 9 }, { "y": 2 }, { "x": 1 }] }, Some(1)),
            (&two, rawdoc! { "z": 1 }, None),
        ] {
            let position = Positions::parse(&filter, &Language::default())
                .unwrap()
                .of(document)
                .unwrap();
            assert_eq!(position, expected, "{filter:?}");
        }
    }
}
