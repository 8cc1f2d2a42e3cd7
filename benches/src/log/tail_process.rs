//! From before an append to after its entry was read in another process; one entry each millisecond.
//!
//! The reader is a child that opens the log for reading only. Times come from the monotonic clock of the system, which
//! all processes share, where an [`Instant`](std::time::Instant) means nothing to another process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tailwater_oplog::measuring::SharedValue;
use tailwater_oplog::{Durability, Interrupt, Oplog, OplogView, ReadConcern, WaitOutcome};

use super::frames::{KIND, payload};
use super::tail_blocking::{entries, pace};
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

/// Name of the file that is the shared memory.
const SHARED: &str = "shared";
/// How long the child waits for an entry before it takes its parent for dead.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn wake_ups(plan: &Plan) -> Result<Vec<Comparison>> {
    let (limits, tails) = plan.alternate(|| through_futex(plan), || through_log(plan))?;
    let latency = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&tails, q));
    Ok(vec![latency("tail-process", 0.5), latency("tail-process-p99", 0.99)])
}

/// Nanoseconds of the system's monotonic clock.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The system answers with nothing negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The limit: a process that sleeps on a futex in memory that both have mapped, and one value beside it.
fn through_futex(plan: &Plan) -> Result<Latencies> {
    let dir = plan.scratch()?;
    let shared = SharedValue::open(&dir.path().join(SHARED))?;
    let child = Child::start(
        reader("listen", plan)?
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null()),
    )?;
    pace(entries(plan), Instant::now(), |_| {
        shared.put(now());
        Ok(())
    })?;
    latencies(child)
}

fn through_log(plan: &Plan) -> Result<Latencies> {
    let dir = plan.scratch()?;
    let log = Oplog::open(dir.path())?;
    let child = Child::start(
        reader("follow", plan)?
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null()),
    )?;
    let mut payload = payload();
    pace(entries(plan), Instant::now(), |_| {
        payload[..8].copy_from_slice(&now().to_le_bytes());
        Ok(log.append(KIND, &payload, Durability::Memory).map(drop)?)
    })?;
    let latencies = latencies(child)?;
    log.close()?;
    Ok(latencies)
}

fn reader(suite: &str, plan: &Plan) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([suite, "--entries", &entries(plan).to_string()]);
    Ok(command)
}

/// What the child has measured: a number of nanoseconds on each line.
fn latencies(child: Child) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for line in child.rest()?.lines() {
        latencies.push(Duration::from_nanos(line.parse()?));
    }
    Ok(latencies)
}

/// The child that reads the log.
pub(crate) fn follow(arguments: &Arguments) -> Result<()> {
    let view = OplogView::open(arguments.dir.as_deref().ok_or("follow needs --dir")?)?;
    let mut cursor = view.cursor_from_now(ReadConcern::Local);
    let interrupt = Interrupt::new();
    let mut latencies = Vec::with_capacity(arguments.entries as usize);
    Child::say_ready();
    while latencies.len() < latencies.capacity() {
        if cursor.wait(Some(Instant::now() + PATIENCE), &interrupt) != WaitOutcome::Ready {
            return Err("nothing more comes through the log".into());
        }
        while let Some(entry) = cursor.try_next()? {
            let stamp = entry.payload().first_chunk().ok_or("an entry without a stamp")?;
            latencies.push(now().saturating_sub(u64::from_le_bytes(*stamp)));
        }
    }
    report(&latencies);
    Ok(())
}

/// The child that sleeps on the futex.
pub(crate) fn listen(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.as_deref().ok_or("listen needs --dir")?;
    let shared = SharedValue::open(&dir.join(SHARED))?;
    let mut latencies = Vec::with_capacity(arguments.entries as usize);
    let first = shared.count();
    Child::say_ready();
    // Who comes late finds a newer value: too good for the limit, if anything.
    for seen in (0..arguments.entries as u32).map(|n| first.wrapping_add(n)) {
        let stamp = shared.wait(seen, Instant::now() + PATIENCE);
        latencies.push(now().saturating_sub(stamp.ok_or("nothing more comes through shared memory")?));
    }
    report(&latencies);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn report(latencies: &[u64]) {
    for latency in latencies {
        println!("{latency}");
    }
}
