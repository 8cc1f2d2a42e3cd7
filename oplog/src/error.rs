//! What can go wrong with a log, precisely, and coarsely by what the caller would do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::{LogId, OpId, Term, Timestamp};

/// The result of a log operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The directory, its permissions or the disk's space need an operator; afterwards the same call works.
    Environment,
    /// Another process has the log open for writing. Close it, or open read-only.
    Locked,
    /// The call itself is wrong: an entry too large, an OpID that does not exist yet, a malformed option.
    InvalidInput,
    /// The wanted entries have been trimmed. Start again from a snapshot or from the oldest entry.
    HistoryLost,
    /// What was asked for belongs to another log, or to a history that this log did not take.
    OtherHistory,
    /// Bytes on disk are not what was written. `tailwater log verify` says which; restore them from a copy or a follower.
    Corrupt,
    /// The files were written by a newer release.
    NewerFormat,
    /// A sync failed earlier, so nothing more can be promised. Reopen the log.
    Poisoned,
    /// The log was closed.
    Closed,
    /// The log follows another. Write to the one it follows.
    NotPrimary,
    /// Other members have not been heard yet. The same call may work later.
    NotYet,
}

/// An error of the log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operating-system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The machine's boot id cannot be read. Without it, what is left of a dead writer's memory cannot be told from what a power
    /// loss has left of it.
    #[error("cannot read the machine's boot id from {}: mount /proc, or open the log read-only", path.display())]
    NoBootId {
        /// Where the kernel has it.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A new segment could not be allocated. Appends work again as soon as there is space; reads go on.
    #[error("no space for a new segment of {bytes} bytes in {}: free some and append again", path.display())]
    StorageFull {
        /// Directory of the log.
        path: PathBuf,
        /// Size of the segment that was wanted.
        bytes: u64,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The directory holds files, but no log.
    #[error("{} is not a log: it has no MANIFEST; name the log's directory, or an empty or new one", path.display())]
    NotALog {
        /// The directory.
        path: PathBuf,
    },
    /// The directory does not exist, and it was not to be created.
    #[error("there is no log at {}", path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// Another process, or another handle in this one, has the log open for writing.
    #[error("the log at {} is open for writing elsewhere ({holder}): close that, or open this one read-only", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What the lock file says about the holder.
        holder: String,
        /// The process that holds it, by the same file; nothing where that does not say so. In another container's numbers, it may
        /// be none that runs here.
        pid: Option<u32>,
        /// Since when, to the second.
        since: Option<Timestamp>,
    },
    /// Written by a newer release.
    #[error("{} has format version {found}, this release reads up to {known}: use a newer release", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this release knows.
        known: u32,
    },
    /// Metadata whose checksum, magic or contents are wrong.
    #[error("{} is damaged: {what}; restore it from a copy", path.display())]
    DamagedMetadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment that the directory should hold is not there.
    #[error("segment {sequence} is missing from {}: entries from OpID {from} on are not there; restore it from a copy", path.display())]
    MissingSegment {
        /// The directory.
        path: PathBuf,
        /// The missing segment's sequence number.
        sequence: u64,
        /// First OpID that is not there.
        from: OpId,
    },
    /// A segment file that is not the one its name says: of another log, renamed, or swapped.
    #[error("{} does not belong here: {what}; move it away and restore the right one", path.display())]
    ForeignSegment {
        /// The file.
        path: PathBuf,
        /// Which of its marks disagrees.
        what: &'static str,
    },
    /// Entries that were durable cannot be read.
    #[error("{} is corrupt at offset {offset}: no valid entry {expected}, though entries up to {durable} were durable; restore the segment from a copy or a follower", path.display())]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The OpID that should stand there.
        expected: OpId,
        /// The highest OpID known to have been durable.
        durable: OpId,
    },
    /// A repair that cannot be done.
    #[error("cannot repair {}: {what}", path.display())]
    Unrepairable {
        /// The log's directory, or the file that stands in the way.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// The entry is below the oldest one.
    #[error("entry {requested} has been trimmed: the oldest is {oldest}")]
    HistoryLost {
        /// The OpID that was asked for.
        requested: OpId,
        /// The oldest OpID still there.
        oldest: OpId,
    },
    /// The retention slot lagged by more than its cap, so that what it held may be gone.
    #[error(
        "retention slot {name:?} at entry {position} is lost: it lagged by more than {max_lag_bytes} bytes or than the log may take, or its entries were gone when the log was opened; drop it or create it anew, and start its consumer from a snapshot or from the oldest entry"
    )]
    SlotLost {
        /// Its name.
        name: String,
        /// Where it stood.
        position: OpId,
        /// Its cap.
        max_lag_bytes: u64,
    },
    /// There is no retention slot of that name.
    #[error("there is no retention slot {name:?}: create it first")]
    NoSuchSlot {
        /// The name.
        name: String,
    },
    /// There is an active retention slot of that name.
    #[error("there is a retention slot {name:?} already, at entry {position}: go on from there, or drop it first")]
    SlotExists {
        /// The name.
        name: String,
        /// Where it stands.
        position: OpId,
    },
    /// The log has as many retention slots as it can have.
    #[error("the log has {max} retention slots, which is as many as there can be: drop one that is not needed")]
    TooManySlots {
        /// How many there can be.
        max: usize,
    },
    /// The text cannot be the name of a retention slot.
    #[error(
        "the name of a retention slot is {what}: it must have 1 to 120 bytes and no control characters, and not begin with tailwater."
    )]
    InvalidSlotName {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The entry has not been written yet.
    #[error("entry {requested} does not exist yet: the newest is {newest}")]
    Ahead {
        /// The OpID that was asked for.
        requested: OpId,
        /// The newest OpID.
        newest: OpId,
    },
    /// It is not known that a majority of the members holds an entry.
    #[error(
        "it is not known that a majority of the members holds entry {op_id}: try again when more of them can be reached, or read with a weaker concern"
    )]
    MajorityUnknown {
        /// The entry.
        op_id: OpId,
    },
    /// A copy of a log that would end between two entries of one batch.
    #[error("entry {op_id} lies inside the batch of entries {first} to {last}: end before it, with {}, or behind it, with {last}", first.previous())]
    InsideBatch {
        /// Where it was to end.
        op_id: OpId,
        /// The batch's first entry.
        first: OpId,
        /// The batch's last entry.
        last: OpId,
    },
    /// The position belongs to another log.
    #[error("the position belongs to log {got}, this is log {expected}")]
    OtherLog {
        /// This log.
        expected: LogId,
        /// The position's log.
        got: LogId,
    },
    /// The log has that OpID, but written in another term or at another time: the histories parted before it.
    #[error("{}; use the copy of the log that the position is from, or start anew", difference(*op_id, *requested, *found))]
    Diverged {
        /// The OpID.
        op_id: OpId,
        /// Term and timestamp of the position that was asked for.
        requested: (Term, Timestamp),
        /// Term and timestamp with which this log has the entry.
        found: (Term, Timestamp),
    },
    /// The entry or batch does not fit.
    #[error("{what} of {bytes} bytes is larger than the {max} bytes that fit: raise segment_bytes, or split it")]
    TooLarge {
        /// "entry" or "batch".
        what: &'static str,
        /// Its size, frames included.
        bytes: u64,
        /// The largest that fits.
        max: u64,
    },
    /// An option is outside its range.
    #[error("{option} must be {range}, not {got}")]
    InvalidOption {
        /// Name of the option.
        option: &'static str,
        /// Its range in words.
        range: &'static str,
        /// What was given.
        got: u64,
    },
    /// An entry's payload does not follow the entry schema.
    #[error("entry payload is malformed: {what}")]
    MalformedEntry {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The log follows another member's and takes no entries of its own.
    #[error("the log at {} follows another: write to its primary, or promote this one", path.display())]
    NotPrimary {
        /// The log's directory.
        path: PathBuf,
    },
    /// The log has only a part of the entries, and cannot be the one that others follow from.
    #[error("the log at {} is a partial copy, which is never written to: promote a member that has everything", path.display())]
    Partial {
        /// The log's directory.
        path: PathBuf,
    },
    /// Two logs of one history have different parts of its entries, and are not joined.
    #[error(
        "the logs at {} and {} have different parts of the entries, and cannot be joined: name a log with the same filter, or none",
        path.display(), other.display()
    )]
    OtherPart {
        /// The one log's directory.
        path: PathBuf,
        /// The other's.
        other: PathBuf,
    },
    /// Frames of another member were given to a log that does not follow.
    #[error("the log at {} does not follow another, and takes no frames that were written elsewhere", path.display())]
    NotFollowing {
        /// The log's directory.
        path: PathBuf,
    },
    /// Frames that another member sent are not what comes next here.
    #[error("what another member sent is not entry {expected} and what follows it: {what}")]
    ForeignFrames {
        /// The entry that comes next.
        expected: OpId,
        /// What is wrong.
        what: &'static str,
    },
    /// A batch without entries.
    #[error("a batch needs at least one entry")]
    EmptyBatch,
    /// A sync failed earlier. Entries up to `durable` are safe; what came later may be lost with the machine's power.
    #[error("an earlier sync failed, so the log takes no more writes: entries up to {durable} are durable; reopen it")]
    Poisoned {
        /// The last OpID that was durable.
        durable: OpId,
        /// What the failed sync said.
        source: Arc<io::Error>,
    },
    /// The log was closed while the call was under way.
    #[error("the log is closed")]
    Closed,
}

