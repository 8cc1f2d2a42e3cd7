//! What a stream selects and shows, compiled: one [`Plan`] serves every watcher that asks for the same.

use std::collections::HashSet;
use std::sync::Arc;

use bson::RawDocument;
use bson::raw::RawBsonRef;
use tailwater_matcher::{Expression, Fields, Path, StepScope};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Entry, LogId, OpId, SharedEntry};

use crate::error::{Error, Result};
use crate::event::OperationType;
use crate::fields::{Deleted, EventFields};
use crate::missing::Missing;
use crate::options::Images;
use crate::pipeline::Pipeline;
use crate::scope::Scope;
use crate::shape::{Oversize, Shape};

/// What a stream selects and shows. It does not know where the stream begins.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scope: Arc<Scope>,
    /// The text filter, over the event's `fullDocument`; an event without one does not satisfy it.
    pub(crate) filter: Option<Box<Expression>>,
    /// Over the event.
    pub(crate) pipeline: Pipeline,
    pub(crate) images: Images,
    pub(crate) oversize: Oversize,
    pub(crate) log_id: LogId,
}

/// How many steps of evaluation a stream has for one event, filter and pipeline together, and one more for so many bytes that it is
/// made of. One thread evaluates for all: what would take longer ends its stream, and nobody waits for it.
const EVENT_STEPS_MAX: u64 = 200_000;
const STEP_BYTES: u64 = 4;

/// Bounds what is evaluated on an event that is made of so many bytes.
pub(crate) fn step_scope(bytes: usize) -> StepScope {
    StepScope::limited(EVENT_STEPS_MAX + bytes as u64 / STEP_BYTES)
}

/// What became of one entry.
pub(crate) enum Verdict {
    /// It is not for this stream.
    Passed,
    /// An event, and its shape where that is not the plain one.
    Event(OperationType, Option<Shape>),
}

impl Plan {
    /// See [`Expression::share_paths`].
    pub(crate) fn share_paths(&mut self, known: &mut HashSet<Path>) {
        self.pipeline.condition.share_paths(known);
        if let Some(filter) = &mut self.filter {
            filter.share_paths(known);
        }
    }

    /// What the entry is for this stream, and whether it ends it.
    pub(crate) fn judge(&self, entry: &Entry<'_>) -> Result<(Verdict, bool)> {
        let Some(kind) = EntryKind::from_number(entry.kind()) else {
            return Ok((Verdict::Passed, false));
        };
        let store = StoreEntry::decode(entry.payload())?;
        if !self.scope.includes(kind, &store) {
            return Ok((Verdict::Passed, false));
        }
        let ends = self.scope.ends_with(kind);
        let Some(operation) = OperationType::of(kind).filter(|&operation| self.images.include(operation)) else {
            return Ok((Verdict::Passed, ends));
        };
        let fields = EventFields::new(*entry, store, operation, self.log_id, self.images);
        Ok((self.judge_event(entry.op_id(), operation, &store, &fields)?, ends))
    }

    /// As [`Plan::judge`], for an entry of its scope that makes an event with these fields.
    pub(crate) fn judge_event(
        &self,
        op_id: OpId,
        operation: OperationType,
        store: &StoreEntry<'_>,
        fields: &EventFields<'_>,
    ) -> Result<Verdict> {
        let _scope = step_scope(fields.payload_bytes());
        let by_deleted = self.images.match_deleted && operation == OperationType::Delete;
        let missing = Missing::required(self.images, operation, store);
        if missing.is_any() {
            return self.judge_without((op_id, fields), missing, by_deleted);
        }
        if by_deleted {
            return self.judge_deleted(op_id, fields);
        }
        match self.satisfies_filter(fields) {
            Ok(true) => self.deliver(op_id, operation, fields),
            Ok(false) => Ok(Verdict::Passed),
            // What the pipeline passes over is not wanted, whatever the filter would have said.
            Err(error) => match self.pipeline.condition.matches(fields)? {
                true => Err(error),
                false => Ok(Verdict::Passed),
            },
        }
    }

