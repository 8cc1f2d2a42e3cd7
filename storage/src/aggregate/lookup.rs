//! `$lookup`: to each document the documents of another collection that belong to it (MongoDB manual: *$lookup*).
//!
//! Each document costs one query of the other collection, by its index on `foreignField` where it has one and by a scan where
//! it has not. A pipeline that depends on nothing of the document runs once, as long as what it gives fits the stage's memory.

use std::sync::Arc;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};
use tailwater_matcher::{Expression, IN_VALUES_MAX, ValueExpression};

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::field::FieldPath;
use super::parse::{Scope, fields};
use super::stage::{Place, Stage, Stream};
use super::{source, union};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::query::Language;

/// What to look up, and where to put it.
#[derive(Debug)]
pub(super) struct Lookup {
    collection: String,
    field: FieldPath,
    equality: Option<Equality>,
    variables: Vec<(String, ValueExpression)>,
    stages: Vec<Stage>,
    language: Language,
}

#[derive(Debug)]
struct Equality {
    local: FieldPath,
    foreign: bson::raw::CString,
}

impl Lookup {
    /// The collection it reads, and what its documents go through.
    pub(super) fn reach(&self) -> (&str, &[Stage]) {
        (&self.collection, &self.stages)
    }

    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Lookup, Kind> {
        let (mut from, mut field, mut local, mut foreign) = (None, None, None, None);
        let (mut variables, mut pipeline) = (Vec::new(), None);
        for (name, value) in fields(value, 9)? {
            let text = |value: RawBsonRef<'_>| match value {
                RawBsonRef::String(text) => Ok(text.to_owned()),
                _ => Err(Kind::specification(format!("{name} must be a string"), 9)),
            };
            match name {
                "from" => from = Some(text(value)?),
                "as" => field = Some(FieldPath::parse(&text(value)?, 16410)?),
                "localField" => local = Some(FieldPath::parse(&text(value)?, 16410)?),
                "foreignField" => foreign = Some(text(value)?),
                "let" => variables = parse_let(scope, value)?,
                "pipeline" => pipeline = Some(value),
                name => return Err(Kind::specification(format!("there is no option {name:?}"), 9)),
            }
        }
        let stages = match pipeline {
            Some(pipeline) => {
                let names = variables.iter().map(|(name, _): &(String, _)| name.clone());
                scope.inner(names).sub_pipeline(pipeline, 14)?
            }
            None if !variables.is_empty() => {
                return Err(Kind::specification("let goes with a pipeline that uses it", 9));
            }
            None => Vec::new(),
        };
        let equality = match (local, foreign) {
            (Some(local), Some(foreign)) => {
                FieldPath::parse(&foreign, 16410)?;
                let foreign = bson::raw::CString::try_from(foreign)
                    .map_err(|_| Kind::specification("foreignField holds a zero byte", 9))?;
                Some(Equality { local, foreign })
            }
            (None, None) if pipeline.is_some() => None,
            _ => {
                let problem = "localField and foreignField are needed, both, or a pipeline";
                return Err(Kind::specification(problem, 9));
            }
        };
        Ok(Lookup {
            collection: union::source_collection(from.as_deref(), &stages)?,
            field: field.ok_or_else(|| Kind::specification("as, a field for the result, is needed", 9))?,
            equality,
            variables,
            stages,
            language: scope.language.clone(),
        })
    }

    /// Says whether the result is the same for all documents.
    fn is_constant(&self) -> bool {
        self.equality.is_none() && self.variables.is_empty()
    }

    /// What belongs to one document.
    fn found(&self, document: &RawDocumentBuf, place: &Place, context: &Context) -> Result<RawArrayBuf> {
        let mut values = Vec::new();
        for (name, expression) in &self.variables {
            let value = expression.evaluate(&context.variables(document));
            let value = value.and_then(tailwater_matcher::Value::into_bson);
            values.push((name.clone(), value.map_err(|error| place.error(error))?));
        }
        let filter = self
            .equality
            .as_ref()
            .map(|equality| equality.filter(document, &self.language));
        let filter = filter.transpose().map_err(|kind| place.error(kind))?;
        let namespace = Namespace::new(&context.database, &self.collection);
        let mut array = RawArrayBuf::new();
        for found in source::collection(&namespace, filter, &self.stages, None, &context.with(values))? {
            array.push(found?);
            if document.as_bytes().len() + array.as_bytes().len() > DOCUMENT_BYTES_MAX {
                return Err(place.error(Kind::DocumentTooLarge));
            }
        }
        Ok(array)
    }
}

