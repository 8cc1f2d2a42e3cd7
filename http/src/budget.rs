//! What large events take of memory on their way out, over all watches together.
//!
//! Each watch writes an event for itself, and has what it wrote in memory until its client has taken it. Of small events that is no
//! more than a connection's buffers. A large one has to have its place here before it is made, of the length that it will have, and
//! keeps it until it is out; while there is none, its watch waits, and with it, in the end, its place in the log. So many slow
//! clients and one large event do not take their product.
//!
//! Who waits comes in turn. A client that has had a large event for longer than the budget's patience is left when another waits:
//! however little it takes at a time, it holds up nobody for longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tailwater::ChangeEvent;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Entries of the log up to this length make small events.
const SMALL: usize = 4 << 10;
/// What is counted.
const UNIT: usize = 1 << 10;
/// Bytes that are put around an event's text at most, its token among them.
const FRAME: usize = 1 << 10;

/// The places that there are.
#[derive(Debug)]
pub(crate) struct Budget {
    places: Arc<Semaphore>,
    all: u32,
    /// How long a client may have a place while another waits for one.
    patience: Duration,
    holders: Arc<Holders>,
}

/// Who has a place, in the order in which they got it.
#[derive(Debug, Default)]
struct Holders(Mutex<Ages>);

#[derive(Debug, Default)]
struct Ages {
    next: u64,
    holders: BTreeMap<u64, (Instant, Eviction)>,
}

/// By which a client is told to leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Eviction(Arc<Notify>);

/// A place that an event has; nothing of a small one.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<Held>);

#[derive(Debug)]
struct Held {
    permit: OwnedSemaphorePermit,
    number: u64,
    holders: Arc<Holders>,
    /// Bytes of the event's text, with what is put around it.
    text: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize, patience: Duration) -> Budget {
        let all = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Budget {
            places: Arc::new(Semaphore::new(all as usize)),
            all,
            patience,
            holders: Arc::default(),
        }
    }

    /// A place for so many bytes of text, and those of the event that it is written from, as soon as there is one. An event that
    /// needs more than there is gets all of it.
    pub(crate) async fn place(self: Arc<Self>, text: usize, event: usize, client: Eviction) -> Place {
        let text = text.saturating_add(FRAME);
        let bytes = text.saturating_add(event);
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.all);
        let mut acquired = std::pin::pin!(Arc::clone(&self.places).acquire_many_owned(units));
        loop {
            let oldest = self.holders.lock().oldest();
            let since = oldest.unwrap_or_else(Instant::now);
            let permit = tokio::select! {
                biased;
                permit = &mut acquired => permit,
                () = sleep_until(since + self.patience) => {
                    self.holders.evict(self.patience);
                    continue;
                }
            };
            // It is never closed.
            return Place(permit.ok().map(|permit| Held {
                permit,
                number: self.holders.enter(client),
                holders: Arc::clone(&self.holders),
                text,
            }));
        }
    }
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, Ages> {
        // Every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, client: Eviction) -> u64 {
        let mut ages = self.lock();
        let number = ages.next;
        ages.next += 1;
        ages.holders.insert(number, (Instant::now(), client));
        number
    }

    /// Tells those to leave that have had a place for so long. Each is told once.
    fn evict(&self, patience: Duration) {
        let mut ages = self.lock();
        while let Some(oldest) = ages.holders.first_entry()
            && oldest.get().0.elapsed() >= patience
        {
            let (_, client) = oldest.remove();
            client.0.notify_one();
        }
    }
}

impl Ages {
    fn oldest(&self) -> Option<Instant> {
        self.holders.first_key_value().map(|(_, (since, _))| *since)
    }
}

impl Eviction {
    /// Waits until the client is to leave, for a client that is waited for in one place.
    pub(crate) async fn told(&self) {
        self.0.notified().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holders.lock().holders.remove(&self.number);
    }
}

/// Whether an event needs no place.
pub(crate) fn is_small(event: &ChangeEvent) -> bool {
    event.entry_bytes() <= SMALL
}

impl Place {
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Memory for the event's text.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        Vec::with_capacity(self.0.as_ref().map_or(0, |held| held.text))
    }

    /// Gives back what is more than these bytes take.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(held) = &mut self.0 {
            let kept = bytes.div_ceil(UNIT).min(held.permit.num_permits());
            drop(held.permit.split(held.permit.num_permits() - kept));
        }
    }

    /// The bytes that were written for the event, which keep their place until they have been sent.
    pub(crate) fn keep(mut self, mut bytes: Vec<u8>) -> Bytes {
        if self.is_none() {
            return Bytes::from(bytes);
        }
        bytes.shrink_to_fit();
        self.shrink(bytes.len());
        Bytes::from_owner(Kept { bytes, _place: self })
    }
}

/// Bytes with their place.
struct Kept {
    bytes: Vec<u8>,
    _place: Place,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
