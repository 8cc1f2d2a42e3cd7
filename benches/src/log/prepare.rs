//! What becomes of a segment's file before it is written, and what a sync then costs: the log itself is not part of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Advice, FallocateFlags};

use super::frames::{FRAME_BYTES, payload, write_frame};
use crate::harness::{Latencies, Plan, Result};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

/// As long as a segment.
const FILE_BYTES: u64 = 64 << 20;
/// Length of the writes that fill a file.
const FILL_BYTES: usize = 256 << 10;
/// Where a segment's frames begin.
const FRAMES_START: u64 = 4096;

/// A way to prepare a file.
struct Kind {
    /// The name its figures stand under: what Tailwater does is filling with zeros.
    engine: &'static str,
    prepare: fn(&Path) -> Result<File>,
}

const KINDS: [Kind; 3] = [
    Kind {
        engine: LIMIT,
        prepare: allocated,
    },
    Kind {
        engine: TAILWATER,
        prepare: zeroed,
    },
    Kind {
        engine: "recycled",
        prepare: recycled,
    },
];

pub(crate) fn syncs(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut rounds: [Vec<Latencies>; 3] = Default::default();
    for _ in 0..plan.rounds {
        for (kind, rounds) in KINDS.iter().zip(&mut rounds) {
            let dir = plan.scratch()?;
            let file = (kind.prepare)(dir.path())?;
            plan.settle()?;
            rounds.push(round(plan, &file)?);
        }
    }
    let comparison = |workload, unit, figure: fn(&Latencies) -> f64| {
        let series = KINDS.iter().zip(&rounds).map(|(kind, rounds)| Series {
            engine: kind.engine,
            values: rounds.iter().map(figure).collect(),
        });
        Comparison {
            workload,
            unit,
            series: series.collect(),
        }
    };
    Ok(vec![
        comparison("prepare", Unit::AppendsPerSecond, Latencies::per_second),
        comparison("prepare-p50", Unit::Microseconds, |round| round.quantile(0.5)),
        comparison("prepare-p99", Unit::Microseconds, |round| round.quantile(0.99)),
    ])
}

/// Blocks are there, and were never written.
fn allocated(dir: &Path) -> Result<File> {
    let file = File::create_new(dir.join("file"))?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    Ok(file)
}

fn zeroed(dir: &Path) -> Result<File> {
    let file = allocated(dir)?;
    fill(&file, 0)?;
    Ok(file)
}

/// Written once, dropped from memory, renamed, and its header written anew.
fn recycled(dir: &Path) -> Result<File> {
    let file = allocated(dir)?;
    fill(&file, 0x55)?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    fs::rename(dir.join("file"), dir.join("again"))?;
    file.write_all_at(&[0; FRAMES_START as usize], 0)?;
    file.sync_all()?;
    Ok(file)
}

fn fill(file: &File, byte: u8) -> Result<()> {
    let piece = vec![byte; FILL_BYTES];
    for offset in (0..FILE_BYTES).step_by(FILL_BYTES) {
        file.write_all_at(&piece, offset)?;
    }
    Ok(file.sync_all()?)
}

/// One record after the other, each with a sync.
fn round(plan: &Plan, file: &File) -> Result<Latencies> {
    let (payload, mut frame) = (payload(), [0; FRAME_BYTES]);
    let count = plan.pick(2000, 500);
    let mut latencies = Latencies::with_capacity(count);
    for i in 0..count as u64 {
        write_frame(&mut frame, i + 1, &payload);
        let start = Instant::now();
        file.write_all_at(&frame, FRAMES_START + i * FRAME_BYTES as u64)?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
