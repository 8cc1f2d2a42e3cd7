//! What a watch that waits takes of memory, when a million others with filters of their own stand beside it.
//!
//! Each round is a process of its own, so that its memory is nobody else's.

use std::process::{Command, Stdio};

use bson::rawdoc;

use super::crowd::{conjunction, subscribe};
use super::events::{Bench, insert};
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};
use crate::store::memory;

/// What a watch may take.
const BYTES_MAX: f64 = 1024.0;

/// Memory does not vary as times do.
const ROUNDS_MAX: usize = 3;

/// Bytes for each of so many watches.
pub(super) fn compare(plan: &Plan, name: &'static str, watches: u64) -> Result<Comparison> {
    let rounds = (0..plan.rounds.min(ROUNDS_MAX)).map(|_| round(plan, watches));
    let bytes: Vec<f64> = rounds.collect::<Result<_>>()?;
    Ok(Comparison::new(name, Unit::Bytes, vec![BYTES_MAX; bytes.len()], bytes))
}

fn round(plan: &Plan, watches: u64) -> Result<f64> {
    let dir = plan.scratch()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["idle", "--entries", &watches.to_string(), "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null());
    Ok(Child::start(&mut command)?.rest()?.trim().parse()?)
}

/// The child: subscribes so many watches, and says how many bytes each of them takes.
#[expect(clippy::print_stdout, reason = "the parent waits for it")]
pub(crate) fn idle(arguments: &Arguments) -> Result<()> {
    let bench = Bench::new(&Plan::new(true, arguments.dir.as_deref())?)?;
    // One that wants nothing of it, so that what all watches share is there.
    let nobody = insert(&rawdoc! { "_id": 1, "tenant": -1 });
    let first = bench.watch().subscribe()?;
    bench.append(&nobody)?;
    bench.wait_dispatched();
    Child::say_ready();
    let before = memory::own();
    let watches = subscribe(&bench, (0..arguments.entries).map(conjunction), None)?;
    // Behind this one all have been indexed.
    bench.append(&nobody)?;
    bench.wait_dispatched();
    println!(
        "{}",
        (memory::own() - before) * f64::from(1 << 20) / watches.len() as f64
    );
    drop((watches, first));
    Ok(())
}
