//! Tasks that wait for the same thing, by their wakers.
//!
//! A task that stops waiting, because it was served from elsewhere, timed out or was dropped, is forgotten with its
//! [`Registration`]: who waits for long is all that is kept, however many have come and gone on a log where nothing happens.
//!
//! A waker is code of the program's, and runs on whatever thread has moved the log on: one of the log's own, or one that syncs,
//! appends or closes. It is called without any lock of the log's. What would have to wait for that very thread asks
//! [`is_waking`].

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use crate::primitives::{Mutex, MutexGuard, with_waking};

/// Tasks that wait. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakers(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    /// The number that the next registration gets.
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// Has a task woken once; see [`OplogView::wake_on_change`](crate::OplogView::wake_on_change). The task is forgotten when this
/// is dropped.
#[derive(Debug)]
pub struct Registration {
    wakers: Wakers,
    number: u64,
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `waker` woken next time, in the place of whatever `registration` was for. `noted` is called before another thread
    /// can wake it.
    pub(crate) fn register(&self, waker: &Waker, registration: &mut Option<Registration>, noted: impl FnOnce()) {
        // One for another list is given up, not under this one's lock.
        let known = registration.take_if(|r| Arc::ptr_eq(&r.wakers.0, &self.0));
        *registration = None;
        let mut list = self.lock();
        let number = known.as_ref().map_or(list.next, |known| known.number);
        list.next = list.next.max(number + 1);
        let stale = match list.waiting.get_mut(&number) {
            Some(known) if known.will_wake(waker) => None,
            _ => list.waiting.insert(number, waker.clone()),
        };
        noted();
        drop(list);
        // Its drop may run anything.
        drop(stale);
        *registration = Some(known.unwrap_or_else(|| Registration {
            wakers: self.clone(),
            number,
        }));
    }

    /// Wakes them all, after `noted` has been called.
    pub(crate) fn wake(&self, noted: impl FnOnce()) {
        let waiting = {
            let mut list = self.lock();
            noted();
            std::mem::take(&mut list.waiting)
        };
        if waiting.is_empty() {
            return;
        }
        let _waking = Waking::begin();
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    /// Whether nobody waits; `noted` is called if so, before another task can register.
    pub(crate) fn is_empty_and(&self, noted: impl FnOnce()) -> bool {
        let list = self.lock();
        let empty = list.waiting.is_empty();
        if empty {
            noted();
        }
        empty
    }
}

/// Whether this thread is inside a waker that the log has called.
pub(crate) fn is_waking() -> bool {
    with_waking(|depth| depth.get() > 0)
}

/// This thread calls wakers, for as long as this lives.
struct Waking;

impl Waking {
    fn begin() -> Waking {
        with_waking(|depth| depth.set(depth.get() + 1));
        Waking
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        with_waking(|depth| depth.set(depth.get() - 1));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let forgotten = self.wakers.lock().waiting.remove(&self.number);
        // Not under the lock: its drop may run anything.
        drop(forgotten);
    }
}

#[cfg(test)]
impl Wakers {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_registration_is_woken_once_by_its_last_waker_and_not_after_its_drop() {
        let wakers = Wakers::default();
        let counts: [Arc<Count>; 3] = Default::default();
        let mut places: [Option<Registration>; 3] = Default::default();
        for (place, count) in places.iter_mut().zip(&counts) {
            for _ in 0..2 {
                wakers.register(&Waker::from(Arc::clone(count)), place, || ());
            }
        }
        assert_eq!(wakers.len(), 3);
        // The first gives up, and the second is polled by another task.
        places[0] = None;
        wakers.register(&Waker::from(Arc::clone(&counts[2])), &mut places[1], || ());
        assert_eq!(wakers.len(), 2);
        wakers.wake(|| ());
        wakers.wake(|| ());
        let woken = counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!((woken, wakers.len()), ([0, 0, 2], 0));
    }

    #[test]
    fn a_registration_moves_from_one_list_to_another() {
        let lists: [Wakers; 2] = Default::default();
        let waker = Waker::from(Arc::new(Count::default()));
        let mut place = None;
        for list in [&lists[0], &lists[1], &lists[1]] {
            list.register(&waker, &mut place, || ());
        }
        assert_eq!((lists[0].len(), lists[1].len()), (0, 1));
        drop(place);
        assert_eq!(lists[1].len(), 0);
    }
}
