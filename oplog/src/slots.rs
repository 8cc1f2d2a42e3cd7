//! Named retention slots: from which entry on a consumer still needs the log, and how far it may fall behind.
//!
//! A position moves in memory and is written to the file `RETENTION` later, but before a trim relies on it: what a trim may
//! remove is decided by what the file says ([`Written`]). So a crash takes a slot back to an older position, whose entries
//! are all there, and never forward.

use std::sync::PoisonError;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::{LogId, OpId};
use crate::oplog::{Core, Oplog};
use crate::options::Durability;
use crate::primitives::{Mutex, MutexGuard};
use crate::retention::Extents;
use crate::slot_file::{
    Named, OWNER, RETENTION, RETENTION_SLOTS_MAX, Slot, check_given_name, encode_slots, read_slots,
};
use crate::view::{OplogView, read_log};

/// Options of a retention slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotOptions {
    /// The slot is lost when it lags by more than so many bytes; see [`RetentionSlot::lag_bytes`] for how they are counted.
    /// A slot that is to survive a crash of the writer needs two segments more than its consumer ever lags. Default 1 GiB.
    pub max_lag_bytes: u64,
}

impl Default for SlotOptions {
    fn default() -> Self {
        SlotOptions { max_lag_bytes: 1 << 30 }
    }
}

/// Whether a retention slot holds anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    /// Entries from its position on are kept.
    Active,
    /// It lagged by more than its cap, or what it held is gone. It keeps nothing until it is dropped or created anew.
    Lost,
}

/// A retention slot as it stands; see [`Oplog::slots`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RetentionSlot {
    /// Its name.
    pub name: String,
    /// The first entry that its consumer still needs.
    pub position: OpId,
    /// Its cap in bytes.
    pub max_lag_bytes: u64,
    /// Lengths of the segment files from the one with its position up to, but without, the newest, which is kept in any
    /// case: what the slot can keep on disk.
    pub lag_bytes: u64,
    /// Entries from its position on.
    pub lag_entries: u64,
    /// Whether it holds them.
    pub state: SlotState,
}

/// What the file says.
#[derive(Debug)]
pub(crate) struct Written {
    slots: Named,
    /// Whether it surely says so: a replacement that failed may have been done all the same.
    sure: bool,
}

impl Written {
    /// No entry from here on may be removed.
    fn floor(&self) -> OpId {
        floor(&self.slots)
    }
}

fn floor(slots: &Named) -> OpId {
    let active = slots.values().filter(|slot| !slot.lost);
    active.map(|slot| slot.position).min().unwrap_or(OpId::new(u64::MAX))
}

#[derive(Debug)]
struct State {
    slots: Named,
    /// Whether retention would remove more if slots did not hold it.
    holding: bool,
}

/// The retention slots of a writable log. See the module documentation.
///
/// Lock order: `written`, then `state`, which is held for moments only.
#[derive(Debug)]
pub(crate) struct Slots {
    state: Mutex<State>,
    /// Its lock orders trims and changes of the file.
    written: Mutex<Written>,
}

impl Slots {
    /// Reads the file.
    pub(crate) fn read(disk: &dyn Disk, log_id: LogId) -> Result<Slots> {
        let slots = read_slots(disk, log_id)?;
        Ok(Slots {
            state: Mutex::new(State {
                slots: slots.clone(),
                holding: false,
            }),
            written: Mutex::new(Written { slots, sure: true }),
        })
    }

    /// Fits the slots to a log that begins with `first` and goes on with `next`.
    pub(crate) fn settle(&self, first: OpId, next: OpId) {
        let mut written = self.lock_written();
        let mut state = self.lock_state();
        for (name, slot) in &mut state.slots {
            if slot.position > next {
                tracing::warn!(slot = name, position = %slot.position, end = %next, "retention slot set back to the log's end");
                slot.position = next;
            }
            if !slot.lost && slot.position < first {
                tracing::warn!(slot = name, position = %slot.position, oldest = %first, "retention slot lost: its entries are gone");
                slot.lost = true;
            }
        }
        if written.slots != state.slots {
            *written = Written {
                slots: state.slots.clone(),
                sure: false,
            };
        }
    }

