//! The operators that stand under a path.

use bson::{RawBsonRef, RawDocument};

use super::{Parser, holds_operators, is_true};
use crate::condition::{BitTest, Condition};
use crate::error::{ParseError, type_name};
use crate::node::{Comparison, Node};
use crate::path::Path;

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $type, $regex, $mod, $all, $elemMatch, \
                         $size, $bitsAllSet, $bitsAllClear, $bitsAnySet, $bitsAnyClear or $not";

impl Parser<'_> {
    /// Reads a document of operators as a conjunction of conditions on the path.
    pub(super) fn operators(&mut self, path: &Path, document: &RawDocument) -> Result<Node, ParseError> {
        let mut parts = Vec::new();
        for element in document {
            let Ok((operator, value)) = element else {
                return Err(self.wrong("document", "readable elements", "malformed bytes"));
            };
            let operator = operator.as_str();
            match operator {
                // Read with `$regex`.
                "$options" if crate::elements::find(document, "$regex").is_some() => {}
                "$options" => return Err(self.wrong(operator, "a $regex beside it", "none")),
                operator => parts.push(self.operator(path, operator, value, document)?),
            }
        }
        Ok(Node::and(parts))
    }

    fn operator(
        &mut self,
        path: &Path,
        operator: &str,
        value: RawBsonRef<'_>,
        document: &RawDocument,
    ) -> Result<Node, ParseError> {
        Ok(match operator {
            "$eq" => self.compare(path, operator, Comparison::Eq, value)?,
            "$ne" => self.compare(path, operator, Comparison::Eq, value)?.negate(),
            "$gt" => self.compare(path, operator, Comparison::Gt, value)?,
            "$gte" => self.compare(path, operator, Comparison::Gte, value)?,
            "$lt" => self.compare(path, operator, Comparison::Lt, value)?,
            "$lte" => self.compare(path, operator, Comparison::Lte, value)?,
            "$in" => self.any_of(path, operator, value)?,
            "$nin" => self.any_of(path, operator, value)?.negate(),
            "$not" => self.negation(path, operator, value)?,
            "$all" => self.all(path, value)?,
            "$elemMatch" => {
                let condition = self.element_match(value)?;
                Node::leaf(path, condition)
            }
            "$exists" => {
                self.count()?;
                let exists = Node::leaf(path, Condition::Exists);
                if is_true(value) { exists } else { exists.negate() }
            }
            operator => {
                self.count()?;
                let condition = match operator {
                    "$size" => self.array_size(value)?,
                    "$type" => Condition::Type(self.type_set(value)?),
                    "$mod" => Condition::Modulo(self.modulo(value)?),
                    "$regex" => Condition::Regex(self.regex(value, document)?),
                    "$bitsAllSet" => self.bits(operator, BitTest::AllSet, value)?,
                    "$bitsAllClear" => self.bits(operator, BitTest::AllClear, value)?,
                    "$bitsAnySet" => self.bits(operator, BitTest::AnySet, value)?,
                    "$bitsAnyClear" => self.bits(operator, BitTest::AnyClear, value)?,
                    operator => return Err(self.unknown(operator, OPERATORS)),
                };
                Node::leaf(path, condition)
            }
        })
    }

    fn negation(&mut self, path: &Path, operator: &str, value: RawBsonRef<'_>) -> Result<Node, ParseError> {
        self.count()?;
        match value {
            RawBsonRef::Document(inner) if holds_operators(inner) => Ok(self.operators(path, inner)?.negate()),
            RawBsonRef::RegularExpression(regex) => {
                let pattern = self.pattern(regex.pattern.as_str(), regex.options.as_str())?;
                Ok(Node::leaf(path, Condition::Regex(pattern)).negate())
            }
            value => {
                let expected = "a document of operators or a regular expression";
                Err(self.wrong(operator, expected, type_name(value.element_type())))
            }
        }
    }
}
