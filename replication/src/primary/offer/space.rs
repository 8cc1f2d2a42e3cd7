//! Space on the primary's disk for a copy: those that write come first.
//!
//! A copy is about as large as the state, and lies beside it. One that would not fit is not made; and one that is being made is
//! given up as soon as it touches the reserve, of which the log needs some for its next segments and the state to be written out.
//! Without it the primary's writers would be told that the disk is full because somebody has begun to follow.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Segments of the log that must still fit beside a copy.
const RESERVED_SEGMENTS: u64 = 4;

/// The disk that copies are made on.
#[derive(Debug)]
pub(super) struct Space {
    directory: PathBuf,
    reserve: u64,
}

impl Space {
    /// Of the file system with `directory`, of which segments of such a length are to come, too.
    pub(super) fn of(directory: &Path, segment_bytes: u64) -> Space {
        Space {
            directory: directory.to_path_buf(),
            reserve: RESERVED_SEGMENTS.saturating_mul(segment_bytes),
        }
    }

    /// Whether `left` more bytes fit beside what is reserved.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpaceForCopy`] when they do not.
    pub(super) fn check(&self, left: u64) -> Result<()> {
        let looking = |error: rustix::io::Errno| Error::file("look at", &self.directory)(error.into());
        let system = rustix::fs::statvfs(&self.directory).map_err(looking)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let needed = left.saturating_add(self.reserve);
        match needed <= free {
            true => Ok(()),
            false => Err(Error::NoSpaceForCopy { needed, free }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_for_copies() {
        let dir = tempfile::tempdir().unwrap();
        Space::of(dir.path(), 0).check(0).unwrap();
        for (segment_bytes, left) in [(u64::MAX / 8, 0), (0, u64::MAX), (1 << 20, u64::MAX)] {
            let checked = Space::of(dir.path(), segment_bytes).check(left);
            assert!(matches!(checked, Err(Error::NoSpaceForCopy { .. })), "{checked:?}");
        }
        let gone = Space::of(&dir.path().join("gone"), 0).check(0);
        assert!(matches!(gone, Err(Error::File { .. })), "{gone:?}");
    }
}
