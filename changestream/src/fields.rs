//! The fields of an event, made from the entry where it lies: for `$match` before an event exists, and for the event's
//! document afterwards. Nothing is built before it is asked for.

use std::borrow::Cow;
use std::cell::OnceCell;

use bson::raw::{CStr, RawBsonRef};
use bson::spec::BinarySubtype;
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::Fields;
use tailwater_oplog::entry::StoreEntry;
use tailwater_oplog::{Entry, LogId};

use crate::event::OperationType;
use crate::options::Images;
use crate::paths::disambiguated;
use crate::split::EVENT_BYTES_MAX;
use crate::token::ResumeToken;

/// The names in the order in which events carry them: MongoDB's, but that `_id` is always the first. There, `txnNumber`,
/// `lsid` and `to` stand in front of it. Where `commitTimestamp` stands there, no page says.
const NAMES: [&CStr; 17] = [
    bson::raw::cstr!("_id"),
    bson::raw::cstr!("operationType"),
    bson::raw::cstr!("clusterTime"),
    bson::raw::cstr!("collectionUUID"),
    bson::raw::cstr!("wallTime"),
    bson::raw::cstr!("txnNumber"),
    bson::raw::cstr!("lsid"),
    bson::raw::cstr!("commitTimestamp"),
    bson::raw::cstr!("fullDocument"),
    bson::raw::cstr!("ns"),
    bson::raw::cstr!("to"),
    bson::raw::cstr!("documentKey"),
    bson::raw::cstr!("operationDescription"),
    bson::raw::cstr!("updateDescription"),
    bson::raw::cstr!("stateBeforeChange"),
    bson::raw::cstr!("nsType"),
    bson::raw::cstr!("fullDocumentBeforeChange"),
];

/// An event is larger than its entry: its `documentKey` repeats an `_id`, and a disambiguated path takes up to eleven bytes for
/// two. It is never larger by this factor.
const GROWTH_MAX: usize = 16;

/// The fields of one event. See the module documentation.
pub(crate) struct EventFields<'a> {
    entry: Entry<'a>,
    store: StoreEntry<'a>,
    operation: OperationType,
    log_id: LogId,
    images: Images,
    id: OnceCell<RawDocumentBuf>,
    namespace: OnceCell<RawDocumentBuf>,
    key: OnceCell<RawDocumentBuf>,
    description: OnceCell<RawDocumentBuf>,
    state_before: OnceCell<RawDocumentBuf>,
    update: OnceCell<RawDocumentBuf>,
}

