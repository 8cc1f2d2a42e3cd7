//! One collection: reading its documents, and writing them through the log.

mod aggregate;
mod indexes;
mod validate;

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::Expression;
use tailwater_oplog::{Durability, OpId};

use crate::catalog::Namespace;
use crate::error::{Error, Result};
use crate::query::{Candidates, Documents, ExplainOptions};
use crate::reading::Reading;
use crate::store::{Core, Store};
use crate::update::Update;
use crate::workspace::Workspace;
use crate::write::{Change, check_replacement};

pub use indexes::IndexOutcome;
pub use validate::Validation;

/// Documents of one `insert_many` that are appended as one batch: so many at most …
const BATCH_DOCUMENTS_MAX: usize = 1000;
/// … and so many bytes, unless one document is larger.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// What an insert has done.
#[derive(Clone, PartialEq, Debug)]
pub struct InsertOutcome {
    /// The documents' `_id`s, in order; made up where a document had none.
    pub inserted_ids: Vec<bson::Bson>,
    /// The last entry it wrote.
    pub op_id: OpId,
}

/// What an update, replacement or deletion has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteOutcome {
    /// Documents that matched the filter.
    pub matched: u64,
    /// Documents that were changed or deleted; an update that changes nothing writes nothing.
    pub modified: u64,
    /// The last entry it wrote, if any.
    pub op_id: Option<OpId>,
}

/// A collection of a store. Cheap to clone.
///
/// Filters and updates are MongoDB's documents; see [`tailwater_matcher`] for the operators.
#[derive(Clone, Debug)]
pub struct Collection {
    store: Store,
    namespace: Namespace,
    durability: Option<Durability>,
}

impl Collection {
    pub(crate) fn new(store: Store, namespace: Namespace) -> Collection {
        Collection {
            store,
            namespace,
            durability: None,
        }
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Collection {
        self.durability = Some(durability);
        self
    }

    /// Name of its database.
    #[must_use]
    pub fn database_name(&self) -> &str {
        &self.namespace.database
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.namespace.collection
    }

    /// The store it belongs to.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn core(&self) -> &Core {
        self.store.core()
    }

    fn settle(&self, op_id: OpId) -> Result<OpId> {
        let core = self.core();
        core.settle(op_id, self.durability.unwrap_or(core.options.durability))
    }

    /// Inserts one document. Without an `_id` it gets an ObjectId, in front.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`], and the log's errors.
    pub fn insert_one(&self, document: &RawDocument) -> Result<InsertOutcome> {
        self.insert_many([document]).map_err(|error| match error {
            Error::InsertMany { source, .. } => *source,
            error => error,
        })
    }

