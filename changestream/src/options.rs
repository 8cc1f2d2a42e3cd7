//! What a watcher asks for, and the builder that collects it.

use std::sync::Arc;

use bson::{Document, RawDocumentBuf};
use tailwater_matcher::parse_filter;
use tailwater_oplog::{OpId, OplogView, ReadConcern, SharedEntry};

use crate::dispatch::{Channel, Dispatcher};
use crate::document_store::DocumentStore;
use crate::error::{Error, Result};
use crate::event::{OperationType, Operations};
use crate::fields::log_time;
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::scope::Scope;
use crate::stream::ChangeStream;
use crate::subscription::{Receiver, WatchHandle};
use crate::token::{ResumeToken, TokenKind};

/// Whether update events carry the whole document (MongoDB: `fullDocument`).
///
/// The document is the one right after that operation, as the log has it, not whatever is current.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FullDocument {
    /// Only insert and replace carry it.
    #[default]
    Default,
    /// Updates carry it.
    UpdateLookup,
    /// Updates carry it, or null where it was not recorded.
    WhenAvailable,
    /// Updates carry it; where it was not recorded the stream fails with [`Error::NoPostImage`].
    Required,
}

/// Whether events carry the document as it was before (MongoDB: `fullDocumentBeforeChange`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FullDocumentBeforeChange {
    /// No.
    #[default]
    Off,
    /// Update, replace and delete carry it, or null where it was not recorded.
    WhenAvailable,
    /// They carry it; where it was not recorded the stream fails with [`Error::NoPreImage`].
    Required,
}

/// What of an entry an event shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Images {
    pub(crate) full_document: FullDocument,
    pub(crate) before_change: FullDocumentBeforeChange,
    pub(crate) expanded: bool,
    /// Whether a delete is matched as if it had the document that it deleted.
    pub(crate) match_deleted: bool,
    /// The types of events that were asked for by name.
    pub(crate) operations: Option<Operations>,
}

impl Images {
    /// Whether events of that type are delivered, `invalidate` aside.
    pub(crate) fn include(self, operation: OperationType) -> bool {
        match self.operations {
            Some(named) => named.contains(operation),
            None => self.expanded || !operation.is_expanded(),
        }
    }

    pub(crate) fn shows_document(self, operation: OperationType) -> bool {
        match operation {
            OperationType::Insert | OperationType::Replace => true,
            OperationType::Update => self.full_document != FullDocument::Default,
            _ => false,
        }
    }

    /// Whether an operation is refused when it comes without an image.
    pub(crate) fn requires_any(self) -> bool {
        self.full_document == FullDocument::Required || self.before_change == FullDocumentBeforeChange::Required
    }

    pub(crate) fn shows_pre_image(self) -> bool {
        self.before_change != FullDocumentBeforeChange::Off
    }
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    Resume(ResumeToken),
    /// As `Resume`, also behind an `invalidate`.
    AfterAny(ResumeToken),
    AtOperationTime(bson::Timestamp),
    /// With the oldest entry the log has.
    Oldest,
}

/// Builds a change stream. Errors in its parts come from [`Watch::start`] and [`Watch::subscribe`].
#[derive(Clone, Debug)]
#[must_use = "a watch does nothing before it is started"]
pub struct Watch {
    view: OplogView,
    /// The store behind the log, where there is one to ask.
    store: Option<Arc<dyn DocumentStore>>,
    /// Whose tail a subscription shares; one of its own without.
    dispatcher: Option<Dispatcher>,
    scope: Scope,
    filter: Option<String>,
    pipeline: Vec<RawDocumentBuf>,
    images: Images,
    concern: ReadConcern,
    starts: Vec<Start>,
    /// Events in a subscription's channel.
    capacity: usize,
    /// Bytes of entries in a subscription's channel.
    capacity_bytes: usize,
}

impl Watch {
    /// A watch over `scope` of the log behind `view`, from now on.
    pub fn new(view: OplogView, scope: Scope) -> Watch {
        Watch {
            view,
            store: None,
            dispatcher: None,
            scope,
            filter: None,
            pipeline: Vec::new(),
            images: Images::default(),
            concern: ReadConcern::Durable,
            starts: Vec::new(),
            capacity: 10_000,
            capacity_bytes: 16 << 20,
        }
    }

