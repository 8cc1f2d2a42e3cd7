//! What repairing and looking at a log need of its disk beyond what writing and reading it do: folders within its directory,
//! and the lock's holder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use crate::disk::{Disk, OsDisk, REWRITE_BYTES, change};

/// A log's directory with folders in it. `folder` is a path relative to it, `name` a file in it.
pub(crate) trait Folders: Disk {
    /// What the lock file says about the process that holds the lock; nothing when nobody does.
    ///
    /// Looking holds the lock shared for an instant; [`Disk::lock`] outlasts that.
    fn lock_holder(&self, name: &str) -> io::Result<Option<String>>;
    /// Another handle of the same directory.
    fn again(&self) -> Box<dyn Disk>;
    /// The directory of that name within this one.
    fn within(&self, folder: &str) -> Box<dyn Folders>;
    /// Makes a directory within this one, durably.
    fn make_directory(&self, folder: &str) -> io::Result<Box<dyn Folders>>;
    /// Removes an empty directory within this one.
    fn remove_directory(&self, folder: &str) -> io::Result<()>;
    /// Gives a file a second name, the same, in `folder`; where the file system cannot, a copy. Its bytes are durable when the
    /// call returns, the name is when the folder has been synced.
    fn keep_in(&self, folder: &str, name: &str) -> io::Result<()>;
    /// Whether `folder` holds this very file, or a copy of it, under the same name.
    fn is_kept_in(&self, folder: &str, name: &str) -> io::Result<bool>;
    /// Moves a file out of `folder`, over one of the same name. It has its new name durably when this directory has been synced,
    /// and has lost the old one when the folder has been, too.
    fn take_from(&self, folder: &str, name: &str) -> io::Result<()>;
}

impl Folders for OsDisk {
    fn lock_holder(&self, name: &str) -> io::Result<Option<String>> {
        self.writer(name)
    }

    fn again(&self) -> Box<dyn Disk> {
        Box::new(OsDisk::new(self.path()))
    }

    fn within(&self, folder: &str) -> Box<dyn Folders> {
        Box::new(OsDisk::new(&self.at(folder)))
    }

    fn make_directory(&self, folder: &str) -> io::Result<Box<dyn Folders>> {
        change(|| fs::create_dir(self.at(folder)))?;
        self.sync_directory()?;
        Ok(self.within(folder))
    }

    fn remove_directory(&self, folder: &str) -> io::Result<()> {
        change(|| fs::remove_dir(self.at(folder)))
    }

    fn keep_in(&self, folder: &str, name: &str) -> io::Result<()> {
        let kept = self.at(folder).join(name);
        if change(|| fs::hard_link(self.at(name), &kept)).is_err() {
            change(|| fs::copy(self.at(name), &kept))?;
        }
        // Also for the file behind a link: nobody may have synced it.
        let kept = File::open(kept)?;
        change(|| kept.sync_all())
    }

    fn is_kept_in(&self, folder: &str, name: &str) -> io::Result<bool> {
        let (mut ours, mut theirs) = match (File::open(self.at(name)), File::open(self.at(folder).join(name))) {
            (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            (ours, theirs) => (ours?, theirs?),
        };
        let (a, b) = (ours.metadata()?, theirs.metadata()?);
        if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
            return Ok(true);
        }
        if a.len() != b.len() {
            return Ok(false);
        }
        let (mut left, mut right) = (vec![0; REWRITE_BYTES], vec![0; REWRITE_BYTES]);
        let mut rest = a.len();
        while rest > 0 {
            let bytes = REWRITE_BYTES.min(usize::try_from(rest).unwrap_or(REWRITE_BYTES));
            ours.read_exact(&mut left[..bytes])?;
            theirs.read_exact(&mut right[..bytes])?;
            if left[..bytes] != right[..bytes] {
                return Ok(false);
            }
            rest -= bytes as u64;
        }
        Ok(true)
    }

    fn take_from(&self, folder: &str, name: &str) -> io::Result<()> {
        change(|| fs::rename(self.at(folder).join(name), self.at(name)))
    }
}
