//! The store: one commit path through the log, and the state that the log's entries add up to.
//!
//! ```text
//!   write ──► validate, compute ──► append ──► apply to the overlay ──► (lock released) ──► durable
//!             └──────────────── under the commit lock ────────────┘
//!
//!   applier: overlay generation ──► durable in the log ──► one commit of the engine
//! ```
//!
//! Replay after a crash runs the same `apply` over the entries that the engine does not cover.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, ArcSwapOption};
use bson::RawDocument;
use tailwater_matcher::encode_key;
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{
    AppendOutcome, Durability, LogId, OpId, Oplog, OplogView, ReadConcern, Record, SharedEntry, Term, Timestamp,
};

use crate::applier;
use crate::catalog::{Catalog, CollectionInfo, Namespace};
use crate::checkpoint::{Checkpoints, log_options};
use crate::collection::Collection;
use crate::engine::{Engine, EngineBatch};
use crate::error::{Error, Result};
use crate::names;
use crate::overlay::{Generation, Version};
use crate::state::Layers;

/// Directory of the log within a store's.
const LOG_DIRECTORY: &str = "oplog";
/// Directory of the state within a store's.
const STATE_DIRECTORY: &str = "state";
/// The file without which the log's directory holds no log.
const LOG_MANIFEST: &str = "MANIFEST";

/// Options of a store. All have defaults.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Options of its log. Whatever its retention, the log keeps the entries behind the last checkpoint.
    pub oplog: tailwater_oplog::Options,
    /// Durability of writes that do not name one. Default [`Durability::Disk`].
    pub durability: Durability,
    /// Bytes of the cache for documents that lie in the engine. Default 256 MiB.
    pub cache_bytes: u64,
    /// Bytes of recent writes that may wait for the engine before writers wait for it. Default 64 MiB.
    pub overlay_bytes_max: usize,
    /// The state is made durable whenever so many bytes of writes have been applied to it: what is behind that is replayed
    /// after power loss, and stays in the log until then. With a log that is limited to less than twice as much, more often:
    /// twice within its limit. Default 64 MiB.
    pub checkpoint_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            oplog: tailwater_oplog::Options::default(),
            durability: Durability::Disk,
            cache_bytes: 256 << 20,
            overlay_bytes_max: 64 << 20,
            checkpoint_bytes: 64 << 20,
        }
    }
}

impl StoreOptions {
    /// Opens the store in `dir`, making it if need be, and brings its state up to date with its log.
    ///
    /// # Errors
    ///
    /// Those of the log; [`Error::ForeignState`], [`Error::StateDiverged`], [`Error::StateAhead`], [`Error::StateBehind`] when
    /// log and state do not belong together, [`Error::LogMissing`] when there is only the state; [`Error::StateLocked`],
    /// [`Error::Engine`], [`Error::Directory`].
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(dir.as_ref(), self)
    }
}

/// Directory of the log of the store in `dir`.
#[must_use]
pub fn log_directory(dir: &Path) -> PathBuf {
    dir.join(LOG_DIRECTORY)
}

/// Shared by the handles of a store and its applier.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: Oplog,
    /// Nothing once the store is closed, so that it can be opened again while handles of it are still around.
    engine: ArcSwapOption<Engine>,
    pub(crate) options: StoreOptions,
    /// Held while a write is computed, appended and applied.
    commit: Mutex<()>,
    catalog: ArcSwap<Catalog>,
    /// Nothing once the store is closed.
    layers: ArcSwapOption<Layers>,
    /// The last entry that has been applied: what a read that begins now reads at.
    visible: AtomicU64,
    /// The applier's wake-up, and the writers' when the overlay is full.
    pub(crate) signal: (Mutex<()>, Condvar),
    pub(crate) stopping: AtomicBool,
    pub(crate) failure: Mutex<Option<Error>>,
    /// Held while generations are applied: by the applier, or by whoever flushes.
    pub(crate) applying: Mutex<()>,
    /// Keys of the engine's catalogue to be deleted with the next commit.
    pub(crate) forgotten: Mutex<Vec<Vec<u8>>>,
    pub(crate) checkpoints: Checkpoints,
}

