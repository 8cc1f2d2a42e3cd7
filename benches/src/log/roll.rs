//! Appends at full speed across many segments: how long the longest take, those that meet the end of a segment among
//! them. Default options, the log keeps everything.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tailwater_oplog::{Durability, Oplog, Options};

use super::frames::{FRAME_BYTES, KIND, payload, write_frame};
use crate::harness::{Histogram, Plan, Result};
use crate::report::{Comparison, Unit};

/// What the share of [`QUANTILE`] is not to exceed, in microseconds.
const PROMISE: f64 = 1000.0;
/// The share of appends that are not longer than what is reported.
pub const QUANTILE: f64 = 0.9999;

pub(crate) fn pauses(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut memory = vec![0x55; 64 << 20];
    let (mut rolls, mut longest, mut undisturbed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let (appends, time) = sustained(plan)?;
        rolls.push(appends.quantile(QUANTILE));
        longest.push(appends.longest());
        undisturbed.push(copies(&mut memory, time).longest());
    }
    let promise = vec![PROMISE; plan.rounds];
    Ok(vec![
        Comparison::new("roll", Unit::Microseconds, promise, rolls),
        Comparison::new("roll-max", Unit::Microseconds, undisturbed, longest),
    ])
}

/// Appends that fill so many segments one after the other.
fn sustained(plan: &Plan) -> Result<(Histogram, Duration)> {
    let dir = plan.scratch()?;
    let log = Oplog::open(dir.path())?;
    let bytes = plan.pick(16, 4) * Options::default().segment_bytes;
    let payload = black_box(payload());
    let start = Instant::now();
    let latencies = each(bytes / FRAME_BYTES as u64, || {
        Ok(log.append(KIND, &payload, Durability::Memory).map(drop)?)
    })?;
    let time = start.elapsed();
    log.close()?;
    Ok((latencies, time))
}

/// The unavoidable work for as long: frames built in memory that was written before. What takes long here is the
/// machine's doing, somebody else's turn on the processor for the most part.
fn copies(memory: &mut [u8], time: Duration) -> Histogram {
    let payload = black_box(payload());
    let mut histogram = Histogram::new();
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        for frame in memory.chunks_exact_mut(FRAME_BYTES) {
            write_frame(frame, 1, &payload);
            let now = Instant::now();
            histogram.push(now - last);
            last = now;
        }
        black_box(&memory[..]);
    }
    histogram
}

/// How long each of so many calls takes; one look at the clock for each, which ends one and begins the next.
fn each(count: u64, mut work: impl FnMut() -> Result<()>) -> Result<Histogram> {
    let mut histogram = Histogram::new();
    let mut last = Instant::now();
    for _ in 0..count {
        work()?;
        let now = Instant::now();
        histogram.push(now - last);
        last = now;
    }
    Ok(histogram)
}
