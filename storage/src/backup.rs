//! Backup and restore: a store's copy that is a store, and a store as it was at one point in time.
//!
//! # What a backup promises
//!
//! - **Consistent.** It is the state after one entry of the log, with everything before that and nothing behind it. Writers go on
//!   meanwhile; what they write while the state is copied is in the backup's log.
//! - **A store.** It opens like any other, and replays what its state does not cover yet.
//! - **Whole or not there.** It is made under another name, `<target>.partial-…`, beside the target, synced, and renamed. An
//!   error removes what was made; a crash leaves a directory of that name, which can be removed.
//! - **The same history.** Resume tokens of the original up to the backup's end are good in it. Those of entries that were written
//!   later are refused, also when the backup was opened and written to.
//!
//! [`Store::backup`] copies a store that this process has open, [`backup_log`] one that another process has open, and [`restore`]
//! makes a store of a backup, up to an entry or a time. `docs/backup.md` is the page for operators.
//!
//! # Costs
//!
//! A pass over state and log. The engine keeps what is replaced meanwhile, and the log its entries, until the backup is done.

mod draft;
mod error;
mod restore;
mod selected;
mod state;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tailwater_oplog::{CopyOptions, OpId, OplogView, ReadConcern, Timestamp};

use self::draft::Draft;
use crate::applier;
use crate::catalog::Size;
use crate::engine::{Engine, EngineSnapshot};
use crate::error::Error;
use crate::store::{STATE_DIRECTORY, Store, log_directory};

pub use error::BackupError;
pub use restore::{RestoreOptions, RestoreOutcome, RestorePoint, restore};
pub use state::StateCopy;

/// Bytes of the cache of an engine that is only filled.
const CACHE_BYTES: u64 = 8 << 20;

/// How far a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BackupProgress {
    /// Bytes of the state that have been copied; for a copy of some documents, of those that have been read.
    State(u64),
    /// Bytes of the log that have been copied.
    Log(u64),
    /// Bytes of documents that the state holds: about what will be copied of it, without its indexes.
    Expected(u64),
}

/// Options of a backup.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Copies all of the log that there is, and not only the part behind the state. Where that begins with the first entry, the
    /// backup can be restored to any point since; and resume tokens as old as the log are good in it. Default false.
    pub whole_log: bool,
    /// Is told how far the copy has come, some times a second.
    pub progress: Option<Arc<dyn Fn(BackupProgress) + Send + Sync>>,
    /// Once this is set, the copy ends with [`BackupError::Cancelled`]; it is looked at some times a second while the state is
    /// copied.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl BackupOptions {
    fn report(&self, progress: BackupProgress) {
        if let Some(report) = &self.progress {
            report(progress);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::SeqCst))
    }
}

impl fmt::Debug for BackupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupOptions")
            .field("whole_log", &self.whole_log)
            .finish_non_exhaustive()
    }
}

/// What a backup holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupOutcome {
    /// Its last entry.
    pub op_id: OpId,
    /// When that was written; nothing when there is none.
    pub time: Option<Timestamp>,
    /// The earliest entry after which it can be restored.
    pub earliest: OpId,
    /// Documents in its state, without what its log adds; nothing when it has only a log.
    pub documents: Option<u64>,
    /// Lengths of its files; those of the engine have holes, which take no space.
    pub bytes: u64,
}

impl Store {
    /// Copies the store to `target`, which must not exist or be an empty directory, as a store of its own; see the
    /// [module documentation](self). It ends with the last entry that was written when the state had been copied.
    ///
    /// # Errors
    ///
    /// [`BackupError::TargetTaken`], [`BackupError::NoSpace`], [`BackupError::Io`]; [`BackupError::Unconfirmed`] of a store that
    /// follows; those of the store and its log.
    pub fn backup(&self, target: impl AsRef<Path>, options: &BackupOptions) -> Result<BackupOutcome, BackupError> {
        let draft = Draft::begin(target.as_ref())?;
        let made = self.copy_into(&draft, options);
        draft.end(made, |outcome, bytes| BackupOutcome { bytes, ..outcome })
    }

