//! Opening a store whose process was killed, with a million entries to replay.
//!
//! A store that runs never has so many: it applies what has waited for half a second. Power loss can take the engine back,
//! though, to the last checkpoint. So a child inserts a million documents and is killed, and then the state is taken away:
//! every entry of the log is to be applied again. That is repeated for each round; the log stays as it is.
//!
//! Beside it stand the parts: the bare engine that takes the same documents in batches, and the bare log whose entries are read
//! with their checksums. The limit is what is to be reached.

use std::path::Path;
use std::process::{Command, Stdio};

use tailwater::Store;
use tailwater_oplog::{Oplog, ReadConcern};

use super::bare::{BARE, Bare};
use super::documents::{BATCH, Batch, batches};
use super::filled;
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

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
    let (mut bares, mut logs, mut recoveries) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        bares.push(insert_bare(plan)?);
        logs.push(read_log(&tailwater::log_directory(dir.path()))?);
        std::fs::remove_dir_all(dir.path().join("state"))?;
        recoveries.push(open(dir.path())?);
    }
    let series = |engine, values| Series { engine, values };
    let target = vec![TARGET];
    Ok(vec![
        Comparison {
            workload: "recover-1m",
            unit: Unit::Milliseconds,
            series: vec![
                series(LIMIT, target.clone()),
                series(BARE, bares),
                series("log", logs),
                series(TAILWATER, recoveries),
            ],
        },
        Comparison::new("recover-1m-as-killed", Unit::Milliseconds, target, vec![as_killed]),
    ])
}

/// Milliseconds that the bare engine takes for as many documents.
fn insert_bare(plan: &Plan) -> Result<f64> {
    let dir = plan.scratch()?;
    let bare = Bare::open(dir.path())?;
    let mut batch = Batch::new(BATCH);
    let (time, inserted) = timed(|| {
        batches(0..ENTRIES).try_for_each(|first| {
            batch.fill(first);
            bare.insert(first, &batch, false)
        })
    });
    inserted?;
    Ok(time.as_secs_f64() * 1e3)
}

/// Milliseconds that opening the bare log takes, and reading as many of its entries.
fn read_log(dir: &Path) -> Result<f64> {
    let (time, read) = timed(|| {
        let log = Oplog::open(dir)?;
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
        let mut entries = 0;
        while entries < ENTRIES && cursor.try_next()?.is_some() {
            entries += 1;
        }
        log.close()?;
        Ok::<u64, tailwater_oplog::Error>(entries)
    });
    if read? < ENTRIES {
        return Err("the log has fewer entries than were appended".into());
    }
    Ok(time.as_secs_f64() * 1e3)
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
