//! What the handles of a store share: the log, the state, and the one lock under which both grow.
//!
//! ```text
//!   write ──► stage (validate, compute) ──► append ──► apply to the overlay ──► (lock released) ──► durable
//!             └────────────────────── under the commit lock ─────────────┘
//!
//!   applier: overlay generation ──► durable in the log ──► one commit of the engine
//! ```
//!
//! Replay after a crash runs the same apply over the entries that the engine does not cover.
//!
//! # What readers see
//!
//! A [`View`]: the layers, the OpID to read them at, and the catalogue of exactly that OpID. A write becomes visible as a
//! whole, with everything that was appended in its batch.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustc_hash::FxHashMap;
use tailwater_matcher::Collation;
use tailwater_oplog::{Durability, OpId, Oplog, ReadConcern};

use super::apply::Logged;
use super::backlog::Backlog;
use super::filling::Filling;
use super::signal::Signal;
use crate::applier;
use crate::catalog::{Catalog, CollectionNumber, Namespace, Size};
use crate::checkpoint::Checkpoints;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::expire::Pause;
use crate::overlay::Generation;
use crate::state::Layers;
use crate::store::{Commit, StoreOptions};
use crate::transaction::Transactions;

/// How often a writer that finds the commit lock taken lets others run before it goes to sleep. The lock is held for a
/// microsecond or two, but by a thread that may have lost its processor meanwhile; of many writers that sleep each has to be
/// woken by the one before, with a system call while the next one waits.
const LOCK_YIELDS: usize = 16;

/// Shared by the handles of a store and its threads.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: Oplog,
    /// Nothing once the store is closed, so that it can be opened again while handles of it are still around.
    engine: ArcSwapOption<Engine>,
    pub(crate) options: StoreOptions,
    /// Held while a write is computed, appended and applied.
    commit: Mutex<Ahead>,
    /// Replaced just before `visible` moves to the entry that changed it.
    catalog: ArcSwap<Published>,
    /// Nothing once the store is closed.
    layers: ArcSwapOption<Layers>,
    /// The last entry that has been applied: what a read that begins now reads at.
    visible: AtomicU64,
    pub(crate) signal: Signal,
    /// The entry that has to be settled before the applier goes on; none when it is the largest number.
    awaited: AtomicU64,
    pub(crate) stopping: AtomicBool,
    /// Why the store takes no more writes, if it does not; see [`Core::fail`].
    failure: Mutex<Option<Error>>,
    /// Held while generations are applied: by the applier, or by whoever flushes.
    pub(crate) applying: Mutex<()>,
    /// Keys of the engine's catalogue to be deleted with the next commit.
    pub(crate) forgotten: Mutex<Vec<Vec<u8>>>,
    pub(crate) checkpoints: Checkpoints,
    /// How large the collections are, the overlay included.
    pub(super) sizes: Mutex<FxHashMap<CollectionNumber, Size>>,
    /// Indexes under construction that this process has completed; the entry that says so has nothing left to do.
    pub(super) completed: Mutex<HashSet<CollectionNumber>>,
    pub(super) filling: Mutex<Filling>,
    /// Where the thread sleeps that deletes expired documents.
    pub(crate) expiry: Pause,
    pub(crate) transactions: Transactions,
    /// Held while entries of another member are appended and applied, and while the store's role changes.
    pub(super) receiving: Mutex<()>,
    pub(super) backlog: Backlog,
}

/// The state that the holder of the commit lock works on; ahead of what readers see while it applies.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) catalog: Arc<Catalog>,
}

/// A catalogue, and the entry that made it so.
#[derive(Debug)]
struct Published {
    catalog: Arc<Catalog>,
    as_of: OpId,
}

/// The state as of one OpID. Cheap to clone; what it shows never changes.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) layers: Arc<Layers>,
    pub(crate) at: OpId,
    pub(crate) catalog: Arc<Catalog>,
}