    /// The same watch, which can ask the store behind the log for documents.
    pub fn with_store(mut self, store: Arc<dyn DocumentStore>) -> Watch {
        self.store = Some(store);
        self
    }

    pub(crate) fn shared(dispatcher: Dispatcher, scope: Scope) -> Watch {
        let watch = Watch::new(dispatcher.view().clone(), scope);
        Watch {
            dispatcher: Some(dispatcher),
            ..watch
        }
    }

    /// Only events whose document satisfies a text filter, such as `age > 18 and tags has "urgent"`.
    ///
    /// The filter speaks of the document after the operation, so updates carry it, as with
    /// [`FullDocument::UpdateLookup`], and events without a document (delete, drop) do not match, deletes unless
    /// [`Watch::match_deletes_by_pre_image`] is set. The `invalidate` event
    /// that ends a stream is always delivered.
    pub fn filter(mut self, filter: impl Into<String>) -> Watch {
        self.filter = Some(filter.into());
        self
    }

    /// Only events of these types. Types that otherwise only [`Watch::show_expanded_events`] shows can be among them. The
    /// `invalidate` event that ends a stream is always delivered.
    pub fn operations(mut self, operations: impl IntoIterator<Item = OperationType>) -> Watch {
        self.images.operations = Some(operations.into_iter().collect());
        self
    }

    /// Only events that pass a pipeline, such as `[{$match: {operationType: "insert", "fullDocument.age": {$gt: 18}}}]`, in the
    /// shape that it gives them.
    ///
    /// `$match`, `$project`, `$addFields`, `$set`, `$unset`, `$replaceRoot`, `$replaceWith` and `$redact` are permitted. `_id` is
    /// the resume token and must stay as it is.
    pub fn pipeline(mut self, stages: impl IntoIterator<Item = Document>) -> Watch {
        // A `Document` that cannot be written as BSON (a key with a NUL) becomes an empty stage, which `start` refuses.
        self.pipeline = stages
            .into_iter()
            .map(|stage| RawDocumentBuf::try_from(&stage).unwrap_or_default())
            .collect();
        self
    }

    /// As [`Watch::pipeline`], from raw stages.
    pub fn raw_pipeline(mut self, stages: impl IntoIterator<Item = RawDocumentBuf>) -> Watch {
        self.pipeline = stages.into_iter().collect();
        self
    }

    /// Whether updates carry the whole document.
    pub fn full_document(mut self, mode: FullDocument) -> Watch {
        self.images.full_document = mode;
        self
    }

    /// Whether events carry the document as it was before.
    pub fn full_document_before_change(mut self, mode: FullDocumentBeforeChange) -> Watch {
        self.images.before_change = mode;
        self
    }

    /// Whether a delete is matched by what it deleted: the text filter, and `$match` stages at the beginning of the pipeline that
    /// ask for `fullDocument`, see the document before the change there. Needs pre-images of the collection
    /// (`changeStreamPreAndPostImages`); a delete without one cannot be judged by a filter, and is delivered.
    ///
    /// What is delivered does not change: a delete has no `fullDocument`, and `fullDocumentBeforeChange` only as asked for.
    pub fn match_deletes_by_pre_image(mut self, by_pre_image: bool) -> Watch {
        self.images.match_deleted = by_pre_image;
        self
    }

    /// Whether `create`, `createIndexes`, `dropIndexes` and `modify` events and the fields `collectionUUID`,
    /// `operationDescription` and `stateBeforeChange` are shown.
    pub fn show_expanded_events(mut self, show: bool) -> Watch {
        self.images.expanded = show;
        self
    }

    /// Whether the stream sees entries at once ([`ReadConcern::Local`]) or when they are durable, the default.
    pub fn read_concern(mut self, concern: ReadConcern) -> Watch {
        self.concern = concern;
        self
    }

    /// Goes on behind the event that carried this token. An `invalidate` event's token is refused.
    pub fn resume_after(mut self, token: ResumeToken) -> Watch {
        self.starts.push(Start::Resume(token));
        self
    }

    /// Goes on behind the event that carried this token, also an `invalidate`.
    pub fn start_after(mut self, token: ResumeToken) -> Watch {
        self.starts.push(Start::AfterAny(token));
        self
    }

    /// Begins with the first event at or after this cluster time.
    pub fn start_at_operation_time(mut self, time: bson::Timestamp) -> Watch {
        self.starts.push(Start::AtOperationTime(time));
        self
    }