    fn copy_into(&self, draft: &Draft, options: &BackupOptions) -> Result<BackupOutcome, BackupError> {
        let core = self.core();
        // What is in the engine need not be in the backup's log.
        applier::flush(core)?;
        let pin = core.pin(options.whole_log)?;
        let applied = OpId::new(pin.snapshot.applied());
        let documents = copy_state(&pin.snapshot, &draft.path().join(STATE_DIRECTORY), options)?;

        self.sync()?;
        let log = self.log();
        let last = check_released(&log, applied)?;
        let oldest = log.watermarks().oldest;
        let from = if options.whole_log { oldest } else { applied.max(oldest) };
        let outcome = copy_log(&log, draft, from, last, options)?;
        Ok(BackupOutcome {
            documents: Some(documents),
            earliest: if outcome.earliest == OpId::FIRST {
                OpId::FIRST
            } else {
                applied
            },
            ..outcome
        })
    }
}

/// Copies the log of the store in `dir` to `target` as a store of its own, whose state its first opening makes from the log. For
/// a store that another process has open, whose state is that process's; it needs a log that is complete from entry 1 on. The
/// backup ends with the last entry that was durable when it began.
///
/// # Errors
///
/// [`BackupError::LogTrimmed`] when the log is not complete; as [`Store::backup`].
pub fn backup_log(
    dir: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: &BackupOptions,
) -> Result<BackupOutcome, BackupError> {
    let log = OplogView::open(log_directory(dir.as_ref()))?;
    let oldest = log.watermarks().oldest;
    if oldest > OpId::FIRST {
        return Err(BackupError::LogTrimmed { oldest });
    }
    let draft = Draft::begin(target.as_ref())?;
    let last = log.newest(ReadConcern::Durable);
    let made = copy_log(&log, &draft, OpId::FIRST, last, options);
    draft.end(made, |outcome, bytes| BackupOutcome { bytes, ..outcome })
}

/// The last entry that may be passed on; an error when a state that covers `applied` is ahead of that.
fn check_released(log: &OplogView, applied: OpId) -> Result<OpId, BackupError> {
    let released = log.newest(ReadConcern::Durable);
    match applied > released {
        true => Err(BackupError::Unconfirmed { applied, released }),
        false => Ok(released),
    }
}

/// Fills a new engine in `target`; returns how many documents it has.
fn copy_state(snapshot: &EngineSnapshot, target: &Path, options: &BackupOptions) -> Result<u64, BackupError> {
    let sizes = Size::load(snapshot)?;
    let engine = Engine::open(target, CACHE_BYTES).map_err(Error::from)?;
    let mut copied = 0;
    let mut progress = |bytes| {
        copied += bytes;
        options.report(BackupProgress::State(copied));
        !options.is_cancelled()
    };
    if !engine.fill(snapshot, &mut progress).map_err(Error::from)? {
        return Err(BackupError::Cancelled);
    }
    let documents = sizes.iter().map(|(_, size)| size.documents).sum::<i64>();
    Ok(u64::try_from(documents).unwrap_or(0))
}

fn copy_log(
    log: &OplogView,
    draft: &Draft,
    from: OpId,
    to: OpId,
    options: &BackupOptions,
) -> Result<BackupOutcome, BackupError> {
    let mut copied = 0;
    let mut progress = |bytes| {
        copied += bytes;
        options.report(BackupProgress::Log(copied));
    };
    let earlier = None;
    let part = CopyOptions { from, to, earlier };
    let copy = log.copy_to(log_directory(draft.path()), &part, &mut progress)?;
    Ok(BackupOutcome {
        op_id: to,
        time: time_of(log, to)?,
        earliest: copy.first,
        documents: None,
        bytes: 0,
    })
}

/// When an entry was written; nothing for the one before the first.
fn time_of(log: &OplogView, op_id: OpId) -> Result<Option<Timestamp>, BackupError> {
    if op_id == OpId::ZERO {
        return Ok(None);
    }
    Ok(Some(log.get(op_id, ReadConcern::Durable)?.timestamp()))
}
