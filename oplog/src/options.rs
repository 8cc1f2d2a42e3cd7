//! How a log is opened for writing.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::oplog::Oplog;
use crate::retention::Retention;

/// Smallest segment.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Largest segment: offsets divided by eight fit the index, and a frame's length its field, with room to spare.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// A leader looks for its group all the while, and those it waits for may be gone.
const GROUP_DELAY_MAX: Duration = Duration::from_secs(1);

/// When an append returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// At once: the entry survives the death of the process, and power loss from the next sync on, which follows within
    /// [`Options::sync_interval`].
    Memory,
    /// When a sync covers the entry: it survives power loss.
    #[default]
    Disk,
}

/// Options of a writable log. All have defaults that suit a document store.
///
/// ```
/// # fn main() -> Result<(), tailwater_oplog::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// let options = tailwater_oplog::Options { segment_bytes: 8 << 20, ..Default::default() };
/// let log = options.open(dir.path())?;
/// assert_eq!(log.watermarks().appended, tailwater_oplog::OpId::ZERO);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of segments made from now on, in bytes: 1 MiB to 2 GiB, rounded up to a multiple of 4096. It bounds the
    /// largest entry and batch, and trimming removes whole segments. Default 64 MiB.
    pub segment_bytes: u64,
    /// How long an entry appended with [`Durability::Memory`] waits for a sync at the longest. [`Duration::MAX`] has none synced
    /// before somebody waits for it, or the log is closed. Default 50 ms.
    pub sync_interval: Duration,
    /// How long a sync is held back, at most, for writers that are likely to take part in it: where several took part in the
    /// last ones, it waits until most of them are there again, or `group_size` writers. A single writer never waits. Zero
    /// begins each sync at once; one second is the most. Default 50 µs.
    pub group_delay: Duration,
    /// No sync is held back once so many writers wait for it. Default 1024.
    pub group_size: u64,
    /// What the log removes by itself; see also [`Oplog::set_retention`]. Default nothing.
    pub retention: Retention,
    /// Whether a missing directory, or an empty one, becomes a new log. Default true.
    pub create: bool,
    /// Whether the log is to follow another member's from here on, as by [`Oplog::follow`]; but without beginning a term first, as
    /// an opening for writing does. Default false: it goes on as what it was.
    pub follow: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 << 20,
            sync_interval: Duration::from_millis(50),
            group_delay: Duration::from_micros(50),
            group_size: 1024,
            retention: Retention::default(),
            create: true,
            follow: false,
        }
    }
}

impl Options {
    /// Opens the log in `dir` for writing, recovering it if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another writer has it, [`Error::NotALog`] and [`Error::NotFound`] for a wrong directory,
    /// [`Error::Corrupt`] and its kin when entries that were durable are not there, [`Error::NewerFormat`],
    /// [`Error::StorageFull`], [`Error::InvalidOption`], [`Error::NoBootId`], [`Error::Io`].
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Oplog> {
        Oplog::open_with(dir.as_ref(), self)
    }

    pub(crate) fn check(&self) -> Result<u64> {
        // Unit tests on the simulated disk roll often.
        const SMALLEST: u64 = if cfg!(test) { 16 << 10 } else { SEGMENT_BYTES_MIN };
        if !(SMALLEST..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(Error::InvalidOption {
                option: "segment_bytes",
                range: "between 1 MiB and 2 GiB",
                got: self.segment_bytes,
            });
        }
        if self.group_delay > GROUP_DELAY_MAX {
            return Err(Error::InvalidOption {
                option: "group_delay",
                range: "one second at most, in microseconds",
                got: u64::try_from(self.group_delay.as_micros()).unwrap_or(u64::MAX),
            });
        }
        Ok(self.segment_bytes.next_multiple_of(4096))
    }
}
