//! The applier: moves durable generations of the overlay into the engine, each in one atomic commit.
//!
//! Who writes ends a generation when it is due, and goes on with the next while this thread applies the one before. The engine
//! is never ahead of the durable log. While there is nothing to apply the thread sleeps without a time-out.
//!
//! What the engine has cannot be taken back, and what a member of a replicated store has may be cut off its log again, as long
//! as it is not [settled](tailwater_oplog::Oplog::settled). So a generation whose entries are not stays in the overlay while that is
//! not more than half full: then a cut removes it from there, and the state stays. Beyond that it is given all the same.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::catalog::{Size, garbage, garbage_key};
use crate::engine::{EngineBatch, Slice};
use crate::error::{Error, Result};
use crate::overlay::{Generation, Version};
use crate::store::Core;

/// A generation is applied when it has grown to this size …
pub(crate) const FREEZE_BYTES: usize = 8 << 20;
/// … or has waited this long.
const FREEZE_INTERVAL: Duration = Duration::from_millis(500);
/// Documents of a dropped collection removed in one step.
const GARBAGE_CHUNK: usize = 4096;

/// The applier's thread.
pub(crate) fn run(core: &Arc<Core>) {
    let _writers = Writers(core);
    loop {
        wait_for_work(core);
        if core.stopping.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = flush(core).and_then(|()| collect_garbage(core)) {
            core.fail(error);
            return;
        }
    }
}

/// Does not let writers wait for room that a panic of this thread has left nobody to make.
struct Writers<'a>(&'a Core);

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Interrupted {
                what: "giving entries to the engine",
            });
        }
    }
}

/// Sleeps until there is a generation worth applying, or the store closes.
fn wait_for_work(core: &Core) {
    let mut guard = core.signal.lock();
    let mut deadline = None;
    loop {
        let Ok(layers) = core.layers() else { return };
        let bytes = layers.generations[0].bytes();
        let held = layers.generations[1..].last().map(|oldest| oldest.last());
        // Before the look at what is settled: whoever settles it later finds that it is waited for.
        core.awaits_settled(held);
        let is_due = core.is_due(&layers);
        drop(layers);
        if core.stopping.load(Ordering::SeqCst) || is_due {
            return;
        }
        if bytes == 0 || held.is_some() {
            deadline = None;
            guard = core.signal.wait_for_work(guard, None);
            continue;
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + FREEZE_INTERVAL);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        guard = core.signal.wait_for_work(guard, Some(left));
    }
}

/// Applies everything written so far, but for what is [held back](Core::may_be_given).
pub(crate) fn flush(core: &Core) -> Result<()> {
    let _one = core.applying.lock().unwrap_or_else(PoisonError::into_inner);
    // What waits behind one that is held back may as well grow.
    let layers = core.layers()?;
    let [newest, older @ ..] = &layers.generations[..] else {
        return Ok(());
    };
    let goes_on = older.last().is_none_or(|oldest| core.may_be_given(oldest));
    if goes_on || newest.bytes() >= core.freeze_bytes() {
        core.freeze();
    }
    // After a failure a generation may lack an entry; the next opening makes it anew from the log.
    core.check_failure()?;
    // Oldest first; one may be left from a flush that failed.
    let frozen: Vec<_> = core.layers()?.generations[1..].iter().rev().cloned().collect();
    for generation in frozen {
        if !core.may_be_given(&generation) {
            break;
        }
        apply(core, &generation)?;
        core.retire(&generation);
        core.transactions.reap();
        core.signal.wake_writers();
        core.checkpoint_after(generation.bytes())?;
    }
    Ok(())
}

fn apply(core: &Core, generation: &Generation) -> Result<()> {
    let last = generation.last();
    core.log.sync(last)?;
    let mut batch = EngineBatch::new();
    generation.newest_versions(|key, version| match version {
        Version::Put(document) => batch.put(key.clone(), document.clone()),
        Version::Indexed(values) => batch.put(key.clone(), Slice::new(&values.to_le_bytes())),
        Version::Deleted => batch.delete(key.clone()),
    });
    let engine = core.engine()?;
    let changes = generation.changes();
    let sizes: HashMap<_, _> = Size::load(&engine.snapshot())?.into_iter().collect();
    for (number, growth) in changes.growth {
        let mut size = sizes.get(&number).copied().unwrap_or_default();
        size += growth;
        size.record(number, &mut batch);
    }
    // After the sizes: a collection that was dropped has none.
    for change in changes.catalog {
        change.record(&mut batch);
    }
    for key in core.forgotten.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        batch.delete_catalog(&key);
    }
    // An index build adds entries without one of the log; what is covered, and its origin, stay as they are then.
    if last.get() > engine.applied() {
        core.record_origin(&mut batch, last)?;
    }
    let (writes, bytes) = (batch.len(), batch.bytes());
    engine.commit(batch, last.get())?;
    tracing::debug!(applied = %last, writes, bytes, "applied a generation");
    Ok(())
}

/// Removes what dropped collections have left behind.
fn collect_garbage(core: &Core) -> Result<()> {
    let engine = core.engine()?;
    for number in garbage(&engine.snapshot())? {
        while engine.drop_collection_chunk(number.0, GARBAGE_CHUNK)? > 0 {
            if core.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
        // The key goes with the next generation's commit; until then looking again costs one empty scan.
        core.forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(garbage_key(number));
    }
    Ok(())
}