/// Handle of an open store. Cheap to clone; every method may be called from any thread.
///
/// # After a crash
///
/// Every write acknowledged with [`Durability::Disk`] is there, and what is there is a prefix of what was written: never a
/// write without those before it. The state equals the replay of the log.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    applier: Mutex<Option<JoinHandle<()>>>,
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
        let snapshot = engine.snapshot();
        let core = Arc::new(Core {
            catalog: ArcSwap::from_pointee(Catalog::load(&snapshot)?),
            visible: AtomicU64::new(snapshot.applied()),
            layers: ArcSwapOption::from_pointee(Layers {
                generations: vec![Arc::new(Generation::new())],
                engine: snapshot,
            }),
            log,
            engine: ArcSwapOption::from_pointee(engine),
            options: options.clone(),
            commit: Mutex::new(()),
            signal: (Mutex::new(()), Condvar::new()),
            stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
            applying: Mutex::new(()),
            forgotten: Mutex::default(),
            checkpoints: Checkpoints::new(options),
        });
        core.check_origin(&state)?;
        core.replay()?;
        core.begin_retention()?;
        let applier_core = Arc::clone(&core);
        let applier = std::thread::Builder::new()
            .name("tailwater-apply".into())
            .spawn(move || applier::run(&applier_core))
            .map_err(directory)?;
        Ok(Store {
            handle: Arc::new(Handle {
                core,
                applier: Mutex::new(Some(applier)),
            }),
        })
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
        names::check_database(database)?;
        names::check_collection(collection)?;
        Ok(Collection::new(self.clone(), Namespace::new(database, collection)))
    }

    /// Creates a collection.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::CollectionExists`], and the log's errors.
    pub fn create_collection(&self, database: &str, collection: &str) -> Result<OpId> {
        let namespace = self.collection(database, collection)?.into_namespace();
        let core = self.core();
        let outcome = {
            let guard = core.lock_commit()?;
            let (_, Some(creation)) = core.define(&guard, &namespace) else {
                return Err(Error::CollectionExists {
                    namespace: namespace.to_string(),
                });
            };
            core.commit(&guard, &[creation])?
        };
        core.settle(outcome.last, core.options.durability)
    }

    /// Drops a collection with its documents.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCollection`], and the log's errors.
    pub fn drop_collection(&self, database: &str, collection: &str) -> Result<OpId> {
        let namespace = Namespace::new(database, collection);
        let core = self.core();
        let outcome = {
            let guard = core.lock_commit()?;
            let catalog = core.catalog();
            let info = catalog.get(&namespace).ok_or_else(|| Error::NoSuchCollection {
                namespace: namespace.to_string(),
            })?;
            core.commit(&guard, &[Draft::of_collection(EntryKind::Drop, info)])?
        };
        core.settle(outcome.last, core.options.durability)
    }

    /// Drops every collection of a database, in one step. A database without collections is none; dropping it does nothing.
    ///
    /// # Errors
    ///
    /// The log's errors.
    pub fn drop_database(&self, database: &str) -> Result<Option<OpId>> {
        let core = self.core();
        let outcome = {
            let guard = core.lock_commit()?;
            let catalog = core.catalog();
            let doomed = catalog.collections().filter(|info| info.namespace.database == database);
            let mut drafts: Vec<Draft> = doomed.map(|info| Draft::of_collection(EntryKind::Drop, info)).collect();
            if drafts.is_empty() {
                return Ok(None);
            }
            let entry = StoreEntry {
                database,
                ..StoreEntry::default()
            };
            drafts.push(Draft::new(EntryKind::DropDatabase, &entry));
            core.commit(&guard, &drafts)?
        };
        core.settle(outcome.last, core.options.durability).map(Some)
    }

    /// Names of the databases that have collections, sorted.
    #[must_use]
    pub fn database_names(&self) -> Vec<String> {
        let catalog = self.core().catalog();
        let mut names: Vec<_> = catalog
            .collections()
            .map(|info| info.namespace.database.clone())
            .collect();
        names.dedup();
        names
    }

    /// Names of the collections of a database, sorted.
    #[must_use]
    pub fn collection_names(&self, database: &str) -> Vec<String> {
        let catalog = self.core().catalog();
        let of_database = catalog.collections().filter(|info| info.namespace.database == database);
        of_database.map(|info| info.namespace.collection.clone()).collect()
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

    /// Writes everything to the engine, syncs and closes. Other handles find the store closed; the directory is free to be
    /// opened again, unless somebody is still reading: an unfinished [`Documents`](crate::Documents) keeps its state open.
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
        let Some(applier) = self.applier.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let core = &self.core;
        core.stopping.store(true, Ordering::SeqCst);
        core.wake();
        // A panic over there has been reported by the panic hook; the log has what the engine lacks.
        let _ = applier.join();
        let flushed = applier::flush(core).and_then(|()| core.checkpoint());
        // The state before the log, whose lock says to others whether the directory is free.
        core.release_state();
        core.log.clone().close()?;
        flushed.map(drop)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the store");
        }
    }
}