    /// As [`Slots::lock_written`], for an open log: a close waits for the lock before it gives the directory free.
    pub(crate) fn lock_open(&self, core: &Core) -> Result<MutexGuard<'_, Written>> {
        let written = self.lock_written();
        core.check_open()?;
        Ok(written)
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock_state().slots.is_empty()
    }

    /// Writes the positions, and returns the OpID from which on nothing may be removed while `written` is held.
    pub(crate) fn floor(&self, core: &Core, written: &mut Written) -> Result<OpId> {
        let slots = self.lock_state().slots.clone();
        write(core, written, slots)?;
        Ok(written.floor())
    }

    /// Writes the positions.
    pub(crate) fn save(&self, core: &Core) -> Result<()> {
        self.floor(core, &mut self.lock_written()).map(drop)
    }

    /// Takes what they hold from the slots whose lag is above their cap, or above `room`, what there is for all. The owner's
    /// never loses.
    pub(crate) fn lose(&self, room: u64, lag_bytes: impl Fn(OpId) -> u64) {
        for (name, slot) in &mut self.lock_state().slots {
            let lag = lag_bytes(slot.position);
            if !slot.lost && lag > slot.cap.min(room) && name != OWNER {
                tracing::warn!(
                    slot = name, position = %slot.position, lag_bytes = lag, max_lag_bytes = slot.cap, room,
                    "retention slot lost: it lags by more than its cap, or than the log may take"
                );
                slot.lost = true;
            }
        }
    }

    /// Notes that retention would remove everything below `before`; whether slots keep it from that.
    pub(crate) fn note_wanted(&self, before: OpId) {
        let mut state = self.lock_state();
        state.holding = floor(&state.slots) < before;
    }
}

/// Replaces the file when `slots` are not what it says.
fn write(core: &Core, written: &mut Written, mut slots: Named) -> Result<()> {
    // Power loss may take what is not durable, and another entry come in its place. What was written before was durable then,
    // also when that is not proven yet in this life of the log.
    let end = core.tail().durable().next();
    for (name, slot) in &mut slots {
        let before = written.slots.get(name).map_or(OpId::ZERO, |slot| slot.position);
        slot.position = slot.position.min(end.max(before));
    }
    if written.sure && written.slots == slots {
        return Ok(());
    }
    written.sure = false;
    core.disk()
        .replace(RETENTION, &encode_slots(core.shared.log_id, &slots))
        .map_err(Error::io("write", core.disk().path().join(RETENTION)))?;
    *written = Written { slots, sure: true };
    Ok(())
}

impl Slot {
    /// The error of who relies on it, after it was lost.
    fn gone(&self, name: &str) -> Error {
        Error::SlotLost {
            name: name.to_owned(),
            position: self.position,
            max_lag_bytes: self.cap,
        }
    }
}

fn no_such(name: &str) -> Error {
    Error::NoSuchSlot { name: name.to_owned() }
}

/// Retention slots: what consumers need is kept for them, up to a cap.
///
/// A slot has a name and a position, the first entry that its consumer still needs. While it is [`SlotState::Active`],
/// neither [`Options::retention`](crate::Options::retention) nor [`Oplog::trim`] removes that entry or a later one. When it
/// lags by more than [`SlotOptions::max_lag_bytes`], or keeps the log above
/// [`Retention::hard_max_bytes`](crate::Retention::hard_max_bytes), it is lost: it is written down as lost, named in a warning, and holds
/// nothing any more. So the disk does not fill up because a consumer is dead. Lags are looked at whenever a segment has been
/// sealed, whether anything is about to be removed or not, and by each [`Oplog::trim`].
impl Oplog {
    /// Creates the slot `name` with the position `from`, and returns when that survives power loss. A lost slot of that name
    /// is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSlotName`] unless the name has 1 to 120 bytes and no control character and does not begin with
    /// `tailwater.`; [`Error::SlotExists`] when it
    /// is active; [`Error::TooManySlots`]; [`Error::HistoryLost`] when entry `from` has been trimmed, [`Error::Ahead`] when it
    /// is neither there nor the next; [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`]. After [`Error::Io`] the slot may
    /// be found when the log is opened again.
    pub fn slot_create(&self, name: &str, from: OpId, options: SlotOptions) -> Result<()> {
        self.create(name, from, options, None)
    }

    /// Puts the slot `name`, with the position `from`, in the place of the slot `replaced`, and returns when that survives power
    /// loss. The two may be the same: then it is set back or forward, and lost no longer. It is one change of the file, so entries
    /// that both hold are held throughout, whenever the machine stops, also when there is no room for a slot more. Where there is no
    /// slot `replaced`, it creates one all the same.
    ///
    /// # Errors
    ///
    /// As [`Oplog::slot_create`], but for [`Error::SlotExists`]: one called `name` is replaced, too. After any of them both are as
    /// they were.
    pub fn slot_replace(&self, replaced: &str, name: &str, from: OpId, options: SlotOptions) -> Result<()> {
        check_given_name(replaced)?;
        self.create(name, from, options, Some(replaced))
    }

