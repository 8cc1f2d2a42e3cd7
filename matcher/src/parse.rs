//! Compiles `$match` documents.
//!
//! A document is a conjunction of its elements: a name without `$` is a path with a condition, a
//! name with `$` a logical operator. A condition is a document of operators if its first name
//! begins with `$` (and it is not a DBRef), else a value to be equal to.
//!
//! Nothing is skipped: what this version cannot evaluate is an error that names it, because a
//! filter that silently ignores a condition delivers what its author excluded.

use bson::raw::RawBsonRef;
use bson::{RawArray, RawDocument};

use crate::aggregation::ValueExpression;
use crate::error::{ParseError, type_name};
use crate::expression::{EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, Expression, IN_VALUES_MAX};
use crate::node::{Comparison, Constant, Node};
use crate::path::Path;
use crate::validate::validate;

const LOGICAL: &str = "a field name, $and, $or, $nor, $expr or $comment";
const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists or $not";
const DOCUMENTS: &str = "an array of at least one document";

pub(crate) fn parse(document: &RawDocument) -> Result<Expression, ParseError> {
    let document = validate(document.as_bytes())?;
    let mut parser = Parser {
        place: String::new(),
        nodes: 0,
    };
    let root = parser.document(document, 0)?;
    // Conjunctions that are not spelled out count as well: rendering may have to spell them out.
    if root.depth() > EXPRESSION_DEPTH_MAX {
        return Err(ParseError::TooDeep { path: String::new() });
    }
    Ok(Expression { root })
}

struct Parser {
    /// Where the parser is, for errors.
    place: String,
    nodes: usize,
}

impl Parser {
    fn document(&mut self, document: &RawDocument, depth: usize) -> Result<Node, ParseError> {
        let mut parts = Vec::new();
        for element in document {
            let Ok((name, value)) = element else {
                // The bytes have been validated; a disagreement about them must not drop a part.
                return Err(self.wrong("document", "readable elements", "malformed bytes"));
            };
            let name = name.as_str();
            let outer = self.place.len();
            if name.starts_with('$') {
                parts.extend(self.logical(name, value, depth)?);
            } else {
                self.push_place(name);
                parts.push(self.field(name, value, depth)?);
            }
            self.place.truncate(outer);
        }
        Ok(Node::and(parts))
    }

