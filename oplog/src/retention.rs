//! Retention: what the log removes by itself, and when.
//!
//! The housekeeping thread calls [`Core::retain`] after each segment that has been sealed, when the oldest one comes of age,
//! and when a slot lets go of what it held back. Otherwise it sleeps.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use crate::chain::{Chain, Link};
use crate::error::{Error, Result};
use crate::format;
use crate::ids::{OpId, Sequence, Timestamp};
use crate::oplog::{Core, Oplog};
use crate::primitives::{Mutex, MutexGuard};
use crate::view::ReadConcern;

/// How much history a log keeps without being told to [`Oplog::trim`](crate::Oplog::trim); by default, all of it.
///
/// Where both are set, each removes what it would remove alone. Only whole segments go, from the oldest on, and only durable
/// entries; never the newest segment or the newest durable entry, and nothing that an active retention slot needs (see
/// [`Oplog::slot_create`](crate::Oplog::slot_create)). A reader that is overtaken gets [`Error::HistoryLost`].
///
/// A program whose own state is made from the log must not have entries removed that it has not made durable elsewhere: it
/// holds them with a slot, or trims by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Bytes that all segment files together may take; what is too much goes when a segment has been sealed. 0 keeps the
    /// newest segment, and what slots hold.
    pub max_bytes: Option<u64>,
    /// Age at which entries go, by the wall clock and their own timestamps, a segment when its last one has reached it.
    pub max_age: Option<Duration>,
    /// Bytes that all segment files together may take whatever slots hold: what is too much goes, and a slot that holds it is
    /// lost, by name, though it is below its own cap. So with this no consumer can fill the disk. Only the log's owner, if it
    /// [holds](crate::Oplog::hold_from) something, keeps its entries. The newest segment stays. As `max_bytes`, it is kept to
    /// whenever a segment has been sealed.
    pub hard_max_bytes: Option<u64>,
}

impl Retention {
    /// Bytes that the segments are to be brought down to.
    fn bytes(&self) -> Option<u64> {
        [self.max_bytes, self.hard_max_bytes].into_iter().flatten().min()
    }
}

/// When retention is to be looked at again, unless something happens before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// After so long.
    After(Duration),
    /// Not before something happens.
    Rest,
}

/// With a clock that was set back, the next segment comes of age when the clock has caught up. Until then it is looked at after
/// the time a new entry would take, and not more often than this.
const AGE_LOOK_MIN: u64 = 1_000_000_000;

/// When to look for a segment that comes of age in so many nanoseconds, by the wall clock.
fn look_again(left: u64, max_age: u64) -> Duration {
    Duration::from_nanos(left.min(max_age.max(AGE_LOOK_MIN)))
}

/// What is known of segments that change no more; saves asking for it again.
#[derive(Debug, Default)]
pub(crate) struct Facts(Mutex<BTreeMap<Sequence, Fact>>);

#[derive(Clone, Copy, Debug, Default)]
struct Fact {
    bytes: Option<u64>,
    last: Option<Timestamp>,
}

impl Facts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sequence, Fact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how long the file of a segment is.
    pub(crate) fn note_length(&self, sequence: Sequence, bytes: u64) {
        self.lock().entry(sequence).or_default().bytes = Some(bytes);
    }

    fn forget_before(&self, sequence: Sequence) {
        let mut facts = self.lock();
        *facts = facts.split_off(&sequence);
    }
}

/// How much of the log lies behind each segment.
#[derive(Debug)]
pub(crate) struct Extents {
    /// First OpID of each segment, and the bytes from its beginning to the newest segment's.
    segments: Vec<(OpId, u64)>,
    newest_bytes: u64,
}

impl Extents {
    /// Of segments of which `length` says how long the file of that name is.
    pub(crate) fn of(chain: &Chain, length: impl Fn(&str) -> u64) -> Extents {
        Extents::measured(chain, |link| length(&format::segment_name(link.sequence, link.first)))
    }

    fn measured(chain: &Chain, bytes: impl Fn(&Link) -> u64) -> Extents {
        let mut segments: Vec<_> = chain.links().iter().map(|link| (link.first, bytes(link))).collect();
        let mut behind = 0;
        let mut newest_bytes = None;
        for (_, bytes) in segments.iter_mut().rev() {
            let own = std::mem::replace(bytes, behind);
            if newest_bytes.is_none() {
                newest_bytes = Some(own);
            } else {
                behind += own;
                *bytes = behind;
            }
        }
        Extents {
            segments,
            newest_bytes: newest_bytes.unwrap_or(0),
        }
    }

    /// Lengths of the segment files from the one with `position` up to, but without, the newest.
    pub(crate) fn lag_bytes(&self, position: OpId) -> u64 {
        let after = self.segments.partition_point(|(first, _)| *first <= position);
        self.segments
            .get(after.saturating_sub(1))
            .map_or(0, |(_, bytes)| *bytes)
    }

    /// How many segments to remove for the others to take `max_bytes` at most.
    fn surplus(&self, max_bytes: u64) -> usize {
        let left = max_bytes.saturating_sub(self.newest_bytes);
        self.segments.partition_point(|(_, bytes)| *bytes > left)
    }
}

impl Core {
    fn bytes(&self, link: &Link) -> u64 {
        if let Some(bytes) = self.facts.lock().get(&link.sequence).and_then(|fact| fact.bytes) {
            return bytes;
        }
        let name = format::segment_name(link.sequence, link.first);
        // A segment that has just been removed takes nothing.
        let Ok(bytes) = self.disk().length(&name) else {
            return 0;
        };
        self.facts.note_length(link.sequence, bytes);
        bytes
    }

