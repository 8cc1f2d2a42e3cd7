//! `$merge`: the result into a collection, document by document (MongoDB manual: *$merge*).
//!
//! Documents are written in batches, each of them one step of the log. An error leaves the batches before it.

use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use tailwater_matcher::{Expression, StepScope, ValueExpression, compare};

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::field::FieldPath;
use super::lookup::parse_let;
use super::parse::{Scope, fields};
use super::stage::{Place, Stream};
use super::target::{Target, Writing, batch};
use crate::catalog::{CollectionInfo, Namespace};
use crate::document_id::document_key;
use crate::error::{Error, Result};
use crate::limits::{LOCKED_STEPS_MAX, TURN_STEPS};
use crate::query::{Language, Query};
use crate::update::{Pipeline, UpdateDiff, UpdateError};
use crate::workspace::{Found, Workspace, with_id_first};

/// What to write where.
#[derive(Debug)]
pub(super) struct Merge {
    target: Target,
    on: Vec<(CString, FieldPath)>,
    variables: Vec<(String, ValueExpression)>,
    matched: Matched,
    not_matched: NotMatched,
    language: Language,
}

/// What becomes of a document that is there already.
#[derive(Debug)]
enum Matched {
    Replace,
    KeepExisting,
    Merge,
    Fail,
    Pipeline(Pipeline),
}

/// What becomes of a document that is not there.
#[derive(Clone, Copy, Debug)]
enum NotMatched {
    Insert,
    Discard,
    Fail,
}

/// The variable that is the document that comes in.
const NEW: &str = "new";

impl Merge {
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Merge, Kind> {
        if let RawBsonRef::String(_) = value {
            return Merge::of(scope, Target::parse(value, 51178)?);
        }
        let (mut merge, mut matched) = (None, None);
        let (mut on, mut variables, mut not_matched) = (None, Vec::new(), NotMatched::Insert);
        for (name, value) in fields(value, 51182)? {
            match (name, value) {
                ("into", value) => merge = Some(Merge::of(scope, Target::parse(value, 51178)?)?),
                ("on", value) => on = Some(parse_on(value)?),
                ("let", value) => variables = parse_let(scope, value)?,
                ("whenMatched", value) => matched = Some(value),
                ("whenNotMatched", RawBsonRef::String("insert")) => not_matched = NotMatched::Insert,
                ("whenNotMatched", RawBsonRef::String("discard")) => not_matched = NotMatched::Discard,
                ("whenNotMatched", RawBsonRef::String("fail")) => not_matched = NotMatched::Fail,
                ("whenNotMatched", _) => {
                    return Err(Kind::specification("whenNotMatched is insert, discard or fail", 9));
                }
                (name, _) => return Err(Kind::specification(format!("there is no option {name:?}"), 9)),
            }
        }
        let merge = merge.ok_or_else(|| Kind::specification("into, the collection to write to, is needed", 51182))?;
        let is_pipeline = matches!(matched, Some(RawBsonRef::Array(_)));
        if !variables.is_empty() && !is_pipeline {
            return Err(Kind::specification(
                "let goes with a whenMatched that is a pipeline",
                51199,
            ));
        }
        if variables.iter().any(|(name, _)| name == NEW) {
            return Err(Kind::specification(
                "the variable new is the document that comes in",
                51273,
            ));
        }
        let matched = matched
            .map(|matched| parse_matched(scope, matched, &variables))
            .transpose()?;
        Ok(Merge {
            on: on.unwrap_or(merge.on),
            variables,
            matched: matched.unwrap_or(Matched::Merge),
            not_matched,
            ..merge
        })
    }

    fn of(scope: &Scope, target: Target) -> Result<Merge, Kind> {
        Ok(Merge {
            target,
            on: vec![(cstr!("_id").to_owned(), FieldPath::parse("_id", 51186)?)],
            variables: Vec::new(),
            matched: Matched::Merge,
            not_matched: NotMatched::Insert,
            language: scope.language.clone(),
        })
    }

    fn is_by_id(&self) -> bool {
        matches!(&self.on[..], [(name, _)] if name.as_ref() == cstr!("_id"))
    }

    pub(super) fn run(&self, mut input: Stream, place: &Place, context: &Context, writing: &Writing<'_>) -> Result<()> {
        let namespace = self.target.checked(&context.database, place)?;
        // The index on `_id` tells by the collection's collation whether documents are the same.
        if let Some(info) = context.reading.info(&namespace)
            && self.is_by_id()
            && info.options.collation.as_ref() != self.language.collation()
        {
            let problem = "the pipeline needs the collation of the collection, by which its index on _id is unique";
            return Err(place.error(Kind::specification(problem, 51183)));
        }
        let mut last = None;
        let written = loop {
            let documents = match batch(&mut input) {
                Ok(documents) if documents.is_empty() => break Ok(()),
                Ok(documents) => documents,
                Err(error) => break Err(error),
            };
            if let Err(error) = self.write(&documents, &namespace, place, context, writing, &mut last) {
                break Err(error);
            }
        };
        // Also before an error: what was written is as durable as asked.
        if let Some(last) = last {
            writing.store.core().settle(last, writing.durability)?;
        }
        written
    }

