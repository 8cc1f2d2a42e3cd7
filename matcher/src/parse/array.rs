//! The array operators: `$all`, `$elemMatch` and `$size`.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query-array/>

use bson::{RawBsonRef, RawDocument};

use super::{Parser, holds_operators};
use crate::condition::Condition;
use crate::error::{ParseError, type_name};
use crate::expression::IN_VALUES_MAX;
use crate::node::{Comparison, Node};
use crate::number::Number;
use crate::path::Path;

impl Parser<'_> {
    /// `$all` is a conjunction: of equalities and patterns, or of `$elemMatch`es.
    pub(super) fn all(&mut self, path: &Path, value: RawBsonRef<'_>) -> Result<Node, ParseError> {
        const ALIKE: &str = "either only $elemMatch documents or none";
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong("$all", "an array", type_name(value.element_type())));
        };
        self.count()?;
        let found = array.into_iter().count();
        if found > IN_VALUES_MAX {
            let (path, operator) = (self.place.clone(), "$all".to_owned());
            return Err(ParseError::TooManyValues { path, operator, found });
        }
        let element_matches = matches!(array.into_iter().next(), Some(Ok(RawBsonRef::Document(first)))
            if first.iter_elements().next().is_some_and(|e| e.is_ok_and(|e| e.key().as_str() == "$elemMatch")));
        let mut parts = Vec::with_capacity(found);
        for value in array {
            let Ok(value) = value else {
                return Err(self.wrong("$all", "readable values", "malformed bytes"));
            };
            parts.push(match value {
                RawBsonRef::Document(document) if element_matches => {
                    match (document.iter().flatten().next(), document.iter().count()) {
                        (Some((name, value)), 1) if name.as_str() == "$elemMatch" => {
                            let condition = self.element_match(value)?;
                            Node::leaf(path, condition)
                        }
                        _ => return Err(self.wrong("$all", ALIKE, "something else beside $elemMatch")),
                    }
                }
                _ if element_matches => return Err(self.wrong("$all", ALIKE, "both")),
                RawBsonRef::Document(document) if holds_operators(document) => {
                    return Err(self.wrong("$all", "values without operators", "a document of operators"));
                }
                RawBsonRef::RegularExpression(regex) => {
                    let pattern = self.pattern(regex.pattern.as_str(), regex.options.as_str())?;
                    Node::leaf(path, Condition::Regex(pattern))
                }
                value => self.compare(path, "$all", Comparison::Eq, value)?,
            });
        }
        if parts.is_empty() {
            // All of nothing, MongoDB decided, is found nowhere.
            return Ok(Node::never(path));
        }
        Ok(Node::and(parts))
    }

    /// `$elemMatch` with operators is about the elements themselves, otherwise about their fields.
    pub(super) fn element_match(&mut self, value: RawBsonRef<'_>) -> Result<Condition, ParseError> {
        let RawBsonRef::Document(document) = value else {
            return Err(self.wrong("$elemMatch", "a document", type_name(value.element_type())));
        };
        self.count()?;
        let outer = self.place.len();
        self.push_place("$elemMatch");
        let condition = if is_about_values(document) {
            Condition::ElementValue(Box::new(self.operators(&Path::this(), document)?))
        } else {
            Condition::ElementDocument(Box::new(self.document(document)?))
        };
        self.place.truncate(outer);
        Ok(condition)
    }

    pub(super) fn array_size(&self, value: RawBsonRef<'_>) -> Result<Condition, ParseError> {
        let size = Number::from_bson(value).and_then(Number::exact);
        match size.filter(|size| *size >= 0) {
            Some(size) => Ok(Condition::Size(size)),
            None => Err(self.wrong(
                "$size",
                "a whole number that is not negative",
                type_name(value.element_type()),
            )),
        }
    }
}

fn is_about_values(document: &RawDocument) -> bool {
    let first = document.iter_elements().next();
    holds_operators(document)
        && !first.is_some_and(|first| {
            first.is_ok_and(|first| {
                let name = first.key().as_str();
                ["$and", "$or", "$nor", "$jsonSchema", "$expr", "$where", "$comment"].contains(&name)
            })
        })
}
