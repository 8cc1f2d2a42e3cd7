//! Updating and replacing documents.

use bson::{DateTime, RawDocument};

use super::{Collection, ReplaceOptions, UpdateModifications, UpdateOptions, WriteOutcome};
use crate::error::{Error, Result};
use crate::write::{Modification, Reach};

impl Collection {
    /// Changes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`], and the log's errors.
    pub fn update_one(&self, filter: &RawDocument, update: impl Into<UpdateModifications>) -> Result<WriteOutcome> {
        self.update_one_with(filter, update, &UpdateOptions::default())
    }

    /// Changes the first document that matches, or inserts one.
    ///
    /// An upsert is atomic: of equal ones at the same time one inserts, and the others change what it has inserted.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one`]; [`Error::InvalidSort`], [`Error::BadHint`]; when it inserts, those of
    /// [`Collection::insert_one`].
    pub fn update_one_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &UpdateOptions,
    ) -> Result<WriteOutcome> {
        let (default, now) = (self.collation(), DateTime::now());
        let modification = Modification::update(filter, Reach::First, &update.into(), options, default.as_ref(), now)?;
        self.modify(&modification)
    }

    /// Changes every document that matches. Each is changed atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one`]; [`Error::ChangeMany`] when documents were changed before the error. They stay changed,
    /// as durably as asked.
    pub fn update_many(&self, filter: &RawDocument, update: impl Into<UpdateModifications>) -> Result<WriteOutcome> {
        self.update_many_with(filter, update, &UpdateOptions::default())
    }

    /// Changes every document that matches, or inserts one.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_many`] and [`Collection::update_one_with`].
    pub fn update_many_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &UpdateOptions,
    ) -> Result<WriteOutcome> {
        let (default, now) = (self.collation(), DateTime::now());
        let modification = Modification::update(filter, Reach::All, &update.into(), options, default.as_ref(), now)?;
        self.modify(&modification)
    }

    /// Replaces the first document that matches; its `_id` stays. A replacement may name the same `_id`, also as a number of
    /// another type (`1.0` for `1`), which then takes the stored one's place, as in MongoDB.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidReplacement`], [`Error::InvalidDocument`], [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`]
    /// when its `_id` is another, and the log's errors.
    pub fn replace_one(&self, filter: &RawDocument, replacement: &RawDocument) -> Result<WriteOutcome> {
        self.replace_one_with(filter, replacement, &ReplaceOptions::default())
    }

    /// Replaces the first document that matches, or inserts the replacement. Upserts are atomic, as those of
    /// [`Collection::update_one_with`].
    ///
    /// # Errors
    ///
    /// As [`Collection::replace_one`]; [`Error::InvalidSort`], [`Error::BadHint`]; when it inserts, those of
    /// [`Collection::insert_one`].
    pub fn replace_one_with(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &ReplaceOptions,
    ) -> Result<WriteOutcome> {
        let (default, now) = (self.collation(), DateTime::now());
        self.modify(&Modification::replace(
            filter,
            replacement,
            options,
            default.as_ref(),
            now,
        )?)
    }

    /// Carries out a modification, and waits for durability.
    pub(super) fn modify(&self, modification: &Modification) -> Result<WriteOutcome> {
        let mut outcome = WriteOutcome::default();
        let modified = self.writer().modify(modification, &mut outcome);
        // Also before an error: what is reported as changed, or as it is, is as durable as asked. One that goes on to the last
        // document may have found nothing to do, behind its last change.
        self.settle_write(outcome.op_id.filter(|_| modification.reach == Reach::First))?;
        match modified {
            Ok(()) => Ok(outcome),
            Err(error) if outcome.modified == 0 => Err(error),
            Err(error) => Err(Error::ChangeMany {
                modified: outcome.modified,
                source: Box::new(error),
            }),
        }
    }
}
