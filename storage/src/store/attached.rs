//! What a layer above keeps beside an open store.
//!
//! Such a layer may be put over the handles of one store several times, by parts of a program that do not know one another. What
//! there must be only one of, as the members of its consumers, is kept with the store.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;

/// One thing of each type.
#[derive(Debug, Default)]
pub(super) struct Attached(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Store {
    /// What is kept of this type beside the store, for all of its handles: what `make` makes when it is asked for the first
    /// time. It is dropped with the last handle. `make` must not ask for something attached itself.
    pub fn attached<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut attached = self.handle.attached.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = attached.iter().find_map(|one| Arc::clone(one).downcast().ok());
        found.unwrap_or_else(|| {
            let made = Arc::new(make());
            attached.push(Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
            made
        })
    }
}
