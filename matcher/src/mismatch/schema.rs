//! Which rules of a `$jsonSchema` a value does not satisfy: of each keyword an entry, in MongoDB's order of the keywords.
//!
//! Recursion goes as deep as the schema, which was parsed and so is no deeper than [`DEPTH_MAX`](crate::DEPTH_MAX).

use bson::raw::{RawBsonRef, cstr};
use bson::{RawArray, RawArrayBuf, RawDocument, RawDocumentBuf};

use super::report::Report;
use crate::elements;
use crate::error::type_name;
use crate::schema::conforms;

/// The keywords, in the order of their entries.
const KEYWORDS: [&str; 25] = [
    "pattern",
    "maxLength",
    "minLength",
    "multipleOf",
    "maximum",
    "minimum",
    "minItems",
    "maxItems",
    "uniqueItems",
    "items",
    "additionalItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "enum",
    "bsonType",
    "type",
];

/// The rules of a schema that a value does not satisfy.
pub(super) fn rules(report: &mut Report, schema: &RawDocument, value: RawBsonRef<'_>) -> RawArrayBuf {
    let mut rules = RawArrayBuf::new();
    for keyword in KEYWORDS {
        if let Ok(Some(given)) = schema.get(keyword)
            && !report.is_full()
            && let Some(entry) = rule(report, schema, keyword, given, value)
        {
            report.push(&mut rules, entry);
        }
    }
    rules
}

/// What there is to say of one keyword, if it is not satisfied.
fn rule(
    report: &mut Report,
    schema: &RawDocument,
    keyword: &str,
    given: RawBsonRef<'_>,
    value: RawBsonRef<'_>,
) -> Option<RawDocumentBuf> {
    match (keyword, given, value) {
        ("properties", RawBsonRef::Document(named), RawBsonRef::Document(document)) => {
            properties(report, named, document)
        }
        ("patternProperties", RawBsonRef::Document(patterns), RawBsonRef::Document(document)) => {
            pattern_properties(report, patterns, document)
        }
        ("additionalProperties", given, RawBsonRef::Document(document)) => {
            additional_properties(report, schema, given, document)
        }
        ("items", RawBsonRef::Document(each), RawBsonRef::Array(array)) => failing_item(
            report,
            keyword,
            each,
            array,
            0,
            "At least one item did not match the sub-schema",
        ),
        ("items", RawBsonRef::Array(first), RawBsonRef::Array(array)) => first_items(report, first, array),
        ("additionalItems", given, RawBsonRef::Array(array)) => additional_items(report, schema, given, array),
        ("required", RawBsonRef::Array(names), RawBsonRef::Document(document)) => {
            let missing = missing(names, document)?;
            let mut entry = report.entry(keyword);
            report.specified(&mut entry, keyword, given);
            entry.append(cstr!("missingProperties"), missing);
            Some(entry)
        }
        ("dependencies", RawBsonRef::Document(dependencies), RawBsonRef::Document(document)) => {
            failing_dependencies(report, dependencies, document)
        }
        ("allOf" | "anyOf" | "oneOf", RawBsonRef::Array(schemas), value) => {
            alternatives(report, keyword, schemas, value)
        }
        ("not", RawBsonRef::Document(inner), value) => conforms(inner, value).then(|| {
            let mut entry = report.entry(keyword);
            report.text(&mut entry, cstr!("reason"), "child expression matched");
            entry
        }),
        (
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "items"
            | "additionalItems"
            | "required"
            | "dependencies",
            ..,
        ) => None,
        (keyword, given, value) => scalar(report, schema, keyword, given, value),
    }
}

