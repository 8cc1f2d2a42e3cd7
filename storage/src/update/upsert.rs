//! The document that an upsert inserts: what the query says of it, and then the update.
//!
//! Only a conjunction says what the document *is*: `{a: 1}`, `{a: {$eq: 1}}`, the clauses of `$and`, the one clause of an
//! `$or`, the one value of an `$in`, the values of an `$all`. Everything else says what it is *like*, and is ignored.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf, cstr};
use bson::spec::ElementType;

use super::change::Change;
use super::edit::Edit;
use super::element::{Element, elements};
use super::path::Path;
use super::tree::Tree;
use super::{ApplyContext, ID, UpdateError};
use crate::document_id;
use crate::limits::NESTING_MAX;

/// A path that the query gives a value.
struct Equality<'a> {
    path: &'a str,
    value: Element<'a>,
}

/// A document of what the query says, `_id` first, the rest in the order of the paths.
pub(super) fn from_query(query: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
    let mut equalities = Vec::new();
    collect(query, 1, &mut equalities)?;
    let mut paths = Vec::with_capacity(equalities.len());
    for equality in &equalities {
        let path = Path::of_diff(equality.path)?;
        equality.value.check(&path, 0)?;
        paths.push((path, &equality.value));
    }
    // A path comes right before those below it.
    paths.sort_by(|(a, _), (b, _)| a.components().cmp(b.components()));
    for pair in paths.windows(2) {
        if let [(earlier, _), (path, _)] = pair
            && earlier.overlaps(path)
        {
            return Err(UpdateError::EqualityAmbiguous {
                path: path.to_string(),
                other: earlier.to_string(),
            });
        }
    }
    let mut tree = Tree::default();
    for (path, value) in &paths {
        tree.insert(path, Arc::new(Change::Set(value.to_value())))?;
    }
    let context = ApplyContext {
        is_insert: true,
        ..ApplyContext::default()
    };
    let mut edit = Edit::recording(&context);
    edit.run(&RawDocumentBuf::new(), &tree)?;
    Ok(edit.finish()?.0)
}

/// What the query says of `_id` alone, for a replacement.
pub(super) fn id_from_query(query: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
    let mut equalities = Vec::new();
    collect(query, 1, &mut equalities)?;
    let part_of_id =
        |equality: &&Equality<'_>| equality.path.strip_prefix(ID).is_some_and(|rest| rest.starts_with('.'));
    if let Some(part) = equalities.iter().find(part_of_id) {
        return Err(UpdateError::IdNotExact {
            path: part.path.to_owned(),
        });
    }
    let mut found = RawDocumentBuf::new();
    for equality in equalities.iter().filter(|equality| equality.path == ID) {
        if !found.is_empty() {
            return Err(UpdateError::EqualityAmbiguous {
                path: ID.to_owned(),
                other: ID.to_owned(),
            });
        }
        equality.value.check(&Path::of_diff(ID)?, 0)?;
        found.append(cstr!("_id"), equality.value.get()?);
    }
    Ok(found)
}

/// The document with an `_id` that can be one, in front: its own, or a new ObjectId.
pub(super) fn with_id(document: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
    let mut copy = RawDocumentBuf::new();
    match document.get(ID)? {
        None => copy.append(cstr!("_id"), ObjectId::new()),
        Some(id) => {
            let found = id.element_type();
            if matches!(
                found,
                ElementType::Array | ElementType::RegularExpression | ElementType::Undefined
            ) {
                return Err(UpdateError::IdInvalid { found });
            }
            if let Some(field) = id.as_document().and_then(document_id::dollar_prefixed) {
                let field = format!("{ID}.{field}");
                return Err(UpdateError::DollarPrefixedField { field });
            }
            copy.append(cstr!("_id"), id);
        }
    }
    for field in document.iter_elements() {
        let field = field?;
        if field.key().as_str() != ID {
            copy.append(field.key(), field.value()?);
        }
    }
    Ok(copy)
}

fn collect<'a>(query: &'a RawDocument, level: usize, found: &mut Vec<Equality<'a>>) -> Result<(), UpdateError> {
    if level > NESTING_MAX {
        return Err(UpdateError::NestingTooDeep { path: String::new() });
    }
    for field in elements(query) {
        let field = field?;
        match field.name {
            "$and" => collect_all(&field, level, found)?,
            "$or" if count(&field)? == 1 => collect_all(&field, level, found)?,
            name if name.starts_with('$') => {}
            path => match operators(&field)? {
                Some(operators) => collect_operators(path, operators, found)?,
                None if field.kind == ElementType::RegularExpression => {}
                None => found.push(Equality { path, value: field }),
            },
        }
    }
    Ok(())
}

fn collect_all<'a>(clauses: &Element<'a>, level: usize, found: &mut Vec<Equality<'a>>) -> Result<(), UpdateError> {
    let Some(clauses) = clauses.array() else {
        return Ok(());
    };
    for clause in elements(clauses?) {
        if let Some(clause) = clause?.document() {
            collect(clause?, level + 1, found)?;
        }
    }
    Ok(())
}

/// The equalities among the operators on one path.
fn collect_operators<'a>(
    path: &'a str,
    operators: &'a RawDocument,
    found: &mut Vec<Equality<'a>>,
) -> Result<(), UpdateError> {
    for operator in elements(operators) {
        let operator = operator?;
        let is_one = operator.name == "$in" && count(&operator)? == 1;
        if operator.name == "$eq" {
            found.push(Equality { path, value: operator });
        } else if is_one || operator.name == "$all" {
            let Some(values) = operator.array() else {
                continue;
            };
            for value in elements(values?) {
                let value = value?;
                // `$all: [{$elemMatch: …}]` is a condition too.
                if value.kind != ElementType::RegularExpression && self::operators(&value)?.is_none() {
                    found.push(Equality { path, value });
                }
            }
        }
    }
    Ok(())
}

/// The value as a document of operators, rather than a document to be equal to.
fn operators<'a>(field: &Element<'a>) -> Result<Option<&'a RawDocument>, UpdateError> {
    let Some(document) = field.document() else {
        return Ok(None);
    };
    let document = document?;
    let first = elements(document).next().transpose()?;
    let is_operator = |name: &str| name.starts_with('$') && !["$ref", "$id", "$db"].contains(&name);
    Ok(first.is_some_and(|first| is_operator(first.name)).then_some(document))
}

fn count(array: &Element<'_>) -> Result<usize, UpdateError> {
    match array.array() {
        Some(array) => Ok(elements(array?).take(2).count()),
        None => Ok(0),
    }
}
