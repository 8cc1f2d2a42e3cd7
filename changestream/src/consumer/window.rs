//! The events of a group that are not dealt with yet: which member may have which of them next, and how far everything is.
//!
//! ```text
//!            low                                  read
//!   log ──────┼──done──▢──waiting──■──delivered──▢──┼───────►
//!   all dealt with    │             window           not looked at yet
//! ```
//!
//! # Order
//!
//! Events are spread over partitions by the document they concern, and a partition belongs to one member. So the events of a
//! document reach one member, in order. When one of them fails, the later ones of that document are taken back, and all come
//! again in order. A partition changes hands only when nothing of it is with its member. An event that concerns no document
//! (`drop`, `rename`, `invalidate`) is a barrier: it is delivered when everything before it is done, and nothing behind it
//! before it is.
//!
//! This is a state machine without clock, threads and disk.

mod report;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use tailwater_matcher::encode_key;
use tailwater_oplog::OpId;

use crate::deadline::FAR;
use crate::event::{ChangeEvent, OperationType};
use crate::token::ResumeToken;

/// A member of a group.
pub(super) type MemberId = u64;

/// An event: its entry, and whether it is the `invalidate` behind it. In the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct EventId {
    pub(super) op_id: OpId,
    pub(super) invalidate: bool,
}

impl EventId {
    pub(super) fn of(event: &ChangeEvent) -> EventId {
        EventId {
            op_id: event.op_id(),
            invalidate: event.operation_type() == OperationType::Invalidate,
        }
    }
}

#[derive(Debug)]
enum Progress {
    /// For its member to ask for it; after a failure not before a time.
    Waiting(Option<Instant>),
    /// With a member, under the number of the delivery.
    Delivered(MemberId, u64),
    Done,
}

#[derive(Debug)]
struct Slot {
    /// Nothing when it is done.
    event: Option<ChangeEvent>,
    token: ResumeToken,
    /// The document it concerns; nothing for a barrier.
    key: Option<u64>,
    progress: Progress,
    /// How often it has failed.
    failures: u32,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    seen: Instant,
    /// Whether it is waiting for an event right now.
    waits: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Partition {
    /// Whoever has events of it.
    owner: Option<MemberId>,
    delivered: u32,
}

/// What a member is given.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) id: EventId,
    pub(super) delivery: u64,
    pub(super) event: ChangeEvent,
    pub(super) failures: u32,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Window {
    slots: BTreeMap<EventId, Slot>,
    waiting: Vec<BTreeSet<EventId>>,
    partitions: Vec<Partition>,
    /// Those that are not done.
    barriers: BTreeSet<EventId>,
    /// First and last of each stretch of slots that are done.
    done: BTreeMap<EventId, EventId>,
    /// Those that have failed and are not done.
    failing: BTreeSet<EventId>,
    /// Those that may not be tried again before a time.
    delayed: BTreeSet<EventId>,
    members: BTreeMap<MemberId, Member>,
    deliveries: u64,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    lease: Duration,
    low: ResumeToken,
    read: ResumeToken,
}

impl Window {
    pub(super) fn new(
        start: ResumeToken,
        partitions: usize,
        events_max: usize,
        bytes_max: usize,
        lease: Duration,
    ) -> Window {
        let partitions = partitions.max(1);
        Window {
            slots: BTreeMap::new(),
            waiting: vec![BTreeSet::new(); partitions],
            partitions: vec![Partition::default(); partitions],
            barriers: BTreeSet::new(),
            done: BTreeMap::new(),
            failing: BTreeSet::new(),
            delayed: BTreeSet::new(),
            members: BTreeMap::new(),
            deliveries: 0,
            bytes: 0,
            events_max: events_max.max(1),
            bytes_max,
            lease: lease.min(FAR),
            low: start,
            read: start,
        }
    }

    /// Whether another event may be read.
    pub(super) fn has_room(&self) -> bool {
        self.slots.is_empty() || (self.slots.len() < self.events_max && self.bytes < self.bytes_max)
    }

