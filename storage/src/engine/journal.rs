//! The engine's journal: cutting its unsynced end when it is opened after power loss, and emptying it when it is closed.
//!
//! # Cutting
//!
//! The engine drops an unfinished batch at the end of its journal by itself. But pages that were
//! never synced may reach the disk in any order, so a batch can have its end and lack its middle.
//! Where the gap lies inside one large value, the framing around it is sound, only the batch's
//! checksum is wrong, and the engine refuses to open at all.
//!
//! Such damage can only lie behind the last sync: what [`persist`](super::Engine::persist) covers is
//! whole, and the log still has all that follows. So the newest journal, the only one that is ever
//! unsynced, is cut before the first broken batch. No knowledge of its format is needed: the engine
//! opens exactly when the cut lies before the end of that batch, and bisection finds the place.
//! Each probe replays the journal, some 26 times in all; it happens once after a rare event.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fjall::{Database, JournalRecoveryError as Journal};

use super::EngineError;

/// What the operating system counts a file's blocks in.
const BLOCK_BYTES: u64 = 512;

/// Opens with `open`; when the journal's end is broken, cuts it and opens what is before.
///
/// A copy of the broken journal stays beside it, for whoever wants to know.
/// Damage anywhere else is returned as it is, with the files as they were.
pub(super) fn open_cutting_torn_tail(
    dir: &Path,
    open: impl Fn() -> fjall::Result<Database>,
) -> Result<Database, EngineError> {
    let broken = match open() {
        Ok(database) => return Ok(database),
        Err(fjall::Error::Locked) => {
            return Err(EngineError::Locked { dir: dir.to_owned() });
        }
        Err(error) if is_broken_batch(&error) => error,
        Err(source) => {
            return Err(EngineError::Open {
                dir: dir.to_owned(),
                source,
            });
        }
    };

    let repairing = |journal: &Path, source| EngineError::Repair {
        journal: journal.to_owned(),
        source,
    };
    let Some(journal) = newest_journal(dir).map_err(|source| repairing(dir, source))? else {
        return Err(EngineError::Open {
            dir: dir.to_owned(),
            source: broken,
        });
    };
    let kept = journal.with_extension("damaged");
    let bytes = fs::copy(&journal, &kept).map_err(|source| repairing(&journal, source))?;
    let restore = |cut: u64| cut_copy(&kept, &journal, cut).map_err(|source| repairing(&journal, source));

    // Invariant: cut at `sound` it opens, cut at `unsound` it does not.
    let (mut sound, mut unsound) = (0, bytes);
    while unsound - sound > 1 {
        let middle = sound + (unsound - sound) / 2;
        restore(middle)?;
        match open() {
            Ok(database) => {
                drop(database);
                sound = middle;
            }
            Err(error) if is_broken_batch(&error) => unsound = middle,
            Err(source) => {
                return Err(EngineError::Open {
                    dir: dir.to_owned(),
                    source,
                });
            }
        }
    }
    restore(sound)?;
    match open() {
        Ok(database) => {
            tracing::warn!(
                journal = %journal.display(),
                kept = %kept.display(),
                cut_at = sound,
                "the engine's journal had a broken end, as power loss leaves it; it was cut and \
                 the log will be replayed from there"
            );
            Ok(database)
        }
        Err(_) => {
            restore(bytes)?;
            Err(EngineError::Open {
                dir: dir.to_owned(),
                source: broken,
            })
        }
    }
}

fn is_broken_batch(error: &fjall::Error) -> bool {
    matches!(
        error,
        fjall::Error::JournalRecovery(Journal::ChecksumMismatch | Journal::TooManyItems | Journal::InsufficientLength)
    )
}

/// The journal with the highest number.
pub(super) fn newest_journal(dir: &Path) -> io::Result<Option<PathBuf>> {
    let newest = journals(dir)?.into_iter().max_by_key(|(number, _)| *number);
    Ok(newest.map(|(_, path)| path))
}

/// The journals, `<number>.jnl`.
fn journals(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_suffix(".jnl")?.parse().ok()) {
            journals.push((number, path));
        }
    }
    Ok(journals)
}

/// Bytes that the journals take; what is only reserved does not count.
pub(super) fn written_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for (_, path) in journals(dir)? {
        match fs::metadata(path) {
            Ok(metadata) => bytes += metadata.len().min(metadata.blocks() * BLOCK_BYTES),
            // The engine has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Takes everything out of the newest journal, durably. The caller knows that tables have it all, and that nothing will be
/// written to that journal before it is opened anew.
pub(super) fn empty(dir: &Path) -> io::Result<()> {
    let Some(journal) = newest_journal(dir)? else {
        return Ok(());
    };
    let journal = OpenOptions::new().write(true).open(journal)?;
    journal.set_len(0)?;
    journal.sync_all()
}

/// Makes `journal` the first `bytes` bytes of `kept`, durably.
fn cut_copy(kept: &Path, journal: &Path, bytes: u64) -> io::Result<()> {
    let mut source = io::Read::take(File::open(kept)?, bytes);
    let mut target = OpenOptions::new().write(true).truncate(true).open(journal)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}
