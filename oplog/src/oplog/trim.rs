//! Removing the oldest segments: the manifest first, then the files.
//!
//! The files go without the locks that others need, and not by the housekeeping thread, for which an append may have to wait: a
//! large file may take the disk long. Retention leaves them to a thread of its own, a trim to its caller. A file that cannot be removed is kept in mind and tried again with the next
//! trim, or by the next open.

use std::collections::VecDeque;
use std::io;
use std::sync::PoisonError;

use super::Core;
use super::opening::write_manifest;
use crate::error::{Error, Result};
use crate::format::{self, Manifest};
use crate::ids::OpId;
use crate::primitives::MutexGuard;

impl Core {
    /// Removes whole segments below `before`, but for what slots hold. Those that lag too much are the caller's to find.
    /// Returns when their files are gone.
    pub(crate) fn remove_before(&self, before: OpId) -> Result<OpId> {
        let oldest = self.forget_before(before)?;
        self.remove_forgotten()?;
        Ok(oldest)
    }

    /// Has the log begin with the segment that `before` is in, or with what slots hold; returns its first entry.
    pub(crate) fn forget_before(&self, before: OpId) -> Result<OpId> {
        // Held until it is written, so that no slot comes to hold what is being removed.
        let mut slots = self.slots.lock_open(self)?;
        let before = before.min(self.slots.floor(self, &mut slots)?);
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = self.shared.chain.load_full();
        let before = before.min(self.tail().durable().next());
        // A segment is wholly below `before` when its successor begins at or below it.
        let keep_from = chain.links().iter().rev().find(|link| link.first <= before);
        let Some(keep_from) = keep_from.filter(|link| link.first.get() > manifest.first_op_id) else {
            return Ok(OpId::new(manifest.first_op_id));
        };
        let changed = Manifest {
            first_sequence: keep_from.sequence.0,
            first_op_id: keep_from.first.get(),
            ..manifest.clone()
        };
        self.keep_before(keep_from.first)?;
        // The new beginning may be a segment whose name is not durable yet.
        self.disk()
            .sync_directory()
            .map_err(Error::io("sync", self.disk().path()))?;
        // Then the manifest: a crash from here on leaves files that the next open recognises as left-overs.
        write_manifest(self.disk(), &changed)?;
        *manifest = changed;
        self.tail().set_oldest(keep_from.first);
        // Not under the append lock: an append may hold it and wait for the housekeeping thread, which trims.
        self.shared.chain.rcu(|chain| chain.from(keep_from.sequence));
        self.shared.recent.forget_before(keep_from.sequence);
        tracing::info!(oldest = %keep_from.first, "trimmed");
        let removed = chain.links().iter().filter(|link| link.sequence < keep_from.sequence);
        let names = removed.map(|link| format::segment_name(link.sequence, link.first));
        self.lock_forgotten().extend(names);
        Ok(keep_from.first)
    }

    fn lock_forgotten(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are files that are no part of the log any more.
    pub(crate) fn has_forgotten(&self) -> bool {
        !self.lock_forgotten().is_empty()
    }

    /// Removes the files that are no part of the log any more, all that can be removed, and returns when they are gone.
    pub(crate) fn remove_forgotten(&self) -> Result<()> {
        // Who is at it already takes them along. A close waits for it, too: then there may be another log, with files of these
        // names.
        let _removing = self.removing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut removed, mut stayed, mut failed) = (false, Vec::new(), None);
        while let Some(name) = { self.lock_forgotten().pop_front() } {
            // The next open removes the rest.
            self.check_not_closed()?;
            match self.disk().remove(&name) {
                // Somebody else may have done it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed.get_or_insert(Error::io("remove", self.disk().path().join(&name))(error));
                    stayed.push(name);
                }
                _ => removed = true,
            }
        }
        self.lock_forgotten().extend(stayed);
        let synced = if removed { self.disk().sync_directory() } else { Ok(()) };
        match failed {
            Some(error) => Err(error),
            None => synced.map_err(Error::io("sync", self.disk().path())),
        }
    }
}
