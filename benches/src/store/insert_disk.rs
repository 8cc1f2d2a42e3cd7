//! Sixty-four threads that insert one document after the other, each of which has to survive power loss.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tailwater::{Durability, Store};
use tailwater_oplog::Oplog;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::documents::Batch;
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};

const WRITERS: u64 = 64;
/// Numbers that a writer has for itself in a round.
const NUMBERS: u64 = 1 << 32;

pub(crate) fn one(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let log = Oplog::open(dir.path().join("log"))?;
    let store = Store::open(dir.path().join("store"))?;
    let mut round = 0;
    let (limits, inserts) = plan.alternate(
        || appends(plan, &log),
        || {
            round += 1;
            inserts(plan, &store, round)
        },
    )?;
    log.close()?;
    store.close()?;
    Ok(vec![Comparison::new(
        "insert-one-disk-64",
        Unit::ThousandsPerSecond,
        limits,
        inserts,
    )])
}

/// The bare log: entries with the bytes that the store's have, their documents made in the same way.
fn appends(plan: &Plan, log: &Oplog) -> Result<f64> {
    together(plan, |writer, end| {
        let mut batch = Batch::new(1);
        let (mut count, mut payload) = (0, Vec::new());
        while Instant::now() < end {
            batch.fill(writer * NUMBERS + count);
            payload.clear();
            let entry = StoreEntry {
                database: "bench",
                collection: "documents",
                document: batch.documents().next(),
                ..StoreEntry::default()
            };
            entry.encode(&mut payload);
            log.append(EntryKind::Insert.number(), &payload, Durability::Disk)?;
            count += 1;
        }
        Ok(count)
    })
}

fn inserts(plan: &Plan, store: &Store, round: u64) -> Result<f64> {
    let collection = store.collection("bench", "documents")?;
    let collection = collection.with_durability(Durability::Disk);
    together(plan, |writer, end| {
        let mut batch = Batch::new(1);
        let mut count = 0;
        while Instant::now() < end {
            batch.fill((round * WRITERS + writer) * NUMBERS + count);
            for document in batch.documents() {
                collection.insert_one(document)?;
            }
            count += 1;
        }
        Ok(count)
    })
}

/// Thousands of writes a second of all writers in one round. `write` gets the writer's number and the end of the round, and
/// returns how many it made.
fn together(plan: &Plan, write: impl Fn(u64, Instant) -> Result<u64> + Sync) -> Result<f64> {
    let span = plan.pick(Duration::from_secs(2), Duration::from_millis(700));
    let total = AtomicU64::new(0);
    let end = Instant::now() + span;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (write, total) = (&write, &total);
                scope.spawn(move || {
                    total.fetch_add(write(writer, end)?, Ordering::Relaxed);
                    Ok::<(), Box<dyn Error + Send + Sync>>(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    Ok(total.into_inner() as f64 / span.as_secs_f64() / 1e3)
}
