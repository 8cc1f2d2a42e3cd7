//! Where a copy is put together, and how it gets into its place once it has come whole.
//!
//! Everything of it lies in `incoming`. When all of that is durable, `READY` is written, and only then the parts get their names,
//! in place of what was there before; a crash in between is made up for by the next start.
//!
//! That start may come late: the member may have been promoted meanwhile, by whatever means, and have made promises and written
//! entries of which the copy knows nothing. So `READY` says what the copy takes the place of, byte for byte: the two files that
//! every promise and every new term changes. What does not replace that any more is given up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use tailwater_oplog::codec;
use tailwater_storage::{log_directory, state_directory};

use super::discard::{discard_directory, finish_discarding};
use crate::error::{Error, Result};

const READY: &str = "READY";
/// The log of the copy, in the directory it is put together in.
pub(super) const LOG: &str = "oplog";
/// Where the primary's offer has the engine's files.
pub(super) const STATE: &str = "state";

/// The directory in which a copy for the store in `dir` is put together.
pub(super) fn directory(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

/// Whether there is a log in `dir`, and so something to go on from.
pub(super) fn has_log(dir: &Path) -> bool {
    log_directory(dir).join("MANIFEST").exists()
}

/// The contents of `READY`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct Ready {
    /// Nothing when there was no log.
    replaces: Option<Stamp>,
}

/// What a log has known and promised when it was closed: its files that say so.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct Stamp {
    manifest: Vec<u8>,
    role: Vec<u8>,
}

impl Stamp {
    fn of(dir: &Path) -> Result<Option<Stamp>> {
        let read = |name| {
            let path = log_directory(dir).join(name);
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::file("read", path)(error)),
            }
        };
        let Some(manifest) = read("MANIFEST")? else {
            return Ok(None);
        };
        let role = read("REPLICA")?.unwrap_or_default();
        Ok(Some(Stamp { manifest, role }))
    }
}

/// Says, durably, that all of the copy is there, in place of what is in `dir` now, closed.
pub(super) fn declare_whole(dir: &Path) -> Result<()> {
    let incoming = directory(dir);
    for below in directories(&incoming)? {
        sync(&below)?;
    }
    let replaces = Stamp::of(dir)?;
    write_whole(&incoming.join(READY), &codec::encode(&Ready { replaces }))?;
    sync(&incoming)
}

/// Puts a copy in its place that is whole, and still takes the place of what it was made to replace; gives up one that does not.
///
/// # Errors
///
/// [`Error::File`]; the next call goes on then.
pub(super) fn finish(dir: &Path) -> Result<()> {
    let incoming = directory(dir);
    for directory in [&incoming, &state_directory(dir), &log_directory(dir)] {
        finish_discarding(directory).map_err(Error::file("remove what is left of", directory))?;
    }
    let Some(ready) = read_ready(&incoming) else {
        return Ok(());
    };
    // Without its log, all of it is in place. While the log that it replaces is not there, that has been removed for it.
    if incoming.join(LOG).exists()
        && let Some(found) = Stamp::of(dir)?
        && ready.replaces != Some(found)
    {
        tracing::warn!(dir = %dir.display(), "giving up a copy: what it was to replace has been promoted, or changed otherwise");
        return abandon(dir);
    }
    // The state first: a log without its state would be replayed, from an entry that is not there.
    for (from, to) in [
        (incoming.join(STATE), state_directory(dir)),
        (incoming.join(LOG), log_directory(dir)),
    ] {
        if from.exists() {
            // What the copy replaces.
            discard_directory(&to).map_err(Error::file("remove", &to))?;
            fs::rename(&from, &to).map_err(Error::file("move into its place", &to))?;
            sync(dir)?;
        }
    }
    abandon(dir)
}

/// Removes what there is of a copy.
///
/// # Errors
///
/// [`Error::File`].
pub(crate) fn abandon(dir: &Path) -> Result<()> {
    let incoming = directory(dir);
    discard_directory(&incoming).map_err(Error::file("remove", &incoming))
}

/// Whether a copy is there whole, and has yet to be put in its place.
pub(super) fn is_whole(dir: &Path) -> bool {
    directory(dir).join(READY).exists()
}

/// Nothing when the copy is not whole; then its parts are looked at one by one.
fn read_ready(incoming: &Path) -> Option<Ready> {
    codec::decode(&fs::read(incoming.join(READY)).ok()?).ok()
}

/// A directory and all below it.
fn directories(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut next) = (vec![root.to_path_buf()], 0);
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(&directory).map_err(Error::file("list", &directory))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(paths.filter(|path| path.is_dir()));
    }
    Ok(found)
}

/// Writes a file, and makes its contents durable.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(Error::file("write", path))
}

fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(Error::file("sync", path))
}
