//! Writes of their own: what they concern is found or prepared without a lock, and staged, committed and applied under the
//! commit lock.
//!
//! # What holds under concurrency
//!
//! A document is changed only if it still matches under the lock, so two writers never change the same version of it. The
//! first document in an order, and that there is none before an upsert, are looked for again under the lock if anything was
//! written since: of two equal upserts at the same time one inserts and the other finds. That second search makes other
//! writers wait; an index on what the filter asks for keeps it short. What is evaluated under the lock has
//! [`LOCKED_STEPS_MAX`] steps; what a pipeline makes of a document is computed before.
//!
//! Nothing here waits for durability: who calls does, once, also after an error.

use std::collections::VecDeque;
use std::sync::Arc;

use bson::{Bson, RawDocument, RawDocumentBuf};
use tailwater_matcher::StepScope;
use tailwater_oplog::OpId;

use super::change::Prepared;
use super::fresh::Fresh;
use super::modify::Modified;
use super::{Modification, Reach};
use crate::catalog::{CollectionInfo, Namespace};
use crate::collection::{WriteError, WriteOutcome};
use crate::error::{Error, Result};
use crate::limits::{LOCKED_STEPS_MAX, TURN_STEPS};
use crate::reading::Reading;
use crate::sessions::RetryableWrite;
use crate::store::{Commit, Core, Few};
use crate::workspace::{Found, NewDocument, Workspace};

/// Documents that are appended as one batch: so many at most …
const BATCH_DOCUMENTS_MAX: usize = 1000;
/// … and so many bytes, unless one document is larger.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// How often a change is computed anew outside of the lock because others have changed the document meanwhile.
const PREPARED_MAX: u32 = 8;

/// Writes to one collection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    core: &'a Core,
    namespace: &'a Namespace,
    /// What the writes are part of that may be sent again, if they are.
    retryable: Option<&'a RetryableWrite>,
    /// Which of its statements a modification is.
    index: usize,
    /// Whether what they insert may fail the collection's validator; modifications say so themselves.
    bypass_validation: bool,
}

/// How far an insert of several documents has come.
#[derive(Debug, Default)]
pub(crate) struct Inserted {
    /// Which documents were inserted, by their index, and their `_id`s.
    pub(crate) ids: Few<(usize, Bson)>,
    /// Which were refused, in order. Without an order, every document is either here or inserted.
    pub(crate) errors: Vec<WriteError>,
    /// What has kept a batch as a whole from being written, if anything has.
    pub(crate) failure: Option<Error>,
    /// The last entry.
    pub(crate) op_id: Option<OpId>,
}

impl Inserted {
    /// None of a batch's documents are in. An insert in order ends with the first of them.
    fn refuse(&mut self, indexes: impl Iterator<Item = usize>, ordered: bool, error: Error) {
        let count = if ordered { 1 } else { usize::MAX };
        let refused = indexes.take(count).map(|index| WriteError {
            index,
            error: error.clone(),
        });
        self.errors.extend(refused);
        self.failure.get_or_insert(error);
    }
}

/// A document that is to be inserted, with its index, or what is wrong with it.
type Checked<'d> = (usize, Result<NewDocument<'d>>);

/// The commit lock, and what is staged under it.
struct Turn<'a> {
    commit: Commit<'a>,
    /// Others wait for whatever is evaluated in it.
    steps: StepScope,
    workspace: Workspace,
}

/// What has become of a candidate.
enum Met<'a> {
    Changed(Modified),
    /// Others have written since it was found, so that another may come first.
    Moved(Turn<'a>),
    /// It does not match any more.
    Gone,
}