    /// Looks up the lengths that are not known, and forgets those of segments that have been removed.
    fn note_lengths(&self, chain: &Chain) {
        if let Some(oldest) = chain.oldest() {
            self.facts.forget_before(oldest.sequence);
        }
        for link in chain.links() {
            self.bytes(link);
        }
    }

    /// Lengths of all segment files together.
    pub(crate) fn segments_bytes(&self) -> u64 {
        let chain = self.shared.chain.load();
        chain.links().iter().map(|link| self.bytes(link)).sum()
    }

    pub(crate) fn extents(&self, chain: &Chain) -> Extents {
        Extents::measured(chain, |link| self.bytes(link))
    }

    /// The timestamp of the last entry of a segment with that successor.
    fn last_timestamp(&self, link: &Link, successor: &Link) -> Result<Timestamp> {
        if let Some(last) = self.facts.lock().get(&link.sequence).and_then(|fact| fact.last) {
            return Ok(last);
        }
        let entry = self.view().get(successor.first.previous(), ReadConcern::Durable)?;
        self.facts.lock().entry(link.sequence).or_default().last = Some(entry.timestamp());
        Ok(entry.timestamp())
    }

    /// How many segments to remove because of their age, and how long it takes until there is one more.
    fn aged(&self, chain: &Chain, max_age: Duration) -> (usize, Option<Duration>) {
        let max_age = u64::try_from(max_age.as_nanos()).unwrap_or(u64::MAX);
        let now = Timestamp::now().as_nanos();
        let mut aged = 0;
        for (i, pair) in chain.links().windows(2).enumerate() {
            let due = match self.last_timestamp(&pair[0], &pair[1]) {
                Ok(last) => last.as_nanos().saturating_add(max_age),
                // Not durable yet: the next segment that is sealed is behind it.
                Err(Error::Ahead { .. }) => return (aged, None),
                // Timestamps grow: a segment that cannot be read goes with a later one.
                Err(error) => {
                    tracing::debug!(%error, "looking for the age of a segment");
                    continue;
                }
            };
            if due > now {
                return (aged, Some(look_again(due - now, max_age)));
            }
            aged = i + 1;
        }
        (aged, None)
    }

    fn policy(&self) -> Retention {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the slots that lag too much.
    fn lose_lagging(&self, chain: &Chain) -> Extents {
        let extents = self.extents(chain);
        let hard = self.policy().hard_max_bytes;
        let room = hard.map_or(u64::MAX, |bytes| bytes.saturating_sub(extents.newest_bytes));
        self.slots.lose(room, |position| extents.lag_bytes(position));
        extents
    }

    /// See [`Oplog::trim`]. The slots are looked at first: their caps hold for it too, whether the housekeeping thread has come
    /// round since the last segment was sealed or not.
    pub(crate) fn trim(&self, before: OpId) -> Result<OpId> {
        let _span = tracing::debug_span!("trim", before = before.get()).entered();
        self.check_not_closed()?;
        if !self.slots.is_empty() {
            self.lose_lagging(&self.shared.chain.load_full());
        }
        self.remove_before(before)
    }

    /// Finds slots that lag too much, writes positions, and has the log begin behind what is too much. The files of that are left
    /// to another thread.
    pub(crate) fn retain(&self) -> Result<Pace> {
        let policy = self.policy();
        if policy == Retention::default() && self.slots.is_empty() {
            // All the same, so that who asks for statistics finds the lengths known.
            self.note_lengths(&self.shared.chain.load());
            return Ok(Pace::Rest);
        }
        let _span = tracing::debug_span!("retain").entered();
        self.syncer.check(self)?;
        let chain = self.shared.chain.load_full();
        self.note_lengths(&chain);
        let extents = self.lose_lagging(&chain);
        self.slots.save(self)?;

        let surplus = policy.bytes().map_or(0, |bytes| extents.surplus(bytes));
        let (aged, wait) = policy.max_age.map_or((0, None), |max_age| self.aged(&chain, max_age));
        let rest = wait.map_or(Pace::Rest, Pace::After);
        // The newest durable entry stays, also while the newest segment holds none.
        let durable = self.tail().durable();
        let durable = chain.links().partition_point(|link| link.first <= durable);
        let remove = surplus.max(aged).min(durable.saturating_sub(1));
        let wanted = match remove {
            0 => OpId::ZERO,
            _ => chain.links()[remove].first,
        };
        self.slots.note_wanted(wanted);
        let forgotten = match remove {
            0 => Ok(OpId::ZERO),
            _ => self.forget_before(wanted),
        };
        // What was left of earlier ones is tried again, and does not keep the rest from going.
        if self.has_forgotten() {
            self.keeper.remove();
        }
        forgotten.map(|_| rest)
    }
}

impl Oplog {
    /// Changes what the log removes by itself, from now on. See [`Options::retention`](crate::Options::retention).
    pub fn set_retention(&self, retention: Retention) {
        let core = self.core();
        *core.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
        core.keeper.retain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_the_housekeeping_thread_busy() {
        let (hour, second) = (3_600_000_000_000, 1_000_000_000);
        for (left, max_age, wait) in [
            (hour, 0, second),
            (hour, 1, second),
            (hour, 60 * second, 60 * second),
            (5, 0, 5),
            (second / 2, 2 * hour, second / 2),
            (hour, u64::MAX, hour),
        ] {
            assert_eq!(
                look_again(left, max_age),
                Duration::from_nanos(wait),
                "{left} of {max_age}"
            );
        }
    }
}