impl<'a> EventFields<'a> {
    /// How many bytes its entry has.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.entry.payload().len()
    }

    pub(crate) fn new(
        entry: Entry<'a>,
        store: StoreEntry<'a>,
        operation: OperationType,
        log_id: LogId,
        images: Images,
    ) -> EventFields<'a> {
        let (id, namespace, key, description, state_before, update) = Default::default();
        EventFields {
            entry,
            store,
            operation,
            log_id,
            images,
            id,
            namespace,
            key,
            description,
            state_before,
            update,
        }
    }

    /// The token behind the event.
    pub(crate) fn token(&self) -> ResumeToken {
        let kind = self.images.token_kind(self.operation);
        ResumeToken::at(self.log_id, &self.entry, kind)
    }

    /// Whether the event could be larger than [`EVENT_BYTES_MAX`]; nearly none can, and those need not be measured.
    pub(crate) fn may_be_large(&self) -> bool {
        self.entry.payload().len() > EVENT_BYTES_MAX / GROWTH_MAX
    }

    fn id(&self) -> RawBsonRef<'_> {
        RawBsonRef::Document(self.id.get_or_init(|| self.token().to_document()))
    }

    fn namespace(&self) -> Option<RawBsonRef<'_>> {
        if self.operation == OperationType::Invalidate {
            return None;
        }
        let namespace = self.namespace.get_or_init(|| {
            let mut namespace = rawdoc! { "db": self.store.database };
            if !self.store.collection.is_empty() {
                namespace.append(bson::raw::cstr!("coll"), self.store.collection);
            }
            namespace
        });
        Some(RawBsonRef::Document(namespace))
    }

    pub(crate) fn document_key(&self) -> Option<RawBsonRef<'_>> {
        match self.operation {
            OperationType::Update | OperationType::Delete => self.store.key.map(RawBsonRef::Document),
            OperationType::Insert | OperationType::Replace => {
                let id = self.store.document?.get("_id").ok()??;
                let key = self.key.get_or_init(|| {
                    let mut key = RawDocumentBuf::new();
                    key.append(bson::raw::cstr!("_id"), id);
                    key
                });
                Some(RawBsonRef::Document(key))
            }
            _ => None,
        }
    }

    fn full_document(&self) -> Option<RawBsonRef<'_>> {
        if !self.images.shows_document(self.operation) {
            return None;
        }
        // Asked for and not to be had is null, as with MongoDB.
        Some(self.store.document.map_or(RawBsonRef::Null, RawBsonRef::Document))
    }

    fn pre_image(&self) -> Option<RawBsonRef<'_>> {
        use OperationType::{Delete, Replace, Update};
        let shown = self.images.shows_pre_image() && matches!(self.operation, Update | Replace | Delete);
        shown.then(|| self.store.pre_image.map_or(RawBsonRef::Null, RawBsonRef::Document))
    }

    fn update_description(&self) -> Option<&RawDocument> {
        let diff = self.store.diff.filter(|_| self.operation == OperationType::Update)?;
        Some(match self.images.expanded {
            false => diff,
            true => self.update.get_or_init(|| disambiguated(diff, self.store.document)),
        })
    }

    fn cluster_time(&self) -> RawBsonRef<'_> {
        RawBsonRef::Timestamp(cluster_time(self.entry.timestamp()))
    }

    fn session(&self, name: &str) -> Option<RawBsonRef<'_>> {
        self.store.session?.get(name).ok()?
    }

    fn description(&self) -> Option<RawBsonRef<'_>> {
        let detail = match self.operation {
            OperationType::Invalidate => None,
            // What was changed, without what it was before, which is a field of its own.
            OperationType::Modify => Some(&**self.description.get_or_init(|| changed(self.store.detail))),
            OperationType::Create => Some(&**self.description.get_or_init(|| created(self.store.detail))),
            _ => self.store.detail,
        };
        detail.map(RawBsonRef::Document)
    }

    fn detail(&self, name: &str) -> Option<RawBsonRef<'_>> {
        self.store.detail?.get(name).ok()?
    }

    /// The fields that the event has, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static CStr, RawBsonRef<'_>)> {
        NAMES
            .into_iter()
            .filter_map(|name| Some((name, self.field(name.as_str())?)))
    }

    pub(crate) fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        for (name, value) in self.iter() {
            document.append(name, value);
        }
        document
    }
}

impl Fields for EventFields<'_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        match name {
            "_id" => Some(self.id()),
            "operationType" => Some(RawBsonRef::String(self.operation.name())),
            "clusterTime" => Some(self.cluster_time()),
            "wallTime" => Some(RawBsonRef::DateTime(bson::DateTime::from_millis(
                self.entry.timestamp().as_millis(),
            ))),
            "ns" => self.namespace(),
            "documentKey" => self.document_key(),
            "fullDocument" => self.full_document(),
            "fullDocumentBeforeChange" => self.pre_image(),
            "updateDescription" => self.update_description().map(RawBsonRef::Document),
            "lsid" | "txnNumber" => self.session(name),
            "to" if self.operation == OperationType::Rename => self.detail(name),
            "collectionUUID" if self.images.expanded && self.store.collection_id != [0; 16] => {
                Some(RawBsonRef::Binary(bson::RawBinaryRef {
                    subtype: BinarySubtype::Uuid,
                    bytes: &self.store.collection_id,
                }))
            }
            // The driver specification's tests (`change-streams-commitTimestamp`) want it of every write of a transaction. The
            // entries of a transaction share the time at which it was committed.
            "commitTimestamp" if self.images.expanded => self.session("txnNumber").map(|_| self.cluster_time()),
            "operationDescription" if self.images.expanded => self.description(),
            "stateBeforeChange" if self.images.expanded && self.operation == OperationType::Modify => {
                Some(RawBsonRef::Document(self.state_before.get_or_init(|| {
                    state_before(self.store.detail, self.store.collection_id)
                })))
            }
            // There are no views and no time series.
            "nsType" if self.images.expanded && self.operation == OperationType::Create => {
                Some(RawBsonRef::String("collection"))
            }
            _ => None,
        }
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        Cow::Owned(self.to_document())
    }
}