    /// Begins with the oldest event the log still has.
    pub fn start_at_oldest(mut self) -> Watch {
        self.starts.push(Start::Oldest);
        self
    }

    /// How much a subscription's channel holds before its watcher waits: events (default 10,000) and bytes of their entries
    /// (default 16 MiB), whichever is reached first; one event always fits.
    pub fn channel_capacity(mut self, events: usize, bytes: usize) -> Watch {
        self.capacity = events.max(1);
        self.capacity_bytes = bytes;
        self
    }

    /// Starts the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Match`], [`Error::TokenDropped`] and the other errors of a pipeline; [`Error::MalformedToken`],
    /// [`Error::Invalidated`], [`Error::TokenAheadOfLog`], [`Error::TimeTrimmed`], [`Error::ConflictingStart`]; from the log
    /// [`HistoryLost`](tailwater_oplog::Error::HistoryLost), [`OtherLog`](tailwater_oplog::Error::OtherLog),
    /// [`Diverged`](tailwater_oplog::Error::Diverged).
    pub fn start(self) -> Result<ChangeStream> {
        let plan = Arc::new(self.compile()?);
        let (cursor, token) = match self.begins()? {
            Some(place) => place,
            None => {
                let newest = self.view.newest(self.concern);
                (self.view.cursor(newest.next(), self.concern)?, self.token_at(newest)?)
            }
        };
        let ending = self.ending(&plan, &token)?;
        Ok(ChangeStream::new(self.view, cursor, plan, token, ending))
    }

    /// Has the events delivered into a bounded channel, from now on or from where the watch begins. Dropping the handle ends
    /// the watch.
    ///
    /// All subscriptions of a [`Dispatcher`] share one reader of the log. A watch that was not made from one has a reader of
    /// its own.
    ///
    /// # Errors
    ///
    /// As [`Watch::start`]; [`Io`](tailwater_oplog::Error::Io) when a thread cannot be started.
    pub fn subscribe(self) -> Result<(WatchHandle, Receiver)> {
        let dispatcher = match &self.dispatcher {
            Some(dispatcher) => dispatcher.clone(),
            None => Dispatcher::new(self.view.clone()),
        };
        let tail = dispatcher.tail(self.concern)?;
        let stages: Vec<&[u8]> = self.pipeline.iter().map(|stage| stage.as_bytes()).collect();
        let question = (&self.scope, &self.filter, stages, self.images);
        let plan = tail.shared.plans.intern(&question, || self.compile())?;
        let begins = self.begins()?;
        let token = match &begins {
            Some((_, token)) => *token,
            None => ResumeToken::without_entry(self.view.log_id(), OpId::ZERO),
        };
        let ending = self.ending(&plan, &token)?;
        let capacity = (self.capacity, self.capacity_bytes);
        let channel = Arc::new(Channel::new(Arc::clone(&tail.shared), plan, token, capacity));
        let subscription = (
            WatchHandle::new(Arc::clone(&channel), Arc::clone(&tail)),
            Receiver::new(Arc::clone(&channel)),
        );
        match (ending, begins) {
            (Some(entry), _) => channel.end_with(&entry.entry())?,
            (None, Some((cursor, _))) => tail.shared.join_from(channel, cursor.position()),
            (None, None) => {
                let newest = tail.shared.join_now(&channel);
                channel.begin_at(self.token_at(newest)?);
            }
        }
        Ok(subscription)
    }

    pub(crate) fn compile(&self) -> Result<Plan> {
        let mut images = self.images;
        let filter = self
            .filter
            .as_deref()
            .map(parse_filter)
            .transpose()?
            .map(|filter| Box::new(filter.prefixed("fullDocument")));
        if filter.is_some() && images.full_document == FullDocument::Default {
            images.full_document = FullDocument::UpdateLookup;
        }
        Ok(Plan {
            scope: Arc::new(self.scope.clone()),
            filter,
            pipeline: Pipeline::compile(&self.pipeline)?,
            images,
            log_id: self.view.log_id(),
        })
    }

    /// Where the watch begins, unless that is now.
    fn begins(&self) -> Result<Option<(tailwater_oplog::Cursor, ResumeToken)>> {
        match self.starts.as_slice() {
            [] => Ok(None),
            [start] => self.position(*start).map(Some),
            _ => Err(Error::ConflictingStart),
        }
    }

