//! `insert`.

use bson::rawdoc;
use tailwater::InsertManyOptions;
use tailwater_auth::Action;

use super::bulk::{Written, check_count};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;
use crate::needs::{self, Need};
use crate::request::Request;

pub(super) const INSERT: Command = Command {
    name: "insert",
    aliases: &[],
    help: "Inserts documents",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    needs: Needs::Fields(needs),
    run: insert,
};

fn needs<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let collection = needs::collection(request)?;
    let mut needs = vec![(Action::Insert, collection)];
    if needs::asks_to_bypass(request) {
        needs.push((Action::BypassDocumentValidation, collection));
    }
    Ok(needs)
}

fn insert(context: &mut Context<'_>) -> CommandResult {
    let mut options = InsertManyOptions::default();
    for field in context.request.arguments() {
        match field.name {
            "documents" => {}
            "ordered" => options.ordered = field.boolean()?,
            "bypassDocumentValidation" => options.bypass_document_validation = field.boolean()?,
            _ => return Err(field.unknown()),
        }
    }
    let documents = context.request.documents("documents")?;
    check_count("documents", documents.len())?;
    let written = Written::of_inserts(context, &documents, &options)?;
    Ok(written.finish(rawdoc! { "n": written.count() }))
}