/// A keyword that is about the value as a whole.
fn scalar(
    report: &mut Report,
    schema: &RawDocument,
    keyword: &str,
    given: RawBsonRef<'_>,
    value: RawBsonRef<'_>,
) -> Option<RawDocumentBuf> {
    let mut alone = RawDocumentBuf::new();
    crate::render::append(&mut alone, keyword, given);
    let exclusive = match keyword {
        "maximum" => cstr!("exclusiveMaximum"),
        "minimum" => cstr!("exclusiveMinimum"),
        _ => cstr!(""),
    };
    if let Ok(Some(given)) = schema.get(exclusive) {
        alone.append(exclusive, given);
    }
    if conforms(&alone, value) {
        return None;
    }
    let mut entry = report.entry(keyword);
    report.value(&mut entry, cstr!("specifiedAs"), RawBsonRef::Document(&alone));
    let reason = match keyword {
        "pattern" => "regular expression did not match",
        "maxLength" | "minLength" => "specified string length was not satisfied",
        "multipleOf" => "considered value is not a multiple of the specified value",
        "minItems" | "maxItems" => "array did not match specified length",
        "uniqueItems" => "found a duplicate item",
        "minProperties" | "maxProperties" => "specified number of properties was not satisfied",
        "enum" => "value was not found in enum",
        "bsonType" | "type" => "type did not match",
        _ => "comparison failed",
    };
    report.text(&mut entry, cstr!("reason"), reason);
    if !matches!(keyword, "minProperties" | "maxProperties") {
        report.value(&mut entry, cstr!("consideredValue"), value);
    }
    match (keyword, value) {
        ("bsonType" | "type", value) => {
            report.text(&mut entry, cstr!("consideredType"), type_name(value.element_type()));
        }
        ("minItems" | "maxItems", RawBsonRef::Array(array)) => {
            entry.append(cstr!("numberOfItems"), count(array.into_iter().count()));
        }
        ("uniqueItems", RawBsonRef::Array(array)) => {
            if let Some(twice) = crate::schema::duplicate(array) {
                report.value(&mut entry, cstr!("duplicatedValue"), twice);
            }
        }
        ("minProperties" | "maxProperties", RawBsonRef::Document(document)) => {
            entry.append(cstr!("numberOfProperties"), count(document.iter().count()));
        }
        _ => {}
    }
    Some(entry)
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn has(document: &RawDocument, name: &str) -> bool {
    elements::find(document, name).is_some()
}

/// Those of the names that a document does not have, if there are any.
fn missing(names: &RawArray, document: &RawDocument) -> Option<RawArrayBuf> {
    let mut missing = RawArrayBuf::new();
    let names = names.into_iter().flatten().filter_map(RawBsonRef::as_str);
    names
        .filter(|name| !has(document, name))
        .for_each(|name| missing.push(name));
    (!missing.is_empty()).then_some(missing)
}

/// An entry about a field or an item that does not conform to a schema.
fn with_details(
    report: &mut Report,
    mut entry: RawDocumentBuf,
    schema: &RawDocument,
    value: RawBsonRef<'_>,
) -> RawDocumentBuf {
    let details = rules(report, schema, value);
    entry.append(cstr!("details"), details);
    entry
}

fn listed(report: &mut Report, keyword: &str, name: &bson::raw::CStr, list: RawArrayBuf) -> Option<RawDocumentBuf> {
    if list.is_empty() {
        return None;
    }
    let mut entry = report.entry(keyword);
    entry.append(name, list);
    Some(entry)
}

fn properties(report: &mut Report, named: &RawDocument, document: &RawDocument) -> Option<RawDocumentBuf> {
    let mut list = RawArrayBuf::new();
    for (name, schema) in named.iter().flatten() {
        let (RawBsonRef::Document(schema), Ok(Some(value))) = (schema, document.get(name)) else {
            continue;
        };
        if !report.is_full() && !conforms(schema, value) {
            let mut entry = RawDocumentBuf::new();
            report.text(&mut entry, cstr!("propertyName"), name.as_str());
            report.annotations(&mut entry, schema);
            let entry = with_details(report, entry, schema, value);
            report.push(&mut list, entry);
        }
    }
    listed(report, "properties", cstr!("propertiesNotSatisfied"), list)
}

fn pattern_properties(report: &mut Report, patterns: &RawDocument, document: &RawDocument) -> Option<RawDocumentBuf> {
    let mut list = RawArrayBuf::new();
    for (name, value) in document.iter().flatten() {
        for (pattern, schema) in patterns.iter().flatten() {
            let RawBsonRef::Document(schema) = schema else { continue };
            if !report.is_full() && is_found(pattern.as_str(), name.as_str()) && !conforms(schema, value) {
                let mut entry = RawDocumentBuf::new();
                report.text(&mut entry, cstr!("propertyName"), name.as_str());
                report.annotations(&mut entry, schema);
                report.text(&mut entry, cstr!("regexMatched"), pattern.as_str());
                let entry = with_details(report, entry, schema, value);
                report.push(&mut list, entry);
            }
        }
    }
    listed(report, "patternProperties", cstr!("details"), list)
}

/// Whether a pattern is found in a name.
fn is_found(pattern: &str, name: &str) -> bool {
    conforms(&bson::rawdoc! { "pattern": pattern }, RawBsonRef::String(name))
}

fn additional_properties(
    report: &mut Report,
    schema: &RawDocument,
    given: RawBsonRef<'_>,
    document: &RawDocument,
) -> Option<RawDocumentBuf> {
    let given_of = |keyword: &str| schema.get(keyword).ok().flatten().and_then(RawBsonRef::as_document);
    let (named, patterns) = (given_of("properties"), given_of("patternProperties"));
    let mut others = document.iter().flatten().filter(|(name, _)| {
        let mut patterns = patterns.into_iter().flat_map(RawDocument::iter).flatten();
        !named.is_some_and(|named| has(named, name.as_str()))
            && !patterns.any(|(pattern, _)| is_found(pattern.as_str(), name.as_str()))
    });
    if let RawBsonRef::Document(each) = given {
        let (name, value) = others.find(|(_, value)| !conforms(each, *value))?;
        let mut entry = report.entry("additionalProperties");
        report.annotations(&mut entry, each);
        let reason = "at least one additional property did not match the subschema";
        report.text(&mut entry, cstr!("reason"), reason);
        report.text(&mut entry, cstr!("failingProperty"), name.as_str());
        return Some(with_details(report, entry, each, value));
    }
    if given != RawBsonRef::Boolean(false) {
        return None;
    }
    let mut list = RawArrayBuf::new();
    others.for_each(|(name, _)| list.push(name.as_str()));
    if list.is_empty() {
        return None;
    }
    let mut entry = report.entry("additionalProperties");
    report.specified(&mut entry, "additionalProperties", given);
    report.value(&mut entry, cstr!("additionalProperties"), RawBsonRef::Array(&list));
    Some(entry)
}

/// The first item from a position on that does not conform to the schema for all of them.
fn failing_item(
    report: &mut Report,
    keyword: &str,
    each: &RawDocument,
    array: &RawArray,
    from: usize,
    reason: &str,
) -> Option<RawDocumentBuf> {
    let mut items = array.into_iter().flatten().enumerate().skip(from);
    let (index, value) = items.find(|(_, value)| !conforms(each, *value))?;
    let mut entry = report.entry(keyword);
    report.annotations(&mut entry, each);
    report.text(&mut entry, cstr!("reason"), reason);
    entry.append(cstr!("itemIndex"), count(index));
    Some(with_details(report, entry, each, value))
}

fn first_items(report: &mut Report, first: &RawArray, array: &RawArray) -> Option<RawDocumentBuf> {
    let mut list = RawArrayBuf::new();
    let schemas = first.into_iter().flatten().zip(array.into_iter().flatten());
    for (index, (schema, value)) in schemas.enumerate() {
        if let RawBsonRef::Document(schema) = schema
            && !report.is_full()
            && !conforms(schema, value)
        {
            let mut entry = bson::rawdoc! { "itemIndex": count(index) };
            report.annotations(&mut entry, schema);
            let entry = with_details(report, entry, schema, value);
            report.push(&mut list, entry);
        }
    }
    listed(report, "items", cstr!("details"), list)
}

fn additional_items(
    report: &mut Report,
    schema: &RawDocument,
    given: RawBsonRef<'_>,
    array: &RawArray,
) -> Option<RawDocumentBuf> {
    // Without positions there are no additional items.
    let Ok(Some(RawBsonRef::Array(first))) = schema.get("items") else {
        return None;
    };
    let from = first.into_iter().count();
    let keyword = "additionalItems";
    match given {
        RawBsonRef::Document(each) => {
            let reason = "At least one additional item did not match the sub-schema";
            failing_item(report, keyword, each, array, from, reason)
        }
        RawBsonRef::Boolean(false) => {
            let mut list = RawArrayBuf::new();
            array.into_iter().flatten().skip(from).for_each(|item| list.push(item));
            if list.is_empty() {
                return None;
            }
            let mut entry = report.entry(keyword);
            report.specified(&mut entry, keyword, given);
            report.text(&mut entry, cstr!("reason"), "found additional items");
            report.value(&mut entry, cstr!("additionalItems"), RawBsonRef::Array(&list));
            Some(entry)
        }
        _ => None,
    }
}

fn failing_dependencies(
    report: &mut Report,
    dependencies: &RawDocument,
    document: &RawDocument,
) -> Option<RawDocumentBuf> {
    let mut list = RawArrayBuf::new();
    for (name, needed) in dependencies.iter().flatten() {
        if report.is_full() || !has(document, name.as_str()) {
            continue;
        }
        let mut entry = RawDocumentBuf::new();
        report.text(&mut entry, cstr!("conditionalProperty"), name.as_str());
        match needed {
            RawBsonRef::Array(names) => {
                if let Some(missing) = missing(names, document) {
                    entry.append(cstr!("missingProperties"), missing);
                    report.push(&mut list, entry);
                }
            }
            RawBsonRef::Document(schema) if !conforms(schema, RawBsonRef::Document(document)) => {
                let entry = with_details(report, entry, schema, RawBsonRef::Document(document));
                report.push(&mut list, entry);
            }
            _ => {}
        }
    }
    listed(report, "dependencies", cstr!("failingDependencies"), list)
}

fn alternatives(
    report: &mut Report,
    keyword: &str,
    schemas: &RawArray,
    value: RawBsonRef<'_>,
) -> Option<RawDocumentBuf> {
    let schemas = || {
        schemas
            .into_iter()
            .flatten()
            .filter_map(RawBsonRef::as_document)
            .enumerate()
    };
    let satisfied: Vec<_> = schemas()
        .filter(|(_, schema)| conforms(schema, value))
        .map(|(at, _)| at)
        .collect();
    let holds = match keyword {
        "allOf" => satisfied.len() == schemas().count(),
        "anyOf" => !satisfied.is_empty(),
        _ => satisfied.len() == 1,
    };
    if holds {
        return None;
    }
    if keyword == "oneOf" && !satisfied.is_empty() {
        let mut entry = report.entry(keyword);
        report.text(&mut entry, cstr!("reason"), "more than one subschema matched");
        let mut indexes = RawArrayBuf::new();
        satisfied.iter().for_each(|at| indexes.push(count(*at)));
        report.value(&mut entry, cstr!("matchingSchemaIndexes"), RawBsonRef::Array(&indexes));
        return Some(entry);
    }
    let mut list = RawArrayBuf::new();
    for (index, schema) in schemas().filter(|(at, _)| !satisfied.contains(at)) {
        if !report.is_full() {
            let mut entry = bson::rawdoc! { "index": count(index) };
            report.annotations(&mut entry, schema);
            let entry = with_details(report, entry, schema, value);
            report.push(&mut list, entry);
        }
    }
    listed(report, keyword, cstr!("schemasNotSatisfied"), list)
}
