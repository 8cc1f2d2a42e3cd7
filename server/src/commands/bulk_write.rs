//! `bulkWrite`: inserts, updates and deletions in any collections in one command (MongoDB manual: *bulkWrite*).

mod operation;
mod tally;

use std::collections::BTreeSet;

use bson::RawDocumentBuf;
use bson::raw::cstr;
use tailwater::{BulkWriteOptions, BulkWriteOutcome, Durability, Error, InsertManyOptions, WriteError, WriteModel};
use tailwater_auth::Action;

use super::bulk::{check_count, check_server, is_of_many};
use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::cursor::{Cursor, Fill};
use crate::error::{CommandError, CommandResult, code};
use crate::oplog_view;
use crate::reply::{self, Batch};
use crate::statements::Statements;
use crate::value::{Value, fields};
use operation::{Namespaces, Operation};
use tally::Tally;

pub(super) const BULK_WRITE: Command = Command {
    name: "bulkWrite",
    aliases: &[],
    help: "Inserts, updates and deletes in several collections",
    kind: Kind::Retryable,
    runs: Runs::Primary,
    // And what its operations need, as soon as they have been parsed.
    needs: Needs::Login,
    run: bulk_write,
};

/// The collection that the cursor of the results names.
const CURSOR_COLLECTION: &str = "$cmd.bulkWrite";

fn bulk_write(context: &mut Context<'_>) -> CommandResult {
    let mut options = BulkWriteOptions::default();
    let (mut errors_only, mut batch_size) = (false, None);
    for field in context.request.arguments() {
        match field.name {
            "ops" | "nsInfo" => {}
            "ordered" => options.ordered = field.boolean()?,
            "errorsOnly" => errors_only = field.boolean()?,
            "bypassDocumentValidation" => options.bypass_document_validation = field.boolean()?,
            "let" => field.no_variables()?,
            "cursor" => batch_size = cursor_batch_size(field)?,
            _ => return Err(field.unknown()),
        }
    }
    if context.request.database != "admin" {
        let message = "bulkWrite may only be run against the admin database.";
        return Err(CommandError::new((13, "Unauthorized"), message));
    }
    let operations = context.request.documents("ops")?;
    check_count("ops", operations.len())?;
    let namespaces = context.request.documents("nsInfo")?;
    let namespaces = Namespaces::parse(&namespaces)?;
    let parsed = operations
        .iter()
        .map(|operation| Operation::parse(operation, &namespaces));
    let operations = parsed.collect::<CommandResult<Vec<_>>>()?;
    let needs: BTreeSet<_> = operations.iter().flat_map(Operation::needs).collect();
    for (action, namespace) in needs {
        oplog_view::refuse(namespace.database, namespace.collection)?;
        context.require(action, namespace.resource())?;
        if options.bypass_document_validation {
            context.require(Action::BypassDocumentValidation, namespace.resource())?;
        }
    }
    let statements = Statements::of(context, operations.len(), options.ordered)?;
    if statements.is_retryable() && operations.iter().any(|operation| is_of_many(&operation.model)) {
        return Err(CommandError::new(
            code::INVALID_OPTIONS,
            "Cannot use retryable writes with multi=true",
        ));
    }
    let mut tally = Tally::new(options, errors_only);
    run(context, operations, &statements, &mut tally)?;
    let namespace = format!("{}.{CURSOR_COLLECTION}", context.request.database);
    let (batch, id) = tell(context, tally.results(), batch_size, &namespace)?;
    let mut answer = reply::cursor(cstr!("firstBatch"), batch, id, &namespace, None);
    tally.finish(&mut answer);
    statements.name_retried(&mut answer);
    Ok(answer)
}

/// The first batch of the results, and the cursor for the rest. All has been written by now, so it is told although somebody has
/// asked for the command's end meanwhile. Where there is no place for a cursor there is none, and the one batch has as much as it
/// holds: the counts tell of all, and a client that were told of an error would write it all again.
fn tell(
    context: &Context<'_>,
    results: Vec<RawDocumentBuf>,
    batch_size: Option<u64>,
    namespace: &str,
) -> CommandResult<(Batch, i64)> {
    let interrupts = context.interrupts.without_kill();
    let first_of = |results, count_max| {
        let mut cursor = Cursor::of_list(results);
        let batch = cursor.fill(Fill {
            count_max,
            time: None,
            deadline: None,
            awaits: false,
            interrupts: &interrupts,
        })?;
        CommandResult::Ok((cursor, batch))
    };
    let all = batch_size.map(|_| results.clone());
    let (cursor, batch) = first_of(results, batch_size)?;
    match (context.keep(cursor, namespace, false), all) {
        (Ok(id), _) => Ok((batch, id)),
        (Err(_), None) => Ok((batch, 0)),
        (Err(_), Some(all)) => Ok((first_of(all, None)?.1, 0)),
    }
}