impl Turn<'_> {
    fn at(&self) -> OpId {
        self.workspace.reading().view.at
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(core: &'a Core, namespace: &'a Namespace) -> Writer<'a> {
        Writer {
            core,
            namespace,
            retryable: None,
            index: 0,
            bypass_validation: false,
        }
    }

    /// The same, whose inserts may fail the collection's validator.
    pub(crate) fn bypassing_validation(mut self, bypass: bool) -> Writer<'a> {
        self.bypass_validation = bypass;
        self
    }

    /// The same, whose writes leave records of themselves.
    pub(crate) fn retryable(mut self, write: Option<&'a RetryableWrite>) -> Writer<'a> {
        self.retryable = write;
        self
    }

    /// The same, whose modifications are the statement with this index.
    pub(crate) fn at(mut self, index: usize) -> Writer<'a> {
        self.index = index;
        self
    }

    /// By what operations on the collection compare strings that do not say it themselves.
    pub(crate) fn collation(&self) -> Option<tailwater_matcher::Collation> {
        self.core.collation_of(self.namespace)
    }

    fn turn(&self) -> Result<Turn<'a>> {
        let commit = self.core.lock_commit()?;
        let mut workspace = Workspace::new(self.core.view_locked(&commit)?);
        workspace.bypass_validation(self.bypass_validation);
        let steps = StepScope::limited(LOCKED_STEPS_MAX);
        Ok(Turn {
            commit,
            steps,
            workspace,
        })
    }

    /// Inserts documents, each with its index; an ordered insert ends with the first that is refused. `inserted` says how far
    /// it came, and what was refused, for whatever reason.
    pub(crate) fn insert<'d>(
        &self,
        documents: impl IntoIterator<Item = (usize, &'d RawDocument)>,
        ordered: bool,
        inserted: &mut Inserted,
    ) {
        let mut documents = documents.into_iter();
        let mut ahead = VecDeque::new();
        while !ordered || inserted.errors.is_empty() {
            let batch = if ahead.is_empty() {
                next_batch(&mut documents)
            } else {
                Few::new()
            };
            if batch.is_empty() && ahead.is_empty() {
                break;
            }
            match self.insert_fresh(&batch, inserted) {
                Ok(true) => {}
                Ok(false) => {
                    self.prepare(&batch, ordered, &mut ahead);
                    self.insert_batch(&mut ahead, ordered, inserted);
                }
                Err(error) => inserted.refuse(batch.iter().map(|(index, _)| *index), ordered, error),
            }
        }
        inserted.errors.sort_by_key(|refused| refused.index);
    }

    /// Inserts a batch of documents that are not there yet; says whether it did.
    fn insert_fresh(&self, batch: &[(usize, &RawDocument)], inserted: &mut Inserted) -> Result<bool> {
        if batch.is_empty() {
            return Ok(false);
        }
        let Some(fresh) = Fresh::prepare(self.core, self.namespace, batch, self.bypass_validation)? else {
            return Ok(false);
        };
        let fresh = fresh.recorded(self.retryable);
        let mut commit = self.core.lock_commit()?;
        fresh.commit(self.core, &mut commit, inserted)
    }

    /// Does for a batch of documents what can be done before the lock is taken.
    fn prepare<'d>(&self, batch: &[(usize, &'d RawDocument)], ordered: bool, ahead: &mut VecDeque<Checked<'d>>) {
        let catalog = self.core.catalog();
        let info = catalog.get(self.namespace);
        for (index, document) in batch {
            let checked = NewDocument::check(document).map(|new| match info {
                Some(info) => new.prepared_for(info),
                None => new,
            });
            let is_end = ordered && checked.is_err();
            ahead.push_back((*index, checked));
            if is_end {
                break;
            }
        }
    }

    /// Appends what was prepared as one batch, or a part of it.
    fn insert_batch(&self, ahead: &mut VecDeque<Checked<'_>>, ordered: bool, inserted: &mut Inserted) {
        let mut turn = match self.turn() {
            Ok(turn) => turn,
            Err(error) => return inserted.refuse(ahead.drain(..).map(|(index, _)| index), ordered, error),
        };
        let info = turn.workspace.define(self.namespace);
        // What a capped collection makes room for is counted before it is there, so one at a time.
        let documents_max = if info.natural.is_some() { 1 } else { ahead.len() };
        let mut ids = Few::with_capacity(documents_max);
        let mut refused = Vec::new();
        while ids.len() + refused.len() < documents_max
            && turn.steps.taken() <= TURN_STEPS
            && let Some((index, document)) = ahead.pop_front()
        {
            let staged = document.and_then(|document| self.stage_insert(&mut turn.workspace, &info, document));
            match staged {
                Ok(id) => ids.push((index, id)),
                Err(error) => {
                    refused.push(WriteError { index, error });
                    if ordered {
                        break;
                    }
                }
            }
        }
        // A collection comes into being with its first document, and not without one.
        if !ids.is_empty() {
            let indexes = ids.iter().map(|(index, _)| *index);
            for record in self
                .retryable
                .iter()
                .flat_map(|write| write.insert_records(indexes.clone()))
            {
                turn.workspace.record(record);
            }
            match self.commit(&mut turn) {
                Ok(last) => {
                    inserted.op_id = Some(last);
                    inserted.ids.append(&mut ids);
                }
                Err(error) => {
                    inserted.refuse(ids.iter().map(|(index, _)| *index), ordered, error);
                    if ordered {
                        // It has ended before those.
                        return;
                    }
                }
            }
        }
        inserted.errors.append(&mut refused);
    }

    fn stage_insert(
        &self,
        workspace: &mut Workspace,
        info: &Arc<CollectionInfo>,
        document: NewDocument<'_>,
    ) -> Result<Bson> {
        workspace.make_room(info, self.core.size(info.number), document.document())?;
        workspace.insert_checked(info, document)
    }

    /// Carries out a modification; `outcome` says how far it came, also on an error.
    ///
    /// # Errors
    ///
    /// Those of [`Modification`]'s methods, and the log's.
    pub(crate) fn modify(&self, modification: &Modification, outcome: &mut WriteOutcome) -> Result<()> {
        match modification.reach {
            Reach::First => {
                if let Some(modified) = self.modify_first(modification)? {
                    outcome.add(modified);
                }
                Ok(())
            }
            // Document by document, so no record could say how far it came.
            Reach::All => self.retryable(None).modify_all(modification, outcome),
        }
    }

    /// Modifies the first document that matches, or inserts one.
    ///
    /// # Errors
    ///
    /// As [`Writer::modify`].
    pub(crate) fn modify_first(&self, modification: &Modification) -> Result<Option<Modified>> {
        let mut attempt = 0;
        loop {
            match self.try_first(modification) {
                // What is looked for again under the lock has few steps there. Without the lock it has more, and may be found again
                // before somebody else writes.
                Err(Error::Evaluate(error)) if error.ran_out() && attempt < PREPARED_MAX => attempt += 1,
                tried => return tried,
            }
        }
    }

    fn try_first(&self, modification: &Modification) -> Result<Option<Modified>> {
        let reading = Reading::new(self.core.view()?);
        for candidate in modification.candidates(&reading, self.namespace)? {
            match self.meet(candidate?, modification, reading.view.at)? {
                Met::Changed(modified) => return Ok(Some(modified)),
                Met::Moved(turn) => return self.search_first(turn, modification, None),
                Met::Gone => {}
            }
        }
        if !modification.is_upsert() {
            return Ok(None);
        }
        let upserted = modification.upserted();
        let turn = self.turn()?;
        if turn.at() == reading.view.at {
            return self.upsert(turn, modification, upserted);
        }
        self.search_first(turn, modification, Some(upserted))
    }

    fn modify_all(&self, modification: &Modification, outcome: &mut WriteOutcome) -> Result<()> {
        for attempt in 0.. {
            let reading = Reading::new(self.core.view()?);
            for candidate in modification.candidates(&reading, self.namespace)? {
                if let Met::Changed(modified) = self.meet(candidate?, modification, reading.view.at)? {
                    outcome.add(modified);
                }
            }
            if outcome.matched > 0 || !modification.is_upsert() {
                return Ok(());
            }
            let upserted = modification.upserted();
            let turn = self.turn()?;
            let found = match turn.at() == reading.view.at {
                true => false,
                false => match self.first(&turn, modification) {
                    // As for the first: it is looked for once more without the lock.
                    Err(Error::Evaluate(error)) if error.ran_out() && attempt < PREPARED_MAX => true,
                    found => found?.is_some(),
                },
            };
            if !found {
                if let Some(modified) = self.upsert(turn, modification, upserted)? {
                    outcome.add(modified);
                }
                return Ok(());
            }
            // There are some by now.
        }
        Ok(())
    }

    /// Changes a candidate that was found in the state at `seen`, if it still matches.
    ///
    /// What takes long is computed before the lock is taken, and once more if somebody else has changed the document meanwhile. A
    /// document that is changed all the time does not hold it up for ever: in the end it is computed under the lock, where it has
    /// few steps.
    fn meet(&self, candidate: Found, modification: &Modification, seen: OpId) -> Result<Met<'a>> {
        let mut prepared = modification.prepare(&candidate)?;
        let mut key = candidate.key;
        for attempt in 0.. {
            let turn = self.turn()?;
            let is_moved = turn.at() != seen;
            if is_moved && modification.reach == Reach::First && modification.is_sorted() {
                return Ok(Met::Moved(turn));
            }
            let Some((info, found)) = self.current(&turn, key, modification, is_moved)? else {
                break;
            };
            let fits = prepared.as_ref().is_none_or(|prepared| prepared.is_of(&found));
            if fits || attempt == PREPARED_MAX {
                let prepared = prepared.filter(|_| fits);
                return self
                    .change(turn, &info, found, modification, prepared)
                    .map(Met::Changed);
            }
            drop(turn);
            prepared = modification.prepare(&found)?;
            key = found.key;
        }
        Ok(Met::Gone)
    }

    /// A candidate as it is under the lock, if it still matches.
    fn current(
        &self,
        turn: &Turn<'_>,
        key: Vec<u8>,
        modification: &Modification,
        is_moved: bool,
    ) -> Result<Option<(Arc<CollectionInfo>, Found)>> {
        let Some((info, found)) = turn.workspace.find_key(self.namespace, key)? else {
            return Ok(None);
        };
        let matches = !is_moved || modification.matches(found.document()?)?;
        Ok(matches.then_some((info, found)))
    }

    fn first(&self, turn: &Turn<'_>, modification: &Modification) -> Result<Option<Found>> {
        let mut candidates = modification.candidates(turn.workspace.reading(), self.namespace)?;
        candidates.next().transpose()
    }

    /// Looks for the first match under the lock. `upserted` is what is inserted if there is none, when that has been computed.
    fn search_first(
        &self,
        turn: Turn<'_>,
        modification: &Modification,
        upserted: Option<Result<Option<RawDocumentBuf>>>,
    ) -> Result<Option<Modified>> {
        let found = self.first(&turn, modification)?;
        match (found, turn.workspace.reading().info(self.namespace)) {
            (Some(found), Some(info)) => self.change(turn, &info, found, modification, None).map(Some),
            _ => self.upsert(turn, modification, upserted.unwrap_or_else(|| modification.upserted())),
        }
    }

    fn change(
        &self,
        mut turn: Turn<'_>,
        info: &Arc<CollectionInfo>,
        found: Found,
        modification: &Modification,
        prepared: Option<Prepared>,
    ) -> Result<Modified> {
        let mut modified = modification.stage(&mut turn.workspace, info, found, prepared)?;
        if modified.changed {
            modified.op_id = Some(self.commit_recorded(&mut turn, &modified)?);
        } else if self.retryable.is_some_and(|write| write.has_more_than(self.index)) {
            // Later statements may change what it finds when the write is sent again.
            self.commit_recorded(&mut turn, &modified)?;
        }
        Ok(modified)
    }

    /// Inserts what the modification has for the case that nothing matches, if it has anything.
    fn upsert(
        &self,
        mut turn: Turn<'_>,
        modification: &Modification,
        upserted: Result<Option<RawDocumentBuf>>,
    ) -> Result<Option<Modified>> {
        let Some(document) = upserted? else {
            return Ok(None);
        };
        let workspace = &mut turn.workspace;
        let info = workspace.define(self.namespace);
        workspace.make_room(&info, self.core.size(info.number), &document)?;
        let mut modified = modification.stage_upsert(workspace, &info, &document)?;
        modified.op_id = Some(self.commit_recorded(&mut turn, &modified)?);
        Ok(Some(modified))
    }

    /// Commits a modification with the record of it, if it leaves one.
    fn commit_recorded(&self, turn: &mut Turn<'_>, modified: &Modified) -> Result<OpId> {
        if let Some(write) = self.retryable
            && let Some(record) = write.record(self.index, modified)?
        {
            turn.workspace.record(record);
        }
        self.commit(turn)
    }

    fn commit(&self, turn: &mut Turn<'_>) -> Result<OpId> {
        Ok(self.core.commit(&mut turn.commit, turn.workspace.drafts())?.last)
    }
}

/// As many documents as are appended together.
fn next_batch<'d>(documents: &mut impl Iterator<Item = (usize, &'d RawDocument)>) -> Few<(usize, &'d RawDocument)> {
    let (mut batch, mut bytes) = (Few::new(), 0);
    while batch.len() < BATCH_DOCUMENTS_MAX
        && bytes < BATCH_BYTES_MAX
        && let Some((index, document)) = documents.next()
    {
        bytes += document.as_bytes().len();
        batch.push((index, document));
    }
    batch
}
