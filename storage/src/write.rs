//! What writes do, staged in a [`Workspace`](crate::workspace::Workspace): one way for writes of their own and for
//! transactions.
//!
//! - [`change`]: what becomes of a document;
//! - [`modify`]: which documents a write finds, what becomes of them, and what is inserted when there is none;
//! - [`positional`]: which element of an array a filter has matched, for `$`;
//! - [`direct`]: writes of their own, each committed at once;
//! - [`fresh`]: inserts of documents that are not there yet, which need no workspace.

mod change;
mod direct;
mod fresh;
mod modify;
mod positional;
#[cfg(test)]
mod tests;

pub(crate) use direct::{Inserted, Writer};
pub(crate) use modify::{Modification, Modified, Reach, id_key};
pub(crate) use positional::Positions;
