//! Removing a directory in one step, for whoever looks afterwards.
//!
//! A directory that is removed file by file may be found half there when that is interrupted, and be taken for what it was. So
//! it is renamed first, durably; under the other name nobody takes it for anything, and the next time removes what is left.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// `<path>.gone`.
fn gone(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".gone");
    PathBuf::from(name)
}

fn absent(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        other => other.map(|()| false),
    }
}

/// Removes `directory`, if it is there: whatever moment this is interrupted at, it is afterwards as it was, or not there.
///
/// # Errors
///
/// What the system says; [`finish_discarding`] goes on then.
pub(super) fn discard_directory(directory: &Path) -> io::Result<()> {
    finish_discarding(directory)?;
    if absent(fs::rename(directory, gone(directory)))? {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        File::open(parent)?.sync_all()?;
    }
    finish_discarding(directory)
}

/// Removes what an interrupted [`discard_directory`] of `directory` has left under another name.
///
/// # Errors
///
/// What the system says.
pub(super) fn finish_discarding(directory: &Path) -> io::Result<()> {
    absent(fs::remove_dir_all(gone(directory))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_whole_or_not_at_all_and_what_is_left_of_it_goes() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let make = |path: &Path| {
            fs::create_dir_all(path.join("below")).unwrap();
            fs::write(path.join("below/file"), b"x").unwrap();
        };
        discard_directory(&directory).unwrap();
        // As an interruption between the two steps leaves it, and one that came before, in the middle of the second.
        make(&gone(&directory));
        make(&directory);
        discard_directory(&directory).unwrap();
        make(&gone(&directory));
        finish_discarding(&directory).unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
