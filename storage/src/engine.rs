//! The key-value engine under the store, and the only module that knows which one it is.
//!
//! # What it promises
//!
//! - **Prefix.** After any crash the engine holds the effect of a prefix of the commits made to it,
//!   each whole or absent. Every commit names the OpID it covers, and [`Engine::applied`] names it
//!   after reopening, so state = engine + replay of the log from `applied() + 1`.
//! - **A killed process loses nothing.** A commit has reached the operating system when it returns.
//!   Only power loss can take commits back, and never behind [`Engine::persisted`].
//! - **Bounded memory.** The block cache and the cache of [look-ups by prefix](prefixes) share the size they
//!   were given; write buffers stay under [`DOCUMENT_BUFFER_BYTES_MAX`] times the four buffers the engine
//!   lets queue up before it makes commits wait.
//!
//! # What it does not do
//!
//! - It does not sync on commit: the log is durable first. Whoever trims the log calls
//!   [`Engine::persist`] before and trims up to [`Engine::persisted`] at most.
//! - It knows neither documents nor namespaces: keys and values are bytes, collections numbers.
//! - It does not serialise its caller's decisions. One thread, the applier, commits; any number read.
//!
//! # Layout
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `documents` | collection id, `u32` big-endian, then the caller's key | a raw document |
//! | `catalogue` | `0x01`, then the caller's key | the caller's bytes |
//! | `catalogue` | `0x00 "applied"` | OpID of the last commit, `u64` little-endian |
//! | `catalogue` | `0x00 "format"` | [`FORMAT_VERSION`], `u32` little-endian |
//!
//! Both keyspaces share one journal, which is what makes a commit across them atomic.
//! The choice of the engine and its settings are argued in `docs/decisions/0003-key-value-engine.md`.

mod batch;
mod error;
mod fill;
mod journal;
mod key;
mod prefixes;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fjall::config::{CompressionPolicy, RestartIntervalPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

pub(crate) use batch::EngineBatch;
pub(crate) use error::EngineError;
pub(crate) use key::{Slice, StateKey};
use prefixes::{Changes, CommitNumber, PrefixCache};
pub(crate) use snapshot::{EngineSnapshot, Scan};

/// Version of the layout in the module documentation.
const FORMAT_VERSION: u32 = 1;

/// Longest key a caller may use; longer ones fail their commit with [`EngineError::KeyTooLong`].
///
/// The engine's limit is 65,535 bytes, of which the collection id takes four.
pub(crate) const KEY_BYTES_MAX: usize = u16::MAX as usize - COLLECTION_PREFIX_BYTES;

/// A write buffer for documents is flushed to a table when it has grown to this size.
const DOCUMENT_BUFFER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The same for the catalogue, whose content is small but rewritten with every commit.
const CATALOGUE_BUFFER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Journals beyond this size make the engine flush what keeps them alive.
///
/// It bounds how much is read on opening; the engine accepts no smaller value.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Full write buffers that may wait for their flush before commits wait as well.
const FLUSH_BACKLOG_MAX: usize = 3;
/// Tables not yet compacted that may pile up before commits wait.
const COMPACTION_BACKLOG_MAX: usize = 24;
/// Write buffers and journals with less than this are left as they are when the engine is closed: filling the buffers again
/// takes a few milliseconds.
const UNLOAD_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// An entry of a data block is found by a search among every so many of them and then one after the other. More than these
/// would make tables smaller by some per cent, and every look-up slower.
const RESTART_INTERVAL: u8 = 4;
/// One of the engine's threads only writes buffers to tables, and spins while there is merging to do and nobody takes that
/// up. With two others, one takes it up at any rate.
const WORKERS_MIN: usize = 3;
/// The engine's own bound.
const WORKERS_MAX: usize = 4;

/// Which part of the cache is for look-ups by prefix; the rest is for blocks.
const PREFIX_CACHE_DIVISOR: u64 = 4;

/// How often a waiting commit looks again.
const BACKLOG_POLL: Duration = Duration::from_millis(1);
/// How long closing waits for journals that nothing needs any more.
const JOURNALS_GO_WITHIN: Duration = Duration::from_secs(1);

const COLLECTION_PREFIX_BYTES: usize = size_of::<u32>();
const CATALOGUE_PREFIX: u8 = 1;
const APPLIED_KEY: &[u8] = b"\0applied";
const FORMAT_KEY: &[u8] = b"\0format";

/// An open engine.
///
/// Invariant: `persisted ≤ latest.applied()`, and `latest` is a snapshot taken after the last commit.
pub(crate) struct Engine {
    dir: PathBuf,
    database: Database,
    spaces: Arc<Spaces>,
    prefixes: Arc<PrefixCache>,
    /// Held for the whole of a commit, so that commits are totally ordered.
    committing: Mutex<()>,
    /// What [`Engine::snapshot`] hands out; replaced at the end of each commit.
    latest: ArcSwap<EngineSnapshot>,
    persisted: AtomicU64,
    poisoned: AtomicBool,
    /// Set by [`Engine::unload`].
    closing: AtomicBool,
}

/// The two keyspaces.
struct Spaces {
    documents: Keyspace,
    catalogue: Keyspace,
}

impl Engine {
    /// Opens the engine in `dir`, creating both if need be.
    ///
    /// `cache_bytes` bounds the caches for blocks read from tables and for look-ups by prefix.
    /// After power loss the end of the engine's journal may be damaged; that part is cut away and
    /// `applied()` is smaller than before, but not below what `persist` had promised.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Engine, EngineError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.clamp(WORKERS_MIN, WORKERS_MAX);
        let prefix_bytes = cache_bytes / PREFIX_CACHE_DIVISOR;
        let database = journal::open_cutting_torn_tail(dir, || {
            Database::builder(dir)
                .cache_size(cache_bytes - prefix_bytes)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .worker_threads(workers)
                .open()
        })?;
        let opening = |source| EngineError::Open {
            dir: dir.to_owned(),
            source,
        };
        let spaces = Arc::new(Spaces {
            documents: database.keyspace("documents", document_options).map_err(opening)?,
            catalogue: database.keyspace("catalogue", catalogue_options).map_err(opening)?,
        });

