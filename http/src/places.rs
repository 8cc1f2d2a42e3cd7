//! The connections that there may be at a time, and how many of them one address may have, so that nobody takes those of the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::options::HttpOptions;

/// How many each network has.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

fn lock(counts: &Counts) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Every change is one step.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    taken: Counts,
    max: usize,
    per_address_max: Option<usize>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    network: IpAddr,
    taken: Counts,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(options: &HttpOptions) -> Places {
        Places {
            free: Arc::new(Semaphore::new(options.connections_max)),
            taken: Counts::default(),
            max: options.connections_max,
            per_address_max: options.connections_per_address_max,
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.max.saturating_sub(self.free.available_permits())
    }

    /// A place for somebody at that address, if there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let network = tailwater_auth::network(address);
        let max = match self.per_address_max {
            Some(max) => max,
            None if address.to_canonical().is_loopback() => self.max,
            None => self.max - self.max / 4,
        };
        let mut taken = lock(&self.taken);
        let of_network = taken.get(&network).copied().unwrap_or(0);
        // Nothing is kept of who has no place.
        if of_network >= max {
            return None;
        }
        taken.insert(network, of_network + 1);
        drop(taken);
        Some(Place {
            network,
            taken: Arc::clone(&self.taken),
            _permit: permit,
        })
    }

    /// Waits until nobody has one.
    pub(crate) async fn all_free(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        // It is never closed.
        drop(self.free.acquire_many(all).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(of_network) = taken.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_for_others_and_this_machine_may_have_all() {
        let places = Places::new(&HttpOptions {
            connections_max: 4,
            ..HttpOptions::default()
        });
        let [here, one, other] = ["127.0.0.1", "192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut of_one: Vec<Place> = (0..3).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        let last = places.take(other).unwrap();
        assert!(places.take(here).is_none());
        of_one.pop();
        of_one.push(places.take(one).unwrap());
        drop((of_one, last));
        assert_eq!(places.taken(), 0);
        let all: Vec<Place> = (0..4).map(|_| places.take(here).unwrap()).collect();
        assert_eq!(places.taken(), 4);
        drop(all);
        assert!(lock(&places.taken).is_empty());
    }

    #[test]
    fn of_who_gets_no_place_nothing_is_kept() {
        let places = Places::new(&HttpOptions {
            connections_per_address_max: Some(0),
            ..HttpOptions::default()
        });
        assert!(places.take("192.0.2.1".parse().unwrap()).is_none());
        assert!(lock(&places.taken).is_empty());
    }
}
