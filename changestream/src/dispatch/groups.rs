//! Watchers that ask for the same, as one: their filter is evaluated once, and what matches goes to all of them.

use std::sync::Arc;

use tailwater_oplog::{Entry, OpId};

use crate::dispatch::channel::{Channel, Offer};
use crate::dispatch::index::Access;
use crate::error::Error;
use crate::event::ChangeEvent;
use crate::plan::Plan;

/// One watcher.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) channel: Arc<Channel>,
    /// The first entry that concerns it.
    pub(crate) from: OpId,
}

impl Member {
    fn is_due(&self, entry: &Entry<'_>) -> bool {
        self.from <= entry.op_id() && self.channel.is_due(entry)
    }
}

/// All members with one plan.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) plan: Arc<Plan>,
    pub(crate) members: Vec<Member>,
    /// Where it stands in the index; nowhere when it is looked at for every event.
    pub(crate) accesses: Box<[Access]>,
    pub(crate) space: u32,
    /// Its place in the space's list.
    pub(crate) place: u32,
    /// The last turn in which it was looked at.
    pub(crate) turn: u32,
    /// How much more often it was looked at in vain than not, lately.
    pub(crate) in_vain: u16,
}

/// What delivering came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) taken: u64,
    pub(crate) parked: u64,
}

impl Group {
    /// Adds a member and tells it its seat.
    pub(crate) fn join(&mut self, number: u32, channel: Arc<Channel>, from: OpId) {
        channel.sit(seat(number, self.members.len()));
        self.members.push(Member { channel, from });
    }

    /// Takes out the member at a place; the last one gets its seat.
    pub(crate) fn leave(&mut self, number: u32, at: usize) -> Member {
        let member = self.members.swap_remove(at);
        if let Some(moved) = self.members.get(at) {
            moved.channel.sit(seat(number, at));
        }
        member
    }

    /// Offers an event to every member whom its entry concerns; those that are full or gone leave.
    pub(crate) fn deliver(
        &mut self,
        number: u32,
        entry: &Entry<'_>,
        event: &ChangeEvent,
        bells: &mut Vec<Arc<Channel>>,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        let mut at = 0;
        while let Some(member) = self.members.get(at) {
            if !member.is_due(entry) {
                at += 1;
                continue;
            }
            match member.channel.offer(event, bells) {
                Offer::Taken => {
                    delivered.taken += 1;
                    at += 1;
                }
                gone => {
                    delivered.parked += u64::from(gone == Offer::Full);
                    self.leave(number, at);
                }
            }
        }
        delivered
    }

    /// Ends every member whom the entry concerns: what they watch is gone.
    pub(crate) fn invalidate(&mut self, number: u32, entry: &Entry<'_>, event: Option<&ChangeEvent>) {
        self.take_due(number, entry, |member| {
            let token = member.channel.token_behind(entry);
            member.channel.invalidate(event.cloned(), token);
        });
    }

    /// Fails every member whom the entry concerns.
    pub(crate) fn fail(&mut self, number: u32, entry: &Entry<'_>, error: &Error) {
        self.take_due(number, entry, |member| member.channel.fail(error.clone()));
    }

    fn take_due(&mut self, number: u32, entry: &Entry<'_>, mut each: impl FnMut(&Member)) {
        let mut at = 0;
        while let Some(member) = self.members.get(at) {
            if member.is_due(entry) {
                each(&self.leave(number, at));
            } else {
                at += 1;
            }
        }
    }
}

fn seat(group: u32, at: usize) -> u64 {
    u64::from(group) << 32 | at as u64
}

/// Group and place of a seat.
pub(crate) fn seated(seat: u64) -> (usize, usize) {
    ((seat >> 32) as usize, (seat & u64::from(u32::MAX)) as usize)
}
