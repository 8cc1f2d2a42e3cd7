//! How far a follower is behind: 20,000 insertions a second that nobody waits for, and for each the time from when the primary has
//! written it to when a reader of the follower's log has it; as soon as it is there, and when it is on the follower's disk, too.
//!
//! Entries travel when their sync begins at the primary, so the first has the wait for that in it, and no sync; the second has one
//! at each end, most of which pass at the same time.

use std::thread;
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::{Durability, Store};
use tailwater_oplog::{Interrupt, OpId, OplogView, ReadConcern, Timestamp, WaitOutcome};

use super::{PATIENCE, follower, primary};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::log::append_disk::PreparedFile;
use crate::report::{Comparison, Unit};

/// Insertions of a millisecond.
const AT_ONCE: u32 = 20;

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let (here, there, alone) = (plan.scratch()?, plan.scratch()?, plan.scratch()?);
    let store = Store::open(here.path())?;
    let serving = primary(&store, &[])?;
    let following = follower(there.path(), "b", serving.address(), &[])?;
    let first = store
        .collection("bench", "documents")?
        .insert_one(&rawdoc! { "_id": -1_i64 })?;
    let followed = following.wait_for(first.op_id, PATIENCE)?;
    let mut file = PreparedFile::new(&alone.path().join("file"))?;
    let mut written = 0;
    let mut durable = Vec::new();
    let (limits, lags) = plan.alternate(
        || synced(plan, &mut file),
        || {
            let (there, on_disk) = round(plan, &store, &followed.log(), &mut written)?;
            durable.push(on_disk);
            Ok(there)
        },
    )?;
    let figures = |name, lags: &[Latencies]| {
        Comparison::new(
            name,
            Unit::Microseconds,
            quantiles(&limits, 0.99),
            quantiles(lags, 0.99),
        )
    };
    Ok(vec![figures("lag-p99", &lags), figures("lag-durable-p99", &durable)])
}

/// Syncs of this disk, one after the other.
fn synced(plan: &Plan, file: &mut PreparedFile) -> Result<Latencies> {
    let count = plan.pick(2000, 500);
    let mut latencies = Latencies::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        file.append(&[7; 256])?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

fn round(plan: &Plan, store: &Store, followed: &OplogView, written: &mut i64) -> Result<(Latencies, Latencies)> {
    let milliseconds: u32 = plan.pick(3000, 1000);
    let entries = (milliseconds * AT_ONCE) as usize;
    let next = store.log().newest(ReadConcern::Local).next();
    let collection = store
        .collection("bench", "documents")?
        .with_durability(Durability::Memory);
    thread::scope(|scope| {
        let read = |concern| {
            let log = followed.clone();
            scope.spawn(move || lags(&log, next, concern, entries))
        };
        let readers = [read(ReadConcern::Local), read(ReadConcern::Durable)];
        let begun = Instant::now();
        for millisecond in 1..=milliseconds {
            thread::sleep((begun + Duration::from_millis(1) * millisecond).saturating_duration_since(Instant::now()));
            for _ in 0..AT_ONCE {
                *written += 1;
                collection.insert_one(&rawdoc! { "_id": *written, "name": "Ada Lovelace", "note": "x".repeat(120) })?;
            }
        }
        let [there, on_disk] = readers.map(|reader| reader.join().map_err(|_| "a reader panicked")?);
        Ok((there?, on_disk?))
    })
}

fn lags(log: &OplogView, next: OpId, concern: ReadConcern, entries: usize) -> Result<Latencies> {
    let mut cursor = log.cursor(next, concern)?;
    let mut latencies = Latencies::with_capacity(entries);
    let interrupt = Interrupt::new();
    while latencies.len() < entries {
        match cursor.try_next()? {
            Some(entry) => {
                let lag = Timestamp::now().as_nanos().saturating_sub(entry.timestamp().as_nanos());
                latencies.push(Duration::from_nanos(lag));
            }
            None => {
                if cursor.wait(Some(Instant::now() + PATIENCE), &interrupt) != WaitOutcome::Ready {
                    return Err("the follower stands still".into());
                }
            }
        }
    }
    Ok(latencies)
}
