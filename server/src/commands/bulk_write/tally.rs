//! What a `bulkWrite` has done: a result for each operation, and their sums.

use bson::raw::cstr;
use bson::{RawDocumentBuf, rawdoc};
use tailwater::{BulkWriteOptions, BulkWriteOutcome, Error, StatementOutcome, WriteError, WriteModel};

use crate::commands::bulk::{ERROR_BYTES_MAX, is_delete, number};
use crate::commands::update::raw;
use crate::error::{CommandResult, write_error};

/// See the module documentation.
pub(super) struct Tally {
    pub(super) options: BulkWriteOptions,
    errors_only: bool,
    /// By the operation's index.
    results: Vec<(usize, RawDocumentBuf)>,
    sums: BulkWriteOutcome,
    errors: u64,
    error_bytes: usize,
    ended: bool,
}

impl Tally {
    pub(super) fn new(options: BulkWriteOptions, errors_only: bool) -> Tally {
        Tally {
            options,
            errors_only,
            results: Vec::new(),
            sums: BulkWriteOutcome::default(),
            errors: 0,
            error_bytes: 0,
            ended: false,
        }
    }

    /// Whether no more operations are carried out.
    pub(super) fn is_over(&self) -> bool {
        self.ended || (self.options.ordered && self.errors > 0)
    }

    /// Carries out no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    fn succeed(&mut self, index: usize, n: u64) -> Option<&mut RawDocumentBuf> {
        if self.errors_only {
            return None;
        }
        let result = rawdoc! { "ok": 1.0, "idx": i32::try_from(index).unwrap_or(i32::MAX), "n": number(n) };
        self.results.push((index, result));
        self.results.last_mut().map(|(_, result)| result)
    }

    /// Counts an operation that was carried out.
    pub(super) fn add(&mut self, index: usize, model: &WriteModel, outcome: &BulkWriteOutcome) -> CommandResult<()> {
        self.sum(outcome);
        let n = outcome.inserted + outcome.matched + outcome.upserted + outcome.deleted;
        let is_update = !is_delete(model) && !matches!(model, WriteModel::InsertOne { .. });
        let upserted = outcome.upserted_ids.values().next();
        let upserted = upserted.map(|id| raw(id.clone())).transpose()?;
        let modified = number(outcome.modified);
        if let Some(result) = self.succeed(index, n)
            && is_update
        {
            result.append(cstr!("nModified"), modified);
            if let Some(id) = upserted {
                let mut document = RawDocumentBuf::new();
                document.append(cstr!("_id"), id);
                result.append(cstr!("upserted"), document);
            }
        }
        Ok(())
    }

    /// Counts an operation that was carried out when the command came before.
    pub(super) fn add_done(&mut self, index: usize, model: &WriteModel, done: &StatementOutcome) {
        let mut outcome = BulkWriteOutcome::default();
        match (model, &done.upserted_id) {
            (WriteModel::InsertOne { .. }, _) => outcome.inserted = 1,
            (model, _) if is_delete(model) => outcome.deleted = 1,
            (_, Some(id)) => {
                outcome.upserted = 1;
                outcome.upserted_ids.insert(0, id.clone());
            }
            (_, None) => (outcome.matched, outcome.modified) = (1, u64::from(done.modified)),
        }
        // What the store has kept can be shown: it came from BSON.
        let _ = self.add(index, model, &outcome);
    }

    /// Counts inserts, of which these have failed, by their place among them; ordered ones end with the first.
    pub(super) fn add_inserts(&mut self, indexes: &[usize], errors: Vec<WriteError>) {
        let mut errors = errors.into_iter().peekable();
        for (place, index) in indexes.iter().enumerate() {
            match errors.next_if(|error| error.index == place) {
                Some(error) => {
                    self.refuse(*index, 0, error.error);
                    if self.options.ordered {
                        return;
                    }
                }
                None => {
                    self.sums.inserted += 1;
                    self.succeed(*index, 1);
                }
            }
        }
    }

    /// Counts an operation that has failed, and what it had done by then.
    pub(super) fn fail(&mut self, index: usize, model: &WriteModel, error: Error, outcome: &BulkWriteOutcome) {
        self.sum(outcome);
        let n = match is_delete(model) {
            true => outcome.deleted,
            false => outcome.matched + outcome.upserted,
        };
        self.refuse(index, n, error);
    }

    fn refuse(&mut self, index: usize, n: u64, error: Error) {
        self.errors += 1;
        let error = write_error(&WriteError { index, error }, self.error_bytes > ERROR_BYTES_MAX);
        self.error_bytes += error.as_bytes().len();
        let mut result = rawdoc! { "ok": 0.0, "idx": i32::try_from(index).unwrap_or(i32::MAX), "n": number(n) };
        for (name, value) in error.iter().flatten().filter(|(name, _)| name.as_str() != "index") {
            result.append(name, value);
        }
        self.results.push((index, result));
    }

    fn sum(&mut self, outcome: &BulkWriteOutcome) {
        let sums = &mut self.sums;
        sums.inserted += outcome.inserted;
        sums.matched += outcome.matched;
        sums.modified += outcome.modified;
        sums.deleted += outcome.deleted;
        sums.upserted += outcome.upserted;
    }

    /// The results, in the order of the operations.
    pub(super) fn results(&mut self) -> Vec<RawDocumentBuf> {
        let mut results = std::mem::take(&mut self.results);
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Adds the sums to the answer.
    pub(super) fn finish(&self, answer: &mut RawDocumentBuf) {
        answer.append(cstr!("nErrors"), number(self.errors));
        answer.append(cstr!("nInserted"), number(self.sums.inserted));
        answer.append(cstr!("nMatched"), number(self.sums.matched));
        answer.append(cstr!("nModified"), number(self.sums.modified));
        answer.append(cstr!("nUpserted"), number(self.sums.upserted));
        answer.append(cstr!("nDeleted"), number(self.sums.deleted));
    }
}
