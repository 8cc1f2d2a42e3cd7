//! Appends that return when the entry survives the process: in the mapped log buffer.
//!
//! A round fits one segment, so that it measures appending and not how fast a disk can prepare segments; the log prepares
//! the next one meanwhile, moves entries into the segment and syncs every 50 ms, as it does for any user.

use std::hint::black_box;
use std::path::Path;

use memmap2::MmapMut;
use tailwater_oplog::{Durability, Oplog, Options, Record};

use super::frames::{FRAME_BYTES, KIND, payload, write_frame};
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

const BATCH: usize = 64;

/// Length of the one segment, which the records nearly fill.
fn segment_bytes(plan: &Plan) -> u64 {
    plan.pick(256 << 20, 64 << 20)
}

/// Records of a round: a multiple of the batch, leaving room for the segment's index.
fn records(plan: &Plan) -> u64 {
    let count = (segment_bytes(plan) - (1 << 20)) / FRAME_BYTES as u64;
    count - count % BATCH as u64
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
        let records = records(plan);
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
    let dir = plan.scratch()?;
    let log = open(plan, dir.path())?;
    let payload = black_box(payload());
    let each = records(plan) / threads;
    let (time, result) = timed(|| {
        std::thread::scope(|scope| {
            let appenders: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| (0..each).try_for_each(|_| log.append(KIND, &payload, Durability::Memory).map(drop)))
                })
                .collect();
            appenders
                .into_iter()
                .try_for_each(|appender| appender.join().expect("an appender does not panic"))
        })
    });
    result?;
    log.close()?;
    Ok(millions_per_second(each * threads, time))
}

/// Appends in batches from one thread.
fn batched(plan: &Plan) -> Result<f64> {
    let dir = plan.scratch()?;
    let log = open(plan, dir.path())?;
    let payload = black_box(payload());
    let pieces: [&[u8]; 1] = [&payload];
    let batch = [Record {
        kind: KIND,
        payload: &pieces,
    }; BATCH];
    let batches = records(plan) / BATCH as u64;
    let (time, result) =
        timed(|| (0..batches).try_for_each(|_| log.append_batch(&batch, Durability::Memory).map(drop)));
    result?;
    log.close()?;
    Ok(millions_per_second(records(plan), time))
}

fn open(plan: &Plan, dir: &Path) -> Result<Oplog> {
    Ok(Options {
        segment_bytes: segment_bytes(plan),
        ..Options::default()
    }
    .open(dir)?)
}