/// The fields of a delete as its conditions see them: the document that it deleted is there as `fullDocument` and as
/// `fullDocumentBeforeChange`, whatever is delivered.
pub(crate) struct Deleted<'a, 'e>(pub(crate) &'a EventFields<'e>);

impl Deleted<'_, '_> {
    /// Whether the document is known.
    pub(crate) fn has_document(&self) -> bool {
        self.0.store.pre_image.is_some()
    }
}

impl Fields for Deleted<'_, '_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        match name {
            "fullDocument" | "fullDocumentBeforeChange" => self.0.store.pre_image.map(RawBsonRef::Document),
            _ => self.0.field(name),
        }
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        let mut document = RawDocumentBuf::new();
        for name in NAMES {
            if let Some(value) = self.field(name.as_str()) {
                document.append(name, value);
            }
        }
        Cow::Owned(document)
    }
}

/// A modification's `operationDescription`: the options of the collection, or `index`, as they are now.
fn changed(detail: Option<&RawDocument>) -> RawDocumentBuf {
    let Some(detail) = detail else {
        return RawDocumentBuf::new();
    };
    match (detail.get_document("options"), detail.get_document("index")) {
        (Ok(options), _) => options.to_owned(),
        (_, Ok(index)) => rawdoc! { "index": index.to_owned() },
        _ => RawDocumentBuf::new(),
    }
}

/// A creation's `operationDescription`: the options, and the index that every collection has.
fn created(detail: Option<&RawDocument>) -> RawDocumentBuf {
    let mut description = detail.map(RawDocument::to_owned).unwrap_or_default();
    let index = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
    description.append(bson::raw::cstr!("idIndex"), index);
    description
}

/// A modification's `stateBeforeChange`. Where an index was modified, it has of the collection the UUID alone: the entry does not tell
/// the options, which stayed what they were.
fn state_before(detail: Option<&RawDocument>, collection_id: [u8; 16]) -> RawDocumentBuf {
    let before = detail.and_then(|detail| detail.get_document("before").ok());
    let of_index = detail.is_some_and(|detail| detail.get_document("index").is_ok());
    let uuid = bson::Uuid::from_bytes(collection_id);
    let mut collection = rawdoc! { "uuid": bson::Binary::from(uuid) };
    if of_index {
        let index = before.map(RawDocument::to_owned).unwrap_or_default();
        return rawdoc! { "collectionOptions": collection, "indexOptions": index };
    }
    for (name, option) in before.into_iter().flatten().flatten() {
        collection.append(name, option);
    }
    rawdoc! { "collectionOptions": collection }
}

/// The cluster time of an entry: seconds, and as increment the nanoseconds within the second plus one. Unlike MongoDB's
/// counter it needs no state, and it orders entries as their OpIDs do.
#[must_use]
pub fn cluster_time(timestamp: tailwater_oplog::Timestamp) -> bson::Timestamp {
    let nanos = timestamp.as_nanos();
    bson::Timestamp {
        time: u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX),
        increment: (nanos % 1_000_000_000) as u32 + 1,
    }
}

/// The log's time for a cluster time: entries at or after the one are at or after the other.
pub(crate) fn log_time(time: bson::Timestamp) -> tailwater_oplog::Timestamp {
    let nanos = u64::from(time.increment.saturating_sub(1)).min(999_999_999);
    tailwater_oplog::Timestamp::from_nanos(u64::from(time.time) * 1_000_000_000 + nanos)
}
