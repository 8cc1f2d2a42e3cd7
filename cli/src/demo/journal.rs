//! A watcher's file of effects, and how a watcher that was killed finds its place in it.
//!
//! Only a line with its end counts. A kill can leave the beginning of one more line, at most; opening the file cuts that
//! off, and the event comes once more from the stream. The file is not synced: the demo kills processes, not the machine,
//! and what a process has handed to the operating system outlives it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::effect::Effect;
use super::watcher::Watcher;
use crate::failure::{Exit, Failure, Outcome};

/// Directory of the watchers' files within the store's.
const DIRECTORY: &str = "demo-watchers";

/// The directory of the watchers' files, for a store in `dir`.
pub(crate) fn directory(dir: &Path) -> PathBuf {
    dir.join(DIRECTORY)
}

/// The file of one watcher.
pub(crate) fn path(dir: &Path, watcher: Watcher) -> PathBuf {
    directory(dir).join(format!("{}.tsv", watcher.name()))
}

/// An open file of effects.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// How many effects it holds.
    pub(crate) count: u64,
    /// The newest.
    pub(crate) last: Option<Effect>,
}

impl Journal {
    /// Opens the file, making it if need be, and cuts off an incomplete last line.
    pub(crate) fn open(path: &Path) -> Outcome<Journal> {
        let failed = |e| Failure::io(&format!("open {}", path.display()), &e);
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = whole_lines(&bytes);
        file.set_len(whole.len() as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let effects = parse(path, whole)?;
        Ok(Journal {
            file,
            path: path.to_path_buf(),
            count: effects.len() as u64,
            last: effects.into_iter().next_back(),
        })
    }

    /// Adds an effect.
    pub(crate) fn append(&mut self, effect: Effect) -> Outcome {
        let written = self.file.write_all(effect.line().as_bytes());
        written.map_err(|e| Failure::io(&format!("write {}", self.path.display()), &e))?;
        self.count += 1;
        self.last = Some(effect);
        Ok(())
    }
}

/// Reads a file whose watcher has ended: nothing in it may be incomplete.
pub(crate) fn read(path: &Path) -> Outcome<Vec<Effect>> {
    let bytes = std::fs::read(path).map_err(|e| Failure::io(&format!("read {}", path.display()), &e))?;
    if whole_lines(&bytes).len() < bytes.len() {
        return Err(Failure::new(
            Exit::Damage,
            format!("{} ends within a line", path.display()),
        ));
    }
    parse(path, &bytes)
}

/// The bytes up to the last end of a line.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let ends = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..ends.map_or(0, |last| last + 1)]
}

fn parse(path: &Path, bytes: &[u8]) -> Outcome<Vec<Effect>> {
    let malformed = |number: usize| {
        let message = format!("line {} of {} is malformed", number + 1, path.display());
        Failure::new(Exit::Damage, message)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| malformed(0))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| Effect::parse(line).ok_or_else(|| malformed(number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::written::Seen;
    use super::*;

    fn effect(op_id: u64) -> Effect {
        Effect {
            token: format!("{op_id:08x}"),
            seen: Seen {
                op_id,
                operation: "insert".into(),
                day: "2012-01-01".into(),
                digest: "00ff".into(),
            },
        }
    }

    #[test]
    fn a_new_file_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("new")).unwrap();
        assert_eq!((journal.count, journal.last), (0, None));
    }

    #[test]
    fn a_line_cut_anywhere_is_dropped_and_the_rest_goes_on() {
        let whole: String = (1..=3).map(|n| effect(n).line()).collect();
        let third = effect(3).line().len();
        for kept in 0..third {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("effects");
            std::fs::write(&path, &whole[..whole.len() - third + kept]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            assert_eq!(journal.count, 2, "{kept} bytes of the third line");
            assert_eq!(journal.last, Some(effect(2)));
            journal.append(effect(3)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
            assert_eq!(read(&path).unwrap().len(), 3);
        }
    }

    #[test]
    fn a_whole_file_is_kept_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("effects");
        std::fs::write(&path, effect(7).line()).unwrap();
        assert_eq!(Journal::open(&path).unwrap().last, Some(effect(7)));
    }

    #[test]
    fn a_malformed_line_is_an_error_and_not_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("effects");
        std::fs::write(&path, format!("{}rubbish\n{}", effect(1).line(), effect(2).line())).unwrap();
        assert!(Journal::open(&path).unwrap_err().message.contains("line 2"));
        std::fs::write(&path, "no end").unwrap();
        assert!(read(&path).is_err());
    }
}
