//! What can go wrong with a backup or a restore.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tailwater_oplog as oplog;
use tailwater_oplog::{OpId, Timestamp};

use crate::error::is_full;

/// An error of a backup or a restore. The store that was copied is as it was, and nothing was left at the target.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is something at the target.
    #[error("there is something at {} already: name a directory that does not exist or is empty", path.display())]
    TargetTaken {
        /// The target.
        path: PathBuf,
    },
    /// The disk that the target is on is full.
    #[error("no space left for the copy at {}: what there was of it is removed; free some and begin again", path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// What failed first.
        source: Arc<dyn StdError + Send + Sync>,
    },
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
    /// The directory holds no store, and so no backup.
    #[error("there is no backup at {}: it has no log", path.display())]
    NotABackup {
        /// The directory.
        path: PathBuf,
    },
    /// What is to be restored is open for writing.
    #[error("the store at {} is open for writing ({holder}): close it, or restore from a backup of it", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says about the holder.
        holder: String,
    },
    /// Only the process that has the store open can read its state, and the log alone is not complete.
    #[error(
        "another process has the store open, and its log begins with entry {oldest}, so that the log alone is no backup: have that process call Store::backup, or stop it and begin again"
    )]
    LogTrimmed {
        /// The oldest entry.
        oldest: OpId,
    },
    /// The point lies before everything that the backup can be restored to.
    #[error("this backup cannot be restored to entry {requested}: the earliest is {earliest}; take an older backup")]
    TooEarly {
        /// The point.
        requested: OpId,
        /// The earliest that can be had.
        earliest: OpId,
    },
    /// The point lies behind everything that there is.
    #[error(
        "entry {requested} is not there: the last is {newest}; leave the option out to have everything, or name the log that goes on from the backup"
    )]
    TooLate {
        /// The point.
        requested: OpId,
        /// The last entry.
        newest: OpId,
    },
    /// The time lies behind everything that there is: what was written up to then cannot be told.
    #[error(
        "that time is after the last entry, {newest}, of {} ms after 1970: leave the option out to have everything, or name the log that goes on from the backup", time.as_millis()
    )]
    TimeTooLate {
        /// The last entry.
        newest: OpId,
        /// When it was written.
        time: Timestamp,
    },
    /// The store follows, and its state covers entries that the disk of its primary is not known to have: they may be cut off, so its
    /// log gives them to nobody. As a rule such entries are kept out of the state; here there were too many of them.
    #[error(
        "the state covers entry {applied}, and the primary is known to have everything up to {released} on its disk: copy it when this store follows again, or has been promoted"
    )]
    Unconfirmed {
        /// The last entry that the state covers.
        applied: OpId,
        /// The last one that may be passed on.
        released: OpId,
    },
    /// It was cancelled: see [`BackupOptions::cancel`](super::BackupOptions::cancel).
    #[error("the copy was cancelled; what there was of it is removed")]
    Cancelled,
    /// The log.
    #[error(transparent)]
    Log(#[from] oplog::Error),
    /// The store.
    #[error(transparent)]
    Store(crate::Error),
}

impl BackupError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BackupError {
        let path = path.into();
        move |source| BackupError::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }

    /// By the name of what an operator has to do, when the disk of `target` is full.
    pub(super) fn naming_full_disk(self, target: &Path) -> BackupError {
        match is_full(&self) {
            true => BackupError::NoSpace {
                path: target.to_path_buf(),
                source: Arc::new(self),
            },
            false => self,
        }
    }
}

impl From<crate::Error> for BackupError {
    fn from(error: crate::Error) -> BackupError {
        match error {
            crate::Error::Log(error) => BackupError::Log(error),
            error => BackupError::Store(error),
        }
    }
}
