//! `insert`.

use bson::rawdoc;
use tailwater_auth::Action;

use super::bulk::{Written, check_count};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const INSERT: Command = Command {
    name: "insert",
    aliases: &[],
    help: "Inserts documents",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    needs: Needs::Collection(&[Action::Insert]),
    run: insert,
};

fn insert(context: &mut Context<'_>) -> CommandResult {
    let mut ordered = true;
    for field in context.request.arguments() {
        match field.name {
            "documents" => {}
            "ordered" => ordered = field.boolean()?,
            "bypassDocumentValidation" => field.unsupported(!field.boolean()?)?,
            _ => return Err(field.unknown()),
        }
    }
    let documents = context.request.documents("documents")?;
    check_count("documents", documents.len())?;
    let written = Written::of_inserts(context, &documents, ordered)?;
    Ok(written.finish(rawdoc! { "n": written.count() }))
}
