//! Opening a log whose writer was killed in the middle of its work: a child process of this one appends until then.
//!
//! The file cache has survived the child, so this is the death of a process and not of a machine; the newest entries
//! have not been synced. The log is filled once. For each round, another child opens it, appends some more and is killed,
//! so that the end is somewhere else in a segment every time. Default options.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tailwater_oplog::{Durability, Oplog, Record};

use super::frames::{FRAME_BYTES, KIND, SegmentCopy, payload, segment_files};
use crate::child::Child;
use crate::cli::Arguments;
use crate::guests::Guests;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, Unit};

/// Entries that fill a log of 1 GiB.
pub const GIBIBYTE: u64 = (1 << 30) / FRAME_BYTES as u64;
/// Entries that the child of a round appends; not a divisor of what a segment holds.
pub const MORE: u64 = (24 << 20) / FRAME_BYTES as u64;
/// The child goes on for so many entries at the longest, should nobody kill it.
const OVERRUN: u64 = (256 << 20) / FRAME_BYTES as u64;
/// Entries of a batch, before the child says that it is ready; from then on it appends them one by one.
const BATCH: usize = 64;

pub(crate) fn open_1g(plan: &Plan) -> Result<Vec<Comparison>> {
    opens(plan, "open-1g", GIBIBYTE)
}

pub(crate) fn open_10g(plan: &Plan) -> Result<Vec<Comparison>> {
    opens(plan, "open-10g", 10 * GIBIBYTE)
}

fn opens(plan: &Plan, name: &'static str, entries: u64) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    kill_a_writer(None, dir.path(), entries)?;
    plan.settle()?;
    let (limits, opens) = plan.alternate(
        || after_kill(dir.path(), read_newest),
        || after_kill(dir.path(), open_log),
    )?;
    Ok(vec![Comparison::new(name, Unit::Milliseconds, limits, opens)])
}

/// Milliseconds that `open` takes with a log whose writer has just been killed.
fn after_kill(dir: &Path, open: fn(&Path) -> Result<Duration>) -> Result<f64> {
    kill_a_writer(None, dir, MORE)?;
    Ok(open(dir)?.as_secs_f64() * 1e3)
}

/// The unavoidable work, nearly: a log can skip what it knows to be durable in its newest segment.
fn read_newest(dir: &Path) -> Result<Duration> {
    let files = segment_files(dir)?;
    let newest = files.last().ok_or("a log without segments")?;
    let (time, result) = timed(|| -> Result<()> {
        black_box(SegmentCopy::read(newest)?.walk(|payload| _ = black_box(payload)));
        Ok(File::open(newest)?.sync_data()?)
    });
    result?;
    Ok(time)
}

fn open_log(dir: &Path) -> Result<Duration> {
    let (time, log) = timed(|| Oplog::open(dir));
    log?.close()?;
    Ok(time)
}

/// Has a child process append so many entries to what is in `dir`, and some more, and kills it while it does.
///
/// # Errors
///
/// When the child fails before that.
pub fn kill_a_writer(engine: Option<&str>, dir: &Path, entries: u64) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["fill", "--entries", &entries.to_string(), "--dir"])
        .arg(dir)
        .stdin(Stdio::null());
    if let Some(engine) = engine {
        command.args(["--engine", engine]);
    }
    // Killed when it is dropped.
    Child::start(&mut command).map(drop)
}

/// The child: appends so many entries, says so, and goes on.
pub(crate) fn fill(arguments: &Arguments, guests: &dyn Guests) -> Result<()> {
    let dir = arguments.dir.as_deref().ok_or("fill needs --dir")?;
    match &arguments.engine {
        None => fill_log(dir, arguments.entries)?,
        Some(engine) => guests.fill(engine, dir, arguments.entries, &Child::say_ready)?,
    }
    Err("nobody has killed this process".into())
}

fn fill_log(dir: &Path, entries: u64) -> Result<()> {
    let log = Oplog::open(dir)?;
    let payload = payload();
    let pieces: [&[u8]; 1] = [&payload];
    let batch = [Record {
        kind: KIND,
        payload: &pieces,
    }; BATCH];
    for _ in 0..entries.div_ceil(BATCH as u64) {
        log.append_batch(&batch, Durability::Memory)?;
    }
    Child::say_ready();
    for _ in 0..OVERRUN {
        log.append(KIND, &payload, Durability::Memory)?;
    }
    Ok(())
}
