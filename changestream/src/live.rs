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

mod window;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bson::raw::{RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use futures::Stream;
use tailwater_matcher::Expression;
use tailwater_oplog::{OpId, OplogView, ReadConcern};

use crate::document_store::{DocumentOrder, DocumentStore, INTERNAL_DATABASE, StateQuery, StoreDocuments, StoreState};
use crate::error::{Error, Result};
use crate::event::{ChangeEvent, OperationType};
use crate::options::{FullDocument, Watch};
use crate::scope::Scope;
use crate::stream::{ChangeStream, Stopper};
use window::{Item, Rank, Window};

/// Most documents that the result of a live query may have.
pub const LIVE_DOCUMENTS_MAX: usize = 100_000;

/// How many steps are made before other tasks run, and a stop or the time is noticed.
const STEPS_PER_POLL: u32 = 256;

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
        let mut stream = LiveStream {
            window: Window::new(limit),
            query: self,
            filter,
            order,
            changes,
            loading: None,
            pending: VecDeque::new(),
            failed: false,
        };
        stream.loading = Some(stream.query.find(&*state)?);
        Ok(stream)
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

/// A live query that runs: first the documents of the result, in order, each [`LiveEvent::Added`]; then the changes.
///
/// It is read as a [`ChangeStream`] is. An error ends it; begin a new one.
pub struct LiveStream {
    query: LiveQuery,
    filter: Expression,
    order: Box<dyn DocumentOrder>,
    window: Window,
    changes: ChangeStream,
    /// The result of a state, as far as it has not been taken in.
    loading: Option<StoreDocuments>,
    /// What is to be told.
    pending: VecDeque<LiveEvent>,
    failed: bool,
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream")
            .field("query", &self.query)
            .field("loading", &self.loading.is_some())
            .finish_non_exhaustive()
    }
}

/// What one step came to.
enum Step {
    Event(LiveEvent),
    More,
    Nothing,
}

impl LiveStream {
    /// Whether the first result has been told, and what comes are its changes.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loading.is_none() && self.pending.is_empty()
    }

    /// Whether an error has ended it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.failed
    }

    /// Ends a blocking read from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.changes.stopper()
    }

    /// The next change of the result if there is one by now.
    ///
    /// # Errors
    ///
    /// [`Error::LiveTooLarge`], [`Error::Evaluate`], [`Error::Store`], the log's. Nothing comes after.
    pub fn next_if_any(&mut self) -> Result<Option<LiveEvent>> {
        loop {
            match self.step()? {
                Step::Event(event) => return Ok(Some(event)),
                Step::More => {}
                Step::Nothing => return Ok(None),
            }
        }
    }

    /// The next change of the result, waiting for it: nothing when the time is up or it was stopped.
    ///
    /// # Errors
    ///
    /// As [`LiveStream::next_if_any`]; [`Closed`](tailwater_oplog::Error::Closed).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<LiveEvent>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut steps = 0;
        loop {
            match self.step()? {
                Step::Event(event) => return Ok(Some(event)),
                Step::More if steps < STEPS_PER_POLL => {
                    steps += 1;
                    continue;
                }
                _ => steps = 0,
            }
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if self.failed || over || self.changes.is_interrupted() {
                return Ok(None);
            }
            if self.loading.is_some() {
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = self.changes.wait_next(left);
            let followed = waited.and_then(|event| event.map(|event| self.follow(&event)).transpose());
            self.failed = followed.is_err();
            if followed?.is_none() {
                return Ok(None);
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        if self.failed {
            return Ok(Step::Nothing);
        }
        let step = self.try_step();
        self.failed = step.is_err();
        step
    }

    fn try_step(&mut self) -> Result<Step> {
        if let Some(event) = self.pending.pop_front() {
            return Ok(Step::Event(event));
        }
        if let Some(loading) = &mut self.loading {
            match loading.next().transpose()? {
                None => self.loading = None,
                Some(document) => {
                    let (rank, item) = self.place(document)?;
                    self.window.load(rank, item, &mut self.pending);
                    self.check_size()?;
                }
            }
            return Ok(Step::More);
        }
        match self.changes.next_if_any()? {
            None => Ok(Step::Nothing),
            Some(event) => {
                self.follow(&event)?;
                Ok(Step::More)
            }
        }
    }

    /// Where a document comes in the order.
    fn place(&self, document: RawDocumentBuf) -> Result<(Rank, Item)> {
        let rank = self.order.key(&document)?;
        let mut key = rawdoc! {};
        if let Some(id) = document.get("_id").ok().flatten() {
            key.append(cstr!("_id"), id);
        }
        Ok((rank, Item { key, document }))
    }

    fn check_size(&self) -> Result<()> {
        if self.window.len() > LIVE_DOCUMENTS_MAX {
            return Err(too_large());
        }
        Ok(())
    }

    fn follow(&mut self, event: &ChangeEvent) -> Result<()> {
        let ours = self.query.is_for(event.database(), event.collection());
        match event.operation_type() {
            OperationType::Drop if ours => self.restart(),
            OperationType::Rename if ours || self.takes_name(event) => self.restart(),
            OperationType::Insert | OperationType::Update | OperationType::Replace | OperationType::Delete if ours => {
                self.apply(event)
            }
            _ => Ok(()),
        }
    }

    fn takes_name(&self, rename: &ChangeEvent) -> bool {
        let event = rename.to_document();
        let Ok(to) = event.get_document("to") else { return false };
        let name = |field| to.get_str(field).unwrap_or_default();
        self.query.is_for(name("db"), name("coll"))
    }

    fn apply(&mut self, event: &ChangeEvent) -> Result<()> {
        let Some(key) = event.document_key() else { return Ok(()) };
        let document = event.full_document();
        let matching = match document {
            Some(document) if self.filter.matches(document)? => Some(self.place(document.to_owned())?),
            _ => None,
        };
        self.window.put(&key, matching, &mut self.pending);
        self.check_size()?;
        if self.window.is_short() {
            self.refill()?;
        }
        Ok(())
    }

    /// Asks the query again, and tells the difference.
    fn refill(&mut self) -> Result<()> {
        let state = self.query.store.state(self.query.concern)?;
        let mut found = Vec::new();
        for document in self.query.find(&*state)? {
            found.push(self.place(document?)?);
        }
        self.changes = self.query.changes_behind(state.as_of())?.stopped_with(&self.changes);
        self.window.replace(found, &mut self.pending);
        Ok(())
    }

    /// The collection is another one now: what was is removed, and what is is told from the beginning.
    fn restart(&mut self) -> Result<()> {
        let state = self.query.store.state(self.query.concern)?;
        self.changes = self.query.changes_behind(state.as_of())?.stopped_with(&self.changes);
        self.window.clear(&mut self.pending);
        self.loading = Some(self.query.find(&*state)?);
        Ok(())
    }
}

impl Stream for LiveStream {
    type Item = Result<LiveEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..STEPS_PER_POLL {
            match self.step() {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Step::Event(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(Step::More) => {}
                Ok(Step::Nothing) if self.failed || self.changes.is_interrupted() => return Poll::Ready(None),
                Ok(Step::Nothing) => match Pin::new(&mut self.changes).poll_next(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(event)) => {
                        let followed = event.and_then(|event| self.follow(&event));
                        if let Err(error) = followed {
                            self.failed = true;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                },
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