    /// Takes in the next event of the stream: one that has failed so far, or one that was done before a restart.
    pub(super) fn push(&mut self, event: ChangeEvent, failures: u32, done: bool) {
        let (id, token) = (EventId::of(&event), event.resume_token());
        let key = document_of(&event);
        let bytes = event.entry_bytes();
        self.bytes += bytes;
        self.slots.insert(
            id,
            Slot {
                event: Some(event),
                token,
                key,
                progress: Progress::Waiting(None),
                failures,
                bytes,
            },
        );
        match key {
            Some(key) => drop(self.waiting_of(key).insert(id)),
            None => drop(self.barriers.insert(id)),
        }
        if failures > 0 {
            self.failing.insert(id);
        }
        if done {
            self.finish(id);
        }
    }

    /// Notes that the stream has looked at everything up to there.
    pub(super) fn note_read(&mut self, token: ResumeToken) {
        self.read = token;
        self.settle();
    }

    pub(super) fn join(&mut self, member: MemberId, now: Instant) {
        self.members.insert(
            member,
            Member {
                seen: now,
                waits: false,
            },
        );
    }

    /// Whether a member has a place, and has not lost it by being silent.
    pub(super) fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// Notes that a member is alive, and whether it waits. One that had lost its place gets a new one.
    ///
    /// Whether the others have to look again: the work is divided anew, or a lease has begun to run, which whoever sleeps does not
    /// know of.
    pub(super) fn see(&mut self, member: MemberId, now: Instant, waits: bool) -> bool {
        let before = self.members.insert(member, Member { seen: now, waits });
        self.members.len() > 1 && before.is_none_or(|before| before.waits && !waits)
    }

