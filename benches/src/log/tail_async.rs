//! As `tail_blocking`, with a task on a current-thread runtime in the place of the blocked thread.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tailwater_oplog::Cursor;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::tail_blocking::{INTERVAL, entries, from_log, latency, pace, read_what_is_there};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

pub(crate) fn wake_ups(plan: &Plan) -> Result<Vec<Comparison>> {
    let (limits, tails) = plan.alternate(|| notified(plan), || from_log(plan, read_async))?;
    let latency = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&tails, q));
    Ok(vec![latency("tail-async", 0.5), latency("tail-async-p99", 0.99)])
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().build()?)
}

/// The unavoidable work: a notified task, and one value.
fn notified(plan: &Plan) -> Result<Latencies> {
    let (entries, origin) = (entries(plan), Instant::now());
    let (sent, notify) = (AtomicU64::new(0), Notify::new());
    thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<Latencies> {
            let mut latencies = Latencies::with_capacity(entries);
            runtime()?.block_on(async {
                loop {
                    notify.notified().await;
                    match sent.load(Ordering::Acquire) {
                        u64::MAX => return Ok(latencies),
                        stamp => latencies.push(latency(origin, stamp)),
                    }
                }
            })
        });
        let send = |stamp| {
            sent.store(stamp, Ordering::Release);
            notify.notify_one();
            Ok(())
        };
        pace(entries, origin, send)?;
        thread::sleep(INTERVAL);
        send(u64::MAX)?;
        reader.join().expect("the reader does not panic")
    })
}

fn read_async(mut cursor: Cursor, entries: usize, origin: Instant) -> Result<Latencies> {
    let mut latencies = Latencies::with_capacity(entries);
    runtime()?.block_on(async {
        while latencies.len() < entries {
            poll_fn(|context| cursor.poll_ready(context)).await?;
            read_what_is_there(&mut cursor, origin, &mut latencies)?;
        }
        Ok(latencies)
    })
}
