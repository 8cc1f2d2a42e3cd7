//! Finding a document and changing it, within a transaction.

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::Collation;

use super::TransactionCollection;
use crate::collection::{
    FindAndModify, FindAndModifyOutcome, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions,
    UpdateModifications,
};
use crate::error::Result;
use crate::write::Modification;

impl TransactionCollection<'_> {
    /// As [`Collection::find_one_and_update`](crate::Collection::find_one_and_update).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one`].
    pub fn find_one_and_update(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_update_with(filter, update, &FindOneAndUpdateOptions::default())
    }

    /// As [`Collection::find_one_and_update_with`](crate::Collection::find_one_and_update_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::update_one_with`].
    pub fn find_one_and_update_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &FindOneAndUpdateOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        let update = update.into();
        Ok(self
            .find_and_change(|default| Modification::find_one_and_update(filter, &update, options, default))?
            .document)
    }

    /// As [`Collection::find_one_and_replace`](crate::Collection::find_one_and_replace).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::replace_one`].
    pub fn find_one_and_replace(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
    ) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_replace_with(filter, replacement, &FindOneAndReplaceOptions::default())
    }

    /// As [`Collection::find_one_and_replace_with`](crate::Collection::find_one_and_replace_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::replace_one_with`].
    pub fn find_one_and_replace_with(
        &self,
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &FindOneAndReplaceOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        Ok(self
            .find_and_change(|default| Modification::find_one_and_replace(filter, replacement, options, default))?
            .document)
    }

    /// As [`Collection::find_one_and_delete`](crate::Collection::find_one_and_delete).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::delete_one`].
    pub fn find_one_and_delete(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        self.find_one_and_delete_with(filter, &FindOneAndDeleteOptions::default())
    }

    /// As [`Collection::find_one_and_delete_with`](crate::Collection::find_one_and_delete_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::delete_one_with`].
    pub fn find_one_and_delete_with(
        &self,
        filter: &RawDocument,
        options: &FindOneAndDeleteOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        Ok(self
            .find_and_change(|default| Modification::find_one_and_delete(filter, options, default))?
            .document)
    }

    /// As [`Collection::find_and_modify`](crate::Collection::find_and_modify).
    ///
    /// # Errors
    ///
    /// Those of the operation that it is.
    pub fn find_and_modify(&self, filter: &RawDocument, operation: &FindAndModify) -> Result<FindAndModifyOutcome> {
        self.find_and_change(|default| operation.modification(filter, default))
    }

    fn find_and_change(
        &self,
        modification: impl FnOnce(Option<&Collation>) -> Result<Modification>,
    ) -> Result<FindAndModifyOutcome> {
        self.transaction.run(|workspace| {
            let modification = modification(self.collation(workspace).as_ref())?;
            let mut first = FindAndModifyOutcome::default();
            self.modify_each(workspace, &modification, |modified| first = modified.into())?;
            Ok(first)
        })
    }
}
