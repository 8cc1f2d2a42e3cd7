//! Reading a closed log from its oldest entry to its newest: once with every checksum, and once more through the same
//! view, whose entries have then been checked. Default options.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use tailwater_oplog::measuring::MappedFrames;
use tailwater_oplog::{Durability, Oplog, OplogView, ReadConcern, Record};

use super::frames::{KIND, payload, seed_of, segment_files, walk};
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

pub(crate) fn scans(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let entries = plan.pick(1_000_000, 250_000);
    fill(&Oplog::open(dir.path())?, entries)?;
    let files = segment_files(dir.path())?;
    let mut verified = Vec::new();
    let (limits, checked) = plan.alternate(
        || walk_maps(&files, entries),
        || {
            let (first, second) = two_scans(dir.path(), entries)?;
            verified.push(second);
            Ok(first)
        },
    )?;
    let twice = checked.iter().map(|rate| 2.0 * rate).collect();
    Ok(vec![
        Comparison::new("scan-crc", Unit::MillionsPerSecond, limits, checked),
        Comparison::new("scan-verified", Unit::MillionsPerSecond, twice, verified),
    ])
}

/// Appends so many entries. Their batches are small enough not to matter.
pub(crate) fn fill(log: &Oplog, entries: u64) -> Result<()> {
    let payload = payload();
    let pieces: [&[u8]; 1] = [&payload];
    let batch = [Record {
        kind: KIND,
        payload: &pieces,
    }; 50];
    for _ in 0..entries / batch.len() as u64 {
        log.append_batch(&batch, Durability::Memory)?;
    }
    Ok(())
}

/// The unavoidable work: mapping the segments, and following the frames through the maps with their checksums.
fn walk_maps(files: &[PathBuf], entries: u64) -> Result<f64> {
    let (time, count) = timed(|| -> Result<u64> {
        let counts = files.iter().map(|path| -> Result<u64> {
            let frames = MappedFrames::open(path)?;
            Ok(walk(frames.bytes(), seed_of(path)?, |payload| _ = black_box(payload)))
        });
        counts.sum()
    });
    let count = count?;
    expect(count, entries)?;
    Ok(millions_per_second(count, time))
}

fn two_scans(dir: &Path, entries: u64) -> Result<(f64, f64)> {
    let view = OplogView::open(dir)?;
    Ok((scan(&view, entries)?, scan(&view, entries)?))
}

fn scan(view: &OplogView, entries: u64) -> Result<f64> {
    let (time, count) = timed(|| -> Result<u64> {
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        let mut count = 0;
        while let Some(entry) = cursor.try_next()? {
            black_box(entry.payload());
            count += 1;
        }
        Ok(count)
    });
    let count = count?;
    expect(count, entries)?;
    Ok(millions_per_second(count, time))
}

fn expect(count: u64, entries: u64) -> Result<()> {
    if count == entries {
        return Ok(());
    }
    Err(format!("{count} entries where {entries} were appended").into())
}
