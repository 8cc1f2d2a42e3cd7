//! Deleting documents.

use bson::{DateTime, RawDocument};

use super::{Collection, DeleteOptions, WriteOutcome};
use crate::error::Result;
use crate::write::{Modification, Reach};

impl Collection {
    /// Deletes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`](crate::Error::Filter), [`Error::Evaluate`](crate::Error::Evaluate), and the log's errors.
    pub fn delete_one(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.delete_one_with(filter, &DeleteOptions::default())
    }

    /// As [`Collection::delete_one`], finding it by a certain index.
    ///
    /// # Errors
    ///
    /// As there; [`Error::BadHint`](crate::Error::BadHint).
    pub fn delete_one_with(&self, filter: &RawDocument, options: &DeleteOptions) -> Result<WriteOutcome> {
        let (default, now) = (self.collation(), DateTime::now());
        self.modify(&Modification::delete(
            filter,
            Reach::First,
            options,
            default.as_ref(),
            now,
        )?)
    }

    /// Deletes every document that matches. Each is deleted atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_one`]; [`Error::ChangeMany`](crate::Error::ChangeMany) when documents were deleted before the
    /// error. They stay deleted, as durably as asked.
    pub fn delete_many(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.delete_many_with(filter, &DeleteOptions::default())
    }

    /// As [`Collection::delete_many`], finding them by a certain index.
    ///
    /// # Errors
    ///
    /// As there; [`Error::BadHint`](crate::Error::BadHint).
    pub fn delete_many_with(&self, filter: &RawDocument, options: &DeleteOptions) -> Result<WriteOutcome> {
        let (default, now) = (self.collation(), DateTime::now());
        self.modify(&Modification::delete(
            filter,
            Reach::All,
            options,
            default.as_ref(),
            now,
        )?)
    }
}