impl Core {
    /// Over a log and an engine; [`Core::check_origin`] and [`Core::replay`] come next.
    pub(crate) fn new(log: Oplog, engine: Engine, options: StoreOptions) -> Result<Core> {
        let snapshot = engine.snapshot();
        let catalog = Arc::new(Catalog::load(&snapshot)?);
        let as_of = OpId::new(snapshot.applied());
        Ok(Core {
            catalog: ArcSwap::from_pointee(Published {
                catalog: Arc::clone(&catalog),
                as_of,
            }),
            commit: Mutex::new(Ahead { catalog }),
            visible: AtomicU64::new(as_of.get()),
            sizes: Mutex::new(Size::load(&snapshot)?.into_iter().collect()),
            layers: ArcSwapOption::from_pointee(Layers {
                generations: vec![Arc::new(Generation::new())],
                engine: snapshot,
            }),
            checkpoints: Checkpoints::new(&options),
            log,
            engine: ArcSwapOption::from_pointee(engine),
            options,
            signal: Signal::default(),
            awaited: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
            applying: Mutex::new(()),
            forgotten: Mutex::default(),
            completed: Mutex::default(),
            filling: Mutex::default(),
            expiry: Pause::default(),
            transactions: Transactions::new(),
            receiving: Mutex::default(),
            backlog: Backlog::default(),
        })
    }

    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.load_full().ok_or_else(closed)
    }

    pub(crate) fn layers(&self) -> Result<Arc<Layers>> {
        self.layers.load_full().ok_or_else(closed)
    }

    /// The last visible entry.
    pub(crate) fn applied(&self) -> OpId {
        OpId::new(self.visible.load(Ordering::Acquire))
    }

    /// The catalogue as of the last visible entry.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.load().catalog)
    }

    /// The state as of the last visible entry.
    pub(crate) fn view(&self) -> Result<View> {
        loop {
            let published = self.catalog.load();
            // The layers before the OpID: the engine's part of them then covers no more than the OpID does.
            let layers = self.layers()?;
            #[cfg(test)]
            super::tests::between_layers_and_op_id();
            // Acquire pairs with the Release in `publish`: who sees the OpID sees the versions, and the catalogue.
            let at = OpId::new(self.visible.load(Ordering::Acquire));
            // And the layers after it: had another generation begun before the OpID was published, the version might be in
            // that one alone. They are the same ones, and not others at the same place, as these are held.
            let is_current = self.layers.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, &layers));
            // Otherwise a definition was published between these loads; the next ones find both.
            if is_current && published.as_of <= at && Arc::ptr_eq(&published, &self.catalog.load()) {
                let catalog = Arc::clone(&published.catalog);
                return Ok(View { layers, at, catalog });
            }
            // A writer is between two stores that are next to each other, unless it has lost its processor.
            std::thread::yield_now();
        }
    }

    /// By what operations on a collection compare strings that do not say it themselves: the collection's default as of now. It
    /// never changes, as long as no other collection takes its name.
    pub(crate) fn collation_of(&self, namespace: &Namespace) -> Option<Collation> {
        let published = self.catalog.load();
        published.catalog.get(namespace)?.options.collation.clone()
    }

    /// The state as the holder of the lock finds it.
    pub(crate) fn view_locked(&self, commit: &Commit<'_>) -> Result<View> {
        Ok(View {
            layers: self.layers()?,
            at: OpId::new(self.visible.load(Ordering::Acquire)),
            catalog: Arc::clone(&commit.ahead.catalog),
        })
    }

    /// Shows readers everything up to `last`.
    pub(super) fn publish(&self, ahead: &Ahead, last: OpId) {
        if !Arc::ptr_eq(&ahead.catalog, &self.catalog.load().catalog) {
            self.catalog.store(Arc::new(Published {
                catalog: Arc::clone(&ahead.catalog),
                as_of: last,
            }));
        }
        self.visible.store(last.get(), Ordering::Release);
    }

    /// Has what is applied released, and no more: for a store that follows.
    pub(super) fn show_applied(&self) {
        self.log.set_applied(Some(self.applied()));
    }

    /// How large a collection is.
    pub(crate) fn size(&self, number: CollectionNumber) -> Size {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(&number).copied().unwrap_or_default()
    }

    /// Lets go of the state. Whoever is still reading keeps what he reads.
    pub(crate) fn release_state(&self) {
        // Under the lock, so that a write is either wholly before this or finds the store closed before it appends.
        let _guard = self.lock();
        self.layers.store(None);
        self.engine.store(None);
    }

    /// Becomes the one writer, waiting for the applier while the overlay is full.
    pub(crate) fn lock_commit(&self) -> Result<Commit<'_>> {
        self.await_room()?;
        Ok(Commit { ahead: self.lock() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ahead> {
        // A panic under the lock happens before the append, or `Unapplied` has ended all writing.
        for _ in 0..LOCK_YIELDS {
            match self.commit.try_lock() {
                Ok(ahead) => return ahead,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size at which a generation is due for the engine.
    pub(crate) fn freeze_bytes(&self) -> usize {
        // At least one: an empty generation is never due.
        applier::FREEZE_BYTES.min(self.options.overlay_bytes_max / 2).max(1)
    }

    /// Whether there is something to be moved into the engine now.
    pub(crate) fn is_due(&self, layers: &Layers) -> bool {
        let [newest, older @ ..] = &layers.generations[..] else {
            return false;
        };
        newest.bytes() >= self.freeze_bytes() || older.last().is_some_and(|oldest| self.may_be_given(oldest))
    }

    /// Whether a generation may go into the engine: not as long as its entries may be cut off the log, but when the overlay is
    /// half full.
    pub(crate) fn may_be_given(&self, generation: &Generation) -> bool {
        let settled = |settled| generation.last() <= settled;
        self.log.settled().is_none_or(settled) || self.overlay_bytes() > self.options.overlay_bytes_max / 2
    }

    /// Says that the applier waits for this entry to be settled, or for none.
    pub(crate) fn awaits_settled(&self, op_id: Option<OpId>) {
        let awaited = op_id.map_or(u64::MAX, OpId::get);
        self.awaited.store(awaited, Ordering::SeqCst);
        // Partner: the fence in `wake_if_settled`.
        fence(Ordering::SeqCst);
    }

    /// Wakes the applier if it waits for something that is settled by now. Call it when more may be.
    pub(crate) fn wake_if_settled(&self) {
        // Partner: the fence in `awaits_settled`.
        fence(Ordering::SeqCst);
        let awaited = OpId::new(self.awaited.load(Ordering::SeqCst));
        if self.log.settled().is_none_or(|settled| awaited <= settled) {
            self.signal.wake_applier();
        }
    }

    fn overlay_bytes(&self) -> usize {
        let layers = self.layers.load();
        let generations = layers.iter().flat_map(|layers| &layers.generations);
        generations.map(|generation| generation.bytes()).sum()
    }

    /// Ends all writing: from here on every write is refused with this error, and nothing more goes into the engine.
    pub(crate) fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(%error, "the store takes no more writes: open it again");
            *failure = Some(error);
        }
        drop(failure);
        self.signal.wake_all();
    }

    /// # Errors
    ///
    /// What has ended all writing, if something has.
    pub(crate) fn check_failure(&self) -> Result<()> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Says whether there is room in the overlay for more.
    fn has_room(&self) -> Result<bool> {
        self.check_failure()?;
        if self.stopping.load(Ordering::SeqCst) {
            return Err(closed());
        }
        Ok(self.overlay_bytes() <= self.options.overlay_bytes_max)
    }

    fn await_room(&self) -> Result<()> {
        if self.has_room()? {
            return Ok(());
        }
        self.signal.wake_applier();
        let mut guard = self.signal.lock();
        // Looked at under the lock that `Signal` takes before it wakes anyone, so no wake-up comes in between.
        while !self.has_room()? {
            guard = self.signal.wait_for_room(guard);
        }
        Ok(())
    }

    /// Wakes the applier when the newest generation has just begun, or is due. One that is due is frozen here, under the commit
    /// lock, and not when the applier comes to it: it would have grown meanwhile to all that the overlay may hold, and then
    /// writers would wait until all of that is in the engine instead of filling the next one.
    pub(super) fn wake_if_due(&self, generation: &Generation, before: usize) {
        let is_due = generation.bytes() >= self.freeze_bytes();
        if is_due {
            self.freeze_locked();
        }
        if is_due || before == 0 {
            self.signal.wake_applier();
        }
    }

    /// Waits until `op_id` is as durable as asked; returns it.
    pub(crate) fn settle(&self, op_id: OpId, durability: Durability) -> Result<OpId> {
        if durability == Durability::Disk {
            self.log.sync(op_id)?;
        }
        Ok(op_id)
    }

    /// Waits until what a write has written, up to `op_id`, is as durable as asked. One that has found, in a part of it, nothing
    /// to write gives no OpID: then everything that it can have seen becomes as durable. Whoever is told that a document is as
    /// it should be, or that a key is taken, must not find it otherwise after power loss.
    pub(crate) fn settle_write(&self, op_id: Option<OpId>, durability: Durability) -> Result<()> {
        let op_id = op_id.unwrap_or_else(|| self.applied());
        self.settle(op_id, durability).map(drop)
    }

    /// Makes the newest generation an older one, unless it is empty.
    pub(crate) fn freeze(&self) {
        let _guard = self.lock();
        self.freeze_locked();
    }

    /// The same for the holder of the commit lock.
    fn freeze_locked(&self) {
        let Some(layers) = self.layers.load_full() else {
            return;
        };
        if layers.generations[0].last() == OpId::ZERO {
            return;
        }
        let mut generations = vec![Arc::new(Generation::new())];
        generations.extend(layers.generations.iter().cloned());
        self.layers.store(Some(Arc::new(Layers {
            generations,
            engine: Arc::clone(&layers.engine),
        })));
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

    /// Applies the entries that the engine does not cover.
    pub(crate) fn replay(&self) -> Result<()> {
        let applied = OpId::new(self.engine()?.applied());
        let oldest = self.log.watermarks().oldest;
        if applied.next() < oldest {
            return Err(Error::StateBehind { applied, oldest });
        }
        let mut cursor = self.log.view().cursor(applied.next(), ReadConcern::Local)?;
        let mut count = 0u64;
        while let Some(entry) = cursor.try_next()? {
            let entry = Logged {
                op_id: entry.op_id(),
                kind: entry.kind(),
                payload: entry.payload(),
                document: None,
            };
            // A follower builds beside what it takes; see `filling`.
            if !self.log.is_following() {
                self.complete_before(&entry)?;
            }
            let layers = self.layers()?;
            let due = {
                let mut ahead = self.lock();
                self.apply(&mut ahead, &layers, &entry, None)?;
                self.publish(&ahead, entry.op_id);
                self.is_due(&layers)
            };
            count += 1;
            if due {
                applier::flush(self)?;
            }
        }
        tracing::info!(from = %applied.next(), entries = count, "replayed the log into the state");
        Ok(())
    }
}

pub(crate) fn closed() -> Error {
    tailwater_oplog::Error::Closed.into()
}
