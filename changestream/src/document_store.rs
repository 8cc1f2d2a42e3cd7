//! What change streams ask of the store whose log they read: the one seam between the two.
//!
//! Most streams need none of it: what an event shows is in its entry. A stream that begins with a snapshot, a live query and a
//! durable consumer need documents, and somewhere to write down where they are. The façade implements this over its store;
//! tests implement it over a map.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::{OpId, ReadConcern, RetentionSlot};

use crate::consumer::ConsumerGroups;
use crate::error::Result;

/// The database in which Tailwater keeps what belongs to itself, such as the positions of durable consumers. Watches over
/// everything leave it out, as MongoDB's leave out `admin`, `config` and `local`.
pub const INTERNAL_DATABASE: &str = "tailwater";

/// A store, as change streams know it. See the module documentation.
pub trait DocumentStore: fmt::Debug + Send + Sync {
    /// The state as it is now. With [`ReadConcern::Durable`] it is made durable before it is returned.
    ///
    /// # Errors
    ///
    /// The store's.
    fn state(&self, concern: ReadConcern) -> Result<Box<dyn StoreState>>;

    /// Waits for the writes that are being applied: what was in the log before the call is in a state that is taken behind it,
    /// unless applying it has failed.
    fn finish_applying(&self);

    /// An order of documents, `{field: 1 or -1, …}`.
    ///
    /// # Errors
    ///
    /// The store's, for what is no order.
    fn order(&self, sort: &RawDocument) -> Result<Box<dyn DocumentOrder>>;

    /// Writes documents in one atomic step, by the store's one write path; returns when that survives the death of the
    /// process, with the last entry.
    ///
    /// # Errors
    ///
    /// The store's.
    fn put(&self, writes: &[Put<'_>]) -> Result<OpId>;

    /// Deletes the document of [`INTERNAL_DATABASE`] with that `_id`; whether it was there.
    ///
    /// # Errors
    ///
    /// The store's.
    fn delete(&self, collection: &str, id: &str) -> Result<bool>;

    /// Creates a retention slot of the log; a lost one of that name is replaced.
    ///
    /// # Errors
    ///
    /// The log's.
    fn slot_create(&self, name: &str, from: OpId, max_lag_bytes: u64) -> Result<()>;

    /// Moves a retention slot on.
    ///
    /// # Errors
    ///
    /// The log's.
    fn slot_advance(&self, name: &str, to: OpId) -> Result<()>;

    /// Sets the cap of a retention slot.
    ///
    /// # Errors
    ///
    /// The log's.
    fn slot_limit(&self, name: &str, max_lag_bytes: u64) -> Result<()>;

    /// Drops a retention slot.
    ///
    /// # Errors
    ///
    /// The log's.
    fn slot_drop(&self, name: &str) -> Result<()>;

    /// The retention slots.
    fn slots(&self) -> Vec<RetentionSlot>;

    /// The consumer groups of this store that have members now: one set for all handles of the store.
    fn groups(&self) -> &ConsumerGroups;
}

/// A document that takes the place of the one with its `_id`, or is inserted.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Its database.
    pub database: &'a str,
    /// Its collection.
    pub collection: &'a str,
    /// The document, with an `_id`.
    pub document: &'a RawDocument,
}

/// Documents, one after another.
pub type StoreDocuments = Box<dyn Iterator<Item = Result<RawDocumentBuf>> + Send>;

/// The state of a store as of one OpID; later writes do not disturb it.
pub trait StoreState: fmt::Debug + Send {
    /// The last entry whose effect it has.
    fn as_of(&self) -> OpId;

    /// Its collections, in the order of their UUIDs.
    fn collections(&self) -> Vec<StateCollection>;

    /// The documents of a collection in the order of what [`tailwater_matcher::encode_key`] makes of their `_id`s, behind the
    /// one with this key if it is given.
    fn scan(&self, uuid: &[u8; 16], after: Option<&[u8]>) -> StoreDocuments;

    /// The documents of a collection that match a query, in an order, up to a number.
    ///
    /// # Errors
    ///
    /// The store's, for a malformed filter or order.
    fn find(&self, query: &StateQuery<'_>) -> Result<StoreDocuments>;
}

/// A collection of a [`StoreState`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateCollection {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its UUID, which a rename does not change.
    pub uuid: [u8; 16],
}

/// What is asked of a [`StoreState`].
#[derive(Clone, Copy, Debug)]
pub struct StateQuery<'a> {
    /// The collection's database.
    pub database: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// Which documents.
    pub filter: &'a RawDocument,
    /// In which order.
    pub sort: &'a RawDocument,
    /// How many at most.
    pub limit: Option<u64>,
}

/// An order of documents.
pub trait DocumentOrder: fmt::Debug + Send {
    /// Bytes that compare as the documents come in this order.
    ///
    /// # Errors
    ///
    /// The store's, for a document that has no place in it.
    fn key(&self, document: &RawDocument) -> Result<Vec<u8>>;
}

/// An error of the store. This crate does not know it, and hands it through.
#[derive(Clone, Debug)]
pub struct StoreError(Arc<dyn StdError + Send + Sync>);

impl StoreError {
    /// Wraps a store's error.
    pub fn new(error: impl StdError + Send + Sync + 'static) -> StoreError {
        StoreError(Arc::new(error))
    }

    /// The store's error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// A retention slot that lasts as long as this: it keeps what a reader still has to read, up to a cap.
#[derive(Debug)]
pub(crate) struct Hold {
    store: Arc<dyn DocumentStore>,
    name: String,
}

/// Slots of snapshots that are being read have names that begin so.
const HOLD_PREFIX: &str = "snapshot.";

impl Hold {
    pub(crate) fn new(store: &Arc<dyn DocumentStore>, from: OpId, max_lag_bytes: u64) -> Result<Hold> {
        let name = format!("{HOLD_PREFIX}{}", uuid::Uuid::new_v4());
        store.slot_create(&name, from, max_lag_bytes)?;
        let store = Arc::clone(store);
        Ok(Hold { store, name })
    }

    pub(crate) fn advance(&self, to: OpId) -> Result<()> {
        self.store.slot_advance(&self.name, to)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Err(error) = self.store.slot_drop(&self.name) {
            // The next opening drops it.
            tracing::debug!(slot = self.name, %error, "letting go of the log after a snapshot");
        }
    }
}

/// Drops those of a store's slots, by `slot_drop`, that belong to snapshots whose readers died with their process. To be called
/// once when a store has been opened, before anybody reads it.
pub fn drop_stale_holds(slots: Vec<RetentionSlot>, slot_drop: impl Fn(&str) -> Result<()>) {
    for slot in slots {
        if slot.name.starts_with(HOLD_PREFIX)
            && let Err(error) = slot_drop(&slot.name)
        {
            tracing::warn!(slot = slot.name, %error, "dropping the retention slot of a snapshot whose reader is gone");
        }
    }
}
