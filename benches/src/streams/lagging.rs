//! Watches that do not keep up: what they cost others, and how fast they come back.

use std::time::Instant;

use tailwater_oplog::ReadConcern;

use super::events::{Bench, document, insert};
use crate::harness::{Dice, Histogram, Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

const STALLED: usize = 10_000;
const LIVE: u64 = 100;

/// How long the writer's appends take, p99, beside watches that match one event in a hundred.
pub(super) fn stalled(plan: &Plan) -> Result<Vec<Comparison>> {
    let (without, with) = plan.alternate(|| appending(plan, 0), || appending(plan, STALLED))?;
    Ok(vec![Comparison::new("stalled-10k", Unit::Microseconds, without, with)])
}

fn appending(plan: &Plan, stalled: usize) -> Result<f64> {
    let bench = Bench::new(plan)?;
    let mut dice = Dice::new();
    let payloads: Vec<_> = (0..10_000).map(|n| insert(&document(&mut dice, n % LIVE))).collect();
    let filter = |n: u64| [bson::doc! { "$match": { "fullDocument.userId": (n % LIVE) as i64 } }];
    let mut watches = Vec::new();
    // Before the others, so that somebody is live when those have stalled.
    for n in 0..LIVE {
        let watch = bench.watch().pipeline(filter(n)).channel_capacity(1 << 20, 1 << 30);
        watches.push(watch.subscribe()?);
    }
    for n in 0..stalled as u64 {
        watches.push(
            bench
                .watch()
                .pipeline(filter(n))
                .channel_capacity(2, usize::MAX)
                .subscribe()?,
        );
    }
    // They get their two events, and stall.
    bench.append_all(&payloads[..1000])?;
    bench.wait_dispatched();
    let mut latencies = Histogram::new();
    for payload in payloads.iter().cycle().take(plan.pick(500_000, 100_000)) {
        let begun = Instant::now();
        bench.append(payload)?;
        latencies.push(begun.elapsed());
    }
    bench.wait_dispatched();
    Ok(latencies.quantile(0.99))
}

/// A watch that begins with the oldest entry and matches none.
pub(super) fn catch_up(plan: &Plan) -> Result<Vec<Comparison>> {
    let bench = Bench::new(plan)?;
    let mut dice = Dice::new();
    let payloads: Vec<_> = (0..100_000).map(|n| insert(&document(&mut dice, n))).collect();
    let count = plan.pick(1_000_000_u64, 200_000);
    for _ in 0..count / payloads.len() as u64 {
        bench.append_all(&payloads)?;
    }
    let newest = bench.newest();
    let (limits, caught_up) = plan.alternate(
        || {
            let (time, read) = timed(|| -> Result<u64> {
                let mut cursor = bench.log.view().cursor_from_oldest(ReadConcern::Local);
                let mut read = 0;
                while let Some(entry) = cursor.try_next()? {
                    std::hint::black_box(entry.payload());
                    read += 1;
                }
                Ok(read)
            });
            Ok(millions_per_second(read?, time))
        },
        || {
            let stage = bson::doc! { "$match": { "fullDocument.userId": -1_i64 } };
            let watch = bench.watch().pipeline([stage]).start_at_oldest();
            let (time, subscribed) = timed(|| -> Result<()> {
                let (_handle, receiver) = watch.subscribe()?;
                while receiver.resume_token().op_id() < newest {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
                Ok(())
            });
            subscribed?;
            Ok(millions_per_second(count, time))
        },
    )?;
    Ok(vec![Comparison::new(
        "catch-up",
        Unit::MillionsPerSecond,
        limits,
        caught_up,
    )])
}