    fn logical(&mut self, operator: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Option<Node>, ParseError> {
        Ok(Some(match operator {
            "$and" => Node::and(self.documents(operator, value, depth)?),
            "$or" => Node::or(self.documents(operator, value, depth)?),
            "$nor" => Node::or(self.documents(operator, value, depth)?).negate(),
            "$expr" => {
                self.count()?;
                let place = match self.place.as_str() {
                    "" => "$expr".to_owned(),
                    place => format!("{place}.$expr"),
                };
                Node::Computed(Box::new(ValueExpression::parse_at(&place, value, &[])?))
            }
            "$comment" => return Ok(None),
            _ => return Err(self.unknown(operator, LOGICAL)),
        }))
    }

    fn documents(&mut self, operator: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Vec<Node>, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong(operator, DOCUMENTS, type_name(value.element_type())));
        };
        self.count()?;
        let depth = self.deeper(depth)?;
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
            nodes.push(self.document(document, depth)?);
            self.place.truncate(outer);
        }
        if nodes.is_empty() {
            return Err(self.wrong(operator, DOCUMENTS, "an empty array"));
        }
        Ok(nodes)
    }

    fn field(&mut self, name: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Node, ParseError> {
        let path = Path::new(name).map_err(|source| ParseError::Path {
            path: self.place.clone(),
            source,
        })?;
        match value {
            RawBsonRef::Document(document) if holds_operators(document) => self.operators(&path, document, depth),
            RawBsonRef::RegularExpression(_) => Err(self.unknown("$regex", OPERATORS)),
            _ => self.compare(&path, "equality", Comparison::Eq, value),
        }
    }

    fn operators(&mut self, path: &Path, document: &RawDocument, depth: usize) -> Result<Node, ParseError> {
        let mut parts = Vec::new();
        for element in document {
            let Ok((operator, value)) = element else {
                return Err(self.wrong("document", "readable elements", "malformed bytes"));
            };
            let operator = operator.as_str();
            parts.push(match operator {
                "$eq" => self.compare(path, operator, Comparison::Eq, value)?,
                "$ne" => self.compare(path, operator, Comparison::Eq, value)?.negate(),
                "$gt" => self.compare(path, operator, Comparison::Gt, value)?,
                "$gte" => self.compare(path, operator, Comparison::Gte, value)?,
                "$lt" => self.compare(path, operator, Comparison::Lt, value)?,
                "$lte" => self.compare(path, operator, Comparison::Lte, value)?,
                "$in" => self.any_of(path, operator, value)?,
                "$nin" => self.any_of(path, operator, value)?.negate(),
                "$exists" => {
                    self.count()?;
                    let exists = Node::Exists { path: path.clone() };
                    if is_true(value) { exists } else { exists.negate() }
                }
                "$not" => match value {
                    RawBsonRef::Document(inner) if holds_operators(inner) => {
                        self.count()?;
                        let depth = self.deeper(depth)?;
                        self.operators(path, inner, depth)?.negate()
                    }
                    _ => {
                        let expected = "a document of operators";
                        return Err(self.wrong(operator, expected, type_name(value.element_type())));
                    }
                },
                _ => return Err(self.unknown(operator, OPERATORS)),
            });
        }
        Ok(Node::and(parts))
    }

    fn compare(
        &mut self,
        path: &Path,
        operator: &str,
        comparison: Comparison,
        value: RawBsonRef<'_>,
    ) -> Result<Node, ParseError> {
        self.count()?;
        let value = self.constant(operator, value)?;
        Ok(Node::Compare {
            path: path.clone(),
            operator: comparison,
            value,
        })
    }

    fn any_of(&mut self, path: &Path, operator: &str, value: RawBsonRef<'_>) -> Result<Node, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong(operator, "an array", type_name(value.element_type())));
        };
        self.count()?;
        let values = self.constants(operator, array)?;
        Ok(Node::any_of(path.clone(), values))
    }

    fn constants(&mut self, operator: &str, array: &RawArray) -> Result<Vec<Constant>, ParseError> {
        let found = array.into_iter().count();
        if found > IN_VALUES_MAX {
            let (path, operator) = (self.place.clone(), operator.to_owned());
            return Err(ParseError::TooManyValues { path, operator, found });
        }
        let mut constants = Vec::with_capacity(found);
        for value in array {
            let Ok(value) = value else {
                return Err(self.wrong(operator, "readable values", "malformed bytes"));
            };
            constants.push(self.constant(operator, value)?);
        }
        Ok(constants)
    }

    /// Undefined is refused as by MongoDB. A regular expression is refused because it would mean a
    /// match, not equality.
    fn constant(&self, operator: &str, value: RawBsonRef<'_>) -> Result<Constant, ParseError> {
        match value {
            RawBsonRef::Undefined | RawBsonRef::RegularExpression(_) => {
                let expected = "a value other than undefined or a regular expression";
                Err(self.wrong(operator, expected, type_name(value.element_type())))
            }
            value => Ok(Constant::new(value)),
        }
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes > EXPRESSION_NODES_MAX {
            Err(ParseError::TooManyNodes)
        } else {
            Ok(())
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, ParseError> {
        if depth >= EXPRESSION_DEPTH_MAX {
            return Err(ParseError::TooDeep {
                path: self.place.clone(),
            });
        }
        Ok(depth + 1)
    }

    fn push_place(&mut self, name: &str) {
        if !self.place.is_empty() {
            self.place.push('.');
        }
        self.place.push_str(name);
    }

    fn unknown(&self, operator: &str, accepted: &'static str) -> ParseError {
        let (path, operator) = (self.place.clone(), operator.to_owned());
        ParseError::UnknownOperator {
            path,
            operator,
            accepted,
        }
    }

    fn wrong(&self, operator: &str, expected: &'static str, found: &'static str) -> ParseError {
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
