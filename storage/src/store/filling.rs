//! Indexes of a follower, built beside the entries that it takes.
//!
//! The primary says in the log when a build begins and when it is complete ([`super::build`]). A follower that met the second
//! entry and only then looked at the documents would take nothing else for as long as that lasts. So a thread of its own indexes
//! them in the primary's chunks, from the entry that begins the build on:
//!
//! ```text
//!   log:     begins ─────────────── complete ──────────────────►
//!   state:   Building               Ready                          the thread was done before
//!                                   Filling ─────────── Ready      it was not
//! ```
//!
//! - While it is `Filling`, writes maintain the index and nothing uses it: reads answer, from the documents. That is this store's
//!   own affair, which its catalogue remembers; the log does not speak of it.
//! - Whether keys are unique is the primary's word, so the order in which the documents are indexed here is no matter.
//! - A crash loses what was indexed, or not; the thread begins again with the first document.
//! - Who takes writes needs its unique indexes: they are completed before the store is promoted.
//! - A digest is of what the log says, so it completes what is `Filling` first.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use tailwater_matcher::StepScope;

use super::Store;
use super::build::{Build, Uniqueness};
use super::commit::Commit;
use super::shared::{Core, View};
use crate::catalog::{Catalog, CollectionInfo, CollectionNumber, IndexInfo, IndexState};
use crate::error::{Error, Result};

/// What the thread is at.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Whether there is one.
    running: bool,
    /// Indexes that a document does not fit into that was there when the thread came by. The primary will give them up, or that
    /// document was changed before the primary came by; then they are begun anew at the entry that completes them.
    unfit: HashSet<CollectionNumber>,
}

/// Who waits for a build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// Whoever has asked for it.
    Whole,
    /// Nobody; others have the commit lock for as long as each chunk had it. A lock that is free for a moment goes to who is awake,
    /// and that is who has just let go of it.
    Half,
}

impl Store {
    /// Starts the thread, if there is something for it to do and it does not run.
    pub(super) fn ensure_filling(&self) -> Result<()> {
        let core = self.core();
        let mut filling = core.lock_filling();
        if filling.running || core.next_for_thread(&filling).is_none() {
            return Ok(());
        }
        let its = Arc::clone(core);
        self.handle.spawn("tailwater-index", move || run(&its))?;
        filling.running = true;
        Ok(())
    }
}

/// The thread: one build after the other, until there is none.
fn run(core: &Core) {
    let _panic = Panic(core);
    loop {
        let build = {
            let mut filling = core.lock_filling();
            let build = core.next_for_thread(&filling);
            // Under the lock, so that who has something new either finds the thread gone or is found by it.
            filling.running = build.is_some();
            build
        };
        let Some(build) = build else { return };
        if let Err(error) = core.fill_build(&build, Pace::Half) {
            if core.stopping.load(Ordering::SeqCst) {
                tracing::debug!(%error, "an index build was interrupted; it begins again with the next opening");
            } else {
                core.fail(error);
            }
            // What runs no more is not started again, for the store has ended.
            return;
        }
    }
}

/// A follower does not go on with an index that nobody completes.
struct Panic<'a>(&'a Core);

impl Drop for Panic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Interrupted {
                what: "building an index",
            });
        }
    }
}

impl Core {
    /// Completes those of the indexes that the log says to be complete.
    ///
    /// # Errors
    ///
    /// The log's and the engine's; one of a document's that the primary found to fit.
    pub(super) fn fill(&self, of: impl Fn(&IndexInfo) -> bool) -> Result<()> {
        // Whoever's command it is that has it done now: it is done for all.
        let _apart = StepScope::apart();
        while let Some(build) = self.next_to_fill(|index| index.state == IndexState::Filling && of(index)) {
            self.fill_build(&build, Pace::Whole)?;
        }
        Ok(())
    }