    fn create(&self, name: &str, from: OpId, options: SlotOptions, replaced: Option<&str>) -> Result<()> {
        check_given_name(name)?;
        let core = self.core();
        let mut written = core.slots.lock_open(core)?;
        // No trim comes in between: it takes the same lock.
        let oldest = core.tail().oldest();
        if from < oldest {
            let requested = from;
            return Err(Error::HistoryLost { requested, oldest });
        }
        core.check_not_ahead(from)?;
        let mut slots = core.slots.lock_state().slots.clone();
        if let Some(replaced) = replaced {
            slots.remove(replaced);
            slots.remove(name);
        }
        match slots.get(name) {
            Some(slot) if !slot.lost => {
                return Err(Error::SlotExists {
                    name: name.to_owned(),
                    position: slot.position,
                });
            }
            None if slots.len() - usize::from(slots.contains_key(OWNER)) >= RETENTION_SLOTS_MAX => {
                return Err(Error::TooManySlots {
                    max: RETENTION_SLOTS_MAX,
                });
            }
            _ => {}
        }
        let slot = Slot {
            position: from,
            cap: options.max_lag_bytes,
            lost: false,
        };
        slots.insert(name.to_owned(), slot.clone());
        write(core, &mut written, slots)?;
        let frees = {
            // The others may have moved meanwhile.
            let mut state = core.slots.lock_state();
            if let Some(replaced) = replaced {
                state.slots.remove(replaced);
            }
            state.slots.insert(name.to_owned(), slot);
            replaced.is_some() && state.holding
        };
        drop(written);
        if frees {
            core.keeper.retain();
        }
        Ok(())
    }

    /// Says that the consumer of slot `name` needs nothing below `op_id` any more, and returns the slot's position, which is
    /// larger when it had been there before.
    ///
    /// With [`Durability::Memory`] the position is written later: before a trim relies on it, when a segment has been sealed,
    /// and when the log is closed. A crash before that takes the slot back to an older position. With [`Durability::Disk`] it
    /// is written when the call returns, and everything below it is synced first.
    ///
    /// # Errors
    ///
    /// [`Error::SlotLost`], [`Error::NoSuchSlot`], [`Error::InvalidSlotName`]; [`Error::Ahead`] when entry `op_id` is neither there nor the next;
    /// [`Error::Closed`]. With [`Durability::Disk`] also [`Error::Io`] and [`Error::Poisoned`]: the slot has moved, and may go
    /// back.
    pub fn slot_advance(&self, name: &str, op_id: OpId, durability: Durability) -> Result<OpId> {
        check_given_name(name)?;
        self.advance(name, op_id, durability)
    }

    fn advance(&self, name: &str, op_id: OpId, durability: Durability) -> Result<OpId> {
        let core = self.core();
        if core.is_closed() {
            return Err(Error::Closed);
        }
        core.check_not_ahead(op_id)?;
        let (position, frees) = {
            let mut state = core.slots.lock_state();
            let holding = state.holding;
            let slot = state.slots.get_mut(name).ok_or_else(|| no_such(name))?;
            if slot.lost {
                return Err(slot.gone(name));
            }
            let before = slot.position;
            slot.position = before.max(op_id);
            (slot.position, holding && core.leaves_segment(before, slot.position))
        };
        if durability == Durability::Disk {
            core.check_open()?;
            // A position above what is durable is not written.
            self.sync(position.previous())?;
            let mut written = core.slots.lock_open(core)?;
            core.slots.floor(core, &mut written)?;
        }
        if frees {
            core.keeper.retain();
        }
        Ok(position)
    }

    /// Gives the slot `name` other options, and returns when that survives power loss. Its position stays.
    ///
    /// # Errors
    ///
    /// [`Error::SlotLost`], [`Error::NoSuchSlot`], [`Error::InvalidSlotName`]; [`Error::Io`], [`Error::Poisoned`],
    /// [`Error::Closed`]: the slot is as it was, but after [`Error::Io`] it may have the new options when the log is opened
    /// again.
    pub fn slot_limit(&self, name: &str, options: SlotOptions) -> Result<()> {
        check_given_name(name)?;
        let core = self.core();
        let mut written = core.slots.lock_open(core)?;
        let mut slots = core.slots.lock_state().slots.clone();
        let slot = slots.get_mut(name).ok_or_else(|| no_such(name))?;
        if slot.lost {
            return Err(slot.gone(name));
        }
        slot.cap = options.max_lag_bytes;
        write(core, &mut written, slots)?;
        // It may have moved or been lost meanwhile.
        if let Some(slot) = core.slots.lock_state().slots.get_mut(name) {
            slot.cap = options.max_lag_bytes;
        }
        Ok(())
    }