    /// Takes back what a member has, for the others.
    pub(super) fn leave(&mut self, member: MemberId) {
        self.members.remove(&member);
        let with_it = |slot: &Slot| matches!(slot.progress, Progress::Delivered(with, _) if with == member);
        let ids: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| with_it(slot))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.take_back(id, None);
        }
    }

    /// Takes members out that have not been heard of for a lease, but not the one that is `asking`; whether there were any. The
    /// last one keeps its place: there is nobody to take over.
    pub(super) fn expire(&mut self, now: Instant, asking: Option<MemberId>) -> bool {
        let mut any = false;
        while self.members.len() > 1 {
            let lapsed = |member: &Member| !member.waits && now.saturating_duration_since(member.seen) >= self.lease;
            let mut others = self.members.iter().filter(|(id, _)| asking != Some(**id));
            let Some(id) = others.find(|(_, m)| lapsed(m)).map(|(id, _)| *id) else {
                break;
            };
            tracing::warn!(
                member = id,
                "a member of a consumer has not been heard of for its lease: others take over"
            );
            self.leave(id);
            any = true;
        }
        any
    }

    /// When something may change by itself: a lease ends, or a failed event may be tried again. What is over by `now` is up to
    /// the members.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let leases = self.members.values().filter(|m| !m.waits).map(|m| m.seen + self.lease);
        let leases = leases.filter(|_| self.members.len() > 1);
        let delayed = self.delayed.iter().filter_map(|id| self.slots.get(id));
        let retries = delayed.filter_map(|slot| match slot.progress {
            Progress::Waiting(not_before) => not_before,
            _ => None,
        });
        leases.chain(retries).filter(|time| *time > now).min()
    }

    /// The first event in the log's order that the member may have now.
    pub(super) fn take(&mut self, member: MemberId, now: Instant) -> Option<Handed> {
        let id = self.first_for(member, now)?;
        let slot = self.slots.get_mut(&id)?;
        self.deliveries += 1;
        slot.progress = Progress::Delivered(member, self.deliveries);
        self.delayed.remove(&id);
        let handed = Handed {
            id,
            delivery: self.deliveries,
            event: slot.event.clone()?,
            failures: slot.failures,
        };
        if let Some(key) = slot.key {
            self.waiting_of(key).remove(&id);
            let partition = self.partition_of(key);
            self.partitions[partition].owner = Some(member);
            self.partitions[partition].delivered += 1;
        }
        Some(handed)
    }

    fn first_for(&self, member: MemberId, now: Instant) -> Option<EventId> {
        let barrier = self.barriers.first().copied();
        if let Some(barrier) = barrier
            && let Some((first, slot)) = self.slots.first_key_value()
            && *first == barrier
        {
            return is_ready(slot, now).then_some(barrier);
        }
        let members: Vec<_> = self.members.keys().copied().collect();
        let mut found: Option<EventId> = None;
        for (number, (waiting, partition)) in self.waiting.iter().zip(&self.partitions).enumerate() {
            let theirs = partition.delivered > 0 && partition.owner != Some(member);
            if waiting.is_empty() || theirs || members.get(number % members.len().max(1)) != Some(&member) {
                continue;
            }
            let limit = match (barrier, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            // Documents of which an earlier event has to be tried again first.
            let mut blocked = HashSet::new();
            for id in waiting.iter().take_while(|id| limit.is_none_or(|limit| **id < limit)) {
                let Some(slot) = self.slots.get(id) else { continue };
                if blocked.contains(&slot.key) {
                    continue;
                }
                if is_ready(slot, now) {
                    found = Some(*id);
                    break;
                }
                blocked.insert(slot.key);
            }
        }
        found
    }

    /// Whether that delivery stands: it is with its member, and has not been taken back.
    pub(super) fn stands(&self, id: EventId, delivery: u64) -> bool {
        let progress = self.slots.get(&id).map(|slot| &slot.progress);
        matches!(progress, Some(Progress::Delivered(_, number)) if *number == delivery)
    }

    /// Marks an event as done; returns how many have become so.
    pub(super) fn finish(&mut self, id: EventId) -> u64 {
        let Some(slot) = self.slots.get_mut(&id) else { return 0 };
        let before = std::mem::replace(&mut slot.progress, Progress::Done);
        slot.event = None;
        self.bytes -= std::mem::take(&mut slot.bytes);
        let key = slot.key;
        match (key, before) {
            (_, Progress::Done) => return 0,
            (None, _) => drop(self.barriers.remove(&id)),
            (Some(key), Progress::Waiting(_)) => drop(self.waiting_of(key).remove(&id)),
            (Some(key), Progress::Delivered(..)) => self.return_one(key),
        }
        self.failing.remove(&id);
        self.delayed.remove(&id);
        add_done(&self.slots, &mut self.done, id);
        self.settle();
        1
    }

    /// Marks everything as done that the member has up to an event; returns how many.
    pub(super) fn finish_through(&mut self, member: MemberId, last: EventId) -> u64 {
        let with_it = |slot: &Slot| matches!(slot.progress, Progress::Delivered(with, _) if with == member);
        let range = self.slots.range(..=last);
        let ids: Vec<_> = range.filter(|(_, slot)| with_it(slot)).map(|(id, _)| *id).collect();
        ids.into_iter().map(|id| self.finish(id)).sum()
    }

    /// Counts a failure of a delivered event; returns how many it has had by now, and the event.
    pub(super) fn count_failure(&mut self, id: EventId) -> Option<(u32, ChangeEvent)> {
        let slot = self.slots.get_mut(&id)?;
        let event = slot.event.clone()?;
        slot.failures = slot.failures.saturating_add(1);
        self.failing.insert(id);
        Some((slot.failures, event))
    }

    /// Has an event delivered again at or after a time, and then the later ones of its document.
    pub(super) fn retry(&mut self, id: EventId, not_before: Option<Instant>) {
        let Some(key) = self.slots.get(&id).map(|slot| slot.key) else {
            return;
        };
        let of_document = |slot: &Slot| slot.key == key && matches!(slot.progress, Progress::Delivered(..));
        let range = self
            .slots
            .range(id..)
            .filter(|(_, slot)| key.is_some() && of_document(slot));
        let later: Vec<_> = range.map(|(id, _)| *id).filter(|later| *later != id).collect();
        self.take_back(id, not_before);
        for id in later {
            self.take_back(id, None);
        }
    }

    fn take_back(&mut self, id: EventId, not_before: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !matches!(slot.progress, Progress::Delivered(..)) {
            return;
        }
        slot.progress = Progress::Waiting(not_before);
        if not_before.is_some() {
            self.delayed.insert(id);
        }
        if let Some(key) = slot.key {
            self.waiting_of(key).insert(id);
            self.return_one(key);
        }
    }

    fn return_one(&mut self, key: u64) {
        let number = self.partition_of(key);
        let partition = &mut self.partitions[number];
        partition.delivered -= 1;
        if partition.delivered == 0 {
            partition.owner = None;
        }
    }

    fn partition_of(&self, key: u64) -> usize {
        // The remainder is below the number of partitions.
        (key % self.partitions.len() as u64) as usize
    }

    fn waiting_of(&mut self, key: u64) -> &mut BTreeSet<EventId> {
        let partition = self.partition_of(key);
        &mut self.waiting[partition]
    }

    /// Moves `low` over what is done.
    fn settle(&mut self) {
        while let Some(first) = self.slots.first_entry()
            && matches!(first.get().progress, Progress::Done)
        {
            self.done.remove(first.key());
            self.low = first.remove().token;
        }
        if self.slots.is_empty() {
            self.low = self.low.max(self.read);
        }
    }
}

