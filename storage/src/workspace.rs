//! Where a write is computed: the state it sees, what it has staged so far, and the entries that will go into the log.
//!
//! A write of its own stages under the commit lock and is committed at once. A transaction stages over the state as it was when
//! the transaction began, and takes the lock only to commit. Both go through here, so documents are checked in one place: their
//! bytes, their `_id`, the collection's validator, its unique indexes.

mod new_document;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bson::raw::{CStr, RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{explain_mismatch, validate};
use tailwater_oplog::OpId;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use crate::catalog::{CollectionInfo, CollectionNumber, IndexInfo, Namespace, Size};
use crate::engine::KEY_BYTES_MAX;
use crate::error::{Error, Result, text};
use crate::index::{IndexDefinition, keys, natural};
use crate::options::{CollectionOptions, ValidationAction, ValidationLevel};
use crate::overlay::KeyRange;
use crate::reading::{Reading, Staged};
use crate::state::Stored;
use crate::store::{Draft, View, entry_for};
use crate::update::UpdateDiff;

pub(crate) use new_document::{NewDocument, identified};

pub(crate) const ID: &CStr = cstr!("_id");
/// By how much a document grows that is given an ObjectId: a type byte, `_id` with its NUL, and the value.
const OBJECT_ID_ELEMENT_BYTES: usize = 1 + 4 + 12;

/// A document that a write has found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: Vec<u8>,
    pub(crate) stored: Stored,
}

impl Found {
    pub(crate) fn document(&self) -> Result<&RawDocument> {
        self.stored.document()
    }

