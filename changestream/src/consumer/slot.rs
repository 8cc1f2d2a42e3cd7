//! The retention slot of a consumer: what the log keeps for it.
//!
//! A slot is not behind what is dealt with and durable for longer than until the next step that is written down, and never in
//! front of it: no crash, also of the machine, has the consumer ask for what was let go.

use tailwater_oplog::{Error as LogError, OpId, ReadConcern, SlotState};

use crate::document_store::DocumentStore;
use crate::error::{Error, Result};
use crate::token::{ResumeToken, TokenKind};

const ENTRIES_PER_LOOK_MAX: u64 = 64;

/// The name of a consumer's retention slot.
pub(super) fn slot_name(name: &str) -> String {
    format!("consumer.{name}")
}

/// Has the log keep what comes behind a position, and no more.
pub(super) fn hold(store: &dyn DocumentStore, name: &str, position: ResumeToken, max_lag_bytes: u64) -> Result<()> {
    let slot = slot_name(name);
    let from = needed_from(position);
    let found = store.slots().into_iter().find(|found| found.name == slot);
    match found.filter(|found| found.state == SlotState::Active) {
        None => store.slot_create(&slot, from, max_lag_bytes),
        Some(found) => {
            if found.position < from {
                // A member that acknowledges once and leaves has no later step that would take the slot along. The position is in
                // the state: when that is durable, no crash takes it back.
                drop(store.state(ReadConcern::Durable)?);
                advance(store, name, from, max_lag_bytes)?;
            }
            match found.max_lag_bytes == max_lag_bytes {
                true => Ok(()),
                false => store.slot_limit(&slot, max_lag_bytes),
            }
        }
    }
}

/// The first entry that somebody at a position still needs: behind an event that ends what is watched comes an `invalidate`,
/// which is made from the same entry.
pub(super) fn needed_from(position: ResumeToken) -> OpId {
    match position.kind() {
        TokenKind::Ending => position.op_id(),
        _ => position.op_id().next(),
    }
}

/// Moves the slot of a consumer on, or makes it anew where it is lost, or was dropped by hand: what comes is there to be held.
pub(super) fn advance(store: &dyn DocumentStore, name: &str, from: OpId, max_lag_bytes: u64) -> Result<()> {
    let slot = slot_name(name);
    match store.slot_advance(&slot, from) {
        Err(Error::Log(LogError::SlotLost { .. } | LogError::NoSuchSlot { .. })) => {
            store.slot_create(&slot, from, max_lag_bytes)
        }
        moved => moved,
    }
}

/// Whether the slot of a consumer lags by more than a quarter of its cap. One that does not lag is never near it, however small
/// the cap: of two consumers each would write down its position because the other has, without end.
pub(super) fn is_near_cap(store: &dyn DocumentStore, name: &str) -> bool {
    let slot = slot_name(name);
    let mut slots = store.slots().into_iter();
    slots.any(|found| found.name == slot && is_near(found.lag_bytes, found.max_lag_bytes))
}

/// After so many entries it is worth a look whether a slot is near its cap: as many as come to a quarter of that when each is as
/// large as a document may be.
pub(super) fn entries_per_look(max_lag_bytes: u64) -> u64 {
    const ENTRY_BYTES: u64 = 16 << 20;
    (max_lag_bytes / 4 / ENTRY_BYTES).clamp(1, ENTRIES_PER_LOOK_MAX)
}

fn is_near(lag_bytes: u64, max_lag_bytes: u64) -> bool {
    lag_bytes > max_lag_bytes / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_quarter_of_the_cap_goes_by_between_two_looks() {
        let looks = [0, 2 << 20, 128 << 20, 1 << 30, 1 << 40].map(entries_per_look);
        assert_eq!(looks, [1, 1, 2, 16, ENTRIES_PER_LOOK_MAX]);
    }

    #[test]
    fn what_does_not_lag_is_not_near_the_smallest_cap() {
        for max_lag_bytes in 0..=4 {
            assert!(!is_near(0, max_lag_bytes), "{max_lag_bytes}");
        }
        assert!(is_near(1, 0));
        assert!(!is_near(25, 100));
        assert!(is_near(26, 100));
    }
}