/// An entry about to be appended.
#[derive(Debug)]
pub(crate) struct Draft {
    kind: EntryKind,
    payload: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(kind: EntryKind, entry: &StoreEntry<'_>) -> Draft {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        Draft { kind, payload }
    }

    /// An entry that concerns a collection as a whole.
    fn of_collection(kind: EntryKind, info: &CollectionInfo) -> Draft {
        Draft::new(kind, &entry_for(info))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// An entry's payload for a collection, with no sections yet.
pub(crate) fn entry_for(info: &CollectionInfo) -> StoreEntry<'_> {
    StoreEntry {
        database: &info.namespace.database,
        collection: &info.namespace.collection,
        collection_id: info.id,
        ..StoreEntry::default()
    }
}

/// The right to change the store, held by one writer at a time.
pub(crate) struct Commit<'a>(#[expect(dead_code, reason = "held for its drop")] MutexGuard<'a, ()>);

impl Core {
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.load_full().ok_or_else(closed)
    }

    pub(crate) fn layers(&self) -> Result<Arc<Layers>> {
        self.layers.load_full().ok_or_else(closed)
    }

    /// The state to read, and the OpID to read it at.
    pub(crate) fn reading(&self) -> Result<(Arc<Layers>, OpId)> {
        // The layers before the OpID: the engine's part of them then covers no more than the OpID does.
        let layers = self.layers()?;
        Ok((layers, self.visible()))
    }

    /// Lets go of the state. Whoever is still reading keeps what he reads.
    fn release_state(&self) {
        // Under the lock, so that a write is either wholly before this or finds the store closed before it appends.
        let _guard = self.lock();
        self.layers.store(None);
        self.engine.store(None);
    }

    pub(crate) fn visible(&self) -> OpId {
        // Acquire pairs with the Release in `commit`: who sees the OpID sees the versions.
        OpId::new(self.visible.load(Ordering::Acquire))
    }

    /// Becomes the one writer, waiting for the applier while the overlay is full.
    pub(crate) fn lock_commit(&self) -> Result<Commit<'_>> {
        self.await_room()?;
        Ok(Commit(self.lock()))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // A panic under the lock happens before the append or leaves an entry that was appended and not applied; the
        // latter shows as a gap, which `apply` refuses.
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size at which a generation is due for the engine.
    pub(crate) fn freeze_bytes(&self) -> usize {
        // At least one: an empty generation is never due.
        applier::FREEZE_BYTES.min(self.options.overlay_bytes_max / 2).max(1)
    }

    fn overlay_bytes(&self) -> usize {
        let layers = self.layers.load();
        let generations = layers.iter().flat_map(|layers| &layers.generations);
        generations.map(|generation| generation.bytes()).sum()
    }

    fn await_room(&self) -> Result<()> {
        loop {
            if let Some(error) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(error.clone());
            }
            if self.overlay_bytes() <= self.options.overlay_bytes_max {
                return Ok(());
            }
            let guard = self.signal.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.signal.1.notify_all();
            let pause = std::time::Duration::from_millis(20);
            drop(
                self.signal
                    .1
                    .wait_timeout(guard, pause)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    pub(crate) fn wake(&self) {
        drop(self.signal.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.signal.1.notify_all();
    }

    /// Appends entries as one batch and applies them.
    pub(crate) fn commit(&self, _: &Commit<'_>, drafts: &[Draft]) -> Result<AppendOutcome> {
        let layers = self.layers()?;
        let payloads: Vec<[&[u8]; 1]> = drafts.iter().map(|draft| [draft.payload.as_slice()]).collect();
        let records: Vec<Record<'_>> = drafts
            .iter()
            .zip(&payloads)
            .map(|(draft, payload)| Record {
                kind: draft.kind.number(),
                payload,
            })
            .collect();
        let outcome = self.log.append_batch(&records, Durability::Memory)?;
        let mut cursor = self.log.view().cursor(outcome.first, ReadConcern::Local)?;
        let generation = &layers.generations[0];
        let before = generation.bytes();
        for _ in drafts {
            let Some(entry) = cursor.try_next()? else {
                return Err(closed());
            };
            self.apply(generation, &entry.share())?;
        }
        self.visible.store(outcome.last.get(), Ordering::Release);
        let due = self.freeze_bytes();
        if before == 0 || (before < due && generation.bytes() >= due) {
            self.wake();
        }
        Ok(outcome)
    }

    /// The collection of that name. If it is not there yet, as it will be, with the entry that creates it, to be committed
    /// in front of what the caller has for it.
    pub(crate) fn define(&self, _: &Commit<'_>, namespace: &Namespace) -> (CollectionInfo, Option<Draft>) {
        let catalog = self.catalog();
        if let Some(info) = catalog.get(namespace) {
            return (info.clone(), None);
        }
        let info = catalog.candidate(namespace.clone(), uuid::Uuid::new_v4().into_bytes());
        let entry = StoreEntry {
            detail: Some(&info.options),
            ..entry_for(&info)
        };
        let creation = Draft::new(EntryKind::Create, &entry);
        (info, Some(creation))
    }

    /// Waits until `op_id` is as durable as asked; returns it.
    pub(crate) fn settle(&self, op_id: OpId, durability: Durability) -> Result<OpId> {
        if durability == Durability::Disk {
            self.log.sync(op_id)?;
        }
        Ok(op_id)
    }

    /// Applies one entry to the overlay: the one function that turns entries into state, for writes, for replay and for
    /// followers. Applying an entry twice does no harm.
    fn apply(&self, generation: &Generation, entry: &SharedEntry) -> Result<()> {
        let op_id = entry.op_id();
        if let Some(kind) = EntryKind::from_number(entry.kind()) {
            let store = StoreEntry::decode(entry.payload())?;
            match kind {
                EntryKind::Insert | EntryKind::Update | EntryKind::Replace => {
                    let document = store.document.ok_or(Error::Inconsistent {
                        op_id,
                        what: "it has no document",
                    })?;
                    self.apply_version(generation, entry, &store, document, Version::Put(entry.clone()))?;
                }
                EntryKind::Delete => {
                    let key = store.key.ok_or(Error::Inconsistent {
                        op_id,
                        what: "it has no key",
                    })?;
                    self.apply_version(generation, entry, &store, key, Version::Deleted)?;
                }
                EntryKind::Create | EntryKind::Drop => self.apply_definition(generation, kind, &store),
                // A database is gone with its collections, each of which has an entry of its own.
                _ => {}
            }
        }
        generation.cover(op_id);
        Ok(())
    }

    fn apply_version(
        &self,
        generation: &Generation,
        entry: &SharedEntry,
        store: &StoreEntry<'_>,
        identified: &RawDocument,
        version: Version,
    ) -> Result<()> {
        let op_id = entry.op_id();
        let catalog = self.catalog.load();
        let info = catalog.by_id(&store.collection_id);
        let info = info.ok_or(Error::Inconsistent {
            op_id,
            what: "there is no such collection",
        })?;
        let id = identified.get("_id").ok().flatten();
        let mut key = Vec::new();
        encode_key(
            id.ok_or(Error::Inconsistent {
                op_id,
                what: "it has no _id",
            })?,
            &mut key,
        );
        generation.put(info.number, &key, op_id, version);
        Ok(())
    }

    fn apply_definition(&self, generation: &Generation, kind: EntryKind, store: &StoreEntry<'_>) {
        let mut catalog = Catalog::clone(&self.catalog.load());
        let change = match kind {
            EntryKind::Create => {
                let namespace = Namespace::new(store.database, store.collection);
                let options = store.detail.map(RawDocument::to_owned).unwrap_or_default();
                catalog.add(namespace, store.collection_id, options)
            }
            _ => catalog.remove(&store.collection_id),
        };
        // Nothing changes when it is applied again.
        if let Some(change) = change {
            generation.change_catalog(change);
            self.catalog.store(Arc::new(catalog));
        }
    }

    /// Makes the newest generation an older one, and returns it; nothing when it is empty.
    pub(crate) fn freeze(&self) -> Option<Arc<Generation>> {
        let _guard = self.lock();
        let layers = self.layers.load_full()?;
        let newest = Arc::clone(&layers.generations[0]);
        if newest.last() == OpId::ZERO {
            return None;
        }
        let mut generations = vec![Arc::new(Generation::new())];
        generations.extend(layers.generations.iter().cloned());
        self.layers.store(Some(Arc::new(Layers {
            generations,
            engine: Arc::clone(&layers.engine),
        })));
        Some(newest)
    }

    /// Takes a generation away that the engine has by now.
    pub(crate) fn retire(&self, done: &Arc<Generation>) {
        let _guard = self.lock();
        let (Some(layers), Some(engine)) = (self.layers.load_full(), self.engine.load_full()) else {
            return;
        };
        let generations = layers
            .generations
            .iter()
            .filter(|g| !Arc::ptr_eq(g, done))
            .cloned()
            .collect();
        self.layers.store(Some(Arc::new(Layers {
            generations,
            engine: engine.snapshot(),
        })));
    }

    /// Checks that the engine's state was made from this log, or marks it so when it is new.
    fn check_origin(&self, state: &Path) -> Result<()> {
        let engine = self.engine()?;
        let applied = OpId::new(engine.applied());
        let watermarks = self.log.watermarks();
        let entries = engine.snapshot().catalog()?;
        let origin = entries.iter().find(|(key, _)| key == ORIGIN).map(|(_, value)| value);
        let Some(origin) = origin else {
            return Ok(());
        };
        let (log_id, term, timestamp) = decode_origin(origin).ok_or(Error::Inconsistent {
            op_id: applied,
            what: "the state's origin is malformed",
        })?;
        let path = state.to_path_buf();
        if log_id != self.log.log_id() {
            return Err(Error::ForeignState {
                path,
                expected: self.log.log_id(),
                found: log_id,
            });
        }
        if applied > watermarks.durable {
            return Err(Error::StateAhead {
                applied,
                newest: watermarks.durable,
            });
        }
        if applied >= watermarks.oldest {
            let checked = self.log.view().check_position(applied, term, timestamp);
            return checked.map_err(|error| match error {
                tailwater_oplog::Error::Diverged { .. } => Error::StateDiverged { path, applied },
                error => error.into(),
            });
        }
        Ok(())
    }

    /// Adds to a batch what [`Core::check_origin`] checks.
    pub(crate) fn record_origin(&self, batch: &mut EngineBatch, applied: OpId) -> Result<()> {
        let entry = self.log.view().get(applied, ReadConcern::Local)?;
        let mut value = self.log.log_id().to_bytes().to_vec();
        value.extend_from_slice(&entry.term().get().to_le_bytes());
        value.extend_from_slice(&entry.timestamp().as_nanos().to_le_bytes());
        batch.put_catalog(ORIGIN, &value);
        Ok(())
    }

    /// Applies the entries that the engine does not cover.
    fn replay(self: &Arc<Core>) -> Result<()> {
        let applied = OpId::new(self.engine()?.applied());
        let oldest = self.log.watermarks().oldest;
        if applied.next() < oldest {
            return Err(Error::StateBehind { applied, oldest });
        }
        let mut cursor = self.log.view().cursor(applied.next(), ReadConcern::Local)?;
        let mut count = 0u64;
        while let Some(entry) = cursor.try_next()? {
            let entry = entry.share();
            let layers = self.layers()?;
            self.apply(&layers.generations[0], &entry)?;
            self.visible.store(entry.op_id().get(), Ordering::Release);
            count += 1;
            if layers.generations[0].bytes() >= self.freeze_bytes() {
                applier::flush(self)?;
            }
        }
        tracing::info!(from = %applied.next(), entries = count, "replayed the log into the state");
        Ok(())
    }
}

fn closed() -> Error {
    tailwater_oplog::Error::Closed.into()
}

/// Key under which the engine's catalogue names the log, and term and timestamp of the last entry it covers.
const ORIGIN: &[u8] = b"origin";

fn decode_origin(value: &[u8]) -> Option<(LogId, Term, Timestamp)> {
    let (log_id, rest) = value.split_first_chunk::<16>()?;
    let (term, timestamp) = rest.split_first_chunk::<4>()?;
    Some((
        LogId::from_bytes(*log_id),
        Term::new(u32::from_le_bytes(*term)),
        Timestamp::from_nanos(u64::from_le_bytes(timestamp.try_into().ok()?)),
    ))
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
