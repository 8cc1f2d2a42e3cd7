//! Finding the log in the directory that was named: a store's, or a log's own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tailwater::{LogError, LogView, log_directory};

use crate::failure::Outcome;

/// The log's directory within `dir`.
pub(crate) fn log_within(dir: &Path) -> PathBuf {
    let nested = log_directory(dir);
    if nested.is_dir() { nested } else { dir.to_path_buf() }
}

/// The store whose log `dir` names, directly or by the store's own directory; nothing for a log without a store.
pub(crate) fn store_around(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    // The log's directory lies in the store's, beside the state.
    let stores = [Some(dir.as_path()), dir.parent()];
    let mut stores = stores.into_iter().flatten();
    let log = log_within(&dir);
    let found = stores.find(|store| log_directory(store) == log && store.join("state").is_dir());
    found.map(Path::to_path_buf)
}

/// Opens the log for reading; with a `patience`, waits that long for one to come into being.
pub(crate) fn open_view(dir: &Path, patience: Option<Duration>) -> Outcome<LogView> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        match LogView::open(log_within(dir)) {
            Err(LogError::NotFound { .. } | LogError::NotALog { .. })
                if deadline.is_some_and(|deadline| Instant::now() < deadline) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            // The directory the user named, not the one within.
            Err(LogError::NotFound { .. }) => {
                return Err(LogError::NotFound {
                    path: dir.to_path_buf(),
                }
                .into());
            }
            other => return Ok(other?),
        }
    }
}
