//! Compiles `$match` documents.
//!
//! A document is a conjunction of its elements: a name without `$` is a path with a condition, a
//! name with `$` a logical operator. A condition is a document of operators if its first name
//! begins with `$` (and it is not a DBRef), a regular expression, or a value to be equal to.
//!
//! Nothing is skipped: what this version cannot evaluate is an error that names it, because a
//! filter that silently ignores a condition delivers what its author excluded.
//!
//! Recursion goes as deep as the document, which is validated first.

mod array;
mod bitwise;
mod evaluation;
mod operators;

use bson::raw::RawBsonRef;
use bson::{RawArray, RawDocument};

use crate::aggregation::ValueExpression;
use crate::collation::{self, Collation};
use crate::condition::Condition;
use crate::error::{ParseError, type_name};
use crate::expression::{EXPRESSION_NODES_MAX, EXPRESSION_REGEXES_MAX, Expression, IN_VALUES_MAX, ParseOptions};
use crate::node::{Comparison, Constant, Node};
use crate::path::Path;
use crate::pattern::{Pattern, PatternError};
use crate::render;
use crate::validate::validate;

pub(crate) use bitwise::MASK;

const LOGICAL: &str = "a field name, $and, $or, $nor, $expr, $jsonSchema or $comment";
const DOCUMENTS: &str = "an array of at least one document";

/// What MongoDB has and this crate leaves out, and why.
const REFUSED: [(&str, &str); 10] = [
    ("$where", "it runs JavaScript, which this engine does not"),
    ("$text", "there are no text indexes"),
    ("$near", "there are no geospatial operators"),
    ("$nearSphere", "there are no geospatial operators"),
    ("$geoWithin", "there are no geospatial operators"),
    ("$geoIntersects", "there are no geospatial operators"),
    ("$within", "there are no geospatial operators"),
    ("$maxDistance", "there are no geospatial operators"),
    ("$minDistance", "there are no geospatial operators"),
    ("$sampleRate", "a predicate must give the same answer every time"),
];

pub(crate) fn parse(document: &RawDocument, options: &ParseOptions) -> Result<Expression, ParseError> {
    let document = validate(document.as_bytes())?;
    let root = Parser::reading(options, |parser| parser.document(document))?;
    if !render::fits(&root) {
        return Err(ParseError::TooDeep);
    }
    Ok(Expression { root })
}

/// Where the parser is, and what it has spent.
pub(crate) struct Parser<'o> {
    /// Where the parser is, for errors.
    place: String,
    nodes: usize,
    regexes: usize,
    options: &'o ParseOptions,
}

impl<'o> Parser<'o> {
    /// Reads something that is not a whole filter, at the beginning of one.
    pub(crate) fn reading<T>(options: &'o ParseOptions, read: impl FnOnce(&mut Parser<'o>) -> T) -> T {
        read(&mut Parser {
            place: String::new(),
            nodes: 0,
            regexes: 0,
            options,
        })
    }
}

