//! What a watcher asks for, and the builder that collects it.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf};
use tailwater_matcher::{Collation, parse_filter};
use tailwater_oplog::{OpId, OplogView, ReadConcern, SharedEntry, Term};

use crate::dispatch::{Channel, Dispatcher};
use crate::document_store::DocumentStore;
use crate::error::{Error, Result};
use crate::event::{ChangeEvent, Fragments, OperationType, Operations};
use crate::fields::log_time;
use crate::pipeline::Pipeline;
use crate::plan::{Plan, Verdict};
use crate::scope::{Extent, Scope};
use crate::shape::Oversize;
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
    collation: Option<RawDocumentBuf>,
    comment: Option<Bson>,
    /// What delivers its events whole, if it is not for a stream of its own.
    whole_for: Option<&'static str>,
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
    ///
    /// With `$changeStreamSplitLargeEvent` as the last stage, an event above [`EVENT_BYTES_MAX`](crate::EVENT_BYTES_MAX) comes in
    /// fragments, each an event with a token of its own and a [`split_event`](ChangeEvent::split_event). Without it, such an
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

    /// How `$match` stages compare strings (MongoDB manual: *Collation*): a document such as `{locale: "en", strength: 2}`.
    ///
    /// Text filters, and expressions that compare values, do not know collations, and are refused beside one.
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
    /// [`Error::Filter`], [`Error::Collation`], [`Error::Match`], [`Error::TokenDropped`] and the other errors of a pipeline;
    /// [`Error::MalformedToken`], [`Error::Invalidated`], [`Error::TokenAheadOfLog`], [`Error::TimeTrimmed`],
    /// [`Error::ConflictingStart`]; [`Error::SplitMissing`] and [`Error::SplitChanged`]; from the log
    /// [`HistoryLost`](tailwater_oplog::Error::HistoryLost), [`OtherLog`](tailwater_oplog::Error::OtherLog),
    /// [`Diverged`](tailwater_oplog::Error::Diverged), and [`MajorityUnknown`](tailwater_oplog::Error::MajorityUnknown) for a
    /// watch from now on with [`ReadConcern::Majority`] while nothing is known of what a majority holds.
    pub fn start(self) -> Result<ChangeStream> {
        let plan = Arc::new(self.compile()?);
        let (cursor, token) = match self.begins()? {
            Some(place) => place,
            None => {
                let newest = self.view.newest_known(self.concern)?;
                (self.view.cursor(newest.next(), self.concern)?, self.token_at(newest)?)
            }
        };
        let fragments = self.fragments(&plan, &token)?;
        let ending = self.ending(&plan, &token)?;
        self.trace_beginning("stream", &token);
        Ok(ChangeStream::new(self.view, cursor, plan, token, fragments, ending))
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
        let collation = self.collation.as_ref().map(|collation| collation.as_bytes());
        let question = (&self.scope, &self.filter, stages, collation, self.images);
        let plan = tail.shared.plans.intern(&question, || self.compile())?;
        let begins = self.begins()?;
        let token = match &begins {
            Some((_, token)) => *token,
            None => {
                self.view.newest_known(self.concern)?;
                ResumeToken::without_entry(self.view.log_id(), OpId::ZERO)
            }
        };
        let fragments = self.fragments(&plan, &token)?;
        let ending = self.ending(&plan, &token)?;
        self.trace_beginning("subscription", &token);
        let capacity = (self.capacity, self.capacity_bytes);
        let channel = Channel::new(Arc::clone(&tail.shared), plan, token, capacity);
        let channel = Arc::new(channel.with_fragments(fragments));
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
        let collation = self.collation.as_deref().map(Collation::parse).transpose()?.flatten();
        if collation.is_some() && self.filter.is_some() {
            return Err(Error::CollationUnsupported {
                stage: None,
                what: "a text filter",
            });
        }
        let pipeline = Pipeline::compile(&self.pipeline, collation.as_ref())?;
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
        // Older releases did not say whether an event was the end.
        let may_follow = matches!(token.kind(), TokenKind::Ending | TokenKind::Event | TokenKind::Fragment);
        if !resumed || !may_follow {
            return Ok(None);
        }
        let oldest = self.view.watermarks().oldest;
        if token.op_id() < oldest {
            // The entry is gone that an `invalidate` would be made from. Who watches everything gets none.
            return match token.kind() == TokenKind::Ending && self.scope != Scope::Everything {
                true => Err(tailwater_oplog::Error::HistoryLost {
                    requested: token.op_id(),
                    oldest,
                }
                .into()),
                false => Ok(None),
            };
        }
        let entry = self.view.get(token.op_id(), ReadConcern::Local)?;
        Ok(plan.ended_by(&entry)?.then_some(entry))
    }

    /// What is still to come of an event, when the watch goes on between its fragments. The event is made again, and must fall
    /// into the same ones.
    fn fragments(&self, plan: &Plan, token: &ResumeToken) -> Result<Option<Fragments>> {
        let Some(split) = token.split_event() else {
            return Ok(None);
        };
        if plan.oversize != Oversize::Split {
            return Err(Error::SplitMissing);
        }
        let op_id = token.op_id();
        if split.fragment == split.of && op_id < self.view.watermarks().oldest {
            // Nothing is missing.
            return Ok(None);
        }
        let entry = self.view.get(op_id, ReadConcern::Local)?;
        let fragments = match plan.judge(&entry.entry())? {
            (Verdict::Event(operation, shape), _) => {
                let event = ChangeEvent::new(entry, operation, plan.log_id, plan.images).shaped(shape);
                event.fragments_behind(split.fragment)
            }
            (Verdict::Passed, _) => None,
        };
        match fragments {
            Some(fragments) if fragments.of() == split.of => Ok(Some(fragments)),
            _ => Err(Error::SplitChanged { op_id, split }),
        }
    }

    fn trace_beginning(&self, what: &str, token: &ResumeToken) {
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
        let token = self.token_at(op_id)?;
        self.resume_after(token).start()
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
        // The newest mark of all, so that a token from a reader with another concern is good as well.
        let newest = self.view.newest(ReadConcern::Local);
        if token.op_id() > newest {
            return Err(Error::TokenAheadOfLog {
                requested: token.op_id(),
                newest,
            });
        }
        let cursor = self.view.cursor(token.op_id().next(), self.concern)?;
        // The entry right before the oldest is gone, and with it what could be compared, but nothing is missing after it. It may
        // be gone where the token is from, and there here.
        let has_entry = token.term() != Term::default();
        if has_entry && token.op_id() >= self.view.watermarks().oldest {
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
