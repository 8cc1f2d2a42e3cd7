//! Appends that return when the entry survives power loss, with default options.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use tailwater_oplog::{Durability, Oplog};

use super::frames::{FRAME_BYTES, KIND, payload, write_frame};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

/// Writers that share syncs.
const WRITERS: u64 = 64;
/// What they are to reach together, in single writers.
const WRITERS_WORTH: f64 = 20.0;
/// Length of the limit's file, as long as a segment.
const FILE_BYTES: u64 = 64 << 20;
/// Length of the writes that prepare it, as for a segment.
const PREPARE_BYTES: usize = 256 << 10;

pub(crate) fn one_writer(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let mut file = PreparedFile::new(&dir.path().join("file"))?;
    let log = Oplog::open(dir.path().join("log"))?;
    let (limits, appends) = plan.alternate(|| file.round(plan), || one(plan, &log))?;
    log.close()?;
    let rates = |rounds: &[Latencies]| {
        rounds
            .iter()
            .map(|round| round.len() as f64 / span(plan).as_secs_f64())
            .collect()
    };
    let latency = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&appends, q));
    Ok(vec![
        Comparison::new("append-disk-1", Unit::AppendsPerSecond, rates(&limits), rates(&appends)),
        latency("append-disk-1-p50", 0.5),
        latency("append-disk-1-p99", 0.99),
    ])
}

pub(crate) fn many_writers(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let log = Oplog::open(dir.path())?;
    let seconds = span(plan).as_secs_f64();
    let (ones, many) = plan.alternate(
        || Ok(WRITERS_WORTH * one(plan, &log)?.len() as f64 / seconds),
        || Ok(many(plan, &log)? as f64 / seconds),
    )?;
    log.close()?;
    Ok(vec![Comparison::new(
        "append-disk-64",
        Unit::AppendsPerSecond,
        ones,
        many,
    )])
}

/// Length of a round.
fn span(plan: &Plan) -> Duration {
    plan.pick(Duration::from_secs(1), Duration::from_millis(400))
}

/// The unavoidable work: one write and one sync for each record, in a file whose blocks are all there.
#[derive(Debug)]
pub(crate) struct PreparedFile {
    file: File,
    length: u64,
}

impl PreparedFile {
    pub(crate) fn new(path: &Path) -> Result<PreparedFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
        for offset in (0..FILE_BYTES).step_by(PREPARE_BYTES) {
            file.write_all_at(&[0; PREPARE_BYTES], offset)?;
        }
        file.sync_all()?;
        Ok(PreparedFile { file, length: 0 })
    }

    fn round(&mut self, plan: &Plan) -> Result<Latencies> {
        let payload = payload();
        let mut frame = [0; FRAME_BYTES];
        repeat(span(plan), || {
            write_frame(&mut frame, self.length / FRAME_BYTES as u64 + 1, &payload);
            self.append(&frame)
        })
    }

    /// Writes one record behind the others and syncs.
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<()> {
        self.file.write_all_at(record, self.length)?;
        self.length += record.len() as u64;
        Ok(self.file.sync_data()?)
    }
}

fn one(plan: &Plan, log: &Oplog) -> Result<Latencies> {
    let payload = payload();
    repeat(span(plan), || {
        Ok(log.append(KIND, &payload, Durability::Disk).map(drop)?)
    })
}

/// Appends of all writers in one round.
fn many(plan: &Plan, log: &Oplog) -> Result<u64> {
    let payload = payload();
    let total = AtomicU64::new(0);
    let end = Instant::now() + span(plan);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while Instant::now() < end {
                        log.append(KIND, &payload, Durability::Disk)?;
                        count += 1;
                    }
                    total.fetch_add(count, Ordering::Relaxed);
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })
    .map_err(|error: tailwater_oplog::Error| error)?;
    Ok(total.into_inner())
}

/// Does `work` again and again for a while.
fn repeat(span: Duration, mut work: impl FnMut() -> Result<()>) -> Result<Latencies> {
    let mut latencies = Latencies::with_capacity(1 << 16);
    let end = Instant::now() + span;
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(latencies);
        }
        work()?;
        latencies.push(start.elapsed());
    }
}