impl Parser<'_> {
    fn document(&mut self, document: &RawDocument) -> Result<Node, ParseError> {
        let mut parts = Vec::new();
        for element in document {
            let Ok((name, value)) = element else {
                // The bytes have been validated; a disagreement about them must not drop a part.
                return Err(self.wrong("document", "readable elements", "malformed bytes"));
            };
            let name = name.as_str();
            let outer = self.place.len();
            if name.starts_with('$') {
                parts.extend(self.logical(name, value)?);
            } else {
                self.push_place(name);
                parts.push(self.field(name, value)?);
            }
            self.place.truncate(outer);
        }
        Ok(Node::and(parts))
    }

    fn logical(&mut self, operator: &str, value: RawBsonRef<'_>) -> Result<Option<Node>, ParseError> {
        Ok(Some(match operator {
            "$and" => Node::and(self.documents(operator, value)?),
            "$or" => Node::or(self.documents(operator, value)?),
            "$nor" => Node::or(self.documents(operator, value)?).negate(),
            "$expr" => {
                self.count()?;
                self.push_place(operator);
                let expression = ValueExpression::parse_at(&self.place, value, self.options)?;
                Node::Computed(Box::new(expression))
            }
            "$jsonSchema" => {
                self.count()?;
                self.push_place(operator);
                Node::Schema(self.schema(value)?)
            }
            "$comment" => return Ok(None),
            _ => return Err(self.unknown(operator, LOGICAL)),
        }))
    }

    fn documents(&mut self, operator: &str, value: RawBsonRef<'_>) -> Result<Vec<Node>, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong(operator, DOCUMENTS, type_name(value.element_type())));
        };
        self.count()?;
        self.push_place(operator);
        let mut nodes = Vec::new();
        let outer = self.place.len();
        for value in array {
            self.place.push_str(&format!("[{}]", nodes.len()));
            let Ok(RawBsonRef::Document(document)) = value else {
                return Err(self.wrong(
                    operator,
                    "a document",
                    value.map_or("?", |value| type_name(value.element_type())),
                ));
            };
            nodes.push(self.document(document)?);
            self.place.truncate(outer);
        }
        if nodes.is_empty() {
            return Err(self.wrong(operator, DOCUMENTS, "an empty array"));
        }
        Ok(nodes)
    }

    fn field(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<Node, ParseError> {
        let path = Path::new(name).map_err(|source| ParseError::Path {
            path: self.place.clone(),
            source,
        })?;
        match value {
            RawBsonRef::Document(document) if holds_operators(document) => self.operators(&path, document),
            RawBsonRef::RegularExpression(regex) => {
                self.count()?;
                let pattern = self.pattern(regex.pattern.as_str(), regex.options.as_str())?;
                Ok(Node::leaf(&path, Condition::Regex(pattern)))
            }
            _ => self.compare(&path, "equality", Comparison::Eq, value),
        }
    }

    fn compare(
        &mut self,
        path: &Path,
        operator: &str,
        comparison: Comparison,
        value: RawBsonRef<'_>,
    ) -> Result<Node, ParseError> {
        self.count()?;
        let condition = Condition::Compare {
            operator: comparison,
            value: self.constant(operator, value)?,
            collation: self.collation_for(value),
        };
        Ok(Node::leaf(path, condition))
    }

    fn any_of(&mut self, path: &Path, operator: &str, value: RawBsonRef<'_>) -> Result<Node, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong(operator, "an array", type_name(value.element_type())));
        };
        self.count()?;
        let (values, patterns) = self.listed(operator, array)?;
        let texts = values.iter().find_map(|value| self.collation_for(value.get()));
        Ok(Node::leaf(path, Condition::one_of(values, patterns, texts)))
    }

    fn listed(&mut self, operator: &str, array: &RawArray) -> Result<(Vec<Constant>, Vec<Pattern>), ParseError> {
        let found = array.into_iter().count();
        if found > IN_VALUES_MAX {
            let (path, operator) = (self.place.clone(), operator.to_owned());
            return Err(ParseError::TooManyValues { path, operator, found });
        }
        let (mut constants, mut patterns) = (Vec::with_capacity(found), Vec::new());
        for value in array {
            match value {
                Err(_) => return Err(self.wrong(operator, "readable values", "malformed bytes")),
                Ok(RawBsonRef::RegularExpression(regex)) => {
                    patterns.push(self.pattern(regex.pattern.as_str(), regex.options.as_str())?);
                }
                Ok(RawBsonRef::Document(document)) if holds_operators(document) => {
                    return Err(self.wrong(operator, "values without operators", "a document of operators"));
                }
                Ok(value) => constants.push(self.constant(operator, value)?),
            }
        }
        Ok((constants, patterns))
    }

    /// Undefined is refused, and so is a regular expression that does not mean itself, as by
    /// MongoDB.
    fn constant(&self, operator: &str, value: RawBsonRef<'_>) -> Result<Constant, ParseError> {
        match value {
            RawBsonRef::RegularExpression(_) if operator == "$eq" => Ok(Constant::new(value)),
            RawBsonRef::Undefined | RawBsonRef::RegularExpression(_) => {
                let expected = "a value other than undefined or a regular expression";
                Err(self.wrong(operator, expected, type_name(value.element_type())))
            }
            value => Ok(Constant::new(value)),
        }
    }

    /// The collation, where it makes a difference to comparisons with the value.
    fn collation_for(&self, value: RawBsonRef<'_>) -> Option<Collation> {
        self.options.collation.clone().filter(|_| collation::matters_to(value))
    }

    /// Compiles a regular expression at the present place.
    pub(crate) fn pattern(&mut self, source: &str, options: &str) -> Result<Pattern, ParseError> {
        self.regexes += 1;
        if self.regexes > EXPRESSION_REGEXES_MAX {
            return Err(ParseError::TooManyRegexes);
        }
        Pattern::new(source, options).map_err(|source: PatternError| ParseError::Regex {
            path: self.place.clone(),
            source,
        })
    }

    pub(crate) fn count(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes > EXPRESSION_NODES_MAX {
            Err(ParseError::TooManyNodes)
        } else {
            Ok(())
        }
    }

    pub(crate) fn place(&self) -> String {
        self.place.clone()
    }

    pub(crate) fn place_len(&self) -> usize {
        self.place.len()
    }

    pub(crate) fn truncate_place(&mut self, len: usize) {
        self.place.truncate(len);
    }

    pub(crate) fn push_place(&mut self, name: &str) {
        if !self.place.is_empty() {
            self.place.push('.');
        }
        self.place.push_str(name);
    }

    fn unknown(&self, operator: &str, accepted: &'static str) -> ParseError {
        let (path, operator) = (self.place.clone(), operator.to_owned());
        match REFUSED.iter().find(|(name, _)| *name == operator) {
            Some((_, reason)) => ParseError::NotSupported { path, operator, reason },
            None => ParseError::UnknownOperator {
                path,
                operator,
                accepted,
            },
        }
    }

    pub(crate) fn wrong(&self, operator: &str, expected: &'static str, found: &'static str) -> ParseError {
        let (path, operator) = (self.place.clone(), operator.to_owned());
        ParseError::WrongValue {
            path,
            operator,
            expected,
            found,
        }
    }
}

/// A document whose first name begins with `$` holds operators. A DBRef (`$ref`, `$id`) is a value.
pub(crate) fn holds_operators(document: &RawDocument) -> bool {
    match document.iter_elements().next() {
        Some(Ok(first)) => first.key().as_str().starts_with('$') && first.key().as_str() != "$ref",
        _ => false,
    }
}

/// MongoDB's idea of truth: everything but false, zero, null and undefined.
fn is_true(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Boolean(value) => value,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        value => !crate::compare(value, RawBsonRef::Int32(0)).is_eq(),
    }
}
