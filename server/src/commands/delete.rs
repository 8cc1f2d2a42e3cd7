//! `delete`.

use bson::{RawDocument, rawdoc};
use tailwater::{DeleteOptions, WriteModel};
use tailwater_auth::Action;

use super::bulk::{Written, check_count, number};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::request::missing;
use crate::value::fields;

pub(super) const DELETE: Command = Command {
    name: "delete",
    aliases: &[],
    help: "Deletes documents",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::Remove]),
    run: delete,
};

fn delete(context: &mut Context<'_>) -> CommandResult {
    let mut ordered = true;
    for field in context.request.arguments() {
        match field.name {
            "deletes" => {}
            "ordered" => ordered = field.boolean()?,
            "let" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let statements = context.request.documents("deletes")?;
    check_count("deletes", statements.len())?;
    let models = statements
        .iter()
        .map(|statement| model(statement))
        .collect::<CommandResult<_>>()?;
    let written = Written::of_models(context, models, ordered)?;
    Ok(written.finish(rawdoc! { "n": number(written.outcome.deleted) }))
}

/// One statement of `deletes`.
fn model(statement: &RawDocument) -> CommandResult<WriteModel> {
    const COMMAND: &str = "delete.deletes";
    let (mut filter, mut limit) = (None, None);
    let mut options = DeleteOptions::default();
    for field in fields(COMMAND, statement) {
        let field = field?;
        match field.name {
            "q" => filter = Some(field.owned()?),
            "limit" => limit = Some(field.integer()?),
            "hint" => options.hint = field.hint()?,
            "collation" => options.collation = field.filled()?,
            _ => return Err(field.unknown()),
        }
    }
    let filter = filter.ok_or_else(|| missing(COMMAND, "q"))?;
    match limit.ok_or_else(|| missing(COMMAND, "limit"))? {
        0 => Ok(WriteModel::DeleteMany { filter, options }),
        1 => Ok(WriteModel::DeleteOne { filter, options }),
        other => Err(CommandError::new(
            code::FAILED_TO_PARSE,
            format!("The limit field in delete objects must be 0 or 1. Got {other}"),
        )),
    }
}
