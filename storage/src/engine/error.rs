//! What can go wrong in the engine, one variant per thing the caller would do about it.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the key-value engine.
#[derive(Debug, Error)]
pub(crate) enum EngineError {
    /// Another process, or another handle in this one, has the directory open.
    #[error("the engine is open elsewhere dir={}", dir.display())]
    Locked {
        /// The engine's directory.
        dir: PathBuf,
    },

    /// The files could not be opened or are damaged. Restore them, or remove the directory and
    /// replay, if the log still begins at its first entry.
    #[error("the engine could not be opened dir={}", dir.display())]
    Open {
        /// The engine's directory.
        dir: PathBuf,
        /// What the engine said.
        source: fjall::Error,
    },

    /// The engine's journal is damaged and could not be cut back to its sound part.
    #[error("the engine's journal could not be repaired journal={}", journal.display())]
    Repair {
        /// The journal file.
        journal: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// Written by a version of Tailwater with another layout.
    #[error("unknown engine format dir={} found={found:?} expected={expected}", dir.display())]
    FormatUnknown {
        /// The engine's directory.
        dir: PathBuf,
        /// The bytes under the format key.
        found: Vec<u8>,
        /// The version this build writes.
        expected: u32,
    },

    /// The stored OpID is not eight bytes: the engine was damaged or written by something else.
    #[error("the stored OpID has the wrong length bytes={bytes} expected=8")]
    AppliedMalformed {
        /// Length found.
        bytes: usize,
    },

    /// A key in a batch is too long. Nothing was committed, and the engine stays usable.
    #[error("key too long bytes={bytes} bytes_max={bytes_max}")]
    KeyTooLong {
        /// Length of the key.
        bytes: usize,
        /// Longest allowed.
        bytes_max: usize,
    },

    /// A read failed, by I/O or a checksum. Other reads and commits may go on.
    #[error("the engine could not read")]
    Read {
        /// What the engine said.
        source: fjall::Error,
    },

    /// A commit or a sync failed, and the engine takes no more. Reopen it.
    #[error("the engine could not write")]
    Write {
        /// What the engine said.
        source: fjall::Error,
    },

    /// The engine has been unloaded to be closed. Reads go on.
    #[error("the engine is being closed and takes no more writes")]
    Closing,

    /// An earlier write failed. Reads go on; reopen the engine to write again.
    #[error("the engine refuses writes after an earlier failure")]
    Poisoned,
}
