//! The memory of a follower during a first copy: until all of it has come, and until its store is open and has caught up.
//!
//! The follower is a process of its own, so that its memory is nobody else's. `--state-bytes` says how much is copied; on the disk
//! that is three times as much, and the primary's log besides.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use tailwater::replication::FollowerEvent;
use tailwater::{Durability, OpId, Store, StoreOptions};

use super::primary;
use crate::child::Child;
use crate::cli::Arguments;
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};
use crate::store::memory::Watcher;

/// Bytes of the text in a document, which the engine cannot make smaller.
const TEXT: u64 = 1000;
const BATCH: u64 = 1000;
/// However much is copied.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

const NAMES: [&str; 4] = [
    "copy-memory-fetching",
    "copy-memory-fetching-rss",
    "copy-memory-open",
    "copy-memory-open-rss",
];

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let bytes = plan.state_bytes.unwrap_or_else(|| plan.pick(1 << 30, 64 << 20));
    let dir = plan.scratch()?;
    let store = Store::open(dir.path())?;
    fill(&store, bytes)?;
    let serving = primary(&store, &[])?;
    let last = store.log().watermarks().durable;
    let from = serving.address().to_string();
    let options = StoreOptions::default();
    let limit = (options.cache_bytes + options.overlay_bytes_max as u64) >> 20;
    let rounds = (0..plan.rounds).map(|_| round(plan, &from, last));
    let rounds: Vec<[f64; 4]> = rounds.collect::<Result<_>>()?;
    let figures = (0..).zip(NAMES).map(|(figure, name): (usize, _)| {
        let values = rounds.iter().map(|round| round[figure]).collect();
        Comparison::new(name, Unit::Mebibytes, vec![limit as f64], values)
    });
    Ok(figures.collect())
}

fn fill(store: &Store, bytes: u64) -> Result<()> {
    let collection = store
        .collection("bench", "documents")?
        .with_durability(Durability::Memory);
    let mut state: u64 = 7;
    for first in (0..bytes / TEXT).step_by(BATCH as usize) {
        let batch: Vec<RawDocumentBuf> = (first..first + BATCH)
            .map(|number| {
                let text = (0..TEXT).map(|_| {
                    // Knuth's generator; the upper bits are the good ones.
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b' ' + (state >> 58) as u8)
                });
                rawdoc! { "_id": number as i64, "text": text.collect::<String>() }
            })
            .collect();
        collection.insert_many(batch.iter().map(AsRef::as_ref))?;
    }
    store.sync()?;
    // What the copy covers need not be in the log any more.
    store.trim_log(store.log().watermarks().durable)?;
    Ok(())
}

/// What a new follower says of its memory, in mebibytes.
fn round(plan: &Plan, from: &str, last: OpId) -> Result<[f64; 4]> {
    let dir = plan.scratch()?;
    plan.settle()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["copy", "--from", from, "--entries", &last.to_string(), "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null());
    let said = Child::start(&mut command)?.rest()?;
    let figures: Vec<f64> = said
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    figures
        .try_into()
        .map_err(|_| format!("a child process said \"{said}\" instead of four figures").into())
}

/// The child: follows, and says how much memory it took until the copy was whole, and until its store was open and complete; each
/// time its own, and with the pages of mapped files.
#[expect(clippy::print_stdout, reason = "the parent waits for it")]
pub(crate) fn copy(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.as_deref().ok_or("copy needs --dir")?;
    Child::say_ready();
    let fetching = Arc::new(Mutex::new((Some(Watcher::start()), (f64::NAN, f64::NAN))));
    let watched = Arc::clone(&fetching);
    let following = Store::follower(dir, "b", &arguments.from).on_event(move |event| {
        if matches!(event, FollowerEvent::Copying { bytes, total } if bytes == total) {
            let (watcher, found) = &mut *watched.lock().unwrap_or_else(PoisonError::into_inner);
            *found = watcher.take().map_or(*found, Watcher::stop);
        }
    });
    let whole = Watcher::start();
    let following = following.start()?;
    following.wait_for(OpId::new(arguments.entries), PATIENCE)?;
    let (own, resident) = whole.stop();
    let (_, (fetching_own, fetching_resident)) = *fetching.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{fetching_own} {fetching_resident} {own} {resident}");
    following.stop();
    Ok(())
}
