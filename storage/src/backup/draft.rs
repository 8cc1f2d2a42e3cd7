//! A directory that comes into being as a whole: made under another name, synced, renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::BackupError;

/// A directory that is being made. Dropped before [`Draft::end`] has given it its name, it is removed.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    renamed: bool,
}

impl Draft {
    /// Makes an empty directory beside `target`, which must not exist or be an empty directory.
    pub(super) fn begin(target: &Path) -> Result<Draft, BackupError> {
        let free = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        };
        if !free {
            return Err(BackupError::TargetTaken {
                path: target.to_path_buf(),
            });
        }
        // Without a trailing slash, and with a parent.
        let target = std::path::absolute(target).map_err(BackupError::io("name", target))?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{:08x}", Uuid::new_v4().as_fields().0));
        let path = target.with_file_name(name);
        fs::create_dir(&path).map_err(BackupError::io("create", &path))?;
        Ok(Draft {
            path,
            target,
            renamed: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name if what was `made` in it is whole, and the outcome its size in bytes; otherwise removes it.
    pub(super) fn end<T>(
        mut self,
        made: Result<T, BackupError>,
        with_bytes: impl FnOnce(T, u64) -> T,
    ) -> Result<T, BackupError> {
        let ended = made.and_then(|outcome| {
            let bytes = sync_tree(&self.path)?;
            fs::rename(&self.path, &self.target).map_err(BackupError::io("make", &self.target))?;
            self.renamed = true;
            if let Some(parent) = self.target.parent() {
                sync(parent)?;
            }
            Ok(with_bytes(outcome, bytes))
        });
        ended.map_err(|error| error.naming_full_disk(&self.target))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "removing a copy that was not finished");
        }
    }
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(BackupError::io("sync", path))
}

/// Makes a directory durable with everything in it; returns the bytes of its files.
fn sync_tree(root: &Path) -> Result<u64, BackupError> {
    let mut bytes = 0;
    walk(root, |path, is_directory| {
        sync(path)?;
        if !is_directory {
            bytes += fs::metadata(path).map_err(BackupError::io("look at", path))?.len();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Copies a directory that nobody writes to with everything in it; nothing happens when there is none.
pub(super) fn copy_tree(from: &Path, to: &Path, mut progress: impl FnMut(u64)) -> Result<(), BackupError> {
    if !from.is_dir() {
        return Ok(());
    }
    walk(from, |path, is_directory| {
        let copy = to.join(path.strip_prefix(from).unwrap_or(path));
        if is_directory {
            return fs::create_dir(&copy).map_err(BackupError::io("create", &copy));
        }
        let bytes = fs::copy(path, &copy).map_err(BackupError::io("copy", path))?;
        progress(bytes);
        Ok(())
    })
}

/// Calls `each` for a directory and everything below it, a directory before what is in it. Links are not followed.
fn walk(root: &Path, mut each: impl FnMut(&Path, bool) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        each(&directory, true)?;
        let listing = |e| BackupError::io("list", &directory)(e);
        for entry in fs::read_dir(&directory).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let kind = entry.file_type().map_err(listing)?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                each(&entry.path(), false)?;
            }
        }
    }
    Ok(())
}
