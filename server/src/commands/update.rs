//! `update`: updates and replacements.

use bson::raw::cstr;
use bson::{Bson, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{ReplaceOptions, UpdateModifications, UpdateOptions, WriteModel};

use super::bulk::{Written, check_count, number};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::needs::{self, Need};
use crate::request::{Request, missing};
use crate::value::{Value, fields};

pub(super) const UPDATE: Command = Command {
    name: "update",
    aliases: &[],
    help: "Updates and replaces documents",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    needs: Needs::Fields(needs),
    run: update,
};

/// An upsert may insert.
fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let collection = needs::collection(request)?;
    let mut needs = vec![(Action::Update, collection)];
    if needs::any_is_true(request, "updates", "upsert")? {
        needs.push((Action::Insert, collection));
    }
    if needs::asks_to_bypass(request) {
        needs.push((Action::BypassDocumentValidation, collection));
    }
    Ok(needs)
}

fn update(context: &mut Context<'_>) -> CommandResult {
    let (mut ordered, mut bypass) = (true, false);
    for field in context.request.arguments() {
        match field.name {
            "updates" => {}
            "ordered" => ordered = field.boolean()?,
            "bypassDocumentValidation" => bypass = field.boolean()?,
            "let" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let statements = context.request.documents("updates")?;
    check_count("updates", statements.len())?;
    let models = statements.iter().map(|statement| model(statement, bypass));
    let written = Written::of_models(context, models.collect::<CommandResult<_>>()?, ordered)?;
    let outcome = &written.outcome;
    let mut answer = rawdoc! {
        "n": number(outcome.matched + outcome.upserted),
        "nModified": number(outcome.modified),
    };
    if !outcome.upserted_ids.is_empty() {
        let mut upserted = RawArrayBuf::new();
        for (index, id) in &outcome.upserted_ids {
            let mut entry = rawdoc! { "index": i32::try_from(*index).unwrap_or(i32::MAX) };
            entry.append(cstr!("_id"), raw(id.clone())?);
            upserted.push(entry);
        }
        answer.append(cstr!("upserted"), upserted);
    }
    Ok(written.finish(answer))
}

/// A value for an answer.
pub(super) fn raw(value: Bson) -> CommandResult<RawBson> {
    RawBson::try_from(value).map_err(|error| CommandError::new(code::INTERNAL_ERROR, error.to_string()))
}

/// One statement of `updates`.
fn model(statement: &RawDocument, bypass: bool) -> CommandResult<WriteModel> {
    const COMMAND: &str = "update.updates";
    let (mut filter, mut change, mut multi) = (None, None, false);
    let mut options = UpdateOptions {
        bypass_document_validation: bypass,
        ..UpdateOptions::default()
    };
    for field in fields(COMMAND, statement) {
        let field = field?;
        match field.name {
            "q" => filter = Some(field.owned()?),
            "u" => change = Some(field),
            "multi" => multi = field.boolean()?,
            "upsert" => options.upsert = field.boolean()?,
            "arrayFilters" => {
                options.array_filters = field.documents()?.into_iter().map(RawDocument::to_owned).collect();
            }
            "hint" => options.hint = field.hint()?,
            "sort" => options.sort = field.filled()?,
            "collation" => options.collation = field.filled()?,
            "c" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let filter = filter.ok_or_else(|| missing(COMMAND, "q"))?;
    let change = modifications(change.ok_or_else(|| missing(COMMAND, "u"))?)?;
    write_model(filter, change, options, multi)
}

/// The update or the replacement of what a filter finds: of all of it, or of the first.
pub(super) fn write_model(
    filter: RawDocumentBuf,
    change: Change,
    options: UpdateOptions,
    multi: bool,
) -> CommandResult<WriteModel> {
    Ok(match change {
        Change::Replacement(_) if multi => {
            return Err(CommandError::new(
                code::FAILED_TO_PARSE,
                "multi update is not supported for replacement-style update",
            ));
        }
        Change::Replacement(replacement) => WriteModel::ReplaceOne {
            filter,
            replacement,
            options: ReplaceOptions {
                upsert: options.upsert,
                sort: options.sort,
                hint: options.hint,
                bypass_document_validation: options.bypass_document_validation,
                collation: options.collation,
            },
        },
        Change::Update(update) if multi => WriteModel::UpdateMany {
            filter,
            update,
            options,
        },
        Change::Update(update) => WriteModel::UpdateOne {
            filter,
            update,
            options,
        },
    })
}

/// What becomes of a document.
pub(super) enum Change {
    Update(UpdateModifications),
    Replacement(RawDocumentBuf),
}

/// A pipeline, a document of update operators, or a replacement: a document whose first field is no operator.
pub(super) fn modifications(field: Value<'_>) -> CommandResult<Change> {
    if matches!(field.value, RawBsonRef::Array(_)) {
        let stages = field.documents()?.into_iter().map(RawDocument::to_owned);
        return Ok(Change::Update(stages.collect::<Vec<_>>().into()));
    }
    let document = field.document()?;
    let first = document.iter().next().and_then(Result::ok);
    Ok(match first {
        Some((name, _)) if name.as_str().starts_with('$') => Change::Update(document.into()),
        _ => Change::Replacement(document.to_owned()),
    })
}
