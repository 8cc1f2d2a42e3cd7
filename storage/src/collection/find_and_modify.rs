//! Finding a document and changing it at once (MongoDB manual: *findAndModify*).
//!
//! What is returned is the very version that was changed, or what it was changed to: nobody else comes in between.

use bson::{Bson, RawDocument, RawDocumentBuf};
use tailwater_matcher::Collation;

use super::{
    Collection, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, UpdateModifications,
};
use crate::error::Result;
use crate::write::{Modification, Modified};

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
        let modification =
            Modification::find_one_and_update(filter, &update.into(), options, self.collation().as_ref())?;
        Ok(self.run(&modification)?.document)
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
        let modification = Modification::find_one_and_replace(filter, replacement, options, self.collation().as_ref())?;
        Ok(self.run(&modification)?.document)
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
        let modification = Modification::find_one_and_delete(filter, options, self.collation().as_ref())?;
        Ok(self.run(&modification)?.document)
    }

    /// Changes the first document that matches, and tells besides the document what has become of it (MongoDB manual:
    /// *findAndModify*).
    ///
    /// # Errors
    ///
    /// Those of the operation that it is.
    pub fn find_and_modify(&self, filter: &RawDocument, operation: &FindAndModify) -> Result<FindAndModifyOutcome> {
        self.run(&operation.modification(filter, self.collation().as_ref())?)
    }

    fn run(&self, modification: &Modification) -> Result<FindAndModifyOutcome> {
        let modified = self.writer().modify_first(modification)?;
        self.settle_write(modified.as_ref().and_then(|modified| modified.op_id))?;
        Ok(modified.map(FindAndModifyOutcome::from).unwrap_or_default())
    }
}

/// One of the operations that find a document, change it, and return it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum FindAndModify {
    /// As [`Collection::find_one_and_update_with`].
    Update {
        /// What becomes of it.
        update: UpdateModifications,
        /// The options.
        options: FindOneAndUpdateOptions,
    },
    /// As [`Collection::find_one_and_replace_with`].
    Replace {
        /// What takes its place.
        replacement: RawDocumentBuf,
        /// The options.
        options: FindOneAndReplaceOptions,
    },
    /// As [`Collection::find_one_and_delete_with`].
    Delete {
        /// The options.
        options: FindOneAndDeleteOptions,
    },
}

impl FindAndModify {
    pub(crate) fn modification(&self, filter: &RawDocument, default: Option<&Collation>) -> Result<Modification> {
        match self {
            FindAndModify::Update { update, options } => {
                Modification::find_one_and_update(filter, update, options, default)
            }
            FindAndModify::Replace { replacement, options } => {
                Modification::find_one_and_replace(filter, replacement, options, default)
            }
            FindAndModify::Delete { options } => Modification::find_one_and_delete(filter, options, default),
        }
    }
}

/// What has become of a document that was looked for to be changed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FindAndModifyOutcome {
    /// The version that was asked for of what was asked for, if there is one.
    pub document: Option<RawDocumentBuf>,
    /// Whether a document matched.
    pub matched: bool,
    /// The `_id` of the document that an upsert has inserted, as nothing matched.
    pub upserted_id: Option<Bson>,
}

impl From<Modified> for FindAndModifyOutcome {
    fn from(modified: Modified) -> FindAndModifyOutcome {
        FindAndModifyOutcome {
            document: modified.document,
            matched: modified.matched,
            upserted_id: modified.upserted_id,
        }
    }
}
