//! Appends that return when the entry survives the process: in the mapped log buffer.
//!
//! A log of a round fits one segment, so that it measures appending and not how fast a disk can prepare segments; the log prepares
//! the next one meanwhile, moves entries into the segment and syncs every 50 ms, as it does for any user. The limit's memory was
//! written before, and so has the log's been: the first segment of a log with default options is filled with zeros when it is made,
//! and the buffer has been gone round once when the clock starts.

use std::hint::black_box;
use std::time::Duration;

use memmap2::MmapMut;
use tailwater_oplog::{Durability, Oplog, Options, Record};

use super::frames::{FRAME_BYTES, KIND, payload, write_frame};
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

const BATCH: usize = 64;

/// Appended before the clock starts: once round the log buffer.
const WARM_UP_BYTES: u64 = 16 << 20;

/// Logs of a round, one after the other.
fn logs(plan: &Plan) -> u64 {
    plan.pick(4, 1)
}

/// Records that fill that many bytes: a multiple of the batch.
fn records_in(bytes: u64) -> u64 {
    let count = bytes / FRAME_BYTES as u64;
    count - count % BATCH as u64
}

/// Records of a log that are timed: with those before, they leave room for the segment's index.
fn records() -> u64 {
    records_in(Options::default().segment_bytes - (1 << 20) - WARM_UP_BYTES)
}

pub(crate) fn one(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut limit = Limit::new(plan)?;
    let (limits, rates) = plan.alternate(|| Ok(limit.round()), || singles(plan, 1))?;
    Ok(vec![Comparison::new(
        "append-memory-1",
        Unit::MillionsPerSecond,
        limits,
        rates,
    )])
}

pub(crate) fn batches(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut limit = Limit::new(plan)?;
    let (limits, rates) = plan.alternate(|| Ok(limit.round()), || batched(plan))?;
    Ok(vec![Comparison::new(
        "append-memory-batch64",
        Unit::MillionsPerSecond,
        limits,
        rates,
    )])
}

pub(crate) fn two_threads(plan: &Plan) -> Result<Vec<Comparison>> {
    let (ones, twos) = plan.alternate(|| singles(plan, 1), || singles(plan, 2))?;
    Ok(vec![Comparison::new(
        "append-memory-2threads",
        Unit::MillionsPerSecond,
        ones,
        twos,
    )])
}

/// The unavoidable work: frames built in memory that is mapped and was written before. The map is anonymous, because
/// mapping a file is unsafe; a populated map of a file took the same time (43 ns a frame).
struct Limit {
    map: MmapMut,
    records: u64,
}

impl Limit {
    fn new(plan: &Plan) -> Result<Limit> {
        let records = logs(plan) * records();
        let mut map = MmapMut::map_anon(records as usize * FRAME_BYTES)?;
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::NoHugePage)?;
        map.fill(0x55);
        Ok(Limit { map, records })
    }

    fn round(&mut self) -> f64 {
        let payload = black_box(payload());
        let (time, ()) = timed(|| {
            for (i, frame) in self.map.chunks_exact_mut(FRAME_BYTES).enumerate() {
                write_frame(frame, i as u64 + 1, &payload);
            }
        });
        black_box(&self.map[..]);
        millions_per_second(self.records, time)
    }
}

/// Appends one by one from that many threads, in total as many as with one.
fn singles(plan: &Plan, threads: u64) -> Result<f64> {
    let payload = black_box(payload());
    let each = records() / threads;
    let append =
        |log: &Oplog, count| (0..count).try_for_each(|_| log.append(KIND, &payload, Durability::Memory).map(drop));
    rounds(plan, each * threads, |log| {
        std::thread::scope(|scope| {
            let appenders: Vec<_> = (0..threads).map(|_| scope.spawn(|| append(log, each))).collect();
            appenders
                .into_iter()
                .try_for_each(|appender| appender.join().expect("an appender does not panic"))
        })
    })
}

/// Appends in batches from one thread.
fn batched(plan: &Plan) -> Result<f64> {
    let payload = black_box(payload());
    let pieces: [&[u8]; 1] = [&payload];
    let batch = [Record {
        kind: KIND,
        payload: &pieces,
    }; BATCH];
    rounds(plan, records(), |log| {
        (0..records() / BATCH as u64).try_for_each(|_| log.append_batch(&batch, Durability::Memory).map(drop))
    })
}

/// Has `append` fill the logs of a round with so many entries each; returns how many million a second that were.
fn rounds(plan: &Plan, each: u64, append: impl Fn(&Oplog) -> tailwater_oplog::Result<()>) -> Result<f64> {
    let payload = payload();
    let mut total = Duration::ZERO;
    for _ in 0..logs(plan) {
        let dir = plan.scratch()?;
        let log = Oplog::open(dir.path())?;
        for _ in 0..records_in(WARM_UP_BYTES) {
            log.append(KIND, &payload, Durability::Memory)?;
        }
        let (time, result) = timed(|| append(&log));
        result?;
        log.close()?;
        total += time;
    }
    Ok(millions_per_second(each * logs(plan), total))
}