    /// The state as of the last visible entry, with every index that the log says to be complete.
    ///
    /// # Errors
    ///
    /// As [`Core::fill`], and those of [`Core::view`].
    pub(crate) fn view_filled(&self) -> Result<View> {
        loop {
            let view = self.view()?;
            let is_filled = |info: &CollectionInfo| info.indexes.iter().all(|index| index.state != IndexState::Filling);
            if view.catalog.collections().all(|info| is_filled(info)) {
                return Ok(view);
            }
            self.fill(|_| true)?;
        }
    }

    fn next_to_fill(&self, of: impl Fn(&IndexInfo) -> bool) -> Option<Build> {
        self.catalog().collections().find_map(|info| Build::new(info, &of))
    }

    /// What the thread does next. Builds that the log has not completed are a primary's own to go on with.
    fn next_for_thread(&self, filling: &Filling) -> Option<Build> {
        let follows = self.log.is_following();
        let completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        self.next_to_fill(|index| match index.state {
            IndexState::Filling => true,
            IndexState::Building => {
                follows && !completed.contains(&index.number) && !filling.unfit.contains(&index.number)
            }
            IndexState::Ready => false,
        })
    }

    fn lock_filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Indexes all documents, in chunks between which others come in. Any number of threads may do the same.
    fn fill_build(&self, build: &Build, pace: Pace) -> Result<()> {
        tracing::info!(
            indexes = build.indexes.len(),
            "building indexes beside the entries that come"
        );
        let mut after = None;
        loop {
            let mut commit = self.lock_commit()?;
            let begun = Instant::now();
            match self.index_chunk(&mut commit, build, after, Uniqueness::Given) {
                Ok(None) => return self.end_filling(&mut commit, build),
                Ok(last) => after = last,
                Err(Error::IndexBuildAborted { .. }) => return Ok(()),
                Err(error) if error.is_of_documents() && build.indexes.len() > 1 => {
                    drop(commit);
                    // Which of them it is shows when each is built by itself.
                    return build.singly().try_for_each(|one| self.fill_build(&one, pace));
                }
                Err(error) if error.is_of_documents() && !self.is_complete_elsewhere(&commit, build)? => {
                    let numbers = build.indexes.iter().map(|index| index.number);
                    self.lock_filling().unfit.extend(numbers);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            drop(commit);
            if pace == Pace::Half {
                std::thread::sleep(begun.elapsed());
            }
        }
    }

    /// Whether the log says that one of them is complete.
    fn is_complete_elsewhere(&self, commit: &Commit<'_>, build: &Build) -> Result<bool> {
        let (_, indexes) = build.found(&self.view_locked(commit)?)?;
        Ok(indexes.iter().any(|index| index.state == IndexState::Filling))
    }

    /// Every document is in them. What the log says to be complete is in use from here on, the rest from the entry on that says so.
    fn end_filling(&self, commit: &mut Commit<'_>, build: &Build) -> Result<()> {
        let view = self.view_locked(commit)?;
        let is_of_build = |index: &IndexInfo| build.indexes.iter().any(|begun| begun.number == index.number);
        let info = view.catalog.by_id(&build.collection);
        if let Some(building) = info.and_then(|info| Build::begun(info, is_of_build)) {
            self.remember_completed(&building);
        }
        let mut catalog = Catalog::clone(&view.catalog);
        let filled = catalog.modify(&build.collection, |info| {
            let filled = info
                .indexes
                .iter_mut()
                .filter(|index| index.state == IndexState::Filling);
            filled
                .filter(|index| is_of_build(index))
                .for_each(|index| index.state = IndexState::Ready);
        });
        if let Some(change) = filled {
            // It goes into the engine with the next generation that does; a crash before has the documents looked at again.
            let generation = &view.layers.generations[0];
            generation.change_catalog(change);
            generation.cover(view.at);
            commit.ahead.catalog = Arc::new(catalog);
            self.publish(&commit.ahead, view.at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
