//! Retention slots of the store's log, for whoever reads it behind the writers.
//!
//! The store's own hold is not among what these can move or drop; see [`checkpoint`](crate::checkpoint).

use tailwater_oplog::{Durability, OpId, RetentionSlot, SlotOptions};

use super::Store;
use crate::error::Result;

impl Store {
    /// Creates a retention slot: the log keeps the entries from `from` on, up to a cap. See
    /// [`Oplog::slot_create`](tailwater_oplog::Oplog::slot_create).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn slot_create(&self, name: &str, from: OpId, options: SlotOptions) -> Result<()> {
        Ok(self.core().log.slot_create(name, from, options)?)
    }

    /// Puts a slot in the place of another one, or of itself, in one change. See
    /// [`Oplog::slot_replace`](tailwater_oplog::Oplog::slot_replace).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn slot_replace(&self, replaced: &str, name: &str, from: OpId, options: SlotOptions) -> Result<()> {
        Ok(self.core().log.slot_replace(replaced, name, from, options)?)
    }

    /// Says that the slot's consumer needs nothing below `op_id` any more; written later. See
    /// [`Oplog::slot_advance`](tailwater_oplog::Oplog::slot_advance).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn slot_advance(&self, name: &str, op_id: OpId) -> Result<OpId> {
        Ok(self.core().log.slot_advance(name, op_id, Durability::Memory)?)
    }

    /// Gives a slot other options. See [`Oplog::slot_limit`](tailwater_oplog::Oplog::slot_limit).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn slot_limit(&self, name: &str, options: SlotOptions) -> Result<()> {
        Ok(self.core().log.slot_limit(name, options)?)
    }

    /// Drops a slot. See [`Oplog::slot_drop`](tailwater_oplog::Oplog::slot_drop).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn slot_drop(&self, name: &str) -> Result<()> {
        Ok(self.core().log.slot_drop(name)?)
    }

    /// The slots with their lags, by name.
    #[must_use]
    pub fn slots(&self) -> Vec<RetentionSlot> {
        self.core().log.slots()
    }
}
