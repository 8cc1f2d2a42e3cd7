//! Reads a schema, keyword by keyword.
//!
//! A keyword this dialect does not have is an error, as in MongoDB: a validator that skips what it
//! does not know accepts what its author excluded. That includes the keywords of JSON Schema that
//! MongoDB leaves out.

use bson::{RawArray, RawBsonRef, RawDocument};

use super::{Others, Rule, Rules, Schema, Size, unordered};
use crate::condition::TypeSet;
use crate::error::{ParseError, type_name};
use crate::node::{Comparison, Constant};
use crate::number::Number;
use crate::parse::Parser;

/// Keywords of JSON Schema that MongoDB does not have either.
const OMITTED: [&str; 8] = [
    "$ref",
    "$schema",
    "default",
    "definitions",
    "format",
    "id",
    "encrypt",
    "encryptMetadata",
];

const SCHEMAS: &str = "an array of at least one schema";
const NAMES: &str = "an array of at least one string, all different";
const COUNT: &str = "an integer that is not negative";

impl Parser<'_> {
    pub(crate) fn schema(&mut self, value: RawBsonRef<'_>) -> Result<Schema, ParseError> {
        let RawBsonRef::Document(source) = value else {
            return Err(self.wrong("$jsonSchema", "a document", type_name(value.element_type())));
        };
        let rules = self.rules(source)?;
        Ok(Schema::new(source.to_owned(), rules))
    }

    /// Reads the schema at the present place.
    pub(super) fn rules(&mut self, schema: &RawDocument) -> Result<Rules, ParseError> {
        let mut rules = Vec::new();
        let outer = self.place_len();
        for element in schema {
            let Ok((keyword, value)) = element else {
                return Err(self.wrong("$jsonSchema", "readable elements", "malformed bytes"));
            };
            self.count()?;
            let keyword = keyword.as_str();
            match keyword {
                // Read together below.
                "properties" | "patternProperties" | "additionalProperties" | "items" | "additionalItems" => {}
                "exclusiveMinimum" | "exclusiveMaximum" => self.exclusive(keyword, value, schema)?,
                "title" | "description" => _ = self.text(keyword, value)?,
                keyword => rules.extend(self.rule(keyword, value, schema)?),
            }
            self.truncate_place(outer);
        }
        if get(schema, "type").is_some() && get(schema, "bsonType").is_some() {
            return Err(self.wrong("type", "no bsonType beside it", "both"));
        }
        rules.extend(self.properties(schema)?);
        rules.extend(self.items(schema)?);
        Ok(rules.into())
    }

    fn rule(&mut self, keyword: &str, value: RawBsonRef<'_>, schema: &RawDocument) -> Result<Option<Rule>, ParseError> {
        let exclusive = |name| get(schema, name).and_then(RawBsonRef::as_bool) == Some(true);
        Ok(Some(match keyword {
            "bsonType" => Rule::Types(self.types(keyword, value, TypeSet::from_alias)?),
            "type" => Rule::Types(self.types(keyword, value, json_type)?),
            "enum" => Rule::Enum(self.enumeration(value)?),
            "allOf" => Rule::AllOf(self.schemas(keyword, value)?),
            "anyOf" => Rule::AnyOf(self.schemas(keyword, value)?),
            "oneOf" => Rule::OneOf(self.schemas(keyword, value)?),
            "not" => Rule::Not(self.subschema(keyword, value)?),
            "minimum" if exclusive("exclusiveMinimum") => Rule::Bound(Comparison::Gt, self.number(keyword, value)?),
            "minimum" => Rule::Bound(Comparison::Gte, self.number(keyword, value)?),
            "maximum" if exclusive("exclusiveMaximum") => Rule::Bound(Comparison::Lt, self.number(keyword, value)?),
            "maximum" => Rule::Bound(Comparison::Lte, self.number(keyword, value)?),
            "multipleOf" => {
                let divisor = Number::from_bson(value).and_then(Number::to_decimal);
                match divisor.filter(|divisor| divisor.coefficient != 0 && !divisor.negative) {
                    Some(divisor) => Rule::MultipleOf(divisor),
                    None => return Err(self.wrong(keyword, "a number above zero", describe(value))),
                }
            }
            "minLength" => Rule::Length(Size::AtLeast(self.size(keyword, value)?)),
            "maxLength" => Rule::Length(Size::AtMost(self.size(keyword, value)?)),
            "minItems" => Rule::ItemCount(Size::AtLeast(self.size(keyword, value)?)),
            "maxItems" => Rule::ItemCount(Size::AtMost(self.size(keyword, value)?)),
            "minProperties" => Rule::PropertyCount(Size::AtLeast(self.size(keyword, value)?)),
            "maxProperties" => Rule::PropertyCount(Size::AtMost(self.size(keyword, value)?)),
            "pattern" => {
                let pattern = self.text(keyword, value)?;
                Rule::Pattern(self.pattern(pattern, "")?)
            }
            "uniqueItems" => match value {
                RawBsonRef::Boolean(true) => Rule::UniqueItems,
                RawBsonRef::Boolean(false) => return Ok(None),
                value => return Err(self.wrong(keyword, "a boolean", describe(value))),
            },
            "required" => Rule::Required(self.names(keyword, value)?),
            "dependencies" => {
                let rules = self.dependencies(keyword, value)?;
                Rule::AllOf(Box::new([rules]))
            }
            keyword => {
                let (path, keyword) = (self.place(), keyword.to_owned());
                return Err(if OMITTED.contains(&&*keyword) {
                    let reason = "MongoDB's dialect of JSON Schema leaves this keyword out";
                    ParseError::NotSupported {
                        path,
                        operator: keyword,
                        reason,
                    }
                } else {
                    ParseError::UnknownKeyword { path, keyword }
                });
            }
        }))
    }

    fn properties(&mut self, schema: &RawDocument) -> Result<Option<Rule>, ParseError> {
        let [named, patterns, others] = ["properties", "patternProperties", "additionalProperties"];
        let mut rule = (Vec::new(), Vec::new());
        for (name, rules) in self.subschemas(named, schema)? {
            rule.0.push((name, rules));
        }
        rule.0.sort_by(|a, b| a.0.cmp(&b.0));
        for (source, rules) in self.subschemas(patterns, schema)? {
            rule.1.push((self.pattern(&source, "")?, rules));
        }
        let others = self.others(others, schema)?;
        let trivial = rule.0.is_empty() && rule.1.is_empty() && matches!(others, Others::Allowed);
        Ok((!trivial).then(|| Rule::Properties {
            named: rule.0.into(),
            patterns: rule.1.into(),
            others,
        }))
    }

    fn items(&mut self, schema: &RawDocument) -> Result<Option<Rule>, ParseError> {
        let others = self.others("additionalItems", schema)?;
        Ok(match get(schema, "items") {
            // Without positions there are no additional items.
            None => None,
            Some(RawBsonRef::Array(array)) => Some(Rule::Items {
                first: self.each("items", array)?,
                others,
            }),
            Some(value) => Some(Rule::Items {
                first: Box::default(),
                others: Others::Rules(self.subschema("items", value)?),
            }),
        })
    }

    fn others(&mut self, keyword: &str, schema: &RawDocument) -> Result<Others, ParseError> {
        Ok(match get(schema, keyword) {
            None | Some(RawBsonRef::Boolean(true)) => Others::Allowed,
            Some(RawBsonRef::Boolean(false)) => Others::Refused,
            Some(value @ RawBsonRef::Document(_)) => Others::Rules(self.subschema(keyword, value)?),
            Some(value) => return Err(self.wrong(keyword, "a boolean or a schema", describe(value))),
        })
    }

    fn dependencies(&mut self, keyword: &str, value: RawBsonRef<'_>) -> Result<Rules, ParseError> {
        let RawBsonRef::Document(document) = value else {
            return Err(self.wrong(keyword, "a document", describe(value)));
        };
        let mut rules = Vec::new();
        self.push_place(keyword);
        for (name, value) in document.iter().flatten() {
            let name = name.as_str();
            rules.push(match value {
                RawBsonRef::Array(_) => Rule::DependentFields(name.into(), self.names(name, value)?),
                value => Rule::DependentSchema(name.into(), self.subschema(name, value)?),
            });
        }
        Ok(rules.into())
    }

    /// Reads a keyword that maps names to schemas.
    fn subschemas(&mut self, keyword: &str, schema: &RawDocument) -> Result<Vec<(Box<str>, Rules)>, ParseError> {
        let document = match get(schema, keyword) {
            None => return Ok(Vec::new()),
            Some(RawBsonRef::Document(document)) => document,
            Some(value) => return Err(self.wrong(keyword, "a document of schemas", describe(value))),
        };
        let outer = self.place_len();
        self.push_place(keyword);
        let mut schemas = Vec::new();
        for (name, value) in document.iter().flatten() {
            schemas.push((name.as_str().into(), self.subschema(name.as_str(), value)?));
        }
        self.truncate_place(outer);
        Ok(schemas)
    }

    fn schemas(&mut self, keyword: &str, value: RawBsonRef<'_>) -> Result<Box<[Rules]>, ParseError> {
        match value {
            RawBsonRef::Array(array) if !array.is_empty() => self.each(keyword, array),
            RawBsonRef::Array(_) => Err(self.wrong(keyword, SCHEMAS, "an empty array")),
            value => Err(self.wrong(keyword, SCHEMAS, describe(value))),
        }
    }

    fn each(&mut self, keyword: &str, array: &RawArray) -> Result<Box<[Rules]>, ParseError> {
        let outer = self.place_len();
        let mut schemas = Vec::new();
        for (at, value) in array.into_iter().flatten().enumerate() {
            schemas.push(self.subschema(&format!("{keyword}[{at}]"), value)?);
            self.truncate_place(outer);
        }
        Ok(schemas.into())
    }

    fn subschema(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<Rules, ParseError> {
        let RawBsonRef::Document(document) = value else {
            return Err(self.wrong(name, "a schema, which is a document", describe(value)));
        };
        let outer = self.place_len();
        self.push_place(name);
        let rules = self.rules(document)?;
        self.truncate_place(outer);
        Ok(rules)
    }

    fn types(
        &mut self,
        keyword: &str,
        value: RawBsonRef<'_>,
        named: fn(&str) -> Option<TypeSet>,
    ) -> Result<TypeSet, ParseError> {
        const EXPECTED: &str = "the name of a type, or an array of them, all different";
        let one = |parser: &Self, value: RawBsonRef<'_>| {
            let found = value.as_str().and_then(named);
            found.ok_or_else(|| match value.as_str() {
                Some(name) => ParseError::UnknownType {
                    path: parser.place(),
                    operator: keyword.to_owned(),
                    found: name.to_owned(),
                },
                None => parser.wrong(keyword, EXPECTED, describe(value)),
            })
        };
        let RawBsonRef::Array(array) = value else {
            return one(self, value);
        };
        let mut types = TypeSet::default();
        for value in array.into_iter().flatten() {
            let more = one(self, value)?;
            if more.is_within(types) {
                return Err(self.wrong(keyword, EXPECTED, "a type twice"));
            }
            types = types.union(more);
        }
        if array.is_empty() {
            return Err(self.wrong(keyword, EXPECTED, "an empty array"));
        }
        Ok(types)
    }

    fn enumeration(&mut self, value: RawBsonRef<'_>) -> Result<Box<[Vec<u8>]>, ParseError> {
        const EXPECTED: &str = "an array of at least one value, all different";
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong("enum", EXPECTED, describe(value)));
        };
        let mut keys: Vec<Vec<u8>> = array.into_iter().flatten().map(unordered::key).collect();
        keys.sort_unstable();
        if keys.is_empty() || keys.windows(2).any(|pair| pair[0] == pair[1]) {
            let found = if keys.is_empty() {
                "an empty array"
            } else {
                "a value twice"
            };
            return Err(self.wrong("enum", EXPECTED, found));
        }
        Ok(keys.into())
    }

    fn names(&mut self, keyword: &str, value: RawBsonRef<'_>) -> Result<Box<[Box<str>]>, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong(keyword, NAMES, describe(value)));
        };
        let mut names: Vec<Box<str>> = Vec::new();
        for value in array.into_iter().flatten() {
            match value {
                RawBsonRef::String(name) => names.push(name.into()),
                value => return Err(self.wrong(keyword, NAMES, describe(value))),
            }
        }
        names.sort_unstable();
        if names.is_empty() || names.windows(2).any(|pair| pair[0] == pair[1]) {
            let found = if names.is_empty() {
                "an empty array"
            } else {
                "a name twice"
            };
            return Err(self.wrong(keyword, NAMES, found));
        }
        Ok(names.into())
    }

    fn number(&mut self, keyword: &str, value: RawBsonRef<'_>) -> Result<Constant, ParseError> {
        match Number::from_bson(value) {
            Some(_) => Ok(Constant::new(value)),
            None => Err(self.wrong(keyword, "a number", describe(value))),
        }
    }

    /// `exclusiveMinimum` only says how to read `minimum`, which must be there.
    fn exclusive(&mut self, keyword: &str, value: RawBsonRef<'_>, schema: &RawDocument) -> Result<(), ParseError> {
        let bound = match keyword {
            "exclusiveMinimum" => "minimum",
            _ => "maximum",
        };
        if value.as_bool().is_none() {
            return Err(self.wrong(keyword, "a boolean", describe(value)));
        }
        if get(schema, bound).is_none() {
            let expected = if bound == "minimum" {
                "a minimum beside it"
            } else {
                "a maximum beside it"
            };
            return Err(self.wrong(keyword, expected, "none"));
        }
        Ok(())
    }

    fn size(&mut self, keyword: &str, value: RawBsonRef<'_>) -> Result<u64, ParseError> {
        let size = Number::from_bson(value).and_then(Number::exact);
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| self.wrong(keyword, COUNT, describe(value)))
    }

    fn text<'v>(&mut self, keyword: &str, value: RawBsonRef<'v>) -> Result<&'v str, ParseError> {
        value
            .as_str()
            .ok_or_else(|| self.wrong(keyword, "a string", describe(value)))
    }
}

fn get<'a>(schema: &'a RawDocument, keyword: &str) -> Option<RawBsonRef<'a>> {
    crate::elements::find(schema, keyword)
}

fn describe(value: RawBsonRef<'_>) -> &'static str {
    type_name(value.element_type())
}

/// The types of JSON. There is no integer among MongoDB's.
fn json_type(name: &str) -> Option<TypeSet> {
    Some(match name {
        "object" => TypeSet::from_alias("object")?,
        "array" => TypeSet::from_alias("array")?,
        "number" => TypeSet::numeric(),
        "boolean" => TypeSet::from_alias("bool")?,
        "string" => TypeSet::from_alias("string")?,
        "null" => TypeSet::from_alias("null")?,
        _ => return None,
    })
}
