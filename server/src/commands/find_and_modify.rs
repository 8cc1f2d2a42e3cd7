//! `findAndModify`.

use bson::raw::cstr;
use bson::{RawBson, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{
    FindAndModify, FindAndModifyOutcome, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
    Hint, ReturnDocument,
};

use super::update::{Change, modifications, raw};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::{Context, Target};
use crate::error::{CommandError, CommandResult, code};
use crate::needs::{self, Need};
use crate::request::Request;
use crate::statements::Statements;
use crate::value::empty;

pub(super) const FIND_AND_MODIFY: Command = Command {
    name: "findAndModify",
    aliases: &["findandmodify"],
    help: "Updates, replaces or deletes one document, and gives it back",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    needs: Needs::Fields(needs),
    run: find_and_modify,
};

/// What is asked for.
#[derive(Default)]
struct Asked<'a> {
    query: Option<&'a RawDocument>,
    sort: Option<RawDocumentBuf>,
    fields: Option<RawDocumentBuf>,
    hint: Option<Hint>,
    collation: Option<RawDocumentBuf>,
    array_filters: Vec<RawDocumentBuf>,
    change: Option<Change>,
    remove: bool,
    new: bool,
    upsert: bool,
    bypass: bool,
}

/// It shows what it changes; an upsert may insert.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let collection = needs::collection(request)?;
    let says = |name: &str| {
        let field = request.arguments().find(|field| field.name == name);
        needs::is_true(field.map(|field| field.value))
    };
    let change = match says("remove") {
        true => Action::Remove,
        false => Action::Update,
    };
    let mut needs = vec![(Action::Find, collection), (change, collection)];
    if says("upsert") {
        needs.push((Action::Insert, collection));
    }
    if needs::asks_to_bypass(request) {
        needs.push((Action::BypassDocumentValidation, collection));
    }
    Ok(needs)
}

fn find_and_modify(context: &mut Context<'_>) -> CommandResult {
    let mut asked = Asked::default();
    for field in context.request.arguments() {
        match field.name {
            "query" => asked.query = Some(field.document()?),
            "sort" => asked.sort = field.filled()?,
            "fields" => asked.fields = field.filled()?,
            "hint" => asked.hint = field.hint()?,
            "arrayFilters" => {
                asked.array_filters = field.documents()?.into_iter().map(RawDocument::to_owned).collect();
            }
            "update" => asked.change = Some(modifications(field)?),
            "remove" => asked.remove = field.boolean()?,
            "new" => asked.new = field.boolean()?,
            "upsert" => asked.upsert = field.boolean()?,
            "bypassDocumentValidation" => asked.bypass = field.boolean()?,
            "collation" => asked.collation = field.filled()?,
            "let" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let refused = |what| Err(CommandError::new(code::FAILED_TO_PARSE, what));
    match (&asked.change, asked.remove) {
        (None, false) => return refused("Either an update or remove=true must be specified"),
        (Some(_), true) => return refused("Cannot specify both an update and remove=true"),
        (None, true) if asked.upsert => return refused("Cannot specify both upsert=true and remove=true"),
        (None, true) if asked.new => {
            return refused(
                "Cannot specify both new=true and remove=true; 'remove' always returns the deleted document",
            );
        }
        _ => {}
    }
    let removes = asked.remove;
    let query = asked.query.unwrap_or(empty());
    let operation = asked.operation();
    let statements = Statements::of(context, 1, true)?;
    let outcome = match (context.target()?, statements.done.first()) {
        (Target::Collection(_), Some(done)) => FindAndModifyOutcome {
            document: done.outcome.document.clone(),
            matched: done.outcome.matched,
            upserted_id: done.outcome.upserted_id.clone(),
        },
        (Target::Collection(collection), None) => {
            statements.collection(collection).find_and_modify(query, &operation)?
        }
        (Target::Transaction(collection), _) => collection.find_and_modify(query, &operation)?,
    };
    let touched = outcome.matched || outcome.upserted_id.is_some();
    let mut last_error = rawdoc! { "n": i32::from(touched) };
    if !removes {
        last_error.append(cstr!("updatedExisting"), outcome.matched);
    }
    if let Some(id) = outcome.upserted_id {
        last_error.append(cstr!("upserted"), raw(id)?);
    }
    let value = outcome.document.map_or(RawBson::Null, RawBson::Document);
    let mut answer = rawdoc! { "lastErrorObject": last_error, "value": value };
    if let Some(done) = statements.done.first() {
        answer.append(cstr!("retriedStmtId"), done.statement);
    }
    Ok(answer)
}

impl Asked<'_> {
    fn operation(self) -> FindAndModify {
        let return_document = match self.new {
            true => ReturnDocument::After,
            false => ReturnDocument::Before,
        };
        match self.change {
            None => FindAndModify::Delete {
                options: FindOneAndDeleteOptions {
                    sort: self.sort,
                    projection: self.fields,
                    hint: self.hint,
                    collation: self.collation,
                },
            },
            Some(Change::Replacement(replacement)) => FindAndModify::Replace {
                replacement,
                options: FindOneAndReplaceOptions {
                    return_document,
                    sort: self.sort,
                    upsert: self.upsert,
                    projection: self.fields,
                    hint: self.hint,
                    collation: self.collation,
                    bypass_document_validation: self.bypass,
                },
            },
            Some(Change::Update(update)) => FindAndModify::Update {
                update,
                options: FindOneAndUpdateOptions {
                    return_document,
                    sort: self.sort,
                    upsert: self.upsert,
                    array_filters: self.array_filters,
                    projection: self.fields,
                    hint: self.hint,
                    collation: self.collation,
                    bypass_document_validation: self.bypass,
                },
            },
        }
    }
}
