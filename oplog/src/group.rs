//! Who syncs, and who waits for whom: the meeting point of threads that want their entries durable.
//!
//! One thread at a time leads: it syncs everything appended so far, and those whose entries that covers need not sync
//! themselves. While a sync runs, others append and come to wait, for this sync or for the one after it. They sleep on two
//! words in turn, one for each of the two, so that the end of a sync wakes those it served and one more, who leads the next
//! sync; waking the others as well would have them run only to go back to sleep, and with many writers that costs more than
//! anything else.
//!
//! Where several threads take part, a leader waits a moment for those that were just served to come back with their next
//! entry, so that a sync serves many ([`Group::gather`]).
//!
//! # No one sleeps while nobody leads
//!
//! A waiter reads its word, then looks whether it has been served and whether somebody leads, and goes to sleep only if the
//! word has not changed since. A leader that stops first says so and then changes both words. So either the waiter sees that
//! nobody leads, or it sees the word change, or it is asleep in time to be woken. Which of the two words a waiter takes is
//! an estimate, and may be wrong when a sync begins or ends just then: the one that is woken to lead and finds itself served
//! passes the wake-up on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ids::OpId;
use crate::primitives::{AtomicBool, AtomicU32, AtomicU64, FutexFlags, Instant, futex_wait, futex_wake, thread};

/// The meeting point. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Whether somebody leads.
    leading: AtomicBool,
    /// Number of syncs begun.
    round: AtomicU64,
    /// What the sync begun last covers.
    target: AtomicU64,
    /// Those who wait for sync number n sleep on word n mod 2.
    words: [Word; 2],
    /// How many threads have come to wait, ever.
    arrived: AtomicU64,
    /// `arrived` when the sync begun last took its target.
    served: AtomicU64,
    /// How many took part in each of the last two syncs.
    sizes: [AtomicU64; 2],
}

/// On a cache line of its own: waiters of one sync and of the next do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Word {
    value: AtomicU32,
    sleepers: AtomicU32,
}

