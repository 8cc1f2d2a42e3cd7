//! Batches of a thousand documents, `Memory`: how many a second, and how much memory it takes.
//!
//! Each round is a process of its own, so that its memory is nobody else's. The time is that until the last batch has been
//! inserted: what the store has not moved into its engine by then, and the engine not into its tables, is bounded and soon
//! made up by waiting.

use std::path::Path;
use std::process::{Command, Stdio};

use tailwater::Store;

use super::bare::{BARE, Bare, CACHE_BYTES};
use super::documents::{BATCH, Batch, batches};
use super::filled;
use super::memory::Watcher;
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

/// What one process has to say.
struct Round {
    /// Thousands of documents a second.
    rate: f64,
    /// The most memory of its own that it had, in mebibytes.
    anonymous: f64,
    /// The most that it had in memory, files it maps included.
    resident: f64,
}

pub(crate) fn many(plan: &Plan) -> Result<Vec<Comparison>> {
    let documents = plan.pick(5_000_000, 300_000);
    let (bare, store) = plan.alternate(|| round(plan, Some(BARE), documents), || round(plan, None, documents))?;
    let values = |rounds: &[Round], value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let memory = |workload, value: fn(&Round) -> f64| Comparison {
        workload,
        unit: Unit::Mebibytes,
        series: vec![
            Series {
                engine: LIMIT,
                values: vec![(CACHE_BYTES >> 20) as f64],
            },
            Series {
                engine: BARE,
                values: values(&bare, value),
            },
            Series {
                engine: TAILWATER,
                values: values(&store, value),
            },
        ],
    };
    let rate = |round: &Round| round.rate;
    Ok(vec![
        Comparison::new(
            "insert-many-memory",
            Unit::ThousandsPerSecond,
            values(&bare, rate),
            values(&store, rate),
        ),
        memory("insert-many-memory-own", |round| round.anonymous),
        memory("insert-many-memory-rss", |round| round.resident),
    ])
}

fn round(plan: &Plan, engine: Option<&str>, documents: u64) -> Result<Round> {
    let dir = plan.scratch()?;
    plan.settle()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["insert", "--entries", &documents.to_string(), "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null());
    if let Some(engine) = engine {
        command.args(["--engine", engine]);
    }
    let said = Child::start(&mut command)?.rest()?;
    let figures: Vec<f64> = said
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let [rate, anonymous, resident] = figures[..] else {
        return Err(format!("a child process said \"{said}\" instead of three figures").into());
    };
    Ok(Round {
        rate,
        anonymous,
        resident,
    })
}

/// The child: inserts so many documents, and says how fast and with how much memory.
#[expect(clippy::print_stdout, reason = "the parent waits for it")]
pub(crate) fn insert(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.as_deref().ok_or("insert needs --dir")?;
    let insert = match arguments.engine.as_deref() {
        None => into_store,
        Some(BARE) => into_bare,
        Some(engine) => return Err(format!("insert does not know the engine \"{engine}\"").into()),
    };
    Child::say_ready();
    let watcher = Watcher::start();
    let rate = insert(dir, arguments.entries)?;
    let (anonymous, resident) = watcher.stop();
    println!("{rate} {anonymous} {resident}");
    Ok(())
}

fn into_store(dir: &Path, documents: u64) -> Result<f64> {
    let store = Store::open(dir)?;
    let collection = filled::collection(&store)?;
    let (time, result) = timed(|| filled::insert(&collection, 0..documents));
    result?;
    store.close()?;
    Ok(documents as f64 / time.as_secs_f64() / 1e3)
}

fn into_bare(dir: &Path, documents: u64) -> Result<f64> {
    let bare = Bare::open(dir)?;
    let mut batch = Batch::new(BATCH);
    let (time, result) = timed(|| {
        batches(0..documents).try_for_each(|first| {
            batch.fill(first);
            bare.insert(first, &batch, false)
        })
    });
    result?;
    Ok(documents as f64 / time.as_secs_f64() / 1e3)
}
