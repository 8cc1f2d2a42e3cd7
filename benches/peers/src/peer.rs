//! What is asked of another crate.

use std::path::Path;
use std::time::{Duration, Instant};

use tailwater_benches::harness::Result;

/// What an append that has returned is to survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guarantee {
    /// The death of the process; some part of it also power loss, soon.
    Process,
    /// Power loss.
    Power,
}

/// What a crate offers for appends that do not wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// They survive the death of the process.
    Kept,
    /// They do not: until something else writes them out they are in the process's memory.
    Lost,
    /// There are none.
    Absent,
}

/// A crate that takes part.
pub(crate) trait Peer: Sync {
    /// The crate's name.
    fn name(&self) -> &'static str;

    /// What else a reader of the figures has to know: how it reads, and what differs.
    fn remarks(&self) -> &'static str;

    /// What its appends without a sync are worth.
    fn memory(&self) -> Memory;

    /// Whether it has appends that survive power loss.
    fn disk(&self) -> bool {
        true
    }

    /// Whether an open log can be read from its oldest entry more than once.
    fn reads_again(&self) -> bool {
        true
    }

    /// Opens the log in `dir`, or begins one; appends keep `guarantee`.
    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>>;

    /// Reads a closed log from its oldest entry to its newest, and says how many there were and how long it took without
    /// opening it.
    fn scan(&self, dir: &Path) -> Result<(u64, Duration)> {
        let log = self.open(dir, Guarantee::Process)?;
        let start = Instant::now();
        let count = log.read_all()?;
        Ok((count, start.elapsed()))
    }
}

/// An open log. Entries are counted from 1.
pub(crate) trait Log: Send + Sync {
    /// Appends one entry; `writer` is the number of the thread, for those that have a log for each.
    fn append(&self, writer: u64, payload: &[u8]) -> Result<()>;

    /// Appends the same payload `count` times as one batch.
    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()>;

    /// Looks at every entry, oldest first, and counts them.
    fn read_all(&self) -> Result<u64>;

    /// The last byte of one entry; `None` when there is no such way to read.
    fn get(&self, number: u64) -> Result<Option<u8>>;
}
