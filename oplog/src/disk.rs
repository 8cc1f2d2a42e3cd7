//! The seam between the log and the operating system: every file operation the log makes, and no other way to make one.
//!
//! [`OsDisk`] is the real one; tests put a simulated disk in its place that loses unsynced sectors and directory entries.
//! The operations are as coarse as durability needs them: [`Disk::replace`] and [`Disk::prepare`] are durable when they
//! return, [`Disk::rename`] and [`Disk::remove`] only after [`Disk::sync_directory`].

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::primitives::Mutex;
use crate::region::Region;

#[path = "disk/cow.rs"]
mod cow;
#[cfg(test)]
#[path = "disk/death.rs"]
pub(crate) mod death;
#[path = "disk/directory.rs"]
mod directory;
#[path = "disk/lock.rs"]
mod lock;

pub(crate) use directory::DirectorySyncs;
use lock::WriterLock;

/// Zeros are written in pieces of this size. The kernel caches them in folios as large: the larger, the faster they are
/// overwritten, and the more each sync of a small record costs. At this size that is 1 %; `docs/performance.md` has figures.
pub(crate) const ZEROS_BYTES: usize = if cfg!(test) { 4 << 10 } else { 256 << 10 };
/// Writes that rewrite a file, and reads that compare two, are this long.
pub(crate) const REWRITE_BYTES: usize = 64 << 10;
/// Reads that only look whether a place can be read are this long.
const PROBE_BYTES: usize = 64 << 10;

/// A mapped file, and the way to write it and make it durable.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    pub(crate) region: Arc<Region>,
    pub(crate) file: Arc<dyn Durable>,
}

/// A file that is written piece by piece, and can be made durable.
pub(crate) trait Durable: Send + Sync + Debug {
    /// Writes `bytes` at `offset`, where its maps show them. Offset and length are multiples of eight. After an error any
    /// part of them may have been written.
    fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written before the call survives power loss. After an error nothing is known.
    fn sync(&self) -> io::Result<()>;
    /// Writes the bytes in `range` over themselves, so that the next sync writes them: after a sync has failed, the kernel
    /// takes the pages it could not write for clean.
    fn rewrite(&self, range: Range<usize>) -> io::Result<()>;
    /// Reads the bytes in `range` from the file, so that a place that the disk cannot read is an error here. In a map it is a
    /// SIGBUS, unless the page is still in memory from this.
    fn probe(&self, range: Range<usize>) -> io::Result<()>;
    /// The first part of `range` that may hold anything but zeros; nothing when there is none. Who cannot say takes all of it
    /// for such.
    fn data(&self, range: Range<usize>) -> Option<Range<usize>> {
        (!range.is_empty()).then_some(range)
    }
    /// Gives back the descriptor of a file that is only read: its map stays, and what is asked of the file afterwards opens it
    /// again for the time that takes. A file that is written keeps its own.
    fn rest(&self) {}
}

/// Identity of a file, to tell it from a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The file operations of a log's directory.
pub(crate) trait Disk: Send + Sync + Debug {
    fn path(&self) -> &Path;
    /// Names of everything in the directory.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Whole contents of a small file; nothing when it does not exist.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    fn length(&self, name: &str) -> io::Result<u64>;
    /// Replaces a file's contents at once, durably.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Allocates a file that reads as `length` zero bytes but for `records`, durably; the first `filled` of the zeros have been
    /// written, too. On failure nothing is left behind.
    fn prepare(&self, name: &str, length: u64, filled: u64, records: &[(usize, Vec<u8>)]) -> io::Result<()>;
    /// Makes a file that was cut short `length` bytes long again, filled with zeros, durably.
    fn extend(&self, name: &str, length: u64) -> io::Result<()>;
    /// Maps the first `length` bytes of a file for reading, and opens it for writing too if `writable`.
    fn open(&self, name: &str, length: usize, writable: bool) -> io::Result<Medium>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when all changes of names before the call survive power loss. After an error each later call fails as well.
    fn sync_directory(&self) -> io::Result<()>;
    /// Opens a file of `length` bytes that processes share in memory and that is never synced, making it when `writable`.
    fn open_shared(&self, name: &str, length: usize, writable: bool) -> io::Result<(Medium, FileIdentity)>;
    /// Takes the writer's lock, held until the result is dropped or the process dies.
    fn lock(&self, name: &str) -> Result<Box<dyn Any + Send + Sync>, LockError>;
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    Held { holder: String },
    Io(io::Error),
}