    /// Inserts documents in order, up to the first that is refused.
    ///
    /// # Errors
    ///
    /// [`Error::NoDocuments`] when there are none. [`Error::InsertMany`] says which document was refused and why; the ones
    /// before it are inserted, as durably as asked. The log's errors, when nothing was inserted before.
    pub fn insert_many<'a>(&self, documents: impl IntoIterator<Item = &'a RawDocument>) -> Result<InsertOutcome> {
        let mut inserted_ids = Vec::new();
        let mut last = OpId::ZERO;
        let mut refused = None;
        let mut documents = documents.into_iter().enumerate().peekable();
        if documents.peek().is_none() {
            return Err(Error::NoDocuments);
        }
        while documents.peek().is_some() && refused.is_none() {
            let inserted = inserted_ids.len();
            match self.insert_batch(&mut documents, &mut inserted_ids, &mut refused) {
                Ok(Some(op_id)) => last = op_id,
                Ok(None) => {}
                Err(error) if inserted == 0 => return Err(error),
                // The batch failed as a whole, after others that are in.
                Err(error) => refused = Some((inserted, error)),
            }
        }
        if last > OpId::ZERO {
            self.settle(last)?;
        }
        match refused {
            Some((index, source)) => Err(Error::InsertMany {
                index,
                source: Box::new(source),
            }),
            None => Ok(InsertOutcome {
                inserted_ids,
                op_id: last,
            }),
        }
    }

    /// Appends as many documents as a batch holds, up to the first that is refused; returns the last entry, if there is one.
    fn insert_batch<'a>(
        &self,
        documents: &mut impl Iterator<Item = (usize, &'a RawDocument)>,
        inserted_ids: &mut Vec<bson::Bson>,
        refused: &mut Option<(usize, Error)>,
    ) -> Result<Option<OpId>> {
        let core = self.core();
        let mut commit = core.lock_commit()?;
        let mut workspace = Workspace::new(core.view_locked(&commit)?);
        let info = workspace.define(&self.namespace);
        let before = inserted_ids.len();
        // What a capped collection makes room for is counted before it is there, so one at a time.
        let documents_max = if info.natural.is_some() { 1 } else { BATCH_DOCUMENTS_MAX };
        while inserted_ids.len() - before < documents_max
            && workspace.bytes() < BATCH_BYTES_MAX
            && let Some((index, document)) = documents.next()
        {
            let size = core.size(info.number);
            let inserted = workspace.make_room(&info, size, document.as_bytes().len());
            match inserted.and_then(|()| workspace.insert(&info, document)) {
                Ok(id) => inserted_ids.push(id),
                Err(source) => {
                    *refused = Some((index, source));
                    break;
                }
            }
        }
        // A collection comes into being with its first document, and not without one.
        if inserted_ids.len() == before {
            return Ok(None);
        }
        Ok(Some(core.commit(&mut commit, workspace.drafts())?.last))
    }

    /// The documents that match `filter`, as they were when the call was made; later writes do not disturb it. They come in the
    /// order of their `_id`s, or of the index that was used to find them.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`]; the iterator's items can fail with [`Error::Engine`] and [`Error::Evaluate`], after which there are no
    /// more.
    pub fn find(&self, filter: &RawDocument) -> Result<Documents> {
        self.find_matching(Expression::parse(filter)?)
    }

    /// As [`Collection::find`], with a filter that has been parsed.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`].
    pub fn find_matching(&self, filter: Expression) -> Result<Documents> {
        Ok(Documents(self.candidates(Arc::new(filter))?))
    }

    /// The first document that matches, if any.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        self.find(filter)?.next().transpose()
    }

    /// How the documents that match are found, and what it takes: the query is planned, run to its end, and told about as by
    /// MongoDB's `explain`. Members: `queryPlanner.namespace`, `.parsedQuery`, `.winningPlan`; `executionStats.nReturned`,
    /// `.totalKeysExamined`, `.totalDocsExamined`.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`]; [`Error::BadHint`], [`Error::InvalidSort`], [`Error::SortMemoryExceeded`],
    /// [`Error::SortParallelArrays`].
    pub fn explain(&self, filter: &RawDocument, options: &ExplainOptions) -> Result<RawDocumentBuf> {
        let query = options.query(Expression::parse(filter)?)?;
        query.explain(&Reading::new(self.core().view()?), &self.namespace)
    }

    /// How many documents match.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn count(&self, filter: &RawDocument) -> Result<u64> {
        let mut count = 0;
        for candidate in self.candidates(Arc::new(Expression::parse(filter)?))? {
            candidate?;
            count += 1;
        }
        Ok(count)
    }

    /// How many documents there are, without looking at them.
    ///
    /// # Errors
    ///
    /// [`Error::Log`] when the store is closed.
    pub fn estimated_count(&self) -> Result<u64> {
        let view = self.core().view()?;
        let info = view.catalog.get(&self.namespace);
        Ok(info.map_or(0, |info| self.core().size(info.number).documents.unsigned_abs()))
    }

    /// Changes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`], and the log's errors.
    pub fn update_one(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        let update = Update::parse(update)?;
        self.change(filter, Reach::First, &Change::Update(&update))
    }

    /// Changes every document that matches. Each is changed atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one`]; [`Error::ChangeMany`] when documents were changed before the error. They stay changed,
    /// as durably as asked.
    pub fn update_many(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        let update = Update::parse(update)?;
        self.change(filter, Reach::All, &Change::Update(&update))
    }

    /// Replaces the first document that matches; its `_id` stays. A replacement may name the same `_id`, also as a number of
    /// another type (`1.0` for `1`), which then takes the stored one's place, as in MongoDB.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidReplacement`], [`Error::InvalidDocument`], [`Error::Filter`], [`Error::Evaluate`], and the log's
    /// errors.
    pub fn replace_one(&self, filter: &RawDocument, replacement: &RawDocument) -> Result<WriteOutcome> {
        check_replacement(replacement)?;
        self.change(filter, Reach::First, &Change::Replace(replacement))
    }

    /// Deletes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Evaluate`], and the log's errors.
    pub fn delete_one(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.change(filter, Reach::First, &Change::Delete)
    }

    /// Deletes every document that matches. Each is deleted atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_one`]; [`Error::ChangeMany`] when documents were deleted before the error. They stay deleted,
    /// as durably as asked.
    pub fn delete_many(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.change(filter, Reach::All, &Change::Delete)
    }

    fn candidates(&self, filter: Arc<Expression>) -> Result<Candidates> {
        Candidates::new(&Reading::new(self.core().view()?), &self.namespace, filter)
    }

    /// Finds candidates without the lock, and changes each under it if it still matches.
    fn change(&self, filter: &RawDocument, reach: Reach, change: &Change<'_>) -> Result<WriteOutcome> {
        let filter = Arc::new(Expression::parse(filter)?);
        let mut outcome = WriteOutcome::default();
        let changed = self.change_each(&filter, reach, change, &mut outcome);
        // Also before an error: what is reported as changed is as durable as asked.
        if let Some(op_id) = outcome.op_id {
            self.settle(op_id)?;
        }
        match changed {
            Ok(()) => Ok(outcome),
            Err(error) if outcome.modified == 0 => Err(error),
            Err(error) => Err(Error::ChangeMany {
                modified: outcome.modified,
                source: Box::new(error),
            }),
        }
    }

    /// As [`Collection::change`], without waiting for durability; `outcome` says how far it got, also on an error.
    fn change_each(
        &self,
        filter: &Arc<Expression>,
        reach: Reach,
        change: &Change<'_>,
        outcome: &mut WriteOutcome,
    ) -> Result<()> {
        for candidate in self.candidates(Arc::clone(filter))? {
            let key = candidate?.key;
            let core = self.core();
            let mut commit = core.lock_commit()?;
            let mut workspace = Workspace::new(core.view_locked(&commit)?);
            let Some((info, found)) = workspace.find_key(&self.namespace, key)? else {
                continue;
            };
            if !filter.matches(found.document()?)? {
                continue;
            }
            outcome.matched += 1;
            if change.stage(&mut workspace, &info, found)? {
                outcome.op_id = Some(core.commit(&mut commit, workspace.drafts())?.last);
                outcome.modified += 1;
            }
            if reach == Reach::First {
                break;
            }
        }
        Ok(())
    }
}

/// How many of the matching documents a write concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    First,
    All,
}
