//! `$count` and `$sortByCount` (MongoDB manual: *$count*, *$sortByCount*).

use std::sync::Arc;

use bson::raw::CString;
use bson::{RawBsonRef, RawDocumentBuf, rawdoc};

use super::error::AggregateErrorKind as Kind;
use super::group::Group;
use super::parse::Scope;
use super::sort;
use super::stage::{Stream, deferred};
use crate::sort::SortPattern;

/// The field that gets the count.
pub(super) fn parse(value: RawBsonRef<'_>) -> Result<Arc<str>, Kind> {
    let RawBsonRef::String(field) = value else {
        return Err(Kind::specification("the name of the field must be a string", 40156));
    };
    let (problem, code) = match field {
        "" => ("the name of the field cannot be empty", 40157),
        field if field.starts_with('$') => ("the name of the field cannot begin with $", 40158),
        field if field.contains('\0') => ("the name of the field cannot hold a zero byte", 40159),
        field if field.contains('.') => ("the name of the field cannot hold a dot", 40160),
        field => return Ok(field.into()),
    };
    Err(Kind::specification(problem, code))
}

/// One document with the number of documents; none where there are none.
pub(super) fn open(input: Stream, field: &Arc<str>) -> Stream {
    let field = Arc::clone(field);
    deferred(move || {
        let mut count = 0i64;
        for document in input {
            document?;
            count += 1;
        }
        let mut counted = RawDocumentBuf::new();
        if let Ok(field) = CString::try_from(field.as_ref()) {
            match i32::try_from(count) {
                Ok(count) => counted.append(&field, count),
                Err(_) => counted.append(&field, count),
            }
        }
        Ok(Box::new((count > 0).then_some(Ok(counted)).into_iter()))
    })
}

/// A group for each value of the expression with their numbers, and the order that has the largest first.
pub(super) fn sort_by_count(scope: &Scope, value: RawBsonRef<'_>) -> Result<(Group, SortPattern), Kind> {
    match value {
        RawBsonRef::String(path) if path.starts_with('$') => {}
        RawBsonRef::Document(document)
            if document.iter().next().is_some_and(|first| {
                let operator = |(name, _): (&bson::raw::CStr, _)| name.as_str().starts_with('$');
                first.is_ok_and(operator)
            }) => {}
        RawBsonRef::Document(_) => return Err(Kind::specification("the document must be an expression", 40147)),
        RawBsonRef::String(_) => return Err(Kind::specification("the path must begin with $", 40148)),
        _ => return Err(Kind::specification("a path or an expression is needed", 40149)),
    }
    let mut specification = RawDocumentBuf::new();
    specification.append(bson::raw::cstr!("_id"), value);
    specification.append(bson::raw::cstr!("count"), rawdoc! { "$sum": 1 });
    let group = Group::parse(scope, RawBsonRef::Document(&specification))?;
    let order = rawdoc! { "count": -1 };
    Ok((group, sort::parse(scope, RawBsonRef::Document(&order))?))
}
