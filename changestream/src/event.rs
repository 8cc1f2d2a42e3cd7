//! Change events, shaped as MongoDB shapes them (manual: *Change Events*).

use std::sync::Arc;

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{LogId, OpId, SharedEntry, Timestamp};

use crate::fields::EventFields;
use crate::options::Images;
use crate::shape::Shape;
use crate::split::SplitEvent;
use crate::token::ResumeToken;

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
    /// All of them.
    pub const ALL: [OperationType; 12] = [
        OperationType::Insert,
        OperationType::Update,
        OperationType::Replace,
        OperationType::Delete,
        OperationType::Drop,
        OperationType::Rename,
        OperationType::DropDatabase,
        OperationType::Invalidate,
        OperationType::Create,
        OperationType::CreateIndexes,
        OperationType::DropIndexes,
        OperationType::Modify,
    ];

    /// The one that goes by this [name](OperationType::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<OperationType> {
        OperationType::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }

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
    pub(crate) fn of(kind: EntryKind) -> Option<OperationType> {
        Some(match kind {
            EntryKind::Insert => OperationType::Insert,
            EntryKind::Update => OperationType::Update,
            EntryKind::Replace => OperationType::Replace,
            EntryKind::Delete => OperationType::Delete,
            EntryKind::Drop => OperationType::Drop,
            EntryKind::Rename => OperationType::Rename,
            EntryKind::DropDatabase => OperationType::DropDatabase,
            EntryKind::Create => OperationType::Create,
            EntryKind::CreateIndexes => OperationType::CreateIndexes,
            EntryKind::DropIndexes => OperationType::DropIndexes,
            EntryKind::Modify => OperationType::Modify,
            _ => return None,
        })
    }

    /// Whether it is shown only to who asks for it.
    pub(crate) fn is_expanded(self) -> bool {
        matches!(
            self,
            OperationType::Create | OperationType::CreateIndexes | OperationType::DropIndexes | OperationType::Modify
        )
    }
}

/// A set of types of events, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Operations(u16);

impl Operations {
    pub(crate) fn contains(self, operation: OperationType) -> bool {
        self.0 & 1 << operation as u16 != 0
    }
}

impl FromIterator<OperationType> for Operations {
    fn from_iter<I: IntoIterator<Item = OperationType>>(operations: I) -> Operations {
        let bits = operations.into_iter().map(|operation| 1 << operation as u16);
        Operations(bits.fold(0, |all, bit| all | bit))
    }
}

/// One change. It borrows the entry from the mapped log and decodes nothing until it is asked.
///
/// Its methods tell of the entry, whatever a pipeline has made of the event; [`ChangeEvent::to_document`] is what that made.
///
/// A clone shares the event: all watchers that get it hold the same one.
#[derive(Clone, Debug)]
pub struct ChangeEvent(Arc<Event>);

#[derive(Clone, Debug)]
struct Event {
    entry: SharedEntry,
    operation: OperationType,
    log_id: LogId,
    images: Images,
    /// Where the event's document is not the plain one.
    shape: Option<Arc<Shape>>,
    /// Which fragment of the event it is, if it is not all of it.
    fragment: Option<SplitEvent>,
}

impl ChangeEvent {
    pub(crate) fn new(entry: SharedEntry, operation: OperationType, log_id: LogId, images: Images) -> ChangeEvent {
        ChangeEvent(Arc::new(Event {
            entry,
            operation,
            log_id,
            images,
            shape: None,
            fragment: None,
        }))
    }

    /// The event in the shape that it has, if that is not the plain one.
    pub(crate) fn shaped(self, shape: Option<Shape>) -> ChangeEvent {
        let Some(shape) = shape else { return self };
        let mut event = Arc::unwrap_or_clone(self.0);
        event.shape = Some(Arc::new(shape));
        ChangeEvent(Arc::new(event))
    }

    /// The event's fragments behind the first so many, if it is to be delivered in fragments.
    pub(crate) fn fragments_behind(&self, delivered: u32) -> Option<Fragments> {
        let of = self.0.shape.as_ref()?.split.as_ref()?.len();
        let event = self.clone();
        Some(Fragments { event, delivered, of })
    }

