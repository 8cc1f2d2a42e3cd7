//! Finding a document and changing it at once (MongoDB manual: *findAndModify*).
//!
//! What is returned is the very version that was changed, or what it was changed to: nobody else comes in between.

use bson::{RawDocument, RawDocumentBuf};

use super::{
    Collection, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, UpdateModifications,
};
use crate::error::Result;
use crate::write::Modification;

impl Collection {
    /// Changes the first document that matches, and returns it as it was; nothing when none matches.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one`].
    pub fn find_one_and_update(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_update_with(filter, update, &FindOneAndUpdateOptions::default())
    }

    /// Changes the first document that matches, or inserts one, and returns it as it was or is.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one_with`].
    pub fn find_one_and_update_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &FindOneAndUpdateOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_and_modify(&Modification::find_one_and_update(filter, &update.into(), options)?)
    }

    /// Replaces the first document that matches, and returns it as it was; nothing when none matches.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace_one`].
    pub fn find_one_and_replace(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_replace_with(filter, replacement, &FindOneAndReplaceOptions::default())
    }

    /// Replaces the first document that matches, or inserts the replacement, and returns it as it was or is.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace_one_with`].
    pub fn find_one_and_replace_with(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &FindOneAndReplaceOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_and_modify(&Modification::find_one_and_replace(filter, replacement, options)?)
    }

    /// Deletes the first document that matches, and returns it; nothing when none matches.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_one`].
    pub fn find_one_and_delete(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_delete_with(filter, &FindOneAndDeleteOptions::default())
    }

    /// Deletes the first document that matches in an order, and returns it.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_one_with`]; [`Error::InvalidSort`](crate::Error::InvalidSort).
    pub fn find_one_and_delete_with(
        &self,
        filter: &RawDocument,
        options: &FindOneAndDeleteOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_and_modify(&Modification::find_one_and_delete(filter, options)?)
    }

    fn find_and_modify(&self, modification: &Modification) -> Result<Option<RawDocumentBuf>> {
        let Some(modified) = self.writer().modify_first(modification)? else {
            return Ok(None);
        };
        if let Some(op_id) = modified.op_id {
            self.settle(op_id)?;
        }
        Ok(modified.document)
    }
}
