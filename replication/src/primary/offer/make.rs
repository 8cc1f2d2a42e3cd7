//! Making a copy of the state, with what its follower is told of it.
//!
//! The log is held from the copy's point on before it is begun, up to a limit of its own: what is written meanwhile must not
//! exceed that, or the copy is given up, by a name that says what to raise. A primary that is stopped gives it up, too.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use tailwater_oplog::{OpId, codec};
use tailwater_storage::{BackupError, BackupOptions, BackupProgress, Error as StoreError, Selection, StateCopy};

use super::copies;
use super::space::Space;
use crate::error::{Error, Result};
use crate::primary::hub::Hub;
use crate::primary::service::Settings;
use crate::primary::slots::{self, check_copy};
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Preparing};

/// Files of a copy at most; an engine makes a few for each gigabyte.
const FILES_MAX: usize = 2000;

/// A copy that nobody can be offered yet: dropped, it is removed.
struct Unoffered {
    path: PathBuf,
    is_offered: bool,
}

impl Drop for Unoffered {
    fn drop(&mut self) {
        if !self.is_offered && self.path.exists() {
            copies::remove(&self.path);
        }
    }
}

/// Makes a copy for a follower; `say` is told how far it has come.
pub(super) fn make(
    hub: &Hub,
    settings: &Settings,
    request: &CopyRequest,
    say: &dyn Fn(Preparing),
) -> Result<CopyOffer> {
    let copies = &settings.copies;
    fs::create_dir_all(copies.directory()).map_err(Error::file("create", copies.directory()))?;
    let copy = uuid::Uuid::new_v4().into_bytes();
    let mut target = Unoffered {
        path: copies.path(copy),
        is_offered: false,
    };
    let (made, files) = copy_state(hub, settings, request, &target.path, say)?;
    // Of an empty store the first entry is waited for.
    let log = hub.store.log();
    let segment = log.segment_of(made.applied.max(OpId::FIRST).max(log.watermarks().oldest))?;
    let before = log.before(segment.first)?;
    // What is held now was held all the while.
    check_copy(&hub.store, settings, &request.name, made.applied)?;
    target.is_offered = true;
    Ok(CopyOffer {
        copy,
        applied: made.applied,
        promised: hub.store.promised(),
        rank: before.rank.into(),
        base: before.term,
        segment: segment.into(),
        files,
    })
}

/// Copies the state into `target`, in a thread of its own, until that is done or of no use any more.
fn copy_state(
    hub: &Hub,
    settings: &Settings,
    request: &CopyRequest,
    target: &Path,
    say: &dyn Fn(Preparing),
) -> Result<(StateCopy, Vec<CopyFile>)> {
    let log = hub.store.log();
    let newest = log.segment_of(log.watermarks().appended.next())?;
    let space = Space::of(settings.copies.directory(), newest.length);
    // What is known to be too little is not begun with.
    space.check(0)?;
    let follower = request.name.as_str();
    let selection = request.part.as_deref().map(Selection::from_bytes);
    let selection = selection.transpose().map_err(StoreError::from)?;
    let (progress, heard) = channel();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = BackupOptions::default();
    options.cancel = Some(Arc::clone(&cancel));
    options.progress = Some(Arc::new(move |made| {
        // Nobody may be listening any more.
        let _ = progress.send(made);
    }));
    let cancelled = Arc::clone(&cancel);
    std::thread::scope(|scope| {
        let maker = std::thread::Builder::new().name("tailwater-copy".into());
        let maker = maker.spawn_scoped(scope, move || -> Result<(StateCopy, Vec<CopyFile>)> {
            let budget = settings.copy_lag_bytes_max;
            let hold = |applied| slots::hold_for_copy(&hub.store, follower, applied, budget);
            let made = match &selection {
                Some(selection) => hub.store.copy_selected_state(target, selection, &options, hold)?,
                None => hub.store.copy_state(target, &options, hold)?,
            };
            let files = files(target, FILES_MAX, &cancelled)?;
            // With it goes who tells of progress.
            drop(options);
            Ok((made, files))
        });
        let maker = maker.map_err(Error::file("start a thread to make", target))?;
        let mut state = Preparing { bytes: 0, expected: 0 };
        // Nothing is held before it is known how much there is.
        let (mut held, mut failed) = (false, None);
        loop {
            match heard.recv_timeout(settings.heartbeat) {
                Ok(BackupProgress::State(bytes)) => state.bytes = bytes,
                Ok(BackupProgress::Expected(bytes)) => (held, state.expected) = (true, bytes),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if held && failed.is_none() {
                // Wherever it begins: that its slot is there is what counts.
                let checked = check_copy(&hub.store, settings, follower, OpId::new(u64::MAX - 1));
                // How much a part comes to is not known before it is there.
                let left = match request.part {
                    None => state.expected.saturating_sub(state.bytes),
                    Some(_) => 0,
                };
                failed = checked.and_then(|()| space.check(left)).err();
            }
            if failed.is_some() || hub.is_stopped() {
                cancel.store(true, Ordering::SeqCst);
            }
            say(state);
        }
        let made = maker.join().unwrap_or(Err(Error::Panicked));
        match failed {
            Some(error) => Err(error),
            None => made,
        }
    })
}

/// Every file below a directory, by its path from there, with its length and checksum.
fn files(root: &Path, max: usize, cancel: &AtomicBool) -> Result<Vec<CopyFile>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let listing = |error| Error::file("list", &directory)(error);
        for entry in fs::read_dir(&directory).map_err(listing)? {
            if cancel.load(Ordering::SeqCst) {
                return Err(BackupError::Cancelled.into());
            }
            let entry = entry.map_err(listing)?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(Error::file("look at", &path))?;
            if metadata.is_dir() {
                directories.push(path);
                continue;
            }
            if files.len() == max {
                return Err(Error::TooManyFiles { max });
            }
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            let name = name.ok_or(Error::InvalidOption {
                option: "the name of a file of the state",
                what: "not UTF-8",
            })?;
            files.push(CopyFile {
                name: name.to_owned(),
                length: metadata.len(),
                checksum: checksum_of(&path)?,
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Checksum of a whole file: of each piece of 256 KiB, the CRC-32 of what came of those before it and of its own CRC-32.
pub(crate) fn checksum_of(path: &Path) -> Result<u32> {
    let reading = |error| Error::file("read", path)(error);
    let mut file = File::open(path).map_err(reading)?;
    let (mut sum, mut piece) = (0, Vec::with_capacity(CHUNK_BYTES_MAX));
    loop {
        piece.clear();
        let read = (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut piece);
        if read.map_err(reading)? == 0 {
            return Ok(sum);
        }
        sum = codec::checksum(&[sum, codec::checksum(&piece)].map(u32::to_le_bytes).concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_too_many_files_or_one_that_nobody_waits_for_is_not_offered() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("copy");
        fs::create_dir_all(root.join("below")).unwrap();
        for name in ["one", "two", "below/three"] {
            fs::write(root.join(name), name).unwrap();
        }
        let go_on = AtomicBool::new(false);
        let found = files(&root, 3, &go_on).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["below/three", "one", "two"]);
        let refused = files(&root, 2, &go_on);
        assert!(matches!(refused, Err(Error::TooManyFiles { max: 2 })), "{refused:?}");
        let cancelled = files(&root, 3, &AtomicBool::new(true));
        assert!(
            matches!(cancelled, Err(Error::Copy(BackupError::Cancelled))),
            "{cancelled:?}"
        );
        drop(Unoffered {
            path: root.clone(),
            is_offered: false,
        });
        assert!(!root.exists());
    }
}