fn cursor_batch_size(field: Value<'_>) -> CommandResult<Option<u64>> {
    let mut size = None;
    for option in fields("bulkWrite.cursor", field.document()?) {
        let option = option?;
        match option.name {
            "batchSize" => size = Some(option.count()?),
            _ => return Err(option.unknown()),
        }
    }
    Ok(size)
}

/// Carries out what is left of the operations: inserts that follow each other as one, and all with one wait for the disk.
fn run(
    context: &Context<'_>,
    mut operations: Vec<Operation<'_>>,
    statements: &Statements,
    tally: &mut Tally,
) -> CommandResult<()> {
    for done in &statements.done {
        tally.add_done(done.index, &operations[done.index].model, &done.outcome);
    }
    for &index in &statements.idle {
        tally.add(index, &operations[index].model, &BulkWriteOutcome::default())?;
    }
    operations = statements.select(operations);
    let mut rest = &operations[..];
    let mut next = 0;
    while let Some(first) = rest.first()
        && !tally.is_over()
    {
        let is_same = |other: &&Operation<'_>| other.namespace == first.namespace && other.insert().is_some();
        let inserts = match first.insert() {
            Some(_) => rest.iter().take_while(is_same).count(),
            None => 0,
        };
        let (now, behind) = rest.split_at(inserts.max(1));
        let selected: Vec<usize> = (next..next + now.len()).collect();
        let indexes: Vec<usize> = selected.iter().map(|&index| statements.index(index)).collect();
        match context.transaction {
            Some(_) => run_in_transaction(context, now, &indexes, tally)?,
            None => run_alone(context, now, &selected, &indexes, statements, tally)?,
        }
        rest = behind;
        next += now.len();
    }
    // Each has been written without waiting.
    if context.transaction.is_none() && context.request.acknowledged.durability != Some(Durability::Memory) {
        context.server.store.sync()?;
    }
    Ok(())
}

/// A run of inserts into one collection, or one other write.
fn run_alone(
    context: &Context<'_>,
    operations: &[Operation<'_>],
    selected: &[usize],
    indexes: &[usize],
    statements: &Statements,
    tally: &mut Tally,
) -> CommandResult<()> {
    let namespace = operations[0].namespace;
    let store = &context.server.store;
    let collection = store.collection(namespace.database, namespace.collection)?;
    let collection = statements.collection_for(collection.with_durability(Durability::Memory), selected);
    let options = tally.options;
    if operations[0].insert().is_some() {
        let documents = operations.iter().filter_map(Operation::insert);
        let inserted = collection.insert_many_with(
            documents,
            &InsertManyOptions {
                ordered: options.ordered,
                bypass_document_validation: options.bypass_document_validation,
            },
        );
        let errors = match inserted {
            Ok(_) => Vec::new(),
            Err(Error::InsertMany { index, source }) => vec![WriteError { index, error: *source }],
            Err(Error::BulkWrite { errors, .. }) => errors,
            Err(error) => return Err(error.into()),
        };
        check_server(&errors)?;
        tally.add_inserts(indexes, errors);
        return Ok(());
    }
    let model = operations[0].model.clone();
    match collection.bulk_write_with([model], &options) {
        Ok(outcome) => tally.add(indexes[0], &operations[0].model, &outcome)?,
        Err(Error::BulkWrite { mut errors, outcome }) if !errors.is_empty() => {
            check_server(&errors)?;
            tally.fail(indexes[0], &operations[0].model, errors.swap_remove(0).error, &outcome);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The same in a transaction, which what fails ends.
fn run_in_transaction(
    context: &Context<'_>,
    operations: &[Operation<'_>],
    indexes: &[usize],
    tally: &mut Tally,
) -> CommandResult<()> {
    let Some(transaction) = context.transaction else {
        return Ok(());
    };
    let namespace = operations[0].namespace;
    let collection = transaction.collection(namespace.database, namespace.collection)?;
    let models: Vec<WriteModel> = operations.iter().map(|operation| operation.model.clone()).collect();
    for (index, model) in indexes.iter().zip(models) {
        if tally.is_over() {
            break;
        }
        match collection.bulk_write_with([model.clone()], &tally.options) {
            Ok(outcome) => tally.add(*index, &model, &outcome)?,
            Err(error) => {
                let (error, outcome) = match error {
                    Error::BulkWrite { mut errors, outcome } if !errors.is_empty() => {
                        (errors.swap_remove(0).error, *outcome)
                    }
                    error => return Err(error.into()),
                };
                if !super::bulk::is_of_write(&error) {
                    return Err(error.into());
                }
                tally.fail(*index, &model, error, &outcome);
                tally.end();
            }
        }
    }
    Ok(())
}
