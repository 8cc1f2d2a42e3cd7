//! What a follower holds of its log for the others that follow its primary: when the primary is gone and this one is promoted, they
//! find here what they lack, as they would have there.
//!
//! A primary, or a relay, tells those that have all of its log of the slots it has for followers (`follower.<name>`), and of what it
//! holds itself for others (`standby.<name>`). A follower keeps a slot `standby.<name>` for each, with a cap of its own, and drops
//! those that are spoken of no more. Promoted, it has them become slots of followers. Nothing is held for a member that needs what
//! this one does not have either: that needs a copy from whoever is promoted.

use tailwater_oplog::{Error as LogError, Member, OpId, SlotOptions, SlotState};
use tailwater_storage::{Error as StoreError, Store};

use crate::decision::History;
use crate::primary::slots::{self, FOLLOWER};
use crate::wire::Need;

/// With this the name of a slot begins that is held for another's follower.
const STANDBY: &str = "standby.";
/// Members at most for which something is held.
const NEEDS_MAX: usize = 64;

/// What those need that follow this member, or whom it follows: the first entry for each, by their names.
pub(crate) fn needs(store: &Store) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for slot in store.slots() {
        let name = [FOLLOWER, STANDBY].iter().find_map(|of| slot.name.strip_prefix(of));
        let (Some(name), SlotState::Active) = (name, slot.state) else {
            continue;
        };
        match needs.iter_mut().find(|need| need.name == name) {
            Some(need) => need.from = need.from.min(slot.position),
            None => needs.push(Need {
                name: name.to_owned(),
                from: slot.position,
            }),
        }
    }
    needs.truncate(NEEDS_MAX);
    needs
}

/// Holds the log for those, `own` apart, and for nobody else.
pub(crate) fn keep(store: &Store, own: &str, needs: &[Need], max_lag_bytes: u64) {
    let others = || needs.iter().filter(|need| need.name != own).take(NEEDS_MAX);
    let slots = store.slots();
    for slot in &slots {
        let name = slot.name.strip_prefix(STANDBY);
        if name.is_some_and(|name| others().all(|need| need.name != name)) {
            tell(name.unwrap_or_default(), store.slot_drop(&slot.name));
        }
    }
    let marks = store.log().watermarks();
    for need in others() {
        let slot = format!("{STANDBY}{}", need.name);
        let held = slots.iter().find(|held| held.name == slot);
        // It may have more than this one.
        let from = need.from.min(marks.durable.next());
        let done = match held.map(|held| (held.state, held.position)) {
            Some((SlotState::Active, position)) if position == from => Ok(()),
            Some((SlotState::Active, position)) if position < from => store.slot_advance(&slot, from).map(drop),
            _ if from < marks.oldest || from == OpId::ZERO => Ok(()),
            _ => store.slot_replace(&slot, &slot, from, SlotOptions { max_lag_bytes }),
        };
        tell(&need.name, done);
    }
}

/// This one was primary, or nobody follows it any more: what it holds for followers it holds for those of the primary that it follows
/// now, which says of whom that is true ([`keep`]). Who comes to follow this one gets a slot again. No cap becomes larger than
/// `max_lag_bytes`.
pub(crate) fn step_back(store: &Store, max_lag_bytes: u64) {
    let slots = store.slots();
    for slot in &slots {
        let Some(name) = slot.name.strip_prefix(FOLLOWER) else {
            continue;
        };
        let max_lag_bytes = max_lag_bytes.min(slot.max_lag_bytes);
        tell(
            name,
            match slot.state {
                SlotState::Active => {
                    let standby = format!("{STANDBY}{name}");
                    let held = slots
                        .iter()
                        .find(|other| other.name == standby && other.state == SlotState::Active);
                    let from = held.map_or(slot.position, |held| slot.position.min(held.position));
                    store.slot_replace(&slot.name, &standby, from, SlotOptions { max_lag_bytes })
                }
                SlotState::Lost => store.slot_drop(&slot.name),
            },
        );
    }
}

/// This one is primary now: what it held for those who followed another it holds for its followers. So it does, from its end on, for
/// the member of a list whose entries it has last: that one has more, if anything, when it comes back.
pub(crate) fn take_over(store: &Store, own: Member, members: &[String], history: &History, max_lag_bytes: u64) {
    for slot in store.slots() {
        let Some(name) = slot.name.strip_prefix(STANDBY) else {
            continue;
        };
        match slot.state {
            SlotState::Active => slots::take_over(store, max_lag_bytes, &slot, name),
            SlotState::Lost => tell(name, store.slot_drop(&slot.name)),
        }
    }
    let before = history.end().term.member();
    let name = members.get(usize::from(before.get()));
    if let Some(name) = name.filter(|_| before != own && history.last > OpId::ZERO) {
        slots::hold(store, max_lag_bytes, name, history.last);
    }
}

fn tell(name: &str, done: Result<(), StoreError>) {
    match done {
        Ok(()) | Err(StoreError::Log(LogError::NoSuchSlot { .. })) => {}
        // The other may still find what it needs.
        Err(error) => tracing::debug!(%error, name, "holding the log for another follower"),
    }
}