    /// The entry that ends what is watched, when the watch goes on between its event and the `invalidate`.
    fn ending(&self, plan: &Plan, token: &ResumeToken) -> Result<Option<SharedEntry>> {
        let resumed = matches!(self.starts.as_slice(), [Start::Resume(_) | Start::AfterAny(_)]);
        if !resumed || token.kind() != TokenKind::Event || token.op_id() < self.view.watermarks().oldest {
            return Ok(None);
        }
        let entry = self.view.get(token.op_id(), ReadConcern::Local)?;
        Ok(plan.ended_by(&entry)?.then_some(entry))
    }

    /// Starts the stream behind `op_id`, which is there or has just been trimmed.
    pub(crate) fn start_behind(self, op_id: OpId) -> Result<ChangeStream> {
        let token = self.token_at(op_id)?;
        self.resume_after(token).start()
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Everything that decides which events there are and what they show, for comparison.
    pub(crate) fn selection(&self) -> String {
        format!(
            "{:?} {:?} {:?} {:?}",
            self.scope, self.filter, self.pipeline, self.images
        )
    }

    /// The same watch, from now on.
    pub(crate) fn without_start(mut self) -> Watch {
        self.starts.clear();
        self
    }

    pub(crate) fn has_start(&self) -> bool {
        !self.starts.is_empty()
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn DocumentStore>> {
        self.store.as_ref()
    }

    pub(crate) fn view(&self) -> &OplogView {
        &self.view
    }

    pub(crate) fn concern(&self) -> ReadConcern {
        self.concern
    }

    fn position(&self, start: Start) -> Result<(tailwater_oplog::Cursor, ResumeToken)> {
        let token = match start {
            Start::Resume(token) if token.kind() == TokenKind::Invalidate => return Err(Error::Invalidated),
            Start::Resume(token) | Start::AfterAny(token) => token,
            Start::AtOperationTime(time) => return self.position_at(time),
            Start::Oldest => {
                let cursor = self.view.cursor_from_oldest(self.concern);
                let token = self.token_at(cursor.position().previous())?;
                return Ok((cursor, token));
            }
        };
        let (expected, got) = (self.view.log_id(), token.log_id());
        if expected != got {
            return Err(tailwater_oplog::Error::OtherLog { expected, got }.into());
        }
        // The newest mark of all, so that a token from a reader with the other concern is good as well.
        let newest = self.view.newest(ReadConcern::Local);
        if token.op_id() > newest {
            return Err(Error::TokenAheadOfLog {
                requested: token.op_id(),
                newest,
            });
        }
        let cursor = self.view.cursor(token.op_id().next(), self.concern)?;
        // The entry right before the oldest is gone, and with it what could be compared, but nothing is missing after it.
        if token.op_id() >= self.view.watermarks().oldest {
            self.view
                .check_position(token.op_id(), token.term(), token.timestamp())?;
        }
        Ok((cursor, token))
    }

    fn position_at(&self, time: bson::Timestamp) -> Result<(tailwater_oplog::Cursor, ResumeToken)> {
        let requested = log_time(time);
        let cursor = self.view.cursor_from_time(requested, self.concern)?;
        let oldest = self.view.watermarks().oldest;
        if cursor.position() == oldest && oldest > OpId::FIRST {
            return Err(Error::TimeTrimmed { requested, oldest });
        }
        // The first entry there is may not be of that time yet, so the token keeps it.
        let token = self.token_at(cursor.position().previous())?.starting_at(requested);
        Ok((cursor, token))
    }

    /// The token that stands behind all that `op_id` brought about, whether or not that entry is still there.
    fn token_at(&self, op_id: OpId) -> Result<ResumeToken> {
        let log_id = self.view.log_id();
        if op_id == OpId::ZERO {
            return Ok(ResumeToken::without_entry(log_id, op_id));
        }
        match self.view.get(op_id, ReadConcern::Local) {
            Ok(entry) => Ok(ResumeToken::at(log_id, &entry.entry(), TokenKind::Position)),
            Err(tailwater_oplog::Error::HistoryLost { .. }) => Ok(ResumeToken::without_entry(log_id, op_id)),
            Err(e) => Err(e.into()),
        }
    }
}
