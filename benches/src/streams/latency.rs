//! From the moment a writer begins to append to the moment a blocked receiver holds the event; one event each millisecond.
//!
//! With read concern `Durable` the event comes when a sync has covered it, which the writer waits for as well.

use std::thread;
use std::time::Instant;

use bson::rawdoc;
use tailwater_oplog::{Durability, ReadConcern};

use super::events::{Bench, insert};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::log::append_disk::PreparedFile;
use crate::log::tail_blocking::{entries, latency, pace, unparked, unparked_behind};
use crate::report::{Comparison, Unit};

pub(super) fn write_to_hand(plan: &Plan) -> Result<Vec<Comparison>> {
    let watched = || watched(plan, ReadConcern::Local, Durability::Memory);
    let (limits, watches) = plan.alternate(|| unparked(plan), watched)?;
    let figures = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&watches, q));
    Ok(vec![figures("watch-latency", 0.5), figures("watch-latency-p99", 0.99)])
}

pub(super) fn durable_write_to_hand(plan: &Plan) -> Result<Vec<Comparison>> {
    let watched = || watched(plan, ReadConcern::Durable, Durability::Disk);
    let (limits, watches) = plan.alternate(|| synced(plan), watched)?;
    let figures = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&watches, q));
    Ok(vec![
        figures("watch-latency-durable", 0.5),
        figures("watch-latency-durable-p99", 0.99),
    ])
}

fn event(stamp: u64) -> Vec<u8> {
    insert(&rawdoc! { "_id": 1, "stamp": stamp as i64 })
}

/// The same bytes written and synced, and a parked thread unparked.
fn synced(plan: &Plan) -> Result<Latencies> {
    let dir = plan.scratch()?;
    let mut file = PreparedFile::new(&dir.path().join("file"))?;
    let record = event(0);
    unparked_behind(plan, || file.append(&record))
}

fn watched(plan: &Plan, concern: ReadConcern, durability: Durability) -> Result<Latencies> {
    let bench = Bench::new(plan)?;
    let (entries, origin) = (entries(plan), Instant::now());
    let (_handle, receiver) = bench.watch().read_concern(concern).subscribe()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| -> Result<Latencies> {
            let mut latencies = Latencies::with_capacity(entries);
            while latencies.len() < entries {
                let event = receiver.recv()?;
                let stamp = event
                    .full_document()
                    .ok_or("an event without a document")?
                    .get_i64("stamp")?;
                latencies.push(latency(origin, stamp as u64));
            }
            Ok(latencies)
        });
        pace(entries, origin, |stamp| bench.append_with(&event(stamp), durability))?;
        receiving.join().map_err(|_| "the receiver panicked")?
    })
}