    /// Drops the slot `name`, lost or not, and returns when that survives power loss.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSlot`], [`Error::InvalidSlotName`]; [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`]: the slot is still there, but after
    /// [`Error::Io`] it may be gone when the log is opened again.
    pub fn slot_drop(&self, name: &str) -> Result<()> {
        check_given_name(name)?;
        let core = self.core();
        let mut written = core.slots.lock_open(core)?;
        let mut slots = core.slots.lock_state().slots.clone();
        slots.remove(name).ok_or_else(|| no_such(name))?;
        write(core, &mut written, slots)?;
        let frees = {
            let mut state = core.slots.lock_state();
            state.slots.remove(name);
            state.holding
        };
        drop(written);
        if frees {
            core.keeper.retain();
        }
        Ok(())
    }

    /// Holds the entries from `from` on for the program that the log belongs to, whose own state is made from it, and returns
    /// when that survives power loss; a hold that only moves forward is written later, as by [`Oplog::slot_advance`] with
    /// [`Durability::Memory`].
    ///
    /// There is one such hold. It has no cap and is never lost: that program moves it on by itself. It is listed among the
    /// [slots](Oplog::slots), under a name that consumers cannot use or drop.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when entry `from` has been trimmed, [`Error::Ahead`] when it is neither there nor the next;
    /// [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn hold_from(&self, from: OpId) -> Result<()> {
        let core = self.core();
        core.check_open()?;
        let found = core.slots.lock_state().slots.get(OWNER).cloned();
        if found.is_some_and(|slot| !slot.lost && slot.position <= from) {
            return self.advance(OWNER, from, Durability::Memory).map(drop);
        }
        core.check_not_ahead(from)?;
        let mut written = core.slots.lock_open(core)?;
        // No trim comes in between: it takes the same lock.
        let oldest = core.tail().oldest();
        if from < oldest {
            let requested = from;
            return Err(Error::HistoryLost { requested, oldest });
        }
        let slot = Slot {
            position: from,
            cap: u64::MAX,
            lost: false,
        };
        let mut slots = core.slots.lock_state().slots.clone();
        slots.insert(OWNER.to_owned(), slot.clone());
        write(core, &mut written, slots)?;
        core.slots.lock_state().slots.insert(OWNER.to_owned(), slot);
        Ok(())
    }

    /// The slots with their lags, by name.
    #[must_use]
    pub fn slots(&self) -> Vec<RetentionSlot> {
        let core = self.core();
        let extents = core.extents(&core.shared.chain.load());
        let next = core.tail().accepted().next();
        describe(&core.slots.lock_state().slots, &extents, next)
    }
}

impl OplogView {
    /// The slots with their lags, by name, as they are written on disk: a writer's own may be ahead, see [`Oplog::slots`].
    ///
    /// # Errors
    ///
    /// [`Error::DamagedMetadata`] and [`Error::NewerFormat`] of the file `RETENTION`; [`Error::Io`].
    pub fn slots(&self) -> Result<Vec<RetentionSlot>> {
        let shared = &self.shared;
        let slots = read_slots(&*shared.disk, shared.log_id)?;
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let next = self.watermarks().appended.next();
        let (_, chain) = read_log(&*shared.disk)?;
        // A segment that is being removed takes nothing.
        let extents = Extents::of(&chain, |name| shared.disk.length(name).unwrap_or(0));
        Ok(describe(&slots, &extents, next))
    }
}

fn describe(slots: &Named, extents: &Extents, next: OpId) -> Vec<RetentionSlot> {
    let slot = |(name, slot): (&String, &Slot)| RetentionSlot {
        name: name.clone(),
        position: slot.position,
        max_lag_bytes: slot.cap,
        lag_bytes: extents.lag_bytes(slot.position),
        lag_entries: next.get().saturating_sub(slot.position.get()),
        state: match slot.lost {
            true => SlotState::Lost,
            false => SlotState::Active,
        },
    };
    slots.iter().map(slot).collect()
}

impl Core {
    fn check_not_ahead(&self, op_id: OpId) -> Result<()> {
        let newest = self.tail().accepted();
        if op_id > newest.next() {
            let requested = op_id;
            return Err(Error::Ahead { requested, newest });
        }
        Ok(())
    }

    /// Whether the two positions are in different segments.
    fn leaves_segment(&self, from: OpId, to: OpId) -> bool {
        let chain = self.shared.chain.load();
        let sequence = |op_id| chain.covering(op_id).map(|link| link.sequence);
        sequence(from) != sequence(to)
    }
}
