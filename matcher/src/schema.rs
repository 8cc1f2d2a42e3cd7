//! `$jsonSchema`: MongoDB's dialect of JSON Schema, draft 4 with `bsonType`, on raw BSON.
//!
//! A schema is a list of rules, each about values of some types and silent about all others:
//! `minimum` says nothing about a string. So a schema holds for a value if every rule does.
//! Equality, in `enum` and `uniqueItems`, is that of queries, except that the order of a document's
//! fields does not matter.
//!
//! There are no references between schemas, so evaluation visits each value at most once per rule.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query/jsonSchema/>

mod parse;
mod unordered;

use std::collections::HashSet;
use std::sync::Arc;

use bson::{RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::condition::TypeSet;
use crate::decimal::Finite;
use crate::elements::{self, Elements};
use crate::evaluate::EvaluateError;
use crate::expression::ParseOptions;
use crate::leaf;
use crate::node::{Comparison, Constant};
use crate::number::Number;
use crate::parse::Parser;
use crate::pattern::Pattern;
use crate::steps;

/// A compiled schema. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Schema(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    /// The schema as it was written.
    source: RawDocumentBuf,
    rules: Rules,
}

/// All of these hold.
type Rules = Box<[Rule]>;

#[derive(Clone, Debug)]
enum Rule {
    Types(TypeSet),
    /// The keys of the values, in ascending order.
    Enum(Box<[Vec<u8>]>),
    AllOf(Box<[Rules]>),
    AnyOf(Box<[Rules]>),
    OneOf(Box<[Rules]>),
    Not(Rules),
    /// A number on this side of the bound.
    Bound(Comparison, Constant),
    MultipleOf(Finite),
    Length(Size),
    Pattern(Pattern),
    ItemCount(Size),
    UniqueItems,
    Items {
        /// For the first items, one each.
        first: Box<[Rules]>,
        others: Others,
    },
    PropertyCount(Size),
    Required(Box<[Box<str>]>),
    Properties {
        /// In ascending order of their names.
        named: Box<[(Box<str>, Rules)]>,
        patterns: Box<[(Pattern, Rules)]>,
        others: Others,
    },
    /// With the field, these others.
    DependentFields(Box<str>, Box<[Box<str>]>),
    /// With the field, this schema for the document.
    DependentSchema(Box<str>, Rules),
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
enum Size {
    AtLeast(u64),
    AtMost(u64),
}

/// What is asked of items and fields that no other rule names.
#[derive(Clone, Debug)]
enum Others {
    Allowed,
    Refused,
    Rules(Rules),
}

impl Schema {
    fn new(source: RawDocumentBuf, rules: Rules) -> Schema {
        Schema(Arc::new(Compiled { source, rules }))
    }

    pub(crate) fn source(&self) -> &RawDocument {
        &self.0.source
    }

    pub(crate) fn accepts_document(&self, document: &RawDocument) -> Result<bool, EvaluateError> {
        self.accepts(RawBsonRef::Document(document), "")
    }

    /// Says whether a value conforms; `at` is its path, for errors.
    pub(crate) fn accepts(&self, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
        all(&self.0.rules, value, at)
    }

    /// The same schema for the document at `path` inside of another.
    pub(crate) fn below(&self, path: &str) -> Schema {
        let mut source = self.0.source.clone();
        let mut rules = self.0.rules.clone();
        for name in path.rsplit('.') {
            let name: Box<str> = name.replace('\0', "").into();
            let mut required = RawArrayBuf::new();
            required.push(&*name);
            let mut properties = RawDocumentBuf::new();
            crate::render::append(&mut properties, &name, RawBsonRef::Document(&source));
            source = bson::rawdoc! { "bsonType": "object", "required": required, "properties": properties };
            rules = Box::new([
                Rule::Types(TypeSet::from_iter([bson::spec::ElementType::EmbeddedDocument])),
                Rule::Required(Box::new([name.clone()])),
                Rule::Properties {
                    named: Box::new([(name, rules)]),
                    patterns: Box::default(),
                    others: Others::Allowed,
                },
            ]);
        }
        Schema::new(source, rules)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.0.source == other.0.source
    }
}

/// Whether a value conforms to a schema, or to a part of one, that has been read before as a part of a filter. What cannot be
/// decided does not conform.
pub(crate) fn conforms(schema: &RawDocument, value: RawBsonRef<'_>) -> bool {
    let read = Parser::reading(&ParseOptions::default(), |parser| parser.rules(schema));
    read.is_ok_and(|rules| all(&rules, value, "").unwrap_or(false))
}

/// An item that an array has twice.
pub(crate) fn duplicate(array: &RawArray) -> Option<RawBsonRef<'_>> {
    let mut seen = HashSet::new();
    let mut elements = elements::of_array(array)?;
    while let Some((_, value)) = elements.next_value() {
        if !seen.insert(unordered::key(value)) {
            return Some(value);
        }
    }
    None
}

