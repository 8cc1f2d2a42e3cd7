//! Deleting documents whose time has come, as indexes with `expireAfterSeconds` ask for (MongoDB manual: *TTL Indexes*).
//!
//! A document expires when a date in the indexed field is older than that many seconds; of several dates in an array the
//! earliest counts. Documents without a date there never expire, nor do those that a partial index leaves out. They are
//! deleted in batches, each one commit of ordinary deletions: log, change streams and replicas see nothing special.
//!
//! "Now" is the system's clock and nothing else. When it goes back, documents expire later. The log's own timestamps never go
//! back, so after that they are ahead of the clock; going by them would delete documents early.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{DateTime, RawDocument, rawdoc};
use tailwater_matcher::Expression;

use crate::catalog::{Catalog, CollectionInfo, IndexInfo, IndexState};
use crate::error::Result;
use crate::index::keys;
use crate::plan::Plan;
use crate::query::Source;
use crate::reading::Reading;
use crate::store::Core;
use crate::workspace::Workspace;

/// Documents deleted in one commit.
const BATCH_DOCUMENTS: usize = 256;

/// Where the thread sleeps between two rounds.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<()>, Condvar);

impl Pause {
    pub(crate) fn wake(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.1.notify_all();
    }

    /// Sleeps for so long, or until `stop` holds and somebody says so.
    fn sleep(&self, length: Duration, stop: impl Fn() -> bool) {
        let until = Instant::now() + length;
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !stop() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guard = self
                .1
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Whether any index asks for documents to be deleted.
pub(crate) fn is_wanted(catalog: &Catalog) -> bool {
    let mut indexes = catalog.collections().flat_map(|info| &info.indexes);
    indexes.any(|index| index.definition.expire_after.is_some())
}

/// The thread: a pause, a round, and so on until the store closes.
pub(crate) fn run(core: &Core) {
    let stopping = || core.stopping.load(Ordering::SeqCst);
    loop {
        core.expiry.sleep(core.options.expire_interval, stopping);
        if stopping() {
            return;
        }
        // The primary deletes, and this store hears of it.
        if core.log.is_following() {
            continue;
        }
        match expire(core, DateTime::now()) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "deleted expired documents"),
            Err(_) if stopping() => return,
            Err(error) => tracing::error!(%error, "deleting expired documents failed; trying again later"),
        }
    }
}

/// Deletes what has expired by `now`; returns how many documents.
///
/// # Errors
///
/// The log's and the engine's errors. What was deleted before stays so.
pub(crate) fn expire(core: &Core, now: DateTime) -> Result<u64> {
    let catalog = core.catalog();
    let mut deleted = 0;
    for info in catalog.collections() {
        for index in info.indexes.iter().filter(|index| index.state == IndexState::Ready) {
            if let Some(age) = index.definition.expire_after {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let due = DateTime::from_millis(now.timestamp_millis().saturating_sub(age));
                deleted += expire_of(core, info, index, due)?;
            }
        }
    }
    Ok(deleted)
}

fn expire_of(core: &Core, info: &Arc<CollectionInfo>, index: &IndexInfo, due: DateTime) -> Result<u64> {
    let mut filter = bson::Document::new();
    filter.insert(index.definition.fields[0].path.as_str(), bson::doc! { "$lte": due });
    let filter = bson::RawDocumentBuf::try_from(&filter).unwrap_or_else(|_| rawdoc! {});
    let filter = Expression::parse(&filter)?;
    let reading = Reading::new(core.view()?);
    let plan = Plan::along_index(&reading, index, &filter);
    let mut source = Source::new(&reading, info, std::slice::from_ref(&plan));
    let is_due = |document: &RawDocument| -> Result<bool> {
        Ok(filter.matches(document)? && !keys::of(&index.definition, document)?.values.is_empty())
    };
    let mut deleted = 0;
    loop {
        let mut batch = Vec::new();
        while batch.len() < BATCH_DOCUMENTS
            && let Some(found) = source.next()?
        {
            batch.push(found.key);
        }
        if batch.is_empty() || core.stopping.load(Ordering::SeqCst) {
            return Ok(deleted);
        }
        let mut commit = core.lock_commit()?;
        // It may have another name by now, and the index may be gone or ask for something else.
        let Some(info) = commit.catalog().by_id(&info.id).cloned() else {
            return Ok(deleted);
        };
        let unchanged = |other: &IndexInfo| other.number == index.number && other.definition == index.definition;
        if !info.indexes.iter().any(unchanged) {
            return Ok(deleted);
        }
        let mut workspace = Workspace::new(core.view_locked(&commit)?);
        for key in batch {
            if let Some((info, found)) = workspace.find_key(&info.namespace, key)?
                && is_due(found.document()?)?
            {
                workspace.delete(&info, found)?;
                deleted += 1;
            }
        }
        if !workspace.drafts().is_empty() {
            core.commit(&mut commit, workspace.drafts())?;
        }
    }
}
