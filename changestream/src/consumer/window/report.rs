//! What a window says of itself: how far everything is, and what is open.

use tailwater_oplog::OpId;

use super::{EventId, Progress, Slot, Window};
use crate::token::ResumeToken;

impl Window {
    /// The last entry that has been looked at.
    pub(in crate::consumer) fn read(&self) -> OpId {
        self.read.op_id()
    }

    /// Everything up to there is dealt with, if `also` is.
    pub(in crate::consumer) fn low(&self, also: Option<EventId>) -> ResumeToken {
        let mut low = self.low;
        for (id, slot) in &self.slots {
            if !is_done(*id, slot, also) {
                return low;
            }
            low = slot.token;
        }
        low.max(self.read)
    }

    /// What is done behind [`Window::low`]: first and last of each stretch.
    pub(in crate::consumer) fn done_stretches(&self, also: Option<EventId>) -> Vec<(EventId, EventId)> {
        let mut stretches: Vec<(EventId, EventId)> = Vec::new();
        let mut goes_on = false;
        let behind = self.slots.iter().skip_while(|(id, slot)| is_done(**id, slot, also));
        for (id, slot) in behind {
            let done = is_done(*id, slot, also);
            match stretches.last_mut() {
                Some(stretch) if done && goes_on => stretch.1 = *id,
                _ if done => stretches.push((*id, *id)),
                _ => {}
            }
            goes_on = done;
        }
        stretches
    }

    /// The events that have failed and are not done, as if `also` were: first and last of each stretch in which all have done so
    /// equally often, and how often.
    pub(in crate::consumer) fn failing_stretches(&self, also: Option<EventId>) -> Vec<(EventId, EventId, u32)> {
        let mut stretches: Vec<(EventId, EventId, u32)> = Vec::new();
        let mut goes_on = false;
        for (id, slot) in self.slots.iter().filter(|(id, slot)| !is_done(**id, slot, also)) {
            match stretches.last_mut() {
                Some(stretch) if goes_on && stretch.2 == slot.failures => stretch.1 = *id,
                _ if slot.failures > 0 => stretches.push((*id, *id, slot.failures)),
                _ => {}
            }
            goes_on = slot.failures > 0;
        }
        stretches
    }

    /// How many events are with members, and how many wait for them.
    pub(in crate::consumer) fn counts(&self) -> (u64, u64) {
        self.slots
            .values()
            .fold((0, 0), |(delivered, waiting), slot| match slot.progress {
                Progress::Delivered(..) => (delivered + 1, waiting),
                Progress::Waiting(_) => (delivered, waiting + 1),
                Progress::Done => (delivered, waiting),
            })
    }

    pub(in crate::consumer) fn members(&self) -> u64 {
        self.members.len() as u64
    }

    /// Whether nothing is left to deal with.
    pub(in crate::consumer) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

fn is_done(id: EventId, slot: &Slot, also: Option<EventId>) -> bool {
    matches!(slot.progress, Progress::Done) || also == Some(id)
}
