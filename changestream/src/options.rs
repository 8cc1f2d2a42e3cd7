//! What a watcher asks for, and the builder that collects it.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf};
use tailwater_matcher::{Collation, parse_filter};
use tailwater_oplog::{OpId, OplogView, ReadConcern};

use crate::dispatch::{Channel, Crowd, Dispatcher};
use crate::document_store::DocumentStore;
use crate::error::{Error, Result};
use crate::event::{OperationType, Operations};
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::scope::{Extent, Scope};
use crate::shape::Oversize;
use crate::start::{Beginning, Begins, Start, token_at};
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
    /// Updates carry it; where it was not recorded the stream fails with [`Error::NoPostImage`], unless the rest of the event
    /// shows that a `$match` at the beginning of the pipeline does not hold.
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
    /// They carry it; where it was not recorded the stream fails with [`Error::NoPreImage`], unless the rest of the event shows
    /// that the filter, or a `$match` at the beginning of the pipeline, does not hold.
    Required,
}

/// What of an entry an event shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Images {
    pub(crate) full_document: FullDocument,
    pub(crate) before_change: FullDocumentBeforeChange,
    pub(crate) expanded: bool,
    /// What is watched: it is part of an event's token whether that is the end of it.
    pub(crate) extent: Extent,
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

    /// The kind of the token behind an event.
    pub(crate) fn token_kind(self, operation: OperationType) -> TokenKind {
        match operation {
            OperationType::Invalidate => TokenKind::Invalidate,
            _ if self.extent.ends_with(operation) => TokenKind::Ending,
            _ => TokenKind::Event,
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
    collation: Option<RawDocumentBuf>,
    comment: Option<Bson>,
    /// What delivers its events whole, if it is not for a stream of its own.
    whole_for: Option<&'static str>,
    images: Images,
    concern: ReadConcern,
    starts: Vec<Start>,
    /// It is refused while a token's entry has not come here.
    at_once: bool,
    /// Events in a subscription's channel.
    capacity: usize,
    /// Bytes of entries in a subscription's channel.
    capacity_bytes: usize,
    growth_max: Option<usize>,
}

impl Watch {
    /// A watch over `scope` of the log behind `view`, from now on.
    pub fn new(view: OplogView, scope: Scope) -> Watch {
        let images = Images {
            extent: scope.extent(),
            ..Images::default()
        };
        Watch {
            view,
            store: None,
            dispatcher: None,
            scope,
            filter: None,
            pipeline: Vec::new(),
            collation: None,
            comment: None,
            whole_for: None,
            images,
            concern: ReadConcern::Durable,
            starts: Vec::new(),
            at_once: false,
            capacity: 10_000,
            capacity_bytes: 16 << 20,
            growth_max: None,
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
    ///
    /// With `$changeStreamSplitLargeEvent` as the last stage, an event above [`EVENT_BYTES_MAX`](crate::EVENT_BYTES_MAX) comes in
    /// fragments, each an event with a token of its own and a [`split_event`](crate::ChangeEvent::split_event). Without it, such an
    /// event fails the stream.
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

    /// How the pipeline compares strings (MongoDB manual: *Collation*): a document such as `{locale: "en", strength: 2}`.
    ///
    /// Text filters do not know collations, and are refused beside one.
    pub fn collation(mut self, collation: RawDocumentBuf) -> Watch {
        self.collation = Some(collation);
        self
    }

    /// What the watch is for, for whoever reads the traces: it stands beside the beginning of a stream or subscription in them.
    pub fn comment(mut self, comment: impl Into<Bson>) -> Watch {
        self.comment = Some(comment.into());
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
    /// (`changeStreamPreAndPostImages`); of a delete without one what asks for the document cannot judge, and it is delivered
    /// unless other fields rule it out.
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

    /// Whether the stream sees entries at once ([`ReadConcern::Local`]), when they are durable, the default, or when a majority
    /// of the members of a replicated store holds them ([`ReadConcern::Majority`]): then no promotion takes back what was seen.
    pub fn read_concern(mut self, concern: ReadConcern) -> Watch {
        self.concern = concern;
        self
    }

    /// Goes on behind the event that carried this token. An `invalidate` event's token is refused.
    ///
    /// The token may be of an entry that a log which follows another member has not received yet. The watch then waits for it.
    /// If it turns out that the entry cannot come, because the members' histories have parted or this one is written to now, the
    /// stream fails, at the latest with the next entry: with [`Diverged`](tailwater_oplog::Error::Diverged) or
    /// [`Error::TokenAheadOfLog`].
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
    /// (default 16 MiB), whichever is reached first; one event always fits. A stream that waits beside others has a channel, too,
    /// which holds no more than that, nor than 1,024 events and 4 MiB.
    pub fn channel_capacity(mut self, events: usize, bytes: usize) -> Watch {
        self.capacity = events.max(1);
        self.capacity_bytes = bytes;
        self
    }

    /// By how many bytes the pipeline may make an event larger than it is; the watch fails when it makes more. Default 64 MiB, whatever
    /// the event's own length.
    pub fn growth_max(mut self, bytes: usize) -> Watch {
        self.growth_max = Some(bytes);
        self
    }

    /// Starts the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Collation`], [`Error::Match`], [`Error::TokenDropped`] and the other errors of a pipeline;
    /// [`Error::MalformedToken`], [`Error::Invalidated`], [`Error::TokenAheadOfLog`], [`Error::TimeTrimmed`],
    /// [`Error::ConflictingStart`]; [`Error::SplitMissing`] and [`Error::SplitChanged`]; from the log
    /// [`HistoryLost`](tailwater_oplog::Error::HistoryLost), [`OtherLog`](tailwater_oplog::Error::OtherLog),
    /// [`Diverged`](tailwater_oplog::Error::Diverged), and [`MajorityUnknown`](tailwater_oplog::Error::MajorityUnknown) for a
    /// watch from now on with [`ReadConcern::Majority`] while nothing is known of what a majority holds.
    pub fn start(self) -> Result<ChangeStream> {
        let plan = match &self.dispatcher {
            Some(dispatcher) => self.plan(dispatcher)?,
            None => Arc::new(self.compile()?),
        };
        let begins = match self.begins(&plan)? {
            Some(begins) => begins,
            None => {
                let newest = self.view.newest_known(self.concern)?;
                let cursor = self.view.cursor(newest.next(), self.concern)?;
                Begins::Here(Beginning::plain(cursor, token_at(&self.view, newest)?))
            }
        };
        self.trace_beginning("stream", begins.token());
        let capacity = (self.capacity, self.capacity_bytes);
        let crowd = self.dispatcher.map(|dispatcher| Crowd::join(dispatcher, capacity));
        ChangeStream::new(self.view, self.concern, plan, begins, crowd)
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
        let plan = self.plan(&dispatcher)?;
        let begins = self.begins(&plan)?;
        let token = match &begins {
            Some(begins) => begins.token(),
            None => {
                self.view.newest_known(self.concern)?;
                ResumeToken::without_entry(self.view.log_id(), OpId::ZERO)
            }
        };
        self.trace_beginning("subscription", token);
        let capacity = (self.capacity, self.capacity_bytes);
        let channel = Arc::new(Channel::new(Arc::clone(&tail.shared), plan, token, capacity));
        let subscription = (
            WatchHandle::new(Arc::clone(&channel), Arc::clone(&tail)),
            Receiver::new(Arc::clone(&channel)),
        );
        match begins {
            Some(Begins::Here(beginning)) => tail.shared.begin(channel, beginning)?,
            Some(Begins::Later(resumption)) => tail.shared.begin_later(channel, resumption)?,
            None => {
                let newest = tail.shared.join_now(&channel);
                channel.begin_at(token_at(&self.view, newest)?);
            }
        }
        Ok(subscription)
    }

    /// The plan that it shares with whoever asks a dispatcher for the same.
    fn plan(&self, dispatcher: &Dispatcher) -> Result<Arc<Plan>> {
        let stages: Vec<&[u8]> = self.pipeline.iter().map(|stage| stage.as_bytes()).collect();
        let collation = self.collation.as_ref().map(|collation| collation.as_bytes());
        let delivered = (self.images, self.whole_for, self.growth_max);
        let question = (&self.scope, &self.filter, stages, collation, delivered);
        dispatcher.plans.intern(&question, || self.compile())
    }

    pub(crate) fn compile(&self) -> Result<Plan> {
        let mut images = self.images;
        let collation = self.collation.as_deref().map(Collation::parse).transpose()?.flatten();
        if collation.is_some() && self.filter.is_some() {
            return Err(Error::CollationUnsupported);
        }
        let pipeline = Pipeline::compile(&self.pipeline, collation.as_ref())?.with_growth_max(self.growth_max);
        let oversize = match (pipeline.splits, self.whole_for) {
            (true, Some(by)) => return Err(Error::SplitUnsupported { by }),
            (true, None) => Oversize::Split,
            (false, Some(_)) => Oversize::Deliver,
            (false, None) => Oversize::Refuse,
        };
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
            pipeline,
            images,
            oversize,
            log_id: self.view.log_id(),
        })
    }

    /// Where the watch begins, unless that is now.
    fn begins(&self, plan: &Arc<Plan>) -> Result<Option<Begins>> {
        let begins = match self.starts.as_slice() {
            [] => return Ok(None),
            [start] => start.find(&self.view, self.concern, plan)?,
            _ => return Err(Error::ConflictingStart),
        };
        match begins {
            Begins::Later(resumption) if self.at_once => Err(resumption.ahead(self.view.newest(ReadConcern::Local))),
            begins => Ok(Some(begins)),
        }
    }

    fn trace_beginning(&self, what: &str, token: ResumeToken) {
        let comment = self.comment.as_ref().map(tracing::field::display);
        tracing::debug!(scope = %self.scope, behind = %token.op_id(), comment, "{what} begins");
    }

    /// The same watch, whose events `by` hands out whole, whatever their size.
    pub(crate) fn whole_for(mut self, by: &'static str) -> Watch {
        self.whole_for = Some(by);
        self
    }

    /// Starts the stream behind `op_id`, which is there or has just been trimmed.
    pub(crate) fn start_behind(self, op_id: OpId) -> Result<ChangeStream> {
        let token = token_at(&self.view, op_id)?;
        self.resume_after(token).start()
    }

    /// The same watch, which does not wait for a token's entry to come here, but is refused.
    pub(crate) fn at_once(mut self) -> Watch {
        self.at_once = true;
        self
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Everything that decides which events there are, what they show and when they come, for comparison.
    pub(crate) fn selection(&self) -> String {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            self.scope, self.filter, self.pipeline, self.collation, self.images, self.concern
        )
    }

    /// The same watch, from now on.
    pub(crate) fn without_start(mut self) -> Watch {
        self.starts.clear();
        self
    }

    /// Whether it was told where to begin; otherwise it begins with what is written from its start on.
    #[must_use]
    pub fn has_start(&self) -> bool {
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
}
