//! Removing the oldest segments: the manifest first, then the files.

use std::sync::PoisonError;

use super::Core;
use super::opening::write_manifest;
use crate::error::{Error, Result};
use crate::format::{self, Manifest};
use crate::ids::OpId;

impl Core {
    /// Removes whole segments below `before`, but for what slots hold. Those that lag too much are the caller's to find.
    pub(crate) fn remove_before(&self, before: OpId) -> Result<OpId> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.syncer.check(self)?;
        // Held to the end, so that no slot comes to hold what is being removed.
        let mut slots = self.slots.lock_written();
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
        for link in chain.links().iter().filter(|link| link.sequence < keep_from.sequence) {
            let name = format::segment_name(link.sequence, link.first);
            self.disk()
                .remove(&name)
                .map_err(Error::io("remove", self.disk().path().join(&name)))?;
        }
        self.disk()
            .sync_directory()
            .map_err(Error::io("sync", self.disk().path()))?;
        Ok(keep_from.first)
    }
}
