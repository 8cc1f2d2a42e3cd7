//! Opening after power loss: cutting the unsynced end of the engine's journal.
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
use std::path::{Path, PathBuf};

use fjall::{Database, JournalRecoveryError as Journal};

use super::EngineError;

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

/// The journal with the highest number: `<number>.jnl`.
pub(super) fn newest_journal(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Makes `journal` the first `bytes` bytes of `kept`, durably.
fn cut_copy(kept: &Path, journal: &Path, bytes: u64) -> io::Result<()> {
    let mut source = io::Read::take(File::open(kept)?, bytes);
    let mut target = OpenOptions::new().write(true).truncate(true).open(journal)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}