/// Makes one system call that changes something on disk: a crash comes before one of these, after it, or in the middle of one
/// that writes. Tests have a process die at each.
pub(crate) fn change<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    death::before();
    let result = call();
    #[cfg(test)]
    death::after();
    result
}

/// Called between stores into mapped memory that another process may look at, now or when this one is dead: those too are
/// places to die at.
#[inline(always)]
pub(crate) fn between_stores() {
    #[cfg(test)]
    death::at_store();
}

/// As [`between_stores`], with the place in the log buffer that a frame is about to be copied to.
#[inline(always)]
pub(crate) fn before_frame(place: &mut [u8]) {
    #[cfg(test)]
    death::in_frame(place);
    let _ = place;
}

/// As [`change`], for the call that writes `bytes` at `offset`.
fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    change(|| {
        #[cfg(test)]
        death::half_way(|| file.write_all_at(&bytes[..bytes.len() / 2], offset));
        file.write_all_at(bytes, offset)
    })
}

/// A directory of the operating system.
#[derive(Debug)]
pub(crate) struct OsDisk {
    path: PathBuf,
    /// Opened for its first sync and kept, so that no later one fails for want of a descriptor, which would poison the log.
    directory: OnceLock<File>,
    syncs: DirectorySyncs,
}

impl OsDisk {
    pub(crate) fn new(path: &Path) -> OsDisk {
        OsDisk {
            path: path.to_path_buf(),
            directory: OnceLock::new(),
            syncs: DirectorySyncs::default(),
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What the lock file says about the process that holds the lock; nothing when nobody does.
    pub(crate) fn writer(&self, name: &str) -> io::Result<Option<String>> {
        WriterLock::holder(&self.at(name))
    }

    fn allocate(file: &File, length: u64, filled: u64, records: &[(usize, Vec<u8>)]) -> io::Result<()> {
        // Real blocks: later a full disk would fail a write whose entry has been accepted, here it is an error in time.
        reserve(file, length)?;
        let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(filled).unwrap_or(ZEROS_BYTES))];
        for offset in (0..filled).step_by(ZEROS_BYTES) {
            let bytes = ZEROS_BYTES.min(usize::try_from(filled - offset).unwrap_or(ZEROS_BYTES));
            write(file, &zeros[..bytes], offset)?;
        }
        for (at, bytes) in records {
            write(file, bytes, *at as u64)?;
        }
        change(|| file.sync_all())
    }
}

/// Refuses a length that this process may not give a file: the attempt would end the process with SIGXFSZ, which is not a
/// library's to ignore. A limit that is lowered later on, below the length of a file that is being written, does end it.
fn check_limit(length: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if length > limit => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "it takes {length} bytes, and this process may write {limit} into a file: raise RLIMIT_FSIZE (ulimit -f)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Gives a file at least `length` bytes, and real blocks for all of them.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    check_limit(length)?;
    change(|| Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length)?))
}

