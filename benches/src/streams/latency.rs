//! From the moment a writer begins to append to the moment a blocked receiver holds the event; one event each millisecond.

use std::thread;
use std::time::Instant;

use bson::rawdoc;

use super::events::{Bench, insert};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::log::tail_blocking::{entries, latency, pace, unparked};
use crate::report::{Comparison, Unit};

pub(super) fn write_to_hand(plan: &Plan) -> Result<Vec<Comparison>> {
    let (limits, watches) = plan.alternate(|| unparked(plan), || watched(plan))?;
    let figures = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&watches, q));
    Ok(vec![figures("watch-latency", 0.5), figures("watch-latency-p99", 0.99)])
}

fn watched(plan: &Plan) -> Result<Latencies> {
    let bench = Bench::new(plan)?;
    let (entries, origin) = (entries(plan), Instant::now());
    let (_handle, receiver) = bench.watch().subscribe()?;
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
        pace(entries, origin, |stamp| {
            bench.append(&insert(&rawdoc! { "_id": 1, "stamp": stamp as i64 }))
        })?;
        receiving.join().map_err(|_| "the receiver panicked")?
    })
}
