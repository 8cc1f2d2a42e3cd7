//! A live query that runs.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{RawDocumentBuf, rawdoc};
use futures::Stream;
use tailwater_matcher::Expression;
use tailwater_oplog::{Cursor, ReadConcern, WaitOutcome};

use super::window::{Item, Rank, Window};
use super::{LIVE_DOCUMENTS_MAX, LiveEvent, LiveQuery, too_large};
use crate::deadline::after;
use crate::document_store::{DocumentOrder, StoreDocuments, StoreState};
use crate::error::Result;
use crate::event::{ChangeEvent, OperationType};
use crate::plan::step_scope;
use crate::step::{self, STEPS_PER_POLL, Step};
use crate::stream::{ChangeStream, Stopper};
use crate::subscription::Subscribed;

/// See [`LiveStream::ask_again`].
struct Awaited {
    state: Box<dyn StoreState>,
    /// Stands at the last entry of the state.
    until: Cursor,
    /// Whether what was is told as removed, and what is from the beginning.
    anew: bool,
}

/// A live query that runs: first the documents of the result, in order, each [`LiveEvent::Added`]; then the changes.
///
/// It is read as a [`ChangeStream`] is. An error ends it; begin a new one.
///
/// The query is asked at the beginning, when a result with a limit has lost so many documents that it must be filled up, and when
/// the collection is dropped or renamed. Then it reads a state of the store. With
/// [`ReadConcern::Durable`](tailwater_oplog::ReadConcern::Durable) that is told when it is durable, as every change is; the stream waits
/// for that as for the next change, and blocks nobody who polls it. Looking up the documents takes as long as the query takes.
pub struct LiveStream {
    query: LiveQuery,
    filter: Expression,
    order: Box<dyn DocumentOrder>,
    window: Window,
    changes: ChangeStream,
    /// The result of a state, as far as it has not been taken in.
    loading: Option<StoreDocuments>,
    /// A state that is read when readers of this concern may see it.
    awaited: Option<Awaited>,
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

impl LiveStream {
    /// Of a query whose result is being read from a state, and of the changes behind that.
    pub(super) fn new(
        query: LiveQuery,
        filter: Expression,
        order: Box<dyn DocumentOrder>,
        changes: ChangeStream,
        loading: StoreDocuments,
    ) -> LiveStream {
        let limit = query.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        LiveStream {
            query,
            filter,
            order,
            window: Window::new(limit),
            changes,
            loading: Some(loading),
            awaited: None,
            pending: VecDeque::new(),
            failed: false,
        }
    }

    /// Whether the first result has been told, and what comes are its changes.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loading.is_none() && self.awaited.is_none() && self.pending.is_empty()
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
    /// [`Error::LiveTooLarge`](crate::Error::LiveTooLarge), [`Error::Evaluate`](crate::Error::Evaluate), [`Error::Store`](crate::Error::Store), the log's. Nothing comes after.
    pub fn next_if_any(&mut self) -> Result<Option<LiveEvent>> {
        step::until_event(|| self.step())
    }

    /// The next change of the result, waiting for it: nothing when the time is up or it was stopped.
    ///
    /// # Errors
    ///
    /// As [`LiveStream::next_if_any`]; [`Closed`](tailwater_oplog::Error::Closed).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<LiveEvent>> {
        let deadline = timeout.map(after);
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
            if let Some(awaited) = &self.awaited {
                match self.changes.wait_with(&awaited.until, deadline) {
                    WaitOutcome::Ready => continue,
                    WaitOutcome::TimedOut | WaitOutcome::Interrupted => return Ok(None),
                    WaitOutcome::Closed if self.can_be_seen(awaited) => continue,
                    WaitOutcome::Closed => {
                        self.failed = true;
                        return Err(tailwater_oplog::Error::Closed.into());
                    }
                }
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

    fn step(&mut self) -> Result<Step<LiveEvent>> {
        if self.failed {
            return Ok(Step::Nothing);
        }
        let step = self.try_step();
        self.failed = step.is_err();
        step
    }

    fn try_step(&mut self) -> Result<Step<LiveEvent>> {
        if let Some(event) = self.pending.pop_front() {
            return Ok(Step::Event(event));
        }
        if let Some(awaited) = self.awaited.take() {
            if !self.can_be_seen(&awaited) {
                self.awaited = Some(awaited);
                return Ok(Step::Nothing);
            }
            self.read_again(&*awaited.state, awaited.anew)?;
            return Ok(Step::More);
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
            OperationType::Drop if ours => self.ask_again(true),
            OperationType::Rename if ours || self.takes_name(event) => self.ask_again(true),
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
        let scope = document.map(|document| step_scope(document.as_bytes().len()));
        let matches = document.map(|document| self.filter.matches(document)).transpose()?;
        drop(scope);
        let matching = match document {
            Some(document) if matches == Some(true) => Some(self.place(document.to_owned())?),
            _ => None,
        };
        self.window.put(&key, matching, &mut self.pending);
        self.check_size()?;
        if self.window.is_short() {
            self.ask_again(false)?;
        }
        Ok(())
    }

    /// Asks the query again on the state of now, as soon as that may be seen: it is not made durable for this, because a task must
    /// not wait for the disk. What changes meanwhile is in it.
    fn ask_again(&mut self, anew: bool) -> Result<()> {
        let state = self.query.store.state(ReadConcern::Local)?;
        let until = self.query.view.cursor(state.as_of(), self.query.concern)?;
        self.awaited = Some(Awaited { state, until, anew });
        Ok(())
    }

    fn can_be_seen(&self, awaited: &Awaited) -> bool {
        self.query.view.newest(self.query.concern) >= awaited.state.as_of()
    }

    /// Goes on behind a state: tells the difference between what was and what is there, or, `anew`, that all of what was is gone, and
    /// then what is from the beginning.
    fn read_again(&mut self, state: &dyn StoreState, anew: bool) -> Result<()> {
        let found = self.query.find(state)?;
        self.changes = self.query.changes_behind(state.as_of())?.stopped_with(&self.changes);
        if anew {
            self.window.clear(&mut self.pending);
            self.loading = Some(found);
            return Ok(());
        }
        let placed = found.map(|document| self.place(document?));
        let placed = placed.collect::<Result<Vec<_>>>()?;
        self.window.replace(placed, &mut self.pending);
        Ok(())
    }
}

impl Subscribed for LiveStream {
    type Event = LiveEvent;

    fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<LiveEvent>> {
        LiveStream::wait_next(self, timeout)
    }

    fn is_ended(&self) -> bool {
        LiveStream::is_ended(self)
    }
}

impl Stream for LiveStream {
    type Item = Result<LiveEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..STEPS_PER_POLL {
            let step = self.step();
            if let (Ok(Step::Nothing), Some(awaited)) = (&step, &self.awaited)
                && !self.changes.is_interrupted()
            {
                match awaited.until.poll_ready(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => {
                        self.failed = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                }
            }
            match step {
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
