//! What a stream that begins with a snapshot delivers.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use bson::raw::{CStr, RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::Fields;

use super::token::SnapshotToken;
use crate::document_store::StateCollection;
use crate::error::{Error, Result};
use crate::event::ChangeEvent;
use crate::fields::cluster_time;
use crate::plan::{Plan, step_scope};

/// `operationType` of the events that a snapshot's documents come as. An extension: MongoDB has no such events.
pub const SNAPSHOT_OPERATION: &str = "snapshot";

/// The names in the order in which events carry them.
const NAMES: [&CStr; 7] = [
    cstr!("_id"),
    cstr!("operationType"),
    cstr!("clusterTime"),
    cstr!("wallTime"),
    cstr!("fullDocument"),
    cstr!("ns"),
    cstr!("documentKey"),
];

/// A document of the snapshot, or a change behind it.
#[derive(Clone, Debug)]
pub enum SnapshotEvent {
    /// A document that was there.
    Document(SnapshotDocument),
    /// A change, and the token behind it.
    Change(ChangeEvent, SnapshotToken),
}

/// A document of the snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotDocument {
    collection: Arc<StateCollection>,
    document: RawDocumentBuf,
    token: SnapshotToken,
    /// The event's document where a pipeline has given it another shape.
    shape: Option<RawDocumentBuf>,
}

impl SnapshotDocument {
    /// Puts a document through the watch's filter and pipeline; nothing when they leave it out.
    pub(super) fn select(
        plan: &Plan,
        collection: &Arc<StateCollection>,
        document: RawDocumentBuf,
        token: SnapshotToken,
    ) -> Result<Option<SnapshotDocument>> {
        let mut event = SnapshotDocument {
            collection: Arc::clone(collection),
            document,
            token,
            shape: None,
        };
        let fields = DocumentFields::new(&event);
        let _scope = step_scope(event.document.as_bytes().len());
        if let Some(filter) = &plan.filter
            && !filter.matches(&fields)?
        {
            return Ok(None);
        }
        if !plan.pipeline.condition.matches(&fields)? {
            return Ok(None);
        }
        if plan.pipeline.keeps_events() {
            return Ok(Some(event));
        }
        let plain = fields.to_document();
        let Some(shaped) = plan.pipeline.shape(&plain)? else {
            return Ok(None);
        };
        if token_of(&shaped) != token_of(&plain) {
            return Err(Error::TokenModified {
                op_id: event.token.position().op_id(),
            });
        }
        event.shape = Some(shaped);
        Ok(Some(event))
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.collection.database
    }

    /// Its collection.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.collection.name
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &RawDocument {
        &self.document
    }

    fn to_document(&self) -> RawDocumentBuf {
        self.shape
            .clone()
            .unwrap_or_else(|| DocumentFields::new(self).to_document())
    }
}

fn token_of(event: &RawDocument) -> Option<&[u8]> {
    event.get_document("_id").ok().map(RawDocument::as_bytes)
}

impl SnapshotEvent {
    /// The name that `operationType` carries.
    #[must_use]
    pub fn operation_name(&self) -> &'static str {
        match self {
            SnapshotEvent::Document(_) => SNAPSHOT_OPERATION,
            SnapshotEvent::Change(event, _) => event.operation_type().name(),
        }
    }

    /// The token from which a stream goes on behind this event, with
    /// [`SnapshotWatch::resume_after`](crate::SnapshotWatch::resume_after).
    #[must_use]
    pub fn resume_token(&self) -> &SnapshotToken {
        match self {
            SnapshotEvent::Document(document) => &document.token,
            SnapshotEvent::Change(_, token) => token,
        }
    }

    /// The change, if it is one.
    #[must_use]
    pub fn change(&self) -> Option<&ChangeEvent> {
        match self {
            SnapshotEvent::Document(_) => None,
            SnapshotEvent::Change(event, _) => Some(event),
        }
    }

    /// The document: of the snapshot, or after the change as [`ChangeEvent::full_document`] has it.
    #[must_use]
    pub fn full_document(&self) -> Option<&RawDocument> {
        match self {
            SnapshotEvent::Document(document) => Some(document.document()),
            SnapshotEvent::Change(event, _) => event.full_document(),
        }
    }

    /// `{_id: …}` of the document.
    #[must_use]
    pub fn document_key(&self) -> Option<RawDocumentBuf> {
        match self {
            SnapshotEvent::Document(document) => Some(key_of(&document.document)),
            SnapshotEvent::Change(event, _) => event.document_key(),
        }
    }

    /// The event as a document, shaped as MongoDB shapes its own. `_id` is [`SnapshotEvent::resume_token`].
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        match self {
            SnapshotEvent::Document(document) => document.to_document(),
            SnapshotEvent::Change(event, token) => {
                let event = event.to_document();
                if !token.is_inside_snapshot() {
                    return event;
                }
                // The log's position alone would not lead back into the snapshot.
                let mut document = RawDocumentBuf::new();
                document.append(cstr!("_id"), token.to_document());
                for (name, value) in event.iter().flatten() {
                    if name.as_str() != "_id" {
                        document.append(name, value);
                    }
                }
                document
            }
        }
    }
}

fn key_of(document: &RawDocument) -> RawDocumentBuf {
    let mut key = RawDocumentBuf::new();
    if let Ok(Some(id)) = document.get("_id") {
        key.append(cstr!("_id"), id);
    }
    key
}

/// The fields of a snapshot's event; nothing is built before it is asked for.
struct DocumentFields<'a> {
    event: &'a SnapshotDocument,
    id: OnceCell<RawDocumentBuf>,
    namespace: OnceCell<RawDocumentBuf>,
    key: OnceCell<RawDocumentBuf>,
}

impl<'a> DocumentFields<'a> {
    fn new(event: &'a SnapshotDocument) -> DocumentFields<'a> {
        let (id, namespace, key) = Default::default();
        DocumentFields {
            event,
            id,
            namespace,
            key,
        }
    }

    fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        for name in NAMES {
            if let Some(value) = self.field(name.as_str()) {
                document.append(name, value);
            }
        }
        document
    }
}

impl Fields for DocumentFields<'_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        let event = self.event;
        let time = event.token.position().timestamp();
        Some(match name {
            "_id" => RawBsonRef::Document(self.id.get_or_init(|| event.token.to_document())),
            "operationType" => RawBsonRef::String(SNAPSHOT_OPERATION),
            "clusterTime" => RawBsonRef::Timestamp(cluster_time(time)),
            "wallTime" => RawBsonRef::DateTime(bson::DateTime::from_millis(time.as_millis())),
            "fullDocument" => RawBsonRef::Document(&event.document),
            "ns" => RawBsonRef::Document(
                self.namespace
                    .get_or_init(|| rawdoc! { "db": event.database(), "coll": event.collection() }),
            ),
            "documentKey" => RawBsonRef::Document(self.key.get_or_init(|| key_of(&event.document))),
            _ => return None,
        })
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        Cow::Owned(self.to_document())
    }
}