impl Group {
    /// Becomes the leader if nobody is.
    pub(crate) fn try_lead(&self) -> bool {
        // Partner: the store in `stop_leading`; a leader sees what its predecessor has done.
        self.leading
            .compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Says that a thread has come to wait.
    pub(crate) fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// For the leader: waits, at most for `delay`, until `size_max` threads wait for the sync that is about to begin, or
    /// most of those that took part in the last two. A thread that syncs alone is not kept waiting.
    pub(crate) fn gather(&self, delay: Duration, size_max: u64) {
        let last = self.sizes.iter().map(|s| s.load(Ordering::Relaxed)).max().unwrap_or(0);
        // The last few may have gone for good, or may be far behind.
        let expected = (last - last / 8).min(size_max);
        let here = || self.arrived.load(Ordering::Relaxed) - self.served.load(Ordering::Relaxed);
        if last < 2 || delay.is_zero() || here() >= expected {
            return;
        }
        let deadline = Instant::now() + delay;
        while here() < expected && Instant::now() < deadline {
            // Sleeping takes longer than all of this; whoever can run is to run.
            thread::yield_now();
        }
    }

    /// For the leader: says that a sync begins that will cover everything up to `target`.
    pub(crate) fn begin(&self, target: OpId) {
        let arrived = self.arrived.load(Ordering::Relaxed);
        let size = arrived.saturating_sub(self.served.swap(arrived, Ordering::Relaxed));
        let round = self.round.load(Ordering::Relaxed) + 1;
        self.sizes[(round % 2) as usize].store(size, Ordering::Relaxed);
        self.target.store(target.get(), Ordering::SeqCst);
        self.round.store(round, Ordering::SeqCst);
    }

    /// For the leader: stops leading, wakes the next, and those whom the last sync served; all of them if `everyone`.
    pub(crate) fn stop_leading(&self, everyone: bool) {
        let round = self.round.load(Ordering::SeqCst);
        let [next, served] = [1, 0].map(|ahead| &self.words[((round + ahead) % 2) as usize]);
        self.leading.store(false, Ordering::SeqCst);
        // The next leader first: it can begin while the others are being woken.
        next.wake(if everyone { u32::MAX } else { 1 });
        served.wake(u32::MAX);
    }

    /// Sleeps until there may be news for one who waits for `op_id`, unless `look` says that there is no need: it is asked
    /// after the last moment from which on a wake-up counts.
    pub(crate) fn sleep<T>(&self, op_id: OpId, look: impl FnOnce() -> Option<T>) -> Option<T> {
        let beyond = op_id.get() > self.target.load(Ordering::SeqCst);
        let round = self.round.load(Ordering::SeqCst) + u64::from(beyond);
        let word = &self.words[(round % 2) as usize];
        let seen = word.value.load(Ordering::SeqCst);
        let found = look();
        if found.is_none() && self.leading.load(Ordering::SeqCst) {
            word.sleep(seen);
        }
        found
    }

    /// For one that was served: if nobody leads, somebody else may have been meant to.
    pub(crate) fn pass_on(&self) {
        if !self.leading.load(Ordering::SeqCst) {
            for word in &self.words {
                word.wake(1);
            }
        }
    }
}

impl Word {
    /// Sleeps unless the word is not `seen` any more.
    fn sleep(&self, seen: u32) {
        // Partner: `wake`. It changes the word and then looks for sleepers; here it is the other way round.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        futex_wait(&self.value, FutexFlags::PRIVATE, seen, None);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self, threads: u32) {
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex_wake(&self.value, FutexFlags::PRIVATE, threads);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Longer than any test runs: a leader that goes on has what it waits for.
    const LONG: Duration = Duration::from_secs(3600);

    /// A group of which so many took part in the last sync.
    fn after_a_sync_of(size: u64) -> Group {
        let group = Group::default();
        (0..size).for_each(|_| group.arrive());
        group.begin(OpId::FIRST);
        group
    }

    /// Syncs until everybody is served, where one comes at first and `others` while the leader gathers.
    fn syncs(group: &Group, delay: Duration, size_max: u64, others: u64) -> Vec<u64> {
        let waiting = || group.arrived.load(Ordering::Relaxed) - group.served.load(Ordering::Relaxed);
        let sync = || {
            let size = waiting();
            group.begin(OpId::FIRST);
            size
        };
        group.arrive();
        let first = thread::scope(|scope| {
            let leader = scope.spawn(|| {
                group.gather(delay, size_max);
                sync()
            });
            if delay.is_zero() {
                // It waits for nobody, so nobody comes in time.
                let first = leader.join().unwrap();
                (0..others).for_each(|_| group.arrive());
                return first;
            }
            (0..others).for_each(|_| group.arrive());
            leader.join().unwrap()
        });
        let rest = std::iter::from_fn(|| (waiting() > 0).then(sync));
        std::iter::once(first).chain(rest).collect()
    }

    #[test]
    fn a_delay_has_those_who_shared_the_last_sync_share_the_next() {
        assert_eq!(syncs(&after_a_sync_of(5), LONG, 1024, 4), [5]);
        assert_eq!(syncs(&after_a_sync_of(5), Duration::ZERO, 1024, 4), [1, 4]);
    }

    #[test]
    fn a_full_group_is_not_held_back() {
        // Of nine, eight are waited for; with a bound of three the third is enough, and of one nobody is waited for.
        assert_eq!(syncs(&after_a_sync_of(9), LONG, 1024, 7), [8]);
        assert_eq!(syncs(&after_a_sync_of(9), LONG, 3, 2), [3]);
        assert_eq!(syncs(&after_a_sync_of(9), LONG, 1, 0), [1]);
    }

    #[test]
    fn who_syncs_alone_waits_for_nobody() {
        assert_eq!(syncs(&after_a_sync_of(1), LONG, 1024, 0), [1]);
    }

    /// Gone for good, or late: it is waited for no longer than the delay.
    #[test]
    fn a_delay_ends() {
        assert_eq!(syncs(&after_a_sync_of(5), Duration::from_millis(1), 1024, 0), [1]);
    }
}
