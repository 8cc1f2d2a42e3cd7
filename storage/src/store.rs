//! The store: opening, closing, and what concerns it as a whole.
//!
//! - [`shared`]: what the handles share, the lock, the view that readers get;
//! - [`commit`]: entries on their way into the log;
//! - [`apply`]: what an entry does to the state;
//! - [`build`]: indexes that are built while writes go on;
//! - [`filling`]: the same of a follower;
//! - [`background`]: what the store does by itself;
//! - [`definitions`]: collections and databases;
//! - [`origin`]: whether log and state belong together;
//! - [`renewal`]: indexes whose entries an earlier version has made by other rules;
//! - [`replica`]: what a store does as a member of a replicated one;
//! - [`slots`]: what the log keeps for others.

mod apply;
mod attached;
mod background;
mod backlog;
mod build;
mod commit;
mod definitions;
mod facts;
mod filling;
mod options;
mod origin;
mod renewal;
mod replica;
mod shared;
mod signal;
mod slots;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tailwater_oplog::{OpId, OplogView};

use attached::Attached;

use crate::applier;
use crate::checkpoint::log_options;
use crate::collection::Collection;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::expire;
use crate::names;

pub use definitions::CollectionSpecification;
pub use options::StoreOptions;
pub use replica::CutBack;

pub(crate) use apply::indexes_detail;
pub(crate) use build::{BUILD_AT_ONCE_MAX, Build, definition};
pub(crate) use commit::{Commit, Draft, Few, Inserts, entry_for};
pub(crate) use definitions::existing;
pub(crate) use shared::{Core, View};

/// Directory of the log within a store's.
const LOG_DIRECTORY: &str = "oplog";
/// Directory of the state within a store's.
pub(crate) const STATE_DIRECTORY: &str = "state";
/// The file without which the log's directory holds no log.
pub(crate) const LOG_MANIFEST: &str = "MANIFEST";

/// Directory of the log of the store in `dir`.
#[must_use]
pub fn log_directory(dir: &Path) -> PathBuf {
    dir.join(LOG_DIRECTORY)
}

/// Directory of the state of the store in `dir`.
#[must_use]
pub fn state_directory(dir: &Path) -> PathBuf {
    dir.join(STATE_DIRECTORY)
}

/// Handle of an open store. Cheap to clone; every method may be called from any thread.
///
/// # After a crash
///
/// Every write acknowledged with [`Durability::Disk`](tailwater_oplog::Durability::Disk) is there, and what is there is a prefix of what was written: never a
/// write without those before it. The state equals the replay of the log.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    applier: Mutex<Option<JoinHandle<()>>>,
    /// Threads beside the applier.
    background: Mutex<Vec<JoinHandle<()>>>,
    /// Whether one of them deletes expired documents.
    expiring: AtomicBool,
    attached: Attached,
}

