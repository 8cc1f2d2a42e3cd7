//! Live queries: a query's result, and then every change of it.
//!
//! # What it promises
//!
//! Whoever applies the events to what he has holds the query's result, in its order and within its limit, as of an OpID that
//! moves on with every write. A document that an update moves into the filter is `added`, one that it moves out `removed`.
//! When a document leaves a limited result, the next one comes in; first the one goes, then the other comes, so that there are
//! never more than the limit.
//!
//! Documents that sort alike are in the order of their `_id`s, as are all without a sort.
//!
//! # How
//!
//! The result is read from a state of the store, and changed by the entries behind that. For a limited query some documents
//! behind the limit are kept as well ([`window`]). When those are used up, the query is asked again on the state of now, and
//! the difference is told; the stream goes on behind that state. So between two results some may be left out, and none is made
//! of two states.
//!
//! # What it costs
//!
//! For a query with a limit, twice as many documents as the limit. Without one, the sort keys and `_id`s of all documents of
//! the result, of which there may be [`LIVE_DOCUMENTS_MAX`]. A live query looks at every entry of the log, one by one.
//!
//! It is not resumable: what was missed is in the result with which the next one begins.

mod stream;
mod window;

use std::sync::Arc;

use bson::raw::{RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::Expression;
use tailwater_oplog::{OpId, OplogView, ReadConcern};

use crate::document_store::{DocumentStore, INTERNAL_DATABASE, StateQuery, StoreDocuments, StoreState};
use crate::error::{Error, Result};
use crate::options::{FullDocument, Watch};
use crate::scope::Scope;
use crate::stream::ChangeStream;
use crate::subscription::{StreamHandle, StreamReceiver, subscribe};

pub use stream::LiveStream;

/// Most documents that the result of a live query may have.
pub const LIVE_DOCUMENTS_MAX: usize = 100_000;

/// A change of a live query's result.
#[derive(Clone, PartialEq, Debug)]
pub enum LiveEvent {
    /// A document is in the result now.
    Added {
        /// The document.
        document: RawDocumentBuf,
        /// `{_id: …}` of the document in front of which it is; at the end if there is none.
        before: Option<RawDocumentBuf>,
    },
    /// A document of the result is another now, and perhaps elsewhere in it.
    Changed {
        /// The document as it is now.
        document: RawDocumentBuf,
        /// `{_id: …}` of the document in front of which it is; at the end if there is none.
        before: Option<RawDocumentBuf>,
    },
    /// A document is not in the result any more.
    Removed {
        /// `{_id: …}` of it.
        document_key: RawDocumentBuf,
    },
}

/// Builds a live query.
#[derive(Clone, Debug)]
#[must_use = "a live query does nothing before it is started"]
pub struct LiveQuery {
    store: Arc<dyn DocumentStore>,
    view: OplogView,
    database: String,
    collection: String,
    filter: RawDocumentBuf,
    sort: RawDocumentBuf,
    limit: Option<u64>,
    concern: ReadConcern,
}

impl LiveQuery {
    /// A query for the documents of a collection that match `filter`.
    pub fn new(
        store: Arc<dyn DocumentStore>,
        view: OplogView,
        (database, collection): (&str, &str),
        filter: &RawDocument,
    ) -> LiveQuery {
        LiveQuery {
            store,
            view,
            database: database.to_owned(),
            collection: collection.to_owned(),
            filter: filter.to_owned(),
            sort: RawDocumentBuf::new(),
            limit: None,
            concern: ReadConcern::Durable,
        }
    }

    /// In this order, `{field: 1 or -1, …}`.
    pub fn sort(mut self, sort: &RawDocument) -> LiveQuery {
        self.sort = sort.to_owned();
        self
    }

    /// Only so many; 0 is no limit.
    pub fn limit(mut self, limit: u64) -> LiveQuery {
        self.limit = Some(limit).filter(|limit| *limit > 0);
        self
    }

    /// Whether the result follows writes at once ([`ReadConcern::Local`]) or when they are durable, the default.
    pub fn read_concern(mut self, concern: ReadConcern) -> LiveQuery {
        self.concern = concern;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] for a malformed filter; [`Error::LiveTooLarge`] for a limit above [`LIVE_DOCUMENTS_MAX`];
    /// [`Error::Store`] for a malformed order; the store's.
    pub fn start(mut self) -> Result<LiveStream> {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if limit.is_some_and(|limit| limit > LIVE_DOCUMENTS_MAX) {
            return Err(too_large());
        }
        self.sort = with_id(&self.sort);
        let filter = Expression::parse(&self.filter).map_err(Error::Query)?;
        let order = self.store.order(&self.sort)?;
        let state = self.store.state(self.concern)?;
        let changes = self.changes_behind(state.as_of())?;
        let loading = self.find(&*state)?;
        Ok(LiveStream::new(self, filter, order, changes, loading))
    }

    /// Starts it, with a handle that ends it and a receiver.
    ///
    /// # Errors
    ///
    /// As [`LiveQuery::start`].
    pub fn subscribe(self) -> Result<(StreamHandle, StreamReceiver<LiveStream>)> {
        let stream = self.start()?;
        let stopper = stream.stopper();
        Ok(subscribe(stream, stopper))
    }

    fn changes_behind(&self, op_id: OpId) -> Result<ChangeStream> {
        // All of it, because a collection that takes the name can come from another database.
        let scope = match self.database.as_str() {
            INTERNAL_DATABASE => Scope::Database(self.database.clone()),
            _ => Scope::Everything,
        };
        Watch::new(self.view.clone(), scope)
            .read_concern(self.concern)
            .full_document(FullDocument::UpdateLookup)
            .whole_for("a live query")
            .start_behind(op_id)
    }

    fn find(&self, state: &dyn StoreState) -> Result<StoreDocuments> {
        // One more than is kept says whether there are more.
        let limit = self.limit.map(|limit| limit.saturating_mul(2).saturating_add(1));
        state.find(&StateQuery {
            database: &self.database,
            collection: &self.collection,
            filter: &self.filter,
            sort: &self.sort,
            limit,
        })
    }

    fn is_for(&self, database: &str, collection: &str) -> bool {
        database == self.database && collection == self.collection
    }
}

/// The order with `_id` at its end, so that no two documents are alike in it.
fn with_id(sort: &RawDocument) -> RawDocumentBuf {
    let mut whole = RawDocumentBuf::new();
    // In the direction of the first field: so an index on it, walked backwards, has the order as well.
    let mut last = RawBsonRef::Int32(1);
    for (i, (name, direction)) in sort.iter().flatten().enumerate() {
        whole.append(name, direction);
        if name.as_str() == "_id" {
            return sort.to_owned();
        }
        if i == 0 {
            last = direction;
        }
    }
    whole.append(cstr!("_id"), last);
    whole
}

fn too_large() -> Error {
    Error::LiveTooLarge {
        max: LIVE_DOCUMENTS_MAX,
    }
}
