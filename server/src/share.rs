//! How many of something each user has, so that nobody takes those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::Uuid;

/// What users have. Where nobody logs in nobody is counted.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shares(Arc<Mutex<HashMap<Uuid, usize>>>);

/// One that a user has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    user: Option<Uuid>,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        // Every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more for a user; nothing when there are as many as may be.
    pub(crate) fn take(&self, user: Option<Uuid>, max: usize) -> Option<Share> {
        if let Some(user) = user {
            let mut counts = self.lock();
            let count = counts.entry(user).or_default();
            if *count >= max {
                return None;
            }
            *count += 1;
        }
        Some(Share {
            shares: self.clone(),
            user,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(user) = self.user else { return };
        let mut counts = self.shares.lock();
        if let Some(count) = counts.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many_and_what_is_given_back_can_be_had_again() {
        let shares = Shares::default();
        let [ada, bo] = [Uuid::new(), Uuid::new()].map(Some);
        let first = shares.take(ada, 2).unwrap();
        let second = shares.take(ada, 2).unwrap();
        assert!(shares.take(ada, 2).is_none());
        let other = shares.take(bo, 2).unwrap();
        drop(first);
        let again = shares.take(ada, 2).unwrap();
        drop((second, other, again));
        assert!(shares.lock().is_empty());
        // Nobody is not counted.
        let nobody: Vec<_> = (0..5).map(|_| shares.take(None, 2).unwrap()).collect();
        assert_eq!(nobody.len(), 5);
    }
}
