//! A store as it was after one entry, made of a backup and, if need be, of the log that goes on from it.
//!
//! The backup is only read. Its state is copied and its log cut; what is made is opened once before it gets its name, which
//! recovers it, replays what its state lacks and checks that the two belong together. So a restored store writes in a term of
//! its own, and resume tokens of entries behind the point are refused in it.

use std::fs;
use std::path::{Path, PathBuf};

use tailwater_oplog::{CopyOptions, OpId, OplogView, ReadConcern, Timestamp, stat};

use super::draft::{Draft, copy_tree};
use super::error::BackupError;
use super::{BackupOptions, BackupProgress, CACHE_BYTES, time_of};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::{LOG_MANIFEST, STATE_DIRECTORY, StoreOptions, log_directory};

/// A point in a store's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestorePoint {
    /// Behind this entry, which must be the last of its batch: half of a transaction is no point in time.
    Entry(OpId),
    /// Behind the last entry that was written at this time or before.
    Time(Timestamp),
}

/// Options of a restore.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Where the restored store ends. Default at the end of what there is.
    pub to: Option<RestorePoint>,
    /// Directory of a log that goes on from the backup: the original store's, to restore beyond the backup's end. It may be
    /// trimmed up to the backup's last entry, and a writer may have it open.
    pub log: Option<PathBuf>,
    /// How far it has come; `whole_log` is of no meaning here.
    pub backup: BackupOptions,
}

/// What was restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestoreOutcome {
    /// The last entry.
    pub op_id: OpId,
    /// When it was written; nothing when there is none.
    pub time: Option<Timestamp>,
    /// Documents.
    pub documents: u64,
    /// Lengths of its files; those of the engine have holes, which take no space.
    pub bytes: u64,
}

