//! The memory of what open transactions have staged, over all sessions and by user: one may hold as much as a segment of the log, and
//! a client may have as many as it likes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::Uuid;

/// What all of them hold.
#[derive(Clone, Default, Debug)]
pub(crate) struct StagedBytes(Arc<Staged>);

#[derive(Default, Debug)]
struct Staged {
    all: AtomicU64,
    /// Of those who have logged in.
    by_user: Mutex<HashMap<Uuid, u64>>,
}

impl StagedBytes {
    fn by_user(&self) -> MutexGuard<'_, HashMap<Uuid, u64>> {
        // Every change is one step.
        self.0.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// What those of one user hold.
    pub(crate) fn of(&self, user: Uuid) -> u64 {
        self.by_user().get(&user).copied().unwrap_or(0)
    }

    /// The part of somebody who holds nothing yet.
    pub(crate) fn part(&self, user: Option<Uuid>) -> Part {
        Part {
            all: self.clone(),
            user,
            bytes: 0,
        }
    }
}

/// What one of them holds, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    all: StagedBytes,
    user: Option<Uuid>,
    bytes: u64,
}

impl Part {
    pub(crate) fn set(&mut self, bytes: u64) {
        if bytes == self.bytes {
            return;
        }
        // Wraps around where it becomes less, and the sum with it.
        let more = bytes.wrapping_sub(self.bytes);
        self.all.0.all.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        let Some(user) = self.user else { return };
        let mut by_user = self.all.by_user();
        let of_user = by_user.entry(user).or_default();
        *of_user = of_user.wrapping_add(more);
        if *of_user == 0 {
            by_user.remove(&user);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_holds_is_counted_until_it_is_gone() {
        let all = StagedBytes::default();
        let [ada, bo] = [Uuid::new(), Uuid::new()];
        let (mut one, mut other, mut third) = (all.part(Some(ada)), all.part(Some(bo)), all.part(None));
        one.set(10);
        other.set(5);
        one.set(3);
        third.set(1);
        assert_eq!((all.get(), all.of(ada), all.of(bo)), (9, 3, 5));
        drop(one);
        assert_eq!((all.get(), all.of(ada)), (6, 0));
        other.set(0);
        third.set(0);
        assert_eq!(all.get(), 0);
        assert!(all.by_user().is_empty());
    }
}