        check_format(dir, &database, &spaces)?;
        database.persist(PersistMode::SyncAll).map_err(opening)?;
        let prefixes = Arc::new(PrefixCache::new(prefix_bytes));
        let latest = EngineSnapshot::take(&database, &spaces, &prefixes, CommitNumber::default())?;

        Ok(Engine {
            dir: dir.to_owned(),
            persisted: AtomicU64::new(latest.applied()),
            latest: ArcSwap::from_pointee(latest),
            committing: Mutex::new(()),
            poisoned: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            database,
            spaces,
            prefixes,
        })
    }

    /// Applies `batch` as one atomic commit that covers the log up to and with `applied`.
    ///
    /// Snapshots taken from here on see it. It may wait for the disk when flushes fall behind.
    /// An I/O error poisons the engine: this and every later commit fails until it is reopened,
    /// because what the failed one left behind is unknown.
    ///
    /// # Panics
    ///
    /// If `applied` is below the last one: commits follow the log.
    pub(crate) fn commit(&self, batch: EngineBatch, applied: u64) -> Result<(), EngineError> {
        // The lock guards no data of its own, so a panic elsewhere leaves nothing half done.
        let _committing = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.applied();
        assert!(
            applied >= previous,
            "commits must follow the log: applied={applied} previous={previous}"
        );

        let changes = self.begin();
        batch.document_keys().for_each(|key| changes.key(key));
        let mut write = batch.into_write(&self.database, &self.spaces)?;
        write.insert(&self.spaces.catalogue, APPLIED_KEY, &applied.to_le_bytes()[..]);
        self.write(write, &changes)
    }

