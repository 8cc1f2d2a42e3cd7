//! The projection of `find`: that of `$project`, with `$slice`, `$elemMatch` and the positional `$`.

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::parse::{Leaf, Specification};
use super::projection::{Projection, Rule};
use super::{between, check};
use crate::aggregation::{Parser, Variables, whole_i32};
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::expression::{Expression, ParseOptions};
use crate::validate::{DOCUMENT_BYTES_MAX, validate};

/// What `find` returns of each document.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_matcher::FindProjection;
///
/// let projection = FindProjection::parse(&rawdoc! { "name": 1, "scores": { "$slice": -2 } })?;
/// let document = rawdoc! { "_id": 1, "name": "x", "scores": [1, 2, 3], "other": true };
/// let projected = projection.apply(&document, None)?;
/// assert_eq!(projected, rawdoc! { "_id": 1, "name": "x", "scores": [2, 3] });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FindProjection {
    projection: Option<Projection>,
    positional: bool,
}

impl FindProjection {
    /// Compiles a projection. An empty one returns documents as they are.
    pub fn parse(source: &RawDocument) -> Result<FindProjection, ParseError> {
        FindProjection::parse_with(source, &ParseOptions::default())
    }

    /// As [`parse`](FindProjection::parse), with options: a collation counts for `$elemMatch` and for expressions.
    pub fn parse_with(source: &RawDocument, options: &ParseOptions) -> Result<FindProjection, ParseError> {
        validate(source.as_bytes())?;
        if source.is_empty() {
            return Ok(FindProjection {
                projection: None,
                positional: false,
            });
        }
        let mut specification = Specification::new("projection".to_owned(), "projection", options);
        let parser = specification.parser();
        let mut positional = false;
        for (name, value) in parser.fields(source)? {
            let path = match name.strip_suffix(".$") {
                Some(_) if positional => {
                    return Err(parser.wrong_value(name, "there can be only one positional operator", 31276));
                }
                Some(path) => {
                    positional = true;
                    path
                }
                None => name,
            };
            let mut components = parser.components(path)?.into_vec();
            if path.len() < name.len() {
                if let RawBsonRef::Document(_) = value {
                    let problem = "the positional operator takes no expression and no document";
                    return Err(parser.wrong_value(name, problem, 31271));
                }
                if !is_switch(value) {
                    return Err(parser.wrong_value(name, "the positional operator takes no literal", 31308));
                }
                if !crate::aggregation::is_true(value) {
                    return Err(parser.wrong_value(name, "the positional operator cannot exclude", 31395));
                }
                specification.leaves.push((components, Leaf::Rule(Rule::Positional)));
                continue;
            }
            match operator(&parser, name, value, options)? {
                Some(leaf) => specification.leaves.push((components, leaf)),
                None => specification.field(name, value, &mut components)?,
            }
        }
        Ok(FindProjection {
            projection: Some(specification.project()?),
            positional,
        })
    }

    /// Says whether the projection needs to know which item of an array the query has matched.
    #[must_use]
    pub fn is_positional(&self) -> bool {
        self.positional
    }

    /// What is left of the document. `matched` is the position of the array item that the query has
    /// matched, for the positional operator.
    pub fn apply(&self, document: &RawDocument, matched: Option<usize>) -> Result<RawDocumentBuf, EvaluateError> {
        self.apply_with(document, matched, &Variables::new(&document))
    }

    /// As [`apply`](FindProjection::apply), with the root, the time and the bound variables of `variables`.
    pub fn apply_with(
        &self,
        document: &RawDocument,
        matched: Option<usize>,
        variables: &Variables<'_>,
    ) -> Result<RawDocumentBuf, EvaluateError> {
        let Some(projection) = &self.projection else {
            return Ok(document.to_owned());
        };
        let projected = projection.apply_matched(document, variables, matched, between(DOCUMENT_BYTES_MAX))?;
        check(&projected, DOCUMENT_BYTES_MAX)?;
        Ok(projected)
    }
}

/// The rule of `$slice` or `$elemMatch`; `None` for everything that `$project` knows, too.
fn operator(
    parser: &Parser,
    name: &str,
    value: RawBsonRef<'_>,
    options: &ParseOptions,
) -> Result<Option<Leaf>, ParseError> {
    let RawBsonRef::Document(document) = value else {
        return Ok(None);
    };
    let fields = parser.fields(document)?;
    let [(operator, argument)] = fields[..] else {
        return Ok(None);
    };
    match (operator, argument) {
        ("$slice", RawBsonRef::Array(array)) => {
            let parts: Vec<_> = array.into_iter().flatten().map(integer).collect();
            match parts[..] {
                [Some(first), Some(count)] if count > 0 => {
                    let count = Some(count);
                    Ok(Some(Leaf::Either(Rule::Slice { first, count })))
                }
                [Some(_), Some(_)] => Err(parser.wrong_value(operator, "the count must be above zero", 28729)),
                // Anything else is the expression of that name.
                _ => Ok(None),
            }
        }
        ("$slice", argument) => match integer(argument) {
            Some(first) => Ok(Some(Leaf::Either(Rule::Slice { first, count: None }))),
            None => Err(parser.wrong_type(operator, "a number or two", argument, 28667)),
        },
        ("$elemMatch", RawBsonRef::Document(condition)) => {
            if name.contains('.') {
                return Err(parser.wrong_value(name, "$elemMatch takes a field of the top level", 31275));
            }
            let predicate = rawdoc! { "v": { "$elemMatch": condition.to_owned() } };
            let predicate = Expression::parse_with(&predicate, options)?;
            Ok(Some(Leaf::Rule(Rule::ElemMatch(predicate))))
        }
        ("$elemMatch", other) => Err(parser.wrong_type(operator, "a document", other, 31274)),
        _ => Ok(None),
    }
}

/// Whether a value says that a field is in or out.
fn is_switch(value: RawBsonRef<'_>) -> bool {
    let is_number = crate::number::Number::from_bson(value).is_some();
    is_number || matches!(value, RawBsonRef::Boolean(_))
}

fn integer(value: RawBsonRef<'_>) -> Option<i32> {
    whole_i32(value)
}
