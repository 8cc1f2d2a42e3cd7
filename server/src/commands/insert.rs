//! `insert`.

use bson::rawdoc;
use tailwater::InsertManyOptions;
use tailwater_auth::Action;

use super::bulk::{Written, check_count};
use super::{Command, Kind, Needs};
use crate::context::{Context, Target};
use crate::error::CommandResult;

pub(super) const INSERT: Command = Command {
    name: "insert",
    aliases: &[],
    help: "Inserts documents",
    kind: Kind::Retryable,
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
    let mut written = Written::default();
    match context.target()? {
        Target::Collection(collection) => {
            let inserted = collection.insert_many_with(documents.iter().copied(), &InsertManyOptions { ordered });
            match inserted {
                Ok(outcome) => written.count = outcome.inserted_ids.len() as u64,
                Err(error) => written.refused_insert(error)?,
            }
        }
        Target::Transaction(collection) => match collection.insert_many(documents.iter().copied()) {
            Ok(ids) => written.count = ids.len() as u64,
            Err(error) => written.refused_in_transaction(error)?,
        },
    }
    Ok(written.finish(rawdoc! { "n": written.count() }))
}