    /// Makes everything committed so far durable, and returns the OpID that it covers.
    ///
    /// Call it before trimming the log. Commits and reads go on meanwhile.
    pub(crate) fn persist(&self) -> Result<u64, EngineError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(EngineError::Poisoned);
        }
        let covered = self.applied();
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(|source| self.poison(source))?;
        // AcqRel pairs with the load in `persisted`: who sees the OpID sees a finished sync.
        let before = self.persisted.fetch_max(covered, Ordering::AcqRel);
        Ok(before.max(covered))
    }

    /// Removes up to `documents_max` documents of a dropped collection; returns how many.
    ///
    /// Zero means that none are left. One chunk is one atomic commit and leaves `applied` as it is,
    /// so that a large collection goes in steps between other commits and a crash between two steps
    /// needs no record: the caller repeats the call for each dropped id in its catalogue until it
    /// returns zero. The drop itself must be covered by `applied` and the id never be used again,
    /// else replay or a later insert could meet a document that this call is about to remove.
    pub(crate) fn drop_collection_chunk(&self, collection: u32, documents_max: usize) -> Result<usize, EngineError> {
        let _committing = self.committing.lock().unwrap_or_else(PoisonError::into_inner);

        let changes = self.begin();
        let mut write = self.database.batch();
        for key in self.snapshot().keys(collection).take(documents_max) {
            let key = key?;
            changes.key(&key);
            write.remove(&self.spaces.documents, key);
        }
        let removed = write.len();
        if removed > 0 {
            self.write(write, &changes)?;
        } else {
            self.prefixes.forget(collection);
        }
        Ok(removed)
    }

    /// Writes what the write buffers hold to tables and empties the journal, unless both are short; to be called before
    /// closing. There are no commits afterwards, only reads.
    ///
    /// Otherwise the next opening would have to read the journals, all that they hold, and fill the buffers again.
    pub(crate) fn unload(&self) -> Result<(), EngineError> {
        let _committing = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: no commit is on its way, and none will begin.
        self.closing.store(true, Ordering::Release);
        if self.database.write_buffer_size() < UNLOAD_BYTES_MIN
            && journal::written_bytes(&self.dir).map_err(|source| self.unloading(source))? < UNLOAD_BYTES_MIN
        {
            return Ok(());
        }
        // Both: a journal goes when neither keyspace needs it.
        let spaces = [&self.spaces.documents, &self.spaces.catalogue];
        for space in spaces {
            space.rotate_memtable().map_err(|source| self.poison(source))?;
        }
        while spaces.iter().any(|space| space.sealed_memtable_count() > 0) {
            // As in `await_headroom`: fails when a worker has failed.
            self.database
                .persist(PersistMode::Buffer)
                .map_err(|source| self.poison(source))?;
            std::thread::sleep(BACKLOG_POLL);
        }
        // The older ones are removed right after the last buffer has become a table. One that stays is read, as before.
        let deadline = Instant::now() + JOURNALS_GO_WITHIN;
        while self.database.journal_count() > 1 && Instant::now() < deadline {
            std::thread::sleep(BACKLOG_POLL);
        }
        if self.database.journal_count() == 1 {
            journal::empty(&self.dir).map_err(|source| self.unloading(source))?;
        }
        Ok(())
    }

    fn unloading(&self, source: std::io::Error) -> EngineError {
        self.poison(fjall::Error::Io(source))
    }

    /// OpID that the last commit covers; zero before the first.
    pub(crate) fn applied(&self) -> u64 {
        self.latest.load().applied()
    }

    /// OpID up to which no power loss can take back a commit.
    pub(crate) fn persisted(&self) -> u64 {
        self.persisted.load(Ordering::Acquire)
    }

    /// The state as of the last commit. Cheap: it clones an `Arc` and takes no lock.
    ///
    /// While it lives, whatever later commits replace stays on disk, and the directory stays locked
    /// even after the engine itself was dropped; do not keep it for long.
    pub(crate) fn snapshot(&self) -> Arc<EngineSnapshot> {
        self.latest.load_full()
    }

    /// Begins a commit. The caller holds `committing`, and names every document's key that the commit changes.
    fn begin(&self) -> Changes<'_> {
        self.prefixes.begin(self.latest.load().commit().next())
    }

    /// Commits and publishes. The caller holds `committing`.
    fn write(&self, write: OwnedWriteBatch, changes: &Changes<'_>) -> Result<(), EngineError> {
        self.await_headroom()?;
        write.commit().map_err(|source| self.poison(source))?;

        let latest = EngineSnapshot::take(&self.database, &self.spaces, &self.prefixes, changes.commit())?;
        self.latest.store(Arc::new(latest));
        Ok(())
    }

    /// Waits while flushes or compactions are behind.
    ///
    /// The engine would wait by itself, a little later, but without noticing when its workers have
    /// died of a full disk: that wait never ends. This one asks for the error each time it wakes.
    fn await_headroom(&self) -> Result<(), EngineError> {
        loop {
            if self.poisoned.load(Ordering::Acquire) {
                return Err(EngineError::Poisoned);
            }
            if self.closing.load(Ordering::Acquire) {
                return Err(EngineError::Closing);
            }
            // Costs nothing on a clean buffer, and fails when a worker has failed.
            self.database
                .persist(PersistMode::Buffer)
                .map_err(|source| self.poison(source))?;

            let documents = &self.spaces.documents;
            if documents.sealed_memtable_count() < FLUSH_BACKLOG_MAX
                && self.spaces.catalogue.sealed_memtable_count() < FLUSH_BACKLOG_MAX
                && documents.l0_table_count() < COMPACTION_BACKLOG_MAX
            {
                return Ok(());
            }
            std::thread::sleep(BACKLOG_POLL);
        }
    }

    fn poison(&self, source: fjall::Error) -> EngineError {
        // Release pairs with the loads in `persist` and `await_headroom`.
        self.poisoned.store(true, Ordering::Release);
        match source {
            fjall::Error::Poisoned => EngineError::Poisoned,
            source => EngineError::Write { source },
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("applied", &self.applied())
            .field("persisted", &self.persisted())
            .finish_non_exhaustive()
    }
}

/// Writes the format version into a new engine and compares it in an old one.
fn check_format(dir: &Path, database: &Database, spaces: &Spaces) -> Result<(), EngineError> {
    let opening = |source| EngineError::Open {
        dir: dir.to_owned(),
        source,
    };
    match spaces.catalogue.get(FORMAT_KEY).map_err(opening)? {
        None => {
            let mut write = database.batch();
            write.insert(&spaces.catalogue, FORMAT_KEY, &FORMAT_VERSION.to_le_bytes()[..]);
            write.commit().map_err(opening)
        }
        Some(found) if *found == FORMAT_VERSION.to_le_bytes() => Ok(()),
        Some(found) => Err(EngineError::FormatUnknown {
            dir: dir.to_owned(),
            found: found.to_vec(),
            expected: FORMAT_VERSION,
        }),
    }
}

fn document_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(DOCUMENT_BUFFER_BYTES_MAX)
        .data_block_restart_interval_policy(RestartIntervalPolicy::all(RESTART_INTERVAL))
        .data_block_compression_policy(CompressionPolicy::new([
            CompressionType::None,
            CompressionType::None,
            CompressionType::Lz4,
        ]))
}

fn catalogue_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(CATALOGUE_BUFFER_BYTES_MAX)
}
