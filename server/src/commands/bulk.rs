//! What the commands that write have in common: how many writes they take, and how they report those that failed.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawDocument, RawDocumentBuf};
use tailwater::{BulkWriteOptions, BulkWriteOutcome, Error, InsertManyOptions, WriteError, WriteModel};

use super::hello::WRITES_MAX;
use crate::context::{Context, Target};
use crate::error::{CommandError, CommandResult, RETRYABLE, code, write_error};
use crate::statements::Statements;

/// After so many bytes of errors those that follow have neither text nor keys: the answer must fit into a message.
pub(super) const ERROR_BYTES_MAX: usize = 1 << 20;

/// What has become of a command's writes.
#[derive(Default)]
pub(super) struct Written {
    /// Documents that an insert has inserted.
    pub(super) count: u64,
    pub(super) outcome: BulkWriteOutcome,
    errors: Vec<WriteError>,
    statements: Statements,
}

impl Written {
    /// Carries out updates or deletions, in the transaction if there is one.
    pub(super) fn of_models(context: &Context<'_>, models: Vec<WriteModel>, ordered: bool) -> CommandResult<Written> {
        let statements = Statements::of(context, models.len(), ordered)?;
        if statements.is_retryable() && models.iter().any(is_of_many) {
            return Err(CommandError::new(
                code::INVALID_OPTIONS,
                "Cannot use retryable writes with multi=true or limit=0",
            ));
        }
        let mut written = Written {
            statements,
            ..Written::default()
        };
        let deletes = models.first().is_some_and(is_delete);
        let models = written.statements.select(models);
        match context.target()? {
            Target::Collection(_) if written.statements.is_complete() => {}
            Target::Collection(collection) => {
                let collection = written.statements.collection(collection);
                match collection.bulk_write_with(
                    models,
                    &BulkWriteOptions {
                        ordered,
                        ..BulkWriteOptions::default()
                    },
                ) {
                    Ok(outcome) => written.outcome = outcome,
                    Err(Error::BulkWrite { errors, outcome }) => {
                        check_server(&errors)?;
                        (written.errors, written.outcome) = (errors, *outcome);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Target::Transaction(collection) => match collection.bulk_write(models) {
                Ok(outcome) => written.outcome = outcome,
                Err(error) => written.refused_in_transaction(error)?,
            },
        }
        written.add_done(deletes);
        Ok(written)
    }

    /// Adds what was done when the command came before, and counts all by the indexes of the command.
    fn add_done(&mut self, deletes: bool) {
        let statements = &self.statements;
        for error in &mut self.errors {
            error.index = statements.index(error.index);
        }
        let outcome = &mut self.outcome;
        let upserted = std::mem::take(&mut outcome.upserted_ids).into_iter();
        outcome.upserted_ids = upserted.map(|(index, id)| (statements.index(index), id)).collect();
        for done in &statements.done {
            if deletes {
                outcome.deleted += 1;
            } else if let Some(id) = &done.outcome.upserted_id {
                outcome.upserted += 1;
                outcome.upserted_ids.insert(done.index, id.clone());
            } else {
                outcome.matched += 1;
                outcome.modified += u64::from(done.outcome.modified);
            }
        }
    }

    /// Inserts documents, in the transaction if there is one.
    pub(super) fn of_inserts(
        context: &Context<'_>,
        documents: &[&RawDocument],
        options: &InsertManyOptions,
    ) -> CommandResult<Written> {
        let statements = Statements::of(context, documents.len(), options.ordered)?;
        let mut written = Written {
            statements,
            ..Written::default()
        };
        let left;
        let documents = match written.statements.done.is_empty() {
            true => documents,
            false => {
                left = written.statements.select(documents.to_vec());
                &left
            }
        };
        match context.target()? {
            Target::Collection(_) if written.statements.is_complete() => {}
            Target::Collection(collection) => {
                let collection = written.statements.collection(collection);
                match collection.insert_many_with(documents.iter().copied(), options) {
                    Ok(outcome) => written.count = outcome.inserted_ids.len() as u64,
                    Err(error) => written.refused_insert(error)?,
                }
            }
            Target::Transaction(collection) => match collection.insert_many_with(documents.iter().copied(), options) {
                Ok(ids) => written.count = ids.len() as u64,
                Err(error) => written.refused_in_transaction(error)?,
            },
        }
        written.count += written.statements.done.len() as u64;
        for error in &mut written.errors {
            error.index = written.statements.index(error.index);
        }
        Ok(written)
    }

    /// An insert outside of a transaction has not inserted all of them.
    fn refused_insert(&mut self, error: Error) -> CommandResult<()> {
        match error {
            // It ends with the one that was refused.
            Error::InsertMany { index, source } => {
                let error = WriteError { index, error: *source };
                check_server(std::slice::from_ref(&error))?;
                self.count = index as u64;
                self.errors.push(error);
            }
            Error::BulkWrite { errors, outcome } => {
                check_server(&errors)?;
                self.count = outcome.inserted;
                self.errors = errors;
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// A write of a transaction has failed, and the transaction with it: reported with the write, as MongoDB does, unless it may
    /// be tried again, which a client looks for in the answer itself.
    fn refused_in_transaction(&mut self, error: Error) -> CommandResult<()> {
        let (index, error) = match error {
            Error::InsertMany { index, source } => (index, *source),
            Error::BulkWrite { mut errors, outcome } if !errors.is_empty() => {
                self.outcome = *outcome;
                let first = errors.swap_remove(0);
                (first.index, first.error)
            }
            error => (0, error),
        };
        if !is_of_write(&error) {
            return Err(error.into());
        }
        self.errors.push(WriteError { index, error });
        Ok(())
    }

    pub(super) fn count(&self) -> RawBson {
        number(self.count)
    }

    /// The answer with what failed.
    pub(super) fn finish(&self, mut answer: RawDocumentBuf) -> RawDocumentBuf {
        if !self.errors.is_empty() {
            let (mut errors, mut bytes) = (RawArrayBuf::new(), 0);
            for error in &self.errors {
                let error = write_error(error, bytes > ERROR_BYTES_MAX);
                bytes += error.as_bytes().len();
                errors.push(error);
            }
            answer.append(cstr!("writeErrors"), errors);
        }
        self.statements.name_retried(&mut answer);
        answer
    }
}

/// Refuses the command for what is no fault of a write: that the server ends, or takes no writes. Clients look for it in the answer
/// itself, and send what may be sent again elsewhere (driver specification: *Retryable Writes*).
pub(super) fn check_server(errors: &[WriteError]) -> CommandResult<()> {
    let mut errors = errors.iter().map(|error| CommandError::from(error.error.clone()));
    match errors.find(|error| RETRYABLE.contains(&error.code)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Whether the error of a write in a transaction says nothing of the transaction: MongoDB reports it with the write.
pub(super) fn is_of_write(error: &Error) -> bool {
    matches!(
        error,
        Error::DuplicateKey { .. } | Error::DocumentFailedValidation { .. }
    )
}

/// Whether it concerns any number of documents.
pub(super) fn is_of_many(model: &WriteModel) -> bool {
    matches!(model, WriteModel::UpdateMany { .. } | WriteModel::DeleteMany { .. })
}

pub(super) fn is_delete(model: &WriteModel) -> bool {
    matches!(model, WriteModel::DeleteOne { .. } | WriteModel::DeleteMany { .. })
}

/// A count as answers have it: of 32 bits, or of 64 where it takes them.
pub(super) fn number(count: u64) -> RawBson {
    match i32::try_from(count) {
        Ok(count) => RawBson::Int32(count),
        Err(_) => RawBson::Int64(i64::try_from(count).unwrap_or(i64::MAX)),
    }
}

/// Refuses a command with no writes, or with more than there may be.
pub(super) fn check_count(name: &str, count: usize) -> CommandResult<()> {
    if (1..=WRITES_MAX).contains(&count) {
        return Ok(());
    }
    Err(CommandError::new(
        (16, "InvalidLength"),
        format!("Write batch sizes must be between 1 and {WRITES_MAX}. Got {count} {name}."),
    ))
}