/// How two entries with the same OpID differ, in words.
fn difference(op_id: OpId, requested: (Term, Timestamp), found: (Term, Timestamp)) -> String {
    if requested.0 == found.0 {
        return format!(
            "entry {op_id} was written {} ns after 1970 here, the position is of one written {} ns after 1970 in the same \
             term {}: two copies of one log have each been written to",
            found.1.as_nanos(),
            requested.1.as_nanos(),
            found.0
        );
    }
    format!(
        "entry {op_id} was written in term {} here, the position is of term {}: the histories have parted",
        found.0, requested.0
    )
}

impl Error {
    /// The log at `path` is open elsewhere, by one of whom the lock file says `holder`: "pid 4711 since 1790000000", in seconds.
    pub(crate) fn locked(path: PathBuf, holder: String) -> Error {
        let mut words = holder.split([' ', ',']);
        let mut after = |name| words.find(|word| *word == name).and_then(|_| words.next());
        let pid = after("pid").and_then(|pid| pid.parse().ok());
        let since = after("since").and_then(|seconds| seconds.parse::<u64>().ok());
        Error::Locked {
            path,
            pid,
            since: since.map(|seconds| Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000))),
            holder,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. }
            | Error::NoBootId { .. }
            | Error::StorageFull { .. }
            | Error::NotALog { .. }
            | Error::NotFound { .. } => ErrorKind::Environment,
            Error::Locked { .. } => ErrorKind::Locked,
            Error::NewerFormat { .. } => ErrorKind::NewerFormat,
            Error::DamagedMetadata { .. }
            | Error::MissingSegment { .. }
            | Error::ForeignSegment { .. }
            | Error::MalformedEntry { .. }
            | Error::Unrepairable { .. }
            | Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::HistoryLost { .. } | Error::SlotLost { .. } => ErrorKind::HistoryLost,
            Error::OtherLog { .. } | Error::Diverged { .. } => ErrorKind::OtherHistory,
            Error::Ahead { .. }
            | Error::InsideBatch { .. }
            | Error::TooLarge { .. }
            | Error::InvalidOption { .. }
            | Error::NoSuchSlot { .. }
            | Error::SlotExists { .. }
            | Error::TooManySlots { .. }
            | Error::InvalidSlotName { .. }
            | Error::ForeignFrames { .. }
            | Error::NotFollowing { .. }
            | Error::Partial { .. }
            | Error::OtherPart { .. }
            | Error::EmptyBatch => ErrorKind::InvalidInput,
            Error::NotPrimary { .. } => ErrorKind::NotPrimary,
            Error::MajorityUnknown { .. } => ErrorKind::NotYet,
            Error::Poisoned { .. } => ErrorKind::Poisoned,
            Error::Closed => ErrorKind::Closed,
        }
    }

    /// For a file of `bytes` bytes in the log's directory `dir` that is being allocated.
    pub(crate) fn preparing(dir: &Path, path: &Path, bytes: u64) -> impl FnOnce(io::Error) -> Error {
        let (dir, path) = (dir.to_path_buf(), path.to_path_buf());
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull {
                path: dir,
                bytes,
                source: Arc::new(source),
            },
            _ => Error::io("prepare", path)(source),
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }
}
