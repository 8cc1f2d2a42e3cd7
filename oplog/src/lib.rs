//! A segmented, memory-mapped, CRC-checked operation log: the part of Tailwater that everything else reads.
//!
//! One process appends entries; each gets the next [`OpId`]. Any number of readers, in this process or in others, follow
//! the log through the same mapped bytes. [`Oplog`] writes, [`OplogView`] and [`Cursor`] read, and
//! [`entry`] says how the document store's entries are laid out.
//!
//! This crate knows bytes, disk, order, checksums and watermarks. It knows no async runtime, no sockets and no query
//! matching.
//!
//! ```
//! use tailwater_oplog::{Durability, OpId, Oplog, ReadConcern};
//!
//! # fn main() -> Result<(), tailwater_oplog::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! let log = Oplog::open(dir.path())?;
//! let outcome = log.append(128, b"a debit of 3", Durability::Disk)?;
//! assert_eq!(outcome.first, OpId::FIRST);
//!
//! let mut cursor = log.view().cursor_from_oldest(ReadConcern::Durable);
//! let entry = cursor.try_next()?.expect("appended durably, so released");
//! assert_eq!(entry.payload(), b"a debit of 3");
//! # Ok(())
//! # }
//! ```

mod bell;
mod boot;
mod buffer;
mod chain;
pub mod codec;
mod copy;
mod courier;
mod cursor;
mod cut;
mod disk;
mod elide;
pub mod entry;
mod error;
mod folders;
mod format;
mod frame;
mod frames;
mod fresh;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod ids;
mod keeper;
#[cfg(test)]
mod kills;
#[cfg(feature = "measuring")]
#[doc(hidden)]
pub mod measuring;
mod member;
mod oplog;
mod options;
mod part_file;
mod poison;
mod primitives;
mod record_file;
mod recovery;
mod region;
pub mod repair;
mod retention;
mod reverse;
mod role_file;
mod segment;
#[cfg(test)]
mod sim;
mod slot_file;
mod slots;
mod stat;
mod stats;
mod sync;
mod tail;
mod terms;
mod verify;
mod view;
mod wakers;

pub use copy::{CopyOptions, CopyOutcome};
pub use cursor::{Cursor, Entry, SharedEntry};
pub use elide::{PartialRun, Share};
pub use error::{Error, ErrorKind, Result};
pub use frames::{FrameEntry, FrameRun, SegmentStart, create_follower, create_partial_follower, entries_in};
pub use ids::{LogId, OpId, Term, Timestamp};
pub use member::{MEMBERS_MAX, Member, TERM_JUMP_MAX};
pub use oplog::{AppendOutcome, Durable, FramesOutcome, Oplog, Record};
pub use options::{Durability, Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use part_file::PART_BYTES_MAX;
pub use retention::Retention;
pub use reverse::ReverseCursor;
pub use slot_file::{RETENTION_SLOTS_MAX, SLOT_NAME_BYTES_MAX};
pub use slots::{RetentionSlot, SlotOptions, SlotState};
pub use stat::{Files, LogStat, SegmentStat, stat};
pub use stats::{Histogram, Stats};
pub use sync::SyncListenerId;
pub use tail::Watermarks;
pub use terms::{Before, Rank, TermBegin};
pub use verify::{Finding, SegmentReport, SegmentState, VerifyReport, verify};
pub use view::{Interrupt, OplogView, ReadConcern, WaitOutcome};
pub use wakers::Registration;
