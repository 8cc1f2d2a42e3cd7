//! What a window says of itself: how far everything is, and what is open.

use std::collections::BTreeMap;

use tailwater_oplog::OpId;

use super::{EventId, Progress, Slot, Window, add_done};
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

    /// What is done behind [`Window::low`], if `also` is: first and last of each stretch. It takes as long as there are such.
    pub(in crate::consumer) fn done_stretches(&self, also: Option<EventId>) -> Vec<(EventId, EventId)> {
        let of = |done: &BTreeMap<EventId, EventId>| done.iter().map(|(first, last)| (*first, *last)).collect();
        let open = |id: &EventId| self.slots.get(id).is_some_and(|slot| !is_done(*id, slot, None));
        let Some(also) = also.filter(open) else {
            return of(&self.done);
        };
        let mut done = self.done.clone();
        add_done(&self.slots, &mut done, also);
        // What begins with the first slot is in front of `low`.
        if let (Some(stretch), Some((first, _))) = (done.first_entry(), self.slots.first_key_value())
            && stretch.key() == first
        {
            stretch.remove();
        }
        of(&done)
    }

    /// The events that have failed and are not done, as if `also` were: first and last of each stretch in which all have done so
    /// equally often, and how often. It takes as long as there are slots from the first of them to the last.
    pub(in crate::consumer) fn failing_stretches(&self, also: Option<EventId>) -> Vec<(EventId, EventId, u32)> {
        let mut stretches: Vec<(EventId, EventId, u32)> = Vec::new();
        let (Some(first), Some(last)) = (self.failing.first(), self.failing.last()) else {
            return stretches;
        };
        let mut goes_on = false;
        let slots = self.slots.range(*first..=*last);
        for (id, slot) in slots.filter(|(id, slot)| !is_done(**id, slot, also)) {
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    use bson::rawdoc;
    use proptest::prelude::*;
    use tailwater_oplog::entry::{EntryKind, StoreEntry};
    use tailwater_oplog::{Durability, Options, ReadConcern};

    use super::*;
    use crate::event::ChangeEvent;
    use crate::options::Watch;
    use crate::scope::Scope;

    const EVENTS: i32 = 40;

    static INSERTS: LazyLock<Vec<ChangeEvent>> = LazyLock::new(events);

    /// Inserts of as many documents.
    fn events() -> Vec<ChangeEvent> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        };
        let log = options.open(dir.path()).unwrap();
        for id in 0..EVENTS {
            let mut payload = Vec::new();
            StoreEntry {
                database: "shop",
                collection: "orders",
                document: Some(&rawdoc! { "_id": id }),
                ..StoreEntry::default()
            }
            .encode(&mut payload);
            log.append(EntryKind::Insert.number(), &payload, Durability::Memory)
                .unwrap();
        }
        let watch = Watch::new(log.view(), Scope::Everything).read_concern(ReadConcern::Local);
        let mut stream = watch.start_at_oldest().start().unwrap();
        std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
    }

    /// By a walk over everything.
    fn stretches_by_walk(window: &Window, also: Option<EventId>) -> Vec<(EventId, EventId)> {
        let slots: Vec<_> = window.slots.iter().collect();
        let stretches = slots.chunk_by(|a, b| is_done(*a.0, a.1, also) == is_done(*b.0, b.1, also));
        let done = stretches.filter(|stretch| is_done(*stretch[0].0, stretch[0].1, also));
        let ends = done.map(|stretch| (*stretch[0].0, *stretch[stretch.len() - 1].0));
        ends.filter(|(first, _)| Some(first) != slots.first().map(|(id, _)| *id))
            .collect()
    }

    fn failing_by_walk(window: &Window) -> Vec<EventId> {
        let open = window.slots.iter().filter(|(id, slot)| !is_done(**id, slot, None));
        open.filter(|(_, slot)| slot.failures > 0).map(|(id, _)| *id).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_kept_is_what_a_walk_finds(steps in prop::collection::vec((0..6u8, 0..EVENTS as usize), 1..200)) {
            let events = &*INSERTS;
            let start = ResumeToken::without_entry(events[0].resume_token().log_id(), OpId::ZERO);
            let mut window = Window::new(start, 4, 100, usize::MAX, Duration::ZERO);
            let (mut read, now) = (0, Instant::now());
            window.join(1, now);
            for (step, at) in steps {
                let id = EventId::of(&events[at]);
                match step {
                    0 | 1 if read < events.len() => {
                        window.push(events[read].clone(), u32::from(at % 5 == 0), at % 7 == 0);
                        window.note_read(events[read].resume_token());
                        read += 1;
                    }
                    2 => drop(window.take(1, now)),
                    3 => drop(window.finish(id)),
                    4 => {
                        window.count_failure(id);
                        window.retry(id, Some(now + Duration::from_secs(at as u64)));
                    }
                    _ => {
                        let also = window.slots.contains_key(&id).then_some(id);
                        prop_assert_eq!(window.done_stretches(also), stretches_by_walk(&window, also));
                    }
                }
                prop_assert_eq!(window.done_stretches(None), stretches_by_walk(&window, None));
                prop_assert_eq!(window.failing.iter().copied().collect::<Vec<_>>(), failing_by_walk(&window));
                let delayed = window.slots.values().filter_map(|slot| match slot.progress {
                    Progress::Waiting(time) => time,
                    _ => None,
                });
                prop_assert_eq!(window.next_time(now), delayed.filter(|time| *time > now).min());
            }
        }
    }
}