impl FileIdentity {
    fn of(metadata: &Metadata) -> FileIdentity {
        FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Fails where a place in `range` cannot be read.
fn probe(file: &File, range: Range<usize>) -> io::Result<()> {
    let mut bytes = vec![0; PROBE_BYTES.min(range.len())];
    for at in range.clone().step_by(PROBE_BYTES) {
        let piece = &mut bytes[..(range.end - at).min(PROBE_BYTES)];
        file.read_exact_at(piece, at as u64)?;
    }
    Ok(())
}

/// See [`Durable::data`].
fn data(file: &File, range: Range<usize>) -> Option<Range<usize>> {
    // Blocks that were allocated and never written are holes to most file systems. Every answer but these two leaves all
    // of the range to be looked at.
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start as u64)) {
        Ok(start) => usize::try_from(start).unwrap_or(usize::MAX).max(range.start),
        Err(Errno::NXIO) => return None,
        Err(_) => range.start,
    };
    let end = match rustix::fs::seek(file, SeekFrom::Hole(start as u64)) {
        Ok(end) if end > start as u64 => usize::try_from(end).unwrap_or(usize::MAX).min(range.end),
        _ => range.end,
    };
    (start < end).then_some(start..end)
}

/// A file that is written.
#[derive(Debug)]
struct OsFile(File);

impl Durable for OsFile {
    fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        write(&self.0, bytes, offset as u64)
    }

    fn sync(&self) -> io::Result<()> {
        change(|| self.0.sync_data())
    }

    fn rewrite(&self, range: Range<usize>) -> io::Result<()> {
        let mut bytes = vec![0; REWRITE_BYTES.min(range.len())];
        for at in range.clone().step_by(REWRITE_BYTES) {
            let piece = &mut bytes[..(range.end - at).min(REWRITE_BYTES)];
            self.0.read_exact_at(piece, at as u64)?;
            write(&self.0, piece, at as u64)?;
        }
        Ok(())
    }

    fn probe(&self, range: Range<usize>) -> io::Result<()> {
        probe(&self.0, range)
    }

    fn data(&self, range: Range<usize>) -> Option<Range<usize>> {
        data(&self.0, range)
    }
}

/// A file that is only read. At rest it has no descriptor, so that readers of many segments, which hold a map of each, do not
/// come to the limit on those: 1,024 in most places.
#[derive(Debug)]
struct OsReader {
    path: PathBuf,
    identity: FileIdentity,
    file: Mutex<Option<File>>,
}

impl OsReader {
    fn with_file<T>(&self, act: impl FnOnce(&File) -> T) -> io::Result<T> {
        if let Some(file) = &*self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(act(file));
        }
        let file = File::open(&self.path)?;
        if FileIdentity::of(&file.metadata()?) != self.identity {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name now"));
        }
        Ok(act(&file))
    }
}

fn only_read() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it was opened for reading")
}

impl Durable for OsReader {
    fn write_at(&self, _: usize, _: &[u8]) -> io::Result<()> {
        Err(only_read())
    }

    fn sync(&self) -> io::Result<()> {
        Err(only_read())
    }

    fn rewrite(&self, _: Range<usize>) -> io::Result<()> {
        Err(only_read())
    }

    fn probe(&self, range: Range<usize>) -> io::Result<()> {
        self.with_file(|file| probe(file, range))?
    }

    fn data(&self, range: Range<usize>) -> Option<Range<usize>> {
        let all = (!range.is_empty()).then_some(range.clone());
        self.with_file(|file| data(file, range)).unwrap_or(all)
    }

    fn rest(&self) {
        drop(self.file.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Disk for OsDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.at(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.at(name))?.len())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check_limit(bytes.len() as u64)?;
        let temporary = self.at(&format!("{name}.tmp"));
        let file = change(|| File::create(&temporary))?;
        write(&file, bytes, 0)?;
        change(|| file.sync_all())?;
        change(|| fs::rename(&temporary, self.at(name)))?;
        self.sync_directory()
    }

    fn prepare(&self, name: &str, length: u64, filled: u64, records: &[(usize, Vec<u8>)]) -> io::Result<()> {
        let path = self.at(name);
        let mut options = OpenOptions::new();
        let file = change(|| options.read(true).write(true).create_new(true).open(&path))?;
        OsDisk::allocate(&file, length, filled, records).inspect_err(|_| {
            // A failed fallocate can keep all the space it found.
            let _ = change(|| fs::remove_file(&path));
            let _ = self.sync_directory();
        })
    }