fn all(rules: &Rules, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
    for rule in rules {
        if !rule.accepts(value, at)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many of the schemas hold, counted no further than `enough`.
fn count(schemas: &[Rules], value: RawBsonRef<'_>, at: &str, enough: usize) -> Result<usize, EvaluateError> {
    let mut found = 0;
    for rules in schemas {
        found += usize::from(all(rules, value, at)?);
        if found == enough {
            break;
        }
    }
    Ok(found)
}

impl Rule {
    fn accepts(&self, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
        steps::take(self.steps(value))?;
        Ok(match (self, value) {
            (Rule::Types(types), value) => types.accepts(value),
            (Rule::Enum(keys), value) => keys.binary_search(&unordered::key(value)).is_ok(),
            (Rule::AllOf(schemas), value) => {
                for rules in schemas {
                    if !all(rules, value, at)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Rule::AnyOf(schemas), value) => count(schemas, value, at, 1)? == 1,
            (Rule::OneOf(schemas), value) => count(schemas, value, at, 2)? == 1,
            (Rule::Not(rules), value) => !all(rules, value, at)?,
            (Rule::Bound(side, bound), value) if Number::from_bson(value).is_some() => {
                leaf::compares(*side, bound.get(), Some(value), None)
            }
            (Rule::MultipleOf(divisor), value) => match Number::from_bson(value) {
                None => true,
                Some(number) => number.to_decimal().is_some_and(|n| n.is_multiple_of(*divisor)),
            },
            (Rule::Length(size), RawBsonRef::String(text)) => size.includes(text.chars().count()),
            (Rule::Pattern(pattern), RawBsonRef::String(text)) => pattern.is_found_in(text, at)?,
            (Rule::ItemCount(size), RawBsonRef::Array(array)) => {
                size.includes(elements::of_array(array).map_or(0, Iterator::count))
            }
            (Rule::UniqueItems, RawBsonRef::Array(array)) => is_unique(array),
            (Rule::Items { first, others }, RawBsonRef::Array(array)) => items(array, first, others, at)?,
            (_, RawBsonRef::Document(document)) => self.accepts_fields(document, at)?,
            _ => true,
        })
    }

    /// One, and those for all of a value that is looked at or copied; what other rules take for its parts is theirs.
    fn steps(&self, value: RawBsonRef<'_>) -> u64 {
        let bytes = match value {
            RawBsonRef::Document(document) => document.as_bytes().len(),
            RawBsonRef::Array(array) => array.as_bytes().len(),
            RawBsonRef::String(text) => text.len(),
            _ => return 1,
        };
        match self {
            Rule::Enum(_) | Rule::UniqueItems => 1 + steps::for_bytes(16 * bytes),
            Rule::Length(_) | Rule::ItemCount(_) | Rule::PropertyCount(_) => 1 + steps::for_bytes(bytes),
            _ => 1,
        }
    }

    fn accepts_fields(&self, document: &RawDocument, at: &str) -> Result<bool, EvaluateError> {
        let has = |name: &str| elements::find(document, name).is_some();
        Ok(match self {
            Rule::PropertyCount(size) => size.includes(Elements::new(document).count()),
            Rule::Required(names) => names.iter().all(|name| has(name)),
            Rule::Properties {
                named,
                patterns,
                others,
            } => properties(document, named, patterns, others)?,
            Rule::DependentFields(name, needed) => !has(name) || needed.iter().all(|name| has(name)),
            Rule::DependentSchema(name, rules) => !has(name) || all(rules, RawBsonRef::Document(document), at)?,
            _ => true,
        })
    }
}

impl Size {
    fn includes(self, found: usize) -> bool {
        match self {
            Size::AtLeast(least) => found as u64 >= least,
            Size::AtMost(most) => found as u64 <= most,
        }
    }
}

impl Others {
    fn accepts(&self, value: RawBsonRef<'_>, at: &str) -> Result<bool, EvaluateError> {
        match self {
            Others::Allowed => Ok(true),
            Others::Refused => Ok(false),
            Others::Rules(rules) => all(rules, value, at),
        }
    }
}

fn properties(
    document: &RawDocument,
    named: &[(Box<str>, Rules)],
    patterns: &[(Pattern, Rules)],
    others: &Others,
) -> Result<bool, EvaluateError> {
    let mut elements = Elements::new(document);
    while let Some((element, value)) = elements.next_value() {
        let name = std::str::from_utf8(element.name).unwrap_or_default();
        let mut known = false;
        if let Ok(at) = named.binary_search_by(|(property, _)| (**property).cmp(name)) {
            known = true;
            if !all(&named[at].1, value, name)? {
                return Ok(false);
            }
        }
        for (pattern, rules) in patterns {
            if pattern.is_found_in(name, name)? {
                known = true;
                if !all(rules, value, name)? {
                    return Ok(false);
                }
            }
        }
        if !known && !others.accepts(value, name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn items(array: &RawArray, first: &[Rules], others: &Others, at: &str) -> Result<bool, EvaluateError> {
    let Some(mut elements) = elements::of_array(array) else {
        return Ok(true);
    };
    let mut first = first.iter();
    while let Some((_, value)) = elements.next_value() {
        let accepted = match first.next() {
            Some(rules) => all(rules, value, at)?,
            None => others.accepts(value, at)?,
        };
        if !accepted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_unique(array: &RawArray) -> bool {
    duplicate(array).is_none()
}
