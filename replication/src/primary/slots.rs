//! Retention slots of followers: what the log keeps for each, and how much at most.
//!
//! A slot is named by its follower. It has one of two caps: how far a follower may fall behind, or, from the moment a copy of the
//! state is begun for it until it has caught up, how much may be written meanwhile. Both are in bytes of the log.

use tailwater_oplog::{Error as LogError, OpId, RetentionSlot, SlotOptions, SlotState};
use tailwater_storage::{Error as StoreError, Store};

use super::service::Settings;
use crate::decision::{History, Meeting};
use crate::error::{Error, Result};

/// With this the name of a follower's slot begins.
pub(crate) const FOLLOWER: &str = "follower.";

/// Name of the retention slot of a follower.
pub(super) fn slot_name(follower: &str) -> String {
    format!("{FOLLOWER}{follower}")
}

fn find(store: &Store, follower: &str) -> Option<RetentionSlot> {
    let name = slot_name(follower);
    store.slots().into_iter().find(|slot| slot.name == name)
}

/// The first entry that a follower with such a log is to be sent, now or when it has been cut back; nothing when it needs a copy.
pub(super) fn needed_next(own: &History, follower: &History) -> Option<OpId> {
    match own.meet(follower) {
        Meeting::Continues(next) => Some(next),
        Meeting::Forks(last) => Some(last.next()),
        Meeting::Apart(_) => None,
    }
}

/// Has the log keep what a follower needs, from `next` on.
pub(crate) fn hold(store: &Store, max_lag_bytes: u64, follower: &str, next: OpId) {
    let (name, options) = (slot_name(follower), SlotOptions { max_lag_bytes });
    let created = match store.slot_create(&name, next, options) {
        // It has moved on with entries that this follower has lost since.
        Err(StoreError::Log(LogError::SlotExists { position, .. })) if position > next => {
            store.slot_replace(&name, &name, next, options)
        }
        Err(StoreError::Log(LogError::SlotExists { .. })) => Ok(()),
        other => other,
    };
    if let Err(error) = created {
        // It may still have what the follower needs; if not, the follower is told so.
        tracing::warn!(%error, follower, "nothing holds the log for a follower");
    }
}

/// Has the log keep what a copy of the state that covers `applied` needs, while it is made and fetched, and until its follower
/// has caught up.
pub(super) fn hold_for_copy(
    store: &Store,
    follower: &str,
    applied: OpId,
    max_lag_bytes: u64,
) -> std::result::Result<(), StoreError> {
    let name = slot_name(follower);
    let from = applied.max(store.log().watermarks().oldest).max(OpId::FIRST);
    // What an earlier copy needed does not matter any more.
    store.slot_replace(&name, &name, from, SlotOptions { max_lag_bytes })
}

/// Has what is held by the slot `held` held for a follower from now on, in the same moment.
pub(crate) fn take_over(store: &Store, max_lag_bytes: u64, held: &RetentionSlot, follower: &str) {
    // It may have followed this one before, too.
    let own = find(store, follower).filter(|slot| slot.state == SlotState::Active);
    let from = own.map_or(held.position, |slot| slot.position.min(held.position));
    let options = SlotOptions { max_lag_bytes };
    if let Err(error) = store.slot_replace(&held.name, &slot_name(follower), from, options) {
        tracing::warn!(%error, follower, "nothing holds the log for a follower");
    }
}

/// Has the log keep nothing for a follower that is given no copy: it has to begin anew.
pub(super) fn let_go(store: &Store, follower: &str) {
    match store.slot_drop(&slot_name(follower)) {
        Ok(()) | Err(StoreError::Log(LogError::NoSuchSlot { .. })) => {}
        Err(error) => tracing::warn!(%error, follower, "the log is held for a copy that was not made"),
    }
}

/// Whether the log is held for a follower from the entry on with which a copy goes on.
pub(super) fn is_held(store: &Store, follower: &str, applied: OpId) -> bool {
    let held = |slot: RetentionSlot| slot.state == SlotState::Active && slot.position <= applied.next();
    find(store, follower).is_some_and(held)
}

/// An error by name when what a copy needs is kept no longer, because too much was written meanwhile.
pub(super) fn check_copy(store: &Store, settings: &Settings, follower: &str, applied: OpId) -> Result<()> {
    match is_held(store, follower, applied) {
        true => Ok(()),
        false => Err(Error::CopyOutrun {
            follower: follower.to_owned(),
            max_lag_bytes: settings.copy_lag_bytes_max,
        }),
    }
}

/// Whether what was kept for a follower is kept no longer.
pub(super) fn is_lost(store: &Store, follower: &str) -> bool {
    find(store, follower).is_some_and(|slot| slot.state == SlotState::Lost)
}

/// Moves a follower's slot to the last entry it has. That one stays, to be compared when it comes again.
pub(super) fn advance(store: &Store, follower: &str, last: OpId) {
    if let Err(error) = store.slot_advance(&slot_name(follower), last) {
        tracing::debug!(%error, follower, "moving a follower's slot");
    }
}

/// Gives the slot of a follower the cap that holds from now on, if the follower is not too far behind for it. Whether it is one
/// that has caught up.
pub(super) fn settle(store: &Store, settings: &Settings, follower: &str) -> bool {
    let Some(slot) = find(store, follower).filter(|slot| slot.state == SlotState::Active) else {
        return false;
    };
    let max_lag_bytes = settings.lag_bytes_max;
    let caught_up = slot.lag_bytes <= max_lag_bytes;
    let changes = slot.max_lag_bytes < max_lag_bytes || slot.max_lag_bytes > max_lag_bytes && caught_up;
    if changes && let Err(error) = store.slot_limit(&slot.name, SlotOptions { max_lag_bytes }) {
        tracing::warn!(%error, follower, "giving a follower's slot another cap");
    }
    caught_up
}
