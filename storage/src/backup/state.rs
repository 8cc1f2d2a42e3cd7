//! A copy of the state alone, for a follower that takes the log from another place.

use std::path::Path;

use tailwater_oplog::OpId;

use super::draft::Draft;
use super::error::BackupError;
use super::{BackupOptions, BackupProgress, check_released, copy_state, selected};
use crate::applier;
use crate::catalog::Size;
use crate::error::Error;
use crate::selection::Selection;
use crate::store::Store;

/// What [`Store::copy_state`] has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StateCopy {
    /// The last entry that the state covers: whoever opens it needs the log from there on, that entry included.
    pub applied: OpId,
    /// Documents in it.
    pub documents: u64,
    /// Lengths of its files.
    pub bytes: u64,
}

impl Store {
    /// Copies the state as it is now into `target`, which must not exist or be an empty directory. `hold` is told the entry that
    /// the copy covers before it is made, to create a retention slot there: until then, and until the copy is made, the log is
    /// held. Writers go on.
    ///
    /// # Errors
    ///
    /// As [`Store::backup`]; what `hold` returns.
    pub fn copy_state(
        &self,
        target: impl AsRef<Path>,
        options: &BackupOptions,
        hold: impl FnOnce(OpId) -> Result<(), Error>,
    ) -> Result<StateCopy, BackupError> {
        self.copy_part(target.as_ref(), None, options, hold)
    }

    /// As [`Store::copy_state`], but only of the documents that `selection` names, with their collections and indexes.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn copy_selected_state(
        &self,
        target: impl AsRef<Path>,
        selection: &Selection,
        options: &BackupOptions,
        hold: impl FnOnce(OpId) -> Result<(), Error>,
    ) -> Result<StateCopy, BackupError> {
        self.copy_part(target.as_ref(), Some(selection), options, hold)
    }

    fn copy_part(
        &self,
        target: &Path,
        selection: Option<&Selection>,
        options: &BackupOptions,
        hold: impl FnOnce(OpId) -> Result<(), Error>,
    ) -> Result<StateCopy, BackupError> {
        let draft = Draft::begin(target)?;
        let made = self.copy_state_into(&draft, selection, options, hold);
        draft.end(made, |outcome, bytes| StateCopy { bytes, ..outcome })
    }

    fn copy_state_into(
        &self,
        draft: &Draft,
        selection: Option<&Selection>,
        options: &BackupOptions,
        hold: impl FnOnce(OpId) -> Result<(), Error>,
    ) -> Result<StateCopy, BackupError> {
        let core = self.core();
        applier::flush(core)?;
        let pin = core.pin(false)?;
        let applied = OpId::new(pin.snapshot.applied());
        // Who opens it needs the log that far, from here most likely; and it may be cut off.
        check_released(&self.log(), applied)?;
        hold(applied)?;
        let expected: i64 = Size::load(&pin.snapshot)?.iter().map(|(_, size)| size.bytes).sum();
        options.report(BackupProgress::Expected(u64::try_from(expected).unwrap_or(0)));
        // A directory within the draft, because an engine must be the first thing in its own.
        let target = draft.path().join("state");
        let documents = match selection {
            Some(selection) => selected::copy(&pin.snapshot, selection, &target, options)?,
            None => copy_state(&pin.snapshot, &target, options)?,
        };
        Ok(StateCopy {
            applied,
            documents,
            bytes: 0,
        })
    }
}