    /// Bytes of the entry's payload and of the shape, as a measure of what the event holds on to, and of what it becomes.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        let shaped = self.0.shape.as_ref().and_then(|shape| shape.document.as_ref());
        self.0.entry.payload().len() + shaped.map_or(0, |document| document.as_bytes().len())
    }

    /// The segment of the log that the event keeps mapped; nothing when it keeps a copy.
    pub(crate) fn segment(&self) -> Option<u64> {
        self.0.entry.segment()
    }

    fn store_entry(&self) -> StoreEntry<'_> {
        // Decoded once before the event was made, from bytes that never change.
        StoreEntry::decode(self.0.entry.payload()).unwrap_or_default()
    }

    fn fields(&self) -> EventFields<'_> {
        EventFields::new(
            self.0.entry.entry(),
            self.store_entry(),
            self.0.operation,
            self.0.log_id,
            self.0.images,
        )
    }

    /// What happened.
    #[must_use]
    pub fn operation_type(&self) -> OperationType {
        self.0.operation
    }

    /// The entry that the event comes from.
    #[must_use]
    pub fn op_id(&self) -> OpId {
        self.0.entry.op_id()
    }

    /// When it was written.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.0.entry.timestamp()
    }

    /// The token from which a stream goes on behind this event.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        let kind = self.0.images.token_kind(self.0.operation);
        let token = ResumeToken::at(self.0.log_id, &self.0.entry.entry(), kind);
        self.0
            .fragment
            .map_or(token, |fragment| token.behind_fragment(fragment))
    }

    /// Which fragment of the event it is, when the event was too large for one document and the pipeline ends with
    /// `$changeStreamSplitLargeEvent`. [`ChangeEvent::to_document`] is the fragment then; the other methods tell of the whole
    /// event.
    #[must_use]
    pub fn split_event(&self) -> Option<SplitEvent> {
        self.0.fragment
    }

    /// Whether it is the last write of its transaction (the events of a transaction are adjacent): who collects them has all.
    /// `false` outside a transaction. A filter may leave the last one out; then the next event of another `txnNumber`, or of
    /// none, says as much.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        self.store_entry().session.is_some() && self.0.entry.entry().ends_batch()
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
        self.0
            .images
            .shows_document(self.0.operation)
            .then_some(entry.document)
            .flatten()
    }

    /// The document before the operation, when pre-images were asked for and are recorded.
    #[must_use]
    pub fn full_document_before_change(&self) -> Option<&RawDocument> {
        let entry = self.store_entry();
        self.0.images.shows_pre_image().then_some(entry.pre_image).flatten()
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
        let shape = self.0.shape.as_deref();
        match (shape, self.0.fragment) {
            (Some(shape), Some(fragment)) => shape.fragment(&self.fields(), fragment),
            (
                Some(Shape {
                    document: Some(document),
                    ..
                }),
                None,
            ) => document.clone(),
            _ => self.fields().to_document(),
        }
    }
}

/// The fragments of an event that are still to be delivered. Each is made when it is its turn, and shares the event.
#[derive(Debug)]
pub(crate) struct Fragments {
    event: ChangeEvent,
    delivered: u32,
    of: u32,
}

impl Fragments {
    /// How many the event has.
    pub(crate) fn of(&self) -> u32 {
        self.of
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.of.saturating_sub(self.delivered) as usize
    }

    /// What the event holds on to.
    pub(crate) fn entry_bytes(&self) -> usize {
        self.event.entry_bytes()
    }
}

impl Iterator for Fragments {
    type Item = ChangeEvent;

    fn next(&mut self) -> Option<ChangeEvent> {
        if self.delivered >= self.of {
            return None;
        }
        self.delivered += 1;
        let fragment = Some(SplitEvent {
            fragment: self.delivered,
            of: self.of,
        });
        let whole = Event::clone(&self.event.0);
        Some(ChangeEvent(Arc::new(Event { fragment, ..whole })))
    }
}