    pub(crate) fn id(&self) -> Result<RawBsonRef<'_>> {
        let id = self.document()?.get("_id").ok().flatten();
        id.ok_or(Error::Inconsistent {
            op_id: OpId::ZERO,
            what: "a stored document has no _id",
        })
    }

    /// `{_id: …}`.
    fn document_key(&self) -> Result<RawDocumentBuf> {
        let mut key = RawDocumentBuf::new();
        key.append(ID, self.id()?);
        Ok(key)
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Workspace {
    reading: Reading,
    drafts: Vec<Draft>,
    bytes: usize,
    /// `{lsid, txnNumber}` of the entries.
    session: Option<RawDocumentBuf>,
    /// Whether documents may fail the collection's validator.
    bypass_validation: bool,
    /// The collections that were written to.
    touched: HashMap<[u8; 16], Arc<CollectionInfo>>,
}

impl Workspace {
    /// Over a state.
    pub(crate) fn new(view: View) -> Workspace {
        Workspace {
            reading: Reading::new(view),
            drafts: Vec::new(),
            bytes: 0,
            session: None,
            bypass_validation: false,
            touched: HashMap::new(),
        }
    }

    /// The same, whose entries name a session.
    pub(crate) fn with_session(mut self, session: RawDocumentBuf) -> Workspace {
        self.session = Some(session);
        self
    }

    /// Whether what is staged from now on may fail the collection's validator.
    pub(crate) fn bypass_validation(&mut self, bypass: bool) {
        self.bypass_validation = bypass;
    }

    /// What reads see: the state with what is staged.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// The staged entries, in order.
    pub(crate) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    pub(crate) fn into_drafts(self) -> Vec<Draft> {
        self.drafts
    }

    /// Bytes of the staged entries.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The collections that were written to, as they were found.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &Arc<CollectionInfo>> {
        self.touched.values()
    }

    /// The document under a key as it is here, and its collection.
    pub(crate) fn find_key(&self, namespace: &Namespace, key: Vec<u8>) -> Result<Option<(Arc<CollectionInfo>, Found)>> {
        let Some(info) = self.reading.info(namespace) else {
            return Ok(None);
        };
        let stored = self.reading.get(info.number, &key)?;
        Ok(stored.map(|stored| (info, Found { key, stored })))
    }

    /// The collection of that name; one that is not there yet is created with what is staged.
    pub(crate) fn define(&mut self, namespace: &Namespace) -> Arc<CollectionInfo> {
        match self.reading.info(namespace) {
            Some(info) => info,
            None => self.create(namespace.clone(), CollectionOptions::default()),
        }
    }

    /// Creates a collection, whose name the caller knows to be free.
    pub(crate) fn create(&mut self, namespace: Namespace, options: CollectionOptions) -> Arc<CollectionInfo> {
        let staged = Arc::make_mut(&mut self.reading.staged);
        // From the far end, where no collection's real number is.
        let made = u32::try_from(staged.created.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(2);
        let on_id = options.collation.as_ref().map(IndexDefinition::on_id);
        let on_id = on_id.map(|definition| IndexInfo::ready(definition, CollectionNumber(u32::MAX - 2 - made)));
        let info = Arc::new(CollectionInfo {
            namespace: namespace.clone(),
            id: uuid::Uuid::new_v4().into_bytes(),
            number: CollectionNumber(u32::MAX - 1 - made),
            options,
            indexes: on_id.into_iter().collect(),
            natural: None,
        });
        staged.created.insert(namespace, Arc::clone(&info));
        let detail = info.options.to_document();
        let entry = StoreEntry {
            session: self.session.as_deref(),
            detail: Some(&detail),
            ..entry_for(&info)
        };
        self.push(Draft::new(EntryKind::Create, &entry));
        info
    }

    /// Stages an insert; returns the document's `_id`. Without one it gets an ObjectId, in front.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`], [`Error::DocumentFailedValidation`], and
    /// those of the indexes.
    pub(crate) fn insert(&mut self, info: &Arc<CollectionInfo>, document: &RawDocument) -> Result<bson::Bson> {
        self.insert_checked(info, NewDocument::check(document)?)
    }

    /// The same for a document that has been checked.
    ///
    /// # Errors
    ///
    /// As [`Workspace::insert`], but for those of [`NewDocument::check`].
    pub(crate) fn insert_checked(
        &mut self,
        info: &Arc<CollectionInfo>,
        document: NewDocument<'_>,
    ) -> Result<bson::Bson> {
        if self.reading.get(info.number, document.key())?.is_some() {
            let mut id_only = RawDocumentBuf::new();
            id_only.append(ID, document.id());
            return Err(Error::duplicate_id(info, id_only));
        }
        let inserted = bson::Bson::try_from(document.id()).map_err(|_| Error::InvalidId { what: "malformed" })?;
        self.check_validator(info, None, document.document())?;
        self.stage_index_entries(info, document.key(), None, Some(document.document()))?;
        let (key, draft) = document.into_entry(info, self.session.as_deref());
        self.stage(info, key, draft);
        Ok(inserted)
    }

    /// Stages the deletion of the oldest documents of a capped collection of this size, to make room for one more.
    ///
    /// # Errors
    ///
    /// [`Error::CappedTooSmall`] when the document would not fit into the empty collection; and the state's.
    pub(crate) fn make_room(
        &mut self,
        info: &Arc<CollectionInfo>,
        mut size: Size,
        document: &RawDocument,
    ) -> Result<()> {
        let (Some(capped), Some(order)) = (info.options.capped, info.natural) else {
            return Ok(());
        };
        let has_id = document.get("_id").is_ok_and(|id| id.is_some());
        let stored = document.as_bytes().len() + if has_id { 0 } else { OBJECT_ID_ELEMENT_BYTES };
        let bytes = i64::try_from(stored).unwrap_or(i64::MAX);
        if bytes > capped.bytes_max {
            return Err(Error::CappedTooSmall {
                namespace: info.namespace.to_string(),
                bytes,
                bytes_max: capped.bytes_max,
            });
        }
        let fits = |size: Size| {
            size.bytes.saturating_add(bytes) <= capped.bytes_max
                && capped.documents_max.is_none_or(|max| size.documents < max)
        };
        for key in natural::keys(order, &self.reading.clone(), false) {
            if fits(size) {
                break;
            }
            let key = key?;
            if let Some(stored) = self.reading.get(info.number, &key)? {
                size.documents -= 1;
                size.bytes -= i64::try_from(stored.document()?.as_bytes().len()).unwrap_or(i64::MAX);
                self.delete(info, Found { key, stored })?;
            }
        }
        Ok(())
    }

    /// Stages a document in the place of another: an update when there is a diff, else a replacement.
    ///
    /// # Errors
    ///
    /// As [`Workspace::insert`].
    pub(crate) fn put(
        &mut self,
        info: &Arc<CollectionInfo>,
        found: Found,
        document: &RawDocument,
        diff: Option<&UpdateDiff>,
    ) -> Result<()> {
        validate(document.as_bytes())?;
        let before = found.document()?;
        self.check_validator(info, Some(before), document)?;
        self.stage_index_entries(info, &found.key, Some(before), Some(document))?;
        let (key, diff) = match diff {
            Some(diff) => (Some(found.document_key()?), Some(diff.to_document())),
            None => (None, None),
        };
        let entry = StoreEntry {
            key: key.as_deref(),
            diff: diff.as_deref(),
            document: Some(document),
            pre_image: info.options.pre_and_post_images.then_some(before),
            session: self.session.as_deref(),
            ..entry_for(info)
        };
        let kind = if diff.is_some() {
            EntryKind::Update
        } else {
            EntryKind::Replace
        };
        let draft = Draft::over(kind, &entry, found.stored.clone());
        self.stage(info, found.key, draft);
        Ok(())
    }

    /// Stages a deletion.
    ///
    /// # Errors
    ///
    /// The state's.
    pub(crate) fn delete(&mut self, info: &Arc<CollectionInfo>, found: Found) -> Result<()> {
        let before = found.document()?;
        self.stage_index_entries(info, &found.key, Some(before), None)?;
        let key = found.document_key()?;
        let entry = StoreEntry {
            key: Some(&key),
            pre_image: info.options.pre_and_post_images.then_some(before),
            session: self.session.as_deref(),
            ..entry_for(info)
        };
        let draft = Draft::over(EntryKind::Delete, &entry, found.stored.clone());
        self.stage(info, found.key, draft);
        Ok(())
    }

    fn check_validator(&self, info: &CollectionInfo, before: Option<&RawDocument>, after: &RawDocument) -> Result<()> {
        if self.bypass_validation {
            return Ok(());
        }
        check_validator(info, before, after)
    }

    /// Stages what an entry makes of the document under `key`.
    fn stage(&mut self, info: &Arc<CollectionInfo>, key: Vec<u8>, draft: Draft) {
        let staged = Arc::make_mut(&mut self.reading.staged);
        match draft.document() {
            Some(document) => staged.put(info.number, key, document.clone()),
            None => staged.delete(info.number, key),
        }
        self.touched.entry(info.id).or_insert_with(|| Arc::clone(info));
        self.push(draft);
    }

    /// Stages the record of what a session's write has done here.
    pub(crate) fn record(&mut self, record: Draft) {
        self.push(record);
    }

    /// As [`Workspace::record`], in front of everything else.
    pub(crate) fn record_first(&mut self, record: Draft) {
        self.bytes += record.bytes();
        self.drafts.insert(0, record);
    }

    fn push(&mut self, draft: Draft) {
        self.bytes += draft.bytes();
        self.drafts.push(draft);
    }

    /// Checks the unique indexes and stages the index entries of a change.
    fn stage_index_entries(
        &mut self,
        info: &CollectionInfo,
        key: &[u8],
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> Result<()> {
        let mut moves = Vec::new();
        let mut multikey = Vec::new();
        for index in &info.indexes {
            let of = |document: Option<&RawDocument>| {
                let keys = document.map(|document| keys::of(&index.definition, document));
                keys.transpose().map(Option::unwrap_or_default)
            };
            let (old, new) = (of(before)?, of(after)?);
            if new.multikey && !index.multikey {
                multikey.push(index.number);
            }
            for values in old.values.iter().filter(|v| new.values.binary_search(v).is_err()) {
                moves.push((index.number, keys::entry_key(values, key), None));
            }
            for values in new.values.iter().filter(|v| old.values.binary_search(v).is_err()) {
                check_length(&index.definition, values, key)?;
                if index.definition.unique
                    && let Some(after) = after
                    && is_taken(&self.reading, index.number, values, key)?
                {
                    return Err(Error::duplicate(info, &index.definition, after, values));
                }
                moves.push((
                    index.number,
                    keys::entry_key(values, key),
                    u32::try_from(values.len()).ok(),
                ));
            }
        }
        if !moves.is_empty() {
            let staged: &mut Staged = Arc::make_mut(&mut self.reading.staged);
            staged.multikey.extend(multikey);
            for (number, key, values) in moves {
                match values {
                    Some(values) => staged.index(number, key, values),
                    None => staged.delete(number, key),
                }
            }
        }
        Ok(())
    }

    /// Checks that every document can be in these indexes, of which the collection has none yet.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::ParallelArrays`], [`Error::IndexKeyTooLong`].
    pub(crate) fn check_indexable(&self, info: &CollectionInfo, definitions: &[IndexDefinition]) -> Result<()> {
        let mut taken: Vec<HashSet<Vec<u8>>> = vec![HashSet::new(); definitions.len()];
        for found in self.reading.scan(info.number, KeyRange::all()) {
            let (key, stored) = found?;
            let document = stored.document()?;
            for (definition, taken) in definitions.iter().zip(&mut taken) {
                for values in keys::of(definition, document)?.values {
                    check_length(definition, &values, &key)?;
                    if definition.unique && taken.contains(&values) {
                        return Err(Error::duplicate(info, definition, document, &values));
                    }
                    if definition.unique {
                        taken.insert(values);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a document other than the one under `key` has these values in an index.
pub(crate) fn is_taken(reading: &Reading, index: CollectionNumber, values: &[u8], key: &[u8]) -> Result<bool> {
    for found in reading.scan(index, KeyRange::prefix(values)) {
        let (entry, _) = found?;
        if entry[values.len()..] != *key {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn check_length(definition: &IndexDefinition, values: &[u8], key: &[u8]) -> Result<()> {
    let bytes = values.len() + key.len();
    if bytes <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::IndexKeyTooLong {
        name: definition.name.clone(),
        bytes,
        bytes_max: KEY_BYTES_MAX,
    })
}

/// Checks a document against its collection's validator.
///
/// # Errors
///
/// [`Error::DocumentFailedValidation`]; [`Error::Evaluate`] when it takes too long.
pub(crate) fn check_validator(
    collection: &CollectionInfo,
    before: Option<&RawDocument>,
    after: &RawDocument,
) -> Result<()> {
    let options = &collection.options;
    let Some(validator) = options.validator_expression() else {
        return Ok(());
    };
    // A document of which the validator cannot say whether it matches does not; unless there was no time to find out.
    let matches = |document: &RawDocument| match validator.matches(document) {
        Err(error) if error.ran_out() => Err(Error::Evaluate(error)),
        matches => Ok(matches.unwrap_or(false)),
    };
    let seen = match (options.validation_level, before) {
        (ValidationLevel::Off, _) => false,
        // Documents that were not valid before may stay so.
        (ValidationLevel::Moderate, Some(before)) => matches(before)?,
        _ => true,
    };
    if !seen || matches(after)? {
        return Ok(());
    }
    let (mut id, mut info) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    if let Ok(Some(value)) = after.get("_id") {
        let value: RawBsonRef<'_> = value;
        id.append(ID, value);
        info.append(cstr!("failingDocumentId"), value);
    }
    if let Some(filter) = options.validator() {
        let mismatch = explain_mismatch(filter, after);
        info.append(cstr!("details"), mismatch.details);
        if mismatch.truncated {
            info.append(cstr!("truncated"), true);
        }
    }
    if options.validation_action == ValidationAction::Warn {
        tracing::warn!(
            namespace = %collection.namespace,
            info = text(&info),
            "a document fails the collection's validator, which only warns"
        );
        return Ok(());
    }
    Err(Error::DocumentFailedValidation {
        namespace: collection.namespace.to_string(),
        id,
        info,
    })
}

/// The document with `id` as its first field.
pub(crate) fn with_id_first(document: &RawDocument, id: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut copy = RawDocumentBuf::new();
    copy.append(ID, id);
    for (name, value) in document.iter().flatten() {
        if name.as_str() != "_id" {
            copy.append(name, value);
        }
    }
    copy
}
