//! A write to documents that are there, checked and ready to be staged on any number of them: an update, a replacement or a
//! deletion, and what an upsert inserts where there is none.

use std::sync::Arc;

use bson::{Bson, RawBson, RawDocument, RawDocumentBuf};
use tailwater_matcher::Expression;
use tailwater_oplog::OpId;

use super::change::{Change, check_replacement};
use super::positional::Positions;
use crate::catalog::{CollectionInfo, Namespace};
use crate::collection::{
    DeleteOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, ReplaceOptions,
    ReturnDocument, UpdateModifications, UpdateOptions,
};
use crate::error::{Error, Result};
use crate::query::{Candidates, Query};
use crate::reading::Reading;
use crate::sort::SortPattern;
use crate::state::Stored;
use crate::update::{ApplyContext, Update};
use crate::workspace::{Found, Workspace, document_key};

/// How many of the matching documents a write concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    First,
    All,
}

impl Reach {
    pub(crate) fn documents_max(self) -> usize {
        match self {
            Reach::First => 1,
            Reach::All => usize::MAX,
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Modification {
    query: Query,
    pub(crate) reach: Reach,
    change: Change,
    /// The filter, which the document to insert begins with; nothing when none is to be inserted.
    upsert: Option<RawDocumentBuf>,
    /// Where the update asks which element the filter has matched.
    positions: Option<Positions>,
    bypass_validation: bool,
    returned: ReturnDocument,
}

impl Modification {
    /// An update by operators or by a pipeline.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Update`],
    /// [`Error::InvalidSort`].
    pub(crate) fn update(
        filter: &RawDocument,
        reach: Reach,
        update: &UpdateModifications,
        options: &UpdateOptions,
    ) -> Result<Modification> {
        let update = update.parse(&options.array_filters)?;
        let positions = update.is_positional().then(|| Positions::parse(filter)).transpose()?;
        let change = Change::Update(update);
        let sort = options.sort.as_deref().filter(|_| reach == Reach::First);
        let mut modification = Modification::new(filter, reach, change, sort)?;
        modification.query.hint.clone_from(&options.hint);
        modification.upsert = options.upsert.then(|| filter.to_owned());
        modification.positions = positions;
        modification.bypass_validation = options.bypass_document_validation;
        Ok(modification)
    }

    /// The replacement of one document.
    ///
    /// # Errors
    ///
    /// As [`Modification::update`]; [`Error::InvalidReplacement`] and
    /// [`Error::InvalidDocument`].
    pub(crate) fn replace(
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &ReplaceOptions,
    ) -> Result<Modification> {
        check_replacement(replacement)?;
        let change = Change::Update(Update::parse_replacement(replacement)?);
        let mut modification = Modification::new(filter, Reach::First, change, options.sort.as_deref())?;
        modification.query.hint.clone_from(&options.hint);
        modification.upsert = options.upsert.then(|| filter.to_owned());
        modification.bypass_validation = options.bypass_document_validation;
        Ok(modification)
    }

    /// A deletion.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`].
    pub(crate) fn delete(filter: &RawDocument, reach: Reach, options: &DeleteOptions) -> Result<Modification> {
        let mut modification = Modification::new(filter, reach, Change::Delete, None)?;
        modification.query.hint.clone_from(&options.hint);
        Ok(modification)
    }

    fn new(filter: &RawDocument, reach: Reach, change: Change, sort: Option<&RawDocument>) -> Result<Modification> {
        let mut query = Query::new(Arc::new(Expression::parse(filter)?));
        query.sort = sort.map(SortPattern::parse).transpose()?.flatten();
        Ok(Modification {
            query,
            reach,
            change,
            upsert: None,
            positions: None,
            bypass_validation: false,
            returned: ReturnDocument::Before,
        })
    }

    /// An update that returns the document.
    ///
    /// # Errors
    ///
    /// As [`Modification::update`].
    pub(crate) fn find_one_and_update(
        filter: &RawDocument,
        update: &UpdateModifications,
        options: &FindOneAndUpdateOptions,
    ) -> Result<Modification> {
        Ok(Modification {
            returned: options.return_document,
            ..Modification::update(filter, Reach::First, update, &options.update())?
        })
    }

    /// A replacement that returns the document.
    ///
    /// # Errors
    ///
    /// As [`Modification::replace`].
    pub(crate) fn find_one_and_replace(
        filter: &RawDocument,
        replacement: &RawDocument,
        options: &FindOneAndReplaceOptions,
    ) -> Result<Modification> {
        Ok(Modification {
            returned: options.return_document,
            ..Modification::replace(filter, replacement, &options.replace())?
        })
    }

    /// A deletion that returns the document.
    ///
    /// # Errors
    ///
    /// As [`Modification::delete`]; [`Error::InvalidSort`].
    pub(crate) fn find_one_and_delete(filter: &RawDocument, options: &FindOneAndDeleteOptions) -> Result<Modification> {
        let mut modification = Modification::new(filter, Reach::First, Change::Delete, options.sort.as_deref())?;
        modification.query.hint.clone_from(&options.hint);
        Ok(modification)
    }

    /// Whether the first document depends on all others.
    pub(crate) fn is_sorted(&self) -> bool {
        self.query.sort.is_some()
    }

    pub(crate) fn is_upsert(&self) -> bool {
        self.upsert.is_some()
    }

    /// The documents it concerns, as `reading` sees them.
    ///
    /// # Errors
    ///
    /// Those of [`Query::candidates`].
    pub(crate) fn candidates(&self, reading: &Reading, namespace: &Namespace) -> Result<Candidates> {
        let mut query = self.query.clone();
        if self.reach == Reach::First && query.sort.is_some() {
            query.limit = Some(1);
        }
        query.candidates(reading, namespace)
    }

    /// Whether it concerns this document.
    ///
    /// # Errors
    ///
    /// [`Error::Evaluate`].
    pub(crate) fn matches(&self, document: &RawDocument) -> Result<bool> {
        Ok(self.query.filter.matches(document)?)
    }

    /// Stages what becomes of a document.
    ///
    /// # Errors
    ///
    /// Those of [`Change::stage`].
    pub(crate) fn stage(
        &self,
        workspace: &mut Workspace,
        info: &Arc<CollectionInfo>,
        found: Found,
    ) -> Result<Modified> {
        let position = match &self.positions {
            Some(positions) => positions.of(found.document()?)?,
            None => None,
        };
        let (key, before) = (found.key.clone(), found.stored.clone());
        workspace.bypass_validation(self.bypass_validation);
        let changed = self.change.stage(workspace, info, found, position)?;
        Ok(Modified {
            before: Some(before),
            after: self.after(workspace, info, &key)?,
            upserted_id: None,
            changed,
            op_id: None,
        })
    }

    /// The document that an upsert inserts, with its `_id`; nothing when there is nothing to insert.
    ///
    /// # Errors
    ///
    /// [`Error::Update`].
    pub(crate) fn upserted(&self) -> Result<Option<RawDocumentBuf>> {
        match (&self.upsert, &self.change) {
            (Some(filter), Change::Update(update)) => Ok(Some(update.upsert(filter, &ApplyContext::default())?)),
            _ => Ok(None),
        }
    }

    /// Stages the insert of such a document.
    ///
    /// # Errors
    ///
    /// Those of [`Workspace::insert`].
    pub(crate) fn stage_upsert(
        &self,
        workspace: &mut Workspace,
        info: &Arc<CollectionInfo>,
        document: &RawDocument,
    ) -> Result<Modified> {
        workspace.bypass_validation(self.bypass_validation);
        let id = workspace.insert(info, document)?;
        Ok(Modified {
            before: None,
            after: self.after(workspace, info, &id_key(&id)?)?,
            upserted_id: Some(id),
            changed: true,
            op_id: None,
        })
    }

    /// A document as it is after, where that is asked for.
    fn after(&self, workspace: &Workspace, info: &CollectionInfo, key: &[u8]) -> Result<Option<Stored>> {
        match self.returned {
            ReturnDocument::After => workspace.reading().get(info.number, key),
            ReturnDocument::Before => Ok(None),
        }
    }

    /// The version of a modified document that is asked for.
    ///
    /// # Errors
    ///
    /// The state's.
    pub(crate) fn returned(&self, modified: Modified) -> Result<Option<RawDocumentBuf>> {
        let stored = match self.returned {
            ReturnDocument::Before => modified.before,
            ReturnDocument::After => modified.after,
        };
        stored.map(Stored::into_document).transpose()
    }
}

/// What has become of one document.
#[derive(Debug)]
pub(crate) struct Modified {
    /// The document that was found; nothing after an upsert that has inserted one.
    pub(crate) before: Option<Stored>,
    /// What it is now, if that is asked for.
    after: Option<Stored>,
    /// The `_id` of what an upsert has inserted.
    pub(crate) upserted_id: Option<Bson>,
    /// Whether anything has changed.
    pub(crate) changed: bool,
    /// The last entry, once there is one.
    pub(crate) op_id: Option<OpId>,
}

/// The engine's key of an `_id`.
///
/// # Errors
///
/// [`Error::InvalidId`].
pub(crate) fn id_key(id: &Bson) -> Result<Vec<u8>> {
    let raw = RawBson::try_from(id.clone()).map_err(|_| Error::InvalidId { what: "malformed" })?;
    document_key(raw.as_raw_bson_ref())
}
