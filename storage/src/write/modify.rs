//! A write to documents that are there, checked and ready to be staged on any number of them: an update, a replacement or a
//! deletion, and what an upsert inserts where there is none.

use std::sync::Arc;

use bson::{Bson, DateTime, RawBson, RawDocument, RawDocumentBuf};
use tailwater_matcher::Collation;
use tailwater_oplog::OpId;

use super::change::{Change, Prepared, check_replacement};
use super::positional::Positions;
use crate::catalog::{CollectionInfo, Namespace};
use crate::collection::{
    DeleteOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, ReplaceOptions,
    ReturnDocument, UpdateModifications, UpdateOptions,
};
use crate::document_id::document_key;
use crate::error::{Error, Result};
use crate::query::{Candidates, Language, Projection, Query, project};
use crate::reading::Reading;
use crate::update::{ApplyContext, Update};
use crate::workspace::{Found, Workspace};

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
    /// One moment for all that it changes.
    context: ApplyContext,
    /// Which version of the document is returned, and what of it; nothing when none is.
    returned: Option<Returned>,
}

#[derive(Debug)]
struct Returned {
    version: ReturnDocument,
    projection: Option<Projection>,
}

impl Returned {
    fn new(
        version: ReturnDocument,
        projection: Option<&RawDocument>,
        filter: &RawDocument,
        language: &Language,
    ) -> Result<Option<Returned>> {
        let projection = projection.map(|projection| Projection::parse(projection, filter, language));
        Ok(Some(Returned {
            version,
            projection: projection.transpose()?,
        }))
    }
}

impl Modification {
    /// An update by operators or by a pipeline. Here and in the others, `now` is what `$$NOW` and `$currentDate` take for the
    /// time, in the filter as in the change, and for every document; `default` is the collection's collation.
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
        default: Option<&Collation>,
        now: DateTime,
    ) -> Result<Modification> {
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        let update = update.parse(&options.array_filters, &language)?;
        let positions = update.is_positional().then(|| Positions::parse(filter, &language));
        let positions = positions.transpose()?;
        let change = Change::Update(update);
        let sort = options.sort.as_deref().filter(|_| reach == Reach::First);
        let mut modification = Modification::new(language.query(filter, sort)?, reach, change, now);
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
        default: Option<&Collation>,
        now: DateTime,
    ) -> Result<Modification> {
        check_replacement(replacement)?;
        let change = Change::Update(Update::parse_replacement(replacement)?);
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        let query = language.query(filter, options.sort.as_deref())?;
        let mut modification = Modification::new(query, Reach::First, change, now);
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
    pub(crate) fn delete(
        filter: &RawDocument,
        reach: Reach,
        options: &DeleteOptions,
        default: Option<&Collation>,
        now: DateTime,
    ) -> Result<Modification> {
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        let mut modification = Modification::new(language.query(filter, None)?, reach, Change::Delete, now);
        modification.query.hint.clone_from(&options.hint);
        Ok(modification)
    }

    fn new(query: Query, reach: Reach, change: Change, now: DateTime) -> Modification {
        Modification {
            query,
            reach,
            change,
            upsert: None,
            positions: None,
            bypass_validation: false,
            context: ApplyContext::at(now),
            returned: None,
        }
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
        default: Option<&Collation>,
    ) -> Result<Modification> {
        let now = DateTime::now();
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        Ok(Modification {
            returned: Returned::new(
                options.return_document,
                options.projection.as_deref(),
                filter,
                &language,
            )?,
            ..Modification::update(filter, Reach::First, update, &options.update(), default, now)?
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
        default: Option<&Collation>,
    ) -> Result<Modification> {
        let now = DateTime::now();
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        Ok(Modification {
            returned: Returned::new(
                options.return_document,
                options.projection.as_deref(),
                filter,
                &language,
            )?,
            ..Modification::replace(filter, replacement, &options.replace(), default, now)?
        })
    }

    /// A deletion that returns the document.
    ///
    /// # Errors
    ///
    /// As [`Modification::delete`]; [`Error::InvalidSort`].
    pub(crate) fn find_one_and_delete(
        filter: &RawDocument,
        options: &FindOneAndDeleteOptions,
        default: Option<&Collation>,
    ) -> Result<Modification> {
        let now = DateTime::now();
        let language = Language::new(options.collation.as_deref(), default)?.at(now);
        let query = language.query(filter, options.sort.as_deref())?;
        let mut modification = Modification::new(query, Reach::First, Change::Delete, now);
        modification.query.hint.clone_from(&options.hint);
        modification.returned =
            Returned::new(ReturnDocument::Before, options.projection.as_deref(), filter, &language)?;
        Ok(modification)
    }

    /// What it makes may fail the collection's validator.
    pub(crate) fn bypass_validation(&mut self) {
        self.bypass_validation = true;
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

    /// Computes what becomes of a document before it is staged, where that may take long.
    ///
    /// # Errors
    ///
    /// Those of [`Change::prepare`].
    pub(crate) fn prepare(&self, found: &Found) -> Result<Option<Prepared>> {
        self.change.prepare(found, &self.context)
    }

    /// Stages what becomes of a document, which may have been prepared.
    ///
    /// # Errors
    ///
    /// Those of [`Change::stage`].
    pub(crate) fn stage(
        &self,
        workspace: &mut Workspace,
        info: &Arc<CollectionInfo>,
        found: Found,
        prepared: Option<Prepared>,
    ) -> Result<Modified> {
        let matched_position = match &self.positions {
            Some(positions) => positions.of(found.document()?)?,
            None => None,
        };
        let kept = self.returned.as_ref().map(|returned| (returned, found.clone()));
        workspace.bypass_validation(self.bypass_validation);
        let context = ApplyContext {
            matched_position,
            ..self.context
        };
        let changed = self.change.stage(workspace, info, found, &context, prepared)?;
        // Before anything is committed, so that a projection that fails changes nothing.
        let document = match kept {
            Some((returned, before)) => {
                let stored = match returned.version {
                    ReturnDocument::Before => Some(before.stored),
                    ReturnDocument::After => workspace.reading().get(info.number, &before.key)?,
                };
                let projected = stored.map(|stored| project(returned.projection.as_ref(), stored));
                projected.transpose()?
            }
            None => None,
        };
        Ok(Modified {
            matched: true,
            changed,
            document,
            upserted_id: None,
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
            (Some(filter), Change::Update(update)) => Ok(Some(update.upsert(filter, &self.context)?)),
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
        let document = match &self.returned {
            Some(Returned {
                version: ReturnDocument::After,
                projection,
            }) => {
                let stored = workspace.reading().get(info.number, &id_key(&id)?)?;
                let projected = stored.map(|stored| project(projection.as_ref(), stored));
                projected.transpose()?
            }
            _ => None,
        };
        Ok(Modified {
            matched: false,
            changed: true,
            document,
            upserted_id: Some(id),
            op_id: None,
        })
    }
}

/// What has become of one document.
#[derive(Debug)]
pub(crate) struct Modified {
    /// Whether it was found; otherwise an upsert has inserted it.
    pub(crate) matched: bool,
    /// Whether anything has changed.
    pub(crate) changed: bool,
    /// The version that is to be returned, projected.
    pub(crate) document: Option<RawDocumentBuf>,
    /// The `_id` of what an upsert has inserted.
    pub(crate) upserted_id: Option<Bson>,
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