/// Takes a slot into the stretches of those that are done: it may go on one, begin one, or join two.
fn add_done(slots: &BTreeMap<EventId, Slot>, done: &mut BTreeMap<EventId, EventId>, id: EventId) {
    let is_done = |id: &EventId| {
        slots
            .get(id)
            .is_some_and(|slot| matches!(slot.progress, Progress::Done))
    };
    let before = slots.range(..id).next_back().map(|(id, _)| *id).filter(is_done);
    let after = slots.range(id..).nth(1).map(|(id, _)| *id).filter(is_done);
    let first = before.and_then(|before| done.range(..=before).next_back().map(|(first, _)| *first));
    let last = after.and_then(|after| done.remove(&after));
    done.insert(first.unwrap_or(id), last.unwrap_or(id));
}

fn is_ready(slot: &Slot, now: Instant) -> bool {
    match slot.progress {
        Progress::Waiting(not_before) => not_before.is_none_or(|time| time <= now),
        _ => false,
    }
}

/// A number for the document that an event concerns, whatever its collection is called by now.
fn document_of(event: &ChangeEvent) -> Option<u64> {
    let key = event.document_key()?;
    let mut bytes = Vec::new();
    encode_key(key.get("_id").ok()??, &mut bytes);
    let mut hasher = DefaultHasher::new();
    (event.collection_id(), bytes).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::LogId;

    use super::*;

    #[test]
    fn a_time_that_has_come_is_no_alarm() {
        // Whoever waited until a time in the past would go round without sleeping.
        let (begin, lease) = (Instant::now(), Duration::from_secs(1));
        let start = ResumeToken::without_entry(LogId::from_bytes([1; 16]), OpId::ZERO);
        let mut window = Window::new(start, 8, 8, 8, lease);
        window.join(1, begin);
        assert_eq!(window.next_time(begin), None, "nobody could take over");
        window.join(2, begin);
        assert_eq!(window.next_time(begin), Some(begin + lease));
        assert_eq!(window.next_time(begin + lease), None);
        window.see(2, begin, true);
        assert!(window.expire(begin + lease, None));
        assert_eq!(window.next_time(begin + lease), None);
    }

    #[test]
    fn whoever_asks_is_alive_however_short_the_lease_is() {
        let now = Instant::now();
        let start = ResumeToken::without_entry(LogId::from_bytes([1; 16]), OpId::ZERO);
        let mut window = Window::new(start, 8, 8, 8, Duration::ZERO);
        window.join(1, now);
        window.join(2, now);
        assert!(window.expire(now, Some(1)));
        assert!(window.has(1) && !window.has(2));
        assert!(!window.expire(now, Some(1)));
    }

    #[test]
    fn a_lease_that_begins_to_run_is_told_and_one_may_be_as_long_as_can_be() {
        let begin = Instant::now();
        let start = ResumeToken::without_entry(LogId::from_bytes([1; 16]), OpId::ZERO);
        let mut window = Window::new(start, 8, 8, 8, Duration::MAX);
        window.join(1, begin);
        assert!(
            !window.see(1, begin, true) && !window.see(1, begin, false),
            "it is alone"
        );
        window.join(2, begin);
        assert!(!window.see(1, begin, false), "its lease runs as it did");
        assert!(!window.see(1, begin, true), "no lease runs while it waits");
        assert!(!window.see(1, begin, true));
        assert!(window.see(1, begin, false));
        assert!(window.see(3, begin, true), "one that had lost its place");
        assert!(window.next_time(begin).is_some());
    }
}
