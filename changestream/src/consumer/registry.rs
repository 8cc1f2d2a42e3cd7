//! The consumers of a store that have members now, and whose turn it is to open or close one.
//!
//! Opening and closing read and write the store, which can take as long as a disk does, or as a snapshot. So the registry's lock
//! is held for look-ups alone. What may not happen at a time is kept apart by a [`Turn`], of one name: nobody joins a consumer
//! that is being opened, closed or dropped, and the other consumers go on.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::group::Group;
use crate::error::{Error, Result};

/// The consumers of a store that have members now; see [`DocumentStore::groups`](crate::DocumentStore::groups).
#[derive(Debug, Default)]
pub struct ConsumerGroups {
    registry: Mutex<Registry>,
    /// A turn is over.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Registry {
    groups: HashMap<String, Arc<Group>>,
    /// Names that are opened or closed now, and by whom.
    turns: HashMap<String, ThreadId>,
}

/// The time in which nobody else opens, closes or drops the consumer of a name.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    groups: &'a ConsumerGroups,
    name: &'a str,
}

impl ConsumerGroups {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that have members now.
    pub(super) fn all(&self) -> HashMap<String, Arc<Group>> {
        self.lock().groups.clone()
    }

    /// Waits for the turn of a name.
    ///
    /// # Errors
    ///
    /// [`Error::ConsumerMismatch`] when this thread has it already: it would wait for itself.
    pub(super) fn turn<'a>(&'a self, name: &'a str) -> Result<Turn<'a>> {
        let this = std::thread::current().id();
        let mut registry = self.lock();
        while let Some(taken_by) = registry.turns.get(name) {
            if *taken_by == this {
                return Err(Error::ConsumerMismatch {
                    name: name.to_owned(),
                    what: "is being joined by this thread".to_owned(),
                });
            }
            registry = self.changed.wait(registry).unwrap_or_else(PoisonError::into_inner);
        }
        registry.turns.insert(name.to_owned(), this);
        Ok(Turn { groups: self, name })
    }

    /// Takes out what the members of a consumer have shared, if it is still what those who join would share.
    pub(super) fn remove(&self, group: &Arc<Group>) {
        let mut registry = self.lock();
        let is_there = registry
            .groups
            .get(group.name())
            .is_some_and(|there| Arc::ptr_eq(there, group));
        let removed = is_there.then(|| registry.groups.remove(group.name()));
        drop(registry);
        drop(removed);
    }
}

impl Turn<'_> {
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// What the consumer's members share, if it has any and it goes on. One that has failed is given up: who joins opens another.
    pub(super) fn group(&self) -> Option<Arc<Group>> {
        let group = self.groups.lock().groups.get(self.name).cloned()?;
        if group.give_up_if_failed() {
            self.groups.remove(&group);
            return None;
        }
        Some(group)
    }

    pub(super) fn insert(&self, group: Arc<Group>) {
        self.groups.lock().groups.insert(self.name.to_owned(), group);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.groups.lock().turns.remove(self.name);
        self.groups.changed.notify_all();
    }
}
