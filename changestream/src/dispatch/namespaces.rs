//! Which spaces an entry concerns: the first partition, by namespace.

use std::collections::HashMap;

use tailwater_oplog as oplog;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use crate::scope::{Scope, rename_target};

/// Spaces by what they watch. Finding those of an entry takes two look-ups, however many there are; or a comparison, when
/// the last entry was of the same namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    everything: Vec<u32>,
    deployment: Vec<u32>,
    databases: HashMap<Box<str>, Database>,
    last: Last,
}

/// The namespace that was asked for last, and its spaces.
#[derive(Debug, Default)]
struct Last {
    is_known: bool,
    database_length: u8,
    names: Vec<u8>,
    spaces: Vec<u32>,
}

#[derive(Debug, Default)]
struct Database {
    whole: Vec<u32>,
    collections: HashMap<Box<str>, Vec<u32>>,
}

impl Namespaces {
    pub(crate) fn insert(&mut self, scope: &Scope, space: u32) {
        self.last.is_known = false;
        self.list(scope).push(space);
    }

    pub(crate) fn remove(&mut self, scope: &Scope, space: u32) {
        self.last.is_known = false;
        let list = self.list(scope);
        list.retain(|other| *other != space);
        let emptied = list.is_empty();
        let name = match scope {
            Scope::Everything | Scope::Deployment => return,
            Scope::Database(database) | Scope::Collection { database, .. } => database.as_str(),
        };
        if let Some(database) = self.databases.get_mut(name).filter(|_| emptied) {
            // That one only: there may be many others, and the tail waits meanwhile.
            if let Scope::Collection { collection, .. } = scope {
                database.collections.remove(collection.as_str());
            }
            if database.whole.is_empty() && database.collections.is_empty() {
                self.databases.remove(name);
            }
        }
    }

    /// The spaces of a scope, for the few that differ in more than that.
    pub(crate) fn of(&self, scope: &Scope) -> &[u32] {
        let database = |name: &str| self.databases.get(name);
        let list = match scope {
            Scope::Everything => Some(&self.everything),
            Scope::Deployment => Some(&self.deployment),
            Scope::Database(name) => database(name).map(|database| &database.whole),
            Scope::Collection {
                database: name,
                collection,
            } => database(name).and_then(|database| database.collections.get(collection.as_str())),
        };
        list.map_or(&[], Vec::as_slice)
    }

    /// Replaces `found` by the spaces that an entry with this payload concerns, if the last one was of the same namespace;
    /// whether it was.
    #[inline]
    pub(crate) fn find_again(&self, payload: &[u8], found: &mut Vec<u32>) -> bool {
        let again = self.is_last(payload);
        if again {
            found.clear();
            found.extend_from_slice(&self.last.spaces);
        }
        again
    }

    /// Whether a payload is of the namespace that was asked for last.
    #[inline]
    pub(crate) fn is_last(&self, payload: &[u8]) -> bool {
        let last = &self.last;
        last.is_known
            && StoreEntry::namespace_bytes(payload)
                .is_some_and(|(length, names)| length == last.database_length && names == last.names)
    }

    /// Replaces `found` by the spaces that an entry with this payload concerns.
    pub(crate) fn find(&mut self, payload: &[u8], found: &mut Vec<u32>) -> oplog::Result<()> {
        found.clear();
        let StoreEntry {
            database, collection, ..
        } = StoreEntry::decode(payload)?;
        for (scope, spaces) in [
            (Scope::Everything, &self.everything),
            (Scope::Deployment, &self.deployment),
        ] {
            if scope.includes_name(database, collection) {
                found.extend_from_slice(spaces);
            }
        }
        if let Some(database) = self.databases.get(database) {
            found.extend_from_slice(&database.whole);
            found.extend(database.collections.get(collection).into_iter().flatten());
        }
        if let Some((length, names)) = StoreEntry::namespace_bytes(payload) {
            let last = &mut self.last;
            last.is_known = true;
            last.database_length = length;
            last.names.clear();
            last.names.extend_from_slice(names);
            last.spaces.clone_from(found);
        }
        Ok(())
    }

    /// Appends to `found` the spaces of the collection whose name a rename takes, of its database and of the deployment.
    pub(crate) fn find_target(&self, payload: &[u8], found: &mut Vec<u32>) -> oplog::Result<()> {
        let Some((database, collection)) = rename_target(EntryKind::Rename, &StoreEntry::decode(payload)?) else {
            return Ok(());
        };
        let of_deployment = Scope::Deployment.includes_name(database, collection);
        let deployment = self.deployment.iter().filter(|_| of_deployment);
        let database = self.databases.get(database);
        let whole = database.into_iter().flat_map(|database| &database.whole);
        let of_collection = database.and_then(|database| database.collections.get(collection));
        for space in deployment.chain(whole).chain(of_collection.into_iter().flatten()) {
            if !found.contains(space) {
                found.push(*space);
            }
        }
        Ok(())
    }

    fn list(&mut self, scope: &Scope) -> &mut Vec<u32> {
        match scope {
            Scope::Everything => &mut self.everything,
            Scope::Deployment => &mut self.deployment,
            Scope::Database(name) => &mut self.database(name).whole,
            Scope::Collection { database, collection } => {
                let collections = &mut self.database(database).collections;
                collections.entry(collection.as_str().into()).or_default()
            }
        }
    }

    fn database(&mut self, name: &str) -> &mut Database {
        self.databases.entry(name.into()).or_default()
    }
}
