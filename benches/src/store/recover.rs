//! Opening a store whose process was killed, with a million entries to replay.
//!
//! A store that runs never has so many: it applies what has waited for half a second. Power loss can take the engine back,
//! though, to the last checkpoint. So a child inserts a million documents and is killed, and then the state is taken away:
//! every entry of the log is to be applied again. That is repeated for each round; the log stays as it is.

use std::path::Path;
use std::process::{Command, Stdio};

use tailwater::Store;

use super::filled;
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, Unit};

const ENTRIES: u64 = 1_000_000;
/// What is to be reached, in milliseconds, with all entries to be replayed.
const TARGET: f64 = 5_000.0;
/// The child goes on for so many documents at the longest, should nobody kill it.
const OVERRUN: u64 = 1_000_000;

pub(crate) fn recoveries(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["feed", "--entries", &ENTRIES.to_string(), "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null());
    // Killed when it is dropped.
    drop(Child::start(&mut command)?);
    plan.settle()?;
    let as_killed = open(dir.path())?;
    let mut recoveries = Vec::new();
    for _ in 0..plan.rounds {
        std::fs::remove_dir_all(dir.path().join("state"))?;
        recoveries.push(open(dir.path())?);
    }
    let target = vec![TARGET];
    Ok(vec![
        Comparison::new("recover-1m", Unit::Milliseconds, target.clone(), recoveries),
        Comparison::new("recover-1m-as-killed", Unit::Milliseconds, target, vec![as_killed]),
    ])
}

/// Milliseconds that opening takes.
fn open(dir: &Path) -> Result<f64> {
    let (time, store) = timed(|| Store::open(dir));
    let store = store?;
    let count = filled::collection(&store)?.estimated_count()?;
    if count < ENTRIES {
        return Err(format!("{count} documents where {ENTRIES} were inserted").into());
    }
    store.close()?;
    Ok(time.as_secs_f64() * 1e3)
}

/// The child: inserts so many documents, says so, and goes on.
pub(crate) fn feed(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.as_deref().ok_or("feed needs --dir")?;
    let store = Store::open(dir)?;
    let collection = filled::collection(&store)?;
    filled::insert(&collection, 0..arguments.entries)?;
    Child::say_ready();
    filled::insert(&collection, arguments.entries..arguments.entries + OVERRUN)?;
    Err("nobody has killed this process".into())
}