    fn extend(&self, name: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(self.at(name))?;
        reserve(&file, length)?;
        change(|| file.sync_all())
    }

    fn open(&self, name: &str, length: usize, writable: bool) -> io::Result<Medium> {
        if writable {
            check_limit(length as u64)?;
        }
        let path = self.at(name);
        let file = OpenOptions::new().read(true).write(writable).open(&path)?;
        let metadata = file.metadata()?;
        if metadata.len() < length as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "shorter than its length says",
            ));
        }
        let region = Arc::new(Region::map(&file, length, false)?);
        let file: Arc<dyn Durable> = match writable {
            true => Arc::new(OsFile(file)),
            false => Arc::new(OsReader {
                path,
                identity: FileIdentity::of(&metadata),
                file: Mutex::new(Some(file)),
            }),
        };
        Ok(Medium { region, file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        change(|| fs::rename(self.at(from), self.at(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        change(|| fs::remove_file(self.at(name)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = match self.directory.get() {
            Some(directory) => directory,
            None => {
                let opened = File::open(&self.path)?;
                self.directory.get_or_init(|| opened)
            }
        };
        self.syncs.sync(|| change(|| directory.sync_all()))
    }

    fn open_shared(&self, name: &str, length: usize, writable: bool) -> io::Result<(Medium, FileIdentity)> {
        let path = self.at(name);
        let file = if writable {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = change(|| options.open(&path))?;
            if file.metadata()?.len() == 0 {
                cow::avoid(&file);
            }
            reserve(&file, length as u64)?;
            cow::warn(&file, &path);
            file
        } else {
            // Write permission lets a reader ring for itself; without it the reader looks from time to time.
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(_) => File::open(&path)?,
            }
        };
        let metadata = file.metadata()?;
        if metadata.len() < length as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than it must be"));
        }
        let identity = FileIdentity::of(&metadata);
        let region = match Region::map(&file, length, true) {
            Ok(region) => region,
            Err(_) if !writable => Region::map(&file, length, false)?,
            Err(e) => return Err(e),
        };
        Ok((
            Medium {
                region: Arc::new(region),
                file: Arc::new(OsFile(file)),
            },
            identity,
        ))
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Any + Send + Sync>, LockError> {
        Ok(Box::new(WriterLock::take(&self.at(name))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In memory and on whatever disk temporary files are; a file system that knows no holes says that all is data.
    #[test]
    fn what_a_file_says_holds_no_data_is_zero() {
        const LENGTH: usize = 1 << 20;
        for dir in [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")]
            .into_iter()
            .flatten()
        {
            let disk = OsDisk::new(dir.path());
            disk.prepare("file", LENGTH as u64, 0, &[(512, vec![1; 8])]).unwrap();
            let medium = disk.open("file", LENGTH, true).unwrap();
            for (at, bytes) in [(300_000, 8), (655_360, 40_000), (LENGTH - 8, 8)] {
                medium.file.write_at(at, &vec![1; bytes]).unwrap();
            }
            let bytes = fs::read(disk.at("file")).unwrap();
            for range in [0..LENGTH, 304..LENGTH - 8, 300_008..655_360, 655_368..655_376, 8..8] {
                let (mut at, mut written) = (range.start, 0);
                while let Some(data) = medium.file.data(at..range.end) {
                    assert!(
                        data.start >= at && data.start < data.end && data.end <= range.end,
                        "{data:?}"
                    );
                    written += bytes[data.clone()].iter().filter(|&&byte| byte != 0).count();
                    at = data.end;
                }
                let all = bytes[range.clone()].iter().filter(|&&byte| byte != 0).count();
                assert_eq!(written, all, "{range:?} in {}", dir.path().display());
            }
        }
    }
}
