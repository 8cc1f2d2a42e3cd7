//! What the commands that write have in common: how many writes they take, and how they report those that failed.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawDocumentBuf};
use tailwater::{BulkWriteOptions, BulkWriteOutcome, Error, WriteError, WriteModel};

use super::hello::WRITES_MAX;
use crate::context::{Context, Target};
use crate::error::{CommandError, CommandResult, write_error};

/// After so many bytes of errors those that follow have neither text nor keys: the answer must fit into a message.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// What has become of a command's writes.
#[derive(Default)]
pub(super) struct Written {
    /// Documents that an insert has inserted.
    pub(super) count: u64,
    pub(super) outcome: BulkWriteOutcome,
    errors: Vec<WriteError>,
}

impl Written {
    /// Carries out updates or deletions, in the transaction if there is one.
    pub(super) fn of_models(context: &Context<'_>, models: Vec<WriteModel>, ordered: bool) -> CommandResult<Written> {
        let mut written = Written::default();
        match context.target()? {
            Target::Collection(collection) => match collection.bulk_write_with(models, &BulkWriteOptions { ordered }) {
                Ok(outcome) => written.outcome = outcome,
                Err(Error::BulkWrite { errors, outcome }) => (written.errors, written.outcome) = (errors, *outcome),
                Err(error) => return Err(error.into()),
            },
            Target::Transaction(collection) => match collection.bulk_write(models) {
                Ok(outcome) => written.outcome = outcome,
                Err(error) => written.refused_in_transaction(error)?,
            },
        }
        Ok(written)
    }

    /// An insert outside of a transaction has not inserted all of them.
    pub(super) fn refused_insert(&mut self, error: Error) -> CommandResult<()> {
        match error {
            // It ends with the one that was refused.
            Error::InsertMany { index, source } => {
                self.count = index as u64;
                self.errors.push(WriteError { index, error: *source });
            }
            Error::BulkWrite { errors, outcome } => {
                self.count = outcome.inserted;
                self.errors = errors;
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// A write of a transaction has failed, and the transaction with it: reported with the write, as MongoDB does, unless it may
    /// be tried again, which a client looks for in the answer itself.
    pub(super) fn refused_in_transaction(&mut self, error: Error) -> CommandResult<()> {
        let (index, error) = match error {
            Error::InsertMany { index, source } => (index, *source),
            Error::BulkWrite { mut errors, outcome } if !errors.is_empty() => {
                self.outcome = *outcome;
                let first = errors.swap_remove(0);
                (first.index, first.error)
            }
            error => (0, error),
        };
        let of_write = matches!(
            error,
            Error::DuplicateKey { .. } | Error::DocumentFailedValidation { .. }
        );
        if !of_write {
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
        answer
    }
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
