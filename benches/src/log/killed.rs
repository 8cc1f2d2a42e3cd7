//! Opening a log whose writer was killed in the middle of its work: a child process of this one appends until then.
//!
//! The file cache has survived the child, so this is the death of a process and not of a machine; the newest entries
//! have not been synced.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tailwater_oplog::{Durability, Oplog};

use super::frames::{FRAME_BYTES, KIND, SegmentCopy, payload, segment_files};
use crate::cli::Arguments;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, Unit};

/// What the child says once it has appended enough.
const READY: &str = "ready";
/// The child goes on for so many bytes at the longest, should nobody kill it.
const OVERRUN_BYTES: u64 = 256 << 20;

pub(crate) fn open(plan: &Plan) -> Result<Vec<Comparison>> {
    let (limits, opens) = plan.alternate(|| after_kill(plan, read_newest), || after_kill(plan, open_log))?;
    Ok(vec![Comparison::new(
        "open-after-kill",
        Unit::Milliseconds,
        limits,
        opens,
    )])
}

/// Milliseconds that `open` takes with a log whose writer has just been killed.
fn after_kill(plan: &Plan, open: fn(&Path) -> Result<Duration>) -> Result<f64> {
    let dir = plan.scratch()?;
    kill_a_writer(dir.path(), plan.pick(1 << 30, 128 << 20))?;
    Ok(open(dir.path())?.as_secs_f64() * 1e3)
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

fn kill_a_writer(dir: &Path, bytes: u64) -> Result<()> {
    let mut writer = Command::new(std::env::current_exe()?)
        .args(["fill", "--fill-bytes", &bytes.to_string(), "--dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let said = writer
        .stdout
        .take()
        .map(|stdout| BufReader::new(stdout).read_line(&mut line));
    writer.kill()?;
    writer.wait()?;
    said.transpose()?;
    if line.trim_end() != READY {
        return Err("the process that fills the log has failed".into());
    }
    Ok(())
}

/// The child: appends so many bytes, says so, and goes on.
#[expect(clippy::print_stdout, reason = "the parent waits for it")]
pub(crate) fn fill(arguments: &Arguments) -> Result<()> {
    let log = Oplog::open(arguments.dir.as_deref().ok_or("fill needs --dir")?)?;
    let payload = payload();
    let records = arguments.fill_bytes / FRAME_BYTES as u64;
    for i in 0..records + OVERRUN_BYTES / FRAME_BYTES as u64 {
        if i == records {
            println!("{READY}");
        }
        log.append(KIND, &payload, Durability::Memory)?;
    }
    Err("nobody has killed this process".into())
}