impl Store {
    /// Opens the store in `dir` with default [`StoreOptions`], making it if need be.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        StoreOptions::default().open(dir)
    }

    fn open_with(dir: &Path, options: &StoreOptions) -> Result<Store> {
        let directory = |source| Error::Directory {
            path: dir.to_path_buf(),
            source: Arc::new(source),
        };
        if options.oplog.create {
            std::fs::create_dir_all(dir).map_err(directory)?;
        }
        refuse_strangers(dir)?;
        refuse_lone_state(dir)?;
        let log = log_options(options).open(log_directory(dir))?;
        let state = dir.join(STATE_DIRECTORY);
        let engine = Engine::open(&state, options.cache_bytes)?;
        renewal::renew_indexes(&engine)?;
        let core = Arc::new(Core::new(log, engine, options.clone())?);
        core.check_origin(&state)?;
        core.replay()?;
        core.begin_retention()?;
        let applier_core = Arc::clone(&core);
        let applier = std::thread::Builder::new()
            .name("tailwater-apply".into())
            .spawn(move || applier::run(&applier_core))
            .map_err(directory)?;
        let store = Store {
            handle: Arc::new(Handle {
                core,
                applier: Mutex::new(Some(applier)),
                background: Mutex::default(),
                expiring: AtomicBool::new(false),
                attached: Attached::default(),
            }),
        };
        if store.is_following() {
            store.core().show_applied();
        }
        store.begin_writing()?;
        Ok(store)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    /// A collection by name. It comes into being with its first document, or with [`Store::create_collection`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`].
    pub fn collection(&self, database: &str, collection: &str) -> Result<Collection> {
        Ok(Collection::new(self.clone(), names::namespace(database, collection)?))
    }

    /// The reading face of the store's log.
    #[must_use]
    pub fn log(&self) -> OplogView {
        self.core().log.view()
    }

    /// Blocks until everything written so far survives power loss.
    ///
    /// # Errors
    ///
    /// The log's errors.
    pub fn sync(&self) -> Result<()> {
        let log = &self.core().log;
        Ok(log.sync(log.watermarks().appended)?)
    }

    /// Deletes the documents whose time has come by the system's clock, instead of waiting for the next round of the thread
    /// that does so; returns how many. See [`StoreOptions::expire_interval`].
    ///
    /// # Errors
    ///
    /// The log's and the engine's errors. What was deleted before stays so.
    pub fn expire_now(&self) -> Result<u64> {
        expire::expire(self.core(), bson::DateTime::now())
    }

    /// Removes whole segments of the log that hold only entries below `before` and that the state no longer needs; returns
    /// the oldest entry that is left.
    ///
    /// # Errors
    ///
    /// The log's and the engine's errors.
    pub fn trim_log(&self, before: OpId) -> Result<OpId> {
        let core = self.core();
        applier::flush(core)?;
        let persisted = core.checkpoint()?;
        Ok(core.log.trim(before.min(persisted.next()))?)
    }

    /// Writes everything to the engine and from there to its tables, syncs and closes: that may take some tenths of a second,
    /// and the next opening has nothing to replay, but, of a member of a replicated store, what no majority is known to hold, and of a
    /// follower what it has [not applied yet](Store::append_frames).
    /// Other handles find the store closed, open transactions are aborted;
    /// the directory is free to be opened again, unless somebody is still reading: an unfinished
    /// [`Documents`](crate::Documents) keeps its state open.
    ///
    /// # Errors
    ///
    /// The log's and the engine's errors; the log is closed all the same, and has every write.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        self.close_covering().map(drop)
    }

    /// Closes; returns the last entry that the state covers, unless it has been closed before.
    fn close_covering(&self) -> Result<Option<OpId>> {
        let Some(applier) = self.applier.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(None);
        };
        let core = &self.core;
        core.stopping.store(true, Ordering::SeqCst);
        core.signal.wake_all();
        self.join_background();
        // A panic over there has been reported by the panic hook; the log has what the engine lacks.
        let _ = applier.join();
        let flushed = applier::flush(core).and_then(|()| {
            let persisted = core.checkpoint()?;
            core.engine()?.unload()?;
            Ok(persisted)
        });
        core.transactions.end_all(&tailwater_oplog::Error::Closed.into());
        // The state before the log, whose lock says to others whether the directory is free.
        core.release_state();
        core.log.clone().close()?;
        flushed.map(Some)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the store");
        }
    }
}

/// A directory that holds files but no log is somebody else's.
fn refuse_strangers(dir: &Path) -> Result<()> {
    let Ok(mut entries) = std::fs::read_dir(dir) else {
        return Ok(());
    };
    let ours = |name: &str| [LOG_DIRECTORY, STATE_DIRECTORY, "lost+found"].contains(&name);
    let stranger = entries.any(|entry| entry.is_ok_and(|e| !ours(&e.file_name().to_string_lossy())));
    if stranger && !log_directory(dir).is_dir() {
        return Err(tailwater_oplog::Error::NotALog {
            path: dir.to_path_buf(),
        }
        .into());
    }
    Ok(())
}

/// A state without a log is not a new store: the log comes into being first, and a new one would never fit.
fn refuse_lone_state(dir: &Path) -> Result<()> {
    let path = log_directory(dir);
    let mut state = std::fs::read_dir(dir.join(STATE_DIRECTORY)).into_iter().flatten();
    if state.next().is_some() && !path.join(LOG_MANIFEST).exists() {
        return Err(Error::LogMissing { path });
    }
    Ok(())
}
