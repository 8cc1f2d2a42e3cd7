//! From the moment a writer begins to append to the moment a blocked thread has read the entry; one entry each
//! millisecond, so that the reader sleeps every time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tailwater_oplog::{Cursor, Durability, Interrupt, Oplog, ReadConcern};

use super::frames::{KIND, payload};
use crate::harness::{Dice, Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

pub(super) const INTERVAL: Duration = Duration::from_millis(1);

pub(crate) fn wake_ups(plan: &Plan) -> Result<Vec<Comparison>> {
    let (limits, tails) = plan.alternate(|| unparked(plan), || from_log(plan, read_blocking))?;
    let latency = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&tails, q));
    Ok(vec![latency("tail-blocking", 0.5), latency("tail-blocking-p99", 0.99)])
}

/// Entries of a round.
pub(crate) fn entries(plan: &Plan) -> usize {
    plan.pick(2000, 500)
}

/// Calls `send` once a millisecond with the nanoseconds since `origin`; never 0, never the same twice. The moment within
/// the millisecond varies, so that it does not keep step with a timer of the log.
pub(crate) fn pace(entries: usize, origin: Instant, mut send: impl FnMut(u64) -> Result<()>) -> Result<()> {
    let mut dice = Dice::new();
    for i in 1..=entries as u32 {
        let due = INTERVAL * i + Duration::from_micros(dice.below(500));
        thread::sleep((origin + due).saturating_duration_since(Instant::now()));
        send(nanos_since(origin))?;
    }
    Ok(())
}

pub(super) fn nanos_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What has passed since `sent`.
pub(crate) fn latency(origin: Instant, sent: u64) -> Duration {
    Duration::from_nanos(nanos_since(origin).saturating_sub(sent))
}

/// The unavoidable work: a thread parked on a futex, and one value.
pub(crate) fn unparked(plan: &Plan) -> Result<Latencies> {
    unparked_behind(plan, || Ok(()))
}

/// As [`unparked`], with some work between the moment that counts and the unparking.
pub(crate) fn unparked_behind(plan: &Plan, mut work: impl FnMut() -> Result<()>) -> Result<Latencies> {
    let (entries, origin) = (entries(plan), Instant::now());
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut latencies = Latencies::with_capacity(entries);
            let mut last = 0;
            loop {
                match sent.load(Ordering::Acquire) {
                    u64::MAX => return latencies,
                    same if same == last => thread::park(),
                    fresh => {
                        latencies.push(latency(origin, fresh));
                        last = fresh;
                    }
                }
            }
        });
        let send = |stamp| {
            sent.store(stamp, Ordering::Release);
            reader.thread().unpark();
            Ok(())
        };
        pace(entries, origin, |stamp| {
            work()?;
            send(stamp)
        })?;
        thread::sleep(INTERVAL);
        send(u64::MAX)?;
        Ok(reader.join().expect("the reader does not panic"))
    })
}

/// Appends to a log while `read` follows it in a thread of its own.
pub(super) fn from_log(plan: &Plan, read: fn(Cursor, usize, Instant) -> Result<Latencies>) -> Result<Latencies> {
    let dir = plan.scratch()?;
    let log = Oplog::open(dir.path())?;
    let (entries, origin) = (entries(plan), Instant::now());
    let cursor = log.view().cursor_from_now(ReadConcern::Local);
    let reader: JoinHandle<Result<Latencies>> = thread::spawn(move || read(cursor, entries, origin));
    let mut payload = payload();
    pace(entries, origin, |stamp| {
        payload[..8].copy_from_slice(&stamp.to_le_bytes());
        Ok(log.append(KIND, &payload, Durability::Memory).map(drop)?)
    })?;
    let latencies = reader.join().expect("the reader does not panic")?;
    log.close()?;
    Ok(latencies)
}

fn read_blocking(mut cursor: Cursor, entries: usize, origin: Instant) -> Result<Latencies> {
    let interrupt = Interrupt::new();
    let mut latencies = Latencies::with_capacity(entries);
    while latencies.len() < entries {
        let _ = cursor.wait(None, &interrupt);
        read_what_is_there(&mut cursor, origin, &mut latencies)?;
    }
    Ok(latencies)
}

/// Notes the latency of every entry that can be read now.
pub(super) fn read_what_is_there(cursor: &mut Cursor, origin: Instant, latencies: &mut Latencies) -> Result<()> {
    while let Some(entry) = cursor.try_next()? {
        let stamp = entry.payload().first_chunk().ok_or("an entry without a stamp")?;
        latencies.push(latency(origin, u64::from_le_bytes(*stamp)));
    }
    Ok(())
}
