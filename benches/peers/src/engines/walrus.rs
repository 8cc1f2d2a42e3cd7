//! `walrus-rust`: topics in blocks of 10 MB, which readers consume.
//!
//! Appends that do not wait for a sync go through the mapped back end, which is twice as fast for them as the default
//! one; a thread syncs later (`FsyncSchedule::Milliseconds`), here every 50 ms as Tailwater does. They survive the death
//! of the process. Durable ones go through the default back end with `SyncEach`, and survive power loss. A batch of the
//! crate's waits for a sync in any case, so where none is asked for a batch here is as many single appends. Every read
//! verifies a checksum (FNV-1a). There is no reading at a place. All writers share one topic, which is what a log is.
//!
//! The crate remembers, for the whole process, the first schedule it was opened with: when that was `SyncEach`, it opens
//! every file with `O_SYNC`. So the first one here always is the other one.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Once;

use tailwater_benches::cli::Arguments;
use tailwater_benches::harness::{Plan, Result};
use walrus_rust::{FsyncSchedule, ReadConsistency};

use crate::peer::{Guarantee, Log, Memory, Peer};

/// Says that this is the second run.
const SECOND: &str = "TAILWATER_PEERS";
/// Where the crate puts its directories.
const DATA_DIR: &str = "WALRUS_DATA_DIR";
/// Keeps it from printing a line for every append.
const QUIET: &str = "WALRUS_QUIET";
const TOPIC: &str = "log";

/// Runs this program once more, with the crate's environment, and says how that ended; `None` in that second run.
pub(crate) fn with_environment() -> Result<Option<ExitCode>> {
    if std::env::var_os(SECOND).is_some() {
        return Ok(None);
    }
    let arguments = <Arguments as clap::Parser>::parse();
    let plan = Plan::new(arguments.quick, arguments.dir.as_deref())?;
    let status = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(DATA_DIR, plan.dir().canonicalize()?)
        .env(QUIET, "1")
        .env(SECOND, "1")
        .status()?;
    Ok(Some(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }))
}

pub(crate) struct Walrus;

impl Peer for Walrus {
    fn name(&self) -> &'static str {
        "walrus-rust"
    }

    fn remarks(&self) -> &'static str {
        "a batch is as many appends, because its batches always sync; reads verify FNV-1a; no lookup"
    }

    fn memory(&self) -> Memory {
        Memory::Kept
    }

    fn reads_again(&self) -> bool {
        // What has been read is behind its reader for good.
        false
    }

    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>> {
        static FIRST: Once = Once::new();
        let mut first = Ok(());
        FIRST.call_once(|| first = start(dir, FsyncSchedule::Milliseconds(50)).map(drop));
        first?;
        let schedule = match guarantee {
            Guarantee::Process => {
                walrus_rust::disable_fd_backend();
                FsyncSchedule::Milliseconds(50)
            }
            Guarantee::Power => {
                walrus_rust::enable_fd_backend();
                FsyncSchedule::SyncEach
            }
        };
        Ok(Box::new(Open {
            log: start(dir, schedule)?,
            guarantee,
        }))
    }
}

/// The crate takes a name and not a path: that of `dir`, below the directory in the environment.
fn start(dir: &Path, schedule: FsyncSchedule) -> Result<walrus_rust::Walrus> {
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("a directory without a name")?;
    // Positions of readers are not to be written while they read.
    let consistency = ReadConsistency::AtLeastOnce {
        persist_every: u32::MAX,
    };
    Ok(walrus_rust::Walrus::with_consistency_and_schedule_for_key(
        name,
        consistency,
        schedule,
    )?)
}

struct Open {
    log: walrus_rust::Walrus,
    guarantee: Guarantee,
}

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        Ok(self.log.append_for_topic(TOPIC, payload)?)
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        match self.guarantee {
            Guarantee::Process => (0..count).try_for_each(|_| self.append(0, payload)),
            Guarantee::Power => Ok(self.log.batch_append_for_topic(TOPIC, &vec![payload; count])?),
        }
    }

    fn read_all(&self) -> Result<u64> {
        let mut count = 0;
        loop {
            let entries = self.log.batch_read_for_topic(TOPIC, 1 << 20, true)?;
            if entries.is_empty() {
                return Ok(count);
            }
            count += entries.len() as u64;
            std::hint::black_box(entries);
        }
    }

    fn get(&self, _: u64) -> Result<Option<u8>> {
        Ok(None)
    }
}