/// Makes a store at `target`, which must not exist or be an empty directory, of the backup in `backup`: a directory that
/// [`Store::backup`](crate::Store::backup) has made, or a store that nobody has open.
///
/// # Errors
///
/// [`BackupError::NotABackup`], [`BackupError::InUse`], [`BackupError::TooEarly`], [`BackupError::TooLate`],
/// [`BackupError::TimeTooLate`]; the log's `InsideBatch` for a point within a batch, its `OtherLog`, `Diverged`, `HistoryLost`
/// and `Ahead` for a log that does not go on from the backup; [`BackupError::TargetTaken`], [`BackupError::NoSpace`],
/// [`BackupError::Io`].
pub fn restore(
    backup: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<RestoreOutcome, BackupError> {
    let backup = backup.as_ref();
    let base = open_backup(backup)?;
    let later = options.log.as_deref().map(OplogView::open).transpose()?;
    let draft = Draft::begin(target.as_ref())?;
    let sources = Sources { base, later };
    let made = sources.make(backup, &draft, options);
    draft.end(made, |outcome, bytes| RestoreOutcome { bytes, ..outcome })
}

fn open_backup(dir: &Path) -> Result<OplogView, BackupError> {
    let log = log_directory(dir);
    let path = dir.to_path_buf();
    if !log.join(LOG_MANIFEST).is_file() {
        return Err(BackupError::NotABackup { path });
    }
    if let Some(holder) = stat(&log)?.writer {
        return Err(BackupError::InUse { path, holder });
    }
    Ok(OplogView::open(log)?)
}

/// The backup's log, and the one that goes on from it.
#[derive(Debug)]
struct Sources {
    base: OplogView,
    later: Option<OplogView>,
}

impl Sources {
    /// The log that reaches further.
    fn newest(&self) -> &OplogView {
        self.later.as_ref().unwrap_or(&self.base)
    }

    fn oldest(&self) -> OpId {
        let logs = [Some(&self.base), self.later.as_ref()];
        let oldest = logs.into_iter().flatten().map(|log| log.watermarks().oldest);
        oldest.min().unwrap_or(OpId::FIRST)
    }

    fn make(&self, backup: &Path, draft: &Draft, options: &RestoreOptions) -> Result<RestoreOutcome, BackupError> {
        let last = self.resolve(options.to)?;
        let state = draft.path().join(STATE_DIRECTORY);
        let mut copied = 0;
        copy_tree(&backup.join(STATE_DIRECTORY), &state, |bytes| {
            copied += bytes;
            options.backup.report(BackupProgress::State(copied));
        })?;
        let mut applied = covered(&state)?;
        let oldest = self.oldest();
        if applied > last {
            if oldest > OpId::FIRST {
                let (requested, earliest) = (last, applied);
                return Err(BackupError::TooEarly { requested, earliest });
            }
            // The log alone makes any state.
            fs::remove_dir_all(&state).map_err(BackupError::io("remove", &state))?;
            applied = OpId::ZERO;
        }
        if applied.next() < oldest {
            return Err(Error::StateBehind { applied, oldest }.into());
        }
        self.copy_log(draft, applied, last, options)?;
        let documents = open_once(draft.path())?;
        Ok(RestoreOutcome {
            op_id: last,
            time: time_of(self.newest(), last).or_else(|_| time_of(&self.base, last))?,
            documents,
            bytes: 0,
        })
    }

    /// The last entry of what is to be restored.
    fn resolve(&self, to: Option<RestorePoint>) -> Result<OpId, BackupError> {
        let log = self.newest();
        let newest = log.newest(ReadConcern::Durable);
        match to {
            None => Ok(newest),
            Some(RestorePoint::Entry(requested)) if requested > newest => {
                Err(BackupError::TooLate { requested, newest })
            }
            Some(RestorePoint::Entry(op_id)) => Ok(op_id),
            Some(RestorePoint::Time(time)) => {
                let end = time_of(log, newest)?.unwrap_or_default();
                if time > end {
                    return Err(BackupError::TimeTooLate { newest, time: end });
                }
                let behind = Timestamp::from_nanos(time.as_nanos().saturating_add(1));
                let mut next = log.cursor_from_time(behind, ReadConcern::Durable)?.position();
                if next == log.watermarks().oldest {
                    // Before everything in the one, perhaps not in the other.
                    next = next.min(self.base.cursor_from_time(behind, ReadConcern::Durable)?.position());
                }
                let (requested, oldest) = (next.previous(), self.oldest());
                if next <= oldest {
                    return Err(BackupError::TooEarly {
                        requested,
                        earliest: oldest,
                    });
                }
                Ok(requested)
            }
        }
    }

    /// As much history as the backup has, and more where the state needs it.
    fn copy_log(&self, draft: &Draft, applied: OpId, last: OpId, options: &RestoreOptions) -> Result<(), BackupError> {
        let mut copied = 0;
        let mut progress = |bytes| {
            copied += bytes;
            options.backup.report(BackupProgress::Log(copied));
        };
        let part = CopyOptions {
            from: self.base.watermarks().oldest.min(applied.next()),
            to: last,
            earlier: self.later.is_some().then_some(&self.base),
        };
        self.newest()
            .copy_to(log_directory(draft.path()), &part, &mut progress)?;
        Ok(())
    }
}

/// The last entry that a state covers; zero when there is none.
fn covered(state: &Path) -> Result<OpId, BackupError> {
    if !state.is_dir() {
        return Ok(OpId::ZERO);
    }
    let engine = Engine::open(state, CACHE_BYTES).map_err(Error::from)?;
    Ok(OpId::new(engine.applied()))
}

/// Recovers and replays what was made; returns how many documents there are.
fn open_once(dir: &Path) -> Result<u64, BackupError> {
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    let store = options.open(dir)?;
    let mut documents = 0;
    for database in store.database_names() {
        for collection in store.collection_names(&database) {
            documents += store.collection(&database, &collection)?.estimated_count()?;
        }
    }
    store.close()?;
    Ok(documents)
}
