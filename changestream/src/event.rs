//! Change events, shaped as MongoDB shapes them (manual: *Change Events*).

use std::sync::Arc;

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{LogId, OpId, SharedEntry, Timestamp};

use crate::fields::EventFields;
use crate::options::Images;
use crate::token::{ResumeToken, TokenKind};

/// What an event reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OperationType {
    /// A document was inserted.
    Insert,
    /// Fields of a document were changed.
    Update,
    /// A document was replaced.
    Replace,
    /// A document was deleted.
    Delete,
    /// A collection was dropped.
    Drop,
    /// A collection was renamed.
    Rename,
    /// A database was dropped.
    DropDatabase,
    /// What the stream watched is gone; the stream ends with this event.
    Invalidate,
    /// A collection was created. Only with expanded events.
    Create,
    /// Indexes were created. Only with expanded events.
    CreateIndexes,
    /// Indexes were dropped. Only with expanded events.
    DropIndexes,
    /// Options of a collection or an index were changed. Only with expanded events.
    Modify,
}

impl OperationType {
    /// The name that `operationType` carries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OperationType::Insert => "insert",
            OperationType::Update => "update",
            OperationType::Replace => "replace",
            OperationType::Delete => "delete",
            OperationType::Drop => "drop",
            OperationType::Rename => "rename",
            OperationType::DropDatabase => "dropDatabase",
            OperationType::Invalidate => "invalidate",
            OperationType::Create => "create",
            OperationType::CreateIndexes => "createIndexes",
            OperationType::DropIndexes => "dropIndexes",
            OperationType::Modify => "modify",
        }
    }

    /// The type of the event that an entry of this kind makes, if it makes one.
    pub(crate) fn of(kind: EntryKind, expanded: bool) -> Option<OperationType> {
        Some(match kind {
            EntryKind::Insert => OperationType::Insert,
            EntryKind::Update => OperationType::Update,
            EntryKind::Replace => OperationType::Replace,
            EntryKind::Delete => OperationType::Delete,
            EntryKind::Drop => OperationType::Drop,
            EntryKind::Rename => OperationType::Rename,
            EntryKind::DropDatabase => OperationType::DropDatabase,
            EntryKind::Create if expanded => OperationType::Create,
            EntryKind::CreateIndexes if expanded => OperationType::CreateIndexes,
            EntryKind::DropIndexes if expanded => OperationType::DropIndexes,
            EntryKind::Modify if expanded => OperationType::Modify,
            _ => return None,
        })
    }
}

/// One change. It borrows the entry from the mapped log and decodes nothing until it is asked.
///
/// Its methods tell of the entry, whatever a pipeline has made of the event; [`ChangeEvent::to_document`] is what that made.
#[derive(Clone, Debug)]
pub struct ChangeEvent {
    entry: SharedEntry,
    operation: OperationType,
    log_id: LogId,
    images: Images,
    /// The event's document where a pipeline has given it another shape.
    shape: Option<Arc<RawDocumentBuf>>,
}

impl ChangeEvent {
    pub(crate) fn new(entry: SharedEntry, operation: OperationType, log_id: LogId, images: Images) -> ChangeEvent {
        ChangeEvent {
            entry,
            operation,
            log_id,
            images,
            shape: None,
        }
    }

    /// The event in the shape that a pipeline gave it, if it did.
    pub(crate) fn shaped(self, shape: Option<RawDocumentBuf>) -> ChangeEvent {
        ChangeEvent {
            shape: shape.map(Arc::new),
            ..self
        }
    }

    /// Bytes of the entry's payload and of the shape, as a measure of what the event holds on to.
    pub(crate) fn entry_bytes(&self) -> usize {
        self.entry.payload().len() + self.shape.as_ref().map_or(0, |shape| shape.as_bytes().len())
    }

    fn store_entry(&self) -> StoreEntry<'_> {
        // Decoded once before the event was made, from bytes that never change.
        StoreEntry::decode(self.entry.payload()).unwrap_or_default()
    }

    fn fields(&self) -> EventFields<'_> {
        EventFields::new(
            self.entry.entry(),
            self.store_entry(),
            self.operation,
            self.log_id,
            self.images,
        )
    }

    /// What happened.
    #[must_use]
    pub fn operation_type(&self) -> OperationType {
        self.operation
    }

    /// The entry that the event comes from.
    #[must_use]
    pub fn op_id(&self) -> OpId {
        self.entry.op_id()
    }

    /// When it was written.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.entry.timestamp()
    }

    /// The token from which a stream goes on behind this event.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        let kind = match self.operation {
            OperationType::Invalidate => TokenKind::Invalidate,
            _ => TokenKind::Event,
        };
        ResumeToken::at(self.log_id, &self.entry.entry(), kind)
    }

    /// UUID of the collection; zero where there is none.
    pub(crate) fn collection_id(&self) -> [u8; 16] {
        self.store_entry().collection_id
    }

    /// Database name.
    #[must_use]
    pub fn database(&self) -> &str {
        self.store_entry().database
    }

    /// Collection name; empty for events of a whole database.
    #[must_use]
    pub fn collection(&self) -> &str {
        self.store_entry().collection
    }

    /// The document after the operation: always for insert and replace, for update when post-images were asked for.
    #[must_use]
    pub fn full_document(&self) -> Option<&RawDocument> {
        let entry = self.store_entry();
        self.images
            .shows_document(self.operation)
            .then_some(entry.document)
            .flatten()
    }

    /// The document before the operation, when pre-images were asked for and are recorded.
    #[must_use]
    pub fn full_document_before_change(&self) -> Option<&RawDocument> {
        let entry = self.store_entry();
        self.images.shows_pre_image().then_some(entry.pre_image).flatten()
    }

    /// For an update: `{updatedFields, removedFields, truncatedArrays}`.
    #[must_use]
    pub fn update_description(&self) -> Option<&RawDocument> {
        self.store_entry().diff
    }

    /// `{_id: …}` of the document.
    #[must_use]
    pub fn document_key(&self) -> Option<RawDocumentBuf> {
        match self.fields().document_key()? {
            RawBsonRef::Document(key) => Some(key.to_owned()),
            _ => None,
        }
    }

    /// The event as a document, field by field as MongoDB delivers it, or in the shape that the watch's pipeline gave it.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        match &self.shape {
            Some(shape) => RawDocumentBuf::clone(shape),
            None => self.fields().to_document(),
        }
    }
}