    /// An event without an image that the stream requires: refused, unless the rest of it says that it is not wanted.
    fn judge_without(
        &self,
        (op_id, fields): (OpId, &EventFields<'_>),
        missing: Missing,
        by_deleted: bool,
    ) -> Result<Verdict> {
        let unknown = match by_deleted {
            true => Missing::DELETED,
            false => missing,
        };
        let filtered = !unknown.document && !self.satisfies_filter(fields)?;
        if filtered || unknown.rules_out(&self.pipeline.condition, fields)? {
            return Ok(Verdict::Passed);
        }
        Err(match missing.document {
            true => Error::NoPostImage { op_id },
            false => Error::NoPreImage { op_id },
        })
    }

    /// A delete, matched by what it deleted.
    fn judge_deleted(&self, op_id: OpId, fields: &EventFields<'_>) -> Result<Verdict> {
        let deleted = Deleted(fields);
        let matches = if deleted.has_document() {
            let by_filter = self.filter.as_ref().map(|filter| filter.matches(&deleted));
            by_filter.transpose()?.unwrap_or(true) && self.pipeline.condition.matches(&deleted)?
        } else {
            // Who asks for the document cannot judge what is not known. Nothing may be lost for that.
            !Missing::DELETED.rules_out(&self.pipeline.condition, fields)?
        };
        match matches {
            true => self.shape(op_id, OperationType::Delete, fields),
            false => Ok(Verdict::Passed),
        }
    }

    /// Puts an event through the pipeline.
    fn deliver(&self, op_id: OpId, operation: OperationType, fields: &EventFields<'_>) -> Result<Verdict> {
        if !self.pipeline.condition.matches(fields)? {
            return Ok(Verdict::Passed);
        }
        self.shape(op_id, operation, fields)
    }

    /// Gives an event that satisfies the conditions the shape that the pipeline has for it.
    fn shape(&self, op_id: OpId, operation: OperationType, fields: &EventFields<'_>) -> Result<Verdict> {
        if self.pipeline.keeps_events() {
            let shape = Shape::of(op_id, operation, fields, None, self.oversize)?;
            return Ok(Verdict::Event(operation, shape));
        }
        let event = fields.to_document();
        let Some(shaped) = self.pipeline.shape(&event)? else {
            return Ok(Verdict::Passed);
        };
        // Compared as it lies: a token that is only equal would not be the one to resume with.
        let token = |document: &RawDocument| document.get_document("_id").map(|id| id.as_bytes().to_vec()).ok();
        if token(&shaped) != token(&event) {
            return Err(Error::TokenModified { op_id });
        }
        let shape = Shape::of(op_id, operation, fields, Some(shaped), self.oversize)?;
        Ok(Verdict::Event(operation, shape))
    }

    fn satisfies_filter(&self, fields: &EventFields<'_>) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let has_document = matches!(fields.field("fullDocument"), Some(RawBsonRef::Document(_)));
        Ok(has_document && filter.matches(fields)?)
    }

    /// Whether the entry, which the stream has delivered before, is one that ends it.
    pub(crate) fn ended_by(&self, entry: &SharedEntry) -> Result<bool> {
        let Some(kind) = EntryKind::from_number(entry.kind()) else {
            return Ok(false);
        };
        Ok(self.scope.ends_with(kind) && self.scope.includes(kind, &StoreEntry::decode(entry.payload())?))
    }

    /// What becomes of the `invalidate` event of an entry that ends the stream.
    pub(crate) fn judge_invalidate(&self, entry: &Entry<'_>) -> Result<Verdict> {
        let store = StoreEntry::decode(entry.payload())?;
        let operation = OperationType::Invalidate;
        let fields = EventFields::new(*entry, store, operation, self.log_id, self.images);
        let _scope = step_scope(fields.payload_bytes());
        self.deliver(entry.op_id(), operation, &fields)
    }
}
