//! What large events take of memory on their way out, over all watches together.
//!
//! Each watch writes an event for itself, and has what it wrote in memory until its client has taken it. Of small events that is no
//! more than a connection's buffers. A large one has to have its place here before it is made, and keeps as much of it as it has
//! become long; while there is none, its watch waits, and with it, in the end, its place in the log. So many slow clients and one
//! large event do not take their product.

use std::sync::Arc;

use hyper::body::Bytes;
use tailwater::ChangeEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Entries of the log up to this length make small events.
const SMALL: usize = 4 << 10;
/// What making JSON of an entry takes at most, by its length: the values in memory and the text.
const FACTOR: usize = 8;
/// What is counted.
const UNIT: usize = 1 << 10;

/// The places that there are.
#[derive(Debug)]
pub(crate) struct Budget {
    places: Arc<Semaphore>,
    all: u32,
}

/// A place that an event has; nothing of a small one.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        let all = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Budget {
            places: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// The place of an event, as soon as there is one. An event that needs more than there is gets all of it.
    pub(crate) async fn place(&self, event: &ChangeEvent) -> Place {
        if is_small(event) {
            return Place(None);
        }
        let units = u32::try_from(event.entry_bytes().saturating_mul(FACTOR).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.places).acquire_many_owned(units.min(self.all)).await;
        // It is never closed.
        Place(permit.ok())
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

    /// Gives back what is more than these bytes take.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let kept = bytes.div_ceil(UNIT).min(permit.num_permits());
            drop(permit.split(permit.num_permits() - kept));
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
