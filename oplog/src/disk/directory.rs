//! Syncs of one directory, of which the first failure is the last word.

use std::io;
use std::sync::PoisonError;

use rustix::io::Errno;

use crate::primitives::Mutex;

/// Remembers a failed sync of a directory.
///
/// The kernel reports a write that failed once for each open file, and then takes it for done. Several threads of a log sync
/// the same directory: the one that is told may only have been preparing something, and the next sync, which acknowledges
/// entries because of the names that it covers, would succeed. So after a failure each sync fails, until the directory is
/// opened anew; and no two are made at once, so that none is believed that ran beside a failing one.
#[derive(Debug, Default)]
pub(crate) struct DirectorySyncs {
    failed: Mutex<Option<i32>>,
}

impl DirectorySyncs {
    /// Does `sync`, unless one has failed before.
    pub(crate) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = *failed {
            return Err(io::Error::from_raw_os_error(code));
        }
        sync().inspect_err(|error| *failed = Some(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())))
    }
}