impl Equality {
    /// What documents must have to belong to this one: one of its values, or null where it has none.
    fn filter(&self, document: &RawDocumentBuf, language: &Language) -> Result<Expression, Kind> {
        let mut values = self.local.values(document);
        if values.is_empty() {
            values.push(RawBson::Null);
        }
        let (alone, listed): (Vec<_>, Vec<_>) = values.iter().partition(|value| is_pattern(value));
        let mut clauses = Vec::new();
        let mut add = |operator, operand: RawBsonRef<'_>| {
            let mut condition = RawDocumentBuf::new();
            condition.append(operator, operand);
            let mut clause = RawDocumentBuf::new();
            clause.append(&self.foreign, condition);
            clauses.push(clause);
        };
        for values in listed.chunks(IN_VALUES_MAX) {
            let mut list = RawArrayBuf::new();
            for value in values {
                match value {
                    RawBson::Undefined => list.push(RawBsonRef::Null),
                    value => list.push(value.as_raw_bson_ref()),
                }
            }
            add(cstr!("$in"), RawBsonRef::Array(&list));
        }
        alone
            .iter()
            .for_each(|value| add(cstr!("$eq"), value.as_raw_bson_ref()));
        let filter = match &mut clauses[..] {
            [only] => std::mem::take(only),
            several => {
                let mut list = RawArrayBuf::new();
                several.iter().for_each(|clause| list.push(clause.clone()));
                let mut any = RawDocumentBuf::new();
                any.append(cstr!("$or"), list);
                any
            }
        };
        Ok(Expression::parse_with(&filter, &language.options(&[]))?)
    }
}

/// Whether a value would stand for something else in a list of `$in`: there a regular expression is one, and names with a dollar
/// sign are operators. Here they are values.
fn is_pattern(value: &RawBson) -> bool {
    match value {
        RawBson::RegularExpression(_) => true,
        RawBson::Document(document) => {
            let first = document.iter().next();
            first.is_some_and(|field| field.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
        }
        _ => false,
    }
}

/// `{name: expression, …}`, the names as variables have them: a lower case letter first.
pub(super) fn parse_let(scope: &Scope, value: RawBsonRef<'_>) -> Result<Vec<(String, ValueExpression)>, Kind> {
    let mut variables = Vec::new();
    for (name, value) in fields(value, 9)? {
        let starts = name
            .chars()
            .next()
            .is_some_and(|first| first.is_lowercase() || !first.is_ascii());
        if !starts
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii())
        {
            let problem = format!("{name:?} is no name of a variable: it begins with a lower case letter");
            return Err(Kind::specification(problem, 16867));
        }
        variables.push((name.to_owned(), scope.expression(value)?));
    }
    Ok(variables)
}

pub(super) fn open(input: Stream, lookup: Arc<Lookup>, place: Place, context: Context) -> Stream {
    let (mut kept, mut memory): (Option<RawArrayBuf>, _) = (None, context.options.control.share());
    Box::new(input.map(move |document| {
        let document = document?;
        let found = match kept.take() {
            Some(found) => found,
            None => lookup.found(&document, &place, &context)?,
        };
        let with = lookup.field.set(&document, Some(RawBsonRef::Array(&found)));
        if with.as_bytes().len() > DOCUMENT_BYTES_MAX {
            return Err(place.error(Kind::DocumentTooLarge));
        }
        let bytes = found.as_bytes().len();
        // Where there is no memory for it, it is found again each time.
        let mut is_kept = || memory.bytes() > 0 || memory.take(bytes).is_ok();
        if lookup.is_constant() && bytes <= context.options.memory_bytes_max && is_kept() {
            kept = Some(found);
        }
        Ok(with)
    }))
}