    fn write(
        &self,
        documents: &[RawDocumentBuf],
        namespace: &Namespace,
        place: &Place,
        context: &Context,
        writing: &Writing<'_>,
        last: &mut Option<tailwater_oplog::OpId>,
    ) -> Result<()> {
        let core = writing.store.core();
        let mut rest = documents;
        while !rest.is_empty() {
            let mut commit = core.lock_commit()?;
            let steps = StepScope::limited(LOCKED_STEPS_MAX);
            let mut workspace = Workspace::new(core.view_locked(&commit)?);
            workspace.bypass_validation(context.options.bypass_document_validation);
            let info = workspace.reading().info(namespace);
            self.check_unique(info.as_deref(), place)?;
            // What a capped collection makes room for is counted before it is there, so one at a time.
            let one_by_one = info.is_some_and(|info| info.natural.is_some());
            let mut written = 0;
            for document in rest {
                self.write_one(document, namespace, &mut workspace, writing, place, context)?;
                written += 1;
                // Others wait: what takes long to compute takes several turns.
                if one_by_one || steps.taken() > TURN_STEPS {
                    break;
                }
            }
            if !workspace.drafts().is_empty() {
                *last = Some(core.commit(&mut commit, workspace.drafts())?.last);
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn write_one(
        &self,
        document: &RawDocumentBuf,
        namespace: &Namespace,
        workspace: &mut Workspace,
        writing: &Writing<'_>,
        place: &Place,
        context: &Context,
    ) -> Result<()> {
        if let Some(found) = self.find(document, namespace, workspace, place)? {
            let Some(info) = workspace.reading().info(namespace) else {
                return Ok(());
            };
            let Some((made, diff)) = self.matched(document, &found, place, context)? else {
                return Ok(());
            };
            return workspace.put(&info, found, &made, diff.as_ref());
        }
        match self.not_matched {
            NotMatched::Discard => Ok(()),
            NotMatched::Fail => {
                let problem = "a document has no match in the collection, and whenNotMatched is fail";
                Err(place.error(Kind::specification(problem, 13113)))
            }
            NotMatched::Insert => {
                let info = workspace.define(namespace);
                let size = writing.store.core().size(info.number);
                workspace.make_room(&info, size, document)?;
                workspace.insert(&info, document).map(drop)
            }
        }
    }

    /// The document that is there already.
    fn find(
        &self,
        document: &RawDocumentBuf,
        namespace: &Namespace,
        workspace: &Workspace,
        place: &Place,
    ) -> Result<Option<Found>> {
        let info = workspace.reading().info(namespace);
        if self.is_by_id() && info.is_none_or(|info| info.options.collation.is_none()) {
            let Ok(Some(id)) = document.get("_id") else {
                return Ok(None);
            };
            let id = matched(id, "_id").map_err(|error| place.error(error))?;
            let found = workspace.find_key(namespace, document_key(id)?)?;
            return Ok(found.map(|(_, found)| found));
        }
        let mut filter = RawDocumentBuf::new();
        for (name, path) in &self.on {
            let value = match path.get(document) {
                None if name.as_ref() == cstr!("_id") => return Ok(None),
                None => RawBsonRef::Null,
                Some(value) => value,
            };
            let value = matched(value, name.as_str()).map_err(|error| place.error(error))?;
            let mut equal = RawDocumentBuf::new();
            equal.append(cstr!("$eq"), value);
            filter.append(name, equal);
        }
        let language = self.language.options(&[]);
        let filter = Expression::parse_with(&filter, &language).map_err(|error| place.error(error))?;
        let mut query = Query::new(Arc::new(filter));
        query.collation = self.language.collation().cloned();
        query.candidates(workspace.reading(), namespace)?.next().transpose()
    }

    /// The new version of a document that is there; nothing where it stays.
    fn matched(
        &self,
        document: &RawDocumentBuf,
        found: &Found,
        place: &Place,
        context: &Context,
    ) -> Result<Option<(RawDocumentBuf, Option<UpdateDiff>)>> {
        let before = found.document()?;
        let made = match &self.matched {
            Matched::KeepExisting => return Ok(None),
            Matched::Fail => {
                let problem = "a document has a match in the collection, and whenMatched is fail";
                return Err(place.error(Kind::specification(problem, 11000)));
            }
            Matched::Pipeline(pipeline) => {
                let mut values = vec![(NEW.to_owned(), Some(document.clone().into()))];
                for (name, expression) in &self.variables {
                    let value = expression.evaluate(&context.variables(document));
                    let value = value.and_then(tailwater_matcher::Value::into_bson);
                    values.push((name.clone(), value.map_err(|error| place.error(error))?));
                }
                let context = context.with(values);
                let applied = pipeline.apply_with(before, &context.variables(&before))?;
                return Ok(applied.map(|applied| (applied.document, applied.diff)));
            }
            Matched::Replace => with_id_first(&same_id(document, found)?, found.id()?),
            Matched::Merge => merged(before, &same_id(document, found)?),
        };
        if made.as_bytes() == before.as_bytes() {
            return Ok(None);
        }
        let diff = match self.matched {
            Matched::Merge => UpdateDiff::between(before, &made)?,
            _ => None,
        };
        Ok(Some((made, diff)))
    }

    /// Checks that at most one document can have the values that are matched on.
    fn check_unique(&self, info: Option<&CollectionInfo>, place: &Place) -> Result<()> {
        let serves = |index: &&crate::catalog::IndexInfo| {
            let definition = &index.definition;
            definition.unique
                && definition.partial.is_none()
                && definition.collation.as_ref() == self.language.collation()
                && definition.fields.len() == self.on.len()
                && self.on.iter().all(|(name, _)| {
                    definition
                        .fields
                        .iter()
                        .any(|field| field.path.as_str() == name.as_str())
                })
        };
        if self.is_by_id() || info.is_some_and(|info| info.indexes.iter().find(serves).is_some()) {
            return Ok(());
        }
        let problem =
            "the fields of on need a unique index of the collection with the pipeline's collation, not a partial one";
        Err(place.error(Kind::specification(problem, 51183)))
    }
}

fn parse_on(value: RawBsonRef<'_>) -> Result<Vec<(CString, FieldPath)>, Kind> {
    let mut on = Vec::new();
    let mut add = |value: RawBsonRef<'_>| {
        let RawBsonRef::String(name) = value else {
            return Err(Kind::specification(
                "on is the name of a field, or an array of names",
                51186,
            ));
        };
        let path = FieldPath::parse(name, 51186)?;
        let name = CString::try_from(name).map_err(|_| Kind::specification("on holds a zero byte", 51186))?;
        if on.iter().any(|(other, _)| *other == name) {
            return Err(Kind::specification("on names a field twice", 31465));
        }
        on.push((name, path));
        Ok(())
    };
    match value {
        RawBsonRef::Array(names) => names.into_iter().flatten().try_for_each(&mut add)?,
        name => add(name)?,
    }
    if on.is_empty() {
        return Err(Kind::specification("on names at least one field", 51187));
    }
    Ok(on)
}

fn parse_matched(
    scope: &Scope,
    value: RawBsonRef<'_>,
    variables: &[(String, ValueExpression)],
) -> Result<Matched, Kind> {
    match value {
        RawBsonRef::String("replace") => Ok(Matched::Replace),
        RawBsonRef::String("keepExisting") => Ok(Matched::KeepExisting),
        RawBsonRef::String("merge") => Ok(Matched::Merge),
        RawBsonRef::String("fail") => Ok(Matched::Fail),
        RawBsonRef::Array(stages) => {
            let stages: Vec<&RawDocument> = stages
                .into_iter()
                .flatten()
                .filter_map(RawBsonRef::as_document)
                .collect();
            let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).chain([NEW]).collect();
            let pipeline = Pipeline::parse_with(&stages, &scope.language.options(&names));
            Ok(Matched::Pipeline(pipeline.map_err(|error| {
                Kind::specification(format!("in whenMatched: {error}"), error.code())
            })?))
        }
        _ => {
            let problem = "whenMatched is replace, keepExisting, merge, fail or a pipeline";
            Err(Kind::specification(problem, 51191))
        }
    }
}

/// The document that comes in, if it may take the place of the one that was found.
fn same_id(document: &RawDocumentBuf, found: &Found) -> Result<RawDocumentBuf> {
    let id: Option<RawBsonRef<'_>> = document.get("_id").ok().flatten();
    if let Some(id) = id
        && compare(id, found.id()?).is_ne()
    {
        return Err(Error::from(UpdateError::ImmutableField { field: "_id".into() }));
    }
    Ok(document.clone())
}

/// The fields of both; where both have one, that of `new`, except `_id`.
fn merged(old: &RawDocument, new: &RawDocument) -> RawDocumentBuf {
    let mut merged = RawDocumentBuf::new();
    for (name, value) in old.iter().flatten() {
        let newer = new.get(name).ok().flatten().filter(|_| name.as_str() != "_id");
        merged.append(name, newer.unwrap_or(value));
    }
    for (name, value) in new.iter().flatten() {
        if !matches!(old.get(name), Ok(Some(_))) {
            merged.append(name, value);
        }
    }
    merged
}

/// A value by which documents can be matched; null stands for what is missing, too.
fn matched<'v>(value: RawBsonRef<'v>, name: &str) -> std::result::Result<RawBsonRef<'v>, Kind> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => {
            let problem = format!("a document has no value in {name:?}, which on names");
            Err(Kind::specification(problem, 51132))
        }
        RawBsonRef::Array(_) => {
            let problem = format!("a document has an array in {name:?}, which on names");
            Err(Kind::specification(problem, 51185))
        }
        value => Ok(value),
    }
}
